"""Destinations as clients may write them, and what IPv6 addresses carry."""

from __future__ import annotations

import re
import socket
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import example, given, settings
from hypothesis import strategies as st
from twisted.internet import address as twistedAddresses
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.addresses import (
    InvalidName,
    disguises,
    embedded,
    ipAddress,
    normalise,
    scopeless,
    unmapped,
)

NO_IPV6 = "neither a host name nor an IPv6 address"

#: Each mechanism's way to put an IPv4 address into an IPv6 one, from its RFC.
CARRIERS: dict[str, Callable[[IPv4Address], str]] = {
    "IPv4-mapped": lambda v4: f"::ffff:{v4}",
    "IPv4-translated": lambda v4: f"::ffff:0:{v4}",
    "NAT64": lambda v4: f"64:ff9b::{v4}",
    "NAT64 /96": lambda v4: f"64:ff9b:1:abcd::{v4}",
    "NAT64 /64": lambda v4: "64:ff9b:1:abcd:00{:02x}:{:02x}{:02x}:{:02x}00:0".format(*v4.packed),
    "NAT64 /56": lambda v4: "64:ff9b:1:ab{:02x}:00{:02x}:{:02x}{:02x}::".format(*v4.packed),
    "NAT64 /48": lambda v4: "64:ff9b:1:{:02x}{:02x}:00{:02x}:{:02x}00::".format(*v4.packed),
    "6to4": lambda v4: "2002:{:02x}{:02x}:{:02x}{:02x}::1".format(*v4.packed),
    "Teredo server": lambda v4: "2001:0:{:02x}{:02x}:{:02x}{:02x}::f7f7:f7f7".format(*v4.packed),
    "Teredo": lambda v4: "2001:0:4136:e378:8000:63bf:{:02x}{:02x}:{:02x}{:02x}".format(
        *(octet ^ 255 for octet in v4.packed)
    ),
    "ISATAP": lambda v4: f"2001:db8::5efe:{v4}",
}


def parts(radix: str) -> Callable[[int], str]:
    """One way to write a number in an address."""
    return {"decimal": "{}", "octal": "0{:o}", "hexadecimal": "0x{:x}", "upper": "0X{:X}"}[
        radix
    ].format


def spelt(value: int, radices: list[str]) -> str:
    """Write an IPv4 address in as many parts as there are radices."""
    numbers = []
    rest = 32
    for _ in radices[:-1]:
        rest -= 8
        numbers.append(value >> rest)
        value &= (1 << rest) - 1
    numbers.append(value)
    return ".".join(parts(radix)(number) for radix, number in zip(radices, numbers, strict=True))


