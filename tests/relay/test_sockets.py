"""The relay over loopback sockets, as the kernel and other programs see it."""

from __future__ import annotations

import errno
import hashlib
import os
import socket
import struct
import tracemalloc
from typing import Any
from unittest import SkipTest

from twisted.internet.interfaces import IPullProducer
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.relay.proxy import LOOPBACK, Proxy
from twisted_socks5.relay.splice import PIPES
from twisted_socks5.testing import Peer, PeerFactory, PlainPeer

ANSWER = os.urandom(3_000_000)
FLOOD = 50_000_000
CHUNK = os.urandom(50_000)

# What a relay may hold in our memory, both ways, whatever is sent: two buffers, two reads, and
# what the tests themselves need meanwhile.
MEMORY = 2_000_000


class Digesting(Peer):
    """A client that begins by not reading, and keeps no more of what it reads than a digest."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.digest = hashlib.sha256()

    def connectionMade(self) -> None:
        """Do not read."""
        super().connectionMade()
        self.pause()

    def dataReceived(self, data: bytes) -> None:
        """Digest it."""
        self.count += len(data)
        self.digest.update(data)


@implementer(IPullProducer)
class Flooding(Peer):
    """A target that sends as fast as it may, holding next to nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self.digest = hashlib.sha256()

    def connectionMade(self) -> None:
        """Begin."""
        super().connectionMade()
        self.transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        """Send one more chunk, or end."""
        if self.count < FLOOD:
            self.count += len(CHUNK)
            self.digest.update(CHUNK)
            self.write(CHUNK)
        else:
            self.transport.unregisterProducer()
            self.loseWrite()

    def stopProducing(self) -> None:
        """Send no more."""


