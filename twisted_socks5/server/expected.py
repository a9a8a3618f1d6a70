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

# How many bits of an address count, by IP version.
_BITS = {BindPeers.EXACT: {4: 32, 6: 128}, BindPeers.NETWORK: {4: 24, 6: 64}}


class Expected:
    """Whom one BIND waits for; as text, for the log."""

    def __init__(self, addresses: Sequence[IPAddress], peers: BindPeers) -> None:
        """
        @param addresses: the peer's; none are anybody's.
        @param peers: who may come in its stead.
        """
        self._networks: list[IPv4Network | IPv6Network] = []
        if peers is not BindPeers.ANYONE:
            bits = _BITS[peers]
            networks = [
                ip_network(f"{address}/{bits[address.version]}", strict=False)
                for address in addresses
            ]
            self._networks = list(dict.fromkeys(networks))

    def includes(self, address: IPAddress) -> bool:
        """Tell whether C{address} may be that of the peer."""
        return not self._networks or any(address in network for network in self._networks)

    def __str__(self) -> str:
        if not self._networks:
            return "anybody"
        shown = [_shown(network) for network in self._networks[:SHOWN]]
        more = len(self._networks) - len(shown)
        return ", ".join(shown) + (f" and {more} more" if more else "")


def _shown(network: IPv4Network | IPv6Network) -> str:
    single = network.prefixlen == network.max_prefixlen
    return str(network.network_address if single else network)
