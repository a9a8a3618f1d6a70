"""
Threads in memory: work for a thread waits for its turn, and is then done in the only thread.

Enough for L{twisted.internet.threads.deferToThread} and its kin, without any thread.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.python.failure import Failure

OnResult = Callable[[bool, Any], object]


class MemoryThreadPool:
    """
    The work that threads would do: as much of a L{twisted.python.threadpool.ThreadPool} as is
    called.

    @ivar stalled: set it, and no thread gets to work until it is unset: a pool that is all busy.
    """

    def __init__(self) -> None:
        self.stalled = False
        self._work: list[Callable[[], object]] = []

    def callInThread(self, func: Callable[..., object], *args: object, **kw: object) -> None:
        """
        Queue work.

        @param func: called with the other arguments in a later turn.
        """
        self._work.append(lambda: func(*args, **kw))

    def callInThreadWithCallback(
        self, onResult: OnResult | None, func: Callable[..., object], *args: object, **kw: object
    ) -> None:
        """
        Queue work whose result is wanted.

        @param onResult: called with whether it went well, and the result or the failure.
        @param func: called with the other arguments in a later turn.
        """

        def work() -> None:
            success, result = True, None
            try:
                result = func(*args, **kw)
            except Exception:
                success, result = False, Failure()
            if onResult is not None:
                onResult(success, result)

        self._work.append(work)

    def adjustPoolsize(self, minthreads: int | None = None, maxthreads: int | None = None) -> None:
        """Accept any size."""

    def takeWork(self) -> list[Callable[[], object]]:
        """
        Take what is to be done now.

        @return: the work queued so far; nothing while stalled.
        """
        if self.stalled:
            return []
        work, self._work = self._work, []
        return work
