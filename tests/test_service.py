"""The service: it listens on all its endpoints or on none, and lets its sessions end."""

from __future__ import annotations

import errno
from typing import Any, cast

from twisted.application.service import MultiService
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IAddress, IStreamServerEndpoint
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.server.base import GRANTED, GREETED, GREETING, anybody, request, users
from tests.streams.memory import streamsOn
from twisted_socks5 import service as service_
from twisted_socks5.config import Settings
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.service import SOCKS5Service, describeAddress, isReachable
from twisted_socks5.testing import MemoryReactor, PeerFactory
from twisted_socks5.testing.transports import MemoryPort

HERE = "127.0.0.1"
PROXY = "192.0.2.10"
TARGET = "203.0.113.5"


@implementer(IStreamServerEndpoint)
class Later:
    """An endpoint that listens when it is told to."""

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self.listening: Deferred[Any] = Deferred()

    def listen(self, factory: Any) -> Deferred[Any]:
        """Begin to listen."""
        self._factory = factory
        return self.listening

    def now(self) -> None:
        """Listen."""
        self.listening.callback(self._reactor.listenTCP(1085, self._factory, interface=HERE))


class Wrapped(TCP4ServerEndpoint):
    """An endpoint with something between its port and the sessions."""

    def listen(self, factory: Any) -> Any:
        """Listen."""
        return super().listen(WrappingFactory(factory))


class ServiceCase(SynchronousTestCase):
    """Makes services, and sees that they leave nothing."""

    def setUp(self) -> None:
        """Make a reactor, and a factory."""
        self.reactor = MemoryReactor()
        self.records: list[AccessRecord] = []
        self.factory = SOCKS5ServerFactory(
            self.reactor,
            anybody(),
            settings=Settings(),
            resolver=self.reactor.names,
            accessLog=self.records.append,
        )
        self.said: list[str] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: dict[str, Any]) -> None:
        if event.get("log_namespace") == "twisted_socks5.service.SOCKS5Service":
            self.said.append(event["log_format"].format(**event))

    def endpoint(self, port: int = 1080, host: str = PROXY) -> Any:
        """Make an endpoint."""
        if ":" in host:
            return TCP6ServerEndpoint(self.reactor, port, interface=host)
        return TCP4ServerEndpoint(self.reactor, port, interface=host)

    def service(self, *endpoints: Any, **options: Any) -> SOCKS5Service:
        """Make a service."""
        return SOCKS5Service(self.factory, endpoints or [self.endpoint()], **options)

    def connect(self, port: int = 1080, host: str = PROXY) -> Any:
        """Connect a client; @return: it, or the failure."""
        factory = PeerFactory()
        self.reactor.connectTCP(host, port, factory)
        self.reactor.advance(0)
        return factory.failures[0] if factory.failures else factory.peer

    def listening(self) -> list[str]:
        """Say where anybody listens."""
        return sorted(
            f"{each.local[0]}:{each.local[1]}"
            for each in self.reactor.listeners()
            if each.local is not None
        )

    def assertStopped(self, service: SOCKS5Service) -> None:
        """Stop a service that has no sessions, and assert that nothing is left."""
        stopped = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual((service.running, service.ports), (0, []))
        self.assertEqual(self.reactor.leftOver(), [])


