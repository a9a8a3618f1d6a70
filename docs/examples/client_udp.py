"""
Send a datagram through a SOCKS5 proxy, and print what comes back.

    python client_udp.py PROXY-HOST PROXY-PORT HOST PORT TEXT
"""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import react

from twisted_socks5.client.datagram import associate
from twisted_socks5.client.errors import SOCKSError


class Asking(DatagramProtocol):
    """Any datagram protocol will do: it is not told that there is a proxy."""

    transport: Any

    def __init__(self, host: str, port: int, text: str) -> None:
        self.where, self.text = (host, port), text
        self.answer: Deferred[str] = Deferred()

    def startProtocol(self) -> None:
        # The host may be a name: the proxy resolves it.
        self.transport.write(self.text.encode(), self.where)

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        answer, self.answer = self.answer, Deferred()
        answer.callback(f"{addr[0]} port {addr[1]}: {datagram.decode('utf-8', 'replace')}")


async def main(
    reactor: Any, proxyHost: str, proxyPort: str, host: str, port: str, text: str
) -> None:
    asking = Asking(host, int(port), text)
    answer = asking.answer.addTimeout(10, reactor)
    proxy = HostnameEndpoint(reactor, proxyHost, int(proxyPort))
    try:
        association = await associate(proxy, asking, reactor)
        print(await answer)
    except (SOCKSError, TimeoutError) as error:
        sys.exit(f"{type(error).__name__}: {error}")
    association.stopListening()


react(main, sys.argv[1:])
