"""Datagrams that travel together arrive as if each had travelled alone."""

from __future__ import annotations

import errno
import socket
from collections import Counter
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.streams.test_datagrams import Watching
from twisted_socks5.relay.udp import Endpoint, Route, UDPRelay
from twisted_socks5.streams import DatagramUDP, datagrams
from twisted_socks5.streams.datagrams import MAX_TRAIN, MAX_TRAIN_OCTETS, trains
from twisted_socks5.streams.receiving import BATCH, Receiver, Singly, receiver

LOOPBACK = "127.0.0.1"
SECONDS = 10

#: Lengths, none at all among them; to whom; and how often.
lengths = st.lists(
    st.tuples(st.sampled_from((0, 1, 2, 500, 1400, 40000)), st.integers(0, 1), st.integers(1, 9)),
    max_size=12,
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

    def inward(self, source: Endpoint, count: int) -> tuple[bytes, Endpoint] | None:
        """Put a mark in front."""
        return b">", self.client


class PartingTests(SynchronousTestCase):
    """What may travel together."""

    @given(st.lists(st.sampled_from((0, 1, 2, 3, 1000, 40000)), min_size=1, max_size=200))
    @settings(max_examples=100, deadline=None)
    def test_trains(self, plan: list[int]) -> None:
        """All of them in their order, within the bounds, cut again where they are to be cut."""
        parted = list(trains([b"x" * length for length in plan]))
        self.assertEqual([len(each) for train in parted for each in train], plan)
        for train in parted:
            length = len(train[0])
            octets = b"".join(train)
            if len(train) > 1:
                self.assertLessEqual(len(train), MAX_TRAIN)
                self.assertLessEqual(len(octets), MAX_TRAIN_OCTETS)
                cut = [octets[at : at + length] for at in range(0, len(octets), length)]
                self.assertEqual(cut, train)

    def test_shorterLast(self) -> None:
        """A shorter one may be the last."""
        parted = [[len(each) for each in train] for train in trains([b"ab", b"ab", b"c", b"d"])]
        self.assertEqual(parted, [[2, 2, 1], [1]])


class TrainTests(SynchronousTestCase):
    """A relay on sockets of our own, between plain ones."""

    def receiver(self, family: int) -> Receiver:
        """Choose how they read."""
        return receiver(family)

    def setUp(self) -> None:
        """Open all of it."""
        self.patch(datagrams, "receiver", self.receiver)
        self.watching = Watching()
        self.relay = UDPRelay(DatagramUDP(cast(Any, self.watching)), {}, lambda: None)
        self.client = self.plain()
        self.targets = [self.plain(), self.plain()]
        self.sorting = Sorting(
            [
                Route(4, target.getsockname(), bytes((number,)))
                for number, target in enumerate(self.targets)
            ]
        )
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
    def test_anyOrder(self, plan: list[tuple[int, int, int]]) -> None:
        """Whatever lengths and targets follow each other, each gets its own, in their order."""
        self.inAnyOrder(plan)

    def inAnyOrder(self, plan: list[tuple[int, int, int]]) -> None:
        """Send according to a plan, and see what arrives."""
        before = (self.relay.sent, self.relay.datagrams)
        expected: list[list[bytes]] = [[], []]
        total = 0
        each = [(length, to) for length, to, times in plan for _ in range(times)]
        for number, (length, to) in enumerate(each):
            if total + length > 150_000:
                break  # No more than the buffers of any machine hold.
            total += length
            payload = bytes((number,)) * length
            expected[to].append(payload)
            self.client.sendto(bytes((to,)) + payload, self.bound)
        for _ in range(len(each) // BATCH + 1):
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
        for asked in (b"", b"\0"):
            # Not without a flag.
            route = self.sorting.routes[0] = Route(4, ("255.255.255.255", 9), asked)
            self.relay.drops.clear()
            for _ in range(3):
                self.client.sendto(b"\0same", self.bound)
            self.turn()
            self.assertEqual((sum(self.relay.drops.values()), self.relay.sent), (3, 0))
            self.assertTrue(route.failing)

    def test_noSocket(self) -> None:
        """Where there can be no socket for the target, all are counted."""
        route = self.sorting.routes[0] = Route(6, ("::1", 9), b"\0")
        self.relay._sources = {6: "192.0.2.1"}
        for _ in range(3):
            self.client.sendto(b"\0same", self.bound)
        self.turn()
        self.assertEqual(self.relay.drops, {"no socket": 3})
        self.assertTrue(route.failing)

    def test_manyAndLong(self) -> None:
        """More than a call takes go in several; what is too long for two goes alone."""
        for length, count in ((1200, MAX_TRAIN), (MAX_TRAIN_OCTETS + 1, 2), (40000, 3)):
            payloads = [bytes((number,)) * length for number in range(count)]
            for payload in payloads:
                self.client.sendto(b"\0" + payload, self.bound)
            self.turn()
            got = [self.targets[0].recvfrom(65536) for _ in payloads]
            self.assertEqual([datagram for datagram, _ in got], payloads)
            for datagram, source in got:
                self.targets[0].sendto(datagram, source)
            self.turn()
            back = [self.client.recv(65536) for _ in payloads]
            self.assertEqual(back, [b">" + payload for payload in payloads])
        self.assertEqual(self.relay.drops, Counter())

    def test_together(self) -> None:
        """What comes in one piece, once there was more than one, goes on as what it was."""
        for _ in range(2):
            self.client.sendto(b"\0warm", self.bound)
        self.turn()
        self.client.setsockopt(socket.IPPROTO_UDP, 103, 4)  # UDP_SEGMENT
        self.client.sendto(b"\0abc\0def\1ghi\0j", self.bound)
        self.turn()
        self.assertEqual(
            [self.targets[0].recv(99) for _ in range(5)], [b"warm", b"warm", b"abc", b"def", b"j"]
        )
        self.assertEqual(self.targets[1].recv(99), b"ghi")

    def test_trainRefused(self) -> None:
        """What the kernel does not send together goes one by one, marks and all."""
        self.client.sendto(b"\0first", self.bound)
        self.turn()
        _, source = self.targets[0].recvfrom(99)
        asked = []

        def refuse(*args: object) -> bool:
            asked.append(errno.EIO)
            return False

        for leg in self.relay._legs.values():
            leg._sendTrain = refuse
        for number in range(3):
            self.client.sendto(b"\0out%d" % number, self.bound)
            self.targets[0].sendto(b"back%d" % number, source)
        self.turn()
        self.assertEqual([self.targets[0].recv(99) for _ in range(3)], [b"out0", b"out1", b"out2"])
        self.assertEqual(
            [self.client.recv(99) for _ in range(3)], [b">back0", b">back1", b">back2"]
        )
        self.assertEqual((len(asked), self.relay.sent, self.relay.received), (2, 17, 15))

    def test_closedMeanwhile(self) -> None:
        """What was gathered when the relay is closed is dropped, and nothing opened for it."""
        self.relay.gather(self.sorting.routes[0], [b"late"])
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


class SinglyTests(TrainTests):
    """The same where each datagram is read by itself."""

    def receiver(self, family: int) -> Receiver:
        """Choose that."""
        return Singly()

    @given(lengths)
    @settings(max_examples=40, deadline=None)
    def test_anyOrder(self, plan: list[tuple[int, int, int]]) -> None:
        """The same in any order."""
        self.inAnyOrder(plan)
