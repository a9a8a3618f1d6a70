"""
Where an association's datagrams go and who may answer (RFC 1928, section 7).

Outward, a datagram must be the client's, whole, and bound for a target that the rules permit,
by its name and by its address.  Inward, the rules judge its source as they would a destination,
for what the client may not reach shall not reach the client; and the source is told to it as it
is, an address, whatever name the client knows it by.

All of that is decided once for a destination or a source and remembered, so the next datagram
costs a look into a dict.  Nothing is answered to what is dropped, as the RFC has it; it is
counted.  The sockets are L{UDPRelay<twisted_socks5.relay.udp.UDPRelay>}'s.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, NamedTuple

from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_socks5.addresses import scopeless, unmapped
from twisted_socks5.config import Filtering
from twisted_socks5.errors import Forbidden, RequestError, ResolutionError
from twisted_socks5.interfaces import Access
from twisted_socks5.relay.udp import Endpoint, Route, UDPRelay
from twisted_socks5.server.destinations import normalised, permittedAddresses
from twisted_socks5.server.lookupqueue import LookupQueue
from twisted_socks5.server.recent import Recent
from twisted_socks5.wire import (
    AddressType,
    Command,
    DatagramError,
    ReassemblyQueue,
    pack_header,
    parse_header,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

    from twisted_socks5.interfaces import IPAddress, IRules
    from twisted_socks5.resolving import NameLookup
    from twisted_socks5.server.clientend import ClientEnd
    from twisted_socks5.wire import Host

REMEMBERED = 256
"""How many destinations and sources an association remembers; see L{Recent}."""

NAME_SECONDS = 60.0
"""
How long a name's datagrams go to the same address before it is asked for again.  They go on to go
there meanwhile, and afterwards too unless the answer is another one.
"""

RETRY_SECONDS = 5.0
"""How long the datagrams for a name that cannot be resolved are dropped without asking again."""

MAX_TRIES = 4
"""How many of a name's addresses are tried with one datagram."""

# Why a datagram was dropped, as the count names it; the relay has some more.
STRANGER = "from strangers"
MALFORMED = "malformed"
PORT_ZERO = "to port 0"
FORBIDDEN = "forbidden"
UNRESOLVED = "unresolved"
CROWDED = "beyond those that may wait for a name"
NO_CLIENT = "before the client's first"
UNSOLICITED = "unsolicited"
FORBIDDEN_SOURCE = "from forbidden sources"
ABANDONED = "abandoned fragments"
BROKEN = "lost to an internal error"

_HOSTS = {AddressType.IPV4: IPv4Address, AddressType.IPV6: IPv6Address}

# RSV RSV FRAG ATYP DST.ADDR DST.PORT; a name's has its length in front of it.
_HEADER_SIZES = {int(AddressType.IPV4): 10, int(AddressType.IPV6): 22}
_NAME_HEADER_SIZE = 7


class TargetRoute(Route):
    """
    The way to a target, or that there is none.

    @ivar name: the name that led there; empty if the client gave the address.
    @ivar refused: why datagrams are dropped instead; empty if they are not.  It is C{failing},
        too, then.
    @ivar until: when the name is to be asked for again, or the refusal to be thought over;
        L{None} is never.
    """

    __slots__ = ("name", "refused", "until")

    def __init__(
        self,
        address: IPAddress,
        port: int,
        name: str = "",
        until: float | None = None,
    ) -> None:
        super().__init__(address.version, (str(address), port))
        self.name = name
        self.refused = ""
        self.until = until

    @classmethod
    def refusal(cls, why: str, until: float | None = None) -> TargetRoute:
        """Make a way that is not gone."""
        route = cls(_NOWHERE, 0, "", until)
        route.refused = why
        route.failing = True
        return route


_NOWHERE = IPv4Address(0)


class Named(NamedTuple):
    """
    A destination by name.

    @ivar header: the UDP request header that asks for it.
    @ivar name: normalised.
    @ivar port: the port.
    """

    header: bytes
    name: str
    port: int


