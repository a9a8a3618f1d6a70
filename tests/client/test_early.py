"""
Tests of C{twisted_socks5.client.early}: octets that came too soon, for a protocol that pauses.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.error import ConnectionLost
from twisted.internet.interfaces import IProtocol
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from tests.client.base import (
    GRANTED,
    GREETING,
    REQUEST,
    SELECTED,
    Application,
    ClientCase,
    Outcome,
)
from tests.client.test_succession import Counting, CountingEndpoint, CountingFactory, OldTransport
from twisted_socks5.client import SOCKS5ClientEndpoint
from twisted_socks5.client.succession import Predecessor
from twisted_socks5.testing import Peer, PlainPeer


class Careful(Peer):
    """Pauses as soon as it is made."""

    def connectionMade(self) -> None:
        """Pause."""
        super().connectionMade()
        self.pause()


class Records(ProtocolWrapper):
    """As TLS does it: brings all the records of what was read, whether it is paused or not."""

    def dataReceived(self, data: bytes) -> None:
        """One after the other."""
        for record in data.split(b"|"):
            super().dataReceived(record)


class RecordsFactory(WrappingFactory):
    """Builds these."""

    protocol = Records


class RecordsTests(ClientCase):
    """Behind a wrapper that brings octets in spite of a pause."""

    def way(self) -> CountingEndpoint:
        """Make the endpoint."""
        return CountingEndpoint(self.wayToProxy(), RecordsFactory)

    def paused(self, *octets: bytes, protocol: type[Peer] = Careful) -> Peer:
        """Connect an application that pauses, with these behind the reply."""
        endpoint = SOCKS5ClientEndpoint(self.way(), "example.com", 80, reactor=self.reactor)
        outcome = Outcome(endpoint.connect(Application(protocol)))
        self.settle()
        self.say(SELECTED, GRANTED + b"|".join(octets))
        peer: Peer = outcome.result
        return peer

    def test_order(self) -> None:
        """They come when it resumes, in order, and those after them as ever."""
        peer = self.paused(b"one ", b"two ", b"three ")
        self.assertEqual(peer.events, ["made"])
        peer.resume()
        self.settle()
        self.assertEqual(bytes(peer.received), b"one two three ")
        self.say(b"four")
        self.assertEqual(bytes(peer.received), b"one two three four")
        self.assertNothingHeld(peer)
        peer.abort()
        self.settle()

    def test_notWithinTheCall(self) -> None:
        """It hears nothing before C{resumeProducing} has returned; it may pause again, or go."""
        peer = self.paused(b"one ", b"two")
        peer.resume()
        peer.resume()
        self.assertEqual(peer.events, ["made"])
        peer.pause()
        self.settle()
        self.assertEqual(peer.events, ["made"])
        peer.resume()
        peer.abort()
        peer.resume()
        self.settle()
        self.assertEqual(peer.events, ["made", "ConnectionAborted"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_lostBeforeThat(self) -> None:
        """A connection that is lost in between is lost, and nothing more is told."""
        peer = self.paused(b"one ", b"two")
        peer.resume()
        below: Any = peer.transport
        while hasattr(below, "transport"):
            below = below.transport
        below.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.settle()
        self.assertEqual(peer.events, ["made", "ConnectionLost"])

    def test_failsThen(self) -> None:
        """A protocol that fails on them loses its connection, and the failure is logged."""

        class Broken(Careful):
            def dataReceived(self, data: bytes) -> None:
                raise RuntimeError("no")

        peer = self.paused(b"one ", b"two", protocol=Broken)
        peer.resume()
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(peer.events, ["made", "ConnectionAborted"])

    def test_pausedAgain(self) -> None:
        """What pauses again and again loses nothing."""

        class Slow(Careful):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.pause()

        peer = self.paused(b"one ", b"two ", protocol=Slow)
        self.say(b"three ")
        for _ in range(3):
            peer.resume()
            self.settle()
        self.assertEqual(bytes(peer.received), b"one two three ")
        peer.abort()
        self.settle()

    def test_lost(self) -> None:
        """It hears of the end, and then nothing more."""
        peer = self.paused(b"one ", b"two ")
        self.assertFalse(peer.writeEnded)
        peer.abort()
        self.settle()
        peer.resume()
        self.assertEqual(peer.events, ["made", "ConnectionAborted"])

    def test_halfClosed(self) -> None:
        """It hears of the FIN that it sends meanwhile."""
        peer = self.paused(b"one ", b"two")
        peer.write(b"three")
        peer.loseWrite()
        self.settle()
        self.assertEqual(self.heard(), GREETING + REQUEST + b"three")
        self.tellWritten(peer)
        self.assertEqual(peer.events, ["made", "written"])
        peer.resume()
        self.settle()
        self.assertEqual(bytes(peer.received), b"one two")
        peer.abort()
        self.settle()

    def tellWritten(self, peer: Peer) -> None:
        """Twisted's wrappers keep to themselves that a FIN was sent; another one might not."""
        transport: Any = peer.transport
        transport.wrappedProtocol.writeConnectionLost()

    def assertNothingHeld(self, peer: Peer) -> None:
        """Nobody of ours is left."""
        transport: Any = peer.transport
        self.assertIs(transport.wrappedProtocol, peer)
        self.assertNotIn("pauseProducing", vars(transport))


