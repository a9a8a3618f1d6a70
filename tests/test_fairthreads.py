"""Tests of threads whose owners take turns: in memory, and with threads that are real."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_socks5.fairthreads import Busy, FairThreads
from twisted_socks5.testing import MemoryReactor

# Which reactor is installed is not known to a type checker.
reactor: Any = installed


class Jobs:
    """
    Work in memory, and what became of it.

    @ivar done: what was done, in order.
    """

    def __init__(self, size: int = 1, **options: Any) -> None:
        self.reactor = MemoryReactor()
        self.threads = FairThreads(self.reactor, size, **options)
        self.done: list[object] = []

    def run(self, owner: object, *names: object) -> list[Deferred[object]]:
        """Run some jobs for an owner."""
        return [self.threads.run(owner, self.job(name)) for name in names]

    def job(self, name: object) -> Callable[[], object]:
        """Make a job that notes that it was done."""

        def work() -> object:
            self.done.append(name)
            return name

        return work


class TurnTests(SynchronousTestCase):
    """Who is next."""

    def busy(self, *deferreds: Deferred[object]) -> str:
        """Return why these were not done."""
        (reason,) = {str(self.failureResultOf(each, Busy).value) for each in deferreds}
        return reason

    def test_result(self) -> None:
        """A result is handed over in the reactor, and so is an exception."""
        jobs = Jobs()
        (first,) = jobs.run("a", 1)
        second = jobs.threads.run("a", partial(int, "b"))
        self.assertNoResult(first)
        jobs.reactor.settle()
        self.assertEqual(self.successResultOf(first), 1)
        self.failureResultOf(second, ValueError)

    def test_turns(self) -> None:
        """However many jobs somebody has, another's comes after one of them."""
        jobs = Jobs()
        jobs.run("a", "a1", "a2", "a3", "a4")
        jobs.run("b", "b1", "b2")
        jobs.run("c", "c1")
        jobs.reactor.settle()
        self.assertEqual(jobs.done, ["a1", "a2", "b1", "c1", "a3", "b2", "a4"])

    @given(st.lists(st.sampled_from("abc"), max_size=30), st.integers(1, 3))
    @settings(max_examples=50, deadline=None)
    def test_fair(self, owners: list[str], size: int) -> None:
        """All is done, an owner's own in order, and nobody twice while somebody else waits."""
        jobs = Jobs(size)
        for number, owner in enumerate(owners):
            jobs.run(owner, (owner, number))
        jobs.reactor.settle()
        self.assertEqual(len(jobs.done), len(owners))
        done: list[Any] = jobs.done
        for owner in "abc":
            numbers = [number for who, number in done if who == owner]
            self.assertEqual(numbers, sorted(numbers))
            if not numbers:
                continue
            # The first jobs went off before the others were there to wait.
            last = max(at for at, each in enumerate(done) if each[0] == owner)
            for at in range(size, last - 1):
                twice = done[at][0] == done[at + 1][0] != owner
                self.assertFalse(twice, f"{owner} waited longer than its turn in {done}")

    def test_size(self) -> None:
        """So many at a time, and no more."""
        jobs = Jobs(3)
        jobs.reactor.threads.stalled = True
        jobs.run("a", *range(5))
        self.assertEqual(len(jobs.threads), 2)
        jobs.reactor.threads.stalled = False
        jobs.reactor.settle()
        self.assertEqual((jobs.done, len(jobs.threads)), ([0, 1, 2, 3, 4], 0))
        self.assertTrue(jobs.threads)

    def test_each(self) -> None:
        """An owner may have so many waiting; another is not concerned."""
        jobs = Jobs(each=2)
        *_, refused = jobs.run("a", 1, 2, 3, 4)
        self.assertEqual(self.busy(refused), "2 jobs of one owner wait already")
        jobs.run("b", 5)
        jobs.reactor.settle()
        self.assertEqual(sorted(map(str, jobs.done)), ["1", "2", "3", "5"])

    def test_all(self) -> None:
        """So many may wait in all, if nobody has more than others."""
        jobs = Jobs(waiting=2)
        for owner in "abc":
            jobs.run(owner, owner)
        (refused,) = jobs.run("d", "d")
        self.assertEqual(self.busy(refused), "2 jobs wait already")
        jobs.reactor.settle()
        self.assertEqual(jobs.done, ["a", "b", "c"])

    def test_makesRoom(self) -> None:
        """Who has the most makes room for somebody who has fewer; twice as often is no matter."""
        jobs = Jobs(waiting=4)
        _, *waiting = jobs.run("a", "a1", "a2", "a3", "a4", "a5")
        jobs.run("b", "b1", "b2")
        self.assertIn("fewer jobs", self.busy(waiting[-1], waiting[-2]))
        (refused,) = jobs.run("b", "b3")
        self.assertEqual(self.busy(refused), "4 jobs wait already")
        jobs.reactor.settle()
        self.assertEqual(jobs.done, ["a1", "a2", "b1", "a3", "b2"])

    def test_madeRoomAndCameBack(self) -> None:
        """Who is pushed out and tries again at once does not exceed what may wait."""
        jobs = Jobs(waiting=2)
        _, _, pushed = jobs.run("a", 1, 2, 3)
        again: list[Deferred[object]] = []
        pushed.addErrback(lambda _: again.extend(jobs.run("a", 4)))
        jobs.run("b", 5)
        self.busy(*again)
        self.assertEqual(len(jobs.threads), 2)
        jobs.reactor.settle()
        self.assertEqual(jobs.done, [1, 2, 5])

    def test_cancelWaiting(self) -> None:
        """What has not begun never does, and makes room."""
        jobs = Jobs(each=1)
        _, second = jobs.run("a", 1, 2)
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(len(jobs.threads), 0)
        jobs.run("a", 3)
        jobs.reactor.settle()
        self.assertEqual(jobs.done, [1, 3])

    def test_cancelOne(self) -> None:
        """Another one of the same owner keeps its place."""
        jobs = Jobs()
        jobs.run("a", "a1")
        second, _ = jobs.run("b", "b1", "b2")
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual(len(jobs.threads), 1)
        jobs.reactor.settle()
        self.assertEqual(jobs.done, ["a1", "b2"])

    def test_cancelGiven(self) -> None:
        """What a thread was given, and has not begun, is not done either; the next one is."""
        jobs = Jobs()
        first, _ = jobs.run("a", 1, 2)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        jobs.reactor.settle()
        self.assertEqual(jobs.done, [2])

    def test_cancelRunning(self) -> None:
        """The result of what has begun is dropped."""
        jobs = Jobs()
        first = jobs.threads.run("a", lambda: first.cancel())
        jobs.run("a", 2)
        jobs.reactor.settle()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(jobs.done, [2])

    def test_notKept(self) -> None:
        """Work, and what it holds, is forgotten once it is done or cancelled."""
        import gc
        import weakref

        class Secret:
            """Something to hold."""

        gc.disable()
        self.addCleanup(gc.enable)
        for end in ("done", "cancelled", "stopped"):
            jobs, secret = Jobs(), Secret()
            held = weakref.ref(secret)
            (first,) = jobs.run("a", 1)
            deferred = jobs.threads.run("a", partial(id, secret))
            for each in (first, deferred):
                each.addErrback(lambda _: None)
            if end == "cancelled":
                deferred.cancel()
            elif end == "stopped":
                jobs.threads.stop()
            del secret
            jobs.reactor.settle()
            self.assertIsNone(held(), end)

    def test_stop(self) -> None:
        """At the stop all fail; what comes back then, or comes later, is nothing."""
        jobs = Jobs()
        deferreds = jobs.run("a", 1, 2)
        jobs.threads.stop()
        jobs.threads.stop()
        deferreds += jobs.run("a", 3)
        self.assertEqual(self.busy(*deferreds), "its threads are stopped")
        jobs.reactor.settle()
        self.assertEqual(jobs.done, [])
        jobs.threads.start()
        jobs.threads.start()
        jobs.run("a", 4)
        jobs.reactor.settle()
        self.assertEqual(jobs.done, [4])

    def test_range(self) -> None:
        """Numbers that make no sense are refused."""
        for size, options in (
            (0, {}),
            (1, {"waiting": 0}),
            (1, {"each": 0}),
            (1, {"nice": -1}),
            (1, {"nice": 20}),
        ):
            self.assertRaises(ValueError, FairThreads, None, size, **options)


