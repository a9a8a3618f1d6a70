"""
Which proxy the environment wants for a target: C{ALL_PROXY} and its kin, and C{NO_PROXY}.

There is no standard for these variables.  What most programs agree on is what counts here (curl,
Go, Python's requests); where they differ, the choice is explained where it was made.

A name is never looked up to see whether its address is in a network of C{NO_PROXY}.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, Final

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint

from twisted_socks5.addresses import InvalidName, normalise
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.client.urls import (
    InvalidProxyURL,
    ProxyURL,
    endpointFromURL,
    proxyFromURL,
)
from twisted_socks5.interfaces import IPAddress

_BETWEEN = re.compile(r"[\s,]+")
_WITH_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*):(?P<port>[0-9]{1,5})")

#: Which variable is asked first, by the scheme of the target's URL; C{all_proxy} is the next.
_KINDS: Final = {"http": "http", "https": "https", "ws": "http", "wss": "https"}


def _normalised(host: str) -> IPAddress | str | None:
    """Say what a host really is; L{None} if it is neither a name nor an address."""
    try:
        return normalise(host.encode("utf-8", "surrogateescape"))
    except (InvalidName, UnicodeEncodeError):
        return None


@dataclass(frozen=True)
class _Exception:
    """
    One entry of C{NO_PROXY}.

    @ivar what: a name, which stands for the names below it, too; a network; C{*} is everything.
    @ivar port: the one port it is about; L{None} is each.
    """

    what: str | IPv4Network | IPv6Network
    port: int | None = None

    @classmethod
    def parse(cls, text: str) -> _Exception | None:
        """Read one; L{None} if it is none, as others overlook it, too."""
        port = None
        found = _WITH_PORT.fullmatch(text)
        if found is not None:
            text, port = found["host"], int(found["port"])
        if text == "*":
            return cls("*", port)
        if "/" in text:
            try:
                return cls(ip_network(text.strip("[]"), strict=False), port)
            except ValueError:
                return None
        # ".example.com" and "*.example.com" mean what "example.com" does, as for curl.
        host = _normalised(text.removeprefix("*").removeprefix("."))
        if host is None:
            return None
        return cls(host if isinstance(host, str) else ip_network(host), port)

    def matches(self, host: IPAddress | str | None, port: int) -> bool:
        """Whether it is about a target."""
        if self.port not in (None, port):
            return False
        if self.what == "*":
            return True
        if isinstance(self.what, str):
            return isinstance(host, str) and f".{host}".endswith(f".{self.what}")
        return not isinstance(host, str) and host is not None and host in self.what


@dataclass(frozen=True)
class NoProxy:
    """
    What is to be reached without a proxy: C{NO_PROXY=localhost,.example.com,192.0.2.0/24,*:22}.

    Entries are separated by commas or white space:

      - C{*} is everything;
      - C{example.com}, C{.example.com} and C{*.example.com} are the name and all below it;
      - C{192.0.2.1}, C{2001:db8::1} and C{[2001:db8::1]} are an address;
      - C{192.0.2.0/24} and C{2001:db8::/32} are networks;
      - C{:PORT} behind any of these (an IPv6 address then is in brackets) is that port only.

    An address is compared with addresses, and a name with names; nothing is resolved.  Nothing
    is an exception by itself: to reach this host without the proxy, name C{localhost} and its
    addresses.

    @ivar entries: the exceptions.
    """

    entries: tuple[_Exception, ...] = ()

    @classmethod
    def parse(cls, text: str) -> NoProxy:
        """
        Read the variable.

        What is no entry is overlooked: it is then reached through the proxy, and never the
        other way round.
        """
        found = (_Exception.parse(word) for word in _BETWEEN.split(text) if word)
        return cls(tuple(entry for entry in found if entry is not None))

    def matches(self, host: str, port: int) -> bool:
        """
        Whether a target is to be reached without a proxy.

        @param host: a name or an address, in any spelling.
        @param port: 0 to 65535.
        """
        target = _normalised(host)
        return any(entry.matches(target, port) for entry in self.entries)


class ProxyEnvironment:
    """
    The environment's wishes, read once: later changes to the variables change nothing here.

    For a target of an C{https} URL that is C{https_proxy}, else C{all_proxy}; for C{http}
    C{http_proxy}, else C{all_proxy}; for all other targets C{all_proxy}.  Each may be written in
    capitals, too; where both are there, the one in small letters counts, as for curl.  An empty
    one is as good as none.

    C{HTTP_PROXY} in capitals is overlooked in a CGI program (where C{REQUEST_METHOD} is set): a
    client could set it there, by a header C{Proxy:}.
    """

    def __init__(self, environ: Mapping[str, str]) -> None:
        """
        @param environ: the variables: C{os.environ}.
        """
        found = {name: value for name, value in environ.items() if value.strip()}
        if "REQUEST_METHOD" in environ:
            found.pop("HTTP_PROXY", None)
        self._variables = {k: v for k, v in found.items() if k.lower().endswith("_proxy")}
        self.noProxy = NoProxy.parse(self._variables.get(self._find("no") or "", ""))

    def urlFor(self, host: str, port: int, scheme: str = "") -> ProxyURL | None:
        """
        Tell the proxy for a target.

        @param host: a name or an address.
        @param port: 0 to 65535.
        @param scheme: of the target's URL, C{https}; none is any protocol.
        @return: L{None}: there is to be none.
        @raise InvalidProxyURL: the variable has no URL of a SOCKS proxy; the text names the
            variable.  To connect without a proxy then would be a leak.
        """
        kind = _KINDS.get(scheme.lower(), "all")
        variable = self._find(kind) or self._find("all")
        if variable is None or self.noProxy.matches(host, port):
            return None
        try:
            return ProxyURL.parse(self._variables[variable])
        except InvalidProxyURL as error:
            raise InvalidProxyURL(f"{variable}: {error}") from None

    def _find(self, kind: str) -> str | None:
        """Find the name of the variable that counts."""
        names = (f"{kind}_proxy", f"{kind}_proxy".upper())
        return next((name for name in names if name in self._variables), None)


def proxyFromEnvironment(
    reactor: Any,
    host: str,
    port: int,
    scheme: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> Proxy | None:
    """
    Make the proxy that the environment wants for a target.

    It is asked for the target's name as it is; to have C{socks5://} resolve it here, use
    L{endpointFromEnvironment}.

    @param reactor: connects, and resolves the proxy's own name.
    @param host: the target, a name or an address.
    @param port: the target's port.
    @param scheme: of the target's URL, C{https}; none is any protocol.
    @param environ: the variables; C{os.environ} by default.
    @param timeout: seconds to connect, and as many for the proxy to answer.
    @return: L{None}: there is to be none.
    @raise InvalidProxyURL: the variable names no proxy that we can use.
    """
    url = _read(environ).urlFor(host, port, scheme)
    return None if url is None else proxyFromURL(reactor, url, timeout=timeout)


def endpointFromEnvironment(
    reactor: Any,
    host: str,
    port: int,
    scheme: str = "",
    *,
    environ: Mapping[str, str] | None = None,
    timeout: float = 30.0,
) -> IStreamClientEndpoint:
    """
    Make an endpoint that leads to a target as the environment wants it: through a proxy, or not.

    All parameters and errors are those of L{proxyFromEnvironment}.

    @return: leads to the target, through the proxy, or directly where there is to be none.
    """
    url = _read(environ).urlFor(host, port, scheme)
    if url is None:
        return HostnameEndpoint(reactor, host, port, timeout)
    return endpointFromURL(reactor, url, host, port, timeout=timeout)


def _read(environ: Mapping[str, str] | None) -> ProxyEnvironment:
    """Read the variables."""
    return ProxyEnvironment(os.environ if environ is None else environ)
