"""
The portable TCP relay: what comes in on one leg goes out on the other.

A relay joins two L{Leg}s, the client's and the target's.  Each direction ends by itself: a FIN
from one side becomes a FIN to the other once everything before it is flushed, while the
opposite direction goes on.  The relay is over when both directions have ended.

A stream that breaks must not look like one that ended.  So a reset on one leg resets the other,
after what was received before it has been passed on; only where the reset leg had already sent
its FIN, and the other side therefore has everything, is the other leg closed in peace.

A leg that is written to faster than it drains pauses the reading of the other one, so a relay
holds one transport buffer a direction at the most, whatever the peers do.

Any transport will do: those that know no half-close (Twisted's TLS, its C{ProtocolWrapper}s) end
as a whole, after flushing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple, Protocol

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IProtocol,
    IPullProducer,
    IPushProducer,
    ITCPTransport,
    IUNIXTransport,
)
from zope.interface import implementer

from twisted_socks5.relay.splice import PIPES, Splice
from twisted_socks5.streams import BUFFER, LayeredTransport, Stream
from twisted_socks5.streams import knowsHalfClose as knowsHalfClose  # who relays asks it here

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProducer, ITransport
    from twisted.python.failure import Failure


class StreamTransport(Protocol):
    """What a relay asks of a transport; L{ITCPTransport} and its push producer in one."""

    def write(self, data: bytes) -> None:
        """Send these octets, some time."""

    def writeSequence(self, data: list[bytes]) -> None:
        """Send these octets, some time."""

    def registerProducer(self, producer: IProducer, streaming: bool) -> None:
        """Tell the producer when to pause."""

    def unregisterProducer(self) -> None:
        """Nobody is told any more."""

    def pauseProducing(self) -> None:
        """Stop reading."""

    def resumeProducing(self) -> None:
        """Read again."""

    def loseWriteConnection(self) -> None:
        """Flush, then send a FIN."""

    def loseConnection(self) -> None:
        """Flush, then close."""

    def abortConnection(self) -> None:
        """Close at once, with a reset."""

    def getHost(self) -> IAddress:
        """Our end's address."""

    def getPeer(self) -> IAddress:
        """The other end's address."""


def tune(transport: object) -> None:
    """Make TCP send small messages at once, and notice a peer that has gone without a word."""
    while isinstance(transport, LayeredTransport):
        transport = transport.transport  # Which alone knows what kind it is.
    if type(transport) is Stream:
        return  # They are made so.
    # Twisted's Unix sockets say that they provide TCP's interface, too.
    if ITCPTransport.providedBy(transport) and not IUNIXTransport.providedBy(transport):
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)


@implementer(IProtocol, IHalfCloseableProtocol, IPushProducer)
class Leg:
    """
    One side of a relay: the protocol of its transport and the producer of the other leg's.

    A leg may be connected before its relay exists; what it receives until then is kept (one
    read at most, for it stops reading).

    @ivar transport: the transport, from C{makeConnection} on.
    @ivar received: octets read from this side so far.
    @ivar ended: no more octets come from this side: FIN, or the connection is gone.
    @ivar lost: the connection is gone.
    @ivar orderly: it went with nothing of this side's stream missing: closed, or after its FIN.
    """

    __slots__ = (
        "_early",
        "_held",
        "_shut",
        "ended",
        "lost",
        "orderly",
        "other",
        "received",
        "relay",
        "transport",
    )

    transport: StreamTransport

    def __init__(self) -> None:
        self.received = 0
        self.ended = False
        self.lost: Failure | None = None
        self.orderly = False
        self.other: Leg | None = None
        self.relay: TCPRelay | None = None
        self._shut = False
        self._held = False
        self._early: list[bytes] | None = []

    # What the transport below tells.

    def makeConnection(self, transport: ITransport) -> None:
        """Take a transport, which must have all of L{StreamTransport}."""
        self.transport = transport  # type: ignore[assignment]  # See above.

    def connectionMade(self) -> None:
        """A leg waits for its relay."""

    def dataReceived(self, data: bytes) -> None:
        """Pass octets on to the other leg."""
        self.received += len(data)
        if self._early is None:
            self.other.transport.write(data)  # type: ignore[union-attr]
            if len(data) >= BUFFER:
                self._divert()
        else:
            self._early.append(data)
            self.transport.pauseProducing()

    def readConnectionLost(self) -> None:
        """Pass this side's FIN on to the other leg."""
        self.ended = True
        if self.relay is not None:
            self.relay.legEnded(self)

    def writeConnectionLost(self) -> None:
        """Everything, our FIN included, has been sent on this leg."""
        self._shut = True
        if self.ended:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:
        """Pass this side's end on to the other leg: a close as a close, a reset as a reset."""
        # Aborted by ourselves, so the other leg is cut too.
        why = reason.value
        self.orderly = isinstance(why, ConnectionDone) or (
            self.ended and not isinstance(why, ConnectionAborted)
        )
        self.ended = self._shut = True
        self.lost = reason
        if self.relay is not None:
            self.relay.legLost(self)

    def _divert(self) -> None:
        """A whole buffer at once is a stream of bulk: let the kernel move it, if it can."""
        source, sink = self.transport, self.other and self.other.transport
        if isinstance(source, Stream) and isinstance(sink, Stream) and PIPES.usable:
            source.divert(Splice(self, source, sink))

    # What the other leg's transport asks: this leg is its producer.

    def pauseProducing(self) -> None:
        """Stop reading: the other leg does not drain."""
        self._held = True
        if not self.ended:
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Read again, unless this side has ended: a transport would report its FIN twice."""
        self._held = False
        if not self.ended:
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The other leg is gone; its C{connectionLost} follows and decides."""

    # What the relay asks.

    def join(self, other: Leg, relay: TCPRelay) -> None:
        """Begin to feed C{other}, with what came before; its transport sets the pace."""
        self.other, self.relay = other, relay
        early, self._early = self._early, None
        if not self.ended:
            other.transport.registerProducer(self, True)
        if early:
            # In this order: to read on may bring at once what belongs behind it.  A transport
            # that can't send all of it pauses us, and lets us read on itself.
            self._held = False
            other.transport.writeSequence(early)
            if not self._held:
                self.resumeProducing()

    def finishWriting(self) -> None:
        """Nothing more will come for this side: flush, then FIN."""
        if self.lost is None:
            transport = self.transport
            transport.unregisterProducer()
            if not self.ended and knowsHalfClose(transport):
                transport.loseWriteConnection()
            else:
                transport.loseConnection()

    def close(self) -> None:
        """Flush, then end both directions."""
        if not self.lost:
            self.transport.unregisterProducer()
            self.transport.loseConnection()

    def reset(self) -> None:
        """Flush, then end both directions with a reset: the stream was cut, not completed."""
        if not self.lost:
            transport = self.transport
            transport.unregisterProducer()
            flushed = type(transport) is Stream and transport.flushed
            if flushed or not knowsHalfClose(transport):
                transport.abortConnection()
            else:
                AbortWhenFlushed(transport)

    def abort(self) -> None:
        """End both directions at once, with a reset."""
        if not self.lost:
            self.transport.abortConnection()


