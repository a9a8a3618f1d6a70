"""
What the proxy is to reach: servers in threads of this process, on ports that the system chooses.
"""

from __future__ import annotations

import hashlib
import random
import socket
import subprocess
import threading
from collections.abc import Callable
from contextlib import suppress
from functools import lru_cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Protocol

from tests.interop.programs import SECONDS, environment

LARGE = 50_000_000
"""Octets of a large download or upload."""


@lru_cache(maxsize=4)
def content(size: int) -> bytes:
    """Make so many octets that nothing can compress, guess or mix up; always the same."""
    return random.Random(size).randbytes(size)


def digest(octets: bytes) -> str:
    """Give a SHA-256 as programs write it."""
    return hashlib.sha256(octets).hexdigest()


class Cleaning(Protocol):
    """A test case, as far as it is needed here."""

    def addCleanup(self, function: Callable[[], object], /) -> object:
        """Have something done at the end of the test."""


class _Answer(BaseHTTPRequestHandler):
    """GET gives what is there, or C{/bytes/NUMBER}; PUT tells the checksum of what it got."""

    protocol_version = "HTTP/1.1"
    server: HTTPOrigin

    def do_GET(self) -> None:
        """Answer GET."""
        path = self.path.partition("?")[0]
        self.server.seen.append(self.path)
        if path.startswith("/bytes/"):
            self._answer(200, content(int(path[7:])))
        elif path in self.server.pages:
            self._answer(200, self.server.pages[path])
        else:
            self._answer(404, b"not here\n")

    def do_PUT(self) -> None:
        """Answer PUT."""
        got, left = hashlib.sha256(), int(self.headers["Content-Length"])
        while left and (piece := self.rfile.read(min(left, 1 << 16))):
            got.update(piece)
            left -= len(piece)
        self._answer(200, got.hexdigest().encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""

    def _answer(self, status: int, body: bytes) -> None:
        kinds = {"html": "text/html", "js": "text/javascript"}
        kind = kinds.get(self.path.rpartition(".")[2], "application/octet-stream")
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


class HTTPOrigin(ThreadingHTTPServer):
    """
    A web server.

    @ivar pages: what it has, by path.
    @ivar seen: the paths that were asked for.
    """

    daemon_threads = True
    request_queue_size = 128

    def __init__(self, test: Cleaning, host: str = "127.0.0.1") -> None:
        """
        @param test: it runs until this test ends.
        @param host: where it listens.
        """
        self.pages: dict[str, bytes] = {"/": b"this is the origin\n"}
        self.seen: list[str] = []
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        super().__init__((host, 0), _Answer)
        self.port: int = self.server_address[1]
        thread = threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True)
        thread.start()

        def stop() -> None:
            self.shutdown()
            thread.join()
            self.server_close()

        test.addCleanup(stop)

    def server_bind(self) -> None:
        """Bind; the base class would ask the DNS for our name, too."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that goes away is no news."""


class Target:
    """
    A listening socket; what becomes of its connections is up to the test.

    @ivar socket: listens.
    @ivar port: where.
    """

    def __init__(self, test: Cleaning, host: str = "127.0.0.1", backlog: int = 128) -> None:
        """
        @param test: it listens until this test ends.
        @param host: where it listens.
        @param backlog: how many connections may wait.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        test.addCleanup(self.socket.close)
        self.socket.settimeout(10)
        self.socket.bind((host, 0))
        self.socket.listen(backlog)
        self.port: int = self.socket.getsockname()[1]
        self._test = test

    def accept(self) -> socket.socket:
        """Take the next connection."""
        connection, _ = self.socket.accept()
        self._test.addCleanup(connection.close)
        connection.settimeout(10)
        return connection


class ServingTarget(Target):
    """Serves each of its connections in a thread, until the test ends."""

    def __init__(self, test: Cleaning, host: str = "127.0.0.1") -> None:
        super().__init__(test, host)
        self.socket.settimeout(None)
        self._thread = threading.Thread(target=self._acceptAll, daemon=True)
        self._thread.start()
        test.addCleanup(self._stop)

    def serve(self, connection: socket.socket) -> None:
        """Do what is to be done with a connection, which is closed afterwards."""
        raise NotImplementedError

    def _acceptAll(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            self.serve(connection)

    def _stop(self) -> None:
        # Closing a socket does not wake who waits in accept(); this does.
        self.socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()


class EchoTarget(ServingTarget):
    """Gives back what it gets."""

    def serve(self, connection: socket.socket) -> None:
        """Give back what comes."""
        while octets := connection.recv(1 << 16):
            connection.sendall(octets)


class ProgramTarget(ServingTarget):
    """
    Runs a program for each connection, which is its standard input and output.

    As inetd did: so nobody has to find a free port for a server that can't say which it took.
    """

    def __init__(self, test: Cleaning, *command: str) -> None:
        """
        @param command: the program.
        """
        self._command = command
        self._running: set[subprocess.Popen[bytes]] = set()
        test.addCleanup(self._end)
        super().__init__(test)

    def serve(self, connection: socket.socket) -> None:
        """Run the program to its end."""
        program = subprocess.Popen(
            self._command,
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=subprocess.DEVNULL,
            env=environment(),
        )
        self._running.add(program)
        program.wait()
        self._running.discard(program)

    def _end(self) -> None:
        for program in list(self._running):
            program.terminate()
            program.wait(SECONDS)


class DeafTarget(Target):
    """A port that answers no SYN: the queue of its connections is full."""

    def __init__(self, test: Cleaning) -> None:
        super().__init__(test, backlog=0)
        filler = socket.create_connection(("127.0.0.1", self.port), 10)
        test.addCleanup(filler.close)


def closedPort(test: Cleaning) -> int:
    """
    Find a port that refuses connections, and keep it so for the test.

    A bound socket that does not listen holds the port: nobody else can be given it.
    """
    holder = socket.socket()
    test.addCleanup(holder.close)
    holder.bind(("127.0.0.1", 0))
    return int(holder.getsockname()[1])
