"""The answer to a challenge, before those who know the password."""

from __future__ import annotations

from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.error import UnauthorizedLogin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_socks5.auth import combine
from twisted_socks5.auth.challenge import ChallengeCredentials
from twisted_socks5.wire import Challenge, ChallengeAlgorithm, respond_to

ASKED = Challenge(ChallengeAlgorithm.HMAC_MD5, bytes(32))


def answered(password: bytes, user: bytes = b"alice") -> ChallengeCredentials:
    """Answer with a password."""
    return ChallengeCredentials(
        user, ASKED, respond_to(ASKED.algorithm, ASKED.challenge, password)
    )


class CheckTests(SynchronousTestCase):
    """One answer."""

    def test_interface(self) -> None:
        """They are what cred's checkers of challenges take."""
        verifyObject(IUsernameHashedPassword, answered(b"secret"))

    def test_check(self) -> None:
        """The password that made it, as octets or as text; no other, and no part of it."""
        answer = answered("pässword".encode())
        self.assertTrue(answer.checkPassword("pässword".encode()))
        self.assertTrue(answer.checkPassword("pässword"))
        for wrong in (b"", "", b"password", "pässword ", None):
            self.assertFalse(answer.checkPassword(wrong))  # type: ignore[arg-type]

    def test_nothing(self) -> None:
        """An empty password is no secret, and an empty answer is none."""
        self.assertFalse(answered(b"").checkPassword(b""))
        self.assertFalse(ChallengeCredentials(b"alice", ASKED, b"").checkPassword(b"secret"))

    def test_secret(self) -> None:
        """Nothing to guess from in a text."""
        answer = answered(b"secret")
        self.assertEqual(repr(answer), "ChallengeCredentials(username=b'alice')")


class CheckerTests(SynchronousTestCase):
    """Those who can tell."""

    def ask(self, checker: object, answer: ChallengeCredentials) -> object:
        """Ask a checker as a portal does."""
        chain = next(
            chain
            for chain in combine([checker])  # type: ignore[list-item]
            if IUsernameHashedPassword in chain.credentialInterfaces
        )
        return self.successResultOf(chain.requestAvatarId(answer))

    def test_memory(self) -> None:
        """C{memory:}, whose passwords are text."""
        checker = InMemoryUsernamePasswordDatabaseDontUse()
        checker.addUser("alice", "secret")  # type: ignore[arg-type]  # as strcred does
        self.assertEqual(self.ask(checker, answered(b"secret")), b"alice")
        for wrong in (answered(b"Secret"), answered(b"secret", b"bob")):
            chain = combine([checker])[1]
            self.failureResultOf(chain.requestAvatarId(wrong), UnauthorizedLogin)

    def test_file(self) -> None:
        """C{file:}, with passwords as they are."""
        path = self.mktemp()
        with open(path, "w") as lines:
            lines.write("alice:secret\n")
        self.assertEqual(self.ask(FilePasswordDB(path), answered(b"secret")), b"alice")
