"""Where a proxy listens, by what it says and how it was reached."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.client import ControlConnection, ProxyProtocolError
from twisted_socks5.client.bound import boundAddress, zoned
from twisted_socks5.wire import Address, ReplyMessage


class _Control:
    """As much of a control connection as is looked at."""

    def __init__(self, host: str | bytes, port: int, peer: Any) -> None:
        found = host if isinstance(host, bytes) else ip_address(host)
        self.reply = ReplyMessage(0, Address(found, port))
        self.transport = self
        self._peer = peer

    def getPeer(self) -> Any:
        """Tell whom it is with."""
        return self._peer


def control(host: str | bytes, peer: Any, port: int = 9) -> ControlConnection:
    """Make one."""
    return cast(ControlConnection, _Control(host, port, peer))


V4 = IPv4Address("TCP", "192.0.2.10", 1080)
V6 = IPv6Address("TCP", "2001:db8::10", 1080)
MAPPED = IPv6Address("TCP", "::ffff:192.0.2.10", 1080)
LINK = IPv6Address("TCP", "fe80::10%eth0", 1080)
UNIX = UNIXAddress("/run/socks5.sock")


class BoundTests(SynchronousTestCase):
    """L{boundAddress} and L{zoned}."""

    def test_as_it_says(self) -> None:
        """What is neither zeros nor mapped stays as it is, names too."""
        for host in ("198.51.100.1", "2001:db8::1", b"relay.example"):
            for peer in (V4, V6, UNIX):
                found = boundAddress(control(host, peer))
                self.assertEqual(found.host, host if isinstance(host, bytes) else ip_address(host))
                self.assertEqual(found.port, 9)

    def test_zeros(self) -> None:
        """Zeros, and no name at all, are the address that the proxy was reached by."""
        for peer, expected in (
            (V4, "192.0.2.10"),
            (V6, "2001:db8::10"),
            (MAPPED, "192.0.2.10"),
            (LINK, "fe80::10"),
        ):
            for host in ("0.0.0.0", "::", "::ffff:0.0.0.0", b""):
                self.assertEqual(str(boundAddress(control(host, peer)).host), expected)

    def test_unix(self) -> None:
        """Behind a Unix socket the proxy is on this host."""
        self.assertEqual(str(boundAddress(control("0.0.0.0", UNIX)).host), "127.0.0.1")
        self.assertEqual(str(boundAddress(control("::", UNIX)).host), "::1")

    def test_port(self) -> None:
        """Port 0 is none."""
        for host in ("192.0.2.1", b"relay.example"):
            self.assertRaises(ProxyProtocolError, boundAddress, control(host, V4, 0))

    def test_zone(self) -> None:
        """A link-local address is written as the control connection knows it."""
        there = control("::", LINK)
        self.assertEqual(zoned(there, ip_address("fe80::10")), "fe80::10%eth0")
        self.assertEqual(zoned(there, ip_address("fe80::11")), "fe80::11")
        for peer in (V4, MAPPED):
            self.assertEqual(zoned(control("::", peer), ip_address("192.0.2.10")), "192.0.2.10")
        self.assertEqual(zoned(control("::", UNIX), ip_address("::1")), "::1")
