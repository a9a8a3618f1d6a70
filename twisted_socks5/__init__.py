"""
SOCKS5 for Twisted.

- L{SOCKS5ServerFactory} and L{SOCKS5Service}: a proxy server for your application, or run
  C{twistd socks5};
- L{twisted_socks5.interfaces}: what a server lets you bring of your own;
- L{twisted_socks5.auth}: who may use it, through L{twisted.cred};
- L{twisted_socks5.wire}: the protocol itself, without I/O;
- L{twisted_socks5.testing}: in-memory fakes for tests.
"""

from twisted_socks5._version import __version__
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
