"""Commands under a protection level: CONNECT, BIND and UDP ASSOCIATE do not know of it."""

from __future__ import annotations

from hashlib import sha256
from ipaddress import ip_address
from typing import Any

from twisted.internet.interfaces import IReactorUDP

from tests.server.associations import Mailbox, headed, opened
from tests.server.base import CLIENT, GRANTED, PROXY, TARGET, refused, request
from tests.server.gssclients import (
    ABORT,
    CONFIDENTIALITY,
    EVERY,
    INTEGRITY,
    LEVELS,
    NONE,
    OFFER,
    GSSAPICase,
    GSSClient,
)
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.relay.splice import PIPES
from twisted_socks5.server import bind
from twisted_socks5.server.bound import Own
from twisted_socks5.server.encapsulated import AT_WORK
from twisted_socks5.testing import MemoryContext, Peer, PeerFactory
from twisted_socks5.wire import MTYP, Command, parse_reply
from twisted_socks5.wire.gssapi import pack_token

BULK = sha256(b"bulk").digest() * 40_000  # 1.28 MB
ANYBODY = "0.0.0.0"


class CommandCase(GSSAPICase):
    """A server and its target."""

    def setUp(self) -> None:
        """The kernel can't splice what is in memory."""
        self.patch(PIPES, "usable", False)

    def joined(self, level: Any = CONFIDENTIALITY, **options: Any) -> tuple[GSSClient, Peer]:
        """Connect a client to a target."""
        proxy = self.accept(**{"levels": EVERY, **options})
        factory = proxy.target()
        client = self.opened(level)
        client.send(request())
        heard = client.heard()
        self.assertEqual((heard[:4], len(heard)), (GRANTED, 10))
        peer: Any = factory.peer
        return client, peer

    def ended(self, client: GSSClient, peer: Any) -> str:
        """End what has not ended; tell what the log says."""
        for each in (client.peer, peer):
            each.lose()
            self.proxy.settle()
        return self.record().reason


