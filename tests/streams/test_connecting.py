"""Connecting streams: at once, later, not at all, and given up at each stage."""

from __future__ import annotations

import errno
import socket
from typing import Any, cast

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IConnector, IReadWriteDescriptor
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.streams.memory import streamsOn
from twisted_socks5.streams import Stream
from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory, StreamSocket

TARGET = "203.0.113.5"
TARGET6 = "2001:db8:5::5"


class Factory(PeerFactory):
    """
    Builds peers, and notes what else it is told.

    @ivar told: what.
    """

    def __init__(self, *, builds: bool = True, raises: Exception | None = None) -> None:
        super().__init__()
        self.told: list[str] = []
        self._builds = builds
        self._raises = raises

    def doStart(self) -> None:
        """Begin to be used."""
        self.told.append("start")

    def doStop(self) -> None:
        """Be used no more."""
        self.told.append("stop")

    def buildProtocol(self, addr: Any) -> Any:
        """Build a peer, or none, or raise."""
        self.told.append(f"{addr.host}:{addr.port}")
        if self._raises is not None:
            raise self._raises
        return super().buildProtocol(addr) if self._builds else None

    def clientConnectionFailed(self, connector: IConnector, reason: Failure) -> None:
        """Note it."""
        self.told.append(type(reason.value).__name__)
        super().clientConnectionFailed(connector, reason)


class Bug(Exception):
    """What is wrong in a protocol."""


class Broken(Peer):
    """A protocol that fails when it is connected."""

    def connectionMade(self) -> None:
        """Fail."""
        super().connectionMade()
        raise Bug


class ConnectCase(SynchronousTestCase):
    """Connects streams in memory."""

    def setUp(self) -> None:
        """Make a reactor."""
        self.reactor = MemoryReactor()
        self.tcp, self.sockets = streamsOn(self.reactor, self)
        self.target = PeerFactory()
        self.ports = [
            self.reactor.listenTCP(80, self.target, interface=host) for host in (TARGET, TARGET6)
        ]
        self.addCleanup(self.assertNothingLeft)

    def assertNothingLeft(self) -> None:
        """Nothing is left of what was tried."""
        for port in self.ports:
            port.stopListening()
        self.settle()
        self.assertEqual(self.reactor.leftOver(), [])

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def connect(self, host: str = TARGET, factory: Any = None, **options: Any) -> Any:
        """Begin to connect; @return: the connector."""
        self.factory: Any = factory or Factory()
        return self.tcp.connectTCP(host, 80, cast(Any, self.factory), **options)

    def assertConnected(self) -> None:
        """Assert that it is connected, both ways; then close it."""
        peer: Any = self.factory.peer
        self.assertIs(type(peer.transport), Stream)
        self.assertIs(peer.transport.protocol, peer)
        peer.write(b"question")
        self.target.peers[-1].write(b"answer")
        self.settle()
        self.assertEqual(peer.received, b"answer")
        self.assertEqual(self.target.peers[-1].received, b"question")
        self.close()

    def close(self) -> None:
        """Close it from both sides."""
        for peer in (*self.factory.peers, *self.target.peers):
            if peer.lost is None:
                peer.lose()
        self.settle()

    def assertFailed(self, kind: type[Exception], *told: str) -> Any:
        """Assert how it has failed; @return: the exception."""
        self.assertEqual(self.factory.told, ["start", *told, kind.__name__, "stop"])
        (failure,) = self.factory.failures
        self.assertIs(failure.type, kind)
        return failure.value


