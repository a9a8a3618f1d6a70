"""
Our client, through servers of other people's.
"""

from __future__ import annotations

import socket
from typing import Any

from twisted.internet import error
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import HostnameEndpoint, clientFromString, quoteStringArgument
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.interop.datagrams import UDPEcho
from tests.interop.origins import EchoTarget, closedPort, content, digest
from tests.interop.servers import PASSWORD, USER, Dante, MicroSocks, OpenSSH, PProxy, Server
from twisted_socks5.client.authentication import NoAuthentication, UsernamePassword
from twisted_socks5.client.datagram import associate
from twisted_socks5.client.endpoint import SOCKS5ClientEndpoint
from twisted_socks5.client.errors import AuthenticationError, Rejected
from twisted_socks5.client.listening import SOCKS5ServerEndpoint
from twisted_socks5.client.proxy import Proxy

reactor: Any = installed

SIZE = 2_000_000
LOGIN = UsernamePassword(USER, PASSWORD)
WRONG = UsernamePassword(USER, "guess")


@implementer(IHalfCloseableProtocol)
class Asker(Protocol):
    """
    Sends octets to who gives them back, and collects what comes.

    @ivar answer: fires with that, at the connection's end.
    """

    transport: Any

    def __init__(self, question: bytes, halfClose: bool) -> None:
        """
        @param halfClose: whether a FIN ends the question, or its last octet.
        """
        self._question = question
        self._halfClose = halfClose
        self._heard = bytearray()
        self.answer: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(self._question)
        if self._halfClose:
            self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """Collect."""
        self._heard += data
        if not self._halfClose and len(self._heard) >= len(self._question):
            self.transport.loseConnection()

    def readConnectionLost(self) -> None:
        """That was all."""
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """We have asked."""

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell what was collected."""
        self.answer.callback(bytes(self._heard))


class DatagramCaller(DatagramProtocol):
    """
    Sends datagrams, and hears the answer to each.

    @ivar heard: fires with the next datagram, and where it came from.
    """

    transport: Any
    heard: Deferred[tuple[bytes, tuple[str, int]]]

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """Tell who waits for it."""
        self.heard.callback((datagram, addr))


def giveBack(connection: socket.socket) -> None:
    """Give back what comes, until there is nothing more."""
    with connection:
        while octets := connection.recv(1 << 16):
            connection.sendall(octets)


class ServerTests(TestCase):
    """What all of them need."""

    timeout = 60

    def via(self, server: Server) -> IStreamClientEndpoint:
        """Say where a server is."""
        return HostnameEndpoint(reactor, "127.0.0.1", server.port)

    def endpoint(
        self, server: Server, host: str, port: int, *authentication: Any, version: int = 5
    ) -> SOCKS5ClientEndpoint:
        """Go through a server, with a few methods."""
        methods = authentication or (NoAuthentication(),)
        proxy = Proxy(self.via(server), methods, version=version)
        return SOCKS5ClientEndpoint(proxy, host, port, reactor=reactor)

    async def ask(self, endpoint: IStreamClientEndpoint, question: bytes = b"hello") -> bytes:
        """Connect, ask, and get the answer."""
        asker = Asker(question, self.halfCloses)
        await endpoint.connect(Factory.forProtocol(lambda: asker))
        return await asker.answer

    async def check(self, server: Server, *authentication: Any) -> None:
        """By name and by address; 2 MB; and to where nobody listens."""
        echo = EchoTarget(self)
        for host in ("localhost", "127.0.0.1"):
            endpoint = self.endpoint(server, host, echo.port, *authentication)
            self.assertEqual(await self.ask(endpoint), b"hello", host)
        endpoint = self.endpoint(server, "127.0.0.1", echo.port, *authentication)
        answer = await self.ask(endpoint, content(SIZE))
        self.assertEqual(digest(answer), digest(content(SIZE)))
        nobody = self.endpoint(server, "127.0.0.1", closedPort(self), *authentication)
        if self.refusedAs is None:
            self.assertEqual(await self.ask(nobody), b"")
            return
        failed = await self.assertFailure(self.ensured(nobody), error.ConnectError)
        self.assertIsInstance(failed, self.refusedAs)

    #: Whether it passes on a FIN and still the answer.
    halfCloses = True

    #: What it says where nobody listens; L{None}: it has said yes already.
    refusedAs: type[Exception] | None = error.ConnectionRefusedError

    def ensured(self, endpoint: IStreamClientEndpoint) -> Deferred[Any]:
        """Connect, with nothing to say."""
        return endpoint.connect(Factory.forProtocol(Protocol))


class DanteTests(ServerTests):
    """Dante's danted."""

    async def test_connect(self) -> None:
        """It asks nobody."""
        await self.check(Dante(self))

    async def test_login(self) -> None:
        """It wants a user name and password, and takes the right ones."""
        server = Dante(self, login=True)
        await self.check(server, LOGIN)
        await self.check(server, NoAuthentication(), LOGIN)
        echo = EchoTarget(self)
        for wrong in ((WRONG,), (NoAuthentication(),)):
            endpoint = self.endpoint(server, "127.0.0.1", echo.port, *wrong)
            await self.assertFailure(self.ensured(endpoint), AuthenticationError)

    async def test_version4(self) -> None:
        """SOCKS4; it has no 4a, and so wants a name resolved here."""
        server, echo = Dante(self), EchoTarget(self)
        endpoint = self.endpoint(server, "127.0.0.1", echo.port, version=4)
        self.assertEqual(await self.ask(endpoint), b"hello")
        text = f"socks4:localhost:{echo.port}:via=127.0.0.1\\:{server.port}"
        self.assertEqual(await self.ask(clientFromString(reactor, f"{text}:dns=local")), b"hello")
        await self.assertFailure(self.ensured(clientFromString(reactor, text)), Rejected)

    async def test_bind(self) -> None:
        """
        A peer that connects to Dante is connected to us; what it says is heard, and answered.

        Dante wants to know who will come: it lets nobody else in.
        """
        bound = SOCKS5ServerEndpoint(self.via(Dante(self)), "127.0.0.1", reactor=reactor)
        asker = Asker(content(SIZE), halfClose=True)
        port = await bound.listen(Factory.forProtocol(lambda: asker))
        here: Any = port.getHost()
        peer = socket.create_connection((here.host, here.port), 20)
        self.addCleanup(peer.close)
        answered = deferToThread(giveBack, peer)
        self.assertIs(await port.whenAccepted(), asker)
        self.assertEqual(digest(await asker.answer), digest(content(SIZE)))
        await answered

    async def test_udp(self) -> None:
        """Datagrams go to where they are sent, by name as well, and their answers come back."""
        echo, server = UDPEcho(self), Dante(self)
        caller = DatagramCaller()
        association = await associate(self.via(server), caller, reactor)
        for host in ("127.0.0.1", "localhost"):
            for size in (1, 1000, 9000):
                heard = caller.heard = Deferred()
                caller.transport.write(content(size), (host, echo.port))
                datagram, source = await heard
                self.assertEqual(digest(datagram), digest(content(size)))
                self.assertEqual(source, ("127.0.0.1", echo.port))
        # It is Dante that they have come from.
        self.assertNotIn(association.getHost().port, {port for _, port in echo.sources})
        await maybeDeferred(association.stopListening)


