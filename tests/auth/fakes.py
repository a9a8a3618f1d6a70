"""Checkers, realms and a log for tests of authentication: they sit below the code under test."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm
from twisted.internet.defer import Deferred
from twisted.logger import ILogObserver, LogEvent, eventAsJSON, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface, implementer

from twisted_socks5.auth import OctetCredentials, User
from twisted_socks5.interfaces import ISOCKS5Avatar

ALICE = OctetCredentials(b"alice", b"correct-horse")
WRONG = OctetCredentials(b"alice", b"battery-staple")
NOBODY = OctetCredentials(b"mallory", b"correct-horse")


@implementer(ICredentialsChecker)
class Checker:
    """A checker whose answer is a function's, and which remembers what it was asked."""

    def __init__(
        self,
        answer: Callable[[Any], Any],
        *interfaces: type[Interface],
    ) -> None:
        self.credentialInterfaces = interfaces or (IUsernamePassword,)
        self.asked: list[Any] = []
        self._answer = answer

    def requestAvatarId(self, credentials: Any) -> Any:
        """Answer with whatever the function returns or raises."""
        self.asked.append(credentials)
        return self._answer(credentials)


def knows(username: bytes, password: bytes) -> Checker:
    """Make a checker that knows one user."""

    def answer(credentials: Any) -> bytes:
        if credentials.username == username and credentials.checkPassword(password):
            return username
        raise UnauthorizedLogin

    return Checker(answer)


def raising(error: BaseException, *interfaces: type[Interface]) -> Checker:
    """Make a checker that raises an error instead of answering."""

    def answer(credentials: Any) -> Any:
        raise error

    return Checker(answer, *interfaces)


def answering(result: object, *interfaces: type[Interface]) -> Checker:
    """Make a checker that answers everybody alike."""
    return Checker(lambda credentials: result, *interfaces)


@implementer(IRealm)
class Realm:
    """A realm that counts the logouts of its avatars, and can be made to take its time."""

    def __init__(self) -> None:
        self.minds: list[object] = []
        self.logouts = 0
        self.result: Any = (ISOCKS5Avatar, User("alice"), self.logout)

    def logout(self) -> None:
        """Count one."""
        self.logouts += 1

    def requestAvatar(self, avatarId: object, mind: object, *interfaces: object) -> Any:
        """Answer with C{result}, or raise it."""
        self.minds.append(mind)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


def failed(deferred: Deferred[Any]) -> tuple[Failure, BaseException]:
    """Return what a Deferred has failed with: the failure, and its exception."""
    failures: list[Failure] = []
    deferred.addErrback(failures.append)
    return failures[0], thrown(failures[0])


def thrown(failure: Failure) -> BaseException:
    """Return a failure's exception, which every failure of ours has."""
    if failure.value is None:
        raise ValueError(failure)
    return failure.value


class LogCase(SynchronousTestCase):
    """A test that reads what is logged, in every form in which it may be written down."""

    def setUp(self) -> None:
        """Listen to the log."""
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def logged(self) -> str:
        """Return the events as text, as JSON, with verbose tracebacks and with variables."""
        written = []
        for event in self.events:
            written += [eventAsText(event), eventAsJSON(event), repr(event)]
            failure = event.get("log_failure")
            if failure is not None:
                written += [failure.getTraceback(detail="verbose"), repr(failure.value.args)]
                traceback = failure.getTracebackObject()
                while traceback is not None:
                    written.append(repr(traceback.tb_frame.f_locals))
                    traceback = traceback.tb_next
        return "\n".join(written)
