"""
The next proxy as C{--via} writes it: a URL, or an endpoint's string.

  - C{socks5://USER:PASSWORD@HOST:PORT}, C{socks5h://} the same: names always go on as names;
  - C{socks4a://USER@HOST:PORT};
  - C{http://USER:PASSWORD@HOST:PORT}: CONNECT only.

Behind C{?} may stand C{passwordFile=PATH} or C{passwordEnv=NAME}, for a password that is not to
be seen in the list of processes.

For what a URL can't say (TLS, GSSAPI, a Unix socket) there is the string of the client's
endpoints, without a target: C{socks5:via=tls\\:proxy.example\\:1080:user=alice:passwordEnv=PW}.

No error here quotes what may be a password.
"""

from __future__ import annotations

import os
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, quote_from_bytes

from twisted.internet.endpoints import clientFromString

from twisted_socks5.addresses import InvalidName
from twisted_socks5.client.authentication import NoAuthentication, UsernamePassword
from twisted_socks5.client.endpoint import SOCKS5ClientEndpoint
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.client.urls import InvalidProxyURL, ProxyURL
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.via.httpconnect import HTTPVia
from twisted_socks5.via.nexthop import NextHop
from twisted_socks5.via.socks import SOCKSVia

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted_socks5.client.authentication import Authentication
    from twisted_socks5.interfaces import IDialer, IPAddress, IVia

_KINDS = ("socks5", "socks5h", "socks4a", "http")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_STRING = re.compile(r"(socks[45]):(.*)", re.DOTALL)
_NAMED = re.compile(r"(?:[^:\\]|\\.)*")

#: Nobody is ever asked for it: the string's own target, which has to be there.
_NOWHERE = "via.invalid:1"


def viaFromString(
    reactor: Any,
    text: str,
    *,
    timeout: float = 20.0,
    isOwn: Callable[[IPAddress, int], bool] | None = None,
    dialer: IDialer | None = None,
) -> IVia:
    """
    Make the next proxy of what an operator has written.

    @param reactor: connects, tells the time, and resolves the next proxy's name.
    @param text: a URL or an endpoint's string.
    @param timeout: seconds to connect, and as many for an answer.
    @param isOwn: tells whether an address and a port are the server's own.
    @param dialer: connects to a URL's host in the reactor's stead.
    @raise ConfigurationError: it is neither; in one line, without any password.
    """
    scheme = _SCHEME.match(text)
    if scheme is None:
        return _fromEndpoint(reactor, text)
    kind = scheme[1].lower()
    if kind not in _KINDS:
        more = ""
        if kind == "socks4":
            more = ": names are not resolved here, which is socks4a://"
        elif kind == "https":
            more = ": to the proxy itself there is no TLS but by socks5:via=tls\\:HOST\\:PORT"
        raise ConfigurationError(f"the next proxy is not a URL of {', '.join(_KINDS)}{more}")
    try:
        url = _read(kind, text[scheme.end() :])
        hop = NextHop(reactor, url.host, url.port, timeout=timeout, isOwn=isOwn, dialer=dialer)
    except (InvalidProxyURL, InvalidName) as error:
        raise ConfigurationError(str(error)) from None
    name = f"{kind}://{url.place}"
    if kind == "http":
        return _http(reactor, hop, name, url)
    proxy = Proxy(
        hop,
        _methods(url),
        timeout=timeout,
        version=url.version,
        name=url.place,
        userID=(url.username or b"") if url.version == 4 else b"",
    )
    return SOCKSVia(proxy, reactor, name=name)


def _http(reactor: Any, hop: NextHop, name: str, url: ProxyURL) -> HTTPVia:
    login = None
    if url.username is not None and url.password is not None:
        login = url.username, url.password
    try:
        return HTTPVia(hop, reactor, name=name, login=login)
    except ValueError as error:
        raise ConfigurationError(str(error)) from None


def _methods(url: ProxyURL) -> tuple[Authentication, ...]:
    if url.username is None or url.password is None:
        return (NoAuthentication(),)
    return UsernamePassword(url.username, url.password), NoAuthentication()


def _read(kind: str, rest: str) -> ProxyURL:
    """
    Read what stands behind the scheme.

    @raise InvalidProxyURL: it is wrong.
    """
    place, question, query = rest.partition("?")
    if question:
        login, at, host = place.rpartition("@")
        if not at or ":" in login or kind == "socks4a":
            raise InvalidProxyURL("? takes a password for USER@HOST:PORT, which has none yet")
        place = f"{login}:{quote_from_bytes(_password(query), safe='')}@{host}"
    elif kind == "http" and "@" in place and ":" not in place.rpartition("@")[0]:
        raise InvalidProxyURL("the user name has no password")
    # HTTP's proxies are written as those of SOCKS5 are, and so are their users.
    return ProxyURL.parse(f"{'socks5h' if kind in ('http', 'socks5') else kind}://{place}")


def _password(query: str) -> bytes:
    """
    Find a password that is said elsewhere.

    @raise InvalidProxyURL: it is not there; neither a path nor a name of a variable is quoted,
        which may be the secret itself.
    """
    given = parse_qsl(query, keep_blank_values=True)
    if len(given) != 1 or given[0][0] not in ("passwordFile", "passwordEnv"):
        raise InvalidProxyURL("? takes passwordFile=PATH or passwordEnv=NAME")
    way, where = given[0]
    if way == "passwordEnv":
        value = os.environ.get(where)
        if value is None:
            raise InvalidProxyURL("passwordEnv: there is no such variable")
        return os.fsencode(value)
    try:
        with open(where, "rb") as file:
            return file.readline().rstrip(b"\r\n")
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or "no path"
        raise InvalidProxyURL(f"passwordFile: the file cannot be read: {why}") from None


def _fromEndpoint(reactor: Any, text: str) -> IVia:
    """Make it of a string of the client's endpoints, which lacks a target."""
    string = _STRING.fullmatch(text)
    if string is None:
        raise ConfigurationError(
            "the next proxy is written socks5://HOST:PORT, socks4a://HOST:PORT, http://HOST:PORT,"
            r" or socks5:via=… as in socks5:via=tls\:HOST\:PORT"
        )
    words = [word for word in _NAMED.findall(string[2]) if word]
    names = [word.partition("=")[0] for word in words if "=" in word]
    if len(names) < len(words) or "via" not in names:
        raise ConfigurationError(
            rf"{string[1]}: each argument has a name, and the next proxy's is via: "
            rf"{string[1]}:via=HOST\:PORT"
        )
    for name in ("host", "port", "dns"):
        if name in names:
            raise ConfigurationError(
                f"{string[1]}: '{name}' is about a target: that is a client's"
            )
    try:
        endpoint = clientFromString(reactor, f"{string[1]}:{_NOWHERE}:{string[2]}")
    except ValueError as error:
        raise ConfigurationError(str(error)) from None
    if not isinstance(endpoint, SOCKS5ClientEndpoint):
        raise ConfigurationError(f"{string[1]}: that is not an endpoint of ours")
    return SOCKSVia(endpoint.proxy, reactor)