class ConnectedTests(ConnectCase):
    """Targets that answer."""

    def test_later(self) -> None:
        """The protocol is built when there is a connection, with the target's address."""
        for host, kind in ((TARGET, IPv4Address), (TARGET6, IPv6Address)):
            self.reactor.route(host, delay=1)
            connector = self.connect(host)
            self.assertTrue(verifyObject(IConnector, connector))
            connecting = connector
            self.assertTrue(verifyObject(IReadWriteDescriptor, connecting))
            self.assertEqual(connector.getDestination(), kind("TCP", host, 80))
            self.assertEqual(connecting.logPrefix(), "Stream")
            self.assertIsNone(connecting.doRead())
            self.reactor.advance(0.9)
            self.assertEqual(self.factory.peers, [])
            self.reactor.advance(0.2)
            self.assertEqual(self.factory.told, ["start", f"{host}:80"])
            self.assertConnected()
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_atOnce(self) -> None:
        """A target that is connected within the call is, in the caller's."""
        really = StreamSocket.connect_ex
        for connected in (errno.EISCONN, 0):

            def connect(handle: StreamSocket, address: Any, connected: int = connected) -> int:
                result = really(handle, address)
                self.reactor.network.arrive(self.reactor.seconds())
                return connected if result == errno.EISCONN else result

            self.patch(StreamSocket, "connect_ex", connect)
            self.connect()
            self.assertEqual(len(self.factory.peers), 1)
            self.settle()
            self.assertConnected()

    def test_options(self) -> None:
        """The socket is tuned, and bound where that was asked for."""
        self.connect(bindAddress=("192.0.2.77", 4711))
        self.settle()
        (handle,) = [each for each in self.sockets.made if isinstance(each, StreamSocket)]
        self.assertTrue(handle.options[socket.IPPROTO_TCP, socket.TCP_NODELAY])
        self.assertTrue(handle.options[socket.SOL_SOCKET, socket.SO_KEEPALIVE])
        self.assertEqual(handle.getsockname(), ("192.0.2.77", 4711))
        self.assertConnected()

    def test_noTimeout(self) -> None:
        """There may be no deadline."""
        self.reactor.route(TARGET, delay=1000)
        self.connect(timeout=None)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.advance(1001)
        self.assertConnected()

    def test_noProtocol(self) -> None:
        """A connection that gets no protocol is closed."""
        self.connect(factory=Factory(builds=False))
        self.settle()
        self.assertTrue(self.target.peer.eof)
        self.close()

    def test_factoryRaises(self) -> None:
        """So is one whose factory raises; that is logged by the reactor."""
        self.connect(factory=Factory(raises=ZeroDivisionError()))
        self.settle()
        self.assertTrue(self.target.peer.eof)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.close()

    def test_protocolRaises(self) -> None:
        """A protocol that fails when it is told ends with its connection, and is told so."""
        for delay in (0, 1):
            factory = Factory()
            self.reactor.route(TARGET, delay=delay)
            self.patch(factory, "_build", Broken)
            self.connect(factory=factory)
            self.reactor.advance(delay)
            self.settle()
            self.assertEqual(factory.peer.events, ["made", "Bug"])
            self.assertTrue(self.target.peers[-1].eof)
            self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)
            self.close()

    def test_anothersReadiness(self) -> None:
        """What is reported ready is asked: it may have been a socket that had its number."""
        self.reactor.route(TARGET, delay=1)
        connecting = self.connect()
        connecting.doWrite()
        self.assertEqual(self.factory.peers, [])
        self.reactor.advance(1)
        self.assertConnected()
        connecting.doWrite()

    def test_disconnect(self) -> None:
        """A connector can close what it has connected."""
        connector = self.connect()
        self.settle()
        connector.disconnect()
        self.settle()
        self.assertTrue(self.factory.peer.wasClosed or self.factory.peer.lost)
        self.close()

    def test_once(self) -> None:
        """It connects once."""
        connector = self.connect()
        self.assertRaises(RuntimeError, connector.connect)
        self.settle()
        self.assertRaises(error.NotConnectingError, connector.stopConnecting)
        self.assertConnected()


