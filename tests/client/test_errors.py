"""
Tests of C{twisted_socks5.client.errors}: each error says what it is, to programs and to people.
"""

from __future__ import annotations

from twisted.internet import error
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.client import errors
from twisted_socks5.wire import Address, Reply, UnsupportedVersion

_TARGET = Address(b"example.com", 80)


class RefusalTests(SynchronousTestCase):
    """One class for each REP, which is also Twisted's error of the same meaning."""

    def test_kinds(self) -> None:
        """The class, what it is to Twisted, and the code."""
        for code, kind, twisted in (
            (1, errors.GeneralFailure, error.ConnectError),
            (2, errors.NotAllowed, error.ConnectError),
            (3, errors.NetworkUnreachable, error.NoRouteError),
            (4, errors.HostUnreachable, error.NoRouteError),
            (5, errors.ConnectionRefused, error.ConnectionRefusedError),
            (6, errors.TTLExpired, error.TimeoutError),
            (6, errors.TTLExpired, error.TCPTimedOutError),
            (7, errors.CommandNotSupported, error.ConnectError),
            (8, errors.AddressTypeNotSupported, error.UnsupportedAddressFamily),
            (9, errors.OtherFailure, error.ConnectError),
            (0xF0, errors.OtherFailure, error.ConnectError),
            (255, errors.OtherFailure, error.ConnectError),
        ):
            with self.subTest(code=code):
                found = errors.refusal(code, proxy="proxy.example:1080", target=_TARGET)
                self.assertIs(type(found), kind)
                self.assertIsInstance(found, errors.ProxyError)
                self.assertIsInstance(found, twisted)
                self.assertEqual(found.code, code)
                self.assertEqual((found.proxy, found.target), ("proxy.example:1080", _TARGET))
                self.assertIsNone(found.osError)

    def test_everyReply(self) -> None:
        """There is a class of its own for each REP of the RFC."""
        kinds = {type(errors.refusal(code, proxy="", target=_TARGET)) for code in Reply if code}
        self.assertEqual(len(kinds), len(Reply) - 1)
        self.assertNotIn(errors.OtherFailure, kinds)

    def test_text(self) -> None:
        """It says which proxy, which target, what happened and what to do."""
        found = errors.refusal(5, proxy="proxy.example:1080", target=_TARGET)
        self.assertEqual(
            str(found),
            "SOCKS proxy proxy.example:1080 (to reach example.com:80): connection refused (5):"
            " nothing listens there, or it is filtered",
        )

    def test_textOfUnknown(self) -> None:
        """What nobody knows is told as it is."""
        found = errors.refusal(0x63, proxy="p", target=_TARGET)
        self.assertEqual(found.reason, "unassigned reply (99)")

    def test_tor(self) -> None:
        """Tor's eight are told in words."""
        for code in range(0xF0, 0xF8):
            found = errors.refusal(code, proxy="p", target=_TARGET)
            self.assertRegex(str(found), rf"\({code}\): Tor says: the .*onion service")
        self.assertNotIn("Tor", str(errors.refusal(0xF8, proxy="p", target=_TARGET)))

    def test_socks4(self) -> None:
        """SOCKS4's codes are its own."""
        for code, text in (
            (91, "rejected or failed (91): SOCKS4 has"),
            (92, "identd"),
            (93, "identd"),
            (5, "(5)"),
        ):
            found = errors.refusal(code, proxy="p", target=_TARGET, version=4)
            self.assertIs(type(found), errors.Rejected)
            self.assertEqual(found.code, code)
            self.assertIn(text, str(found))


class TextTests(SynchronousTestCase):
    """The other errors."""

    def test_withoutProxy(self) -> None:
        """Where no proxy is concerned yet, none is named."""
        self.assertEqual(str(errors.InvalidTarget("too long")), "SOCKS: too long")

    def test_isConnectError(self) -> None:
        """What catches Twisted's own catches ours."""
        for kind, twisted in (
            (errors.InvalidTarget, ValueError),
            (errors.NegotiationTimeout, error.TimeoutError),
            (errors.ProxyClosed, error.ConnectionLost),
            (errors.ProxyProtocolError, error.ConnectError),
            (errors.AuthenticationError, error.ConnectError),
            (errors.NameNotFound, error.UnknownHostError),
        ):
            self.assertIsInstance(kind("so"), twisted)
            self.assertIsInstance(kind("so"), error.ConnectError)
            self.assertIsInstance(kind("so"), errors.SOCKSError)

    def test_otherProtocols(self) -> None:
        """What is no SOCKS proxy is recognised, as far as one octet goes."""
        for octets, hint in (
            (b"HTTP/1.1 400 Bad Request", "an HTTP proxy"),
            (b"<html>", "a web server"),
            (b"\x15\x03\x03\0\2", "speaks TLS"),
            (b"SSH-2.0-OpenSSH", "an SSH server"),
            (b"220 ready", "a mail or FTP server"),
            (b"\0\x5b", "SOCKS4 only"),
        ):
            found = errors.broken(
                UnsupportedVersion(octets[:16], where="the method selection"),
                proxy="p",
                target=_TARGET,
            )
            self.assertIsInstance(found, errors.ProxyProtocolError)
            self.assertIn(hint, str(found))

    def test_noGuess(self) -> None:
        """Of what is not recognised nothing is said, nor later on."""
        for octets, where in ((b"\x07", "the method selection"), (b"H", "the reply")):
            mistake = UnsupportedVersion(octets, where=where, hint="so")
            found = errors.broken(mistake, proxy="p", target=_TARGET)
            self.assertEqual(found.reason, mistake.reason)
