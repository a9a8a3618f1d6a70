"""How time passes, and work is done, in a reactor in memory."""

from __future__ import annotations

from twisted.internet.task import LoopingCall
from twisted.internet.threads import deferToThreadPool
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.testing import MemoryReactor, NotAtRest, Peer


class TurnsTests(SynchronousTestCase):
    """Turns, delayed calls and threads."""

    def setUp(self) -> None:
        """Make a reactor."""
        self.reactor = MemoryReactor()
        self.seen: list[object] = []

    def test_turn(self) -> None:
        """A turn tells whether there was anything to do."""
        self.reactor.callLater(0, self.seen.append, 1)
        self.assertTrue(self.reactor.turn())
        self.assertFalse(self.reactor.turn())
        self.assertEqual(self.seen, [1])

    def test_laterIsAnotherTurn(self) -> None:
        """What is put off until later does not happen in the same turn."""
        self.reactor.callLater(0, self.reactor.callLater, 0, self.seen.append, 1)
        self.reactor.turn()
        self.assertEqual(self.seen, [])
        self.reactor.turn()
        self.assertEqual(self.seen, [1])

    def test_oneReadATurn(self) -> None:
        """A descriptor is served once a turn, and what it causes waits for the next."""
        one, two = Peer(), Peer()
        self.reactor.connectPair(one, two)
        one.write(b"x" * 200_000)
        self.reactor.turn()
        self.assertEqual(len(two.received), 0)
        self.reactor.turn()
        self.assertEqual(len(two.received), 65_536)

    def test_cancelledInTheSameTurn(self) -> None:
        """A call can be cancelled, or put off, by one that is due before it."""

        def disturb() -> None:
            second.cancel()
            third.delay(1)

        first = self.reactor.callLater(1, disturb)
        second = self.reactor.callLater(1, self.seen.append, "cancelled")
        third = self.reactor.callLater(1, self.seen.append, "put off")
        self.reactor.advance(1)
        self.assertEqual([self.seen, first.active(), third.active()], [[], False, True])
        self.reactor.advance(1)
        self.assertEqual(self.seen, ["put off"])

    def test_advanceInOrder(self) -> None:
        """A call finds the time that it was due at, though more is let pass."""
        for delay in (2.5, 1.0, 2.0):
            self.reactor.callLater(delay, lambda: self.seen.append(self.reactor.seconds()))
        self.reactor.advance(2.0)
        self.assertEqual(self.seen, [1.0, 2.0])
        self.assertEqual(self.reactor.seconds(), 2.0)
        self.reactor.pump([0.25, 0.25])
        self.assertEqual(self.seen, [1.0, 2.0, 2.5])

    def test_advanceMovesOctetsInBetween(self) -> None:
        """Octets written by a call are there before the next call is due."""
        one, two = Peer(), Peer()
        self.reactor.connectPair(one, two)
        self.reactor.callLater(1, one.write, b"hello")
        self.reactor.callLater(2, lambda: self.seen.append(bytes(two.received)))
        self.reactor.advance(5)
        self.assertEqual(self.seen, [b"hello"])

    def test_repeating(self) -> None:
        """A looping call is called each time it is due."""
        loop = LoopingCall(lambda: self.seen.append(self.reactor.seconds()))
        loop.clock = self.reactor
        loop.start(1, now=False)
        self.reactor.advance(3)
        self.assertEqual(self.seen, [1.0, 2.0, 3.0])
        loop.stop()

    def test_pump(self) -> None:
        """Without times it only settles."""
        self.reactor.callLater(0, self.seen.append, 1)
        self.reactor.pump()
        self.assertEqual([self.seen, self.reactor.seconds()], [[1], 0])

    def test_notAtRest(self) -> None:
        """Code that is busy without end is told so."""
        self.reactor.turnLimit = 50

        def again() -> None:
            self.reactor.callLater(0, again)

        again()
        with self.assertRaises(NotAtRest):
            self.reactor.advance(0)

    def test_descriptorGone(self) -> None:
        """A transport that fails while it writes loses its connection."""
        one, two = Peer(), Peer()
        transport, _ = self.reactor.connectPair(one, two)

        def failing() -> None:
            raise ZeroDivisionError

        transport.doWrite = failing  # type: ignore[method-assign] # as splices do
        one.write(b"x")
        self.reactor.advance(0)
        self.assertEqual(one.events, ["made", "ZeroDivisionError"])
        self.assertEqual(two.events, ["made", "eof"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_pausedInTheSameTurn(self) -> None:
        """A descriptor that is ready is not served after one before it has paused it."""

        class Pausing(Peer):
            def dataReceived(self, data: bytes) -> None:
                victim.pause()

        sender, pausing, victim, another = Peer(), Pausing(), Peer(), Peer()
        self.reactor.connectPair(sender, pausing)
        self.reactor.connectPair(another, victim)
        sender.write(b"x")
        another.write(b"x")
        self.reactor.advance(0)
        self.assertEqual(victim.received, b"")
        victim.resume()
        self.reactor.advance(0)
        self.assertEqual(victim.received, b"x")

    def test_threads(self) -> None:
        """Work for a thread is done in a later turn, and its result comes in another."""

        def add(one: int, two: int) -> int:
            self.seen.append("working")
            return one + two

        waiting = deferToThreadPool(self.reactor, self.reactor.getThreadPool(), add, 1, two=2)
        self.assertEqual(self.seen, [])
        self.reactor.turn()
        self.assertEqual(self.seen, ["working"])
        self.assertNoResult(waiting)
        self.reactor.turn()
        self.assertEqual(self.successResultOf(waiting), 3)

    def test_threadFails(self) -> None:
        """What is raised in a thread is a failure."""

        def fail() -> None:
            raise ZeroDivisionError

        waiting = deferToThreadPool(self.reactor, self.reactor.getThreadPool(), fail)
        self.reactor.advance(0)
        self.failureResultOf(waiting, ZeroDivisionError)

    def test_busyThreads(self) -> None:
        """Threads may all be busy."""
        self.reactor.suggestThreadPoolSize(1)
        self.reactor.getThreadPool().adjustPoolsize(0, 1)
        self.reactor.threads.stalled = True
        self.reactor.callInThread(self.seen.append, 1)
        self.reactor.threads.callInThreadWithCallback(None, self.seen.append, 2)
        self.reactor.advance(10)
        self.assertEqual(self.seen, [])
        self.reactor.threads.stalled = False
        self.reactor.advance(0)
        self.assertEqual(self.seen, [1, 2])

    def test_callFromThread(self) -> None:
        """What a thread asks for is done in the next turn."""
        self.reactor.callFromThread(self.seen.append, 1)
        self.assertEqual(self.seen, [])
        self.reactor.turn()
        self.assertEqual(self.seen, [1])
