"""Datagrams that travel together arrive as if each had travelled alone."""

from __future__ import annotations

import socket
from collections import Counter
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.streams.test_datagrams import Watching
from twisted_socks5.relay.udp import Endpoint, Route, UDPRelay
from twisted_socks5.streams import DatagramUDP

LOOPBACK = "127.0.0.1"
SECONDS = 10

#: Lengths that often come twice, none at all among them.
lengths = st.lists(
    st.tuples(st.sampled_from((0, 1, 2, 500, 1400, 40000)), st.integers(0, 1)), max_size=40
)


class Sorting:
    """Sends each datagram where its first octet says, and answers with a mark in front."""

    def __init__(self, routes: list[Route]) -> None:
        self.routes = routes
        self.client: Endpoint = ("", 0)
        self.broken = False

    def outward(self, datagram: bytes, source: Endpoint) -> tuple[Route, bytes] | None:
        """Look at the first octet."""
        if datagram == b"break":
            raise ZeroDivisionError("of the addressing")
        self.client = source
        return self.routes[datagram[0]], datagram[1:]

    def inward(self, source: Endpoint) -> tuple[bytes, Endpoint] | None:
        """Put a mark in front."""
        return b">", self.client


class TrainTests(SynchronousTestCase):
    """A relay on sockets of our own, between plain ones."""

    def setUp(self) -> None:
        """Open all of it."""
        self.watching = Watching()
        self.relay = UDPRelay(DatagramUDP(cast(Any, self.watching)), {}, lambda: None)
        self.client = self.plain()
        self.targets = [self.plain(), self.plain()]
        self.sorting = Sorting([Route(4, target.getsockname()) for target in self.targets])
        self.relay.addressing = self.sorting
        self.bound = self.relay.open(LOOPBACK, (0,))
        self.addCleanup(self.relay.close)

    def plain(self) -> socket.socket:
        """Open a socket."""
        opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        opened.bind((LOOPBACK, 0))
        opened.settimeout(SECONDS)
        self.addCleanup(opened.close)
        return opened

    def turn(self) -> None:
        """Let the relay read, each of its sockets."""
        for reader in list(self.watching.readers):
            reader.doRead()

    @given(lengths)
    @settings(max_examples=40, deadline=None)
    def test_anyOrder(self, plan: list[tuple[int, int]]) -> None:
        """Whatever lengths and targets follow each other, each gets its own, in their order."""
        before = (self.relay.sent, self.relay.datagrams)
        expected: list[list[bytes]] = [[], []]
        total = 0
        for number, (length, to) in enumerate(plan):
            if total + length > 150_000:
                break  # No more than the buffers of any machine hold.
            total += length
            payload = bytes((number,)) * length
            expected[to].append(payload)
            self.client.sendto(bytes((to,)) + payload, self.bound)
        self.turn()
        for target, payloads in zip(self.targets, expected, strict=True):
            self.assertEqual([target.recv(65536) for _ in payloads], payloads)
        count = sum(map(len, expected))
        self.assertEqual(
            (self.relay.sent - before[0], self.relay.datagrams - before[1]), (total, count)
        )
        self.assertEqual(self.relay.drops, Counter())

    def test_answers(self) -> None:
        """What comes back in one batch, from several targets, does with its mark."""
        self.client.sendto(b"\0hello", self.bound)
        self.turn()
        _, source = self.targets[0].recvfrom(65536)
        answers = [b"a" * 100, b"b" * 100, b"c" * 7, b"", b"", b"d" * 100]
        for number, answer in enumerate(answers):
            self.targets[number % 2].sendto(answer, source)
        self.turn()
        self.assertEqual(
            [self.client.recv(65536) for _ in answers], [b">" + answer for answer in answers]
        )
        self.assertEqual((self.relay.received, self.relay.datagrams), (307, 7))

    def test_failing(self) -> None:
        """A train that can't be sent is counted datagram by datagram, and the way marked."""
        route = self.sorting.routes[0] = Route(4, ("255.255.255.255", 9))  # not without a flag
        for _ in range(3):
            self.client.sendto(b"\0same", self.bound)
        self.turn()
        self.assertEqual((sum(self.relay.drops.values()), self.relay.sent), (3, 0))
        self.assertTrue(route.failing)

    def test_closedMeanwhile(self) -> None:
        """What was gathered when the relay is closed is dropped, and nothing opened for it."""
        self.relay.gather(self.sorting.routes[0], b"late", 4)
        self.relay.close()
        self.relay.flush()
        self.assertEqual(self.relay.drops, {"no socket": 1})
        self.assertEqual(self.watching.readers, [])

    def test_broken(self) -> None:
        """What came before something that breaks the addressing is sent, and not kept."""
        self.client.sendto(b"\0before", self.bound)
        self.client.sendto(b"break", self.bound)
        self.turn()
        self.assertEqual(self.targets[0].recv(65536), b"before")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
