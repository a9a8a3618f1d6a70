"""
Reaching a target: from permitted addresses to one connected protocol (RFC 8305).

A dial is a race.  Addresses are tried one after the other, the families taking turns; the next
starts 250 ms after the one before, or at once when that one has failed.  The first to connect
wins and all others are abandoned in the same breath, so only the winner's protocol is ever
built, and it sits on the reactor's own transport with nothing between them.  What is left of
the deadline is each attempt's time-out, so an attempt costs the timer that C{connectTCP} has
anyway, and a dial of a single address no other.  Over streams a single address is no race at all.

No names here (they are L{resolving<twisted_socks5.resolving>}'s), no rules, and nothing of who
asked.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import ip_address
from itertools import chain, zip_longest
from typing import TYPE_CHECKING, Any

from twisted.internet import error
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, IReactorTCP, IReactorTime, ITCPTransport
from twisted.internet.protocol import ClientFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.errors import DialError
from twisted_socks5.failures import mostTelling, replyFor
from twisted_socks5.interfaces import IDialer, IPAddress
from twisted_socks5.streams import StreamTCP
from twisted_socks5.streams.connecting import Connecting, named
from twisted_socks5.wire.address import describe_host
from twisted_socks5.wire.constants import Reply

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IAddress,
        IConnector,
        IDelayedCall,
        IProtocolFactory,
    )

    from twisted_socks5.streams import Watch

__all__ = ["MAX_ATTEMPTS", "HappyEyeballs", "replyFor"]

MAX_ATTEMPTS = 16
"""
The addresses one dial tries at most.  A name may have hundreds, and each is a packet and a
descriptor that a client has us spend; 16, 250 ms apart, take a fifth of the deadline.
"""

_log = Logger()

# What becomes of those whom the deadline finds still running, or still waiting.
_TIMED_OUT = (Reply.TTL_EXPIRED, "timed out")
_NOT_TRIED = (Reply.TTL_EXPIRED, "not tried")


def _inOrder(addresses: Sequence[IPAddress]) -> list[IPAddress]:
    """
    The addresses to try: each once, the families taking turns, that of the first first
    (RFC 8305, section 4, with a First Address Family Count of 1).
    """
    if len(addresses) < 2:
        return list(addresses)
    once = dict.fromkeys(addresses)
    first = addresses[0].version
    preferred = [address for address in once if address.version == first]
    others = [address for address in once if address.version != first]
    turns = chain.from_iterable(zip_longest(preferred, others))
    return [address for address in turns if address is not None][:MAX_ATTEMPTS]


def _said(address: IPAddress, port: int, text: str) -> str:
    """Say what became of an address."""
    return f"[{address}]:{port} {text}" if address.version == 6 else f"{address}:{port} {text}"


def _built(factory: IProtocolFactory, peer: IAddress) -> IProtocol | None:
    """Have the application's factory build the protocol."""
    try:
        return factory.buildProtocol(peer)
    except Exception:
        _log.failure("The factory could not build a protocol for {peer}", peer=str(peer))
        return None


def _noProtocol() -> DialError:
    return DialError(Reply.GENERAL_FAILURE, "connected, but the factory gave no protocol")


class _Single(Connecting):
    """
    A dial of one address over streams: nobody to race with, and no turn to wait for.

    @ivar protocol: the application's, once it was built, unless it is not wanted any more.
    @ivar result: what the caller of L{HappyEyeballs.dial} waits for; L{None} if that is nothing.
    """

    __slots__ = ("factory", "protocol", "result", "wanted")

    def __init__(self, watch: Watch, destination: tuple[str, int], factory: IProtocolFactory):
        super().__init__(watch, destination)
        self.factory = factory
        self.protocol: IProtocol | None = None
        self.result: Deferred[IProtocol] | None = None
        self.wanted = True

    def dial(self, timeout: float, source: tuple[str, int] | None) -> Deferred[IProtocol]:
        """Ask the kernel to connect; see L{HappyEyeballs.dial}."""
        self.factory.doStart()
        self.begin(timeout, source)
        if self.pending:
            self.result = Deferred(self.cancelled)
            return self.result
        return fail(_noProtocol()) if self.protocol is None else succeed(self.protocol)

    def connected(self) -> None:
        """The first and only one has won."""
        self.protocol = _built(self.factory, named(self.destination))
        if self.protocol is not None and self.wanted:
            try:
                self.take(self.protocol)
            except Exception:
                _log.failure("The protocol could not take its connection")
                self._abort()
        # Deferred and canceller know each other: nothing waits for the garbage collector.
        result, self.result = self.result, None
        if result is None:
            return  # Nobody waits yet, or any more.
        if self.protocol is None:
            result.errback(_noProtocol())
        else:
            result.callback(self.protocol)

    def failed(self, reason: Exception) -> None:
        """So has the dial."""
        result, self.result = self.result, None
        reply, text = replyFor(reason)
        host, port = self.destination
        self.factory.doStop()
        if result is not None:
            result.errback(DialError(reply, _said(ip_address(host), port, text)))

    def cancelled(self, _: Deferred[IProtocol]) -> None:
        """The caller has lost interest, perhaps in a connection that has just been made."""
        self.result = None
        self.wanted = False
        if self.pending:
            self.abandon()
            self.factory.doStop()
        self._abort()

    def _abort(self) -> None:
        self.protocol = None
        if self.stream is not None:
            # Not loseConnection, which would wait for a target that does not read.
            self.stream.abortConnection()


