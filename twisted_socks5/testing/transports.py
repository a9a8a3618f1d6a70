"""
Twisted's own transports, on sockets in memory.

Only the making of a socket is replaced: what buffers, pauses, half-closes and aborts here is
C{twisted.internet.tcp} and C{udp} themselves, so that code under test meets their behaviour and
not a retelling of it.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any, cast

from twisted.internet import tcp, udp
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IProtocol
from twisted.python import log

from twisted_socks5.testing.datagrams import DatagramSocket
from twisted_socks5.testing.network import NO_DESCRIPTOR
from twisted_socks5.testing.sockets import MemorySocket, socketError
from twisted_socks5.testing.streams import ListeningSocket, StreamSocket

if TYPE_CHECKING:
    from twisted_socks5.testing.network import Network
    from twisted_socks5.testing.reactor import MemoryReactor


def _asSocket(item: MemorySocket) -> socket.socket:
    # It has the methods that Twisted calls; that is all a socket has to be for it.
    return cast(socket.socket, item)


def _networkOf(reactor: object) -> Network:
    # Twisted says of a transport's reactor no more than that it provides IReactorFDSet.
    return cast("MemoryReactor", reactor).network


class MemoryClient(tcp.Client):
    """A connection that C{connectTCP} made."""

    def createInternetSocket(self) -> socket.socket:
        """
        Make a socket in memory.

        @raise OSError: when the route to the destination says that there is no descriptor.
        """
        network = _networkOf(self.connector.reactor)
        if isIPAddress(self.addr[0]) or isIPv6Address(self.addr[0]):  # no name, that is
            route = network.routeTo(network.endpoint(self.addressFamily, self.addr))
            if route.error in NO_DESCRIPTOR:
                raise socketError(route.error)
        return _asSocket(StreamSocket(network, self.addressFamily))


class MemoryConnector(tcp.Connector):
    """What C{connectTCP} returns."""

    def _makeTransport(self) -> tcp.Client:
        # The one abstract method of BaseConnector, its name notwithstanding.
        return MemoryClient(self.host, self.port, self.bindAddress, self, self.reactor)


class MemoryPort(tcp.Port):
    """What C{listenTCP} returns."""

    factory: Any  # there always is one once it listens

    def createInternetSocket(self) -> socket.socket:
        """Make a socket in memory."""
        return _asSocket(ListeningSocket(_networkOf(self.reactor), self.addressFamily))

    def doRead(self) -> None:
        """Accept what there is; older releases' own way makes a system call on each socket."""
        while True:
            try:
                item, address = self.socket.accept()
            except BlockingIOError:
                return
            try:
                self._accepted(item, address)
            except Exception:
                log.err(None, "a protocol failed to begin")

    def _accepted(self, item: socket.socket, address: tuple[Any, ...]) -> None:
        protocol = None
        try:
            protocol = self.factory.buildProtocol(self._addressType("TCP", *address))
        finally:
            if protocol is None:
                item.close()
        if protocol is not None:
            number, self.sessionno = self.sessionno, self.sessionno + 1
            protocol.makeConnection(
                self.transport(item, protocol, address, self, number, self.reactor)
            )


class MemoryUDPPort(udp.Port):
    """What C{listenUDP} returns."""

    def createInternetSocket(self) -> socket.socket:
        """Make a socket in memory."""
        return _asSocket(DatagramSocket(_networkOf(self.reactor), self.addressFamily))


class MemoryTransport(tcp.Connection):
    """One end of a connection that nobody listened for: see L{MemoryReactor.connectPair}."""

    def __init__(
        self,
        item: StreamSocket,
        protocol: IProtocol,
        reactor: Any,
        host: IPv4Address | IPv6Address | UNIXAddress,
        peer: IPv4Address | IPv6Address | UNIXAddress,
    ) -> None:
        super().__init__(_asSocket(item), protocol, reactor)
        self._host = host
        self._peer = peer
        self.connected = 1
        self.startReading()

    def getHost(self) -> IPv4Address | IPv6Address | UNIXAddress:
        """
        Tell the local address.

        @return: the address it was made with.
        """
        return self._host

    def getPeer(self) -> IPv4Address | IPv6Address | UNIXAddress:
        """
        Tell the peer's address.

        @return: the address it was made with.
        """
        return self._peer
