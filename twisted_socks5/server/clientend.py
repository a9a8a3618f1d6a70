"""
Whose datagrams an association relays: its client's, and nobody else's (RFC 1928, section 7).

The client is the host at the other end of the control connection.  Its port is the one it
declared in DST.PORT, if DST.ADDR is its own address; else the one that its first datagram comes
from.  Declarations can't be relied on any further: clients write zeros there, names that mean
zeros, their address behind a NAT, and even the target.

What others send is no more than a sign that they have found the port: it neither takes the
association nor ends it.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from twisted_socks5.addresses import InvalidName, normalise, scopeless, unmapped

if TYPE_CHECKING:
    from twisted_socks5.interfaces import IPAddress
    from twisted_socks5.relay.udp import Endpoint
    from twisted_socks5.wire import Address


class ClientEnd:
    """
    The client's end of an association.

    @ivar endpoint: where it sends from and is answered at, once that is known.
    """

    __slots__ = ("_address", "_host", "_port", "endpoint")

    def __init__(self, address: IPAddress | None, declared: Address) -> None:
        """
        @param address: the client; L{None} is any program on this host.
        @param declared: DST of its request.
        """
        self.endpoint: Endpoint | None = None
        self._address = address
        self._host = str(address)
        self._port = declared.port if declared.port and self._declaresItself(declared) else 0

    def mayBe(self, source: Endpoint) -> bool:
        """Tell whether a datagram from C{source} may be the client's."""
        if self.endpoint is not None:
            return source == self.endpoint
        host, port = source
        if not port or self._port not in (0, port):
            return False
        # Nearly always it is as the client's is written.
        return host == self._host or self._isClient(unmapped(ip_address(scopeless(host))))

    def _declaresItself(self, declared: Address) -> bool:
        try:
            host = normalise(declared.host)
        except InvalidName:
            return False
        return not isinstance(host, str) and self._isClient(host)

    def _isClient(self, address: IPAddress) -> bool:
        return address.is_loopback if self._address is None else address == self._address
