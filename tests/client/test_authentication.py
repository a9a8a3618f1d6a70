"""
Tests of C{twisted_socks5.client.authentication} and C{proxy}: what is said, and what is not.
"""

from __future__ import annotations

import traceback
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.client.base import (
    ALICE,
    CREDENTIALS,
    GRANTED,
    LOGGED_IN,
    LOGIN_SELECTED,
    PROXY_NAME,
    REQUEST,
    SELECTED,
    ClientCase,
)
from twisted_socks5.client import (
    GSSAPI,
    AuthenticationError,
    NoAuthentication,
    Proxy,
    ProxyClosed,
    UsernamePassword,
)
from twisted_socks5.wire import ProtectionLevel

NOWHERE: Any = None
INTEGRITY: Any = (1,)


class ValueTests(SynchronousTestCase):
    """The values themselves."""

    def test_text(self) -> None:
        """Text is taken as UTF-8; octets are taken as they are."""
        self.assertEqual(UsernamePassword("jürgen", "päß"), UsernamePassword(
            b"j\xc3\xbcrgen", b"p\xc3\xa4\xc3\x9f"))  # fmt: skip
        self.assertEqual(UsernamePassword(b"\xff", b"\0").username, b"\xff")

    def test_lengths(self) -> None:
        """Each has 1 to 255 octets."""
        for username, password in (
            (b"", b"x"),
            (b"x", b""),
            (b"x" * 256, b"x"),
            (b"x", b"y" * 256),
        ):
            error = self.assertRaises(ValueError, UsernamePassword, username, password)
            self.assertNotIn("yy", str(error))
        UsernamePassword(b"x" * 255, "y" * 255)

    def test_notText(self) -> None:
        """Text that cannot be written is not shown in the error, nor in what led to it."""
        password = "".join(("hu", "sh", "\ud800"))
        try:
            UsernamePassword("alice", password)
        except ValueError as error:
            self.assertNotIn("hush", "".join(traceback.format_exception(error)))
        else:
            self.fail("it was taken")

    def test_repr(self) -> None:
        """The password is in no text."""
        self.assertNotIn("secret", repr(ALICE))
        proxy = Proxy(NOWHERE, [ALICE])
        self.assertNotIn("secret", repr(proxy))

    def test_frozen(self) -> None:
        """They can stand in sets and be compared."""
        self.assertEqual(
            len({ALICE, UsernamePassword("alice", "a secret"), NoAuthentication()}), 2
        )

    def test_gssapi(self) -> None:
        """The service is at the proxy's host, or at another, or a whole principal."""
        self.assertEqual(GSSAPI().serviceAt("proxy.example"), "rcmd@proxy.example")
        self.assertEqual(GSSAPI(host="other").serviceAt("proxy.example"), "rcmd@other")
        self.assertEqual(GSSAPI("socks/h@R").serviceAt("proxy.example"), "socks/h@R")
        self.assertEqual(GSSAPI(levels=INTEGRITY).levels, (ProtectionLevel.INTEGRITY,))
        for options in ({"service": ""}, {"levels": ()}, {"levels": (7,)}):
            with self.assertRaises(ValueError):
                GSSAPI(**options)

    def test_proxy(self) -> None:
        """What a proxy cannot be."""
        for options in (
            {"authentication": ()},
            {"authentication": [ALICE, UsernamePassword("b", "c")]},
            {"version": 6},
            {"version": 4, "authentication": [ALICE]},
            {"version": 4, "userID": b"a\0b"},
            {"version": 4, "userID": b"a" * 256},
            {"userID": b"alice"},
            {"timeout": 0},
            {"timeout": -1.0},
            {"timeout": float("nan")},
        ):
            with self.subTest(options=options), self.assertRaises(ValueError):
                Proxy(NOWHERE, **options)


