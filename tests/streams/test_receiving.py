"""Reading many datagrams at once gives what reading them one by one does."""

from __future__ import annotations

import ctypes
import errno
import os
import socket
import sys
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.streams import receiving
from twisted_socks5.streams.receiving import (
    BATCH,
    Alike,
    Batched,
    Endpoint,
    Receiver,
    Run,
    Singly,
    endpoint,
    receiver,
)

LOOPBACK = {socket.AF_INET: "127.0.0.1", socket.AF_INET6: "::1"}

# linux/udp.h
UDP_SEGMENT = 103

#: Who sends, how many octets; often the same ones in a row.
plans = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from((0, 1, 9, 500, 1400, 9000, 60000)), st.integers(1, 4)
    ),
    max_size=24,
)


def flat(runs: list[Run]) -> list[tuple[bytes, Endpoint]]:
    """Take runs apart."""
    return [(datagram, source) for datagrams, source in runs for datagram in datagrams]


def batched(family: int = socket.AF_INET) -> Batched:
    """Make a receiver of many, which this system has to have."""
    return Batched(family)


class ReceivingCase(SynchronousTestCase):
    """Plain sockets."""

    def plain(self, family: int = socket.AF_INET) -> socket.socket:
        """Open one that does not block."""
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
        opened.bind((LOOPBACK[socket.AddressFamily(family)], 0))
        opened.setblocking(False)
        self.addCleanup(opened.close)
        return opened


