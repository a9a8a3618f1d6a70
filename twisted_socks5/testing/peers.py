"""
Peers: the far side of a connection in a test, which does what it is told and keeps what it saw.

They stand on real transports as well as on those in memory.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IConsumer,
    IHalfCloseableProtocol,
    IPushProducer,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.protocol import ClientFactory, Protocol, ServerFactory, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer


class _PeerTransport(ITCPTransport, IPushProducer, IConsumer, ISystemHandle):
    """What a TCP transport is, in one word for the type checker."""


class PlainPeer(Protocol):
    """
    A peer that knows no half-close: the end of what it receives is the end of its connection.

    @ivar received: the octets that have arrived.
    @ivar events: what happened, in order: C{"made"}, C{"data"} (once for what arrives in a row),
        C{"eof"}, C{"written"} (its own sending side is shut) and, last, the name of the class of
        the reason, such as C{"ConnectionDone"}.
    @ivar eof: whether the far side has shut down its sending side.
    @ivar writeEnded: whether its own sending side is shut down.
    @ivar lost: why the connection was lost, or L{None} while it is not.
    """

    transport: _PeerTransport

    def __init__(self) -> None:
        self.received = bytearray()
        self.events: list[str] = []
        self.eof = False
        self.writeEnded = False
        self.lost: Failure | None = None
        self._waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    # What a test tells it

    def write(self, data: bytes) -> None:
        """
        Send octets.

        @param data: what to send.
        """
        self.transport.write(data)

    def loseWrite(self) -> None:
        """Shut down the sending side, behind what was written."""
        self.transport.loseWriteConnection()

    def lose(self) -> None:
        """Close, behind what was written."""
        self.transport.loseConnection()

    def abort(self) -> None:
        """Reset the connection."""
        self.transport.abortConnection()

    def pause(self) -> None:
        """Stop reading."""
        self.transport.pauseProducing()

    def resume(self) -> None:
        """Read again."""
        self.transport.resumeProducing()

    # What a test asks it

    @property
    def wasReset(self) -> bool:
        """Whether the far side, or the network, cut the connection."""
        return self.lost is not None and self.lost.type is ConnectionLost

    @property
    def wasClosed(self) -> bool:
        """Whether the connection was closed in order."""
        return self.lost is not None and bool(self.lost.check(ConnectionDone))

    def whenReceived(self, count: int) -> Deferred[None]:
        """
        Wait for octets.

        @param count: how many, from the beginning.
        @return: fires when they are there; a new one each time.
        """
        return self._when(lambda: len(self.received) >= count)

    def whenEOF(self) -> Deferred[None]:
        """
        Wait for the end of what is received.

        @return: fires when the far side has shut down its sending side, or the connection is
            lost; a new one each time.
        """
        return self._when(lambda: self.eof or self.lost is not None)

    def whenLost(self) -> Deferred[None]:
        """
        Wait for the end.

        @return: fires when the connection is lost; a new one each time.
        """
        return self._when(lambda: self.lost is not None)

    # What the transport tells it

    def connectionMade(self) -> None:
        """Note it."""
        self._saw("made")

    def dataReceived(self, data: bytes) -> None:
        """
        Keep what arrived.

        @param data: octets.
        """
        self.received += data
        self._saw("data")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """
        Keep the reason.

        @param reason: why.
        """
        self.lost = reason
        self._saw(type(reason.value).__name__)

    def _when(self, condition: Callable[[], bool]) -> Deferred[None]:
        waiting: Deferred[None] = Deferred()
        self._waiting.append((condition, waiting))
        self._look()
        return waiting

    def _saw(self, event: str) -> None:
        if event != "data" or self.events[-1:] != ["data"]:
            self.events.append(event)
        self._look()

    def _look(self) -> None:
        met = [each for each in self._waiting if each[0]()]
        self._waiting = [each for each in self._waiting if each not in met]
        for _, waiting in met:
            waiting.callback(None)


@implementer(IHalfCloseableProtocol)
class Peer(PlainPeer):
    """
    A peer that half-closes: at the end of what it receives it may still send.

    @ivar closesWhenBothEnded: whether it closes as soon as both directions have ended, as
        programs do; Twisted would wait for ever.
    """

    closesWhenBothEnded = True

    def readConnectionLost(self) -> None:
        """Note that the far side has shut down its sending side."""
        self.eof = True
        self._saw("eof")
        self._closeWhenBothEnded()

    def writeConnectionLost(self) -> None:
        """Note that the own sending side is shut down."""
        self.writeEnded = True
        self._saw("written")
        self._closeWhenBothEnded()

    def _closeWhenBothEnded(self) -> None:
        if self.closesWhenBothEnded and self.eof and self.writeEnded:
            self.transport.loseConnection()


if TYPE_CHECKING:
    _PeerFactoryBase = ClientFactory[PlainPeer]
else:
    # Older Twisted's factories take no parameter.
    _PeerFactoryBase = ClientFactory


class PeerFactory(_PeerFactoryBase, ServerFactory):
    """
    Builds peers for listeners and connectors alike, and keeps them.

    @ivar peers: each peer that was built.
    @ivar failures: why connecting failed.
    """

    noisy = False

    def __init__(self, protocol: Callable[[], PlainPeer] = Peer) -> None:
        self._build = protocol
        self.peers: list[PlainPeer] = []
        self.failures: list[Failure] = []

    @property
    def peer(self) -> PlainPeer:
        """The peer, where there is one."""
        (only,) = self.peers
        return only

    def buildProtocol(self, addr: IAddress | None) -> PlainPeer:
        """
        Build a peer.

        @param addr: its peer's address.
        @return: the peer.
        """
        peer = self._build()
        peer.factory = self
        self.peers.append(peer)
        return peer

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """
        Keep the reason.

        @param connector: what failed to connect.
        @param reason: why.
        """
        self.failures.append(reason)