class MicroSocksTests(ServerTests):
    """microsocks, for which a FIN of either side is the end of both."""

    halfCloses = False

    async def test_connect(self) -> None:
        """It asks nobody."""
        await self.check(MicroSocks(self))

    async def test_login(self) -> None:
        """It wants a user name and password."""
        server = MicroSocks(self, login=True)
        await self.check(server, LOGIN, NoAuthentication())
        endpoint = self.endpoint(server, "127.0.0.1", 80, WRONG)
        await self.assertFailure(self.ensured(endpoint), AuthenticationError)


class OpenSSHTests(ServerTests):
    """C{ssh -D}."""

    # It says 1, general failure, of everything that its server can't reach.
    refusedAs = error.ConnectError

    async def test_connect(self) -> None:
        """It asks nobody."""
        await self.check(OpenSSH(self))

    async def test_version4(self) -> None:
        """SOCKS4, and 4a for a name."""
        server, echo = OpenSSH(self), EchoTarget(self)
        for host in ("127.0.0.1", "localhost"):
            endpoint = self.endpoint(server, host, echo.port, version=4)
            self.assertEqual(await self.ask(endpoint), b"hello")


class PProxyTests(ServerTests):
    """pproxy, for which a FIN of either side is the end of both; it answers before it tries."""

    halfCloses = False
    refusedAs = None

    async def test_connect(self) -> None:
        """It asks nobody."""
        await self.check(PProxy(self))

    async def test_login(self) -> None:
        """It wants a user name and password."""
        await self.check(PProxy(self, login=True), LOGIN)


class ChainTests(ServerTests):
    """Through several of them."""

    halfCloses = False

    async def test_three(self) -> None:
        """By nested strings: OpenSSH, then microsocks with a password, then Dante."""
        echo = EchoTarget(self)
        text = f"127.0.0.1:{OpenSSH(self).port}"
        text = f"socks5:127.0.0.1:{MicroSocks(self, login=True).port}:via={quoted(text)}"
        text = f"socks5:127.0.0.1:{Dante(self).port}:via={quoted(text)}"
        # Whoever we say we are, we say it to the proxy in the same string's via.
        text += f":user={USER}:password={PASSWORD}"
        text = f"socks5:localhost:{echo.port}:via={quoted(text)}"
        endpoint = clientFromString(reactor, text)
        self.assertEqual(digest(await self.ask(endpoint, content(SIZE))), digest(content(SIZE)))


def quoted(text: str) -> str:
    """Write a string as an argument of another."""
    return str(quoteStringArgument(text))
