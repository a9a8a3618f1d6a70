"""A reactor whose network is a proxy's, against our own server."""

from __future__ import annotations

import errno
from typing import Any, cast

from twisted.internet import error
from twisted.internet.address import HostnameAddress, IPv4Address
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import (
    ConnectionDone,
    ConnectionLost,
    DNSLookupError,
    NotConnectingError,
    ServiceNameUnknownError,
    UserError,
)
from twisted.internet.interfaces import (
    IConnector,
    IHalfCloseableProtocol,
    IReactorMulticast,
    IReactorPluggableNameResolver,
    IReactorSSL,
    IReactorTCP,
    IReactorThreads,
    IReactorTime,
    IReactorUDP,
)
from twisted.internet.protocol import ReconnectingClientFactory
from twisted.internet.ssl import CertificateOptions, optionsForClientTLS
from twisted.names import client as names
from twisted.names import dns
from zope.interface.verify import verifyObject

from tests.client.base import Application, Outcome
from tests.client.test_datagram import App
from tests.client.through import TARGET, ThroughCase
from tests.server.associations import Mailbox
from twisted_socks5.client.boundport import NotYetBound
from twisted_socks5.client.connector import _Application
from twisted_socks5.client.errors import ConnectionRefused, InvalidTarget
from twisted_socks5.client.reactor import SOCKS5Reactor
from twisted_socks5.testing import Peer, PeerFactory, PlainPeer


class Client(PeerFactory):
    """
    An application's factory.

    @ivar heard: what it was told, in order.
    """

    def __init__(self, protocol: Any = Peer) -> None:
        super().__init__(protocol)
        self.heard: list[Any] = []
        self.again = 0

    def startFactory(self) -> None:
        """Note it."""
        self.heard.append("start")

    def stopFactory(self) -> None:
        """Note it."""
        self.heard.append("stop")

    def startedConnecting(self, connector: IConnector) -> None:
        """Note it."""
        self.heard.append("connecting")
        self.connector: Any = connector

    def buildProtocol(self, addr: Any) -> PlainPeer:
        """Note it, and build a peer."""
        self.heard.append(addr)
        return super().buildProtocol(addr)

    def clientConnectionFailed(self, connector: IConnector, reason: Any) -> None:
        """Note it; perhaps try again."""
        super().clientConnectionFailed(connector, reason)
        self.heard.append("failed")
        self.retry(connector)

    def clientConnectionLost(self, connector: IConnector, reason: Any) -> None:
        """Note it; perhaps try again."""
        self.heard.append(reason.type)
        self.retry(connector)

    def retry(self, connector: IConnector) -> None:
        """Try again, so many times."""
        if self.again:
            self.again -= 1
            connector.connect()


class ReactorCase(ThroughCase):
    """A reactor and the one that goes through the proxy."""

    def setUp(self) -> None:
        """Serve."""
        super().setUp()
        self.server = self.serve(settings={"resolve": True})
        self.through = SOCKS5Reactor(self.reactor, self.proxy())


class RestTests(ReactorCase):
    """What is the real reactor's."""

    def test_interfaces(self) -> None:
        """It provides what the real one does, and what it does itself."""
        for interface in (IReactorTCP, IReactorSSL, IReactorUDP, IReactorPluggableNameResolver):
            verifyObject(interface, self.through)
        self.assertTrue(IReactorTime.providedBy(self.through))
        self.assertTrue(IReactorThreads.providedBy(self.through))
        self.assertFalse(IReactorMulticast.providedBy(self.through))

    def test_passed_on(self) -> None:
        """Time is the same."""
        seen: list[float] = []
        self.through.callLater(3, lambda: seen.append(self.through.seconds()))
        self.reactor.advance(3)
        self.assertEqual(seen, [self.reactor.seconds()])
        self.assertRaises(AttributeError, getattr, self.through, "nothing")

    def test_multicast(self) -> None:
        """It cannot go through a proxy, and does not go around it."""
        refused = self.assertRaises(OSError, self.through.listenMulticast, 9999, App())
        self.assertEqual(refused.errno, errno.EOPNOTSUPP)


