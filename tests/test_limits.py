"""Counts and delays per client."""

from __future__ import annotations

from collections import Counter
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.interfaces import IPAddress
from twisted_socks5.limits import (
    ConnectionLimits,
    LoginSlowdown,
    LoginTurns,
    client_key,
    connections_for,
    descriptors_for,
)

ONE = IPv4Address("192.0.2.1")
TWO = IPv4Address("192.0.2.2")

#: Different clients, and what each is known by.
CLIENTS: list[tuple[IPAddress | None, str]] = [
    (None, "local"),
    (ip_address("127.0.0.1"), "loopback"),
    (ip_address("192.0.2.1"), "one"),
    (ip_address("::ffff:192.0.2.1"), "one"),
    (ip_address("192.0.2.2"), "two"),
    (ip_address("2001:db8::1"), "net"),
    (ip_address("2001:db8::ffff:ffff:ffff:ffff"), "net"),
    (ip_address("2001:db8:0:1::1"), "next"),
    (ip_address("::1"), "zero"),
    (ip_address("0:0:c000:201::1"), "looks like one"),
]


class ClientTests(SynchronousTestCase):
    """Who is one client."""

    def test_keys(self) -> None:
        """An IPv4 address, an IPv6 /64, and all Unix sockets together."""
        keys: dict[str, set[int | None]] = {}
        for client, name in CLIENTS:
            keys.setdefault(name, set()).add(client_key(client))
        self.assertEqual([len(each) for each in keys.values()], [1] * len(keys))
        self.assertEqual(len(set.union(*keys.values())), len(keys))


class ConnectionLimitsTests(SynchronousTestCase):
    """How many connections there may be."""

    def test_perClient(self) -> None:
        """One more than a client may have is refused; others are not."""
        limits = ConnectionLimits(10, 2)
        self.assertEqual([limits.admit(ONE) for _ in range(2)], [None, None])
        self.assertEqual(limits.admit(ONE), "too many connections from 192.0.2.1: 2")
        self.assertIs(limits.admit(TWO), None)
        self.assertEqual((len(limits), limits.clients, limits.full), (3, 2, False))
        limits.release(ONE)
        self.assertIs(limits.admit(ONE), None)

    def test_total(self) -> None:
        """One more than there may be in all is refused, whoever it is."""
        limits = ConnectionLimits(2, 2)
        self.assertIs(limits.admit(ONE), None)
        self.assertFalse(limits.full)
        self.assertIs(limits.admit(TWO), None)
        self.assertTrue(limits.full)
        self.assertEqual(limits.admit(None), "too many connections: 2")
        limits.release(TWO)
        self.assertFalse(limits.full)
        self.assertIs(limits.admit(None), None)

    def test_both(self) -> None:
        """A client with too many is told so even when all are taken."""
        limits = ConnectionLimits(1, 1)
        limits.admit(ONE)
        self.assertEqual(limits.admit(ONE), "too many connections from 192.0.2.1: 1")

    def test_names(self) -> None:
        """The reason names the client as it is counted."""
        limits = ConnectionLimits(0, 1)
        for client, name in (
            (IPv6Address("2001:db8:0:1:2::3"), "2001:db8:0:1::/64"),
            (IPv6Address("::ffff:192.0.2.9"), "192.0.2.9"),
            (None, "this host"),
        ):
            limits.admit(client)
            self.assertEqual(limits.admit(client), f"too many connections from {name}: 1")

    def test_unlimited(self) -> None:
        """A limit of 0 is none."""
        limits = ConnectionLimits(0, 0)
        for _ in range(100):
            self.assertIs(limits.admit(ONE), None)
        self.assertFalse(limits.full)

    def test_changed(self) -> None:
        """Limits may be lowered below what is connected: that stays, and nobody is added."""
        limits = ConnectionLimits(0, 0)
        for _ in range(5):
            limits.admit(ONE)
        limits.total, limits.per_client = 3, 4
        self.assertTrue(limits.full)
        self.assertEqual(limits.admit(TWO), "too many connections: 5")
        limits.release(ONE)
        limits.release(ONE)
        limits.release(ONE)
        self.assertIs(limits.admit(TWO), None)

    def test_invalid(self) -> None:
        """Limits below 0 and releases of what was never admitted are errors."""
        self.assertRaises(ValueError, ConnectionLimits, -1, 1)
        self.assertRaises(ValueError, ConnectionLimits, 1, -1)
        limits = ConnectionLimits(1, 1)
        limits.admit(ONE)
        self.assertRaises(ValueError, limits.release, TWO)
        limits.release(ONE)
        self.assertRaises(ValueError, limits.release, ONE)
        self.assertEqual((len(limits), limits.clients), (0, 0))

    @given(
        st.integers(0, 6),
        st.integers(0, 3),
        st.lists(st.tuples(st.booleans(), st.sampled_from(CLIENTS)), max_size=60),
    )
    @settings(max_examples=150, deadline=None)
    def test_model(
        self, total: int, each: int, steps: list[tuple[bool, tuple[IPAddress | None, str]]]
    ) -> None:
        """Any coming and going, against a plain count; nothing stays of who is gone."""
        limits = ConnectionLimits(total, each)
        counted: Counter[str] = Counter()
        for come, (client, name) in steps:
            if come:
                room = (not total or counted.total() < total) and (
                    not each or counted[name] < each
                )
                self.assertEqual(limits.admit(client) is None, room)
                counted[name] += room
            elif counted[name]:
                limits.release(client)
                counted[name] -= 1
            self.assertEqual(len(limits), counted.total())
            self.assertEqual(limits.clients, len(+counted))


