"""
Attempts over a reactor's C{connectTCP}, for reactors that watch no descriptors, and for any
other L{IReactorTCP<twisted.internet.interfaces.IReactorTCP>}.

Here a protocol is connected only after its factory has built it, when nobody asks the factory
any more; so the dial's result comes in the next turn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.interfaces import IReactorTCP, ITCPTransport
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_socks5.dialing.attempts import built, noProtocol

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IConnector, IDelayedCall, IProtocol

    from twisted_socks5.dialing.race import Race

_log = Logger()


class ReactorAttempt(ClientFactory):
    """
    One address being tried: an L{Attempt<twisted_socks5.dialing.attempts.Attempt>}.

    It lives as long as its connection does, so it lets go of all others as soon as it may.

    @ivar race: L{None} once this attempt has connected, failed or been given up.
    @ivar connector: what ends it; L{None} while C{connectTCP} runs, and once that is not for us
        to do any more: the connector holds this attempt, and cycles wait for the collector.
    @ivar made: the application's protocol, once it is built and until the dial's result fires.
    @ivar timer: fires that result.
    """

    noisy = False
    timed = True

    def __init__(self, reactor: IReactorTCP, race: Race, destination: tuple[str, int]) -> None:
        """
        @param reactor: connects.
        @param race: is told what comes of it.
        @param destination: an IPv4 or IPv6 address, and a port.
        """
        self.reactor = reactor
        self.race: Race | None = race
        self.destination = destination
        self.factory = race.factory
        # connectTCP sets a timer anyway, which may as well be of use.
        self.timeout = race.left()
        self.connector: IConnector | None = None
        self.made: IProtocol | None = None
        self.timer: IDelayedCall | None = None

    def start(self, source: tuple[str, int] | None) -> None:
        """Ask the reactor to connect; see L{Attempt.start}."""
        host, port = self.destination
        try:
            connector = self.reactor.connectTCP(host, port, self, self.timeout, source)
        except Exception as exception:
            # Errors of the system come later, by clientConnectionFailed; but for a zone that
            # does not exist, this is not the network's fault.
            if not isinstance(exception, OSError):
                _log.failure("Could not begin to connect to {address}", address=host)
            self.failed(Failure())
            return
        if self.race is None and self.timer is None:
            # It failed, or the race ended, before there was a connector to stop.
            connector.disconnect()
        else:
            self.connector = connector

    def giveUp(self) -> None:
        """See L{Attempt.giveUp}."""
        connector, self.connector, self.race = self.connector, None, None
        protocol, self.made = self.made, None
        timer, self.timer = self.timer, None
        if timer is not None:
            timer.cancel()
            transport = getattr(protocol, "transport", None)
            if ITCPTransport.providedBy(transport):
                # Not loseConnection, which would wait for a target that does not read.
                transport.abortConnection()
                return
        if connector is not None:
            connector.disconnect()

    def failed(self, reason: Failure) -> None:
        """Tell the race, unless it was the race that ended the attempt."""
        race, self.race, self.connector = self.race, None, None
        if race is None:
            return
        if reason.check(error.TimeoutError):
            # It had what was left until the deadline, as have all others.
            race.expired()
        else:
            race.attemptFailed(self, reason)

    # What the reactor asks.

    def doStart(self) -> None:
        """Count the connector with the application's factory (IProtocolFactory)."""
        self.factory.doStart()

    def doStop(self) -> None:
        """Take the connector from the count of the application's factory."""
        self.factory.doStop()

    def clientConnectionFailed(self, _: IConnector, reason: Failure) -> None:
        """Not connected: the reactor says so, sooner or later."""
        self.failed(reason)

    # Any, since ClientFactory wants protocols with an attribute "factory"; IProtocol has none.
    def buildProtocol(self, addr: Any) -> Any:
        """Connected: end the race; L{None} has the transport close at once."""
        race, self.race = self.race, None
        if race is None:
            return None
        result = race.won(self)
        protocol = built(self.factory, addr)
        if result.called:
            return None  # buildProtocol cancelled the dial.
        if protocol is None:
            result.errback(noProtocol())
            return None
        self.made = protocol
        self.timer = race.dialer.clock.callLater(0, self.fire, result, protocol)
        return protocol

    def fire(self, result: Deferred[IProtocol], protocol: IProtocol) -> None:
        """connectionMade has run: hand the protocol over."""
        self.timer = self.connector = self.made = None
        result.callback(protocol)
