"""
Host and port, and how RFC 1928 (sections 4 to 7) writes them: ATYP ADDR PORT.

A name is a string of octets here, exactly as it stood on the wire.  Whether it is a legal name,
an IP address in disguise or rubbish is not asked in this room; an address is not resolved and
not judged.
"""

from __future__ import annotations

import re
from functools import lru_cache, partial
from ipaddress import IPv4Address, IPv6Address
from struct import Struct
from typing import Final, NamedTuple

from .constants import MAX_NAME, MAX_PORT, AddressType
from .errors import LocalProtocolError, UnknownAddressType

Host = IPv4Address | IPv6Address | bytes
"""An IP address, or the raw octets of a DOMAINNAME."""

Buffer = bytes | bytearray | memoryview
"""What messages are read from."""

# Enum members cost a look-up by name each time, and these are compared for every request.
_IPV4: Final = int(AddressType.IPV4)
_DOMAINNAME: Final = int(AddressType.DOMAINNAME)
_IPV6: Final = int(AddressType.IPV6)

_PACK_IPV4: Final = Struct("!BLH").pack
_PACK_IPV6: Final = Struct("!B16sH").pack

# What is not shown as it is: all but printable ASCII, the space, the quote and the backslash.
_ESCAPE: Final = partial(
    re.compile(rb'[^!-~]|["\\]').sub, lambda found: b"\\x%02x" % ord(found[0])
)


@lru_cache(maxsize=4096)  # The same few are written again and again.
def _dotted(value: int) -> str:
    return str(IPv4Address(value))


def describe_host(host: Host) -> str:
    r"""
    Write a host so that it can stand in a log line: no blanks, quotes or control characters.

    @param host: octets of a name that are not plain visible ASCII become C{\xNN}.
    """
    if isinstance(host, IPv4Address):
        return _dotted(int(host))
    if isinstance(host, bytes):
        return _ESCAPE(host).decode("ascii")
    return str(host)


class Address(NamedTuple):
    """
    A destination or a bound address.

    @ivar host: an IP address, or the octets of a name.
    @ivar port: 0 to 65535.
    """

    host: Host
    port: int

    def __str__(self) -> str:
        host, port = self
        if isinstance(host, IPv6Address):
            return f"[{host}]:{port}"
        return f"{describe_host(host)}:{port}"


UNSPECIFIED: Final = Address(IPv4Address(0), 0)
"""0.0.0.0:0, which stands for "none" and for "not known"."""


def pack_address(address: Address) -> bytes:
    """
    Write ATYP ADDR PORT (RFC 1928, section 5).

    @raise LocalProtocolError: a name is empty or longer than 255 octets, a port is not from 0 to
        65535, or an IPv6 address has a zone, which the wire has no place for.
    """
    host, port = address
    # An explicit test: what does not fit makes struct raise errors of its own.
    if not 0 <= port <= MAX_PORT:
        raise LocalProtocolError(f"port {port} is not from 0 to {MAX_PORT}")
    if isinstance(host, IPv4Address):
        return _PACK_IPV4(_IPV4, int(host), port)
    if isinstance(host, IPv6Address):
        if host.scope_id is not None:
            raise LocalProtocolError(f"SOCKS5 cannot carry the zone of {host}")
        return _PACK_IPV6(_IPV6, host.packed, port)
    if not 1 <= len(host) <= MAX_NAME:
        raise LocalProtocolError(f"a name of {len(host)} octets, instead of 1 to {MAX_NAME}")
    return b"".join((bytes((_DOMAINNAME, len(host))), host, port.to_bytes(2, "big")))


def parse_address(buffer: Buffer, offset: int = 0) -> tuple[Address, int] | None:
    """
    Read ATYP ADDR PORT (RFC 1928, section 5).

    A name of length 0 is read as it stands: the wire can say it, and whoever resolves names
    refuses it.

    @param offset: where ATYP is.
    @return: the address and the offset behind it, or L{None} if octets are missing.
    @raise UnknownAddressType: as soon as ATYP is there.
    """
    size = len(buffer)
    if size <= offset:
        return None
    address_type = buffer[offset]
    host: Host
    if address_type == _IPV4:
        end = offset + 7
        if size < end:
            return None
        host = IPv4Address(int.from_bytes(buffer[offset + 1 : offset + 5], "big"))
    elif address_type == _DOMAINNAME:
        if size < offset + 2:
            return None
        end = offset + 4 + buffer[offset + 1]
        if size < end:
            return None
        host = bytes(buffer[offset + 2 : end - 2])
    elif address_type == _IPV6:
        end = offset + 19
        if size < end:
            return None
        host = IPv6Address(int.from_bytes(buffer[offset + 1 : offset + 17], "big"))
    else:
        raise UnknownAddressType(address_type)
    return Address(host, buffer[end - 2] << 8 | buffer[end - 1]), end
