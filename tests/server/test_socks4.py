"""SOCKS4 and 4a in memory: CONNECT and BIND, and what passes then."""

from __future__ import annotations

from ipaddress import ip_address

from tests.auth.fakes import knows
from tests.server.asking import PROXY6, TARGET, TARGET6, octets
from tests.server.asking4 import (
    GRANTED,
    NO_BOUND,
    NOT_THE_USER,
    REJECTED,
    SOCKS4Case,
    request,
)
from tests.server.bindings import OWN, STRANGER, BindCase
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.testing import Peer


class ConnectTests(SOCKS4Case):
    """CONNECT, and what passes then."""

    def connects(self, *segments: bytes, early: bytes = b"") -> None:
        """See that a request succeeds, and that octets pass both ways afterwards."""
        self.serve()
        target = self.target()
        client = self.ask(*segments)
        bound = target.peer.transport.getPeer()
        head = GRANTED + bound.port.to_bytes(2, "big") + ip_address(bound.host).packed
        self.assertEqual(bytes(client.received), head)
        client.write(b" world")
        target.peer.write(b"answer")
        self.reactor.advance(0)
        self.assertEqual(bytes(target.peer.received), early + b" world")
        self.assertEqual(bytes(client.received), head + b"answer")
        client.lose()
        self.reactor.advance(0)
        target.peer.lose()
        self.reactor.advance(0)
        record = self.record()
        self.assertEqual(
            (record.method, record.command, record.dialled, record.reply, record.reason),
            ("socks4", "CONNECT", f"{TARGET}:80", 0, "client closed"),
        )
        self.assertEqual((record.sent, record.received), (len(early) + 6, 6))

    def test_address(self) -> None:
        """SOCKS4, to an address."""
        self.connects(request())

    def test_octetByOctet(self) -> None:
        """In as many segments as it has octets."""
        self.connects(*octets(request(user=b"joe")))

    def test_name(self) -> None:
        """SOCKS4a, to a name that the proxy resolves."""
        self.reactor.names.add("example.com", [TARGET])
        self.connects(request(b"Example.COM.", user=b"joe"))
        self.assertEqual(self.reactor.names.lookups, ["example.com"])

    def test_nameOctetByOctet(self) -> None:
        """SOCKS4a in as many segments as it has octets."""
        self.reactor.names.add("example.com", [TARGET])
        self.connects(*octets(request(b"example.com")))

    def test_pipelined(self) -> None:
        """What is sent behind the request, in its segment or the next, is what the target gets."""
        self.reactor.names.add("example.com", [TARGET], delay=1)
        self.serve()
        target = self.target()
        client = self.ask(request(b"example.com") + b"hello", b" world")
        self.assertEqual(bytes(client.received), b"")
        self.reactor.advance(1)
        self.assertEqual(bytes(client.received[:2]), GRANTED)
        self.assertEqual(bytes(target.peer.received), b"hello world")

    def test_pipelinedAtOnce(self) -> None:
        """The same where nothing keeps the request waiting."""
        self.connects(request() + b"hello", early=b"hello")

    def test_finBehindRequest(self) -> None:
        """A client that has ended its sending still gets the answer."""
        self.serve()
        target = self.target()
        client = self.dial()
        client.write(request() + b"question")
        client.loseWrite()
        self.reactor.advance(0)
        self.assertEqual((bytes(target.peer.received), target.peer.eof), (b"question", True))
        target.peer.write(b"answer")
        target.peer.lose()
        self.reactor.advance(0)
        self.assertEqual(bytes(client.received[8:]), b"answer")
        self.assertTrue(client.wasClosed)

    def test_toIPv6(self) -> None:
        """A name that leads to IPv6: the reply has no room for where we connected from."""
        self.reactor.names.add("six.example", [TARGET6])
        self.serve()
        target = self.target(TARGET6)
        client = self.ask(request(b"six.example"))
        port = target.peer.transport.getPeer().port
        self.assertEqual(bytes(client.received), GRANTED + port.to_bytes(2, "big") + bytes(4))

    def test_fromIPv6(self) -> None:
        """A client may come by IPv6."""
        self.serve()
        self.target()
        client = self.ask(request(), proxy=PROXY6)
        self.assertEqual(bytes(client.received[:2]), GRANTED)

    def test_beside(self) -> None:
        """SOCKS5 is served on the same port."""
        self.serve()
        self.target()
        client = self.ask(b"\5\1\0", b"\5\1\0\1" + ip_address(TARGET).packed + b"\0\x50")
        self.assertEqual(bytes(client.received[:4]), b"\5\0\5\0")


