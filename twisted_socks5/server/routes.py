"""
The ways to an association's targets, by the header that asks for them.

A header's destination is normalised, resolved if it is a name, and judged; then the way is
remembered, also where there is none, and the next datagram costs a look into a dict.

A name is resolved again from time to time.  Meanwhile, and unless the answer is another one, its
datagrams go where they went before: the target that a client speaks with must not change because
several share the name.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from twisted.python.failure import Failure

from twisted_socks5.errors import Forbidden, ResolutionError
from twisted_socks5.relay.udp import Route
from twisted_socks5.server.destinations import normalised, resolved
from twisted_socks5.server.lookupqueue import LookupQueue
from twisted_socks5.server.recent import Recent
from twisted_socks5.wire import AddressType

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IReactorTime

    from twisted_socks5.interfaces import IPAddress
    from twisted_socks5.relay.udp import Endpoint, UDPRelay
    from twisted_socks5.resolving import NameLookup
    from twisted_socks5.server.verdicts import Verdicts
    from twisted_socks5.wire import Host

REMEMBERED = 256
"""How many ways are remembered; see L{Recent}."""

NAME_SECONDS = 60.0
"""How long a name is not asked for again; resolvers do not tell an answer's own lifetime."""

RETRY_SECONDS = 5.0
"""How long a name is not asked for again that could not be resolved."""

MAX_TRIES = 4
"""How many of a name's addresses are tried with one datagram."""

# Why a datagram was dropped, as the count names it.
PORT_ZERO = "to port 0"
FORBIDDEN = "forbidden"
UNRESOLVED = "unresolved"
CROWDED = "too many waiting for names"
BROKEN = "internal error"

HOSTS: dict[int, Callable[[bytes], Host]] = {
    AddressType.IPV4: IPv4Address,
    AddressType.DOMAINNAME: bytes,
    AddressType.IPV6: IPv6Address,
}


class TargetRoute(Route):
    """
    The way to a target, or that there is none.

    @ivar name: the name that led there; empty if it was none.
    @ivar refused: why datagrams are dropped instead; empty if they are not.
    @ivar until: when to ask for the name again; L{None} is never.
    """

    __slots__ = ("name", "refused", "until")

    def __init__(
        self,
        version: int,
        address: Endpoint,
        asked: bytes = b"",
        name: str = "",
        until: float | None = None,
    ) -> None:
        super().__init__(version, address, asked)
        self.name = name
        self.refused = ""
        self.until = until


def refusal(why: str, until: float | None = None) -> TargetRoute:
    """Make the way that is none.  It is C{failing}, so that one look tells it from a good one."""
    route = TargetRoute(0, ("", 0), until=until)
    route.refused = why
    route.failing = True
    return route


class Named(NamedTuple):
    """
    A destination by name.

    @ivar header: the header that asks for it.
    @ivar name: normalised.
    @ivar port: the port.
    """

    header: bytes
    name: str
    port: int


