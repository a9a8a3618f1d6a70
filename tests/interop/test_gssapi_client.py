"""
GSSAPI (RFC 1961) with a real KDC: our client through our server, in two processes.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from functools import partial
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.interop.datagrams import UDPEcho
from tests.interop.origins import EchoTarget, ServingTarget, content, digest
from tests.interop.proxy import Proxy as Running
from tests.security.realm import sharedRealm
from twisted_socks5.client import GSSAPI, AuthenticationError, Proxy, SOCKS5ClientEndpoint
from twisted_socks5.client.datagram import associate
from twisted_socks5.client.listening import SOCKS5ServerEndpoint
from twisted_socks5.wire import ProtectionLevel

reactor: Any = installed

_SIZE = 20_000_000
_NONE, _INTEGRITY, _CONFIDENTIALITY = list(ProtectionLevel)[:3]
_LEVELS = (_INTEGRITY, _CONFIDENTIALITY)


class ExchangingTarget(ServingTarget):
    """
    Sends 20 MB while it receives, and a last word after the other side's end.

    @ivar got: the checksum of what it has received.
    """

    got = ""

    def serve(self, connection: socket.socket) -> None:
        """Do that."""
        sender = threading.Thread(target=connection.sendall, args=(content(_SIZE)[::-1],))
        sender.start()
        received = hashlib.sha256()
        while octets := connection.recv(1 << 18):
            received.update(octets)
        sender.join(60)
        self.got = received.hexdigest()
        connection.sendall(b"and this")


@implementer(IHalfCloseableProtocol)
class Saying(Protocol):
    """
    Says something and ends, and collects what comes until the other side ends, too.

    @ivar heard: fires with that.
    """

    transport: Any

    def __init__(self, octets: bytes) -> None:
        self._octets = octets
        self._pieces: list[bytes] = []
        self.heard: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """Say it."""
        self.transport.write(self._octets)
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """Collect."""
        self._pieces.append(data)

    def writeConnectionLost(self) -> None:
        """Our end is out."""

    def readConnectionLost(self) -> None:
        """That was all."""
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell what was collected."""
        self.heard.callback(b"".join(self._pieces))


