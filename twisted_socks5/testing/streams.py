"""
TCP in memory: listeners, and the two ends of a connection.

Here is what other fakes leave out: bounded queues, a FIN for one direction only, a close with
unread input that becomes a reset, and a reset that leaves what had already arrived readable.
"""

from __future__ import annotations

import errno
import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted_socks5.testing.sockets import (
    POLL_HUP,
    POLL_IN,
    POLL_OUT,
    MemorySocket,
    socketError,
)

if TYPE_CHECKING:
    from twisted_socks5.testing.network import Network

# What Twisted's abortConnection sets before it closes: send a reset instead of a FIN.
LINGER_RESET = struct.pack("ii", 1, 0)


class ListeningSocket(MemorySocket):
    """A socket that accepts; the fake reactor knows what a socket is for when it makes it."""

    kind = "listener"

    def __init__(self, network: Network, family: int) -> None:
        super().__init__(network, family)
        self._waiting: deque[StreamSocket] = deque()

    def listen(self, backlog: int) -> None:
        """Begin to take connections; a full backlog is not simulated."""
        self.network.listen(self)

    def join(self, client: StreamSocket) -> StreamSocket:
        """
        Take a connection into the queue of those to be accepted.

        @param client: the connecting end.
        @return: the accepted end, already connected.
        """
        accepted = StreamSocket(self.network, self.family)
        accepted.join(client)
        self._waiting.append(accepted)
        return accepted

    def accept(self) -> tuple[StreamSocket, tuple[Any, ...]]:
        """
        Take the next connection.

        @return: the socket and its peer's address.
        @raise OSError: C{EWOULDBLOCK} when there is none.
        """
        if not self._waiting:
            raise socketError(errno.EWOULDBLOCK)
        accepted = self._waiting.popleft()
        return accepted, accepted.getpeername()

    def shutdown(self, how: int) -> None:
        """Do nothing: Twisted shuts a listener down before it closes it."""

    def close(self) -> None:
        """Stop listening; connections that nobody accepted are reset."""
        super().close()
        while self._waiting:
            waiting = self._waiting.popleft()
            waiting.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_RESET)
            waiting.close()

    def poll(self) -> int:
        """Tell whether there is a connection to accept."""
        return POLL_IN if self._waiting else 0


