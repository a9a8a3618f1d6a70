"""
The UDP relay: the client's socket, and one more for each family of targets.

A datagram that comes in on the client's leg goes out on a target's, and the other way round.
Who the client is, where a datagram is bound for and who may answer is asked of an L{Addressing};
what stands in a datagram is not looked at.  So the sockets can be exchanged for faster ones and
the decisions stay.

Nothing that a datagram brings about is fatal: what cannot be sent is dropped and counted by its
kind, be it that there is no way to the target, that a socket reports an error, or that the send
buffer is full, for a relay that waited would hold up everybody else.

A target's leg is opened by the first datagram of its family and serves all targets: they all see
one port (endpoint-independent mapping, RFC 4787, section 4.1).
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import ISystemHandle
from twisted.internet.protocol import DatagramProtocol

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IReactorUDP, IUDPTransport

Endpoint = tuple[str, int]
"""An IP address as the system writes it, with its zone id if it has one, and a port."""

MAX_DATAGRAM = 65536
"""More octets than any datagram has, so that none is cut off unnoticed."""

BUFFER = 1 << 20
"""Octets of kernel buffer to ask for: bursts come faster than a reactor goes round."""

MIN_BUFFER = 1 << 17
"""Where asking for less ends: systems have about that by default."""

# Why a datagram was dropped, as the count names it; what is not here has the system's own words.
FULL = "send buffer full"
TOO_LARGE = "too large"
NO_SOCKET = "no socket"

_SEND_ERRORS = {
    errno.EAGAIN: FULL,
    errno.EWOULDBLOCK: FULL,
    errno.ENOBUFS: FULL,
    errno.EMSGSIZE: TOO_LARGE,
}

_TRY_ANOTHER = (errno.EADDRINUSE, errno.EACCES)
_ANYWHERE = {4: "0.0.0.0", 6: "::"}


class Route:
    """
    The way to a target.

    @ivar version: of IP: which leg.
    @ivar address: the target.
    @ivar failing: there was no way when it was tried the last time.
    """

    __slots__ = ("address", "failing", "version")

    def __init__(self, version: int, address: Endpoint) -> None:
        self.version = version
        self.address = address
        self.failing = False


class Addressing(Protocol):
    """Says who is the client and where datagrams go; what it drops, it counts."""

    def outward(self, datagram: bytes, source: Endpoint) -> tuple[Route, bytes] | None:
        """
        Look at a datagram that came in on the client's leg.

        @return: where to send what; L{None}: nothing is to be sent, or not now.
        """

    def inward(self, source: Endpoint) -> tuple[bytes, Endpoint] | None:
        """
        Look at a datagram that came in on a target's leg.

        @return: what to put in front of it, and the client; L{None}: it is not to be sent.
        """


class DatagramLeg(DatagramProtocol):
    """One socket of a relay."""

    noisy = False

    def __init__(self, relay: UDPRelay, lost: Callable[[], object]) -> None:
        """
        @param relay: the relay.
        @param lost: called if the socket goes without having been closed.
        """
        self._relay = relay
        self._lost = lost
        self._port: IListeningPort | None = None

    def open(self, reactor: IReactorUDP, interface: str, ports: Iterable[int]) -> Endpoint:
        """
        Bind a socket.

        @param reactor: has the socket.
        @param interface: the IP address.
        @param ports: those to try until one is free; 0 leaves it to the system.
        @return: where it is bound.
        @raise CannotListenError: none is, or there can be no socket.
        """
        refusal = CannotListenError(interface, 0, OSError(errno.EADDRINUSE, "no port to try"))
        for port in ports:
            try:
                self._port = reactor.listenUDP(port, self, interface, MAX_DATAGRAM)
            except CannotListenError as error:
                refusal = error
                if getattr(error.socketError, "errno", 0) not in _TRY_ANOTHER:
                    break
            else:
                host = self._port.getHost()
                return host.host, host.port  # type: ignore[attr-defined]  # of a UDP port
        try:
            raise refusal
        finally:
            # Twisted does not close a socket that it could not bind, but leaves it to the garbage
            # collector; it is on the stack that this holds, and that holds this.
            del refusal

    def send(self, datagram: bytes, address: Endpoint) -> str:
        """
        Send a datagram now or never.

        @return: why it was dropped; empty: it is sent.
        """
        try:
            self._send(datagram, address)
        except OSError as error:
            number = error.errno or errno.EIO
            return _SEND_ERRORS.get(number) or os.strerror(number).lower()
        except MessageLengthError:
            return TOO_LARGE
        return ""

    def close(self) -> None:
        """Release the socket; no more datagrams come."""
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()

    # What the transport tells.

    def makeConnection(self, transport: IUDPTransport) -> None:
        """Bound: make room for bursts, and take the short way to the socket."""
        super().makeConnection(transport)
        self._send: Callable[[bytes, Endpoint], object] = transport.write
        if ISystemHandle.providedBy(transport):
            handle = cast(socket.socket, transport.getHandle())
            _enlarge(handle, socket.SO_RCVBUF)
            _enlarge(handle, socket.SO_SNDBUF)
            # write() parses each address up to four times, which takes as long as sending does.
            self._send = handle.sendto

    def stopProtocol(self) -> None:
        """The socket is gone."""
        if self._port is not None:
            self._port = None
            self._lost()


def _enlarge(handle: socket.socket, option: int) -> None:
    """Make one of a socket's buffers as large as it may be, up to L{BUFFER}."""
    size = BUFFER
    while size >= MIN_BUFFER and size > handle.getsockopt(socket.SOL_SOCKET, option):
        try:
            handle.setsockopt(socket.SOL_SOCKET, option, size)
            return
        except OSError:
            # Some systems cut what is too much to their limit; others refuse it.
            size //= 2


