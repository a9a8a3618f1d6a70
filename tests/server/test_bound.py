"""Which addresses and ports of ours a reply may name."""

from __future__ import annotations

from ipaddress import ip_address
from random import Random

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.server.bound import PORTS_TRIED, Own, named, own, ownTowards, portsFrom


class OwnTests(SynchronousTestCase):
    """Where a client has reached us."""

    def test_own(self) -> None:
        """The address, and what to bind: never a mapped one, and with a zone id if it needs it."""
        for host, address, interface in (
            (IPv4Address("TCP", "192.0.2.1", 1), "192.0.2.1", "192.0.2.1"),
            (IPv6Address("TCP", "2001:db8::1", 1), "2001:db8::1", "2001:db8::1"),
            (IPv6Address("TCP", "::ffff:192.0.2.1", 1), "192.0.2.1", "192.0.2.1"),
            (IPv6Address("TCP", "fe80::1%eth0", 1), "fe80::1", "fe80::1%eth0"),
            (UNIXAddress(b"/run/socks"), "127.0.0.1", "127.0.0.1"),
        ):
            self.assertEqual(own(host), Own(ip_address(address), interface))

    def test_parse(self) -> None:
        """An address as a socket names it."""
        self.assertEqual(Own.parse("192.0.2.1"), Own(ip_address("192.0.2.1"), "192.0.2.1"))
        self.assertEqual(Own.parse("fe80::1%eth0"), Own(ip_address("fe80::1"), "fe80::1%eth0"))


class WayTests(SynchronousTestCase):
    """Where this host would connect from."""

    def test_onceASecond(self) -> None:
        """The routing table is asked once for a peer, and again in another second."""
        here = ip_address("127.0.0.1")
        ownTowards.cache_clear()
        for second, asked in ((7, 1), (7, 1), (8, 2)):
            self.assertEqual(ownTowards(here, second), Own(here, "127.0.0.1"))
            self.assertEqual(ownTowards.cache_info().misses, asked)

    def test_noWay(self) -> None:
        """There may be a way a moment later: that there is none is not remembered."""
        ownTowards.cache_clear()
        for asked in (1, 2):
            self.assertRaises(OSError, ownTowards, ip_address("255.255.255.255"), 7)
            self.assertEqual(ownTowards.cache_info().misses, asked)


class NamedTests(SynchronousTestCase):
    """What others are told."""

    def test_named(self) -> None:
        """What is advertised in an address's family, else the address."""
        four, six, outside = map(ip_address, ("192.0.2.1", "2001:db8::1", "203.0.113.1"))
        self.assertEqual(named(four, ()), four)
        self.assertEqual(named(four, (outside,)), outside)
        self.assertEqual(named(six, (outside,)), six)
        self.assertEqual(named(four, (six, outside)), outside)


class PortTests(SynchronousTestCase):
    """Ports of a range."""

    def test_all(self) -> None:
        """All of a small range, in an order of chance, each once."""
        orders = [portsFrom(range(4000, 4020), Random(seed)) for seed in range(10)]
        self.assertEqual({tuple(sorted(each)) for each in orders}, {tuple(range(4000, 4020))})
        self.assertGreater(len({tuple(each) for each in orders}), 5)

    def test_some(self) -> None:
        """Some of a large one."""
        ports = portsFrom(range(1, 65536), Random(1))
        self.assertEqual((len(ports), len(set(ports))), (PORTS_TRIED, PORTS_TRIED))
