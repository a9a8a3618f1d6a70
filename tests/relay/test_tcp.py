"""The portable relay, in memory: each way in which a direction can flow and end."""

from __future__ import annotations

import socket
from typing import cast

from twisted.internet import unix
from twisted.internet.interfaces import ITCPTransport, IUNIXTransport
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import alsoProvides

from tests.relay.joined import HELD, Joined, JoinedTestCase
from twisted_socks5.relay import Leg
from twisted_socks5.relay.tcp import knowsHalfClose, tune
from twisted_socks5.streams import LayeredTransport, ReactorWatch, Stream
from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory

FLOOD = b"0123456789abcdef" * 100_000


class FlowTests(JoinedTestCase):
    """Octets, both ways."""

    def test_bothWays(self) -> None:
        """What one side sends the other receives, and the counts are exact."""
        joined = self.join()
        joined.relay.start()
        joined.client.write(b"question")
        joined.target.write(b"an answer")
        joined.settle()
        self.assertEqual(joined.target.received, b"question")
        self.assertEqual(joined.client.received, b"an answer")
        self.assertEqual(joined.relay.octets, 17)
        self.assertEqual([joined.relay.client.received, joined.relay.target.received], [8, 9])
        self.assertFalse(joined.relay.halfClosed)
        self.assertRunning(joined)

    def test_early(self) -> None:
        """What comes before the relay starts is passed on first; reading waits meanwhile."""
        joined = self.join(window=10, sendBuffer=10)
        joined.client.write(b"pipelined " * 20)
        joined.target.write(b"220 ready " * 20)
        joined.settle()
        self.assertEqual([leg.received for leg in joined.legs], [10, 10])
        joined.relay.start()
        joined.settle()
        self.assertOctets(joined.target.received, b"pipelined " * 20)
        self.assertOctets(joined.client.received, b"220 ready " * 20)

    def test_largeBothWays(self) -> None:
        """More than any buffer holds, both ways at once, arrives whole."""
        joined = self.join()
        joined.relay.start()
        joined.client.write(FLOOD)
        joined.target.write(FLOOD[::-1])
        joined.settle()
        self.assertOctets(joined.target.received, FLOOD)
        self.assertOctets(joined.client.received, FLOOD[::-1])

    def test_clientDoesNotRead(self) -> None:
        """A client that does not read stops the target, and holds a bounded amount."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.settle()
        self.assertLessEqual(joined.heldForClient(), HELD)
        self.assertGreater(joined.heldForClient(), 0)
        joined.client.write(b"the other way is open")
        joined.settle()
        self.assertEqual(joined.target.received, b"the other way is open")
        joined.client.resume()
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertEqual(joined.heldForClient(), 0)

    def test_targetDoesNotRead(self) -> None:
        """A target that does not read stops the client, and holds a bounded amount."""
        joined = self.join()
        joined.relay.start()
        joined.target.pause()
        joined.client.write(FLOOD)
        joined.settle()
        self.assertLessEqual(joined.heldForTarget(), HELD)
        joined.target.write(b"the other way is open")
        joined.settle()
        self.assertEqual(joined.client.received, b"the other way is open")
        joined.target.resume()
        joined.settle()
        self.assertOctets(joined.target.received, FLOOD)

    def test_boundedInSmallSteps(self) -> None:
        """However slowly the client reads, the amount held stays bounded."""
        joined = self.join(window=20_000, sendBuffer=20_000)
        joined.relay.start()
        joined.target.write(FLOOD)
        most = 0
        while len(joined.client.received) < len(FLOOD):
            joined.client.resume()
            joined.reactor.turn()
            joined.client.pause()
            joined.settle()
            most = max(most, joined.heldForClient())
        self.assertLessEqual(most, HELD)
        self.assertOctets(joined.client.received, FLOOD)


class EndingTests(JoinedTestCase):
    """FINs: each direction ends by itself."""

    def test_clientEndsFirst(self) -> None:
        """A client that has sent its FIN still gets the whole answer."""
        joined = self.join()
        joined.relay.start()
        joined.client.write(b"question")
        joined.client.loseWrite()
        joined.settle()
        self.assertEqual([joined.target.received, joined.target.eof], [b"question", True])
        self.assertFalse(joined.client.eof)
        self.assertTrue(joined.relay.halfClosed)
        self.assertRunning(joined)
        joined.target.write(FLOOD)
        joined.target.loseWrite()
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertTrue(joined.client.wasClosed and joined.target.wasClosed)
        self.assertOver(joined, 8, len(FLOOD), "client closed")

    def test_targetEndsFirst(self) -> None:
        """A target that has sent its FIN still gets the whole upload."""
        joined = self.join()
        joined.relay.start()
        joined.target.write(b"100 continue")
        joined.target.loseWrite()
        joined.settle()
        self.assertEqual([joined.client.received, joined.client.eof], [b"100 continue", True])
        joined.client.write(FLOOD)
        joined.client.loseWrite()
        joined.settle()
        self.assertOctets(joined.target.received, FLOOD)
        self.assertTrue(joined.client.wasClosed and joined.target.wasClosed)
        self.assertOver(joined, len(FLOOD), 12, "target closed")

    def test_bothAtOnce(self) -> None:
        """Both sides may end in the same turn."""
        joined = self.join()
        joined.relay.start()
        joined.client.write(FLOOD)
        joined.target.write(b"bye")
        joined.client.loseWrite()
        joined.target.loseWrite()
        joined.settle()
        self.assertOctets(joined.target.received, FLOOD)
        self.assertEqual(joined.client.received, b"bye")
        self.assertEqual(len(joined.outcomes), 1)
        self.assertNothingLeft(joined)

    def test_endBehindAFullBuffer(self) -> None:
        """A FIN waits until the last octet before it has been passed on."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.target.loseWrite()
        joined.settle()
        self.assertFalse(joined.client.eof)
        joined.client.resume()
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertTrue(joined.client.eof)
        joined.client.lose()
        joined.settle()
        self.assertOver(joined, 0, len(FLOOD), "target closed")

    def test_bothEndedWithOctetsLeft(self) -> None:
        """A side that has ended both ways is closed only when it has everything."""
        joined = self.join()
        joined.relay.start()
        joined.client.loseWrite()
        joined.settle()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.target.loseWrite()
        joined.settle()
        self.assertRunning(joined)
        joined.client.resume()
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertTrue(joined.client.wasClosed)
        self.assertOver(joined, 0, len(FLOOD), "client closed")

    def test_endBeforeTheRelay(self) -> None:
        """A side that ended before the relay started has ended."""
        joined = self.join()
        joined.client.loseWrite()
        joined.settle()
        joined.relay.start()
        joined.settle()
        self.assertTrue(joined.target.eof)
        joined.target.write(b"answer")
        joined.target.loseWrite()
        joined.settle()
        self.assertEqual(joined.client.received, b"answer")
        self.assertOver(joined, 0, 6, "client closed")

    def test_octetsAndEndBeforeTheRelay(self) -> None:
        """Octets and FIN from before the relay started are passed on in order."""
        joined = self.join()
        joined.client.write(b"question")
        joined.client.loseWrite()
        joined.target.write(b"greeting")
        joined.target.loseWrite()
        joined.settle()
        joined.relay.start()
        joined.settle()
        self.assertEqual(
            [joined.target.received, joined.client.received], [b"question", b"greeting"]
        )
        self.assertEqual(len(joined.outcomes), 1)
        self.assertNothingLeft(joined)

    def test_bothEndedBeforeTheRelay(self) -> None:
        """Nothing is left to relay when both have ended."""
        joined = self.join()
        joined.client.loseWrite()
        joined.target.loseWrite()
        joined.settle()
        joined.relay.start()
        joined.settle()
        self.assertTrue(joined.client.wasClosed and joined.target.wasClosed)
        self.assertOver(joined, 0, 0, "target closed")

    def test_targetClosesWhileClientUploads(self) -> None:
        """A target that closes early is heard, though the client is still sending."""
        joined = self.join()
        joined.relay.start()
        joined.target.write(b"413 too large")
        joined.target.lose()
        joined.settle()
        self.assertEqual([joined.client.received, joined.client.eof], [b"413 too large", True])
        for _ in range(3):
            joined.client.write(b"more of the body")
            joined.settle()
        self.assertEqual(len(joined.outcomes), 1)
        self.assertEqual(joined.client.received, b"413 too large")
        self.assertTrue(joined.target.wasClosed)
        self.assertEqual(joined.outcomes[0].reason, "target closed")
        joined.client.abort()
        joined.settle()
        self.assertNothingLeft(joined)


