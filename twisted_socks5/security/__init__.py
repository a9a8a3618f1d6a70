"""
GSS-API security contexts, and what they protect (RFC 1961).

  - L{ISecurityContext} is what is asked of a context, of whatever mechanism;
  - L{Encapsulation} is a transport whose octets, and datagrams, travel in a context's tokens;
  - C{levels} decides which protection two sides agree on;
  - C{kerberos} makes contexts of MIT Kerberos' (with the C{gssapi} package, if it is there).

Nothing here knows a request, a session or a proxy.
"""

from twisted_socks5.security.contexts import ContextError, ISecurityContext
from twisted_socks5.security.encapsulation import Encapsulation

__all__ = ["ContextError", "Encapsulation", "ISecurityContext"]