class ConnectTests(CommandCase):
    """CONNECT, and its relay."""

    def test_bulk(self) -> None:
        """Much, both ways at the same time, at each level."""
        for level in (NONE, *LEVELS):
            client, peer = self.joined(level)
            peer.write(BULK)
            for at in range(0, len(BULK), 50_000):
                client.send(BULK[at : at + 50_000])
            self.proxy.settle()
            self.assertOctets(peer.received, BULK)
            self.assertOctets(client.heard(), BULK)
            self.assertIn("client closed; protection: ", self.ended(client, peer))
            record = self.record()
            self.assertEqual((record.sent, record.received), (len(BULK), len(BULK)))

    def test_clientHalfCloses(self) -> None:
        """The client's FIN is the target's, and the answer still comes."""
        for level in LEVELS:
            client, peer = self.joined(level)
            client.send(b"question")
            client.peer.loseWrite()
            self.proxy.settle()
            self.assertTrue(peer.eof)
            self.assertEqual(peer.received, b"question")
            self.assertFalse(client.peer.eof)
            peer.write(BULK)
            peer.lose()
            self.proxy.settle()
            self.assertOctets(client.heard(), BULK)
            self.assertTrue(client.peer.wasClosed)

    def test_targetHalfCloses(self) -> None:
        """The same the other way round."""
        for level in LEVELS:
            client, peer = self.joined(level)
            peer.write(b"greeting")
            peer.loseWrite()
            self.proxy.settle()
            self.assertEqual(client.heard(), b"greeting")
            self.assertTrue(client.peer.eof)
            client.send(b"still here")
            self.assertEqual(peer.received, b"still here")
            client.peer.lose()
            self.proxy.settle()
            self.assertTrue(peer.wasClosed)

    def test_resets(self) -> None:
        """A reset on one side is one on the other, behind what came before."""
        client, peer = self.joined()
        client.peer.write(client.protected(b"last words"))
        client.peer.abort()
        self.proxy.settle()
        self.assertTrue(peer.wasReset)
        self.assertEqual(self.record().reason, "client reset; protection: confidentiality")
        client, peer = self.joined()
        peer.write(b"last words")
        self.proxy.settle()
        peer.abort()
        self.proxy.settle()
        self.assertEqual(client.heard(), b"last words")
        self.assertTrue(client.peer.wasReset)
        self.assertEqual(self.record().reason, "target reset; protection: confidentiality")

    def test_backPressure(self) -> None:
        """Whoever does not read is not read from for, and gets it all later."""
        client, peer = self.joined()
        client.peer.pause()
        sent = 0
        for _ in range(40):
            peer.write(bytes(65536))
            sent += 65536
            self.proxy.settle()
        (session,) = self.proxy.server.sessions
        held: Any = session.transport
        self.assertLess(len(held._outgoing) + held._underway, 4 * 65536)
        self.assertLess(session._relay.octets if session._relay else 0, sent)
        client.peer.resume()
        self.proxy.settle()
        self.assertEqual(len(client.heard()), sent)
        peer.pause()
        for _ in range(40):
            client.send(bytes(60000))
        peer.resume()
        self.proxy.settle()
        self.assertEqual(len(peer.received), 40 * 60000)

    def test_refused(self) -> None:
        """A refusal is heard, and the client has its time to."""
        for level in LEVELS:
            proxy = self.accept()
            client = self.opened(level)
            client.send(request(), b"what is not read")
            self.assertEqual(client.heard(), refused(5))
            self.assertTrue(client.peer.eof)
            client.peer.lose()
            proxy.settle()
            self.assertTrue(client.peer.wasClosed)
            self.assertIn("refused; protection: ", self.record().reason)

    def test_refusedAndStaying(self) -> None:
        """A refused client that does not go is closed after 5 s."""
        proxy = self.accept()
        client = self.opened()
        client.send(request(command=9))
        self.assertEqual(client.heard(), refused(7))
        self.assertEqual(len(proxy.server.sessions), 1)
        proxy.reactor.advance(6)
        self.assertIn("unknown command 9; protection: integrity", self.record().reason)

    def test_brokenRequest(self) -> None:
        """A request that is none is answered under the level."""
        proxy = self.accept()
        client = self.opened()
        client.send(b"\5\1\0\x09")
        self.assertEqual(client.heard(), refused(8))
        client.peer.lose()
        proxy.settle()
        self.assertIn("unknown address type", self.record().reason)

    def test_clearRequest(self) -> None:
        """A request in the clear, as libcurl sends it, is no frame."""
        self.accept()
        client = self.opened(CONFIDENTIALITY)
        client.raw(request())
        self.assertTrue(client.peer.wasReset)
        self.assertEqual(
            self.record().reason,
            "encapsulation failed (version 5 instead of 1 in a GSSAPI frame) "
            "during the negotiation; protection: confidentiality",
        )

    def test_notSealed(self) -> None:
        """At level 2 a message that anybody could read is none."""
        client, peer = self.joined(CONFIDENTIALITY)
        client.raw(pack_token(MTYP.DATA, client.context.wrap(b"readable", False)))
        self.assertTrue(peer.wasReset)
        self.assertEqual(peer.received, b"")
        self.assertRegex(self.record().reason, r"encapsulation failed \(.*not confidential")

    def test_tampered(self) -> None:
        """A token that was changed, comes again or is an abort: a reset, and nothing of it."""
        for spoil, reason in (
            (lambda one, two: one[:-1] + bytes([one[-1] ^ 1]), "bad checksum"),
            (lambda one, two: one + one, "comes again"),
            (lambda one, two: two, "not the next one"),
            (lambda one, two: ABORT, "the peer has given up the security context"),
            (lambda one, two: b"\1\1\0\0", "of type AUTHENTICATION in place of DATA"),
        ):
            client, peer = self.joined(INTEGRITY)
            frames = client.protected(b"one"), client.protected(b"two")
            client.raw(spoil(*frames))
            self.assertTrue(peer.wasReset)
            self.assertTrue(client.peer.wasReset)
            self.assertIn(bytes(peer.received), (b"", b"one"))
            self.assertRegex(
                self.record().reason, rf"^encapsulation failed \(.*{reason}.*\); prot"
            )

    def test_truncated(self) -> None:
        """A FIN within a frame is no end but a break."""
        client, peer = self.joined()
        client.peer.write(client.protected(b"cut off")[:-1])
        client.peer.loseWrite()
        self.proxy.settle()
        self.assertTrue(peer.wasReset)
        self.assertIn("in the middle of a GSSAPI frame", self.record().reason)

    def test_expired(self) -> None:
        """A context that expires in the middle ends the relay."""
        for sender in ("client", "target"):
            proxy = self.accept()
            self.acceptor.options = {"clock": proxy.reactor, "lifetime": 100}
            factory = proxy.target()
            client = self.opened()
            client.send(request())
            self.assertEqual(client.heard()[:4], GRANTED)
            proxy.reactor.advance(101)
            if sender == "client":
                client.send(b"late")
            else:
                factory.peer.write(b"late")
                proxy.settle()
            self.assertEqual(factory.peer.received, b"")
            self.assertEqual(client.taken(), b"")
            self.assertTrue(factory.peer.wasReset)
            self.assertRegex(self.record().reason, r"failed \(the context has expired\)")

    def test_idle(self) -> None:
        """A relay that is idle ends as any other."""
        client, peer = self.joined(settings={"idle_timeout": 60})
        self.proxy.reactor.advance(200)
        self.assertTrue(peer.wasReset)
        self.assertTrue(client.peer.wasReset)
        self.assertIn("idle for 60 s; protection: conf", self.record().reason)

    def test_drained(self) -> None:
        """It goes on while the proxy drains, its threads as well, and is cut at the end."""
        client, peer = self.joined()
        proxy = self.proxy
        for port in proxy.ports[:1]:
            port.stopListening()
        proxy.server.drain("the proxy stops")
        client.send(BULK[:50_000], BULK[:50_000])
        self.assertEqual(len(peer.received), 100_000)
        proxy.server.abortSessions("the proxy stops")
        proxy.settle()
        self.assertTrue(client.peer.wasReset)
        self.assertEqual(self.record().reason, "the proxy stops; protection: confidentiality")
        proxy.settle()
        done: list[Any] = []
        for threads in (proxy.server.securityThreads, proxy.server.protectingThreads):
            threads.run(self, list).addBoth(done.append)
        self.assertEqual(len(done), 2)

    def test_loginsKept(self) -> None:
        """What keeps the threads in which clients log in does not keep what is relayed."""
        client, peer = self.joined()
        self.proxy.server.securityThreads.stop()
        client.send(BULK[:50_000])
        peer.write(BULK[:50_000])
        self.proxy.settle()
        self.assertOctets(peer.received, BULK[:50_000])
        self.assertOctets(client.heard(), BULK[:50_000])

    def test_crowdOfOne(self) -> None:
        """A client with many connections keeps another one no longer than with one."""
        proxy = self.accept()
        target = proxy.target()
        clients = [self.opened() for _ in range(20)]
        other = GSSClient(proxy)
        factory = PeerFactory()
        proxy.reactor.connectTCP(PROXY, 1080, factory, bindAddress=("198.51.100.7", 4000))
        proxy.settle()
        peer: Any = factory.peer
        other.peer = peer
        proxy.peers.append(peer)
        other.raw(OFFER)
        other.authenticate().ask(INTEGRITY)
        order: list[MemoryContext] = []
        unwrap = MemoryContext.unwrap

        def noted(context: MemoryContext, token: bytes) -> tuple[bytes, bool]:
            order.append(context)
            return unwrap(context, token)

        for client in (*clients, other):
            client.send(request())
        pool = proxy.reactor.getThreadPool()
        pool.stalled = True
        for client in (*clients, other):
            client.send(BULK[:50_000])
        self.patch(MemoryContext, "unwrap", noted)
        pool.stalled = False
        proxy.settle()
        self.assertEqual([len(peer.received) for peer in target.peers], [50_000] * 21)
        threads = proxy.server.protectingThreads.size
        self.assertLess(order.index(self.acceptor.contexts[-1]), threads + 2)

    def test_manyAtOnce(self) -> None:
        """Relays do not wait for each other's threads for ever, nor mix what they carry."""
        proxy = self.accept()
        factory = proxy.target()
        clients = [self.opened(level) for level in LEVELS * 5]
        for client in clients:
            client.send(request())
        for number, client in enumerate(clients):
            for at in range(4):
                client.peer.write(client.protected(bytes([number]) * 20_000 + bytes([at])))
        proxy.settle()
        got = sorted(bytes(peer.received) for peer in factory.peers)
        wanted = [
            b"".join(bytes([number]) * 20_000 + bytes([at]) for at in range(4))
            for number in range(len(clients))
        ]
        self.assertTrue(got == wanted)