class SocketTests(TestCase):
    """Relays of Twisted's own transports."""

    streams = False
    timeout = 60

    def setUp(self) -> None:
        """Take the real reactor, and no pipe of anybody else's."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        PIPES.close()
        self.addCleanup(PIPES.close)

    def begin(self, target: type[PlainPeer] = Peer) -> tuple[Proxy, PeerFactory]:
        """Start a target and a proxy before it."""
        targets = PeerFactory(target)
        listening = self.reactor.listenTCP(0, targets, interface=LOOPBACK)
        self.addCleanup(listening.stopListening)
        proxy = Proxy(self.reactor, listening.getHost().port, self.streams)
        self.addCleanup(proxy.stop)
        return proxy, targets

    async def turns(self, count: int = 1) -> None:
        """Let the reactor go round."""
        for _ in range(count):
            await deferLater(self.reactor, 0)

    async def connect(
        self, proxy: Proxy, targets: PeerFactory, client: type[PlainPeer] = Peer
    ) -> tuple[Any, Any]:
        """Connect a client through the proxy, and return it and its target."""
        clients = PeerFactory(client)
        known = len(targets.peers)
        self.reactor.connectTCP(LOOPBACK, proxy.port, clients)
        while len(targets.peers) == known or not clients.peers:
            await self.turns()
        return clients.peer, targets.peers[known]

    async def connectRaw(
        self, proxy: Proxy, targets: PeerFactory
    ) -> tuple[socket.socket, PlainPeer]:
        """Connect a bare socket through the proxy, and return it and its target."""
        known = len(targets.peers)
        client = socket.create_connection((LOOPBACK, proxy.port))
        self.addCleanup(client.close)
        client.setblocking(False)
        while len(targets.peers) == known:
            await self.turns()
        return client, targets.peers[known]

    async def read(self, client: socket.socket) -> bytes:
        """Read what comes next, or raise what comes instead."""
        while True:
            try:
                return client.recv(65_536)
            except BlockingIOError:
                await self.turns()

    async def test_halfClose(self) -> None:
        """A client that shuts down its sending side gets the whole of a large answer."""
        proxy, targets = self.begin()
        client, target = await self.connect(proxy, targets)
        client.write(b"question")
        client.loseWrite()
        await target.whenEOF()
        target.write(ANSWER)
        target.loseWrite()
        await client.whenLost()
        await proxy.whenOver()
        self.assertTrue(client.received == ANSWER)
        self.assertEqual(target.received, b"question")
        self.assertTrue(client.wasClosed)
        (outcome,) = proxy.outcomes
        self.assertEqual([outcome.sent, outcome.received], [8, len(ANSWER)])

    async def test_uploadAfterTheTargetsEnd(self) -> None:
        """A target that shuts down its sending side first gets the whole upload."""
        proxy, targets = self.begin()
        client, target = await self.connect(proxy, targets)
        target.write(b"100 continue")
        target.loseWrite()
        await client.whenEOF()
        client.write(ANSWER)
        client.loseWrite()
        await target.whenLost()
        await proxy.whenOver()
        self.assertTrue(target.received == ANSWER)
        self.assertEqual(client.received, b"100 continue")

    async def test_targetResets(self) -> None:
        """A target's reset in the middle of an answer is ECONNRESET for the client."""
        proxy, targets = self.begin()
        client, target = await self.connectRaw(proxy, targets)
        target.write(b"half an ans")
        self.assertEqual(await self.read(client), b"half an ans")
        target.abort()
        with self.assertRaises(ConnectionResetError) as caught:
            await self.read(client)
        self.assertEqual(caught.exception.errno, errno.ECONNRESET)
        await proxy.whenOver()
        self.assertEqual(proxy.outcomes[0].reason, "target reset")

    async def test_targetResetsInTheMiddleOfMuch(self) -> None:
        """What a target sent before its reset arrives before the client's."""
        proxy, targets = self.begin()
        client, target = await self.connectRaw(proxy, targets)
        target.write(ANSWER)
        received = bytearray()
        while len(received) < len(ANSWER):
            received += await self.read(client)
        target.abort()
        with self.assertRaises(ConnectionResetError):
            await self.read(client)
        self.assertTrue(received == ANSWER)
        await proxy.whenOver()

    async def test_clientResets(self) -> None:
        """A client's reset is a reset for the target."""
        proxy, targets = self.begin()
        client, target = await self.connectRaw(proxy, targets)
        client.send(b"half a quest")
        await target.whenReceived(12)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        client.close()
        await target.whenLost()
        self.assertTrue(target.wasReset)
        await proxy.whenOver()
        self.assertEqual(proxy.outcomes[0].reason, "client reset")

    async def test_clientExits(self) -> None:
        """A client that closes, as programs do when they exit, is a FIN for the target."""
        proxy, targets = self.begin()
        client, target = await self.connectRaw(proxy, targets)
        client.send(b"bye")
        client.close()
        await target.whenEOF()
        self.assertEqual([target.received, target.eof], [b"bye", True])
        target.lose()
        await proxy.whenOver()
        self.assertEqual(proxy.outcomes[0].reason, "client closed")

    async def test_pipelined(self) -> None:
        """What a client sends at once reaches the target, dialled only later."""
        proxy, targets = self.begin()
        clients = PeerFactory()
        self.reactor.connectTCP(LOOPBACK, proxy.port, clients)
        while not clients.peers:
            await self.turns()
        clients.peer.write(ANSWER)
        clients.peer.loseWrite()
        while not targets.peers:
            await self.turns()
        await targets.peer.whenEOF()
        self.assertTrue(targets.peer.received == ANSWER)
        targets.peer.lose()
        await proxy.whenOver()

    async def test_slowClient(self) -> None:
        """A client that does not read holds the proxy to a small amount, and loses nothing."""
        proxy, targets = self.begin(Flooding)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before, _ = tracemalloc.get_traced_memory()
        client, target = await self.connect(proxy, targets, Digesting)
        count = -1
        while count != target.count:
            count = target.count
            await self.turns(100)
        _, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak - before, MEMORY)
        self.assertLess(target.count, FLOOD)
        tracemalloc.stop()
        client.resume()
        await client.whenEOF()
        self.assertEqual(client.count, FLOOD)
        self.assertEqual(client.digest.digest(), target.digest.digest())
        client.lose()
        await proxy.whenOver()
        self.assertEqual(proxy.outcomes[0].received, FLOOD)

    async def test_slowTarget(self) -> None:
        """A client whose target does not read is held back as well."""
        proxy, targets = self.begin()
        client, target = await self.connectRaw(proxy, targets)
        target.pause()
        sent = 0
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for _ in range(2000):
            try:
                while sent < FLOOD:
                    sent += client.send(CHUNK)
            except BlockingIOError:
                await self.turns()
        _, peak = tracemalloc.get_traced_memory()
        self.assertLess(peak, MEMORY)
        self.assertLess(sent, FLOOD)
        target.abort()
        client.close()
        await proxy.whenOver()

    async def end(self, way: str, client: Any, target: Any) -> None:
        """Bring a relay to its end, in one of several ways."""
        if way == "client first":
            client.loseWrite()
            await target.whenEOF()
            target.loseWrite()
        elif way == "target first":
            target.loseWrite()
            await client.whenEOF()
            client.loseWrite()
        elif way == "client closes":
            client.lose()
            await target.whenEOF()
            target.lose()
        elif way == "full":
            client.pause()
            target.write(ANSWER * 3)
            await self.turns(20)
            client.abort()
        else:
            (client if way == "client resets" else target).abort()

    async def test_descriptors(self) -> None:
        """However a relay ends, no descriptor is left, nor a pipe that is not free."""
        if not os.path.isdir("/proc/self/fd"):
            raise SkipTest("descriptors are counted in /proc")
        proxy, targets = self.begin()
        ways = (
            "client first",
            "target first",
            "client closes",
            "full",
            "client resets",
            "target resets",
        )
        await self.turns(5)
        before = len(os.listdir("/proc/self/fd"))
        for number, way in enumerate(ways * 3):
            client, target = await self.connect(proxy, targets)
            client.write(b"question")
            target.write(ANSWER)
            await target.whenReceived(8)
            await client.whenReceived(len(ANSWER))
            await self.end(way, client, target)
            await proxy.whenOver(number + 1)
            for peer in (client, target):
                # Whoever has read the end of it hears of a reset only when it writes.
                peer.abort()
                await peer.whenLost()
        await self.turns(5)
        PIPES.close()
        self.assertEqual(len(os.listdir("/proc/self/fd")), before)

    async def test_abortAll(self) -> None:
        """Relays can be cut, all at once; both sides see a reset."""
        proxy, targets = self.begin()
        pairs = [await self.connect(proxy, targets) for _ in range(10)]
        for client, target in pairs:
            client.write(b"x")
            await target.whenReceived(1)
        for relay in proxy.relays:
            relay.abort("drain")
        await proxy.whenOver(10)
        for client, target in pairs:
            await client.whenLost()
            await target.whenLost()
            self.assertTrue(client.wasReset and target.wasReset)
        self.assertEqual({each.reason for each in proxy.outcomes}, {"drain"})


class StreamSocketTests(SocketTests):
    """Relays of streams, spliced where the kernel does that."""

    streams = True
