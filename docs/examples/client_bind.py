"""
Wait for one connection to a port of a SOCKS5 proxy, and greet whoever it is.

    python client_bind.py PROXY-HOST PROXY-PORT [PEER-HOST]
"""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure

from twisted_socks5.client.errors import SOCKSError
from twisted_socks5.client.listening import SOCKS5ServerEndpoint


class Greeting(Protocol):
    """Any protocol will do."""

    transport: Any

    def __init__(self, done: Deferred[None]) -> None:
        self.done = done

    def connectionMade(self) -> None:
        self.transport.write(b"Hello, whoever you are.\r\n")
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.done.callback(None)


class Greeter(Factory):
    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def buildProtocol(self, addr: IAddress | None) -> Greeting:
        # The peer, as the proxy's second reply says; the transport knows the proxy only.
        print("connected:", addr, flush=True)
        return Greeting(self.done)


async def main(reactor: Any, proxyHost: str, proxyPort: str, peerHost: str = "0.0.0.0") -> None:
    way = HostnameEndpoint(reactor, proxyHost, int(proxyPort))
    endpoint = SOCKS5ServerEndpoint(way, peerHost, reactor=reactor, acceptTimeout=60)
    greeter = Greeter()
    try:
        port = await endpoint.listen(greeter)
        where: Any = port.getHost()
        print(f"connect to {where.host} port {where.port}", flush=True)
        await port.whenAccepted()
    except SOCKSError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    await greeter.done


react(main, sys.argv[1:])
