"""
UDP in memory: bounded, cut to what the reader asks for, and refused only when connected.
"""

from __future__ import annotations

import errno
import socket
from collections import deque
from typing import TYPE_CHECKING, Any

from twisted_socks5.testing.sockets import POLL_IN, POLL_OUT, MemorySocket, socketError

if TYPE_CHECKING:
    from twisted_socks5.testing.network import Endpoint, Network

# The largest payload of a datagram: 65535 less the headers of UDP, and of IPv4.
MAX_DATAGRAM: dict[int, int] = {socket.AF_INET: 65535 - 8 - 20, socket.AF_INET6: 65535 - 8}


class DatagramSocket(MemorySocket):
    """A UDP socket."""

    kind = "datagrams"

    def __init__(self, network: Network, family: int) -> None:
        super().__init__(network, family)
        self._waiting: deque[tuple[bytes, Endpoint]] = deque()
        self._held = 0

    def connect(self, address: tuple[Any, ...]) -> None:
        """Fix the peer: others are not heard, and that nobody listens there is an error."""
        self.remote = self.network.endpoint(self.family, address)

    def sendto(self, data: bytes, address: tuple[Any, ...]) -> int:
        """
        Send a datagram.

        @return: its length.
        @raise OSError: C{EMSGSIZE}, or what the network was told to fail with.
        """
        self._raiseError()
        if len(data) > MAX_DATAGRAM[self.family]:
            raise socketError(errno.EMSGSIZE)
        self.network.transmit(self, data, self.network.endpoint(self.family, address))
        return len(data)

    def send(self, data: bytes) -> int:
        """
        Send a datagram to the connected peer.

        @return: its length.
        @raise OSError: as C{sendto}; C{ECONNREFUSED} when nobody had the one before.
        """
        return self.sendto(data, self.getpeername())

    def datagramArrived(self, data: bytes, source: Endpoint) -> None:
        """
        Take a datagram from the network; one too many for the buffer is dropped.

        @param data: its payload.
        @param source: who sent it.
        """
        full = self._held + len(data) > self.network.datagramBuffer
        if self.closed or full or self.remote not in (None, source):
            return
        self._held += len(data)
        self._waiting.append((bytes(data), source))

    def refused(self) -> None:
        """Learn that nobody listens at the destination (ICMP's "port unreachable")."""
        if self.remote is not None:
            self._error = errno.ECONNREFUSED

    def recvfrom(self, size: int) -> tuple[bytes, tuple[Any, ...]]:
        """
        Give the next datagram.

        @return: at most C{size} octets of it, the rest is lost; and its sender's address.
        @raise OSError: C{EWOULDBLOCK}; C{ECONNREFUSED} when connected.
        """
        self._raiseError()
        if not self._waiting:
            raise socketError(errno.EWOULDBLOCK)
        data, source = self._waiting.popleft()
        self._held -= len(data)
        return data[:size], self.network.sockaddr(self.family, source)

    def poll(self) -> int:
        """Tell what poll(2) would: an error is none that could be read, so reactors close it."""
        return super().poll() | POLL_OUT | (POLL_IN if self._waiting else 0)