class ConnectTests(ReactorCase):
    """C{connectTCP}."""

    def connect(self, factory: Any, host: str = TARGET, port: Any = 80, **options: Any) -> Any:
        """Connect, and let happen what happens at once."""
        connector = self.through.connectTCP(host, port, factory, **options)
        verifyObject(IConnector, connector)
        self.settle()
        return connector

    def test_connected(self) -> None:
        """A factory hears what it would hear of Twisted's own."""
        target, client = self.target(), Client()
        connector = self.connect(client)
        self.assertEqual(connector.state, "connected")
        peer = client.peer
        self.assertEqual(client.heard, ["start", "connecting", IPv4Address("TCP", TARGET, 80)])
        peer.write(b"hello")
        self.settle()
        self.assertEqual(target.peer.received, b"hello")
        target.peer.write(b"world")
        target.peer.loseWrite()
        self.settle()
        self.assertEqual((peer.received, peer.eof), (b"world", True))
        peer.loseWrite()
        self.settle()
        self.assertEqual(client.heard[3:], [ConnectionDone, "stop"])
        self.assertEqual(peer.events, ["made", "data", "eof", "written", "ConnectionDone"])
        self.assertEqual(connector.state, "disconnected")

    def test_same_as_without(self) -> None:
        """The same story, with the proxy and without."""
        for port, end in ((80, "lose"), (80, "abort"), (81, "")):
            told: list[list[Any]] = []
            for reactor in (self.reactor, self.through):
                client = Client(PlainPeer)
                client.again = 1
                listening = self.reactor.listenTCP(80, target := PeerFactory(), interface=TARGET)
                reactor.connectTCP(TARGET, port, client)
                for _ in range(2):
                    self.settle()
                    for peer in target.peers:
                        if peer.lost is None and end:
                            getattr(peer, end)()
                self.settle()
                listening.stopListening()
                self.settle()
                told.append(
                    [each if isinstance(each, str) else type(each) for each in client.heard]
                )
                self.assertEqual(client.heard[-1], "stop")
            self.assertEqual(*told)

    def test_reset(self) -> None:
        """A reset is one."""
        target, client = self.target(), Client()
        self.connect(client)
        target.peer.abort()
        self.settle()
        self.assertEqual(client.heard[3:], [ConnectionLost, "stop"])

    def test_refused(self) -> None:
        """It fails with Twisted's error for it, never before C{connectTCP} has returned."""
        client = Client()
        self.through.connectTCP(TARGET, 81, client)
        self.assertEqual(client.heard, ["start", "connecting"])
        self.settle()
        self.assertEqual(client.heard, ["start", "connecting", "failed", "stop"])
        self.assertIsInstance(client.failures[0].value, ConnectionRefused)
        self.assertIsInstance(client.failures[0].value, error.ConnectionRefusedError)

    def test_no_host(self) -> None:
        """What is none fails in the same way."""
        client = Client()
        connector = self.connect(client, "two words")
        self.assertEqual(client.heard, ["start", "connecting", "failed", "stop"])
        self.assertIsInstance(client.failures[0].value, InvalidTarget)
        self.assertEqual(connector.getDestination(), IPv4Address("TCP", "two words", 80))

    def test_name(self) -> None:
        """A name goes to the proxy."""
        self.reactor.names.add("www.example", [TARGET])
        self.target()
        client = Client()
        connector = self.connect(client, "www.example")
        self.assertEqual(client.heard[2], HostnameAddress(b"www.example", 80))
        self.assertEqual(connector.getDestination(), HostnameAddress(b"www.example", 80))
        self.assertIn("connected", repr(connector))
        client.peer.abort()
        self.settle()
        self.assertEqual(self.records[-1].target, "www.example:80")

    def test_service(self) -> None:
        """A port may be a service's name."""
        client = Client()
        connector = self.connect(client, port="http")
        self.assertEqual(connector.port, 80)
        self.assertRaises(ServiceNameUnknownError, self.connect, client, port="no such service")

    def test_reconnected(self) -> None:
        """By the connector, from C{clientConnectionFailed} and C{clientConnectionLost}."""
        client = Client()
        client.again = 2
        self.connect(client)
        self.assertEqual(client.heard, ["start", *["connecting", "failed"] * 3, "stop"])
        client.heard.clear()
        client.again = 1
        target = self.target()
        self.connect(client)
        target.peers[0].lose()
        client.peers[0].lose()
        self.settle()
        self.assertEqual(len(target.peers), 2)
        self.assertEqual(
            [each for each in client.heard if isinstance(each, str)],
            ["start", "connecting", "connecting"],
        )
        client.peers[1].abort()

    def test_reconnecting_factory(self) -> None:
        """Twisted's own, which comes back as soon as there is somebody."""

        class Reconnecting(ReconnectingClientFactory):
            """Keeps its protocol."""

            noisy = False
            jitter = 0.0
            protocol = Peer

        factory = Reconnecting()
        factory.clock = cast(Any, self.reactor)
        self.connect(factory)
        target = self.target()
        self.reactor.advance(10)
        self.assertEqual(len(target.peers), 1)
        target.peers[0].abort()
        self.reactor.advance(60)
        self.assertEqual(len(target.peers), 2)
        factory.stopTrying()
        target.peers[1].abort()

    def test_timeout(self) -> None:
        """The time limit is for the whole way, and the connection is gone with it."""
        self.reactor.route(TARGET, silent=True)
        client = Client()
        self.connect(client, timeout=5)
        self.reactor.advance(4.9)
        self.assertEqual(client.heard, ["start", "connecting"])
        self.reactor.advance(0.1)
        self.assertEqual(client.heard, ["start", "connecting", "failed", "stop"])
        self.assertIs(client.failures[0].type, error.TimeoutError)
        self.assertEqual(self.reactor.openConnections(), [])

    def test_stop_connecting(self) -> None:
        """At each step."""
        self.target()
        for steps in range(12):
            client = Client()
            connector: Any = self.through.connectTCP(TARGET, 80, client)
            for _ in range(steps):
                self.reactor.turn()
            if connector.state == "connected":
                break
            connector.stopConnecting()
            self.assertEqual(client.heard, ["start", "connecting", "failed", "stop"])
            self.assertIs(client.failures[0].type, UserError)
            self.assertRaises(NotConnectingError, connector.stopConnecting)
            self.settle()
            self.assertEqual(client.peers, [])
        self.assertGreater(steps, 4)
        connector.disconnect()
        self.settle()
        self.assertEqual(client.heard[-1:], [ConnectionDone] if client.again else ["stop"])

    def test_stopped_while_started(self) -> None:
        """In C{startedConnecting} already."""

        class Impatient(Client):
            """Does not want to."""

            def startedConnecting(self, connector: IConnector) -> None:
                """Stop."""
                super().startedConnecting(connector)
                connector.stopConnecting()

        client = Impatient()
        self.connect(client)
        self.assertEqual(client.heard, ["start", "connecting", "failed", "stop"])
        self.assertEqual(self.records, [])

    def test_disconnect(self) -> None:
        """By the connector, connecting or connected."""
        self.target()
        client = Client(PlainPeer)
        connector = self.through.connectTCP(TARGET, 80, client)
        connector.disconnect()
        self.assertEqual(client.heard, ["start", "connecting", "failed", "stop"])
        client.heard.clear()
        connector.connect()
        self.assertRaises(RuntimeError, connector.connect)
        self.settle()
        connector.disconnect()
        self.settle()
        self.assertEqual(client.heard[3:], [ConnectionDone, "stop"])

    def test_no_protocol(self) -> None:
        """A factory that builds none: its connection is lost as soon as it is there."""

        class Unwilling(Client):
            """Builds none."""

            def buildProtocol(self, addr: Any) -> Any:
                """Build none."""
                return None

        told = []
        self.target()
        for reactor in (self.reactor, self.through):
            client = Unwilling()
            reactor.connectTCP(TARGET, 80, client)
            self.settle()
            told.append(client.heard)
        self.assertEqual(told[0], ["start", "connecting", ConnectionDone, "stop"])
        self.assertEqual(*told)

    def test_building_fails(self) -> None:
        """A factory that raises has failed to connect."""

        class Stumbling(Client):
            """Raises."""

            def buildProtocol(self, addr: Any) -> Any:
                """Stumble."""
                raise ZeroDivisionError

        self.target()
        client = Stumbling()
        self.connect(client)
        self.assertEqual(client.heard, ["start", "connecting", "failed", "stop"])
        self.assertIs(client.failures[0].type, ZeroDivisionError)

    def test_beginning_fails(self) -> None:
        """A protocol that raises loses its connection, and it is logged."""

        class Stumbling(PlainPeer):
            """Raises."""

            def connectionMade(self) -> None:
                """Stumble."""
                super().connectionMade()
                raise ZeroDivisionError

        self.target()
        client = Client(Stumbling)
        self.connect(client)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(client.heard[3:], [error.ConnectionAborted, "stop"])

    def test_end_fails(self) -> None:
        """The factory hears of the end even if the protocol stumbles over it."""

        class Stumbling(PlainPeer):
            """Raises."""

            def connectionLost(self, reason: Any = None) -> None:
                """Stumble."""
                super().connectionLost(reason)
                raise ZeroDivisionError

        target, client = self.target(), Client(Stumbling)
        self.connect(client)
        target.peer.lose()
        self.assertRaises(ZeroDivisionError, self.settle)
        self.assertEqual(client.heard[3:], [ConnectionDone, "stop"])

    def test_half_close(self) -> None:
        """Only a protocol that knows half-close is taken for one."""
        target = self.target()
        for kind in (Peer, PlainPeer):
            client = Client(kind)
            self.connect(client)
            target.peers[-1].loseWrite()
            self.settle()
            half = issubclass(kind, Peer)
            self.assertEqual(client.peer.lost is None, half)
            self.assertEqual(IHalfCloseableProtocol.providedBy(client.peer), half)
            client.peer.abort()
            self.settle()

    def test_passed_on(self) -> None:
        """Whatever a transport tells its protocol, the application's hears."""
        heard: list[Any] = []

        class Listening(PlainPeer):
            """Hears everything."""

            def logPrefix(self) -> str:
                """Tell what to log with."""
                return "listening"

            def handshakeCompleted(self) -> None:
                """Note it."""
                heard.append("handshake")

            def fileDescriptorReceived(self, descriptor: int) -> None:
                """Note it."""
                heard.append(descriptor)

        for kind in (Listening, object):
            application = _Application(cast(Any, None), cast(Any, kind()))
            if kind is Listening:
                application.handshakeCompleted()
                application.fileDescriptorReceived(7)
            self.assertIn(application.logPrefix(), ("listening", "object"))
            self.assertFalse(IHalfCloseableProtocol.providedBy(application))
        self.assertEqual(heard, ["handshake", 7])

    def test_tls(self) -> None:
        """C{connectSSL} goes through the proxy, too, and speaks TLS with the target."""
        target, client = self.target(443), Client()
        self.through.connectSSL(TARGET, 443, client, optionsForClientTLS("www.example"))
        self.settle()
        self.assertEqual(target.peer.received[:1], b"\x16")  # a handshake
        self.assertEqual(client.heard[:2], ["start", "connecting"])
        target.peer.write(b"not TLS")
        self.settle()
        self.assertEqual(client.heard[-1], "stop")
        target.peer.abort()