class StreamFlowTests(FlowTests):
    """Octets, both ways, on streams."""

    streams = True


class StreamEndingTests(EndingTests):
    """FINs, on streams."""

    streams = True


class WrappedTests(JoinedTestCase):
    """Legs whose transport knows no half-close end as a whole."""

    def wrapped(self) -> Joined:
        """Join a client whose leg is behind a wrapper."""
        leg = Leg()
        factory = WrappingFactory(PeerFactory())
        joined = self.join(clientLeg=ProtocolWrapper(factory, leg))
        joined.legs = (leg, joined.legs[1])
        joined.relay.client = leg
        joined.relay.start()
        self.assertFalse(knowsHalfClose(leg.transport))
        self.assertTrue(knowsHalfClose(joined.legs[1].transport))
        return joined

    def test_targetEnds(self) -> None:
        """A FIN of the target closes the client, behind everything before it."""
        joined = self.wrapped()
        joined.target.write(FLOOD)
        joined.target.loseWrite()
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertTrue(joined.client.eof)
        joined.client.lose()
        joined.settle()
        self.assertOver(joined, 0, len(FLOOD), "target closed")

    def test_clientEnds(self) -> None:
        """A FIN of the client closes the target, behind everything before it."""
        joined = self.wrapped()
        joined.client.write(FLOOD)
        joined.client.loseWrite()
        joined.settle()
        self.assertOctets(joined.target.received, FLOOD)
        self.assertTrue(joined.target.eof)
        joined.target.lose()
        joined.settle()
        self.assertOver(joined, len(FLOOD), 0, "client closed")

    def test_targetResets(self) -> None:
        """A reset of the target is a reset for the client."""
        joined = self.wrapped()
        joined.target.abort()
        joined.settle()
        self.assertTrue(joined.client.wasReset)
        self.assertOver(joined, 0, 0, "target reset")

    def test_clientResets(self) -> None:
        """A reset of the client is a reset for the target."""
        joined = self.wrapped()
        joined.client.abort()
        joined.settle()
        self.assertTrue(joined.target.wasReset)
        self.assertOver(joined, 0, 0, "client reset")


