"""
The half of a layer that sends: from the protocol above, translated, to the transport below.

What is written is translated in order, one piece at a time.  Behind a piece whose translation
takes some turns, or while the transport below has no room, what is written waits; a producer
above is paused when a buffer of it does.  FIN and close wait behind everything.

The other half, and what the two are for, is in L{layer<twisted_socks5.streams.layer>}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.streams.stream import BUFFER

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Octets that are translated in one go: several reads' worth for one change of threads.
BATCH = 4 * BUFFER


class Sending:
    """
    What L{LayeredTransport<twisted_socks5.streams.layer.LayeredTransport>} is to who writes.

    @ivar transport: the transport below; it stays for who asks for addresses later.
    @ivar disconnecting: it is to be closed once everything is sent.
    """

    __slots__ = (
        "_aborting",
        "_brimful",
        "_encoding",
        "_failure",
        "_lost",
        "_outgoing",
        "_paused",
        "_producer",
        "_pumping",
        "_ready",
        "_shut",
        "_shutting",
        "_streaming",
        "_underway",
        "disconnecting",
        "transport",
    )

    def __init__(self) -> None:
        self.transport: Any = None
        self.disconnecting = False
        self._aborting = False
        self._failure: Failure | None = None  # why it can't go on
        self._lost: Failure | None = None  # how the transport below has ended
        self._ready = True
        self._outgoing = bytearray()
        self._encoding: Deferred[bytes] | None = None
        self._underway = 0  # octets that are being encoded
        self._pumping = False
        self._brimful = False  # the transport below has no room
        self._producer: Any = None
        self._streaming = False
        self._paused = False  # the producer
        self._shutting = False
        self._shut = False  # all is given to the transport below, its end as well

    # What a subclass says.

    def _encode(self, octets: bytes) -> bytes | Deferred[bytes]:
        """
        Translate octets for the transport below; called again only when that is done.

        @param octets: at least one, and at most L{BATCH}.
        @return: the translation, perhaps later.
        """
        raise NotImplementedError

    def _lastWords(self) -> bytes:
        """Say what is sent below, in its language, when nothing more will be written."""
        return b""

    def _shutBelow(self) -> None:
        """
        Half-close below, when all is written to it, the last words included.

        Who has no half-close below but one in its own language does nothing here, and calls
        C{writeConnectionLost} itself.
        """
        self.transport.loseWriteConnection()

    def _failed(self, failure: Failure) -> None:
        """It can't go on, for this reason."""
        raise NotImplementedError

    # What a subclass asks.

    def _sendBelow(self, octets: bytes) -> None:
        """Send octets that are translated, or a message of the layer's own."""
        if octets:
            self.transport.write(octets)
            # Who asks for more when all is sent doesn't say when it has enough.
            self._brimful = self._brimful or self._pulled
        elif self._pulled:
            self.transport.writeSequence([b""])

    # What the protocol above asks.

    def write(self, data: bytes) -> None:
        """Send."""
        if self._deaf or not data:
            return
        if self._outgoing or not self._free or len(data) > BATCH:
            self._outgoing += data
            self._pump()
        else:
            # What nothing is in the way of need not be copied.
            self._translateDown(data)
        if self._brimful or len(self._outgoing) + self._underway > BUFFER:
            self._pauseProducer()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send several pieces; with nothing in them, look whether all is sent."""
        data = b"".join(iovec)
        if data:
            self.write(data)
        elif not self._outgoing and self._encoding is None and self._lost is None:
            self.transport.writeSequence([b""])

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Tell C{producer} when to pause (streaming) or to send more (not)."""
        if self._producer is not None:
            raise RuntimeError(f"a producer is registered already: {self._producer!r}")
        if self._lost is not None:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._paused = False
        if not streaming:
            self._supplyBelow(False)

    def unregisterProducer(self) -> None:
        """Tell nobody any more."""
        pulled = self._pulled
        self._producer = None
        self._streaming = self._paused = False
        if self._lost is None:
            if pulled:
                self._supplyBelow(True)
            self._pump()

    # How it comes about.

    @property
    def _pulled(self) -> bool:
        """Whether the producer is asked for more when all is sent, instead of being paused."""
        return self._producer is not None and not self._streaming

    @property
    def _deaf(self) -> bool:
        """Whether nothing can be sent any more."""
        return self._shut or self._aborting or self._lost is not None or self._failure is not None

    @property
    def _free(self) -> bool:
        """Whether something can be encoded now."""
        return self._ready and self._encoding is None and not self._brimful and not self._pumping

    def _pump(self) -> None:
        """Encode and send what waits, as far as that may be done now; then what waits for that."""
        if self._pumping:
            return  # Whoever is in here goes on.
        while self._outgoing and self._free and not self._deaf:
            with memoryview(self._outgoing) as waiting:
                batch = bytes(waiting[:BATCH])
            del self._outgoing[:BATCH]
            self._pumping = True
            try:
                self._translateDown(batch)
            finally:
                self._pumping = False
        self._drained()

    def _translateDown(self, octets: bytes) -> None:
        try:
            encoded = self._encode(octets)
        except Exception:
            self._failed(Failure())
            return
        if isinstance(encoded, Deferred):
            self._encoding = encoded
            self._underway = len(octets)
            encoded.addCallbacks(self._encodedLater, self._notEncoded)
            # An exception of the producer above, say: here is nobody else to hear of it.
            encoded.addErrback(self._failed)
        else:
            self._sendBelow(encoded)

    def _encodedLater(self, octets: bytes) -> None:
        self._encoding = None
        self._underway = 0
        self._sendBelow(octets)
        self._pump()

    def _notEncoded(self, failure: Failure) -> None:
        self._encoding = None
        self._underway = 0
        if not failure.check(CancelledError):
            self._failed(failure)

    def _drained(self) -> None:
        """Do what has waited for all to be sent."""
        if self._outgoing or self._aborting or self._lost is not None:
            return
        if self._paused and not self._brimful:
            self._paused = False
            self._producer.resumeProducing()
        elif self._encoding is None and not self._paused and not self._pulled:
            if self.disconnecting:
                self._close()
            elif self._shutting:
                self._shutDown()

    def _shutDown(self) -> None:
        self._shutting = False
        self._sendBelow(self._lastWords())
        self._shut = True
        self.transport.unregisterProducer()
        self._shutBelow()

    def _close(self) -> None:
        if not self._shut:
            self._sendBelow(self._lastWords())
            self._shut = True
        self.transport.unregisterProducer()
        self.transport.loseConnection()

    def _sendNothing(self) -> None:
        """Forget what was written: it can't be sent."""
        self._outgoing.clear()
        if self._encoding is not None:
            self._encoding.cancel()

    def _stopProducer(self) -> None:
        producer, self._producer = self._producer, None
        self._streaming = self._paused = False
        if producer is not None:
            producer.stopProducing()

    def _pauseProducer(self) -> None:
        if self._streaming and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    # What the transport below asks.

    def _supplyBelow(self, streaming: bool) -> None:
        """Be another kind of producer to the transport below: only it knows when all is sent."""
        self._brimful = False
        self.transport.unregisterProducer()
        self.transport.registerProducer(Supply(self), streaming)

    def _roomBelow(self) -> None:
        self._brimful = False
        if self._pulled and not self._outgoing and self._encoding is None:
            self._producer.resumeProducing()
        else:
            self._pump()

    def _fullBelow(self) -> None:
        self._brimful = True
        self._pauseProducer()


@implementer(IPushProducer, IPullProducer)
class Supply:
    """
    What a layer is to the transport below: a producer, whose pauses are of writing.

    The layer itself has these methods, too, and there they are of reading.
    """

    __slots__ = ("_layer",)

    def __init__(self, layer: Sending) -> None:
        self._layer = layer

    def pauseProducing(self) -> None:
        """Send no more for now."""
        self._layer._fullBelow()

    def resumeProducing(self) -> None:
        """Send more."""
        self._layer._roomBelow()

    def stopProducing(self) -> None:
        """The connection is gone: C{connectionLost} follows."""
