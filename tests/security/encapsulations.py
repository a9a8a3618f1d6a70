"""An encapsulated connection in memory: one end of it, or both."""

from __future__ import annotations

import socket
from typing import Any, cast

from twisted.trial.unittest import SynchronousTestCase

from tests.streams.base import FAR, NEAR, Near
from twisted_socks5.fairthreads import FairThreads
from twisted_socks5.security import Encapsulation
from twisted_socks5.streams import ReactorWatch, Stream
from twisted_socks5.testing import (
    MemoryContext,
    MemoryReactor,
    MemoryTransport,
    Peer,
    PlainPeer,
    StreamSocket,
)
from twisted_socks5.wire import ProtectionLevel
from twisted_socks5.wire.constants import FRAME_HEADER_SIZE, MTYP
from twisted_socks5.wire.gssapi import pack_token

CONFIDENTIALITY = ProtectionLevel.CONFIDENTIALITY


def encapsulate(
    peer: Any, context: MemoryContext, level: ProtectionLevel, threads: FairThreads
) -> Encapsulation:
    """Put a layer between a peer and its transport."""
    layer = Encapsulation(peer.transport, context, level, threads, peer)
    layer.protocol, peer.transport = peer, layer
    return layer


class EncapsulationCase(SynchronousTestCase):
    """
    Makes one end of an encapsulated connection, and speaks frames to it.

    @cvar streams: whether it is on a stream instead of one of Twisted's own transports.
    @ivar layer: the encapsulation.
    @ivar near: the protocol above it.
    @ivar far: the far side, which sees frames.
    @ivar context: the layer's context.
    @ivar other: the far side's.
    @ivar handle: the layer's socket.
    """

    streams = False

    def connect(
        self,
        level: ProtectionLevel = CONFIDENTIALITY,
        near: PlainPeer | None = None,
        **options: Any,
    ) -> None:
        """Connect."""
        self.reactor = MemoryReactor(**options)
        self.near: Any = near or Near()
        self.far = Peer()
        there, self.handle = self.reactor.socketPair(FAR, NEAR)
        self.far.makeConnection(MemoryTransport(there, self.far, self.reactor, FAR, NEAR))
        self.near.makeConnection(self.transportOn(self.handle))
        self.other, self.context = MemoryContext.pair()
        self.threads = FairThreads(self.reactor, 2)
        self.layer = encapsulate(self.near, self.context, level, self.threads)
        self.addCleanup(self.assertNothingLeft)

    def transportOn(self, handle: StreamSocket) -> Any:
        """Make a transport."""
        if not self.streams:
            return MemoryTransport(handle, self.near, self.reactor, NEAR, FAR)
        stream = Stream(ReactorWatch(self.reactor), cast(socket.socket, handle), self.near)
        self.reactor.addReader(stream)
        return stream

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def frame(self, octets: bytes, sealed: bool = True) -> bytes:
        """Encapsulate, as the far side."""
        return pack_token(MTYP.DATA, self.other.wrap(octets, sealed))

    def heard(self) -> list[tuple[bytes, bool]]:
        """Take what the far side has received out of its frames."""
        data, found = bytes(self.far.received), []
        while data:
            self.assertEqual(data[:2], b"\x01\x03")
            end = FRAME_HEADER_SIZE + int.from_bytes(data[2:4], "big")
            found.append(self.other.unwrap(data[FRAME_HEADER_SIZE:end]))
            data = data[end:]
        return found

    def assertNothingLeft(self) -> None:
        """Close both sides, if that was not the test, and assert that nothing is left."""
        self.reactor.threads.stalled = False
        self.far.abort()
        self.layer.abortConnection()
        self.settle()
        self.assertEqual(self.reactor.leftOver(), [])
        ends = [event for event in self.near.events if event[0].isupper()]
        self.assertEqual(len(ends), 1, self.near.events)
        self.assertTrue(self.context.disposed)
        self.assertEqual(len(self.threads), 0)

    def assertOctets(self, got: bytes | bytearray, wanted: bytes | bytearray) -> None:
        """Assert that octets are the same; of many no difference is printed."""
        self.assertEqual(len(got), len(wanted))
        self.assertTrue(got == wanted, "the octets differ")


class Pair:
    """
    Two encapsulated ends, which know each other; has what a script asks of a relay.

    @ivar client: above one end.
    @ivar target: above the other.
    @ivar layers: their encapsulations.
    @ivar handles: their sockets.
    """

    def __init__(self, level: ProtectionLevel, streams: bool, **options: Any) -> None:
        self.reactor = MemoryReactor(**options)
        self.client, self.target = Peer(), Peer()
        self.relay = self
        self.handles = self.reactor.socketPair(FAR, NEAR)
        self.contexts = MemoryContext.pair()
        threads = FairThreads(self.reactor, 2)
        for peer, handle in zip((self.client, self.target), self.handles, strict=True):
            transport: Any = MemoryTransport(handle, peer, self.reactor, FAR, NEAR)
            if streams:
                self.reactor.removeReader(transport)
                connected = cast(socket.socket, handle)
                transport = Stream(ReactorWatch(self.reactor), connected, peer)
                self.reactor.addReader(transport)
            peer.makeConnection(transport)
        self.layers = tuple(
            encapsulate(peer, context, level, threads)
            for peer, context in zip((self.client, self.target), self.contexts, strict=True)
        )

    def start(self) -> None:
        """There is nothing to start."""

    def abort(self, reason: str) -> None:
        """Reset both."""
        for layer in self.layers:
            layer.abortConnection()

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)
