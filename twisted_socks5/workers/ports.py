"""
Ports that several processes accept from.

The supervisor opens a port, through whatever endpoint describes it, and accepts nobody.  A worker
inherits the descriptor, and lets the same endpoint believe that it opens the port itself.  Both
stand between the endpoint and the reactor, so what an endpoint puts around connections, TLS or
the PROXY protocol, is where it always was.

All workers accept from one queue, so whoever is free takes the next connection, and nobody waits
for one that is busy, hangs or has died.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING, Any

from twisted.internet import tcp, unix
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import Factory
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IProtocolFactory
    from twisted.python.failure import Failure


class _Nobody(Factory):
    """Accepts nobody; its port is not read from."""

    noisy = False

    def logPrefix(self) -> str:
        """Name who opens it."""
        return "Supervisor"


@implementer(IListeningPort)
class SharedPort:
    """
    A port that is open here, and accepted from elsewhere.

    @ivar factory: what would make the protocols here.
    """

    def __init__(self, port: Any, factory: IProtocolFactory) -> None:
        """
        @param port: one of Twisted's own, which listens.
        """
        self.factory = factory
        self._port = port
        port.stopReading()
        # A shutdown would be its end for all who share it, workers or systemd.
        port._shouldShutdown = False

    def fileno(self) -> int:
        """Name the descriptor that others inherit."""
        return int(self._port.fileno())

    def startListening(self) -> None:
        """It listens already."""

    def stopListening(self) -> Deferred[None] | None:
        """Close it here; who has inherited it goes on."""
        closed: Deferred[None] | None = self._port.stopListening()
        return closed

    def getHost(self) -> IAddress:
        """Say where it listens."""
        address: IAddress = self._port.getHost()
        return address


class SharedPorts:
    """A reactor whose ports are for others to accept from."""

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: opens them, and does all else.
        """
        self._reactor = reactor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> SharedPort:
        """See L{IReactorTCP<twisted.internet.interfaces.IReactorTCP>}."""
        return SharedPort(
            self._reactor.listenTCP(port, _Nobody(), backlog, interface=interface), factory
        )

    def listenSSL(
        self,
        port: int,
        factory: IProtocolFactory,
        contextFactory: object,
        backlog: int = 50,
        interface: str = "",
    ) -> SharedPort:
        """See L{IReactorSSL<twisted.internet.interfaces.IReactorSSL>}; a worker needs the rest."""
        return self.listenTCP(port, factory, backlog, interface)

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, *args: Any, **named: Any
    ) -> SharedPort:
        """See L{IReactorUNIX<twisted.internet.interfaces.IReactorUNIX>}."""
        return SharedPort(self._reactor.listenUNIX(address, _Nobody(), *args, **named), factory)

    def adoptStreamPort(
        self, fileDescriptor: int, addressFamily: int, factory: IProtocolFactory
    ) -> SharedPort:
        """See L{IReactorSocket<twisted.internet.interfaces.IReactorSocket>}."""
        return SharedPort(
            self._reactor.adoptStreamPort(fileDescriptor, addressFamily, _Nobody()), factory
        )


class InheritedPorts:
    """A reactor that has its port already: the one that was opened for this worker."""

    def __init__(self, reactor: Any, descriptor: int) -> None:
        """
        @param reactor: does all else.
        @param descriptor: listens; it is closed with the port.
        """
        self._reactor = reactor
        self._descriptor = descriptor

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reactor, name)

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Listen, wherever that is."""
        found: IListeningPort
        with socket.socket(fileno=self._descriptor) as inherited:
            # What Twisted adopts is a copy.
            if inherited.family == socket.AF_UNIX:
                found = _UNIXPort._fromListeningDescriptor(
                    self._reactor, inherited.fileno(), factory
                )
                found.startListening()
            else:
                found = self._reactor.adoptStreamPort(
                    inherited.fileno(), inherited.family, factory
                )
        return found

    def listenUNIX(
        self, address: str, factory: IProtocolFactory, *args: Any, **named: Any
    ) -> IListeningPort:
        """Listen, wherever that is; the file is as the supervisor has made it."""
        return self.listenTCP(0, factory)

    def listenSSL(
        self, port: int, factory: IProtocolFactory, contextFactory: Any, *args: Any, **named: Any
    ) -> IListeningPort:
        """The same with Twisted's own TLS."""
        from twisted.protocols.tls import TLSMemoryBIOFactory

        return self.listenTCP(port, TLSMemoryBIOFactory(contextFactory, False, factory))


class _UNIXPort(unix.Port):
    """A port whose file belongs to somebody else: it is neither changed nor removed."""

    _shouldShutdown = False
    factory: Any
    fileno: Any
    _preexistingSocket: Any

    def startListening(self) -> None:
        """Accept from now on."""
        self.factory.doStart()
        self.socket, self._preexistingSocket = self._preexistingSocket, None
        self.fileno = self.socket.fileno
        self.connected = True
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        """It is closed."""
        tcp.Port.connectionLost(self, reason)


def asInherited(description: str) -> str:
    """
    Describe to a worker what the supervisor listens on.

    systemd hands its sockets to the process that it has started, and a worker asks in vain.
    """
    return re.sub(r"(?i)^((?:haproxy:)*)systemd:.*", r"\1tcp:0", description)