class DescriptorTests(SynchronousTestCase):
    """What file descriptors carry."""

    def test_usual(self) -> None:
        """The usual limits."""
        self.assertEqual(connections_for(1024), 480)
        self.assertEqual(connections_for(1024, per_connection=6, reserve=100), 154)
        self.assertEqual(descriptors_for(480), 1024)

    def test_none(self) -> None:
        """Fewer than are kept for the rest carry nothing."""
        for descriptors in (0, 63, 64, 65):
            self.assertEqual(connections_for(descriptors), 0)
        self.assertEqual(connections_for(66), 1)

    def test_invalid(self) -> None:
        """What is no number of anything is an error; RLIM_INFINITY is below 0."""
        for arguments in ((-1, 2, 64), (1024, 0, 64), (1024, 2, -1)):
            self.assertRaises(ValueError, connections_for, *arguments)
            self.assertRaises(ValueError, descriptors_for, *arguments)

    @given(st.integers(0, 10**6), st.integers(1, 9), st.integers(0, 1000))
    @settings(max_examples=100, deadline=None)
    def test_inverse(self, connections: int, each: int, reserve: int) -> None:
        """Just enough descriptors for so many connections carry so many, one less does not."""
        needed = descriptors_for(connections, each, reserve)
        self.assertEqual(connections_for(needed, each, reserve), connections)
        if connections:
            self.assertEqual(connections_for(needed - 1, each, reserve), connections - 1)


class LoginSlowdownTests(SynchronousTestCase):
    """How long failures are held back."""

    def test_doubles(self) -> None:
        """Each failure costs twice as much as the one before, up to the ceiling."""
        slowdown = LoginSlowdown()
        delays = [slowdown.failed(ONE, float(now)) for now in range(7)]
        self.assertEqual(delays, [0.5, 1.0, 2.0, 4.0, 8.0, 8.0, 8.0])

    def test_ceiling(self) -> None:
        """The ceiling need not be a multiple of the base."""
        slowdown = LoginSlowdown(base=3, ceiling=7)
        self.assertEqual([slowdown.failed(ONE, 0.0) for _ in range(3)], [3, 6, 7])

    def test_apart(self) -> None:
        """Clients do not pay for each other; addresses of one /64 are one client."""
        slowdown = LoginSlowdown()
        slowdown.failed(ONE, 0.0)
        self.assertEqual(slowdown.failed(TWO, 0.0), 0.5)
        self.assertEqual(slowdown.failed(None, 0.0), 0.5)
        self.assertEqual(slowdown.failed(ip_address("2001:db8::1"), 0.0), 0.5)
        self.assertEqual(slowdown.failed(ip_address("2001:db8::2"), 0.0), 1.0)
        self.assertEqual(slowdown.failed(ip_address("2001:db8:0:1::2"), 0.0), 0.5)

    def test_forgets(self) -> None:
        """A client that stops failing starts over, and is no longer in the table."""
        slowdown = LoginSlowdown(forget=600)
        slowdown.failed(ONE, 0.0)
        self.assertEqual(slowdown.failed(ONE, 599.9), 1.0)
        self.assertEqual(slowdown.failed(ONE, 1199.8), 2.0)
        self.assertEqual(slowdown.failed(ONE, 1799.8), 0.5)
        self.assertEqual(slowdown.failed(TWO, 3000.0), 0.5)
        self.assertEqual(len(slowdown), 1)

    def test_forgetsOwn(self) -> None:
        """Starting over does not wait for the table to be cleared of others."""
        slowdown = LoginSlowdown(forget=10)
        for client in ("192.0.2.3", "192.0.2.4", "192.0.2.5", "192.0.2.1"):
            slowdown.failed(ip_address(client), 0.0)
        self.assertEqual(slowdown.failed(ONE, 10.0), 0.5)
        self.assertEqual(len(slowdown), 2)

    def test_bound(self) -> None:
        """A full table forgets the client whose last failure is the longest ago."""
        slowdown = LoginSlowdown(size=3)
        for last in (1, 2, 3, 1, 4):
            slowdown.failed(IPv4Address(f"192.0.2.{last}"), 0.0)
        self.assertEqual(len(slowdown), 3)
        self.assertEqual(slowdown.failed(IPv4Address("192.0.2.1"), 0.0), 2.0)
        self.assertEqual(slowdown.failed(IPv4Address("192.0.2.2"), 0.0), 0.5)

    def test_backwards(self) -> None:
        """A clock that is set back forgets nothing."""
        slowdown = LoginSlowdown()
        slowdown.failed(ONE, 1000.0)
        self.assertEqual(slowdown.failed(ONE, 0.0), 1.0)

    def test_smallest(self) -> None:
        """The smallest settings that mean something."""
        slowdown = LoginSlowdown(base=0.1, ceiling=0.1, forget=0.1, size=1)
        self.assertEqual([slowdown.failed(ONE, 0.0) for _ in range(2)], [0.1, 0.1])

    def test_invalid(self) -> None:
        """Settings that mean nothing are errors."""
        for arguments in (
            {"base": 0.0},
            {"base": 9.0},
            {"ceiling": 0.4},
            {"forget": 0.0},
            {"size": 0},
        ):
            self.assertRaises(ValueError, LoginSlowdown, **arguments)

    @given(
        st.integers(1, 4),
        st.lists(st.tuples(st.integers(0, 6), st.sampled_from(CLIENTS)), max_size=60),
    )
    @settings(max_examples=150, deadline=None)
    def test_model(
        self, size: int, failures: list[tuple[int, tuple[IPAddress | None, str]]]
    ) -> None:
        """Any failures, against a list of them all."""
        slowdown = LoginSlowdown(base=1, ceiling=8, forget=10, size=size)
        now = 0
        last: dict[str, int] = {}
        row: Counter[str] = Counter()
        for passed, (client, name) in failures:
            now += passed
            row[name] = row[name] + 1 if name in last and now - last[name] < 10 else 1
            last.pop(name, None)
            last[name] = now
            self.assertEqual(slowdown.failed(client, now), min(8, 2 ** (row[name] - 1)))
            last = dict(list(last.items())[-size:])
            self.assertLessEqual(len(slowdown), size)

    @given(
        st.integers(1, 3),
        st.lists(st.tuples(st.integers(0, 6), st.sampled_from(CLIENTS[2:8])), max_size=40),
    )
    @settings(max_examples=100, deadline=None)
    def test_others(
        self, size: int, failures: list[tuple[int, tuple[IPAddress | None, str]]]
    ) -> None:
        """Whatever others do, nobody waits longer than if he were alone."""
        together = LoginSlowdown(base=1, ceiling=64, forget=10, size=size)
        alone = LoginSlowdown(base=1, ceiling=64, forget=10, size=size)
        now = 0
        for passed, (client, name) in failures:
            now += passed
            delay = together.failed(client, now)
            if name == "one":
                self.assertLessEqual(delay, alone.failed(client, now))


