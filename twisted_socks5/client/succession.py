"""
How a connection passes from one protocol to the next: from who negotiates to who uses it.

Where the transport's own protocol is the one that leaves, its successor takes its place, and is
told everything by the transport itself from then on, as if nobody had been before it: there is
nothing of ours between an application and its transport.  Where something stands between them
that we don't know (an endpoint that wraps protocols in its own), the one that leaves stays, and
passes on what it is told.

What had come for the successor is put back into a transport of ours, which knows when it is
wanted; for others L{_Early} sees to that.

Nothing of SOCKS is known here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Protocol
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.streams.layer import LayeredTransport

LINGER = 5.0
"""Seconds that a connection has to be closed in good order; then it is cut."""


_L = TypeVar("_L", bound=IProtocol)


def _place(transport: object) -> str:
    """Name the attribute of a transport that is the one whom it tells everything."""
    return "wrappedProtocol" if isinstance(transport, ProtocolWrapper) else "protocol"


def listens(transport: object, protocol: IProtocol) -> bool:
    """Whether nothing but what merely passes on stands between a transport and a protocol."""
    current = getattr(transport, _place(transport), None)
    # What Twisted's endpoints put before each protocol passes on, and no more.  It is looked at
    # by a name that isn't promised: were that to change, we would stay, and pass on ourselves.
    return current is protocol or getattr(current, "_wrappedProtocol", None) is protocol


def abort(transport: Any) -> None:
    """Cut a connection, if its transport can do that; else close it."""
    getattr(transport, "abortConnection", transport.loseConnection)()


@implementer(IHalfCloseableProtocol)
class Predecessor(Protocol):
    """
    A protocol that will give way to another.

    A subclass hears what comes before that by L{octetsReceived}, L{inputEnded} and L{lost}.
    """

    transport: Any
    _successor: IProtocol | None = None
    _lingering: IDelayedCall | None = None

    # What the transport tells.

    def dataReceived(self, data: bytes) -> None:
        """Octets, for us or for our successor."""
        if self._successor is None:
            self.octetsReceived(data)
        else:
            self._successor.dataReceived(data)

    def readConnectionLost(self) -> None:
        """The peer's FIN."""
        if self._successor is None:
            self.inputEnded()
        else:
            _tellEnd(self._successor, self.transport)

    def writeConnectionLost(self) -> None:
        """Our own FIN has been sent; we ourselves send none."""
        heir = IHalfCloseableProtocol(self._successor, None)
        if heir is not None:
            heir.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The connection is gone."""
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if self._successor is None:
            self.lost(reason)
        else:
            self._successor.connectionLost(reason)

    # What a subclass says.

    def octetsReceived(self, data: bytes) -> None:
        """Octets for us."""

    def inputEnded(self) -> None:
        """The peer's FIN."""

    def lost(self, reason: Failure) -> None:
        """The connection is gone."""

    # What a subclass does.

    def part(self, clock: IReactorTime) -> None:
        """Close the connection behind what was written, but don't wait for ever."""
        if self._lingering is None:
            self._lingering = clock.callLater(LINGER, self._cut)
            self.transport.loseConnection()

    def giveWay(
        self,
        successor: IProtocol,
        octets: bytes = b"",
        *,
        ended: bool = False,
        made: Callable[[], object] = bool,
    ) -> None:
        """
        Leave the connection to another protocol, which has none yet.

        @param successor: its C{connectionMade} comes first, then what had come for it already.
        @param octets: what had.
        @param ended: whether the peer's FIN had come as well.
        @param made: called in between.
        """
        transport = self.transport
        holder, place = self, "_successor"
        if listens(transport, self):
            holder, place = transport, _place(transport)
        setattr(holder, place, successor)
        if holder is transport and isinstance(transport, LayeredTransport):
            successor.makeConnection(transport)
            made()
            transport.putBack(octets, ended=ended)
            return
        early = _Early(transport, octets, ended, holder, place)
        successor.makeConnection(transport)
        made()
        early.deliver()

    def giveWayTo(self, takeOver: Callable[[Any], _L]) -> _L:
        """
        Leave the connection to a layer, which takes it over as it is.

        @param takeOver: makes the layer, and makes it the transport's protocol.
        @return: the layer.
        """
        transport = self.transport
        ours, place = listens(transport, self), _place(transport)
        before = getattr(transport, place, None)
        layer = takeOver(transport)
        if not ours:
            setattr(transport, place, before)
            self._successor = layer
        return layer

    def _cut(self) -> None:
        self._lingering = None
        abort(self.transport)


