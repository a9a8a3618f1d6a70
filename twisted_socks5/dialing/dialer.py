"""The dialer: what an application sets once, and the choice of how each dial is run."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IProtocol, IReactorTCP, IReactorTime
from zope.interface import implementer

from twisted_socks5.dialing.order import inOrder
from twisted_socks5.dialing.race import Race
from twisted_socks5.dialing.reactor import ReactorAttempt
from twisted_socks5.dialing.streams import StreamAttempt, StreamDial
from twisted_socks5.errors import DialError
from twisted_socks5.interfaces import IDialer, IPAddress
from twisted_socks5.streams import StreamTCP
from twisted_socks5.wire.address import describe_host
from twisted_socks5.wire.constants import Reply

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProtocolFactory

    from twisted_socks5.dialing.attempts import Attempt
    from twisted_socks5.streams import Watch


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
        self._watch: Watch | None = None
        self._attempt: Callable[[Race, tuple[str, int]], Attempt]
        if isinstance(reactor, StreamTCP):
            self._watch = reactor.watch
            self._attempt = partial(StreamAttempt, reactor.watch)
        else:
            self._attempt = partial(ReactorAttempt, reactor)

    def dial(
        self, addresses: Sequence[IPAddress], port: int, factory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """
        Connect to one of C{addresses}.

        @param addresses: in order of preference; of a long list the first L{MAX_ATTEMPTS
            <twisted_socks5.dialing.order.MAX_ATTEMPTS>} that result from letting the families
            take turns.
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
        if len(addresses) == 1 and self._watch is not None:
            address = addresses[0]
            single = StreamDial(self._watch, (describe_host(address), port), factory)
            single.start(self.sources.get(address.version) if self.sources else None, self.timeout)
            outcome = single.outcome
            if outcome is None:
                result = single.result = Deferred(single.giveUp)
                return result
            return fail(outcome) if isinstance(outcome, DialError) else succeed(outcome)
        race = Race(self, self._attempt, inOrder(addresses), port, factory)
        race.beginNext()
        return race.result
