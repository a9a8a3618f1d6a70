"""
UDP ASSOCIATE of a server that is not the last one: for each association one of the next proxy's.

Outward, a datagram is looked at as ever: whose it is, whether it is whole, and what the rules say
of its target.  Then it goes to the next proxy's relay, with a header in the one spelling that was
judged; a name stays a name.  Inward, only what comes from that relay counts, and its source, as
the header says it, is judged.

The client's side and the next proxy's may each be encapsulated (RFC 1961), by contexts of their
own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.error import CannotListenError

from twisted_socks5.failures import replyFor
from twisted_socks5.relay.legs import TOO_LARGE, DatagramLeg
from twisted_socks5.relay.udp import UDPRelay
from twisted_socks5.security import ContextError
from twisted_socks5.server.associate import Associate
from twisted_socks5.server.datagrams import MALFORMED, NO_CLIENT, RuledAddressing
from twisted_socks5.server.encapsulated import (
    BAD_TOKEN,
    NO_CONTEXT,
    EncapsulatedAddressing,
    EncapsulatedRelay,
)
from twisted_socks5.server.forwardroutes import FAR, Answers, ForwardRoute, ForwardRoutes
from twisted_socks5.server.verdicts import FORBIDDEN_SOURCE
from twisted_socks5.wire import DatagramError, Reply, parse_header

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorUDP

    from twisted_socks5.interfaces import IFarAssociation
    from twisted_socks5.relay.udp import Endpoint, Route
    from twisted_socks5.server.clientend import ClientEnd
    from twisted_socks5.server.session import SOCKS5ServerProtocol
    from twisted_socks5.server.verdicts import Verdicts
    from twisted_socks5.streams import DatagramUDP
    from twisted_socks5.streams.datagrams import Buffer
    from twisted_socks5.streams.receiving import Alike, Run
    from twisted_socks5.wire import Request

# Why a datagram was dropped, as the count names it.
NOT_THE_PROXY = "not from the next proxy"
FRAGMENTED = "fragments from the next proxy"


class FarLeg(DatagramLeg):
    """The socket that the next proxy sees."""

    def __init__(
        self,
        relay: UDPRelay,
        lost: Callable[[], object],
        far: IFarAssociation,
        client: ClientEnd,
        answers: Answers,
    ) -> None:
        """
        @param relay: the relay.
        @param lost: called if the socket goes without having been closed.
        @param far: the next proxy's association.
        @param client: whose the answers are.
        @param answers: judges them.
        """
        super().__init__(relay, lost)
        self._far = far
        self._address = far.address
        self._protected = far.protected
        self._answersFor = client
        self._answers = answers

    def send(self, datagram: bytes, address: Endpoint) -> str:
        """Send a datagram to the next proxy; whom it is for stands in its header."""
        if self._protected:
            try:
                datagram = self._far.wrap(datagram)
            except DatagramError:
                return TOO_LARGE
            except ContextError:
                return NO_CONTEXT
        return super().send(datagram, self._address)

    def sendTrain(self, parts: Sequence[Buffer], length: int, address: Endpoint) -> bool:
        """Send several, if they go as they are."""
        return not self._protected and super().sendTrain(parts, length, self._address)

    def datagramsReceived(self, runs: Iterable[Run]) -> None:
        """Pass datagrams on to the client."""
        relay = self._relay
        try:
            for datagrams, source in runs:
                if source[:2] != self._address:
                    relay.drops[NOT_THE_PROXY] += len(datagrams)
                    continue
                for datagram in datagrams:
                    why = self._arrived(datagram)
                    if why:
                        relay.drops[why] += 1
        finally:
            relay.flush()

    def _arrived(self, datagram: bytes) -> str:
        """Look at a datagram of the next proxy's, and answer the client; or say why not."""
        client = self._answersFor.endpoint
        if client is None:
            return NO_CLIENT
        try:
            if self._protected:
                datagram = self._far.unwrap(datagram)
            frag, kind, host, port, offset = parse_header(datagram)
        except DatagramError:
            return MALFORMED
        except ContextError:
            return BAD_TOKEN
        if frag:
            return FRAGMENTED
        if not self._answers.permit(datagram[3:offset], kind, host, port):
            return FORBIDDEN_SOURCE
        self._relay.answer(datagram[:offset], (datagram[offset:],), client)
        return ""


