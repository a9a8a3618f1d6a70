"""
Attempts over streams: the object that waits for the socket is the attempt.

What the kernel says goes straight to whoever waits.  There is no factory, connector or turn of
the reactor between: a failure that is known at once has the next address begin at once, and the
dial has its result as soon as connectionMade has run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_socks5.dialing.attempts import built, noProtocol, said
from twisted_socks5.errors import DialError
from twisted_socks5.failures import replyFor
from twisted_socks5.streams.connecting import Connecting, named

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocol, IProtocolFactory

    from twisted_socks5.dialing.race import Race
    from twisted_socks5.streams import Watch

_log = Logger()


class StreamDial(Connecting):
    """
    A dial of one address: nobody to race with.

    @ivar outcome: the application's protocol, or why there is none; L{None} until one is known.
    @ivar result: what the caller of L{HappyEyeballs.dial} waits for; L{None} if that is nothing.
    """

    __slots__ = ("factory", "outcome", "result", "wanted")

    def __init__(
        self, watch: Watch, destination: tuple[str, int], factory: IProtocolFactory
    ) -> None:
        """
        @param watch: tells when the socket is ready.
        @param destination: an IPv4 or IPv6 address, and a port.
        @param factory: the application's.
        """
        super().__init__(watch, destination)
        self.factory = factory
        self.outcome: IProtocol | DialError | None = None
        self.result: Deferred[IProtocol] | None = None
        self.wanted = True

    def start(self, source: tuple[str, int] | None, timeout: float | None = None) -> None:
        """
        Ask the kernel to connect; the outcome may be there when this returns.

        @param source: where from; L{None} leaves that to the system.
        @param timeout: in seconds; L{None} if others see to that.
        """
        try:
            self.factory.doStart()
        except Exception as exception:
            _log.failure("The factory could not start")
            if self.pending:
                self.abandon()
                self.notConnected(exception)
            return
        if self.pending:  # doStart has not cancelled the dial.
            trouble = self.begin(timeout, source)
            if trouble is not None:
                self.abandon()
                self.failed(trouble)

    def connected(self) -> None:
        """Build the protocol, connect it, and hand it over."""
        protocol = built(self.factory, named(self.destination))
        if protocol is not None and self.wanted:
            try:
                self.take(protocol)
            except Exception:
                _log.failure("The protocol could not take its connection")
                self._abort()
                protocol = None
        outcome = self.outcome = noProtocol() if protocol is None else protocol
        if self.result is not None:
            self._tell(self.result, outcome)

    def failed(self, reason: Exception) -> None:
        """So has the dial."""
        self.factory.doStop()
        self.notConnected(reason)

    def notConnected(self, reason: Exception) -> None:
        """There is no other address."""
        reply, text = replyFor(reason)
        outcome = self.outcome = DialError(reply, said(self.destination, text))
        if self.result is not None:
            self._tell(self.result, outcome)

    def giveUp(self, _: object = None) -> None:
        """
        The caller has lost interest, perhaps in a connection that has just been made.

        @param _: the Deferred that was cancelled.
        """
        self.result = None
        self.wanted = False
        if self.pending:
            self.abandon()
            self.factory.doStop()
        self._abort()

    def _tell(self, result: Deferred[IProtocol], outcome: IProtocol | DialError) -> None:
        # Deferred and canceller know each other: nothing waits for the garbage collector.
        self.result = None
        if isinstance(outcome, DialError):
            result.errback(outcome)
        else:
            result.callback(outcome)

    def _abort(self) -> None:
        if self.stream is not None:
            # Not loseConnection, which would wait for a target that does not read.
            self.stream.abortConnection()


class StreamAttempt(StreamDial):
    """One address of several: an L{Attempt<twisted_socks5.dialing.attempts.Attempt>}."""

    __slots__ = ("race",)

    timed = False

    def __init__(self, watch: Watch, race: Race, destination: tuple[str, int]) -> None:
        """
        @param watch: tells when the socket is ready.
        @param race: is told what comes of it.
        @param destination: an IPv4 or IPv6 address, and a port.
        """
        super().__init__(watch, destination, race.factory)
        self.race = race

    def connected(self) -> None:
        """End the race; the rest is as if there had been none."""
        race = self.race
        self.result = race.won(self)
        super().connected()
        # They know each other, too.
        race.winner = None

    def notConnected(self, reason: Exception) -> None:
        """There may be another address."""
        self.race.attemptFailed(self, reason)
