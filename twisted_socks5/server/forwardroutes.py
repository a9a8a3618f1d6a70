"""
The ways of datagrams to the next proxy, and who may answer.

A way has the header that goes before each of its datagrams, in the one spelling that was judged.
A name stays a name, so nothing waits here to be resolved, and no way is ever another one later.

Which addresses a name has, nobody here knows.  So an answer may come from any that the rules
would permit for one of the names that the client has sent to at that port.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from twisted_socks5.errors import ResolutionError
from twisted_socks5.server.destinations import normalised
from twisted_socks5.server.recent import Recent
from twisted_socks5.server.routes import (
    FORBIDDEN,
    Routes,
    TargetRoute,
    refusal,
)
from twisted_socks5.wire import AddressType, pack_header

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_socks5.interfaces import IPAddress
    from twisted_socks5.relay.udp import UDPRelay
    from twisted_socks5.resolving import NameLookup
    from twisted_socks5.server.verdicts import Verdicts

REMEMBERED = 256
"""How many sources are remembered, and of as many more some."""

NAMES = 64
"""How many names that the client has sent to are remembered."""

#: In the place of an IP version: the leg for all targets.
FAR = -1

_NAME = int(AddressType.DOMAINNAME)


class ForwardRoute(TargetRoute):
    """
    The way to a target, through the next proxy.

    @ivar header: what stands before each datagram.
    """

    __slots__ = ("header",)

    def __init__(self, asked: bytes, header: bytes) -> None:
        super().__init__(FAR, ("", 0), asked)
        self.header = header


class Answers:
    """Judges who answers, by what the next proxy says of them."""

    def __init__(self, verdicts: Verdicts) -> None:
        """
        @param verdicts: the rules.
        """
        self._verdicts = verdicts
        self._judged: Recent[bytes, bool] = Recent(REMEMBERED)
        self._names: dict[tuple[str, int], None] = {}

    def sentTo(self, name: str, port: int) -> None:
        """Learn that the client sends to a name that it may."""
        self._names.pop((name, port), None)
        self._names[name, port] = None
        if len(self._names) > NAMES:
            del self._names[next(iter(self._names))]
        # Somebody may have been judged before, without that name.
        self._judged.clear()

    def permit(self, source: bytes, kind: int, host: bytes, port: int) -> bool:
        """
        Tell whether a datagram may come from there.

        @param source: ATYP, ADDR and PORT as they came.
        @param kind: ATYP.
        @param host: ADDR, the octets.
        @param port: PORT.
        """
        found = self._judged.get(source)
        if found is None:
            found = self._judge(kind, host, port)
            self._judged.put(source, found)
        return found

    def _judge(self, kind: int, host: bytes, port: int) -> bool:
        try:
            named = normalised(host if kind == _NAME else ip_address(host))
        except ResolutionError:
            return False
        permits = self._verdicts.permits
        if isinstance(named, str):
            return permits(named, port)
        if permits(str(named), port, named):
            return True
        return any(permits(name, port, named) for name, at in self._names if at == port)


class ForwardRoutes(Routes):
    """The ways of an association's datagrams, all through the next proxy."""

    def __init__(
        self,
        relay: UDPRelay,
        verdicts: Verdicts,
        lookup: NameLookup,
        clock: IReactorTime,
        answers: Answers,
    ) -> None:
        """
        @param answers: is told of the names; the others are those of L{Routes}.
        """
        super().__init__(relay, verdicts, lookup, clock)
        self._answers = answers

    def _way(
        self, header: bytes, destination: IPAddress | str, port: int, payload: bytes
    ) -> TargetRoute:
        """Judge an address, or a name by itself: there is a way to all that is permitted."""
        if not isinstance(destination, str):
            if self._verdicts.permits(str(destination), port, destination):
                return ForwardRoute(header, pack_header(destination, port))
        elif self._verdicts.permits(destination, port):
            self._answers.sentTo(destination, port)
            return ForwardRoute(header, pack_header(destination.encode("ascii"), port))
        return refusal(FORBIDDEN)
