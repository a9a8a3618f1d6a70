"""
What a destination really is, before any rule sees it.

A client may write one and the same address in many ways: as ATYP 1, as text in a DOMAINNAME, as
C{0x7f.1} or C{2130706433}, in full-width digits, mapped into IPv6, or carried inside an IPv6
address by a transition mechanism.  L{normalise} undoes what is mere spelling; L{embedded} tells
which IPv4 addresses an IPv6 address carries; what then may be reached is for C{rules} to say.

Nothing here resolves a name or opens a socket, and L{ipAddress} alone knows of Twisted.
"""

from __future__ import annotations

import re
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

import idna

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from twisted_socks5.interfaces import IPAddress

MAX_DOMAINNAME = 255
"""What the length octet of a DOMAINNAME can say (RFC 1928, section 5)."""

MAX_NAME = 253
"""The longest host name as text, without its trailing dot (RFC 1035, section 3.1)."""

MAX_LABEL = 63
"""The longest label of a host name (RFC 1035, section 2.3.4)."""

NAT64 = "NAT64"
"""What L{disguises} calls the well-known prefix of NAT64: only another spelling of IPv4."""

_NAME = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*")
_FOREIGN = re.compile(r"[^a-z0-9_.-]")
_NUMBER = re.compile(r"[0-9]+|0x[0-9a-f]*")
_QUOTED = 80

_LOW_32 = 0xFFFFFFFF
_MAPPED = 0xFFFF

_Host = IPv4Address | IPv6Address | bytes


class InvalidName(ValueError):
    """
    What was asked for is neither an address nor a host name.

    @ivar name: what was asked for, safe to log: escaped, in quotes, cut when long.
    @ivar reason: what is wrong with it.
    """

    def __init__(self, octets: bytes, reason: str) -> None:
        shown = ascii(octets[:_QUOTED])[1:] + ("..." if len(octets) > _QUOTED else "")
        super().__init__(octets, reason)
        self.name = shown
        self.reason = reason

    def __str__(self) -> str:
        return f"invalid host name {self.name}: {self.reason}"


def normalise(host: _Host) -> IPAddress | str:
    """
    Say what a destination really is.

    Names follow the host parser of the WHATWG's URL standard, so that a proxy and a browser
    mean the same host: a name whose last label is a number is an IPv4 address, in any of the
    spellings of C{inet_aton}, or invalid.  Unlike there, the characters of a host name are
    letters, digits, hyphen and underscore only, and nothing is percent-decoded.

    @param host: an address (ATYP 1 and 4), or a DOMAINNAME's octets as they came
        (RFC 1928, section 5).
    @return: an address, IPv4 where an IPv6 one was only its mapped form (RFC 4291, section
        2.5.5.2); or a host name: lower-case ASCII, international ones in their C{xn--} form
        (UTS 46, RFC 5891), at most 253 characters, without a trailing dot.
    @raise InvalidName: it is empty, too long, not UTF-8 or not IDNA, has a zone id, a control
        octet (NUL too), white space or any other character that no host name has.
    """
    if isinstance(host, IPv4Address):
        return host
    if isinstance(host, IPv6Address):
        if host.scope_id is not None:
            raise InvalidName(str(host).encode("utf-8", "replace"), "a zone id")
        return unmapped(host)
    if len(host) > MAX_DOMAINNAME:
        raise InvalidName(host, f"longer than {MAX_DOMAINNAME} octets")
    try:
        text = host.decode("ascii")
    except UnicodeDecodeError:
        text = _fromInternational(host)
    text = text.lower()
    if ":" in text or text.startswith("["):
        return _parseIPv6(host, text)
    if text.endswith("."):
        text = text[:-1]
    if _NAME.fullmatch(text) is None or len(text) > MAX_NAME:
        raise InvalidName(host, _complaint(text))
    if _NUMBER.fullmatch(text, text.rfind(".") + 1):
        return _parseIPv4(host, text)
    return text


