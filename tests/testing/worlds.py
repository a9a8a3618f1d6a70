"""
Two worlds for one scenario: in memory, and over loopback sockets with the real reactor.

What the peers are to see stands in the scenario, so both worlds are held to the same words.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase

from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory, PlainPeer

LOOPBACK = "127.0.0.1"

# More than the windows of both ends, and Twisted's buffer, could ever hold.
FLOOD = 40_000_000

# More than a reader's window, less than a sender's buffer.
KERNEL_LOAD = 400_000

W = TypeVar("W", bound="World")


def played(scenario: Callable[[W], Coroutine[Deferred[Any], Any, None]]) -> Callable[[W], Any]:
    """Make a test of a scenario: it is played in the world of the test case it belongs to."""

    def test(self: W) -> Any:
        return self.play(scenario(self))

    test.__doc__ = scenario.__doc__
    return test


class World:
    """What a scenario finds; a subclass says where, by way of C{reactor} and C{play}."""

    reactor: Any
    play: Callable[[Coroutine[Deferred[Any], Any, None]], Any]
    # Of the test case that it becomes a part of.
    assertEqual: Any
    assertLess: Any
    assertGreater: Any
    assertRaises: Any
    addCleanup: Any
    flushLoggedErrors: Any

    def listen(self, factory: PeerFactory) -> int:
        """Listen until the test is over."""
        port = self.reactor.listenTCP(0, factory, interface=LOOPBACK)
        self.addCleanup(self.stop, port)
        return int(port.getHost().port)

    def listenUDP(self, protocol: DatagramProtocol, **options: Any) -> Any:
        """Receive datagrams until the test is over."""
        port = self.reactor.listenUDP(0, protocol, interface=LOOPBACK, **options)
        self.addCleanup(self.stop, port)
        return port

    def stop(self, port: IListeningPort) -> Any:
        """Stop listening."""
        return port.stopListening()

    async def rest(self) -> None:
        """Let happen what would happen: a while, in turns of the reactor."""
        for _ in range(20):
            await deferLater(self.reactor, 0)

    async def pair(
        self, near: Callable[[], PlainPeer] = Peer, far: Callable[[], PlainPeer] = Peer
    ) -> tuple[PlainPeer, PlainPeer]:
        """Connect two peers."""
        listening, connecting = PeerFactory(far), PeerFactory(near)
        self.reactor.connectTCP(LOOPBACK, self.listen(listening), connecting)
        while not (listening.peers and connecting.peers):
            await deferLater(self.reactor, 0)
        for peer in (listening.peer, connecting.peer):
            self.addCleanup(peer.abort)
            while not peer.connected:
                await deferLater(self.reactor, 0)
        return connecting.peer, listening.peer


class InMemory(World, SynchronousTestCase):
    """The world in memory."""

    def setUp(self) -> None:
        """Make a reactor whose sender's buffer is like a kernel's, large."""
        self.reactor = MemoryReactor(sendBuffer=2 * KERNEL_LOAD)
        self.addCleanup(self.assertNothingLeft)

    def assertNothingLeft(self) -> None:
        """Nothing outlives a scenario."""
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def play(self, scenario: Coroutine[Deferred[Any], Any, None]) -> None:
        """Let the scenario come to its end."""
        playing = Deferred.fromCoroutine(scenario)
        self.reactor.advance(0)
        self.successResultOf(playing)


class OnLoopback(World, TestCase):
    """The world of loopback sockets, with the reactor that the tests run in."""

    timeout = 30

    def setUp(self) -> None:
        """Take the real reactor."""
        from twisted.internet import reactor

        self.reactor = reactor

    def play(self, scenario: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        """Wait for the scenario's end, and for the sockets that it leaves to close."""
        playing = Deferred.fromCoroutine(scenario)
        self.addCleanup(deferLater, self.reactor, 0)
        return playing
