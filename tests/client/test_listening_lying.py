"""BIND through a proxy that does not do as it should."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.error import ConnectingCancelledError

from tests.client.base import SELECTED, Application, ClientCase, Outcome
from twisted_socks5.client.errors import (
    CommandNotSupported,
    NegotiationTimeout,
    ProxyClosed,
    ProxyProtocolError,
    TTLExpired,
)
from twisted_socks5.client.listening import (
    BoundPort,
    NotYetBound,
    SOCKS5RenewingServerEndpoint,
    SOCKS5ServerEndpoint,
)

FIRST = b"\5\0\0\1\xc0\0\2\x0a\x9c\x40"  # 192.0.2.10:40000
SECOND = b"\5\0\0\1\xcb\0\x71\5\0\x14"  # 203.0.113.5:20
PEER = IPv4Address("TCP", "203.0.113.5", 20)


class LyingCase(ClientCase):
    """A proxy that says what the test has it say."""

    def asked(self, **options: Any) -> tuple[Application, Outcome]:
        """Ask for a BIND."""
        application = Application()
        endpoint = SOCKS5ServerEndpoint(
            self.wayToProxy(), "203.0.113.5", reactor=self.reactor, **options
        )
        outcome = Outcome(endpoint.listen(application))
        self.settle()
        return application, outcome

    def granted(self, *said: bytes, **options: Any) -> tuple[Application, BoundPort, Outcome]:
        """Be granted one; @return: the factory, the port, and what becomes of it."""
        application, outcome = self.asked(**options)
        self.say(SELECTED, *(said or (FIRST,)))
        port = outcome.result
        return application, port, Outcome(port.whenAccepted())


class FirstReplyTests(LyingCase):
    """Before the port is there."""

    def test_request(self) -> None:
        """What goes over the wire."""
        self.granted()
        self.assertEqual(self.heard(), b"\5\1\0" + b"\5\2\0\1\xcb\0\x71\5\0\0")

    def test_refused(self) -> None:
        """By a proxy that knows no BIND."""
        application, outcome = self.asked()
        self.say(SELECTED, b"\5\7\0\1\0\0\0\0\0\0")
        self.assertIsInstance(outcome.error, CommandNotSupported)
        self.assertEqual(application.heard, [])
        self.assertClosed()

    def test_port_0(self) -> None:
        """Nobody can connect to port 0."""
        application, outcome = self.asked()
        self.say(SELECTED, b"\5\0\0\1\xc0\0\2\x0a\0\0")
        self.assertIsInstance(outcome.error, ProxyProtocolError)
        self.assertEqual(application.heard, [])
        self.assertClosed()

    def test_bound(self) -> None:
        """Zeros are the proxy's own address; a name stays one, and mapped IPv4 is IPv4."""
        for said, address in (
            (b"\1\0\0\0\0\x9c\x40", IPv4Address("TCP", "192.0.2.10", 40000)),
            (b"\4" + bytes(16) + b"\x9c\x40", IPv4Address("TCP", "192.0.2.10", 40000)),
            (b"\3\5proxy\x9c\x40", HostnameAddress(b"proxy", 40000)),
            (
                b"\4" + bytes(10) + b"\xff\xff\xc0\0\2\x0b\x9c\x40",
                IPv4Address("TCP", "192.0.2.11", 40000),
            ),
            (
                b"\4\x20\1\x0d\xb8" + bytes(11) + b"\1\x9c\x40",
                IPv6Address("TCP", "2001:db8::1", 40000),
            ),
        ):
            _, port, _ = self.granted(b"\5\0\0" + said)
            self.assertEqual(port.getHost(), address)
            port.stopListening()
            self.hangUp()

    def test_port_0_again(self) -> None:
        """Nor is it a port to go on with; later it may be another."""
        endpoint = SOCKS5RenewingServerEndpoint(
            self.wayToProxy(), reactor=self.reactor, retryPolicy=lambda failures: 1.0
        )
        port = endpoint.port(Application())
        port.startListening()
        for said in (b"\5\0\0\1\xc0\0\2\x0a\0\0", FIRST):
            self.assertRaises(NotYetBound, port.getHost)
            self.settle()
            self.say(SELECTED, said)
            self.hangUp()
            self.reactor.advance(1)
        self.assertEqual(port.getHost(), IPv4Address("TCP", "192.0.2.10", 40000))
        port.stopListening()

    def test_deadline(self) -> None:
        """A proxy that never answers has its time, and no more."""
        application, outcome = self.asked()
        self.reactor.advance(30)
        self.assertIsInstance(outcome.error, NegotiationTimeout)
        self.assertEqual(application.heard, [])


