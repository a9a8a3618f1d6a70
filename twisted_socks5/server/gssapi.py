"""
The sub-negotiation of method 1 (RFC 1961, sections 3 and 4), for one session.

Whose turn it is, is L{ServerNegotiation<twisted_socks5.wire.ServerNegotiation>}'s to know; the
context's is what the tokens say; here is what lies between::

    token  -> a step of the context, in a thread -> our token
                            it stands -> the portal: is this principal let in? -> our last token
    level  -> unwrapped, in a thread -> granted, wrapped -> everything that follows goes through
                                                            the encapsulation, if there is any

So nothing is granted, not even the end of the exchange, before the portal has agreed.  What goes
wrong, at whatever stage, is answered with an abort, and its reason is in the log.  A token is in
no log, and neither is anything made of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import CancelledError
from twisted.logger import Logger

from twisted_socks5.auth.gssapi import BARE, VerifiedPrincipal, describeLevel
from twisted_socks5.auth.refusals import withoutSecrets
from twisted_socks5.fairthreads import Busy
from twisted_socks5.limits import client_key
from twisted_socks5.security import ContextError
from twisted_socks5.security.levels import grant
from twisted_socks5.server.login import logIn
from twisted_socks5.wire import MTYP, Abort, ProtectionLevel, Token

if TYPE_CHECKING:
    from collections.abc import Collection

    from twisted.internet.defer import Deferred
    from twisted.python.failure import Failure

    from twisted_socks5.auth.gssapi import Acceptance
    from twisted_socks5.security import ISecurityContext
    from twisted_socks5.server.session import SOCKS5ServerProtocol

T = TypeVar("T")


class GSSAPIDialogue:
    """One session's, from the selection of the method to the protection level."""

    _log = Logger()

    def __init__(
        self,
        session: SOCKS5ServerProtocol,
        acceptance: Acceptance,
    ) -> None:
        """
        @param session: whose it is; GSSAPI has been selected in its negotiation.
        @param acceptance: how contexts are accepted.
        """
        self._session = session
        self._negotiation = session.negotiation
        self._acceptance = acceptance
        self._context = ContextInThreads(acceptance.acceptor.context)
        self._lastToken = b""
        self._job: Deferred[Any] | None = None

    def received(self, frame: Token | Abort) -> None:
        """The client has sent a frame, which was its turn."""
        if isinstance(frame, Abort):
            self._session.turnAway(b"", "the client gave its security context up")
        elif frame.kind is MTYP.AUTHENTICATION:
            self._inThread(partial(_step, frame.data), self._stepped)
        elif len(frame.data) == 1:
            self._bareLevelAsked(frame.data[0])
        else:
            levels = self._acceptance.levels
            self._inThread(partial(_answerLevel, frame.data, levels), self._levelAnswered)

    def cancel(self) -> None:
        """The session is over, or has been refused."""
        job, self._job = self._job, None
        if job is not None:
            job.cancel()
        self._context.dispose()

    # The context.

    def _stepped(self, step: Step) -> None:
        if step.peer is None:
            self._session.proceed(self._negotiation.send_token(step.token))
            return
        self._lastToken = step.token
        self._session.record.user = step.peer
        logIn(self._session, VerifiedPrincipal(step.peer), self._admitted, self._giveUp)

    def _admitted(self) -> None:
        # A context may stand without a token for the other side, which awaits an answer though.
        token, self._lastToken = self._lastToken, b""
        self._session.proceed(self._negotiation.send_token(token, established=True))

    # The protection level.

    def _bareLevelAsked(self, asked: int) -> None:
        """NEC's clients, and those that imitate them, send the level as it is."""
        if not self._acceptance.bare:
            self._giveUp(
                "the protection level came as a bare octet (NEC's way), which "
                f"--auth gssapi:protection=…,{BARE} would allow"
            )
            return
        level = grant(asked, self._acceptance.levels)
        self._levelAnswered(Level(asked, level, b"" if level is None else bytes([level])))

    def _levelAnswered(self, answer: Level) -> None:
        if answer.level is None:
            word = describeLevel(answer.asked)
            reason = f"the client asked for protection level {word}"
            if not word.startswith("unknown"):
                reason += f", which --auth gssapi:protection=…,{word} would allow"
            self._giveUp(reason)
            return
        session, negotiation = self._session, self._negotiation
        session.protection = answer.level
        octets = negotiation.send_protection_level(answer.token, answer.level)
        if answer.level is ProtectionLevel.NONE:
            session.proceed(octets)
            self.cancel()
        else:
            session.transport.write(octets)
            early = negotiation.finish_subnegotiation()
            session.encapsulate(self._context.handOver(), answer.level, early)

    # In a thread, and back.

    def _inThread(self, use: Callable[[ISecurityContext], T], done: Callable[[T], None]) -> None:
        session = self._session
        threads = session.server.securityThreads
        job: Deferred[Any] = threads.run(
            client_key(session.client), partial(self._context.use, use)
        )
        self._job = job
        job.addCallback(self._back, done).addErrback(self._failed).addErrback(session.fail)

    def _back(self, result: T, done: Callable[[T], None]) -> None:
        self._job = None
        done(result)

    def _failed(self, failure: Failure) -> None:
        self._job = None
        if failure.check(CancelledError):
            return
        if failure.check(ContextError):
            reason = f"no security context: {failure.value}"
        elif failure.check(Busy):
            reason = f"no thread for a security context: {failure.value}"
        else:
            # Its stack may hold tokens.
            self._log.failure("A security context broke down", withoutSecrets(failure))
            reason = "internal error, see the log"
        self._giveUp(reason)

    def _giveUp(self, reason: str) -> None:
        self._session.turnAway(self._negotiation.abort(), reason)


