"""
SOCKS for clients: any Twisted program through any SOCKS proxy.

  - L{SOCKS5ClientEndpoint} connects to a target through a proxy, for any protocol;
  - L{SOCKS5ServerEndpoint} has a proxy listen (BIND), L{associate} has it relay datagrams;
  - L{SOCKS5Resolver} has it look names up, and L{SOCKS5Reactor} is a reactor that does all this
    for programs which take nothing else;
  - L{SOCKS5Agent} is an C{Agent} of C{twisted.web}, for HTTP;
  - L{Proxy} is a proxy, for all these: where it is, and who we are to it; L{proxyFromURL} and
    L{proxyFromEnvironment} make one of what others write;
  - L{NoAuthentication}, L{UsernamePassword}, L{CHAP} and L{GSSAPI} say who we are;
  - L{twisted_socks5.client.errors} says what can go wrong;
  - L{ControlConnection} is what is below all that, for commands that have no interface of their
    own.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_socks5.client.agent import EnvironmentAgent, SOCKS5Agent, SOCKS5EndpointFactory
    from twisted_socks5.client.authentication import (
        CHAP,
        GSSAPI,
        NoAuthentication,
        UsernamePassword,
    )
    from twisted_socks5.client.control import ControlConnection
    from twisted_socks5.client.datagram import Association, associate
    from twisted_socks5.client.endpoint import SOCKS4ClientEndpoint, SOCKS5ClientEndpoint
    from twisted_socks5.client.environment import endpointFromEnvironment, proxyFromEnvironment
    from twisted_socks5.client.errors import (
        AuthenticationError,
        InvalidTarget,
        NameNotFound,
        NegotiationTimeout,
        ProxyClosed,
        ProxyError,
        ProxyProtocolError,
        SOCKSError,
    )
    from twisted_socks5.client.listening import (
        SOCKS5RenewingServerEndpoint,
        SOCKS5ServerEndpoint,
    )
    from twisted_socks5.client.proxy import Proxy
    from twisted_socks5.client.reactor import SOCKS5Reactor
    from twisted_socks5.client.resolver import SOCKS5Resolver
    from twisted_socks5.client.urls import ProxyURL, endpointFromURL, proxyFromURL

__all__ = [
    "CHAP",
    "GSSAPI",
    "Association",
    "AuthenticationError",
    "ControlConnection",
    "EnvironmentAgent",
    "InvalidTarget",
    "NameNotFound",
    "NegotiationTimeout",
    "NoAuthentication",
    "Proxy",
    "ProxyClosed",
    "ProxyError",
    "ProxyProtocolError",
    "ProxyURL",
    "SOCKS4ClientEndpoint",
    "SOCKS5Agent",
    "SOCKS5ClientEndpoint",
    "SOCKS5EndpointFactory",
    "SOCKS5Reactor",
    "SOCKS5RenewingServerEndpoint",
    "SOCKS5Resolver",
    "SOCKS5ServerEndpoint",
    "SOCKSError",
    "UsernamePassword",
    "associate",
    "endpointFromEnvironment",
    "endpointFromURL",
    "proxyFromEnvironment",
    "proxyFromURL",
]

_ROOMS = {
    "agent": ("EnvironmentAgent", "SOCKS5Agent", "SOCKS5EndpointFactory"),
    "authentication": ("CHAP", "GSSAPI", "NoAuthentication", "UsernamePassword"),
    "control": ("ControlConnection",),
    "datagram": ("Association", "associate"),
    "endpoint": ("SOCKS4ClientEndpoint", "SOCKS5ClientEndpoint"),
    "environment": ("endpointFromEnvironment", "proxyFromEnvironment"),
    "errors": (
        "AuthenticationError",
        "InvalidTarget",
        "NameNotFound",
        "NegotiationTimeout",
        "ProxyClosed",
        "ProxyError",
        "ProxyProtocolError",
        "SOCKSError",
    ),
    "listening": ("SOCKS5RenewingServerEndpoint", "SOCKS5ServerEndpoint"),
    "proxy": ("Proxy",),
    "reactor": ("SOCKS5Reactor",),
    "resolver": ("SOCKS5Resolver",),
    "urls": ("ProxyURL", "endpointFromURL", "proxyFromURL"),
}


def __getattr__(name: str) -> object:
    """Open a room when it is asked for: who connects needs no C{twisted.web}."""
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"twisted_socks5.client.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
