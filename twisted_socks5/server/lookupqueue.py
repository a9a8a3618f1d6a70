"""
Datagrams that wait for a name: kept in order, a few lookups at a time, bounded in everything.

One client's names must neither take the memory nor the resolver's places of all others, whatever
it sends and however long the answers take.  What a name means and what becomes of the datagrams
is the owner's business.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure

K = TypeVar("K", bound=Hashable)
A = TypeVar("A")

MAX_WAITING = 64
"""How many datagrams wait at a time, and how many destinations they may be for."""

MAX_OCTETS = 131072
"""How many octets of payload wait at a time: two datagrams of the largest size, and some."""

MAX_LOOKUPS = 8
"""How many lookups go on at a time; further destinations wait for their turn."""


class LookupQueue(Generic[K, A]):
    """The destinations of one association that are being looked up, and what waits for them."""

    _log = Logger()

    def __init__(
        self,
        lookup: Callable[[K], Deferred[A]],
        found: Callable[[K, A | Failure, list[bytes]], object],
    ) -> None:
        """
        @param lookup: begins a lookup.
        @param found: called with the destination, the answer, and the payloads that have waited
            for it, in the order in which they came.
        """
        self._lookup = lookup
        self._found = found
        self._waiting: dict[K, list[bytes]] = {}
        self._unasked: deque[K] = deque()
        self._asked: dict[K, Deferred[A]] = {}
        self._datagrams = 0
        self._octets = 0
        self._looping = False

    def __len__(self) -> int:
        """How many datagrams wait."""
        return self._datagrams

    def add(self, key: K, payload: bytes) -> bool:
        """
        Let a datagram wait until its destination is found.

        @return: whether there is room for it; if not, it is the caller's to drop.
        """
        if self._datagrams >= MAX_WAITING or self._octets + len(payload) > MAX_OCTETS:
            return False
        return self.ask(key, payload)

    def ask(self, key: K, *payloads: bytes) -> bool:
        """
        Look a destination up, unless that goes on already.

        @return: whether there is room for it.
        """
        waiting = self._waiting.get(key)
        if waiting is None:
            if len(self._waiting) >= MAX_WAITING:
                return False
            self._waiting[key] = waiting = []
            self._unasked.append(key)
        for payload in payloads:
            waiting.append(payload)
            self._datagrams += 1
            self._octets += len(payload)
        self._next()
        return True

    def close(self) -> None:
        """Call all lookups off; what waits is dropped."""
        self._unasked.clear()
        self._waiting.clear()
        self._datagrams = self._octets = 0
        for asked in list(self._asked.values()):
            asked.cancel()

    def _next(self) -> None:
        """Begin lookups.  An answer may be there at once; it leaves the next one to this loop."""
        if self._looping:
            return
        self._looping = True
        while self._unasked and len(self._asked) < MAX_LOOKUPS:
            key = self._unasked.popleft()
            asked = self._asked[key] = maybeDeferred(self._lookup, key)
            asked.addBoth(self._answered, key)
            asked.addErrback(lambda failure: self._log.failure("A datagram was lost", failure))
        self._looping = False

    def _answered(self, answer: A | Failure, key: K) -> None:
        del self._asked[key]
        payloads = self._waiting.pop(key, None)
        if payloads is None:
            return  # closed in the meantime
        self._datagrams -= len(payloads)
        self._octets -= sum(map(len, payloads))
        try:
            self._found(key, answer, payloads)
        finally:
            self._next()
