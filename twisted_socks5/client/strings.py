"""
The string form: C{socks5:example.com:443:via=tcp\\:proxy.example\\:1080}, for C{clientFromString}.

Every program that takes an endpoint string can use a proxy by it, with no code at all.  The
plugin in C{twisted/plugins} leads to L{parse} here; L{arguments
<twisted_socks5.client.arguments>} complains of what is wrong.

Files and variables are read when the string is; the proxy is connected to when the endpoint is.
"""

from __future__ import annotations

import re
from ipaddress import AddressValueError, IPv6Address
from typing import Any, Final

from twisted.internet.endpoints import HostnameEndpoint, clientFromString
from twisted.internet.interfaces import (
    IHostnameResolver,
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
)
from twisted.plugin import getPlugins

from twisted_socks5.client.arguments import Arguments, choice, listOf, port, seconds, text
from twisted_socks5.client.authentication import (
    CHAP,
    GSSAPI,
    Authentication,
    NoAuthentication,
    UsernamePassword,
)
from twisted_socks5.client.endpoint import SOCKS5ClientEndpoint
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.wire import ProtectionLevel

DEFAULT_VIA: Final = "tcp:127.0.0.1:1080"
"""Where the proxy is, unless it is said."""

DEFAULT_TIMEOUT: Final = 30.0
"""Seconds that the proxy has to answer, unless it is said."""

_COMMON: Final = ("host", "port", "via", "timeout", "dns")
_USER: Final = ("user", "userFile", "userEnv")
_PASSWORD: Final = ("password", "passwordFile", "passwordEnv")
_GSSAPI: Final = ("gssapiService", "gssapiHost", "gssapiLevels", "gssapiNEC")

ARGUMENTS: Final = {
    5: (*_COMMON, *_USER, *_PASSWORD, "methods", *_GSSAPI),
    4: (*_COMMON, *_USER),
}
"""What a string may say, by version; host and port go without their names."""

_METHODS: Final = ("none", "password", "chap", "gssapi")

_LEVELS: Final = {
    "integrity": ProtectionLevel.INTEGRITY,
    "confidentiality": ProtectionLevel.CONFIDENTIALITY,
}

#: The endpoints that Twisted knows by itself; others are plugins.
_BUILTIN: Final = frozenset(("TCP", "SSL", "UNIX"))

_PLACE = re.compile(r"(?:\[(?P<six>[^\]]*)\]|(?P<name>[^:=\[\]]+)):(?P<port>[0-9]{1,5})")
_WORD = re.compile(r"(?:[^:\\]|\\.)+")
_ESCAPED = re.compile(r"\\(.)")


def parse(reactor: Any, version: int, /, *args: str, **named: str) -> IStreamClientEndpoint:
    """
    Make an endpoint of a string's arguments.

      - C{host} and C{port}: the target;
      - C{via}: the proxy, as any string for C{clientFromString}, or as HOST:PORT;
      - C{timeout}: seconds that it has to answer, and as many to connect to HOST:PORT; what
        another string leads to has its own;
      - C{dns}: C{proxy}, or C{local} to resolve the target's name here;
      - C{user} and C{password}: who we are; C{userFile}, C{passwordFile}: the file whose first
        line says that; C{userEnv}, C{passwordEnv}: the variable that does;
      - C{methods}: some of C{none}, C{password}, C{chap} and C{gssapi}, in order of preference,
        with commas between them; with a user and a password C{password,none} by default;
      - C{gssapiService}, C{gssapiHost}: the proxy's principal, C{rcmd} at the proxy's host by
        default;
      - C{gssapiLevels}: one or both of C{integrity} and C{confidentiality}, in order of
        preference; C{gssapiNEC}: C{yes} for a server that speaks NEC's way.

    @param reactor: connects and tells the time, and resolves with C{dns=local}.
    @param version: the version of SOCKS that is to be spoken, 5 or 4.  SOCKS4 has a C{user}, and
        nothing below that.
    @param args: C{host} and C{port}.
    @param named: these or others of the arguments.
    @raise ValueError: one is missing, unknown, or not what it has to be; the text names it.
    """
    given = Arguments(f"socks{version}", ARGUMENTS[version], args, named)
    host, number = given.take("host", text), given.take("port", port)
    timeout = given.take("timeout", seconds, str(DEFAULT_TIMEOUT))
    proxy = Proxy(
        given.take("via", lambda via: _endpoint(reactor, via, timeout), DEFAULT_VIA),
        _methods(given) if version == 5 else (NoAuthentication(),),
        timeout=timeout,
        version=version,
        name=given.take("via", _named, DEFAULT_VIA),
        userID=_userID(given) if version == 4 else b"",
    )
    local = given.take("dns", choice({"proxy": False, "local": True}), "proxy")
    resolver: IHostnameResolver | None = reactor.nameResolver if local else None
    try:
        return SOCKS5ClientEndpoint(proxy, host, number, reactor=reactor, resolver=resolver)
    except ValueError as error:
        given.complain("host", error)


