"""Datagrams cut up, RFC 1928, section 7."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    Host,
    LocalProtocolError,
    ReassemblyQueue,
    pack_header,
    parse_header,
    split_datagram,
)

from .strategies import host, port

examples = settings(max_examples=200, deadline=None)

HEADER = pack_header(b"ns", 53)


class SplitTests(SynchronousTestCase):
    """What C{split_datagram} makes."""

    def test_whole(self) -> None:
        """What fits is no fragment."""
        for payload in (b"", b"12345", b"1234567"):
            self.assertEqual(split_datagram(HEADER, payload, 16), [HEADER + payload])

    def test_octets(self) -> None:
        """Positions count from 1, and the last one is marked."""
        first, second, third = split_datagram(HEADER, b"12345678abcde", 15)
        self.assertEqual(first, b"\0\0\x01" + HEADER[3:] + b"123456")
        self.assertEqual(second, b"\0\0\x02" + HEADER[3:] + b"78abcd")
        self.assertEqual(third, b"\0\0\x83" + HEADER[3:] + b"e")

    def test_at_most_127(self) -> None:
        """That is what FRAG can count."""
        size = len(HEADER) + 2
        pieces = split_datagram(HEADER, bytes(254), size)
        self.assertEqual((len(pieces), pieces[-1][2]), (127, 0xFF))
        self.assertRaises(LocalProtocolError, split_datagram, HEADER, bytes(255), size)

    def test_no_room(self) -> None:
        """A size that the header alone takes is none."""
        for size in (0, 5, len(HEADER)):
            self.assertRaises(LocalProtocolError, split_datagram, HEADER, b"1", size)
        self.assertEqual(split_datagram(HEADER, b"", len(HEADER)), [HEADER])

    @examples
    @given(host, port, st.binary(max_size=2000), st.integers(8, 700))
    def test_put_together(self, target: Host, number: int, payload: bytes, room: int) -> None:
        """A reassembly queue makes the same of the pieces, none of which is too large."""
        header = pack_header(target, number)
        size = len(header) + room + len(payload) // 127
        queue = ReassemblyQueue()
        whole: list[bytes | None] = []
        for piece in split_datagram(header, payload, size):
            self.assertLessEqual(len(piece), size)
            frag, *where, offset = parse_header(piece)
            whole.append(queue.add(0.0, frag, tuple(where), piece[offset:]))
        self.assertEqual(whole, [None] * (len(whole) - 1) + [payload])
