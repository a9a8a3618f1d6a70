"""
Who is it?  One login of a session's, from its turn to the answer.

A login waits for its turn if somebody has guessed at this user from the client's address; then
the portal is asked; and a refusal is held back a while, longer with each (see L{LoginTurns} and
L{LoginSlowdown<twisted_socks5.limits.LoginSlowdown>}).  What the client hears of it, and in the
words of which method, is its session's business.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from twisted.internet.defer import CancelledError

from twisted_socks5.auth.gssapi import IVerifiedPrincipal

if TYPE_CHECKING:
    from twisted.cred.credentials import ICredentials
    from twisted.python.failure import Failure

    from twisted_socks5.interfaces import ISOCKS5Avatar
    from twisted_socks5.server.session import SOCKS5ServerProtocol

Logout = Callable[[], object]


class Pending(Protocol):
    """What can be called off: a login, a Deferred or a DelayedCall."""

    def cancel(self) -> object:
        """Call it off."""


class Login:
    """One login; it ends in a session that is identified or denied, unless it is cancelled."""

    def __init__(
        self,
        session: SOCKS5ServerProtocol,
        admitted: Callable[[], None],
        denied: Callable[[str], None],
    ) -> None:
        """
        @param session: whose login it is.
        @param admitted: called once the session knows who the client is.
        @param denied: called with the reason, for the log.
        """
        self._session = session
        self._admitted = admitted
        self._denied = denied
        self._user: bytes | None = None
        self._waiting: Pending | None = None

    def start(self, credentials: ICredentials) -> None:
        """
        Wait for the turn, then ask.

        @param credentials: what the client says of itself; they are kept no longer than that.
        """
        # Who comes without a name has nothing to guess at, and who has proven one has not guessed:
        # nobody else's guesses are to keep it.
        if not IVerifiedPrincipal.providedBy(credentials):
            self._user = getattr(credentials, "username", None)
        if self._user is not None:
            server = self._session.server
            now = server.clock.seconds()
            wait = server.turns.wait(self._session.client, self._user, now)
            if wait:
                self._waiting = server.clock.callLater(wait, self.start, credentials)
                return
        self._ask(credentials)

    def cancel(self) -> None:
        """The session is over: ask no more, and undo what the portal still answers."""
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()

    def _ask(self, credentials: ICredentials) -> None:
        session = self._session
        self._waiting = asked = session.server.authenticator.login(credentials, session.peer)
        asked.addCallbacks(self._succeeded, self._failed).addErrback(session.fail)

    def _succeeded(self, login: tuple[ISOCKS5Avatar, Logout]) -> None:
        self._waiting = None
        session = self._session
        if self._user is not None:
            session.server.turns.succeeded(session.client, self._user)
        session.identified(*login)
        self._admitted()

    def _failed(self, failure: Failure) -> None:
        self._waiting = None
        if failure.check(CancelledError):
            return
        session, server = self._session, self._session.server
        now = server.clock.seconds()
        if self._user is not None:
            server.turns.failed(session.client, self._user, now)
        delay = server.slowdown.failed(session.client, now)
        reason = str(failure.value) or "wrong user name or password"
        self._waiting = server.clock.callLater(delay, self._deny, reason)

    def _deny(self, reason: str) -> None:
        self._waiting = None
        self._denied(reason)


def logIn(
    session: SOCKS5ServerProtocol,
    credentials: ICredentials,
    admitted: Callable[[], None],
    denied: Callable[[str], None],
) -> None:
    """
    Ask who a session's client is; it waits for that.

    @param session: the session.
    @param credentials: what the client says of itself.
    @param admitted: called when it is let in: to say so, and to go on.
    @param denied: called with the reason if it is not: to refuse it.
    """
    login = Login(session, admitted, denied)
    session.waitFor(login)
    login.start(credentials)
