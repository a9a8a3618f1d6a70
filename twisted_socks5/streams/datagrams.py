"""
UDP sockets that ask the kernel as rarely as they can.

Datagrams come in bursts and go out to few, so both are done in batches: what has come is read by a
L{Receiver} and handed on together, and several datagrams of one size to one address leave in a
single call, which the kernel cuts up again (UDP_SEGMENT, Linux 4.18).  That call costs about what
one datagram does.

L{DatagramUDP} is the L{IReactorUDP<twisted.internet.interfaces.IReactorUDP>} of such sockets, over
any reactor that watches descriptors.  A protocol that has C{datagramsReceived} is given what has
come as L{Run}s; any other is called for each datagram, as ever.
"""

from __future__ import annotations

import errno
import socket
import struct
import sys
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import (
    IListeningPort,
    IReadDescriptor,
    ISystemHandle,
)
from twisted.logger import Logger
from zope.interface import implementer

from twisted_socks5.streams.receiving import receiver
from twisted_socks5.streams.watch import broken

if TYPE_CHECKING:
    from twisted.internet.protocol import DatagramProtocol
    from twisted.python.failure import Failure

    from twisted_socks5.streams.receiving import Receiver, Run
    from twisted_socks5.streams.watch import Watch

Buffer = bytes | memoryview

Endpoint = tuple[str, int]

#: What a single call may carry: the kernel's own bounds (UDP_MAX_SEGMENTS, and one datagram's).
MAX_TRAIN = 64
MAX_TRAIN_OCTETS = 65000

# linux/udp.h; Python has no name for it.
_UDP_SEGMENT = 103

# What the kernel says of datagrams that would have to be fragmented, which it does not for these.
_NOT_SO_LONG = (errno.EINVAL, errno.EMSGSIZE)

# Not blocking from the first, where there is a word for that.
_KIND = socket.SOCK_DGRAM | getattr(socket, "SOCK_NONBLOCK", 0)

_log = Logger()

# In the place of a length: nothing has been sent together yet.
_UNTRIED = -1


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
        _refused()
        return False
    return True


@lru_cache(maxsize=1)
def _refused() -> None:
    """Say once that datagrams do not travel together."""
    _log.warn("This system does not send several datagrams at once: each is sent by itself")


def trains(datagrams: list[bytes]) -> Iterator[list[bytes]]:
    """
    Part datagrams into what may travel together.

    @return: lists of one each, or of several of one length, the last of which may be shorter.
    """
    count, length = len(datagrams), len(datagrams[0])
    lengths = list(map(len, datagrams))
    alike = lengths.count(length) == count
    if alike and count <= MAX_TRAIN and 0 < length * count <= MAX_TRAIN_OCTETS:
        yield datagrams
        return
    start = 0
    while start < count:
        length = lengths[start]
        end = start + 1
        if length:  # several empty ones would have no length to be cut at
            most = min(count, start + min(MAX_TRAIN, MAX_TRAIN_OCTETS // length))
            while end < most and lengths[end] == length:
                end += 1
            if end < most and 0 < lengths[end] < length:
                end += 1
        yield datagrams[start:end]
        start = end


def _nobody(runs: list[Run]) -> None:
    """Hear of datagrams that come to a port that is closed."""


@implementer(IListeningPort, IReadDescriptor, ISystemHandle)
class DatagramPort:
    """
    A bound UDP socket; see L{IUDPTransport<twisted.internet.interfaces.IUDPTransport>}.

    Its own as well as its protocol's transport; L{DatagramUDP} makes it.

    @ivar protocol: is told what comes.
    """

    __slots__ = (
        "__weakref__",
        "_fd",
        "_longest",
        "_quiet",
        "_receiver",
        "_socket",
        "_together",
        "_watch",
        "protocol",
    )

    def __init__(
        self, watch: Watch, bound: socket.socket, protocol: Any, receiver: Receiver
    ) -> None:
        """
        @param watch: tells when something has come.
        @param bound: bound, and not blocking.
        @param protocol: a L{DatagramProtocol<twisted.internet.protocol.DatagramProtocol>}.
        @param receiver: reads.
        """
        self._watch = watch
        self._socket = bound
        self._fd = bound.fileno()
        self._receiver = receiver
        #: Octets of the longest datagrams that may travel together.
        self._longest = _UNTRIED
        self.protocol = protocol
        self._together = getattr(protocol, "datagramsReceived", self._singly)
        self._quiet = True

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
        runs = self._receiver.receive(self._socket)
        if not runs:
            return
        if self._quiet and (len(runs) > 1 or len(runs[0][0]) > 1):
            self._quiet = False
            self._receiver.expectMany(self._socket)
        try:
            self._together(runs)
        except Exception:
            broken(self)

    def _singly(self, runs: list[Run]) -> None:
        """Tell a protocol that knows of no runs."""
        for datagrams, source in runs:
            for datagram in datagrams:
                if self._fd >= 0:  # One before may have been the last that was wanted.
                    self.protocol.datagramReceived(datagram, source)

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
        protocol, self.protocol, self._together = self.protocol, None, _nobody
        protocol.doStop()

    # What the protocol asks.

    def write(self, packet: bytes, addr: Endpoint) -> None:
        """
        Send a datagram, now or never.

        @raise OSError: it can't be sent; with EAGAIN, not now.
        """
        self._socket.sendto(packet, addr)

    def writeTrain(self, parts: Sequence[Buffer], length: int, addr: Endpoint) -> bool:
        """
        Send several datagrams of one length to one address, at once and at the price of one.

        @param parts: their octets, cut wherever: at most C{MAX_TRAIN_OCTETS} in all.
        @param length: of each, at most C{MAX_TRAIN}; 1 or more.  The last one may be shorter.
        @return: whether they are sent, all of them.  Else none is, for whatever reason: L{write}
            each.
        """
        if self._longest == _UNTRIED:
            self._longest = MAX_TRAIN_OCTETS if _cutsTrains(self._socket) else 0
        if length > self._longest:
            return False
        size = struct.pack("=H", length)
        try:
            self._socket.sendmsg(parts, ((socket.IPPROTO_UDP, _UDP_SEGMENT, size),), 0, addr)
        except OSError as error:
            if error.errno in _NOT_SO_LONG:
                self._longest = length - 1
            elif error.errno == errno.EIO:
                self._longest = 0  # the device can't
                _refused()
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

        @param maxPacketSize: of no concern: whatever comes is read whole.
        @raise CannotListenError: it can't be bound, or there is no descriptor for it; nothing is
            left open.
        """
        family = socket.AF_INET6 if ":" in interface else socket.AF_INET
        try:
            opened = socket.socket(family, _KIND)
        except OSError as error:
            raise CannotListenError(interface, port, error) from None
        try:
            if _KIND == socket.SOCK_DGRAM:
                opened.setblocking(False)
            opened.bind((interface, port))
        except OSError as error:
            opened.close()
            raise CannotListenError(interface, port, error) from None
        bound = DatagramPort(self._watch, opened, protocol, receiver(family))
        bound.startListening()
        return bound
