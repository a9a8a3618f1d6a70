"""Any order of writing, pausing, ending and resetting: what a relay promises holds in each."""

from __future__ import annotations

import random
from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.relay.joined import HELD, Joined, JoinedTestCase
from twisted_socks5.relay import tcp
from twisted_socks5.testing import PlainPeer

# What is done, to which side (0 is the client), and how much of it.
Step = tuple[str, int, int]

SIZES = st.one_of(st.integers(1, 40), st.integers(1, 3000), st.integers(1, 100_000))
FLOWING = ("write", "write", "write", "pause", "resume", "turn", "settle")
ENDING = (*FLOWING, "loseWrite", "lose", "abort", "cut")


def steps(kinds: Sequence[str]) -> st.SearchStrategy[list[Step]]:
    """Make scripts of these kinds of steps."""
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 1), SIZES), max_size=30)


def octets(side: int, start: int, count: int) -> bytes:
    """Make octets that differ by their side and place."""
    return bytes(
        (place * 7 + place // 251 + 128 * side) % 256 for place in range(start, start + count)
    )


class Script:
    """Plays steps on a relay, and keeps what each side has sent."""

    def __init__(self, joined: Joined) -> None:
        self.joined = joined
        self.sides: tuple[PlainPeer, PlainPeer] = (joined.client, joined.target)
        self.sent = [bytearray(), bytearray()]
        self.ended = [False, False]  # it has sent its FIN, and all before it,
        self.aborted = [False, False]  # or gone without

    def play(self, script: list[Step], startAt: int) -> None:
        """Play it; the relay starts when so many steps have been played."""
        for number, (kind, side, size) in enumerate(script):
            if number == startAt:
                self.joined.relay.start()
            getattr(self, kind)(side, size)
        if len(script) <= startAt:
            self.joined.relay.start()

    def write(self, side: int, size: int) -> None:
        """Send, unless that side can send no more."""
        if not (self.ended[side] or self.aborted[side]) and self.sides[side].lost is None:
            data = octets(side, len(self.sent[side]), size)
            self.sent[side] += data
            self.sides[side].write(data)

    def pause(self, side: int, size: int) -> None:
        """Let a side read no more."""
        self.sides[side].pause()

    def resume(self, side: int, size: int) -> None:
        """Let a side read again, unless it has read its end."""
        if not self.sides[side].eof:
            self.sides[side].resume()

    def turn(self, side: int, size: int) -> None:
        """Let one turn pass."""
        self.joined.reactor.turn()

    def settle(self, side: int, size: int) -> None:
        """Let all happen that happens at once."""
        self.joined.settle()

    def loseWrite(self, side: int, size: int) -> None:
        """Let a side send its FIN."""
        if not self.aborted[side]:
            self.sides[side].loseWrite()
            self.ended[side] = True

    def lose(self, side: int, size: int) -> None:
        """Let a side close."""
        if not self.aborted[side]:
            self.sides[side].lose()
            self.ended[side] = True

    def abort(self, side: int, size: int) -> None:
        """Let a side reset its connection."""
        self.sides[side].abort()
        self.aborted[side] = True

    def cut(self, side: int, size: int) -> None:
        """Cut the relay, as a deadline would."""
        self.joined.relay.abort("cut")

    def finish(self) -> None:
        """Let both sides read whatever there is."""
        for _ in range(3):
            for side in (0, 1):
                self.resume(side, 0)
            self.joined.settle()


class InterleavingTests(JoinedTestCase):
    """Whatever happens in whatever order."""

    def joinAny(self, window: int, seed: int, bulk: int) -> Joined:
        """
        Make a relay with windows of this size, whose descriptors are served in some order.

        @param bulk: how many octets at once are spliced; 0 is a relay of Twisted's transports.
        """
        self.patch(tcp, "BUFFER", bulk)
        self.kernel.pipeSize = 2 * window  # more than a sink takes at once
        return self.join(
            streams=bool(bulk),
            window=window,
            sendBuffer=window,
            shuffle=random.Random(seed).shuffle,
        )

    @settings(max_examples=100, deadline=None)
    @given(
        steps(FLOWING),
        st.integers(0, 10),
        st.sampled_from([1, 100, 65_536]),
        st.integers(0, 1 << 16),
        st.sampled_from([0, 1, 65_536]),
    )
    def test_everyOctetInOrder(
        self, script: list[Step], startAt: int, window: int, seed: int, bulk: int
    ) -> None:
        """Every octet arrives, in order, and a bounded number is held meanwhile."""
        joined = self.joinAny(window, seed, bulk)
        playing = Script(joined)
        playing.play(
            [(kind, side, min(size, window * 500)) for kind, side, size in script], startAt
        )
        self.assertLessEqual(max(joined.heldForClient(), joined.heldForTarget()), HELD)
        playing.finish()
        self.assertOctets(joined.target.received, playing.sent[0])
        self.assertOctets(joined.client.received, playing.sent[1])
        self.assertRunning(joined)
        for side in (0, 1):
            playing.loseWrite(side, 0)
        playing.finish()
        self.assertTrue(joined.client.wasClosed and joined.target.wasClosed)
        sent, received = map(len, playing.sent)
        self.assertEqual([(o.sent, o.received) for o in joined.outcomes], [(sent, received)])
        self.assertNothingLeft(joined)

    @settings(max_examples=200, deadline=None)
    @given(
        steps(ENDING),
        st.integers(0, 10),
        st.sampled_from([100, 65_536]),
        st.integers(0, 1 << 16),
        st.sampled_from([0, 1, 65_536]),
    )
    def test_brokenIsNeverWhole(
        self, script: list[Step], startAt: int, window: int, seed: int, bulk: int
    ) -> None:
        """
        What arrives is a beginning of what was sent; who reads an end has read everything.

        And when both sides have gone the relay has told so, once, and left nothing.
        """
        joined = self.joinAny(window, seed, bulk)
        playing = Script(joined)
        playing.play(
            [(kind, side, min(size, window * 500)) for kind, side, size in script], startAt
        )
        playing.finish()
        for side in (0, 1):
            near, sent = playing.sides[side], playing.sent[1 - side]
            self.assertOctets(near.received, sent[: len(near.received)])
            if near.eof:
                self.assertOctets(near.received, sent)
                self.assertTrue(playing.ended[1 - side])
        for each in playing.sides:
            each.abort()
        joined.settle()
        joined.relay.abort("over")
        joined.settle()
        self.assertEqual(len(joined.outcomes), 1)
        self.assertNothingLeft(joined)
