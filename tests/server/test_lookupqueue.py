"""Datagrams that wait for names: order, turns, bounds, and every way a lookup may end."""

from __future__ import annotations

import traceback

from twisted.internet.defer import Deferred, fail, succeed
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.server.lookupqueue import (
    MAX_LOOKUPS,
    MAX_OCTETS,
    MAX_WAITING,
    LookupQueue,
)


def depth() -> int:
    """Tell how deep the stack is."""
    return len(traceback.extract_stack())


class LookupQueueTests(SynchronousTestCase):
    """
    A queue whose lookups a test answers.

    @ivar asked: the lookups under way.
    @ivar found: what the queue told.
    """

    def setUp(self) -> None:
        """Make a queue."""
        self.asked: dict[str, Deferred[str]] = {}
        self.found: list[tuple[str, str | type, list[bytes]]] = []
        self.cancelled: list[str] = []
        self.immediate = False
        self.queue: LookupQueue[str, str] = LookupQueue(self.lookup, self.note)

    def lookup(self, name: str) -> Deferred[str]:
        """Begin a lookup."""
        if self.immediate:
            return succeed(f"at once {name}")
        self.asked[name] = Deferred(lambda _: self.cancelled.append(name))
        return self.asked[name]

    def note(self, name: str, answer: str | Failure, payloads: list[bytes]) -> None:
        """Keep what the queue tells."""
        told = type(answer.value) if isinstance(answer, Failure) else answer
        self.found.append((name, told, payloads))

    def answer(self, name: str) -> None:
        """Answer a lookup."""
        self.asked.pop(name).callback(f"found {name}")

    def test_order(self) -> None:
        """All that waits for a destination comes with its one answer, in order."""
        for payload in (b"1", b"2", b"3"):
            self.assertTrue(self.queue.add("a", payload))
            self.queue.add("b", payload * 2)
        self.assertEqual(list(self.asked), ["a", "b"])
        self.answer("b")
        self.answer("a")
        self.assertEqual(
            self.found,
            [("b", "found b", [b"11", b"22", b"33"]), ("a", "found a", [b"1", b"2", b"3"])],
        )
        self.assertEqual(len(self.queue), 0)

    def test_asksAgain(self) -> None:
        """What comes after an answer is asked for again."""
        self.queue.add("a", b"1")
        self.answer("a")
        self.queue.add("a", b"2")
        self.answer("a")
        self.assertEqual([payloads for _, _, payloads in self.found], [[b"1"], [b"2"]])

    def test_failures(self) -> None:
        """A lookup that fails, or does not even begin, is an answer, too."""
        self.queue.add("a", b"1")
        self.asked.pop("a").errback(KeyError())
        self.patch(self.queue, "_lookup", lambda name: {}[name])
        self.queue.add("b", b"2")
        self.patch(self.queue, "_lookup", lambda name: fail(OSError()))
        self.queue.add("c", b"3")
        self.assertEqual(
            self.found, [("a", KeyError, [b"1"]), ("b", KeyError, [b"2"]), ("c", OSError, [b"3"])]
        )

    def test_turns(self) -> None:
        """A few at a time; the others follow in the order in which they came."""
        names = [f"n{number}" for number in range(MAX_LOOKUPS + 2)]
        for name in names:
            self.assertTrue(self.queue.add(name, b"x"))
        self.assertEqual(list(self.asked), names[:MAX_LOOKUPS])
        self.answer(names[3])
        self.assertEqual(list(self.asked)[-1], names[MAX_LOOKUPS])
        self.answer(names[0])
        self.assertEqual(list(self.asked)[-1], names[MAX_LOOKUPS + 1])

    def test_atOnce(self) -> None:
        """Answers that are there at once go as deep as one, however many wait."""
        names = [f"n{number}" for number in range(MAX_WAITING - MAX_LOOKUPS)]
        stuck = [f"s{number}" for number in range(MAX_LOOKUPS)]
        for name in stuck + names:
            self.queue.add(name, b"x")
        self.immediate = True
        depths: set[int] = set()

        def measured(name: str, answer: str | Failure, payloads: list[bytes]) -> None:
            self.note(name, answer, payloads)
            depths.add(depth())

        self.patch(self.queue, "_found", measured)
        self.answer(stuck[0])
        self.assertEqual([name for name, _, _ in self.found], [stuck[0], *names])
        self.assertLessEqual(len(depths), 2)

    def test_datagramsBounded(self) -> None:
        """So many datagrams may wait and no more; each answer makes room."""
        for number in range(MAX_WAITING):
            self.assertTrue(self.queue.add(f"n{number % 5}", b""))
        self.assertFalse(self.queue.add("n0", b""))
        self.assertFalse(self.queue.add("another", b""))
        self.assertEqual(len(self.queue), MAX_WAITING)
        self.answer("n0")
        self.assertTrue(self.queue.add("n1", b""))

    def test_octetsBounded(self) -> None:
        """So many octets may wait and no more; each answer makes room."""
        half = bytes(MAX_OCTETS // 2)
        self.assertTrue(self.queue.add("a", half))
        self.assertTrue(self.queue.add("b", half))
        self.assertFalse(self.queue.add("b", b"x"))
        self.assertTrue(self.queue.add("b", b""))
        self.answer("b")
        self.assertTrue(self.queue.add("c", half))
        self.assertFalse(self.queue.add("c", b"x"))

    def test_destinationsBounded(self) -> None:
        """Destinations asked for without a datagram count as well."""
        for number in range(MAX_WAITING):
            self.assertTrue(self.queue.ask(f"n{number}"))
        self.assertFalse(self.queue.ask("another"))
        self.assertFalse(self.queue.add("another", b"x"))
        self.assertTrue(self.queue.ask("n0"))
        self.assertTrue(self.queue.add("n0", b"x"))
        self.answer("n0")
        self.assertEqual(self.found, [("n0", "found n0", [b"x"])])

    def test_close(self) -> None:
        """Closing calls lookups off, begins no other, and tells of none."""
        for number in range(MAX_LOOKUPS + 1):
            self.queue.add(f"n{number}", b"x")
        self.queue.close()
        self.queue.close()
        self.assertEqual(self.cancelled, [f"n{number}" for number in range(MAX_LOOKUPS)])
        self.assertEqual(len(self.asked), MAX_LOOKUPS)
        self.assertEqual((self.found, len(self.queue)), ([], 0))
        self.queue.add("late", b"x")
        self.assertNotIn(f"n{MAX_LOOKUPS}", self.asked)

    def test_closedWhileTold(self) -> None:
        """The one who is told of an answer may close the queue."""
        self.queue.add("a", b"1")
        self.queue.add("b", b"2")
        self.patch(self.queue, "_found", lambda *_: self.queue.close())
        self.answer("a")
        self.assertEqual(self.cancelled, ["b"])

    def test_problem(self) -> None:
        """If telling fails, it is logged, and the next one gets its turn."""
        for number in range(MAX_LOOKUPS + 1):
            self.queue.add(f"n{number}", b"x")
        self.patch(self.queue, "_found", lambda *_: 1 / 0)
        self.answer("n0")
        self.assertIn(f"n{MAX_LOOKUPS}", self.asked)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
