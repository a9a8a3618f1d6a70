"""
The examples in docs/examples, each run as its reader would.

Each is a program of its own; only its port is changed, so that several can run at a time.
"""

from __future__ import annotations

import importlib.util
import re
import shutil
import socket
import subprocess
import sys
import unittest
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.docs.pages import EXAMPLES
from tests.interop.client import GREETING, Client, credentials, named, numbered, refusal
from tests.interop.origins import EchoTarget, HTTPOrigin, closedPort
from tests.interop.programs import environment, run
from tests.interop.proxy import Output, Proxy, ProxyTestCase

ASKING = b"\x05\x01\x02"
CONNECTED = b"\x05\x00\x00\x01"


class ServerTests(ProxyTestCase):
    """The servers."""

    def example(self, name: str, *command: str) -> Proxy:
        """Start one on a port that the system chooses."""
        place = Path(self.mktemp()).absolute()
        shutil.copytree(EXAMPLES, place)
        program = place / name
        text = program.read_text(encoding="utf-8")
        self.assertEqual(text.count("tcp:1080:interface=127.0.0.1"), 1)
        program.write_text(text.replace("tcp:1080:", "tcp:0:"), encoding="utf-8")
        proxy = Proxy(str(place), name, command=command or ("python",))
        self.addCleanup(proxy.stop)
        return proxy

    def login(self, proxy: Proxy, name: str, password: str) -> Client:
        """Log in."""
        client = Client(self, proxy, ASKING + credentials(name, password))
        self.assertEqual(client.hear(2), b"\x05\x02")
        return client

    def test_embed(self) -> None:
        """Five lines make a server."""
        echo, proxy = EchoTarget(self), self.example("embed.py")
        client = Client(self, proxy).through(echo.port)
        self.assertEqual(client.asks(b"hello"), b"hello")
        client.close()
        proxy.output.waitFor(r"command=CONNECT .* reason=\"client closed\"")

    def test_tac(self) -> None:
        """And so they do in an application that twistd runs."""
        echo = EchoTarget(self)
        proxy = self.example("embed.tac", "twistd", "--pidfile=", "-ny")
        self.assertEqual(Client(self, proxy).through(echo.port).asks(b"hello"), b"hello")

    def test_rules(self) -> None:
        """Guests are kept to the web, users are not."""
        echo, proxy = EchoTarget(self), self.example("own_rules.py")
        guest = Client(self, proxy, GREETING + numbered("127.0.0.1", echo.port))
        self.assertEqual(guest.hearOut(), b"\x05\x00" + refusal(2))
        guest.close()
        proxy.output.waitFor("guests reach ports 80 and 443 only")
        user = self.login(proxy, "alice", "wonderland").say(numbered("127.0.0.1", echo.port))
        self.assertEqual(user.hear(2) + user.hearReply()[:4], b"\x01\x00" + CONNECTED)
        self.assertEqual(user.asks(b"hello"), b"hello")

    def test_portal(self) -> None:
        """Passwords are compared by their hashes; a user may have rules of its own."""
        echo, proxy = EchoTarget(self), self.example("own_portal.py")
        request = numbered("127.0.0.1", echo.port)
        alice = self.login(proxy, "alice", "wonderland").say(request)
        self.assertEqual(alice.hear(2) + alice.hearReply()[:4], b"\x01\x00" + CONNECTED)
        self.assertEqual(alice.asks(b"hello"), b"hello")
        alice.close()
        proxy.output.waitFor("alice leaves")
        child = self.login(proxy, "child", "bedtime").say(request)
        self.assertEqual(child.hearOut(), b"\x01\x00" + refusal(2))
        child.close()
        proxy.output.waitFor(r"user=child .* reason=\"deny \*\"")
        for name in ("alice", "nobody"):
            wrong = self.login(proxy, name, "bedtime")
            self.assertEqual(wrong.hearOut(), b"\x01\x01")

    def test_resolver(self) -> None:
        """A name that only this proxy knows, and the system's."""
        echo, proxy = EchoTarget(self), self.example("own_resolver.py")
        for name in (b"printer.home.arpa", b"localhost"):
            client = Client(self, proxy, GREETING + named(name, echo.port))
            self.assertEqual(client.hear(2) + client.hearReply()[:4], b"\x05\x00" + CONNECTED)
            self.assertEqual(client.asks(b"hello"), b"hello")

    def test_dialer(self) -> None:
        """A target in the process, which speaks first and closes; all others as ever."""
        echo, proxy = EchoTarget(self), self.example("own_dialer.py")
        client = Client(self, proxy, GREETING + named(b"hello.home.arpa", 7))
        self.assertEqual(client.hear(2) + client.hearReply()[:4], b"\x05\x00" + CONNECTED)
        question = b"Hello. What is your name?\r\n"
        self.assertEqual(client.hear(len(question)), question)
        client.say(b"Bob\r\n")
        self.assertEqual(client.hearOut(), b"Nice to meet you, Bob.\r\n")
        proxy.output.waitFor("served a visitor")
        self.assertEqual(Client(self, proxy).through(echo.port).asks(b"hello"), b"hello")