class Hearing(DatagramProtocol):
    """
    Hears one datagram after the other.

    @ivar heard: fires with the next one.
    """

    heard: Deferred[tuple[bytes, tuple[str, int]]]

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Tell."""
        self.heard.callback((datagram, addr))


def _same(protocol: Saying) -> Saying:
    """Make a protocol, which is there already."""
    return protocol


class OurClientTests(TestCase):
    """Our client and our server, with alice's ticket."""

    timeout = 120

    def setUp(self) -> None:
        """Make a proxy, for whoever has a ticket."""
        self.realm = sharedRealm("alice", "rcmd/localhost", "http/localhost")
        self.realm.enter()
        self.addCleanup(self.realm.leave)
        self.ticket = self.realm.ticket("alice")

    def proxy(self, parameters: str = "") -> Running:
        """Start the server."""
        keytab = self.realm.keytab("rcmd/localhost")
        options = ("--port", "0", "--access-log-format", "json")
        auth = ("--auth", f"gssapi:keytab={keytab}{parameters}")
        running = Running(self.mktemp(), *options, *auth)
        self.addCleanup(running.stop)
        return running

    def via(self, running: Running, *levels: ProtectionLevel, **settings: Any) -> Proxy:
        """Say where the server is, and who we are."""
        settings.setdefault("ccache", self.ticket)
        endpoint = HostnameEndpoint(reactor, b"127.0.0.1", running.port)
        return Proxy(endpoint, (GSSAPI(host="localhost", levels=levels, **settings),))

    async def say(self, proxy: Proxy, port: int, octets: bytes) -> bytes:
        """Connect through the server, say something, and hear what is said."""
        saying = Saying(octets)
        endpoint = SOCKS5ClientEndpoint(proxy, "127.0.0.1", port, reactor=reactor)
        await endpoint.connect(Factory.forProtocol(partial(_same, saying)))
        return await saying.heard

    async def refused(self, proxy: Proxy) -> str:
        """Connect, which has to fail, and say why."""
        endpoint = SOCKS5ClientEndpoint(proxy, "127.0.0.1", 9, reactor=reactor)
        connecting: Any = endpoint.connect(Factory.forProtocol(Protocol))
        return str(await self.assertFailure(connecting, AuthenticationError))

    async def test_connect(self) -> None:
        """20 MB each way at the same time, and an end in one direction, then in the other."""
        running = self.proxy()
        for level in _LEVELS:
            target = ExchangingTarget(self)
            heard = await self.say(self.via(running, level), target.port, content(_SIZE))
            self.assertEqual(target.got, digest(content(_SIZE)))
            self.assertEqual(digest(heard[:-8]), digest(content(_SIZE)[::-1]))
            self.assertEqual(heard[-8:], b"and this")
        for record in running.stop():
            self.assertEqual((record["sent"], record["received"]), (_SIZE, _SIZE + 8))
            self.assertEqual((record["user"], record["method"]), ("alice@EXAMPLE.TEST", "gssapi"))

    async def test_bind(self) -> None:
        """A port of the proxy's, and who connects to it."""
        running = self.proxy()
        for level in _LEVELS:
            saying = Saying(b"hello")
            endpoint = SOCKS5ServerEndpoint(self.via(running, level), reactor=reactor)
            port = await endpoint.listen(Factory.forProtocol(partial(_same, saying)))
            place: Any = port.getHost()
            with socket.create_connection((place.host, place.port), 20) as peer:
                peer.sendall(b"world")
                peer.shutdown(socket.SHUT_WR)
                self.assertEqual(await saying.heard, b"world")
                self.assertEqual(peer.recv(100), b"hello")

    async def test_associate(self) -> None:
        """Datagrams of all sizes."""
        running, echo = self.proxy(), UDPEcho(self)
        for level in _LEVELS:
            hearing = Hearing()
            association: Any = await associate(self.via(running, level), hearing, reactor)
            for size in (0, 1, 1400, 9000, 60_000):
                hearing.heard = Deferred()
                association.write(content(size), (echo.host, echo.port))
                octets, source = await hearing.heard
                self.assertEqual(digest(octets), digest(content(size)))
                self.assertEqual(source, (echo.host, echo.port))
            await association.stopListening()

    async def test_nothingProtected(self) -> None:
        """Level 0 and NEC's way, where both sides want it so."""
        running, echo = self.proxy(":protection=none,integrity,nec"), EchoTarget(self)
        for level in (_NONE, _INTEGRITY):
            for nec in (False, True):
                proxy = self.via(running, level, nec=nec)
                self.assertEqual(await self.say(proxy, echo.port, b"hello"), b"hello")

    async def test_otherLevel(self) -> None:
        """A server that grants more than was asked for will do, if we agree."""
        running, echo = self.proxy(":protection=confidentiality"), EchoTarget(self)
        both = self.via(running, *_LEVELS)
        self.assertEqual(await self.say(both, echo.port, b"hello"), b"hello")
        only = self.via(running, _INTEGRITY)
        self.assertIn("instead of integrity", await self.refused(only))

    async def test_wrongService(self) -> None:
        """What the server says no to, and what our own KDC does."""
        running = self.proxy()
        wrong = self.via(running, _INTEGRITY, service="http")
        self.assertIn("given up the security context", await self.refused(wrong))
        # The reactor has to go on meanwhile: our end is not closed yet.
        (record,) = await deferToThread(running.waitRecords, 1)
        self.assertIn("http/localhost@EXAMPLE.TEST not found", record["reason"])
        unknown = self.via(running, _INTEGRITY, service="nosuch")
        self.assertIn("not found in Kerberos database", await self.refused(unknown))

    async def test_noTicket(self) -> None:
        """Without a ticket there is a reason, and no connection is left."""
        missing = os.path.abspath(self.mktemp())
        proxy = self.via(self.proxy(), _INTEGRITY, ccache=missing)
        self.assertIn("no credentials", await self.refused(proxy))
