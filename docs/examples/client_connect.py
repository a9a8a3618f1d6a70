"""
Ask a web server for its first page through a SOCKS5 proxy.

    python client_connect.py PROXY-HOST PROXY-PORT HOST PORT [USER PASSWORD]
"""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from twisted_socks5.client import Proxy, SOCKS5ClientEndpoint, UsernamePassword
from twisted_socks5.client.errors import SOCKSError


class Asking(Protocol):
    """Any protocol will do: it gets the connection itself, not something around it."""

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
    reactor: Any, proxyHost: str, proxyPort: str, host: str, port: str, *login: str
) -> None:
    way = HostnameEndpoint(reactor, proxyHost, int(proxyPort))
    proxy = Proxy(way, [UsernamePassword(*login)]) if login else way
    # The name goes to the proxy as it is; nothing is resolved here.
    endpoint = SOCKS5ClientEndpoint(proxy, host, int(port), reactor=reactor)
    done: Deferred[None] = Deferred()
    try:
        await endpoint.connect(Factory.forProtocol(lambda: Asking(host, done)))
    except (SOCKSError, ConnectError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    await done


react(main, sys.argv[1:])
