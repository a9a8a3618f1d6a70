"""UDP ASSOCIATE over real sockets and the real reactor: what only a kernel can tell."""

from __future__ import annotations

import gc
import os
import shutil
import socket
import struct
import tempfile
from contextlib import ExitStack
from ipaddress import IPv6Address, ip_address
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.server.associations import ZEROS, Mailbox, headed, opened
from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.config import Settings
from twisted_socks5.logs import AccessRecord
from twisted_socks5.relay.legs import BUFFER
from twisted_socks5.relay.udp import Endpoint
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.testing import Peer, PeerFactory
from twisted_socks5.wire import Address, Command, Host, pack_request, parse_reply

# Which reactor is installed is not known to a type checker.
reactor: Any = installed

HERE = "127.0.0.1"
HERE6 = "::1"
ELSEWHERE = "127.0.0.2"


def descriptors() -> int:
    """Count the descriptors this process has open."""
    return len(os.listdir("/dev/fd"))


def freePorts(count: int) -> range:
    """Find a range of UDP ports that nobody has."""
    for first in range(20_000, 30_000, count):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    probe = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
                    stack.enter_context(probe).bind((HERE, port))
            except OSError:
                continue
            return range(first, first + count)
    raise AssertionError("no port is free")


class Box(Mailbox):
    """A UDP socket that can be waited for."""

    def __init__(self) -> None:
        super().__init__()
        self._waiting: tuple[int, Deferred[None]] | None = None

    def datagramReceived(self, datagram: bytes, addr: Endpoint) -> None:
        """Keep it, and tell who waits for it."""
        super().datagramReceived(datagram, addr)
        if self._waiting is not None and len(self.received) >= self._waiting[0]:
            waiting, self._waiting = self._waiting[1], None
            waiting.callback(None)

    async def take(self, count: int = 1) -> list[bytes]:
        """Wait for so many datagrams, and take them."""
        if len(self.received) < count:
            waiting: Deferred[None] = Deferred()
            self._waiting = (count, waiting)
            await waiting
        return self.taken()


class SocketsCase(TestCase):
    """A server on loopback."""

    timeout = 30

    async def serve(self, *interfaces: str, **settings: Any) -> None:
        """Start a server."""
        self.records: list[AccessRecord] = []
        self.peers: list[Peer] = []
        self.addCleanup(lambda: Deferred.fromCoroutine(self.hangUp()))
        self.server = SOCKS5ServerFactory(
            reactor,
            Portal(SOCKS5Realm(), [AllowAnonymousAccess()]),
            settings=Settings(**settings),
            accessLog=self.records.append,
        )
        self.port = 0
        for interface in interfaces or (HERE,):
            port = reactor.listenTCP(self.port, self.server, interface=interface)
            self.port = port.getHost().port
            self.closeLater(port)

    def closeLater(self, port: IListeningPort) -> None:
        """Close a port when the test is over."""
        self.addCleanup(port.stopListening)

    def box(self, host: str = HERE) -> Box:
        """Open a UDP socket with a large buffer."""
        box = Box()
        port = reactor.listenUDP(0, box, host, 65536)
        port.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
        self.closeLater(port)
        return box

    async def dial(self, host: str = HERE, source: str = "") -> Peer:
        """Connect to the server, from an address."""
        factory = PeerFactory()
        address = (source, 0) if source else None
        reactor.connectTCP(host, self.port, factory, bindAddress=address)
        while not (factory.peers and factory.peer.connected):
            await deferLater(reactor, 0)
        return self.watched(factory)

    def watched(self, factory: PeerFactory) -> Peer:
        """Have a control connection end with the test."""
        peer = factory.peer
        assert isinstance(peer, Peer)
        self.peers.append(peer)
        return peer

    async def hangUp(self) -> None:
        """End all control connections, and wait until the server has noticed."""
        for peer in self.peers:
            peer.abort()
        await self.server.whenIdle()
        await deferLater(reactor, 0)  # a UDP port closes in the turn after

    async def ask(self, peer: Peer, declared: Address = ZEROS) -> Endpoint:
        """Ask for an association, and give BND."""
        peer.write(b"\5\1\0" + pack_request(Command.UDP_ASSOCIATE, declared))
        await peer.whenReceived(2 + 10)
        if peer.received[5] == 4:
            await peer.whenReceived(2 + 22)
        found = parse_reply(bytes(peer.received), 2)
        assert found is not None
        self.assertEqual(found[0].reply, 0)
        return str(found[0].bound.host), found[0].bound.port

    async def associate(self, host: str = HERE, source: str = "") -> None:
        """Associate."""
        self.control = await self.dial(host, source)
        self.bound = await self.ask(self.control)
        self.client = self.box(source or self.bound[0])

    async def echo(self, payload: bytes, target: Box, host: str | Host | None = None) -> None:
        """Send a datagram through the relay and back."""
        address, port = target.address
        self.client.send(headed(payload, host or address, port), self.bound)
        self.assertEqual(await target.take(), [payload])
        target.send(payload[::-1], target.last)
        (datagram,) = await self.client.take()
        self.assertEqual(opened(datagram), (payload[::-1], (address, port)))
        self.assertEqual(self.client.last, self.bound)


