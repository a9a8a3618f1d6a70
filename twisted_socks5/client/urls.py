"""
Proxies as URLs write them: C{socks5h://alice:wonderland@proxy.example:1080}.

The schemes are curl's, and most programs': they say the version, and who resolves the target's
name.

  - C{socks5h}: SOCKS5, names go to the proxy;
  - C{socks5}: SOCKS5, names are resolved here;
  - C{socks4a}: SOCKS4a, names go to the proxy;
  - C{socks4}: SOCKS4, names are resolved here.

A URL may have a password in it.  So no error here quotes the URL, or any part of it that could
have become something else by a character that was not percent-encoded.

Where URLs come from is not known here; C{environment} reads them from variables.  Most here is
text and values; L{proxyFromURL} and L{endpointFromURL} make of it what connects.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv6Address
from typing import Any, Final, NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IHostnameResolver

from twisted_socks5.client.authentication import (
    Authentication,
    NoAuthentication,
    UsernamePassword,
)
from twisted_socks5.client.endpoint import SOCKS5ClientEndpoint
from twisted_socks5.client.proxy import Proxy

DEFAULT_PORT: Final = 1080
"""The port of a URL without one: what IANA registered for SOCKS."""


class _Scheme(NamedTuple):
    """What a URL's scheme says."""

    version: int
    resolvesHere: bool


_SCHEMES: Final = {
    "socks5h": _Scheme(5, False),
    "socks5": _Scheme(5, True),
    "socks4a": _Scheme(4, False),
    "socks4": _Scheme(4, True),
}

#: Shown when it is one of these that somebody tried; any other word could be part of a password.
_OTHER_SCHEMES: Final = frozenset(("http", "https", "socks", "socks4h", "tcp", "tls", "ssl"))

_PARTS = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<authority>[^/?#]*)(?P<rest>.*)")
_HOST = re.compile(r"(?:\[(?P<six>[^\[\]]*)\]|(?P<name>[^\[\]:]*))(?::(?P<port>[^:]*))?")
_NAME = re.compile(r"[^\s%\x00-\x20\x7f/?#@\\]+")
_ENCODED = re.compile(r"(?:[^%]|%[0-9A-Fa-f]{2})*")
_PORT = re.compile(r"[0-9]{1,5}")

#: What RFC 3986, section 3.2.1, has unencoded in a user name; a colon ends it.
_PLAIN = "!$&'()*+,;="


class InvalidProxyURL(ValueError):
    """A URL that names no proxy we can use; its text says why, and quotes no secret."""


@dataclass(frozen=True)
class ProxyURL:
    """
    A proxy, as a URL says it.

    Its C{str} is the URL without the password, and so fit for a log.

    @ivar host: a name, or the text of an address, without brackets.
    @ivar port: 1 to 65535.
    @ivar version: what to speak, 5 or 4.
    @ivar resolvesHere: whether the target's name is to be resolved here, not at the proxy.
    @ivar username: percent-decoded octets; L{None} is none.
    @ivar password: the same; never part of the repr.
    """

    host: str
    port: int = DEFAULT_PORT
    version: int = 5
    resolvesHere: bool = False
    username: bytes | None = None
    password: bytes | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, text: str) -> ProxyURL:
        """
        Read a URL.

        What stands in it percent-encoded becomes octets (RFC 3986, section 2.1): the user name
        C{a%3Ab} is C{a:b}.  The last C{@} ends user name and password, the first colon in them
        the user name.

        @raise InvalidProxyURL: it is no URL, its scheme is none of ours, it lacks a host, has a
            port out of range, a path, or a user name or password that SOCKS cannot carry.
        """
        parts = _PARTS.fullmatch(text.strip())
        if parts is None:
            raise InvalidProxyURL("a proxy is written socks5h://HOST:PORT")
        scheme = _SCHEMES.get(parts["scheme"].lower())
        if scheme is None:
            raise InvalidProxyURL(_complaint(parts["scheme"].lower()))
        login, at, place = parts["authority"].rpartition("@")
        if parts["rest"] not in ("", "/"):
            raise InvalidProxyURL(
                "something follows the port; in a user name or password, / is written %2F,"
                " ? is written %3F and # is written %23"
            )
        host, port = _parsePlace(place)
        username, password = _parseLogin(login, scheme.version) if at else (None, None)
        return cls(host, port, scheme.version, scheme.resolvesHere, username, password)

    @property
    def scheme(self) -> str:
        """The scheme that says the same."""
        wanted = (self.version, self.resolvesHere)
        return next(name for name, meaning in _SCHEMES.items() if meaning == wanted)

    @property
    def place(self) -> str:
        """Host and port, an IPv6 address in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    def __str__(self) -> str:
        login = "" if self.username is None else f"{quote_from_bytes(self.username, _PLAIN)}@"
        return f"{self.scheme}://{login}{self.place}"


def _complaint(scheme: str) -> str:
    """Say which schemes there are, and which one is none, where that can't be a secret."""
    known = ", ".join(f"{name}://" for name in _SCHEMES)
    if scheme in ("http", "https"):
        return f"{scheme}:// is an HTTP proxy, not one of {known}"
    if scheme in _OTHER_SCHEMES:
        return f"{scheme}:// is not one of {known}"
    return f"the scheme is not one of {known}"


