"""Tests of what a client says of itself."""

from __future__ import annotations

import hmac

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.credentials import IUsernamePassword
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_socks5.auth.credentials import OctetCredentials, toOctets


class OctetCredentialsTests(SynchronousTestCase):
    """UNAME and PASSWD as credentials."""

    def test_interface(self) -> None:
        """They are what a portal's checkers ask for."""
        self.assertTrue(verifyObject(IUsernamePassword, OctetCredentials(b"alice", b"secret")))

    @given(st.binary(max_size=255), st.binary(max_size=255))
    @settings(max_examples=100, deadline=None)
    def test_octets(self, sent: bytes, held: bytes) -> None:
        """Exactly the same octets are the same password."""
        credentials = OctetCredentials(b"alice", sent)
        self.assertIs(credentials.checkPassword(held), sent == held)
        self.assertIs(credentials.checkPassword(sent), True)

    @given(st.text(max_size=60))
    @settings(max_examples=100, deadline=None)
    def test_text(self, password: str) -> None:
        """A checker's text is compared as UTF-8."""
        credentials = OctetCredentials(b"alice", password.encode())
        self.assertTrue(credentials.checkPassword(password))
        self.assertFalse(credentials.checkPassword(password + "x"))

    def test_normalization(self) -> None:
        """Two spellings of a letter are two passwords."""
        self.assertFalse(OctetCredentials(b"a", "\u00e9".encode()).checkPassword("e\u0301"))

    def test_noPassword(self) -> None:
        """What is no password at all matches nothing."""
        for held in (None, 0, True, [b"secret"]):
            self.assertFalse(
                OctetCredentials(b"alice", b"").checkPassword(held)  # type: ignore[arg-type]  # the point
            )

    def test_constantTime(self) -> None:
        """The comparison is hmac's, and the client's octets are what its duration depends on."""
        compared: list[tuple[bytes, bytes]] = []

        def compare(held: bytes, sent: bytes) -> bool:
            compared.append((held, sent))
            return True

        self.patch(hmac, "compare_digest", compare)
        self.assertTrue(OctetCredentials(b"alice", b"sent").checkPassword("held"))
        self.assertEqual(compared, [(b"held", b"sent")])

    def test_repr(self) -> None:
        """The password is not part of the repr."""
        credentials = OctetCredentials(b"alice", b"correct-horse")
        self.assertIn("alice", repr(credentials))
        self.assertNotIn("horse", f"{credentials!r} {credentials} {[credentials]}")

    def test_equality(self) -> None:
        """No shortcut compares passwords."""
        self.assertNotEqual(OctetCredentials(b"a", b"b"), OctetCredentials(b"a", b"b"))


class InterestTests(SynchronousTestCase):
    """Whether anybody still waits."""

    def test_lost(self) -> None:
        """Who wants to know is told once; who comes later, at once."""
        told: list[str] = []
        interest = OctetCredentials(b"alice", b"secret").interest
        interest.whenLost(lambda: told.append("first"))
        self.assertEqual(told, [])
        interest.lose()
        interest.lose()
        interest.whenLost(lambda: told.append("second"))
        self.assertEqual(told, ["first", "second"])

    def test_own(self) -> None:
        """Each credentials have their own."""
        one, two = (OctetCredentials(b"alice", b"secret") for _ in range(2))
        self.assertIsNot(one.interest, two.interest)


class ToOctetsTests(SynchronousTestCase):
    """Text as the octets a client would send."""

    @given(st.binary(max_size=60))
    @settings(max_examples=100, deadline=None)
    def test_commandLine(self, octets: bytes) -> None:
        """Octets that a command line decoded come back, UTF-8 or not."""
        self.assertEqual(toOctets(octets.decode("utf-8", "surrogateescape")), octets)
        self.assertEqual(toOctets(octets), octets)

    @given(st.text(st.characters(), max_size=30) | st.text(st.characters(categories=["Cs"])))
    @settings(max_examples=100, deadline=None)
    def test_total(self, text: str) -> None:
        """No text raises an error, which would quote it."""
        self.assertIsInstance(toOctets(text), bytes)

    def test_loneSurrogate(self) -> None:
        """A surrogate that no octet stands behind is kept apart from all that clients send."""
        self.assertEqual(toOctets("\ud800"), b"\xed\xa0\x80")
