"""A SOCKS proxy as the next one, for an application that brings it along by itself."""

from __future__ import annotations

from typing import Any

from twisted.internet.protocol import Factory
from twisted.trial.unittest import SynchronousTestCase

from tests.client.base import Outcome
from tests.server.base import GREETED, refused
from tests.server.forwarding import FAR
from twisted_socks5.client import Proxy
from twisted_socks5.testing import MemoryReactor, PeerFactory
from twisted_socks5.via import NextHop, SOCKSVia
from twisted_socks5.wire import Address


class OwnTests(SynchronousTestCase):
    """What it gives, and to whom."""

    def setUp(self) -> None:
        """Have a proxy that a test speaks for."""
        self.reactor = MemoryReactor()
        self.far = PeerFactory()
        self.port: Any = self.reactor.listenTCP(1080, self.far, interface=FAR)
        hop = NextHop(self.reactor, FAR, 1080)
        self.via = SOCKSVia(Proxy(hop, name="the.proxy:1080"), self.reactor)
        self.addCleanup(self.assertNothingLeft)

    def assertNothingLeft(self) -> None:
        """Everything is closed."""
        self.port.stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def ask(self, factory: Any) -> Outcome:
        """Connect."""
        outcome = Outcome(self.via.connect(Address(b"example.com", 80), factory, 9.0))
        self.reactor.advance(0)
        for said in (GREETED, refused(0)):
            self.far.peer.write(said)
            self.reactor.advance(0)
        return outcome

    def test_named(self) -> None:
        """It is called as its proxy is."""
        self.assertEqual(self.via.name, "socks5://the.proxy:1080")

    def test_given(self) -> None:
        """The protocol, and BND."""
        factory = PeerFactory()
        protocol, bound = self.ask(factory).results[0]
        self.assertIs(protocol, factory.peer)
        self.assertEqual(str(bound), "0.0.0.0:0")
        factory.peer.lose()
        self.far.peer.lose()

    def test_noProtocol(self) -> None:
        """A factory that builds nothing has the connection cut."""
        factory = Factory()
        self.patch(factory, "buildProtocol", lambda address: None)
        (failure,) = self.ask(factory).failures
        self.assertIn("no protocol", str(failure.value))
        self.assertTrue(self.far.peer.wasReset)
