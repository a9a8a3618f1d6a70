"""
A server's settings, validated once.

Plain values with defaults fit for the open internet.  Where they come from (options, an
application's own code) is not known here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import Enum
from math import isfinite

from twisted_socks5.errors import ConfigurationError
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.wire.constants import Method

#: Within so many seconds a failed request's connection must be closed (RFC 1928, section 6).
MAX_LINGER = 10.0


class Filtering(Enum):
    """
    Who may answer the datagrams of an association (RFC 4787, section 5).

    @cvar ENDPOINT_INDEPENDENT: anybody, so that games, calls and peer-to-peer programs work.
    @cvar ADDRESS_DEPENDENT: only hosts that the client has sent to.
    """

    ENDPOINT_INDEPENDENT = "endpoint-independent"
    ADDRESS_DEPENDENT = "address-dependent"


class BindPeers(Enum):
    """
    Who may connect to a BIND's port, by the peer that its request expects.

    A server with several addresses may open FTP's data connection from another one than the
    client knows it by.  Whoever is let in is judged by the rules, too.

    @cvar EXACT: only the address asked for, or one of the name's.
    @cvar NETWORK: the network around it, too: a /24 of IPv4, a /64 of IPv6.
    @cvar ANYONE: anybody.
    """

    EXACT = "exact"
    NETWORK = "network"
    ANYONE = "anyone"


class PortChoice(Enum):
    """
    Who chooses the port that BIND listens on.

    @cvar PROXY: the proxy; DST.PORT says nothing.
    @cvar CLIENT: the client, where its DST.PORT is not 0, from 1024 on: that port or none.
        Dante's library asks so for the port that its program has bound; other clients name the
        port of the target instead and are refused if that is taken, or below 1024.
    """

    PROXY = "proxy"
    CLIENT = "client"


_NEVER_FOR_EVER = {
    "association_timeout",
    "bind_timeout",
    "dial_timeout",
    "linger_timeout",
    "lookup_timeout",
}


@dataclass(frozen=True)
class Settings:
    """
    The deadlines and limits of a server.

    All times are in seconds.  Where it says so, 0 means for ever; a limit of 0 is no limit.

    @ivar negotiation_timeout: from the connection to the complete request, authentication
        included; 0 is for ever.
    @ivar lookup_timeout: for a name to be resolved.
    @ivar dial_timeout: for a target to answer, over all its addresses.
    @ivar idle_timeout: how long nothing may move on a relay.  Longer than the 2 h 4 min that
        RFC 5382 asks of a NAT, so that the proxy is never the first to forget a connection.
        0 is for ever.
    @ivar half_closed_timeout: the same for a relay one side of which has sent its FIN;
        0 is for ever.
    @ivar linger_timeout: how long a refused client may take to hear its refusal; at most the
        10 s of RFC 1928, section 6.
    @ivar max_connections: sessions at a time.
    @ivar max_connections_per_client: sessions at a time of one address (an IPv6 client's /64).
    @ivar bind_timeout: how long a BIND may wait for its peer.
    @ivar bind_peers: who may connect to a BIND's port.
    @ivar bind_port_choice: who chooses that port.
    @ivar association_timeout: how long no datagram may pass an association; RFC 4787 asks for
        at least 2 min of a NAT and recommends 5.
    @ivar advertised: the addresses, at most one of each family, that replies to BIND and UDP
        ASSOCIATE name instead of the proxy's own: those it is reached by behind a NAT.
    @ivar bind_ports: the ports that BIND listens on; L{None} leaves the choice to the system.
    @ivar udp_ports: the same for the ports that clients send their datagrams to.
    @ivar udp_filtering: who may answer these.
    @ivar socks4: whether SOCKS4 and 4a are served, too.
    @ivar resolve: whether Tor's commands RESOLVE and RESOLVE_PTR are.
    @ivar methods: the authentication methods that are offered, in order of preference; L{None}
        is all that the portal can check, a password before GSSAPI before none.

    @raise ConfigurationError: a value is out of range.
    """

    negotiation_timeout: float = 20.0
    lookup_timeout: float = 10.0
    dial_timeout: float = 20.0
    idle_timeout: float = 7500.0
    half_closed_timeout: float = 600.0
    linger_timeout: float = 5.0
    max_connections: int = 16384
    max_connections_per_client: int = 4096
    bind_timeout: float = 300.0
    bind_peers: BindPeers = BindPeers.EXACT
    bind_port_choice: PortChoice = PortChoice.PROXY
    association_timeout: float = 300.0
    advertised: tuple[IPAddress, ...] = ()
    bind_ports: range | None = None
    udp_ports: range | None = None
    udp_filtering: Filtering = Filtering.ENDPOINT_INDEPENDENT
    socks4: bool = False
    resolve: bool = False
    methods: tuple[Method, ...] | None = None

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, (int, float)):
                continue
            words = field.name.replace("_", " ")
            if not (isfinite(value) and value >= 0):
                raise ConfigurationError(f"the {words} must be 0 or more, not {value}")
            if value == 0 and field.name in _NEVER_FOR_EVER:
                raise ConfigurationError(f"the {words} must be more than 0")
        if self.linger_timeout > MAX_LINGER:
            raise ConfigurationError(
                f"the linger timeout must be at most {MAX_LINGER:g} s (RFC 1928, section 6), "
                f"not {self.linger_timeout:g}"
            )
        if len({address.version for address in self.advertised}) < len(self.advertised):
            raise ConfigurationError("only one address of each family can be advertised")
        for ports in (self.bind_ports, self.udp_ports):
            if ports is not None and not (ports and 1 <= ports[0] <= ports[-1] <= 65535):
                raise ConfigurationError("a range of ports must lie within 1 to 65535")
        if self.methods is not None:
            if not self.methods:
                raise ConfigurationError("there must be a method to offer")
            if len(set(self.methods)) < len(self.methods):
                raise ConfigurationError("a method can be preferred only once")
