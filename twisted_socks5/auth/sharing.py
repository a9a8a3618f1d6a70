"""
One answer for several who ask the same at the same time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_T = TypeVar("_T")


class Shared(Generic[_T]):
    """Something that is under way, once, for all who L{join}; it is called off by the last."""

    def __init__(self, over: Callable[[], object]) -> None:
        """
        @param over: called when it is done or called off, and nobody may join any more.
        """
        self._over = over
        self._joined: list[Deferred[_T]] = []
        self._done: Deferred[_T] | None = None
        self._result: _T | Failure | None = None

    def begin(self, done: Deferred[_T]) -> None:
        """
        Say what is under way.

        @param done: fires with the answer, perhaps before anybody has joined.
        """
        self._done = done
        done.addBoth(self._answered)

    def join(self) -> Deferred[_T]:
        """
        Wait for the answer.

        @return: fires with it, or fails; cancel it to leave.
        """
        joined: Deferred[_T] = Deferred(self._leave)
        if self._result is not None:
            joined.callback(self._result)
        else:
            self._joined.append(joined)
        return joined

    def _leave(self, leaving: Deferred[_T]) -> None:
        if leaving in self._joined:  # or else it leaves while the answer is told
            self._joined.remove(leaving)
            if not self._joined and self._done is not None:
                self._done.cancel()

    def _answered(self, result: _T | Failure) -> None:
        self._result = result
        self._over()
        joined, self._joined = self._joined, []
        for each in joined:
            if not each.called:
                each.callback(result)