class AddressTests(SocketsCase):
    """Addresses, families and who is who."""

    async def test_IPv4(self) -> None:
        """All in IPv4."""
        await self.serve()
        await self.associate()
        self.assertEqual(self.bound[0], HERE)
        await self.echo(b"abc", self.box())

    async def test_families(self) -> None:
        """Targets of both families, and names, for a client of either."""
        await self.serve(HERE, HERE6)
        for host in (HERE, HERE6):
            await self.associate(host)
            self.assertEqual(self.bound[0], host)
            await self.echo(b"four", self.box())
            await self.echo(b"six", self.box(HERE6))
            await self.echo(b"mapped", self.box(), IPv6Address("::ffff:127.0.0.1"))
            await self.echo(b"literal", self.box(), b"127.0.0.1")

    async def test_name(self) -> None:
        """A name, resolved by the system."""
        await self.serve()
        await self.associate()
        box, box6 = self.box(), self.box(HERE6)
        # Whichever of its addresses localhost has here, there is somebody to answer.
        self.client.send(headed(b"x", b"localhost", box.address[1]), self.bound)
        self.client.send(headed(b"x", b"localhost", box6.address[1]), self.bound)
        while not box.received and not box6.received:
            await deferLater(reactor, 0.01)

    async def test_dualStack(self) -> None:
        """A client that has come by IPv4 to a port of both families is answered in IPv4."""
        await self.serve("::")
        await self.associate(HERE)
        self.assertEqual(self.bound[0], HERE)
        await self.echo(b"abc", self.box())
        await self.associate(HERE6)
        self.assertEqual(self.bound[0], HERE6)
        await self.echo(b"abc", self.box())

    async def test_stranger(self) -> None:
        """Who is at another address is a stranger, from the client's port as well."""
        await self.serve()
        await self.associate()
        target, stranger, samePort = self.box(), self.box(ELSEWHERE), Box()
        self.closeLater(reactor.listenUDP(self.client.address[1], samePort, ELSEWHERE))
        for _ in range(3):
            for each in (stranger, samePort):
                each.send(headed(b"stranger's", *target.address), self.bound)
                each.send(b"", self.bound)
            await self.echo(b"client's", target)
        self.assertEqual(stranger.received + samePort.received, [])
        await self.finished("client closed; dropped: 12 from strangers")

    async def test_clientElsewhere(self) -> None:
        """The client is where its control connection comes from."""
        await self.serve()
        await self.associate(HERE, ELSEWHERE)
        target, mine = self.box(), self.client
        self.client = self.box()
        self.client.send(headed(b"not the client's", *target.address), self.bound)
        self.client = mine
        await self.echo(b"client's", target)
        await self.finished("client closed; dropped: 1 from strangers")

    async def test_declared(self) -> None:
        """Who declares its port need not be the first to send."""
        await self.serve()
        client, other, target = self.box(), self.box(), self.box()
        self.control = await self.dial()
        declared = Address(ip_address(HERE), client.address[1])
        self.bound = await self.ask(self.control, declared)
        other.send(headed(b"other's", *target.address), self.bound)
        self.client = client
        await self.echo(b"client's", target)

    async def test_anybodyAnswers(self) -> None:
        """Who was not sent to may answer, too; and all see the same port."""
        await self.serve()
        await self.associate()
        target, other = self.box(), self.box(ELSEWHERE)
        await self.echo(b"abc", target)
        other.send(b"hello", target.last)
        (datagram,) = await self.client.take()
        self.assertEqual(opened(datagram), (b"hello", other.address))

    async def test_unixSocket(self) -> None:
        """A client on a Unix socket."""
        await self.serve()
        directory = tempfile.mkdtemp()  # mktemp's own may be too long for a socket
        self.addCleanup(shutil.rmtree, directory)
        path = os.path.join(directory, "socks")
        self.closeLater(reactor.listenUNIX(path, self.server))
        factory = PeerFactory()
        await UNIXClientEndpoint(reactor, path).connect(factory)
        self.control = self.watched(factory)
        self.bound = await self.ask(self.control)
        self.assertEqual(self.bound[0], HERE)
        self.client = self.box()
        await self.echo(b"abc", self.box())

    async def finished(self, reason: str) -> None:
        """End the association, and look into the access log."""
        self.control.lose()
        await self.server.whenIdle()
        self.assertEqual(self.records[-1].reason, reason)