class StartTests(ServiceCase):
    """Starting."""

    def test_listens(self) -> None:
        """It listens on each of its endpoints, says so, and serves there."""
        service = self.service(self.endpoint(), self.endpoint(1081, HERE), self.endpoint(0, "::1"))
        service.startService()
        self.assertTrue(service.running)
        (six,) = [port for port in self.listening() if port.startswith("::1:")]
        self.assertEqual(len(self.listening()), 3)
        self.assertEqual(
            self.said,
            [
                "SOCKS5 proxy on 192.0.2.10:1080, for anybody who can reach it",
                "SOCKS5 proxy on 127.0.0.1:1081, for the programs of this host",
                f"SOCKS5 proxy on [::1]:{six[4:]}, for the programs of this host",
            ],
        )
        self.assertEqual(self.factory.listeningPorts, {1080, 1081, int(six[4:])})
        for port, host in ((1080, PROXY), (1081, HERE)):
            client = self.connect(port, host)
            client.write(GREETING)
            self.reactor.advance(0)
            self.assertEqual(client.received, GREETED)
            client.abort()
        self.reactor.advance(0)
        self.assertStopped(service)

    def test_users(self) -> None:
        """It says who may use it."""
        self.factory.authenticator.portal = users()
        service = self.service()
        service.startService()
        self.assertRegex(self.said[0], r"for users who log in \(.*username")
        self.assertStopped(service)

    def test_privileged(self) -> None:
        """It listens before privileges are given up, once."""
        service = self.service()
        service.privilegedStartService()
        self.assertEqual(self.listening(), ["192.0.2.10:1080"])
        service.startService()
        self.assertEqual(len(service.ports), 1)
        self.assertStopped(service)

    def test_asAChild(self) -> None:
        """It is a service among others."""
        parent = MultiService()
        service = self.service()
        service.setServiceParent(parent)
        parent.privilegedStartService()
        parent.startService()
        self.assertEqual(self.listening(), ["192.0.2.10:1080"])
        stopped = parent.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_again(self) -> None:
        """It can be started again."""
        service = self.service()
        for _ in range(2):
            service.startService()
            self.assertEqual(self.listening(), ["192.0.2.10:1080"])
            self.assertStopped(service)

    def test_fails(self) -> None:
        """If one endpoint can't listen, it raises, and listens nowhere."""
        for start in ("startService", "privilegedStartService"):
            self.reactor.route(HERE, error=errno.EACCES)
            service = self.service(self.endpoint(), self.endpoint(80, HERE), self.endpoint(1082))
            error = self.assertRaises(CannotListenError, getattr(service, start))
            self.assertEqual((error.interface, error.port), (HERE, 80))
            self.reactor.advance(0)
            self.assertEqual((self.listening(), service.ports), ([], []))
        self.assertEqual(self.reactor.leftOver(), [])

    def test_endpointRaises(self) -> None:
        """An endpoint that raises, where it should have failed, does not leave others open."""

        class Broken:
            def listen(self, factory: object) -> Any:
                raise ZeroDivisionError

        service = self.service(self.endpoint(), Broken())
        self.assertRaises(ZeroDivisionError, service.startService)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_mayNotListen(self) -> None:
        """Where it may not listen it doesn't, nor anywhere else."""
        asked: list[IAddress] = []

        def mayListen(address: IAddress) -> None:
            asked.append(address)
            if isinstance(address, IPv4Address) and address.host == PROXY:
                raise ConfigurationError("not there")

        service = self.service(self.endpoint(1081, HERE), self.endpoint(), mayListen=mayListen)
        self.assertRaises(ConfigurationError, service.startService)
        self.reactor.advance(0)
        self.assertEqual(len(asked), 2)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_late(self) -> None:
        """An endpoint may take its time."""
        later = Later(self.reactor)
        service = self.service(self.endpoint(), later)
        service.privilegedStartService()
        service.startService()
        self.assertEqual(len(service.ports), 1)
        later.now()
        self.assertEqual(len(service.ports), 2)
        self.assertEqual(self.listening(), ["127.0.0.1:1085", "192.0.2.10:1080"])
        self.assertStopped(service)

    def test_lateFailure(self) -> None:
        """One that fails late is in the log; the others go on."""
        later = Later(self.reactor)
        service = self.service(self.endpoint(), later)
        service.startService()
        later.listening.errback(CannotListenError(HERE, 1085, OSError(errno.EADDRINUSE, "in use")))
        self.assertEqual(len(self.flushLoggedErrors(CannotListenError)), 1)
        self.assertEqual(len(service.ports), 1)
        self.assertStopped(service)

    def test_stoppedBefore(self) -> None:
        """One that is not listening yet is told to stop as well."""
        later = Later(self.reactor)
        service = self.service(later)
        service.startService()
        self.assertStopped(service)
        self.assertTrue(later.listening.called)


