"""
Listening for one connection, on one port of several addresses.

Transports of the connection are the fast ones where the server has them.  Who may connect is not
known here: that is for the factory to say.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError
from twisted.internet.tcp import Port

from twisted_socks5.errors import RequestError
from twisted_socks5.failures import replyFor
from twisted_socks5.wire import Reply

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IReactorTCP
    from twisted.internet.protocol import ServerFactory

    from twisted_socks5.streams import StreamPort, StreamTCP

#: Connections that may wait to be accepted: so many strangers at once don't delay the peer.
BACKLOG = 128

# What says that another port may do.
_TRY_ANOTHER = (errno.EADDRINUSE, errno.EACCES)


class Listeners:
    """
    What listens for one connection.

    Each address takes one descriptor, and one more where the server has fast transports.
    """

    def __init__(self, reactor: IReactorTCP, streams: StreamTCP | None) -> None:
        """
        @param reactor: listens.
        @param streams: makes fast transports; L{None}: there are none.
        """
        self._reactor = reactor
        self._streams = streams
        self._ports: list[IListeningPort] = []
        self._accepting: list[StreamPort] = []

    def open(self, interfaces: Sequence[str], ports: Iterable[int], factory: ServerFactory) -> int:
        """
        Listen on all of the addresses, on the first port that is free on each.

        @param interfaces: IP addresses.
        @param ports: those to try; 0 leaves it to the system.
        @param factory: builds the protocol of who connects.
        @return: the port.
        @raise RequestError: none is free, or there are no descriptors; nothing is left open.
        """
        reply, reason = Reply.GENERAL_FAILURE, "no port to try"
        for wanted in ports:
            try:
                port = wanted
                for interface in interfaces:
                    port = self._listen(interface, port, factory)
            except (CannotListenError, OSError) as error:
                # Only words are kept of it: Twisted leaves some sockets that it could not bind,
                # or listen with, to whoever lets go of the traceback.
                self.close()
                reply, reason = replyFor(error)
                if _number(error) not in _TRY_ANOTHER:
                    break
            else:
                return port
        raise RequestError(reply, f"cannot listen on {' and '.join(interfaces)}: {reason}")

    def close(self) -> None:
        """
        Let nobody connect any more; everything is closed in the reactor's next turn.

        May be called by the factory: whoever else is accepted in the same turn still gets there.
        """
        accepting, self._accepting = self._accepting, []
        for each in accepting:
            each.stop()
        ports, self._ports = self._ports, []
        for port in ports:
            port.stopListening()

    def _listen(self, interface: str, number: int, factory: ServerFactory) -> int:
        port = self._reactor.listenTCP(number, factory, BACKLOG, interface)
        self._ports.append(port)
        if self._streams is not None and isinstance(port, Port):
            self._accepting.append(self._streams.accept(port, factory))
        return port.getHost().port  # type: ignore[attr-defined,no-any-return]  # of a TCP port


def _number(error: CannotListenError | OSError) -> int | None:
    """Give the number of the system's error."""
    cause = error.socketError if isinstance(error, CannotListenError) else error
    return getattr(cause, "errno", None)