@implementer(IHalfCloseableProtocol)
class _Early(Protocol):
    """
    What came for a protocol before it was there.

    Such a protocol may pause its transport as soon as it has one, and does not expect anything
    until it resumes.  So these two are listened to, where the transport lets us, until what came
    is delivered.  And as long as the protocol has paused we take its place: a transport that
    brings something in spite of that (TLS has more records in what was read) brings it to us.
    """

    def __init__(
        self, transport: Any, octets: bytes, ended: bool, holder: Any, place: str
    ) -> None:
        """
        @param transport: the connection.
        @param octets: what came.
        @param ended: whether the peer's FIN did.
        @param holder: who tells the protocol: the transport, or who passes on.
        @param place: the attribute of that which is the protocol.
        """
        self._transport = transport
        self._octets = octets
        self._ended = ended
        self._holder = holder
        self._place = place
        self._deputised: Any = None  # the protocol, while we are in its place
        self._paused = False  # by the protocol
        self._held = False  # the transport, for the protocol
        self._made = False
        self._reallyPause: Callable[[], object]
        if octets or ended:
            self._listen()

    def deliver(self) -> None:
        """The protocol has been made: tell it, unless it has paused."""
        self._made = True
        if self._paused:
            self._stepIn()
            return
        self._stepOut()
        transport = self._transport
        octets, self._octets = self._octets, b""
        # The protocol may have closed, or put another in its place: TLS, say.
        if octets and not self._isClosing:
            self._receiver.dataReceived(octets)
        if self._paused and self._ended:
            self._stepIn()
            return
        ended, self._ended = self._ended, False
        if ended and not self._isClosing:
            _tellEnd(self._receiver, transport)
        self._hush()
        if self._held and not self._paused:
            # Last: a layer may deliver what it holds within the call.
            self._held = False
            transport.resumeProducing()

    # What the transport tells, in spite of the pause.

    def dataReceived(self, data: bytes) -> None:
        """More octets."""
        self._octets += data

    def readConnectionLost(self) -> None:
        """The FIN behind them."""
        self._ended = True

    def writeConnectionLost(self) -> None:
        """Our FIN has been sent: that has nothing to do with reading."""
        heir = IHalfCloseableProtocol(self._deputised, None)
        if heir is not None:
            heir.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # no default
        """The connection is gone, and what the protocol did not want to hear is gone, too."""
        protocol = self._deputised
        self._octets, self._ended = b"", False
        self._stepOut()
        self._hush()
        protocol.connectionLost(reason)

    # How it comes about.

    @property
    def _receiver(self) -> Any:
        return getattr(self._holder, self._place, None)

    @property
    def _isClosing(self) -> bool:
        """Whether nobody wants to hear anything any more."""
        return self._receiver is None or _isClosing(self._transport)

    def _stepIn(self) -> None:
        if self._deputised is None:
            self._deputised = self._receiver
            setattr(self._holder, self._place, self)

    def _stepOut(self) -> None:
        protocol, self._deputised = self._deputised, None
        if self._receiver is self:
            setattr(self._holder, self._place, protocol)

    def _listen(self) -> None:
        """Stand before two methods of the transport; one with slots has no place for that."""
        own = getattr(self._transport, "__dict__", None)
        real = getattr(self._transport, "pauseProducing", None)
        if own is not None and real is not None and "pauseProducing" not in own:
            self._reallyPause = real
            own.update(pauseProducing=self._pause, resumeProducing=self._resume)

    def _hush(self) -> None:
        own = getattr(self._transport, "__dict__", {})
        if own.get("pauseProducing") == self._pause:
            del own["pauseProducing"], own["resumeProducing"]

    def _pause(self) -> None:
        self._paused = self._held = True
        self._reallyPause()

    def _resume(self) -> None:
        self._paused = False
        if self._made:
            self.deliver()


def _isClosing(transport: object) -> bool:
    """Whether a transport was told to close, or to abort: for that there's no public word."""
    return any(getattr(transport, name, False) for name in ("disconnecting", "_aborting"))


def _tellEnd(protocol: IProtocol, transport: Any) -> None:
    """Tell a protocol of the peer's FIN, as a transport does."""
    half = IHalfCloseableProtocol(protocol, None)
    if half is None:
        transport.loseConnection()
    else:
        half.readConnectionLost()
