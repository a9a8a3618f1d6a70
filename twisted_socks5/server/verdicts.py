"""
What the rules say of one association's targets, asked once and remembered.

A source is judged as if the client wanted to reach it, for what it may not reach shall not reach
it either; under the name by which the client reached it, if it did, so that a rule that permits a
name permits its answers.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_socks5.addresses import scopeless, unmapped
from twisted_socks5.interfaces import Access
from twisted_socks5.server.recent import Recent
from twisted_socks5.wire import Command, pack_header

if TYPE_CHECKING:
    from twisted_socks5.interfaces import IPAddress, IRules
    from twisted_socks5.relay.udp import Endpoint

REMEMBERED = 256
"""How many names, and how many sources, are remembered; see L{Recent}."""


class Verdicts:
    """The rules, asked for one client."""

    _log = Logger()

    def __init__(self, rules: IRules, client: IPAddress | None, user: str | None) -> None:
        """
        @param rules: judge.  Should they fail, nothing is permitted, and the log says so once.
        @param client: the client's address; L{None} is this host.
        @param user: the client's name.
        """
        self.rules = rules
        self._client = client
        self._user = user
        self._complained = False
        self._names: Recent[Endpoint, str] = Recent(REMEMBERED)
        self._sources: Recent[Endpoint, tuple[bytes, str]] = Recent(REMEMBERED)

    def access(self, host: str, port: int, address: IPAddress | None = None) -> Access:
        """Describe what the client wants to reach."""
        return Access(self._client, self._user, Command.UDP_ASSOCIATE, host, port, address)

    def permits(self, host: str, port: int, address: IPAddress) -> bool:
        """Tell whether the client may reach an address."""
        try:
            return self.rules.judge(self.access(host, port, address)).permitted
        except Exception:
            self.failed()
            return False

    def failed(self) -> None:
        """Log the exception being handled; the next datagram would only bring the same one."""
        if not self._complained:
            self._complained = True
            self._log.failure("The destination of a datagram could not be judged")

    def permitted(self, endpoint: Endpoint, name: str) -> None:
        """Remember that the client may reach an address by a name, and hear from it, too."""
        self._names.put(endpoint, name)
        self._sources.clear()

    def source(self, endpoint: Endpoint) -> tuple[bytes, str]:
        """
        Judge where a datagram comes from.

        @return: the UDP request header that tells the client, empty if it may not hear of it;
            and the address alone as L{str} writes it.
        """
        return self._sources.get(endpoint) or self._meet(endpoint)

    def _meet(self, endpoint: Endpoint) -> tuple[bytes, str]:
        address, port = unmapped(ip_address(scopeless(endpoint[0]))), endpoint[1]
        host = str(address)
        name = self._names.get((host, port)) or host
        header = pack_header(address, port) if self.permits(name, port, address) else b""
        self._sources.put(endpoint, (header, host))
        return header, host
