"""
One dial of several addresses, or of one over a reactor: who begins when, and who has won.

The race knows addresses, times and failures.  How an attempt connects, what it makes of the
winner's connection and when the caller hears of it are the attempt's affair.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred

from twisted_socks5.dialing.attempts import said
from twisted_socks5.errors import DialError
from twisted_socks5.failures import mostTelling, replyFor
from twisted_socks5.wire.address import describe_host
from twisted_socks5.wire.constants import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory
    from twisted.python.failure import Failure

    from twisted_socks5.dialing.attempts import Attempt
    from twisted_socks5.dialing.dialer import HappyEyeballs
    from twisted_socks5.interfaces import IPAddress

# What becomes of those whom the deadline finds still running, or still waiting.
_TIMED_OUT = (Reply.TTL_EXPIRED, "timed out")
_NOT_TRIED = (Reply.TTL_EXPIRED, "not tried")


class Race:
    """
    One dial, until somebody has won.

    @ivar dialer: how it is to be run.
    @ivar factory: the application's.
    @ivar deadline: when it is over in any case.
    @ivar waiting: the addresses not tried yet, the next one last.
    @ivar running: the attempts that have neither connected nor failed; empty once it is over.
    @ivar latest: the attempt begun last, until it fails; its failure starts the next one at once.
    @ivar timer: while somebody runs, starts the next attempt or ends the race.
    @ivar winner: who has connected, until its protocol is handed over.
    @ivar result: what the caller of L{HappyEyeballs.dial} got.
    """

    __slots__ = (
        "attempt",
        "deadline",
        "dialer",
        "factory",
        "failures",
        "latest",
        "port",
        "result",
        "running",
        "timer",
        "waiting",
        "winner",
    )

    def __init__(
        self,
        dialer: HappyEyeballs,
        attempt: Callable[[Race, tuple[str, int]], Attempt],
        addresses: list[IPAddress],
        port: int,
        factory: IProtocolFactory,
    ) -> None:
        """
        @param dialer: how it is to be run.
        @param attempt: makes an attempt to reach an address.
        @param addresses: where to connect to, in order.
        @param port: 1 to 65535.
        @param factory: the application's.
        """
        self.dialer = dialer
        self.attempt = attempt
        self.port = port
        self.factory = factory
        self.deadline = dialer.clock.seconds() + dialer.timeout
        self.waiting = addresses[::-1]
        self.running: list[Attempt] = []
        self.latest: Attempt | None = None
        self.failures: list[tuple[tuple[str, int], Reply, str]] = []
        self.timer: IDelayedCall | None = None
        self.winner: Attempt | None = None
        self.result: Deferred[IProtocol] = Deferred(self.cancelled)

    def left(self) -> float:
        """How many seconds are left until the deadline."""
        return self.deadline - self.dialer.clock.seconds()

    def beginNext(self) -> None:
        """Try the next address, and wait: for the time of the one after it, or the deadline."""
        self.timer = None
        dialer = self.dialer
        left = self.left()
        if left <= 0:
            self.expired()
            return
        address = self.waiting.pop()
        attempt = self.latest = self.attempt(self, (describe_host(address), self.port))
        self.running.append(attempt)
        attempt.start(dialer.sources.get(address.version) if dialer.sources else None)
        if not self.running or self.timer is not None:
            return  # It is over, or this one has failed and the next one waits already.
        if self.waiting and dialer.attemptDelay < left:
            self.timer = dialer.clock.callLater(dialer.attemptDelay, self.beginNext)
        elif not attempt.timed:
            self.timer = dialer.clock.callLater(left, self.expired)

    def attemptFailed(self, attempt: Attempt, reason: Failure | BaseException) -> None:
        """Note why, and go on with the next address, unless one is on its way already."""
        self.running.remove(attempt)
        self.failures.append((attempt.destination, *replyFor(reason)))
        if attempt is self.latest:
            self.latest = None
            if self.waiting:
                self.stopTimer()
                self.beginNext()
                return
        if not self.running:
            self.lost()

    def won(self, attempt: Attempt) -> Deferred[IProtocol]:
        """
        The first has connected: end the race.

        @return: is to be fired with its protocol, or with why there is none.
        """
        self.running.remove(attempt)
        self.winner = attempt
        self.close()
        return self.result

    def expired(self) -> None:
        """The deadline has passed: whoever still runs has timed out."""
        self.failures.extend((attempt.destination, *_TIMED_OUT) for attempt in self.running)
        self.failures.extend(
            ((describe_host(address), self.port), *_NOT_TRIED)
            for address in reversed(self.waiting)
        )
        self.lost()

    def lost(self) -> None:
        """Nobody has connected: fail with the most telling failure, and each one's in words."""
        self.close()
        reply = mostTelling(reply for _, reply, _ in self.failures)
        reason = "; ".join(said(destination, text) for destination, _, text in self.failures)
        self.result.errback(DialError(reply, reason))

    def cancelled(self, _: Deferred[IProtocol]) -> None:
        """The caller has lost interest, perhaps in a connection that has just been made."""
        self.close()
        if self.winner is not None:
            self.winner.giveUp()

    def close(self) -> None:
        """Nobody starts any more, and all who run are given up."""
        self.stopTimer()
        self.latest = None
        running, self.running = self.running, []
        for attempt in running:
            attempt.giveUp()

    def stopTimer(self) -> None:
        """Leave no timer behind."""
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()
