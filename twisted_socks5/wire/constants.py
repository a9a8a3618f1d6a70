"""
The words of RFC 1928 as numbers, and the sizes and bounds that follow from it.

Every bound on what is buffered is derived here, so that no reader invents its own.
"""

from __future__ import annotations

from enum import IntEnum

SOCKS_VERSION = 5
SOCKS4_VERSION = 4
USERNAME_PASSWORD_VERSION = 1
GSSAPI_VERSION = 1


class Method(IntEnum):
    """METHOD of the greeting (RFC 1928, section 3; IANA's registry "socks-methods")."""

    NO_AUTHENTICATION = 0x00
    GSSAPI = 0x01
    USERNAME_PASSWORD = 0x02
    CHAP = 0x03
    NO_ACCEPTABLE_METHODS = 0xFF


class Command(IntEnum):
    """CMD of the request (RFC 1928, section 4); the last two are Tor's extensions."""

    CONNECT = 0x01
    BIND = 0x02
    UDP_ASSOCIATE = 0x03
    RESOLVE = 0xF0
    RESOLVE_PTR = 0xF1


class AddressType(IntEnum):
    """ATYP (RFC 1928, section 5)."""

    IPV4 = 0x01
    DOMAINNAME = 0x03
    IPV6 = 0x04


class Reply(IntEnum):
    """REP of the reply (RFC 1928, section 6)."""

    SUCCEEDED = 0x00
    GENERAL_FAILURE = 0x01
    CONNECTION_NOT_ALLOWED = 0x02
    NETWORK_UNREACHABLE = 0x03
    HOST_UNREACHABLE = 0x04
    CONNECTION_REFUSED = 0x05
    TTL_EXPIRED = 0x06
    COMMAND_NOT_SUPPORTED = 0x07
    ADDRESS_TYPE_NOT_SUPPORTED = 0x08
