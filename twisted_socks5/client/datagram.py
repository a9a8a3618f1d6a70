"""
Datagrams through a proxy: UDP ASSOCIATE (RFC 1928, section 7), below any C{DatagramProtocol}.

An association is a control connection to the proxy, for as long as it stands, and a UDP socket of
ours, connected to where the proxy relays datagrams (BND of its reply).  Each datagram has a header
that says where it goes to, and in the other direction where it came from.  Names may stand there,
too: nothing is resolved here but the proxy's own name, if that is how it says where it relays.

L{Association} is an C{IUDPTransport}, so that an unmodified protocol runs on it.  It has three
states: it is being opened (what is sent then waits, within a bound), it stands, it is over.

What is not the proxy's is dropped, and so is what makes no sense (L{envelope
<twisted_socks5.client.envelope>} takes datagrams apart), each counted by its kind: this is UDP.
"""

from __future__ import annotations

import errno
from collections import deque
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Final, NoReturn

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.error import InvalidAddressError, MessageLengthError
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.addresses import unmapped
from twisted_socks5.client.bound import boundAddress, zoned
from twisted_socks5.client.envelope import Envelope, headerFor
from twisted_socks5.client.errors import NameNotFound, ProxyClosed, SOCKSError
from twisted_socks5.client.observers import Observers
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.errors import ResolutionError
from twisted_socks5.resolving import NameLookup
from twisted_socks5.wire import UNSPECIFIED, Address, Command, describe_host

if TYPE_CHECKING:
    from twisted.internet.interfaces import IStreamClientEndpoint
    from twisted.internet.protocol import AbstractDatagramProtocol

    from twisted_socks5.client.control import ControlConnection
    from twisted_socks5.client.envelope import Endpoint

MAX_PACKET: Final = 65536
"""More octets than any datagram has, so that none is cut off unnoticed."""

MAX_WAITING: Final = 64
"""How many datagrams wait for the proxy's reply; those that come later are dropped."""

# Why a datagram was dropped, as the count names it; L{Envelope} has further reasons.
STRANGER: Final = "not from the proxy"
UNCONNECTED: Final = "not from the connected address"
TOO_EARLY: Final = "too many before the reply"
TOO_LATE: Final = "after the end"
TOO_LARGE: Final = "too large"
FAILED: Final = "not to be sent"


class _Socket(DatagramProtocol):
    """Our own socket, for the proxy's datagrams."""

    noisy = False

    def __init__(self, association: Association) -> None:
        self._association = association

    def datagramReceived(self, datagram: bytes, addr: Endpoint) -> None:
        """A datagram, from the proxy most likely."""
        self._association._arrived(datagram, addr)

    def connectionRefused(self) -> None:
        """The proxy's host says that nobody relays there."""
        self._association._refused()

    def stopProtocol(self) -> None:
        """The socket is gone: we have closed it, or the proxy on its way is lost."""
        self._association._socketLost()


