"""
TLS between clients and the server: certificates, their renewal, and a transport that half-closes.

  - L{TLSServerEndpoint} listens, on the certificates that L{ServerContexts} have read of
    L{Files}; L{endpointFromString} makes one of a string;
  - L{TLSTransport} is what a protocol then has for a transport, with the client's
    L{ClientCertificate} if it has shown one, and L{TLSFailure} is why TLS has failed.

Nothing here knows a request, a session or a user.
"""

from twisted_socks5.tls.certificates import ClientCertificate, nameOf
from twisted_socks5.tls.contexts import ServerContexts
from twisted_socks5.tls.endpoint import TLSFactory, TLSServerEndpoint, endpointFromString, isTLS
from twisted_socks5.tls.files import Files
from twisted_socks5.tls.layer import TLSFailure, TLSTransport

__all__ = [
    "ClientCertificate",
    "Files",
    "ServerContexts",
    "TLSFactory",
    "TLSFailure",
    "TLSServerEndpoint",
    "TLSTransport",
    "endpointFromString",
    "isTLS",
    "nameOf",
]
