"""Many items, one call."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.deadlines import DeadlineQueue


class CountingClock(Clock):
    """Counts the calls that are made."""

    made = 0

    def callLater(
        self,
        delay: float,
        callable: Callable[..., object],  # noqa: A002 - the name it has in Clock
        *args: object,
        **kw: object,
    ) -> IDelayedCall:
        """Count one more."""
        self.made += 1
        return super().callLater(delay, callable, *args, **kw)


class DeadlineQueueTests(SynchronousTestCase):
    """Items expire in order, each in its time."""

    def setUp(self) -> None:
        """A queue of 10 s that notes what expires and when."""
        self.clock = CountingClock()
        self.expired: list[tuple[float, str]] = []
        self.queue = DeadlineQueue(self.clock, 10.0, self.note)

    def note(self, item: str) -> None:
        """An item's time is up."""
        self.assertNotEqual(self.queue.oldest(), item)
        self.expired.append((self.clock.seconds(), item))

    def test_expires(self) -> None:
        """An item expires when its time is up, not before, and once."""
        self.queue.add("a")
        self.clock.advance(9.99)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.01)
        self.assertEqual(self.expired, [(10.0, "a")])
        self.clock.advance(100)
        self.assertEqual(len(self.expired), 1)
        self.assertEqual(len(self.queue), 0)

    def test_oneCall(self) -> None:
        """However many items there are, one call serves them all."""
        for number in range(100):
            self.queue.add(str(number))
            self.clock.advance(0.05)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.assertEqual(self.clock.made, 1)
        for _ in range(200):
            self.clock.advance(0.05)
        self.assertEqual([item for _, item in self.expired], [str(n) for n in range(100)])
        for number, (when, _) in enumerate(self.expired):
            self.assertApproximates(when, 10 + number * 0.05, 0.051)

    def test_together(self) -> None:
        """Items of the same millisecond expire together."""
        self.queue.add("a")
        self.clock.advance(0.0005)
        self.queue.add("b")
        self.clock.advance(9.9995)
        self.assertEqual(self.expired, [(10.0, "a"), (10.0, "b")])
        self.assertEqual(self.clock.made, 1)

    def test_discard(self) -> None:
        """A discarded item does not expire; the call for it serves the next one."""
        self.queue.add("a")
        self.clock.advance(4)
        self.queue.add("b")
        self.queue.discard("a")
        self.assertEqual(self.clock.made, 1)
        self.clock.advance(6)
        self.assertEqual((self.expired, self.clock.made), ([], 2))
        self.clock.advance(4)
        self.assertEqual(self.expired, [(14.0, "b")])

    def test_discardTwice(self) -> None:
        """To discard what is not there does nothing."""
        self.queue.discard("a")
        self.queue.add("a")
        self.queue.discard("b")
        self.assertEqual(len(self.queue), 1)
        self.queue.discard("a")
        self.queue.discard("a")
        self.assertEqual(len(self.queue), 0)

    def test_empty(self) -> None:
        """When the last item goes, no call is left; the next item gets one again."""
        for _ in range(3):
            self.queue.add("a")
            self.queue.discard("a")
            self.assertEqual(self.clock.getDelayedCalls(), [])
        self.queue.add("a")
        self.clock.advance(10)
        self.assertEqual(len(self.expired), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_again(self) -> None:
        """An item added again starts anew, at the end."""
        self.queue.add("a")
        self.queue.add("b")
        self.clock.advance(4)
        self.queue.add("a")
        self.assertEqual((self.queue.oldest(), len(self.queue)), ("b", 2))
        self.clock.advance(10)
        self.assertEqual([item for _, item in self.expired], ["b", "a"])

    def test_oldest(self) -> None:
        """The oldest item is the next to expire."""
        self.assertIs(self.queue.oldest(), None)
        self.queue.add("a")
        self.queue.add("b")
        self.assertEqual(self.queue.oldest(), "a")
        self.queue.discard("a")
        self.assertEqual(self.queue.oldest(), "b")

    def test_stop(self) -> None:
        """After the stop nothing is left and nothing expires, and the queue may be used again."""
        self.queue.add("a")
        self.queue.stop()
        self.queue.stop()
        self.assertEqual((len(self.queue), self.clock.getDelayedCalls()), (0, []))
        self.clock.advance(5)
        self.queue.add("b")
        self.clock.advance(10)
        self.assertEqual(self.expired, [(15.0, "b")])

    def test_forEver(self) -> None:
        """Without a time nothing expires and no call is made, but the order is kept."""
        queue: DeadlineQueue[str] = DeadlineQueue(self.clock, None, self.note)
        queue.add("a")
        queue.add("b")
        queue.add("a")
        self.assertEqual((len(queue), queue.oldest(), self.clock.made), (2, "b", 0))
        queue.discard("a")
        queue.discard("b")
        queue.stop()
        self.assertEqual(len(queue), 0)

    def test_invalid(self) -> None:
        """A time of nothing or less is refused."""
        for seconds in (0, -1.0, float("nan")):
            self.assertRaises(ValueError, DeadlineQueue, self.clock, seconds, self.note)

    def test_rounding(self) -> None:
        """A call that comes a rounding error too early is not made for ever."""
        clock = CountingClock()
        gone: list[int] = []
        queue = DeadlineQueue(clock, 0.1, gone.append)
        for number in range(1000):
            queue.add(number)
            clock.advance(0.1 / 3)
        clock.advance(0.1)
        self.assertEqual(gone, list(range(1000)))
        self.assertLessEqual(clock.made, 2001)

    def test_shortest(self) -> None:
        """An item that is added again as it expires waits its time, however short that is."""
        clock = Clock()
        gone: list[str] = []

        def again(item: str) -> None:
            gone.append(item)
            queue.add(item)

        queue = DeadlineQueue(clock, 0.0001, again)
        queue.add("a")
        clock.advance(0.0001)
        self.assertEqual(gone, ["a"])
        queue.stop()


class ReentryTests(SynchronousTestCase):
    """What C{expired} may do to the queue."""

    def setUp(self) -> None:
        """A queue of 10 s that does as told."""
        self.clock = CountingClock()
        self.expired: list[str] = []
        self.then: Callable[[str], None] = self.expired.append
        self.queue = DeadlineQueue(self.clock, 10.0, self.act)
        self.queue.add("a")
        self.clock.advance(4)
        self.queue.add("b")
        self.queue.add("c")

    def act(self, item: str) -> None:
        """An item's time is up."""
        self.expired.append(item)
        self.then(item)

    def test_raises(self) -> None:
        """An exception is logged and loses nobody else."""

        def fail(item: str) -> None:
            raise RuntimeError(item)

        self.then = fail
        self.clock.advance(10)
        self.assertEqual(self.expired, ["a", "b", "c"])
        errors = self.flushLoggedErrors(RuntimeError)
        self.assertEqual([str(each.value) for each in errors], ["a", "b", "c"])

    def test_end(self) -> None:
        """What no code should catch passes, and still those behind keep their deadline."""

        def leave(item: str) -> None:
            raise SystemExit

        self.then = leave
        self.assertRaises(SystemExit, self.clock.advance, 6)
        self.then = lambda item: None
        self.clock.advance(4)
        self.assertEqual(self.expired, ["a", "b", "c"])

    def test_addAgain(self) -> None:
        """An item added again as it expires delays none of those that are waiting."""

        def again(item: str) -> None:
            self.queue.add(item)

        self.then = again
        self.clock.advance(6)
        self.assertEqual((self.expired, self.queue.oldest()), (["a"], "b"))
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(4)
        self.assertEqual(self.expired, ["a", "b", "c"])
        self.clock.advance(6)
        self.assertEqual(self.expired, ["a", "b", "c", "a"])

    def test_discardOthers(self) -> None:
        """Items discarded by one that expires do not expire with it, and no call is left."""

        def clear(item: str) -> None:
            self.queue.discard("b")
            self.queue.discard("c")

        self.then = clear
        self.clock.advance(10)
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), (["a"], []))
        self.queue.add("d")
        self.clock.advance(10)
        self.assertEqual(self.expired, ["a", "d"])

    def test_stop(self) -> None:
        """A queue stopped by an item that expires leaves no call."""
        self.then = lambda item: self.queue.stop()
        self.clock.advance(10)
        self.assertEqual((self.expired, self.clock.getDelayedCalls()), (["a"], []))

    def test_stopAndAdd(self) -> None:
        """An item added behind a stop has its deadline, by one call."""

        def restart(item: str) -> None:
            self.queue.stop()
            self.queue.add("d")

        self.then = restart
        self.clock.advance(6)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.then = lambda item: None
        self.clock.advance(10)
        self.assertEqual(self.expired, ["a", "d"])