class DialogueTests(ClientCase):
    """What is offered, and what the server chooses."""

    def test_offered(self) -> None:
        """All is offered, in the order given."""
        for values, octets in (
            ([NoAuthentication()], b"\5\1\0"),
            ([ALICE, NoAuthentication()], b"\5\2\2\0"),
            ([NoAuthentication(), ALICE, GSSAPI()], b"\5\3\0\2\1"),
        ):
            _, outcome = self.connect(authentication=values)
            self.assertEqual(self.heard(), octets)
            outcome.deferred.cancel()
            self.hangUp()

    def test_login(self) -> None:
        """Username and password, where the server wants them."""
        application, outcome = self.connect(authentication=[NoAuthentication(), ALICE])
        self.heard()
        self.say(LOGIN_SELECTED)
        self.assertEqual(self.heard(), CREDENTIALS)
        self.say(LOGGED_IN)
        self.assertEqual(self.heard(), REQUEST)
        self.say(GRANTED)
        self.assertIs(outcome.result, application.peer)

    def test_notAsked(self) -> None:
        """A server that wants none gets none."""
        application, outcome = self.connect(authentication=[ALICE, NoAuthentication()])
        self.say(SELECTED, GRANTED)
        self.assertNotIn(b"secret", self.heard())
        self.assertIs(outcome.result, application.peer)

    def test_aheadOfTurn(self) -> None:
        """A server may answer all at once, if it knows beforehand."""
        _application, outcome = self.connect(authentication=[ALICE])
        self.say(LOGIN_SELECTED + LOGGED_IN + GRANTED + b"hello")
        self.assertEqual(bytes(outcome.result.received), b"hello")
        self.assertEqual(self.heard(), b"\5\1\2" + CREDENTIALS + REQUEST)

    def test_refused(self) -> None:
        """Credentials that are refused, by any STATUS but 0."""
        for status in (1, 255):
            _, outcome = self.connect(authentication=[ALICE])
            self.say(LOGIN_SELECTED, bytes((1, status)))
            self.assertIsInstance(outcome.error, AuthenticationError)
            self.assertIn(f"{PROXY_NAME} (to reach example.com:80)", str(outcome.error))
            self.assertIn(
                f"refused the username and password (status {status})", str(outcome.error)
            )
            self.assertClosed()
            self.hangUp()

    def test_noneAcceptable(self) -> None:
        """A server that accepts none of the methods; the error says what was offered."""
        _, outcome = self.connect(authentication=[ALICE, NoAuthentication()])
        self.say(b"\5\xff")
        self.assertIsInstance(outcome.error, AuthenticationError)
        self.assertIn("username/password (0x02), no authentication (0x00); ", str(outcome.error))
        self.assertClosed()

    def test_closedInPlaceOfStatus(self) -> None:
        """Some servers refuse by closing; the error says that they may have."""
        _, outcome = self.connect(authentication=[ALICE])
        self.say(LOGIN_SELECTED)
        self.proxy.lose()
        self.assertClosed()
        self.assertIsInstance(outcome.error, ProxyClosed)
        self.assertIn("in place of accepting the username and password", str(outcome.error))

    def test_noSecret(self) -> None:
        """However it ends, the password is in no error, traceback or repr."""
        endings: list[Any] = [b"\1\1", b"\5\0", b"HTTP", b"\1\0" + b"\5\1\0" + bytes(7), b"\1\0\7"]
        for ending in endings:
            endpoint = self.endpoint(authentication=[ALICE])
            self.assertNotIn("secret", repr(endpoint))
            _, outcome = self.connect(authentication=[ALICE])
            self.say(LOGIN_SELECTED, ending)
            (failure,) = outcome.failures
            for text in (str(failure.value), repr(failure.value), failure.getTraceback(
                    detail="verbose"), str(failure)):  # fmt: skip
                self.assertNotIn("secret", text)
            self.assertNotIn("secret", repr(getattr(failure.value, "args", ())))
            self.assertClosed()
            self.hangUp()
