"""RFC 1929's fine print."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    CredentialsStatus,
    LocalProtocolError,
    MalformedCredentials,
    UnsupportedVersion,
    UsernamePassword,
    pack_status,
    pack_username_password,
    parse_status,
    parse_username_password,
)


class CredentialsTests(SynchronousTestCase):
    """VER ULEN UNAME PLEN PASSWD."""

    def test_version(self) -> None:
        """The sub-negotiation's version is 1; 5, which some write, gets an answer and a hint."""
        for version in range(256):
            octets = bytes((version,))
            if version == 1:
                self.assertIsNone(parse_username_password(octets))
                continue
            error = self.assertRaises(MalformedCredentials, parse_username_password, octets)
            self.assertEqual(error.version, version)
            self.assertEqual(error.answer, b"\x01\x01")
            self.assertIsNone(error.reply)
            self.assertEqual(bool(error.hint), version == 5)

    def test_empty(self) -> None:
        """Lengths of 0 are read, as clients send them, but never written."""
        self.assertEqual(parse_username_password(b"\x01\x00\x00"), (UsernamePassword(b"", b""), 3))
        self.assertEqual(
            parse_username_password(b"\x01\x01u\x00"), (UsernamePassword(b"u", b""), 4)
        )

    def test_bounds(self) -> None:
        """1 to 255 octets each."""
        for good in (b"x", b"x" * 255):
            octets = pack_username_password(UsernamePassword(good, good))
            self.assertEqual(len(octets), 3 + 2 * len(good))
        for bad in (b"", b"x" * 256):
            for credentials in (UsernamePassword(bad, b"x"), UsernamePassword(b"x", bad)):
                self.assertRaises(LocalProtocolError, pack_username_password, credentials)

    def test_octets(self) -> None:
        """No encoding is assumed, and a NUL ends nothing."""
        credentials = UsernamePassword(b"\xff\0:", "pässword".encode())
        octets = pack_username_password(credentials)
        self.assertEqual(parse_username_password(octets), (credentials, len(octets)))

    def test_secret(self) -> None:
        """The password is in no text, neither of the credentials nor of an error about them."""
        secret = b"hunter2"
        credentials = UsernamePassword(b"u" * 256, secret)
        error = self.assertRaises(LocalProtocolError, pack_username_password, credentials)
        wrong = self.assertRaises(
            MalformedCredentials, parse_username_password, b"\x05\x01u\x07hunter2"
        )
        for text in (repr(credentials), str(credentials), str(error), repr(error), repr(wrong)):
            self.assertNotIn("hunter2", text)


class StatusTests(SynchronousTestCase):
    """VER STATUS."""

    def test_octets(self) -> None:
        """Success is 0; the RFC leaves open what failure is."""
        self.assertEqual(pack_status(True), b"\x01\x00")
        self.assertEqual(pack_status(False), b"\x01\x01")

    def test_status(self) -> None:
        """Any STATUS but 0 is a failure."""
        for status in range(256):
            found = parse_status(bytes((1, status)))
            self.assertEqual(found, (CredentialsStatus(status), 2))
            self.assertEqual(CredentialsStatus(status).succeeded, status == 0)

    def test_version(self) -> None:
        """A server's version is 1 as well."""
        error = self.assertRaises(UnsupportedVersion, parse_status, b"\x05")
        self.assertEqual((error.version, error.hint), (5, ""))
