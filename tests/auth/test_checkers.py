"""Tests of several checkers where a portal has room for one."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import (
    ANONYMOUS,
    AllowAnonymousAccess,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import (
    Anonymous,
    CramMD5Credentials,
    IAnonymous,
    ICredentials,
    IUsernameHashedPassword,
    IUsernamePassword,
)
from twisted.cred.error import LoginDenied, UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.auth.fakes import (
    ALICE,
    NOBODY,
    WRONG,
    Checker,
    LogCase,
    answering,
    failed,
    knows,
    raising,
)
from twisted_socks5.auth import CheckerChain, OctetCredentials, SOCKS5Realm, combine
from twisted_socks5.auth.checkers import InMemoryOctets


def _chain(*checkers: ICredentialsChecker) -> CheckerChain:
    """Make a chain for user names and passwords."""
    return CheckerChain(checkers, IUsernamePassword)


class CheckerChainTests(LogCase):
    """One checker after the other."""

    def refused(self, chain: CheckerChain, credentials: ICredentials = ALICE) -> str:
        """Return the reason for which a chain refuses somebody."""
        _, error = failed(chain.requestAvatarId(credentials))
        self.assertIs(type(error), UnauthorizedLogin)
        self.assertIsNone(error.__context__)
        return str(error)

    def test_interface(self) -> None:
        """It is a checker, for one interface."""
        chain = _chain()
        self.assertTrue(verifyObject(ICredentialsChecker, chain))
        self.assertEqual(chain.credentialInterfaces, (IUsernamePassword,))

    def test_order(self) -> None:
        """The first that is content decides; those behind it are not asked."""
        first, second, third = knows(b"bob", b"x"), answering(b"ALICE"), answering(b"other")
        chain = _chain(first, second, third)
        self.assertEqual(self.successResultOf(chain.requestAvatarId(ALICE)), b"ALICE")
        self.assertEqual([first.asked, second.asked, third.asked], [[ALICE], [ALICE], []])

    def test_either(self) -> None:
        """A user whom two checkers know can use either password."""
        chain = _chain(knows(b"alice", b"correct-horse"), knows(b"alice", b"battery-staple"))
        for credentials in (ALICE, WRONG):
            self.assertEqual(self.successResultOf(chain.requestAvatarId(credentials)), b"alice")
        self.refused(chain, NOBODY)

    def test_allAsked(self) -> None:
        """An unknown user is worth as many questions as a wrong password."""
        checkers = [knows(b"alice", b"correct-horse"), knows(b"bob", b"x")]
        for credentials in (WRONG, NOBODY):
            self.assertEqual(self.refused(_chain(*checkers), credentials), "")
        self.assertEqual([len(checker.asked) for checker in checkers], [2, 2])

    def test_empty(self) -> None:
        """Nobody to ask is nobody to let in."""
        self.assertEqual(self.refused(_chain()), "")

    def test_answers(self) -> None:
        """A checker may answer at once, with a Deferred or as a coroutine."""

        async def coroutine(credentials: Any) -> bytes:
            return await succeed(b"later")

        for checker, expected in (
            (answering(b"once"), b"once"),
            (Checker(lambda credentials: succeed(b"soon")), b"soon"),
            (Checker(coroutine), b"later"),
            (answering(ANONYMOUS), ANONYMOUS),
        ):
            answer = _chain(checker).requestAvatarId(ALICE)
            self.assertEqual(self.successResultOf(answer), expected)

    def test_later(self) -> None:
        """A checker is given its time; the next is asked when it has refused."""
        pending: Deferred[bytes] = Deferred()
        second = knows(b"alice", b"correct-horse")
        answer = _chain(answering(pending), second).requestAvatarId(ALICE)
        self.assertNoResult(answer)
        self.assertEqual(second.asked, [])
        pending.errback(UnauthorizedLogin())
        self.assertEqual(self.successResultOf(answer), b"alice")

    def test_silent(self) -> None:
        """One that never answers holds its own login only."""
        chain = _chain(Checker(lambda asked: Deferred() if asked is WRONG else b"alice"))
        self.assertNoResult(chain.requestAvatarId(WRONG))
        self.assertEqual(self.successResultOf(chain.requestAvatarId(ALICE)), b"alice")

    def test_breakdowns(self) -> None:
        """Whatever a checker fails with, the next is asked, and the log has a traceback."""
        for breakdown in (
            raising(ValueError("at once")),
            raising(SystemExit(3)),
            Checker(lambda credentials: fail(ZeroDivisionError("later"))),
            Checker(lambda credentials: credentials.noSuchThing),
        ):
            chain = _chain(breakdown, knows(b"alice", b"correct-horse"))
            self.assertEqual(self.successResultOf(chain.requestAvatarId(ALICE)), b"alice")
            self.assertIn("see the log", self.refused(chain, WRONG))
        self.assertEqual(len(self.flushLoggedErrors()), 8)
        self.assertIn("tests.auth.fakes.Checker could not answer for user b'alice'", self.logged())

    def test_reasons(self) -> None:
        """Reasons are handed on, without those that are empty."""
        chain = _chain(
            raising(UnauthorizedLogin("expired")),
            raising(UnauthorizedLogin()),
            raising(LoginDenied("not at this hour")),
        )
        self.assertEqual(self.refused(chain), "expired; not at this hour")
        self.assertEqual(self.events, [])

    def test_cancelled(self) -> None:
        """Cancelling reaches the checker that is being asked, and no other."""
        cancelled: list[Deferred[bytes]] = []
        second = answering(b"alice")
        answer = _chain(answering(Deferred(cancelled.append)), second).requestAvatarId(ALICE)
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(second.asked, [])
        self.assertEqual(self.events, [])

    def test_secrets(self) -> None:
        """No password gets into the log, wherever a breakdown has taken it."""

        def breakDown(credentials: Any) -> bytes:
            password = credentials.password.decode()
            try:
                raise KeyError(password)
            except KeyError:
                raise ValueError(f"SELECT * FROM users WHERE password='{password}'")  # noqa: B904  # its context is the point

        reason = self.refused(_chain(Checker(breakDown), knows(b"bob", b"bobs-secret")))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIn("in breakDown", self.logged())
        for secret in ("correct", "horse", "bobs-secret"):
            self.assertNotIn(secret, self.logged() + reason)


class CombineTests(SynchronousTestCase):
    """One chain for each interface."""

    def test_grouped(self) -> None:
        """Each interface's checkers keep their order, and the chains that of first appearance."""
        both = answering(b"both", IUsernamePassword, IUsernameHashedPassword)
        anyone = AllowAnonymousAccess()
        one = answering(b"one", IUsernamePassword)
        chains = combine(iter([both, anyone, one]))
        self.assertEqual(
            [(chain.credentialInterfaces, list(chain.checkers)) for chain in chains],
            [
                ((IUsernamePassword,), [both, one]),
                ((IUsernameHashedPassword,), [both]),
                ((IAnonymous,), [anyone]),
            ],
        )

    def test_empty(self) -> None:
        """Nothing makes nothing."""
        self.assertEqual(combine([]), [])

    def test_portal(self) -> None:
        """In a portal a second checker adds to the first; alone it would replace it."""
        checkers = [knows(b"alice", b"correct-horse"), knows(b"mallory", b"correct-horse")]
        for made, expected in ((checkers, False), (combine(checkers), True)):
            portal = Portal(SOCKS5Realm(), made)
            self.assertEqual(len(portal.listCredentialsInterfaces()), 1)
            checker = portal.checkers[IUsernamePassword]
            answers: list[Any] = []
            Deferred.fromCoroutine(_ask(checker)).addBoth(answers.append)
            self.assertEqual(answers == [b"alice"], expected)

    def test_anonymous(self) -> None:
        """Nobody in particular is asked about as ever."""
        (chain,) = combine([AllowAnonymousAccess()])
        self.assertEqual(self.successResultOf(chain.requestAvatarId(Anonymous())), ANONYMOUS)

    def test_subclass(self) -> None:
        """A relative of the memory checker answers in its own way."""

        class Other(InMemoryUsernamePasswordDatabaseDontUse):
            """A subclass."""

        other = Other()
        self.assertIs(combine([other])[0].checkers[0], other)


