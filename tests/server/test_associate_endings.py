"""Every way an association ends, and that nothing of it is left then."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IAnonymous
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from zope.interface import implementer

from tests.server.associations import (
    PROXY,
    STRANGER,
    TARGET,
    TARGET6,
    ZEROS,
    AssociationCase,
    headed,
)
from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.server.associate import LOOKS
from twisted_socks5.wire import Command, pack_request


class EndingTests(AssociationCase):
    """With the control connection, and without it."""

    def everythingOpen(self) -> None:
        """Bring an association to where it has all it can have: sockets, lookups, fragments."""
        self.reactor.names.add("silent.example", silent=True)
        self.associate()
        self.send(b"x", TARGET)
        self.send(b"x", TARGET6)
        self.send(b"x", b"silent.example")
        self.send(b"x", frag=1)
        self.assertEqual(len(self.proxySockets()), 3)

    def assertGone(self, reason: str) -> None:
        """Everything is gone: sockets, lookups and timers too."""
        self.assertEqual(self.reason(), reason)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 0)

    def test_closed(self) -> None:
        """The client's FIN ends it, at once."""
        self.everythingOpen()
        self.control.loseWrite()
        self.reactor.advance(0)
        self.assertGone("client closed; dropped: 1 abandoned fragments")
        self.assertTrue(self.control.eof)

    def test_reset(self) -> None:
        """So does a reset."""
        self.everythingOpen()
        self.control.abort()
        self.reactor.advance(0)
        self.assertGone("client reset during the association; dropped: 1 abandoned fragments")

    def test_cut(self) -> None:
        """So does the end of the proxy."""
        self.everythingOpen()
        self.server.abortSessions("the proxy stops")
        self.reactor.advance(0)
        self.assertGone("the proxy stops; dropped: 1 abandoned fragments")
        self.assertTrue(self.control.wasReset)

    def test_socketLost(self) -> None:
        """A socket that the system takes away ends it, for no other can be the one in BND."""
        self.everythingOpen()
        (session,) = self.server.sessions
        undertaking: Any = session._undertaking
        undertaking._relay._client.transport.connectionLost(None)
        self.reactor.advance(0)
        self.assertGone("the socket for its datagrams was lost; dropped: 1 abandoned fragments")
        self.assertTrue(self.control.eof)

    def test_nothingPassesAfterwards(self) -> None:
        """Datagrams that come in the moment of the end go nowhere."""
        box = self.mailbox(TARGET, 53)
        self.associate()
        self.send(b"before")
        (session,) = self.server.sessions
        session.readConnectionLost()
        self.send(b"after")
        self.answer(box, b"after")
        self.assertEqual(box.taken(), [b"before"])
        self.assertEqual(self.client.received, [])

    def test_counts(self) -> None:
        """The access log has the octets of the payloads that passed, both ways."""
        box = self.mailbox(TARGET, 53)
        self.associate()
        self.send(b"12345")
        self.send(b"123")
        self.answer(box, b"1234567")
        self.send(b"dropped", TARGET, 0)
        self.end()
        (record,) = self.records
        self.assertEqual((record.sent, record.received), (8, 7))
        self.assertEqual((record.target, record.dialled), ("0.0.0.0:0", ""))

    def test_controlConnection(self) -> None:
        """Octets on the control connection are read and dropped, before and after the reply."""
        self.serve()
        self.control = self.dial()
        self.ask(self.control, ZEROS, b"early" * 1000)
        (session,) = self.server.sessions
        self.assertEqual(session.negotiation.take_rest(), b"")
        for _ in range(20):
            self.control.write(bytes(65536))
            self.reactor.advance(0)
        self.assertEqual(session.negotiation.take_rest(), b"")
        self.assertEqual(len(self.server.sessions), 1)
        self.assertEqual(self.end(), "client closed")

    def test_closedBeforeTheReply(self) -> None:
        """A FIN that came while the client was still being logged in ends it as well."""
        waiting: Deferred[Any] = Deferred()

        @implementer(ICredentialsChecker)
        class Slow:
            """A checker that takes its time."""

            credentialInterfaces = (IAnonymous,)

            def requestAvatarId(self, credentials: object) -> Deferred[Any]:
                """Answer some time."""
                return waiting

        self.serve()
        self.server.authenticator = type(self.server.authenticator)(
            Portal(SOCKS5Realm(), [Slow()])
        )
        self.control = self.dial()
        self.control.write(b"\5\1\0" + pack_request(Command.UDP_ASSOCIATE, ZEROS))
        self.control.loseWrite()
        self.reactor.advance(0)
        waiting.callback(())
        self.reactor.advance(0)
        self.assertGone("client closed")

    def test_drain(self) -> None:
        """An association goes on while the server stops listening, until it is cut."""
        box = self.mailbox(TARGET, 53)
        self.associate()
        idle = self.server.whenIdle()
        self.send(b"x")
        self.assertEqual(box.taken(), [b"x"])
        self.assertNoResult(idle)
        self.end()
        self.successResultOf(idle)

    def test_many(self) -> None:
        """Many at a time, each for itself; when their clients are gone, so are they."""
        box = self.mailbox(TARGET, 53)
        self.serve()
        peers = []
        for number in range(40):
            peers.append(self.dial())
            reply = self.ask(peers[-1])
            client = self.mailbox()
            client.send(headed(b"%d" % number, TARGET, 53), (PROXY, reply.bound.port))
        self.reactor.advance(0)
        self.assertEqual(sorted(map(int, box.taken())), list(range(40)))
        self.assertEqual(len(self.proxySockets()), 80)
        for peer in peers:
            peer.abort()
        self.reactor.advance(0)
        self.assertEqual(self.proxySockets(), [])
        self.assertEqual(len(self.records), 40)


class IdleTests(AssociationCase):
    """An association on which no datagram passes ends."""

    def setUp(self) -> None:
        """Associate, for up to 80 idle seconds."""
        super().setUp()
        self.settings["association_timeout"] = 80
        self.box = self.mailbox(TARGET, 53)
        self.associate()

    def assertEnds(self, since: float) -> None:
        """It ends after its time and at most two looks more, and not before."""
        self.reactor.advance(79 - since)
        self.assertEqual(self.records, [])
        self.reactor.advance(1 + 2 * 80 / LOOKS)
        self.assertEqual(self.reason().partition(";")[0], "no datagram for 80 s")
        self.assertTrue(self.control.eof)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_never(self) -> None:
        """If there never was one."""
        self.assertEnds(0)

    def test_sent(self) -> None:
        """One that was sent is a sign of life."""
        for _ in range(10):
            self.reactor.advance(70)
            self.send(b"")
        self.assertEnds(0)

    def test_received(self) -> None:
        """So is one that was received."""
        self.send(b"x")
        for _ in range(10):
            self.reactor.advance(70)
            self.answer(self.box, b"")
        self.assertEnds(0)

    def test_dropped(self) -> None:
        """What is dropped is none, or a stranger could keep an association open."""
        stranger = self.mailbox(STRANGER)
        for _ in range(7):
            self.reactor.advance(10)
            stranger.send(headed(b"x", TARGET, 53), self.bound)
            self.raw(b"")
            self.send(b"x", "127.0.0.1")
            self.send(b"x", frag=1)
        self.assertEnds(70)

    def test_oneCall(self) -> None:
        """However many associations there are and datagrams pass, they take one delayed call."""
        for _ in range(20):
            self.ask(self.dial())
            self.send(b"x")
        self.server.negotiating.stop()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
