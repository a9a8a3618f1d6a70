"""Bursts on sockets of our own, through relays that put something else around datagrams."""

from __future__ import annotations

import socket
from ipaddress import ip_address
from typing import Any, cast

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.streams.test_datagrams import Watching
from twisted_socks5.relay.udp import UDPRelay
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.server.clientend import ClientEnd
from twisted_socks5.server.datagrams import RuledAddressing
from twisted_socks5.server.encapsulated import EncapsulatedAddressing, EncapsulatedRelay
from twisted_socks5.server.forwardeddatagrams import (
    EncapsulatedForwardingRelay,
    FarLeg,
    ForwardingRelay,
)
from twisted_socks5.server.forwardroutes import Answers, ForwardRoutes
from twisted_socks5.server.routes import Routes
from twisted_socks5.server.verdicts import Verdicts
from twisted_socks5.streams import DatagramUDP
from twisted_socks5.wire import UNSPECIFIED, pack_header

HERE = "127.0.0.1"
SECONDS = 10

#: Of one length, and of several.
BURSTS = ([b"one", b"two", b"six"], [b"three", b"four", b"five", b"", b""])


class Sealing:
    """What protects datagrams, with a mark."""

    def __init__(self, mark: bytes) -> None:
        self._mark = mark

    def wrapDatagram(self, datagram: bytes) -> bytes:
        """Put the mark in front."""
        return self._mark + datagram

    def unwrapDatagram(self, token: bytes) -> bytes:
        """Take it off."""
        if not token.startswith(self._mark):
            raise AssertionError(token)
        return token[len(self._mark) :]


class FarEnd(Sealing):
    """The next proxy's association."""

    def __init__(self, address: tuple[str, int], protected: bool) -> None:
        super().__init__(b"far:")
        self.address = address
        self.protected = protected
        self.wrap, self.unwrap = self.wrapDatagram, self.unwrapDatagram


class BurstCase(SynchronousTestCase):
    """A relay between plain sockets."""

    def setUp(self) -> None:
        """Open the sockets, and make what decides."""
        self.watching = Watching()
        self.udp = DatagramUDP(cast(Any, self.watching))
        self.client, self.target = self.plain(), self.plain()
        host = ip_address(HERE)
        self.end = ClientEnd(host, UNSPECIFIED)
        self.verdicts = Verdicts(Rules([Rule.parse("permit", "*")]), host, None)
        self.header = pack_header(host, self.target.getsockname()[1])
        self.beyond: dict[str, Any] = {"lookup": cast(Any, None), "clock": Clock()}

    def plain(self) -> socket.socket:
        """Open a socket."""
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.bind((HERE, 0))
        opened.settimeout(SECONDS)
        self.addCleanup(opened.close)
        return opened

    def turn(self) -> None:
        """Let the relay read, each of its sockets."""
        for reader in list(self.watching.readers):
            reader.doRead()

    def begin(self, relay: UDPRelay, addressing: RuledAddressing) -> None:
        """Open a relay."""
        relay.addressing = addressing
        self.addCleanup(relay.close)
        self.relay = relay
        self.bound = relay.open(HERE, (0,))

    def check(self, client: bytes = b"", far: bytes = b"") -> None:
        """
        Send bursts there and back, and see that what stands around them does at both ends.

        @param client: what stands before a datagram on the client's side.
        @param far: the same on the other side.
        """
        octets = 0
        for burst in BURSTS:
            for payload in burst:
                self.client.sendto(client + self.header + payload, self.bound)
            self.turn()
            got = [self.target.recvfrom(999) for _ in burst]
            self.assertEqual([each for each, _ in got], [far + payload for payload in burst])
            for datagram, source in got:
                self.target.sendto(datagram, source)
            self.turn()
            back = [self.client.recv(999) for _ in burst]
            self.assertEqual(back, [client + self.header + payload for payload in burst])
            octets += sum(map(len, burst))
        self.assertEqual((self.relay.sent, self.relay.received), (octets, octets))
        self.assertEqual(self.relay.drops, {})


class PlainTests(BurstCase):
    """To the target itself."""

    def test_plain(self) -> None:
        """Without anything around them but the header."""
        relay = UDPRelay(self.udp, {}, lambda: None)
        routes = Routes(relay, self.verdicts, **self.beyond)
        self.begin(
            relay, RuledAddressing(relay, self.end, routes, self.verdicts, self.beyond["clock"])
        )
        self.check()

    def test_encapsulated(self) -> None:
        """In tokens on the client's side."""
        sealing: Any = Sealing(b"token:")
        relay = EncapsulatedRelay(self.udp, {}, lambda: None, sealing)
        routes = Routes(relay, self.verdicts, **self.beyond)
        self.begin(
            relay,
            EncapsulatedAddressing(
                sealing, relay, self.end, routes, self.verdicts, self.beyond["clock"]
            ),
        )
        self.check(b"token:")


class ForwardingTests(BurstCase):
    """To the next proxy."""

    def routes(self, relay: ForwardingRelay) -> tuple[Routes, Answers]:
        """Make the ways."""
        answers = Answers(self.verdicts)
        return ForwardRoutes(relay, self.verdicts, answers=answers, **self.beyond), answers

    def lead(self, relay: ForwardingRelay, answers: Answers, protected: bool) -> None:
        """Lead to the next proxy."""
        far: Any = FarEnd(self.target.getsockname(), protected)
        relay.lead(FarLeg(relay, lambda: None, far, self.end, answers), HERE)

    def test_forwarded(self) -> None:
        """With a header on either side, and in the next proxy's tokens."""
        for protected, mark in ((False, b""), (True, b"far:")):
            relay = ForwardingRelay(self.udp, {}, lambda: None)
            routes, answers = self.routes(relay)
            clock = self.beyond["clock"]
            self.begin(relay, RuledAddressing(relay, self.end, routes, self.verdicts, clock))
            self.lead(relay, answers, protected)
            self.check(far=mark + self.header)
            relay.close()

    def test_astray(self) -> None:
        """Nothing goes anywhere but to the next proxy, and is counted if that is not there."""
        relay = ForwardingRelay(self.udp, {}, lambda: None)
        routes, _ = self.routes(relay)
        clock = self.beyond["clock"]
        self.begin(relay, RuledAddressing(relay, self.end, routes, self.verdicts, clock))
        for _ in range(2):
            self.client.sendto(self.header + b"astray", self.bound)
        self.turn()
        self.assertEqual(relay.drops, {"no socket": 2})
        self.assertEqual(len(self.watching.readers), 1)

    def test_both(self) -> None:
        """In tokens on the client's side, too."""
        sealing: Any = Sealing(b"token:")
        relay = EncapsulatedForwardingRelay(self.udp, {}, lambda: None, sealing)
        routes, answers = self.routes(relay)
        clock = self.beyond["clock"]
        self.begin(
            relay,
            EncapsulatedAddressing(sealing, relay, self.end, routes, self.verdicts, clock),
        )
        self.lead(relay, answers, False)
        self.check(b"token:", self.header)
