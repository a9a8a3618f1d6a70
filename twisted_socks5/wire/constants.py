"""
The words of RFC 1928, 1929, 1961 and SOCKS4 as numbers, and the sizes and bounds that follow.

Every bound on what is buffered is derived here, so that no reader invents its own.

A code that is not among the words is legal on the wire all the same: messages carry plain
integers, and the C{describe_…} functions have a text for each of the 256.
"""

from __future__ import annotations

from enum import IntEnum

SOCKS_VERSION = 5
SOCKS4_VERSION = 4
SOCKS4_REPLY_VERSION = 0
"""VN of a SOCKS4 reply: "the version of the reply code", which is 0 and not 4."""
USERNAME_PASSWORD_VERSION = 1
GSSAPI_VERSION = 1


class Method(IntEnum):
    """METHOD of the greeting (RFC 1928, section 3; IANA's registry "socks-methods")."""

    NO_AUTHENTICATION = 0x00
    GSSAPI = 0x01
    USERNAME_PASSWORD = 0x02
    CHAP = 0x03
    CRAM = 0x05
    SSL = 0x06
    NDS = 0x07
    MULTI_AUTHENTICATION_FRAMEWORK = 0x08
    JSON_PARAMETER_BLOCK = 0x09
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


class Reply4(IntEnum):
    """CD of the SOCKS4 reply."""

    GRANTED = 90
    REJECTED = 91
    IDENTD_UNREACHABLE = 92
    IDENTD_MISMATCH = 93


class MTYP(IntEnum):
    """
    The message type of a GSSAPI frame (RFC 1961, sections 3.4, 3.8, 4.3 and 5).

    C{DATA} is what section 5 calls "encapsulated user data".
    """

    AUTHENTICATION = 0x01
    PROTECTION_LEVEL = 0x02
    DATA = 0x03
    ABORT = 0xFF


class ProtectionLevel(IntEnum):
    """
    What GSSAPI does for each message once the context stands (RFC 1961, section 4.1).

    C{NONE} is not in the RFC: some clients ask for it, and then nothing is encapsulated.
    """

    NONE = 0
    INTEGRITY = 1
    CONFIDENTIALITY = 2
    PER_MESSAGE = 3


_METHODS = {
    Method.NO_AUTHENTICATION: "no authentication",
    Method.GSSAPI: "GSSAPI",
    Method.USERNAME_PASSWORD: "username/password",
    Method.CHAP: "CHAP",
    Method.CRAM: "CRAM",
    Method.SSL: "SSL",
    Method.NDS: "NDS",
    Method.MULTI_AUTHENTICATION_FRAMEWORK: "multi-authentication framework",
    Method.JSON_PARAMETER_BLOCK: "JSON parameter block",
    Method.NO_ACCEPTABLE_METHODS: "no acceptable methods",
}
_COMMANDS = {
    Command.CONNECT: "CONNECT",
    Command.BIND: "BIND",
    Command.UDP_ASSOCIATE: "UDP ASSOCIATE",
    Command.RESOLVE: "RESOLVE",
    Command.RESOLVE_PTR: "RESOLVE_PTR",
}
_REPLIES = {
    Reply.SUCCEEDED: "succeeded",
    Reply.GENERAL_FAILURE: "general SOCKS server failure",
    Reply.CONNECTION_NOT_ALLOWED: "connection not allowed by ruleset",
    Reply.NETWORK_UNREACHABLE: "network unreachable",
    Reply.HOST_UNREACHABLE: "host unreachable",
    Reply.CONNECTION_REFUSED: "connection refused",
    Reply.TTL_EXPIRED: "TTL expired",
    Reply.COMMAND_NOT_SUPPORTED: "command not supported",
    Reply.ADDRESS_TYPE_NOT_SUPPORTED: "address type not supported",
}
_REPLIES4 = {
    Reply4.GRANTED: "request granted",
    Reply4.REJECTED: "request rejected or failed",
    Reply4.IDENTD_UNREACHABLE: "rejected: no identd reachable on the client",
    Reply4.IDENTD_MISMATCH: "rejected: identd reports a different user",
}


def describe_method(code: int) -> str:
    """Say what a METHOD is, for logs: C{"username/password (0x02)"}."""
    if code in _METHODS:
        kind = _METHODS[Method(code)]
    else:
        # RFC 1928, section 3: IANA assigns up to 7F, 80 to FE are reserved for private methods.
        kind = "unassigned method" if code < 0x80 else "private method"
    return f"{kind} (0x{code:02X})"


