"""
What an application wants to reach, as the wire and as Twisted write it.
"""

from __future__ import annotations

from ipaddress import IPv4Address as _IPv4Address

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address

from twisted_socks5.addresses import InvalidName, normalise
from twisted_socks5.client.errors import InvalidTarget
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.wire import Address, describe_host
from twisted_socks5.wire.constants import MAX_PORT


def destination(host: str | bytes | IPAddress, port: int) -> Address:
    """
    Read what an application calls a target.

    Addresses are told from names, in all their spellings, so that a proxy is never asked to look
    an address up.  A name is written as DNS has it: small letters, C{xn--} where it is
    international, no dot at its end.

    @param host: a name; or an address, an IPv6 one with or without brackets.  C{bytes} are taken
        as UTF-8.
    @param port: 0 to 65535.
    @raise InvalidTarget: it is no host, too long, or has an IPv6 zone, which no proxy could mean
        the same by; or the port is none.
    """
    try:
        found = normalise(host.encode("utf-8") if isinstance(host, str) else host)
    except InvalidName as error:
        raise InvalidTarget(str(error)) from None
    except UnicodeEncodeError:
        raise InvalidTarget("the host name cannot be written as UTF-8") from None
    if not 0 <= port <= MAX_PORT:
        raise InvalidTarget(f"port {port} is not from 0 to {MAX_PORT}")
    return Address(found.encode("ascii") if isinstance(found, str) else found, port)


def asTwisted(address: Address) -> IPv4Address | IPv6Address | HostnameAddress:
    """Write an address as Twisted's protocols get them, in C{buildProtocol} above all."""
    host, port = address
    if isinstance(host, bytes):
        return HostnameAddress(host, port)
    kind = IPv4Address if isinstance(host, _IPv4Address) else IPv6Address
    return kind("TCP", str(host), port)


def describeProxy(endpoint: object, transport: object) -> str:
    """
    Name whom an endpoint has led to, for an error.

    @param endpoint: one through another proxy knows better than its transport, whose peer is
        that one.
    @param transport: it need not know its peer.
    """
    through = getattr(endpoint, "destination", None)
    if isinstance(through, Address):
        return str(through)
    peer = transport.getPeer() if hasattr(transport, "getPeer") else None
    if isinstance(peer, IPv6Address):
        return f"[{peer.host}]:{peer.port}"
    if isinstance(peer, IPv4Address):
        return f"{peer.host}:{peer.port}"
    if isinstance(peer, HostnameAddress):
        return f"{describe_host(peer.hostname)}:{peer.port}"
    return "" if peer is None else str(peer)


def hostOf(name: str) -> str:
    """Take the host out of HOST:PORT, C{[IPv6]:PORT}, or a host alone."""
    if name.startswith("["):
        return name[1:].partition("]")[0]
    host, colon, port = name.rpartition(":")
    return host if colon and port.isdecimal() and ":" not in host else name
