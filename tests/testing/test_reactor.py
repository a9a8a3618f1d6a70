"""What a test says to a L{MemoryReactor}, and asks it."""

from __future__ import annotations

import errno
import random
from typing import Any

from twisted.internet import error
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.endpoints import HostnameEndpoint, TCP4ClientEndpoint, serverFromString
from twisted.internet.error import (
    CannotListenError,
    ConnectBindError,
    ConnectError,
    DNSLookupError,
    NoRouteError,
    TCPTimedOutError,
    UserError,
)
from twisted.internet.interfaces import (
    IReactorFDSet,
    IReactorPluggableNameResolver,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
    ITCPTransport,
)
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory

TARGET = "203.0.113.5"


class ReactorTests(SynchronousTestCase):
    """Connecting, listening and what is left."""

    def setUp(self) -> None:
        """Make a reactor with a target."""
        self.reactor = MemoryReactor()
        self.targets = PeerFactory()
        self.port: Any = self.reactor.listenTCP(80, self.targets, interface=TARGET)
        self.clients = PeerFactory()

    def test_interfaces(self) -> None:
        """It provides what it says, and none of its descriptors is for system calls."""
        for interface in (
            IReactorTCP,
            IReactorUDP,
            IReactorTime,
            IReactorThreads,
            IReactorPluggableNameResolver,
        ):
            verifyObject(interface, self.reactor)
        self.assertFalse(IReactorFDSet.providedBy(self.reactor))

    def test_connect(self) -> None:
        """Connecting takes a turn, and both sides learn who the other is."""
        connector: Any = self.reactor.connectTCP(TARGET, 80, self.clients)
        self.assertEqual(self.clients.peers, [])
        self.reactor.advance(0)
        near, far = self.clients.peer.transport, self.targets.peer.transport
        verifyObject(ITCPTransport, near)
        self.assertEqual(near.getPeer(), IPv4Address("TCP", TARGET, 80))
        self.assertEqual(near.getHost().host, "192.0.2.1")
        self.assertEqual(far.getPeer(), near.getHost())
        self.assertEqual(connector.getDestination(), IPv4Address("TCP", TARGET, 80))
        self.assertEqual(len(self.reactor.openConnections()), 2)
        connector.disconnect()
        self.reactor.advance(0)
        self.targets.peer.lose()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.openConnections(), [])

    def test_connectIPv6(self) -> None:
        """IPv6 has its own addresses."""
        self.reactor.listenTCP(80, self.targets, interface="2001:db8::5")
        self.reactor.connectTCP("2001:db8::5", 80, self.clients)
        self.reactor.advance(0)
        near = self.clients.peer.transport
        self.assertEqual(near.getPeer(), IPv6Address("TCP", "2001:db8::5", 80))
        self.assertEqual(near.getHost().host, "2001:db8::1")
        self.assertEqual(self.targets.peer.transport.getPeer(), near.getHost())

    def test_loopback(self) -> None:
        """A connection to loopback comes from loopback."""
        for host, own in (("127.0.0.1", "127.0.0.1"), ("::1", "::1")):
            factory, clients = PeerFactory(), PeerFactory()
            self.reactor.listenTCP(81, factory, interface=host)
            self.reactor.connectTCP(host, 81, clients)
            self.reactor.advance(0)
            self.assertEqual(factory.peer.transport.getPeer().host, own)

    def test_wildcard(self) -> None:
        """A listener on all addresses is found at any, unless another listens right there."""
        everywhere = PeerFactory()
        self.reactor.listenTCP(80, everywhere)
        for host in (TARGET, "198.51.100.1"):
            self.reactor.connectTCP(host, 80, self.clients)
        self.reactor.advance(0)
        self.assertEqual(self.targets.peer.transport.getHost().host, TARGET)
        self.assertEqual(everywhere.peer.transport.getHost().host, "198.51.100.1")

    def test_wildcardOfOneFamily(self) -> None:
        """A listener on all of IPv4 is not found by IPv6."""
        self.reactor.listenTCP(1080, self.targets)
        self.reactor.connectTCP("2001:db8::1", 1080, self.clients)
        self.reactor.advance(0)
        self.assertEqual(len(self.clients.failures), 1)

    def test_bindAddress(self) -> None:
        """A client may come from any address and port."""
        self.reactor.connectTCP(TARGET, 80, self.clients, bindAddress=("198.51.100.7", 4000))
        self.reactor.advance(0)
        self.assertEqual(
            self.targets.peer.transport.getPeer(), IPv4Address("TCP", "198.51.100.7", 4000)
        )

    def test_listenInUse(self) -> None:
        """An address is listened on once, a wildcard once for both families."""
        with self.assertRaises(CannotListenError):
            self.reactor.listenTCP(80, PeerFactory(), interface=TARGET)
        self.reactor.listenTCP(1080, PeerFactory(), interface="::")
        with self.assertRaises(CannotListenError):
            self.reactor.listenTCP(1080, PeerFactory())
        self.turnAndTake(self.port.stopListening())
        self.reactor.listenTCP(80, PeerFactory(), interface=TARGET)
        self.assertEqual(len(self.reactor.listeners()), 2)

    def turnAndTake(self, waiting: Any) -> None:
        """Let a turn pass and take the result."""
        self.reactor.advance(0)
        self.successResultOf(waiting)

    def test_listenAnyPort(self) -> None:
        """Port 0 is another port each time."""
        ports: list[Any] = [self.reactor.listenTCP(0, PeerFactory()) for _ in range(3)]
        self.assertEqual(len({port.getHost().port for port in ports} - {0}), 3)

    def test_notListening(self) -> None:
        """A port that has stopped refuses."""
        self.port.stopListening()
        self.reactor.advance(0)
        self.reactor.connectTCP(TARGET, 80, self.clients)
        self.reactor.advance(0)
        reason: Any = self.clients.failures[0].value
        self.assertEqual(reason.osError, errno.ECONNREFUSED)

    def failWith(self, number: int, **options: Any) -> Any:
        """Connect to where it fails, and return how."""
        self.reactor.route(TARGET, 80, error=number, **options)
        self.reactor.connectTCP(TARGET, 80, self.clients)
        self.assertEqual(self.clients.failures, [])
        self.reactor.advance(options.get("delay", 0))
        return self.clients.failures.pop().value

    def test_errors(self) -> None:
        """Failures arrive as Twisted makes them of an errno."""
        for number, kind in (
            (errno.ENETUNREACH, NoRouteError),
            (errno.ETIMEDOUT, TCPTimedOutError),
            (errno.EHOSTUNREACH, ConnectError),
            (errno.EACCES, ConnectError),
            (errno.EMFILE, ConnectBindError),
            (errno.ENOBUFS, ConnectBindError),
        ):
            reason = self.failWith(number)
            self.assertEqual([type(reason), reason.osError], [kind, number])
        self.assertEqual(self.reactor.openConnections(), [])

    def test_errorAfterDelay(self) -> None:
        """A failure may take its time."""
        self.assertEqual(self.failWith(errno.EHOSTUNREACH, delay=3.0).osError, errno.EHOSTUNREACH)
        self.assertEqual(self.reactor.seconds(), 3.0)

    def test_cannotBind(self) -> None:
        """An address that is not available can neither be dialled from nor listened on."""
        self.reactor.route("198.51.100.7", error=errno.EADDRNOTAVAIL)
        self.reactor.connectTCP(TARGET, 80, self.clients, bindAddress=("198.51.100.7", 0))
        self.reactor.advance(0)
        self.assertEqual(self.clients.failures[0].type, ConnectBindError)
        with self.assertRaises(CannotListenError):
            self.reactor.listenTCP(80, PeerFactory(), interface="198.51.100.7")
        self.assertEqual(len(self.reactor.leftOver()), 1)

    def test_silence(self) -> None:
        """Where nothing answers, connecting times out when its caller says so."""
        self.reactor.route(TARGET, silent=True)
        self.reactor.connectTCP(TARGET, 80, self.clients, timeout=7)
        self.reactor.advance(6.9)
        self.assertEqual(self.clients.failures, [])
        self.reactor.advance(0.2)
        self.assertEqual(self.clients.failures[0].type, error.TimeoutError)
        self.assertEqual(self.reactor.openConnections(), [])

    def test_stopConnecting(self) -> None:
        """An attempt can be given up; what then arrives is for nobody."""
        self.reactor.route(TARGET, delay=1.0)
        for give in ("stopConnecting", "disconnect"):
            connector = self.reactor.connectTCP(TARGET, 80, self.clients)
            self.reactor.advance(0.5)
            getattr(connector, give)()
            self.assertEqual(self.clients.failures.pop().type, UserError)
            self.reactor.advance(1)
        self.assertEqual(self.targets.peers, [])
        self.assertEqual(self.reactor.leftOver(), ["<listener 203.0.113.5:80>"])

    def test_delay(self) -> None:
        """A connection may take its time, and is not one of the program's delayed calls."""
        self.reactor.route(TARGET, delay=1.5)
        self.reactor.route(TARGET, 81, delay=0.5)
        self.reactor.connectTCP(TARGET, 80, self.clients)
        self.reactor.advance(1.4)
        self.assertEqual(self.clients.peers, [])
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)  # its timeout
        self.reactor.advance(0.2)
        self.assertEqual(self.clients.peer.events, ["made"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_endpoints(self) -> None:
        """Endpoints find what they need, names included."""
        self.reactor.names.add("example.com", [TARGET])
        serverFromString(self.reactor, "tcp:1080").listen(self.targets)
        for endpoint in (
            HostnameEndpoint(self.reactor, "example.com", 80),
            TCP4ClientEndpoint(self.reactor, "example.com", 1080),
        ):
            waiting = endpoint.connect(self.clients)
            self.reactor.advance(0)
            peer: Any = self.successResultOf(waiting)
            peer.lose()
            self.reactor.advance(0)
        self.assertEqual(len(self.targets.peers), 2)

    def test_resolve(self) -> None:
        """A name has one IPv4 address, or is an error."""
        self.reactor.names.add("example.com", ["2001:db8::5", TARGET, "203.0.113.6"])
        known, unknown = self.reactor.resolve("example.com"), self.reactor.resolve("nowhere")
        self.reactor.advance(0)
        self.assertEqual(self.successResultOf(known), TARGET)
        self.failureResultOf(unknown, DNSLookupError)

    def test_installNameResolver(self) -> None:
        """Another resolver can take its place."""
        other = MemoryReactor().names
        self.assertIs(self.reactor.installNameResolver(other), self.reactor.names)
        self.assertIs(self.reactor.nameResolver, other)

    def test_options(self) -> None:
        """TCP's options are kept."""
        self.reactor.connectTCP(TARGET, 80, self.clients)
        self.reactor.advance(0)
        transport = self.clients.peer.transport
        self.assertFalse(transport.getTcpNoDelay() or transport.getTcpKeepAlive())
        transport.setTcpNoDelay(True)
        transport.setTcpKeepAlive(True)
        self.assertTrue(transport.getTcpNoDelay() and transport.getTcpKeepAlive())

    def test_pair(self) -> None:
        """Two protocols can be connected at once, with any addresses."""
        one, two = Peer(), Peer()
        first, second = self.reactor.connectPair(one, two)
        self.assertEqual(first.getPeer(), IPv4Address("TCP", "192.0.2.2", 1080))
        self.assertEqual(first.getHost(), second.getPeer())
        one.write(b"hello")
        one.loseWrite()
        self.reactor.advance(0)
        self.assertEqual([two.received, two.eof], [b"hello", True])
        two.lose()
        self.reactor.advance(0)
        self.assertEqual(one.events[-1], "ConnectionDone")

    def test_pairOfOtherFamilies(self) -> None:
        """A pair may be one of a Unix socket's, or IPv6's."""
        unix, six = UNIXAddress("/run/socks"), IPv6Address("TCP", "2001:db8::1", 9)
        first, second = self.reactor.connectPair(Peer(), Peer(), six, unix)
        self.assertEqual([first.getHost(), first.getPeer()], [six, unix])
        self.assertEqual([second.getHost(), second.getPeer()], [unix, six])
        self.assertEqual(
            self.reactor.leftOver()[1:],
            [
                "<connection 2001:db8::1:9 -> /run/socks:0>",
                "<connection /run/socks:0 -> 2001:db8::1:9>",
            ],
        )

    def test_leftOver(self) -> None:
        """What is left is told in words."""
        self.reactor.callLater(5, print)
        self.reactor.listenUDP(53, DatagramProtocol(), interface="192.0.2.53")
        left = self.reactor.leftOver()
        self.assertEqual(left[:2], ["<listener 203.0.113.5:80>", "<datagrams 192.0.2.53:53>"])
        self.assertIn("print", left[2])
        self.assertEqual(len(self.reactor.listeners()), 2)

    def test_window(self) -> None:
        """What a connection holds for a reader that does not read is bounded."""
        reactor = MemoryReactor(window=1000, sendBuffer=500)
        one, two = Peer(), Peer()
        first, _ = reactor.connectPair(one, two)
        two.pause()
        one.write(b"x" * 5000)
        reactor.advance(0)
        handle: Any = first.getHandle()
        self.assertEqual(handle.octetsSent, 1500)
        two.resume()
        reactor.advance(0)
        self.assertEqual(handle.octetsSent, 5000)
        self.assertEqual(handle.peer.octetsRead, 5000)
        self.assertEqual(len(two.received), 5000)

    def test_resetDropsUnread(self) -> None:
        """A network may lose with a reset what had arrived."""
        self.reactor.network.resetDropsUnread = True
        one, two = Peer(), Peer()
        self.reactor.connectPair(one, two)
        two.pause()
        one.write(b"lost")
        self.reactor.advance(0)
        one.abort()
        self.reactor.advance(0)
        two.resume()
        self.reactor.advance(0)
        self.assertEqual(two.events, ["made", "ConnectionLost"])

    def test_shuffle(self) -> None:
        """The order in which descriptors are served can be another one."""
        orders = set()
        for seed in range(10):
            reactor = MemoryReactor(shuffle=random.Random(seed).shuffle)
            order: list[int] = []

            class Noting(Peer):
                number = 0

                def dataReceived(self, data: bytes, order: list[int] = order) -> None:
                    order.append(self.number)

            for number in range(3):
                sender, receiver = Peer(), Noting()
                receiver.number = number
                reactor.connectPair(sender, receiver)
                sender.write(b"x")
            reactor.advance(0)
            orders.add(tuple(order))
        self.assertGreater(len(orders), 1)
