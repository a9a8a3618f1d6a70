"""
What came for a protocol before it was there, and when it gets it.

A reply may have the target's first octets behind it, in one segment.  They are for whoever takes
the connection over, as soon as that one wants to hear anything.

This is for transports of others; one of ours (a L{LayeredTransport
<twisted_socks5.streams.layer.LayeredTransport>}) takes octets back itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import (
    IDelayedCall,
    IHalfCloseableProtocol,
    IProtocol,
    IReactorTime,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

_log = Logger()


@implementer(IHalfCloseableProtocol)
class Early(Protocol):
    """
    What came for a protocol before it was there.

    Such a protocol may pause its transport as soon as it has one, and does not expect anything
    until it resumes.  So these two are listened to, where the transport lets us, until what came
    is delivered.  And as long as the protocol has paused we take its place: a transport that
    brings something in spite of that (TLS has more records in what was read) brings it to us.
    """

    def __init__(
        self,
        transport: Any,
        octets: bytes,
        ended: bool,
        holder: Any,
        place: str,
        clock: IReactorTime | None,
    ) -> None:
        """
        @param transport: the connection.
        @param octets: what came.
        @param ended: whether the peer's FIN did.
        @param holder: who tells the protocol: the transport, or who passes on.
        @param place: the attribute of that which is the protocol.
        @param clock: as for L{Predecessor.giveWay
            <twisted_socks5.client.succession.Predecessor.giveWay>}.
        """
        self._transport = transport
        self._octets = octets
        self._ended = ended
        self._holder = holder
        self._place = place
        self._clock = clock
        self._deputised: Any = None  # the protocol, while we are in its place
        self._paused = False  # by the protocol
        self._held = False  # the transport, for the protocol
        self._made = False
        self._delivery: IDelayedCall | None = None
        self._reallyPause: Callable[[], object]
        if octets or ended:
            self._listen()

    def deliver(self) -> None:
        """The protocol has been made: tell it, unless it has paused."""
        self._made = True
        self._delivery = None
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
            tellEnd(self._receiver, transport)
        self._hush()
        if self._held and not self._paused:
            self._held = False
            if not ended:  # Whoever reads behind a FIN is told of it again.
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
        if self._delivery is not None:
            self._delivery.cancel()
            self._delivery = None
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
        if not self._made or self._delivery is not None:
            return
        if self._clock is None:
            self.deliver()
        else:
            self._delivery = self._clock.callLater(0, self._deliverLater)

    def _deliverLater(self) -> None:
        """Deliver, with nobody but the reactor to hear of a protocol that fails."""
        try:
            self.deliver()
        except Exception:
            _log.failure("A protocol has failed on what came with its connection")
            self._hush()
            abort(self._transport)


def _isClosing(transport: object) -> bool:
    """Whether a transport was told to close, or to abort: for that there's no public word."""
    return any(getattr(transport, name, False) for name in ("disconnecting", "_aborting"))


def tellEnd(protocol: IProtocol, transport: Any) -> None:
    """Tell a protocol of the peer's FIN, as a transport does."""
    half = IHalfCloseableProtocol(protocol, None)
    if half is None:
        transport.loseConnection()
    else:
        half.readConnectionLost()


def abort(transport: Any) -> None:
    """Cut a connection, if its transport can do that; else close it."""
    getattr(transport, "abortConnection", transport.loseConnection)()
