"""Tests of a session's one way to its portal."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.credentials import Anonymous, IAnonymous, ICredentials, IUsernamePassword
from twisted.cred.error import LoginDenied, UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import Portal
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.auth.fakes import (
    ALICE,
    WRONG,
    Checker,
    LogCase,
    Realm,
    answering,
    failed,
    knows,
    raising,
)
from twisted_socks5.auth import Authenticator, OctetCredentials, SOCKS5Realm, User, combine
from twisted_socks5.interfaces import ISOCKS5Avatar
from twisted_socks5.wire.constants import Method


class AuthenticatorCase(LogCase):
    """A portal with a realm of ours."""

    def setUp(self) -> None:
        """Make a realm that counts logouts."""
        super().setUp()
        self.realm = Realm()

    def authenticator(self, *checkers: Any) -> Authenticator:
        """Make an authenticator; Alice is known where no checkers are given."""
        return Authenticator(
            Portal(self.realm, combine(checkers or [knows(b"alice", b"correct-horse")]))
        )

    def refused(self, deferred: Deferred[Any]) -> str:
        """Return the reason of a refusal, which has no frames to look into."""
        failure, error = failed(deferred)
        self.assertIs(type(error), UnauthorizedLogin)
        self.assertEqual(list(failure.frames), [])
        self.assertIsNone(error.__context__)
        return str(error)


class SelectTests(AuthenticatorCase):
    """The METHOD of a session."""

    def test_methods(self) -> None:
        """They are what the portal can check now."""
        authenticator = self.authenticator(AllowAnonymousAccess())
        self.assertEqual(authenticator.methods, (Method.NO_AUTHENTICATION,))
        authenticator.portal.registerChecker(knows(b"alice", b"correct-horse"))
        self.assertEqual(
            authenticator.methods, (Method.USERNAME_PASSWORD, Method.NO_AUTHENTICATION)
        )

    def test_select(self) -> None:
        """The preferred one of those the client offers."""
        authenticator = self.authenticator(AllowAnonymousAccess(), answering(b"alice"))
        self.assertIs(authenticator.select(b"\x00\x01\x02"), Method.USERNAME_PASSWORD)
        self.assertIs(authenticator.select(b"\x00"), Method.NO_AUTHENTICATION)
        self.assertIs(authenticator.select(b"\x01"), Method.NO_ACCEPTABLE_METHODS)


class LoginTests(AuthenticatorCase):
    """The portal's answers."""

    def test_admitted(self) -> None:
        """The avatar, and a logout that happens once."""
        avatar, logout = self.successResultOf(self.authenticator().login(ALICE, "mind"))
        self.assertEqual(avatar.name, "alice")
        self.assertEqual(self.realm.minds, ["mind"])
        self.assertEqual(self.realm.logouts, 0)
        logout()
        logout()
        self.assertEqual(self.realm.logouts, 1)

    def test_realm(self) -> None:
        """The realm that is shipped with it fits, named user or none."""
        checkers = combine([AllowAnonymousAccess(), knows(b"alice", b"correct-horse")])
        authenticator = Authenticator(Portal(SOCKS5Realm(), checkers))
        credentials: ICredentials
        for credentials, name in ((ALICE, "alice"), (Anonymous(), None)):
            avatar, logout = self.successResultOf(authenticator.login(credentials))
            self.assertEqual(avatar, User(name))
            logout()

    def test_anybody(self) -> None:
        """Who need not say who it is, where neither checker nor realm wants to be asked."""
        checkers = combine([AllowAnonymousAccess()])
        self.assertEqual(Authenticator(Portal(SOCKS5Realm(), checkers)).anybody(), User(None))
        for portal in (
            Portal(self.realm, checkers),
            Portal(SOCKS5Realm(), [AllowAnonymousAccess()]),
            Portal(SOCKS5Realm(), combine([knows(b"alice", b"correct-horse")])),
        ):
            self.assertIsNone(Authenticator(portal).anybody())

    def test_noAcceptance(self) -> None:
        """Where no checker accepts security contexts, there is no telling how."""
        authenticator = self.authenticator()
        with self.assertRaises(LookupError):
            authenticator.acceptance  # noqa: B018 (it is the question)

    def test_cancelled(self) -> None:
        """A login of credentials that nobody has an interest in can be given up, too."""
        login = self.authenticator(answering(Deferred(), IAnonymous)).login(Anonymous())
        login.cancel()
        self.failureResultOf(login, CancelledError)

    def test_refused(self) -> None:
        """A wrong password is refused, and no news for the log."""
        self.assertEqual(self.refused(self.authenticator().login(WRONG)), "")
        self.assertEqual(self.realm.minds, [])
        self.assertEqual(self.events, [])

    def test_denied(self) -> None:
        """The realm may refuse whom the checkers know; the reason is handed on."""
        self.realm.result = LoginDenied("quota used up")
        self.assertEqual(self.refused(self.authenticator().login(ALICE)), "quota used up")
        self.assertEqual(self.events, [])

    def test_unhandled(self) -> None:
        """Credentials nobody checks are refused and logged, anonymous ones first of all."""
        self.assertIn("see the log", self.refused(self.authenticator().login(Anonymous())))
        self.assertEqual(len(self.flushLoggedErrors(UnhandledCredentials)), 1)
        self.assertIn("an anonymous client", self.logged())

    def test_realmBreaksDown(self) -> None:
        """A realm that fails, at once or later, lets nobody in."""
        for result in (ValueError("at once"), fail(ZeroDivisionError("later"))):
            self.realm.result = result
            self.assertIn("see the log", self.refused(self.authenticator().login(ALICE)))
        self.assertEqual(len(self.flushLoggedErrors(ValueError, ZeroDivisionError)), 2)

    def test_portalBreaksDown(self) -> None:
        """Nor does a portal that raises, or a checker without a chain around it."""

        class Broken(Portal):
            def login(self, *args: object) -> Any:
                raise OSError("no such portal")

        for portal in (Broken(self.realm), Portal(self.realm, [raising(OSError("gone"))])):
            self.assertIn("see the log", self.refused(Authenticator(portal).login(ALICE)))
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 2)

    def test_badWord(self) -> None:
        """A realm that does not keep its interface lets nobody in."""
        logout = self.realm.logout
        for result in (
            None,
            (),
            User("alice"),
            (ISOCKS5Avatar, User("alice")),
            (ISOCKS5Avatar, User("alice"), None),
        ):
            self.realm.result = result
            self.assertIn("see the log", self.refused(self.authenticator().login(ALICE)))
        self.assertEqual(self.realm.logouts, 0)
        self.realm.result = (ISOCKS5Avatar, "alice", logout)
        self.assertIn("see the log", self.refused(self.authenticator().login(ALICE)))
        self.assertEqual(self.realm.logouts, 1)
        self.assertEqual(len(self.flushLoggedErrors(TypeError, ValueError)), 6)

    def test_slip(self) -> None:
        """A checker that returns nothing, or a truth value, has identified nobody."""
        for slip in (None, True, False):
            portal = Portal(SOCKS5Realm(), combine([answering(slip)]))
            self.assertIn("see the log", self.refused(Authenticator(portal).login(ALICE)))
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 3)

    def test_logoutFails(self) -> None:
        """What goes wrong in a logout is logged, and no trouble for the session."""

        def raises() -> None:
            raise ValueError("still busy")

        logouts: list[Callable[[], Any]] = [raises, lambda: fail(ValueError("later"))]
        for broken in logouts:
            self.realm.result = (ISOCKS5Avatar, User("alice"), broken)
            _, logout = self.successResultOf(self.authenticator().login(ALICE))
            logout()
            logout()
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        self.assertIn("The logout of user b'alice' failed", self.logged())
        self.assertIn("still busy", self.logged())

    def test_secrets(self) -> None:
        """No password gets into log or refusal, whoever breaks down with it."""

        def breakDown(credentials: OctetCredentials) -> bytes:
            password = credentials.password
            raise ValueError("wrong password", password)

        def tell(credentials: OctetCredentials) -> bytes:
            raise UnauthorizedLogin(f"{credentials.password!r} is wrong")

        told = ""
        for checker in (Checker(breakDown), Checker(tell)):
            for checkers in (combine([checker]), [checker]):
                told += self.refused(Authenticator(Portal(self.realm, checkers)).login(ALICE))
        self.realm.result = ValueError("correct-horse")
        told += self.refused(self.authenticator().login(ALICE))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 3)
        for secret in ("correct", "horse"):
            self.assertNotIn(secret, told + self.logged())

    def test_passwordForgotten(self) -> None:
        """What a session keeps of a finished login does not hold the password."""

        @implementer(ICredentialsChecker)
        class Forgetful:
            credentialInterfaces = (IUsernamePassword,)

            def requestAvatarId(self, credentials: object) -> Deferred[bytes | tuple[()]]:
                return succeed(b"alice")

        credentials = OctetCredentials(b"alice", b"correct-horse")
        remembered = weakref.ref(credentials)
        login = self.authenticator(Forgetful()).login(credentials)
        session = self.successResultOf(login)
        del credentials
        gc.collect()
        self.assertIsNone(remembered())
        self.assertEqual(len(session), 2)


