"""
BIND over real sockets and the real reactor: what only a kernel can tell.

- addresses: the way to a peer, both families, strangers at 127.0.0.2, a Unix socket's client;
- streams: order at the second reply, half-close, resets, bulk by checksum;
- ends: ports that are free again at once, nothing left open, used-up ports and descriptors;
- a thousand at a time, as far as the process may have descriptors.
"""

from __future__ import annotations

import errno
import gc
import hashlib
import os
import resource
import shutil
import socket
import struct
import tempfile
from contextlib import ExitStack
from ipaddress import ip_address
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import UNIXClientEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from tests.server.bindings import asked, endpoint
from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.config import PortChoice, Settings
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.server.bound import ownTowards
from twisted_socks5.server.localhost import isLocalAddress
from twisted_socks5.testing import MemoryResolver, Peer, PeerFactory
from twisted_socks5.wire import Host, ReplyMessage, parse_reply

# Which reactor is installed is not known to a type checker.
reactor: Any = installed

HERE = "127.0.0.1"
HERE6 = "::1"
ELSEWHERE = "127.0.0.2"

Endpoint = tuple[str, int]

#: struct linger: a close is a reset.
RESET_ON_CLOSE = struct.pack("ii", 1, 0)


def descriptors() -> int:
    """Count the descriptors this process has open."""
    return len(os.listdir("/dev/fd"))


def freePorts(count: int) -> range:
    """Find a range of ports that nobody has."""
    for first in range(20_000, 30_000, count):
        with ExitStack() as stack:
            try:
                for port in range(first, first + count):
                    probe = stack.enter_context(socket.socket())
                    probe.bind((HERE, port))
            except OSError:
                continue
            return range(first, first + count)
    raise AssertionError("no port is free")


def isFree(where: Endpoint) -> bool:
    """Tell whether a port can be listened on."""
    family = socket.AF_INET6 if ":" in where[0] else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(where)
            probe.listen()
        except OSError:
            return False
    return True


async def turn(seconds: float = 0) -> None:
    """Let the reactor go round."""
    await deferLater(reactor, seconds)


