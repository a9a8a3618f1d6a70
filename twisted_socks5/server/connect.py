"""CONNECT (RFC 1928, section 4): reach the destination, answer, and relay."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.addresses import ipAddress, parsed
from twisted_socks5.errors import DialError, RequestError
from twisted_socks5.relay import Leg
from twisted_socks5.relay.tcp import tune
from twisted_socks5.server.destinations import insist, normalised, resolved
from twisted_socks5.server.endings import textOf
from twisted_socks5.streams import Stream
from twisted_socks5.wire import UNSPECIFIED, Address, Reply

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IProtocol

    from twisted_socks5.interfaces import IPAddress
    from twisted_socks5.relay.tcp import StreamTransport
    from twisted_socks5.server.session import SOCKS5ServerProtocol
    from twisted_socks5.wire import Request


_AT_ONCE = "the target reset the connection at once"


def boundAddress(transport: StreamTransport) -> Address:
    """
    Name our end of a connection, for BND.

    @raise OSError: it is gone already.
    """
    if type(transport) is Stream:
        # Without an address object that nobody would keep.
        host, port = transport.getHandle().getsockname()[:2]
        return Address(parsed(host), port)
    bound = ipAddress(transport.getHost())
    return Address(*bound) if bound else UNSPECIFIED


@implementer(IProtocolFactory)
class LegFactory:
    """
    Builds the target's leg.

    @ivar dialled: whom the last one was built for, as the access log writes it.
    """

    dialled = ""

    def doStart(self) -> None:
        """An attempt begins."""

    def doStop(self) -> None:
        """An attempt has failed."""

    def buildProtocol(self, addr: IAddress) -> Leg:
        """Build a leg."""
        try:
            self.dialled = textOf(addr)
        except ValueError:
            self.dialled = ""  # An application's dialer may have its own idea of an address.
        return Leg()


class Connect:
    """One CONNECT: an L{Undertaking<twisted_socks5.server.session.Undertaking>}."""

    __slots__ = ("_dialling", "_legs", "_request", "_session")

    def __init__(self, session: SOCKS5ServerProtocol, request: Request) -> None:
        """
        @param session: whose request it is.
        @param request: the request.
        """
        self._session = session
        self._request = request
        self._legs = LegFactory()
        self._dialling: Deferred[None] | None = None

    def start(self) -> None:
        """Resolve, judge, dial; then answer."""
        session, destination = self._session, self._request.destination
        rules = session.rules
        try:
            asked = destination.host
            # An IPv4 address has but one spelling.
            host = asked if isinstance(asked, IPv4Address) else normalised(asked)
            if not destination.port:
                raise RequestError(Reply.GENERAL_FAILURE, "port 0 cannot be connected to")
            if isinstance(host, str):
                access = session.access(self._request, host)
                found = resolved(host, session.server.lookup, rules, access)
                dialling = found.addCallback(self._dial)
            else:
                insist(rules, session.access(self._request, host, host))
                dialling = self._dial([host])
        except RequestError as error:
            session.refuse(error.reply, error.reason)
            return
        if dialling.called and isinstance(dialling.result, Leg):
            # It is there already: callbacks would cost as much as all the rest of this.
            self._connected(dialling.result)
        else:
            self._dialling = dialling.addCallbacks(self._connected, session.fail)

    def clientEnded(self) -> None:
        """Go on: the client may await an answer to what it has sent already."""

    def drain(self, reason: str) -> None:
        """Go on: dialling does not take longer than the drain."""

    def cancel(self) -> None:
        """Abandon the attempts."""
        if self._dialling is not None:
            self._dialling.cancel()

    def _dial(self, addresses: list[IPAddress]) -> Deferred[IProtocol]:
        dialer, port = self._session.server.dialer, self._request.destination.port
        return dialer.dial(addresses, port, self._legs)

    def _connected(self, leg: IProtocol) -> None:
        session = self._session
        try:
            if not isinstance(leg, Leg):
                raise TypeError(f"the dialer returned {leg!r}, not what the factory built")
            if leg.lost is not None:
                raise DialError(Reply.CONNECTION_REFUSED, _AT_ONCE)
            try:
                tune(leg.transport)
                bound = boundAddress(leg.transport)
            except OSError:
                raise DialError(Reply.CONNECTION_REFUSED, _AT_ONCE) from None
            session.record.dialled = self._legs.dialled
            session.relay(leg, bound)
        except Exception:
            session.fail(Failure())
            if isinstance(leg, Leg):
                leg.abort()  # Nobody else would close it.
