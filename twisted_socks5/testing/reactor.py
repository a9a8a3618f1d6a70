"""
A reactor in memory, for tests: what programs ask of a reactor, on L{Turns} and a L{Network}.

TCP and UDP, names and threads; half-close, resets, back-pressure and every way to fail to
connect, without a socket, a thread or a wait.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IListeningPort,
    IProtocol,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
)
from twisted.internet.protocol import ClientFactory, DatagramProtocol, ServerFactory
from zope.interface import implementer

from twisted_socks5.testing.datagrams import DatagramSocket
from twisted_socks5.testing.names import FirstAddress, MemoryResolver
from twisted_socks5.testing.network import Endpoint, Network, Route
from twisted_socks5.testing.streams import ListeningSocket, StreamSocket
from twisted_socks5.testing.transports import (
    MemoryConnector,
    MemoryPort,
    MemoryTransport,
    MemoryUDPPort,
)
from twisted_socks5.testing.turns import Turns

AnyAddress = IPv4Address | IPv6Address | UNIXAddress

_CLIENT = IPv4Address("TCP", "192.0.2.1", 49_151)
_SERVER = IPv4Address("TCP", "192.0.2.2", 1080)


def _endpointOf(address: AnyAddress) -> tuple[int, Endpoint]:
    """Tell the family of an address, and the address as the network writes it."""
    if isinstance(address, UNIXAddress):
        return socket.AF_UNIX, (os.fsdecode(address.name or b""), 0)
    family = socket.AF_INET6 if isinstance(address, IPv6Address) else socket.AF_INET
    return family, (ip_address(address.host), address.port)


@implementer(
    IReactorTCP, IReactorUDP, IReactorTime, IReactorThreads, IReactorPluggableNameResolver
)
class MemoryReactor(Turns):
    """
    A reactor whose network and clock are in memory.

    Any IP address is a host that answers: C{listenTCP(80, factory, interface="203.0.113.5")}
    makes the target that C{connectTCP("203.0.113.5", 80, factory)} reaches, a wildcard listens
    on every address, and where nobody listens connecting is refused.  L{route} makes it fail
    otherwise.

    L{turn}, L{settle} and L{advance} move time and octets.  It does not provide
    C{IReactorFDSet}, though it has its methods: no system call could use its descriptors.

    @ivar network: the sockets and routes.
    @ivar names: the resolver that is installed at first; see L{MemoryResolver.add}.
    @ivar nameResolver: the resolver that is installed.
    @ivar threads: what C{deferToThread} works on.
    """

    def __init__(
        self,
        *,
        window: int = 65_536,
        sendBuffer: int = 65_536,
        shuffle: Callable[[list[Any]], None] | None = None,
    ) -> None:
        """
        Make a reactor.

        @param window: octets a connection holds for a reader that does not read.
        @param sendBuffer: octets more on its writer's side, below Twisted's own buffer.
        @param shuffle: brings the descriptors that are ready in another order, in place, each
            turn: C{random.Random(seed).shuffle}; otherwise they come in order of registration.
        """
        super().__init__(Network(window, sendBuffer), shuffle)
        self.names = MemoryResolver(self.network.time)
        self.nameResolver: IHostnameResolver = self.names

    # What a test says and asks

    def route(
        self,
        host: str,
        port: int | None = None,
        *,
        error: int = 0,
        silent: bool = False,
        delay: float = 0.0,
    ) -> None:
        """
        Say what happens to connections and datagrams on their way to an address.

        @param host: an IP address.
        @param port: one of its ports; L{None} is each that has no route of its own.
        @param error: the L{errno} it fails with; C{EMFILE} and the like fail before anything
            is sent, as a C{ConnectBindError}; C{EADDRNOTAVAIL} and C{EACCES} also fail to bind.
        @param silent: nothing ever comes back, so that connecting times out.
        @param delay: seconds until it is connected, has failed, or arrives.
        """
        self.network.route(host, port, Route(error, silent, delay))

    def openConnections(self) -> list[StreamSocket]:
        """
        Tell which ends of TCP connections are open, or still connecting.

        @return: their sockets.
        """
        return [each for each in self.network.sockets.values() if isinstance(each, StreamSocket)]

    def listeners(self) -> list[ListeningSocket | DatagramSocket]:
        """
        Tell what is listening, TCP and UDP.

        @return: the sockets.
        """
        kinds = (ListeningSocket, DatagramSocket)
        return [each for each in self.network.sockets.values() if isinstance(each, kinds)]

    def leftOver(self) -> list[str]:
        """
        Tell all that is left: for C{assertEqual(reactor.leftOver(), [])} at the end of a test.

        @return: open sockets and delayed calls in words.
        """
        return [repr(each) for each in (*self.network.sockets.values(), *self.calls)]

    def connectPair(
        self,
        first: IProtocol,
        second: IProtocol,
        firstAddress: AnyAddress | None = None,
        secondAddress: AnyAddress | None = None,
    ) -> tuple[MemoryTransport, MemoryTransport]:
        """
        Connect two protocols at once, without a listener.

        @param first: one protocol.
        @param second: the other.
        @param firstAddress: what the first calls its host and the second its peer;
            192.0.2.1:49151 by default.
        @param secondAddress: the same for the second; 192.0.2.2:1080 by default.
        @return: their transports.
        """
        here, there = firstAddress or _CLIENT, secondAddress or _SERVER
        one, two = self.socketPair(here, there)
        transports = (
            MemoryTransport(one, first, self, here, there),
            MemoryTransport(two, second, self, there, here),
        )
        first.makeConnection(transports[0])
        second.makeConnection(transports[1])
        return transports

    def socketPair(
        self, firstAddress: AnyAddress = _CLIENT, secondAddress: AnyAddress = _SERVER
    ) -> tuple[StreamSocket, StreamSocket]:
        """
        Connect two sockets, for transports other than Twisted's.

        @param firstAddress: the first's local address.
        @param secondAddress: the second's.
        @return: the sockets.
        """
        (oneFamily, oneEnd), (twoFamily, twoEnd) = map(_endpointOf, (firstAddress, secondAddress))
        one, two = StreamSocket(self.network, oneFamily), StreamSocket(self.network, twoFamily)
        one.local, one.remote = oneEnd, twoEnd
        two.join(one)
        return one, two

    # IReactorTCP and IReactorUDP

    def listenTCP(
        self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """
        See L{IReactorTCP.listenTCP}.

        @param port: 0 takes a free one.
        @param factory: builds a protocol for each connection.
        @param backlog: of no effect.
        @param interface: an IP address; none is all of IPv4, C{"::"} is all.
        @return: the port.
        @raise CannotListenError: another listens there.
        """
        listening = MemoryPort(port, factory, backlog, interface, self)
        listening.startListening()
        return listening

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """
        See L{IReactorTCP.connectTCP}.

        @param host: an IP address, or a name to be resolved.
        @param port: where to connect to.
        @param factory: builds the protocol, or is told of the failure.
        @param timeout: seconds.
        @param bindAddress: the local address to connect from; any will do.
        @return: the connector.
        """
        connector = MemoryConnector(host, port, factory, timeout, bindAddress, self)
        connector.connect()
        return connector

    def listenUDP(
        self,
        port: int,
        protocol: DatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
    ) -> IListeningPort:
        """
        See L{IReactorUDP.listenUDP}.

        @param port: 0 takes a free one.
        @param protocol: receives the datagrams.
        @param interface: an IP address; none is all of IPv4, C{"::"} is all.
        @param maxPacketSize: what is longer is cut.
        @return: the port, which is also the protocol's transport.
        @raise CannotListenError: another listens there.
        """
        listening = MemoryUDPPort(port, protocol, interface, maxPacketSize, self)
        listening.startListening()
        return listening

    # Names

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """
        See L{IReactorPluggableNameResolver.installNameResolver}.

        @param resolver: answers from now on.
        @return: the one before.
        """
        previous, self.nameResolver = self.nameResolver, resolver
        return previous

    def resolve(self, name: str, timeout: Iterable[int] = ()) -> Deferred[str]:
        """
        See L{IReactorCore.resolve<twisted.internet.interfaces.IReactorCore.resolve>}.

        @param name: a name.
        @param timeout: of no effect.
        @return: fires with the first of its IPv4 addresses, or fails with C{DNSLookupError}.
        """
        receiver = FirstAddress(name)
        self.nameResolver.resolveHostName(receiver, name, 0, [IPv4Address])
        return receiver.result

    # IReactorThreads

    def callFromThread(
        self,
        callable: Callable[..., Any],  # noqa: A002 - the interface gives it this name
        *args: object,
        **kw: object,
    ) -> None:
        """
        Call a function in the next turn; may be called from another thread.

        @param callable: called with the other arguments.
        """
        self._fromThreads.append(lambda: callable(*args, **kw))

    def callInThread(
        self,
        callable: Callable[..., Any],  # noqa: A002 - the interface gives it this name
        *args: object,
        **kw: object,
    ) -> None:
        """
        Do work as a thread would, in a later turn.

        @param callable: called with the other arguments.
        """
        self.threads.callInThread(callable, *args, **kw)

    def getThreadPool(self) -> Any:
        """
        Tell what C{deferToThread} works on.

        @return: L{threads<MemoryThreadPool>}.
        """
        return self.threads

    def suggestThreadPoolSize(self, size: int) -> None:
        """
        Accept any size.

        @param size: how many threads.
        """
