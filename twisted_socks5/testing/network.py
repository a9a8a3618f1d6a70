"""
A network in memory: every address is a host of it, and each host answers as it was told to.

It knows which socket is bound where, how long the way to an address is and what goes wrong on
it.  It knows nothing of Twisted but the time: what takes time is put on a L{Clock} of its own,
so that a packet under way is not mistaken for a delayed call that the program left behind.
"""

from __future__ import annotations

import errno
import itertools
import socket
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from twisted.internet.task import Clock

from twisted_socks5.testing.datagrams import DatagramSocket
from twisted_socks5.testing.sockets import MemorySocket, socketError
from twisted_socks5.testing.streams import ListeningSocket, StreamSocket

# A host that is no IP address is the path of a Unix socket.
Host = IPv4Address | IPv6Address | str
Endpoint = tuple[Host, int]

ANY4 = IPv4Address(0)
ANY6 = IPv6Address(0)

# What fails when a socket is made, and when it is bound, before anything is sent.
NO_DESCRIPTOR = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS})
NO_BINDING = frozenset({errno.EADDRNOTAVAIL, errno.EACCES})


@dataclass(frozen=True)
class Route:
    """
    What happens on the way to a destination.

    @ivar error: the L{errno} it fails with; 0 is a host that answers.
    @ivar silent: nothing ever comes back.
    @ivar delay: seconds until the answer, or the datagram, arrives.
    """

    error: int = 0
    silent: bool = False
    delay: float = 0.0