@implementer(IUDPTransport, IListeningPort)
class Association:
    """
    An association with a proxy: the transport of a C{DatagramProtocol}.

    L{associate} opens one.

    @ivar drops: how many datagrams were dropped, by kind.
    @ivar relay: where the proxy relays; L{None} until it has said that.
    """

    def __init__(
        self,
        protocol: AbstractDatagramProtocol,
        reactor: Any,
        *,
        maxPacketSize: int = MAX_PACKET,
        fragmentSize: int | None = None,
    ) -> None:
        """
        @param protocol: receives the datagrams.
        @param reactor: as for L{associate}, as are those that follow.
        """
        self._protocol = protocol
        self._reactor = reactor
        self._maxPacketSize = maxPacketSize
        self._socket: Any = None
        self._control: ControlConnection | None = None
        self._opening: Deferred[None] | None = None
        self._waiting: deque[tuple[bytes, bytes]] = deque()
        self._peer: Endpoint | None = None
        self._connectedTo: Endpoint | None = None
        self._started = False
        self._over = False
        #: Why it is over; L{None}: we have ended it.
        self._why: Failure | None = None
        self._closed = Observers()
        self._envelope = Envelope(reactor, fragmentSize)
        self.drops = self._envelope.drops
        self.relay: Address | None = None

    def __repr__(self) -> str:
        state = "over" if self._over else "opening" if self.relay is None else f"at {self.relay}"
        return f"<{type(self).__name__} of {type(self._protocol).__name__}, {state}>"

    # Its life.

    def start(self) -> None:
        """Be the protocol's transport from now on, be it that datagrams have to wait."""
        self._protocol.makeConnection(self)
        self._started = True

    def open(
        self,
        proxy: Proxy | IStreamClientEndpoint,
        interface: str = "",
        declare: bool = True,
    ) -> Deferred[None]:
        """
        Ask the proxy to relay.

        @param proxy: as for L{associate}, as are those that follow.
        @return: fires when it does; otherwise fails, and the association is over.
        """
        proxy = proxy if isinstance(proxy, Proxy) else Proxy(proxy)
        opening = Deferred.fromCoroutine(self._open(proxy, interface, declare))
        self._opening = opening
        return opening.addErrback(self._failed)

    def whenClosed(self) -> Deferred[None]:
        """
        Wait for the end.

        @return: fires if it was us who ended it; fails with L{ProxyClosed
            <twisted_socks5.client.errors.ProxyClosed>} if the control connection was lost, or with
            why the association did not come about.
        """
        return self._closed.wait()

    # IUDPTransport

    def write(self, packet: bytes, addr: Endpoint | None = None) -> None:
        """
        Send a datagram.

        @param packet: its payload.
        @param addr: an address or a name, and a port; a name is resolved by the proxy.  L{None}
            or the same address where L{connect} was called.
        @raise MessageLengthError: it is too large, even in fragments if they were asked for.
        @raise InvalidAddressError: there can be no such host.
        @raise ValueError: there is no C{addr}, or it is not that of L{connect}.
        """
        if addr is None:
            if self._connectedTo is None:
                raise ValueError("where to? the transport is not connected")
            addr = self._connectedTo
        elif self._connectedTo is not None and addr != self._connectedTo:
            raise ValueError(f"the transport is connected to {self._connectedTo}")
        header = headerFor(*addr)
        if self._over:
            self.drops[TOO_LATE] += 1
        elif self.relay is not None:
            self._send(header, packet)
        elif len(self._waiting) < MAX_WAITING:
            self._waiting.append((header, packet))
        else:
            self.drops[TOO_EARLY] += 1

    def writeSequence(self, seq: Any, addr: Endpoint | None = None) -> None:
        """Send a datagram that comes in pieces; see L{write}."""
        self.write(b"".join(seq), addr)

    def connect(self, host: str, port: int) -> None:
        """
        Send to, and hear from, one address only.

        @param host: an IP address: by a name nobody could tell whose datagrams come back.
        @raise InvalidAddressError: it is none.
        @raise RuntimeError: it is connected already.
        """
        if self._connectedTo is not None:
            raise RuntimeError("already connected, reconnecting is not currently supported")
        if not isIPAddress(host) and not isIPv6Address(host):
            raise InvalidAddressError(host, "not an IPv4 or IPv6 address.")
        headerFor(host, port)
        self._connectedTo = str(unmapped(ip_address(host))), port

    def getHost(self) -> Any:
        """
        Tell the address of our own socket.  Which one the targets see, no proxy tells.

        @return: an C{IPv4Address} or C{IPv6Address} for UDP; the unspecified one while there is no
            socket.
        """
        if self._socket is None:
            return IPv4Address("UDP", "0.0.0.0", 0)
        return self._socket.getHost()

    def startListening(self) -> None:
        """
        Do nothing: it listens from the beginning.

        @raise RuntimeError: it does no more, and cannot again.
        """
        if self._over:
            raise RuntimeError("this association is over; open another one")

    def stopListening(self) -> Deferred[None] | None:
        """
        End the association.

        @return: fires when our socket and the control connection are closed.
        """
        if self._over:
            return None
        return self._end(None)

    def loseConnection(self) -> Deferred[None] | None:
        """As L{stopListening}."""
        return self.stopListening()

    def setBroadcastAllowed(self, enabled: bool) -> None:
        """
        Not allow broadcasts, which is all that a proxy can do.

        @raise OSError: C{EOPNOTSUPP}, if they were to be allowed.
        """
        if enabled:
            self._unsupported()

    def getBroadcastAllowed(self) -> bool:
        """Tell that they are not allowed."""
        return False

    def _unsupported(self, *_: object, **__: object) -> NoReturn:
        """Refuse what cannot be done through a proxy, as a socket would."""
        raise OSError(errno.EOPNOTSUPP, "not possible through a SOCKS proxy")

    # What multicast sockets have, and some programs call without asking for the interface.
    joinGroup = leaveGroup = setTTL = setLoopbackMode = setOutgoingInterface = _unsupported

    # How it comes about.

    async def _open(self, proxy: Proxy, interface: str, declare: bool) -> None:
        declared = UNSPECIFIED
        version = 0
        if interface:
            ours = ip_address(interface)
            version = ours.version
            port = self._bind(interface)
            declared = Address(ours, port) if declare else declared
        control = await proxy.request(Command.UDP_ASSOCIATE, declared, self._reactor)
        self._control = control
        self._envelope.encapsulation = control.encapsulation
        control.whenClosed().addBoth(self._controlLost)
        relay = boundAddress(control)
        if isinstance(relay.host, bytes):
            relay = await self._lookUp(relay.host, relay.port, version, proxy.timeout)
        self._stand(relay, version)

    async def _lookUp(self, name: bytes, port: int, version: int, timeout: float) -> Address:
        """Find out where the proxy relays, when it says that by a name."""
        resolver = self._reactor.nameResolver
        lookup = NameLookup(resolver, self._reactor, timeout=timeout, lifetime=0)
        text = describe_host(name)
        try:
            found = await lookup.lookup(text)
        except ResolutionError as error:
            raise NameNotFound(f"the proxy relays at {text}: {error}") from None
        usable = [address for address in found if version in (0, address.version)]
        return Address((usable or found)[0], port)

    def _bind(self, interface: str) -> int:
        """Open our socket, and give its port."""
        self._socket = self._reactor.listenUDP(0, _Socket(self), interface, MAX_PACKET)
        port: int = self._socket.getHost().port
        return port

    def _stand(self, relay: Address, version: int) -> None:
        """The proxy relays: connect our socket to there, and send what waits."""
        host, control = relay.host, self._control
        if isinstance(host, bytes) or control is None:
            raise TypeError(f"{host!r} is no address")
        if version not in (0, host.version):
            reason = f"the proxy relays at {relay}, where our socket cannot send to"
            raise SOCKSError(reason, proxy=control.proxyName)
        if self._socket is None:
            self._bind("::" if host.version == 6 else "0.0.0.0")
        self._peer = zoned(control, host), relay.port
        self._socket.connect(*self._peer)
        self.relay = relay
        self._opening = None
        waiting, self._waiting = self._waiting, deque()
        for header, packet in waiting:
            try:
                self._send(header, packet)
            except (MessageLengthError, OSError) as error:
                self.drops[TOO_LARGE if isinstance(error, MessageLengthError) else FAILED] += 1

    # What goes through it.

    def _send(self, header: bytes, packet: bytes) -> None:
        for datagram in self._envelope.close(header, packet):
            self._socket.write(datagram)

    def _arrived(self, datagram: bytes, addr: Endpoint) -> None:
        """A datagram has come to our socket."""
        if addr != self._peer or self._over:
            # The socket is connected, but may have heard somebody before it was.
            self.drops[STRANGER] += 1
            return
        opened = self._envelope.open(datagram)
        if opened is None:
            return
        payload, source = opened
        if self._connectedTo is not None and source != self._connectedTo:
            self.drops[UNCONNECTED] += 1
            return
        self._protocol.datagramReceived(payload[: self._maxPacketSize], source)

    def _refused(self) -> None:
        """Nobody relays there any more; the control connection will tell how that came."""
        if self._connectedTo is not None and self._started and not self._over:
            self._protocol.connectionRefused()  # type: ignore[attr-defined]  # if it is one of UDP

    # How it ends.

    def _controlLost(self, reason: object) -> None:
        if not self._over:
            proxy = self._control.proxyName if self._control is not None else ""
            why = f"the association is lost: {reason}"
            self._end(Failure(ProxyClosed(why, proxy=proxy)))

    def _socketLost(self) -> None:
        if not self._over:
            self._end(Failure(ProxyClosed("the socket on the way to the proxy is gone")))

    def _failed(self, failure: Failure) -> Failure:
        """It does not come about; and perhaps that is because it was ended."""
        if self._over:
            return self._why or failure
        self._end(failure)
        return failure

    def _end(self, why: Failure | None) -> Deferred[None]:
        self._over = True
        self._why = why
        self._waiting.clear()
        self._envelope.giveUp()
        opening, self._opening = self._opening, None
        if opening is not None:
            opening.cancel()
        closed: list[Deferred[Any]] = []
        if self._control is not None:
            closed.append(self._control.whenClosed())
            self._control.close()
        if self._socket is not None:
            ended = maybeDeferred(self._socket.stopListening)
        else:
            # Not before whoever ends it is through with it, as with a socket.
            ended = deferLater(self._reactor, 0, bool)
        ended.addCallback(self._stopped)
        return gatherResults([ended, *closed]).addCallback(lambda _: None)

    def _stopped(self, _: object) -> None:
        """Our socket is closed."""
        if self._started:
            self._started = False
            self._protocol.doStop()
        self._closed.fire(self._why)


