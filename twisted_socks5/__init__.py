"""
SOCKS5 for Twisted.

  - L{SOCKS5ServerFactory} and L{SOCKS5Service}: a proxy server for your application, or run
    C{twistd socks5};
  - L{twisted_socks5.interfaces}: what a server lets you bring of your own;
  - L{twisted_socks5.auth}: who may use it, through L{twisted.cred};
  - L{twisted_socks5.wire}: the protocol itself, without I/O; it loads without Twisted;
  - L{twisted_socks5.testing}: in-memory fakes for tests.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from twisted_socks5._version import __version__

if TYPE_CHECKING:
    from twisted_socks5.config import Settings
    from twisted_socks5.errors import (
        ConfigurationError,
        DialError,
        Forbidden,
        RequestError,
        ResolutionError,
    )
    from twisted_socks5.interfaces import Access, IDialer, IRules, ISOCKS5Avatar, Verdict
    from twisted_socks5.rules import Rule, Rules
    from twisted_socks5.server import SOCKS5ServerFactory
    from twisted_socks5.service import SOCKS5Service

__all__ = [
    "Access",
    "ConfigurationError",
    "DialError",
    "Forbidden",
    "IDialer",
    "IRules",
    "ISOCKS5Avatar",
    "RequestError",
    "ResolutionError",
    "Rule",
    "Rules",
    "SOCKS5ServerFactory",
    "SOCKS5Service",
    "Settings",
    "Verdict",
    "__version__",
]

_ROOMS = {
    "config": ("Settings",),
    "errors": (
        "ConfigurationError",
        "DialError",
        "Forbidden",
        "RequestError",
        "ResolutionError",
    ),
    "interfaces": ("Access", "IDialer", "IRules", "ISOCKS5Avatar", "Verdict"),
    "rules": ("Rule", "Rules"),
    "server": ("SOCKS5ServerFactory",),
    "service": ("SOCKS5Service",),
}


def __getattr__(name: str) -> object:
    """Open a room when it is asked for, so that who wants one doesn't pay for all."""
    for room, names in _ROOMS.items():
        if name in names:
            return getattr(import_module(f"twisted_socks5.{room}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