class StreamConnectTests(ConnectTests):
    """The same on streams."""

    streams = True


class BindTests(CommandCase):
    """BIND: both replies, and the relay, go through the level."""

    def setUp(self) -> None:
        """Let the network in memory be the one that is asked for ways."""
        super().setUp()
        self.patch(bind, "ownTowards", self.ownTowards)

    def ownTowards(self, peer: IPAddress, second: int) -> Own:
        """Say what we would connect from."""
        return Own.parse(str(self.proxy.reactor.network.source((peer, 9))[0]))

    def waiting(self, level: Any) -> tuple[GSSClient, tuple[str, int]]:
        """Ask for a BIND; @return: the client, and where it waits."""
        self.accept(levels=EVERY)
        client = self.opened(level)
        client.send(request(command=Command.BIND, port=0))
        return client, self.reply(client)

    def reply(self, client: GSSClient, code: int = 0) -> tuple[str, int]:
        """Take one reply; @return: BND."""
        heard = client.heard()
        found = parse_reply(heard)
        if found is None or found[1] != len(heard):
            raise AssertionError(heard)
        self.assertEqual(found[0].reply, code)
        return str(found[0].bound.host), found[0].bound.port

    def comer(self, where: tuple[str, int], greeting: bytes = b"") -> Any:
        """Connect from the target."""
        factory = PeerFactory()
        self.proxy.reactor.connectTCP(*where, factory, bindAddress=(TARGET, 20))
        self.proxy.settle()
        self.proxy.targets.append(factory)
        return factory.peer

    def test_joined(self) -> None:
        """The second reply, and then the peer."""
        for level in (NONE, *LEVELS):
            client, where = self.waiting(level)
            peer = self.comer(where)
            self.assertEqual(self.reply(client), (TARGET, 20))
            peer.write(b"file")
            peer.loseWrite()
            self.proxy.settle()
            self.assertEqual(client.heard(), b"file")
            self.assertTrue(client.peer.eof)
            client.send(b"thanks")
            self.assertEqual(peer.received, b"thanks")
            self.assertIn("target closed; protection", self.ended(client, peer))

    def test_ahead(self) -> None:
        """What the client says before its peer has come is kept."""
        client, where = self.waiting(CONFIDENTIALITY)
        client.send(b"early")
        peer = self.comer(where)
        self.assertEqual(self.reply(client), (TARGET, 20))
        self.assertEqual(peer.received, b"early")

    def test_nobody(self) -> None:
        """The second reply may be a failure."""
        client, _ = self.waiting(CONFIDENTIALITY)
        self.proxy.reactor.advance(301)
        self.assertEqual(self.reply(client, 6), (ANYBODY, 0))
        self.assertTrue(client.peer.eof)

    def test_gone(self) -> None:
        """A client that goes meanwhile leaves no port."""
        for end in ("loseWrite", "abort"):
            client, where = self.waiting(INTEGRITY)
            getattr(client.peer, end)()
            self.proxy.settle()
            factory = PeerFactory()
            self.proxy.reactor.connectTCP(*where, factory)
            self.proxy.settle()
            self.assertEqual(len(factory.failures), 1)


