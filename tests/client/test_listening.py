"""BIND as an endpoint, against our own server."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectingCancelledError, NoProtocol
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.protocols.ftp import FTPDataPortFactory
from zope.interface.verify import verifyObject

from tests.client.base import Application, Outcome
from tests.client.through import CLIENT, PROXY, PROXY6, STRANGER, TARGET, TARGET6, ThroughCase
from twisted_socks5.client.errors import (
    InvalidTarget,
    NegotiationTimeout,
    NotAllowed,
    SOCKSError,
    TTLExpired,
)
from twisted_socks5.client.listening import (
    BoundPort,
    NotYetBound,
    SOCKS5RenewingServerEndpoint,
    SOCKS5ServerEndpoint,
)
from twisted_socks5.config import PortChoice
from twisted_socks5.testing import Peer


class BindCase(ThroughCase):
    """A server, and what listens on it."""

    def setUp(self) -> None:
        """Serve."""
        super().setUp()
        self.server = self.serve()

    def endpoint(self, host: str = TARGET, port: int = 0, **options: Any) -> SOCKS5ServerEndpoint:
        """Make an endpoint."""
        return SOCKS5ServerEndpoint(self.proxy(), host, port, reactor=self.reactor, **options)

    def listen(self, host: str = TARGET, **options: Any) -> tuple[Application, BoundPort]:
        """Listen, and have the first reply."""
        application = Application()
        outcome = Outcome(self.endpoint(host, **options).listen(application))
        self.settle()
        port = outcome.result
        self.addCleanup(port.stopListening)
        return application, port


class OneConnectionTests(BindCase):
    """L{SOCKS5ServerEndpoint}."""

    def test_interfaces(self) -> None:
        """They are what Twisted knows."""
        verifyObject(IStreamServerEndpoint, self.endpoint())
        verifyObject(IListeningPort, self.listen()[1])

    def test_accepted(self) -> None:
        """The peer comes; its protocol is told from where, and has the connection."""
        application, port = self.listen()
        accepted = Outcome(port.whenAccepted())
        self.assertEqual(application.heard, ["start"])
        # The server's own address on the way to the target.
        self.assertEqual(port.getHost(), IPv4Address("TCP", CLIENT, port.getHost().port))
        self.assertTrue(port.connected)
        peer = self.comer(port.getHost())
        self.assertEqual(application.heard, ["start", IPv4Address("TCP", TARGET, 20), "stop"])
        ours = application.peer
        self.assertIs(accepted.result, ours)
        self.assertIs(ours.transport.protocol, ours)  # type: ignore[attr-defined]  # of a TCP transport
        self.assertFalse(port.connected)
        peer.write(b"from the peer")
        ours.write(b"from us")
        self.settle()
        self.assertEqual((ours.received, peer.received), (b"from the peer", b"from us"))
        peer.loseWrite()
        self.settle()
        self.assertTrue(ours.eof)
        ours.loseWrite()
        self.settle()
        self.assertTrue(peer.eof)
        self.assertIn("closed", self.records[-1].reason)

    def test_at_once(self) -> None:
        """What the peer sends at once comes behind C{connectionMade}."""
        application, port = self.listen()
        peer = self.comer(port.getHost())
        peer.write(b"220 hello")
        peer.lose()
        self.settle()
        self.assertEqual(application.peer.events[:3], ["made", "data", "eof"])
        application.peer.lose()

    def test_stranger(self) -> None:
        """Who is not the peer is kept away by the proxy."""
        application, port = self.listen()
        stranger = self.comer(port.getHost(), STRANGER)
        self.assertTrue(stranger.wasReset)
        self.assertEqual((application.peers, port.connected), ([], True))

    def test_anybody(self) -> None:
        """By default anybody may be the peer."""
        application = Application()
        endpoint = SOCKS5ServerEndpoint(self.proxy().endpoint, reactor=self.reactor)
        outcome = Outcome(endpoint.listen(application))
        self.settle()
        self.assertEqual(outcome.result.getHost().host, PROXY)
        self.comer(outcome.result.getHost(), STRANGER)
        self.assertEqual(application.heard[1], IPv4Address("TCP", STRANGER, 20))
        application.peer.lose()

    def test_name(self) -> None:
        """The peer may be named; it is the proxy that looks that up."""
        self.reactor.names.add("ftp.example.com", [TARGET])
        application, port = self.listen("FTP.example.com")
        self.comer(port.getHost())
        self.assertEqual(len(application.peers), 1)
        application.peer.lose()

    def test_ipv6(self) -> None:
        """IPv6 all the way."""
        self.serve(PROXY6)
        application = Application()
        endpoint = SOCKS5ServerEndpoint(self.proxy(PROXY6), TARGET6, reactor=self.reactor)
        outcome = Outcome(endpoint.listen(application))
        self.settle()
        host = outcome.result.getHost()
        self.assertIsInstance(host, IPv6Address)
        self.comer(host, TARGET6)
        self.assertEqual(application.heard[1], IPv6Address("TCP", TARGET6, 20))
        application.peer.lose()

    def test_socks4(self) -> None:
        """SOCKS4 has BIND, too."""
        self.serve("192.0.2.11", settings={"socks4": True})
        application = Application()
        proxy = self.proxy("192.0.2.11", version=4)
        outcome = Outcome(
            SOCKS5ServerEndpoint(proxy, TARGET, reactor=self.reactor).listen(application)
        )
        self.settle()
        self.comer(outcome.result.getHost())
        self.assertEqual(application.heard[1], IPv4Address("TCP", TARGET, 20))
        application.peer.lose()
        self.assertRaises(
            InvalidTarget, SOCKS5ServerEndpoint, proxy, TARGET6, reactor=self.reactor
        )

    def test_words(self) -> None:
        """What a port says of itself."""
        _, port = self.listen()
        where = port.getHost()
        assert isinstance(where, IPv4Address)
        self.assertEqual(repr(port), f"<BoundPort {where.host}:{where.port}, waiting>")
        port.stopListening()
        self.assertEqual(repr(port), f"<BoundPort {where.host}:{where.port}, over>")

    def test_refused(self) -> None:
        """The first reply refuses: C{listen} fails, and no factory is started."""
        application = Application()
        outcome = Outcome(self.endpoint("127.0.0.1").listen(application))
        self.settle()
        self.assertIsInstance(outcome.error, SOCKSError)
        self.assertIsInstance(outcome.error, NotAllowed)
        self.assertEqual(application.heard, [])

    def test_nobody(self) -> None:
        """The second reply is a failure: told to who asks, and in the log; nothing is raised."""
        application, port = self.listen()
        accepted, again = Outcome(port.whenAccepted()), Outcome(port.whenAccepted())
        self.reactor.advance(300)
        self.assertIsInstance(accepted.error, TTLExpired)
        self.assertIs(again.error, accepted.error)
        self.assertIs(Outcome(port.whenAccepted()).error, accepted.error)
        self.assertEqual(application.heard, ["start", "stop"])
        self.assertFalse(port.connected)
        self.assertIsNone(port.stopListening())

    def test_own_deadline(self) -> None:
        """We need not wait as long as the proxy does."""
        application, port = self.listen(acceptTimeout=5.0)
        accepted = Outcome(port.whenAccepted())
        self.reactor.advance(4.9)
        self.assertTrue(accepted.pending)
        self.reactor.advance(0.1)
        self.assertIsInstance(accepted.error, NegotiationTimeout)
        self.assertIn("within 5 s", str(accepted.error))
        self.assertEqual(application.heard, ["start", "stop"])
        self.assertIn("client closed before its peer had come", self.records[-1].reason)

    def test_deadline_kept(self) -> None:
        """A peer that comes in time stays."""
        application, port = self.listen(acceptTimeout=5.0)
        self.comer(port.getHost())
        self.reactor.advance(10)
        self.assertIsNone(application.peer.lost)
        application.peer.lose()

    def test_stopped(self) -> None:
        """C{stopListening} ends it, and says when; the proxy's port is free."""
        application, port = self.listen()
        accepted = Outcome(port.whenAccepted())
        stopped = port.stopListening()
        assert stopped is not None
        outcome = Outcome(stopped)
        self.settle()
        self.assertIsNone(outcome.result)
        self.assertIsInstance(accepted.error, CancelledError)
        self.assertEqual(application.heard, ["start", "stop"])
        self.assertEqual(self.records[-1].reason, "client closed before its peer had come")
        self.assertIsNone(port.stopListening())
        self.assertRaises(NotYetBound, port.startListening)

    def test_stopped_after(self) -> None:
        """A connection that has been accepted is not touched by it."""
        application, port = self.listen()
        peer = self.comer(port.getHost())
        self.assertIsNone(port.stopListening())
        peer.write(b"still here")
        self.settle()
        self.assertEqual(application.peer.received, b"still here")
        self.assertEqual(application.heard[-1], "stop")
        application.peer.lose()

    def test_stopped_while_building(self) -> None:
        """Twisted's own factory for FTP's data closes its port as it builds: that is no loss."""
        factory: Any = FTPDataPortFactory()
        factory.protocol = Peer()
        outcome = Outcome(self.endpoint().listen(factory))
        self.settle()
        factory.port = outcome.result
        self.comer(factory.port.getHost()).write(b"a listing")
        self.settle()
        self.assertEqual(factory.protocol.received, b"a listing")
        factory.protocol.lose()

    def test_start_listening(self) -> None:
        """It listens from the beginning."""
        self.listen()[1].startListening()

    def test_no_protocol(self) -> None:
        """A factory that builds none wants no connection."""
        factory: Any = Factory()
        factory.buildProtocol = lambda addr: None
        outcome = Outcome(self.endpoint().listen(factory))
        self.settle()
        accepted = Outcome(outcome.result.whenAccepted())
        peer = self.comer(outcome.result.getHost())
        self.assertIsInstance(accepted.error, NoProtocol)
        self.assertIsNotNone(peer.lost)

    def test_building_fails(self) -> None:
        """One that raises does not either, and the log says so."""
        factory: Any = Factory()
        factory.protocol = 1
        outcome = Outcome(self.endpoint().listen(factory))
        self.settle()
        accepted = Outcome(outcome.result.whenAccepted())
        peer = self.comer(outcome.result.getHost())
        self.assertIsInstance(accepted.error, TypeError)
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
        self.assertIsNotNone(peer.lost)

    def test_beginning_fails(self) -> None:
        """A protocol that stumbles over its connection loses it, as with Twisted's port."""

        class Stumbling(Protocol):
            """Cannot begin."""

            lost = None

            def connectionMade(self) -> None:
                """Stumble."""
                raise ZeroDivisionError

            def connectionLost(self, reason: Any = None) -> None:
                """Hear of the end."""
                self.lost = reason

        stumbling = Stumbling()
        factory: Any = Factory()
        factory.buildProtocol = lambda addr: stumbling
        outcome = Outcome(self.endpoint().listen(factory))
        self.settle()
        peer = self.comer(outcome.result.getHost())
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertIsNotNone(peer.lost)
        self.assertIsNotNone(stumbling.lost)

    def test_cancelled(self) -> None:
        """While the proxy is asked, C{listen} can be called off, at each step."""
        for steps in range(12):
            application = Application()
            outcome = Outcome(self.endpoint().listen(application))
            for _ in range(steps):
                self.reactor.turn()
            if not outcome.pending:
                outcome.result.stopListening()
                break
            outcome.deferred.cancel()
            self.assertIsInstance(outcome.error, ConnectingCancelledError)
            self.settle()
            self.assertEqual(self.reactor.openConnections(), [])
            self.assertEqual(application.heard, [])
        else:
            self.fail("it never came about")
        self.assertGreater(steps, 3)

    def test_not_accepted(self) -> None:
        """Who no longer waits for the peer does not keep others from waiting."""
        application, port = self.listen()
        first, second = Outcome(port.whenAccepted()), Outcome(port.whenAccepted())
        first.deferred.cancel()
        self.comer(port.getHost())
        self.assertIsInstance(first.error, CancelledError)
        self.assertIs(second.result, application.peer)
        application.peer.lose()

    def test_no_peer(self) -> None:
        """What is no host, or none that could be asked for, is refused before anything is sent."""
        for host in ("", "two words", "a" * 254, "fe80::1%eth0"):
            self.assertRaises(InvalidTarget, self.endpoint, host)
        self.assertRaises(ValueError, self.endpoint, TARGET, 65536)


