"""An HTTP proxy as the next one, by way of a server in memory."""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests.client.base import Outcome
from tests.server.base import GREETED, GREETING, TARGET, TARGET6, refused, request
from tests.server.forwarding import FAR, ForwardingCase
from twisted_socks5.testing import MemoryReactor, PeerFactory
from twisted_socks5.via import HTTPVia, NextHop
from twisted_socks5.via.httpconnect import MAX_HEADER, packConnect
from twisted_socks5.wire import Address, Command

PLACE = f"{FAR}:8080"
VIA = f"http://{PLACE}"
OK = b"HTTP/1.1 200 Connection established\r\n\r\n"


class HTTPCase(ForwardingCase):
    """Forwards to an HTTP proxy that a test plays."""

    def asking(self, *octets: bytes, via: str = VIA, **options: Any) -> tuple[Any, Any]:
        """Have a client ask this; @return: it, and the proxy."""
        liar = self.liar(via, 8080, **options)
        client = self.proxy.say(GREETING, *(octets or (request(),)))
        return client, liar.peer


class ReachedTests(HTTPCase):
    """What is asked, and what is granted."""

    def test_asked(self) -> None:
        """The target's name, or its address, and nothing is looked up."""
        for host, where in (
            (TARGET, b"203.0.113.5:80"),
            (TARGET6, b"[2001:db8:5::5]:80"),
            (b"EXAMPLE.com", b"example.com:80"),
        ):
            _, far = self.asking(request(host))
            self.assertEqual(
                far.received, b"CONNECT " + where + b" HTTP/1.1\r\nHost: " + where + b"\r\n\r\n"
            )
            self.assertEqual(self.proxy.reactor.names.lookups, [])

    def test_login(self) -> None:
        """Who we are is said at once (RFC 7617), and is not in the log."""
        client, far = self.asking(via=f"http://alice:won%3Aderland@{PLACE}")
        (line,) = [one for one in far.received.split(b"\r\n") if one.startswith(b"Proxy-Auth")]
        self.assertEqual(b64decode(line.rpartition(b" ")[2]), b"alice:won:derland")
        self.tell(far, b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        record = self.assertFails(client, 1, f"^via {VIA}: HTTP 407 Proxy Authentication Required")
        self.assertNotIn("derland", record.reason)

    def test_talks(self) -> None:
        """Octets and ends go both ways, those behind the answer among them."""
        for answer in (
            OK,
            b"HTTP/1.0 200\r\n\r\n",
            b"HTTP/1.1 204 Fine\nA: b\n\n",
            b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: x\r\n\r\n" + OK,
            b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n",
        ):
            client, far = self.asking()
            self.tell(far, answer + b"hello")
            self.assertEqual(client.received, GREETED + refused(0) + b"hello")
            self.tell(client, b"question")
            client.loseWrite()
            self.proxy.settle()
            self.assertTrue(far.received.endswith(b"\r\n\r\nquestion"))
            self.assertTrue(far.eof)
            self.tell(far, b"answer")
            far.loseWrite()
            self.proxy.settle()
            self.assertTrue(client.received.endswith(b"answer"))
            self.assertTrue(client.wasClosed)
            record = self.record()
            self.assertEqual((record.dialled, record.received), (VIA, 11))

    def test_octetByOctet(self) -> None:
        """However it is cut."""
        client, far = self.asking()
        for octet in b"HTTP/1.1 100 Go on\r\n\r\n" + OK + b"hello":
            self.tell(far, bytes([octet]))
        self.assertEqual(client.received, GREETED + refused(0) + b"hello")

    def test_endsAtOnce(self) -> None:
        """The target's end may come with the answer."""
        client, far = self.asking()
        far.write(OK + b"bye")
        far.loseWrite()
        self.proxy.settle()
        self.assertEqual(client.received, GREETED + refused(0) + b"bye")
        self.assertTrue(client.eof)

    def test_nobodyBetween(self) -> None:
        """The leg is the connection's own protocol."""
        _, far = self.asking()
        self.tell(far, OK)
        (session,) = self.proxy.server.sessions
        relay: Any = session._relay
        self.assertIs(relay.target.transport.protocol, relay.target)


class StreamReachedTests(ReachedTests):
    """The same on streams."""

    streams = True


class FailureTests(HTTPCase):
    """What fails."""

    def test_codes(self) -> None:
        """What can be told from its code is told."""
        for code, reply in (
            (400, 1),
            (401, 1),
            (403, 2),
            (404, 4),
            (405, 7),
            (451, 2),
            (500, 1),
            (501, 7),
            (502, 4),
            (503, 4),
            (504, 6),
            (302, 1),
            (101, 1),
        ):
            client, far = self.asking()
            self.tell(far, b"HTTP/1.1 %d No\r\nContent-Length: 3\r\n\r\nno\n" % code)
            self.assertFails(client, reply, f"^via {VIA}: HTTP {code} No$")
            self.assertTrue(far.lost)

    def test_phrase(self) -> None:
        """What it says goes into the log as plain characters, and not at any length."""
        client, far = self.asking()
        self.tell(far, b'HTTP/1.1 500 \x1b[2J"evil\x00' + b"x" * 1000 + b"\r\n\r\n")
        record = self.assertFails(client, 1, r"HTTP 500 \\x1b\[2J\\x22evil\\x00x")
        self.assertTrue(record.reason.isascii())
        self.assertLess(len(record.reason), 200)

    def test_noHTTP(self) -> None:
        """What is not HTTP/1 is 1, as soon as that is clear."""
        for said in (b"\5\xff", b"SSH-2.0-x\r\n", b"HTTP/2 200\r\n\r\n", b"HTTP/1.1 x\r\n\r\n"):
            client, far = self.asking()
            self.tell(far, said)
            self.assertFails(client, 1, f"^via {VIA}: what it answers is not HTTP/1")
            self.assertTrue(far.lost)

    def test_endless(self) -> None:
        """A header without an end is cut short, be it in many pieces or of many answers."""
        for said in (
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEADER,
            b"HTTP/1.1 100 Go on\r\n\r\n" * (MAX_HEADER // 20),
            b"HTTP/1.1 200 OK\r\nX: " + b"x" * MAX_HEADER + b"\r\n\r\n",
        ):
            client, far = self.asking()
            self.tell(far, said)
            self.assertFails(client, 1, f"more than {MAX_HEADER} octets")
            self.assertTrue(far.lost)

    def test_gone(self) -> None:
        """A proxy that goes before it has answered is 1."""
        for said in (b"", b"HTTP/1.1 200 OK\r\n"):
            for end in ("lose", "loseWrite", "abort"):
                client, far = self.asking()
                self.tell(far, said)
                getattr(far, end)()
                self.proxy.settle()
                self.assertFails(client, 1, f"^via {VIA}: it closed the connection before")

    def test_silent(self) -> None:
        """There is an end of waiting."""
        client, far = self.asking(settings={"dial_timeout": 3.0})
        self.proxy.reactor.advance(3.1)
        self.assertFails(client, 6, f"^via {VIA}: no answer within 3 s")
        self.assertTrue(far.wasReset)

    def test_notReached(self) -> None:
        """Nobody listens there."""
        near = self.forward(VIA, to=None)
        self.assertFails(near.say(GREETING, request()), 1, f"via {VIA}: not reached: .*refused")

    def test_cancelled(self) -> None:
        """A client that goes takes it along, at each stage."""
        for said in (None, b"", b"HTTP/1.1 100 Wait\r\n\r\nHTTP/1.1"):
            near = self.forward(VIA, to=None)
            near.reactor.route(FAR, delay=1)
            liar = near.target(FAR, 8080)
            client = near.say(GREETING, request())
            if said is not None:
                near.reactor.advance(1)
                self.tell(liar.peer, said)
            client.abort()
            near.settle()
            near.reactor.advance(2)
            if said is None:
                self.assertEqual(liar.peers, [])
            else:
                self.assertTrue(liar.peer.wasReset)

    def test_others(self) -> None:
        """BIND, UDP ASSOCIATE and Tor's commands are none of HTTP's: 7, and nothing is sent."""
        for command in (Command.BIND, Command.UDP_ASSOCIATE, Command.RESOLVE):
            near = self.forward(VIA, to=None, settings={"resolve": True})
            liar = near.target(FAR, 8080)
            client = near.say(GREETING, request(TARGET, 80, command))
            self.assertFails(client, 7, f"^via {VIA}: an HTTP proxy has CONNECT only")
            self.assertEqual(liar.peers, [])


class StreamFailureTests(FailureTests):
    """The same on streams."""

    streams = True


class OwnTests(SynchronousTestCase):
    """What an application can do with it by itself."""

    def setUp(self) -> None:
        """Have a proxy that grants all."""
        self.reactor = MemoryReactor()
        self.far = PeerFactory()
        self.port: Any = self.reactor.listenTCP(8080, self.far, interface=FAR)
        self.via = HTTPVia(NextHop(self.reactor, FAR, 8080), self.reactor, name=VIA)
        self.addCleanup(self.assertNothingLeft)

    def assertNothingLeft(self) -> None:
        """Everything is closed."""
        self.port.stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def ask(self, factory: Any) -> Outcome:
        """Connect."""
        destination = Address(b"example.com", 80)
        outcome = Outcome(self.via.connect(destination, factory, 9.0))
        self.reactor.advance(0)
        self.far.peers[-1].write(OK)
        self.reactor.advance(0)
        return outcome

    def test_noProtocol(self) -> None:
        """A factory that builds nothing has the connection cut."""
        factory = Factory()
        self.patch(factory, "buildProtocol", lambda address: None)
        (failure,) = self.ask(factory).failures
        self.assertIn("no protocol", str(failure.value))
        self.assertTrue(self.far.peer.wasReset)

    def test_given(self) -> None:
        """The protocol and BND, which HTTP does not tell."""
        factory = PeerFactory()
        protocol, bound = self.ask(factory).results[0]
        self.assertIs(protocol, factory.peer)
        self.assertEqual(str(bound), "0.0.0.0:0")
        factory.peer.lose()
        self.far.peer.lose()

    def test_twice(self) -> None:
        """An endpoint that connects more than once is heard once."""

        hop = NextHop(self.reactor, FAR, 8080)
        connect = hop.connect

        def twice(factory: Any) -> Any:
            connect(factory)
            return connect(factory)

        self.patch(hop, "connect", twice)
        self.via = HTTPVia(hop, self.reactor, name=VIA)
        factory = PeerFactory()
        self.ask(factory)
        first, second = sorted(self.far.peers, key=lambda peer: peer.lost is not None)
        self.assertTrue(second.lost)
        first.write(OK)
        self.reactor.advance(0)
        self.assertEqual(len(factory.peers), 1)
        factory.peer.lose()
        first.lose()

    def test_colon(self) -> None:
        """A user name with a colon would be another one."""
        hop = NextHop(self.reactor, FAR, 8080)
        self.assertRaises(
            ValueError, HTTPVia, hop, self.reactor, name=VIA, login=(b"a:b", b"secret")
        )

    def test_request(self) -> None:
        """The request, to the octet."""
        self.assertEqual(
            packConnect(Address(b"example.com", 443), (b"alice", b"secret")),
            b"CONNECT example.com:443 HTTP/1.1\r\nHost: example.com:443\r\n"
            b"Proxy-Authorization: Basic YWxpY2U6c2VjcmV0\r\n\r\n",
        )
