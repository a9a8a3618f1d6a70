"""
The UDP relay: the client's socket, and one more for each family of targets.

A datagram that comes in on the client's leg goes out on a target's, and the other way round.
Who the client is, where a datagram is bound for and who may answer is asked of an L{Addressing};
what stands in a datagram is not looked at.  So the sockets can be exchanged for faster ones and
the decisions stay.

Nothing that a datagram brings about is fatal: what cannot be sent is dropped and counted by its
kind, be it that there is no way to the target, that a socket reports an error, or that the send
buffer is full, for a relay that waited would hold up everybody else.

Datagrams come in batches where the reactor has them so.  Of those in a row from one source for one
target the first is looked at, and the others go the same way; and what a batch leads to is sent
when all of it was looked at: several datagrams of one length on the same way go as one.

A target's leg is opened by the first datagram of its family and serves all targets: they all see
one port (endpoint-independent mapping, RFC 4787, section 4.1).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from twisted.internet.error import CannotListenError

from twisted_socks5.relay.legs import FULL, TOO_LARGE, ClientLeg, DatagramLeg, TargetLeg
from twisted_socks5.streams.datagrams import MAX_TRAIN, MAX_TRAIN_OCTETS, trains
from twisted_socks5.streams.receiving import Alike

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorUDP

    from twisted_socks5.streams import DatagramUDP
    from twisted_socks5.streams.datagrams import Buffer

Endpoint = tuple[str, int]
"""An IP address as the system writes it, with its zone id if it has one, and a port."""

# Why a datagram was dropped, as the count names it.
NO_SOCKET = "no socket"

# In the place of an IP version: the client's leg.
_CLIENT = 0

_ANYWHERE = {4: "0.0.0.0", 6: "::"}


class Route:
    """
    The way to a target.

    @ivar version: of IP, 4 or 6: which leg.
    @ivar address: the target.
    @ivar asked: what the client's datagrams for it begin with.  What comes right behind one that
        was looked at, from the same source and with the same beginning, goes the same way.
        Empty: each is to be looked at.
    @ivar failing: there was no way when it was tried the last time.
    """

    __slots__ = ("address", "asked", "failing", "version")

    def __init__(self, version: int, address: Endpoint, asked: bytes = b"") -> None:
        self.version = version
        self.address = address
        self.asked = asked
        self.failing = False


class Addressing(Protocol):
    """Says who is the client and where datagrams go; what it drops, it counts."""

    def outward(self, datagram: bytes, source: Endpoint) -> tuple[Route, bytes] | None:
        """
        Look at a datagram that came in on the client's leg.

        @return: where to send what; L{None}: nothing is to be sent, or not now.
        """

    def inward(self, source: Endpoint, count: int) -> tuple[bytes, Endpoint] | None:
        """
        Look at where datagrams came from that came in on a target's leg.

        @param count: how many they are.
        @return: what to put in front of each, and the client; L{None}: none is to be sent.
        """


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
        #: By L{Route.version}.
        self._legs: dict[int, DatagramLeg] = {_CLIENT: self._client}
        self.closed = False
        self._wayBack = Route(_CLIENT, ("", 0))
        #: What is gathered, and for where; and how much of each is no payload.
        self._gathered: list[bytes] = []
        self._way = self._wayBack
        self._extra = 0
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
        self._client.open(self._reactor, interface, ports)
        return self._client.bound()

    def send(self, route: Route, payload: bytes) -> str:
        """
        Send a datagram to a target, now or never.

        @return: why it was dropped, for the caller to count; empty: it is sent.
        """
        leg = self._legs.get(route.version) or self._openTarget(route.version)
        why = leg.send(payload, route.address) if leg is not None else NO_SOCKET
        if not why:
            self._count(route, len(payload), 1)
        elif why not in (FULL, TOO_LARGE):
            route.failing = True
        return why

    def answer(self, header: bytes, payloads: Iterable[bytes], client: Endpoint) -> None:
        """Send datagrams to the client with the next L{flush} at the latest, or drop them."""
        way = self._wayTo(client)
        if isinstance(payloads, Alike):
            self.sendAlike(way, payloads, header)
        else:
            self.gather(way, [header + payload for payload in payloads], len(header))

    def deliver(self, datagrams: list[bytes], extra: int, client: Endpoint) -> None:
        """
        Send datagrams to the client as they are, with the next L{flush}, or drop them.

        @param extra: as for L{gather}.
        """
        self.gather(self._wayTo(client), datagrams, extra)

    def sendAlike(self, way: Route, datagrams: Alike, header: bytes = b"") -> None:
        """
        Send datagrams that are alike from where they are, or drop them.

        @param way: for all of them: they begin with what asks for it.
        @param header: stands in front of each instead.
        """
        self.flush()
        leg = self._legs.get(way.version) or self._openTarget(way.version)
        if leg is None:
            self.drops[NO_SOCKET] += len(datagrams)
            way.failing = True
            return
        skipped, extra, step = len(way.asked), len(header), 1
        length = datagrams.length - skipped + extra
        parts: list[Buffer] = [*datagrams.behind(skipped)]
        if header:
            step = 2
            payloads, parts = parts, [header] * (2 * len(parts))
            parts[1::2] = payloads
        most = max(1, min(MAX_TRAIN, MAX_TRAIN_OCTETS // length)) * step
        for start in range(0, len(parts), most):
            train = parts[start : start + most]
            count = len(train) // step
            if count > 1 and leg.sendTrain(train, length, way.address):
                self._count(way, count * (length - extra), count)
            else:
                each = [b"".join(train[at : at + step]) for at in range(0, len(train), step)]
                self._sendEach(leg, way, each, extra)

    def gather(self, way: Route, datagrams: list[bytes], extra: int = 0) -> None:
        """
        Send datagrams with the next L{flush}, those of one length on the same way together.

        @param datagrams: ours from now on.
        @param extra: octets of each that are none of its payload.
        """
        if self._gathered:
            if way is self._way and extra == self._extra:
                self._gathered += datagrams
                return
            self.flush()
        self._way, self._extra = way, extra
        self._gathered = datagrams

    def flush(self) -> None:
        """Send what was gathered, or drop it."""
        gathered, way, extra = self._gathered, self._way, self._extra
        if not gathered:
            return
        self._gathered = []
        leg = self._legs.get(way.version) or self._openTarget(way.version)
        if leg is None:
            self.drops[NO_SOCKET] += len(gathered)
            way.failing = True
        elif len(gathered) == 1:  # as many are that are answered before the next is sent
            self._sendEach(leg, way, gathered, extra)
        else:
            for train in trains(gathered):
                count = len(train)
                if count > 1 and leg.sendTrain(train, len(train[0]), way.address):
                    self._count(way, sum(map(len, train)) - count * extra, count)
                else:
                    self._sendEach(leg, way, train, extra)

    def close(self) -> None:
        """Release all sockets, at once and for ever."""
        self.closed = True
        legs = list(self._legs.values())
        self._legs.clear()
        for leg in legs:
            leg.close()

    def _wayTo(self, client: Endpoint) -> Route:
        if self._wayBack.address != client:
            self._wayBack = Route(_CLIENT, client)
        return self._wayBack

    def _sendEach(self, leg: DatagramLeg, way: Route, datagrams: list[bytes], extra: int) -> None:
        """Send what does not travel together."""
        for datagram in datagrams:
            why = leg.send(datagram, way.address)
            if why:
                self.drops[why] += 1
                if why not in (FULL, TOO_LARGE):
                    way.failing = True
            else:
                self._count(way, len(datagram) - extra, 1)

    def _count(self, way: Route, octets: int, datagrams: int) -> None:
        """Count what was sent; C{octets} are those of payload."""
        self.datagrams += datagrams
        if way.version == _CLIENT:
            self.received += octets
        else:
            self.sent += octets

    def _openTarget(self, version: int) -> TargetLeg | None:
        if self.closed:
            return None
        leg = TargetLeg(self, lambda: self._legs.pop(version, None))
        try:
            leg.open(self._reactor, self._sources.get(version) or _ANYWHERE[version], (0,))
        except CannotListenError:
            return None
        self._legs[version] = leg
        return leg
