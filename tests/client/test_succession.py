"""
Tests of C{twisted_socks5.client.succession}: what stands between an application and its transport.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHalfCloseableProtocol,
    IProtocol,
    IProtocolFactory,
    IStreamClientEndpoint,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.client.base import (
    GRANTED,
    GREETING,
    REQUEST,
    SELECTED,
    Application,
    ClientCase,
    Outcome,
)
from tests.client.test_gssapi import CONFIDENTIALITY, Acceptor
from twisted_socks5.client import GSSAPI, Proxy, SOCKS5ClientEndpoint
from twisted_socks5.client.succession import LINGER, Predecessor, listens
from twisted_socks5.testing import Peer, PlainPeer
from twisted_socks5.testing.security import MemoryContext
from twisted_socks5.wire import MTYP


@implementer(IHalfCloseableProtocol)
class Counting(Protocol):
    """
    A protocol that somebody's endpoint puts before ours, and that counts octets.

    @ivar count: octets that were received.
    """

    def __init__(self, wrapped: Any) -> None:
        self.wrapped = wrapped
        self.count = 0

    def connectionMade(self) -> None:
        """Give it the transport."""
        self.wrapped.makeConnection(self.transport)

    def dataReceived(self, data: bytes) -> None:
        """Count, and pass on."""
        self.count += len(data)
        self.wrapped.dataReceived(data)

    def readConnectionLost(self) -> None:
        """Pass on."""
        self.wrapped.readConnectionLost()

    def writeConnectionLost(self) -> None:
        """Pass on."""
        self.wrapped.writeConnectionLost()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Pass on."""
        self.wrapped.connectionLost(reason)


class CountingFactory(Factory):
    """
    Builds these.

    @ivar built: them.
    """

    noisy = False

    def __init__(self, wrapped: IProtocolFactory) -> None:
        self.wrapped = wrapped
        self.built: list[Counting] = []

    def buildProtocol(self, addr: Any) -> Counting:
        """Build one."""
        self.built.append(Counting(self.wrapped.buildProtocol(addr)))
        return self.built[-1]


