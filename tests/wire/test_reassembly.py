"""Fragments, RFC 1928, section 7, against a model that keeps all that ever came."""

from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import MAX_UDP_PAYLOAD, LocalProtocolError, ReassemblyQueue

END = 0x80


class SequenceTests(SynchronousTestCase):
    """What is put together, and what is given up."""

    def setUp(self) -> None:
        """A queue as it comes."""
        self.queue = ReassemblyQueue()

    def add(self, *fragments: tuple[int, bytes]) -> list[bytes | None]:
        """Take fragments, all to one destination and at one time."""
        return [self.queue.add(0.0, frag, "destination", payload) for frag, payload in fragments]

    def test_sequence(self) -> None:
        """Fragments in order make the whole, when the last one is there."""
        self.assertEqual(
            self.add((1, b"a"), (2, b"b"), (3 | END, b"c"), (1, b"d"), (2 | END, b"")),
            [None, None, b"abc", None, b"d"],
        )
        self.assertEqual((self.queue.octets, self.queue.deadline), (0, None))
        self.assertEqual(self.queue.abandoned, 0)

    def test_single(self) -> None:
        """A first fragment may be the last one, too."""
        self.assertEqual(self.add((1 | END, b"a")), [b"a"])

    def test_longest(self) -> None:
        """There are 127 positions; none can follow."""
        fragments = [(position, b"x") for position in range(1, 127)]
        self.assertEqual(self.add(*fragments, (127 | END, b"y"))[-1], b"x" * 126 + b"y")
        self.assertEqual(self.add(*fragments, (127, b"y"), (0 | END, b"z")), [None] * 128)
        self.assertEqual(self.queue.abandoned, 128)

    def test_lower(self) -> None:
        """A lower FRAG gives up what was waiting (the RFC's rule), and begins nothing but 1."""
        self.assertEqual(self.add((1, b"a"), (2, b"b"), (1, b"c"), (2 | END, b"d"))[-1], b"cd")
        self.assertEqual(self.queue.abandoned, 2)
        self.assertEqual(
            self.add((1, b"a"), (2, b"b"), (3, b"c"), (2, b"d"), (3 | END, b"e")), [None] * 5
        )

    def test_gap(self) -> None:
        """So does a gap."""
        self.assertEqual(self.add((1, b"a"), (3, b"c"), (4 | END, b"d")), [None] * 3)
        self.assertEqual(self.queue.abandoned, 3)

    def test_repetition(self) -> None:
        """And a repetition, which may be of another datagram."""
        self.assertEqual(self.add((1, b"a"), (2, b"b"), (2, b"b"), (3 | END, b"c")), [None] * 4)

    def test_standalone(self) -> None:
        """A datagram that is no fragment passes, and gives up what was waiting."""
        self.assertEqual(
            self.add((1, b"a"), (0, b"whole"), (2 | END, b"b")), [None, b"whole", None]
        )
        self.assertEqual(self.queue.abandoned, 2)

    def test_standalone_of_any_size(self) -> None:
        """It is not measured: it has come through a socket as it is."""
        queue = ReassemblyQueue(max_octets=1)
        self.assertEqual(queue.add(0.0, 0, None, b"more"), b"more")

    def test_last_of_nothing(self) -> None:
        """An end without a position is malformed."""
        self.assertEqual(self.add((1, b"a"), (END, b"b"), (2 | END, b"c")), [None] * 3)

    def test_destination(self) -> None:
        """All fragments have one destination."""
        self.add((1, b"a"))
        self.assertIsNone(self.queue.add(0.0, 2 | END, "another", b"b"))
        self.assertIsNone(self.queue.add(0.0, 1, "another", b"c"))
        self.assertEqual(self.queue.add(0.0, 2 | END, "another", b"d"), b"cd")