class WireClientTests(ProxyTestCase):
    """wire_client.py, against our server."""

    def fetch(
        self, proxy: Proxy, host: str, port: int, *login: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it."""
        program = EXAMPLES / "wire_client.py"
        where = (proxy.host, str(proxy.port), host, str(port))
        return run(sys.executable, program, *where, *login)

    def test_fetch(self) -> None:
        """By name and by address."""
        origin, proxy = HTTPOrigin(self), self.proxy()
        for host in ("127.0.0.1", "localhost"):
            done = self.fetch(proxy, host, origin.port)
            self.assertRegex(done.stdout, "^HTTP/1.[01] ", done.stderr)

    def test_password(self) -> None:
        """With the right password and a wrong one."""
        origin, proxy = HTTPOrigin(self), self.proxy("--auth", self.users("alice:s3cr3t"))
        done = self.fetch(proxy, "127.0.0.1", origin.port, "alice", "s3cr3t")
        self.assertIn("HTTP/1.", done.stdout, done.stderr)
        wrong = self.fetch(proxy, "127.0.0.1", origin.port, "alice", "guess")
        self.assertIn("AuthenticationFailed", wrong.stderr)
        none = self.fetch(proxy, "127.0.0.1", origin.port)
        self.assertIn("NoAcceptableMethod", none.stderr)

    def test_refused(self) -> None:
        """The reply is put in words."""
        done = self.fetch(self.proxy(), "127.0.0.1", closedPort(self))
        self.assertIn("the proxy says: connection refused (5)", done.stderr)


class WireServerTests(SynchronousTestCase):
    """wire_server.py, against a client that is nobody's."""

    def setUp(self) -> None:
        """Start it."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        program = place / "wire_server.py"
        text = (EXAMPLES / "wire_server.py").read_text(encoding="utf-8")
        program.write_text(text.replace('"127.0.0.1", 1080', '"127.0.0.1", 0'), encoding="utf-8")
        self.process = subprocess.Popen(
            [sys.executable, program],
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = Output(self.process)
        self.addCleanup(self.stop)
        found = self.output.waitFor(r"listening on \('127.0.0.1', ([0-9]+)\)")
        self.port = int(found[1])

    def stop(self) -> None:
        """End it; it must not have stumbled over anything."""
        self.process.kill()
        self.process.wait()
        self.assertNotIn("Traceback", self.output.finish())

    def client(self, opening: bytes) -> socket.socket:
        """Connect, and say something."""
        client = socket.create_connection(("127.0.0.1", self.port), 20)
        self.addCleanup(client.close)
        client.sendall(opening)
        return client

    def hearOut(self, client: socket.socket) -> bytes:
        """Receive everything until the other side closes."""
        with client.makefile("rb") as heard:
            return heard.read()

    def test_connect(self) -> None:
        """To an address and to a name, with a half-close."""
        echo = EchoTarget(self)
        for request in (numbered("127.0.0.1", echo.port), named(b"localhost", echo.port)):
            client = self.client(GREETING + request + b"sent ahead, ")
            client.sendall(b"and after")
            client.shutdown(socket.SHUT_WR)
            heard = self.hearOut(client)
            self.assertEqual(heard[:6], b"\x05\x00" + CONNECTED)
            self.assertEqual(heard[12:], b"sent ahead, and after")

    def test_refusals(self) -> None:
        """Each has its answer."""
        closed = closedPort(self)
        for opening, answer in (
            (b"\x05\x01\x02", b"\x05\xff"),
            (b"GET / HTTP/1.0\r\n\r\n", b""),
            (GREETING + numbered("127.0.0.1", closed), b"\x05\x00" + refusal(4)),
            (GREETING + numbered("127.0.0.1", closed, command=2), b"\x05\x00" + refusal(7)),
            (GREETING + b"\x05\x01\x00\x09", b"\x05\x00" + refusal(8)),
        ):
            self.assertEqual(self.hearOut(self.client(opening)), answer, opening)


class InMemoryTests(SynchronousTestCase):
    """in_memory.py, which is a test itself."""

    def test_passes(self) -> None:
        """Both of its tests pass."""
        spec = importlib.util.spec_from_file_location("in_memory", EXAMPLES / "in_memory.py")
        if spec is None or spec.loader is None:
            self.fail("it is not there")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        result = unittest.TestResult()
        unittest.defaultTestLoader.loadTestsFromTestCase(module.WebOnlyTests).run(result)
        self.assertEqual((result.testsRun, result.failures + result.errors), (2, []))


class InDocumentationTests(SynchronousTestCase):
    """The examples are shown to somebody."""

    def test_shown(self) -> None:
        """Each is part of a page, and each that is part of one is here."""
        shown: set[str] = set()
        for page in EXAMPLES.parent.glob("**/*.md"):
            found = re.findall(r"{literalinclude} (?:\.\./)?examples/(\S+)", page.read_text())
            shown.update(found)
        there = {each.name for each in EXAMPLES.iterdir() if each.suffix in (".py", ".tac")}
        self.assertEqual(shown, there)
