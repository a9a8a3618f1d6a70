"""
Where a proxy listens for us, by the reply that says so (BND of RFC 1928, section 6).

Proxies that do not know their own address, or do not care, write zeros: then it is the address
that they were reached by.  Nothing is resolved here.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address as TwistedIPv4
from twisted.internet.address import IPv6Address as TwistedIPv6

from twisted_socks5.addresses import scopeless, unmapped
from twisted_socks5.client.errors import ProxyProtocolError
from twisted_socks5.wire import Address

if TYPE_CHECKING:
    from twisted_socks5.client.control import ControlConnection

_LOOPBACK: dict[int, IPv4Address | IPv6Address] = {
    4: IPv4Address("127.0.0.1"),
    6: IPv6Address("::1"),
}


def boundAddress(control: ControlConnection) -> Address:
    """
    Tell where the proxy listens, as somebody else may be told.

    @param control: the connection on which the proxy has granted a BIND or UDP ASSOCIATE.
    @return: BND, IPv4 where it is only mapped into IPv6, and the address of the control
        connection's peer where it is zeros.  Behind a Unix socket that is this host's loopback
        address.  If the proxy was reached through another one, it is that other's: then the
        farther proxy has to say its address.
    @raise ProxyProtocolError: its port is 0, which nobody can reach.
    """
    host, port = control.reply.bound
    if port == 0:
        raise ProxyProtocolError("the proxy says that it listens on port 0")
    if isinstance(host, bytes):
        if host:
            return Address(host, port)
        host = IPv4Address(0)  # a name that says as little as zeros do
    host = unmapped(host)
    if int(host):
        return Address(host, port)
    peer = _peer(control.transport)
    return Address(_LOOPBACK[host.version] if peer is None else peer[0], port)


def zoned(control: ControlConnection, address: IPv4Address | IPv6Address) -> str:
    """
    Write the proxy's address for a socket of ours, which needs a zone where the wire has none.

    @param control: a connection to the proxy.
    @param address: where the proxy listens.
    @return: its text; with the zone of the control connection's peer, if it is that address.
    """
    peer = _peer(control.transport)
    return peer[1] if peer is not None and peer[0] == address else str(address)


def _peer(transport: Any) -> tuple[IPv4Address | IPv6Address, str] | None:
    """Tell the peer of a connection, without its zone and with; L{None}: it has no IP address."""
    peer = transport.getPeer()
    if isinstance(peer, TwistedIPv4):
        return IPv4Address(peer.host), peer.host
    if isinstance(peer, TwistedIPv6):
        address = unmapped(IPv6Address(scopeless(peer.host)))
        return address, peer.host if address.version == 6 else str(address)
    return None
