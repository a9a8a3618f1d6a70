"""
Connects L{Stream}s, over any reactor that watches descriptors.

A connection that is being made is one object, L{Connecting}; who waits for it, and what then
becomes of it, is a subclass's to say.  L{StreamTCP} is L{IReactorTCP
<twisted.internet.interfaces.IReactorTCP>} for those who know no streams: it connects for
factories, and listens.
"""

from __future__ import annotations

import os
import socket
from errno import EALREADY, EINPROGRESS, EISCONN
from functools import lru_cache
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

from twisted_socks5.streams.accepting import StreamPort, listening
from twisted_socks5.streams.stream import STREAM, Stream, describe, prepare
from twisted_socks5.streams.watch import broken

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


#: Makes an address of a destination; the same few are asked for again and again.
named = lru_cache(maxsize=256)(describe)


@implementer(IReadWriteDescriptor)
class Connecting:
    """
    A connection that is being made.

    A subclass says what becomes of it: C{connected} or C{failed} is called once, unless it is
    abandoned before; the former perhaps from within L{begin}, which itself returns a failure that
    is known at once.

    @ivar destination: address and port that it leads to.
    @ivar pending: it neither stands nor has failed nor been given up.
    @ivar stream: the connection, once it was taken.
    """

    __slots__ = (
        "_expiry",
        "_fd",
        "_socket",
        "_watch",
        "_watched",
        "destination",
        "pending",
        "stream",
    )

    def __init__(self, watch: Watch, destination: tuple[str, int]) -> None:
        """
        @param watch: tells when the socket is ready.
        @param destination: an IPv4 or IPv6 address, and a port.
        """
        self.destination = destination
        self.pending = True
        self.stream: Stream | None = None
        self._watch = watch
        self._watched = False
        self._fd = -1
        self._socket: socket.socket | None = None
        self._expiry: IDelayedCall | None = None

    def connected(self) -> None:
        """It stands: L{take} it, or it is closed."""
        raise NotImplementedError

    def failed(self, reason: Exception) -> None:
        """There will be none."""
        raise NotImplementedError

    def begin(
        self, timeout: float | None, bindAddress: tuple[str, int] | None
    ) -> Exception | None:
        """
        Ask the kernel to connect.

        @param timeout: in seconds.
        @param bindAddress: where to connect from.
        @return: why there will be no connection, if that is known now; it's to be abandoned then.
        """
        family = socket.AF_INET6 if ":" in self.destination[0] else socket.AF_INET
        try:
            opened = self._socket = socket.socket(family, STREAM)
            self._fd = opened.fileno()
            if STREAM == socket.SOCK_STREAM:
                opened.setblocking(False)
            prepare(opened)
            if bindAddress is not None:
                opened.bind(bindAddress)
        except OSError as trouble:
            return ConnectBindError(trouble.errno, trouble.strerror)
        try:
            result = opened.connect_ex(self.destination)
            if result == EINPROGRESS:
                # A target on this host has answered by now; one question saves a turn.
                result = opened.connect_ex(self.destination)
        except OSError as trouble:  # A zone id that means nothing here.
            return _errorOf(trouble)
        if result in (0, EISCONN):
            self._connected()
        elif result in (EINPROGRESS, EALREADY):
            self._watched = True
            self._watch.addWriter(self)
            if timeout is not None:
                self._expiry = self._watch.callLater(timeout, self._fail, error.TimeoutError())
        else:
            return _errorFor(result)
        return None

    def take(self, protocol: IProtocol) -> None:
        """Give the connection to its protocol."""
        connected, self._socket = self._socket, None
        if connected is None:
            raise RuntimeError("there is no connection to take, or it was taken")
        stream = self.stream = Stream(self._watch, connected, protocol)
        # The stream takes the descriptor over before we let go: it stays registered.
        self._watch.addReader(stream)
        if self._watched:
            self._watch.removeWriter(self)
        protocol.makeConnection(stream)

    def abandon(self) -> None:
        """Give up; nothing more is heard of it."""
        self.pending = False
        self._close()

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
            self._connected()
        elif result not in (EINPROGRESS, EALREADY):
            self._fail(_errorFor(result))

    def connectionLost(self, reason: Failure) -> None:
        """Not connected: the reactor has seen an error, or watches nobody any more."""
        if self._socket is not None:
            number = self._socket.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            self._fail(_errorFor(number) if number else error.ConnectError(string="given up"))

    # What comes of it.

    def _connected(self) -> None:
        self.pending = False
        if self._expiry is not None:
            self._forget()
        try:
            self.connected()
        finally:
            if self._socket is not None:
                self._close()
            self._fd = -1

    def _fail(self, reason: Exception) -> None:
        self.pending = False
        self._close()
        self.failed(reason)

    def _close(self) -> None:
        """Close what nobody has taken."""
        if self._expiry is not None:
            self._forget()
        opened, self._socket = self._socket, None
        if opened is not None:
            self._watch.forget(self)
            opened.close()
        self._fd = -1

    def _forget(self) -> None:
        expiry, self._expiry = self._expiry, None
        if expiry is not None and expiry.active():
            expiry.cancel()


