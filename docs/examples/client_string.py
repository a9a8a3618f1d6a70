r"""
A program that knows nothing of SOCKS: it connects to where an endpoint string says.

    python client_string.py tcp:example.com:80
    python client_string.py 'socks5:example.com:80:via=127.0.0.1\:1080'
"""

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure


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


async def main(reactor: Any, description: str) -> None:
    asking = await connectProtocol(clientFromString(reactor, description), Asking())
    await asking.done


react(main, sys.argv[1:])