class SecondReplyTests(LyingCase):
    """Once it is there."""

    def test_same_segment(self) -> None:
        """Both replies and data in one segment: the port is there before its connection."""
        application, outcome = self.asked()
        seen: list[bool] = []
        outcome.deferred.addCallback(lambda _: seen.append(bool(application.peers)))
        self.say(SELECTED, FIRST + SECOND + b"data at once")
        self.assertEqual(seen, [False])
        self.assertEqual(application.heard, ["start", PEER, "stop"])
        self.assertEqual(application.peer.received, b"data at once")
        application.peer.lose()

    def test_third(self) -> None:
        """A third reply is the peer's data, for all that anybody knows."""
        application, _, _ = self.granted()
        self.say(SECOND, SECOND)
        self.assertEqual(application.peer.received, SECOND)
        application.peer.lose()

    def test_octet_by_octet(self) -> None:
        """In whatever pieces it comes."""
        application, outcome = self.asked()
        self.say(*(bytes((octet,)) for octet in SELECTED + FIRST + SECOND + b"data"))
        self.assertEqual(application.heard, ["start", PEER, "stop"])
        self.assertEqual(application.peer.received, b"data")
        self.assertFalse(outcome.result.connected)
        application.peer.lose()

    def test_refused(self) -> None:
        """The second reply is a failure."""
        application, port, accepted = self.granted()
        self.say(b"\5\6\0\1\0\0\0\0\0\0")
        self.assertIsInstance(accepted.error, TTLExpired)
        self.assertEqual((application.heard, port.connected), (["start", "stop"], False))
        self.assertClosed()

    def test_refused_at_once(self) -> None:
        """It comes in one segment with the first."""
        application, port, accepted = self.granted(FIRST + b"\5\1\0\1\0\0\0\0\0\0")
        self.assertEqual(accepted.error.code, 1)
        self.assertEqual((application.heard, port.connected), (["start", "stop"], False))
        self.assertClosed()

    def test_garbage(self) -> None:
        """It is none."""
        application, _, accepted = self.granted()
        self.say(b"HTTP/1.0 200 OK\r\n\r\n")
        self.assertIsInstance(accepted.error, ProxyProtocolError)
        self.assertEqual(application.heard, ["start", "stop"])
        self.assertClosed()

    def test_lost(self) -> None:
        """The connection is reset, or closed, or ends in the middle of it."""
        for end in (self.abort, self.lose, self.loseWithin):
            application, port, accepted = self.granted()
            end()
            self.settle()
            self.assertIsInstance(accepted.error, ProxyClosed)
            self.assertEqual((application.heard, port.connected), (["start", "stop"], False))
            self.hangUp()
            self.assertEqual(self.reactor.openConnections(), [])

    def abort(self) -> None:
        """Reset."""
        self.proxy.abort()

    def lose(self) -> None:
        """Close."""
        self.proxy.lose()

    def loseWithin(self) -> None:
        """Close within the reply."""
        self.say(SECOND[:7])
        self.proxy.lose()

    def test_lost_before_it_is_awaited(self) -> None:
        """The connection is lost in the very turn that brought the first reply."""
        application, outcome = self.asked()
        self.say(SELECTED)
        self.proxy.write(FIRST)
        self.proxy.lose()
        self.settle()
        accepted = Outcome(outcome.result.whenAccepted())
        self.assertIsInstance(accepted.error, ProxyClosed)
        self.assertEqual(application.heard, ["start", "stop"])

    def test_stopped_at_each_turn(self) -> None:
        """Stopping it while the second reply is on its way: a connection, or none, but no more."""
        for steps in range(8):
            application, port, accepted = self.granted()
            self.proxy.write(SECOND + b"data")
            for _ in range(steps):
                self.reactor.turn()
            came = bool(application.peers)
            port.stopListening()
            self.settle()
            self.assertEqual(bool(application.peers), came)
            self.assertEqual(application.heard.count("stop"), 1)
            if came:
                self.assertEqual(accepted.result.received, b"data")
                accepted.result.abort()
                break
            self.hangUp()
        else:
            self.fail("nobody came")

    def test_never(self) -> None:
        """A proxy may take its time: it is its own, unless we have said otherwise."""
        _, port, accepted = self.granted()
        self.reactor.advance(1_000_000)
        self.assertTrue(accepted.pending)
        port.stopListening()

    def test_deadline(self) -> None:
        """If we have, that's the end, and a reply that comes later is nobody's."""
        application, _, accepted = self.granted(acceptTimeout=3.0)
        self.reactor.advance(3)
        self.assertIsInstance(accepted.error, NegotiationTimeout)
        self.assertIn("192.0.2.10:1080", str(accepted.error))
        self.say(SECOND)
        self.assertEqual(application.peers, [])

    def test_half_closed(self) -> None:
        """The peer's FIN comes in one segment with the reply."""
        application, _, _ = self.granted()
        self.proxy.write(SECOND + b"all")
        self.proxy.loseWrite()
        self.settle()
        self.assertEqual(application.peer.events, ["made", "data", "eof"])
        application.peer.write(b"still here")
        self.settle()
        self.assertEqual(self.heard()[-10:], b"still here")
        application.peer.lose()

    def test_cancelled(self) -> None:
        """C{listen} is called off between the two."""
        application, outcome = self.asked()
        self.say(SELECTED)
        outcome.deferred.cancel()
        self.assertIsInstance(outcome.error, ConnectingCancelledError)
        self.assertEqual(application.heard, [])
        self.assertClosed()
