"""
A connector (C{IConnector}) whose way leads through a proxy: what C{connectTCP} gives.

Its states, its time limit and what it tells its factory are Twisted's own.  Only two things are
different: how it connects, and how it hears of the end of its connection, whose transport belongs
to whatever leads to the proxy.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.base import BaseConnector
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import (
    ConnectingCancelledError,
    ServiceNameUnknownError,
    UserError,
)
from twisted.internet.interfaces import (
    IConnector,
    IFileDescriptorReceiver,
    IHalfCloseableProtocol,
    IHandshakeListener,
    ILoggingContext,
    IProtocolFactory,
)
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from twisted_socks5.client.endpoint import SOCKS5ClientEndpoint
from twisted_socks5.client.errors import InvalidTarget, SOCKSError
from twisted_socks5.client.targets import asTwisted, destination

if TYPE_CHECKING:
    from twisted.internet.address import HostnameAddress, IPv6Address
    from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol
    from twisted.internet.protocol import ClientFactory

    from twisted_socks5.client.proxy import Proxy

_log = Logger()


class _Application(Protocol):
    """
    Stands before an application's protocol, which has the real transport, to hear of the end.

    Twisted's connectors are told of it by their transports; ours by this.
    """

    def __init__(self, connector: SOCKS5Connector, protocol: IProtocol | None) -> None:
        self._connector = connector
        # A factory that builds none wants no connection: it is lost as soon as it is made.
        self._protocol: Any = protocol or Protocol()
        self._wanted = protocol is not None
        passed = (IHalfCloseableProtocol, IFileDescriptorReceiver, IHandshakeListener)
        directlyProvides(self, *(each for each in passed if each.providedBy(protocol)))

    def logPrefix(self) -> str:
        """Log as the application's protocol does."""
        if ILoggingContext.providedBy(self._protocol):
            return str(self._protocol.logPrefix())
        return type(self._protocol).__name__

    def connectionMade(self) -> None:
        """Connected, to the target."""
        transport: Any = self.transport
        self._connector.transport = transport
        if self._wanted:
            self._protocol.makeConnection(transport)
        else:
            transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        """Octets."""
        self._protocol.dataReceived(data)

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]  # it has no default
        """The end: the protocol hears of it first, then the factory."""
        try:
            self._protocol.connectionLost(reason)
        finally:
            connector = self._connector
            del self._connector
            connector.connectionLost(reason)

    def readConnectionLost(self) -> None:
        """The target's FIN."""
        self._protocol.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Ours."""
        self._protocol.writeConnectionLost()

    def fileDescriptorReceived(self, descriptor: int) -> None:
        """A descriptor, by way of a Unix socket."""
        self._protocol.fileDescriptorReceived(descriptor)

    def handshakeCompleted(self) -> None:
        """TLS stands."""
        self._protocol.handshakeCompleted()


@implementer(IProtocolFactory)
class _Connecting:
    """
    A connector's attempt to connect: its transport, until there is one.

    It also is the factory of the endpoint that does it.
    """

    def __init__(self, connector: SOCKS5Connector, proxy: Proxy, reactor: Any) -> None:
        self._connector: SOCKS5Connector | None = connector
        self._proxy = proxy
        self._reactor = reactor
        self._connecting: Deferred[IProtocol] | None = None
        # Not at once: no factory is told of a failure before connectTCP has returned.
        self._beginning: IDelayedCall | None = reactor.callLater(0, self._begin)

    def failIfNotConnected(self, error: BaseException) -> None:
        """Give up, unless it is connected: what C{stopConnecting} and the time limit do."""
        connector, self._connector = self._connector, None
        if connector is None:
            return
        if self._beginning is not None:
            self._beginning.cancel()
            self._beginning = None
        if self._connecting is not None:
            self._connecting.cancel()
        connector.connectionFailed(Failure(error))

    def loseConnection(self) -> None:
        """Give up."""
        self.failIfNotConnected(UserError())

    def doStart(self) -> None:
        """The connector tells the application's factory."""

    def doStop(self) -> None:
        """The same."""

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:
        """Connected: have the application's protocol built."""
        connector = self._connector
        if connector is None:
            return None
        protocol = connector.buildProtocol(addr)  # type: ignore[arg-type]  # it is the target's
        self._connector = None
        return _Application(connector, protocol)

    def _begin(self) -> None:
        self._beginning = None
        connector = self._connector
        if connector is None:
            return
        try:
            endpoint = SOCKS5ClientEndpoint(
                self._proxy, connector.host, connector.port, reactor=self._reactor
            )
        except SOCKSError:
            self._failed(Failure())
        else:
            connecting = endpoint.connect(self)
            self._connecting = connecting
            connecting.addErrback(self._failed)

    def _failed(self, failure: Failure) -> None:
        connector, self._connector = self._connector, None
        if connector is not None:
            connector.connectionFailed(failure)
        elif not failure.check(CancelledError, ConnectingCancelledError):
            _log.failure("A connection failed to begin", failure)


@implementer(IConnector)
class SOCKS5Connector(BaseConnector):
    """
    What C{connectTCP} gives; Twisted's own, but for how it connects.

    @ivar host: the target's name or address.
    @ivar port: its port.
    """

    transport: Any

    def __init__(
        self,
        host: str,
        port: int | str,
        factory: ClientFactory[Any],
        timeout: float,
        proxy: Proxy,
        reactor: Any,
    ) -> None:
        """
        @raise ServiceNameUnknownError: the port is the name of no service.
        """
        if isinstance(port, str):
            try:
                port = socket.getservbyname(port, "tcp")
            except OSError as error:
                raise ServiceNameUnknownError(string=f"{error} ({port!r})") from None
        super().__init__(factory, timeout, reactor)
        self.host = host
        self.port = port
        self._proxy = proxy

    def getDestination(self) -> IPv4Address | IPv6Address | HostnameAddress:
        """
        Tell the target.

        @return: an L{HostnameAddress<twisted.internet.address.HostnameAddress>} for a name.
        """
        try:
            return asTwisted(destination(self.host, self.port))
        except InvalidTarget:
            return IPv4Address("TCP", self.host, self.port)

    def _makeTransport(self) -> Any:
        # The one abstract method of BaseConnector, its name notwithstanding.
        return _Connecting(self, self._proxy, self.reactor)
