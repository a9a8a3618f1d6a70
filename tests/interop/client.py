"""
A SOCKS client that can be made to do everything wrong.

A blocking socket and the octets of RFC 1928, written out: nothing here is taken from what is
under test.
"""

from __future__ import annotations

import socket
import struct
from ipaddress import IPv4Address, ip_address
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.interop.origins import Cleaning
    from tests.interop.proxy import Proxy

GREETING = b"\x05\x01\x00"
"""Method "none"."""

PASSWORD_GREETING = b"\x05\x01\x02"
"""Method "username/password"."""

CLOSED = b""
"""What is heard from who closes without a word."""


def credentials(name: str, password: str) -> bytes:
    """Write username and password (RFC 1929)."""
    user, word = name.encode(), password.encode()
    return bytes((1, len(user))) + user + bytes((len(word),)) + word


def named(name: bytes, port: int, command: int = 1) -> bytes:
    """Write a request with a DOMAINNAME."""
    return bytes((5, command, 0, 3, len(name))) + name + port.to_bytes(2, "big")


def numbered(host: str, port: int, command: int = 1) -> bytes:
    """Write a request with an address."""
    address = ip_address(host)
    kind = 1 if isinstance(address, IPv4Address) else 4
    return bytes((5, command, 0, kind)) + address.packed + port.to_bytes(2, "big")


def wide(text: str) -> bytes:
    """Write ASCII in the full-width letters, digits and dots of East Asian typography."""
    return "".join(chr(ord(letter) + 0xFEE0) for letter in text).encode()


def refusal(reply: int) -> bytes:
    """Write the reply that refuses a request."""
    return bytes((5, reply, 0, 1, 0, 0, 0, 0, 0, 0))


def reset(connection: socket.socket) -> None:
    """Close with a reset."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


class Client(socket.socket):
    """A connection to the proxy, closed with its test."""

    def __init__(
        self, test: Cleaning, proxy: Proxy, opening: bytes = b"", source: str = ""
    ) -> None:
        """
        @param opening: octets to send at once.
        @param source: the address to connect from.
        """
        super().__init__(socket.AF_INET6 if ":" in proxy.host else socket.AF_INET)
        test.addCleanup(self.close)
        self.settimeout(20)
        self.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if source:
            self.bind((source, 0))
        self.connect((proxy.host, proxy.port))
        if opening:
            self.sendall(opening)

    def say(self, octets: bytes) -> Self:
        """Send octets."""
        self.sendall(octets)
        return self

    def hear(self, size: int) -> bytes:
        """
        Receive so many octets, or what comes before the end.

        @raise ConnectionResetError: a reset comes before.
        """
        got = b""
        while len(got) < size and (piece := self.recv(size - len(got))):
            got += piece
        return got

    def hearOut(self) -> bytes:
        """
        Receive everything until the other side closes.

        @raise ConnectionResetError: it ends with a reset.
        """
        got = b""
        while piece := self.recv(1 << 16):
            got += piece
        return got

    def hearReply(self) -> bytes:
        """Receive a reply with an address, whole."""
        head = self.hear(4)
        return head + self.hear({1: 6, 4: 18}[head[3]]) if len(head) == 4 else head

    def finish(self) -> Self:
        """Send a FIN: nothing more will be said."""
        self.shutdown(socket.SHUT_WR)
        return self

    def through(self, port: int, host: str = "127.0.0.1") -> Self:
        """Greet, request, and be connected."""
        self.sendall(GREETING)
        self.sendall(numbered(host, port))
        heard = self.hear(2) + self.hearReply()
        if heard[:4] != b"\x05\x00\x05\x00":
            raise AssertionError(f"not connected: {heard!r}")
        return self

    def asks(self, octets: bytes) -> bytes:
        """Send octets over an established connection, and receive as many."""
        self.sendall(octets)
        return self.hear(len(octets))
