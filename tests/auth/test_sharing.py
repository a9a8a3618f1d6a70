"""Tests of one answer for several."""

from __future__ import annotations

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.auth.sharing import Shared


class SharedTests(SynchronousTestCase):
    """Several wait for one."""

    def setUp(self) -> None:
        """Begin something."""
        self.overs = 0
        self.cancelled = 0
        self.done: Deferred[int] = Deferred(self.cancel)
        self.shared: Shared[int] = Shared(self.over)

    def over(self) -> None:
        """Count the ends."""
        self.overs += 1

    def cancel(self, _: object) -> None:
        """Count the cancellations."""
        self.cancelled += 1

    def test_all(self) -> None:
        """All get it, when it is there, and nobody may join behind that."""
        self.shared.begin(self.done)
        joined = [self.shared.join() for _ in range(3)]
        self.assertNoResult(joined[0])
        self.done.callback(5)
        self.assertEqual([self.successResultOf(each) for each in joined], [5, 5, 5])
        self.assertEqual(self.overs, 1)

    def test_failure(self) -> None:
        """All get the failure."""
        self.shared.begin(self.done)
        joined = [self.shared.join() for _ in range(2)]
        self.done.errback(ZeroDivisionError())
        for each in joined:
            self.failureResultOf(each, ZeroDivisionError)

    def test_atOnce(self) -> None:
        """What is there before anybody joins is not lost."""
        self.shared.begin(succeed(5))
        self.assertEqual(self.successResultOf(self.shared.join()), 5)
        other: Shared[int] = Shared(self.over)
        other.begin(fail(ZeroDivisionError()))
        self.failureResultOf(other.join(), ZeroDivisionError)
        self.assertEqual(self.overs, 2)

    def test_leave(self) -> None:
        """One who leaves is nobody's loss; the last calls it off."""
        self.shared.begin(self.done)
        first, second = self.shared.join(), self.shared.join()
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual((self.cancelled, self.overs), (0, 0))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual((self.cancelled, self.overs), (1, 1))

    def test_leaveWhileTold(self) -> None:
        """One may leave when another is told."""
        self.shared.begin(self.done)
        first, second = self.shared.join(), self.shared.join()
        first.addCallback(lambda _: second.cancel())
        self.done.callback(5)
        self.successResultOf(first)
        second.addErrback(lambda failure: failure.trap(CancelledError))
        self.successResultOf(second)
