"""Any cut, any order of what both ends do, threads that answer late: nothing lost or reordered."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.relay.test_interleavings import ENDING, FLOWING, Script, Step, steps
from tests.security.encapsulations import EncapsulationCase, Pair
from twisted_socks5.streams import BUFFER
from twisted_socks5.testing.security import OVERHEAD
from twisted_socks5.wire import ProtectionLevel
from twisted_socks5.wire.constants import FRAME_HEADER_SIZE, MAX_FRAME

#: What a layer that is not heard may have read: what is being translated, and half a frame.
READ = BUFFER + MAX_FRAME

THREADS = ("stall", "unstall")

LEVELS = [
    ProtectionLevel.INTEGRITY,
    ProtectionLevel.CONFIDENTIALITY,
    ProtectionLevel.PER_MESSAGE,
]


class ThreadedScript(Script):
    """
    Plays steps on a pair, whose threads may be busy.

    @ivar joined: the pair.
    @ivar most: the most octets that an end had read and not passed on.
    """

    joined: Pair  # type: ignore[assignment]  # has what a script asks of a relay

    def __init__(self, pair: Pair) -> None:
        super().__init__(pair)  # type: ignore[arg-type]  # as above
        self.most = 0

    def play(self, script: list[Step], startAt: int = 0) -> None:
        """Play it, and look meanwhile how much is held."""
        for kind, side, size in script:
            getattr(self, kind)(side, size)
            self.most = max(self.most, *map(self.held, (0, 1)))

    def held(self, side: int) -> int:
        """Count the octets that an end has read and not passed on, besides their framing."""
        read = self.joined.handles[side].octetsRead
        framing = (FRAME_HEADER_SIZE + OVERHEAD) * self.joined.contexts[side].unwrapped
        return read - framing - len(self.sides[side].received)

    def stall(self, side: int, size: int) -> None:
        """Keep all threads busy."""
        self.joined.reactor.threads.stalled = True

    def unstall(self, side: int, size: int) -> None:
        """Let the threads work."""
        self.joined.reactor.threads.stalled = False

    def finish(self) -> None:
        """Let both sides read whatever there is."""
        self.unstall(0, 0)
        super().finish()


class ModelTests(SynchronousTestCase):
    """Whatever happens in whatever order."""

    @settings(max_examples=100, deadline=None)
    @given(
        steps((*FLOWING, *THREADS)),
        st.sampled_from([1000, 65_536]),
        st.integers(0, 1 << 16),
        st.booleans(),
        st.sampled_from(LEVELS),
    )
    def test_everyOctetInOrder(
        self, script: list[Step], window: int, seed: int, streams: bool, level: ProtectionLevel
    ) -> None:
        """Every octet arrives, in order, a bounded number is held meanwhile; then the FINs."""
        shuffle = random.Random(seed).shuffle
        pair = Pair(level, streams, window=window, sendBuffer=window, shuffle=shuffle)
        playing = ThreadedScript(pair)
        playing.play(script)
        self.assertLessEqual(playing.most, READ)
        playing.finish()
        self.assertTrue(pair.target.received == playing.sent[0], "other octets than the client's")
        self.assertTrue(pair.client.received == playing.sent[1], "other octets than the target's")
        self.assertEqual((pair.client.lost, pair.target.lost), (None, None))
        for side in (0, 1):
            playing.loseWrite(side, 0)
        playing.finish()
        self.assertTrue(pair.client.wasClosed and pair.target.wasClosed)
        self.assertOver(pair)

    @settings(max_examples=150, deadline=None)
    @given(
        steps((*ENDING, *THREADS)),
        st.sampled_from([1000, 65_536]),
        st.integers(0, 1 << 16),
        st.booleans(),
    )
    def test_brokenIsNeverWhole(
        self, script: list[Step], window: int, seed: int, streams: bool
    ) -> None:
        """What arrives is a beginning of what was sent; who reads an end has read everything."""
        shuffle = random.Random(seed).shuffle
        level = ProtectionLevel.CONFIDENTIALITY
        pair = Pair(level, streams, window=window, sendBuffer=window, shuffle=shuffle)
        playing = ThreadedScript(pair)
        playing.play(script)
        playing.finish()
        for side in (0, 1):
            near, sent = playing.sides[side], playing.sent[1 - side]
            self.assertTrue(sent.startswith(near.received), "other octets than were sent")
            if near.eof:
                self.assertEqual(len(near.received), len(sent))
                self.assertTrue(playing.ended[1 - side])
        for each in playing.sides:
            each.abort()
        pair.settle()
        self.assertOver(pair)

    def assertOver(self, pair: Pair) -> None:
        """Assert that each end has heard of its end once, and that nothing is left."""
        for peer in (pair.client, pair.target):
            self.assertEqual(sum(event[0].isupper() for event in peer.events), 1)
        self.assertTrue(all(context.disposed for context in pair.contexts))
        self.assertEqual(pair.reactor.leftOver(), [])


class TamperingTests(EncapsulationCase):
    """Somebody on the way."""

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(st.sampled_from([0, 1, 30, 5000]), min_size=1, max_size=5),
        st.floats(0, 1, exclude_max=True),
        st.integers(1, 255),
        st.booleans(),
        st.integers(1, 20),
    )
    def test_anyOctet(
        self, sizes: list[int], where: float, change: int, sealed: bool, pieces: int
    ) -> None:
        """A change of any octet ends the connection, and nothing of that frame is passed on."""
        level = ProtectionLevel.CONFIDENTIALITY if sealed else ProtectionLevel.INTEGRITY
        self.connect(level)
        frames = [self.frame(bytes([n]) * size, sealed) for n, size in enumerate(sizes)]
        stream = bytearray(b"".join(frames))
        place = int(where * len(stream))
        stream[place] ^= change
        cut = len(stream) // pieces + 1
        for start in range(0, len(stream), cut):
            self.far.write(bytes(stream[start : start + cut]))
            self.settle()
        self.far.loseWrite()
        self.settle()
        whole = b""
        for n, (size, frame) in enumerate(zip(sizes, frames, strict=True)):
            place -= len(frame)
            if place < 0:
                break
            whole += bytes([n]) * size
        self.assertOctets(self.near.received, whole)
        self.assertIn(self.near.events[-1], ("ContextError", "MalformedFrame"))
        self.assertNotIn("eof", self.near.events)
        self.assertNothingLeft()

    @settings(max_examples=50, deadline=None)
    @given(st.lists(st.integers(0, 9000), min_size=1, max_size=5), st.floats(0, 1), st.booleans())
    def test_anyEnd(self, sizes: list[int], where: float, fin: bool) -> None:
        """A FIN between frames is an end, any other is none, and a reset never."""
        self.connect()
        frames = [self.frame(bytes([n]) * size) for n, size in enumerate(sizes)]
        stream = b"".join(frames)
        length = int(where * len(stream))
        self.far.write(stream[:length])
        self.settle()
        if fin:
            self.far.loseWrite()
        else:
            self.far.abort()
        self.settle()
        between = {sum(map(len, frames[:n])) for n in range(len(frames) + 1)}
        self.assertEqual("eof" in self.near.events, fin and length in between)
        end = "ConnectionLost" if not fin else "MalformedFrame"
        self.assertEqual(end in self.near.events, not (fin and length in between))
        self.layer.abortConnection()
        self.settle()
        self.assertNothingLeft()
