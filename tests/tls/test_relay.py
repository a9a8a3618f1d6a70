"""
Relays whose client speaks TLS: all that a relay does over TCP, it does over TLS.

The tests are those of the portable relay, with another client: see L{tests.relay}.
"""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.internet.interfaces import IProtocol

from tests.relay import joined as plain
from tests.relay import test_tcp, test_tcp_resets
from tests.tls.authority import clientContext, theProxy
from tests.tls.peers import TLSPeer
from twisted_socks5.testing import PlainPeer, StreamSocket
from twisted_socks5.tls.contexts import Contexts
from twisted_socks5.tls.layer import TLSTransport
from twisted_socks5.tls.pem import Identity


def serverContexts() -> Contexts:
    """Make the contexts of a server that asks nobody."""
    own = theProxy()
    return Contexts([Identity(own.certificate, own.key, (), "proxy.pem")], None, False)


class Joined(plain.Joined):
    """A relay whose client's leg has TLS below it."""

    def _connectTransport(self, peer: PlainPeer, leg: IProtocol) -> StreamSocket:
        return super()._connectTransport(peer, self._below(leg))

    def _connectStream(self, peer: PlainPeer, leg: IProtocol) -> StreamSocket:
        return super()._connectStream(peer, self._below(leg))

    def _below(self, leg: IProtocol) -> Any:
        if leg is self.legs[0]:
            return TLSTransport(serverContexts().connection(), leg)
        return leg


class TLSCase(plain.JoinedTestCase):
    """
    Makes relays with a client that speaks TLS.

    @cvar version: of TLS.
    """

    version = SSL.TLS1_3_VERSION

    def join(self, **options: Any) -> Joined:
        """Make a relay, and let the client shake hands."""
        client = TLSPeer(clientContext(version=self.version))
        joined = Joined(**{"streams": self.streams, "client": client, **options})
        self.kernel.network = joined.reactor.network
        joined.settle()
        self.assertTrue(client.secure)
        return joined


class FlowTests(TLSCase, test_tcp.FlowTests):
    """Octets, both ways, over TLS 1.3."""

    def setUp(self) -> None:
        """What is counted below are TLS's octets, some more than those in them."""
        super().setUp()
        self.patch(test_tcp, "HELD", plain.HELD + 4096)

    def test_clientDoesNotRead(self) -> None:
        """A client that does not read stops the target, and holds a bounded amount."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(test_tcp.FLOOD)
        joined.settle()
        kernel = 2 * 65_536
        self.assertGreaterEqual(joined.relay.target.received, kernel)
        self.assertLess(joined.relay.target.received, kernel + plain.HELD)
        joined.client.write(b"the other way is open")
        joined.settle()
        self.assertEqual(joined.target.received, b"the other way is open")
        joined.client.resume()
        joined.settle()
        self.assertOctets(joined.client.received, test_tcp.FLOOD)

    def test_early(self) -> None:
        """What comes before the relay starts is passed on first; reading waits meanwhile."""
        joined = self.join()
        for _ in range(3):
            joined.client.write(b"pipelined " * 20)
            joined.target.write(b"220 ready " * 20)
            joined.settle()
        self.assertEqual([leg.received for leg in joined.legs], [200, 200])
        joined.relay.start()
        joined.settle()
        self.assertOctets(joined.target.received, b"pipelined " * 60)
        self.assertOctets(joined.client.received, b"220 ready " * 60)


class EndingTests(TLSCase, test_tcp.EndingTests):
    """Each direction ends by itself, with a close_notify, over TLS 1.3."""


class ResetTests(TLSCase, test_tcp_resets.ResetTests):
    """Resets, over TLS 1.3."""

    def test_resetWithOctetsUnflushed(self) -> None:
        """What had been received before the reset is flushed before it is passed on."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(b"x" * 131_000)  # with what TLS adds more than the kernel holds
        joined.settle()
        self.assertEqual(joined.relay.target.received, 131_000)
        joined.target.abort()
        joined.settle()
        self.assertRunning(joined)
        self.assertLess(joined.handles[0].octetsSent, 131_072 + 4096)
        joined.client.resume()
        joined.settle()
        self.assertEqual(len(joined.client.received), 131_000)
        self.assertTrue(joined.client.wasReset)
        self.assertOver(joined, 0, 131_000, "target reset")

    def test_resetWhileFlushing(self) -> None:
        """A side that is being flushed before its reset may reset itself."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(b"x" * 131_000)
        joined.settle()
        joined.target.abort()
        joined.settle()
        self.assertRunning(joined)
        joined.client.abort()
        joined.settle()
        (outcome,) = joined.outcomes
        # A target that is paused is not yet known to have gone.
        self.assertIn(outcome.reason, ("target reset", "client reset"))
        self.assertNothingLeft(joined)


class StreamFlowTests(FlowTests):
    """Octets, both ways, over TLS on streams."""

    streams = True


class StreamEndingTests(EndingTests):
    """Ends, over TLS on streams."""

    streams = True


class StreamResetTests(ResetTests):
    """Resets, over TLS on streams."""

    streams = True


class OldFlowTests(FlowTests):
    """Octets, both ways, over TLS 1.2."""

    version = SSL.TLS1_2_VERSION


class OldEndingTests(EndingTests):
    """Ends, over TLS 1.2."""

    version = SSL.TLS1_2_VERSION


class OldResetTests(StreamResetTests):
    """Resets, over TLS 1.2 on streams."""

    version = SSL.TLS1_2_VERSION
