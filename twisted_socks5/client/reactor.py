"""
A reactor whose network is a proxy's, for libraries that take a reactor and no endpoint.

C{connectTCP} is CONNECT, C{listenTCP} is BIND, and C{listenUDP} is UDP ASSOCIATE, each with
TLS on top where the reactor has a method for that; names are looked up by the proxy.  All the
rest (time, threads, processes, files, Unix sockets) is the real reactor's.

What cannot go through a proxy does not go around it: multicast is refused.

The interfaces of a reactor are synchronous, and a proxy takes its time.  So what C{listenTCP}
and C{listenUDP} give is there at once, and listens later: see L{RenewedPort
<twisted_socks5.client.renewedport.RenewedPort>} and L{Association
<twisted_socks5.client.datagram.Association>}.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IConnector,
    IHostnameResolver,
    IReactorMulticast,
    IReactorPluggableNameResolver,
    IReactorPluggableResolver,
    IReactorSSL,
    IReactorTCP,
    IReactorUDP,
)
from twisted.logger import Logger
from zope.interface import directlyProvides, implementer, providedBy

from twisted_socks5.client.connector import SOCKS5Connector
from twisted_socks5.client.datagram import Association
from twisted_socks5.client.errors import InvalidTarget
from twisted_socks5.client.listening import ANYBODY, SOCKS5RenewingServerEndpoint
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.client.resolver import SOCKS5Resolver
from twisted_socks5.client.targets import destination
from twisted_socks5.resolving import NameLookup

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.internet.protocol import AbstractDatagramProtocol, ClientFactory
    from twisted.python.failure import Failure

    from twisted_socks5.client.renewedport import RenewedPort
    from twisted_socks5.interfaces import IPAddress

_log = Logger()


@implementer(IReactorTCP, IReactorSSL, IReactorUDP, IReactorPluggableNameResolver)
class SOCKS5Reactor:
    """
    A reactor that connects and listens through a proxy::

        library.connect(SOCKS5Reactor(reactor, proxy), "example.com")

    It provides what the real reactor does, but for multicast.

    @ivar nameResolver: looks names up: a L{SOCKS5Resolver}, unless it was said otherwise.
    """

    nameResolver: IHostnameResolver

    def __init__(
        self,
        reactor: Any,
        proxy: Proxy | IStreamClientEndpoint,
        *,
        peerHost: str = ANYBODY,
        announce: Callable[[Any], object] | None = None,
        resolver: IHostnameResolver | None = None,
    ) -> None:
        """
        @param reactor: the real one.
        @param proxy: the proxy, or the endpoint that leads to one without authentication; on the
            real reactor.
        @param peerHost: who may connect to what C{listenTCP} gives.
        @param announce: called with each address that the proxy listens on for C{listenTCP}.
        @param resolver: looks names up for those who ask this reactor to; by default the proxy
            does, if it can, and otherwise no name is found.  C{connectTCP} needs none: it gives
            names to the proxy.
        """
        self._reactor = reactor
        self._proxy = proxy if isinstance(proxy, Proxy) else Proxy(proxy)
        self._peerHost = peerHost
        self._announce = announce
        self.nameResolver = resolver or SOCKS5Resolver(self._proxy, reactor)
        around = (IReactorMulticast, IReactorPluggableResolver)
        directlyProvides(self, *(each for each in providedBy(reactor) if each not in around))

    def __getattr__(self, name: str) -> Any:
        """Find all the rest at the real reactor."""
        return getattr(self._reactor, name)

    # IReactorTCP and IReactorSSL

    def connectTCP(
        self,
        host: str,
        port: int | str,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: object = None,
    ) -> IConnector:
        """
        Connect to a target through the proxy; see L{IReactorTCP.connectTCP}.

        @param host: an address or a name, which goes to the proxy as it is.
        @param timeout: seconds that all of it may take, the way to the proxy included.
        @param bindAddress: of no effect: it is the proxy that connects.
        @return: the connector.  What it fails with is a L{SOCKSError
            <twisted_socks5.client.errors.SOCKSError>} where the proxy says so, which also is
            Twisted's error for the same trouble.
        """
        connector = SOCKS5Connector(host, port, factory, timeout, self._proxy, self._reactor)
        connector.connect()
        return connector

    def connectSSL(
        self,
        host: str,
        port: int | str,
        factory: ClientFactory[Any],
        contextFactory: Any,
        timeout: float = 30.0,
        bindAddress: object = None,
    ) -> IConnector:
        """Connect to a target, and speak TLS with it; see L{IReactorSSL.connectSSL}."""
        from twisted.protocols.tls import TLSMemoryBIOFactory

        wrapped: Any = TLSMemoryBIOFactory(contextFactory, True, factory)
        return self.connectTCP(host, port, wrapped, timeout, bindAddress)

    def listenTCP(
        self, port: int, factory: Any, backlog: int = 50, interface: str = ""
    ) -> RenewedPort:
        """
        Have the proxy listen; see L{IReactorTCP.listenTCP}.

        @param port: goes to the proxy as DST.PORT; most proxies choose one of their own.
        @param backlog: of no effect: there is one connection for each BIND.
        @param interface: of no effect.
        @return: a port that does not listen yet.  Its C{getHost} raises L{NotYetBound
            <twisted_socks5.client.boundport.NotYetBound>} until its C{whenListening} fires.  A
            proxy that refuses is asked again, and the log says so.
        """
        endpoint = SOCKS5RenewingServerEndpoint(
            self._proxy, self._peerHost, port, reactor=self._reactor, announce=self._announce
        )
        listening = endpoint.port(factory)
        listening.startListening()
        return listening

    def listenSSL(
        self,
        port: int,
        factory: Any,
        contextFactory: Any,
        backlog: int = 50,
        interface: str = "",
    ) -> RenewedPort:
        """Have the proxy listen, and speak TLS with who connects; see L{listenTCP}."""
        from twisted.protocols.tls import TLSMemoryBIOFactory

        wrapped: Any = TLSMemoryBIOFactory(contextFactory, False, factory)
        return self.listenTCP(port, wrapped, backlog, interface)

    # IReactorUDP and IReactorMulticast

    def listenUDP(
        self,
        port: int,
        protocol: AbstractDatagramProtocol,
        interface: str = "",
        maxPacketSize: int = 8192,
    ) -> Association:
        """
        Send and receive datagrams through the proxy; see L{IReactorUDP.listenUDP}.

        @param port: of no effect: the proxy chooses what the targets see.
        @param interface: of no effect.
        @return: an association; what is sent waits until it stands.  If it does not come about, or
            ends, the log says so, and C{stopProtocol} is called.
        """
        association = Association(protocol, self._reactor, maxPacketSize=maxPacketSize)
        association.start()
        association.whenClosed().addErrback(_lost)
        association.open(self._proxy).addErrback(lambda _: None)  # whenClosed tells
        return association

    def listenMulticast(self, *_: object, **__: object) -> NoReturn:
        """
        Refuse.

        @raise OSError: always: C{EOPNOTSUPP}.
        """
        raise OSError(errno.EOPNOTSUPP, "multicast is not possible through a SOCKS proxy")

    # Names

    def resolve(self, name: str, timeout: Sequence[int] = (1, 3, 11, 45)) -> Deferred[str]:
        """
        Look a name up; see L{IReactorCore.resolve<twisted.internet.interfaces.IReactorCore>}.

        @param timeout: seconds that it may take, in all.
        @return: fires with an IPv4 address; fails with L{DNSLookupError
            <twisted.internet.error.DNSLookupError>}.
        """
        try:
            wanted = destination(name, 0)
        except InvalidTarget as error:
            return fail(DNSLookupError(str(error)))
        if not isinstance(wanted.host, bytes):
            return succeed(str(wanted.host))
        seconds = float(sum(timeout))
        lookup = NameLookup(self.nameResolver, self._reactor, timeout=seconds, lifetime=0)
        found = lookup.lookup(wanted.host.decode("ascii"))
        first: Deferred[str] = found.addCallbacks(_firstIPv4, _notFound)
        return first

    def installNameResolver(self, resolver: IHostnameResolver) -> IHostnameResolver:
        """
        Look names up in another way; the real reactor goes on in its own.

        @return: the resolver before.
        """
        previous, self.nameResolver = self.nameResolver, resolver
        return previous


def _firstIPv4(found: list[IPAddress]) -> str:
    """Choose what C{resolve} is to give."""
    for address in found:
        if address.version == 4:
            return str(address)
    raise DNSLookupError("it has no IPv4 address")


def _notFound(failure: Failure) -> NoReturn:
    """Fail as Twisted's own does."""
    raise DNSLookupError(failure.getErrorMessage())


def _lost(failure: Failure) -> None:
    _log.warn("No datagrams through the proxy: {reason}", reason=failure.getErrorMessage())