class NormaliseAddressTests(SynchronousTestCase):
    """Addresses in all their spellings become addresses."""

    def test_addresses(self) -> None:
        """Addresses are what they are."""
        for text in ("192.0.2.1", "2001:db8::1", "::127.0.0.1"):
            self.assertEqual(normalise(ip_address(text)), ip_address(text))

    def test_mapped(self) -> None:
        """An IPv4-mapped address is an IPv4 one, as ATYP 4 and as text."""
        for host in (IPv6Address("::ffff:192.0.2.1"), b"::ffff:192.0.2.1", b"[::FFFF:c000:201]"):
            self.assertEqual(normalise(host), IPv4Address("192.0.2.1"))

    def test_loopback(self) -> None:
        """Loopback is known whatever it is written like."""
        for text in (
            "127.0.0.1",
            "127.0.0.1.",
            "127.1",
            "127.0.1",
            "2130706433",
            "2130706433.",
            "017700000001",
            "0177.0.0.1",
            "0x7f.1",
            "0X7F.0.0.1",
            "0x7f000001",
            "0000000000000000000000177.0.0x0.01",
            "\uff11\uff12\uff17.0.0.1",
            "127\u30020\uff0e0\uff611",
            "\u2460\u2461\u2466.1",
            "127.0.0.1\u00ad",
            "\uff10\uff58\uff17\uff46.1",
        ):
            self.assertEqual(normalise(text.encode()), IPv4Address("127.0.0.1"), ascii(text))

    def test_zero(self) -> None:
        """The shortest spellings of 0.0.0.0."""
        for text in (b"0", b"0x", b"0x.0", b"00.0.0."):
            self.assertEqual(normalise(text), IPv4Address("0.0.0.0"))

    def test_ipv6(self) -> None:
        """IPv6 addresses, with brackets or without."""
        for text in (b"::1", b"[::1]", b"0:0::0:1", b"0:0:0:0:0:0:0.0.0.1"):
            self.assertEqual(normalise(text), IPv6Address("::1"))

    @given(
        st.integers(0, 2**32 - 1),
        st.lists(
            st.sampled_from(["decimal", "octal", "hexadecimal", "upper"]), min_size=1, max_size=4
        ),
        st.sampled_from(["", "."]),
    )
    @settings(max_examples=200, deadline=None)
    def test_spellings(self, value: int, radices: list[str], dot: str) -> None:
        """Any address in one to four parts, each in any radix."""
        text = spelt(value, radices) + dot
        self.assertEqual(normalise(text.encode()), IPv4Address(value), text)

    @given(st.text("0123456789abcfxX.", min_size=1, max_size=20))
    @example("1.2.3.4.5")
    @example("0x1.08")
    @settings(max_examples=500, deadline=None)
    def test_resolver(self, text: str) -> None:
        """No text that a resolver would take for an address passes as a name."""
        try:
            packed = socket.inet_aton(text)
        except OSError:
            return
        self.assertEqual(normalise(text.encode()), IPv4Address(packed))

    def test_invalid(self) -> None:
        """What ends in a number but is no address is no name either."""
        for text, reason in (
            (b"1.2.3.4.5", "too many parts"),
            (b"example.1", "example is no part of an address"),
            (b"example.0x1f", "example is no part of an address"),
            (b"09", "09 is no part of an address"),
            (b"256.1.1.1", "256 is too large for an address"),
            (b"1.2.3.256", "256 is too large for an address"),
            (b"1.2.65536", "65536 is too large for an address"),
            (b"1.16777216", "16777216 is too large for an address"),
            (b"4294967296", "4294967296 is too large for an address"),
            (b"1" * 63, f"{'1' * 63} is too large for an address"),
        ):
            error = self.assertRaises(InvalidName, normalise, text)
            self.assertTrue(error.reason.startswith("ends in a number but "))
            self.assertTrue(error.reason.endswith(reason), error.reason)


