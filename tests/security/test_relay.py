"""What a relay promises, it promises an encapsulated client as well."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.relay import test_tcp, test_tcp_resets
from tests.relay.test_interleavings import ENDING, Script, Step, steps
from tests.security.encapsulated import HELD, EncapsulatedCase
from twisted_socks5.security.encapsulation import SMALL
from twisted_socks5.wire import ProtectionLevel


class FlowTests(EncapsulatedCase, test_tcp.FlowTests):
    """Octets, both ways."""

    def setUp(self) -> None:
        """A layer holds something, too."""
        super().setUp()
        self.patch(test_tcp, "HELD", HELD)

    def test_early(self) -> None:
        """What comes before the relay starts is passed on first; reading waits meanwhile."""
        joined = self.join(window=10, sendBuffer=10)
        joined.client.write(b"pipelined " * 20)
        joined.client.write(b"and more " * 20)
        joined.target.write(b"220 ready " * 20)
        joined.settle()
        # A client's piece comes whole or not at all.
        self.assertEqual([leg.received for leg in joined.legs], [200, 10])
        joined.relay.start()
        joined.settle()
        self.assertOctets(joined.target.received, b"pipelined " * 20 + b"and more " * 20)
        self.assertOctets(joined.client.received, b"220 ready " * 20)

    def test_earlyAndUnderway(self) -> None:
        """What is still being unwrapped when the relay starts comes behind what came early."""
        joined = self.join()
        joined.reactor.threads.stalled = True
        joined.client.write(bytes(SMALL))
        joined.client.write(bytes(10))
        joined.settle()
        joined.legs[0].dataReceived(b"what a session had of it, ")
        joined.reactor.threads.stalled = False
        joined.settle()
        self.assertEqual(joined.legs[0].received, 26)
        joined.relay.start()
        joined.settle()
        self.assertOctets(
            joined.target.received, b"what a session had of it, " + bytes(SMALL + 10)
        )


class EndingTests(EncapsulatedCase, test_tcp.EndingTests):
    """FINs: each direction ends by itself."""


class ResetTests(EncapsulatedCase, test_tcp_resets.ResetTests):
    """A stream that breaks must not look like one that ended."""

    def test_resetWithOctetsUnflushed(self) -> None:
        """What had been received before the reset is flushed before it is passed on."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(b"x" * 150_000)
        joined.settle()
        self.assertGreater(joined.heldForClient(), 0)
        joined.target.abort()
        joined.settle()
        self.assertRunning(joined)
        joined.client.resume()
        joined.settle()
        # All went to the kernel, but a reset overtakes what it has not yet delivered.
        self.assertEqual(joined.heldForClient(), 0)
        self.assertGreater(len(joined.client.received), 0)
        self.assertTrue(joined.client.wasReset)
        self.assertOver(joined, 0, 150_000, "target reset")

    def test_resetWhileFlushing(self) -> None:
        """A side that is being flushed before its reset may reset itself."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(b"x" * 150_000)
        joined.settle()
        joined.target.abort()
        joined.settle()
        self.assertRunning(joined)
        joined.client.abort()
        joined.settle()
        # A target that is paused, which depends on what a layer holds, is not known to have gone.
        self.assertOver(joined, 0, 150_000, joined.outcomes[0].reason)
        self.assertIn(joined.outcomes[0].reason, ("client reset", "target reset"))


class StreamFlowTests(FlowTests):
    """Octets, both ways, on streams."""

    streams = True


class StreamEndingTests(EndingTests):
    """FINs, on streams."""

    streams = True


class StreamResetTests(ResetTests):
    """Resets, on streams."""

    streams = True


class IntegrityTests(StreamFlowTests):
    """Octets that are not confidential."""

    level = ProtectionLevel.INTEGRITY


class InterleavingTests(EncapsulatedCase):
    """Whatever happens in whatever order."""

    @settings(max_examples=60, deadline=None)
    @given(
        steps(ENDING),
        st.integers(0, 10),
        st.sampled_from([100, 65_536]),
        st.integers(0, 1 << 16),
        st.booleans(),
    )
    def test_brokenIsNeverWhole(
        self, script: list[Step], startAt: int, window: int, seed: int, streams: bool
    ) -> None:
        """
        What arrives is a beginning of what was sent; who reads an end has read everything.

        And when both sides have gone the relay has told so, once, and left nothing.
        """
        shuffle = random.Random(seed).shuffle
        joined = self.join(streams=streams, window=window, sendBuffer=window, shuffle=shuffle)
        playing = Script(joined)
        playing.play(
            [(kind, side, min(size, window * 500)) for kind, side, size in script], startAt
        )
        self.assertLessEqual(max(joined.heldForClient(), joined.heldForTarget()), HELD)
        playing.finish()
        for side in (0, 1):
            near, sent = playing.sides[side], playing.sent[1 - side]
            self.assertTrue(sent.startswith(near.received), "other octets than were sent")
            if near.eof:
                self.assertEqual(len(near.received), len(sent))
                self.assertTrue(playing.ended[1 - side])
        for each in playing.sides:
            each.abort()
        joined.settle()
        joined.relay.abort("over")
        joined.settle()
        self.assertEqual(len(joined.outcomes), 1)
        self.assertNothingLeft(joined)
