"""Servers that datagrams are sent to."""

from __future__ import annotations

import socket
import subprocess
import threading
from pathlib import Path
from typing import Any

from tests.interop.origins import Cleaning
from tests.interop.programs import SECONDS, environment, ours
from tests.interop.proxy import Output


class UDPEcho:
    """
    Gives back each datagram to where it came from.

    @ivar host: where it listens.
    @ivar port: the port.
    @ivar sources: where datagrams have come from.
    """

    def __init__(self, test: Cleaning, host: str = "127.0.0.1") -> None:
        """
        @param test: it runs until this test ends.
        @param host: where it listens.
        """
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._socket = socket.socket(family, socket.SOCK_DGRAM)
        self._socket.bind((host, 0))
        self._own: tuple[Any, ...] = self._socket.getsockname()
        self.host, self.port = self._own[:2]
        self.sources: list[tuple[str, int]] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        test.addCleanup(self._stop)

    def _run(self) -> None:
        while True:
            datagram, source = self._socket.recvfrom(1 << 16)
            if source == self._own:
                return
            self.sources.append(source[:2])
            self._socket.sendto(datagram, source)

    def _stop(self) -> None:
        # Nobody else can send from here.
        self._socket.sendto(b"", self._own)
        self._thread.join(SECONDS)
        self._socket.close()


class NameServer:
    """
    A DNS server: Twisted's own, in a process of its own.

    @ivar host: where it listens.
    @ivar port: its port for UDP.
    """

    def __init__(
        self, test: Cleaning, directory: str, hosts: str, host: str = "127.0.0.1"
    ) -> None:
        """
        Start it, and wait until it listens.

        @param test: it runs until this test ends.
        @param directory: runs it; is made.
        @param hosts: what it knows, in the format of /etc/hosts.
        @param host: where it listens.
        """
        place = Path(directory).absolute()
        place.mkdir()
        (place / "hosts").write_text(hosts)
        where = ("--port", "0", "--interface", host, "--hosts-file", "hosts")
        self._process = subprocess.Popen(
            [ours("twistd"), "-n", "--pidfile=", "dns", *where],
            cwd=place,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._output = Output(self._process)
        test.addCleanup(self._stop)
        self.host = host
        self.port = int(self._output.waitFor("DNSDatagramProtocol starting on ([0-9]+)")[1])

    def _stop(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)
        self._output.finish()