class NormaliseNameTests(SynchronousTestCase):
    """Host names have one spelling."""

    def test_names(self) -> None:
        """Names are lower-case ASCII without a trailing dot."""
        for written, expected in (
            ("Example.COM", "example.com"),
            ("example.com.", "example.com"),
            ("localhost.", "localhost"),
            ("_dmarc.Example.com", "_dmarc.example.com"),
            ("r3---sn-4g5e.example.com", "r3---sn-4g5e.example.com"),
            ("-a-.example", "-a-.example"),
            ("1.2.3.4.example", "1.2.3.4.example"),
            ("0xyz", "0xyz"),
            ("1a", "1a"),
            ("1.1_0", "1.1_0"),
            ("xn--bcher-kva.example", "xn--bcher-kva.example"),
            ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
            ("B\u00fccher.example", "xn--bcher-kva.example"),
            ("Bu\u0308cher\u3002EXAMPLE\uff0e", "xn--bcher-kva.example"),
            ("_x.b\u00fccher.example", "_x.xn--bcher-kva.example"),
            ("fa\u00df.example", "xn--fa-hia.example"),
            ("\uff45\uff58\uff41mple.com", "example.com"),
            ("\u4f8b\u5b50.\u6d4b\u8bd5", "xn--fsqu00a.xn--0zwm56d"),
        ):
            self.assertEqual(normalise(written.encode()), expected, ascii(written))

    def test_bounds(self) -> None:
        """Labels of 63 and names of 253 characters pass, longer ones do not."""
        label = b"a" * 63
        longest = b".".join([label, label, label, b"a" * 61])
        self.assertEqual(normalise(label), label.decode())
        self.assertEqual(normalise(longest), longest.decode())
        self.assertEqual(normalise(longest + b"."), longest.decode())
        for name, reason in (
            (label + b"a", "a label longer than 63 characters"),
            (longest + b"a", "longer than 253 characters"),
            (b"a." * 127 + b"a", "longer than 253 characters"),
            (longest[:-1] + b"..", "an empty label"),
            (b"a." * 128, "longer than 255 octets"),
            ("\u00fc.".encode() * 85, "longer than 253 characters"),
        ):
            self.assertEqual(self.assertRaises(InvalidName, normalise, name).reason, reason)

    def test_invalid(self) -> None:
        """Each kind of wrong name is told by its reason."""
        for name, reason in (
            (b"", "empty"),
            (b".", "empty"),
            (b"..", "an empty label"),
            (b".example", "an empty label"),
            (b"example..com", "an empty label"),
            (b"example.com..", "an empty label"),
            (b"127.0.0.1..", "an empty label"),
            (b"localhost\x00.example.com", "a control octet"),
            (b"127.0.0.1\n", "a control octet"),
            (b"a\x7fb", "a control octet"),
            (b"a b", "white space"),
            (b" 127.0.0.1", "white space"),
            (b"a\tb", "a control octet"),
            (b"a/b", "the character /"),
            (b"user@example.com", "the character @"),
            (b"*.example.com", "the character *"),
            (b"%31", "the character %"),
            (b"\xff\xfe", "not UTF-8"),
            (b"\xed\xa0\x80", "not UTF-8"),
            (b"a\xc0\x80b", "not UTF-8"),
            ("\u2603.example".encode(), "not IDNA"),
            ("b\u00fc\x00cher".encode(), "not IDNA"),
            ("b\u00fccher.\x00".encode(), "a control octet"),
            ("\uff05\uff13\uff11".encode(), "the character %"),
            ("a\u00a0b".encode(), "white space"),
            (b"fe80::1%eth0", "a zone id"),
            (b"[fe80::1%25eth0]", "a zone id"),
            (IPv6Address("fe80::1%eth0"), "a zone id"),
            (b"[192.0.2.1]", NO_IPV6),
            (b"[::1", NO_IPV6),
            (b"[::1].", NO_IPV6),
            (b"example.com:80", NO_IPV6),
            (b"::1\x00", NO_IPV6),
            ("\uff1a\uff1a\uff11.example\u3002".encode(), NO_IPV6),
        ):
            error = self.assertRaises(InvalidName, normalise, name)
            self.assertEqual(error.reason, reason, name)

    def test_readable(self) -> None:
        """An error's text is one safe line: escaped, quoted and cut."""
        error = self.assertRaises(InvalidName, normalise, b"a\x00'\x1b[2J\n")
        self.assertEqual(str(error), 'invalid host name "a\\x00\'\\x1b[2J\\n": a control octet')
        self.assertIsInstance(error, ValueError)
        error = self.assertRaises(InvalidName, normalise, b"a" * 300)
        self.assertEqual(error.name, "'" + "a" * 80 + "'...")
        error = self.assertRaises(InvalidName, normalise, b"a" * 80)
        self.assertEqual(error.name, "'" + "a" * 80 + "'")

    @given(st.binary(max_size=300) | st.text(max_size=90).map(str.encode))
    @settings(max_examples=300, deadline=None)
    def test_anything(self, octets: bytes) -> None:
        """Of any octets comes an address, a clean name that stays itself, or L{InvalidName}."""
        try:
            found = normalise(octets)
        except InvalidName as error:
            self.assertTrue(str(error).isascii() and str(error).isprintable())
            return
        if isinstance(found, str):
            self.assertTrue(re.fullmatch(r"[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*", found))
            self.assertLessEqual(len(found), 253)
            self.assertRaises(ValueError, ip_address, found)
        else:
            self.assertEqual(found, unmapped(found))
        self.assertEqual(normalise(str(found).encode()), found)


