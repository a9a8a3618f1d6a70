"""Which addresses are protected, and by which networks that is lifted."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.test_addresses import CARRIERS
from twisted_socks5.addresses import disguises
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.protection import (
    LOCALHOST,
    OWN_PORT,
    Guard,
    guards,
    is_local,
    is_localhost,
    lifts,
)

ANY_PORT = range(65536)


def guardsOf(text: str | IPAddress) -> frozenset[Guard]:
    """What protects an address."""
    address = ip_address(text)
    carried = disguises(int(address)) if isinstance(address, IPv6Address) else ()
    return guards(address.version, int(address), carried)


def kinds(text: str | IPAddress) -> list[tuple[str, str]]:
    """What kinds of address it is, and by which mechanism."""
    return sorted((guard.what, guard.mechanism) for guard in guardsOf(text))


def lifted(network: str, ports: range = ANY_PORT) -> list[tuple[str, str]]:
    """What a network lifts."""
    return sorted((guard.what, guard.mechanism) for guard in lifts(ip_network(network), ports))


class GuardsTests(SynchronousTestCase):
    """What is protected."""

    def test_edges(self) -> None:
        """The first and the last address of each range, and the neighbours that are not in it."""
        for what, inside, outside in (
            ("unspecified", ["0.0.0.0", "0.255.255.255"], ["1.0.0.0"]),
            ("loopback", ["127.0.0.0", "127.255.255.255"], ["126.255.255.255", "128.0.0.0"]),
            (
                "link-local",
                ["169.254.0.0", "169.254.169.254", "169.254.255.255"],
                ["169.253.255.255", "169.255.0.0"],
            ),
            ("multicast", ["224.0.0.0", "239.255.255.255"], ["223.255.255.255"]),
            ("reserved", ["240.0.0.0", "255.255.255.254"], []),
            ("unspecified", ["::"], []),
            ("loopback", ["::1"], []),
            (
                "link-local",
                ["fe80::", "febf:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
                ["fe7f:ffff:ffff:ffff:ffff:ffff:ffff:ffff"],
            ),
            ("site-local", ["fec0::", "feff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], []),
            ("multicast", ["ff00::", "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"], []),
            ("cloud metadata", ["100.100.100.200"], ["100.100.100.199", "100.100.100.201"]),
            ("cloud metadata", ["168.63.129.16"], ["168.63.129.15", "168.63.129.17"]),
            ("cloud metadata", ["fd00:ec2::254", "fd00:ec2::23"], ["fd00:ec1::254", "fd00:ec3::"]),
            ("cloud metadata", ["fd20:ce::254"], ["fd20:ce::253", "fd20:ce::255"]),
            ("cloud metadata", ["fd00:c1::a9fe:a9fe"], ["fd00:c1::a9fe:a9fd"]),
            ("cloud metadata", ["fd00:42::42"], ["fd00:42::43"]),
        ):
            for text in inside:
                self.assertEqual(kinds(text), [(what, "")], text)
            for text in outside:
                self.assertEqual(kinds(text), [], text)

    def test_broadcast(self) -> None:
        """The broadcast address is of the reserved ones, too."""
        self.assertEqual(kinds("255.255.255.255"), [("broadcast", ""), ("reserved", "")])

    def test_private(self) -> None:
        """Private networks are the operator's to deny."""
        for text in ("10.0.0.1", "172.16.0.1", "192.168.0.1", "100.64.0.1", "fc00::1", "fd00::1"):
            self.assertEqual(kinds(text), [], text)

    @given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(CARRIERS)))
    @settings(max_examples=200, deadline=None)
    def test_disguises(self, value: int, mechanism: str) -> None:
        """Whatever protects an address protects all that carry it."""
        address = IPv4Address(value)
        if mechanism in ("NAT64 /48", "NAT64 /56", "NAT64 /64") and value >> 24 == 0:
            return
        carrier = IPv6Address(CARRIERS[mechanism](address))
        found = guardsOf(carrier)
        for guard in guardsOf(address):
            self.assertIn(guard._replace(mechanism=mechanism), found)

    def test_localhost(self) -> None:
        """The names that mean this host, and those that only look like them."""
        for name in ("localhost", "a.localhost", "a.b.localhost"):
            self.assertTrue(is_localhost(name))
        for name in ("notlocalhost", "localhost.example", "localhos", ".", "a-localhost"):
            self.assertFalse(is_localhost(name))

    def test_local(self) -> None:
        """Unix sockets and loopback are this host; nobody else is."""
        for text in ("127.0.0.1", "127.255.0.1", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(is_local(ip_address(text)))
        self.assertTrue(is_local(None))
        for text in (
            "126.0.0.1",
            "192.0.2.1",
            "0.0.0.1",
            "::",
            "::2",
            "::7f00:1",
            "2002:7f00:1::",
        ):
            self.assertFalse(is_local(ip_address(text)))


class LiftsTests(SynchronousTestCase):
    """What an operator lifts by permitting a network."""

    def test_within(self) -> None:
        """A network within a protected range lifts that."""
        for network in ("127.0.0.1/32", "127.0.0.0/8", "127.1.0.0/16", "::1/128"):
            self.assertIn(("loopback", ""), lifted(network))
        self.assertEqual(lifted("169.254.0.0/16"), [("link-local", "")])
        self.assertEqual(lifted("fe80::/64"), [("link-local", "")])
        self.assertEqual(lifted("168.63.129.16/32"), [("cloud metadata", "")])

    def test_wider(self) -> None:
        """A wider one lifts nothing."""
        for network in (
            "0.0.0.0/0",
            "126.0.0.0/7",
            "169.254.0.0/15",
            "224.0.0.0/3",
            "100.100.100.0/24",
            "10.0.0.0/8",
            "::/0",
            "::/127",
            "fe80::/9",
            "fd00::/8",
            "2002::/16",
            "2001::/32",
            "64:ff9b::/96",
            "64:ff9b:1::/48",
        ):
            self.assertEqual(lifted(network), [], network)

    def test_broadcast(self) -> None:
        """All reserved addresses are lifted together, but not broadcast with them."""
        self.assertEqual(lifted("240.0.0.0/4"), [("reserved", "")])
        self.assertEqual(lifted("255.255.255.255/32"), [("broadcast", ""), ("reserved", "")])

    def test_localhost(self) -> None:
        """To permit loopback is to permit its name, in either version of IP."""
        for network in ("127.0.0.0/8", "::1/128"):
            self.assertIn(LOCALHOST, lifts(ip_network(network), ANY_PORT))
        for network in ("2002:7f00::/24", "169.254.0.0/16"):
            self.assertNotIn(LOCALHOST, lifts(ip_network(network), ANY_PORT))

    def test_disguised(self) -> None:
        """A disguise is lifted by a network all of which carries it."""
        self.assertEqual(lifted("2002:7f00::/24"), [("loopback", "6to4")])
        self.assertEqual(lifted("64:ff9b::127.0.0.0/104"), [("loopback", "NAT64")])
        self.assertEqual(lifted("64:ff9b:1:7f00::/96"), [("loopback", "NAT64 /48")])
        self.assertEqual(lifted("2001:0:7f00::/40"), [("loopback", "Teredo server")])

    def test_ownPort(self) -> None:
        """The proxy's own port is lifted by one address and one port."""
        self.assertEqual(lifts(ip_network("192.0.2.1/32"), range(1080, 1081)), {OWN_PORT})
        for network, ports in (
            ("192.0.2.1/32", range(1080, 1082)),
            ("192.0.2.0/31", range(1080, 1081)),
            ("2001:db8::1/128", ANY_PORT),
        ):
            self.assertEqual(lifts(ip_network(network), ports), frozenset())

    @given(
        st.sampled_from(["127.0.0.1", "10.1.2.3", "255.255.255.255", "169.254.169.254"]),
        st.sampled_from(["", *sorted(CARRIERS)]),
        st.integers(0, 128),
        st.integers(0, 2**128 - 1),
    )
    @settings(max_examples=300, deadline=None)
    def test_all(self, text: str, mechanism: str, length: int, other: int) -> None:
        """What a network lifts protects each of its addresses."""
        address: IPAddress = IPv4Address(text)
        if mechanism:
            address = IPv6Address(CARRIERS[mechanism](IPv4Address(text)))
        length = min(length, address.max_prefixlen)
        network = ip_network(f"{address}/{length}", strict=False)
        inside = network[other % network.num_addresses]
        found = lifts(network, ANY_PORT) - {LOCALHOST}
        self.assertTrue(found <= guardsOf(inside), (network, inside))