class _Attempt(ClientFactory):
    """
    One address being tried: what C{connectTCP} tells of it goes to the race while there is one.

    It lives as long as its connection does, so it lets go of the race as soon as it may.

    @ivar race: L{None} once this attempt has connected, failed or been abandoned.
    @ivar connector: what ends it; L{None} while C{connectTCP} runs, and once it has failed or
        been abandoned: the connector holds this attempt, and cycles wait for the collector.
    """

    noisy = False

    def __init__(self, race: _Race, address: IPAddress) -> None:
        self.race: _Race | None = race
        self.address = address
        self.factory = race.factory
        self.connector: IConnector | None = None

    def doStart(self) -> None:
        """Count the connector with the application's factory (IProtocolFactory)."""
        self.factory.doStart()

    def doStop(self) -> None:
        """Take the connector from the count of the application's factory."""
        self.factory.doStop()

    # Any, since ClientFactory wants protocols with an attribute "factory"; IProtocol has none.
    def buildProtocol(self, addr: Any) -> Any:
        """Connected: ask the race; L{None} has the transport close at once."""
        race, self.race = self.race, None
        return None if race is None else race.attemptConnected(self, addr)

    def clientConnectionFailed(self, _: IConnector, reason: Failure) -> None:
        """Not connected: the reactor says so, sooner or later."""
        self.failed(reason)

    def failed(self, reason: Failure) -> None:
        """Tell the race, unless it was the race that ended the attempt."""
        race, self.race, self.connector = self.race, None, None
        if race is not None:
            race.attemptFailed(self, reason)

    def abandon(self) -> None:
        """End this attempt whatever its state is; nothing more is heard of it."""
        connector, self.race, self.connector = self.connector, None, None
        if connector is not None:
            connector.disconnect()


class _Race:
    """
    One dial.

    It goes through three stages: racing (C{running} and C{waiting} say who), won (C{protocol}
    is set; the Deferred fires in the next turn, when connectionMade has run), and over.

    @ivar waiting: the addresses not tried yet, the next one last.
    @ivar running: the attempts that have neither connected nor failed.
    @ivar latest: the attempt begun last; its failure starts the next one at once.
    @ivar timer: while racing, starts the next attempt; when won, fires C{result}.
    @ivar result: what the caller of L{HappyEyeballs.dial} got.
    """

    def __init__(
        self,
        dialer: HappyEyeballs,
        addresses: list[IPAddress],
        port: int,
        factory: IProtocolFactory,
    ) -> None:
        self.dialer = dialer
        self.port = port
        self.factory = factory
        self.deadline = dialer.clock.seconds() + dialer.timeout
        self.waiting = addresses[::-1]
        self.running: list[_Attempt] = []
        self.latest: _Attempt | None = None
        self.failures: list[tuple[IPAddress, Reply, str]] = []
        self.timer: IDelayedCall | None = None
        self.winner: _Attempt | None = None
        self.protocol: IProtocol | None = None
        self.result: Deferred[IProtocol] = Deferred(self.cancelled)

    # Racing

    def beginNext(self) -> None:
        """Try the next address, and set the timer for the one after it."""
        self.timer = None
        dialer = self.dialer
        left = self.deadline - dialer.clock.seconds()
        if left <= 0:
            self.expired()
            return
        address = self.waiting.pop()
        if self.waiting:
            self.timer = dialer.clock.callLater(dialer.attemptDelay, self.beginNext)
        attempt = self.latest = _Attempt(self, address)
        self.running.append(attempt)
        try:
            connector = dialer.reactor.connectTCP(
                str(address), self.port, attempt, left, dialer.sources.get(address.version)
            )
        except Exception as exception:
            # Errors of the system come later, by clientConnectionFailed; but for a zone that
            # does not exist, this is not the network's fault.
            if not isinstance(exception, OSError):
                _log.failure("Could not begin to connect to {address}", address=str(address))
            attempt.failed(Failure())
            return
        if attempt.race is self or attempt is self.winner:
            attempt.connector = connector
        else:
            # It failed, or the race ended, before there was a connector to stop.
            connector.disconnect()

    def attemptFailed(self, attempt: _Attempt, reason: Failure) -> None:
        """Note why, and go on with the next address, unless one is on its way already."""
        self.running.remove(attempt)
        self.failures.append((attempt.address, *replyFor(reason)))
        if reason.check(error.TimeoutError):
            # Its time-out is the deadline's, so that of all others is over too.
            self.expired()
        elif self.waiting:
            if attempt is self.latest:
                self.stopTimer()
                self.beginNext()
        elif not self.running:
            self.lost()

    def expired(self) -> None:
        """The deadline has passed: whoever still runs has timed out."""
        self.failures.extend((attempt.address, *_TIMED_OUT) for attempt in self.running)
        self.failures.extend((address, *_NOT_TRIED) for address in reversed(self.waiting))
        self.close()
        self.lost()

    def lost(self) -> None:
        """Nobody has connected: fail with the most telling failure, and each one's in words."""
        reply = mostTelling(reply for _, reply, _ in self.failures)
        reason = "; ".join(_said(address, self.port, text) for address, _, text in self.failures)
        self.result.errback(DialError(reply, reason))

    # Won

    def attemptConnected(self, attempt: _Attempt, peer: IAddress) -> IProtocol | None:
        """The first to connect: end the race, and only then build the protocol."""
        self.running.remove(attempt)
        self.winner = attempt
        self.close()
        protocol = _built(self.factory, peer)
        if self.result.called:
            return None  # buildProtocol cancelled the dial
        if protocol is None:
            self.result.errback(_noProtocol())
            return None
        self.protocol = protocol
        self.timer = self.dialer.clock.callLater(0, self.fire, protocol)
        return protocol

    def fire(self, protocol: IProtocol) -> None:
        """connectionMade has run: hand the protocol over."""
        self.timer = None
        if self.winner is not None:
            # The connector holds the attempt: cut the circle, nothing waits for the collector.
            self.winner.connector = None
        self.result.callback(protocol)

    # Over

    def stopTimer(self) -> None:
        """Leave no timer behind."""
        if self.timer is not None:
            self.timer.cancel()
            self.timer = None

    def close(self) -> None:
        """End the race: nobody starts any more, and all who run are abandoned."""
        self.stopTimer()
        running, self.running = self.running, []
        for attempt in running:
            attempt.abandon()

    def cancelled(self, _: Deferred[IProtocol]) -> None:
        """The caller has lost interest, perhaps in a connection that has just been made."""
        self.close()
        if self.protocol is None or self.winner is None:
            return
        transport = getattr(self.protocol, "transport", None)
        if ITCPTransport.providedBy(transport):
            # Not loseConnection, which would wait for a target that does not read.
            transport.abortConnection()
        else:
            self.winner.abandon()


