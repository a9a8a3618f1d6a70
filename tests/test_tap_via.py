"""Who is the next proxy, by the option."""

from __future__ import annotations

from tests.server.base import GREETED, GREETING, TARGET, refused, request
from tests.test_tap import TapCase
from twisted_socks5.testing import PeerFactory
from twisted_socks5.via import HTTPVia, SOCKSVia

FAR = "192.0.2.20"


class ViaTests(TapCase):
    """--via."""

    def test_none(self) -> None:
        """Without it there is none."""
        self.assertIsNone(self.make().factory.via)

    def test_made(self) -> None:
        """It is read as URLs and strings are, and has the server's time."""
        via = self.make("--via", f"socks5://{FAR}", "--dial-timeout", "7").factory.via
        self.assertIsInstance(via, SOCKSVia)
        self.assertEqual((via.name, via.proxy.timeout), (f"socks5://{FAR}:1080", 7))
        self.assertIsInstance(self.make("--via", f"http://{FAR}:8080").factory.via, HTTPVia)
        via = self.make("--via", rf"socks5:via={FAR}\:99").factory.via
        self.assertEqual(via.name, f"socks5://{FAR}:99")

    def test_wrong(self) -> None:
        """What is no proxy, and what can't be together with one, is said in one line."""
        for options, line in (
            (("--via", "proxy.example"), "--via: the next proxy is written socks5://HOST:PORT"),
            (("--via", "ftp://proxy.example"), "--via: the next proxy is not a URL of"),
            (("--via", f"socks5://{FAR}", "--bind-ports", "1-2"), "BIND ports cannot take effect"),
            (
                ("--via", f"socks5://{FAR}", "--bind-peers", "anyone"),
                "BIND peers cannot take effect",
            ),
        ):
            self.assertIn(line, self.wrong(*options))

    def test_forwards(self) -> None:
        """A session goes there, and rules judge a name by itself."""
        far = PeerFactory()
        port = self.reactor.listenTCP(1080, far, interface=FAR)
        options = ("--via", f"socks5://{FAR}", "--permit", "10.0.0.0/8", "--deny", "*.example")
        service = self.make(*options)
        service.startService()
        client = self.say(GREETING, request(b"www.example"))
        self.assertEqual(client.received, GREETED + refused(2))
        self.assertEqual(far.peers, [])
        client.lose()
        client = self.say(GREETING, request(b"example.com"))
        far.peer.write(GREETED)
        self.reactor.advance(0)
        self.assertTrue(far.peer.received.endswith(request(b"example.com")))
        client.abort()
        service.stopService()
        port.stopListening()
        self.reactor.advance(0)

    def test_itself(self) -> None:
        """It is not its own next one."""
        service = self.make("--via", "socks5://127.0.0.1:1080")
        service.startService()
        self.assertEqual(service.factory.listeningPorts, {1080})
        client = self.say(GREETING, request(TARGET))
        self.assertEqual(client.received, GREETED + refused(1))
        client.abort()
        service.stopService()
        self.reactor.advance(0)
