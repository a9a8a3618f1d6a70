"""
Where a target is: from a name to its addresses, in bounded time and with bounded means.

L{NameLookup} asks any L{IHostnameResolver<twisted.internet.interfaces.IHostnameResolver>},
L{ThreadedResolver} unless the application has another, and adds what that interface lacks: a
deadline, a limit, one question for many who ask the same, a short memory, and a failure that
says why.

Whether an address may be reached is not asked here: the rules judge each one that comes out,
also those that were remembered.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import (
    IHostnameResolver,
    IHostResolution,
    IReactorTime,
    IResolutionReceiver,
)
from twisted.logger import Logger
from zope.interface import implementer

from twisted_socks5.addresses import ipAddress
from twisted_socks5.errors import ResolutionError
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.threadedresolver import ThreadedResolver

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall

__all__ = ["MAX_REMEMBERED", "NameLookup", "ThreadedResolver"]

MAX_REMEMBERED = 4096
"""The names whose addresses are remembered; the one learnt first is forgotten first."""

_log = Logger()


class NameLookup:
    """
    Looks names up, for TCP and UDP alike.

    @param resolver: answers; any exception out of it is logged and becomes a failed lookup.
    @param clock: tells the time.
    @param timeout: seconds until a lookup fails.  The resolver is asked to stop then, but it is
        not relied on: what it says later is dropped.
    @param lifetime: seconds for which a name's addresses are remembered; 0 is not at all.
        getaddrinfo does not tell a record's own lifetime, so keep it short.  That a name does
        not exist is never remembered.
    @param pending: how many names may be looked up at the same time.
    """

    def __init__(
        self,
        resolver: IHostnameResolver,
        clock: IReactorTime,
        *,
        timeout: float = 10.0,
        lifetime: float = 10.0,
        pending: int = 1024,
    ) -> None:
        self._resolver = resolver
        self._clock = clock
        self._timeout = timeout
        self._lifetime = lifetime
        self._pending = pending
        self._queries: dict[str, _Query] = {}
        # Oldest first, since all live equally long and a renewed one goes to the end.
        self._remembered: dict[str, tuple[float, list[IPAddress]]] = {}

    def lookup(self, name: str) -> Deferred[list[IPAddress]]:
        """
        Find the addresses of a name.

        @param name: normalised, as in an L{Access<twisted_socks5.interfaces.Access>}; names
            that are spelt alike share one question to the resolver.

        @return: fires with the addresses of both families, at least one, in the resolver's
            order, each once: no zones, and IPv4 where it said IPv4-mapped IPv6.  The list is
            the caller's own.  Fails with L{ResolutionError} (REP 4).  Cancelling it disturbs
            nobody else who asks for the same name.
        """
        remembered = self._remembered.get(name)
        if remembered is not None:
            until, addresses = remembered
            if self._clock.seconds() < until:
                return succeed(list(addresses))
            del self._remembered[name]
        query = self._queries.get(name)
        if query is not None:
            return query.join()
        if len(self._queries) >= self._pending:
            return fail(ResolutionError(f"cannot resolve {name}: too many lookups waiting"))
        query = self._queries[name] = _Query(name, self._queryOver)
        answer = query.join()
        query.begin(self._resolver, self._clock, self._timeout)
        return answer

    def _queryOver(self, query: _Query) -> None:
        """Forget the question, and remember the answer for a while if there is one."""
        del self._queries[query.name]
        if query.addresses and self._lifetime > 0:
            while len(self._remembered) >= MAX_REMEMBERED:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[query.name] = (
                self._clock.seconds() + self._lifetime,
                list(query.addresses),
            )


@implementer(IResolutionReceiver)
class _Query:
    """
    One question to the resolver, and all who wait for its answer.

    @ivar addresses: what came so far; a dict for its order and for having each once.
    @ivar over: answered, timed out or given up by all; whatever comes now is dropped.
    """

    def __init__(self, name: str, whenOver: Callable[[_Query], None]) -> None:
        self.name = name
        self.addresses: dict[IPAddress, None] = {}
        self.over = False
        self._whenOver = whenOver
        self._waiting: deque[Deferred[list[IPAddress]]] = deque()
        self._resolution: IHostResolution | None = None
        self._timer: IDelayedCall | None = None

    def join(self) -> Deferred[list[IPAddress]]:
        """Wait for the answer."""
        answer: Deferred[list[IPAddress]] = Deferred(self._leave)
        self._waiting.append(answer)
        return answer

    def begin(self, resolver: IHostnameResolver, clock: IReactorTime, timeout: float) -> None:
        """Ask.  The resolver may answer before this returns."""
        try:
            self._resolution = resolver.resolveHostName(self, self.name)
        except Exception as exception:
            _log.failure("The resolver failed on {name}", name=self.name)
            self._answer(f"the resolver failed ({type(exception).__name__})")
            return
        if not self.over:
            self._timer = clock.callLater(timeout, self._expired, timeout)

    # IResolutionReceiver

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """The resolver has begun; it may say so late, or come back after the end."""
        self._resolution = resolutionInProgress

    def addressResolved(self, address: IAddress) -> None:
        """One more address; what is no IP address is left out."""
        try:
            found = ipAddress(address)
        except ValueError:
            return
        if found is not None:
            self.addresses[found[0]] = None

    def resolutionComplete(self) -> None:
        """That was all."""
        # L{ThreadedResolver} knows why there is nothing; the interface has no word for it.
        self._answer(getattr(self._resolution, "reason", "") or "no such name")

    # The end

    def _expired(self, timeout: float) -> None:
        """The deadline has passed; of an answer that came in part nothing is used."""
        self._timer = None
        self.addresses.clear()
        self._answer(f"no answer within {timeout:g} s")
        self._stopResolver()

    def _answer(self, reason: str) -> None:
        """Give everybody the addresses or, if there are none, the reason."""
        if self._close():
            # A callback may cancel those who wait behind it.
            while self._waiting:
                waiting = self._waiting.popleft()
                if self.addresses:
                    waiting.callback(list(self.addresses))
                else:
                    waiting.errback(ResolutionError(f"cannot resolve {self.name}: {reason}"))

    def _leave(self, answer: Deferred[list[IPAddress]]) -> None:
        """One who waited gives up; the last one takes the question along."""
        self._waiting.remove(answer)
        if not self._waiting and not self.over:
            self.addresses.clear()
            self._close()
            self._stopResolver()

    def _close(self) -> bool:
        """End the question; @return: whether it was still open."""
        if self.over:
            return False
        self.over = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._whenOver(self)
        return True

    def _stopResolver(self) -> None:
        """Tell the resolver that nobody waits any more."""
        if self._resolution is None:
            return
        try:
            self._resolution.cancel()
        except NotImplementedError:
            pass  # Twisted's own cannot
        except Exception:
            _log.failure("The resolver failed to give up on {name}", name=self.name)