class StopTests(ServiceCase):
    """Stopping: nobody new, and some time for those who are there."""

    def relay(self, **options: Any) -> SOCKS5Service:
        """Start a service, with one client that has been granted its request."""
        service = self.service(**options)
        service.startService()
        self.target = PeerFactory()
        self.targetPort = self.reactor.listenTCP(80, self.target, interface=TARGET)
        self.client = self.connect()
        self.client.write(GREETING + request())
        self.reactor.advance(0)
        self.assertTrue(self.client.received.startswith(GREETED + GRANTED))
        return service

    def assertDrained(self, stopped: Deferred[None]) -> None:
        """Assert that it has stopped, and nothing is left."""
        self.successResultOf(stopped)
        self.targetPort.stopListening()
        self.target.peer.abort()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_drains(self) -> None:
        """A relay may go on for a while; it has stopped when that has ended by itself."""
        service = self.relay(drain=5)
        stopped = service.stopService()
        self.reactor.advance(0)
        self.assertEqual(self.connect().type.__name__, "ConnectionRefusedError")
        self.target.peer.write(b"the last words")
        self.reactor.advance(4)
        self.assertNoResult(stopped)
        self.assertTrue(self.client.received.endswith(b"the last words"))
        self.target.peer.lose()
        self.reactor.advance(0)
        self.client.lose()
        self.reactor.advance(0)
        self.assertDrained(stopped)
        self.assertEqual([record.reason for record in self.records], ["target closed"])
        self.assertIn("Waiting up to 5 s for 1 sessions to end", self.said)

    def test_cutsInTheEnd(self) -> None:
        """What has not ended by then is cut, with a reset."""
        service = self.relay(drain=5)
        stopped = service.stopService()
        self.reactor.advance(4.9)
        self.assertNoResult(stopped)
        self.reactor.advance(0.2)
        self.assertTrue(self.client.wasReset)
        self.assertTrue(self.target.peer.wasReset)
        self.assertDrained(stopped)
        self.assertEqual([record.reason for record in self.records], ["the proxy stops"])

    def test_cut(self) -> None:
        """Who does not want to wait cuts at once."""
        service = self.relay(drain=5)
        stopped = service.stopService()
        self.reactor.advance(1)
        service.cut()
        self.reactor.advance(0)
        self.assertTrue(self.client.wasReset)
        self.assertDrained(stopped)

    def test_noTime(self) -> None:
        """With no time for it, it is cut at once."""
        service = self.relay(drain=0)
        stopped = service.stopService()
        self.reactor.advance(0)
        self.assertTrue(self.client.wasReset)
        self.assertDrained(stopped)

    def test_negotiations(self) -> None:
        """Those that have not requested anything yet need not be waited for."""
        service = self.service()
        service.startService()
        client = self.connect()
        client.write(GREETING)
        self.reactor.advance(0)
        stopped = service.stopService()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertTrue(client.wasReset)
        self.assertEqual([record.reason for record in self.records], ["the proxy stops"])
        self.assertEqual(self.reactor.leftOver(), [])

    def test_twice(self) -> None:
        """It may be stopped twice: both wait for the same end."""
        service = self.relay(drain=5)
        first, second = service.stopService(), service.stopService()
        self.reactor.advance(5)
        self.successResultOf(second)
        self.assertDrained(first)

    def test_neverStarted(self) -> None:
        """It may be stopped without having been started."""
        self.successResultOf(self.service().stopService())


class StreamServiceTests(ServiceCase):
    """Where there are streams, they are what is accepted, if nothing is in between."""

    def setUp(self) -> None:
        """Give the factory streams."""
        super().setUp()
        self.factory.streams, _ = streamsOn(self.reactor, self)

    def assertServes(self, endpoint: Any, transport: str) -> None:
        """Assert that a service serves on this kind of transport, and that it stops."""
        service = self.service(endpoint)
        service.startService()
        client = self.connect()
        client.write(GREETING)
        self.reactor.advance(0)
        self.assertEqual(client.received, GREETED)
        (session,) = self.factory.sessions
        self.assertEqual(type(session.transport).__name__, transport)
        client.abort()
        self.reactor.advance(0)
        self.assertStopped(service)

    def test_taken(self) -> None:
        """Twisted's own ports are taken over, and given up with the service."""
        self.patch(service_, "Port", MemoryPort)
        for _ in range(2):
            self.assertServes(self.endpoint(), "Stream")

    def test_others(self) -> None:
        """Ports of other kinds are served by their reactor."""
        self.assertServes(self.endpoint(), "Server")

    def test_wrapped(self) -> None:
        """So are those with something between them and the sessions."""
        self.patch(service_, "Port", MemoryPort)
        self.assertServes(Wrapped(self.reactor, 1080, interface=PROXY), "ProtocolWrapper")

    def test_failsBeside(self) -> None:
        """A port that was taken over is closed when another one can't listen."""
        self.patch(service_, "Port", MemoryPort)
        self.reactor.route(HERE, error=errno.EACCES)
        service = self.service(self.endpoint(), self.endpoint(80, HERE))
        self.assertRaises(CannotListenError, service.startService)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])


class AddressTests(SynchronousTestCase):
    """What is said of addresses."""

    def test_describe(self) -> None:
        """Addresses for people."""
        for address, shown in (
            (IPv4Address("TCP", "0.0.0.0", 1080), "0.0.0.0:1080"),
            (IPv6Address("TCP", "::1", 1080), "[::1]:1080"),
            (UNIXAddress(b"/run/socks"), "/run/socks"),
        ):
            self.assertEqual(describeAddress(address), shown)
        self.assertIn("UNIXAddress", describeAddress(UNIXAddress(b"")))

    def test_isReachable(self) -> None:
        """Who can reach them."""
        for host, reachable in (
            ("127.0.0.1", False),
            ("127.9.9.9", False),
            ("0.0.0.0", True),
            ("192.0.2.1", True),
        ):
            self.assertIs(isReachable(IPv4Address("TCP", host, 1080)), reachable)
        for host, reachable in (("::1", False), ("::", True), ("2001:db8::1", True)):
            self.assertIs(isReachable(IPv6Address("TCP", host, 1080)), reachable)
        self.assertFalse(isReachable(UNIXAddress(b"/run/socks")))
