"""
Accepts L{Stream}s: in batches, from a socket that listens.

That may be the socket of a port that Twisted has opened and goes on to own, or one that
L{listening} has opened here for a L{StreamPort} of our own.
"""

from __future__ import annotations

import os
import socket
from abc import abstractmethod
from errno import (
    EAGAIN,
    ECONNABORTED,
    EHOSTUNREACH,
    EINTR,
    ENETDOWN,
    ENETUNREACH,
    EPERM,
    EPROTO,
    EWOULDBLOCK,
)
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IListeningPort, IReadDescriptor
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from zope.interface import implementer

from twisted_socks5.streams.stream import STREAM, Stream, describe, prepare
from twisted_socks5.streams.watch import broken

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.address import IPv4Address, IPv6Address
    from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory
    from twisted.python.failure import Failure

    from twisted_socks5.streams.watch import Watch

#: Connections accepted in a turn, before others get theirs.
BATCH = 64

#: What accept(2) says of nobody waiting, or of a connection that ended or failed while it waited.
_NOT_OURS = {
    EAGAIN,
    ECONNABORTED,
    EHOSTUNREACH,
    EINTR,
    ENETDOWN,
    ENETUNREACH,
    EPERM,
    EPROTO,
    EWOULDBLOCK,
}

#: Seconds without accepting when the process can't have another descriptor.
EXHAUSTED = 0.25


def listening(interface: str, port: int, backlog: int) -> socket.socket:
    """
    Open a socket that listens.

    @param interface: an IP address, with its zone id if it needs one.
    @param port: 0 leaves it to the system.
    @param backlog: connections that may wait to be accepted.
    @return: not blocking.
    @raise OSError: it can't be; nothing is left open.
    """
    if ":" in interface:
        # Only so is a zone id understood.
        found = socket.getaddrinfo(interface, port, flags=socket.AI_NUMERICHOST)
        family, where = socket.AF_INET6, found[0][4]
    else:
        family, where = socket.AF_INET, (interface, port)
    opened = socket.socket(family, STREAM)
    try:
        if STREAM == socket.SOCK_STREAM:
            opened.setblocking(False)
        if os.name == "posix":  # elsewhere it would let others take the port away
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, True)
        opened.bind(where)
        opened.listen(backlog)
    except OSError:
        opened.close()
        raise
    return opened


def accepted(opened: socket.socket) -> tuple[socket.socket, tuple[Any, ...]]:
    """
    Accept, as the method of that name does, which finds out each time what kind it listens for.

    @return: the connection, and its peer's name.
    @raise OSError: nobody waits, or it can't be.
    """
    descriptor, name = opened._accept()  # type: ignore[attr-defined]  # as accept itself does
    if not name:
        # macOS accepts some who have gone already, and then has no name for them.
        os.close(descriptor)
        raise ConnectionAbortedError(ECONNABORTED, os.strerror(ECONNABORTED))
    family = socket.AF_INET if len(name) == 2 else socket.AF_INET6
    return socket.socket(family, socket.SOCK_STREAM, 0, descriptor), name


class StreamFactory(ServerFactory):
    """
    A factory whose protocols can do without an address object.

    Where C{buildProtocol} is overridden, by a subclass or in the factory itself, and C{welcome}
    is not, it is the former that is asked.
    """

    @abstractmethod
    def welcome(self, peer: tuple[Any, ...]) -> IProtocol | None:
        """
        Build a protocol, as C{buildProtocol} does.

        @param peer: as the system names it: address and port first.
        """


def welcoming(factory: IProtocolFactory) -> Callable[[tuple[Any, ...]], IProtocol | None]:
    """Find what builds a protocol for a peer that is named as the system names it."""
    if isinstance(factory, StreamFactory):
        owns = (vars(factory), *map(vars, type(factory).__mro__))
        nearest = next(own for own in owns if "welcome" in own or "buildProtocol" in own)
        if "welcome" in nearest:
            return factory.welcome
    return lambda peer: factory.buildProtocol(describe(peer))


@implementer(IListeningPort, IReadDescriptor)
class StreamPort:
    """Accepts L{Stream}s from a socket that listens."""

    __slots__ = ("__weakref__", "_fd", "_retry", "_socket", "_watch", "_welcome")

    _log = Logger()

    def __init__(self, watch: Watch, opened: socket.socket, factory: IProtocolFactory) -> None:
        """
        @param watch: tells when somebody waits.
        @param opened: listens, and does not block; nobody else accepts from it.
        @param factory: makes the protocols.
        """
        self._watch = watch
        self._welcome = welcoming(factory)
        self._socket = opened
        self._fd = opened.fileno()
        self._retry: IDelayedCall | None = None

    def startListening(self) -> None:
        """Begin to accept."""
        # Accepted sockets inherit all of it: as many calls less for each.
        prepare(self._socket)
        self._watch.addReader(self)

    def stop(self) -> None:
        """Accept no more, and leave the socket to who has opened it."""
        if self._fd >= 0:
            self._watch.removeReader(self)
            self._stopped()

    def stopListening(self) -> None:
        """Close the socket, at once; whoever still waits to be accepted is reset."""
        if self._fd >= 0:
            self._watch.forget(self)
            self._stopped()
        self._socket.close()

    def getHost(self) -> IPv4Address | IPv6Address:
        """Name where it listens."""
        return describe(self._socket.getsockname())

    # What the watch asks.

    def fileno(self) -> int:
        """Name the descriptor."""
        return self._fd

    def logPrefix(self) -> str:
        """Name us in the log."""
        return "StreamPort"

    def doRead(self) -> None:
        """Accept whoever waits."""
        for _ in range(BATCH):
            if self._fd < 0:
                return  # One of those accepted has stopped us.
            try:
                connected, name = accepted(self._socket)
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    self._exhausted(error)
                return
            self._accepted(connected, name)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor can't watch it any more."""
        self.stop()

    def _stopped(self) -> None:
        self._fd = -1
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _accepted(self, connected: socket.socket, name: tuple[Any, ...]) -> None:
        """Begin a connection; what goes wrong with one is no reason not to accept others."""
        stream: Stream | None = None
        try:
            protocol = self._welcome(name)
            if protocol is not None:
                connected.setblocking(False)
                stream = Stream(self._watch, connected, protocol)
                self._watch.addReader(stream)
                protocol.makeConnection(stream)
                # Whoever waited to be accepted has often said the first word meanwhile.
                stream.readAhead()
        except BaseException:
            if stream is not None:
                broken(stream)
            else:
                self._log.failure("A connection got no protocol")
        if stream is None:
            connected.close()

    def _exhausted(self, error: OSError) -> None:
        """
        Leave clients waiting for a moment.

        A port that can't accept stays readable, and would be asked again without a pause.
        """
        self._log.warn(
            "Cannot accept a connection: {error}; trying again in {seconds} s",
            error=str(error),
            seconds=EXHAUSTED,
        )
        self._watch.removeReader(self)
        self._retry = self._watch.callLater(EXHAUSTED, self._again)

    def _again(self) -> None:
        self._retry = None
        self._watch.addReader(self)
