"""
From what went wrong on the way to a target to the REP that tells the client (RFC 1928, section 6).

The number of the system's error decides, not the class that Twisted wraps it in: C{NoRouteError}
is ENETUNREACH there, and EHOSTUNREACH has no class at all.  CONNECT, BIND and UDP ASSOCIATE ask
here alike, so that one failure has one REP.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterable

from twisted.internet import error
from twisted.python.failure import Failure

from twisted_socks5.errors import RequestError
from twisted_socks5.wire.constants import Reply

_REFUSED = (Reply.CONNECTION_REFUSED, "refused")
_TIMED_OUT = (Reply.TTL_EXPIRED, "timed out")
_UNREACHABLE = (Reply.HOST_UNREACHABLE, "host unreachable")
_NO_NETWORK = (Reply.NETWORK_UNREACHABLE, "network unreachable")
_NO_SUCH_NAME = (Reply.HOST_UNREACHABLE, "no such name")
_PROHIBITED = (Reply.CONNECTION_NOT_ALLOWED, "prohibited by the system")

_BY_ERRNO: dict[int, tuple[Reply, str]] = {
    errno.ECONNREFUSED: _REFUSED,
    errno.ECONNRESET: (Reply.CONNECTION_REFUSED, "reset"),
    errno.ETIMEDOUT: _TIMED_OUT,
    errno.EHOSTUNREACH: _UNREACHABLE,
    errno.EHOSTDOWN: (Reply.HOST_UNREACHABLE, "host down"),
    errno.ENETUNREACH: _NO_NETWORK,
    errno.ENETDOWN: (Reply.NETWORK_UNREACHABLE, "network down"),
    # No address of this family on this host, or none left to connect from.
    errno.EADDRNOTAVAIL: (Reply.NETWORK_UNREACHABLE, "no local address to connect from"),
    errno.EAFNOSUPPORT: (Reply.NETWORK_UNREACHABLE, "address family not supported here"),
    # A local firewall's REJECT, or the far one's "administratively prohibited".
    errno.EACCES: _PROHIBITED,
    errno.EPERM: _PROHIBITED,
}

# Failures that may come without a number.  The kinds of Twisted's that are always right come
# first; gaierror has numbers of its own, which mean other things in errno.
_BY_KIND: tuple[tuple[type[BaseException], tuple[Reply, str]], ...] = (
    (error.TimeoutError, _TIMED_OUT),
    (error.TCPTimedOutError, _TIMED_OUT),
    (error.ConnectionRefusedError, _REFUSED),
    (error.NoRouteError, _NO_NETWORK),
    (error.UnknownHostError, _NO_SUCH_NAME),
    (error.DNSLookupError, _NO_SUCH_NAME),
    (socket.gaierror, _NO_SUCH_NAME),
    (TimeoutError, _TIMED_OUT),
    (ConnectionRefusedError, _REFUSED),
)

# When several addresses failed, the client hears of the failure that says most: an answer from
# the target itself before the silence of the way there, and before what only this host says.
_MOST_TELLING = (
    Reply.CONNECTION_REFUSED,
    Reply.TTL_EXPIRED,
    Reply.HOST_UNREACHABLE,
    Reply.CONNECTION_NOT_ALLOWED,
    Reply.NETWORK_UNREACHABLE,
)


def replyFor(failure: Failure | BaseException) -> tuple[Reply, str]:
    """
    The REP a failure is answered with, and what to call it in a log line.

    The one place where errors of the system become replies (RFC 1928, section 6): refused or
    reset 5, host unreachable 4, network unreachable 3, timed out 6, prohibited by a firewall 2,
    and 1 for whatever else, among it all that went wrong on this side: no descriptors left, a
    port that cannot be bound.

    @param failure: what C{connectTCP}, C{listenTCP}, C{listenUDP} or a socket failed with: a
        L{ConnectError<twisted.internet.error.ConnectError>}, a
        L{CannotListenError<twisted.internet.error.CannotListenError>}, an L{OSError}, or a
        L{RequestError} which already knows.

    @return: the reply, and a few words in lower case.
    """
    reason = failure.value if isinstance(failure, Failure) else failure
    if isinstance(reason, RequestError):
        return reason.reply, reason.reason
    number: int | None = None
    ours = False
    if isinstance(reason, error.CannotListenError):
        ours = True
        if isinstance(reason.socketError, OSError):
            number = reason.socketError.errno
    elif isinstance(reason, error.ConnectError):
        ours = isinstance(reason, error.ConnectBindError)
        number = reason.osError
    elif isinstance(reason, OSError) and not isinstance(reason, socket.gaierror):
        number = reason.errno
    if isinstance(number, int):
        # EAFNOSUPPORT fails the making of the socket, yet tells of the network.
        if number in _BY_ERRNO and (not ours or number == errno.EAFNOSUPPORT):
            return _BY_ERRNO[number]
        return Reply.GENERAL_FAILURE, os.strerror(number).lower()
    for kind, answer in _BY_KIND:
        if isinstance(reason, kind):
            return answer
    text = " ".join(str(reason).split())[:200].rstrip(".")
    return Reply.GENERAL_FAILURE, text or type(reason).__name__


def mostTelling(replies: Iterable[Reply]) -> Reply:
    """
    The reply for several failures at once.

    @param replies: the REP of each.

    @return: the one that says most: refused, timed out, host unreachable, prohibited, network
        unreachable, and general failure if there is none of these.
    """
    known = set(replies)
    return next((reply for reply in _MOST_TELLING if reply in known), Reply.GENERAL_FAILURE)
