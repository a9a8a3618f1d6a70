"""
Accepts L{Stream}s: in batches, from a port that Twisted has opened.
"""

from __future__ import annotations

import os
import socket
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

from twisted.logger import Logger

from twisted_socks5.streams.stream import Stream, describe
from twisted_socks5.streams.watch import broken

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IDelayedCall, IProtocolFactory
    from twisted.internet.tcp import Port
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


class StreamPort:
    """Accepts L{Stream}s from a port that Twisted has opened and goes on to own."""

    _log = Logger()

    def __init__(self, watch: Watch, port: Port, factory: IProtocolFactory) -> None:
        """
        @param watch: tells when the port is ready.
        @param port: one of Twisted's own TCP ports, listening; it is taken off the reactor, and
            to be closed after L{stop}.
        @param factory: makes the protocols.
        """
        self._watch = watch
        self._factory = factory
        port.stopReading()
        # A descriptor of our own: reactors keep one object for each.
        self._socket = socket.socket(fileno=os.dup(port.fileno()))
        self._fd = self._socket.fileno()
        self._retry: IDelayedCall | None = None
        # Accepted sockets inherit both: two calls less for each.
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, True)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, True)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, True)
        watch.addReader(self)

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
                connected, name = self._socket.accept()
            except OSError as error:
                if error.errno not in _NOT_OURS:
                    self._exhausted(error)
                return
            self._accepted(connected, name)

    def connectionLost(self, reason: Failure) -> None:
        """The reactor can't watch it any more."""
        self.stop()

    def stop(self) -> None:
        """Accept no more."""
        if self._fd == -1:
            return
        self._watch.removeReader(self)
        self._fd = -1
        self._socket.close()
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None

    def _accepted(self, connected: socket.socket, name: Sequence[Any]) -> None:
        """Begin a connection; what goes wrong with one is no reason not to accept others."""
        stream: Stream | None = None
        try:
            protocol = self._factory.buildProtocol(describe(name))
            if protocol is not None:
                connected.setblocking(False)
                stream = Stream(self._watch, connected, protocol)
                self._watch.addReader(stream)
                protocol.makeConnection(stream)
                # Whoever waited to be accepted has often said the first word meanwhile.
                stream.readAhead()
        except Exception:
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