class ListenTests(ReactorCase):
    """C{listenTCP}."""

    def test_listens(self) -> None:
        """A port at once, its address later, and one connection after the other."""
        announced: list[Any] = []
        through = SOCKS5Reactor(
            self.reactor, self.proxy().endpoint, peerHost=TARGET, announce=announced.append
        )
        application = Application()
        port = through.listenTCP(0, application)
        self.assertRaises(NotYetBound, port.getHost)
        listening = Outcome(port.whenListening())
        self.settle()
        self.assertEqual(listening.result, port.getHost())
        for number in range(3):
            self.comer(port.getHost())
            self.assertEqual(len(application.peers), number + 1)
        self.assertEqual(len(announced), 4)
        port.stopListening()
        for peer in application.peers:
            peer.abort()
        self.settle()
        self.assertEqual((application.heard[0], application.heard[-1]), ("start", "stop"))

    def test_refused(self) -> None:
        """A proxy that refuses is asked again."""
        through = SOCKS5Reactor(self.reactor, self.proxy("192.0.2.12"))
        port = through.listenTCP(0, Application())
        self.reactor.advance(1)
        self.assertRaises(NotYetBound, port.getHost)
        self.serve("192.0.2.12")
        self.reactor.advance(120)
        self.assertEqual(port.getHost(), IPv4Address("TCP", "192.0.2.12", port.getHost().port))
        port.stopListening()

    def test_no_port(self) -> None:
        """What is no port is none."""
        self.assertRaises(InvalidTarget, self.through.listenTCP, 65536, Application())

    def test_tls(self) -> None:
        """C{listenSSL} has the proxy listen, too."""
        application = Application()
        port = self.through.listenSSL(0, application, CertificateOptions())
        self.settle()
        peer = self.comer(port.getHost())
        self.assertEqual(len(application.heard), 2)
        port.stopListening()
        peer.abort()


