"""Accepting streams: all who wait, and nobody who makes trouble for others."""

from __future__ import annotations

import errno
import socket
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Port
from twisted.trial.unittest import SynchronousTestCase

from tests.streams.memory import Duplicate, streamsOn
from twisted_socks5.streams import Stream
from twisted_socks5.streams.accepting import BATCH, EXHAUSTED
from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory, PlainPeer

HERE = "192.0.2.10"


class Bug(Exception):
    """What is wrong in a factory or protocol."""


class Broken(Peer):
    """A protocol that raises when it is told of this."""

    event = "made"

    def _saw(self, event: str) -> None:
        super()._saw(event)
        if event == self.event:
            raise Bug


class AcceptCase(SynchronousTestCase):
    """A port in memory, whose connections are accepted as streams."""

    def setUp(self) -> None:
        """Listen."""
        self.reactor = MemoryReactor()
        self.tcp, self.sockets = streamsOn(self.reactor, self)
        self.factory = PeerFactory()
        self.clients: list[PlainPeer] = []
        self.listen()
        self.addCleanup(self.assertNothingLeft)

    def listen(self, interface: str = HERE) -> None:
        """Listen, and accept."""
        self.listening: IListeningPort = self.reactor.listenTCP(
            80, self.factory, interface=interface
        )
        self.port = self.tcp.accept(cast(Port, self.listening), self.factory)

    def assertNothingLeft(self) -> None:
        """Nothing is left once both sides have ended."""
        for peer in (*self.clients, *self.factory.peers):
            peer.abort()
        self.settle()
        self.port.stop()
        self.listening.stopListening()
        self.settle()
        self.assertEqual(self.reactor.leftOver(), [])

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def connect(self, *said: bytes, host: str = HERE) -> Any:
        """Connect a client, which says this as soon as it is connected."""
        factory = PeerFactory()
        self.reactor.connectTCP(host, 80, factory)
        while not factory.peers:
            self.reactor.turn()
        for each in said:
            factory.peer.write(each)
        self.settle()
        self.clients.append(factory.peer)
        return factory.peer

    def duplicate(self) -> Duplicate:
        """Find the descriptor that is accepted from."""
        return cast(Duplicate, self.sockets.made[-1])