class LoginTurnsTests(SynchronousTestCase):
    """Who waits before a password is checked, and for how long."""

    def test_nobodyFailed(self) -> None:
        """Without a failure nobody waits, and nobody is remembered."""
        turns = LoginTurns()
        self.assertEqual([turns.wait(ONE, b"alice", 0.0) for _ in range(3)], [0.0] * 3)
        self.assertEqual(len(turns), 0)

    def test_oneAfterTheOther(self) -> None:
        """After a failure one at a time has a turn, and twice as seldom after each."""
        turns = LoginTurns()
        turns.failed(ONE, b"alice", 0.0)
        self.assertEqual([turns.wait(ONE, b"alice", now) for now in (0.0, 0.25)], [0.5, 0.25])
        self.assertEqual([turns.wait(ONE, b"alice", 0.5) for _ in range(3)], [0.0, 0.5, 0.5])
        turns.failed(ONE, b"alice", 0.5)
        self.assertEqual(turns.wait(ONE, b"alice", 0.5), 1.0)
        self.assertEqual(turns.wait(ONE, b"alice", 1.5), 0.0)
        self.assertEqual(turns.wait(ONE, b"alice", 1.5), 1.0)

    def test_bounded(self) -> None:
        """However many failures there were."""
        turns = LoginTurns()
        for _ in range(20):
            turns.failed(ONE, b"alice", 0.0)
        self.assertEqual([turns.wait(ONE, b"alice", 0.0) for _ in range(3)], [8.0] * 3)

    def test_apart(self) -> None:
        """Other users, and other addresses, do not wait."""
        turns = LoginTurns()
        turns.failed(ONE, b"alice", 0.0)
        self.assertEqual(turns.wait(ONE, b"bob", 0.0), 0.0)
        self.assertEqual(turns.wait(TWO, b"alice", 0.0), 0.0)

    def test_forgotten(self) -> None:
        """Success and time are; so is who was not asked about for longest in a full table."""
        turns = LoginTurns(size=2)
        turns.failed(ONE, b"alice", 0.0)
        turns.succeeded(ONE, b"alice")
        self.assertEqual((turns.wait(ONE, b"alice", 0.0), len(turns)), (0.0, 0))
        for user in (b"a", b"b", b"c"):
            turns.failed(ONE, user, 0.0)
        self.assertEqual([turns.wait(ONE, user, 0.0) for user in (b"a", b"b")], [0.0, 0.5])
        self.assertEqual(turns.wait(ONE, b"c", 700.0), 0.0)