class SocketsCase(TestCase):
    """A server on loopback."""

    timeout = 30

    async def serve(self, *interfaces: str, streams: bool = True, **settings: Any) -> None:
        """Start a server, as the service does."""
        self.records: list[AccessRecord] = []
        self.peers: list[Peer] = []
        self.addCleanup(lambda: Deferred.fromCoroutine(self.hangUp()))
        self.names = MemoryResolver(reactor)
        self.server = SOCKS5ServerFactory(
            reactor,
            Portal(SOCKS5Realm(), [AllowAnonymousAccess()]),
            settings=Settings(**settings),
            resolver=self.names,
            accessLog=self.records.append,
        )
        self.port = 0
        for interface in interfaces or (HERE,):
            port = reactor.listenTCP(self.port, self.server, 1000, interface)
            self.port = port.getHost().port
            self.addCleanup(port.stopListening)
            if streams and self.server.streams is not None:
                self.addCleanup(self.server.streams.accept(port, self.server).stop)

    async def hangUp(self) -> None:
        """End all connections, and wait until the server has noticed."""
        for peer in self.peers:
            peer.abort()
        await self.server.whenIdle()
        await turn()  # a port closes in the turn after

    async def connect(self, where: Endpoint, source: str = "") -> Peer:
        """Connect to a port, from an address."""
        factory = PeerFactory()
        address = (source, 0) if source else None
        reactor.connectTCP(*where, factory, bindAddress=address)
        while not (factory.peers and factory.peer.connected):
            if factory.failures:
                factory.failures[0].raiseException()
            await turn()
        return self.watched(factory)

    async def turnedAway(self, where: Endpoint, source: str) -> None:
        """Connect from an address, and be reset, perhaps before one knows to be connected."""
        factory = PeerFactory()
        reactor.connectTCP(*where, factory, bindAddress=(source, 0))
        while not (factory.failures or (factory.peers and factory.peer.lost)):
            if factory.peers:
                factory.peer.write(b"let me in")
            await turn()
        if factory.failures:
            error = factory.failures[0].value
            self.assertIsInstance(error, ConnectError)
            self.assertEqual(getattr(error, "osError", None), errno.ECONNRESET)
        else:
            self.assertTrue(factory.peer.wasReset)
            self.assertEqual(bytes(factory.peer.received), b"")

    def watched(self, factory: PeerFactory) -> Peer:
        """Have a connection end with the test."""
        peer = factory.peer
        assert isinstance(peer, Peer)
        self.peers.append(peer)
        return peer

    async def first(self, client: Peer) -> ReplyMessage:
        """Wait for the first reply."""
        return (await self.replies(client, 1))[0][0]

    async def replies(self, client: Peer, count: int = 2) -> tuple[list[ReplyMessage], bytes]:
        """Wait for so many replies; @return: them, and what is behind."""
        at = 2
        found: list[ReplyMessage] = []
        while len(found) < count:
            one = parse_reply(bytes(client.received), at) if len(client.received) > at else None
            if one is None:
                await client.whenReceived(len(client.received) + 1)
                continue
            found.append(one[0])
            at = one[1]
        return found, bytes(client.received[at:])

    async def waiting(
        self, host: str | Host = HERE, port: int = 0, *, proxy: str = HERE
    ) -> tuple[Peer, Endpoint]:
        """Bring a BIND to where it waits; @return: the client, and where."""
        client = await self.connect((proxy, self.port))
        client.write(asked(host, port))
        reply = await self.first(client)
        self.assertEqual(reply.reply, 0)
        return client, endpoint(reply)

    async def refused(self, host: str | Host = HERE, port: int = 0) -> tuple[int, str]:
        """Ask for a BIND in vain; @return: REP, and why, by the log."""
        client = await self.connect((HERE, self.port))
        client.write(asked(host, port))
        reply = await self.first(client)
        count = len(self.records)
        client.lose()
        while len(self.records) == count:
            await turn()
        return reply.reply, self.records[-1].reason

    async def joined(self, host: str = HERE, source: str = "") -> tuple[Peer, Peer]:
        """Bring a BIND to where both are connected."""
        client, where = await self.waiting(host)
        peer = await self.connect(where, source or host)
        (_, second), _ = await self.replies(client)
        self.assertEqual(second.reply, 0)
        return client, peer

    async def assertEnds(self, reason: str) -> None:
        """Wait for the end of the only session."""
        await self.server.whenIdle()
        self.assertEqual([record.reason for record in self.records], [reason])


