"""
A TCP transport that asks the kernel as rarely as it can.

Twisted's own transports queue what is written and send it when the reactor next reports the
socket writable: two changes of what it polls and a turn of its loop, for a message that the
kernel would have taken at once.  A L{Stream} sends first and queues only what is left.  It makes
no object that nobody asks for and keeps no dictionary, since an idle proxy holds thousands.
"""

from __future__ import annotations

import socket
import struct
from contextlib import suppress
from errno import EAGAIN, EBADF, EINTR, EPIPE, EWOULDBLOCK
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IHalfCloseableProtocol,
    IPushProducer,
    IReadWriteDescriptor,
    ISystemHandle,
    ITCPTransport,
)
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.streams.watch import CONNECTION_ABORTED, DONE, broken, reasonFor

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from twisted.internet.interfaces import IProtocol

    from twisted_socks5.streams.watch import Watch


class Outlet(Protocol):
    """Reads from a stream's socket in its stead."""

    def doRead(self) -> Exception | None:
        """Read; as L{Stream.doRead}."""


class Inlet(Protocol):
    """Holds octets that belong into a stream's socket, outside of our memory."""

    @property
    def empty(self) -> bool:
        """Whether it holds none."""

    def drain(self) -> Exception | None:
        """Send as much as can be sent; as L{Stream.doWrite}."""

    def close(self) -> None:
        """The stream is gone."""


#: Octets read at a time, and as many may wait to be sent before a producer is paused.  A larger
#: buffer costs a system call of its own for its memory, each time.
BUFFER = 65536

#: struct linger: on, for 0 seconds.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)

#: The kind of socket that streams have: one that doesn't block, where it can be made so at once.
STREAM = socket.SOCK_STREAM | getattr(socket, "SOCK_NONBLOCK", 0)

#: The protocol of a stream that is closed.
_NOBODY: Any = TwistedProtocol()


def prepare(opened: socket.socket) -> None:
    """Have small messages sent at once, dead peers noticed, and urgent octets kept in line."""
    opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
    # An urgent octet is part of the stream; out of band it would be lost.
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, True)


def describe(name: Sequence[Any]) -> IPv4Address | IPv6Address:
    """Make an address of what a socket calls one; with a zone id if it needs one, as Twisted."""
    if ":" in name[0]:
        host = f"{name[0]}%{name[3]}" if len(name) == 4 and name[3] else name[0]
        return IPv6Address("TCP", host, name[1])
    return IPv4Address("TCP", name[0], name[1])


@implementer(ITCPTransport, IPushProducer, IReadWriteDescriptor, IHalfCloseableDescriptor,
             ISystemHandle)  # fmt: skip
