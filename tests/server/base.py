"""
A proxy in memory, its clients and its targets.

Every test of a session runs twice: on Twisted's own transports and on streams.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from ipaddress import ip_address
from typing import Any, cast

from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.portal import IRealm, Portal
from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.internet.tcp import Port
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.fakes import knows
from tests.streams.memory import MemorySockets, streamsOn
from twisted_socks5.auth import SOCKS5Realm, combine
from twisted_socks5.config import Settings
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory, PlainPeer, StreamSocket

PROXY = "192.0.2.10"
CLIENT = "192.0.2.1"  # what the network in memory takes for whoever connects
TARGET = "203.0.113.5"
TARGET6 = "2001:db8:5::5"

GREETING = b"\5\1\0"
LOGIN = b"\5\1\2"
GREETED = b"\5\0"
LOGIN_SELECTED = b"\5\2"
LOGGED_IN = b"\1\0"
NOT_LOGGED_IN = b"\1\1"
GRANTED = b"\5\0\0\1"


def credentials(name: bytes = b"alice", password: bytes = b"secret") -> bytes:
    """Write username and password (RFC 1929)."""
    return b"\1" + bytes([len(name)]) + name + bytes([len(password)]) + password


def request(host: str | bytes = TARGET, port: int = 80, command: int = 1) -> bytes:
    """Write a request; a host of bytes is a DOMAINNAME."""
    if isinstance(host, bytes):
        kind, octets = 3, bytes([len(host)]) + host
    else:
        address = ip_address(host)
        kind, octets = (1 if address.version == 4 else 4), address.packed
    return bytes([5, command, 0, kind]) + octets + port.to_bytes(2, "big")


def refused(reply: int) -> bytes:
    """Write the reply that refuses a request."""
    return bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0])


def users(*checkers: ICredentialsChecker) -> Portal:
    """Make a portal that knows alice by her password, or whom these checkers know."""
    return Portal(SOCKS5Realm(), combine(checkers or [knows(b"alice", b"secret")]))


def anybody() -> Portal:
    """Make a portal that asks nobody."""
    return Portal(SOCKS5Realm(), combine([AllowAnonymousAccess()]))


def portal(realm: IRealm, *checkers: ICredentialsChecker) -> Portal:
    """Make a portal with a realm of the test's own."""
    return Portal(realm, combine(checkers))


class Proxy:
    """
    A server in memory.

    @ivar reactor: the network and the clock.
    @ivar server: the factory.
    @ivar records: the access log.
    @ivar sockets: what streams make their sockets of.
    """

    def __init__(
        self,
        test: SynchronousTestCase,
        portal: Portal | None = None,
        *,
        streams: bool = False,
        network: dict[str, Any] | None = None,
        settings: dict[str, Any] | None = None,
        interface: str = "",
        **options: Any,
    ) -> None:
        self.reactor = reactor = MemoryReactor(**(network or {}))
        self.records: list[AccessRecord] = []
        values = Settings(**(settings or {}))
        tcp = self.sockets = None
        if streams:
            tcp, self.sockets = streamsOn(reactor, test)
            dialer = HappyEyeballs(cast(IReactorTCP, tcp), reactor, timeout=values.dial_timeout)
            options.setdefault("dialer", dialer)
        self.server = SOCKS5ServerFactory(
            reactor,
            portal or anybody(),
            settings=values,
            **{"resolver": reactor.names, "accessLog": self.records.append, **options},
        )
        port = reactor.listenTCP(1080, self.server, interface=interface)
        self.ports: list[IListeningPort] = [port]
        self.accepting = tcp and tcp.accept(cast(Port, port), self.server)
        self.server.listeningPorts.add(1080)
        self.peers: list[PlainPeer] = []
        self.targets: list[PeerFactory] = []

    sockets: MemorySockets | None

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def connect(self, proxy: str = PROXY, port: int = 1080, peer: PlainPeer | None = None) -> Peer:
        """Connect a client, and give its far side."""
        factory = PeerFactory(lambda: peer or Peer())
        self.reactor.connectTCP(proxy, port, factory)
        self.settle()
        self.peers.append(factory.peer)
        return factory.peer  # type: ignore[return-value]  # a PlainPeer where one was asked for

    def say(self, *segments: bytes, proxy: str = PROXY, peer: PlainPeer | None = None) -> Peer:
        """Connect a client, and send this, segment by segment."""
        client = self.connect(proxy, peer=peer)
        for segment in segments:
            client.write(segment)
            self.settle()
        return client

    def target(
        self, host: str = TARGET, port: int = 80, peer: Callable[[], PlainPeer] = Peer
    ) -> PeerFactory:
        """Have somebody listen."""
        factory = PeerFactory(peer)
        self.targets.append(factory)
        self.ports.append(self.reactor.listenTCP(port, factory, interface=host))
        return factory

    def ends(self, *, port: int = 0, target: str = "") -> list[StreamSocket]:
        """Find the proxy's ends of connections to this port of its own, or to a target."""
        return [
            each
            for each in self.reactor.openConnections()
            if (each.local is not None and each.local[1] == port)
            or (each.remote is not None and str(each.remote[0]) == target)
        ]

    def close(self) -> list[str]:
        """
        End all that the test itself has opened.

        @return: what is left then.
        """
        for peer in [*self.peers, *(peer for each in self.targets for peer in each.peers)]:
            peer.abort()
        if self.accepting:
            self.accepting.stop()
        for port in self.ports:
            port.stopListening()
        self.settle()
        return self.reactor.leftOver()


