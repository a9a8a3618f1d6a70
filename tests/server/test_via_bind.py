"""BIND by way of the next proxy."""

from __future__ import annotations

from typing import Any

from tests.server.base import GREETED, GREETING, TARGET, refused, request
from tests.server.forwarding import FAR, VIA, ForwardingCase, replies
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.testing import Peer, PeerFactory
from twisted_socks5.wire import Command

FIRST = b"\5\0\0\1\xc6\x33\x64\x07\x9c\x40"  # 198.51.100.7:40000
SECOND = b"\5\0\0\1\xcb\0\x71\5\0\x14"  # 203.0.113.5:20
BULK = bytes(range(256)) * 4000


def bind(host: Any = TARGET, port: int = 0) -> bytes:
    """Write a BIND's request."""
    return request(host, port, Command.BIND)


class JoinedTests(ForwardingCase):
    """Through two servers, to somebody who comes."""

    def waiting(self, host: Any = TARGET, **options: Any) -> tuple[Peer, tuple[str, int]]:
        """Ask for a BIND; @return: the client, and where the far one waits."""
        near = self.forward(**options)
        near.reactor.names.add("peer.example", [TARGET])
        client = near.say(GREETING, bind(host))
        ((first,), rest) = replies(client)
        self.assertEqual((first.reply, rest), (0, b""))
        return client, (str(first.bound.host), first.bound.port)

    def comer(self, where: tuple[str, int], source: str = TARGET) -> Any:
        """Connect to there."""
        factory = PeerFactory()
        self.proxy.reactor.connectTCP(*where, factory, bindAddress=(source, 20))
        self.proxy.settle()
        self.proxy.targets.append(factory)
        return factory.peer

    def test_joined(self) -> None:
        """Both replies are the far one's, and then octets and ends go both ways."""
        for host in (TARGET, b"peer.example", "0.0.0.0"):
            client, where = self.waiting(host)
            # The far one's own address: nobody listens at the near one's.
            self.assertEqual(where[0], FAR if host == "0.0.0.0" else "192.0.2.1")
            self.assertEqual(len(self.proxy.server.binds), 1)
            peer = self.comer(where)
            (_, second), _ = replies(client)
            self.assertEqual(str(second.bound), f"{TARGET}:20")
            self.assertEqual(len(self.proxy.server.binds), 0)
            peer.write(BULK)
            peer.loseWrite()
            self.proxy.settle()
            self.assertOctets(replies(client)[1], BULK)
            self.assertTrue(client.eof)
            self.tell(client, b"thanks")
            client.loseWrite()
            self.proxy.settle()
            self.assertEqual(peer.received, b"thanks")
            self.assertTrue(peer.wasClosed)
            record = self.record()
            self.assertEqual((record.command, record.dialled), ("BIND", VIA))
            self.assertEqual((record.sent, record.received), (6, len(BULK)))

    def test_ahead(self) -> None:
        """What the client says before its peer has come is kept."""
        client, where = self.waiting()
        self.tell(client, b"early")
        self.assertEqual(self.comer(where).received, b"early")

    def test_gone(self) -> None:
        """A client that goes meanwhile leaves no port, over there neither."""
        for end in ("loseWrite", "lose", "abort"):
            client, where = self.waiting()
            getattr(client, end)()
            self.proxy.settle()
            factory = PeerFactory()
            self.proxy.reactor.connectTCP(*where, factory)
            self.proxy.settle()
            self.assertEqual(len(factory.failures), 1)
            self.assertEqual(len(self.proxy.server.binds), 0)
            self.assertRegex(self.record().reason, "client (closed before its peer|reset)")

    def test_expired(self) -> None:
        """Nobody has come in our own time: 6."""
        client, _ = self.waiting(settings={"bind_timeout": 30.0})
        self.proxy.reactor.advance(30.1)
        self.assertEqual(replies(client)[0][1].reply, 6)
        client.lose()
        self.proxy.settle()
        self.assertEqual(
            self.record().reason, f"via {VIA}: no connection for {TARGET}:0 within 30 s"
        )

    def test_expiredThere(self) -> None:
        """Nobody has come in the far one's: its 6 is ours."""
        client, _ = self.waiting(to={"settings": {"bind_timeout": 30.0}})
        self.proxy.reactor.advance(30.1)
        self.assertEqual(replies(client)[0][1].reply, 6)
        client.lose()
        self.proxy.settle()
        self.assertRegex(self.record().reason, f"^via {VIA}: TTL expired")

    def test_drained(self) -> None:
        """A server that stops does not wait."""
        client, _ = self.waiting()
        self.proxy.server.drain("the proxy stops")
        self.proxy.settle()
        self.assertEqual(replies(client)[0][1].reply, 1)
        client.lose()


class StreamJoinedTests(JoinedTests):
    """The same on streams."""

    streams = True