class Stream:
    """
    A connected TCP socket; see L{ITCPTransport<twisted.internet.interfaces.ITCPTransport>}.

    Differs from Twisted's own in this: what can be sent or shut down at once is, within the
    call, so C{writeConnectionLost} may come from within C{loseWriteConnection}, and, once the
    writing side is shut, C{connectionLost} from within C{loseConnection}.

    @ivar protocol: is told what happens.
    @ivar disconnecting: it is to be closed once everything is sent.
    """

    __slots__ = (
        "__weakref__",
        "_aborting",
        "_broken",
        "_diverted",
        "_fd",
        "_inlet",
        "_paused",
        "_producer",
        "_shut",
        "_shutting",
        "_socket",
        "_streaming",
        "_waiting",
        "_watch",
        "disconnecting",
        "fileno",
        "protocol",
    )

    bufferSize = BUFFER

    def __init__(self, watch: Watch, connected: socket.socket, protocol: IProtocol) -> None:
        """
        @param watch: tells when the socket is ready.
        @param connected: connected, and not blocking.
        @param protocol: is told what happens; its C{makeConnection} is the caller's to call.
        """
        self._watch = watch
        self._socket = connected
        # Names the descriptor; -1 once it is closed.
        self.fileno = connected.fileno
        self._fd = connected.fileno()
        self.protocol = protocol
        self.disconnecting = False
        self._aborting = False
        self._broken = False
        self._shut = False
        self._shutting = False
        self._waiting: bytearray | None = None
        self._diverted: Outlet | None = None
        self._inlet: Inlet | None = None
        self._producer: Any = None
        self._streaming = False
        self._paused = False

    # What the reactor asks.  The interfaces say that doRead and doWrite return a Failure; what
    # reactors understand, and all of Twisted's descriptors return, is an exception.

    def logPrefix(self) -> str:
        """Name us in the log."""
        return "Stream"

    def doRead(self) -> Any:
        """Read, and give the protocol what there is."""
        if self._diverted is not None:
            return self._diverted.doRead()
        try:
            data = self._socket.recv(BUFFER)
        except (BlockingIOError, InterruptedError):
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return self.endOfInput()
        self.protocol.dataReceived(data)
        return None

    def readAhead(self) -> None:
        """Read, before the reactor has said that there is anything, as if it had."""
        if self._fd < 0 or self.disconnecting or self._aborting:
            return
        try:
            lost = self.doRead()
            if lost is CONNECTION_DONE:
                self._watch.removeReader(self)
                self.readConnectionLost(DONE)
            elif lost is not None:
                self.connectionLost(reasonFor(lost))
        except BaseException:
            broken(self)

    def doWrite(self) -> Any:
        """Send what waits; then do what waited for that."""
        inlet = self._inlet
        if inlet is not None:
            lost = inlet.drain()
            if lost is not None or not inlet.empty:
                return lost
            self._inlet = None
        waiting = self._waiting
        if waiting:
            try:
                sent = self._socket.send(waiting)
            except (BlockingIOError, InterruptedError):
                return None
            except OSError:
                return CONNECTION_LOST
            if sent < len(waiting):
                del waiting[:sent]
                return None
        self._waiting = None
        self._watch.removeWriter(self)
        return self.drained()

    def drained(self) -> Exception | None:
        """If all that was written has been sent, do what waited for that; as L{doWrite}."""
        if self._aborting:
            return CONNECTION_ABORTED
        if self._waiting is not None or self._inlet is not None:
            return None
        if self._producer is not None and (self._paused or not self._streaming):
            self._paused = False
            self._producer.resumeProducing()
        elif self.disconnecting:
            return CONNECTION_DONE
        elif self._shutting and not self._shut:
            self._shutDown()
        return None

    def readConnectionLost(self, reason: Failure) -> None:
        """The peer's FIN."""
        protocol = self.protocol
        if IHalfCloseableProtocol.providedBy(protocol):
            protocol.readConnectionLost()
        else:
            self.connectionLost(reason)

    def writeConnectionLost(self, reason: Failure) -> None:
        """Never called: a failing write is the end of the connection."""
        self.connectionLost(reason)

    def connectionLost(self, reason: Failure) -> None:
        """It is over, for this reason."""
        if self._fd < 0:
            return
        connected = self._socket
        self._watch.forget(self)
        self._fd = -1
        self._waiting = self._diverted = None
        if self._inlet is not None:
            inlet, self._inlet = self._inlet, None
            inlet.close()
        if self._producer is not None:
            producer, self._producer = self._producer, None
            producer.stopProducing()
        # Some systems say so of a socket that was reset.
        if self._aborting:
            with suppress(OSError):
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        try:  # noqa: SIM105  # A context manager costs more than all else here.
            connected.close()
        except OSError:
            pass
        # They know each other: without this, both would wait for the garbage collector.
        protocol, self.protocol = self.protocol, _NOBODY
        protocol.connectionLost(reason)

    # What the protocol asks.

    def write(self, data: bytes) -> None:
        """Send, and queue what the kernel doesn't take."""
        if self._fd < 0 or self._shut or self._aborting:
            return
        if self._waiting is not None:
            self._waiting += data
        elif self._inlet is not None:
            self._waiting = bytearray(data)
        elif data:
            try:
                sent = self._socket.send(data)
            except OSError as error:
                # Either it can't be sent now, or not at all, and doWrite will find out: a
                # connection must not be lost while its protocol is in the middle of something.
                self.sendingFailed(error)
                sent = 0
            if sent == len(data):
                if self._producer is not None and not self._streaming:
                    self._watch.addWriter(self)  # There is room: it waits to be asked for more.
                return
            self._waiting = bytearray(memoryview(data)[sent:])
            self._watch.addWriter(self)
        else:
            return
        if len(self._waiting) > BUFFER and self._streaming and not self._paused:
            self._paused = True
            self._producer.pauseProducing()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """Send several pieces; with nothing in them, as with Twisted's own, look at the queue."""
        data = b"".join(iovec)
        if data:
            self.write(data)
        elif self._waiting is None and self._fd >= 0 and not self._aborting:
            self._waiting = bytearray()
            self._watch.addWriter(self)

    def loseWriteConnection(self) -> None:
        """Send a FIN behind all that was written."""
        self._shutting = True
        if not self._shut and self.flushed:
            self._shutDown()

    def loseConnection(self) -> None:
        """Close behind all that was written."""
        if self._fd < 0 or self.disconnecting or self._aborting:
            return
        self.disconnecting = True
        if self._shut:
            self.connectionLost(DONE)
            return
        self._watch.removeReader(self)
        if self._waiting is None and self._inlet is None:
            self._watch.soon(self)
        else:
            self._watch.addWriter(self)

    def abortConnection(self) -> None:
        """Close at once, with a reset."""
        if self._fd < 0 or self._aborting:
            return
        self._aborting = True
        self._watch.forget(self)
        self._watch.soon(self)

    def _shutDown(self) -> None:
        self._shut = True
        try:  # noqa: SIM105  # As in connectionLost.
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # The peer has reset it, which the reactor will report.
        protocol = self.protocol
        if IHalfCloseableProtocol.providedBy(protocol):
            protocol.writeConnectionLost()

    # For one who moves octets past us, from socket to socket.

    @property
    def flushed(self) -> bool:
        """Whether all that was written has been sent, and more can be."""
        return (
            self._fd >= 0 and self._waiting is None and self._inlet is None and not self._aborting
        )

    def endOfInput(self) -> Exception:
        """
        Tell what it means that there is nothing more to read.

        The kernel tells of a reset once.  If it was told to one who was sending, a reader is
        told of an end that the peer has not announced.

        @return: the exception for C{doRead} to return.
        """
        return CONNECTION_LOST if self._broken else CONNECTION_DONE

    def sendingFailed(self, error: OSError) -> None:
        """Note why sending failed: it may be a reset, of which the kernel will not tell again."""
        # The peer's FIN was there before the reset if it's a broken pipe.
        if error.errno not in (EAGAIN, EWOULDBLOCK, EINTR, EPIPE):
            self._broken = True

    def divert(self, outlet: Outlet) -> None:
        """From now on, let C{outlet} read what comes; it may still call L{receive}."""
        self._diverted = outlet

    def receive(self) -> Exception | None:
        """Read this once as if nothing were diverted; as L{doRead}."""
        outlet, self._diverted = self._diverted, None
        try:
            return self.doRead()  # type: ignore[no-any-return]  # See there.
        finally:
            if self._fd >= 0:
                self._diverted = outlet

    def awaitInlet(self, inlet: Inlet) -> None:
        """When something can be sent again, send what C{inlet} holds, before all else."""
        if self._fd >= 0:
            self._inlet = inlet
            # What is aborting is not watched any more, and only waits to be closed.
            if not self._aborting:
                self._watch.addWriter(self)

    # As a producer, and as a consumer.

    def pauseProducing(self) -> None:
        """Stop reading."""
        self._watch.removeReader(self)

    def resumeProducing(self) -> None:
        """Read."""
        if self._fd >= 0 and not self.disconnecting and not self._aborting:
            self._watch.addReader(self)

    def stopProducing(self) -> None:
        """Close."""
        self.loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Tell C{producer} when to pause (streaming) or to send more (not)."""
        if self._producer is not None:
            raise RuntimeError(f"a producer is registered already: {self._producer!r}")
        if self._fd < 0:
            producer.stopProducing()
            return
        self._producer = producer
        self._streaming = streaming
        self._paused = False
        if not streaming:
            producer.resumeProducing()

    def unregisterProducer(self) -> None:
        """Tell nobody any more."""
        if self._producer is None:
            return
        self._producer = None
        self._streaming = self._paused = False
        if (self.disconnecting or self._shutting) and self.flushed and not self._shut:
            self._watch.soon(self)  # The end has waited for the producer.

    # What a relay wants to know.

    def getHandle(self) -> socket.socket:
        """Give the socket."""
        return self._open()

    def getHost(self) -> IPv4Address | IPv6Address:
        """Name our end."""
        return describe(self._open().getsockname())

    def getPeer(self) -> IPv4Address | IPv6Address:
        """Name the other end."""
        return describe(self._open().getpeername())

    def getTcpNoDelay(self) -> bool:
        """Tell whether small messages are sent at once."""
        return bool(self._open().getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Send small messages at once, or gather them."""
        self._open().setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, enabled)

    def getTcpKeepAlive(self) -> bool:
        """Tell whether a silent peer is asked if it is still there."""
        return bool(self._open().getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Ask a silent peer if it is still there."""
        self._open().setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, enabled)

    def _open(self) -> socket.socket:
        if self._fd < 0:
            raise OSError(EBADF, "the connection is closed")
        return self._socket