class RenewedTests(BindCase):
    """L{SOCKS5RenewingServerEndpoint}."""

    def setUp(self) -> None:
        """Keep what is announced."""
        super().setUp()
        self.announced: list[Any] = []

    def renewing(self, **options: Any) -> SOCKS5RenewingServerEndpoint:
        """Make an endpoint."""
        options = {"announce": self.announced.append, "retryPolicy": lambda n: 10.0 * n, **options}
        return SOCKS5RenewingServerEndpoint(self.proxy(), TARGET, reactor=self.reactor, **options)

    def listening(self, **options: Any) -> tuple[Application, Any]:
        """Listen, and have the first reply."""
        application = Application()
        outcome = Outcome(self.renewing(**options).listen(application))
        self.settle()
        self.addCleanup(outcome.result.stopListening)
        return application, outcome.result

    def test_interfaces(self) -> None:
        """They are what Twisted knows."""
        verifyObject(IStreamServerEndpoint, self.renewing())
        verifyObject(IListeningPort, self.listening()[1])

    def test_many(self) -> None:
        """One connection after the other, each on a port of its own, which is announced."""
        application, port = self.listening()
        for number in range(5):
            self.assertEqual(len(self.announced), number + 1)
            self.assertEqual(port.getHost(), self.announced[-1])
            self.comer(port.getHost())
            self.assertEqual(len(application.peers), number + 1)
        self.assertEqual(len({address.port for address in self.announced}), 6)
        self.assertEqual([each for each in application.heard if isinstance(each, str)], ["start"])
        self.assertTrue(port.connected)
        stopped = Outcome(port.stopListening())
        self.settle()
        self.assertIsNone(stopped.result)
        self.assertEqual(application.heard[-1], "stop")
        self.assertEqual([peer.lost for peer in application.peers], [None] * 5)
        for peer in application.peers:
            peer.lose()

    def test_nobody(self) -> None:
        """That nobody has come in time is how it is: at once there is another BIND."""
        _, port = self.listening()
        self.reactor.advance(300)
        self.assertEqual(len(self.announced), 2)
        self.reactor.advance(300)
        self.assertEqual(len(self.announced), 3)
        self.assertTrue(port.connected)

    def test_refused_later(self) -> None:
        """A proxy that refuses is asked again, but less and less often."""
        application, port = self.listening()
        tcp = self.ports[0]
        tcp.stopListening()
        for session in list(self.server.sessions):
            session.transport.abortConnection()
        self.settle()
        self.assertEqual(len(self.announced), 1)
        self.assertIn("not listening", repr(port))
        last = port.getHost()
        self.reactor.advance(35)  # after 10 s, and 20 s more
        self.assertEqual(port.getHost(), last)
        self.ports[0] = self.reactor.listenTCP(1080, self.server, interface=PROXY)
        self.reactor.advance(24.9)
        self.assertEqual(len(self.announced), 1)
        self.reactor.advance(0.1)
        self.assertEqual(len(self.announced), 2)
        self.assertNotIn("not listening", repr(port))
        self.comer(port.getHost())
        application.peer.lose()
        self.assertEqual(len(self.announced), 3)

    def test_refused_first(self) -> None:
        """Where the first BIND is refused, C{listen} fails, and that is all."""
        endpoint = SOCKS5RenewingServerEndpoint(
            self.proxy(), "127.0.0.1", reactor=self.reactor, announce=self.announced.append
        )
        application = Application()
        outcome = Outcome(endpoint.listen(application))
        self.settle()
        self.assertIsInstance(outcome.error, NotAllowed)
        self.assertEqual((application.heard, self.announced), ([], []))

    def test_not_started(self) -> None:
        """A port that is started by hand has no address before the reply is there."""
        application = Application()
        port = self.renewing().port(application)
        self.assertRaises(NotYetBound, port.getHost)
        listening = Outcome(port.whenListening())
        port.startListening()
        port.startListening()
        self.assertEqual(application.heard, ["start"])
        self.assertRaises(NotYetBound, port.getHost)
        self.settle()
        self.assertEqual(listening.result, port.getHost())
        self.assertEqual(Outcome(port.whenListening()).result, port.getHost())
        port.loseConnection()
        self.assertEqual(application.heard, ["start", "stop"])
        self.assertRaises(NotYetBound, port.startListening)
        self.assertIsNone(port.stopListening())

    def test_stopped_early(self) -> None:
        """It can be stopped before it listens, at each step."""
        for steps in range(8):
            application = Application()
            port = self.renewing().port(application)
            port.startListening()
            listening = Outcome(port.whenListening())
            for _ in range(steps):
                self.reactor.turn()
            if not listening.pending:
                break
            port.stopListening()
            self.assertIsInstance(listening.error, CancelledError)
            self.settle()
            self.assertEqual(self.reactor.openConnections(), [])
            self.assertEqual(application.heard, ["start", "stop"])
        self.assertGreater(steps, 3)
        port.stopListening()

    def test_stopped_between(self) -> None:
        """It can be stopped while it waits to ask again."""
        _, port = self.listening()
        for session in list(self.server.sessions):
            session.transport.abortConnection()
        self.settle()
        self.assertIn("not listening", repr(port))
        self.assertIsNone(port.stopListening())
        self.reactor.advance(1000)
        self.assertEqual(len(self.announced), 1)

    def test_stopped_while_building(self) -> None:
        """A factory that closes its port as it builds gets its connection, and that is the end."""
        factory: Any = FTPDataPortFactory()
        factory.protocol = Peer()
        factory.port = self.renewing().port(factory)
        factory.port.startListening()
        self.settle()
        self.comer(factory.port.getHost()).write(b"a listing")
        self.settle()
        self.assertEqual(factory.protocol.received, b"a listing")
        self.assertEqual(len(self.announced), 1)
        factory.protocol.lose()

    def test_stopped_while_announcing(self) -> None:
        """Who announces may have had enough."""
        port: Any = None

        def announce(address: Any) -> None:
            self.announced.append(address)
            port.stopListening()

        application = Application()
        port = self.renewing(announce=announce).port(application)
        port.startListening()
        self.settle()
        self.assertEqual(application.heard, ["start", "stop"])
        self.assertEqual(self.reactor.openConnections(), [])

    def test_announcing_fails(self) -> None:
        """An announcement that fails is logged, and it listens all the same."""
        application, port = self.listening(announce=lambda address: address.nothing)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        self.comer(port.getHost())
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)
        application.peer.lose()

    def test_turned_away(self) -> None:
        """A factory that wants no connection this time may want the next one."""
        wanted = [None, Peer()]
        factory: Any = Factory()
        factory.buildProtocol = lambda addr: wanted.pop(0)
        outcome = Outcome(self.renewing().listen(factory))
        self.settle()
        port = outcome.result
        self.assertIsNotNone(self.comer(port.getHost()).lost)
        self.settle()
        self.assertEqual(len(self.announced), 2)
        peer = self.comer(port.getHost())
        self.assertIsNone(peer.lost)
        port.stopListening()
        peer.abort()

    def test_own_port(self) -> None:
        """Where the proxy lets its clients choose the port, it stays the same."""
        self.serve("192.0.2.11", settings={"bind_port_choice": PortChoice.CLIENT})
        application = Application()
        endpoint = SOCKS5RenewingServerEndpoint(
            self.proxy("192.0.2.11"),
            TARGET,
            8080,
            reactor=self.reactor,
            announce=self.announced.append,
        )
        outcome = Outcome(endpoint.listen(application))
        self.settle()
        for _ in range(3):
            self.assertEqual(outcome.result.getHost().port, 8080)
            self.comer(outcome.result.getHost())
        self.assertEqual(len(application.peers), 3)
        outcome.result.stopListening()
        for peer in application.peers:
            peer.lose()