def _parsePlace(text: str) -> tuple[str, int]:
    """Read what stands behind the C{@}."""
    found = _HOST.fullmatch(text)
    if found is None:
        raise InvalidProxyURL("the host is not one: an IPv6 address is written in brackets")
    port = DEFAULT_PORT
    if found["port"]:
        # Not quoted: it is the password, where the URL has lost its host.
        if not _PORT.fullmatch(found["port"]) or not 0 < int(found["port"]) < 65536:
            raise InvalidProxyURL("the port is not a number from 1 to 65535")
        port = int(found["port"])
    if found["six"] is not None:
        try:
            return str(IPv6Address(found["six"])), port
        except AddressValueError:
            raise InvalidProxyURL("what stands in brackets is no IPv6 address") from None
    if not found["name"]:
        raise InvalidProxyURL("it has no host")
    if not _NAME.fullmatch(found["name"]):
        raise InvalidProxyURL("the host has a character that no host name has")
    return found["name"].lower(), port


def _parseLogin(text: str, version: int) -> tuple[bytes | None, bytes | None]:
    """Read what stands before the C{@}."""
    user, _, word = text.partition(":")
    username, password = _decoded(user, "user name"), _decoded(word, "password")
    if version == 4:
        if password:
            raise InvalidProxyURL("SOCKS4 has no password; only a user name")
        if len(username) > 255 or b"\0" in username:
            raise InvalidProxyURL("SOCKS4's user name has at most 255 octets, and no NUL")
        return username or None, None
    if not username and not password:
        return None, None
    # RFC 1929 has 1 to 255 octets for each.
    for what, octets in (("user name", username), ("password", password)):
        if not octets:
            raise InvalidProxyURL(f"the {what} is empty; SOCKS5 wants both, or neither")
        if len(octets) > 255:
            raise InvalidProxyURL(f"the {what} is longer than 255 octets")
    return username, password


def _decoded(text: str, what: str) -> bytes:
    """Decode what is percent-encoded."""
    if not _ENCODED.fullmatch(text):
        raise InvalidProxyURL(
            f"the {what} has a % that two hexadecimal digits do not follow; % is written %25"
        )
    try:
        return unquote_to_bytes(text.encode("utf-8", "surrogateescape"))
    except UnicodeEncodeError:
        # Not raised from: the cause has the text in it.
        raise InvalidProxyURL(f"the {what} cannot be written as UTF-8") from None


def proxyFromURL(reactor: Any, url: str | ProxyURL, *, timeout: float = 30.0) -> Proxy:
    """
    Make a proxy of a URL.

    With a user name and password both they and method "none" are offered, in this order.

    Whether names are resolved here is for L{resolverFor} to say: a proxy gets them as they are.

    @param reactor: connects, and resolves the proxy's own name.
    @param url: where the proxy is, and who we are there.
    @param timeout: seconds to connect, and as many for the proxy to answer.
    @raise InvalidProxyURL: it names no proxy that we can use.
    """
    url = ProxyURL.parse(url) if isinstance(url, str) else url
    return Proxy(
        HostnameEndpoint(reactor, url.host, url.port, timeout),
        _authentication(url),
        timeout=timeout,
        version=url.version,
        name=url.place,
        userID=(url.username or b"") if url.version == 4 else b"",
    )


def endpointFromURL(
    reactor: Any, url: str | ProxyURL, host: str, port: int, *, timeout: float = 30.0
) -> SOCKS5ClientEndpoint:
    """
    Make an endpoint that leads to a target through the proxy of a URL.

    @param reactor: connects, and resolves what is to be resolved here.
    @param url: where the proxy is, who we are there, and who resolves C{host}.
    @param host: the target, a name or an address.
    @param port: the target's port.
    @param timeout: seconds to connect to the proxy, and as many for it to answer.
    @raise InvalidProxyURL: the URL names no proxy that we can use.
    @raise ValueError: C{host} is none.
    """
    url = ProxyURL.parse(url) if isinstance(url, str) else url
    proxy = proxyFromURL(reactor, url, timeout=timeout)
    resolver = resolverFor(reactor, url)
    return SOCKS5ClientEndpoint(proxy, host, port, reactor=reactor, resolver=resolver)


def resolverFor(reactor: Any, url: str | ProxyURL) -> IHostnameResolver | None:
    """
    Tell who is to resolve the targets' names, for a C{SOCKS5ClientEndpoint}.

    @return: the reactor's resolver for C{socks5} and C{socks4}; L{None}, which is the proxy, for
        C{socks5h} and C{socks4a}.
    @raise InvalidProxyURL: it names no proxy that we can use.
    """
    url = ProxyURL.parse(url) if isinstance(url, str) else url
    if not url.resolvesHere:
        return None
    resolver: IHostnameResolver = reactor.nameResolver
    return resolver


def _authentication(url: ProxyURL) -> tuple[Authentication, ...]:
    """Say what is offered, as most clients do."""
    if url.username is None or url.password is None:
        return (NoAuthentication(),)
    return UsernamePassword(url.username, url.password), NoAuthentication()