class LeavingTests(AuthenticatorCase):
    """Sessions that end before their login does."""

    def setUp(self) -> None:
        """Hold the checker and the realm back."""
        super().setUp()
        self.checked: Deferred[bytes] = Deferred()
        self.made: Deferred[Any] = Deferred()
        self.realm.result, self.result = self.made, self.realm.result
        self.login = self.authenticator(answering(self.checked)).login(ALICE)

    def leave(self) -> None:
        """The session ends."""
        self.login.cancel()
        self.failureResultOf(self.login, CancelledError)

    def test_patient(self) -> None:
        """A login that takes its time succeeds all the same."""
        self.assertNoResult(self.login)
        self.checked.callback(b"alice")
        self.assertNoResult(self.login)
        self.made.callback(self.result)
        _, logout = self.successResultOf(self.login)
        self.login.cancel()
        self.assertEqual(self.realm.logouts, 0)
        logout()
        self.assertEqual(self.realm.logouts, 1)

    def test_leftWhileChecked(self) -> None:
        """An avatar that arrives after its session has ended is logged out."""
        self.leave()
        self.checked.callback(b"alice")
        self.made.callback(self.result)
        self.assertEqual(self.realm.logouts, 1)
        self.assertEqual(self.events, [])

    def test_leftWhileMade(self) -> None:
        """The same when the realm was at work already: its avatar is not lost on the way."""
        self.checked.callback(b"alice")
        self.leave()
        self.assertFalse(self.made.called)
        self.made.callback(self.result)
        self.assertEqual(self.realm.logouts, 1)

    def test_lateLogoutFails(self) -> None:
        """A late logout that fails is logged."""
        self.leave()
        self.checked.callback(b"alice")
        self.made.callback((ISOCKS5Avatar, User("alice"), lambda: 1 // 0))
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_lateRefusal(self) -> None:
        """A late refusal is nobody's business any more."""
        self.leave()
        self.checked.errback(UnauthorizedLogin())
        self.assertEqual(self.events, [])

    def test_lateBreakdown(self) -> None:
        """A late breakdown is logged as ever."""
        self.leave()
        self.checked.errback(ValueError("no route"))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_lateBadWord(self) -> None:
        """A late avatar that is none is logged out and logged."""
        self.leave()
        self.checked.callback(b"alice")
        self.made.callback((ISOCKS5Avatar, object(), self.realm.logout))
        self.assertEqual(self.realm.logouts, 1)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_never(self) -> None:
        """A checker that never answers keeps no session from ending."""
        self.leave()
        self.assertEqual(self.realm.minds, [])
        self.checked.errback(Failure(UnauthorizedLogin()))


class LostInterestTests(AuthenticatorCase):
    """Checkers that want to know when nobody waits any more."""

    def login(self, *interested: Callable[[], object]) -> Deferred[Any]:
        """Begin a login with a checker that takes its time, and tell these when it is lost."""
        self.checked: Deferred[bytes] = Deferred()
        self.credentials = OctetCredentials(b"alice", b"correct-horse")
        for each in (self.checked.cancel, *interested):
            self.credentials.interest.whenLost(each)
        return self.authenticator(answering(self.checked)).login(self.credentials)

    def test_lost(self) -> None:
        """It is told, may give up then, and that is nothing to be logged."""
        told: list[int] = []
        login = self.login(lambda: told.append(1))
        login.cancel()
        self.failureResultOf(login, CancelledError)
        self.assertEqual((told, self.events), ([1], []))

    def test_notLost(self) -> None:
        """It is not when the login has come to its end."""
        told: list[int] = []
        login = self.login(lambda: told.append(1))
        self.checked.callback(b"alice")
        self.successResultOf(login)
        login.cancel()
        self.assertEqual(told, [])

    def test_cancelledOtherwise(self) -> None:
        """One that gives up while somebody waits is a breakdown."""
        login = self.login()
        self.checked.cancel()
        self.assertIn("CancelledError, see the log", self.refused(login))
        self.assertEqual(len(self.flushLoggedErrors(CancelledError)), 1)
