"""
What the rules say of one association's targets and sources, asked once and remembered.

A source is judged as if the client wanted to reach it, for what it may not reach shall not reach
it either; and by the name that led there, if one did, so that a rule that permits a name permits
its answers.
"""

from __future__ import annotations

from ipaddress import ip_address
from typing import TYPE_CHECKING

from twisted.logger import Logger

from twisted_socks5.addresses import scopeless, unmapped
from twisted_socks5.config import Filtering
from twisted_socks5.interfaces import Access
from twisted_socks5.server.recent import Recent
from twisted_socks5.wire import Command, pack_header

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from twisted_socks5.interfaces import IPAddress, IRules
    from twisted_socks5.relay.udp import Endpoint

REMEMBERED = 256
"""How many sources are remembered, and of how many targets more than that; see L{Recent}."""

# Why a datagram was dropped, as the count names it.
FORBIDDEN_SOURCE = "from forbidden sources"
UNSOLICITED = "unsolicited"


class Verdicts:
    """
    The rules, asked on behalf of one client.

    @ivar rules: the rules.
    @ivar spokenTo: the addresses that the client has sent to, if nobody else may answer; else
        L{None}.
    """

    _log = Logger()

    def __init__(
        self,
        rules: IRules,
        client: IPAddress | None,
        user: str | None,
        filtering: Filtering = Filtering.ENDPOINT_INDEPENDENT,
    ) -> None:
        """
        @param rules: judge.  If they fail, nothing is permitted, and the log says so once.
        @param client: the client's address; L{None} is this host.
        @param user: the client's name.
        @param filtering: who may answer.
        """
        self.rules = rules
        self.spokenTo: Recent[str, bool] | None = None
        if filtering is Filtering.ADDRESS_DEPENDENT:
            self.spokenTo = Recent(REMEMBERED)
        self._client = client
        self._user = user
        self._complained = False
        self._names: Recent[Endpoint, str] = Recent(REMEMBERED)
        self._sources: Recent[Endpoint, tuple[bytes, str]] = Recent(REMEMBERED)

    def access(self, host: str, port: int, address: IPAddress | None = None) -> Access:
        """Describe what the client wants to reach."""
        return Access(self._client, self._user, Command.UDP_ASSOCIATE, host, port, address)

    def permits(self, host: str, port: int, address: IPAddress | None = None) -> bool:
        """Tell whether the client may reach an address, or a name that is not resolved here."""
        try:
            return self.rules.judge(self.access(host, port, address)).permitted
        except Exception:
            self.failed()
            return False

    def failed(self, failure: Failure | None = None) -> None:
        """Log what went wrong, once: the next datagram would only bring the same again."""
        if not self._complained:
            self._complained = True
            self._log.failure("The way of a datagram could not be decided", failure)

    def permitted(self, target: Endpoint, name: str) -> None:
        """Learn that the client sends to an address by a name that it may."""
        self._names.put(target, name)
        if self.spokenTo is not None:
            self.spokenTo.put(target[0], True)
        # It may have been judged before, without that name.
        self._sources.clear()

    def mayAnswer(self, target: Endpoint, address: IPAddress) -> None:
        """
        Learn that the client may reach an address by itself, so that it need not be judged again.

        @param target: the address and its port.
        @param address: the same address.
        """
        host, port = target
        self._sources.put(target, (pack_header(address, port), host))

    def header(self, source: Endpoint) -> tuple[bytes, str]:
        """
        Judge where a datagram comes from.

        @return: the UDP request header that tells the client of it, and nothing; or nothing, and
            why it is dropped.
        """
        header, host = self._sources.get(source) or self._meet(source)
        if not header:
            return b"", FORBIDDEN_SOURCE
        if self.spokenTo is not None and not self.spokenTo.get(host):
            return b"", UNSOLICITED
        return header, ""

    def _meet(self, source: Endpoint) -> tuple[bytes, str]:
        """Judge a source that is not remembered; @return: its header or nothing, its address."""
        address, port = unmapped(ip_address(scopeless(source[0]))), source[1]
        host = str(address)
        name = self._names.get((host, port)) or host
        header = pack_header(address, port) if self.permits(name, port, address) else b""
        self._sources.put(source, (header, host))
        return header, host