class AcceptedTests(AcceptCase):
    """Those who are accepted."""

    def test_connected(self) -> None:
        """A protocol is built for each, on a stream, with the client's address."""
        client = self.connect()
        peer: Any = self.factory.peer
        self.assertIs(type(peer.transport), Stream)
        self.assertEqual(peer.transport.getPeer(), client.transport.getHost())
        self.assertIsInstance(peer.transport.getPeer(), IPv4Address)
        client.write(b"question")
        peer.write(b"answer")
        self.settle()
        self.assertEqual((peer.received, client.received), (b"question", b"answer"))
        self.assertEqual(self.port.logPrefix(), "StreamPort")

    def test_ipv6(self) -> None:
        """Of either family."""
        self.port.stop()
        self.listening.stopListening()
        self.settle()
        self.listen("2001:db8::10")
        self.connect(host="2001:db8::10")
        peer: Any = self.factory.peer
        self.assertIsInstance(peer.transport.getPeer(), IPv6Address)

    def test_options(self) -> None:
        """What is accepted inherits its options from the port."""
        options = self.duplicate().options
        self.assertTrue(options[socket.IPPROTO_TCP, socket.TCP_NODELAY])
        self.assertTrue(options[socket.SOL_SOCKET, socket.SO_KEEPALIVE])

    def test_firstWord(self) -> None:
        """What a client has said by then is read without a further turn."""
        self.reactor.removeReader(self.port)
        self.connect(b"hello")
        self.assertEqual(self.factory.peers, [])
        self.port.doRead()
        self.assertEqual(self.factory.peer.received, b"hello")
        self.reactor.addReader(self.port)

    def test_many(self) -> None:
        """In a turn only so many are accepted; the others in the next."""
        self.reactor.removeReader(self.port)
        for _ in range(BATCH + 10):
            self.connect()
        self.port.doRead()
        self.assertEqual(len(self.factory.peers), BATCH)
        self.reactor.addReader(self.port)
        self.settle()
        self.assertEqual(len(self.factory.peers), BATCH + 10)

    def test_nobody(self) -> None:
        """A client for whom there is no protocol is closed."""
        self.patch(self.factory, "buildProtocol", lambda _: None)
        client = self.connect()
        self.assertTrue(client.eof)

    def test_stop(self) -> None:
        """Once it is stopped, nobody is accepted; it may be told twice."""
        self.port.stop()
        self.port.stop()
        self.assertEqual(self.port.fileno(), -1)
        self.connect()
        self.assertEqual(self.factory.peers, [])

    def test_lost(self) -> None:
        """What the reactor can't watch any more has stopped."""
        self.port.connectionLost(connectionDone)
        self.assertEqual(self.port.fileno(), -1)

    def test_stoppedByAClient(self) -> None:
        """A client may have it stopped, in the midst of those who wait."""
        self.reactor.removeReader(self.port)
        for _ in range(3):
            self.connect()
        build = self.factory.buildProtocol

        def stop(addr: Any) -> Any:
            self.port.stop()
            return build(addr)

        self.patch(self.factory, "buildProtocol", stop)
        self.port.doRead()
        self.assertEqual(len(self.factory.peers), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class TroubleTests(AcceptCase):
    """Those who make trouble."""

    def assertGoesOn(self, errors: int) -> None:
        """Assert that others are accepted, and that so much was logged."""
        self.assertEqual(len(self.flushLoggedErrors(Bug)), errors)
        build = type(self.factory).buildProtocol
        self.patch(self.factory, "buildProtocol", lambda addr: build(self.factory, addr))
        self.factory._build = Peer
        before = len(self.factory.peers)
        self.connect()
        self.assertEqual(len(self.factory.peers), before + 1)

    def test_factoryRaises(self) -> None:
        """A factory that raises costs the client its connection, and nobody else."""

        def fail(_: object) -> None:
            raise Bug

        self.patch(self.factory, "buildProtocol", fail)
        client = self.connect()
        self.assertTrue(client.eof)
        self.assertGoesOn(1)

    def test_protocolRaises(self) -> None:
        """So does a protocol that raises, whatever it is told."""
        for event, said, end in (
            ("made", b"", ""),
            ("data", b"hello", ""),
            ("eof", b"", "loseWrite"),
            ("ConnectionLost", b"", "abort"),
        ):
            self.factory._build = type("Own", (Broken,), {"event": event})
            self.reactor.removeReader(self.port)
            client = self.connect(said)
            if end:
                getattr(client, end)()
                self.settle()
            self.port.doRead()
            self.settle()
            self.assertEqual(self.factory.peers[-1].transport.fileno(), -1)  # type: ignore[attr-defined]
            self.reactor.addReader(self.port)
            self.assertGoesOn(1)

    def test_gone(self) -> None:
        """Connections that have ended while they waited are passed over."""
        for number in (errno.ECONNABORTED, errno.EPROTO, errno.EPERM, errno.ENETUNREACH):
            self.duplicate().failures = [number]
            before = len(self.factory.peers)
            self.connect()
            self.assertEqual(len(self.factory.peers), before + 1)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_exhausted(self) -> None:
        """Without descriptors clients wait, and so does the port: it does not ask all the time."""
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            before = len(self.factory.peers)
            self.duplicate().failures = [number, number]
            self.connect(b"hello")
            self.assertEqual(self.duplicate().failures, [number])
            self.assertEqual(len(self.factory.peers), before)
            self.reactor.advance(EXHAUSTED)
            self.assertEqual(self.duplicate().failures, [])
            self.reactor.advance(EXHAUSTED)
            self.assertEqual(self.factory.peers[-1].received, b"hello")
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stoppedWhileExhausted(self) -> None:
        """It can be stopped while it waits."""
        self.duplicate().failures = [errno.EMFILE]
        self.connect()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.port.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_brokenPort(self) -> None:
        """A port that is broken for good is not asked all the time either."""
        self.duplicate().failures = [errno.EINVAL]
        self.connect()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(1)
        self.assertEqual(len(self.factory.peers), 1)