class BindTests(BindCase):
    """BIND: two replies of eight octets, the peer between them."""

    def setUp(self) -> None:
        """Switch it on."""
        super().setUp()
        self.settings["socks4"] = True

    def bound(self, client: Peer) -> tuple[str, int]:
        """Read the first reply, which is all there is; it names a port of ours."""
        reply, port, host = client.received[:2], client.received[2:4], client.received[4:]
        self.assertEqual((bytes(reply), len(host)), (GRANTED, 4))
        where = str(ip_address(bytes(host))), int.from_bytes(port, "big")
        self.assertEqual(self.listening(), [where])
        return where

    def binds(self, *segments: bytes, early: bytes = b"") -> None:
        """See that a BIND succeeds, and that octets pass both ways afterwards."""
        self.serve()
        client = self.ask(*segments)
        where = self.bound(client)
        self.assertEqual(where[0], OWN)
        client.write(b"between ")
        self.reactor.advance(0)
        peer = self.comer(where).peer
        peer.write(b"answer")
        client.write(b"behind")
        self.reactor.advance(0)
        second = GRANTED + b"\0\x14" + ip_address(TARGET).packed
        self.assertEqual(bytes(client.received[8:]), second + b"answer")
        self.assertEqual(bytes(peer.received), early + b"between behind")
        self.assertEqual(self.ended(client, peer), "client closed")
        record = self.record()
        shown = record.method, record.command, record.dialled, record.reply
        self.assertEqual(shown, ("socks4", "BIND", f"{TARGET}:20", 0))
        self.assertEqual((record.sent, record.received), (len(early) + 14, 6))

    def test_address(self) -> None:
        """A peer by its address."""
        self.binds(request(command=2))

    def test_octetByOctet(self) -> None:
        """In as many segments as it has octets."""
        self.binds(*octets(request(command=2, user=b"joe")))

    def test_pipelined(self) -> None:
        """What is sent behind the request is kept for the peer."""
        self.binds(request(command=2) + b"early ", early=b"early ")

    def test_name(self) -> None:
        """SOCKS4a: a peer by its name."""
        self.reactor.names.add("example.com", [TARGET])
        self.binds(*octets(request(b"example.com", command=2)))

    def test_anybody(self) -> None:
        """0.0.0.0, which is no mark of SOCKS4a's, is anybody."""
        self.serve()
        client = self.ask(request("0.0.0.0", 0, command=2))
        peer = self.comer(self.bound(client), STRANGER).peer
        self.assertEqual(client.received[12:16], ip_address(STRANGER).packed)
        self.ended(client, peer)

    def test_stranger(self) -> None:
        """Who is not expected is reset, and the wait goes on."""
        self.serve()
        client = self.ask(request(command=2))
        where = self.bound(client)
        self.assertTrue(self.comer(where, STRANGER).peer.wasReset)
        peer = self.comer(where).peer
        self.assertEqual(len(client.received), 16)
        self.ended(client, peer)

    def test_tooLate(self) -> None:
        """Nobody comes: the second reply says 91."""
        self.settings["bind_timeout"] = 30
        self.serve()
        client = self.ask(request(command=2))
        self.bound(client)
        first = bytes(client.received)
        self.reactor.advance(30)
        record = self.assertRefused(client, first + REJECTED + NO_BOUND, "within 30 s")
        self.assertEqual(record.reply, 6)

    def test_closed(self) -> None:
        """The client's FIN takes the port along."""
        self.serve()
        client = self.ask(request(command=2))
        self.bound(client)
        self.assertEqual(self.ended(client), "client closed before its peer had come")

    def test_forbidden(self) -> None:
        """A peer that the rules deny."""
        self.serve(rules=Rules([Rule.parse("deny", TARGET)]))
        client = self.ask(request(command=2))
        self.assertRefused(client, REJECTED + NO_BOUND, f"deny {TARGET}")
        self.assertEqual(self.listening(), [])

    def test_user(self) -> None:
        """Who may is decided as for CONNECT, before there is a port."""
        self.serve(knows(b"printer", b""))
        client = self.ask(request(command=2, user=b"printer"))
        self.bound(client)
        self.ended(client)
        self.records.clear()
        client = self.ask(request(command=2, user=b"alice"))
        self.reactor.advance(0.5)
        self.assertRefused(client, NOT_THE_USER + NO_BOUND, "wrong user name")
        self.assertEqual(self.listening(), [])
