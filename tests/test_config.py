"""The settings: what they default to, and what they may not be."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, fields, replace
from ipaddress import ip_address
from math import inf, nan
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.config import MAX_LINGER, Filtering, Settings
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.wire import Method

NUMBERS = [field.name for field in fields(Settings) if field.type in ("float", "int")]


class SettingsTests(SynchronousTestCase):
    """Values that are validated once."""

    def make(self, name: str, value: Any) -> Settings:
        """Make settings, all but one of which are the defaults."""
        return Settings(**{name: value})

    def assertWrong(self, reason: str, **values: Any) -> None:
        """Assert that settings are refused in one line."""
        error = self.assertRaises(ConfigurationError, Settings, **values)
        self.assertRegex(str(error), reason)
        self.assertNotIn("\n", str(error))

    def test_defaults(self) -> None:
        """They are fit for the internet, and longer than what RFCs ask of a NAT."""
        settings = Settings()
        self.assertGreater(settings.idle_timeout, 2 * 3600 + 4 * 60)
        self.assertGreaterEqual(settings.association_timeout, 120)
        self.assertLessEqual(settings.linger_timeout, 10)
        self.assertFalse(settings.socks4 or settings.resolve)
        self.assertEqual(len(NUMBERS), 10)

    def test_frozen(self) -> None:
        """They do not change."""
        settings = Settings()
        with self.assertRaises(FrozenInstanceError):
            settings.socks4 = True  # type: ignore[misc]  # that is what is tried
        self.assertEqual(replace(settings, socks4=True).socks4, True)

    def test_numbers(self) -> None:
        """No number is negative, infinite or none."""
        for name in NUMBERS:
            for value in (-1, -0.001, inf, -inf, nan):
                words = name.replace("_", " ")
                self.assertWrong(f"the {words} must be 0 or more, not", **{name: value})

    def test_zero(self) -> None:
        """Some times may be for ever, and limits none; others must end."""
        ends = {name for name in NUMBERS if self.ends(name)}
        self.assertEqual(
            ends,
            {
                "association_timeout",
                "bind_timeout",
                "dial_timeout",
                "linger_timeout",
                "lookup_timeout",
            },
        )

    def ends(self, name: str) -> bool:
        """Tell whether a number must not be 0."""
        try:
            self.make(name, 0)
        except ConfigurationError as error:
            self.assertEqual(str(error), f"the {name.replace('_', ' ')} must be more than 0")
            return True
        return False

    def test_linger(self) -> None:
        """A refused client is let go within 10 s."""
        self.assertEqual(Settings(linger_timeout=MAX_LINGER).linger_timeout, 10)
        self.assertWrong("linger timeout must be at most 10 s", linger_timeout=10.5)

    def test_advertised(self) -> None:
        """One address of each family can be advertised."""
        one, two, six = map(ip_address, ("203.0.113.1", "203.0.113.2", "2001:db8::1"))
        self.assertEqual(Settings(advertised=(six, one)).advertised, (six, one))
        self.assertWrong("only one address of each family", advertised=(one, two))

    def test_ports(self) -> None:
        """Ranges of ports are of ports."""
        for name in ("bind_ports", "udp_ports"):
            for ports in (range(1, 65536), range(53, 54)):
                self.assertEqual(getattr(self.make(name, ports), name), ports)
            for ports in (range(0), range(10), range(65535, 65537), range(9, 1, -1)):
                self.assertWrong("a range of ports must lie within 1 to 65535", **{name: ports})

    def test_filtering(self) -> None:
        """Filtering has the words of RFC 4787."""
        self.assertIs(Filtering("address-dependent"), Filtering.ADDRESS_DEPENDENT)
        self.assertIs(Settings().udp_filtering, Filtering.ENDPOINT_INDEPENDENT)

    def test_methods(self) -> None:
        """An order of methods has some, each once."""
        both = (Method.GSSAPI, Method.USERNAME_PASSWORD)
        self.assertEqual(Settings(methods=both).methods, both)
        self.assertIsNone(Settings().methods)
        self.assertWrong("there must be a method to offer", methods=())
        self.assertWrong("a method can be preferred only once", methods=(*both, *both))