def _fromInternational(octets: bytes) -> str:
    """
    Turn a name with octets above 127 into ASCII.

    Mapping comes before everything else: it is what makes dots of U+3002, digits of full-width
    ones, and nothing at all of a soft hyphen.  Labels that are ASCII after it are left to the
    caller, so that an underscore in one does not spoil the others.
    """
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError:
        raise InvalidName(octets, "not UTF-8") from None
    try:
        labels = idna.uts46_remap(text, std3_rules=False, transitional=False).split(".")
        return ".".join(
            label if label.isascii() else idna.alabel(label).decode("ascii") for label in labels
        )
    except UnicodeError:
        raise InvalidName(octets, "not IDNA") from None


def _complaint(text: str) -> str:
    """Say why C{text}, without its trailing dot, is not a host name."""
    if not text:
        return "empty"
    foreign = _FOREIGN.search(text)
    if foreign is not None:
        octet = foreign.group()
        if octet.isspace() and octet.isprintable():
            return "white space"
        return f"the character {octet}" if octet.isprintable() else "a control octet"
    if len(text) > MAX_NAME:
        return f"longer than {MAX_NAME} characters"
    if "" in text.split("."):
        return "an empty label"
    return f"a label longer than {MAX_LABEL} characters"


def _parseIPv4(octets: bytes, text: str) -> IPv4Address:
    """
    Read an IPv4 address as C{inet_aton} would, in any of its spellings.

    One to four parts, each decimal, octal (C{0}) or hexadecimal (C{0x}); the last one fills all
    the octets that are left.
    """
    parts = text.split(".")
    if len(parts) > 4:
        raise InvalidName(octets, "ends in a number but is no IPv4 address: too many parts")
    value = 0
    for place, part in enumerate(parts):
        number = _parseNumber(part)
        if number is None:
            raise InvalidName(octets, f"ends in a number but {part} is no part of an address")
        bits = 8 * (5 - len(parts)) if place == len(parts) - 1 else 8
        if number >> bits:
            raise InvalidName(octets, f"ends in a number but {part} is too large for an address")
        value = value << bits | number
    return IPv4Address(value)


def _parseNumber(part: str) -> int | None:
    """Read one part of an IPv4 address; L{None} if it is not a number."""
    if _NUMBER.fullmatch(part) is None:
        return None
    if part.startswith("0x"):
        return int(part[2:] or "0", 16)
    if part.startswith("0"):
        return None if part.strip("01234567") else int(part, 8)
    return int(part)


def _parseIPv6(octets: bytes, text: str) -> IPAddress:
    """Read an IPv6 address, with or without the brackets of a URL."""
    if text.startswith("[") and text.endswith("]"):
        text = text[1:-1]
    if "%" in text:
        raise InvalidName(octets, "a zone id")
    try:
        return unmapped(IPv6Address(text))
    except AddressValueError:
        raise InvalidName(octets, "neither a host name nor an IPv6 address") from None


def unmapped(address: IPAddress) -> IPAddress:
    """
    Give the IPv4 address that an IPv4-mapped IPv6 one stands for, or the address itself.

    A socket connected to C{::ffff:192.0.2.1} speaks IPv4 (RFC 4291, section 2.5.5.2).
    """
    if isinstance(address, IPv6Address):
        value = int(address)
        if value >> 32 == _MAPPED:
            return IPv4Address(value & _LOW_32)
    return address


