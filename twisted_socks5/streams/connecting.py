"""
Connects L{Stream}s: the half of L{IReactorTCP<twisted.internet.interfaces.IReactorTCP>} that a
dialer needs, over any reactor that watches descriptors.
"""

from __future__ import annotations

import os
import socket
from errno import EALREADY, EINPROGRESS, EISCONN
from typing import TYPE_CHECKING

from twisted.internet import error
from twisted.internet.error import (
    ConnectBindError,
    NotConnectingError,
    UserError,
    getConnectError,
)
from twisted.internet.interfaces import IConnector, IReadWriteDescriptor
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.streams.accepting import StreamPort
from twisted_socks5.streams.stream import Stream, describe

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IAddress,
        IDelayedCall,
        IProtocol,
        IProtocolFactory,
    )
    from twisted.internet.protocol import ClientFactory
    from twisted.internet.tcp import Port

    from twisted_socks5.streams.watch import Watch


@implementer(IConnector, IReadWriteDescriptor)
class _Connecting:
    """A connection that is being made: the connector and, for the reactor, the descriptor."""

    __slots__ = ("_expiry", "_factory", "_fd", "_socket", "_stream", "_watch", "destination")

    def __init__(self, watch: Watch, destination: tuple[str, int], factory: ClientFactory):
        self.destination = destination
        self._watch = watch
        self._factory = factory
        self._fd = -1
        self._socket: socket.socket | None = None
        self._stream: Stream | None = None
        self._expiry: IDelayedCall | None = None

    def begin(self, timeout: float | None, bindAddress: tuple[str, int] | None) -> None:
        """Ask the kernel to connect; what comes of it the factory is told, but not in here."""
        host = self.destination[0]
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._factory.doStart()
        try:
            opened = self._socket = socket.socket(family, socket.SOCK_STREAM)
            opened.setblocking(False)
            self._fd = opened.fileno()
            opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
            # An urgent octet is part of the stream; out of band it would be lost.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, True)
            if bindAddress is not None:
                opened.bind(bindAddress)
        except OSError as trouble:
            failure = ConnectBindError(trouble.errno, trouble.strerror)
            self._expiry = self._watch.callLater(0, self._fail, failure)
            return
        try:
            result = opened.connect_ex(self.destination)
            if result == EINPROGRESS:
                # A target on this host has answered by now; one question saves a turn.
                result = opened.connect_ex(self.destination)
        except OSError as trouble:  # A zone id that means nothing here.
            self._expiry = self._watch.callLater(0, self._fail, getConnectError(trouble))
            return
        if result in (EINPROGRESS, EALREADY):
            self._watch.addWriter(self)
            if timeout is not None:
                self._expiry = self._watch.callLater(timeout, self._fail, error.TimeoutError())
        elif result in (0, EISCONN):
            self._connected(opened)
        else:
            self._expiry = self._watch.callLater(0, self._failWith, result)

    # What the reactor asks.

    def fileno(self) -> int:
        """Name the descriptor."""
        return self._fd

    def logPrefix(self) -> str:
        """Name us in the log."""
        return "Stream"

    def doRead(self) -> None:
        """Never called: nothing is read before there is a connection."""

    def doWrite(self) -> None:
        """Connected, or not, or not yet."""
        opened = self._socket
        if opened is None:
            return
        # No error is no connection: what was ready may have been another one with our number.
        result = opened.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        result = result or opened.connect_ex(self.destination)
        if result in (0, EISCONN):
            self._connected(opened)
        elif result not in (EINPROGRESS, EALREADY):
            self._failWith(result)

    def connectionLost(self, reason: Failure) -> None:
        """Not connected: the reactor has seen an error, or watches nobody any more."""
        if self._socket is not None:
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if number:
                self._failWith(number)
            else:
                self._fail(error.ConnectError(string="given up"))

    # What the one who connects asks.

    def getDestination(self) -> IAddress:
        """Name the target."""
        return describe(self.destination)

    def stopConnecting(self) -> None:
        """Give up."""
        if not self._pending:
            raise NotConnectingError("no connection is being made")
        self._fail(UserError())

    def disconnect(self) -> None:
        """Give up, or close the connection."""
        if self._pending:
            self.stopConnecting()
        elif self._stream is not None:
            self._stream.loseConnection()

    def connect(self) -> None:
        """Connect once more: not here."""
        raise RuntimeError("a connector connects once; call connectTCP again")

    # What comes of it.

    @property
    def _pending(self) -> bool:
        # Without a socket there may still be a failure that the factory was not told of yet.
        return self._socket is not None or self._expiry is not None

    def _connected(self, connected: socket.socket) -> None:
        self._socket = None
        self._forget()
        protocol: IProtocol | None = None
        try:
            protocol = self._factory.buildProtocol(describe(self.destination))
        finally:
            if protocol is None:
                self._watch.forget(self)
                connected.close()
                self._fd = -1
        if protocol is None:
            return
        stream = self._stream = Stream(self._watch, connected, protocol)
        # The stream takes the descriptor over before we let go: it stays registered.
        self._watch.addReader(stream)
        self._watch.removeWriter(self)
        protocol.makeConnection(stream)

    def _failWith(self, errno: int) -> None:
        self._fail(getConnectError((errno, os.strerror(errno))))

    def _fail(self, error: Exception) -> None:
        opened, self._socket = self._socket, None
        self._forget()
        if opened is not None:
            self._watch.forget(self)
            opened.close()
        self._fd = -1
        self._factory.clientConnectionFailed(self, Failure(error))
        self._factory.doStop()

    def _forget(self) -> None:
        expiry, self._expiry = self._expiry, None
        if expiry is not None and expiry.active():
            expiry.cancel()


class StreamTCP:
    """
    Connects with L{Stream}s: the half of L{IReactorTCP<twisted.internet.interfaces.IReactorTCP>}
    that a dialer needs.  Unlike there, a factory is not told of the end of a connection, nor
    stopped by it.
    """

    def __init__(self, watch: Watch) -> None:
        """
        @param watch: tells when the sockets are ready.
        """
        self._watch = watch

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory,
        timeout: float | None = 30,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """
        Connect to an address.

        @param host: an IPv4 or IPv6 address; names are resolved elsewhere.
        @param timeout: in seconds.
        @param bindAddress: where to connect from.
        """
        connecting = _Connecting(self._watch, (host, port), factory)
        connecting.begin(timeout, bindAddress)
        return connecting

    def accept(self, port: Port, factory: IProtocolFactory) -> StreamPort:
        """Accept from a port of Twisted's own from now on."""
        return StreamPort(self._watch, port, factory)