class StreamBindTests(BindTests):
    """The same on streams."""

    streams = True


class AssociateTests(CommandCase):
    """UDP ASSOCIATE: each datagram is a frame."""

    def associate(self, level: Any, **options: Any) -> GSSClient:
        """Associate."""
        options = {"interface": PROXY, "levels": EVERY, **options}
        self.accept(**{"accepting": {"ordered": False}, **options})
        client = self.client(ordered=False).authenticate().ask(level)
        client.send(request(ANYBODY, 0, Command.UDP_ASSOCIATE))
        heard = client.heard()
        self.assertEqual(heard[:4], GRANTED)
        found = parse_reply(heard)
        if found is None:
            raise AssertionError(heard)
        self.bound = (str(found[0].bound.host), found[0].bound.port)
        self.box, self.target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        return client

    def mailbox(self, host: str, port: int = 0) -> Mailbox:
        """Open a UDP socket."""
        box = Mailbox()
        reactor: IReactorUDP = self.proxy.reactor
        self.proxy.ports.append(reactor.listenUDP(port, box, host, 65536))
        return box

    def send(self, datagram: bytes, box: Mailbox | None = None) -> None:
        """Send this to the relay."""
        (box or self.box).send(datagram, self.bound)
        self.proxy.settle()

    def answer(self, payload: bytes) -> None:
        """Answer whoever has sent to the target."""
        self.target.send(payload, self.target.last)
        self.proxy.settle()

    def finish(self, client: GSSClient) -> str:
        """End the association; tell what the log says."""
        client.peer.lose()
        self.proxy.settle()
        return self.record().reason

    def test_levels(self) -> None:
        """There and back at each level."""
        for level in (NONE, *LEVELS):
            client = self.associate(level)
            self.send(client.protected(headed(b"question", TARGET, 53)))
            self.assertEqual(self.target.taken(), [b"question"])
            self.answer(b"answer")
            ((datagram, source),) = self.box.received
            self.assertEqual(source, self.bound)
            client.peer.received[client._read :] = datagram
            self.assertEqual(opened(client.heard()), (b"answer", (TARGET, 53)))
            self.assertIn("client closed; protection: ", self.finish(client))
            record = self.record()
            self.assertEqual((record.sent, record.received), (8, 6))

    def test_outOfOrder(self) -> None:
        """Datagrams come in any order, and the connection does not mind."""
        client = self.associate(CONFIDENTIALITY)
        frames = [client.protected(headed(bytes([each]), TARGET, 53)) for each in range(5)]
        for frame in reversed(frames):
            self.send(frame)
        self.assertEqual(self.target.taken(), [bytes([each]) for each in (4, 3, 2, 1, 0)])

    def test_dropped(self) -> None:
        """What is no good is dropped, and counted by kind; the association goes on."""
        client = self.associate(CONFIDENTIALITY)
        plain = headed(b"spoof", TARGET, 53)
        good = client.protected(headed(b"good", TARGET, 53))
        self.send(good)
        self.send(plain)
        self.send(pack_token(MTYP.DATA, client.context.wrap(plain, False)))
        self.send(client.protected(plain)[:-1])
        self.send(client.protected(plain) + b"?")
        self.send(b"")
        self.send(good)
        self.send(client.protected(plain)[:-1] + b"?")
        self.send(client.protected(b"\0\0\0\x09"))
        stranger = self.mailbox("198.51.100.66")
        self.send(client.protected(plain), stranger)
        self.send(client.protected(headed(b"also good", TARGET, 53)))
        self.assertEqual(self.target.taken(), [b"good", b"also good"])
        self.assertEqual(
            self.finish(client),
            "client closed; dropped: 5 not protected, 2 bad token, 1 malformed, 1 from strangers"
            "; protection: confidentiality",
        )

    def test_strangersCostNothing(self) -> None:
        """Nobody looks into what comes from elsewhere."""
        client = self.associate(INTEGRITY)
        frame = client.protected(headed(b"mine", TARGET, 53))
        self.send(frame, self.mailbox("198.51.100.66"))
        # Looked into, it would now be one that comes again.
        self.send(frame)
        self.assertEqual(self.target.taken(), [b"mine"])

    def test_tooLarge(self) -> None:
        """An answer that is too large once it is wrapped is dropped."""
        client = self.associate(INTEGRITY)
        self.send(client.protected(headed(b"?", TARGET, 53)))
        self.answer(bytes(65_507))
        self.answer(bytes(60_000))
        self.assertEqual([len(datagram) for datagram in self.box.taken()], [60_000 + 10 + 4 + 25])
        self.assertIn("dropped: 1 too large; prot", self.finish(client))

    def test_large(self) -> None:
        """Large ones go both ways, through threads, and are dropped for the same reasons."""
        client = self.associate(CONFIDENTIALITY)
        much = bytes(20_000)
        good = client.protected(headed(much, TARGET, 53))
        self.send(good)
        self.assertEqual(self.target.taken(), [much])
        self.answer(much)
        self.assertEqual([len(each) > len(much) for each in self.box.taken()], [True])
        plain = headed(much, TARGET, 53)
        self.send(good)
        self.send(plain)
        self.send(pack_token(MTYP.DATA, client.context.wrap(plain, False)))
        self.send(good[:-1] + b"?", self.mailbox("198.51.100.66"))
        self.acceptor.contexts[0].failure = "the context has expired"
        self.answer(much)
        self.assertEqual((self.target.taken(), self.box.taken()), ([], []))
        self.assertIn(
            "dropped: 2 not protected, 1 bad token, 1 from strangers, "
            "1 without a security context;",
            self.finish(client),
        )

    def test_largeCrowd(self) -> None:
        """Threads are given so many at a time; what comes back after the end is dropped."""
        client = self.associate(CONFIDENTIALITY)
        self.send(client.protected(headed(b"?", TARGET, 53)))
        pool = self.proxy.reactor.getThreadPool()
        pool.stalled = True
        for _ in range(AT_WORK + 2):
            self.send(client.protected(headed(bytes(5_000), TARGET, 53)))
        self.send(client.protected(headed(b"overtakes them", TARGET, 53)))
        self.assertEqual(self.target.taken(), [b"?", b"overtakes them"])
        reason = self.finish(client)
        pool.stalled = False
        self.proxy.settle()
        self.assertIn("dropped: 2 too many in threads;", reason)
        self.assertEqual(self.target.taken(), [])

    def test_expired(self) -> None:
        """A context that has expired protects nothing any more."""
        client = self.associate(INTEGRITY, accepting={"ordered": False})
        self.send(client.protected(headed(b"?", TARGET, 53)))
        self.acceptor.contexts[0].failure = "the context has expired"
        self.send(client.protected(headed(b"??", TARGET, 53)))
        self.answer(b"!")
        self.assertEqual((self.target.taken(), self.box.taken()), ([b"?"], []))
        self.assertIn("dropped: 1 bad token, 1 without a security context", self.finish(client))

    def test_fragments(self) -> None:
        """Fragments are put together as ever: each is a frame."""
        client = self.associate(CONFIDENTIALITY)
        self.send(client.protected(headed(b"one ", TARGET, 53, 1)))
        self.send(client.protected(headed(b"two", TARGET, 53, 0x82)))
        self.assertEqual(self.target.taken(), [b"one two"])

    def test_connectionEnds(self) -> None:
        """A connection that is broken takes the association with it."""
        client = self.associate(INTEGRITY)
        client.raw(ABORT)
        self.assertTrue(client.peer.wasReset)
        self.assertIn("given up the security context", self.record().reason)
        self.send(b"?")
        self.assertEqual(self.target.taken(), [])

    def test_address(self) -> None:
        """A datagram's target is under the rules, whatever it came in."""
        client = self.associate(INTEGRITY)
        self.send(client.protected(headed(b"?", ip_address("127.0.0.1"), 53)))
        self.assertIn("dropped: 1 ", self.finish(client))