def associate(
    proxy: Proxy | IStreamClientEndpoint,
    protocol: AbstractDatagramProtocol,
    reactor: Any,
    *,
    interface: str = "",
    declare: bool = True,
    maxPacketSize: int = MAX_PACKET,
    fragmentSize: int | None = None,
) -> Deferred[Association]:
    """
    Let a protocol send and receive datagrams through a proxy.

    @param proxy: the proxy, or the endpoint that leads to one without authentication.
    @param protocol: gets the L{Association} as its transport (C{makeConnection}) once it stands.
        Its C{stopProtocol} is called when that ends, in whatever way.
    @param reactor: has the socket, tells the time, and resolves the name that a proxy may give as
        its own.  To reach the proxy's UDP port through another proxy, give a L{SOCKS5Reactor
        <twisted_socks5.client.reactor.SOCKS5Reactor>} for that one.
    @param interface: the IP address of our socket; by default the system chooses it, once the
        proxy has said where it relays.
    @param declare: whether to tell the proxy C{interface} and the socket's port, so that it takes
        datagrams from nowhere else (DST of the request).  Not so behind a NAT.  Without an
        C{interface} nothing is declared, and it takes whoever of our host comes first.
    @param maxPacketSize: what is received beyond so many octets is cut off, as C{listenUDP} does.
    @param fragmentSize: the largest datagram to send to the proxy, in octets, with its header:
        what is larger is cut into fragments, which few proxies put together again.  L{None}:
        nothing is.
    @return: fires with the association.  Fails with a L{SOCKSError
        <twisted_socks5.client.errors.SOCKSError>}, with what the endpoint to the proxy fails
        with, or with L{CannotListenError<twisted.internet.error.CannotListenError>}.  Cancel it,
        and all that was opened is closed.
    """
    association = Association(
        protocol, reactor, maxPacketSize=maxPacketSize, fragmentSize=fragmentSize
    )

    def opened(_: None) -> Association:
        try:
            association.start()
        except Exception:
            association.stopListening()
            raise
        return association

    return association.open(proxy, interface, declare).addCallback(opened)
