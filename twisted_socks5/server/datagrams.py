"""
Which of an association's datagrams pass, and where to (RFC 1928, section 7).

Outward, a datagram must be the client's, whole, and bound for a target that the rules permit.
Inward, its source must be permitted, and is told to the client as it is, an address, whatever
name the client knows it by.  Nothing is answered to what is dropped, as the RFC has it; it is
counted.

The sockets are L{UDPRelay}'s; whose the client is, where the ways lead and what the rules say
stand in L{ClientEnd}, L{Routes} and L{Verdicts}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_socks5.wire import AddressType, DatagramError, ReassemblyQueue, parse_header

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from twisted_socks5.relay.udp import Endpoint, UDPRelay
    from twisted_socks5.server.clientend import ClientEnd
    from twisted_socks5.server.routes import Routes, TargetRoute
    from twisted_socks5.server.verdicts import Verdicts

# Why a datagram was dropped, as the count names it.
STRANGER = "from strangers"
MALFORMED = "malformed"
FRAGMENTS = "abandoned fragments"
NO_CLIENT = "before the client's first"

# RSV RSV FRAG ATYP ADDR PORT: how long that is.  A name's length stands in front of it.
_SIZES = {int(AddressType.IPV4): 10, int(AddressType.IPV6): 22}
_NAME_SIZE = 7


class RuledAddressing:
    """
    Decides for one association: an L{Addressing<twisted_socks5.relay.udp.Addressing>}.

    It has one timer at most, that of the fragments, however many datagrams come.
    """

    def __init__(
        self,
        relay: UDPRelay,
        client: ClientEnd,
        routes: Routes,
        verdicts: Verdicts,
        clock: IReactorTime,
    ) -> None:
        """
        @param relay: has the counts of what is dropped.
        @param client: whose datagrams go out.
        @param routes: know where to.
        @param verdicts: say who may answer.
        @param clock: tells the time.
        """
        self._drops = relay.drops
        self._client = client
        self._routes = routes
        self._verdicts = verdicts
        self._clock = clock
        self._fragments = ReassemblyQueue()
        self._timer: IDelayedCall | None = None

    def outward(self, datagram: bytes, source: Endpoint) -> tuple[TargetRoute, bytes] | None:
        """Look at a datagram from the client's side; see L{Addressing.outward}."""
        client = self._client
        if source != client.endpoint and not client.mayBe(source):
            self._drops[STRANGER] += 1
            return None
        if len(datagram) < _NAME_SIZE or self._fragments.deadline is not None:
            return self._consider(datagram, source)
        # All that is remembered are good headers, so what is found need not be parsed again.
        size = _SIZES.get(datagram[3]) or _NAME_SIZE + datagram[4]
        header = datagram[:size]
        route = self._routes.get(header)
        if route is None or route.failing:
            return self._consider(datagram, source)
        if route.until is None and self._verdicts.spokenTo is None:
            return route, datagram[size:]
        return self._along(route, header, datagram[size:])

    def inward(self, source: Endpoint, count: int) -> tuple[bytes, Endpoint] | None:
        """Look at where datagrams from a target's side came from; see L{Addressing.inward}."""
        client = self._client.endpoint
        if client is None:
            self._drops[NO_CLIENT] += count
            return None
        header, why = self._verdicts.header(source)
        if why:
            self._drops[why] += count
            return None
        return header, client

    def close(self) -> None:
        """Leave nothing behind."""
        self._routes.close()
        self._fragments.reinitialise()
        if self._fragments.abandoned:
            self._drops[FRAGMENTS] += self._fragments.abandoned
            self._fragments.abandoned = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _consider(self, datagram: bytes, source: Endpoint) -> tuple[TargetRoute, bytes] | None:
        """Take a closer look: the way is not known, or the datagram not whole."""
        try:
            frag, kind, host, port, offset = parse_header(datagram)
        except DatagramError:
            self._drops[MALFORMED] += 1
            return None
        # The first one that makes sense is the client's; from now on nobody else's does.
        self._client.endpoint = source
        destination, payload = datagram[3:offset], datagram[offset:]
        if frag or self._fragments.deadline is not None:
            whole = self._reassembled(frag, destination, payload)
            if whole is None:
                return None
            payload = whole
        header = b"\0\0\0" + destination
        route = self._routes.find(header, kind, host, port, payload)
        return None if route is None else self._along(route, header, payload)

    def _along(
        self, route: TargetRoute, header: bytes, payload: bytes
    ) -> tuple[TargetRoute, bytes]:
        """Go a way that leads somewhere."""
        if route.until is not None:
            self._routes.renew(header, route)
        if self._verdicts.spokenTo is not None:
            self._verdicts.spokenTo.put(route.address[0], True)
        return route, payload

    def _reassembled(self, frag: int, destination: bytes, payload: bytes) -> bytes | None:
        now = self._clock.seconds()
        whole = self._fragments.add(now, frag, destination, payload)
        self._setTimer(now)
        return whole

    def _setTimer(self, now: float) -> None:
        """
        Wait for the end of the sequence that has begun, if nothing is being waited for already.

        A timer is not moved when its sequence is complete: it finds out when it is over.
        """
        deadline = self._fragments.deadline
        if deadline is not None and self._timer is None:
            self._timer = self._clock.callLater(deadline - now, self._expired)

    def _expired(self) -> None:
        self._timer = None
        now = self._clock.seconds()
        if self._fragments.expired(now):
            self._fragments.reinitialise()
        self._setTimer(now)