class FailedTests(ConnectCase):
    """Targets that don't answer, and those that are given up."""

    def test_network(self) -> None:
        """What the network says is told as Twisted tells it."""
        for number, kind in (
            (errno.ECONNREFUSED, error.ConnectionRefusedError),
            (errno.ENETUNREACH, error.NoRouteError),
            (errno.EHOSTUNREACH, error.ConnectError),
        ):
            self.reactor.route(TARGET, error=number, delay=1)
            self.connect()
            self.reactor.advance(1)
            self.assertEqual(self.assertFailed(kind).osError, number)

    def test_atOnce(self) -> None:
        """What fails within the call is told in the next turn."""

        def unreachable(_handle: object, _address: object) -> int:
            return errno.ENETUNREACH

        self.patch(StreamSocket, "connect_ex", unreachable)
        self.connect()
        self.assertEqual(self.factory.told, ["start"])
        self.settle()
        self.assertFailed(error.NoRouteError)

    def test_timeout(self) -> None:
        """A target that is silent is given up in time."""
        self.reactor.route(TARGET, silent=True)
        self.connect(timeout=7)
        self.reactor.advance(6.9)
        self.assertEqual(self.factory.told, ["start"])
        self.reactor.advance(0.2)
        self.assertFailed(error.TimeoutError)

    def test_noDescriptor(self) -> None:
        """Without a descriptor it fails in the next turn."""
        self.sockets.noDescriptor = True
        self.connect()
        self.settle()
        self.assertEqual(self.assertFailed(error.ConnectBindError).osError, errno.EMFILE)

    def test_noBinding(self) -> None:
        """An address that is not ours can't be connected from."""
        self.reactor.route("192.0.2.99", error=errno.EADDRNOTAVAIL)
        self.connect(bindAddress=("192.0.2.99", 0))
        self.settle()
        self.assertEqual(self.assertFailed(error.ConnectBindError).osError, errno.EADDRNOTAVAIL)

    def test_noZone(self) -> None:
        """An address that makes no sense here is an unknown host."""

        def noZone(_handle: object, _address: object) -> int:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

        self.patch(StreamSocket, "connect_ex", noZone)
        self.connect("fe80::1%nowhere")
        self.settle()
        self.assertFailed(error.UnknownHostError)

    def test_stopped(self) -> None:
        """Whoever gives up is told so, at each stage."""
        for give in ("stopConnecting", "disconnect"):
            self.reactor.route(TARGET, silent=True)
            connector = self.connect()
            self.reactor.advance(1)
            getattr(connector, give)()
            self.assertFailed(error.UserError)
            self.assertRaises(error.NotConnectingError, connector.stopConnecting)
            connector.disconnect()
            self.assertEqual(self.reactor.openConnections(), [])

    def test_stoppedBeforeItIsTold(self) -> None:
        """A failure that has not been told yet is not told any more."""
        for noDescriptor in (True, False):
            self.sockets.noDescriptor = noDescriptor
            self.reactor.route("192.0.2.99", error=errno.EADDRNOTAVAIL)
            connector = self.connect(bindAddress=("192.0.2.99", 0))
            connector.stopConnecting()
            self.settle()
            self.assertFailed(error.UserError)

    def test_reactorStops(self) -> None:
        """A reactor that watches nobody any more has connected nobody."""
        self.reactor.route(TARGET, delay=1)
        connecting = self.connect()
        connecting.connectionLost(Failure(error.ConnectError()))
        self.assertFailed(error.ConnectError)
        connecting.connectionLost(Failure(error.ConnectError()))
        self.assertEqual(len(self.factory.failures), 1)

    def test_errorBeforeItIsWritable(self) -> None:
        """A reactor may see an error first."""
        self.reactor.route(TARGET, error=errno.ECONNREFUSED, delay=1)
        connecting = self.connect()
        self.reactor.rightNow += 1
        self.reactor.network.arrive(self.reactor.seconds())
        connecting.connectionLost(Failure(error.ConnectError()))
        self.assertFailed(error.ConnectionRefusedError)