class SameTests(ReceivingCase):
    """Whatever comes, both ways of reading give the same."""

    def compare(self, family: int, plan: list[tuple[int, int, int]]) -> None:
        """Send the same to two sockets, one for each way, and compare what is read."""
        ways: list[tuple[Receiver, socket.socket]] = [
            (Singly(), self.plain(family)),
            (batched(family), self.plain(family)),
        ]
        senders = [self.plain(family) for _ in range(3)]
        total = number = 0
        for who, length, times in plan:
            for _ in range(times):
                total += length
                if total > 150_000:
                    break  # No more than the buffers of any machine hold.
                number += 1
                for _, opened in ways:
                    senders[who].sendto(bytes((number & 255,)) * length, opened.getsockname())
        for _ in range(number // BATCH + 2):
            singly, together = (way.receive(opened) for way, opened in ways)
            self.assertEqual(flat(together), flat(singly))
            self.assertEqual(
                [(source, len(datagrams)) for datagrams, source in together],
                [(source, len(datagrams)) for datagrams, source in singly],
            )
        self.assertEqual(together, [])

    @given(plans)
    @settings(max_examples=40, deadline=None)
    def test_ipv4(self, plan: list[tuple[int, int, int]]) -> None:
        """Any lengths and senders in any order."""
        self.compare(socket.AF_INET, plan)
        self.doCleanups()

    @given(plans)
    @settings(max_examples=20, deadline=None)
    def test_ipv6(self, plan: list[tuple[int, int, int]]) -> None:
        """The same over IPv6."""
        self.compare(socket.AF_INET6, plan)
        self.doCleanups()


class TogetherTests(ReceivingCase):
    """Datagrams that have travelled together (UDP_GRO)."""

    def setUp(self) -> None:
        """Open a socket to which they may come so."""
        self.opened, self.sender = self.plain(), self.plain()
        self.receiver = batched()
        self.receiver.expectMany(self.opened)

    def train(self, octets: bytes, length: int) -> None:
        """Send several in one go."""
        self.sender.setsockopt(socket.IPPROTO_UDP, UDP_SEGMENT, length)
        self.sender.sendto(octets, self.opened.getsockname())

    def test_cut(self) -> None:
        """They are cut as they were sent, also where the last one is shorter."""
        octets = os.urandom(5 * 1000 + 7)
        self.train(octets, 1000)
        expected = [octets[at : at + 1000] for at in range(0, 5007, 1000)]
        source = self.sender.getsockname()
        self.assertEqual(
            flat(self.receiver.receive(self.opened)), [(each, source) for each in expected]
        )

    def test_one(self) -> None:
        """One alone is one, before and after them."""
        for _ in range(2):
            self.train(b"single", 0)
            self.train(b"abcde", 2)
            self.train(b"", 0)
            self.train(b"xy" * 30, 2)
            got = [datagram for datagram, _ in flat(self.receiver.receive(self.opened))]
            self.assertEqual(got, [b"single", b"ab", b"cd", b"e", b"", *[b"xy"] * 30])
            self.train(b"single", 0)
            got = [datagram for datagram, _ in flat(self.receiver.receive(self.opened))]
            self.assertEqual(got, [b"single"])

    def test_asOne(self) -> None:
        """That they come in one piece here is what is tested."""
        self.train(b"x" * 5000, 1000)
        self.assertEqual(len(self.opened.recv(65536)), 5000)


class AlikeTests(ReceivingCase):
    """Datagrams that stay where they are."""

    def alike(self, *datagrams: bytes) -> Any:
        """Read some."""
        opened, sender = self.plain(), self.plain()
        for datagram in datagrams:
            sender.sendto(datagram, opened.getsockname())
        ((found, source),) = batched().receive(opened)
        self.assertEqual(source, sender.getsockname())
        return found

    def test_alike(self) -> None:
        """Those of one length from one sender do, and can be taken apart."""
        found = self.alike(b"1:a", b"1:b", b"1:c")
        self.assertIsInstance(found, Alike)
        self.assertEqual((len(found), found[0], found[2]), (3, b"1:a", b"1:c"))
        self.assertRaises(IndexError, found.__getitem__, 3)
        self.assertEqual([bytes(each) for each in found.behind(2)], [b"a", b"b", b"c"])
        self.assertEqual([bytes(each) for each in found.behind(0)], [b"1:a", b"1:b", b"1:c"])
        begun = [found.begin(octets) for octets in (b"", b"1", b"1:", b"1:a", b"2:", b"1:a.")]
        self.assertEqual(begun, [True, True, True, False, False, False])

    def test_others(self) -> None:
        """One alone, empty ones, and those of several lengths are copied."""
        for datagrams in ([b"one"], [b"", b""], [b"a", b"bc"]):
            self.assertEqual(self.alike(*datagrams), datagrams)

    def test_moreAndFewer(self) -> None:
        """What is kept for many does for few and the other way round, and does not grow."""
        reading, opened, sender = batched(), self.plain(), self.plain()
        for count in (2, 5, 3, BATCH):
            for length in range(4, 60):
                for number in range(count):
                    sender.sendto(b"ab" + bytes((number,)) * (length - 2), opened.getsockname())
                found: Any
                ((found, _),) = reading.receive(opened)
                self.assertTrue(found.begin(b"ab"))
                expected = [bytes((number,)) * (length - 2) for number in range(count)]
                self.assertEqual([bytes(each) for each in found.behind(2)], expected)
                self.assertLessEqual(len(found._kept), receiving._KEPT_VIEWS)

    def test_batch(self) -> None:
        """No more than a batch is read, and nothing lost."""
        opened, sender = self.plain(), self.plain()
        for _ in range(BATCH + 2):
            sender.sendto(b"x" * 100, opened.getsockname())
        reading = batched()
        self.assertEqual([len(flat(reading.receive(opened))) for _ in range(3)], [BATCH, 2, 0])


class NameTests(ReceivingCase):
    """Senders' addresses."""

    def name(self, host: str, port: int, scope: int = 0) -> bytes:
        """Write one as Linux does."""
        if ":" in host:
            start = socket.AF_INET6.to_bytes(2, sys.byteorder) + port.to_bytes(2, "big")
            packed = socket.inet_pton(socket.AF_INET6, host)
            return start + b"\1\2\3\4" + packed + scope.to_bytes(4, sys.byteorder)
        start = socket.AF_INET.to_bytes(2, sys.byteorder) + port.to_bytes(2, "big")
        return start + socket.inet_aton(host) + bytes(8)

    def test_names(self) -> None:
        """Both families, and a zone where there is one."""
        self.assertEqual(endpoint(self.name("192.0.2.1", 53)), ("192.0.2.1", 53))
        self.assertEqual(endpoint(self.name("2001:db8::1", 65535)), ("2001:db8::1", 65535))
        index, name = socket.if_nameindex()[0]
        self.assertEqual(endpoint(self.name("fe80::1", 53, index)), (f"fe80::1%{name}", 53))

    def test_zoneGone(self) -> None:
        """A zone without a name is its number."""
        self.assertEqual(endpoint(self.name("fe80::1", 53, 987654)), ("fe80::1%987654", 53))


class FallbackTests(ReceivingCase):
    """Systems that do not read many at once."""

    def setUp(self) -> None:
        """Choose anew, and again afterwards."""
        for each in (receiver, receiving._many):
            each.cache_clear()
            self.addCleanup(each.cache_clear)
        self.said: list[str] = []

        def note(event: Any) -> None:
            if event.get("log_namespace") == receiving.__name__:
                self.said.append(event["error"])

        observer = cast(ILogObserver, note)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def chosen(self) -> list[str]:
        """Choose several times."""
        return [
            type(receiver(family)).__name__
            for family in (socket.AF_INET, socket.AF_INET6, socket.AF_INET)
        ]

    def test_usual(self) -> None:
        """Here it does, and the one for a family is the same each time."""
        self.assertEqual(self.chosen(), ["Batched"] * 3)
        self.assertIs(receiver(socket.AF_INET), receiver(socket.AF_INET))
        self.assertEqual(self.said, [])

    def test_refused(self) -> None:
        """A kernel, or what filters system calls, refuses: each is read by itself; said once."""

        class Library:
            """A C library whose kernel refuses."""

            def recvmmsg(self, *args: object) -> int:
                """Fail."""
                ctypes.set_errno(errno.EPERM)
                return -1

        self.patch(ctypes, "CDLL", lambda *args, **named: Library())
        self.assertEqual(self.chosen(), ["Singly"] * 3)
        self.assertEqual(self.said, ["[Errno 1] Operation not permitted"])

    def test_unknown(self) -> None:
        """A C library that has never heard of it."""
        self.patch(ctypes, "CDLL", lambda *args, **named: object())
        self.assertEqual(self.chosen(), ["Singly"] * 3)
        self.assertEqual(len(self.said), 1)

    def test_elsewhere(self) -> None:
        """Other systems have other structures, and are not even asked."""
        self.patch(sys, "platform", "freebsd14")
        self.assertEqual(self.chosen(), ["Singly"] * 3)
        self.assertEqual(self.said, [])

    def test_oldKernel(self) -> None:
        """Where datagrams do not come together, nothing is wrong with that."""

        class Old(socket.socket):
            def setsockopt(self, *args: Any) -> None:
                raise OSError(errno.ENOPROTOOPT, "unknown")

        with Old(socket.AF_INET, socket.SOCK_DGRAM) as opened:
            batched().expectMany(opened)

    def test_error(self) -> None:
        """What goes wrong with a socket is as if nothing had come."""
        opened = self.plain()
        opened.close()
        self.assertEqual(batched().receive(opened), [])
        self.assertEqual(Singly().receive(opened), [])

    def test_forked(self) -> None:
        """A process that is forked off does not write into what its parent reads."""
        opened, sender = self.plain(), self.plain()
        for each in (b"parent", b"PARENT"):
            sender.sendto(each, opened.getsockname())
        reading = batched()
        ((found, _),) = reading.receive(opened)
        child = os.fork()
        if not child:
            try:
                for each in (b"child.", b"CHILD."):
                    sender.sendto(each, opened.getsockname())
                reading.receive(opened)
            finally:
                os._exit(0)
        os.waitpid(child, 0)
        self.assertEqual(list(found), [b"parent", b"PARENT"])
