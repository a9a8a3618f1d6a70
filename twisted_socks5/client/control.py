"""
The second part of a connection to a proxy: what we want, and what stands once it is granted.

A L{ControlConnection} sends the request and reads the reply.  What then becomes of it depends on
the command:

  - CONNECT: it is handed over to the application's protocol;
  - BIND: there will be another reply, when somebody has connected, and then it is handed over;
  - UDP ASSOCIATE: it is kept, for the association lasts as long as it does;
  - others: the reply is all there is.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, cast

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure

from twisted_socks5.client.errors import SOCKSError
from twisted_socks5.client.succession import Predecessor, abort
from twisted_socks5.wire import (
    ClientState,
    Command,
    LocalProtocolError,
    ProtocolError,
    Reply4Message,
    ReplyMessage,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol

    from twisted_socks5.client.attempt import Attempt
    from twisted_socks5.security import Encapsulation
    from twisted_socks5.wire import Address, ClientNegotiation

KEPT = 65536
"""Octets that are kept until the connection is handed over; then the transport is paused."""


class ControlConnection(Predecessor):
    """
    A connection to a proxy that has granted a request.

    @ivar reply: the first reply; its C{bound} is as the proxy has sent it: it may be zeros,
        which stand for the proxy's own address, or a name.
    @ivar transport: what octets go through now; it tells the proxy's address, and ours.
    @ivar encapsulation: the same, if GSSAPI protects the connection: datagrams need it, too.
        Else L{None}.
    """

    reply: ReplyMessage | Reply4Message

    encapsulation: Encapsulation | None = None

    def __init__(self, attempt: Attempt, negotiation: ClientNegotiation) -> None:
        """
        @param attempt: the request; it hears of the first reply, or of what came instead.
        @param negotiation: where it is our turn to request.
        """
        self._attempt = attempt
        self._negotiation = negotiation
        self._granted = False
        self._handedOver = False
        self._ended = False
        self._kept = 0
        self._paused = False
        self._loss: BaseException | None = None
        #: What nextReply() gives, once it is known.
        self._second: ReplyMessage | Reply4Message | SOCKSError | None = None
        self._awaiting: list[Deferred[ReplyMessage | Reply4Message]] = []
        self._closing: list[Deferred[BaseException]] = []

    @property
    def proxyName(self) -> str:
        """What the proxy is called."""
        return self._attempt.name

    @property
    def destination(self) -> Address:
        """What was asked for."""
        return self._attempt.destination

    # What whoever has asked for it does.

    def nextReply(self) -> Deferred[ReplyMessage | Reply4Message]:
        """
        Wait for BIND's second reply: somebody has connected.

        @return: fires with the reply, C{bound} being who has connected; L{handOver} is next.
            Fails with a L{SOCKSError}, and then the connection is closed.  Cancel it, and the
            connection is closed, too.
        """
        if self._attempt.command != Command.BIND:
            return fail(LocalProtocolError("only BIND has a second reply"))
        if isinstance(self._second, SOCKSError):
            return fail(self._second)
        if self._second is not None:
            return succeed(self._second)
        waiting: Deferred[ReplyMessage | Reply4Message] = Deferred(self._cancelled)
        self._awaiting.append(waiting)
        return waiting

    def handOver(self, protocol: IProtocol, made: Callable[[], object] = bool) -> None:
        """
        Give the connection to the application's protocol, for good.

        It gets the real transport, as if it had connected itself: C{connectionMade} comes first,
        and then the octets that came behind the reply.  If it pauses the transport in the
        meantime they wait until it resumes.

        @param protocol: hears all from now on.
        @param made: called between C{connectionMade} and the first octets.
        @raise LocalProtocolError: the request is not granted, not wholly, or there is nothing to
            hand over: the connection of an association is not the application's.
        """
        if self._handedOver or not self._granted or self._isAssociation:
            raise LocalProtocolError("there is no connection to hand over")
        if self._paused and self._loss is None and not self._ended:
            self._paused = False
            self.transport.resumeProducing()
        rest = self._negotiation.take_rest()
        self._handedOver = True
        self.giveWay(protocol, rest, ended=self._ended, made=made, clock=self._attempt.clock)
        if self._loss is not None:
            protocol.connectionLost(Failure(self._loss))

    def whenClosed(self) -> Deferred[BaseException]:
        """
        Wait for the end of the connection, as long as it isn't handed over.

        @return: fires with what the transport says, C{ConnectionDone} or C{ConnectionLost};
            cancelling it closes nothing.
        """
        if self._loss is not None:
            return succeed(self._loss)
        waiting: Deferred[BaseException] = Deferred(self._closing.remove)
        self._closing.append(waiting)
        return waiting

    def close(self) -> None:
        """Close the connection behind what was written; if it's closed already, do nothing."""
        if self._loss is None and not self._handedOver:
            self.part(self._attempt.clock)

    # What the transport tells.

    def connectionMade(self) -> None:
        """It is time for our request; what the proxy has said ahead of it counts as its answer."""
        attempt = self._attempt
        self.transport.write(
            self._negotiation.request(attempt.command, attempt.destination, attempt.proxy.userID)
        )
        self._advance()

    def octetsReceived(self, data: bytes) -> None:
        """The proxy's replies, and what comes behind them."""
        if self._lingering is not None or (self._granted and self._isAssociation):
            return
        try:
            self._negotiation.receive(data)
        except ProtocolError as error:
            self._broken(error)
        else:
            self._advance()
            self._keep(data)

    def inputEnded(self) -> None:
        """The proxy's FIN: whatever is still to come won't."""
        self._ended = True
        if self._negotiation.state is not ClientState.DONE or self._isAssociation:
            self._fail(self._attempt.closed(self._missing()))

    def lost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._loss = loss = cast(BaseException, reason.value)
        self._attempt.gone()
        self._fail(self._attempt.closed(self._missing(), reason))
        closing, self._closing = self._closing, []
        for waiting in closing:
            waiting.callback(loss)

    # The rest.

    @property
    def _isAssociation(self) -> bool:
        return self._attempt.command == Command.UDP_ASSOCIATE

    def _missing(self) -> str:
        if self._granted and not self._isAssociation:
            return "before its second reply"
        return "before it had replied"

    def _advance(self) -> None:
        while not self._handedOver:
            try:
                event = self._negotiation.next_event()
            except ProtocolError as error:
                self._broken(error)
                return
            if not isinstance(event, (ReplyMessage, Reply4Message)):
                return
            if not event.succeeded:
                self._fail(self._attempt.refusal(event.reply))
            elif not self._granted:
                self._granted = True
                self.reply = event
                self._attempt.granted(self)
            else:
                self._settle(event)

    def _keep(self, data: bytes) -> None:
        """Nobody has taken the connection yet: don't gather octets without end."""
        if self._granted and not self._handedOver and not self._paused:
            self._kept += len(data)
            if self._kept >= KEPT:
                self._paused = True
                self.transport.pauseProducing()

    def _broken(self, error: ProtocolError) -> None:
        self._fail(self._attempt.broken(error), cut=True)

    def _fail(self, error: SOCKSError, *, cut: bool = False) -> None:
        """There will be no reply, or none that grants anything."""
        if not self._granted:
            self._attempt.fail(error, cut=cut)
            return
        if self._loss is None:
            if cut:
                abort(self.transport)
            else:
                self.part(self._attempt.clock)
        if self._second is None:
            self._settle(error)

    def _settle(self, second: ReplyMessage | Reply4Message | SOCKSError) -> None:
        """Tell what became of BIND."""
        self._second = second
        awaiting, self._awaiting = self._awaiting, []
        for waiting in awaiting:
            if isinstance(second, SOCKSError):
                waiting.errback(second)
            else:
                waiting.callback(second)

    def _cancelled(self, waiting: Deferred[ReplyMessage | Reply4Message]) -> None:
        self._awaiting.remove(waiting)
        if self._loss is None:
            abort(self.transport)