class BoundTests(SynchronousTestCase):
    """Octets and seconds."""

    def test_octets(self) -> None:
        """The largest datagram is put together; one octet more is given up."""
        for maximum in (3, MAX_UDP_PAYLOAD):
            queue = ReassemblyQueue(max_octets=maximum)
            self.assertIsNone(queue.add(0.0, 1, None, b"x" * (maximum - 1)))
            self.assertEqual(queue.octets, maximum - 1)
            self.assertEqual(queue.add(0.0, 2 | END, None, b"y"), b"x" * (maximum - 1) + b"y")
            self.assertIsNone(queue.add(0.0, 1, None, b"x" * (maximum - 1)))
            self.assertIsNone(queue.add(0.0, 2 | END, None, b"yz"))
            self.assertEqual((queue.octets, queue.abandoned), (0, 2))
            self.assertIsNone(queue.add(0.0, 1 | END, None, b"x" * (maximum + 1)))
            self.assertEqual((queue.octets, queue.abandoned), (0, 3))

    def test_timer(self) -> None:
        """It runs from the first fragment on, and ends the sequence when it runs out."""
        queue = ReassemblyQueue()
        queue.add(100.0, 1, None, b"a")
        queue.add(104.0, 2, None, b"b")
        self.assertEqual(queue.deadline, 105.0)
        self.assertFalse(queue.expired(104.9))
        self.assertEqual(queue.add(104.9, 3 | END, None, b"c"), b"abc")
        queue.add(200.0, 1, None, b"a")
        self.assertTrue(queue.expired(205.0))
        self.assertIsNone(queue.add(205.0, 2 | END, None, b"b"))
        self.assertEqual(queue.abandoned, 2)
        self.assertFalse(queue.expired(math.inf))

    def test_reinitialise(self) -> None:
        """Whoever keeps the time gives up what has waited too long."""
        queue = ReassemblyQueue(timeout=7.5)
        queue.add(1.0, 1, None, b"a")
        self.assertEqual(queue.deadline, 8.5)
        queue.reinitialise()
        self.assertEqual((queue.octets, queue.deadline, queue.abandoned), (0, None, 1))
        queue.reinitialise()
        self.assertEqual(queue.abandoned, 1)

    def test_settings(self) -> None:
        """The timer "MUST be no less than 5 seconds"; octets are bounded by UDP."""
        for timeout in (4.999, 0, -1, math.inf, math.nan):
            self.assertRaises(LocalProtocolError, ReassemblyQueue, timeout)
        for octets in (0, MAX_UDP_PAYLOAD + 1):
            self.assertRaises(LocalProtocolError, ReassemblyQueue, 5, octets)
        ReassemblyQueue(5, 1)
        ReassemblyQueue(3600, MAX_UDP_PAYLOAD)


class Model:
    """
    The rules read backwards, from all that has come.

    A fragment with the end mark and position C{n} makes a whole if it and the C{n - 1} datagrams
    just before it have the positions 1 to C{n}, one destination and no other end mark, are small
    enough together and young enough.
    """

    def __init__(self, timeout: float, max_octets: int) -> None:
        self.timeout = timeout
        self.max_octets = max_octets
        self.came: list[tuple[float, int, str, bytes]] = []

    def add(self, now: float, frag: int, key: str, payload: bytes) -> bytes | None:
        """Take a datagram; say what is whole."""
        self.came.append((now, frag, key, payload))
        if frag == 0:
            return payload
        size = frag - END
        if size < 1 or len(self.came) < size:
            return None
        last = self.came[-size:]
        whole = b"".join(part for _now, _frag, _key, part in last)
        fits = (
            [part[1] for part in last] == [*range(1, size), frag]
            and {part[2] for part in last} == {key}
            and now < last[0][0] + self.timeout
            and len(whole) <= self.max_octets
        )
        return whole if fits else None


# Mostly sequences in order, or the model would never see one completed.
frags = st.one_of(
    st.sampled_from((0, 1, 2, 3, 1 | END, 2 | END, 3 | END, END)), st.integers(0, 255)
)
sequences = st.integers(1, 4).map(lambda size: [*range(1, size), size | END])
streams = st.lists(st.one_of(sequences, st.lists(frags, max_size=3)), max_size=6).map(
    lambda lists: [frag for some in lists for frag in some]
)


class ModelTests(SynchronousTestCase):
    """Queue and model agree, whatever comes."""

    @settings(max_examples=250, deadline=None)
    @given(streams, st.data())
    def test_model(self, stream: list[int], data: st.DataObject) -> None:
        """They give the same wholes, and no fragment is unaccounted for."""
        queue, model = ReassemblyQueue(max_octets=8), Model(5.0, 8)
        now, used = 0.0, 0
        for frag in stream:
            now += data.draw(st.sampled_from((0.0, 0.0, 0.0, 1.0, 2.5, 5.0)))
            key = data.draw(st.sampled_from(("here", "here", "here", "there")))
            payload = data.draw(st.binary(max_size=4))
            whole = queue.add(now, frag, key, payload)
            self.assertEqual(whole, model.add(now, frag, key, payload))
            if whole is not None:
                used += max(frag & 127, 1)
            waiting = len(queue._parts)
            self.assertEqual(used + queue.abandoned + waiting, len(model.came))
            self.assertEqual(queue.deadline is None, waiting == 0)
            self.assertLessEqual(queue.octets, 8)
