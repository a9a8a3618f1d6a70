"""
BIND (RFC 1928, sections 4 and 6): a port of ours for one connection, from the expected peer.

The story of a BIND:

  1. DST.ADDR is the peer, never an address to listen on.  It is normalised, resolved and judged as
     a CONNECT's destination is; 0.0.0.0 and ::, however they are spelt, stand for anybody;
  2. we listen where that peer can reach us, and only then the first reply tells the client where;
  3. who connects is compared with the peer, and judged: a stranger is reset, counted and logged,
     and the wait goes on;
  4. the peer has come: the port is closed, the second reply names the peer, and both are joined;
  5. or nobody has come in time: the second reply says so (REP 6, TTL expired);
  6. or the client has ended the control connection before: the port is closed.

Where we listen: on the address that we would connect to the peer from, so that an FTP server sees
data and control connection come from one host.  Where a name leads to both families, on one
address of each, on the same port: the reply can name only one, of the client's own family where
there is a choice, but a peer that knows the proxy by name may come by the other.  For anybody, on
the address that the client has reached us by.

DST.PORT filters nothing (see L{Expected}); whether it chooses the port is the operator's to say
(see L{PortChoice}).  To the rules it is the port of the access, at the request and for who comes.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random, SystemRandom
from typing import TYPE_CHECKING

from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.protocol import Protocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.addresses import ipAddress
from twisted_socks5.config import PortChoice
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.errors import RequestError, ResolutionError
from twisted_socks5.failures import mostTelling, replyFor
from twisted_socks5.interfaces import Access
from twisted_socks5.relay import Leg
from twisted_socks5.relay.tcp import tune
from twisted_socks5.server.bound import Own, named, own, ownTowards, portsFrom
from twisted_socks5.server.destinations import insist, normalised, permittedAddresses, resolved
from twisted_socks5.server.expected import Expected
from twisted_socks5.server.listeners import close, listen
from twisted_socks5.wire import UNSPECIFIED, Address, Reply
from twisted_socks5.wire.constants import SOCKS4_VERSION

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol, ITransport

    from twisted_socks5.interfaces import IPAddress
    from twisted_socks5.server.session import SOCKS5ServerProtocol
    from twisted_socks5.wire import Request, Request4

#: Ports below are never listened on because a client asks for them.
UNPRIVILEGED = 1024

#: The port that the system has chosen for one family may be taken in the other: how often to ask.
TRIES = 8

#: To how many of a name's addresses there may be no way before no more of them are looked at.
WAYS_MISSED = 16

#: Strangers of one BIND that get a line in the log; where nobody else has come, the access log
#: has the count of all.
STRANGERS_LOGGED = 3


class PeerLeg(Leg):
    """The leg of the peer, which says when it is connected."""

    __slots__ = ("_awaited",)

    def __init__(self, bind: Bind, peer: Address) -> None:
        super().__init__()
        self._awaited = (bind, peer)

    def makeConnection(self, transport: ITransport) -> None:
        """Take a transport, and say so."""
        super().makeConnection(transport)
        bind, peer = self._awaited
        del self._awaited  # it knows the whole session, and a leg may outlive that
        bind.connected(self, peer)


class Stranger(Protocol):
    """Somebody who is not let in."""

    def connectionMade(self) -> None:
        """End it with a reset: it is no connection that has come to an end."""
        self.transport.abortConnection()  # type: ignore[union-attr]  # made, so there is one


@implementer(IProtocolFactory)
class Bind:
    """
    One BIND: an L{Undertaking<twisted_socks5.server.session.Undertaking>}, and the factory of
    who connects meanwhile.
    """

    __slots__ = (
        "_access",
        "_bound",
        "_expected",
        "_finding",
        "_host",
        "_lastStranger",
        "_listening",
        "_request",
        "_session",
        "_strangers",
    )

    _expected: Expected

    #: Chooses ports.
    random: Random = SystemRandom()

    _log = Logger()

    def __init__(self, session: SOCKS5ServerProtocol, request: Request | Request4) -> None:
        """
        @param session: whose request it is.
        @param request: the request.
        """
        self._session = session
        self._request = request
        self._host = normalised(request.destination.host)
        self._access = session.access(request, self._host)
        self._bound = UNSPECIFIED
        self._finding: Deferred[None] | None = None
        #: Where somebody may still come.
        self._listening: Sequence[IListeningPort] = ()
        self._strangers = 0
        self._lastStranger = UNSPECIFIED

    def start(self) -> None:
        """Find out who is expected; then listen, and tell the client where."""
        session, host, access = self._session, self._host, self._access
        if isinstance(host, str):
            found = resolved(host, session.server.lookup, session.rules, access)
            self._finding = found.addCallback(_specified, host).addCallback(self._listen)
            self._finding.addErrback(session.fail)
        elif int(host):
            self._listen(permittedAddresses([host], session.rules, access))
        else:
            insist(session.rules, access)
            self._listen([])

    def clientEnded(self) -> None:
        """The client's FIN: whoever came now would come in vain."""
        self._release()
        self._session.finish("client closed before its peer had come")

    def drain(self, reason: str) -> None:
        """Nobody will come in time: say so, and listen no more."""
        self._session.refuse(Reply.GENERAL_FAILURE, reason)

    def expired(self) -> None:
        """Nobody has come in time: say so, and listen no more."""
        seconds = self._session.server.settings.bind_timeout
        self._session.refuse(
            Reply.TTL_EXPIRED,
            f"no connection from {self._expected} to {self._bound} within {seconds:g} s",
        )

    def cancel(self) -> None:
        """Let nobody in any more, and write down who was not."""
        self._release()
        if self._strangers:
            self._session.record.reason += (
                f"; turned away: {self._strangers}, the last one {self._lastStranger}"
            )

    # Who is expected, and where.

    def _listen(self, addresses: list[IPAddress]) -> None:
        """Listen for who has these addresses, and send the first reply."""
        session, server = self._session, self._session.server
        settings = server.settings
        self._expected = Expected(addresses, settings.bind_peers)
        ends = self._ends(addresses)
        self._listening, port = listen(
            server.streams or server.reactor,
            [end.interface for end in ends],
            self._portsToTry(len(ends)),
            self,
        )
        address = ends[0].address
        self._bound = Address(address, port)
        server.binds.add(self)
        session.promise(Address(named(address, settings.advertised), port))

    def _ends(self, addresses: Sequence[IPAddress]) -> list[Own]:
        """Say where to listen, at one address of a family; the first is the one to be named."""
        session = self._session
        ends = self._ways(addresses) if addresses else [own(session.transport.getHost())]
        if self._request.version == SOCKS4_VERSION:
            ends = [end for end in ends if end.address.version == 4]
            if not ends:
                raise RequestError(
                    Reply.ADDRESS_TYPE_NOT_SUPPORTED, "SOCKS4 cannot name an IPv6 address"
                )
        elif len(ends) > 1 and session.client is not None:
            version = session.client.version
            ends.sort(key=lambda end: end.address.version != version)
        return ends

    def _ways(self, addresses: Sequence[IPAddress]) -> list[Own]:
        """Find our address, for each family, on the way to the first that there is a way to."""
        server = self._session.server
        dialer, second = server.dialer, int(server.clock.seconds())
        sources = dialer.sources if isinstance(dialer, HappyEyeballs) else {}
        ways: dict[int, Own] = {}
        failures: list[tuple[Reply, str]] = []
        for address in addresses:
            version = address.version
            if version in ways or len(failures) == WAYS_MISSED:
                continue
            try:
                source = sources.get(version)
                ways[version] = Own.parse(source[0]) if source else ownTowards(address, second)
            except OSError as error:
                reply, text = replyFor(error)
                failures.append((reply, f"no way to {address}: {text}"))
        if not ways:
            reply = mostTelling(reply for reply, _ in failures)
            raise RequestError(reply, "; ".join(text for _, text in failures))
        return list(ways.values())

    def _portsToTry(self, families: int) -> Sequence[int]:
        """Say which ports to try, in which order."""
        settings, wanted = self._session.server.settings, self._request.destination.port
        ports = settings.bind_ports
        if wanted and settings.bind_port_choice is PortChoice.CLIENT:
            if wanted < UNPRIVILEGED or (ports is not None and wanted not in ports):
                raise RequestError(
                    Reply.GENERAL_FAILURE, f"port {wanted}, asked for, is none of those for BIND"
                )
            return (wanted,)
        if ports is not None:
            return portsFrom(ports, self.random)
        return (0,) * (TRIES if families > 1 else 1)

    # Who comes.

    def buildProtocol(self, addr: IAddress | None) -> IProtocol:
        """Somebody has connected: is it the peer?"""
        found = ipAddress(addr) if addr is not None and self._listening else None
        if found is None:
            return Stranger()  # the peer has come before, in the same turn
        peer = Address(*found)
        try:
            objection = self._objection(found[0])
        except Exception:
            self._session.fail(Failure())
            return Stranger()
        if objection:
            self._turnedAway(peer, objection)
            return Stranger()
        self._release()
        return PeerLeg(self, peer)

    def _objection(self, address: IPAddress) -> str:
        """Say why who comes from C{address} is not let in; nothing, if it is."""
        session = self._session
        if not self._expected.includes(address):
            peers = session.server.settings.bind_peers
            return f"expected is {self._expected} (bind-peers: {peers.value})"
        access = self._access
        if not (isinstance(self._host, str) or address == self._host):
            access = session.access(self._request, address)
        verdict = session.rules.judge(Access(*access[:5], address))
        return "" if verdict.permitted else verdict.reason

    def _turnedAway(self, stranger: Address, objection: str) -> None:
        """Count a stranger; whoever connects again and again does not fill the log."""
        self._strangers += 1
        self._lastStranger = stranger
        if self._strangers <= STRANGERS_LOGGED:
            self._log.warn(
                "{stranger} turned away from {bound}, where {client} awaits its peer: {reason}",
                stranger=str(stranger),
                bound=str(self._bound),
                client=self._session.record.client,
                reason=objection,
            )

    def connected(self, leg: PeerLeg, peer: Address) -> None:
        """The peer is connected: send the second reply, and relay."""
        try:
            tune(leg.transport)
            self._session.record.dialled = str(peer)
            self._session.relay(leg, peer)
        except Exception:
            leg.transport.abortConnection()
            self._session.fail(Failure())

    def doStart(self) -> None:
        """A port listens; there is nothing to begin for that."""

    def doStop(self) -> None:
        """A port listens no more."""

    # The end.

    def _release(self) -> None:
        """Call the lookup off, and listen no more."""
        if self._finding is not None:
            self._finding.cancel()
        listening, self._listening = self._listening, ()
        close(listening)
        self._session.server.binds.discard(self)


def _specified(addresses: list[IPAddress], name: str) -> list[IPAddress]:
    """
    Leave out what is no host's address: no name makes a BIND one for anybody.

    @raise ResolutionError: that was all.
    """
    found = [address for address in addresses if int(address)]
    if not found:
        raise ResolutionError(f"{name} has no address that a connection could come from")
    return found
