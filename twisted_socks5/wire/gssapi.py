"""
The frames of RFC 1961, method 1: VER MTYP LEN TOKEN, and nothing of what is in a token.

There is no GSSAPI here: making, checking and unwrapping tokens needs a security context, which
belongs to who calls.  So does cutting long data up: a frame carries 65,535 octets at most, what
C{gss_wrap} adds included, and C{gss_wrap_size_limit} says what that leaves.

During the sub-negotiation the frames pass through the negotiations as L{Token} and L{Abort}
events.  Once a protection level is in force everything is framed: requests, replies and data
(L{TokenReader} takes those frames apart), and each UDP datagram as one frame of its own.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .address import Buffer
from .constants import (
    FRAME_HEADER_SIZE,
    GSSAPI_VERSION,
    MAX_BUFFERED,
    MAX_TOKEN,
    MTYP,
)
from .errors import LocalProtocolError, MalformedFrame, ProtocolError, TooManyOctets


@dataclass(frozen=True, slots=True)
class Token:
    """
    A frame with something in it (RFC 1961, sections 3.4, 4.3 and 5).

    @ivar kind: MTYP: whether it belongs to the authentication, the choice of a protection level
        or the data.
    @ivar data: the token, which may be empty; not in the C{repr}.
    """

    kind: MTYP
    data: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Abort:
    """The two octets of a side that gives up its security context (RFC 1961, section 3.8)."""


Frame = Token | Abort

# Looked up by octet; ABORT is not among them, since it has neither a length nor a token.
_TOKEN_KINDS = {int(kind): kind for kind in MTYP if kind is not MTYP.ABORT}


def pack_token(kind: MTYP, data: bytes) -> bytes:
    """
    Write VER MTYP LEN TOKEN (RFC 1961, section 3.4).

    @param kind: anything but C{MTYP.ABORT}.
    @param data: may be empty: a context that stands without another token to send still owes
        the peer an answer.
    @raise LocalProtocolError: C{data} is longer than 65,535 octets, or C{kind} has no token.
    """
    size = len(data)
    if size > MAX_TOKEN:
        raise LocalProtocolError(f"a token of {size} octets, more than {MAX_TOKEN}")
    if kind not in _TOKEN_KINDS:
        raise LocalProtocolError(f"a frame of type {kind} has no token")
    return bytes((GSSAPI_VERSION, kind, size >> 8, size & 0xFF)) + data


def pack_abort() -> bytes:
    """Write VER MTYP of an abort, which has no LEN (RFC 1961, section 3.8)."""
    return bytes((GSSAPI_VERSION, MTYP.ABORT))


def parse_frame(
    buffer: Buffer, offset: int = 0, *, kind: MTYP | None = None, max_token: int = MAX_TOKEN
) -> tuple[Frame, int] | None:
    """
    Read one frame (RFC 1961, section 3.4): of a stream, or of a datagram.

    @param kind: the only kind of token that has its turn; L{None}: any.  An abort always has.
    @param max_token: the longest token to wait for, if less than the wire can carry.
    @return: the frame and the offset behind it, or L{None} if octets are missing.
    @raise MalformedFrame: as soon as VER, MTYP or LEN is there and wrong.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != GSSAPI_VERSION:
        raise MalformedFrame(f"version {buffer[offset]} instead of 1 in a GSSAPI frame")
    if size < offset + 2:
        return None
    found = _TOKEN_KINDS.get(buffer[offset + 1])
    if found is None:
        if buffer[offset + 1] == MTYP.ABORT:
            return Abort(), offset + 2
        raise MalformedFrame(f"a GSSAPI frame of unknown type 0x{buffer[offset + 1]:02X}")
    if kind is not None and found is not kind:
        raise MalformedFrame(f"a GSSAPI frame of type {found.name} in place of {kind.name}")
    start = offset + FRAME_HEADER_SIZE
    if size < start:
        return None
    length = buffer[offset + 2] << 8 | buffer[offset + 3]
    if length > max_token:
        raise MalformedFrame(f"a token of {length} octets, more than {max_token}")
    end = start + length
    if size < end:
        return None
    return Token(found, bytes(buffer[start:end])), end


class TokenReader:
    """
    Takes a stream of frames apart, wherever it was cut.

    Give it what arrives and then ask it for frames until there is none::

        reader.receive(data)
        while (frame := reader.next_frame()) is not None:
            ...

    It holds at most one incomplete frame and what a single L{receive} brought.
    """

    __slots__ = ("_buffer", "_error", "_kind", "_max_token", "_offset")

    def __init__(self, *, kind: MTYP | None = None, max_token: int = MAX_TOKEN) -> None:
        """
        @param kind: the only kind of token to accept (C{MTYP.DATA}, mostly); L{None}: any.
        @param max_token: the longest token to accept, in octets.
        """
        self._buffer = b""
        self._offset = 0
        self._kind = kind
        self._max_token = max_token
        self._error: ProtocolError | None = None

    @property
    def buffered(self) -> int:
        """How many octets wait for the rest of their frame, or to be asked for."""
        return len(self._buffer) - self._offset

    def receive(self, data: bytes) -> None:
        """
        Take what arrived.

        @raise ProtocolError: the stream is broken already, or frames were left so long that
            more than C{MAX_BUFFERED} octets are waiting.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        size = self.buffered + len(data)
        if size > MAX_BUFFERED:
            raise self._fail(TooManyOctets(size))
        self._buffer = self._buffer[self._offset :] + data
        self._offset = 0

    def next_frame(self) -> Frame | None:
        """
        Take the next frame off.

        @return: a frame, or L{None} if its end has not arrived.
        @raise ProtocolError: there is no frame in what arrived; final.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        try:
            parsed = parse_frame(
                self._buffer, self._offset, kind=self._kind, max_token=self._max_token
            )
        except ProtocolError as error:
            raise self._fail(error) from None
        if parsed is None:
            return None
        frame, self._offset = parsed
        return frame

    def _fail(self, error: ProtocolError) -> ProtocolError:
        """Remember what broke the stream, and let go of the octets."""
        self._error = error
        self._buffer = b""
        self._offset = 0
        return error
