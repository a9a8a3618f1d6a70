"""
BIND as a client's: servers that listen through the real proxy, each for whoever connects there.
"""

from __future__ import annotations

import re
import socket
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import EXAMPLES
from tests.interop.programs import SECONDS, environment, ours
from tests.interop.proxy import Output, Proxy, ProxyTestCase

_LISTENING = re.compile(r"Listening at 127\.0\.0\.1:([0-9]+), a port of the proxy")


class Program:
    """
    A program that runs until the end of its test.

    @ivar output: what it says.
    """

    def __init__(self, test: SynchronousTestCase, *command: str) -> None:
        """
        @param command: the program.
        """
        self.process = subprocess.Popen(
            command,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = Output(self.process)
        test.addCleanup(self.stop)

    def stop(self) -> str:
        """End it; @return: all that it has said."""
        self.process.terminate()
        self.process.wait(SECONDS)
        return self.output.finish()

    def ports(self, count: int) -> list[int]:
        """Wait until it has listened at so many ports."""

        def look(lines: list[str]) -> list[int] | None:
            found = [int(match[1]) for line in lines if (match := _LISTENING.search(line))]
            return found if len(found) >= count else None

        return self.output.wait(look, f"{count} ports")


def fetch(port: int) -> bytes:
    """Ask a web server for a page, over a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), 20) as connection:
        connection.settimeout(20)
        connection.sendall(b"GET /page.txt HTTP/1.0\r\n\r\n")
        with connection.makefile("rb") as heard:
            return heard.read()


class WebTests(ProxyTestCase):
    """C{twist web}, which knows nothing of proxies, published through one."""

    twist = (ours("twist"), "--log-format", "text")

    def web(self, proxy: Proxy, where: str = "") -> Program:
        """Run it, with one page."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        (place / "page.txt").write_bytes(b"published through a proxy\n")
        listen = rf"socks5:{where}via=tcp\:{proxy.host}\:{proxy.port}"
        return Program(self, *self.twist, "web", "--path", str(place), "--listen", listen)

    def test_published(self) -> None:
        """Each connection has its own port, which is in the log."""
        proxy = self.proxy()
        web = self.web(proxy)
        for number in range(1, 4):
            heard = fetch(web.ports(number)[-1])
            self.assertTrue(heard.endswith(b"\r\n\r\npublished through a proxy\n"), heard)
        web.ports(4)
        self.assertNotIn("Traceback", web.stop())
        records = proxy.stop()
        self.assertEqual({each["command"] for each in records}, {"BIND"})
        self.assertEqual(len(records), 4)
        self.assertEqual([each["reply"] for each in records].count(0), 3)

    def test_same_port(self) -> None:
        """Where the proxy lets its clients choose, it is one port, again and again."""
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            free: int = found.getsockname()[1]
        proxy = self.proxy("--bind-port-choice", "client")
        web = self.web(proxy, f"127.0.0.1:{free}:")
        for number in range(1, 4):
            self.assertEqual(web.ports(number)[-1], free)
            self.assertIn(b"published through a proxy", fetch(free))
        web.ports(4)
        self.assertNotIn("Traceback", web.stop())

    def test_proxy_away(self) -> None:
        """The proxy goes, and comes back: so does the web server, by itself."""
        proxy = self.proxy()
        web = self.web(proxy)
        web.ports(1)
        port = proxy.port
        proxy.stop()
        web.output.waitFor("Nobody has come|does not listen")
        self.proxy("--listen", f"tcp:{port}:interface=127.0.0.1")
        self.assertIn(b"published through a proxy", fetch(web.ports(2)[-1]))
        self.assertNotIn("Traceback", web.stop())


class ExampleTests(ProxyTestCase):
    """docs/examples/client_bind.py."""

    def example(self, proxy: Proxy, *words: str) -> Program:
        """Run it."""
        program = str(EXAMPLES / "client_bind.py")
        return Program(self, sys.executable, program, proxy.host, str(proxy.port), *words)

    def test_greets(self) -> None:
        """It tells where to connect to, and greets who does."""
        program = self.example(self.proxy(), "127.0.0.1")
        found = program.output.waitFor(r"^connect to (127\.0\.0\.1) port ([0-9]+)$")
        with socket.create_connection((found[1], int(found[2])), 20) as peer:
            own = peer.getsockname()
            with peer.makefile("rb") as heard:
                self.assertEqual(heard.read(), b"Hello, whoever you are.\r\n")
        program.output.waitFor(rf"^connected: IPv4Address\(.*'{own[0]}', port={own[1]}\)$")
        self.assertEqual(program.process.wait(SECONDS), 0)

    def test_nobody(self) -> None:
        """Nobody comes, and the proxy says so."""
        program = self.example(self.proxy("--bind-timeout", "1"))
        program.output.waitFor("^TTLExpired: SOCKS proxy 127.0.0.1:[0-9]+ ")
        self.assertEqual(program.process.wait(SECONDS), 1)
