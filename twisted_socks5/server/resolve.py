"""
RESOLVE and RESOLVE_PTR: Tor's extensions, which answer with what a name or an address stands for.

The answer is in BND.ADDR; there is no connection to relay, so the session ends with it.  The same
resolver and the same rules decide as for a CONNECT: who may not reach a host learns nothing of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.defer import succeed

from twisted_socks5.errors import Forbidden, RequestError, ResolutionError
from twisted_socks5.server.destinations import normalised, permittedAddresses, resolved
from twisted_socks5.wire import Address
from twisted_socks5.wire.constants import MAX_NAME, SOCKS4_VERSION

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from twisted_socks5.interfaces import IPAddress
    from twisted_socks5.server.session import SOCKS5ServerProtocol
    from twisted_socks5.wire import Request, Request4


class Resolve:
    """One RESOLVE: an L{Undertaking<twisted_socks5.server.session.Undertaking>}."""

    def __init__(self, session: SOCKS5ServerProtocol, request: Request | Request4) -> None:
        """
        @param session: whose request it is.
        @param request: the request.
        """
        self._session = session
        self._request = request
        self._asking: Deferred[None] | None = None

    def start(self) -> None:
        """Find what is asked for, if it may be known."""
        try:
            self._asking = self._ask(normalised(self._request.destination.host))
        except RequestError as error:
            self._session.refuse(error.reply, error.reason)
        else:
            self._asking.addErrback(self._session.fail)

    def clientEnded(self) -> None:
        """Go on: the client may await its answer."""

    def drain(self, reason: str) -> None:
        """Go on: an answer is not far."""

    def cancel(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    def _ask(self, host: IPAddress | str) -> Deferred[None]:
        session = self._session
        access = session.access(self._request, host)
        if isinstance(host, str):
            found = resolved(host, session.server.lookup, session.rules, access)
        else:
            found = succeed(permittedAddresses([host], session.rules, access))
        return found.addCallback(self._found)

    def _found(self, addresses: list[IPAddress]) -> None:
        if self._request.version == SOCKS4_VERSION:
            addresses = [address for address in addresses if address.version == 4]
            if not addresses:
                raise ResolutionError("no IPv4 address, and SOCKS4 knows no other")
        self._session.answer(Address(addresses[0], 0))


class ResolvePTR(Resolve):
    """One RESOLVE_PTR: from an address to its name."""

    def _ask(self, host: IPAddress | str) -> Deferred[None]:
        session = self._session
        if isinstance(host, str):
            raise ResolutionError(f"{host} is a name, and RESOLVE_PTR asks for one")
        verdict = session.rules.judge(session.access(self._request, host)._replace(address=host))
        if not verdict.permitted:
            raise Forbidden(verdict.reason)
        return session.server.reverse.lookup(host).addCallback(self._named)

    def _named(self, name: str) -> None:
        octets = name.encode("ascii", "replace")
        if not 0 < len(octets) <= MAX_NAME:
            # Whoever owns an address owns what it is called.
            raise ResolutionError(f"a name of {len(octets)} octets, which no reply can carry")
        self._session.answer(Address(octets, 0))