def _errorFor(number: int) -> Exception:
    return _errorOf((number, os.strerror(number)))


def _errorOf(trouble: OSError | tuple[int, str]) -> Exception:
    failed: Exception = getConnectError(trouble)
    return failed


@implementer(IConnector)
class _Connector(Connecting):
    """A connection that a factory waits for, as Twisted's own reactors have it."""

    __slots__ = ("_factory",)

    def __init__(self, watch: Watch, destination: tuple[str, int], factory: ClientFactory) -> None:
        super().__init__(watch, destination)
        self._factory = factory
        factory.doStart()

    def getDestination(self) -> IAddress:
        """Name the target."""
        return named(self.destination)

    def stopConnecting(self) -> None:
        """Give up."""
        if not self.pending:
            raise NotConnectingError("no connection is being made")
        self._fail(UserError())

    def disconnect(self) -> None:
        """Give up, or close the connection."""
        if self.pending:
            self.stopConnecting()
        elif self.stream is not None:
            self.stream.loseConnection()

    def failSoon(self, reason: Exception) -> None:
        """Fail, but not from within C{connectTCP}."""
        self._expiry = self._watch.callLater(0, self._fail, reason)

    def connect(self) -> None:
        """Connect once more: not here."""
        raise RuntimeError("a connector connects once; call connectTCP again")

    def connected(self) -> None:
        """Let the factory build a protocol for it."""
        protocol = self._factory.buildProtocol(named(self.destination))
        if protocol is None:
            return
        try:
            self.take(protocol)
        except BaseException:
            if self.stream is None:
                raise
            broken(self.stream)

    def failed(self, reason: Exception) -> None:
        """Tell the factory."""
        self._factory.clientConnectionFailed(self, Failure(reason))
        self._factory.doStop()


class StreamTCP:
    """
    Connects and listens with L{Stream}s, at IP addresses, as
    L{IReactorTCP<twisted.internet.interfaces.IReactorTCP>} does.  Unlike there, a factory is not
    told of the end of a connection, nor stopped by it.
    """

    def __init__(self, watch: Watch) -> None:
        """
        @param watch: tells when the sockets are ready.
        """
        self.watch = watch

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
        connector = _Connector(self.watch, (host, port), factory)
        trouble = connector.begin(timeout, bindAddress)
        if trouble is not None:
            connector.failSoon(trouble)
        return connector

    def listenTCP(
        self, port: int, factory: IProtocolFactory, backlog: int = 50, interface: str = ""
    ) -> StreamPort:
        """
        Listen at an address; unlike a reactor's, the port tells C{factory} neither of its start
        nor of its stop.

        @param port: 0 leaves it to the system.
        @param interface: an IPv4 or IPv6 address.
        @raise CannotListenError: nothing is left open.
        """
        try:
            opened = listening(interface, port, backlog)
        except OSError as trouble:
            raise error.CannotListenError(interface, port, trouble) from None
        listens = StreamPort(self.watch, opened, factory)
        listens.startListening()
        return listens

    def accept(self, port: Port, factory: IProtocolFactory) -> StreamPort:
        """
        Accept from a port of Twisted's own from now on.

        @return: to be stopped before the port, which goes on to own its socket.
        """
        port.stopReading()
        accepting = StreamPort(self.watch, port.socket, factory)
        accepting.startListening()
        return accepting
