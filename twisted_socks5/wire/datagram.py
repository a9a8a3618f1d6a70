"""
The UDP request header (RFC 1928, section 7): RSV RSV FRAG ATYP DST.ADDR DST.PORT, then data.

It stands before every datagram in both directions, so nothing here makes an object that is not
needed: a host stays the octets that it is on the wire, and the payload stays where it is.  Who
may send, where to and what a fragment belongs to is not asked.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Final

from .address import Host
from .constants import (
    END_OF_FRAGMENTS,
    MAX_FRAGMENTS,
    MAX_NAME,
    MAX_OCTET,
    MAX_PORT,
    AddressType,
)
from .errors import DatagramError, LocalProtocolError

_IPV4: Final = int(AddressType.IPV4)
_DOMAINNAME: Final = int(AddressType.DOMAINNAME)
_IPV6: Final = int(AddressType.IPV6)
_SIZES: Final = {_IPV4: 4, _IPV6: 16}


def parse_header(data: bytes) -> tuple[int, int, bytes, int, int]:
    """
    Read the header of a datagram.

    @param data: the whole datagram.
    @return: FRAG; ATYP; the host's octets, 4, 16 or as many as the name has, which is at least
        one; the port; and the offset of the payload, which may be empty.
    @raise DatagramError: the datagram is too short for its header, RSV is not 0, ATYP is
        unknown, or the name is empty.
    """
    size = len(data)
    if size < 5:
        raise DatagramError(f"a datagram of {size} octets has no header")
    if data[0] or data[1]:
        raise DatagramError(f"RSV is 0x{data[0]:02X}{data[1]:02X} in a datagram")
    address_type = data[3]
    start = 4
    if address_type == _IPV4:
        end = 8
    elif address_type == _DOMAINNAME:
        start = 5
        end = 5 + data[4]
        if end == start:
            raise DatagramError("an empty name in a datagram")
    elif address_type == _IPV6:
        end = 20
    else:
        raise DatagramError(f"unknown address type 0x{address_type:02X} in a datagram")
    offset = end + 2
    if size < offset:
        raise DatagramError(f"a datagram of {size} octets ends within its header")
    return data[2], address_type, data[start:end], data[end] << 8 | data[end + 1], offset


def pack_header(host: Host, port: int, frag: int = 0) -> bytes:
    """
    Write the header of a datagram.

    @param host: where it goes to or, in a reply, came from; octets are a name.
    @param frag: FRAG.
    @raise LocalProtocolError: FRAG is no octet, the port no port, the name not 1 to 255 octets
        long, or an IPv6 address has a zone.
    """
    if isinstance(host, bytes):
        return pack_raw_header(_DOMAINNAME, host, port, frag)
    if isinstance(host, IPv6Address):
        if host.scope_id is not None:
            raise LocalProtocolError(f"SOCKS5 cannot carry the zone of {host}")
        return pack_raw_header(_IPV6, host.packed, port, frag)
    return pack_raw_header(_IPV4, host.packed, port, frag)


def pack_raw_header(address_type: int, host: bytes, port: int, frag: int = 0) -> bytes:
    """
    Write the header of a datagram from what L{parse_header} gives, or from what a socket knows.

    @param address_type: ATYP.
    @param host: the 4 or 16 octets of an address, or a name.
    @param frag: FRAG.
    @raise LocalProtocolError: FRAG is no octet, the port no port, or the host is not as long as
        ATYP says.
    """
    if not (0 <= frag <= MAX_OCTET and 0 <= port <= MAX_PORT):
        raise LocalProtocolError(f"FRAG {frag} or port {port} out of range")
    size = len(host)
    if address_type == _DOMAINNAME:
        if not 1 <= size <= MAX_NAME:
            raise LocalProtocolError(f"a name of {size} octets, instead of 1 to {MAX_NAME}")
        start = bytes((0, 0, frag, address_type, size))
    else:
        if size != _SIZES.get(address_type):
            raise LocalProtocolError(f"address type {address_type} does not have {size} octets")
        start = bytes((0, 0, frag, address_type))
    return b"".join((start, host, port.to_bytes(2, "big")))


def split_datagram(header: bytes, payload: bytes, size: int) -> list[bytes]:
    """
    Cut a datagram that is too large into fragments (RFC 1928, section 7).

    Whoever sends fragments depends on a server that puts them together again: many drop them,
    as the RFC allows, and one that is lost on its way takes all of them along.

    @param header: what L{pack_header} gave, with FRAG 0.
    @param payload: what goes behind it.
    @param size: the largest datagram to send, in octets, its header included.
    @return: datagrams, each with its header: one with FRAG 0 where that suffices, otherwise at
        most 127, the last one marked as such.
    @raise LocalProtocolError: 127 do not suffice, or C{size} leaves no room for any payload.
    """
    room = size - len(header)
    if len(payload) <= room:
        return [header + payload]
    # Rounded up; nothing is divided by a room that is none.
    count = -(-len(payload) // room) if room > 0 else MAX_FRAGMENTS + 1
    if count > MAX_FRAGMENTS:
        raise LocalProtocolError(
            f"{len(payload)} octets do not fit into {MAX_FRAGMENTS} datagrams of {size}"
        )
    before, behind = header[:2], header[3:]
    pieces = []
    for position in range(1, count + 1):
        frag = position | END_OF_FRAGMENTS if position == count else position
        start = (position - 1) * room
        pieces.append(b"".join((before, bytes((frag,)), behind, payload[start : start + room])))
    return pieces