class StreamSocket(MemorySocket):
    """
    One end of a TCP connection.

    Octets wait in two places, as in a kernel: in the sender's buffer, which a reset empties,
    and in the receiver's window, which it does not.

    @ivar peer: the other end, from the moment the connection is established.
    @ivar octetsSent: how many octets C{send} has taken.
    @ivar octetsRead: how many octets C{recv} has given.
    """

    kind = "connection"

    def __init__(self, network: Network, family: int) -> None:
        super().__init__(network, family)
        self.peer: StreamSocket | None = None
        self.octetsSent = 0
        self.octetsRead = 0
        self._window = network.window
        self._sendBuffer = network.sendBuffer
        self._sending = bytearray()
        self._receiving = bytearray()
        self._connecting = False
        self._writeShut = False  # we shut down our sending side,
        self._finSent = False  # and the FIN has overtaken nothing: the peer has it
        self._finReceived = False
        self._dead = False  # reset, by either side, or never connected

    def join(self, other: StreamSocket) -> None:
        """
        Connect two ends to each other.

        @param other: an end whose addresses are known.
        """
        self.local, self.remote = other.remote, other.local
        self.peer, other.peer = other, self

    def connect_ex(self, address: tuple[Any, ...]) -> int:
        """
        Begin to connect, or tell how that stands.

        @return: C{EINPROGRESS}, then C{EALREADY}, and C{EISCONN} when it is connected; how it
            failed is for C{SO_ERROR} to tell.
        """
        if self.peer is not None:
            return errno.EISCONN
        if self._connecting:
            return errno.EALREADY
        self.remote = self.network.endpoint(self.family, address)
        if self.local is None:
            self.local = self.network.source(self.remote)
        self._connecting = True
        self.network.dial(self, self.remote)
        return errno.EINPROGRESS

    def connectDone(self, error: int) -> None:
        """
        Learn how connecting ended.

        @param error: 0, or an L{errno}.
        """
        self._connecting = False
        self._error = error
        self._dead = bool(error)

    def send(self, data: bytes | memoryview) -> int:
        """
        Take octets into the buffer, as many as there is room for.

        @return: how many.
        @raise OSError: C{EWOULDBLOCK}; C{ECONNRESET} or C{EPIPE} once reset or shut down.
        """
        self._raiseError()
        if self._dead or self._writeShut:
            raise socketError(errno.EPIPE)
        taken = bytes(data[: max(0, self._sendBuffer - len(self._sending))])
        if not taken and len(data):
            raise socketError(errno.EWOULDBLOCK)
        self._sending += taken
        self.octetsSent += len(taken)
        self._transmit()
        return len(taken)

    def recv(self, size: int) -> bytes:
        """
        Give octets that have arrived.

        @return: at most C{size}; none at the end.
        @raise OSError: C{EWOULDBLOCK}; C{ECONNRESET} once, when the connection was reset and
            what had arrived before has been read.
        """
        peer = self.peer
        if self._receiving and peer is not None:
            data = bytes(self._receiving[:size])
            del self._receiving[:size]
            self.octetsRead += len(data)
            peer._transmit()
            return data
        # A FIN that came before the reset is what a reader sees of it, so it is asked first.
        if self._finReceived:
            return b""
        self._raiseError()
        if self._dead:
            return b""
        raise socketError(errno.EWOULDBLOCK)

    def recv_into(self, buffer: bytearray | memoryview, size: int = 0) -> int:
        """
        Give octets that have arrived, into a buffer.

        @return: how many.
        @raise OSError: as C{recv}.
        """
        data = self.recv(size or len(buffer))
        buffer[: len(data)] = data
        return len(data)

    def shutdown(self, how: int) -> None:
        """
        Send a FIN behind what is in the buffer; the reading side alone is of no effect.

        @raise OSError: C{ENOTCONN}.
        """
        if self._dead or self.peer is None:
            raise socketError(errno.ENOTCONN)
        if how != socket.SHUT_RD:
            self._writeShut = True
            self._transmit()

    def close(self) -> None:
        """
        Close: with a FIN behind what is in the buffer, or with a reset.

        A reset it is when SO_LINGER asks for it, and when there is input that nobody has read:
        the buffer is lost with it, which is how the reply of a proxy that closes early gets lost.
        """
        if self.closed:
            return
        super().close()
        if self._dead or self.peer is None:
            return
        linger = self.options.get((socket.SOL_SOCKET, socket.SO_LINGER))
        if linger == LINGER_RESET or self._receiving:
            self._sending.clear()
            self._dead = True
            if not (self._finSent and self._finReceived):
                self.peer._resetArrived()
        else:
            self._writeShut = True
            self._transmit()

    def poll(self) -> int:
        """Tell what poll(2) would."""
        mask = super().poll()
        if self._connecting:
            return mask
        if self._receiving or self._finReceived or self._dead:
            mask |= POLL_IN
        if self._dead or self._writeShut or len(self._sending) < self._sendBuffer:
            mask |= POLL_OUT
        if self._dead or (self._finReceived and self._writeShut):
            mask |= POLL_HUP
        return mask

    def _transmit(self) -> None:
        """Move what the peer's window has room for, then the FIN."""
        peer = self.peer
        if peer is None or self._dead:
            return
        if self._sending and peer.closed:
            # Nobody is there any more: the peer's kernel answers with a reset.
            peer._sending.clear()
            peer._dead = True
            self._resetArrived()
            return
        room = max(0, peer._window - len(peer._receiving))
        peer._receiving += self._sending[:room]
        del self._sending[:room]
        if self._writeShut and not self._sending:
            self._finSent = peer._finReceived = True

    def _resetArrived(self) -> None:
        """Die: with C{EPIPE} when a FIN had come before, with C{ECONNRESET} otherwise."""
        self._dead = True
        self._sending.clear()
        if self.network.resetDropsUnread:
            self._receiving.clear()
        self._error = errno.EPIPE if self._finReceived else errno.ECONNRESET
