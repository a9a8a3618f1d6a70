"""CONNECT (RFC 1928, section 4): reach the destination, answer, and relay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.internet.protocol import Factory

from twisted_socks5.addresses import ipAddress
from twisted_socks5.errors import DialError, RequestError
from twisted_socks5.relay import Leg
from twisted_socks5.relay.tcp import tune
from twisted_socks5.server.destinations import normalised, permittedAddresses, resolved
from twisted_socks5.wire import UNSPECIFIED, Address, Reply

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IProtocol

    from twisted_socks5.interfaces import IPAddress
    from twisted_socks5.server.session import SOCKS5ServerProtocol
    from twisted_socks5.wire import Request


class LegFactory(Factory):
    """Builds the target's leg."""

    noisy = False

    def buildProtocol(self, addr: IAddress | None) -> Leg:  # type: ignore[override]
        """Build a leg."""
        return Leg()


class Connect:
    """One CONNECT: an L{Undertaking<twisted_socks5.server.session.Undertaking>}."""

    def __init__(self, session: SOCKS5ServerProtocol, request: Request) -> None:
        """
        @param session: whose request it is.
        @param request: the request.
        """
        self._session = session
        self._request = request
        self._dialling: Deferred[None] | None = None

    def start(self) -> None:
        """Resolve, judge, dial; then answer."""
        session, destination = self._session, self._request.destination
        rules = session.rules
        try:
            host = normalised(destination.host)
            if not destination.port:
                raise RequestError(Reply.GENERAL_FAILURE, "port 0 cannot be connected to")
            access = session.access(self._request, host)
            if isinstance(host, str):
                found = resolved(host, session.server.lookup, rules, access)
                dialling = found.addCallback(self._dial)
            else:
                dialling = self._dial(permittedAddresses([host], rules, access))
        except RequestError as error:
            session.refuse(error.reply, error.reason)
            return
        self._dialling = dialling.addCallback(self._connected)
        self._dialling.addErrback(session.fail)

    def clientEnded(self) -> None:
        """Go on: the client may await an answer to what it has sent already."""

    def drain(self, reason: str) -> None:
        """Go on: dialling does not take longer than the drain."""

    def cancel(self) -> None:
        """Abandon the attempts."""
        if self._dialling is not None:
            self._dialling.cancel()

    def _dial(self, addresses: list[IPAddress]) -> Deferred[IProtocol]:
        return self._session.server.dialer.dial(
            addresses, self._request.destination.port, LegFactory()
        )

    def _connected(self, leg: IProtocol) -> None:
        if not isinstance(leg, Leg):
            raise TypeError(f"the dialer returned {leg!r}, not what the factory built")
        if leg.lost is not None:
            raise DialError(Reply.CONNECTION_REFUSED, "the target reset the connection at once")
        transport = leg.transport
        try:
            tune(transport)
            peer = ipAddress(transport.getPeer())
            bound = ipAddress(transport.getHost())
        except OSError:
            transport.abortConnection()
            raise DialError(
                Reply.CONNECTION_REFUSED, "the target reset the connection as soon as it was made"
            ) from None
        self._session.record.dialled = str(Address(*peer)) if peer else "unix"
        self._session.relay(leg, Address(*bound) if bound else UNSPECIFIED)
