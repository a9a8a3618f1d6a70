"""
Work that would block the reactor, in a few threads, its owners in turns.

What costs a processor's time is asked for by clients, and one client must neither fill the queue
nor keep the others from their turn::

    run -> waiting (cancelled: gone) -> running, in a thread -> the Deferred fires
           in turns, owner by owner      at most C{size}

However many jobs an owner has waiting, the next one of any other owner waits for one of them at
the most.

All tables belong to the reactor's thread; jobs go to the threads through a queue, and results
come back through callFromThread.  No lock is held while anything is done, so the reactor never
waits for a thread that the system has put aside.  What the work is, and when it takes too long,
is its owner's business.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from contextlib import suppress
from queue import SimpleQueue
from typing import Any, Generic, TypeVar

from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

_T = TypeVar("_T")

_STOPPED = "its threads are stopped"

_log = Logger()


class Busy(Exception):
    """Work is not taken on, or no longer: too much of it waits, or the threads are stopped."""


class FairThreads:
    """
    A few threads, whose owners of work take turns.

    It works from the moment it is made.  A thread is started when there is work for it, so never
    before a daemon has forked, and kept until L{stop}.  They are daemons: one that is stuck holds
    up neither L{stop} nor the end of the process.

    On a reactor that has no event loop of Twisted's, one in memory, the threads are the
    reactor's own: what its C{callInThread} makes of them.

    @ivar size: how many jobs run at a time.
    """

    def __init__(
        self,
        reactor: Any,
        size: int,
        *,
        waiting: int = 1024,
        each: int = 64,
        nice: int = 0,
        name: str = "socks5-work",
    ) -> None:
        """
        @param reactor: provides L{IReactorFromThreads
            <twisted.internet.interfaces.IReactorFromThreads>}; results are handed over in it.
        @param size: how many threads, 1 or more.
        @param waiting: how many jobs may wait in all, 1 or more.
        @param each: how many jobs of one owner may wait, 1 or more.
        @param nice: by how much less the system should favour these threads than the others, as
            nice(1) has it, from 0 to 19; of no effect but on Linux, where threads differ.
        @param name: what the threads' names begin with.
        @raise ValueError: one of the numbers is out of range.
        """
        if not (size >= 1 and waiting >= 1 and each >= 1 and 0 <= nice <= 19):
            raise ValueError(f"no such threads: {size}, {waiting} and {each} jobs, nice {nice}")
        self.size = size
        self._reactor = reactor
        self._most, self._mostEach = waiting, each
        self._nice = nice
        self._name = name
        #: The owners that have jobs waiting, in the order of their turns.
        self._turns: OrderedDict[Hashable, deque[_Job[Any]]] = OrderedDict()
        self._waiting = 0
        self._running: set[_Job[Any]] = set()
        #: The queue of this start; threads of an earlier one, still stuck, have another.
        self._queue: SimpleQueue[_Job[Any] | None] | None = SimpleQueue()
        self._threads = 0
        self._own = isinstance(reactor, ReactorBase)

    def __len__(self) -> int:
        """How many jobs wait."""
        return self._waiting

    def __bool__(self) -> bool:
        """They are there, whether anything waits for them or not."""
        return True

    def start(self) -> None:
        """Take on work again after a L{stop}."""
        if self._queue is None:
            self._queue = SimpleQueue()

    def stop(self) -> None:
        """
        Take on no more work, and wait for nothing: all that is not done fails with L{Busy}, idle
        threads end, and the others when they are done; what they bring is dropped.
        """
        queue, self._queue = self._queue, None
        if queue is None:
            return
        for _ in range(self._threads):
            queue.put(None)
        self._threads = 0
        running, self._running = self._running, set()
        for job in (*running, *self._allWaiting()):
            job.fail(Busy(_STOPPED))

    def run(self, owner: Hashable, work: Callable[[], _T]) -> Deferred[_T]:
        """
        Have work done in a thread.

        @param owner: on whose behalf: owners take turns.  Whoever has many jobs waiting makes
            room for one who has fewer, once nothing else does.
        @param work: called in a thread.  It is kept no longer than it runs.
        @return: fires with what the work returns, or fails with what it raises, or with L{Busy}.
            Cancel it, and work that has not begun never does; the result of work that has is
            dropped.
        """
        job: _Job[_T] = _Job(self, owner, work)
        if self._queue is None:
            job.fail(Busy(_STOPPED))
            return job.done
        jobs = self._turns.get(owner, ())
        if len(jobs) >= self._mostEach:
            job.fail(Busy(f"{len(jobs)} jobs of one owner wait already"))
            return job.done
        out: _Job[Any] | None = None
        if self._waiting >= self._most:
            out = self._makeRoom(len(jobs))
            if out is None:
                job.fail(Busy(f"{self._waiting} jobs wait already"))
                return job.done
        self._turns.setdefault(owner, deque()).append(job)
        self._waiting += 1
        self._dispatch()
        if out is not None:
            out.fail(Busy("its place went to somebody who has fewer jobs waiting"))
        return job.done

    def forget(self, job: _Job[Any]) -> None:
        """A job has been cancelled: it gives up its place if it waits."""
        jobs = self._turns.get(job.owner)
        if jobs is not None and job in jobs:
            jobs.remove(job)
            self._waiting -= 1
            if not jobs:
                del self._turns[job.owner]

    def _makeRoom(self, few: int) -> _Job[Any] | None:
        """Take away the youngest job of the owner with the most, unless that has few, too."""
        jobs = max(self._turns.values(), key=len)
        if len(jobs) < few + 2:
            return None
        self._waiting -= 1
        return jobs.pop()

    def _allWaiting(self) -> list[_Job[Any]]:
        """Empty the queue."""
        turns, self._turns = self._turns, OrderedDict()
        self._waiting = 0
        return [job for jobs in turns.values() for job in jobs]

    def _dispatch(self) -> None:
        """Give what waits to the threads, as far as there are any."""
        while self._turns and len(self._running) < self.size:
            if self._own and self._threads <= len(self._running) and not self._startThread():
                break
            owner, jobs = self._turns.popitem(last=False)
            job = jobs.popleft()
            self._waiting -= 1
            if jobs:
                self._turns[owner] = jobs  # behind all others
            self._running.add(job)
            if self._own and self._queue is not None:
                self._queue.put(job)
            else:
                self._reactor.callInThread(self._carryOut, job)
        if not self._running:
            # No thread could be started, so none will come back to go on with these.
            for job in self._allWaiting():
                job.fail(Busy("no thread can be started"))

    def _startThread(self) -> bool:
        """Add a thread, if the system has one."""
        number = self._threads + 1
        thread = threading.Thread(
            target=self._live, args=(self._queue,), name=f"{self._name}-{number}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            _log.failure("Cannot start thread {name}", name=thread.name)
            return False
        self._threads = number
        return True

    def _live(self, queue: SimpleQueue[_Job[Any] | None]) -> None:
        """What a thread does, all its life."""
        if self._nice and sys.platform == "linux":
            # A nice value is a thread's own here; elsewhere this number would mean a process.
            with suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), self._nice)
        while (job := queue.get()) is not None:
            self._carryOut(job)
            del job  # and what it holds: the next may be long in coming

    def _carryOut(self, job: _Job[Any]) -> None:
        """Do a job; in a thread."""
        outcome = job.carryOut()
        self._reactor.callFromThread(self._returned, job, outcome)

    def _returned(self, job: _Job[Any], outcome: Any) -> None:
        """A thread is done with a job, perhaps one of an earlier start that nobody knows."""
        if job not in self._running:
            return
        self._running.remove(job)
        self._dispatch()
        job.finish(outcome)


class _Job(Generic[_T]):
    """
    One piece of work.

    @ivar owner: on whose behalf.
    @ivar done: fires with its result.
    """

    def __init__(self, threads: FairThreads, owner: Hashable, work: Callable[[], _T]) -> None:
        self.owner = owner
        self.done: Deferred[_T] = Deferred(self._cancel)
        self._threads = threads
        self._work: Callable[[], _T] | None = work
        self._wanted = True

    def carryOut(self) -> _T | Failure:
        """Do it, once; in a thread.  A job that nobody wants any more is not done."""
        work, self._work = self._work, None
        if work is None:
            return Failure(Busy(_STOPPED))  # for nobody's ears
        try:
            return work()
        except BaseException:
            # Whatever it is: the thread lives on, or else its place would be lost.
            return Failure()

    def finish(self, outcome: _T | Failure) -> None:
        """Hand over the result."""
        if self._wanted:
            self._wanted = False
            self.done.callback(outcome)

    def fail(self, error: Busy) -> None:
        """It will not be done, or nobody will hear of it."""
        self._work = None
        self.finish(Failure(error))

    def _cancel(self, _: object) -> None:
        self._wanted = False
        self._work = None
        self._threads.forget(self)
