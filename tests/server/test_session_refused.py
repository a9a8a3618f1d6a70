"""A refusal is heard: reply, FIN, and no reset for what the client still sends."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from tests.server.base import (
    GREETED,
    GREETING,
    LOGIN,
    LOGIN_SELECTED,
    NOT_LOGGED_IN,
    PROXY,
    ServerCase,
    credentials,
    refused,
    request,
    users,
)
from twisted_socks5.testing import Peer, StreamSocket

#: More than a buffer of any kind holds.
FLOOD = bytes(300_000)


class HeardTests(ServerCase):
    """How a refused client is let go."""

    def pendingError(self, client: Peer) -> int:
        """Tell what a client's next call would fail with: a reset shows there first."""
        handle = cast(StreamSocket, client.transport.getHandle())
        return int(handle.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR))

    def test_sendsOn(self) -> None:
        """A client that sends on hears its refusal, and its octets are read and dropped."""
        proxy = self.serve()
        client = proxy.say(GREETING + request(command=9) + b"x" * 1000)
        for _ in range(10):
            client.write(FLOOD)
            proxy.reactor.advance(0.4)
        (handle,) = proxy.ends(port=1080)
        self.assertEqual(handle.octetsRead, 2 + 1 + 10 + 1000 + 10 * len(FLOOD))
        self.assertRefused(client, GREETED + refused(7), "unknown command 9")

    def test_sendsEverythingAtOnce(self) -> None:
        """Much more than one read, in front of which the refusal stands, makes no reset."""
        for said, heard in (
            (b"\5\1\2", b"\5\xff"),
            (GREETING + b"\5\1\0\7", GREETED + refused(8)),
            (b"GET / HTTP/1.1\r\n", b""),
        ):
            proxy = self.serve()
            client = proxy.connect()
            client.write(said + FLOOD)
            proxy.settle()
            self.assertRefused(client, heard, "no acceptable|unknown address|HTTP")

    def test_refusedLater(self) -> None:
        """The same where the client was paused, since its turn had not come."""
        proxy = self.serve()
        proxy.reactor.route("203.0.113.5", error=111, delay=5)
        client = proxy.say(GREETING + request(), FLOOD)
        proxy.reactor.advance(4)
        (handle,) = proxy.ends(port=1080)
        self.assertLess(handle.octetsRead, 2 * 65_536)
        proxy.reactor.advance(2)
        self.assertEqual(handle.octetsRead, 3 + 10 + len(FLOOD))
        self.assertRefused(client, GREETED + refused(5), "refused")

    def test_lingers(self) -> None:
        """Who does not close is closed when its time to hear is over, without a reset."""
        for said, heard in (
            (GREETING + request(command=9), GREETED + refused(7)),
            (b"\5\1\2", b"\5\xff"),
            (b"\4", b"\0\x5b\0\0\0\0\0\0"),
        ):
            proxy = self.serve(settings={"linger_timeout": 3.0})
            client = proxy.say(said)
            self.assertEqual((client.received, client.eof), (heard, True))
            proxy.reactor.advance(2.9)
            self.assertEqual((len(proxy.server.sessions), proxy.records), (1, []))
            proxy.reactor.advance(0.2)
            self.assertEqual(len(proxy.server.sessions), 0)
            self.assertIsNone(client.lost)
            self.assertEqual(self.pendingError(client), 0)
            self.assertAlmostEqual(self.record().seconds, 3.0, places=2)

    def test_neverReads(self) -> None:
        """Who does not even read its refusal is cut then."""
        proxy = self.serve(network={"window": 1, "sendBuffer": 1})
        client = proxy.connect()
        client.pause()
        client.write(GREETING + request(command=9))
        proxy.reactor.advance(20)
        self.assertEqual(len(proxy.server.sessions), 0)
        client.resume()
        proxy.settle()
        self.assertTrue(client.wasReset)

    def test_closesFirst(self) -> None:
        """Who has sent its FIN already is closed as soon as it has been told."""
        proxy = self.serve()
        proxy.reactor.route("203.0.113.5", error=111, delay=5)
        client = proxy.say(GREETING + request())
        client.loseWrite()
        proxy.reactor.advance(6)
        self.assertEqual(client.received, GREETED + refused(5))
        self.assertTrue(client.wasClosed)
        self.assertLess(self.record().seconds, 5.1)

    def test_resetAfterwards(self) -> None:
        """A client that resets instead of closing ends its session as well."""
        proxy = self.serve(users())
        client = proxy.say(LOGIN, credentials(b"alice", b"guess"))
        proxy.reactor.advance(1)
        self.assertEqual(client.received, LOGIN_SELECTED + NOT_LOGGED_IN)
        client.abort()
        proxy.settle()
        self.assertEqual(self.record().reason, "wrong user name or password")

    def test_lostWhenTheServerStops(self) -> None:
        """A client that lingers can be cut."""
        proxy = self.serve()
        client = proxy.say(b"\6")
        proxy.server.abortSessions("the proxy stops")
        proxy.settle()
        self.assertTrue(client.lost is not None or client.eof)
        self.assertRegex(self.record().reason, "version 6")


class WrappedTests(ServerCase):
    """Transports that know no half-close: refusals are flushed, then closed."""

    def wrapped(self) -> Peer:
        """Connect a client through a wrapper."""
        proxy = self.serve()
        wrapping: Any = WrappingFactory(proxy.server)
        self.assertIs(wrapping.protocol, ProtocolWrapper)
        proxy.ports.append(proxy.reactor.listenTCP(1081, wrapping))
        return proxy.connect(PROXY, 1081)

    def test_refused(self) -> None:
        """The refusal is heard, and the connection closed behind it."""
        client = self.wrapped()
        client.write(GREETING + request(command=9))
        self.proxy.settle()
        self.assertEqual((client.received, client.eof), (GREETED + refused(7), True))
        self.assertEqual(self.record().reason, "unknown command 9")

    def test_refusedLater(self) -> None:
        """The same where it was paused."""
        client = self.wrapped()
        self.proxy.reactor.route("203.0.113.5", error=111, delay=5)
        client.write(GREETING + request() + bytes(65_536))
        self.proxy.reactor.advance(10)
        self.assertEqual(client.received, GREETED + refused(5))
        self.assertEqual(len(self.proxy.server.sessions), 0)

    def test_relayed(self) -> None:
        """A request is granted, and relayed through the wrapper."""
        client = self.wrapped()
        target = self.proxy.target()
        client.write(GREETING + request() + b"question")
        self.proxy.settle()
        target.peer.write(b"answer")
        self.proxy.settle()
        self.assertEqual(self.assertGranted(client), b"answer")
        self.assertEqual(target.peer.received, b"question")

    def test_ends(self) -> None:
        """A FIN is the end of the whole connection."""
        client = self.wrapped()
        client.loseWrite()
        self.proxy.settle()
        self.assertTrue(client.wasClosed)
        self.assertEqual(self.record().reason, "client closed during the negotiation")


class StreamHeardTests(HeardTests):
    """The same on streams."""

    streams = True
