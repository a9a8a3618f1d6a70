"""
UDP sockets that ask the kernel as rarely as they can.

Datagrams come in bursts and go out to few, so both are done in batches: what has come is read and
handed on together, and several datagrams of one size to one address leave in a single call, which
the kernel cuts up again (UDP_SEGMENT, Linux 4.18).  That call costs about what one datagram does.

L{DatagramUDP} is the L{IReactorUDP<twisted.internet.interfaces.IReactorUDP>} of such sockets, over
any reactor that watches descriptors.  A protocol that has C{datagramsReceived} is given batches;
any other is called for each datagram, as ever.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IReadDescriptor,
    ISystemHandle,
)
from zope.interface import implementer

from twisted_socks5.streams.watch import broken

if TYPE_CHECKING:
    from twisted.internet.protocol import DatagramProtocol
    from twisted.python.failure import Failure

    from twisted_socks5.streams.watch import Watch

Endpoint = tuple[str, int]

#: Datagrams read in a turn, before others get theirs.
BATCH = 64

#: What a single call may carry: the kernel's own bounds (UDP_MAX_SEGMENTS, and one datagram's).
MAX_TRAIN = 64
MAX_TRAIN_OCTETS = 65000

# linux/udp.h; Python has no name for it.
_UDP_SEGMENT = 103

# What the kernel says of datagrams that would have to be fragmented, which it does not for these.
_NOT_SO_LONG = (errno.EINVAL, errno.EMSGSIZE)


def _cutsTrains(opened: socket.socket) -> bool:
    """
    Tell whether the kernel cuts one call's octets up into several datagrams.

    One that does not know how would send them as a single datagram, and say nothing.
    """
    if sys.platform != "linux":  # the number would mean something else
        return False
    try:
        opened.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, 0)
    except OSError:
        return False
    return True


@implementer(IListeningPort, IReadDescriptor, ISystemHandle)
class DatagramPort:
    """
    A bound UDP socket; see L{IUDPTransport<twisted.internet.interfaces.IUDPTransport>}.

    Its own as well as its protocol's transport; L{DatagramUDP} makes it.

    @ivar protocol: is told what comes.
    """

    __slots__ = ("__weakref__", "_fd", "_longest", "_size", "_socket", "_watch", "protocol")

    def __init__(self, watch: Watch, bound: socket.socket, protocol: Any, size: int) -> None:
        """
        @param watch: tells when something has come.
        @param bound: bound, and not blocking.
        @param protocol: a L{DatagramProtocol<twisted.internet.protocol.DatagramProtocol>}.
        @param size: octets of the largest datagram.
        """
        self._watch = watch
        self._socket = bound
        self._fd = bound.fileno()
        self._size = size
        #: Octets of the longest datagrams that may travel together.
        self._longest = MAX_TRAIN_OCTETS if _cutsTrains(bound) else 0
        self.protocol = protocol

    def startListening(self) -> None:
        """Begin: tell the protocol, and read."""
        self.protocol.makeConnection(self)
        self._watch.addReader(self)

    # What the watch asks.

    def fileno(self) -> int:
        """Name the descriptor."""
        return self._fd

    def logPrefix(self) -> str:
        """Name us in the log."""
        return "DatagramPort"

    def doRead(self) -> None:
        """Read what has come, up to a batch, and hand it on."""
        receive, size = self._socket.recvfrom, self._size
        batch: list[tuple[bytes, Any]] = []
        # Whatever error there is: nothing has come, or it is about something sent before, for
        # which nobody waits.
        with suppress(OSError):
            for _ in range(BATCH):
                batch.append(receive(size))
        if not batch:
            return
        if len(batch[0][1]) > 2:
            # IPv6's flow label and scope, which is in the address, too, where it means anything.
            batch = [(datagram, name[:2]) for datagram, name in batch]
        try:
            together = getattr(self.protocol, "datagramsReceived", None)
            if together is not None:
                together(batch)
                return
            for datagram, source in batch:
                if self._fd >= 0:  # One of those before may have been the last that was wanted.
                    self.protocol.datagramReceived(datagram, source)
        except Exception:
            broken(self)

    def doWrite(self) -> None:
        """Never called: what can't be sent at once is not sent."""

    def readConnectionLost(self, reason: Failure) -> None:
        """Never called: datagrams have no end."""

    def connectionLost(self, reason: Failure | None = None) -> None:
        """The socket is closed, or of no use any more."""
        if self._fd < 0:
            return
        self._watch.forget(self)
        self._fd = -1
        self._socket.close()
        # They know each other: nothing waits for the garbage collector.
        protocol, self.protocol = self.protocol, None
        protocol.doStop()

    # What the protocol asks.

    def write(self, packet: bytes, addr: Endpoint) -> None:
        """
        Send a datagram, now or never.

        @raise OSError: it can't be sent; with EAGAIN, not now.
        """
        self._socket.sendto(packet, addr)

    def writeTrain(self, datagrams: Sequence[bytes], addr: Endpoint) -> bool:
        """
        Send several datagrams of one size to one address, at once and at the price of one.

        @param datagrams: at most C{MAX_TRAIN} of at most C{MAX_TRAIN_OCTETS} in all; not empty
            ones.
        @return: whether they are sent, all of them.  Else none is, for whatever reason: L{write}
            each.
        """
        length = len(datagrams[0])
        if length > self._longest:
            return False
        size = struct.pack("=H", length)
        try:
            self._socket.sendmsg(datagrams, ((socket.IPPROTO_UDP, _UDP_SEGMENT, size),), 0, addr)
        except OSError as error:
            if error.errno in _NOT_SO_LONG:
                self._longest = length - 1
            elif error.errno == errno.EIO:
                self._longest = 0  # the device can't
            return False
        return True

    def stopListening(self) -> Deferred[None]:
        """Close the socket; no more datagrams come."""
        self.connectionLost()
        return succeed(None)

    def getHandle(self) -> socket.socket:
        """Give the socket."""
        return self._socket

    def getHost(self) -> IPv4Address | IPv6Address:
        """Name our end."""
        host, port = self._socket.getsockname()[:2]
        kind = IPv6Address if self._socket.family == socket.AF_INET6 else IPv4Address
        return kind("UDP", host, port)


class DatagramUDP:
    """The half of a reactor that makes L{DatagramPort}s."""

    def __init__(self, watch: Watch) -> None:
        """
        @param watch: tells when something has come.
        """
        self._watch = watch

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> DatagramPort:
        """
        Bind a socket; see L{IReactorUDP<twisted.internet.interfaces.IReactorUDP>}.

        @raise CannotListenError: it can't be bound, or there is no descriptor for it; nothing is
            left open.
        """
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        try:
            opened = socket.socket(family, socket.SOCK_DGRAM)
        except OSError as error:
            raise CannotListenError(interface, port, error) from None
        try:
            opened.setblocking(False)
            opened.bind((interface, port))
        except OSError as error:
            opened.close()
            raise CannotListenError(interface, port, error) from None
        bound = DatagramPort(self._watch, opened, protocol, maxPacketSize)
        bound.startListening()
        return bound