class RealTests(TestCase):
    """Threads that are some."""

    def setUp(self) -> None:
        """Make them."""
        self.name = self.id()
        self.threads = FairThreads(reactor, 2, nice=7, name=self.name)

    def tearDown(self) -> None:
        """None survives."""
        self.threads.stop()
        for each in self.running():
            each.join(10)
        self.assertEqual(self.running(), [])

    def running(self) -> list[threading.Thread]:
        """Tell which threads of ours there are."""
        return [each for each in threading.enumerate() if each.name.startswith(self.name)]

    async def test_threads(self) -> None:
        """They come when they are needed, as many as may be, are used again, and are daemons."""
        self.assertEqual(self.running(), [])
        await self.threads.run(1, int)
        self.assertEqual(len(self.running()), 1)
        both = threading.Barrier(2)
        found = await gatherResults(
            [
                self.threads.run(1, lambda: (both.wait(10), threading.current_thread()))
                for _ in "ab"
            ]
        )
        self.assertEqual({each for _, each in found}, {*self.running()})
        self.assertEqual([each.daemon for each in self.running()], [True, True])

    async def test_many(self) -> None:
        """Each of many jobs is done once."""
        done: list[int] = []
        count = 300
        waiting = [self.threads.run(n % 7, partial(done.append, n)) for n in range(count)]
        await gatherResults(waiting)
        self.assertEqual(sorted(done), list(range(count)))

    async def test_nice(self) -> None:
        """The system favours them less, and the reactor as ever."""
        before = os.getpriority(os.PRIO_PROCESS, 0)
        found = await self.threads.run(
            1, lambda: os.getpriority(os.PRIO_PROCESS, threading.get_native_id())
        )
        self.assertEqual(found, 7 if sys.platform == "linux" else before)
        self.assertEqual(os.getpriority(os.PRIO_PROCESS, 0), before)

    async def test_notNice(self) -> None:
        """A system that does not allow it is no reason not to work."""

        def refuse(*_: object) -> None:
            raise PermissionError

        self.patch(os, "setpriority", refuse)
        self.assertEqual(await self.threads.run(1, int), 0)

    async def test_survives(self) -> None:
        """No exception ends a thread, SystemExit included."""
        for error in (SystemExit(3), KeyError("a")):

            def work(error: BaseException = error) -> None:
                raise error

            await self.assertFailure(self.threads.run(1, work), type(error))
        self.assertEqual(len(self.running()), 1)

    async def test_stopStuck(self) -> None:
        """A stop does not wait; what is done later is dropped, also after another start."""
        release = threading.Event()
        stuck = self.threads.run(1, lambda: release.wait(10))
        waiting = [self.threads.run(1, lambda: release.wait(10)) for _ in range(3)]
        old = self.running()
        self.threads.stop()
        for each in (stuck, *waiting):
            self.failureResultOf(each, Busy)
        self.threads.start()
        self.assertEqual(await self.threads.run(1, int), 0)
        release.set()
        for thread in old:
            thread.join(10)
        self.assertEqual(await self.threads.run(1, int), 0)

    async def test_noThread(self) -> None:
        """A system without threads makes jobs fail, or wait for those that there are."""
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", refuse)
        self.failureResultOf(self.threads.run(1, int), Busy)
        self.patch(threading.Thread, "start", start)
        release = threading.Event()
        first = self.threads.run(1, lambda: release.wait(10))
        self.patch(threading.Thread, "start", refuse)
        second = self.threads.run(1, int)
        self.assertNoResult(second)
        self.patch(threading.Thread, "start", start)
        release.set()
        self.assertEqual(await gatherResults([first, second]), [True, 0])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)
