"""
The UDP relay: the client's socket, and one more for each family of targets.

A datagram that comes in on the client's leg goes out on a target's, and the other way round.
Who the client is, where a datagram is bound for and who may answer is asked of an L{Addressing};
what stands in a datagram is not looked at.  So the sockets can be exchanged for faster ones and
the decisions stay.

Nothing that a datagram brings about is fatal: what cannot be sent is dropped and counted by its
kind, be it that there is no way to the target, that a socket reports an error, or that the send
buffer is full, for a relay that waited would hold up everybody else.

Datagrams come in batches where the reactor has them so, and what a batch leads to is sent when all
of it was looked at: several datagrams of one length on the same way go as one.

A target's leg is opened by the first datagram of its family and serves all targets: they all see
one port (endpoint-independent mapping, RFC 4787, section 4.1).
"""

from __future__ import annotations

import errno
import os
import socket
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, cast

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import ISystemHandle
from twisted.internet.protocol import DatagramProtocol

from twisted_socks5.streams.datagrams import MAX_TRAIN, MAX_TRAIN_OCTETS

if TYPE_CHECKING:
    from twisted.internet.interfaces import IListeningPort, IReactorUDP, IUDPTransport

    from twisted_socks5.streams import DatagramUDP

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
# In the place of an IP version: the client's leg.
_CLIENT = 0

_ANYWHERE = {4: "0.0.0.0", 6: "::"}


class Route:
    """
    The way to a target.

    @ivar version: of IP, 4 or 6: which leg.
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

    def open(
        self, reactor: IReactorUDP | DatagramUDP, interface: str, ports: Iterable[int]
    ) -> Endpoint:
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
                return host.host, host.port  # type: ignore[union-attr]  # of a UDP port
        try:
            raise refusal
        finally:
            # Twisted does not close a socket that it could not bind, but leaves it to the garbage
            # collector; it is on the stack that this holds, and that holds this.
            del refusal

    def datagramsReceived(self, batch: Iterable[tuple[bytes, Endpoint]]) -> None:
        """Pass on what has come at once, each datagram with its source."""
        raise NotImplementedError

    def datagramReceived(self, datagram: bytes, addr: Endpoint) -> None:
        """Pass on a single datagram."""
        self.datagramsReceived(((datagram, addr),))

    def sendTrain(self, datagrams: Sequence[bytes], address: Endpoint) -> bool:
        """
        Send several datagrams of one size, now and in one go.

        @return: whether they are sent; if not, L{send} each.
        """
        return self._sendTrain is not None and self._sendTrain(datagrams, address)

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
        self._sendTrain: Callable[[Sequence[bytes], Endpoint], bool] | None
        self._sendTrain = getattr(transport, "writeTrain", None)
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

    def datagramsReceived(self, batch: Iterable[tuple[bytes, Endpoint]]) -> None:
        """Pass datagrams on to their targets."""
        relay = self._relay
        outward = relay.addressing.outward
        try:
            for datagram, source in batch:
                found = outward(datagram, source)
                if found is not None:
                    route, payload = found
                    relay.gather(route, payload, len(payload))
        finally:
            relay.flush()


class TargetLeg(DatagramLeg):
    """The socket that the targets of one family see."""

    def datagramsReceived(self, batch: Iterable[tuple[bytes, Endpoint]]) -> None:
        """Pass datagrams on to the client."""
        relay = self._relay
        inward = relay.addressing.inward
        try:
            for datagram, source in batch:
                found = inward(source)
                if found is not None:
                    relay.answer(found[0], datagram, found[1])
        finally:
            relay.flush()


class UDPRelay:
    """
    A client's leg and, as the need arises, one for the targets of each family.

    @ivar addressing: decides; to be set before L{open}.
    @ivar sent: octets of payload sent to targets.
    @ivar received: octets of payload sent to the client.
    @ivar datagrams: how many datagrams that were, both ways.
    @ivar drops: how many datagrams were dropped, by kind; others count theirs here, too.
    @ivar closed: whether it is over.
    """

    addressing: Addressing

    def __init__(
        self,
        reactor: IReactorUDP | DatagramUDP,
        sources: Mapping[int, str],
        lost: Callable[[], object],
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
        self.closed = False
        self._wayBack = Route(_CLIENT, ("", 0))
        #: What is gathered: datagrams of one length for one address, and their payloads' sizes.
        self._way = self._wayBack
        self._length = self._room = 0
        self._train: list[bytes] = []
        self._sizes: list[int] = []
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
        leg = self._leg(route)
        why = leg.send(payload, route.address) if leg is not None else NO_SOCKET
        self._count(why, route, len(payload))
        return why

    def answer(self, header: bytes, payload: bytes, client: Endpoint) -> None:
        """Send a datagram to the client with the next L{flush}, or drop it."""
        self.deliver(header + payload, len(payload), client)

    def deliver(self, datagram: bytes, size: int, client: Endpoint) -> None:
        """
        Send a datagram to the client as it is, with the next L{flush}, or drop it.

        @param datagram: the header included.
        @param size: octets of its payload.
        @param client: the client.
        """
        if self._wayBack.address != client:
            self._wayBack = Route(_CLIENT, client)
        self.gather(self._wayBack, datagram, size)

    def gather(self, way: Route, datagram: bytes, size: int) -> None:
        """
        Send a datagram with the next L{flush}, and others of its length on the same way with it.

        @param size: octets of its payload.
        """
        length = len(datagram)
        if way is not self._way or length != self._length or not self._room:
            self.flush()
            self._way, self._length = way, length
            # An empty one travels alone: several would have no length to be cut at.
            self._room = min(MAX_TRAIN, MAX_TRAIN_OCTETS // length) if length else 1
        self._train.append(datagram)
        self._sizes.append(size)
        self._room -= 1

    def flush(self) -> None:
        """Send what was gathered, or drop it."""
        train, sizes, way = self._train, self._sizes, self._way
        if not train:
            return
        self._train, self._sizes, self._room = [], [], 0
        leg = self._leg(way)
        if leg is None:
            self.drops[NO_SOCKET] += len(train)
            way.failing = True
        elif len(train) > 1 and leg.sendTrain(train, way.address):
            self._count("", way, sum(sizes), len(train))
        else:
            for datagram, size in zip(train, sizes, strict=True):
                why = leg.send(datagram, way.address)
                self._count(why, way, size)
                if why:
                    self.drops[why] += 1

    def close(self) -> None:
        """Release all sockets, at once and for ever."""
        self.closed = True
        for leg in (self._client, *self._targets.values()):
            leg.close()
        self._targets.clear()

    def _leg(self, way: Route) -> DatagramLeg | None:
        if way.version == _CLIENT:
            return self._client
        return self._targets.get(way.version) or self._openTarget(way.version)

    def _count(self, why: str, way: Route, size: int, datagrams: int = 1) -> None:
        """Count what was sent; or, if it was not for a reason, note that there is no way."""
        if why:
            if why not in (FULL, TOO_LARGE):
                way.failing = True
            return
        self.datagrams += datagrams
        if way.version == _CLIENT:
            self.received += size
        else:
            self.sent += size

    def _openTarget(self, version: int) -> TargetLeg | None:
        if self.closed:
            return None
        leg = TargetLeg(self, lambda: self._targets.pop(version, None))
        try:
            leg.open(self._reactor, self._sources.get(version) or _ANYWHERE[version], (0,))
        except CannotListenError:
            return None
        self._targets[version] = leg
        return leg
