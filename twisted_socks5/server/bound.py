"""
Which addresses and ports of ours somebody else can reach: what a reply may name as BND.

A socket is bound to one address, never to all, and the reply names that address, or the one that
the operator says leads to it from outside.  Nothing here binds or listens.
"""

from __future__ import annotations

import socket
from functools import lru_cache
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING, NamedTuple

from twisted_socks5.addresses import ipAddress, scopeless, unmapped

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

    from twisted.internet.interfaces import IAddress

    from twisted_socks5.interfaces import IPAddress

#: How many ports of a range are tried; a bind costs time, and a range may have 65535.
PORTS_TRIED = 128

_LOOPBACK = IPv4Address("127.0.0.1")

# No datagram is sent, so nobody is ever asked for this service.
_DISCARD = 9


class Own(NamedTuple):
    """
    An address of this host.

    @ivar address: without a zone id.
    @ivar interface: how to tell the system to bind to it, which may need the zone id.
    """

    address: IPAddress
    interface: str

    @staticmethod
    @lru_cache(maxsize=64)
    def parse(text: str) -> Own:
        """Read an address as a socket names it; mapped ones are of IPv4."""
        return Own(unmapped(ip_address(scopeless(text))), text)


def own(host: IAddress) -> Own:
    """
    Find the address that a client has reached us by.

    @param host: the control connection's end here; a Unix socket is reached from this host only.
    """
    found = ipAddress(host)
    if found is None:
        return Own(_LOOPBACK, str(_LOOPBACK))
    address = found[0]
    # A mapped address is one of IPv4 only for a socket of IPv4.
    return Own(address, str(address) if address.version == 4 else host.host)  # type: ignore[attr-defined]


@lru_cache(maxsize=256)
def ownTowards(peer: IPAddress, second: int) -> Own:  # noqa: ARG001  # tells answers apart
    """
    Find the address that this host would connect to another from: a question for the routing
    table, which a UDP socket asks when it is connected.  Nothing is sent.

    @param second: what time it is; a way that was found in this second is not looked for again.
    @raise OSError: there is no way to C{peer}.
    """
    family = socket.AF_INET if peer.version == 4 else socket.AF_INET6
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        probe.connect((str(peer), _DISCARD))
        return Own.parse(probe.getsockname()[0])


def named(address: IPAddress, advertised: Sequence[IPAddress]) -> IPAddress:
    """
    Say how an own address is to be named to others.

    @param advertised: the addresses, at most one of each family, that lead here from outside.
    """
    return next((each for each in advertised if each.version == address.version), address)


def portsFrom(ports: range, random: Random) -> list[int]:
    """Say which ports of a range to try, in an order that nobody can guess."""
    return random.sample(ports, min(len(ports), PORTS_TRIED))
