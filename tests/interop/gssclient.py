"""
A client of RFC 1961, and a program that uses libcurl as one.

Blocking sockets, the RFC's octets written out, and contexts straight from the C{gssapi} package:
nothing here is taken from what is under test.
"""

from __future__ import annotations

import importlib
import json
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gssapi

from tests.interop.client import Client, numbered
from tests.interop.programs import run

if TYPE_CHECKING:
    from typing_extensions import Self

    from tests.interop.origins import Cleaning
    from tests.interop.proxy import Proxy
    from tests.security.realm import Realm

GREETING = b"\x05\x01\x01"
"""Method GSSAPI."""

INTEGRITY, CONFIDENTIALITY, PER_MESSAGE = 1, 2, 3

ABORT = b"\x01\xff"

_PIECE = 65_000
"""Octets that fit into one frame, wrapped."""


class Aborted(Exception):
    """The proxy has given the context up."""


class GSSClient:
    """
    A connection on which everything is wrapped, from the protection level on.

    @ivar socket: the connection.
    @ivar context: the security context.
    @ivar granted: the level that the proxy has answered with.
    @ivar sent: the first token, as it was sent.
    """

    def __init__(
        self,
        test: Cleaning,
        proxy: Proxy,
        realm: Realm,
        *,
        principal: str = "alice",
        service: str = "rcmd@localhost",
        sequence: bool = True,
    ) -> None:
        """
        Connect, and greet; nothing is negotiated yet.

        @param principal: who to be.
        @param service: whom a ticket is shown to; with a C{/} in it, a whole principal.
        @param sequence: whether turns matter; not with UDP.
        """
        self.socket = Client(test, proxy, GREETING)
        flags, kinds = gssapi.RequirementFlag, gssapi.NameType
        self.context: Any = gssapi.SecurityContext(
            name=gssapi.Name(
                service, kinds.kerberos_principal if "/" in service else kinds.hostbased_service
            ),
            creds=gssapi.Credentials(usage="initiate", store={"ccache": realm.ticket(principal)}),
            flags=flags.mutual_authentication
            | flags.replay_detection
            | (flags.out_of_sequence_detection if sequence else 0),
        )
        self.granted: int | None = None
        self.sent = b""
        self._rest = b""
        # Two threads send and receive, but a context is used by one at a time.
        self._lock = threading.Lock()

    def establish(self) -> Self:
        """Exchange tokens until the context stands (RFC 1961, section 3)."""
        if self.socket.hear(2) != b"\x05\x01":
            raise AssertionError("the proxy has not chosen GSSAPI")
        token = self.sent = self.context.step()
        while not self.context.complete:
            self.socket.sendall(frame(1, token))
            token = self.context.step(self.hearFrame(1))
        return self

    def ask(self, level: int, *, bare: bool = False) -> Self:
        """
        Ask for a protection level (RFC 1961, section 4).

        @param bare: as NEC's clients do, with one octet that nothing protects.
        """
        octet = bytes((level,))
        self.socket.sendall(frame(2, octet if bare else self.wrap(octet, False)))
        answer = self.hearFrame(2)
        (self.granted,) = answer if bare else self.unwrap(answer, None)
        return self

    def through(self, port: int) -> Self:
        """Be connected to a port of this host."""
        return self.request(numbered("127.0.0.1", port))

    def request(self, octets: bytes) -> Self:
        """Send a request, which has to be granted."""
        self.say(octets)
        self.hearReply()
        return self

    def hearReply(self) -> tuple[str, int]:
        """Receive a reply with an IPv4 address, which has to be a good one."""
        reply = self.hear(10)
        if reply[:4] != b"\x05\x00\x00\x01":
            raise AssertionError(f"the reply is {reply!r}")
        return socket.inet_ntoa(reply[4:8]), int.from_bytes(reply[8:], "big")

    def say(self, octets: bytes) -> None:
        """Send octets, in as many frames as it takes."""
        for start in range(0, len(octets), _PIECE):
            piece = octets[start : start + _PIECE]
            self.socket.sendall(frame(3, self.wrap(piece, self.granted != INTEGRITY)))

    def hear(self, size: int) -> bytes:
        """Receive so many octets, or what comes before the end."""
        pieces, left = [self._rest], size - len(self._rest)
        while left > 0 and (token := self.hearFrame(3, orEnd=True)) is not None:
            piece = self.unwrap(token, self.granted != INTEGRITY)
            pieces.append(piece)
            left -= len(piece)
        got = b"".join(pieces)
        self._rest = got[size:]
        return got[:size]

    def wrap(self, octets: bytes, sealed: bool) -> bytes:
        """Make a token."""
        with self._lock:
            token: bytes = self.context.wrap(octets, sealed).message
        return token

    def unwrap(self, token: bytes, sealed: bool | None) -> bytes:
        """Open a token, whose protection has to be the right one; L{None}: whichever it is."""
        with self._lock:
            opened = self.context.unwrap(token)
        if sealed not in (None, opened.encrypted):
            raise AssertionError(f"sealed: {opened.encrypted}, at level {self.granted}")
        octets: bytes = opened.message
        return octets

    def hearFrame(self, kind: int, *, orEnd: bool = False) -> Any:
        """
        Receive a frame of the right type.

        @return: its token; L{None}: the connection has ended, which is C{orEnd}.
        @raise Aborted: it is an abort, behind which the proxy has closed.
        """
        head = self.socket.hear(2)
        if not head and orEnd:
            return None
        if head == ABORT:
            self.socket.hearOut()
            self.socket.close()
            raise Aborted
        if head != bytes((1, kind)):
            raise AssertionError(f"instead of a frame: {head!r}")
        size = int.from_bytes(self.socket.hear(2), "big")
        token = self.socket.hear(size)
        if len(token) != size:
            raise AssertionError("the connection has ended in the middle of a frame")
        return token


def frame(kind: int, token: bytes) -> bytes:
    """Write VER MTYP LEN TOKEN."""
    return bytes((1, kind)) + len(token).to_bytes(2, "big") + token


def fetch(realm: Realm, proxy: Proxy, url: str, *, nec: bool = False) -> dict[str, Any]:
    """
    Fetch with the libcurl of PycURL's wheel, as alice, in a process of its own.

    @return: C{"octets"}, the checksum of what came, or C{"error"}.
    """
    done = run(
        *(sys.executable, "-m", __name__, url, f"socks5h://localhost:{proxy.port}", str(int(nec))),
        cwd=Path(__file__).parents[2],
        env={**realm.env, "KRB5CCNAME": realm.ticket("alice")},
    )
    if done.returncode:
        raise AssertionError(done.stderr)
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _fetch(url: str, proxy: str, nec: str) -> dict[str, Any]:
    # By name: it has no type annotations, and Pythons without a wheel of it import this file, too.
    pycurl: Any = importlib.import_module("pycurl")

    from tests.interop.origins import digest

    pieces: list[bytes] = []
    curl = pycurl.Curl()
    for option, value in (
        (pycurl.URL, url),
        (pycurl.PROXY, proxy),
        (pycurl.SOCKS5_GSSAPI_NEC, int(nec)),
        (pycurl.TIMEOUT, 20),
        (pycurl.WRITEFUNCTION, pieces.append),
    ):
        curl.setopt(option, value)
    try:
        curl.perform()
    except pycurl.error as error:
        return {"error": error.args[1]}
    finally:
        curl.close()
    return {"octets": digest(b"".join(pieces))}


if __name__ == "__main__":
    print(json.dumps(_fetch(*sys.argv[1:])))  # noqa: T201  # whoever runs it reads it