def disguises(value: int) -> tuple[tuple[str, int], ...]:
    """
    Say which IPv4 addresses an IPv6 address carries, and how.

      - IPv4-mapped C{::ffff:0:0/96} and IPv4-compatible C{::/96} (RFC 4291, section 2.5.5; not
        C{::} and C{::1}, which are addresses of their own);
      - IPv4-translated C{::ffff:0:0:0/96} (RFC 2765, section 2.1);
      - NAT64 C{64:ff9b::/96} (RFC 6052, section 2.1), and C{64:ff9b:1::/48} (RFC 8215), where a
        network chooses how long its prefix is: read in each of the ways it may have chosen (RFC
        6052, section 2.2);
      - 6to4 C{2002::/16} (RFC 3056, section 2);
      - Teredo C{2001::/32}, the server's address and the client's (RFC 4380, section 4);
      - ISATAP, an interface id that begins with C{0:5efe} or C{200:5efe} (RFC 5214, section 6.1).

    A NAT64 with a prefix of its own cannot be told from any other network: rules must name it.

    @param value: the IPv6 address as a number of 128 bits.
    @return: (mechanism, IPv4 address as a number of 32 bits) pairs; hardly ever more than one.
    """
    prefix = value >> 32
    first = value >> 112
    found: list[tuple[str, int]] = []
    if prefix == 0:
        if value > 1:
            found.append(("IPv4-compatible", value))
    elif prefix == _MAPPED:
        found.append(("IPv4-mapped", value & _LOW_32))
    elif prefix == 0xFFFF0000:
        found.append(("IPv4-translated", value & _LOW_32))
    elif first == 0x64:
        if prefix == 0x0064FF9B << 64:
            found.append((NAT64, value & _LOW_32))
        elif value >> 80 == 0x0064FF9B0001:
            found += _localNAT64(value)
    elif first == 0x2002:
        found.append(("6to4", value >> 80 & _LOW_32))
    elif value >> 96 == 0x20010000:
        found.append(("Teredo server", value >> 64 & _LOW_32))
        found.append(("Teredo", ~value & _LOW_32))
    if prefix & 0xFDFFFFFF == 0x5EFE:
        found.append(("ISATAP", value & _LOW_32))
    return tuple(found)


def _localNAT64(value: int) -> list[tuple[str, int]]:
    """
    Read an address of C{64:ff9b:1::/48} in the four ways its network may mean it.

    Behind the shorter prefixes the IPv4 address is wrapped around octet 8, which stays zero (RFC
    6052, section 2.2).  What is read so within 0.0.0.0/8 is the filling of a longer prefix.
    """
    above, below = value >> 64, value & 0xFFFFFFFFFFFFFF
    shorter = (
        ("NAT64 /48", (above & 0xFFFF) << 16 | below >> 40),
        ("NAT64 /56", (above & 0xFF) << 24 | below >> 32),
        ("NAT64 /64", below >> 24),
    )
    return [("NAT64 /96", value & _LOW_32), *(way for way in shorter if way[1] >> 24)]


def embedded(address: IPAddress) -> tuple[IPAddress, ...]:
    """
    Give an address and every IPv4 address that it carries in disguise.

    @return: the address itself first, then what L{disguises} finds in it, each once.
    """
    if isinstance(address, IPv4Address):
        return (address,)
    carried = (IPv4Address(value) for _, value in disguises(int(address)))
    return tuple(dict.fromkeys((address, *carried)))


def scopeless(text: str) -> str:
    """
    Strip the zone id of an IPv6 address: C{fe80::1%eth0} becomes C{fe80::1}.

    Sockets report link-local addresses with it (RFC 4007, section 11); on the wire of SOCKS it
    has no place.
    """
    return text.partition("%")[0]


def ipAddress(address: IAddress) -> tuple[IPAddress, int] | None:
    """
    Take a transport's C{getHost()} or C{getPeer()} apart.

    @param address: an C{IPv4Address} or C{IPv6Address} of L{twisted.internet.address}.
    @return: the address, without zone id and IPv4 where it was only mapped, and its port;
        L{None} for a L{UNIXAddress<twisted.internet.address.UNIXAddress>}, which is this host.
    @raise ValueError: it is neither; a stranger must not be taken for this host.
    """
    internet, unix = _kinds()
    if isinstance(address, internet):
        return parsed(address.host), address.port
    if isinstance(address, unix):
        return None
    raise ValueError(f"not the address of an IP or Unix socket: {address!r}")


@lru_cache(maxsize=1)
def _kinds() -> tuple[Any, Any]:
    """Import Twisted's addresses when they are first met: a rule can do without."""
    from twisted.internet import address as addresses

    return (addresses.IPv4Address, addresses.IPv6Address), addresses.UNIXAddress


@lru_cache(maxsize=4096)
def parsed(text: str) -> IPAddress:
    """Read an address that a socket has named; the same few peers come again and again."""
    return unmapped(ip_address(scopeless(text)))
