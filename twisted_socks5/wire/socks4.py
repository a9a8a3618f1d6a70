"""
SOCKS4 (Ying-Da Lee) and SOCKS4a, its extension by names: one request, one reply.

There is no negotiation and no IPv6.  USERID is what the client says of itself; nobody has to
believe it.  Neither USERID nor the name has a length on the wire, only a NUL behind it, so both
are bounded here by what SOCKS5 allows: 255 octets.

SOCKS4a's mark is an address 0.0.0.x with x other than 0: then a name stands behind USERID.
0.0.0.0 is no mark.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, Final

from .address import UNSPECIFIED, Address, Buffer, Host
from .constants import (
    MAX_NAME,
    MAX_PORT,
    MAX_USER_ID,
    REPLY4_SIZE,
    SOCKS4_REPLY_VERSION,
    SOCKS4_VERSION,
    Reply,
    Reply4,
)
from .errors import LocalProtocolError, MalformedRequest4, UnsupportedVersion
from .messages import check_octet

_FIXED_SIZE: Final = 8
_NAME_FOLLOWS: Final = IPv4Address("0.0.0.1")


@dataclass(frozen=True, slots=True)
class Request4:
    """
    What a SOCKS4 client wants.

    @cvar version: 4; L{Request<twisted_socks5.wire.Request>} has the same attributes, with 5.
    @ivar command: CD, which has SOCKS5's numbers for CONNECT and BIND.
    @ivar destination: DSTIP or SOCKS4a's name, and DSTPORT.
    @ivar user_id: USERID, without its NUL; unproven.
    """

    version: ClassVar[int] = SOCKS4_VERSION

    command: int
    destination: Address
    user_id: bytes = b""


@dataclass(frozen=True, slots=True)
class Reply4Message:
    """
    What became of it.

    @cvar version: 4.
    @ivar reply: CD: a L{Reply4<twisted_socks5.wire.Reply4>}, or a number nobody knows.
    @ivar bound: DSTIP and DSTPORT, which count for BIND only; an address of 0.0.0.0 is to be
        read as the server's own.
    """

    version: ClassVar[int] = SOCKS4_VERSION

    reply: int
    bound: Address

    @property
    def succeeded(self) -> bool:
        """Whether the request was granted."""
        return self.reply == Reply4.GRANTED


def reply4_for(reply: int) -> Reply4:
    """
    Say in SOCKS4's few words what SOCKS5's C{reply} says: granted, or rejected.

    @param reply: a REP, or one of SOCKS4's own codes, which stays as it is (92 and 93 are about
        identd, and SOCKS5 has nothing like them).
    """
    if reply == Reply.SUCCEEDED:
        return Reply4.GRANTED
    try:
        return Reply4(reply)
    except ValueError:
        return Reply4.REJECTED


def _pack_endpoint(address: IPv4Address, port: int) -> bytes:
    """Write DSTPORT DSTIP: the port comes first here."""
    if not 0 <= port <= MAX_PORT:
        raise LocalProtocolError(f"port {port} is not from 0 to {MAX_PORT}")
    return port.to_bytes(2, "big") + address.packed


def _pack_string(octets: bytes, limit: int, what: str) -> bytes:
    """Write octets and their NUL."""
    if len(octets) > limit:
        raise LocalProtocolError(f"a {what} of {len(octets)} octets, more than {limit}")
    if b"\0" in octets:
        raise LocalProtocolError(f"SOCKS4 cannot carry a NUL in a {what}")
    return octets + b"\0"


def pack_request4(command: int, destination: Address, user_id: bytes = b"") -> bytes:
    """
    Write VN CD DSTPORT DSTIP USERID NUL and, for a name, SOCKS4a's NAME NUL.

    @raise LocalProtocolError: SOCKS4 cannot carry the destination: an IPv6 address, an address
        0.0.0.x that would be taken for SOCKS4a's mark, or a name that is empty, longer than 255
        octets or has a NUL in it; or C{user_id} is longer than 255 octets or has a NUL in it.
    """
    check_octet(command, "command")
    host, port = destination
    name = b""
    if isinstance(host, bytes):
        if not host:
            raise LocalProtocolError("a name of 0 octets")
        name = _pack_string(host, MAX_NAME, "name")
        host = _NAME_FOLLOWS
    elif isinstance(host, IPv6Address):
        raise LocalProtocolError(f"SOCKS4 cannot carry the IPv6 address {host}")
    elif _is_mark(host.packed):
        raise LocalProtocolError(f"SOCKS4a reads {host} as the mark of a name")
    return b"".join(
        (
            bytes((SOCKS4_VERSION, command)),
            _pack_endpoint(host, port),
            _pack_string(user_id, MAX_USER_ID, "user id"),
            name,
        )
    )


def _is_mark(packed: bytes) -> bool:
    """Whether it is 0.0.0.x with x other than 0 (one octet too few to look at is a classic)."""
    return packed[:3] == b"\0\0\0" and packed[3] != 0


def _parse_string(buffer: Buffer, start: int, limit: int, what: str) -> tuple[bytes, int] | None:
    """Read octets up to a NUL, C{limit} of them at most."""
    octets = bytes(buffer[start : start + limit + 1])
    size = octets.find(b"\0")
    if size >= 0:
        return octets[:size], start + size + 1
    if len(octets) > limit:
        raise MalformedRequest4(f"no end of the {what} within {limit} octets")
    return None


def parse_request4(buffer: Buffer, offset: int = 0) -> tuple[Request4, int] | None:
    """
    Read VN CD DSTPORT DSTIP USERID NUL and, if DSTIP is SOCKS4a's mark, NAME NUL.

    @return: the request and the offset behind it, or L{None} if octets are missing.
    @raise UnsupportedVersion: as soon as VN is there and is not 4.
    @raise MalformedRequest4: USERID or the name goes on beyond 255 octets.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != SOCKS4_VERSION:
        raise UnsupportedVersion(
            bytes(buffer[offset : offset + 1]),
            where="the SOCKS4 request",
            expected=SOCKS4_VERSION,
        )
    if size < offset + _FIXED_SIZE:
        return None
    user = _parse_string(buffer, offset + _FIXED_SIZE, MAX_USER_ID, "user id")
    if user is None:
        return None
    user_id, end = user
    packed = bytes(buffer[offset + 4 : offset + 8])
    host: Host = IPv4Address(packed)
    if _is_mark(packed):
        name = _parse_string(buffer, end, MAX_NAME, "name")
        if name is None:
            return None
        host, end = name
    port = buffer[offset + 2] << 8 | buffer[offset + 3]
    return Request4(buffer[offset + 1], Address(host, port), user_id), end