class UDPTests(ReactorCase):
    """C{listenUDP}."""

    def test_datagrams(self) -> None:
        """A transport at once; what is sent meanwhile waits."""
        box, app = Mailbox(), App()
        self.ports.append(self.reactor.listenUDP(53, box, TARGET))
        association = self.through.listenUDP(0, app, "::", 512)
        app.transport.write(b"question", (TARGET, 53))
        self.settle()
        self.assertEqual(box.taken(), [b"question"])
        box.send(bytes(1000), box.last)
        self.settle()
        self.assertEqual(app.received, [(bytes(512), (TARGET, 53))])
        association.stopListening()
        self.settle()
        self.assertEqual(app.heard, ["start", "stop"])

    def test_refused(self) -> None:
        """A proxy that does not relay: the protocol is stopped."""
        through = SOCKS5Reactor(self.reactor, self.proxy("192.0.2.12"))
        app = App()
        through.listenUDP(0, app)
        app.transport.write(b"question", (TARGET, 53))
        self.settle()
        self.assertEqual(app.heard, ["start", "stop"])

    def test_dns(self) -> None:
        """Twisted's resolver, as it is, with this for its reactor."""
        box = Mailbox()
        self.ports.append(self.reactor.listenUDP(53, box, TARGET))
        resolver = names.Resolver(servers=[(TARGET, 53)], reactor=self.through, timeout=(2,))
        for number in range(2):
            answer = Outcome(resolver.lookupAddress(b"www%d.example" % number))
            self.settle()
            message = dns.Message()
            message.fromStr(box.taken()[0])
            message.answer = 1
            record = dns.Record_A("192.0.2.77")
            message.answers = [dns.RRHeader(message.queries[0].name.name, payload=record)]
            box.send(message.toStr(), box.last)
            self.settle()
            self.assertEqual(answer.result[0][0].payload.dottedQuad(), "192.0.2.77")
        self.settle()
        self.assertEqual({record.command for record in self.records}, {"UDP_ASSOCIATE"})
        late = Outcome(resolver.lookupAddress(b"nobody.example"))
        self.reactor.advance(3)
        self.assertIsNotNone(late.error)
        for call in self.reactor.getDelayedCalls():
            call.cancel()  # the resolver looks at resolv.conf again and again