class AnsweredTests(ForwardingCase):
    """What the far one may answer."""

    def test_asked(self) -> None:
        """The peer is asked for as it was, its port included."""
        for host, port in ((TARGET, 21), ("0.0.0.0", 0), ("::", 7), (b"peer.example", 0)):
            _, far = self.asked(bind(host, port))
            self.assertTrue(far.received.endswith(bind(host, port)), far.received)
            self.assertEqual(self.proxy.reactor.names.lookups, [])

    def test_replies(self) -> None:
        """Both replies, also at once; zeros stand for the far one's own address."""
        client, far = self.asked(bind())
        self.tell(far, b"\5\0\0\1\0\0\0\0\x9c\x40")
        ((first,), _) = replies(client)
        self.assertEqual(str(first.bound), f"{FAR}:40000")
        client, far = self.asked(bind())
        self.tell(far, FIRST + SECOND + b"file")
        self.assertEqual(client.received, GREETED + FIRST + SECOND + b"file")
        client, far = self.asked(bind())
        self.tell(far, FIRST, b"\5\0\0\1\0\0\0\0\0\0", b"file")
        self.assertEqual(client.received, GREETED + FIRST + refused(0) + b"file")
        client, far = self.asked(bind())
        self.tell(far, FIRST, b"\5\0\0\3\0\0\0", b"file")
        self.assertEqual(client.received, GREETED + FIRST + refused(0) + b"file")

    def test_socks4(self) -> None:
        """SOCKS4 can name an IPv4 address only."""
        octets = b"\4\2\0\0\xcb\0\x71\5\0"
        liar = self.liar(settings={"socks4": True})
        client = self.proxy.say(octets)
        self.tell(liar.peer, GREETED, FIRST, SECOND)
        self.assertEqual(client.received, b"\0\x5a\x9c\x40\xc6\x33\x64\7\0\x5a\0\x14\xcb\0\x71\5")
        liar = self.liar(settings={"socks4": True})
        client = self.proxy.say(octets)
        self.tell(liar.peer, GREETED, b"\5\0\0\4" + bytes(15) + b"\1\x9c\x40")
        self.assertEqual(client.received[:2], b"\0\x5b")
        client.lose()
        self.proxy.settle()
        self.assertIn("which SOCKS4 cannot name", self.record().reason)
        self.assertTrue(liar.peer.eof)

    def test_refused(self) -> None:
        """A refusal is ours, be it the first reply or the second."""
        for before in (b"", FIRST):
            for code in (1, 5, 6, 7):
                client, far = self.asked(bind())
                self.tell(far, before + refused(code))
                record = self.assertRefused(
                    client, GREETED + before + refused(code), rf"^via {VIA}: .*\({code}\)"
                )
                self.assertEqual(record.reply, code)

    def test_lies(self) -> None:
        """What is no reply, and no port, is 1."""
        for before, said in ((b"", b"\5\0\0\1" + bytes(6)), (FIRST, b"nonsense"), (b"", b"HTTP")):
            client, far = self.asked(bind())
            self.tell(far, before + said)
            self.assertRefused(client, GREETED + before + refused(1), f"^via {VIA}: ")
            self.assertTrue(far.eof or far.lost)

    def test_gone(self) -> None:
        """A far one that goes is 1."""
        for before in (b"", FIRST):
            for end in ("lose", "loseWrite", "abort"):
                client, far = self.asked(bind())
                self.tell(far, before)
                getattr(far, end)()
                self.proxy.settle()
                self.assertRefused(
                    client, GREETED + before + refused(1), f"^via {VIA}: the proxy closed"
                )

    def test_clientGone(self) -> None:
        """A client that goes before there is any reply takes it along."""
        for said in ((), (b"\5\0\0",)):
            client, far = self.asked(bind())
            self.tell(far, *said)
            client.abort()
            self.proxy.settle()
            self.assertTrue(far.wasReset)

    def test_judged(self) -> None:
        """Who is expected, and who has come, are judged."""
        client, far = self.asked(bind("0.0.0.0"))
        self.tell(far, FIRST, b"\5\0\0\1\x7f\0\0\1\0\x14")
        self.assertRefused(
            client,
            GREETED + FIRST + refused(2),
            "127.0.0.1:20 has come: loopback destination 127.0.0.1",
        )
        self.assertTrue(far.eof or far.lost)
        for host in ("127.0.0.1", b"localhost"):
            near = self.forward()
            client = near.say(GREETING, bind(host))
            self.assertRefused(client, GREETED + refused(2), "loopback")
            self.assertEqual(near.farRecords, [])
        near = self.forward()
        near.server.rules = Rules([Rule.parse("deny", "*")], resolves=False)
        client = near.say(GREETING, bind("0.0.0.0"))
        self.assertRefused(client, GREETED + refused(2), r"deny \*")

    def test_judgedByName(self) -> None:
        """Who has come counts as the one who was named."""
        for rule, reply in (("peer.example", 0), ("other.example", 2)):
            liar = self.liar()
            near = self.proxy
            rules = [Rule.parse("permit", rule), Rule.parse("deny", TARGET)]
            near.server.rules = Rules(rules, resolves=False)
            client = near.say(GREETING, bind(b"peer.example"))
            self.tell(liar.peer, GREETED, FIRST, SECOND)
            if reply:
                self.assertRefused(client, GREETED + FIRST + refused(2), f"deny {TARGET}")
            else:
                self.assertEqual(client.received, GREETED + FIRST + SECOND)

    def test_lostAtOnce(self) -> None:
        """A loss that comes with the second reply is a cut for the client."""
        client, far = self.asked(bind())
        far.write(FIRST + SECOND)
        self.proxy.reactor.turn()
        far.abort()
        self.proxy.settle()
        self.assertTrue(client.wasReset)


class StreamAnsweredTests(AnsweredTests):
    """The same on streams."""

    streams = True
