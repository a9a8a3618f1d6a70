"""
The four messages of RFC 1928, sections 3, 4 and 6, each as a value, and both ways on the wire.

C{pack_x(…)} takes a message's fields and gives its octets.  C{parse_x(buffer, offset)} gives the
message and the offset behind it, or L{None} while octets are missing: it never looks behind the
message, and raises as soon as the octets that are there cannot become one.  What may follow what
is not known here; that is L{twisted_socks5.wire.server} and L{twisted_socks5.wire.client}.

Codes are plain integers, since a peer may use one that has no name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Final

from .address import UNSPECIFIED, Address, Buffer, pack_address, parse_address
from .constants import (
    MAX_METHODS,
    MAX_OCTET,
    METHOD_SELECTION_SIZE,
    SOCKS_VERSION,
    Method,
    Reply,
)
from .errors import LocalProtocolError, MalformedRequest, UnsupportedVersion

# How much of what should have been a message an error looks at for its hint.
_HINT_SIZE: Final = 16

_SUCCEEDED: Final = int(Reply.SUCCEEDED)


@dataclass(frozen=True, slots=True)
class Greeting:
    """
    The version identifier/method selection message (RFC 1928, section 3): what the client can.

    @ivar methods: METHODS, one octet each, so that C{Method.GSSAPI in greeting.methods} works.
        Empty if the client sent an NMETHODS of 0, which the RFC excludes: then nothing in it is
        acceptable.
    """

    methods: bytes


@dataclass(frozen=True, slots=True)
class MethodSelection:
    """
    The server's choice (RFC 1928, section 3).

    @ivar method: METHOD; 0xFF says that none is acceptable.
    """

    method: int


@dataclass(frozen=True, slots=True)
class Request:
    """
    What the client wants (RFC 1928, section 4).

    @cvar version: 5; L{Request4<twisted_socks5.wire.Request4>} has the same attributes, with 4.
    @ivar command: CMD, also one that nobody knows.
    @ivar destination: DST.ADDR and DST.PORT.
    @ivar reserved: RSV as received: 0, if the client keeps to the RFC.
    """

    version: ClassVar[int] = SOCKS_VERSION

    command: int
    destination: Address
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class ReplyMessage:
    """
    What became of a request (RFC 1928, section 6).

    @cvar version: 5; L{Reply4Message<twisted_socks5.wire.Reply4Message>} has the same
        attributes, with 4.
    @ivar reply: REP, also one that nobody knows.
    @ivar bound: BND.ADDR and BND.PORT; some servers write a name.
    """

    version: ClassVar[int] = SOCKS_VERSION

    reply: int
    bound: Address

    @property
    def succeeded(self) -> bool:
        """Whether the request was granted; every REP but 0 is a failure."""
        return self.reply == _SUCCEEDED


def check_octet(value: int, name: str) -> None:
    """
    See that a code fits into its octet.

    @param name: what it is, for the error.
    @raise LocalProtocolError: it is not from 0 to 255.
    """
    if not 0 <= value <= MAX_OCTET:
        raise LocalProtocolError(f"{name} {value} is not from 0 to {MAX_OCTET}")


def _wrong_version(
    buffer: Buffer, offset: int, where: str, reply: Reply | None = None
) -> UnsupportedVersion:
    """Make the error for a message whose first octet, at C{offset}, is not 5."""
    octets = bytes(buffer[offset : offset + _HINT_SIZE])
    return UnsupportedVersion(octets, where=where, reply=reply)


def pack_greeting(methods: Sequence[int]) -> bytes:
    """
    Write VER NMETHODS METHODS (RFC 1928, section 3).

    @param methods: what the client can, the server chooses by its own preference.
    @raise LocalProtocolError: there are not 1 to 255 of them, one is no octet, or it is 0xFF,
        which is the server's word for "none".
    """
    if not 1 <= len(methods) <= MAX_METHODS:
        raise LocalProtocolError(f"{len(methods)} methods, instead of 1 to {MAX_METHODS}")
    for method in methods:
        check_octet(method, "method")
    if Method.NO_ACCEPTABLE_METHODS in methods:
        raise LocalProtocolError("0xFF cannot be offered as a method")
    return bytes((SOCKS_VERSION, len(methods), *methods))


def parse_greeting(buffer: Buffer, offset: int = 0) -> tuple[Greeting, int] | None:
    """
    Read VER NMETHODS METHODS (RFC 1928, section 3).

    @return: the greeting and the offset behind it, or L{None} if octets are missing.
    @raise UnsupportedVersion: as soon as VER is there and is not 5.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != SOCKS_VERSION:
        raise _wrong_version(buffer, offset, "the greeting")
    if size < offset + 2:
        return None
    end = offset + 2 + buffer[offset + 1]
    if size < end:
        return None
    return Greeting(bytes(buffer[offset + 2 : end])), end


