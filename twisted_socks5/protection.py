"""
What clients from elsewhere cannot reach unless the operator names it.

A proxy lends its place in the network to its clients.  Some addresses mean something else, and
often something unguarded, when they are reached from there: the host's own loopback, the cloud's
metadata service, the neighbours on the link, the proxy itself.

Here is which addresses those are, in any disguise, and which networks an operator must write to
lift their protection.  How that is weighed against other rules is for C{rules} to say.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Network, ip_network
from typing import TYPE_CHECKING, NamedTuple

from twisted_socks5.addresses import disguises, unmapped

if TYPE_CHECKING:
    from twisted_socks5.interfaces import Access, IPAddress


class Guard(NamedTuple):
    """
    One reason why an address is protected.

    @ivar what: what kind of address it is, for the log.
    @ivar network: the protected network; L{None} for what is no network.
    @ivar mechanism: how the protected IPv4 address is carried, one of those of
        L{disguises<twisted_socks5.addresses.disguises>}; empty when the address is itself.
    """

    what: str
    network: IPv4Network | IPv6Network | None
    mechanism: str = ""


LOCALHOST = Guard("loopback name", None)
"""The names that mean the host they are used on (RFC 6761, section 6.3)."""

OWN_PORT = Guard("the proxy's own port", None)
"""A port the proxy listens on, on any of its host's addresses: a loop, and a way around rules."""

_PROTECTED = tuple(
    (what, ip_network(text))
    for what, text in (
        # "This host on this network" (RFC 1122, section 3.2.1.3); Linux connects 0.0.0.0 and ::
        # to its own loopback.
        ("unspecified", "0.0.0.0/8"),
        ("loopback", "127.0.0.0/8"),
        ("link-local", "169.254.0.0/16"),
        ("multicast", "224.0.0.0/4"),
        ("broadcast", "255.255.255.255/32"),
        ("reserved", "240.0.0.0/4"),
        ("unspecified", "::/128"),
        ("loopback", "::1/128"),
        ("link-local", "fe80::/10"),
        # Deprecated by RFC 3879, which leaves open what a host that still knows them does.
        ("site-local", "fec0::/10"),
        ("multicast", "ff00::/8"),
        # Metadata services that are not link-local: Alibaba Cloud, Azure, Amazon (names, time and
        # credentials are beside it), Google, Oracle, Scaleway.
        ("cloud metadata", "100.100.100.200/32"),
        ("cloud metadata", "168.63.129.16/32"),
        ("cloud metadata", "fd00:ec2::/32"),
        ("cloud metadata", "fd20:ce::254/128"),
        ("cloud metadata", "fd00:c1::a9fe:a9fe/128"),
        ("cloud metadata", "fd00:42::42/128"),
    )
)

_NOTHING: frozenset[Guard] = frozenset()


def _by_first_octet() -> dict[tuple[int, int], tuple[tuple[int, int, Guard], ...]]:
    """Find the protected spans by IP version and first octet; most octets begin none."""
    found: dict[tuple[int, int], tuple[tuple[int, int, Guard], ...]] = {}
    for what, network in _PROTECTED:
        low, high = int(network.network_address), int(network.broadcast_address)
        width = network.max_prefixlen - 8
        for octet in range(low >> width, (high >> width) + 1):
            key = network.version, octet
            found[key] = (*found.get(key, ()), (low, high, Guard(what, network)))
    return found


_SPANS = _by_first_octet()


def guards(version: int, value: int, carried: Sequence[tuple[str, int]]) -> frozenset[Guard]:
    """
    Say why an address is protected, as itself and as what it carries in disguise.

    @param version: of IP, 4 or 6.
    @param value: the address as a number.
    @param carried: what L{disguises<twisted_socks5.addresses.disguises>} finds in it.
    @return: hardly ever anything.
    """
    found = _NOTHING
    spans = _SPANS.get((version, value >> (24 if version == 4 else 120)))
    if spans is not None:
        found = frozenset(guard for low, high, guard in spans if low <= value <= high)
    for mechanism, inside in carried:
        for guard in guards(4, inside, ()):
            found |= {guard._replace(mechanism=mechanism)}
    return found


def _all_guards(version: int, value: int) -> frozenset[Guard]:
    return guards(version, value, disguises(value) if version == 6 else ())


def lifts(network: IPv4Network | IPv6Network, ports: range) -> frozenset[Guard]:
    """
    Say which protection an operator lifts who permits a network.

    Only what the network is all about: C{127.0.0.1} and C{127.0.0.0/8} lift that of loopback,
    C{0.0.0.0/0}, which may well be written to mean "the internet", lifts none; and a disguise is
    lifted by a network of which every address carries it.  L{OWN_PORT} is lifted by naming one
    address and one port.
    """
    # All bits of a network's addresses behind its prefix are 0 in the first and 1 in the last:
    # what guards both of these for the same reason guards all between them.
    first, last = int(network.network_address), int(network.broadcast_address)
    found = _all_guards(network.version, first) & _all_guards(network.version, last)
    if any(guard.what == "loopback" and not guard.mechanism for guard in found):
        found |= {LOCALHOST}
    if first == last and len(ports) == 1:
        found |= {OWN_PORT}
    return found


def is_localhost(host: str) -> bool:
    """Whether a host name, lower-case, means the host it is used on (RFC 6761, section 6.3)."""
    return host.endswith("localhost") and (host == "localhost" or host.endswith(".localhost"))


def is_local(client: IPAddress | None) -> bool:
    """Whether a client is on this host: L{None}, a Unix socket, or a loopback address."""
    if client is None:
        return True
    if not isinstance(client, IPv4Address):
        client = unmapped(client)
    if isinstance(client, IPv4Address):
        return int(client) >> 24 == 127
    return int(client) == 1


def reason(found: Collection[Guard], access: Access, address: IPAddress | None) -> str:
    """
    Put in words why an access is denied.

    @param found: what guards the destination, at least one.
    @param access: whose.
    @param address: the destination; L{None} while it is only a name.
    """
    # Plain reasons before disguised ones, and always the same one.
    guard = min(found, key=lambda one: (one.network is None, one.mechanism, one.what))
    if guard == LOCALHOST or address is None:
        return f"{guard.what} {access.host} from {access.client}"
    if guard == OWN_PORT:
        host = f"[{address}]" if address.version == 6 else str(address)
        return f"{guard.what} {host}:{access.port} from {access.client}"
    shown = str(address)
    if guard.mechanism:
        carried = IPv4Address(dict(disguises(int(address)))[guard.mechanism])
        shown += f" ({carried} as {guard.mechanism})"
    return f"{guard.what} destination {shown} from {access.client}"
