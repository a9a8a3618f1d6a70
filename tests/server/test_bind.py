"""
BIND in memory: from the request to the relay, and each way it ends before.

- granted: whole and octet by octet; both replies; what is early, on both sides; half-close,
  resets, back-pressure; one connection and no more;
- ended while the name is looked up, while it waits, and after strangers came: by the client's
  FIN, its reset, the proxy, and time; and all at once in the same turn;
- many at a time.

Who gets in is in C{test_bind_peers}, where it listens in C{test_bind_ports}.
"""

from __future__ import annotations

import socket
from ipaddress import ip_address
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.asking import TARGET, octets
from tests.server.bindings import OWN, STRANGER, BindCase, asked, endpoint
from twisted_socks5.server.session import KEPT, SOCKS5ServerProtocol
from twisted_socks5.testing import Peer, PeerFactory

LOOKED_UP = b"slow.example"


class Bug(Exception):
    """What is wrong somewhere else."""


class Speaking(Peer):
    """A peer that says something, and ends its sending, as soon as it is connected."""

    def connectionMade(self) -> None:
        """Speak."""
        super().connectionMade()
        self.write(b"220 hello")
        self.loseWrite()


class GrantedTests(BindCase):
    """The peer comes."""

    def test_whole(self) -> None:
        """Two replies, and octets both ways; the log has it all."""
        client, where = self.waiting()
        self.assertEqual(self.listening(), [where])
        self.assertEqual(where[0], OWN)
        peer = self.comer(where).peer
        (_, second), rest = self.replies(client)
        self.assertEqual((second.reply, endpoint(second), rest), (0, (TARGET, 20), b""))
        self.assertEqual(self.listening(), [])
        peer.write(b"listing")
        client.write(b"ok")
        self.reactor.advance(0)
        self.assertEqual(self.replies(client)[1], b"listing")
        self.assertEqual(bytes(peer.received), b"ok")
        self.assertEqual(self.ended(client, peer), "client closed")
        record = self.record()
        self.assertEqual(
            (record.command, record.target, record.dialled, record.reply),
            ("BIND", f"{TARGET}:0", f"{TARGET}:20", 0),
        )
        self.assertEqual((record.sent, record.received), (2, 7))

    def test_octetByOctet(self) -> None:
        """A request in as many segments as it has octets."""
        self.serve()
        client = self.ask(*octets(asked()))
        (first,), _ = self.replies(client)
        peer = self.comer(endpoint(first)).peer
        peer.write(b"x")
        self.reactor.advance(0)
        self.assertEqual(self.replies(client)[1], b"x")

    def test_listensBeforeItSays(self) -> None:
        """Whoever connects in the very moment of the first reply is let in."""
        self.serve()
        arrivals = PeerFactory()

        class Hasty(Peer):
            """Has the peer connect as soon as it can know where."""

            def dataReceived(this, data: bytes) -> None:
                """Read BND as it stands there."""
                super().dataReceived(data)
                if len(this.received) == 12:
                    where = (OWN, int.from_bytes(this.received[10:12], "big"))
                    self.reactor.connectTCP(*where, arrivals, bindAddress=(TARGET, 20))

        factory = PeerFactory(Hasty)
        self.reactor.connectTCP("192.0.2.10", 1080, factory)
        self.reactor.advance(0)
        factory.peer.write(asked())
        self.reactor.advance(0)
        self.assertEqual(len(factory.peer.received), 22)
        self.assertIsNone(arrivals.peer.lost)
        factory.peer.abort()
        self.reactor.advance(0)
        self.assertTrue(arrivals.peer.wasReset)

    def test_peerSpeaksFirst(self) -> None:
        """What the peer sends at once comes behind the second reply, and its end behind that."""
        client, where = self.waiting()
        factory = self.comer(where, protocol=Speaking)
        (_, second), rest = self.replies(client)
        self.assertEqual((second.reply, rest, client.eof), (0, b"220 hello", True))
        client.write(b"still here")
        self.reactor.advance(0)
        self.assertEqual(bytes(factory.peer.received), b"still here")

    def test_peerGoneAtOnce(self) -> None:
        """A peer that is reset as soon as it has come takes the client along."""
        client, where = self.waiting()
        factory = self.comer(where, settle=False)
        while not factory.peers or not factory.peer.connected:
            self.reactor.turn()
        factory.peer.abort()
        self.reactor.advance(0)
        self.assertTrue(client.wasReset)
        self.assertEqual(self.record().reason, "target reset")

    def test_clientSpeaksFirst(self) -> None:
        """What the client sends with its request and between the replies comes first."""
        client, where = self.waiting(more=b"one ")
        client.write(b"two ")
        self.reactor.advance(0)
        client.write(b"three ")
        self.reactor.advance(1)
        peer = self.comer(where).peer
        client.write(b"four")
        self.reactor.advance(0)
        self.assertEqual(bytes(peer.received), b"one two three four")
        self.assertEqual(self.ended(client, peer), "client closed")
        self.assertEqual(self.record().sent, 18)

    def test_clientSendsTooMuch(self) -> None:
        """A client can't make the proxy gather octets; what it could send is all delivered."""
        client, where = self.waiting()
        sent = bytes(range(256)) * 4096
        client.write(sent)
        self.reactor.advance(0)
        (accepted,) = [
            each
            for each in self.reactor.openConnections()
            if each.local is not None and each.local[1] == 1080
        ]
        self.assertLess(accepted.octetsRead, 2 * KEPT + 100)
        peer = self.comer(where).peer
        self.reactor.advance(0)
        self.assertEqual(bytes(peer.received), sent)

    def test_halfClose(self) -> None:
        """The client's FIN leaves the other direction open, and the other way round."""
        client, peer = self.joined()
        client.write(b"upload")
        client.loseWrite()
        self.reactor.advance(0)
        self.assertEqual((bytes(peer.received), peer.eof), (b"upload", True))
        peer.write(b"226 done")
        peer.lose()
        self.reactor.advance(0)
        self.assertEqual(self.replies(client)[1], b"226 done")
        self.assertTrue(client.wasClosed)

    def test_tuned(self) -> None:
        """Small messages are sent at once, and a peer that is gone is noticed."""
        _, where = self.waiting()
        (listener,) = [each for each in self.reactor.listeners() if each.local == _end(where)]
        self.comer(where)
        (leg,) = [each for each in self.reactor.openConnections() if each.local == _end(where)]
        # What is accepted inherits from what listens.
        options = {**listener.options, **leg.options}
        for option in (
            (socket.IPPROTO_TCP, socket.TCP_NODELAY),
            (socket.SOL_SOCKET, socket.SO_KEEPALIVE),
        ):
            self.assertTrue(options.get(option))

    def test_resets(self) -> None:
        """A reset of one side is one of the other."""
        client, peer = self.joined()
        client.abort()
        self.reactor.advance(0)
        self.assertTrue(peer.wasReset)
        client, peer = self.joined()
        peer.abort()
        self.reactor.advance(0)
        self.assertTrue(client.wasReset)
        self.assertEqual([each.reason for each in self.records], ["client reset", "target reset"])

    def test_backPressure(self) -> None:
        """Much, to a client that does not read for a while."""
        client, peer = self.joined()
        client.pause()
        peer.write(bytes(1_000_000))
        peer.loseWrite()
        self.reactor.advance(1)
        self.assertEqual(self.replies(client)[1], b"")
        client.resume()
        self.reactor.advance(0)
        self.assertEqual(len(self.replies(client)[1]), 1_000_000)
        self.assertTrue(client.eof)

    def test_onlyOne(self) -> None:
        """Two come in the same turn: one is let in, and no third finds the port."""
        client, where = self.waiting()
        first, second = [self.comer(where, port=port, settle=False) for port in (20, 21)]
        self.reactor.advance(0)
        self.assertIsNone(first.peer.lost)
        # Reset before it has even seen that it was connected, perhaps.
        self.assertTrue(second.failures or second.peer.wasReset)
        self.assertEqual(endpoint(self.replies(client)[0][1]), (TARGET, 20))
        self.assertEqual(len(self.comer(where, port=22).failures), 1)
        self.assertEqual(self.ended(client, first.peer), "client closed")

    def test_notJoined(self) -> None:
        """If they can't be joined, whatever the reason, both hear of it."""

        def fail(*_: object) -> None:
            raise Bug

        self.patch(SOCKS5ServerProtocol, "relay", fail)
        client, where = self.waiting()
        self.assertTrue(self.comer(where).peer.wasReset)
        self.assertSecond(client, 1)
        self.assertRegex(self.ended(client), "internal error")
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_idle(self) -> None:
        """Nothing moves on it for too long."""
        self.settings["idle_timeout"] = 60
        client, peer = self.joined()
        self.reactor.advance(200)
        self.assertTrue(client.wasReset)
        self.assertTrue(peer.wasReset)
        self.assertRegex(self.record().reason, "60 s")

    def test_waitIsNotIdle(self) -> None:
        """The time until the peer comes is its own: once it is there, that is over."""
        self.settings["bind_timeout"] = 100
        client, where = self.waiting()
        self.reactor.advance(99)
        peer = self.comer(where).peer
        self.reactor.advance(1000)
        peer.write(b"late")
        self.reactor.advance(0)
        self.assertEqual(self.replies(client)[1], b"late")


