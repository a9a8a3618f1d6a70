"""
Fetch a file by FTP through a SOCKS5 proxy, or put one there.

    python client_ftp.py PROXY-HOST PROXY-PORT HOST PORT MODE get NAME FILE
    python client_ftp.py PROXY-HOST PROXY-PORT HOST PORT MODE put FILE NAME

MODE is C{active} or C{passive}.
"""

import sys
from typing import Any, BinaryIO

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import react
from twisted.protocols.basic import FileSender
from twisted.protocols.ftp import FTPClient, encodeHostPort

from twisted_socks5.client import SOCKS5ClientEndpoint
from twisted_socks5.client.listening import SOCKS5ServerEndpoint
from twisted_socks5.client.reactor import SOCKS5Reactor


class Client(FTPClient):
    """Twisted's client, which also tells when the server is ready for a file."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.ready: Deferred[None] = Deferred()

    def lineReceived(self, line: bytes) -> None:
        if line.startswith((b"125", b"150")):
            self.ready.callback(None)
        super().lineReceived(line)


class Data(Factory):
    """Gives the server's connection to what waits for it."""

    transfer: Protocol

    def buildProtocol(self, addr: Any) -> Protocol:
        return self.transfer


class ActiveClient(Client):
    """
    The same, whose data comes to a port of the proxy's.

    Its own way of making a port is to listen at once; a proxy takes its time.  So L{prepare} one
    before each transfer.
    """

    def __init__(self, endpoint: SOCKS5ServerEndpoint) -> None:
        super().__init__(passive=False)
        self.endpoint = endpoint

    async def prepare(self) -> None:
        self.data = Data()
        self.port = await self.endpoint.listen(self.data)

    def generatePortCommand(self, portCmd: Any) -> None:
        self.data.transfer = portCmd.protocol
        portCmd.fail = self.failed
        where: Any = self.port.getHost()
        portCmd.text = "PORT " + encodeHostPort(where.host, where.port)

    def failed(self, error: Any) -> Any:
        self.port.stopListening()
        return error


class Saving(Protocol):
    def __init__(self, file: BinaryIO) -> None:
        self.file = file

    def dataReceived(self, data: bytes) -> None:
        self.file.write(data)


async def transfer(client: Client, way: str, source: str, destination: str) -> None:
    if way == "get":
        with open(destination, "wb") as file:
            await client.retrieveFile(source, Saving(file))
        return
    connected, done = client.storeFile(destination)
    with open(source, "rb") as file:
        sender = await connected
        await client.ready
        await FileSender().beginFileTransfer(file, sender.transport)
        sender.finish()
        await done


async def main(
    reactor: Any, proxyHost: str, proxyPort: str, host: str, port: str, mode: str, *what: str
) -> None:
    proxy = HostnameEndpoint(reactor, proxyHost, int(proxyPort))
    client: Client
    if mode == "active":
        client = ActiveClient(SOCKS5ServerEndpoint(proxy, host, reactor=reactor))
    else:
        # The client knows the server's address by its connection, and that is the proxy's.
        client = Client(passive=True, trustPasvAddr=True)
        vars(client)["connectFactory"] = SOCKS5Reactor(reactor, proxy).connectTCP
    endpoint = SOCKS5ClientEndpoint(proxy, host, int(port), reactor=reactor)
    await endpoint.connect(Factory.forProtocol(lambda: client))
    if isinstance(client, ActiveClient):
        await client.prepare()
    await transfer(client, *what)
    await client.quit()


react(main, sys.argv[1:])