class AddressTests(SocketsCase):
    """Addresses, families and who is who."""

    async def test_IPv4(self) -> None:
        """The whole of it in IPv4, with and without fast transports."""
        for streams in (True, False):
            await self.serve(streams=streams)
            client, where = await self.waiting()
            self.assertEqual(where[0], HERE)
            peer = await self.connect(where)
            (_, second), rest = await self.replies(client)
            host = peer.transport.getHost()
            self.assertEqual((endpoint(second), rest), ((HERE, host.port), b""))
            self.assertTrue(isFree(where))
            (session,) = self.server.sessions
            relay: Any = session._relay
            self.assertTrue(relay.target.transport.getTcpNoDelay())
            self.assertTrue(relay.target.transport.getTcpKeepAlive())
            client.write(b"from the client")
            peer.write(b"from the peer")
            await peer.whenReceived(15)
            await client.whenReceived(22 + 13)
            self.assertEqual(bytes(peer.received), b"from the client")
            self.assertEqual(bytes(client.received[22:]), b"from the peer")
            await self.hangUp()
            self.assertEqual(self.records[0].dialled, f"{HERE}:{host.port}")

    async def test_IPv6(self) -> None:
        """And in IPv6."""
        await self.serve(HERE6)
        client, where = await self.waiting(HERE6, proxy=HERE6)
        self.assertEqual(where[0], HERE6)
        peer = await self.connect(where)
        (_, second), _ = await self.replies(client)
        self.assertEqual(endpoint(second), (HERE6, peer.transport.getHost().port))

    async def test_bothFamilies(self) -> None:
        """A name of both: one port in both families, until somebody comes by one of them."""
        await self.serve(HERE, HERE6)
        self.names.add("both.example", [HERE6, HERE])
        for proxy, source in ((HERE, HERE6), (HERE6, HERE), (HERE, HERE)):
            client, where = await self.waiting(b"both.example", proxy=proxy)
            self.assertEqual(where[0], proxy)
            both = [(HERE, where[1]), (HERE6, where[1])]
            self.assertEqual([isFree(each) for each in both], [False, False])
            await self.connect((source, where[1]))
            (_, second), _ = await self.replies(client)
            self.assertEqual(endpoint(second)[0], source)
            await turn()
            self.assertEqual([isFree(each) for each in both], [True, True])

    async def test_dualStack(self) -> None:
        """A client that has come by IPv4 to a port of both families waits for anybody there."""
        await self.serve("::")
        for proxy in (HERE, HERE6):
            client, where = await self.waiting("0.0.0.0", proxy=proxy)
            self.assertEqual(where[0], proxy)
            await self.connect(where)
            await self.replies(client)

    async def test_stranger(self) -> None:
        """Who comes from another address is reset; the wait goes on."""
        for streams in (True, False):
            await self.serve(streams=streams)
            client, where = await self.waiting()
            for _ in range(3):
                await self.turnedAway(where, ELSEWHERE)
            peer = await self.connect(where)
            peer.write(b"hello")
            await client.whenReceived(22 + 5)
            self.assertEqual(bytes(client.received[22:]), b"hello")
            await self.hangUp()

    async def test_peerElsewhere(self) -> None:
        """The peer is who was asked for: 127.0.0.2, and not 127.0.0.1."""
        await self.serve()
        client, where = await self.waiting(ELSEWHERE)
        await self.turnedAway(where, HERE)
        await self.connect(where, ELSEWHERE)
        (_, second), _ = await self.replies(client)
        self.assertEqual(endpoint(second)[0], ELSEWHERE)

    async def test_manyStrangers(self) -> None:
        """A crowd of them at once, and the peer in their midst."""
        for streams in (True, False):
            await self.serve(streams=streams)
            client, where = await self.waiting()
            crowd = [PeerFactory() for _ in range(100)]
            for index, factory in enumerate(crowd):
                source = HERE if index == 50 else ELSEWHERE
                reactor.connectTCP(*where, factory, bindAddress=(source, 0))
            await self.replies(client)
            for index, factory in enumerate(crowd):
                if index != 50:
                    while not (factory.failures or (factory.peers and factory.peer.lost)):
                        await turn()
            self.assertIsNone(crowd[50].peer.lost)
            crowd[50].peer.abort()
            await client.whenLost()
            await self.hangUp()

    async def test_unixSocket(self) -> None:
        """A client on a Unix socket waits for anybody of this host."""
        await self.serve()
        directory = tempfile.mkdtemp()  # mktemp's own may be too long for a socket
        self.addCleanup(shutil.rmtree, directory)
        path = os.path.join(directory, "socks")
        self.addCleanup(reactor.listenUNIX(path, self.server).stopListening)
        factory = PeerFactory()
        await UNIXClientEndpoint(reactor, path).connect(factory)
        client = self.watched(factory)
        client.write(asked("0.0.0.0"))
        where = endpoint(await self.first(client))
        self.assertEqual(where[0], HERE)
        await self.connect(where)
        await self.replies(client)

    async def test_ways(self) -> None:
        """The way to somebody is one of our own addresses; to nobody there is none."""
        for text in (HERE, HERE6, ELSEWHERE):
            own = ownTowards(ip_address(text), 0)
            self.assertTrue(isLocalAddress(own.address))
            self.assertEqual(own.interface, str(own.address))
            self.assertTrue(own.address.is_loopback)
        for text in ("255.255.255.255", "fe80::1"):
            self.assertRaises(OSError, ownTowards, ip_address(text), 0)

    async def test_noWay(self) -> None:
        """A peer that cannot be is refused, and leaves nothing."""
        await self.serve()
        counts = []
        for _ in range(3):
            reply, reason = await self.refused("255.255.255.255")
            self.assertEqual((reply, reason[:26]), (2, "no way to 255.255.255.255:"))
            await self.peers[-1].whenLost()
            counts.append(descriptors())
        self.assertEqual(counts, counts[:1] * 3)


