"""
The next proxy in a chain: what a server forwards its sessions to.

The server knows no clients and the client no servers; here is what joins them, an
L{IVia<twisted_socks5.interfaces.IVia>} over the client's half:

  - L{SOCKSVia} asks another SOCKS proxy, for all commands;
  - L{HTTPVia} asks an HTTP proxy, which has CONNECT only;
  - L{viaFromString} makes one of these of a URL, or of an endpoint's string;
  - L{NextHop} is the endpoint that leads there as a server's own connections do.
"""

from __future__ import annotations

from twisted_socks5.via.httpconnect import HTTPVia
from twisted_socks5.via.nexthop import NextHop
from twisted_socks5.via.socks import SOCKSVia
from twisted_socks5.via.strings import viaFromString

__all__ = ["HTTPVia", "NextHop", "SOCKSVia", "viaFromString"]
