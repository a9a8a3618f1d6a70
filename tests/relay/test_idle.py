"""Relays on which nothing moves are cut, and only those."""

from __future__ import annotations

from tests.relay.joined import Joined, JoinedTestCase
from twisted_socks5.relay import IdleWatch


class IdleTests(JoinedTestCase):
    """Deadlines of a relay, by the clock."""

    def watched(self, idle: float = 100, halfClosed: float = 20) -> tuple[Joined, IdleWatch]:
        """Make a relay that is watched, and no longer watched when it is over."""
        joined = self.join()
        watch = IdleWatch(joined.reactor, idle, halfClosed)
        outcomes = joined.outcomes

        def finished(outcome: object) -> None:
            watch.forget(joined.relay)
            outcomes.append(outcome)  # type: ignore[arg-type] # the outcome, as the relay's is

        joined.relay._finished = finished
        joined.relay.start()
        watch.watch(joined.relay)
        return joined, watch

    def test_idle(self) -> None:
        """A relay on which nothing moves for its time is reset, not much later than that."""
        joined, _ = self.watched()
        joined.client.write(b"question")
        joined.reactor.advance(99)
        self.assertRunning(joined)
        joined.reactor.advance(31)
        self.assertTrue(joined.client.wasReset and joined.target.wasReset)
        self.assertOver(joined, 8, 0, "idle for 100 s")

    def test_busyFromClient(self) -> None:
        """A relay on which something moves now and then goes on."""
        joined, _ = self.watched()
        for _ in range(20):
            joined.reactor.advance(70)
            joined.client.write(b"x")
        self.assertRunning(joined)
        joined.client.abort()
        joined.settle()
        self.assertOver(joined, 19, 0, "client reset")

    def test_busyFromTarget(self) -> None:
        """Either direction counts."""
        joined, _ = self.watched()
        for _ in range(20):
            joined.reactor.advance(70)
            joined.target.write(b"x")
        self.assertRunning(joined)

    def test_halfClosed(self) -> None:
        """A relay of which one direction has ended has its own, shorter, time."""
        joined, _ = self.watched()
        joined.reactor.advance(60)
        joined.client.loseWrite()
        joined.reactor.advance(70)
        self.assertEqual([each.reason for each in joined.outcomes], ["half-closed for 20 s"])
        self.assertTrue(joined.client.wasReset)
        joined.target.write(b"finds out")
        joined.settle()
        self.assertNothingLeft(joined)

    def test_busyHalfClosed(self) -> None:
        """A long answer to a client that has sent its FIN is not cut."""
        joined, _ = self.watched()
        joined.client.loseWrite()
        for _ in range(30):
            joined.target.write(b"more")
            joined.reactor.advance(15)
        self.assertRunning(joined)
        joined.target.loseWrite()
        joined.settle()
        self.assertOver(joined, 0, 120, "client closed")

    def test_pausedReset(self) -> None:
        """A reset that back-pressure hides does not keep a relay for ever."""
        joined, _ = self.watched()
        joined.client.pause()
        joined.target.write(b"x" * 1_000_000)
        joined.settle()
        joined.target.abort()
        joined.settle()
        self.assertRunning(joined)
        joined.reactor.advance(200)
        joined.client.resume()
        joined.settle()
        self.assertTrue(joined.client.wasReset)
        self.assertEqual([each.reason for each in joined.outcomes], ["idle for 100 s"])
        self.assertNothingLeft(joined)

    def test_forEver(self) -> None:
        """With no times a relay may be idle for ever, and nothing is scheduled."""
        joined, watch = self.watched(0, 0)
        self.assertEqual(joined.reactor.getDelayedCalls(), [])
        joined.client.loseWrite()
        joined.reactor.advance(1_000_000)
        self.assertRunning(joined)
        watch.stop()

    def test_onlyHalfClosedLimited(self) -> None:
        """A relay may be idle for ever as long as both directions are open."""
        joined, _ = self.watched(0, 20)
        joined.reactor.advance(10_000)
        self.assertRunning(joined)
        joined.target.loseWrite()
        joined.reactor.advance(40)
        self.assertEqual([each.reason for each in joined.outcomes], ["half-closed for 20 s"])

    def test_stop(self) -> None:
        """A watch that is stopped leaves the relays alone, and nothing scheduled."""
        joined, watch = self.watched()
        watch.stop()
        self.assertEqual(joined.reactor.getDelayedCalls(), [])
        joined.reactor.advance(1000)
        self.assertRunning(joined)