class RelayTests(SocketsCase):
    """What passes after the second reply."""

    async def test_peerSpeaksFirst(self) -> None:
        """What the peer has said before it was accepted comes behind the second reply."""
        for streams in (True, False):
            await self.serve(streams=streams)
            for _ in range(5):
                client, where = await self.waiting()
                # Connected, said and closed before the reactor has seen anything of it.
                with socket.create_connection(where) as raw:
                    raw.sendall(b"220 ready\r\n")
                (_, second), _ = await self.replies(client)
                await client.whenEOF()
                self.assertEqual((second.reply, client.received[22:]), (0, b"220 ready\r\n"))
                client.lose()
                await client.whenLost()
                self.assertTrue(client.wasClosed)
            await self.hangUp()

    async def test_clientSpeaksFirst(self) -> None:
        """What the client has sent while it waited comes first, a lot of it too."""
        for streams in (True, False):
            await self.serve(streams=streams)
            client, where = await self.waiting()
            data = os.urandom(3_000_000)
            client.write(data)
            await turn(0.05)
            peer = await self.connect(where)
            await peer.whenReceived(len(data))
            self.assertEqual(bytes(peer.received), data)
            await self.hangUp()

    async def test_bulk(self) -> None:
        """Much at once, both ways, on fast transports and others; the counts are right."""
        for streams in (True, False):
            await self.serve(streams=streams)
            client, peer = await self.joined()
            data, back = os.urandom(8_000_000), os.urandom(5_000_000)
            peer.write(data)
            peer.loseWrite()
            client.write(back)
            client.loseWrite()
            await client.whenEOF()
            await peer.whenEOF()
            self.assertEqual(_sum(client.received[22:]), _sum(data))
            self.assertEqual(_sum(peer.received), _sum(back))
            await self.server.whenIdle()
            record = self.records[0]
            self.assertEqual((record.sent, record.received), (len(back), len(data)))

    async def test_resets(self) -> None:
        """A reset is passed on, either way."""
        await self.serve()
        client, peer = await self.joined()
        peer.abort()
        await client.whenLost()
        client, other = await self.joined()
        client.abort()
        await other.whenLost()
        self.assertTrue(other.wasReset)
        await self.server.whenIdle()
        self.assertEqual(
            [record.reason for record in self.records], ["target reset", "client reset"]
        )