class ServerCase(SynchronousTestCase):
    """
    Makes a proxy for a test, and sees that nothing is left of it.

    @cvar streams: whether it stands on streams instead of Twisted's own transports.
    """

    streams = False
    proxy: Proxy

    def serve(self, portal: Portal | None = None, **options: Any) -> Proxy:
        """Start a server; whatever it does, it has to leave nothing."""
        self.proxy = proxy = Proxy(self, portal, **{"streams": self.streams, **options})
        self.addCleanup(self.assertNothingLeft, proxy)
        return proxy

    def assertNothingLeft(self, proxy: Proxy) -> None:
        """Each session has ended once, and given its place back; nothing else is there."""
        self.assertEqual(proxy.close(), [])
        self.assertEqual(proxy.server.sessions, set())
        self.assertEqual((len(proxy.server.limits), proxy.server.limits.clients), (0, 0))
        self.assertEqual(len({id(record) for record in proxy.records}), len(proxy.records))

    def record(self) -> AccessRecord:
        """Give the access record of the only session that has ended."""
        (record,) = self.proxy.records
        return record

    def assertRefused(self, client: PlainPeer, answer: bytes, reason: str) -> AccessRecord:
        """
        Assert that a client has heard this, and then the end; and what the access log says.

        @param reason: a regular expression.
        """
        self.assertEqual(bytes(client.received), answer)
        self.assertTrue(client.eof)
        self.assertIsNone(client.lost)
        client.lose()
        self.proxy.settle()
        self.assertTrue(client.wasClosed)
        record = self.proxy.records[-1]
        self.assertRegex(record.reason, reason)
        return record

    def assertGranted(self, client: PlainPeer, before: bytes = GREETED) -> bytes:
        """Assert that a request has succeeded; @return: what came behind the reply."""
        received = bytes(client.received)
        self.assertTrue(received.startswith(before + GRANTED), received)
        return received[len(before) + 10 :]

    def assertOctets(self, got: bytes | bytearray, wanted: bytes | bytearray) -> None:
        """Assert that octets are the same; of many no difference is printed."""
        self.assertEqual(len(got), len(wanted))
        self.assertTrue(got == wanted, "the octets differ")


def octetByOctet(*messages: bytes) -> list[bytes]:
    """Cut messages into segments of one octet."""
    return [bytes([octet]) for octet in b"".join(messages)]


def allAtOnce(*messages: bytes) -> list[bytes]:
    """Put messages into one segment."""
    return [b"".join(messages)]


def oneByOne(*messages: bytes) -> Iterable[bytes]:
    """Leave each message a segment of its own."""
    return messages


CUTS = (oneByOne, octetByOctet, allAtOnce)
