"""
Commands of a server that is not the last one: CONNECT and Tor's, asked of the next proxy.

What is asked for is normalised and judged as ever, and goes on in the spelling that was judged.
A name goes on as a name: it is judged by that alone, for its addresses are the next proxy's to
find.  Who the next proxy is, and how it is spoken with, an L{IVia<twisted_socks5.interfaces.IVia>}
knows.

BIND is in C{forwardedbind}, and UDP ASSOCIATE in C{forwardeddatagrams}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_socks5.addresses import unmapped
from twisted_socks5.errors import ConfigurationError, DialError, RequestError
from twisted_socks5.relay import Leg
from twisted_socks5.relay.tcp import tune
from twisted_socks5.server.connect import LegFactory
from twisted_socks5.server.destinations import insist, normalised, permittedAddresses
from twisted_socks5.wire import UNSPECIFIED, Address, Command, Reply

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocol

    from twisted_socks5.config import Settings
    from twisted_socks5.interfaces import IVia
    from twisted_socks5.server.session import SOCKS5ServerProtocol
    from twisted_socks5.wire import Request, Request4

#: The settings that are about what the next proxy does, and we don't.
_THE_NEXT_ONES = ("bind_peers", "bind_port_choice", "bind_ports", "udp_filtering")


def checkForwarding(settings: Settings) -> None:
    """
    Make sure that no setting promises what the next proxy decides.

    @raise ConfigurationError: one does.
    """
    usual = type(settings)()
    for name in _THE_NEXT_ONES:
        if getattr(settings, name) != getattr(usual, name):
            words = name.replace("_", " ").replace("udp", "UDP").replace("bind", "BIND")
            raise ConfigurationError(
                f"the setting of {words} cannot take effect: the next proxy (via) does that"
            )


def judged(session: SOCKS5ServerProtocol, request: Request | Request4) -> Address:
    """
    Judge a request's destination by all that can be known of it here.

    @return: it, as the next proxy is to be asked for it.
    @raise RequestError: it is none, or not permitted.
    """
    host = normalised(request.destination.host)
    access = session.access(request, host)
    if not isinstance(host, str):
        permittedAddresses([host], session.rules, access)
        return Address(host, request.destination.port)
    insist(session.rules, access)
    return Address(host.encode("ascii"), request.destination.port)


def nameable(bound: Address) -> Address:
    """Make sure that a reply can carry what the next proxy has said, or say nothing."""
    return UNSPECIFIED if bound.host == b"" else bound


def connected(protocol: IProtocol) -> Leg:
    """
    Take the leg that a next proxy's connection was given to.

    @raise DialError: it is cut already.
    """
    if not isinstance(protocol, Leg):
        raise TypeError(f"the next proxy's side returned {protocol!r}, not what the factory built")
    if protocol.lost is None:
        try:
            tune(protocol.transport)
        except OSError:
            protocol.transport.abortConnection()
        else:
            return protocol
    raise DialError(Reply.CONNECTION_REFUSED, "the next proxy cut the connection at once")


class Forwarded:
    """One forwarded command: an L{Undertaking<twisted_socks5.server.session.Undertaking>}."""

    via: IVia

    def __init__(self, session: SOCKS5ServerProtocol, request: Request | Request4) -> None:
        """
        @param session: whose request it is.
        @param request: the request.
        """
        self._session = session
        self._request = request
        self._asking: Deferred[None] | None = None
        if session.server.via is None:
            raise TypeError("there is no next proxy to forward to")
        self.via = session.server.via

    def start(self) -> None:
        """Judge; then ask the next proxy."""
        session = self._session
        try:
            destination = self._judged()
            asking = self._ask(destination, session.server.settings.dial_timeout)
        except RequestError as error:
            session.refuse(error.reply, error.reason)
            return
        self._asking = asking
        asking.addErrback(session.fail)

    def clientEnded(self) -> None:
        """Go on: the client may await its answer."""

    def drain(self, reason: str) -> None:
        """Go on: an answer is not far."""

    def cancel(self) -> None:
        """Ask no more."""
        if self._asking is not None:
            self._asking.cancel()

    def _judged(self) -> Address:
        return judged(self._session, self._request)

    def _ask(self, destination: Address, timeout: float) -> Deferred[None]:
        raise NotImplementedError


class ForwardedConnect(Forwarded):
    """One CONNECT."""

    def _ask(self, destination: Address, timeout: float) -> Deferred[None]:
        if not destination.port:
            raise RequestError(Reply.GENERAL_FAILURE, "port 0 cannot be connected to")
        found = self.via.connect(destination, LegFactory(), timeout)
        return found.addCallback(self._connected)

    def _connected(self, found: tuple[IProtocol, Address]) -> None:
        leg = connected(found[0])
        self._session.record.dialled = self.via.name
        self._session.relay(leg, nameable(found[1]))


class ForwardedResolve(Forwarded):
    """One RESOLVE, or RESOLVE_PTR."""

    def _ask(self, destination: Address, timeout: float) -> Deferred[None]:
        command = Command(self._request.command)
        if command is Command.RESOLVE_PTR and isinstance(destination.host, bytes):
            raise RequestError(Reply.HOST_UNREACHABLE, "RESOLVE_PTR asks for a name, not by one")
        return self.via.resolve(command, destination, timeout).addCallback(self._answered)

    def _answered(self, bound: Address) -> None:
        session, host = self._session, bound.host
        if not isinstance(host, bytes):
            # Who may not reach a host learns nothing of it.
            asked = session.access(self._request, normalised(self._request.destination.host))
            (host,) = permittedAddresses([unmapped(host)], session.rules, asked)
        session.record.dialled = self.via.name
        session.answer(nameable(Address(host, 0)))