class EndTests(SocketsCase):
    """How it ends, and what is left then."""

    async def test_closed(self) -> None:
        """The client's FIN frees the port, and every descriptor."""
        await self.serve()
        await turn()
        before = descriptors()
        client, where = await self.waiting()
        self.assertFalse(isFree(where))
        client.lose()
        await self.server.whenIdle()
        await client.whenLost()
        await turn()
        self.assertTrue(isFree(where))
        self.assertEqual(descriptors(), before)
        await self.assertEnds("client closed before its peer had come")

    async def test_reset(self) -> None:
        """So does a reset."""
        await self.serve()
        client, where = await self.waiting()
        client.abort()
        await self.server.whenIdle()
        await turn()
        self.assertTrue(isFree(where))
        await self.assertEnds("client reset during the request")

    async def test_cut(self) -> None:
        """So does the end of the proxy."""
        await self.serve()
        client, where = await self.waiting()
        self.server.abortSessions("the proxy stops")
        await client.whenLost()
        await turn()
        self.assertTrue(isFree(where))
        self.assertTrue(client.wasReset)
        await self.assertEnds("the proxy stops")

    async def test_time(self) -> None:
        """So does time, with a second reply."""
        await self.serve(bind_timeout=0.05)
        client, where = await self.waiting()
        (_, second), rest = await self.replies(client)
        self.assertEqual((second.reply, rest), (6, b""))
        await client.whenEOF()
        await turn()
        self.assertTrue(isFree(where))
        client.lose()
        await self.assertEnds(f"no connection from {HERE} to {HERE}:{where[1]} within 0.05 s")

    async def test_clientGoesAsPeerComes(self) -> None:
        """Both before the reactor has seen either: nothing is left, whoever was first."""
        await self.serve()
        for _ in range(10):
            with socket.create_connection((HERE, self.port)) as raw:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_ON_CLOSE)
                raw.settimeout(0)
                raw.send(asked(HERE))
                while len(data := _peek(raw)) < 12:
                    await turn()
                where = (HERE, int.from_bytes(data[10:12], "big"))
                with socket.create_connection(where):
                    raw.close()
            await self.server.whenIdle()
            await turn()
            self.assertTrue(isFree(where))

    async def test_portRange(self) -> None:
        """Ports of a range, until it is used up; what has failed leaves no socket."""
        ports = freePorts(3)
        await self.serve(bind_ports=ports)
        waiting = [await self.waiting() for _ in ports]
        self.assertEqual({where for _, where in waiting}, {(HERE, port) for port in ports})
        client = await self.connect((HERE, self.port))
        gc.disable()
        self.addCleanup(gc.enable)
        before = descriptors()
        client.write(asked(HERE))
        self.assertEqual((await self.first(client)).reply, 1)
        self.assertEqual(descriptors(), before)
        # One that has had its peer is free for the next, while those two still speak.
        await self.connect(waiting[0][1])
        await self.replies(waiting[0][0])
        _, where = await self.waiting()
        self.assertEqual(where, waiting[0][1])

    async def test_portChoice(self) -> None:
        """The client's own port, unless another has it."""
        (port,) = freePorts(1)
        await self.serve(bind_port_choice=PortChoice.CLIENT)
        _, where = await self.waiting(HERE, port)
        self.assertEqual(where, (HERE, port))
        reply, reason = await self.refused(HERE, port)
        self.assertEqual((reply, reason), (1, f"cannot listen on {HERE}: address already in use"))

    async def test_noDescriptor(self) -> None:
        """Without descriptors a BIND is refused; a peer waits until there is one again."""
        await self.serve()
        other = await self.connect((HERE, self.port))
        client, where = await self.waiting()
        comer = socket.socket()
        self.addCleanup(comer.close)
        with ExitStack() as full:
            fill(full)
            comer.connect(where)
            other.write(asked(HERE))
            self.assertEqual((await self.first(other)).reply, 1)
            await turn(0.02)
            self.assertEqual(len(client.received), 12)
        (_, second), _ = await self.replies(client)
        self.assertEqual((second.reply, endpoint(second)), (0, comer.getsockname()))

    async def test_thousand(self) -> None:
        """A thousand wait, each for its own; and then there is nothing left of them."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        await self.serve()
        await turn()
        before = descriptors()
        # The client's socket, the control connection, and what listens.
        count = min(1000, (min(hard, 1 << 20) - before - 50) // 3)
        clients = [PeerFactory() for _ in range(count)]
        for factory in clients:
            reactor.connectTCP(HERE, self.port, factory)
        ports: set[int] = set()
        for factory in clients:
            while not (factory.peers and factory.peer.connected):
                await turn()
            client = self.watched(factory)
            client.write(asked(HERE))
        for client in self.peers:
            ports.add(endpoint(await self.first(client))[1])
        self.assertEqual(len(ports), count)
        # And one for all of them, that watches.
        self.assertLessEqual(descriptors() - before, 3 * count + 1)
        last = self.peers[-1]
        await self.connect(endpoint(await self.first(last)))
        await self.replies(last)
        for client in self.peers:
            client.abort()
        await self.server.whenIdle()
        await turn()
        await turn()
        self.assertEqual(descriptors(), before)
        self.assertEqual(len(self.records), count)


def fill(stack: ExitStack) -> None:
    """Leave the process no descriptor, until a stack is closed."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
    taken = [os.open(os.devnull, os.O_RDONLY)]
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(taken) + 20, hard))
    while True:
        try:
            taken.append(os.dup(taken[0]))
        except OSError:
            break
    for each in taken:
        stack.callback(os.close, each)


def _peek(raw: socket.socket) -> bytes:
    """Look at what a socket has received, and leave it there."""
    try:
        return raw.recv(100, socket.MSG_PEEK)
    except BlockingIOError:
        return b""


def _sum(data: bytes | bytearray) -> str:
    return hashlib.sha256(data).hexdigest()