def pack_reply4(reply: int, bound: Address = UNSPECIFIED) -> bytes:
    """
    Write VN CD DSTPORT DSTIP, where VN is 0.

    @param reply: a L{Reply4<twisted_socks5.wire.Reply4>}; L{reply4_for} finds it.
    @param bound: what SOCKS4 cannot carry (an IPv6 address, unless an IPv4 one is mapped into
        it, or a name) becomes 0.0.0.0, which clients read as the server's own address.
    @raise LocalProtocolError: the code is no octet or the port no port.
    """
    check_octet(reply, "reply")
    host, port = bound
    mapped = host.ipv4_mapped if isinstance(host, IPv6Address) else host
    if not isinstance(mapped, IPv4Address):
        mapped = IPv4Address(0)
    return bytes((SOCKS4_REPLY_VERSION, reply)) + _pack_endpoint(mapped, port)


def parse_reply4(buffer: Buffer, offset: int = 0) -> tuple[Reply4Message, int] | None:
    """
    Read VN CD DSTPORT DSTIP.

    @return: the reply and the offset behind it, or L{None} if octets are missing.
    @raise UnsupportedVersion: as soon as VN is there and is not 0.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != SOCKS4_REPLY_VERSION:
        raise UnsupportedVersion(
            bytes(buffer[offset : offset + 1]),
            where="the SOCKS4 reply",
            expected=SOCKS4_REPLY_VERSION,
        )
    end = offset + REPLY4_SIZE
    if size < end:
        return None
    host = IPv4Address(bytes(buffer[offset + 4 : end]))
    port = buffer[offset + 2] << 8 | buffer[offset + 3]
    return Reply4Message(buffer[offset + 1], Address(host, port)), end