@implementer(IPullProducer)
class AbortWhenFlushed:
    """
    A last producer: when its transport asks for more, all has been sent, and it aborts.

    A transport asks a pull producer once at the registration, whatever is still in its buffer,
    and then each time that the buffer has drained.  The empty write makes it look at its buffer
    even if that is empty already.
    """

    def __init__(self, transport: StreamTransport) -> None:
        self._transport = transport
        self._registered = False
        transport.pauseProducing()
        transport.registerProducer(self, False)
        self._registered = True
        transport.writeSequence([b""])

    def resumeProducing(self) -> None:
        """The buffer has drained."""
        if self._registered:
            self._transport.unregisterProducer()
            self._transport.abortConnection()

    def stopProducing(self) -> None:
        """The connection is gone before."""


class Outcome(NamedTuple):
    """
    What a relay did.

    @ivar sent: octets received from the client.
    @ivar received: octets received from the target.
    @ivar reason: why it ended, in words for the log.
    """

    sent: int
    received: int
    reason: str


class TCPRelay:
    """
    Two legs, joined until both are gone.

    @ivar client: the client's leg.
    @ivar target: the target's leg.
    @ivar reason: why it ends; empty while nothing has ended.
    """

    __slots__ = ("_finished", "client", "quietSince", "reason", "seen", "target")

    def __init__(self, client: Leg, target: Leg, finished: Callable[[Outcome], None]) -> None:
        """
        @param client: a connected leg.
        @param target: a connected leg.
        @param finished: called once, when both legs' connections are gone.
        """
        self.client = client
        self.target = target
        self.reason = ""
        self._finished = finished
        # The idle watch's notes: on the relay, so that watching costs no further table.
        self.seen = 0
        self.quietSince = 0.0

    def start(self) -> None:
        """Join the legs, with whatever they have received, or however they have ended, so far."""
        client, target = self.client, self.target
        target.join(client, self)
        client.join(target, self)
        for leg in (target, client):
            if leg.lost:
                self.legLost(leg)
                if leg.other is None:  # both were, and it is over
                    return
            elif leg.ended:
                self.legEnded(leg)

    @property
    def octets(self) -> int:
        """Octets received from both sides so far."""
        return self.client.received + self.target.received

    @property
    def halfClosed(self) -> bool:
        """Whether at least one direction has ended."""
        return self.client.ended or self.target.ended

    def legEnded(self, leg: Leg) -> None:
        """One side has sent its FIN."""
        if not self.reason:
            self.reason = f"{self._naming(leg)} closed"
        (self.target if leg is self.client else self.client).finishWriting()
        if leg._shut and not leg.lost:
            leg.transport.loseConnection()

    def legLost(self, leg: Leg) -> None:
        """One side's connection is gone."""
        if not self.reason:
            self.reason = f"{self._naming(leg)} {'closed' if leg.orderly else 'reset'}"
        other = self.target if leg is self.client else self.client
        if other.lost:
            client, target = self.client, self.target
            # The legs and the relay know each other: cut the circle, nothing waits for the GC.
            client.other = target.other = client.relay = target.relay = None
            self._finished(Outcome(client.received, target.received, self.reason))
        elif leg.orderly:
            other.close()
        else:
            other.reset()

    def abort(self, reason: str) -> None:
        """End both legs at once, with a reset; C{reason} goes to the log."""
        self.reason = self.reason or reason
        self.client.abort()
        self.target.abort()

    def _naming(self, leg: Leg) -> str:
        return "client" if leg is self.client else "target"