@implementer(IStreamClientEndpoint)
class CountingEndpoint:
    """
    Somebody's endpoint.

    @ivar factory: the one that it has made last.
    """

    def __init__(self, endpoint: IStreamClientEndpoint, kind: Any = CountingFactory) -> None:
        self.endpoint = endpoint
        self.kind = kind

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect."""
        self.factory = self.kind(protocolFactory)
        return self.endpoint.connect(self.factory)


class ForwardingTests(ClientCase):
    """Behind a protocol that isn't ours, and must not be passed by."""

    def way(self) -> CountingEndpoint:
        """Make the endpoint."""
        return CountingEndpoint(self.wayToProxy())

    def through(self, application: Application, behind: bytes = b"") -> tuple[Any, Counting]:
        """Connect an application."""
        way = self.way()
        endpoint = SOCKS5ClientEndpoint(way, "example.com", 80, reactor=self.reactor)
        outcome = Outcome(endpoint.connect(application))
        self.settle()
        self.say(SELECTED, GRANTED + behind)
        return outcome.result, way.factory.built[0]

    def test_octets(self) -> None:
        """All passes it, in both directions, in order; half-close, too."""
        peer, counting = self.through(Application(), b"one ")
        self.say(b"two")
        self.assertEqual(bytes(peer.received), b"one two")
        self.assertEqual(counting.count, len(SELECTED + GRANTED + b"one two"))
        peer.write(b"three")
        peer.loseWrite()
        self.settle()
        self.assertEqual(self.heard(), GREETING + REQUEST + b"three")
        self.assertTrue(peer.writeEnded)
        self.proxy.loseWrite()
        self.settle()
        self.assertEqual(peer.events, ["made", "data", "written", "eof", "ConnectionDone"])

    def test_plain(self) -> None:
        """A FIN is the end for a protocol that knows no half-close."""
        peer, _ = self.through(Application(PlainPeer))
        peer.loseWrite()
        self.settle()
        self.proxy.loseWrite()
        self.settle()
        self.assertEqual(peer.events, ["made", "ConnectionDone"])

    def test_paused(self) -> None:
        """Pausing holds here, too."""

        class Careful(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.pause()

        peer, _ = self.through(Application(Careful), b"one ")
        self.say(b"two")
        self.assertEqual(bytes(peer.received), b"")
        peer.resume()
        self.settle()
        self.assertEqual(bytes(peer.received), b"one two")

    def test_reset(self) -> None:
        """A reset is passed on."""
        peer, _ = self.through(Application())
        self.proxy.abort()
        self.settle()
        self.assertTrue(peer.wasReset)

    def test_protected(self) -> None:
        """GSSAPI's layer is passed what comes, too, and nobody is passed by."""
        self.proxies._build = lambda: Acceptor(MemoryContext("rcmd"))
        gssapi = GSSAPI(context=lambda *_: MemoryContext("alice", initiates=True))
        way = self.way()
        proxy = Proxy(way, [gssapi])
        application = Application()
        endpoint = SOCKS5ClientEndpoint(proxy, "example.com", 80, reactor=self.reactor)
        outcome = Outcome(endpoint.connect(application))
        self.settle()
        self.heard()
        self.say(b"\5\1")
        acceptor: Any = self.proxy
        acceptor.step()
        self.settle()
        acceptor.context.unwrap(acceptor.take(MTYP.PROTECTION_LEVEL))
        acceptor.grant(CONFIDENTIALITY)
        self.settle()
        self.assertEqual(acceptor.data(), REQUEST)
        before = way.factory.built[0].count
        octets = acceptor.protected(GRANTED + b"hello")
        self.say(octets)
        self.assertEqual(way.factory.built[0].count, before + len(octets))
        self.assertEqual(bytes(outcome.result.received), b"hello")


class WrapperTests(ClientCase):
    """Behind one of Twisted's wrappers, which is the transport for whoever is above it."""

    def test_swapped(self) -> None:
        """The application's protocol takes our place in it."""
        way = CountingEndpoint(self.wayToProxy(), WrappingFactory)
        endpoint = SOCKS5ClientEndpoint(way, "example.com", 80, reactor=self.reactor)
        outcome = Outcome(endpoint.connect(Application()))
        self.settle()
        self.say(SELECTED, GRANTED + b"one ")
        self.say(b"two")
        peer = outcome.result
        self.assertIsInstance(peer.transport, ProtocolWrapper)
        self.assertIs(peer.transport.wrappedProtocol, peer)
        self.assertEqual(bytes(peer.received), b"one two")
        self.proxy.abort()
        self.settle()
        self.assertTrue(peer.wasReset)

    def test_paused(self) -> None:
        """Pausing holds here, too, where the wrapper only passes it on."""

        class Careful(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.pause()

        way = CountingEndpoint(self.wayToProxy(), WrappingFactory)
        endpoint = SOCKS5ClientEndpoint(way, "example.com", 80, reactor=self.reactor)
        outcome = Outcome(endpoint.connect(Application(Careful)))
        self.settle()
        self.say(SELECTED, GRANTED + b"one ")
        self.say(b"two")
        peer = outcome.result
        self.assertEqual(peer.events, ["made"])
        peer.resume()
        self.settle()
        self.assertEqual(bytes(peer.received), b"one two")
        self.assertNotIn("pauseProducing", vars(peer.transport))
        peer.abort()
        self.settle()

    def test_listens(self) -> None:
        """Nobody's transport has nobody's protocol."""
        self.assertFalse(listens(object(), Protocol()))


class ReplacedTests(ClientCase):
    """A protocol that puts another one in its place as soon as it is made."""

    def test_octets(self) -> None:
        """Octets that have come already go to whoever is there then."""
        other = Peer()

        class Leaving(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                transport: Any = self.transport
                transport.protocol = other
                other.makeConnection(transport)

        _, peer = self.established(application=Application(Leaving), behind=b"hello")
        self.assertEqual(peer.events, ["made"])
        self.assertEqual(bytes(other.received), b"hello")


class OldTransport:
    """
    A transport that knows nothing but the least.

    @ivar closed: whether it was told to close.
    """

    closed = False

    def loseConnection(self) -> None:
        """Close."""
        self.closed = True

    def write(self, data: bytes) -> None:
        """Drop."""


class PartingTests(ClientCase):
    """Closing in good order, for a while."""

    def test_lingers(self) -> None:
        """A transport that does not close is cut; where that can't be done, told again."""
        clock, transport = Clock(), OldTransport()
        party = Predecessor()
        party.makeConnection(transport)
        party.part(clock)
        party.part(clock)
        self.assertTrue(transport.closed)
        transport.closed = False
        clock.advance(LINGER)
        self.assertTrue(transport.closed)
        party.connectionLost(Failure(RuntimeError()))
        self.assertEqual(clock.getDelayedCalls(), [])

    def test_closes(self) -> None:
        """Nothing is left once it is closed."""
        clock, transport = Clock(), OldTransport()
        party = Predecessor()
        party.makeConnection(transport)
        party.part(clock)
        party.dataReceived(b"nobody listens")
        party.readConnectionLost()
        party.writeConnectionLost()
        party.connectionLost(Failure(RuntimeError()))
        self.assertEqual(clock.getDelayedCalls(), [])
