"""RFC 1961's frames."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    MAX_BUFFERED,
    MTYP,
    Abort,
    Frame,
    LocalProtocolError,
    MalformedFrame,
    ProtocolError,
    Token,
    TokenReader,
    TooManyOctets,
    pack_abort,
    pack_token,
    parse_frame,
)

from .strategies import pieces

ABORT = b"\x01\xff"


class FrameTests(SynchronousTestCase):
    """VER MTYP LEN TOKEN."""

    def test_octets(self) -> None:
        """LEN has two octets; an abort has none, and no token (section 3.8)."""
        self.assertEqual(pack_token(MTYP.AUTHENTICATION, b"abc"), b"\x01\x01\x00\x03abc")
        self.assertEqual(pack_token(MTYP.DATA, b"x" * 258)[:4], b"\x01\x03\x01\x02")
        self.assertEqual(pack_abort(), ABORT)
        self.assertEqual(parse_frame(ABORT + b"\x00\x01x"), (Abort(), 2))

    def test_empty_token(self) -> None:
        """A context that stands without another token is still answered: with nothing in it."""
        octets = pack_token(MTYP.AUTHENTICATION, b"")
        self.assertEqual(octets, b"\x01\x01\x00\x00")
        self.assertEqual(parse_frame(octets), (Token(MTYP.AUTHENTICATION, b""), 4))

    def test_bare_level(self) -> None:
        """NEC's way of the protection level, one octet that isn't wrapped, is a token too."""
        octets = bytes.fromhex("01 02 0001 00")
        self.assertEqual(parse_frame(octets), (Token(MTYP.PROTECTION_LEVEL, b"\x00"), 5))

    def test_bounds(self) -> None:
        """65,535 octets fit, one more doesn't; an abort has no token to pack."""
        octets = pack_token(MTYP.DATA, b"x" * 65535)
        self.assertEqual(parse_frame(octets), (Token(MTYP.DATA, b"x" * 65535), 65539))
        self.assertRaises(LocalProtocolError, pack_token, MTYP.DATA, b"x" * 65536)
        self.assertRaises(LocalProtocolError, pack_token, MTYP.ABORT, b"")

    def test_shorter_bound(self) -> None:
        """One may wait for less; then LEN is enough to refuse it."""
        self.assertIsNone(parse_frame(b"\x01\x03\x00\x03", max_token=3))
        self.assertRaises(MalformedFrame, parse_frame, b"\x01\x03\x00\x04", max_token=3)

    def test_malformed(self) -> None:
        """A wrong VER or MTYP is refused at its octet, and answered with an abort."""
        for octet in range(256):
            if octet != 1:
                error = self.assertRaises(MalformedFrame, parse_frame, bytes((octet,)))
                self.assertEqual(error.answer, ABORT)
            if octet not in (1, 2, 3, 255):
                error = self.assertRaises(MalformedFrame, parse_frame, bytes((1, octet)))
                self.assertEqual(error.answer, ABORT)
                self.assertIsNone(error.reply)

    def test_kind(self) -> None:
        """Where only one kind has its turn, another is refused at MTYP; an abort always has."""
        self.assertRaises(MalformedFrame, parse_frame, b"\x01\x03", kind=MTYP.AUTHENTICATION)
        self.assertIsNone(parse_frame(b"\x01\x01", kind=MTYP.AUTHENTICATION))
        self.assertEqual(parse_frame(ABORT, kind=MTYP.AUTHENTICATION), (Abort(), 2))

    def test_secret(self) -> None:
        """A token may be as good as a password: it is in no text."""
        self.assertEqual(repr(Token(MTYP.DATA, b"secret")), "Token(kind=<MTYP.DATA: 3>)")


frames: st.SearchStrategy[Frame] = st.one_of(
    st.builds(Token, st.sampled_from((MTYP.DATA, MTYP.AUTHENTICATION)), st.binary(max_size=20)),
    st.just(Abort()),
)


def pack(frame: Frame) -> bytes:
    """Write any frame."""
    return pack_token(frame.kind, frame.data) if isinstance(frame, Token) else pack_abort()


class TokenReaderTests(SynchronousTestCase):
    """A stream of frames."""

    def read(self, reader: TokenReader, octets: list[bytes]) -> list[Frame | type[ProtocolError]]:
        """Read what comes piece by piece, and the mistake that ends it, if there is one."""
        found: list[Frame | type[ProtocolError]] = []
        try:
            for piece in octets:
                reader.receive(piece)
                while (frame := reader.next_frame()) is not None:
                    found.append(frame)
        except ProtocolError as error:
            found.append(type(error))
        return found

    @settings(max_examples=200, deadline=None)
    @given(st.lists(frames, max_size=5), st.data())
    def test_any_cut(self, sent: list[Frame], data: st.DataObject) -> None:
        """The same frames come out of any cut."""
        cut = data.draw(pieces(b"".join(map(pack, sent))))
        reader = TokenReader()
        self.assertEqual(self.read(reader, cut), sent)
        self.assertEqual(reader.buffered, 0)

    @settings(max_examples=200, deadline=None)
    @given(st.lists(frames, max_size=3), st.binary(max_size=20), st.data())
    def test_any_octets(self, sent: list[Frame], behind: bytes, data: st.DataObject) -> None:
        """Anything else ends it with a ProtocolError, and no frame before it is lost."""
        octets = b"".join(map(pack, sent)) + behind
        cut = data.draw(pieces(octets))
        whole = self.read(TokenReader(), [octets])
        self.assertEqual(self.read(TokenReader(), cut), whole)
        self.assertEqual(whole[: len(sent)], sent)

    def test_incomplete(self) -> None:
        """What isn't complete waits, and is counted."""
        reader = TokenReader(kind=MTYP.DATA)
        reader.receive(b"\x01\x03\x00\x03ab")
        self.assertIsNone(reader.next_frame())
        self.assertEqual(reader.buffered, 6)

    def test_final(self) -> None:
        """After a mistake everything raises the same error."""
        reader = TokenReader(kind=MTYP.DATA, max_token=10)
        reader.receive(b"\x01\x03\x00\x0b")
        error = self.assertRaises(MalformedFrame, reader.next_frame)
        self.assertIs(self.assertRaises(MalformedFrame, reader.next_frame), error)
        self.assertIs(self.assertRaises(MalformedFrame, reader.receive, b""), error)
        self.assertEqual(reader.buffered, 0)

    def test_kind(self) -> None:
        """It can be held to one kind of token."""
        reader = TokenReader(kind=MTYP.DATA)
        reader.receive(b"\x01\x01\x00\x00")
        self.assertRaises(MalformedFrame, reader.next_frame)

    def test_bound(self) -> None:
        """It keeps MAX_BUFFERED octets for who doesn't ask for frames, and not one more."""
        frame = pack_token(MTYP.DATA, b"x" * 65531)
        reader = TokenReader()
        reader.receive(frame)
        reader.receive(b"x" * (MAX_BUFFERED - len(frame)))
        self.assertEqual(reader.buffered, MAX_BUFFERED)
        # What has been taken doesn't count.
        self.assertIsNotNone(reader.next_frame())
        reader.receive(b"x" * len(frame))
        self.assertRaises(TooManyOctets, reader.receive, b"x")
        self.assertRaises(TooManyOctets, reader.next_frame)