def pack_method_selection(method: int) -> bytes:
    """
    Write VER METHOD (RFC 1928, section 3).

    @raise LocalProtocolError: the method is no octet.
    """
    check_octet(method, "method")
    return bytes((SOCKS_VERSION, method))


def parse_method_selection(buffer: Buffer, offset: int = 0) -> tuple[MethodSelection, int] | None:
    """
    Read VER METHOD (RFC 1928, section 3).

    @return: the selection and the offset behind it, or L{None} if octets are missing.
    @raise UnsupportedVersion: as soon as VER is there and is not 5.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != SOCKS_VERSION:
        raise _wrong_version(buffer, offset, "the method selection")
    end = offset + METHOD_SELECTION_SIZE
    if size < end:
        return None
    return MethodSelection(buffer[offset + 1]), end


def pack_request(command: int, destination: Address, reserved: int = 0) -> bytes:
    """
    Write VER CMD RSV ATYP DST.ADDR DST.PORT (RFC 1928, section 4).

    @raise LocalProtocolError: a code is no octet, or the wire cannot carry the destination:
        L{pack_address<twisted_socks5.wire.pack_address>} says when.
    """
    check_octet(command, "command")
    check_octet(reserved, "RSV")
    return bytes((SOCKS_VERSION, command, reserved)) + pack_address(destination)


def parse_request(buffer: Buffer, offset: int = 0) -> tuple[Request, int] | None:
    """
    Read VER CMD RSV ATYP DST.ADDR DST.PORT (RFC 1928, section 4).

    @return: the request and the offset behind it, or L{None} if octets are missing.
    @raise UnsupportedVersion: as soon as VER is there and is not 5; REP 1.
    @raise UnknownAddressType: as soon as ATYP is there and is none; REP 8.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != SOCKS_VERSION:
        raise _wrong_version(buffer, offset, "the request", Reply.GENERAL_FAILURE)
    parsed = parse_address(buffer, offset + 3)
    if parsed is None:
        return None
    return Request(buffer[offset + 1], parsed[0], buffer[offset + 2]), parsed[1]


def parse_request_strictly(buffer: Buffer, offset: int = 0) -> tuple[Request, int] | None:
    """
    Read a request as L{parse_request} does, but hold the client to its RSV.

    @raise MalformedRequest: RSV is not 0 (RFC 1928, section 4); REP 1.  A draft that succeeds
        the RFC makes it a flag, which is why it is not looked at by default.
    """
    parsed = parse_request(buffer, offset)
    if parsed is not None and parsed[0].reserved != 0:
        raise MalformedRequest(f"RSV is 0x{parsed[0].reserved:02X} in the request")
    return parsed


def pack_reply(reply: int, bound: Address = UNSPECIFIED) -> bytes:
    """
    Write VER REP RSV ATYP BND.ADDR BND.PORT (RFC 1928, section 6).

    @raise LocalProtocolError: the code is no octet, or the wire cannot carry the address.
    """
    check_octet(reply, "reply")
    return bytes((SOCKS_VERSION, reply, 0)) + pack_address(bound)


def parse_reply(buffer: Buffer, offset: int = 0) -> tuple[ReplyMessage, int] | None:
    """
    Read VER REP RSV ATYP BND.ADDR BND.PORT (RFC 1928, section 6); RSV is not looked at.

    @return: the reply and the offset behind it, or L{None} if octets are missing.
    @raise UnsupportedVersion: as soon as VER is there and is not 5.
    @raise UnknownAddressType: as soon as ATYP is there and is none.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != SOCKS_VERSION:
        raise _wrong_version(buffer, offset, "the reply")
    parsed = parse_address(buffer, offset + 3)
    if parsed is None:
        return None
    return ReplyMessage(buffer[offset + 1], parsed[0]), parsed[1]