class LoadTests(SocketsCase):
    """Sizes, bursts, errors and ends."""

    async def test_sizes(self) -> None:
        """From nothing to the largest payload, in both families."""
        await self.serve()
        await self.associate()
        for host, header in ((HERE, 10), (HERE6, 22)):
            target = self.box(host)
            for size in (0, 1, 8192, 8193, 65507 - header):
                await self.echo(os.urandom(size), target)

    async def test_tooLarge(self) -> None:
        """What does not fit behind a header is dropped."""
        await self.serve()
        await self.associate()
        target = self.box()
        await self.echo(b"abc", target)
        target.send(bytes(65507 - 9), target.last)
        await self.echo(b"abc", target)
        self.control.lose()
        await self.server.whenIdle()
        self.assertEqual(self.records[0].reason, "client closed; dropped: 1 too large")

    async def test_burst(self) -> None:
        """A burst that comes while the reactor is busy is kept by the kernel, and all passes."""
        await self.serve()
        await self.associate()
        target = self.box()
        await self.echo(b"abc", target)
        handle = target.transport.getHandle()
        granted = handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        # The kernel counts its own overhead, too: less than three times as much as these.
        burst = [b"%4d" % number + bytes(1020) for number in range(granted // 4096)]
        for payload in burst:
            self.client.send(headed(payload, *target.address), self.bound)
        self.assertEqual(await target.take(len(burst)), burst)
        for payload in burst:
            target.send(payload, target.last)
        datagrams = await self.client.take(len(burst))
        self.assertEqual([opened(datagram)[0] for datagram in datagrams], burst)

    async def test_refused(self) -> None:
        """A target's ICMP error is the end of nothing."""
        await self.serve()
        await self.associate()
        target, closed = self.box(), self.box()
        address = closed.address
        await closed.transport.stopListening()
        for _ in range(5):
            self.client.send(headed(b"nobody's", *address), self.bound)
            await self.echo(b"somebody's", target)

    async def test_unreachable(self) -> None:
        """Neither is a target that there is no way to."""
        await self.serve()
        await self.associate()
        for host in ("255.255.255.255", "fe80::1", "::", "0.0.0.0", "224.0.0.1"):
            self.client.send(headed(b"x", host, 9), self.bound)
        await self.echo(b"somebody's", self.box())

    async def test_closed(self) -> None:
        """When the control connection has gone, nothing is left: not the port either."""
        before = descriptors()
        await self.serve()
        await self.associate()
        await self.echo(b"abc", self.box())
        await self.echo(b"abc", self.box(HERE6))
        peers = [await self.dial() for _ in range(20)]
        ports = [await self.ask(peer) for peer in peers]
        self.assertGreaterEqual(descriptors() - before, 2 * len(peers))
        self.control.lose()
        for peer in peers:
            peer.abort()
        await self.server.whenIdle()
        await deferLater(reactor, 0)
        for address in (*ports, self.bound):
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as again:
                again.bind(address)
        await self.control.whenLost()
        # The server's port, and five of the test's own.
        self.assertLessEqual(descriptors() - before, 6)
        self.assertEqual(len(self.records), 21)

    async def test_reset(self) -> None:
        """A reset of the control connection is the end, too."""
        await self.serve()
        with socket.create_connection((HERE, self.port)) as raw:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            raw.setblocking(False)
            raw.send(b"\5\1\0" + pack_request(Command.UDP_ASSOCIATE, ZEROS))
            while not (self.server.sessions and self.established()):
                await deferLater(reactor, 0)
        await self.server.whenIdle()
        self.assertEqual(self.records[0].reason, "client reset during the association")

    def established(self) -> bool:
        """Whether the association stands."""
        return any(session.record.reply is not None for session in self.server.sessions)

    async def test_idle(self) -> None:
        """An association without datagrams ends."""
        await self.serve(association_timeout=0.05)
        await self.associate()
        await self.control.whenEOF()
        self.control.lose()
        await self.server.whenIdle()
        self.assertEqual(self.records[0].reason, "no datagram for 0.05 s")

    async def test_portRange(self) -> None:
        """Ports of a range, until it is used up; what has failed leaves no socket."""
        ports = freePorts(3)
        await self.serve(udp_ports=ports)
        bound = {await self.ask(await self.dial()) for _ in range(3)}
        self.assertEqual(bound, {(HERE, port) for port in ports})
        peer = await self.dial()
        gc.disable()
        self.addCleanup(gc.enable)
        before = descriptors()
        peer.write(b"\5\1\0" + pack_request(Command.UDP_ASSOCIATE, ZEROS))
        await peer.whenReceived(12)
        self.assertEqual(peer.received[2:4], b"\5\1")
        self.assertEqual(descriptors(), before)

    async def test_buffers(self) -> None:
        """The relay's sockets have more room than a socket has by default."""
        await self.serve()
        await self.associate()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as plain:
            usual = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
            plain.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER)
            possible = plain.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
        (session,) = self.server.sessions
        undertaking: Any = session._undertaking
        handle = undertaking._relay._client.transport.getHandle()
        for option in (socket.SO_RCVBUF, socket.SO_SNDBUF):
            self.assertGreaterEqual(handle.getsockopt(socket.SOL_SOCKET, option), usual)
        self.assertEqual(handle.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF), possible)
