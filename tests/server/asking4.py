"""What SOCKS4 clients send and hear, and a server that serves them."""

from __future__ import annotations

from ipaddress import ip_address

from tests.server.asking import TARGET, AskingCase
from twisted_socks5.wire import Address, Host, pack_request4

GRANTED, REJECTED, NOT_THE_USER = (b"\0" + bytes((code,)) for code in (90, 91, 93))
NO_BOUND = bytes(6)


def request(
    host: str | Host = TARGET, port: int = 80, *, user: bytes = b"", command: int = 1
) -> bytes:
    """Write a request; a name makes it one of SOCKS4a."""
    where = ip_address(host) if isinstance(host, str) else host
    return pack_request4(command, Address(where, port), user)


class SOCKS4Case(AskingCase):
    """A server that serves SOCKS4."""

    def setUp(self) -> None:
        """Switch it on."""
        super().setUp()
        self.settings["socks4"] = True