class ClientLeg(DatagramLeg):
    """The socket that the client sends to."""

    def datagramReceived(self, datagram: bytes, addr: Endpoint) -> None:
        """Pass a datagram on to its target."""
        relay = self._relay
        found = relay.addressing.outward(datagram, addr)
        if found is not None:
            why = relay.send(*found)
            if why:
                relay.drops[why] += 1


class TargetLeg(DatagramLeg):
    """The socket that the targets of one family see."""

    def datagramReceived(self, datagram: bytes, addr: Endpoint) -> None:
        """Pass a datagram on to the client."""
        found = self._relay.addressing.inward(addr)
        if found is not None:
            self._relay.answer(found[0], datagram, found[1])


class UDPRelay:
    """
    A client's leg and, as the need arises, one for the targets of each family.

    @ivar addressing: decides; to be set before L{open}.
    @ivar sent: octets of payload sent to targets.
    @ivar received: octets of payload sent to the client.
    @ivar datagrams: how many datagrams that were, both ways.
    @ivar drops: how many datagrams were dropped, by kind; others count theirs here, too.
    """

    addressing: Addressing

    def __init__(
        self, reactor: IReactorUDP, sources: Mapping[int, str], lost: Callable[[], object]
    ) -> None:
        """
        @param reactor: has the sockets.
        @param sources: by IP version, the address to send to targets from; where there is none,
            the system chooses.
        @param lost: called if the client's socket goes without having been closed.
        """
        self._reactor = reactor
        self._sources = sources
        self._client = ClientLeg(self, lost)
        self._targets: dict[int, TargetLeg] = {}
        self._closed = False
        self.sent = 0
        self.received = 0
        self.datagrams = 0
        self.drops: Counter[str] = Counter()

    def open(self, interface: str, ports: Iterable[int]) -> Endpoint:
        """
        Bind the client's leg.

        @param interface: the IP address.
        @param ports: those to try until one is free; 0 leaves it to the system.
        @return: where it is bound.
        @raise CannotListenError: none is, or there can be no socket.
        """
        return self._client.open(self._reactor, interface, ports)

    def send(self, route: Route, payload: bytes) -> str:
        """
        Send a datagram to a target, now or never.

        @return: why it was dropped, for the caller to count; empty: it is sent.
        """
        leg = self._targets.get(route.version) or self._openTarget(route.version)
        why = leg.send(payload, route.address) if leg is not None else NO_SOCKET
        if not why:
            self.sent += len(payload)
            self.datagrams += 1
        elif why not in (FULL, TOO_LARGE):
            route.failing = True
        return why

    def answer(self, header: bytes, payload: bytes, client: Endpoint) -> None:
        """Send a datagram to the client, or drop it."""
        why = self._client.send(header + payload, client)
        if why:
            self.drops[why] += 1
        else:
            self.received += len(payload)
            self.datagrams += 1

    def close(self) -> None:
        """Release all sockets, at once and for ever."""
        self._closed = True
        for leg in (self._client, *self._targets.values()):
            leg.close()
        self._targets.clear()

    def _openTarget(self, version: int) -> TargetLeg | None:
        if self._closed:
            return None
        leg = TargetLeg(self, lambda: self._targets.pop(version, None))
        try:
            leg.open(self._reactor, self._sources.get(version) or _ANYWHERE[version], (0,))
        except CannotListenError:
            return None
        self._targets[version] = leg
        return leg