def _userID(given: Arguments) -> bytes:
    """Say who we are in SOCKS4's only way."""
    octets = given.octets("user") or b""
    if b"\0" in octets:
        given.complain("user", "it has a NUL, which ends a user id")
    return octets


def _methods(given: Arguments) -> tuple[Authentication, ...]:
    """Say whom to be, and how to say so."""
    login = _login(given)
    usual = "none" if login is None else "password,none"  # as most clients do
    names = given.take("methods", listOf(_METHODS), usual)
    told = [name for name in names if name in ("password", "chap")]
    if told and login is None:
        given.complain("methods", f"{told[0]} wants a user")
    if login is not None and not told:
        given.complain("methods", "there is a user, but no password or chap among them")
    if "gssapi" not in names:
        for name in _GSSAPI:
            if name in given:
                given.complain(name, "gssapi is not among the methods")
    found: list[Authentication] = []
    for name in names:
        if name == "gssapi":
            found.append(_gssapi(given))
        elif name == "chap" and login:
            found.append(CHAP(login.username, login.password))
        else:
            found.append(login if name == "password" and login else NoAuthentication())
    return tuple(found)


def _login(given: Arguments) -> UsernamePassword | None:
    """Say whom to be with a password."""
    user, password = given.octets("user"), given.octets("password")
    if user is not None and password is not None:
        return UsernamePassword(user, password)
    if user is not None:
        given.complain("password", "missing, but there is a user")
    if password is not None:
        given.complain("user", "missing, but there is a password")
    return None


def _gssapi(given: Arguments) -> GSSAPI:
    """Say how the security context is to be."""
    levels = given.take("gssapiLevels", listOf(tuple(_LEVELS)), "confidentiality,integrity")
    return GSSAPI(
        service=given.take("gssapiService", text, "rcmd"),
        host=given.take("gssapiHost", text) if "gssapiHost" in given else None,
        levels=tuple(_LEVELS[name] for name in levels),
        nec=given.take("gssapiNEC", choice({"no": False, "yes": True}), "no"),
    )


def _endpoint(reactor: Any, via: str, timeout: float) -> IStreamClientEndpoint:
    """Make an endpoint of what leads to the proxy."""
    place = _place(via)
    if place is not None:
        return HostnameEndpoint(reactor, *place, timeout)
    try:
        endpoint: IStreamClientEndpoint = clientFromString(reactor, via)
    except (TypeError, LookupError) as error:
        # What Twisted's own parsers raise of arguments that are missing, or too many.
        raise ValueError(f"not an endpoint string: {error}") from None
    return endpoint


def _place(via: str) -> tuple[str, int] | None:
    """Read HOST:PORT; L{None} if it is a string for C{clientFromString}, which goes first."""
    found = _PLACE.fullmatch(via)
    if found is None or _isPrefix(found["name"]):
        return None
    if found["six"] is not None:
        try:
            return str(IPv6Address(found["six"])), port(found["port"])
        except AddressValueError:
            raise ValueError("what stands in brackets is no IPv6 address") from None
    return found["name"], port(found["port"])


def _isPrefix(name: str | None) -> bool:
    """Whether a string for C{clientFromString} may begin so."""
    if name is None:
        return False
    parsers = getPlugins(IStreamClientEndpointStringParserWithReactor)
    return name.upper() in _BUILTIN or any(one.prefix.upper() == name.upper() for one in parsers)


def _named(via: str) -> str:
    """
    Call the proxy HOST:PORT, in messages and where GSSAPI wants its host.

    @return: empty if it has none, as behind a Unix socket.  What else the string says is not
        shown: it may be another proxy's password.
    """
    place = _place(via)
    if place is None:
        # A colon that is escaped belongs to what it is in.
        words = [_ESCAPED.sub(r"\1", word) for word in _WORD.findall(via)[1:]]
        named = dict(word.split("=", 1) for word in words if "=" in word)
        args = iter([word for word in words if "=" not in word])
        host, number = (named.get(name) or next(args, "") for name in ("host", "port"))
        if not host or not number.isdecimal():
            return ""
        place = host, int(number)
    host, where = place[0].strip("[]"), place[1]
    return f"[{host}]:{where}" if ":" in host else f"{host}:{where}"