class GrantedStreamTests(GrantedTests):
    """The same on streams."""

    streams = True

    def test_exhausted(self) -> None:
        """Without a descriptor for the peer it waits to be accepted, and then is."""
        client, where = self.waiting()
        self.sockets.made[-1].failures.append(24)
        peer = self.comer(where).peer
        self.assertEqual(len(self.replies(client)[0]), 1)
        self.reactor.advance(1)
        self.assertEqual(len(self.replies(client)[0]), 2)
        self.assertIsNone(peer.lost)

    def test_cannotAccept(self) -> None:
        """Without a descriptor to accept with it is refused, and listens no more."""
        self.serve()
        client = self.dial()
        self.sockets.noDescriptor = True
        client.write(asked())
        self.reactor.advance(0)
        self.sockets.noDescriptor = False
        reason = self.assertFirst(client, 1)
        self.assertEqual(reason, f"cannot listen on {OWN}: too many open files")


class EndingTests(BindCase):
    """The peer does not come, or it is not waited for."""

    def setUp(self) -> None:
        """Make a name that takes its time."""
        super().setUp()
        self.reactor.names.add("slow.example", [TARGET], delay=5)

    def lookingUp(self) -> Peer:
        """Bring a BIND to where its name is being looked up."""
        if not hasattr(self, "server"):
            self.serve()
        client = self.bind(LOOKED_UP)
        self.assertEqual(bytes(client.received), b"\5\0")
        return client

    def besieged(self) -> Peer:
        """Bring a BIND to where strangers have come."""
        client, where = self.waiting()
        for number in range(5):
            self.comer(where, STRANGER, 1000 + number)
        return client

    def assertGone(self, reason: str, reply: int | None = None) -> None:
        """Nothing is left of it: no port, no timer, no session."""
        record = self.record()
        self.assertEqual((record.reason, record.reply), (reason, reply))
        self.assertEqual(self.listening(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_closedDuringLookup(self) -> None:
        """The client's FIN while its name is looked up: nothing is listened on, ever."""
        client = self.lookingUp()
        client.loseWrite()
        self.reactor.advance(0)
        self.assertGone("client closed before its peer had come")
        self.reactor.advance(5)
        self.assertEqual(bytes(client.received), b"\5\0")
        self.assertTrue(client.wasClosed)

    def test_closedWaiting(self) -> None:
        """The client's FIN while it waits: the port is gone at once."""
        client, where = self.waiting()
        client.loseWrite()
        self.reactor.advance(0)
        self.assertGone("client closed before its peer had come")
        self.assertEqual(len(self.comer(where).failures), 1)
        self.assertTrue(client.wasClosed)

    def test_closedAtOnce(self) -> None:
        """What is still to be sent to the client keeps the port open no longer."""
        self.waiting()
        (session,) = self.server.sessions
        session.readConnectionLost()
        self.reactor.turn()
        self.assertEqual(self.listening(), [])

    def test_closedBehindRequest(self) -> None:
        """The client's FIN right behind the request."""
        self.serve()
        client = self.dial()
        client.write(asked())
        client.loseWrite()
        self.reactor.advance(0)
        self.assertGone("client closed before its peer had come")
        self.assertTrue(client.wasClosed)

    def test_closedAfterStrangers(self) -> None:
        """The log says who else had come."""
        client = self.besieged()
        client.loseWrite()
        self.reactor.advance(0)
        self.assertGone(
            "client closed before its peer had come; "
            "turned away: 5, the last one 198.51.100.66:1004"
        )

    def test_reset(self) -> None:
        """A reset of the client's, at each stage."""
        for begin in (self.lookingUp, lambda: self.waiting()[0], self.besieged):
            begin().abort()
            self.reactor.advance(0)
            self.assertRegex(self.record().reason, "^client reset during the request")
            self.assertEqual((self.listening(), self.reactor.getDelayedCalls()), ([], []))
            self.records.clear()

    def test_cut(self) -> None:
        """The end of the proxy, at each stage."""
        for begin in (self.lookingUp, lambda: self.waiting()[0], self.besieged):
            client = begin()
            self.server.abortSessions("the proxy stops")
            self.reactor.advance(0)
            self.assertTrue(client.wasReset)
            self.assertRegex(self.record().reason, "^the proxy stops")
            self.assertEqual((self.listening(), self.reactor.getDelayedCalls()), ([], []))
            self.records.clear()

    def test_drained(self) -> None:
        """A proxy that stops waits for no peer, and says so."""
        client, where = self.waiting()
        self.server.drain("the proxy stops")
        self.reactor.advance(0)
        self.assertEqual(self.listening(), [])
        self.assertSecond(client, 1)
        self.assertEqual(len(self.comer(where).failures), 1)
        self.assertEqual(self.ended(client), "the proxy stops")

    def test_nobodyCame(self) -> None:
        """When the time is over, and not before, the second reply says so."""
        self.settings["bind_timeout"] = 90
        client, where = self.waiting()
        self.reactor.advance(89)
        self.assertEqual(len(self.replies(client)[0]), 1)
        self.reactor.advance(1)
        self.assertSecond(client, 6)
        self.assertEqual(len(self.comer(where).failures), 1)
        self.assertEqual(
            self.ended(client),
            f"no connection from {TARGET} to {OWN}:{where[1]} within 90 s",
        )
        self.assertEqual(self.record().reply, 6)

    def test_nobodyCameAfterLookup(self) -> None:
        """The time for the name is not the peer's."""
        self.settings["bind_timeout"] = 90
        client = self.lookingUp()
        self.reactor.advance(94)
        self.assertEqual(len(self.replies(client)[0]), 1)
        self.reactor.advance(1)
        self.assertSecond(client, 6)

    def test_onlyStrangersCame(self) -> None:
        """The log has how many, and the last of them."""
        client = self.besieged()
        self.reactor.advance(300)
        self.assertSecond(client, 6)
        self.assertRegex(
            self.ended(client), r"within 300 s; turned away: 5, the last one 198.51.100.66:1004$"
        )

    def test_refusedClientStays(self) -> None:
        """A client that does not close after the failure is cut, within the RFC's 10 s."""
        client, _ = self.waiting()
        self.reactor.advance(300)
        self.assertIsNone(client.lost)
        self.assertEqual(len(self.server.sessions), 1)
        self.reactor.advance(5)
        self.assertEqual(self.record().reply, 6)

    def test_noSuchName(self) -> None:
        """A name that is none is refused by the first reply."""
        self.serve()
        reason = self.assertFirst(self.bind(b"none.example"), 4)
        self.assertEqual(reason, "cannot resolve none.example: no such name")

    def test_noHostName(self) -> None:
        """So is what can't be one."""
        self.serve()
        self.assertRegex(self.assertFirst(self.bind(b"a b"), 4), "invalid host name")

    def test_lookupTakesTooLong(self) -> None:
        """So is a name that is not resolved in time."""
        self.settings["lookup_timeout"] = 3
        client = self.lookingUp()
        self.reactor.advance(3)
        self.assertRegex(self.assertFirst(client, 4), "no answer within 3 s")

    def test_peerAndTime(self) -> None:
        """The peer comes in the turn in which its time is over."""
        client, where = self.waiting()
        self.reactor.advance(299)
        peer = self.comer(where, settle=False)
        self.reactor.rightNow += 1
        self.reactor.advance(0)
        replies, _ = self.replies(client)
        self.assertEqual(replies[1].reply, 6)
        self.assertTrue(peer.failures or peer.peer.lost)

    def test_peerAndFIN(self) -> None:
        """The peer comes, and the client goes, in the same turn."""
        client, where = self.waiting()
        comer = self.comer(where, settle=False)
        client.lose()
        self.reactor.advance(0)
        self.assertTrue(client.wasClosed or client.wasReset)
        self.assertEqual(self.listening(), [])
        self.assertEqual(len(self.records), 1)
        self.assertTrue(comer.failures or comer.peers)

    def test_strangerAndEnd(self) -> None:
        """A stranger who is being reset outlives nothing."""
        client, where = self.waiting()
        stranger = self.comer(where, STRANGER, settle=False)
        while not stranger.peers:
            self.reactor.turn()
        client.abort()
        self.reactor.advance(0)
        self.assertEqual(self.listening(), [])


class EndingStreamTests(EndingTests):
    """The same on streams."""

    streams = True


class ManyTests(BindCase):
    """Many at a time."""

    COUNT = 100

    def test_oneClient(self) -> None:
        """All wait on ports of their own, and each gets its own peer."""
        self.serve()
        clients = [PeerFactory() for _ in range(self.COUNT)]
        for factory in clients:
            self.reactor.connectTCP("192.0.2.10", 1080, factory)
        self.reactor.advance(0)
        for factory in clients:
            factory.peer.write(asked())
        self.reactor.advance(0)
        ports = [int.from_bytes(factory.peer.received[10:12], "big") for factory in clients]
        self.assertEqual(len(self.listening()), self.COUNT)
        self.assertEqual({port for _, port in self.listening()}, set(ports))
        peers = [
            self.comer((OWN, port), port=index + 1, settle=False)
            for index, port in enumerate(ports)
        ]
        self.reactor.advance(0)
        for index, factory in enumerate(clients):
            self.assertEqual(factory.peer.received[20:22], (index + 1).to_bytes(2, "big"))
            factory.peer.abort()
        self.reactor.advance(0)
        self.assertTrue(all(factory.peer.wasReset for factory in peers))
        self.assertEqual(len(self.records), self.COUNT)

    def test_together(self) -> None:
        """They end as one when the proxy does."""
        waiting = [self.waiting() for _ in range(20)]
        self.assertEqual(len({where for _, where in waiting}), 20)
        self.server.abortSessions("the proxy stops")
        self.reactor.advance(0)
        self.assertEqual(self.listening(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


def _end(where: tuple[str, int]) -> tuple[object, int]:
    """Write an address as the network in memory does."""
    return ip_address(where[0]), where[1]


ACTS = ("peer", "stranger", "write", "FIN", "reset", "cut", "minute")


class Model:
    """
    What a BIND does, as simply as it can be written.

    @ivar replies: the REP of each reply.
    @ivar passed: what the peer gets.
    """

    def __init__(self) -> None:
        self.replies = [0]
        self.waiting = True
        self.open = True
        self.minutes = 0
        self.written = b""
        self.passed: bytes | None = None

    def act(self, act: str) -> None:
        """Do what one of L{ACTS} brings about."""
        if act == "peer" and self.waiting:
            self.waiting = False
            self.replies.append(0)
            self.passed = self.written
        elif act == "write" and self.open:
            self.written += b"x"
            if self.passed is not None:
                self.passed = self.written
        elif act in ("FIN", "reset", "cut"):
            self.waiting = self.open = False
        elif act == "minute":
            self.minutes += 1
            if self.minutes == 5 and self.waiting:
                self.waiting = self.open = False
                self.replies.append(6)


class ModelTests(BindCase):
    """Whatever happens, in whatever order."""

    def begin(self, streams: bool) -> None:
        """Bring one to where it waits."""
        self.setUp()
        self.streams = streams
        self.serve()
        self.client, self.where = self.waiting()
        self.peers: list[PeerFactory] = []
        self.strangers: list[PeerFactory] = []

    def act(self, act: str) -> None:
        """Do one of L{ACTS}, as far as there still is somebody to do it."""
        here = self.client.lost is None
        if act == "peer":
            port = 20 + len(self.peers)
            self.peers.append(self.comer(self.where, port=port, settle=False))
        elif act == "stranger":
            self.strangers.append(self.comer(self.where, STRANGER, settle=False))
        elif act == "write" and here and not self.client.writeEnded:
            self.client.write(b"x")
        elif act == "FIN" and here:
            self.client.loseWrite()
        elif act == "reset" and here:
            self.client.abort()
        elif act == "cut":
            self.server.abortSessions("the proxy stops")
        elif act == "minute":
            self.reactor.rightNow += 60

    @given(st.lists(st.sampled_from(ACTS), max_size=8), st.booleans())
    @settings(max_examples=150, deadline=None)
    def test_oneByOne(self, acts: list[str], streams: bool) -> None:
        """Where each has its effect before the next one comes, it is the model's."""
        self.begin(streams)
        model = Model()
        for act in acts:
            self.act(act)
            self.reactor.advance(0)
            model.act(act)
            self.assertEqual(self.listening(), [self.where] if model.waiting else [])
        self.assertEqual([each.reply for each in self.replies(self.client)[0]], model.replies)
        joined = [factory.peer for factory in self.peers if factory.peers]
        self.assertEqual(
            [bytes(peer.received) for peer in joined],
            [] if model.passed is None else [model.passed],
        )
        for factory in self.strangers:
            self.assertTrue(factory.failures or factory.peer.wasReset)

    @given(st.lists(st.sampled_from(ACTS), max_size=8), st.booleans(), st.integers())
    @settings(max_examples=150, deadline=None)
    def test_allAtOnce(self, acts: list[str], streams: bool, seed: int) -> None:
        """Where they meet in the same turns, nobody gets what is not theirs."""
        self.begin(streams)
        random = Random(seed)
        self.patch(self.reactor, "_shuffle", random.shuffle)
        for act in acts:
            self.act(act)
            for _ in range(random.randrange(4)):
                self.reactor.turn()
        self.reactor.advance(0)
        replies, rest = self.replies(self.client)
        self.assertIn([each.reply for each in replies], ([0], [0, 0], [0, 6]))
        self.assertEqual(rest, b"")
        for factory in self.strangers:
            self.assertTrue(factory.failures or factory.peer.lost)
            self.assertEqual(
                [bytes(peer.received) for peer in factory.peers], [b""] * len(factory.peers)
            )
        for peer in (self.client, *(each for factory in self.peers for each in factory.peers)):
            peer.abort()
        self.reactor.advance(0)
        self.assertEqual((self.listening(), self.server.sessions), ([], set()))
        self.assertEqual(len(self.records), 1)