@dataclass(frozen=True)
class Step:
    """
    What has become of a step.

    @ivar token: to be sent.
    @ivar peer: the principal, if the context stands now.
    """

    token: bytes
    peer: str | None


@dataclass(frozen=True)
class Level:
    """
    What has become of the client's wish for a protection level.

    @ivar asked: the octet.
    @ivar level: what is granted; L{None}: nothing.
    @ivar token: the answer.
    """

    asked: int
    level: ProtectionLevel | None
    token: bytes


def _step(token: bytes, context: ISecurityContext) -> Step:
    """Take one step; in a thread."""
    answer = context.step(token)
    return Step(answer, context.peer if context.established else None)


def _answerLevel(
    token: bytes, levels: Collection[ProtectionLevel], context: ISecurityContext
) -> Level:
    """Answer the client's wish; in a thread."""
    octets, _ = context.unwrap(token)
    if len(octets) != 1:
        raise ContextError(f"{len(octets)} octets in the place of a protection level")
    level = grant(octets[0], levels)
    # The level itself is never confidential (RFC 1961, section 4.2).
    answer = b"" if level is None else context.wrap(bytes([level]), False)
    return Level(octets[0], level, answer)


class ContextInThreads:
    """
    A context that one thread at a time uses, and that is disposed of when none does any more.

    A thread cannot be called back, so who is done with the context here may still have to wait
    for one; the last to leave puts out the light.
    """

    def __init__(self, make: Callable[[], ISecurityContext]) -> None:
        """
        @param make: makes the context, in a thread, when it is first used.
        """
        self._make: Callable[[], ISecurityContext] | None = make
        self._context: ISecurityContext | None = None
        self._lock = Lock()
        self._over = False

    def use(self, use: Callable[[ISecurityContext], T]) -> T:
        """
        Do something with the context; in a thread.

        @raise ContextError: it is disposed of, or what is done raises it.
        """
        try:
            with self._lock:
                return use(self._made())
        finally:
            if self._over:
                self._disposeIfIdle()

    def handOver(self) -> ISecurityContext:
        """Give the context away; it is the taker's to dispose of."""
        with self._lock:
            context, self._context = self._made(), None
            self._over = True
        return context

    def dispose(self) -> None:
        """Use the context no more."""
        self._over = True
        self._disposeIfIdle()

    def _made(self) -> ISecurityContext:
        if self._over:
            raise ContextError("the session is over")
        make, self._make = self._make, None
        if make is not None:
            self._context = make()
        context: Any = self._context
        if context is None:
            raise ContextError("there is no context")
        return context  # type: ignore[no-any-return]  # checked for None above

    def _disposeIfIdle(self) -> None:
        # Whoever holds the lock comes by here afterwards, for this was said before.
        if self._lock.acquire(blocking=False):
            try:
                context, self._context = self._context, None
            finally:
                self._lock.release()
            if context is not None:
                context.dispose()