class Routes:
    """
    The ways of one association's datagrams.

    @ivar get: finds the way that is remembered for a header, in whatever state it is.
    """

    def __init__(
        self, relay: UDPRelay, verdicts: Verdicts, lookup: NameLookup, clock: IReactorTime
    ) -> None:
        """
        @param relay: sends what has waited for a name, and has the counts of what is dropped.
        @param verdicts: says what is permitted.
        @param lookup: resolves names.
        @param clock: tells the time.
        """
        self._relay = relay
        self._verdicts = verdicts
        self._lookup = lookup
        self._clock = clock
        self._routes: Recent[bytes, TargetRoute] = Recent(REMEMBERED)
        #: Made with the first name: most associations have none.
        self._queue: LookupQueue[Named, list[IPAddress]] | None = None
        self.get = self._routes.get

    def find(
        self, header: bytes, kind: int, host: bytes, port: int, payload: bytes
    ) -> TargetRoute | None:
        """
        Find the way for a datagram.

        @param header: what asks for it, with FRAG 0.
        @param kind: ATYP.
        @param host: DST.ADDR, the octets.
        @param port: DST.PORT.
        @param payload: what stands behind the header.
        @return: the way, not a refusal; L{None}: the datagram waits for it, or is dropped.
        """
        route = self._known(header)
        if route is None:
            route = self._judged(header, kind, host, port, payload)
        if route is not None and route.refused:
            self._relay.drops[route.refused] += 1
            return None
        return route

    def renew(self, header: bytes, route: TargetRoute) -> None:
        """If it is time to, ask for a name again, without keeping its datagrams waiting."""
        now = self._clock.seconds()
        if route.until is not None and now >= route.until:
            route.until = now + NAME_SECONDS
            self._lookups().ask(Named(header, route.name, route.address[1]))

    def close(self) -> None:
        """Call all lookups off, and drop what waits for them."""
        if self._queue is not None:
            self._queue.close()

    def _known(self, header: bytes) -> TargetRoute | None:
        """Find a way that need not be looked for again."""
        route = self.get(header)
        if route is None or not route.failing:
            return route
        if route.refused:
            over = route.until is not None and self._clock.seconds() >= route.until
            return None if over else route
        if route.name:
            return None  # another of the name's addresses may do
        route.failing = False  # it is tried again: there may be a way by now
        return route

    def _judged(
        self, header: bytes, kind: int, host: bytes, port: int, payload: bytes
    ) -> TargetRoute | None:
        """Look for a way; L{None}: the datagram waits until it is found, or is dropped."""
        if not port:
            return refusal(PORT_ZERO)
        try:
            destination = normalised(HOSTS[kind](host))
        except ResolutionError:
            route = refusal(UNRESOLVED)
        else:
            way = self._way(header, destination, port, payload)
            if way is None:
                return None
            route = way
        self._routes.put(header, route)
        return route

    def _way(
        self, header: bytes, destination: IPAddress | str, port: int, payload: bytes
    ) -> TargetRoute | None:
        """Judge an address; have a name looked up, and its datagram wait."""
        if isinstance(destination, str):
            if not self._lookups().add(Named(header, destination, port), payload):
                self._relay.drops[CROWDED] += 1
            return None
        target = str(destination), port
        if not self._verdicts.permits(*target, destination):
            return refusal(FORBIDDEN)
        self._verdicts.mayAnswer(target, destination)
        return TargetRoute(destination.version, target, header)

    # Names.

    def _lookups(self) -> LookupQueue[Named, list[IPAddress]]:
        if self._queue is None:
            self._queue = LookupQueue(self._begin, self._found)
        return self._queue

    def _begin(self, named: Named) -> Deferred[list[IPAddress]]:
        access = self._verdicts.access(named.name, named.port)
        return resolved(named.name, self._lookup, self._verdicts.rules, access)

    def _found(
        self, named: Named, answer: list[IPAddress] | Failure, payloads: list[bytes]
    ) -> None:
        if isinstance(answer, Failure):
            self._notFound(named, answer, len(payloads))
            return
        route = self.get(named.header)
        hosts = [(address.version, str(address)) for address in answer]
        if route is None or route.failing or (route.version, route.address[0]) not in hosts:
            self._take(named, hosts, payloads)

    def _notFound(self, named: Named, failure: Failure, waited: int) -> None:
        """There is no address, or none that is permitted."""
        now = self._clock.seconds()
        if failure.check(ResolutionError):
            known = self.get(named.header)
            if known is not None and not known.failing:
                return  # no answer now is not another answer
            route = refusal(UNRESOLVED, now + RETRY_SECONDS)
        elif failure.check(Forbidden):
            route = refusal(FORBIDDEN, now + NAME_SECONDS)
        else:
            self._verdicts.failed(failure)
            route = refusal(BROKEN, now + RETRY_SECONDS)
        self._routes.put(named.header, route)
        self._relay.drops[route.refused] += waited

    def _take(self, named: Named, hosts: Sequence[tuple[int, str]], payloads: list[bytes]) -> None:
        """Take the first address that can be sent to, which only sending tells."""
        until = self._clock.seconds() + NAME_SECONDS
        first, others = payloads[:1], payloads[1:]
        for version, host in hosts[:MAX_TRIES]:
            route = TargetRoute(version, (host, named.port), named.header, named.name, until)
            failures = [why for payload in first if (why := self._relay.send(route, payload))]
            if not route.failing:
                break
        self._routes.put(named.header, route)
        self._verdicts.permitted(route.address, named.name)
        failures += [why for payload in others if (why := self._relay.send(route, payload))]
        self._relay.drops.update(failures)