class ForwardingRelay(UDPRelay):
    """A relay with one leg for all targets."""

    def lead(self, leg: FarLeg, interface: str) -> None:
        """
        Send by way of the next proxy from now on.

        @param interface: the IP address to send from.
        @raise CannotListenError: there can be no socket.
        """
        leg.open(self._reactor, interface, (0,))
        self._legs[FAR] = leg

    def gather(self, way: Route, datagrams: list[bytes], extra: int = 0) -> None:
        """Send datagrams with the next flush, with the header that their way has."""
        if isinstance(way, ForwardRoute):
            header = way.header
            datagrams, extra = [header + datagram for datagram in datagrams], len(header)
        super().gather(way, datagrams, extra)

    def sendAlike(self, way: Route, datagrams: Alike, header: bytes = b"") -> None:
        """Send datagrams that are alike, with the header that their way has."""
        super().sendAlike(way, datagrams, way.header if isinstance(way, ForwardRoute) else header)

    def _openTarget(self, version: int) -> None:
        """Open no other leg: all targets have the one."""


class EncapsulatedForwardingRelay(ForwardingRelay, EncapsulatedRelay):
    """The same, where the client's side is encapsulated."""


class ForwardedAssociate(Associate):
    """One UDP ASSOCIATE."""

    def __init__(self, session: SOCKS5ServerProtocol, request: Request) -> None:
        """
        @param session: whose request it is.
        @param request: the request.
        """
        super().__init__(session, request)
        if session.server.via is None:
            raise TypeError("there is no next proxy to forward to")
        self._via = session.server.via
        self._asking: Deferred[None] | None = None
        self._far: IFarAssociation | None = None

    def built(self, client: ClientEnd, verdicts: Verdicts) -> tuple[UDPRelay, RuledAddressing]:
        """Make what relays to the next proxy, and what decides about it."""
        session = self._session
        server = session.server
        reactor: IReactorUDP | DatagramUDP = server.datagrams
        self._client = client
        self._answers = answers = Answers(verdicts)
        lookup, clock, encapsulation = server.lookup, server.clock, session.encapsulation
        if encapsulation is None:
            self._forwarding = relay = ForwardingRelay(reactor, {}, self._lost)
            routes = ForwardRoutes(relay, verdicts, lookup, clock, answers)
            return relay, RuledAddressing(relay, client, routes, verdicts, clock)
        sealed = EncapsulatedForwardingRelay(reactor, {}, self._lost, encapsulation)
        self._forwarding = sealed
        routes = ForwardRoutes(sealed, verdicts, lookup, clock, answers)
        return sealed, EncapsulatedAddressing(
            encapsulation, sealed, client, routes, verdicts, clock
        )

    def start(self) -> None:
        """Ask the next proxy first; a port of ours comes then."""
        session = self._session
        asking = self._via.associate(session.server.settings.dial_timeout)
        self._asking = asking.addCallback(self._granted)
        self._asking.addErrback(session.fail)

    def _granted(self, far: IFarAssociation) -> None:
        self._far = far
        session = self._session
        far.whenLost().addCallback(self._farLost)
        if self._over:
            return
        leg = FarLeg(self._forwarding, self._lost, far, self._client, self._answers)
        try:
            self._forwarding.lead(leg, far.interface)
        except CannotListenError as error:
            reply, reason = replyFor(error)
            session.refuse(reply, f"via {self._via.name}: no port for datagrams: {reason}")
            return
        session.record.dialled = self._via.name
        super().start()

    def _farLost(self, reason: str) -> None:
        """The next proxy's association is over: so is ours."""
        if self._over:
            return
        why = f"via {self._via.name}: {reason}"
        if self._session.record.reply is None:
            self._session.refuse(Reply.GENERAL_FAILURE, why)
        else:
            self._end()
            self._session.finish(why)

    def _end(self) -> None:
        """Leave nothing open, over there neither."""
        super()._end()
        if self._asking is not None:
            self._asking.cancel()
        far, self._far = self._far, None
        if far is not None:
            far.close()
