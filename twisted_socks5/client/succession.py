"""
How a connection passes from one protocol to the next: from who negotiates to who uses it.

Where the transport's own protocol is the one that leaves, its successor takes its place, and is
told everything by the transport itself from then on, as if nobody had been before it: there is
nothing of ours between an application and its transport.  Where something stands between them
that we don't know (an endpoint that wraps protocols in its own), the one that leaves stays, and
passes on what it is told.

What had come for the successor is put back into a transport of ours, which knows when it is
wanted; for others L{Early} sees to that.

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

from twisted_socks5.client.early import Early, tellEnd
from twisted_socks5.client.early import abort as abort  # who ends a connection asks it here
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
            tellEnd(self._successor, self.transport)

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
        clock: IReactorTime | None = None,
    ) -> None:
        """
        Leave the connection to another protocol, which has none yet.

        @param successor: its C{connectionMade} comes first, then what had come for it already.
        @param octets: what had.
        @param ended: whether the peer's FIN had come as well.
        @param made: called in between.
        @param clock: for a successor that pauses, and must not hear anything from within
            C{resumeProducing}, as Twisted's transports have it; L{None}: it may.
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
        early = Early(transport, octets, ended, holder, place, clock)
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
