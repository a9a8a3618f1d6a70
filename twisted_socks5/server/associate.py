"""
UDP ASSOCIATE (RFC 1928, sections 4 and 7): a port for the client's datagrams, for as long as the
control connection stands.

The port is bound to the address that the client has reached us by, and the reply names that one,
or the one that the operator says leads to it from outside.  What the client puts in DST is a hint
where it sends from, not a destination, and no rule is asked about it: the rules judge each
datagram's target.
"""

from __future__ import annotations

from random import Random, SystemRandom
from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError

from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.failures import replyFor
from twisted_socks5.relay.udp import UDPRelay
from twisted_socks5.server.bound import named, own, portsFrom
from twisted_socks5.server.clientend import ClientEnd
from twisted_socks5.server.datagrams import RuledAddressing
from twisted_socks5.server.encapsulated import EncapsulatedAddressing, EncapsulatedRelay
from twisted_socks5.server.routes import Routes
from twisted_socks5.server.verdicts import Verdicts
from twisted_socks5.wire import Address

if TYPE_CHECKING:
    from twisted_socks5.server.session import SOCKS5ServerProtocol
    from twisted_socks5.wire import Request

#: Looks at an association within the time it may be idle: it ends after that and at most two
#: looks more.
LOOKS = 4


class Associate:
    """One UDP ASSOCIATE: an L{Undertaking<twisted_socks5.server.session.Undertaking>}."""

    #: Chooses ports.
    random: Random = SystemRandom()

    def __init__(self, session: SOCKS5ServerProtocol, request: Request) -> None:
        """
        @param session: whose request it is.
        @param request: the request.
        """
        server = session.server
        settings = server.settings
        self._session = session
        self._over = False
        self._seen = 0
        self._quietSince = server.clock.seconds()
        user = session.avatar.name if session.avatar is not None else None
        verdicts = Verdicts(session.rules, session.client, user, settings.udp_filtering)
        client = ClientEnd(session.client, request.destination)
        self._relay, self._addressing = self.built(client, verdicts)
        self._relay.addressing = self._addressing

    def built(self, client: ClientEnd, verdicts: Verdicts) -> tuple[UDPRelay, RuledAddressing]:
        """Make what relays, and what decides about it."""
        server = self._session.server
        reactor = server.datagrams
        sources = server.dialer.sources if isinstance(server.dialer, HappyEyeballs) else {}
        ways = {version: source[0] for version, source in sources.items()}
        encapsulation = self._session.encapsulation
        lookup, clock = server.lookup, server.clock
        if encapsulation is None:
            relay = UDPRelay(reactor, ways, self._lost)
            routes = Routes(relay, verdicts, lookup, clock)
            return relay, RuledAddressing(relay, client, routes, verdicts, clock)
        sealed = EncapsulatedRelay(reactor, ways, self._lost, encapsulation)
        routes = Routes(sealed, verdicts, lookup, clock)
        return sealed, EncapsulatedAddressing(
            encapsulation, sealed, client, routes, verdicts, clock
        )

    def start(self) -> None:
        """Bind a port, and tell the client which."""
        session, settings = self._session, self._session.server.settings
        address, interface = own(session.transport.getHost())
        ports = (0,) if settings.udp_ports is None else portsFrom(settings.udp_ports, self.random)
        try:
            port = self._relay.open(interface, ports)[1]
        except CannotListenError as error:
            reply, reason = replyFor(error)
            session.refuse(reply, f"no port for datagrams on {address}: {reason}")
            return
        session.associate(Address(named(address, settings.advertised), port))
        session.server.associations.add(self)

    def clientEnded(self) -> None:
        """The client's FIN is the association's end (RFC 1928, section 7)."""
        self._end()
        self._session.finish("client closed")

    def drain(self, reason: str) -> None:
        """Go on, until the drain is over."""

    def cancel(self) -> None:
        """The control connection is gone: so is the association."""
        self._end()
        drops = self._relay.drops
        if drops:
            counts = ", ".join(f"{count} {why}" for why, count in drops.most_common())
            self._session.record.reason += f"; dropped: {counts}"

    def look(self) -> None:
        """See whether any datagram has passed lately."""
        server = self._session.server
        now, allowed = server.clock.seconds(), server.settings.association_timeout
        if self._relay.datagrams != self._seen:
            self._seen = self._relay.datagrams
            self._quietSince = now
        elif now - self._quietSince >= allowed:
            self._end()
            self._session.finish(f"no datagram for {allowed:g} s")
            return
        server.associations.add(self)

    def _lost(self) -> None:
        """The socket that the client knows is gone; no other can stand in for it."""
        self._end()
        self._session.finish("the socket for its datagrams was lost")

    def _end(self) -> None:
        """Leave nothing open, and write down what has passed and what has not."""
        if self._over:
            return
        self._over = True
        relay, record = self._relay, self._session.record
        self._session.server.associations.discard(self)
        self._addressing.close()
        relay.close()
        record.sent, record.received = relay.sent, relay.received
