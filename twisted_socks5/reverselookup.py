"""
From an address to its name: what Tor's RESOLVE_PTR asks for.

The system answers (getnameinfo, so that /etc/hosts holds), in the reactor's own threads, of
which this takes a few at the most.
"""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

from twisted_socks5.errors import ResolutionError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorThreads, IReactorTime

    from twisted_socks5.interfaces import IPAddress

#: Lookups at a time; the reactor has ten threads, and others need some.
PENDING = 4


class ReverseLookup:
    """Finds names of addresses."""

    def __init__(
        self, reactor: IReactorThreads, clock: IReactorTime, *, timeout: float = 10.0
    ) -> None:
        """
        @param reactor: has the threads.
        @param clock: tells the time.
        @param timeout: seconds until a lookup fails.
        """
        self._reactor = reactor
        self._clock = clock
        self._timeout = timeout
        self._pending = 0

    def lookup(self, address: IPAddress) -> Deferred[str]:
        """
        Find the name of an address.

        @return: fires with the name.  Fails with L{ResolutionError} (REP 4).  Cancelling it
            leaves the thread to finish for nobody.
        """
        if self._pending >= PENDING:
            return fail(ResolutionError(f"cannot find {address}'s name: too many lookups waiting"))
        self._pending += 1
        asked = deferToThreadPool(
            self._reactor,
            self._reactor.getThreadPool(),
            socket.getnameinfo,
            (str(address), 0),
            socket.NI_NAMEREQD,
        )
        answer: Deferred[str] = Deferred()

        def answered(result: tuple[str, str] | Failure) -> None:
            self._pending -= 1
            if answer.called:
                return
            if isinstance(result, Failure):
                reason = f"cannot find {address}'s name: {result.getErrorMessage()}"
                answer.errback(ResolutionError(reason))
            else:
                answer.callback(result[0])

        def late(_: object, seconds: float) -> Failure:
            # The thread goes on; only the answer is given up.
            reason = f"cannot find {address}'s name within {seconds:g} s"
            return Failure(ResolutionError(reason))

        asked.addBoth(answered)
        return answer.addTimeout(self._timeout, self._clock, late)
