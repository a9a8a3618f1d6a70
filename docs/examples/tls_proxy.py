"""
Ask a web server for its first page, through a SOCKS5 proxy that is reached by TLS.

    python tls_proxy.py PROXY-NAME PROXY-PORT HOST PORT CA-FILE [CERTIFICATE-FILE KEY-FILE]
"""

import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.internet.task import react
from twisted.python.failure import Failure

from twisted_socks5.client import SOCKS5ClientEndpoint
from twisted_socks5.client.errors import SOCKSError


class Asking(Protocol):
    """The protocol knows neither of SOCKS nor of TLS."""

    transport: Any

    def __init__(self, host: str, done: Deferred[None]) -> None:
        self.host, self.done = host, done

    def connectionMade(self) -> None:
        self.transport.write(f"GET / HTTP/1.0\r\nHost: {self.host}\r\n\r\n".encode())

    def dataReceived(self, data: bytes) -> None:
        print(data.decode("utf-8", "replace"), end="")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(None)


async def main(
    reactor: Any, proxyName: str, proxyPort: str, host: str, port: str, ca: str, *own: str
) -> None:
    authority = Certificate.loadPEM(Path(ca).read_bytes())
    certificate = None
    if own:
        certificate = PrivateCertificate.loadPEM(b"".join(Path(file).read_bytes() for file in own))
    # The name is what the proxy's certificate must say; whose word counts, the authority.
    options = optionsForClientTLS(
        proxyName,
        trustRoot=trustRootFromCertificates([authority]),
        clientCertificate=certificate,
    )
    proxy = wrapClientTLS(options, HostnameEndpoint(reactor, proxyName, int(proxyPort)))
    endpoint = SOCKS5ClientEndpoint(proxy, host, int(port), reactor=reactor)
    done: Deferred[None] = Deferred()
    try:
        await endpoint.connect(Factory.forProtocol(lambda: Asking(host, done)))
    except (SOCKSError, ConnectError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    await done


react(main, sys.argv[1:])
