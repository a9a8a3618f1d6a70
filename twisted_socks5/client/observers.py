"""
Those who wait for something that happens once: each has a Deferred of their own.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed


class Observers:
    """
    Those who wait for something that happens once.

    Whoever asks gets a Deferred of their own, so that none can take the result from another.
    """

    def __init__(self) -> None:
        self._waiting: list[Deferred[Any]] = []
        self._result: tuple[object] | None = None

    def wait(self) -> Deferred[Any]:
        """Wait, or be told at once."""
        observer: Deferred[Any] = Deferred(self._waiting.remove)
        if self._result is not None:
            return succeed(self._result[0])
        self._waiting.append(observer)
        return observer

    def fire(self, result: object) -> None:
        """It has happened; a Failure is how it has failed.  Only the first time counts."""
        if self._result is None:
            self._result = (result,)
            while self._waiting:
                self._waiting.pop(0).callback(result)
