"""A memory of bounded size that forgets what has not been asked for the longest, roughly."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from typing import Any, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


# There is one in each association, and more: what is not needed yet is not made.
_NOTHING: Mapping[Any, Any] = {}


class Recent(Generic[K, V]):
    """
    Remembers what was used lately: the last C{size} keys at least, twice as many at most.

    There are two generations.  What is used moves to the young one; once that is full it becomes
    the old one, and what was still in the old one is forgotten.  So what is in use stays, however
    many others come by, and it costs one look into a dict.
    """

    __slots__ = ("_old", "_size", "_young")

    def __init__(self, size: int) -> None:
        """
        @param size: how many keys, 1 or more.
        """
        self._size = size
        self._young: dict[K, V] = {}
        self._old: Mapping[K, V] = _NOTHING

    def __len__(self) -> int:
        """How many keys it remembers; one that has moved up counts twice."""
        return len(self._young) + len(self._old)

    def get(self, key: K) -> V | None:
        """Find what is remembered of a key, and remember it a while longer."""
        value = self._young.get(key)
        if value is None:
            value = self._old.get(key)
            if value is not None:
                self.put(key, value)
        return value

    def put(self, key: K, value: V) -> None:
        """Remember something of a key, which is not L{None}."""
        young = self._young
        if len(young) >= self._size and key not in young:
            self._old = young
            self._young = young = {}
        young[key] = value

    def clear(self) -> None:
        """Forget everything."""
        self._young = {}
        self._old = _NOTHING
