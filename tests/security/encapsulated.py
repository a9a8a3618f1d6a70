"""A relay in memory whose client speaks in a security context's tokens."""

from __future__ import annotations

from typing import Any

from twisted.internet.interfaces import IProtocol

from tests.relay.joined import Joined, JoinedTestCase
from twisted_socks5.fairthreads import FairThreads
from twisted_socks5.security import Encapsulation
from twisted_socks5.streams import BUFFER
from twisted_socks5.testing import MemoryContext, PlainPeer, StreamSocket
from twisted_socks5.testing.security import OVERHEAD
from twisted_socks5.wire import ProtectionLevel
from twisted_socks5.wire.constants import FRAME_HEADER_SIZE

#: What a piece has around it once it is encapsulated.
FRAMING = FRAME_HEADER_SIZE + OVERHEAD

#: What a relay may hold of a direction, if one of its legs is a layer: two buffers as any relay,
#: and in the layer what is being wrapped or unwrapped and what waits for that.
HELD = 5 * BUFFER


class EncapsulatedJoined(Joined):
    """
    A relay whose client leg is encapsulated, and whose client is as well.

    @ivar leg: the client leg's layer.
    @ivar far: the client's own.
    @ivar contexts: the client's, and the leg's.
    """

    leg: Encapsulation
    far: Encapsulation

    def __init__(
        self, *, level: ProtectionLevel = ProtectionLevel.CONFIDENTIALITY, **options: Any
    ) -> None:
        self._level = level
        super().__init__(**options)

    def _connectTransport(self, peer: PlainPeer, leg: IProtocol) -> StreamSocket:
        return self._encapsulate(peer, leg, super()._connectTransport(peer, leg))

    def _connectStream(self, peer: PlainPeer, leg: IProtocol) -> StreamSocket:
        return self._encapsulate(peer, leg, super()._connectStream(peer, leg))

    def _encapsulate(self, peer: PlainPeer, leg: Any, handle: StreamSocket) -> StreamSocket:
        if peer is not self.client:
            return handle
        threads = FairThreads(self.reactor, 2)
        self.contexts = one, other = MemoryContext.pair()
        self.far = Encapsulation(peer.transport, one, self._level, threads, "client")
        self.leg = Encapsulation(leg.transport, other, self._level, threads, "leg")
        for layer, above in ((self.far, peer), (self.leg, leg)):
            layer.protocol = above
            above.transport = layer
        return handle

    def heldForTarget(self) -> int:
        """Count the octets that were read from the client and not yet given to the kernel."""
        return super().heldForTarget() - FRAMING * self.contexts[1].unwrapped

    def heldForClient(self) -> int:
        """Count the octets that were read from the target and not yet given to the kernel."""
        return super().heldForClient() + FRAMING * self.contexts[1].wrapped


class EncapsulatedCase(JoinedTestCase):
    """Makes relays with an encapsulated client leg."""

    level = ProtectionLevel.CONFIDENTIALITY

    def join(self, **options: Any) -> Joined:
        """Make a relay."""
        joined = EncapsulatedJoined(**{"streams": self.streams, "level": self.level, **options})
        self.kernel.network = joined.reactor.network
        return joined