class TuneTests(SynchronousTestCase):
    """TCP's options."""

    def test_tcp(self) -> None:
        """Small messages go at once, and dead peers are noticed."""
        transport, _ = MemoryReactor().connectPair(Peer(), Peer())
        tune(transport)
        self.assertTrue(transport.getTcpNoDelay() and transport.getTcpKeepAlive())

    def test_stream(self) -> None:
        """A stream is left alone: it is made so."""
        handle, _ = MemoryReactor().socketPair()
        tune(Stream(ReactorWatch(MemoryReactor()), cast(socket.socket, handle), Leg()))
        self.assertEqual(handle.options, {})

    def test_unix(self) -> None:
        """A Unix socket has no such options, nor has what is no transport."""
        self.assertTrue(ITCPTransport.implementedBy(unix.Server))
        self.assertTrue(IUNIXTransport.implementedBy(unix.Server))
        transport, _ = MemoryReactor().connectPair(Peer(), Peer())
        alsoProvides(transport, IUNIXTransport)
        layer = LayeredTransport(Peer())
        layer.makeConnection(transport)
        for each in (transport, layer, object()):
            tune(each)
        self.assertFalse(transport.getTcpNoDelay())

    def test_layer(self) -> None:
        """What a layer stands on has them."""
        transport, _ = MemoryReactor().connectPair(Peer(), Peer())
        layer = LayeredTransport(Peer())
        layer.makeConnection(transport)
        tune(layer)
        self.assertTrue(transport.getTcpNoDelay() and transport.getTcpKeepAlive())