class NameTests(ReactorCase):
    """How names are looked up."""

    def test_resolver(self) -> None:
        """By the proxy."""
        self.reactor.names.add("www.example", [TARGET])
        target, application = self.target(), Application()
        outcome = Outcome(HostnameEndpoint(self.through, "www.example", 80).connect(application))
        self.settle()
        self.assertIs(outcome.result, application.peer)
        self.assertEqual(len(target.peers), 1)
        application.peer.abort()
        self.settle()
        self.assertEqual([record.command for record in self.records], ["RESOLVE", "CONNECT"])

    def test_resolve(self) -> None:
        """The old way."""
        self.reactor.names.add("www.example", [TARGET])
        self.reactor.names.add("six.example", ["2001:db8::1"])
        for name, expected in (
            ("www.example", TARGET),
            (TARGET, TARGET),
        ):
            outcome = Outcome(self.through.resolve(name))
            self.settle()
            self.assertEqual(outcome.result, expected)
        for name in ("six.example", "nowhere.example", "two words"):
            outcome = Outcome(self.through.resolve(name))
            self.settle()
            self.assertIsInstance(outcome.error, DNSLookupError)

    def test_installed(self) -> None:
        """Another resolver is this reactor's alone."""
        before = self.through.nameResolver
        self.assertIs(self.through.installNameResolver(self.reactor.names), before)
        self.assertIs(self.through.nameResolver, self.reactor.names)
        chosen = SOCKS5Reactor(self.reactor, self.proxy(), resolver=self.reactor.names)
        self.assertIs(chosen.nameResolver, self.reactor.names)
