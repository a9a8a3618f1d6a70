"""A relay in memory, between two peers that do what a test says."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IProtocol
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.kernel import MemoryKernel
from twisted_socks5.relay import Leg, Outcome, TCPRelay, splice
from twisted_socks5.relay.splice import PIPES
from twisted_socks5.streams import ReactorWatch, Stream
from twisted_socks5.testing import MemoryReactor, MemoryTransport, Peer, PlainPeer, StreamSocket

# What a relay may hold of a direction: a full buffer, and the read that came before it was known.
HELD = 2 * 65_536


class Joined:
    """
    A client, a target, and a relay that joins their legs.

    @ivar client: the client's far side.
    @ivar target: the target's far side.
    @ivar outcomes: what the relay told when it ended.
    @ivar handles: the sockets of the legs, even when their transports have let go of them.
    """

    def __init__(
        self,
        *,
        client: PlainPeer | None = None,
        target: PlainPeer | None = None,
        clientLeg: IProtocol | None = None,
        streams: bool = False,
        **options: Any,
    ) -> None:
        self.reactor = MemoryReactor(**options)
        self.client = client or Peer()
        self.target = target or Peer()
        self.legs = (Leg(), Leg())
        self.outcomes: list[Outcome] = []
        self.relay = TCPRelay(*self.legs, self.outcomes.append)
        connect = self._connectStream if streams else self._connectTransport
        self.handles = (
            connect(self.client, clientLeg or self.legs[0]),
            connect(self.target, self.legs[1]),
        )

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def _connectTransport(self, peer: PlainPeer, leg: IProtocol) -> StreamSocket:
        """Connect a leg on one of Twisted's own transports, and return its socket."""
        return cast(StreamSocket, self.reactor.connectPair(peer, leg)[1].getHandle())

    def _connectStream(self, peer: PlainPeer, leg: IProtocol) -> StreamSocket:
        """Connect a leg on a stream, and return its socket."""
        near, far = self.reactor.socketPair()
        there = IPv4Address("TCP", "192.0.2.2", 1080)
        peer.makeConnection(MemoryTransport(near, peer, self.reactor, there, there))
        stream = Stream(ReactorWatch(self.reactor), cast(socket.socket, far), leg)
        self.reactor.addReader(stream)
        leg.makeConnection(stream)
        return far

    def heldForTarget(self) -> int:
        """Count the octets that were read from the client and not yet given to the kernel."""
        client, target = self.handles
        return client.octetsRead - target.octetsSent

    def heldForClient(self) -> int:
        """Count the octets that were read from the target and not yet given to the kernel."""
        client, target = self.handles
        return target.octetsRead - client.octetsSent


class JoinedTestCase(SynchronousTestCase):
    """
    Makes relays, and asserts how they end.

    @cvar streams: whether the legs are on streams instead of Twisted's own transports.
    @ivar kernel: splices between streams.
    """

    streams = False

    def setUp(self) -> None:
        """Let the kernel in memory do the splicing."""
        self.kernel = MemoryKernel()
        PIPES.close()
        self.patch(splice, "os", self.kernel)
        self.patch(splice, "Pipe", self.kernel.pipe)
        self.patch(PIPES, "usable", True)
        self.addCleanup(PIPES.close)

    def join(self, **options: Any) -> Joined:
        """Make a relay."""
        joined = Joined(**{"streams": self.streams, **options})
        self.kernel.network = joined.reactor.network
        return joined

    def assertOver(self, joined: Joined, sent: int, received: int, reason: str) -> None:
        """Assert that a relay has told its outcome once, and has left nothing."""
        self.assertEqual(joined.outcomes, [Outcome(sent, received, reason)])
        self.assertNothingLeft(joined)

    def assertNothingLeft(self, joined: Joined) -> None:
        """Assert that neither connections nor calls nor pipes are left."""
        self.assertEqual(joined.reactor.leftOver(), [])
        PIPES.close()
        self.assertEqual(self.kernel.pipes, 0)

    def assertRunning(self, joined: Joined) -> None:
        """Assert that a relay has not told any outcome."""
        self.assertEqual(joined.outcomes, [])

    def assertOctets(self, got: bytes | bytearray, wanted: bytes | bytearray) -> None:
        """Assert that octets are the same; of a million of them no difference is printed."""
        self.assertEqual(len(got), len(wanted))
        self.assertTrue(got == wanted, "the octets differ")
