"""A client in memory, and our own server as its proxy."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP6ClientEndpoint
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.client import Proxy
from twisted_socks5.config import Settings
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory, bind
from twisted_socks5.server.bound import Own
from twisted_socks5.testing import MemoryReactor, PeerFactory, PlainPeer

PROXY = "192.0.2.10"
PROXY6 = "2001:db8::10"
# What the network in memory takes for whoever connects.
CLIENT = "192.0.2.1"
CLIENT6 = "2001:db8::1"
TARGET = "203.0.113.5"
TARGET6 = "2001:db8:5::5"
STRANGER = "198.51.100.66"


class ThroughCase(SynchronousTestCase):
    """
    A network with our server on it, and nothing left of it at the end.

    @ivar reactor: the network and the clock.
    @ivar records: the server's access log.
    """

    def setUp(self) -> None:
        """Make a reactor, whose network also says which addresses of ours lead where."""
        self.reactor = MemoryReactor()
        self.records: list[AccessRecord] = []
        self.ports: list[Any] = []
        self.peers: list[PlainPeer] = []
        self.targets: list[PeerFactory] = []
        self.patch(bind, "ownTowards", self.ownTowards)
        self.addCleanup(self.assertNothingLeft)

    def ownTowards(self, peer: IPAddress, second: int) -> Own:
        """Say what the server would connect from."""
        return Own.parse(str(self.reactor.network.source((peer, 9))[0]))

    def assertNothingLeft(self) -> None:
        """What the test itself has opened is all there is."""
        for peer in (*self.peers, *(peer for each in self.targets for peer in each.peers)):
            if peer.lost is None:
                peer.abort()
        for port in self.ports:
            port.stopListening()
        self.settle()
        self.assertEqual(self.reactor.leftOver(), [])

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def serve(
        self,
        host: str = PROXY,
        portal: Portal | None = None,
        *,
        settings: dict[str, Any] | None = None,
    ) -> SOCKS5ServerFactory:
        """Start a server; anybody may use it, unless there is a portal."""
        server = SOCKS5ServerFactory(
            self.reactor,
            portal or Portal(SOCKS5Realm(), [AllowAnonymousAccess()]),
            settings=Settings(**(settings or {})),
            resolver=self.reactor.names,
            accessLog=self.records.append,
        )
        self.ports.append(self.reactor.listenTCP(1080, server, interface=host))
        return server

    def proxy(self, host: str = PROXY, **options: Any) -> Proxy:
        """Say where the server is."""
        kind = TCP6ClientEndpoint if ":" in host else TCP4ClientEndpoint
        return Proxy(kind(self.reactor, host, 1080), **options)

    def target(self, port: int = 80) -> PeerFactory:
        """Have somebody listen."""
        factory = PeerFactory()
        self.targets.append(factory)
        self.ports.append(self.reactor.listenTCP(port, factory, interface=TARGET))
        return factory

    def comer(self, where: Any, source: str = TARGET) -> PlainPeer:
        """Connect to where somebody listens."""
        factory = PeerFactory()
        self.reactor.connectTCP(where.host, where.port, factory, bindAddress=(source, 20))
        self.settle()
        self.peers.append(factory.peer)
        return factory.peer
