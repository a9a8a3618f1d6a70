"""Clients that do not wait: what they send ahead is kept, bounded, and reaches its target."""

from __future__ import annotations

from typing import Any

from tests.server.base import (
    GREETED,
    GREETING,
    LOGGED_IN,
    LOGIN,
    LOGIN_SELECTED,
    TARGET,
    ServerCase,
    credentials,
    portal,
    refused,
    request,
)
from tests.server.test_session_login import Slow
from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.server.session import KEPT
from twisted_socks5.testing import Peer, StreamSocket

UPLOAD = bytes(range(256)) * 1200  # 300 KB


class Lazy(Peer):
    """A target that does not read until it is told to."""

    def connectionMade(self) -> None:
        """Read nothing."""
        super().connectionMade()
        self.pause()


class AheadCase(ServerCase):
    """Has a look at what a session holds."""

    def handle(self) -> StreamSocket:
        """Find the proxy's end of the only client's connection."""
        (handle,) = self.proxy.ends(port=1080)
        return handle

    def dialled(self) -> list[StreamSocket]:
        """Find the proxy's ends of connections to targets, being made or made."""
        return self.proxy.ends(target=TARGET)


class UploadTests(AheadCase):
    """An honest client that sends its data behind the request without waiting."""

    def test_dialTakesTime(self) -> None:
        """300 KB wait while the target is dialled, few of them in our memory, and arrive."""
        proxy = self.serve()
        target = proxy.target()
        proxy.reactor.route(TARGET, delay=5)
        client = proxy.say(GREETING, request() + UPLOAD)
        proxy.reactor.advance(4.9)
        self.assertLess(self.handle().octetsRead, 2 * KEPT + 13)
        self.assertEqual(client.received, GREETED)
        proxy.reactor.advance(0.2)
        self.assertGranted(client)
        self.assertOctets(target.peer.received, UPLOAD)

    def test_allInOne(self) -> None:
        """The same where greeting, request and data come at once."""
        proxy = self.serve()
        target = proxy.target()
        proxy.reactor.route(TARGET, delay=5)
        client = proxy.connect()
        client.write(GREETING + request() + UPLOAD)
        client.loseWrite()
        proxy.reactor.advance(5.1)
        self.assertGranted(client)
        self.assertOctets(target.peer.received, UPLOAD)
        self.assertTrue(target.peer.eof)
        target.peer.write(b"thanks")
        target.peer.lose()
        proxy.settle()
        self.assertEqual(self.assertGranted(client), b"thanks")
        self.assertTrue(client.wasClosed)
        self.assertEqual((self.record().sent, self.record().received), (len(UPLOAD), 6))

    def test_loginAndDialTakeTime(self) -> None:
        """A slow login before a slow dial does not make more of it stay in our memory."""
        slow = Slow()
        proxy = self.serve(portal(SOCKS5Realm(), slow))
        target = proxy.target()
        proxy.reactor.route(TARGET, delay=5)
        client = proxy.say(LOGIN + credentials() + request(), UPLOAD)
        proxy.reactor.advance(3)
        self.assertLess(self.handle().octetsRead, 2 * KEPT)
        slow.answers.pop().callback(b"alice")
        proxy.reactor.advance(4.9)
        self.assertLess(self.handle().octetsRead, 2 * KEPT)
        proxy.reactor.advance(0.2)
        self.assertGranted(client, LOGIN_SELECTED + LOGGED_IN)
        self.assertOctets(target.peer.received, UPLOAD)

    def test_loginBeforeTheRest(self) -> None:
        """A client that was paused during its login is read again if its request is missing."""
        slow = Slow()
        proxy = self.serve(portal(SOCKS5Realm(), slow))
        client = proxy.say(LOGIN + credentials() + b"\5\1\0\3\xff" + UPLOAD)
        slow.answers.pop().callback(b"alice")
        proxy.settle()
        record = self.assertRefused(
            client, LOGIN_SELECTED + LOGGED_IN + refused(4), "invalid host name"
        )
        self.assertEqual(record.command, "CONNECT")

    def test_targetDoesNotRead(self) -> None:
        """What was sent ahead to a target that does not read it is not followed by more."""
        proxy = self.serve()
        target = proxy.target(peer=Lazy)
        client = proxy.connect()
        # What the way to the target holds is little.
        proxy.reactor.network.window = proxy.reactor.network.sendBuffer = 1000
        proxy.reactor.route(TARGET, delay=5)
        client.write(GREETING + request() + UPLOAD * 4)
        proxy.reactor.advance(30)
        (leg,) = self.dialled()
        self.assertLess(self.handle().octetsRead - leg.octetsSent, 2 * KEPT)
        target.peer.resume()
        proxy.settle()
        self.assertOctets(target.peer.received, UPLOAD * 4)

    def test_reset(self) -> None:
        """A client that goes in the midst of it takes its dial along."""
        proxy = self.serve()
        proxy.target()
        proxy.reactor.route(TARGET, delay=5)
        client = proxy.say(GREETING, request() + b"data")
        self.assertEqual(len(self.dialled()), 1)
        client.abort()
        proxy.settle()
        self.assertEqual(self.dialled(), [])
        self.assertEqual(self.record().reason, "client reset during the request")
        self.assertIsNone(self.record().reply)


class HalfClosedTests(AheadCase):
    """A FIN right behind the request: the client waits for its answer."""

    def ask(self, *options: Any, delay: float = 0.0) -> Any:
        """Send greeting, request, a question and a FIN at once."""
        proxy = self.serve()
        self.target = proxy.target()
        proxy.reactor.route(TARGET, delay=delay)
        client = proxy.connect()
        client.write(GREETING + request() + b"question")
        client.loseWrite()
        proxy.reactor.advance(delay)
        return client

    def test_wholeAnswer(self) -> None:
        """However long the dial takes, the answer comes whole."""
        for delay in (0.0, 5.0):
            client = self.ask(delay=delay)
            peer = self.target.peer
            self.assertEqual((peer.received, peer.eof), (b"question", True))
            # The FIN has been passed on once.
            self.assertEqual(peer.events.count("eof"), 1)
            peer.write(UPLOAD)
            self.proxy.reactor.advance(60)
            peer.write(UPLOAD)
            peer.lose()
            self.proxy.settle()
            self.assertOctets(self.assertGranted(client), UPLOAD + UPLOAD)
            self.assertTrue(client.wasClosed)
            record = self.record()
            self.assertEqual((record.sent, record.received), (8, 2 * len(UPLOAD)))
            self.assertEqual(record.reason, "client closed")

    def test_targetResets(self) -> None:
        """A target that resets instead of answering resets the client."""
        client = self.ask(delay=1)
        self.target.peer.abort()
        self.proxy.settle()
        client.write(b"finds out")
        self.proxy.settle()
        self.assertFalse(client.wasClosed)
        self.assertEqual(self.record().reason, "client closed")

    def test_clientResets(self) -> None:
        """A reset behind the FIN, while the target is dialled, is noticed by writing."""
        proxy = self.serve()
        target = proxy.target()
        proxy.reactor.route(TARGET, delay=5)
        client = proxy.say(GREETING + request())
        client.loseWrite()
        proxy.settle()
        client.abort()
        proxy.reactor.advance(5)
        self.assertEqual(len(proxy.server.sessions), 0)
        self.assertEqual(client.received, GREETED)
        self.assertTrue(target.peer.eof)


class StreamUploadTests(UploadTests):
    """The same on streams."""

    streams = True


class StreamHalfClosedTests(HalfClosedTests):
    """The same on streams."""

    streams = True
