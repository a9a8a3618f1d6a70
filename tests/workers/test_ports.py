"""Ports that are opened in one process and accepted from in another."""

from __future__ import annotations

import os
import socket
import ssl
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.threads import deferToThread
from twisted.python.filepath import FilePath
from twisted.trial.unittest import SynchronousTestCase, TestCase

from tests.tls.authority import theProxy
from twisted_socks5.testing import MemoryReactor, PeerFactory
from twisted_socks5.workers import InheritedPorts, SharedPort, SharedPorts, asInherited

reactor: Any = _reactor

HERE = "127.0.0.1"


class Greets(Protocol):
    """Says hello to whoever comes, and closes."""

    def connectionMade(self) -> None:
        """Say it."""
        assert self.transport is not None
        self.transport.write(b"hello")
        self.transport.loseConnection()


def greeting() -> Any:
    """Make the factory of those who greet."""
    factory = Factory.forProtocol(Greets)
    factory.noisy = False
    return factory


def heard(where: Any, context: ssl.SSLContext | None = None) -> bytes:
    """Connect, and hear what is said; in a thread."""
    family = socket.AF_UNIX if isinstance(where, str) else socket.AF_INET
    with socket.socket(family) as plain:
        plain.settimeout(10)
        plain.connect(where)
        client = context.wrap_socket(plain) if context is not None else plain
        got = b""
        while piece := client.recv(100):
            got += piece
        client.close()
        return got


class MemoryTests(SynchronousTestCase):
    """What a port that is shared does in the supervisor."""

    def setUp(self) -> None:
        """Open one."""
        self.reactor = MemoryReactor()
        self.factory = greeting()
        self.port = SharedPorts(self.reactor).listenTCP(1080, self.factory, 5, HERE)

    def test_nobody(self) -> None:
        """It listens, and nobody is accepted."""
        client = PeerFactory()
        self.reactor.connectTCP(HERE, 1080, client)
        self.reactor.advance(1)
        self.assertEqual((client.peer.received, client.failures), (b"", []))
        self.assertEqual(self.factory.numPorts, 0)

    def test_port(self) -> None:
        """It says where it is, and for whom."""
        self.port.startListening()
        host = IPv4Address("TCP", HERE, 1080)
        self.assertEqual((self.port.getHost(), self.port.factory), (host, self.factory))
        stopped = maybeDeferred(self.port.stopListening)
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.listeners(), [])

    def test_else(self) -> None:
        """All else the reactor does."""
        self.assertEqual(SharedPorts(self.reactor).seconds(), self.reactor.seconds())
        self.assertEqual(InheritedPorts(self.reactor, -1).seconds(), self.reactor.seconds())


class SharingTests(TestCase):
    """The same with sockets: a port from here to there, within one process."""

    def opened(self, description: str) -> Any:
        """Open a port as the supervisor does."""
        port: Any = self.successResultOf(
            serverFromString(SharedPorts(reactor), description).listen(greeting())
        )
        self.assertIsInstance(port, SharedPort)
        self.addCleanup(port.stopListening)
        return port

    def inherited(self, port: Any, description: str) -> Any:
        """Accept from it as a worker does."""
        inheriting: Any = InheritedPorts(reactor, os.dup(port.fileno()))
        endpoint = serverFromString(inheriting, asInherited(description))
        found: Any = self.successResultOf(endpoint.listen(greeting()))
        self.addCleanup(found.stopListening)
        return found

    async def assertShared(self, description: str, context: ssl.SSLContext | None = None) -> None:
        """Assert that two accept from a port, and one still does when the other has stopped."""
        port = self.opened(description)
        where = port.getHost()
        where = (HERE, where.port) if hasattr(where, "port") else os.fsdecode(where.name)
        one, two = self.inherited(port, description), self.inherited(port, description)
        self.assertEqual(one.getHost(), port.getHost())
        self.assertEqual(await deferToThread(heard, where, context), b"hello")
        await maybeDeferred(one.stopListening)
        self.assertEqual(await deferToThread(heard, where, context), b"hello")
        await maybeDeferred(two.stopListening)
        # Who comes now waits for the next worker.
        waiting = deferToThread(heard, where, context)
        self.inherited(port, description)
        self.assertEqual(await waiting, b"hello")

    def test_tcp(self) -> Deferred[None]:
        """C{tcp:}."""
        return Deferred.fromCoroutine(self.assertShared(f"tcp:0:interface={HERE}"))

    def test_unix(self) -> Deferred[None]:
        """C{unix:}, whose file stays as it is while there is a supervisor."""
        directory = tempfile.mkdtemp()
        path = Path(directory) / "socket"
        self.addCleanup(FilePath(directory).remove)

        async def shared() -> None:
            await self.assertShared(f"unix:{path}:mode=600")
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)

        return Deferred.fromCoroutine(shared())

    def test_ssl(self) -> Deferred[None]:
        """Twisted's own C{ssl:}, which C{haproxy:ssl:} is."""
        files = Path(self.mktemp())
        files.mkdir()
        identity = theProxy()
        (files / "both.pem").write_bytes(identity.keyPEM + identity.pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        description = f"ssl:0:interface={HERE}:privateKey={files}/both.pem"
        return Deferred.fromCoroutine(self.assertShared(description, context))

    def test_adopted(self) -> None:
        """A socket of systemd's is passed on like one of our own."""
        with socket.create_server((HERE, 0)) as opened:
            opened.setblocking(False)
            port = SharedPorts(reactor).adoptStreamPort(
                opened.fileno(), socket.AF_INET, greeting()
            )
            self.addCleanup(port.stopListening)
            self.assertEqual(port.getHost(), IPv4Address("TCP", *opened.getsockname()))


class DescriptionTests(SynchronousTestCase):
    """What a worker is told of what its supervisor listens on."""

    def test_systemd(self) -> None:
        """systemd's sockets have no name of theirs in a worker; all else is as it was."""
        for given, expected in (
            ("systemd:domain=INET:index=0", "tcp:0"),
            ("haproxy:systemd:domain=INET6:name=x", "haproxy:tcp:0"),
            ("HAProxy:Systemd:domain=INET:index=0", "HAProxy:tcp:0"),
            ("haproxy:tcp:1080", "haproxy:tcp:1080"),
            ("unix:/run/systemd:mode=600", "unix:/run/systemd:mode=600"),
        ):
            self.assertEqual(asInherited(given), expected)
