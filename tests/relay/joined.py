"""A relay in memory, between two peers that do what a test says."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.relay import Leg, Outcome, TCPRelay
from twisted_socks5.testing import MemoryReactor, MemoryTransport, Peer, PlainPeer, StreamSocket

# What a relay may hold of a direction: a full buffer, and the read that came before it was known.
HELD = 2 * 65_536


class Joined:
    """
    A client, a target, and a relay that joins their legs.

    @ivar client: the client's far side.
    @ivar target: the target's far side.
    @ivar outcomes: what the relay told when it ended.
    """

    def __init__(
        self,
        *,
        client: PlainPeer | None = None,
        target: PlainPeer | None = None,
        clientLeg: IProtocol | None = None,
        **options: Any,
    ) -> None:
        self.reactor = MemoryReactor(**options)
        self.client = client or Peer()
        self.target = target or Peer()
        self.legs = (Leg(), Leg())
        self.outcomes: list[Outcome] = []
        self.relay = TCPRelay(*self.legs, self.outcomes.append)
        self.transports: tuple[MemoryTransport, MemoryTransport] = (
            self.reactor.connectPair(self.client, clientLeg or self.legs[0])[1],
            self.reactor.connectPair(self.target, self.legs[1])[1],
        )
        self._handles: list[Any] = [each.getHandle() for each in self.transports]

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def handles(self) -> tuple[StreamSocket, StreamSocket]:
        """Tell the relay's own sockets, even when its transports have let go of them."""
        client, target = self._handles
        return client, target

    def heldForTarget(self) -> int:
        """Count the octets that were read from the client and not yet given to the kernel."""
        client, target = self.handles()
        return client.octetsRead - target.octetsSent

    def heldForClient(self) -> int:
        """Count the octets that were read from the target and not yet given to the kernel."""
        client, target = self.handles()
        return target.octetsRead - client.octetsSent


class JoinedTestCase(SynchronousTestCase):
    """Asserts how a relay ends."""

    def assertOver(self, joined: Joined, sent: int, received: int, reason: str) -> None:
        """Assert that a relay has told its outcome once, and has left nothing."""
        self.assertEqual(joined.outcomes, [Outcome(sent, received, reason)])
        self.assertEqual(joined.reactor.leftOver(), [])

    def assertRunning(self, joined: Joined) -> None:
        """Assert that a relay has not told any outcome."""
        self.assertEqual(joined.outcomes, [])
