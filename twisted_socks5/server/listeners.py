"""
Listening for one connection, on one port of several addresses.

Who listens, and on what transports, is the business of who is asked; who may connect, that of the
factory.
"""

from __future__ import annotations

import errno
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError

from twisted_socks5.errors import RequestError
from twisted_socks5.failures import replyFor
from twisted_socks5.wire import Reply

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IProtocolFactory, IReactorTCP

    from twisted_socks5.streams import StreamTCP

#: Connections that may wait to be accepted: so many strangers at once don't delay the peer.
BACKLOG = 128

# What says that another port may do.
_TRY_ANOTHER = (errno.EADDRINUSE, errno.EACCES)


def listen(
    reactor: IReactorTCP | StreamTCP,
    interfaces: Sequence[str],
    ports: Iterable[int],
    factory: IProtocolFactory,
) -> tuple[list[IListeningPort], int]:
    """
    Listen on all of the addresses, on the first port that is free on each.

    @param reactor: listens.
    @param interfaces: IP addresses.
    @param ports: those to try; 0 leaves it to the system.
    @param factory: builds the protocol of who connects.
    @return: what listens, an address each, and the number of their port.
    @raise RequestError: none is free, or there are no descriptors; nothing is left open.
    """
    reply, reason = Reply.GENERAL_FAILURE, "no port to try"
    for wanted in ports:
        listening: list[IListeningPort] = []
        number = wanted
        try:
            for interface in interfaces:
                port = reactor.listenTCP(
                    number,
                    factory,  # type: ignore[arg-type]  # all that reactors ask of one
                    BACKLOG,
                    interface,
                )
                listening.append(port)
                number = number or port.getHost().port  # type: ignore[union-attr]  # TCP's has one
        except (CannotListenError, OSError) as error:
            # Only words are kept of it: Twisted leaves some sockets that it could not bind, or
            # listen with, to whoever lets go of the traceback.
            close(listening)
            reply, reason = replyFor(error)
            if _number(error) not in _TRY_ANOTHER:
                break
        else:
            return listening, number
    raise RequestError(reply, f"cannot listen on {' and '.join(interfaces)}: {reason}")


def close(listening: Iterable[IListeningPort]) -> None:
    """
    Let nobody connect any more; Twisted's own ports are closed in the reactor's next turn.

    May be called by the factory: whoever else is accepted in the same turn still gets there.
    """
    for port in listening:
        port.stopListening()


def _number(error: CannotListenError | OSError) -> int | None:
    """Give the number of the system's error."""
    cause = error.socketError if isinstance(error, CannotListenError) else error
    return getattr(cause, "errno", None)