class ModelTests(SynchronousTestCase):
    """Any use of the queue, against a list."""

    @given(
        st.integers(1, 12),
        st.lists(
            st.tuples(st.sampled_from(["add", "discard", "advance"]), st.integers(0, 9)),
            max_size=60,
        ),
    )
    @settings(max_examples=150, deadline=None)
    def test_model(self, seconds: int, steps: list[tuple[str, int]]) -> None:
        """Items expire in the order and at the times of the model; at most one call waits."""
        clock = Clock()
        expired: list[tuple[float, int]] = []
        queue: DeadlineQueue[int] = DeadlineQueue(
            clock, seconds, lambda item: expired.append((clock.seconds(), item))
        )
        waiting: dict[int, float] = {}
        expected: list[tuple[float, int]] = []
        for step, number in steps:
            if step == "add":
                queue.add(number)
                waiting.pop(number, None)
                waiting[number] = clock.seconds() + seconds
            elif step == "discard":
                queue.discard(number)
                waiting.pop(number, None)
            else:
                clock.advance(number)
                now = clock.seconds()
                for item in [item for item, due in waiting.items() if due <= now]:
                    del waiting[item]
                    expected.append((now, item))
            self.assertEqual(expired, expected)
            self.assertEqual(
                (len(queue), queue.oldest()), (len(waiting), next(iter(waiting), None))
            )
            self.assertEqual(len(clock.getDelayedCalls()), 1 if waiting else 0)
