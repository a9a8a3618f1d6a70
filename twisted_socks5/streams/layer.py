"""
A transport on a transport: what is written goes down in another form, what comes is turned back.

L{LayeredTransport} has all of a transport but the translation; its subclasses have that and
nothing else.  Each has two neighbours::

    the protocol above       asks for what it asks any transport for, and is told the same
         ^ |  octets as the application means them
    LayeredTransport
         ^ |  octets as they travel
    the transport below      a Stream, one of Twisted's own, or another layer

How a translation comes about, at once or some turns later (in a thread, or because the peer has
not yet said what it takes), makes no difference: the two directions know nothing of each other,
each keeps its order, and of each at most one piece is being translated at a time.

What is waited for holds up who comes behind it.  Upwards, nothing is read while a piece is being
translated, or while the protocol has paused us.  Downwards (L{sending
<twisted_socks5.streams.sending>}), a producer is paused.  So a layer holds about one buffer a
direction, whatever the peers do.

Ends keep their place as well: a FIN goes down behind everything that was written, and comes up
behind everything that was received.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IProtocol,
    IPushProducer,
    ITCPTransport,
)
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.streams.sending import Sending
from twisted_socks5.streams.stream import BUFFER, Stream

#: The protocol of a layer that has none yet, or none any more.
_NOBODY: Any = TwistedProtocol()


def knowsHalfClose(transport: object) -> bool:
    """
    Tell whether one direction of a transport can be ended without the other.

    What a transport says it provides is not enough: TLS and other wrappers claim all that the
    transport below them provides, and then cut both directions or skip their own flush.
    """
    if type(transport) is Stream:
        return True
    if isinstance(transport, LayeredTransport):
        return transport.halfCloses
    return (
        IHalfCloseableDescriptor.providedBy(transport)
        and not isinstance(transport, ProtocolWrapper)
        and not getattr(transport, "TLS", False)
    )


@implementer(ITCPTransport, IPushProducer, IProtocol, IHalfCloseableProtocol)
class LayeredTransport(Sending):
    """
    A transport on a transport; a subclass says how octets are translated.

    To the transport below it is a protocol.  It comes to be there in one of two ways: a factory
    builds it (with its C{protocol} set before C{makeConnection}, which is passed on), or it takes
    a connection over that stands, with L{takeOver}.

    To the protocol above it is a transport, with these promises where transports differ:

      - C{resumeProducing} may call C{dataReceived}, within the call, with what had come when the
        protocol paused: a read's worth at the most;
      - a paused protocol hears of no octet and no FIN; but when the connection is lost, it gets
        what had come before, and the reason, at once: it could not say when it wants to know;
      - once it has asked to close, it hears nothing but C{connectionLost};
      - when the peer has ended, a protocol that knows no half-close is closed, behind what it
        has written.

    A subclass overrides C{_encode} and C{_decode}, and where it must C{_lastWords},
    C{_shutBelow}, C{_checkEnd}, C{_released} and C{halfCloses}.  It may call C{_sendBelow},
    C{_inputEnds} and C{_spoil}; and it may unset C{_ready} while nothing can be encoded yet, and
    call C{_pump} when it has set it again.  An exception from any of these ends the connection
    with a reset, and is the reason that the protocol is told.

    @ivar protocol: the protocol above, which may be exchanged at any time.
    @cvar troubles: the exceptions of a translation that are the peer's or the network's doing.
        Any other is a mistake of ours, and logged.
    """

    __slots__ = (
        "__weakref__",
        "_decoded",
        "_decoding",
        "_ended",
        "_incoming",
        "_over",
        "_reading",
        "_receiving",
        "_stopped",
        "_toldEnd",
        "protocol",
    )

    _log = Logger()

    troubles: tuple[type[Exception], ...] = ()

    def __init__(self, protocol: IProtocol | None = None) -> None:
        """
        @param protocol: the protocol above; L{None}: it will be set.
        """
        super().__init__()
        self.protocol: Any = _NOBODY if protocol is None else protocol
        self._incoming: list[bytes] = []
        self._decoding: Deferred[bytes] | None = None
        self._decoded: list[bytes] = []
        self._receiving = False
        self._stopped = False  # by the protocol above
        self._reading: bool | None = True  # the transport below is; None: perhaps
        self._ended = False  # nothing more comes from below
        self._toldEnd = False
        self._over = False

    # What a subclass says.

    @property
    def halfCloses(self) -> bool:
        """Whether one direction can be ended without the other: as the transport below."""
        return knowsHalfClose(self.transport)

    def _decode(self, octets: bytes) -> bytes | Deferred[bytes]:
        """
        Translate octets for the protocol above; called again only when that is done.

        @param octets: as they came: cut anywhere.
        @return: the translation of what can be translated, perhaps nothing, perhaps later.
        """
        raise NotImplementedError

    def _checkEnd(self) -> None:
        """
        Nothing more comes from below, and all that came is decoded.

        @raise Exception: this is not where what the peer has sent could end.
        """

    def _released(self) -> None:
        """The connection is over: let go of what translates."""

    # What a subclass asks.

    def _inputEnds(self) -> None:
        """From within C{_decode}: behind what it returns the peer has ended, in its own words."""
        self._ended = True

    def _spoil(self, failure: Failure) -> None:
        """From within C{_decode}, or before its Deferred fires: behind the result is rubbish."""
        self._failed(failure)

    # What the transport below tells.

    def takeOver(self, transport: Any) -> None:
        """
        Become the protocol of a transport that is connected, in the stead of whoever is.

        Octets that have been received already and belong to us are for the caller to pass to
        C{dataReceived}, once C{protocol} is set, and before the next turn.  Whether it is being
        read we do not know: if it was paused, C{resumeProducing} is to be called behind that.

        @param transport: with all of L{ITCPTransport<twisted.internet.interfaces.ITCPTransport>}
            and its push producer; without a producer registered.
        """
        if isinstance(transport, ProtocolWrapper):
            transport.wrappedProtocol = self
        else:
            transport.protocol = self
        self._standOn(transport)
        self._reading = None

    def makeConnection(self, transport: Any) -> None:
        """Take the transport, and tell the protocol above."""
        self._standOn(transport)
        self.protocol.makeConnection(self)

    def _standOn(self, transport: Any) -> None:
        self.transport = transport
        self._supplyBelow(True)

    def connectionMade(self) -> None:
        """Never called: C{makeConnection} does all."""

    def dataReceived(self, data: bytes) -> None:
        """Octets from below."""
        if not self._ended and not self._unheard and self._failure is None:
            self._incoming.append(data)
            self._receive()

    def readConnectionLost(self) -> None:
        """The FIN from below."""
        self._ended = True
        self._receive()

    def writeConnectionLost(self) -> None:
        """Everything, the FIN included, has been sent below."""
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is not None:
            protocol.writeConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        """The transport below is gone; the protocol above hears it behind what came before."""
        if self._lost is not None:
            return
        self._lost = self._failure or reason
        if reason.check(ConnectionDone):
            self._ended = True
        self._sendNothing()
        self._stopProducer()
        if self._unheard:
            self._forget()
        self._receive()

    def putBack(self, octets: bytes, *, ended: bool = False) -> None:
        """
        Take back what a protocol has been told that was meant for the one now in its place.

        That one hears it ahead of all else, when it wants to hear anything.

        @param octets: they came last.
        @param ended: whether the FIN had come behind them.
        """
        if self._unheard:
            return
        if octets:
            self._decoded.insert(0, octets)
        if ended:
            self._toldEnd = False
        self._receive()

    # On the way up.

    @property
    def _unheard(self) -> bool:
        """Whether nobody above wants to hear anything more but the end."""
        return self.disconnecting or self._aborting or self._over

    @property
    def _holds(self) -> bool:
        """Whether something has come that was not passed on."""
        return bool(self._incoming or self._decoded or self._decoding is not None)

    def _receive(self) -> None:
        """Decode and pass on what there is, as far as that may be done now; then the end."""
        if self._receiving:
            return  # Whoever is in here goes on.
        self._receiving = True
        try:
            while not self._unheard and (self._lost is not None or not self._stopped):
                if self._decoded:
                    self.protocol.dataReceived(self._decoded.pop(0))
                elif not self._incoming or self._decoding is not None:
                    break
                else:
                    self._translateUp(self._incoming.pop(0))
        except Exception:
            self._mistaken(Failure())
        finally:
            self._receiving = False
        self._readBelow()
        self._tellEnd()

    def _translateUp(self, octets: bytes) -> None:
        try:
            decoded = self._decode(octets)
        except Exception:
            self._failed(Failure())
            return
        if isinstance(decoded, Deferred):
            self._decoding = decoded
            decoded.addCallbacks(self._decodedLater, self._notDecoded)
            # An exception of the protocol above, say: here is nobody else to hear of it.
            decoded.addErrback(self._failed)
        else:
            self._keep(decoded)

    def _decodedLater(self, octets: bytes) -> None:
        self._decoding = None
        self._keep(octets)
        self._receive()

    def _keep(self, octets: bytes) -> None:
        """Hold what is to be passed on, in pieces no larger than a read: who pauses means it."""
        self._decoded += [octets[at : at + BUFFER] for at in range(0, len(octets), BUFFER)]

    def _notDecoded(self, failure: Failure) -> None:
        self._decoding = None
        if not failure.check(CancelledError):
            self._failed(failure)
        self._receive()

    def _readBelow(self) -> None:
        """Let the transport below read, if what it reads would not have to wait."""
        if self._lost is not None or self._aborting or self._failure is not None:
            return
        wanted = not (self._stopped or self.disconnecting or self._holds)
        if wanted is not self._reading:
            self._reading = wanted
            if not wanted:
                self.transport.pauseProducing()
            elif not self._ended:  # Whoever reads behind a FIN is told of it again.
                self.transport.resumeProducing()

    def _tellEnd(self) -> None:
        """Tell how it has ended, if all that came before is told, and nobody is being told."""
        if self._over or self._holds or self._receiving:
            return
        if self._ended and not self._toldEnd and not self._unheard and self._failure is None:
            if self._stopped and self._lost is None:
                return
            self._toldEnd = True
            try:
                self._checkEnd()
            except Exception:
                self._failed(Failure())
            else:
                self._tellFIN()
        if self._lost is not None and not self._over:
            self._finish(self._lost)

    def _tellFIN(self) -> None:
        protocol = IHalfCloseableProtocol(self.protocol, None)
        if protocol is None:
            self.loseConnection()
        elif self._lost is None or not self._lost.check(ConnectionDone):
            try:
                protocol.readConnectionLost()
            except Exception:
                self._mistaken(Failure())

    def _mistaken(self, failure: Failure) -> None:
        """
        The protocol above has failed when it was told something.

        That ends the connection below, and so comes back to us.  Where there is none any more,
        the protocol still has to be told so.
        """
        if self._lost is None:
            failure.raiseException()
        self._log.failure("A protocol has failed at the end of its connection", failure)
        self._forget()

    def _finish(self, reason: Failure) -> None:
        self._over = True
        # They know each other: nothing waits for the garbage collector.
        if isinstance(self.transport, ProtocolWrapper):
            self.transport.wrappedProtocol = _NOBODY
        protocol, self.protocol = self.protocol, _NOBODY
        try:
            self._released()
        except Exception:
            self._log.failure("A layer could not let go of what translates")
        protocol.connectionLost(reason)

    def _forget(self) -> None:
        """Forget what has come: nobody wants it."""
        self._incoming.clear()
        self._decoded.clear()
        if self._decoding is not None:
            self._decoding.cancel()

    def _failed(self, failure: Failure) -> None:
        """It can't go on, for this reason: reset the connection below."""
        if self._failure is not None or self._aborting or self._over:
            return
        if not failure.check(*self.troubles):
            self._log.failure("A layer of a connection has failed", failure)
        # Its stack leads back to us.
        failure.cleanFailure()
        self._failure = failure
        self._incoming.clear()
        self._sendNothing()
        if self._lost is None:
            self.transport.abortConnection()
        else:
            self._lost = failure

    # What the protocol above asks.

    def loseWriteConnection(self) -> None:
        """Send a FIN behind all that was written; where there is no half-close, close."""
        if not self.halfCloses:
            self.loseConnection()
        elif not self._deaf:
            self._shutting = True
            self._drained()

    def loseConnection(self) -> None:
        """Close behind all that was written."""
        if self._unheard:
            return
        self.disconnecting = True
        self._forget()
        if self._lost is not None:
            self._tellEnd()
        elif self._failure is None:
            self._readBelow()
            self._drained()

    def abortConnection(self) -> None:
        """Close at once, with a reset."""
        if self._aborting or self._over:
            return
        self._aborting = True
        self._sendNothing()
        self._forget()
        if self._lost is not None:
            self._tellEnd()
        elif self._failure is None:
            self.transport.abortConnection()

    def pauseProducing(self) -> None:
        """Hear nothing for now."""
        self._stopped = True
        if not self._over:
            self._readBelow()

    def resumeProducing(self) -> None:
        """Hear again, beginning with what came before the pause."""
        self._stopped = False
        if not self._over:
            self._receive()

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    # What the transport below knows.

    def getHost(self) -> Any:
        """Name our end."""
        return self.transport.getHost()

    def getPeer(self) -> Any:
        """Name the other end."""
        return self.transport.getPeer()

    def getTcpNoDelay(self) -> bool:
        """Tell whether small messages are sent at once."""
        return bool(self.transport.getTcpNoDelay())

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Send small messages at once, or gather them."""
        self.transport.setTcpNoDelay(enabled)

    def getTcpKeepAlive(self) -> bool:
        """Tell whether a silent peer is asked if it is still there."""
        return bool(self.transport.getTcpKeepAlive())

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Ask a silent peer if it is still there."""
        self.transport.setTcpKeepAlive(enabled)