class RuledAddressing:
    """
    Decides for one association: an L{Addressing<twisted_socks5.relay.udp.Addressing>}.
    """

    log = Logger()

    def __init__(
        self,
        relay: UDPRelay,
        client: ClientEnd,
        user: str | None,
        address: IPAddress | None,
        *,
        rules: IRules,
        lookup: NameLookup,
        clock: IReactorTime,
        filtering: Filtering = Filtering.ENDPOINT_INDEPENDENT,
    ) -> None:
        """
        @param relay: sends what has waited for a name, and has the counts.
        @param client: whose datagrams pass.
        @param user: its name for the rules.
        @param address: its address for the rules.
        @param rules: judge destinations and sources.
        @param lookup: resolves names.
        @param clock: tells the time.
        @param filtering: who may answer.
        """
        self._relay = relay
        self._drops = relay.drops
        self._client = client
        self._user = user
        self._address = address
        self._rules = rules
        self._lookup = lookup
        self._clock = clock
        self._names: LookupQueue[Named, list[IPAddress]] = LookupQueue(self._begin, self._found)
        self._fragments = ReassemblyQueue()
        self._timer: IDelayedCall | None = None
        self._loggedFailure = False
        # By header: where to.
        self._routes: Recent[bytes, TargetRoute] = Recent(REMEMBERED)
        # By address and port: the name that the rules have permitted it by.
        self._permittedAs: Recent[Endpoint, str] = Recent(REMEMBERED)
        # By source: the header of its datagrams, empty if they don't pass; and its address.
        self._sources: Recent[Endpoint, tuple[bytes, str]] = Recent(REMEMBERED)
        # The addresses that the client has sent to, if only they may answer.
        self._spokenTo: Recent[str, bool] | None = None
        if filtering is Filtering.ADDRESS_DEPENDENT:
            self._spokenTo = Recent(REMEMBERED)

    # What the relay asks.

    def outward(self, datagram: bytes, source: Endpoint) -> tuple[TargetRoute, bytes] | None:
        """Find where the client's datagram goes to; L{None}: nowhere, or not now."""
        client = self._client
        if source != client.endpoint and not client.mayBe(source):
            self._drops[STRANGER] += 1
            return None
        if len(datagram) < _NAME_HEADER_SIZE or self._fragments.deadline is not None:
            return self._consider(datagram, source)
        # Nothing but a header that was good before is found, so it need not be parsed again.
        size = _HEADER_SIZES.get(datagram[3]) or _NAME_HEADER_SIZE + datagram[4]
        route = self._routes.get(datagram[:size])
        if route is None or route.failing:
            return self._consider(datagram, source)
        return self._along(route, datagram[:size], datagram[size:])

    def inward(self, source: Endpoint) -> tuple[bytes, Endpoint] | None:
        """Give the header for an answer, and the client; L{None}: it does not pass."""
        client = self._client.endpoint
        if client is None:
            self._drops[NO_CLIENT] += 1
            return None
        header, host = self._sources.get(source) or self._meet(source)
        if not header:
            self._drops[FORBIDDEN_SOURCE] += 1
            return None
        if self._spokenTo is not None and not self._spokenTo.get(host):
            self._drops[UNSOLICITED] += 1
            return None
        return header, client

    def close(self) -> None:
        """Leave nothing behind: no lookup, no timer."""
        self._names.close()
        self._fragments.reinitialise()
        self._drops[ABANDONED] += self._fragments.abandoned
        self._fragments.abandoned = 0
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # Outward, when the destination is not known or the datagram not whole.

    def _consider(self, datagram: bytes, source: Endpoint) -> tuple[TargetRoute, bytes] | None:
        try:
            frag, kind, host, port, offset = parse_header(datagram)
        except DatagramError:
            self._drops[MALFORMED] += 1
            return None
        self._client.endpoint = source
        payload = datagram[offset:]
        destination = datagram[3:offset]
        if frag or self._fragments.deadline is not None:
            whole = self._reassemble(frag, destination, payload)
            if whole is None:
                return None
            payload = whole
        if not port:
            self._drops[PORT_ZERO] += 1
            return None
        header = b"\0\0\0" + destination
        route = self._known(header) or self._judgeDestination(header, kind, host, port, payload)
        if route is None:
            return None
        if route.refused:
            self._drops[route.refused] += 1
            return None
        return self._along(route, header, payload)

    def _along(
        self, route: TargetRoute, header: bytes, payload: bytes
    ) -> tuple[TargetRoute, bytes]:
        """Go a way that leads somewhere."""
        if route.until is not None:
            now = self._clock.seconds()
            if now >= route.until:
                route.until = now + NAME_SECONDS
                self._names.ask(Named(header, route.name, route.address[1]))
        if self._spokenTo is not None:
            self._spokenTo.put(route.address[0], True)
        return route, payload

    def _known(self, header: bytes) -> TargetRoute | None:
        """Find a way that need not be looked for again."""
        route = self._routes.get(header)
        if route is None or not route.failing:
            return route
        if route.refused:
            over = route.until is not None and self._clock.seconds() >= route.until
            return None if over else route
        if route.name:
            return None  # another of its addresses may do
        route.failing = False  # perhaps it does by now
        return route

    def _judgeDestination(
        self, header: bytes, kind: int, host: bytes, port: int, payload: bytes
    ) -> TargetRoute | None:
        """Find a way; L{None}: the datagram waits for it, or is dropped."""
        try:
            destination = normalised(_HOSTS[kind](host) if kind in _HOSTS else host)
        except ResolutionError:
            route = TargetRoute.refusal(UNRESOLVED)
        else:
            if isinstance(destination, str):
                if not self._names.add(Named(header, destination, port), payload):
                    self._drops[CROWDED] += 1
                return None
            if self._permits(str(destination), port, destination):
                route = TargetRoute(destination, port)
            else:
                route = TargetRoute.refusal(FORBIDDEN)
        self._routes.put(header, route)
        return route

    # Fragments.

    def _reassemble(self, frag: int, destination: bytes, payload: bytes) -> bytes | None:
        now = self._clock.seconds()
        whole = self._fragments.add(now, frag, destination, payload)
        deadline = self._fragments.deadline
        if deadline is not None and self._timer is None:
            self._timer = self._clock.callLater(deadline - now, self._reassemblyExpired)
        return whole

    def _reassemblyExpired(self) -> None:
        """One sequence's time is up; if it was another one's that has come since, wait for that."""
        self._timer = None
        now, deadline = self._clock.seconds(), self._fragments.deadline
        if self._fragments.expired(now):
            self._fragments.reinitialise()
        elif deadline is not None:
            self._timer = self._clock.callLater(deadline - now, self._reassemblyExpired)

    # Names.

    def _begin(self, named: Named) -> Deferred[list[IPAddress]]:
        access = self._access(named.name, named.port)
        return permittedAddresses(self._lookup, self._rules, named.name, access)

    def _found(
        self, named: Named, answer: list[IPAddress] | Failure, payloads: Sequence[bytes]
    ) -> None:
        if isinstance(answer, Failure):
            self._notFound(named, answer, len(payloads))
            return
        ways = self._waysTo(named, answer)
        # The first one that can be gone; only sending tells.
        for route in ways:
            why = self._relay.send(route, payloads[0]) if payloads else ""
            if not route.failing:
                break
        self._routes.put(named.header, route)
        self._permittedAs.put(route.address, named.name)
        # It may have been judged as a stranger before.
        self._sources.clear()
        ...