async def _ask(checker: ICredentialsChecker) -> object:
    """Ask a checker for Alice, whatever way it answers in."""
    answer = checker.requestAvatarId(ALICE)
    return await answer if isinstance(answer, Deferred) else answer


class InMemoryOctetsTests(SynchronousTestCase):
    """Text in memory, asked about with octets."""

    def checker(self, *users: tuple[Any, Any]) -> InMemoryOctets:
        """Make a checker of some users."""
        memory = InMemoryUsernamePasswordDatabaseDontUse()
        for name, password in users:
            memory.addUser(name, password)
        return InMemoryOctets(memory)

    def test_interface(self) -> None:
        """It checks what the one behind it does."""
        checker = self.checker()
        self.assertTrue(verifyObject(ICredentialsChecker, checker))
        self.assertEqual(
            checker.credentialInterfaces, (IUsernamePassword, IUsernameHashedPassword)
        )

    @given(st.text(max_size=20), st.text(max_size=20), st.text(max_size=20), st.text(max_size=20))
    @settings(max_examples=60, deadline=None)
    def test_users(self, name: str, password: str, otherName: str, otherPassword: str) -> None:
        """A user with the right password gets in, text or octets; nobody else does."""
        for users in (
            [(name, password), ("bystander", "x")],
            [("bystander", "x"), (name.encode(), password.encode())],
        ):
            checker = self.checker(*users)
            good = OctetCredentials(name.encode(), password.encode())
            self.assertEqual(self.successResultOf(checker.requestAvatarId(good)), name.encode())
            other = OctetCredentials(otherName.encode(), otherPassword.encode())
            known = {("bystander", "x")} | {(name, password)}
            if (otherName, otherPassword) not in known:
                self.failureResultOf(checker.requestAvatarId(other), UnauthorizedLogin)

    def test_unknown(self) -> None:
        """An unknown user costs a comparison too, and no password lets it in."""
        compared: list[object] = []

        class Spy(OctetCredentials):
            def checkPassword(self, password: bytes | str) -> bool:
                compared.append(password)
                return True

        checker = self.checker(("alice", "correct-horse"))
        for password in (b"", b"correct-horse"):
            spy = Spy(b"mallory", password)
            self.failureResultOf(checker.requestAvatarId(spy), UnauthorizedLogin)
        self.assertEqual(len(compared), 2)

    def test_live(self) -> None:
        """A user who is added later counts."""
        checker = self.checker()
        self.failureResultOf(checker.requestAvatarId(ALICE), UnauthorizedLogin)
        checker.checker.addUser(b"alice", b"correct-horse")
        self.assertEqual(self.successResultOf(checker.requestAvatarId(ALICE)), b"alice")

    def test_hashed(self) -> None:
        """Credentials that hash what they compare get octets to hash."""
        credentials = CramMD5Credentials("example")
        challenge = credentials.getChallenge()
        self.assertTrue(challenge)
        credentials.username, credentials.response = b"alice", b"0" * 32
        checker = self.checker(("alice", "correct-horse"))
        self.failureResultOf(checker.requestAvatarId(credentials), UnauthorizedLogin)
