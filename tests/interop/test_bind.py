"""BIND for the libraries there are that can ask for it; test_ftp has what it is for."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from tests.interop.client import GREETING, Client, numbered
from tests.interop.origins import EchoTarget
from tests.interop.programs import find, run
from tests.interop.proxy import Proxy, ProxyTestCase
from tests.interop.scripts import node, perl

BIND = 2


class Case(ProxyTestCase):
    """A test that is the peer of a BIND."""

    @contextmanager
    def peer(self, host: str, port: int, source: str = "127.0.0.1") -> Iterator[socket.socket]:
        """Connect to where a reply says, from an address."""
        with socket.create_connection((host, port), 20, (source, 0)) as connection:
            yield connection

    def exchange(self, host: str, port: int) -> tuple[str, int]:
        """Be the peer: hear "hello", and say "world"; tell where from."""
        with self.peer(host, port) as peer:
            address: tuple[str, int] = peer.getsockname()
            self.assertAnswered(peer)
        return address

    def assertAnswered(self, peer: socket.socket) -> None:
        """Hear "hello" and the end, and say "world"."""
        heard = b""
        while octets := peer.recv(100):
            heard += octets
        self.assertEqual(heard, b"hello")
        peer.sendall(b"world")

    def assertGone(self, host: str, port: int) -> None:
        """See that nobody listens any more; who comes in the very moment is reset."""
        for _ in range(100):
            try:
                with self.peer(host, port, "127.0.0.2") as connection:
                    self.assertEqual(connection.recv(1), b"")
            except ConnectionResetError:
                continue
            except ConnectionRefusedError:
                return
        self.fail(f"somebody listens on {host}:{port}")

    def assertRelayed(self, proxy: Proxy, target: str, dialled: str) -> None:
        """See what the access log says."""
        (record,) = proxy.waitRecords(1)
        shown = [record[name] for name in ("command", "target", "dialled", "reply")]
        self.assertEqual(shown, ["BIND", target, dialled, 0])
        self.assertEqual((record["sent"], record["received"]), (5, 5))


class ScriptTests(Case):
    """Libraries of other languages."""

    def test_node(self) -> None:
        """The package "socks" from npm: it is told of both replies, and relays."""
        proxy = self.proxy()
        script = node(self, "bind", proxy.host, proxy.port, "127.0.0.1", 0)
        bound = script.hearJSON()["bound"]
        host, port = self.exchange(bound["host"], bound["port"])
        self.assertEqual(script.hearJSON(), {"established": {"host": host, "port": port}})
        self.assertEqual(script.hearJSON(), {"heard": "world"})
        self.assertRelayed(proxy, "127.0.0.1:0", f"{host}:{port}")

    def test_nodeConnect(self) -> None:
        """And its CONNECT, with a half-close that has an answer."""
        echo, proxy = EchoTarget(self), self.proxy()
        script = node(self, "connect", proxy.host, proxy.port, "127.0.0.1", echo.port)
        self.assertIn("established", script.hearJSON())
        self.assertEqual(script.hearJSON(), {"heard": "hello"})

    def test_perl(self) -> None:
        """Perl's IO::Socket::Socks, which writes the peer as a name, and a port of it."""
        proxy = self.proxy()
        script = perl(self, "bind", proxy.host, proxy.port, "127.0.0.1", 12345)
        _, bound, port = script.hear().split()
        host, source = self.exchange(bound, int(port))
        self.assertEqual(script.hear(), f"peer {host} {source}")
        self.assertEqual(script.hear(), "heard world")
        self.assertRelayed(proxy, "127.0.0.1:12345", f"{host}:{source}")

    def test_tooLate(self) -> None:
        """Nobody comes: it is told so, in the words for REP 6."""
        proxy = self.proxy("--bind-timeout", "0.5")
        script = find("perl", "perl")
        said = run(
            script,
            __file__.replace("test_bind.py", "socks.pl"),
            "bind",
            proxy.host,
            str(proxy.port),
            "127.0.0.1",
            "0",
        )
        self.assertIn("TTL expired", said.stderr)


class SOCKS4Tests(Case):
    """BIND in SOCKS4, of which no library is left that gets it right: octet for octet."""

    def test_bind(self) -> None:
        """Two replies of eight octets."""
        proxy = self.proxy("--socks4")
        client = Client(self, proxy, b"\4\2\0\0" + bytes((127, 0, 0, 1)) + b"joe\0")
        first = client.hear(8)
        self.assertEqual((first[:2], first[4:]), (b"\0\x5a", bytes((127, 0, 0, 1))))
        client.say(b"hel")
        with self.peer("127.0.0.1", int.from_bytes(first[2:4], "big")) as peer:
            port = peer.getsockname()[1]
            second = b"\0\x5a" + port.to_bytes(2, "big") + bytes((127, 0, 0, 1))
            self.assertEqual(client.hear(8), second)
            client.say(b"lo").finish()
            self.assertAnswered(peer)
        self.assertEqual(client.hearOut(), b"world")
        self.assertRelayed(proxy, "127.0.0.1:0", f"127.0.0.1:{port}")


class StrangerTests(Case):
    """Who is not expected is turned away by the real process, too, and the wait goes on."""

    def test_stranger(self) -> None:
        """A stranger is reset, and named in the log; then the peer comes."""
        proxy = self.proxy()
        client = Client(self, proxy, GREETING + numbered("127.0.0.1", 0, BIND))
        reply = client.hear(2) + client.hearReply()
        bound, port = str(ip_address(reply[6:10])), int.from_bytes(reply[10:], "big")
        with self.peer(bound, port, "127.0.0.2") as stranger:
            self.assertRaises(ConnectionResetError, stranger.recv, 1)
            where = "{}:{}".format(*stranger.getsockname())
        proxy.output.waitFor(
            rf"{where} turned away from {bound}:{port}, .*expected is 127\.0\.0\.1"
        )
        with self.peer(bound, port) as peer:
            second = client.hearReply()
            self.assertEqual(second[:4], b"\5\0\0\1")
            self.assertEqual(int.from_bytes(second[8:], "big"), peer.getsockname()[1])
            # One connection, and the port is gone.
            self.assertGone(bound, port)
        self.assertEqual(client.finish().hearOut(), b"")

    def test_closed(self) -> None:
        """A client that goes takes its port along."""
        proxy = self.proxy()
        client = Client(self, proxy, GREETING + numbered("127.0.0.1", 0, BIND))
        reply = client.hear(2) + client.hearReply()
        client.close()
        proxy.waitRecords(1)
        self.assertGone("127.0.0.1", int.from_bytes(reply[10:], "big"))