@implementer(IDialer)
class HappyEyeballs:
    """
    Dials TCP as RFC 8305 has it: quickly, even where one address family leads nowhere.

    @ivar reactor: connects.
    @ivar clock: tells the time.
    @ivar timeout: seconds for a whole dial, whatever the number of addresses.
    @ivar attemptDelay: seconds between the beginnings of two attempts (RFC 8305, section 5,
        "Connection Attempt Delay").
    @ivar sources: by IP version, the C{(address, port)} to connect from.
    """

    def __init__(
        self,
        reactor: IReactorTCP | StreamTCP,
        clock: IReactorTime,
        *,
        timeout: float = 20.0,
        attemptDelay: float = 0.25,
        bindAddress: Sequence[IPAddress] = (),
    ) -> None:
        """
        @param bindAddress: the addresses to connect from: at most one for each family.  A
            family without one leaves the choice to the system.

        @raise ValueError: if there are two of one family.
        """
        self.reactor = reactor
        self.clock = clock
        self.timeout = timeout
        self.attemptDelay = attemptDelay
        self.sources: dict[int, tuple[str, int]] = {}
        for address in bindAddress:
            if address.version in self.sources:
                raise ValueError(f"more than one IPv{address.version} address to connect from")
            self.sources[address.version] = (str(address), 0)

    def dial(
        self, addresses: Sequence[IPAddress], port: int, factory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """
        Connect to one of C{addresses}.

        @param addresses: in order of preference; of a long list the first L{MAX_ATTEMPTS}
            that result from letting the families take turns.
        @param port: 1 to 65535.
        @param factory: its C{buildProtocol} is called for the one connection that is made.

        @return: fires with the connected protocol once its connectionMade has run.  Fails with
            L{DialError}, whose reason names each address and what became of it; a port 0,
            no addresses, and a factory that builds no protocol count as failures too.
            Cancelling it abandons all attempts, and the connection that has just been made.
        """
        if not 0 < port < 65536:
            return fail(DialError(Reply.GENERAL_FAILURE, f"port {port} cannot be connected to"))
        if not addresses:
            return fail(DialError(Reply.GENERAL_FAILURE, "no address to connect to"))
        if len(addresses) == 1 and isinstance(self.reactor, StreamTCP):
            address = addresses[0]
            source = self.sources.get(address.version) if self.sources else None
            single = _Single(self.reactor.watch, (describe_host(address), port), factory)
            return single.dial(self.timeout, source)
        race = _Race(self, _inOrder(addresses), port, factory)
        race.beginNext()
        return race.result