class Network:
    """
    The sockets, and what lies between them.

    @ivar time: when packets under way arrive.
    @ivar window: how many octets a connection holds for a reader that does not read.
    @ivar sendBuffer: how many more its writer's side holds.
    @ivar datagramBuffer: how many octets of datagrams a socket holds.
    @ivar resetDropsUnread: whether a reset also takes what had arrived but was not yet read: not
        on Linux, but elsewhere, and whenever the packets that carried it were lost.
    @ivar sockets: those that are open, by descriptor.
    """

    def __init__(self, window: int, sendBuffer: int) -> None:
        self.time = Clock()
        self.window = window
        self.sendBuffer = sendBuffer
        self.datagramBuffer = 212_992  # Linux' net.core.rmem_default
        self.resetDropsUnread = False
        self.sockets: dict[int, MemorySocket] = {}
        self._descriptors = itertools.count(1 << 20)
        self._ports = itertools.cycle(range(49_152, 65_536))
        self._bound: dict[tuple[str, Endpoint], MemorySocket] = {}
        self._routes: dict[tuple[Host, int | None], Route] = {}

    # What the test says

    def route(self, host: str, port: int | None, route: Route) -> None:
        """
        Say what happens on the way to an address.

        @param host: an IP address.
        @param port: one port of it; L{None} is all that have no route of their own.
        @param route: what happens.
        """
        self._routes[ip_address(host), port] = route

    def routeTo(self, endpoint: Endpoint) -> Route:
        """
        Find what happens on the way to an address.

        @param endpoint: address and port.
        @return: the route that was set; else one on which nothing happens.
        """
        host, port = endpoint
        return self._routes.get((host, port)) or self._routes.get((host, None)) or Route()

    # What the reactor asks

    def arrive(self, now: float) -> bool:
        """
        Let what is due arrive.

        @param now: seconds.
        @return: whether anything was.
        """
        self.time.rightNow = now
        due = any(call.getTime() <= now for call in self.time.calls)
        self.time.advance(0)
        return due

    # What the sockets ask

    def register(self, item: MemorySocket) -> int:
        """
        Give a socket a descriptor.

        @param item: the socket.
        @return: the descriptor.
        """
        descriptor = next(self._descriptors)
        self.sockets[descriptor] = item
        return descriptor

    def forget(self, descriptor: int, item: MemorySocket) -> None:
        """
        Take the descriptor back, and the address if it was bound.

        @param descriptor: what C{register} gave.
        @param item: the socket.
        """
        del self.sockets[descriptor]
        if item.local is not None and self._bound.get((item.kind, item.local)) is item:
            del self._bound[item.kind, item.local]

    def endpoint(self, family: int, address: tuple[Any, ...]) -> Endpoint:
        """
        Read a sockaddr; an IPv4 address in IPv6's clothes is an IPv4 address.

        @param family: the socket's family.
        @param address: host and port; more is ignored.
        @return: address and port.
        @raise OSError: C{EAFNOSUPPORT}: an address of the other family, or no address.
        """
        try:
            host = ip_address(address[0] or ANY4)
        except ValueError:
            raise socketError(errno.EAFNOSUPPORT) from None
        if (host.version == 6) != (family == socket.AF_INET6):
            raise socketError(errno.EAFNOSUPPORT)
        return getattr(host, "ipv4_mapped", None) or host, address[1]

    def sockaddr(self, family: int, endpoint: Endpoint | None) -> tuple[Any, ...]:
        """
        Write a sockaddr.

        @param family: the socket's family.
        @param endpoint: address and port; L{None} is an unbound socket.
        @return: host and port, and for IPv6 flow and scope.
        """
        if family == socket.AF_INET:
            return (str(endpoint[0]), endpoint[1]) if endpoint else (str(ANY4), 0)
        host, port = endpoint or (ANY6, 0)
        return (f"::ffff:{host}" if isinstance(host, IPv4Address) else str(host), port, 0, 0)

    def bind(self, item: MemorySocket, address: tuple[Any, ...]) -> Endpoint:
        """
        Find an address for a socket.

        An address of a host may be bound beside the wildcard: it is another host's.

        @param item: the socket.
        @param address: what was asked for.
        @return: address and port, never 0.
        @raise OSError: C{EADDRINUSE}, or what the route to the address fails with, if that is
            C{EADDRNOTAVAIL} or C{EACCES}.
        """
        host, port = self.endpoint(item.family, address)
        error = self.routeTo((host, port)).error
        if error in NO_BINDING:
            raise socketError(error)
        if not port:
            taken = {endpoint[1] for _, endpoint in self._bound}
            port = next(number for number in self._ports if number not in taken)
        wildcards = {ANY4, ANY6} if host in (ANY4, ANY6) else {host}
        if item.kind != StreamSocket.kind:
            if any((item.kind, (each, port)) in self._bound for each in wildcards):
                raise socketError(errno.EADDRINUSE)
            if item.kind == DatagramSocket.kind:
                self._bound[item.kind, (host, port)] = item
        return host, port

    def listen(self, item: ListeningSocket) -> None:
        """
        Let a socket be found.

        @param item: a bound socket.
        """
        if item.local is not None:
            self._bound[item.kind, item.local] = item

    def source(self, destination: Endpoint) -> Endpoint:
        """
        Choose the local end of a connection, as the routing table would.

        @param destination: the other end.
        @return: the loopback address for a loopback destination; else this host's.
        """
        host = destination[0]
        if isinstance(host, IPv4Address):
            own = "127.0.0.1" if host.is_loopback else "192.0.2.1"
        else:
            own = "::1" if host == IPv6Address(1) else "2001:db8::1"
        return ip_address(own), next(self._ports)

    def dial(self, client: StreamSocket, destination: Endpoint) -> None:
        """
        Carry a connection to its listener and tell the client how it went.

        @param client: the connecting end.
        @param destination: where to.
        """
        route = self.routeTo(destination)
        if not route.silent:
            self.time.callLater(route.delay, self._arrive, client, destination, route.error)

    def _arrive(self, client: StreamSocket, destination: Endpoint, error: int) -> None:
        if client.closed:
            return
        if not error:
            listener = self._find(ListeningSocket.kind, destination)
            if isinstance(listener, ListeningSocket):
                listener.join(client)
            else:
                error = errno.ECONNREFUSED
        client.connectDone(error)

    def transmit(self, sender: DatagramSocket, data: bytes, destination: Endpoint) -> None:
        """
        Carry a datagram.

        @param sender: its sender.
        @param data: its payload.
        @param destination: where to.
        @raise OSError: what the route fails with.
        """
        route = self.routeTo(destination)
        if route.error and route.error != errno.ECONNREFUSED:
            raise socketError(route.error)
        if route.silent:
            return
        if sender.local is None:
            sender.local = self.bind(sender, self.sockaddr(sender.family, None))
        host, port = sender.local
        if host in (ANY4, ANY6):
            host = self.source(destination)[0]
        self.time.callLater(route.delay, self._deliver, sender, data, (host, port), destination)

    def _deliver(
        self, sender: DatagramSocket, data: bytes, source: Endpoint, destination: Endpoint
    ) -> None:
        receiver = self._find(DatagramSocket.kind, destination)
        if isinstance(receiver, DatagramSocket):
            receiver.datagramArrived(data, source)
        else:
            sender.refused()

    def _find(self, kind: str, endpoint: Endpoint) -> MemorySocket | None:
        """Find who is bound to an address: itself first, then its wildcard, then IPv6's."""
        host, port = endpoint
        wildcards = [ANY4, ANY6] if isinstance(host, IPv4Address) else [ANY6]
        for each in (host, *wildcards):
            if (kind, (each, port)) in self._bound:
                return self._bound[kind, (each, port)]
        return None
