"""
GSSAPI, as a client (RFC 1961): a security context with the proxy, and what it is to protect.

The exchange, step by step, each step in a thread, since tickets come from files and servers::

    our token       ->             step() until the context stands, and the server has had the
                    <-  its token  last word (which may be an empty one)
    our level       ->             the octet wrapped, or bare in NEC's way
                    <-  its level  it will do, or we give up with an abort

From there on an L{Encapsulation} is the transport.  What protects octets in it, and how contexts
come about, is not known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar
from weakref import WeakValueDictionary

from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_socks5.client.targets import hostOf
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.fairthreads import Busy, FairThreads
from twisted_socks5.security import ContextError, Encapsulation, ISecurityContext
from twisted_socks5.security.levels import accept
from twisted_socks5.wire import MTYP, Abort, Command, ProtectionLevel, Token

if TYPE_CHECKING:
    from twisted_socks5.client.attempt import Attempt
    from twisted_socks5.client.authentication import GSSAPI
    from twisted_socks5.client.dialogue import Dialogue
    from twisted_socks5.wire import ClientNegotiation

THREADS = 4
"""Contexts that are stepped, or large pieces that are wrapped, at a time."""

_T = TypeVar("_T")

_log = Logger()

#: A reactor's threads, for as long as one of its connections has any work for them.
_threads: WeakValueDictionary[Any, FairThreads] = WeakValueDictionary()


def threadsFor(reactor: Any) -> FairThreads:
    """Find the threads that all the contexts of a reactor share."""
    threads = _threads.get(reactor)
    if threads is None:
        threads = _threads[reactor] = FairThreads(reactor, THREADS, name="socks5-client")
    return threads


class Exchange:
    """One proxy's and our way to a security context."""

    def __init__(
        self,
        dialogue: Dialogue,
        attempt: Attempt,
        negotiation: ClientNegotiation,
        wanted: GSSAPI,
    ) -> None:
        """
        @param dialogue: sends what we say, and hears what came of it.
        @param attempt: knows the proxy and the command.
        @param negotiation: where it is our turn to send a token.
        @param wanted: who we are, and which protection will do.
        """
        self._dialogue = dialogue
        self._attempt = attempt
        self._negotiation = negotiation
        self._wanted = wanted
        self._threads = threadsFor(attempt.clock)
        self._context: ISecurityContext | None = None
        self._working = False  # a thread, on the context
        self._over = False

    def start(self) -> None:
        """Make the context and its first token."""
        wanted = self._wanted
        service = wanted.serviceAt(hostOf(self._attempt.name))
        sequence = self._attempt.command != Command.UDP_ASSOCIATE
        try:
            if wanted.context is not None:
                self._context = wanted.context(service, sequence)
            else:
                self._context = _kerberos(wanted, service, sequence)
        except (ConfigurationError, ContextError, ValueError) as error:
            self._dialogue.failed(f"no security context for {service}: {error}")
            return
        self._step(self._context, b"")

    def hear(self, event: Token | Abort) -> None:
        """What the server answers."""
        context = self._context
        if isinstance(event, Abort) or context is None:
            self._dialogue.failed("the server has given up the security context")
        elif event.kind is MTYP.PROTECTION_LEVEL:
            self._levelGranted(context, event.data)
        elif not context.established:
            self._step(context, event.data)
        elif event.data:
            self._giveUp("the server has sent a token after its last one")
        else:
            self._askForLevel(context)

    def stop(self) -> None:
        """It is over, in the middle; a thread that is busy with the context is let finish."""
        self._over = True
        if not self._working:
            self._dispose()

    def _run(self, work: Callable[[], _T], then: Callable[[_T], None]) -> None:
        """Do something in a thread, and then go on."""
        self._working = True
        job = self._threads.run(self, lambda: None if self._over else work())
        job.addCallbacks(self._done, self._failed, callbackArgs=(then,))
        job.addErrback(self._blundered)

    def _done(self, result: Any, then: Callable[[Any], None]) -> None:
        self._working = False
        if self._over:
            self._dispose()
            return
        then(result)
        self._dialogue.advance()

    def _failed(self, failure: Failure) -> None:
        self._working = False
        if self._over:
            self._dispose()
        elif not failure.check(ContextError, Busy, ConfigurationError):
            self._blundered(failure)
        else:
            self._giveUp(f"the security context has failed: {failure.value}")

    def _blundered(self, failure: Failure) -> None:
        """A mistake of ours, or of a context's maker."""
        _log.failure("A security context could not be used", failure)
        self._dialogue.failed("the security context has failed, see the log")

    def _step(self, context: ISecurityContext, token: bytes) -> None:
        self._run(lambda: context.step(token), lambda answer: self._stepped(context, answer))

    def _stepped(self, context: ISecurityContext, token: bytes) -> None:
        if token:
            self._send(self._negotiation.send_token(token))
        elif not context.established:
            self._giveUp("the security context does not stand, and has nothing more to say")
        else:
            self._askForLevel(context)

    def _askForLevel(self, context: ISecurityContext) -> None:
        octet = bytes((self._wanted.levels[0],))
        if self._wanted.nec:
            self._sendLevel(octet)
        else:
            self._run(lambda: context.wrap(octet, False), self._sendLevel)

    def _sendLevel(self, data: bytes) -> None:
        self._send(self._negotiation.send_protection_level(data))

    def _levelGranted(self, context: ISecurityContext, data: bytes) -> None:
        if self._wanted.nec:
            self._judge(context, data)
        else:
            self._run(lambda: context.unwrap(data)[0], lambda octets: self._judge(context, octets))

    def _judge(self, context: ISecurityContext, octets: bytes) -> None:
        """See whether the level that the server has granted will do."""
        level = accept(octets[0], self._wanted.levels) if len(octets) == 1 else None
        if level is None:
            granted = f"level {octets[0]}" if len(octets) == 1 else "no level"
            wanted = ", ".join(f"{each.name.lower()} ({each})" for each in self._wanted.levels)
            self._giveUp(f"the server grants {granted} of protection, instead of {wanted}")
            return
        self._negotiation.accept_protection_level(level)
        self._context = None
        if level is ProtectionLevel.NONE:
            context.dispose()
            self._dialogue.unprotected()
        else:
            self._dialogue.protected(
                lambda transport: Encapsulation(
                    transport, context, level, self._threads, transport
                )
            )

    def _giveUp(self, reason: str) -> None:
        """Tell the server that there will be no context; then us."""
        if self._negotiation.state.name.startswith("MUST"):
            self._send(self._negotiation.abort())
        self._dialogue.failed(reason)

    def _dispose(self) -> None:
        context, self._context = self._context, None
        if context is not None:
            context.dispose()

    def _send(self, octets: bytes) -> None:
        self._dialogue.transport.write(octets)


def _kerberos(wanted: GSSAPI, service: str, sequence: bool) -> ISecurityContext:
    """Make a context of Kerberos, which is imported when it is wanted."""
    from twisted_socks5.security.kerberos import initiate

    return initiate(
        service,
        principal=wanted.principal,
        ccache=wanted.ccache,
        delegate=wanted.delegate,
        sequence=sequence,
    )