def describe_command(code: int) -> str:
    """Say what a CMD is, for logs: C{"UDP ASSOCIATE"}, or C{"command 0x09"}."""
    return _COMMANDS[Command(code)] if code in _COMMANDS else f"command 0x{code:02X}"


def describe_reply(code: int) -> str:
    """Say what a REP means, for logs and exceptions: C{"host unreachable (4)"}."""
    return f"{_REPLIES[Reply(code)] if code in _REPLIES else 'unassigned reply'} ({code})"


def describe_reply4(code: int) -> str:
    """Say what a SOCKS4 CD means, for logs and exceptions."""
    return (
        f"{_REPLIES4[Reply4(code)] if code in _REPLIES4 else 'unassigned SOCKS4 reply'} ({code})"
    )


MAX_PORT = 0xFFFF
MAX_OCTET = 0xFF
"""What a one-octet length or code can say."""

MAX_NAME = MAX_OCTET
"""The longest DOMAINNAME (RFC 1928, section 5): its length is one octet."""

MAX_METHODS = MAX_OCTET
"""NMETHODS is one octet (RFC 1928, section 3)."""

MAX_GREETING = 2 + MAX_METHODS
"""VER NMETHODS METHODS."""

METHOD_SELECTION_SIZE = 2
"""VER METHOD."""

IPV4_ADDRESS_SIZE = 1 + 4 + 2
IPV6_ADDRESS_SIZE = 1 + 16 + 2
MAX_ADDRESS = 1 + 1 + MAX_NAME + 2
"""ATYP, length, name, port."""

MAX_REQUEST = 3 + MAX_ADDRESS
"""VER CMD RSV and the destination."""

MAX_REPLY = 3 + MAX_ADDRESS
"""VER REP RSV and the bound address."""

MAX_USERNAME = MAX_PASSWORD = MAX_OCTET
MAX_CREDENTIALS = 3 + MAX_USERNAME + MAX_PASSWORD
"""VER ULEN UNAME PLEN PASSWD (RFC 1929, section 2)."""

STATUS_SIZE = 2
"""VER STATUS (RFC 1929, section 2)."""

FRAME_HEADER_SIZE = 4
"""VER MTYP LEN of a GSSAPI frame (RFC 1961, section 3.4)."""

MAX_TOKEN = 0xFFFF
"""LEN of a GSSAPI frame has 16 bits."""

MAX_FRAME = FRAME_HEADER_SIZE + MAX_TOKEN

MAX_TOKEN_ROUNDS = 16
"""
How many authentication tokens one side may send before its context must stand.

RFC 1961 sets no end to the exchange.  Kerberos takes one or two, SPNEGO around NTLM three; the
bound is there for who would go on for ever.
"""

MAX_USER_ID = 255
"""
The longest USERID of SOCKS4, without its NUL: the protocol has no bound, this is SOCKS5's.
"""

REPLY4_SIZE = 8
"""VN CD DSTPORT DSTIP."""

MAX_REQUEST4 = REPLY4_SIZE + MAX_USER_ID + 1 + MAX_NAME + 1
"""The eight octets of the request, USERID, NUL and SOCKS4a's name, NUL."""

READ_SIZE = 0x40000
"""
The largest piece that a transport hands over at once: asyncio's 256 KiB; Twisted's are 64 KiB.
"""

MAX_BUFFERED = MAX_FRAME + READ_SIZE
"""
The most a negotiation ever holds: the largest message, all but complete, and one more read.

Honest peers that talk ahead of their turn stay below it, if whoever reads for us pauses while
it is our turn.
"""

UDP_HEADER_IPV4_SIZE = 3 + IPV4_ADDRESS_SIZE
UDP_HEADER_IPV6_SIZE = 3 + IPV6_ADDRESS_SIZE
MAX_UDP_HEADER = 3 + MAX_ADDRESS
"""
RSV RSV FRAG and the address: 10, 22 and at most 262 octets (RFC 1928, section 7; its "20" for
IPv6 is a slip: 4 + 16 + 2 are 22).
"""

MAX_UDP_PAYLOAD = 0xFFFF - 20 - 8
"""What IPv4 and UDP leave of a datagram: 65,507 octets, our header included."""

MAX_FRAGMENTS = 127
"""FRAG has seven bits for the position (RFC 1928, section 7)."""

END_OF_FRAGMENTS = 0x80
"""FRAG's high-order bit marks the last fragment of a sequence."""

MIN_REASSEMBLY_SECONDS = 5.0
"""The reassembly timer "MUST be no less than 5 seconds" (RFC 1928, section 7)."""
