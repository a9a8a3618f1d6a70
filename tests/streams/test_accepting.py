"""Accepting streams: all who wait, and nobody who makes trouble for others."""

from __future__ import annotations

import errno
import os
import socket
from types import SimpleNamespace
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Port
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.streams.memory import Listening, streamsOn
from twisted_socks5.streams import ReactorWatch, Stream, StreamFactory, StreamPort
from twisted_socks5.streams import accepting as module
from twisted_socks5.streams.accepting import BATCH, EXHAUSTED, accepted, listening
from twisted_socks5.testing import (
    ListeningSocket,
    MemoryReactor,
    Peer,
    PeerFactory,
    PlainPeer,
)

HERE = "192.0.2.10"


class Bug(BaseException):
    """What is wrong in a factory or protocol, and as bad as can be."""


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
        self.port = self.tcp.listenTCP(80, self.factory, 10, interface)

    def close(self) -> None:
        """Listen no more."""
        self.port.stopListening()

    def assertNothingLeft(self) -> None:
        """Nothing is left once both sides have ended."""
        for peer in (*self.clients, *self.factory.peers):
            peer.abort()
        self.settle()
        self.close()
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

    def handle(self) -> ListeningSocket:
        """Find the socket that is accepted from."""
        (found,) = self.reactor.listeners()
        return cast(ListeningSocket, found)

    def troubled(self, *failures: int) -> list[int]:
        """Let the next calls of C{accept} fail; @return: the failures that are still to come."""
        handle = cast(Listening, self.handle())
        handle.failures = list(failures)
        return handle.failures


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
        self.assertEqual(self.port.getHost(), IPv4Address("TCP", HERE, 80))
        self.assertTrue(verifyObject(IListeningPort, self.port))

    def test_ipv6(self) -> None:
        """Of either family."""
        self.close()
        self.settle()
        self.listen("2001:db8::10")
        self.connect(host="2001:db8::10")
        peer: Any = self.factory.peer
        self.assertIsInstance(peer.transport.getPeer(), IPv6Address)
        self.assertEqual(self.port.getHost(), IPv6Address("TCP", "2001:db8::10", 80))

    def test_options(self) -> None:
        """What is accepted inherits its options from the port."""
        options = self.handle().options
        self.assertTrue(options[socket.IPPROTO_TCP, socket.TCP_NODELAY])
        self.assertTrue(options[socket.SOL_SOCKET, socket.SO_KEEPALIVE])
        self.assertTrue(options[socket.SOL_SOCKET, socket.SO_OOBINLINE])

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
        """Once it is stopped, nobody is accepted, nor turned away; it may be told twice."""
        self.port.stop()
        self.port.stop()
        self.assertEqual(self.port.fileno(), -1)
        client = self.connect()
        self.assertEqual(self.factory.peers, [])
        self.assertIsNone(client.lost)

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
            self.stop()
            return build(addr)

        self.patch(self.factory, "buildProtocol", stop)
        self.port.doRead()
        self.assertEqual(len(self.factory.peers), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def stop(self) -> None:
        """Stop, as the port's owner does first."""
        self.port.stopListening()


class AcceptedForTwistedTests(AcceptedTests):
    """The same from a port that Twisted has opened."""

    def listen(self, interface: str = HERE) -> None:
        """Listen, and accept."""
        self.theirs: Any = self.reactor.listenTCP(80, self.factory, interface=interface)
        self.port = self.tcp.accept(cast(Port, self.theirs), self.factory)

    def close(self) -> None:
        """Listen no more."""
        self.port.stop()
        self.theirs.stopListening()

    def stop(self) -> None:
        """Stop, as the port's owner does first."""
        self.port.stop()

    def test_given(self) -> None:
        """The socket is the port's, and stays open until the port is stopped."""
        self.port.stop()
        self.assertEqual(self.handle().fileno(), self.theirs.fileno())


class ListeningTests(AcceptCase):
    """Ports of our own."""

    def test_closedAtOnce(self) -> None:
        """The port is free as soon as it is stopped, and who waited is reset; stop it twice."""
        self.reactor.removeReader(self.port)
        client = self.connect()
        self.port.stopListening()
        self.port.stopListening()
        self.assertEqual(self.reactor.listeners(), [])
        self.settle()
        self.assertTrue(client.wasReset)
        self.listen()

    def test_stoppedFirst(self) -> None:
        """What has been stopped, or can't be watched any more, is still to be closed."""
        for stop in (self.port.stop, lambda: self.port.connectionLost(connectionDone)):
            stop()
            self.assertEqual(len(self.reactor.listeners()), 1)
            self.port.stopListening()
            self.assertEqual(self.reactor.listeners(), [])
            self.listen()

    def test_anyPort(self) -> None:
        """The system chooses a port that is free."""
        port = self.tcp.listenTCP(0, self.factory, interface=HERE)
        self.assertGreater(port.getHost().port, 80)
        port.stopListening()

    def test_taken(self) -> None:
        """A port that is taken is told as reactors do, and nothing is left open."""
        for error, port in ((errno.EADDRINUSE, 80), (errno.EACCES, 81)):
            self.reactor.route(HERE, 81, error=errno.EACCES)
            failure = self.assertRaises(
                CannotListenError, self.tcp.listenTCP, port, self.factory, 10, HERE
            )
            self.assertEqual(failure.socketError.errno, error)
            self.assertEqual(len(self.reactor.listeners()), 1)

    def test_noDescriptor(self) -> None:
        """So is the lack of a descriptor."""
        self.sockets.noDescriptor = True
        failure = self.assertRaises(
            CannotListenError, self.tcp.listenTCP, 81, self.factory, 10, HERE
        )
        self.assertEqual(failure.socketError.errno, errno.EMFILE)


class WelcomeTests(AcceptCase):
    """Factories that can do without an address object."""

    class Plain(StreamFactory):
        """One that can, and counts those it has welcomed so."""

        def __init__(self) -> None:
            self.peers: list[Any] = []
            self.asked: list[Any] = []

        def welcome(self, peer: tuple[Any, ...]) -> Any:
            """Build a peer."""
            self.asked.append(peer)
            self.peers.append(Peer())
            return self.peers[-1]

        def buildProtocol(self, addr: Any) -> Any:
            """Build a peer."""
            return self.welcome((addr.host, addr.port))

    class Own(Plain):
        """An application's, which has its own idea of who is let in."""

        def buildProtocol(self, addr: Any) -> Any:
            """Turn the first away."""
            self.asked.append(addr)
            return super().buildProtocol(addr) if len(self.asked) > 1 else None

    def test_name(self) -> None:
        """They are given what the system calls the client."""
        self.close()
        self.factory: Any = self.Plain()
        self.listen()
        client = self.connect()
        name = client.transport.getHost()
        self.assertEqual(self.factory.asked, [(name.host, name.port)])

    def test_ownBuildProtocol(self) -> None:
        """Who has overridden C{buildProtocol} is asked by that, as ever."""
        self.close()
        self.factory = self.Own()
        self.listen()
        self.assertTrue(self.connect().eof)
        self.assertFalse(self.connect().eof)
        self.assertIsInstance(self.factory.asked[0], IPv4Address)

    def test_replaced(self) -> None:
        """So is one that was replaced in the factory itself."""
        self.close()
        self.factory = self.Plain()
        self.factory.buildProtocol = lambda _: None
        self.listen()
        self.assertTrue(self.connect().eof)
        self.assertEqual(self.factory.asked, [])


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
            self.troubled(number)
            before = len(self.factory.peers)
            self.connect()
            self.assertEqual(len(self.factory.peers), before + 1)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_exhausted(self) -> None:
        """Without descriptors clients wait, and so does the port: it does not ask all the time."""
        for number in (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM):
            before = len(self.factory.peers)
            failures = self.troubled(number, number)
            self.connect(b"hello")
            self.assertEqual(failures, [number])
            self.assertEqual(len(self.factory.peers), before)
            self.reactor.advance(EXHAUSTED)
            self.assertEqual(failures, [])
            self.reactor.advance(EXHAUSTED)
            self.assertEqual(self.factory.peers[-1].received, b"hello")
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_stoppedWhileExhausted(self) -> None:
        """It can be stopped while it waits."""
        self.troubled(errno.EMFILE)
        self.connect()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.port.stop()
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_brokenPort(self) -> None:
        """A port that is broken for good is not asked all the time either."""
        self.troubled(errno.EINVAL)
        self.connect()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        self.reactor.advance(1)
        self.assertEqual(len(self.factory.peers), 1)


class SocketTests(SynchronousTestCase):
    """The socket of a port of our own, as the kernel sees it."""

    def opened(self, interface: str = "127.0.0.1", port: int = 0) -> socket.socket:
        """Open one."""
        handle = listening(interface, port, 10)
        self.addCleanup(handle.close)
        return handle

    def test_nonblocking(self) -> None:
        """It does not block, and no program that is started inherits it."""
        handle = self.opened()
        self.assertFalse(os.get_blocking(handle.fileno()))
        self.assertFalse(handle.get_inheritable())
        self.assertRaises(BlockingIOError, handle.accept)

    def test_otherSystems(self) -> None:
        """So it is where that takes a call of its own; and where a port could be taken away."""
        self.patch(module, "STREAM", socket.SOCK_STREAM)
        self.assertTrue(self.opened().getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))
        self.patch(module, "os", SimpleNamespace(name="nt"))
        handle = self.opened()
        self.assertFalse(os.get_blocking(handle.fileno()))
        self.assertRaises(BlockingIOError, handle.accept)
        self.assertFalse(handle.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR))

    def test_families(self) -> None:
        """Of either family; a zone id is understood."""
        for interface, name in (
            ("127.0.0.1", ("127.0.0.1",)),
            ("::1", ("::1", 0, 0)),
            ("::1%1", ("::1", 0, 0)),
        ):
            host, port, *more = self.opened(interface).getsockname()
            self.assertEqual((host, *more), name)
            self.assertGreater(port, 0)

    def test_again(self) -> None:
        """A port is free again while a connection that was accepted on it goes on."""
        first = self.opened()
        name = first.getsockname()
        with socket.create_connection(name):
            accepted, _ = first.accept()
            self.addCleanup(accepted.close)
            self.assertRaises(OSError, listening, *name, 10)
            first.close()
            self.opened(*name)

    def test_accepted(self) -> None:
        """It accepts as any other does, in either family."""
        for interface, family in (("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)):
            handle = self.opened(interface)
            self.assertRaises(BlockingIOError, accepted, handle)
            with socket.create_connection(handle.getsockname()[:2]) as client:
                found, name = accepted(handle)
                with found:
                    self.assertEqual(name, client.getsockname())
                    self.assertEqual(found.getpeername(), client.getsockname())
                    self.assertEqual((found.family, found.type), (family, socket.SOCK_STREAM))
                    self.assertFalse(found.get_inheritable())

    def test_nameless(self) -> None:
        """Who has no name any more, as macOS says it of some, has gone, and is nobody."""
        near, far = socket.socketpair()
        self.addCleanup(far.close)
        waiting = SimpleNamespace(_accept=lambda: (near.detach(), None))
        error = self.assertRaises(OSError, accepted, cast(socket.socket, waiting))
        self.assertIn(error.errno, module._NOT_OURS)
        self.assertEqual(far.recv(1), b"")

    def test_inherited(self) -> None:
        """What is accepted has the port's options, by the kernel's doing."""
        handle = self.opened()
        watch = ReactorWatch(MemoryReactor())
        self.patch(watch, "addReader", lambda _: None)
        StreamPort(watch, handle, PeerFactory()).startListening()
        with socket.create_connection(handle.getsockname()):
            accepted, _ = handle.accept()
            self.addCleanup(accepted.close)
            for level, option in (
                (socket.IPPROTO_TCP, socket.TCP_NODELAY),
                (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
                (socket.SOL_SOCKET, socket.SO_OOBINLINE),
            ):
                self.assertTrue(accepted.getsockopt(level, option))