class EmbeddedTests(SynchronousTestCase):
    """IPv6 addresses that carry IPv4 ones."""

    def test_ipv4(self) -> None:
        """An IPv4 address carries nothing."""
        address = IPv4Address("192.0.2.1")
        self.assertEqual(embedded(address), (address,))

    def test_ordinary(self) -> None:
        """Neither do ordinary IPv6 addresses, the unspecified one and loopback."""
        for text in (
            "2606:4700::1111",
            "2001:db8::1",
            "2001:1::7f00:1",
            "2003:7f00:1::",
            "64:ff9b:2::7f00:1",
            "64:ff9b:0:1::7f00:1",
            "64:ff9c::7f00:1",
            "::1:0:7f00:1",
            "fe80::7f00:1",
            "::",
            "::1",
        ):
            self.assertEqual(embedded(ip_address(text)), (ip_address(text),))

    @given(st.integers(0, 2**32 - 1).map(IPv4Address), st.sampled_from(sorted(CARRIERS)))
    @settings(max_examples=200, deadline=None)
    def test_carried(self, v4: IPv4Address, mechanism: str) -> None:
        """Whatever carries an address is seen through, and says how."""
        carrier = IPv6Address(CARRIERS[mechanism](v4))
        shortened = mechanism in ("NAT64 /48", "NAT64 /56", "NAT64 /64") and int(v4) >> 24 == 0
        self.assertEqual(embedded(carrier)[0], carrier)
        self.assertEqual((mechanism, int(v4)) in disguises(int(carrier)), not shortened)
        if not shortened:
            self.assertIn(v4, embedded(carrier)[1:])

    @given(st.integers(2, 2**32 - 1))
    @settings(max_examples=50, deadline=None)
    def test_compatible(self, value: int) -> None:
        """IPv4-compatible addresses, but for C{::} and C{::1}."""
        carrier = IPv6Address(value)
        self.assertEqual(embedded(carrier), (carrier, IPv4Address(value)))

    def test_ISATAP(self) -> None:
        """ISATAP is known under any prefix, with and without the universal bit."""
        for text in ("fe80::5efe:7f00:1", "2001:db8:1:2:200:5efe:127.0.0.1", "::5efe:7f00:1"):
            self.assertEqual(embedded(ip_address(text))[1:], (IPv4Address("127.0.0.1"),))

    def test_several(self) -> None:
        """An address may carry several, and the same one only once."""
        self.assertEqual(
            embedded(ip_address("2002:c000:201::5efe:127.0.0.1")),
            tuple(map(ip_address, ("2002:c000:201::5efe:7f00:1", "192.0.2.1", "127.0.0.1"))),
        )
        self.assertEqual(
            embedded(ip_address("2002:7f00:1::5efe:127.0.0.1")),
            tuple(map(ip_address, ("2002:7f00:1::5efe:7f00:1", "127.0.0.1"))),
        )

    def test_localNAT64(self) -> None:
        """What stands behind the well-known local prefix alone is only read as a /96."""
        self.assertEqual(
            disguises(int(IPv6Address("64:ff9b:1::192.0.2.1"))), (("NAT64 /96", 0xC0000201),)
        )


class TwistedAddressTests(SynchronousTestCase):
    """What transports call themselves and their peers."""

    def test_scopeless(self) -> None:
        """Zone ids are stripped, and nothing else is."""
        self.assertEqual(scopeless("fe80::1%eth0"), "fe80::1")
        self.assertEqual(scopeless("192.0.2.1"), "192.0.2.1")

    def test_ip(self) -> None:
        """IP sockets give an address and a port."""
        for address, expected in (
            (twistedAddresses.IPv4Address("TCP", "192.0.2.1", 80), "192.0.2.1"),
            (twistedAddresses.IPv4Address("UDP", "192.0.2.1", 80), "192.0.2.1"),
            (twistedAddresses.IPv6Address("TCP", "2001:db8::1", 80), "2001:db8::1"),
            (twistedAddresses.IPv6Address("TCP", "fe80::1%eth0", 80, 0, 2), "fe80::1"),
            (twistedAddresses.IPv6Address("TCP", "::ffff:192.0.2.1", 80), "192.0.2.1"),
        ):
            self.assertEqual(ipAddress(address), (ip_address(expected), 80))

    def test_unix(self) -> None:
        """Unix sockets are this host, with a name or without."""
        self.assertIs(ipAddress(twistedAddresses.UNIXAddress(b"/run/socks")), None)
        self.assertIs(ipAddress(twistedAddresses.UNIXAddress(None)), None)

    def test_stranger(self) -> None:
        """What is neither is not taken for this host."""
        for address in (
            twistedAddresses.HostnameAddress(b"localhost", 80),
            twistedAddresses.IPv4Address("TCP", "localhost", 80),
        ):
            self.assertRaises(ValueError, ipAddress, address)
