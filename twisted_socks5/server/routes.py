"""
The ways to an association's targets, by the header that asks for them.

A header's destination is normalised, resolved if it is a name, and judged; then the way is
remembered, also where there is none, and the next datagram costs a look into a dict.

A name is resolved again from time to time.  Meanwhile, and unless the answer is another one, its
datagrams go where they went before: a target that speaks with one client must not turn into
another one because several share the name.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from twisted.internet.defer import CancelledError
from twisted.python.failure import Failure

from twisted_socks5.errors import Forbidden, ResolutionError
from twisted_socks5.relay.udp import Route
from twisted_socks5.server.destinations import normalised, permittedAddresses
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

REMEMBERED = 256
"""How many ways are remembered; see L{Recent}."""

NAME_SECONDS = 60.0
"""How long a name is not asked for again; the answer's own lifetime is not told by resolvers."""

RETRY_SECONDS = 5.0
"""How long a name is not asked for again that could not be resolved, or had no way to it."""

MAX_TRIES = 4
"""How many of a name's addresses are tried with a datagram."""

# Why a datagram was dropped, as the count names it.
PORT_ZERO = "to port 0"
FORBIDDEN = "forbidden"
UNRESOLVED = "unresolved"
CROWDED = "too many waiting for names"
BROKEN = "internal error"

_HOSTS = {int(AddressType.IPV4): IPv4Address, int(AddressType.IPV6): IPv6Address}


class TargetRoute(Route):
    """
    The way to a target, or that there is none.

    @ivar name: the name that led there; empty if it is none.
    @ivar refused: why datagrams are dropped instead; empty if they are not.
    @ivar until: when to ask for the name again; L{None} is never.
    """

    __slots__ = ("name", "refused", "until")

    def __init__(
        self, version: int, address: Endpoint, name: str = "", until: float | None = None
    ) -> None:
        super().__init__(version, address)
        self.name = name
        self.refused = ""
        self.until = until


def refusal(why: str, until: float | None = None) -> TargetRoute:
    """Make the way that there is not; it is C{failing}, so that one look tells all that is wrong."""
    route = TargetRoute(0, ("", 0), "", until)
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
    """The ways that one association's datagrams go."""

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
        self._queue: LookupQueue[Named, list[IPAddress]] = LookupQueue(self._begin, self._found)
        #: The way that is known for a header, whatever state it is in.
        self.get = self._routes.get

    def find(
        self, header: bytes, kind: int, host: bytes, port: int, payload: bytes
    ) -> TargetRoute | None:
        """
        Find the way for a datagram.

        @param header: what asks for it, FRAG being 0.
        @param kind: ATYP.
        @param host: DST.ADDR, the octets.
        @param port: DST.PORT.
        @param payload: what is behind the header.
        @return: the way, which is not C{refused}; L{None}: the datagram waits for it, or it is
            dropped and counted.
        """
        route = self._known(header)
        if route is None:
            route = self._judged(header, kind, host, port, payload)
        if route is not None and route.refused:
            self._relay.drops[route.refused] += 1
            return None
        return route

    def renew(self, header: bytes, route: TargetRoute) -> None:
        """Ask for a way's name again if it is time to, without keeping the datagrams waiting."""
        now = self._clock.seconds()
        if route.until is not None and now >= route.until:
            route.until = now + NAME_SECONDS
            self._queue.ask(Named(header, route.name, route.address[1]))

    def close(self) -> None:
        """Call all lookups off, and drop what waits for them."""
        self._queue.close()

    def _known(self, header: bytes) -> TargetRoute | None:
        """Find a way that need not be looked for again."""
        route = self._routes.get(header)
        if route is None or not route.failing:
            return route
        if route.until is not None and self._clock.seconds() >= route.until:
            return None
        return route

    def _judged(
        self, header: bytes, kind: int, host: bytes, port: int, payload: bytes
    ) -> TargetRoute | None:
        """Look for a way; L{None}: the datagram waits for it, or is dropped."""
        ...
