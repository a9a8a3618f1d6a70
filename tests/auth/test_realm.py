"""Tests of the realm and its users."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.verify import verifyObject

from twisted_socks5.auth import SOCKS5Realm, User
from twisted_socks5.interfaces import ISOCKS5Avatar


class SOCKS5RealmTests(SynchronousTestCase):
    """The avatars of a server that knows nothing but names."""

    def name(self, avatarId: object) -> str | None:
        """Return the name an avatar ID becomes."""
        interface, avatar, logout = SOCKS5Realm().requestAvatar(
            avatarId,  # type: ignore[arg-type]  # some are wrong on purpose
            None,
            ISOCKS5Avatar,
        )
        self.assertIs(interface, ISOCKS5Avatar)
        self.assertTrue(verifyObject(ISOCKS5Avatar, avatar))
        self.assertIsNone(avatar.rules)
        logout()
        return avatar.name

    def test_interface(self) -> None:
        """It is a realm."""
        self.assertTrue(verifyObject(IRealm, SOCKS5Realm()))

    def test_names(self) -> None:
        """Octets are UTF-8; what is none is escaped."""
        self.assertEqual(self.name(b"alice"), "alice")
        self.assertEqual(self.name("J\u00f6rg".encode()), "J\u00f6rg")
        self.assertEqual(self.name(b"J\xf6rg"), "J\\xf6rg")
        self.assertEqual(self.name(b""), "")

    def test_anonymous(self) -> None:
        """Nobody in particular has no name."""
        self.assertIsNone(self.name(ANONYMOUS))

    def test_text(self) -> None:
        """A checker may answer with text, a command line's included."""
        self.assertEqual(self.name("J\u00f6rg"), "J\u00f6rg")
        self.assertEqual(self.name("J\udcf6rg"), "J\\xf6rg")

    @given(st.binary(max_size=255) | st.text(st.characters(), max_size=60))
    @settings(max_examples=100, deadline=None)
    def test_total(self, avatarId: bytes | str) -> None:
        """Any avatar ID has a name that can be written down, and it is never nobody's."""
        name = self.name(avatarId)
        self.assertIsNotNone(name)
        self.assertTrue(f"{name}.".encode())

    def test_nobody(self) -> None:
        """A checker's slip of the pen is no identity, least of all nobody's."""
        slips: list[object] = [None, False, True, 0, [], ("alice",)]
        for slip in slips:
            self.assertRaises(TypeError, self.name, slip)

    def test_otherAvatars(self) -> None:
        """It makes nothing else."""

        class IMailbox(Interface):
            """Something else."""

        realm = SOCKS5Realm()
        self.assertRaises(NotImplementedError, realm.requestAvatar, b"alice", None, IMailbox)
        self.assertRaises(NotImplementedError, realm.requestAvatar, b"alice", None)
        interface, _, _ = realm.requestAvatar(b"alice", None, IMailbox, ISOCKS5Avatar)
        self.assertIs(interface, ISOCKS5Avatar)

    def test_user(self) -> None:
        """A user without rules of its own takes the server's."""
        self.assertEqual(User("alice"), User("alice", None))
