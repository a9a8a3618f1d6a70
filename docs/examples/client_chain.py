"""
Through three proxies: each is reached through the one before, and knows only its neighbors.

    python client_chain.py HOST PORT PROXY PROXY PROXY        (each of them HOST:PORT)
"""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, connectProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from twisted_socks5.client import SOCKS5ClientEndpoint


class Asking(Protocol):
    transport: Any

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(b"GET / HTTP/1.0\r\n\r\n")

    def dataReceived(self, data: bytes) -> None:
        print(data.decode("utf-8", "replace"), end="")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(None)


async def main(reactor: Any, host: str, port: str, first: str, *others: str) -> None:
    proxyHost, _, proxyPort = first.rpartition(":")
    way: IStreamClientEndpoint = HostnameEndpoint(reactor, proxyHost, int(proxyPort))
    for place in [*others, f"{host}:{port}"]:
        nextHost, _, nextPort = place.rpartition(":")
        way = SOCKS5ClientEndpoint(way, nextHost, int(nextPort), reactor=reactor)
    asking = await connectProtocol(way, Asking())
    await asking.done


react(main, sys.argv[1:])
