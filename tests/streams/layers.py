"""A layer that translates in the simplest way, at once or when a test says, and its neighbours."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.streams.base import FAR, NEAR, Near
from twisted_socks5.streams import LayeredTransport, ReactorWatch, Stream
from twisted_socks5.testing import MemoryReactor, MemoryTransport, Peer, PlainPeer, StreamSocket

MARKS = (b".", b"!", b"?", b"#")


class Trouble(Exception):
    """What the peer has sent makes no sense."""

    @classmethod
    def failure(cls) -> Failure:
        """Make a failure of it."""
        return Failure(cls("as the test says"))


class Hex(LayeredTransport):
    """
    Translates octets into hexadecimal digits.

    Among the digits C{.} is the end, C{!} an error that is thrown, C{?} one behind what came
    before it; C{#} is a mistake of the layer's own.

    @ivar later: whether translations wait for the test.
    @ivar jobs: translations that do: the Deferred, and what it will fire with.
    @ivar sizes: of each piece that was to be encoded.
    @ivar ends: whether it says C{.} at the end, and does not half-close below.
    @ivar released: how often it was.
    """

    troubles = (Trouble,)

    def __init__(self, protocol: Any = None) -> None:
        super().__init__(protocol)
        self.later = False
        self.jobs: list[tuple[Deferred[bytes], bytes]] = []
        self.sizes: list[int] = []
        self.ends = False
        self.released = 0
        self._odd = b""

    def work(self) -> None:
        """Let the oldest translation come about."""
        waiting, result = self.jobs.pop(0)
        if not waiting.called:
            waiting.callback(result)

    def workOff(self) -> None:
        """Let all translations come about."""
        while self.jobs:
            self.work()

    @property
    def halfCloses(self) -> bool:
        """Whether it can be half-closed."""
        return self.ends or super().halfCloses

    def _encode(self, octets: bytes) -> bytes | Deferred[bytes]:
        self.sizes.append(len(octets))
        if octets == b"trouble":
            raise Trouble("as the test says")
        return self._soon(octets.hex().encode())

    def _decode(self, octets: bytes) -> bytes | Deferred[bytes]:
        octets = self._odd + octets
        self._odd = b""
        found = min((octets.find(mark) for mark in MARKS if mark in octets), default=-1)
        if found >= 0:
            mark, octets = octets[found : found + 1], octets[:found]
            if mark == b"!":
                raise Trouble("thrown")
            if mark == b"#":
                raise ValueError("a mistake")
            if mark == b"?":
                return self._soon(bytes.fromhex(octets.decode()), self._spoilt)
            self._inputEnds()
        elif len(octets) % 2:
            octets, self._odd = octets[:-1], octets[-1:]
        return self._soon(bytes.fromhex(octets.decode()))

    def _lastWords(self) -> bytes:
        return b"." if self.ends else b""

    def _shutBelow(self) -> None:
        if self.ends:
            self.writeConnectionLost()
        else:
            super()._shutBelow()

    def _checkEnd(self) -> None:
        if self._odd:
            raise Trouble("half an octet")

    def _released(self) -> None:
        self.released += 1

    def ready(self, ready: bool) -> None:
        """Set whether something can be encoded."""
        self._ready = ready
        if ready:
            self._pump()

    def _spoilt(self, octets: bytes) -> bytes:
        self._spoil(Trouble.failure())
        return octets

    def _soon(
        self, result: bytes, then: Callable[[bytes], bytes] = bytes
    ) -> bytes | Deferred[bytes]:
        if not self.later:
            return then(result)
        waiting: Deferred[bytes] = Deferred()
        self.jobs.append((waiting, result))
        return waiting.addCallback(then)


class LayerCase(SynchronousTestCase):
    """
    Makes layers, on one of Twisted's own transports or on a stream.

    @cvar streams: on which.
    @ivar layer: the layer.
    @ivar near: the protocol above it.
    @ivar far: the far side, which sees digits.
    @ivar handle: the layer's socket.
    """

    streams = False

    def connect(self, near: PlainPeer | None = None, **options: Any) -> None:
        """Connect a layer."""
        self.reactor = MemoryReactor(**options)
        self.near: Any = near or Near()
        self.layer = Hex(self.near)
        self.far = Peer()
        there, self.handle = self.reactor.socketPair(FAR, NEAR)
        self.far.makeConnection(MemoryTransport(there, self.far, self.reactor, FAR, NEAR))
        self.below = self.transportOn(self.handle)
        self.layer.makeConnection(self.below)
        self.addCleanup(self.assertNothingLeft)

    def transportOn(self, handle: StreamSocket) -> Any:
        """Make a transport, with the layer for its protocol."""
        if not self.streams:
            return MemoryTransport(handle, self.layer, self.reactor, NEAR, FAR)
        stream = Stream(ReactorWatch(self.reactor), cast(socket.socket, handle), self.layer)
        self.reactor.addReader(stream)
        return stream

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def heard(self) -> bytes:
        """Tell what the far side has received."""
        return bytes.fromhex(self.far.received.rstrip(b".").decode())

    def say(self, octets: bytes) -> None:
        """Let the far side send octets."""
        self.far.write(octets.hex().encode())

    def assertNothingLeft(self) -> None:
        """Close both sides, if that was not the test, and assert that nothing is left."""
        self.far.abort()
        self.layer.abortConnection()
        self.settle()
        self.assertEqual(self.reactor.leftOver(), [])
        self.assertEqual(self.near.events.count("made"), 1)
        ends = [event for event in self.near.events if event[0].isupper()]
        self.assertEqual(len(ends), 1, self.near.events)
        self.assertEqual(self.layer.released, 1)
        self.assertFalse(any(not waiting.called for waiting, _ in self.layer.jobs))

    def assertOctets(self, got: bytes | bytearray, wanted: bytes | bytearray) -> None:
        """Assert that octets are the same; of many no difference is printed."""
        self.assertEqual(len(got), len(wanted))
        self.assertTrue(got == wanted, "the octets differ")
