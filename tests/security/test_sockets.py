"""Encapsulated connections on real sockets, with threads that are threads."""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor as running
from twisted.internet.defer import Deferred, gatherResults
from twisted.trial.unittest import TestCase

from tests.security.encapsulations import encapsulate
from twisted_socks5.fairthreads import FairThreads
from twisted_socks5.security.encapsulation import SMALL
from twisted_socks5.testing import MemoryContext, PeerFactory
from twisted_socks5.wire import ProtectionLevel

#: IReactorTCP and IReactorFromThreads, which the type checker does not know of it.
REACTOR: Any = running

SIZES = (1, 200, SMALL, SMALL + 1, 65_536, 300_000)


class SocketTests(TestCase):
    """Both directions at the same time, in pieces of all sizes."""

    timeout = 60

    async def test_bothWays(self) -> None:
        """All arrives in order; no two threads use a context at the same time; the FINs hold."""
        threads = FairThreads(REACTOR, 4)
        self.addCleanup(threads.stop)
        factories = (PeerFactory(), PeerFactory())
        port = REACTOR.listenTCP(0, factories[1], interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        REACTOR.connectTCP("127.0.0.1", port.getHost().port, factories[0])
        while not all(factory.peers for factory in factories):
            turn: Deferred[None] = Deferred()
            REACTOR.callLater(0, turn.callback, None)
            await turn
        peers = [factory.peer for factory in factories]
        contexts = MemoryContext.pair()
        for peer, context in zip(peers, contexts, strict=True):
            encapsulate(peer, context, ProtectionLevel.CONFIDENTIALITY, threads)
        pieces = [bytes([n]) * size for n in range(10) for size in SIZES]
        for one, other in zip(pieces, reversed(pieces), strict=True):
            peers[0].write(one)
            peers[1].write(other)
        for peer in peers:
            peer.loseWrite()
        await gatherResults([peer.whenLost() for peer in peers])
        self.assertTrue(peers[1].received == b"".join(pieces), "other octets than were sent")
        self.assertTrue(peers[0].received == b"".join(reversed(pieces)), "other octets")
        self.assertTrue(all(peer.wasClosed and peer.eof for peer in peers))
        self.assertTrue(all(context.disposed for context in contexts))
