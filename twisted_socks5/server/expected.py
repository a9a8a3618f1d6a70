"""
Whom a BIND waits for: its DST.ADDR, compared with who connects (RFC 1928, section 4).

DST.PORT is not compared.  Hardly any client knows the port that its peer will connect from (FTP's
data comes from 20 or any other), and what it writes there is the port of its own end, that of the
target, or nothing.

Whether the peer is permitted is not asked here.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING

from twisted_socks5.config import BindPeers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted_socks5.interfaces import IPAddress

#: How many of a name's addresses stand in a line of the log.
SHOWN = 4

# How many bits of an address neighbours have in common, by IP version.
_COMMON = {4: 24, 6: 64}


class Expected:
    """Whom one BIND waits for; as text, for the log."""

    __slots__ = ("_addresses", "_neighbours")

    def __init__(self, addresses: Sequence[IPAddress], peers: BindPeers) -> None:
        """
        @param addresses: the peer's; none are anybody's.
        @param peers: who may come in its stead.
        """
        self._addresses = () if peers is BindPeers.ANYONE else addresses
        self._neighbours = peers is BindPeers.NETWORK

    def includes(self, address: IPAddress) -> bool:
        """Tell whether C{address} may be that of the peer."""
        addresses = self._addresses
        if not addresses or address in addresses:
            return True
        return self._neighbours and _network(address) in map(_network, addresses)

    def __str__(self) -> str:
        addresses = self._addresses
        shown = map(_network, addresses) if self._neighbours else addresses
        texts = list(dict.fromkeys(map(str, shown)))
        if not texts:
            return "anybody"
        more = len(texts) - SHOWN
        return ", ".join(texts[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def _network(address: IPAddress) -> IPv4Network | IPv6Network:
    return ip_network(f"{address}/{_COMMON[address.version]}", strict=False)