class CountingRecords(Counting):
    """Somebody's own that does so."""

    def dataReceived(self, data: bytes) -> None:
        """Count, and pass on; what ends in a full stop is the end."""
        for record in data.split(b"|"):
            super().dataReceived(record)
        if data.endswith(b"."):
            self.readConnectionLost()


class CountingRecordsFactory(CountingFactory):
    """Builds these."""

    def buildProtocol(self, addr: Any) -> Counting:
        """Build one."""
        self.built.append(CountingRecords(self.wrapped.buildProtocol(addr)))
        return self.built[-1]


class ForwardedRecordsTests(RecordsTests):
    """The same behind one that isn't Twisted's."""

    def way(self) -> CountingEndpoint:
        """Make the endpoint."""
        return CountingEndpoint(self.wayToProxy(), CountingRecordsFactory)

    def tellWritten(self, peer: Peer) -> None:
        """It passes that on."""

    def assertNothingHeld(self, peer: Peer) -> None:
        """Nobody of ours is left but who passes on."""
        transport: Any = peer.transport
        self.assertNotIn("pauseProducing", vars(transport))

    def test_ended(self) -> None:
        """The FIN waits behind the octets."""
        peer = self.paused(b"one ", b"two.")
        self.assertEqual(peer.events, ["made"])
        peer.resume()
        self.settle()
        self.assertEqual(bytes(peer.received), b"one two.")
        self.assertEqual(peer.events, ["made", "data", "eof"])
        peer.abort()
        self.settle()


class PausingTransport(OldTransport):
    """
    One that can be paused, and nothing else.

    @ivar paused: whether it is.
    """

    paused = False

    def __init__(self, protocol: IProtocol) -> None:
        self.protocol = protocol

    def pauseProducing(self) -> None:
        """Pause."""
        self.paused = True

    def resumeProducing(self) -> None:
        """Resume."""
        self.paused = False


class WithoutClockTests(ClientCase):
    """A connection that is given away by somebody who has no clock."""

    def test_withinTheCall(self) -> None:
        """What came is told when the successor resumes; its FIN is, too."""
        party = Predecessor()
        transport: Any = PausingTransport(party)
        party.makeConnection(transport)
        peer = Careful()
        party.giveWay(peer, b"one", ended=True)
        self.assertTrue(transport.paused)
        transport.protocol.writeConnectionLost()
        self.assertEqual(peer.events, ["made", "written"])
        peer.resume()
        self.assertEqual(peer.events, ["made", "written", "data", "eof"])
        self.assertTrue(transport.paused, "nothing more can come")

    def test_plain(self) -> None:
        """A successor that knows no half-close hears of none, and is closed behind it all."""

        class Plain(PlainPeer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.pause()

        party = Predecessor()
        transport: Any = PausingTransport(party)
        party.makeConnection(transport)
        peer = Plain()
        party.giveWay(peer, b"one", ended=True)
        transport.protocol.writeConnectionLost()
        self.assertEqual(peer.events, ["made"])
        peer.resume()
        self.assertEqual(peer.events, ["made", "data"])
        self.assertTrue(transport.closed)
