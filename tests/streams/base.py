"""A stream in memory, its protocol, and the far side."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.streams import ReactorWatch, Stream
from twisted_socks5.testing import MemoryReactor, MemoryTransport, Peer, PlainPeer, StreamSocket

FAR = IPv4Address("TCP", "192.0.2.1", 49_151)
NEAR = IPv4Address("TCP", "192.0.2.2", 1080)

#: More than all buffers of a connection in memory hold together.
FLOOD = bytes(range(256)) * 2000


class Near(Peer):
    """
    A stream's protocol, which does what a test says when it is told something.

    @ivar on: what to do, by what it is told.
    """

    closesWhenBothEnded = False

    def __init__(self) -> None:
        super().__init__()
        self.on: dict[str, Callable[[], object]] = {}

    def _saw(self, event: str) -> None:
        super()._saw(event)
        self.on.get(event, lambda: None)()


class StreamCase(SynchronousTestCase):
    """
    Makes streams.

    @ivar stream: the stream.
    @ivar near: its protocol.
    @ivar far: the far side.
    @ivar handle: its socket.
    """

    def connect(self, near: PlainPeer | None = None, read: bool = True, **options: Any) -> None:
        """Connect a stream."""
        self.reactor = MemoryReactor(**options)
        self.near: Any = near or Near()
        self.far = Peer()
        there, self.handle = self.reactor.socketPair(FAR, NEAR)
        self.far.makeConnection(MemoryTransport(there, self.far, self.reactor, FAR, NEAR))
        self.stream = self.streamOn(self.handle)
        if read:
            self.reactor.addReader(self.stream)
        self.near.makeConnection(self.stream)
        self.addCleanup(self.assertNothingLeft)

    def streamOn(self, handle: StreamSocket) -> Stream:
        """Make a stream on a socket."""
        return Stream(ReactorWatch(self.reactor), cast(socket.socket, handle), self.near)

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def assertNothingLeft(self) -> None:
        """Close both sides, if that was not the test, and assert that nothing is left."""
        self.far.abort()
        self.stream.abortConnection()
        self.settle()
        self.assertEqual(self.reactor.leftOver(), [])
        self.assertEqual(self.stream.fileno(), -1)
        self.assertEqual(self.near.events.count("made"), 1)
        ends = [event for event in self.near.events if event.startswith("Connection")]
        self.assertEqual(len(ends), 1)

    def assertOctets(self, got: bytes | bytearray, wanted: bytes | bytearray) -> None:
        """Assert that octets are the same; of many no difference is printed."""
        self.assertEqual(len(got), len(wanted))
        self.assertTrue(got == wanted, "the octets differ")
