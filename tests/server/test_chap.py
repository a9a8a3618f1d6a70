"""CHAP (method 3): who answers the challenge gets in, and nobody else."""

from __future__ import annotations

from unittest import mock

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred

from tests.auth.fakes import Checker
from tests.server.base import (
    CUTS,
    LOGIN,
    LOGIN_SELECTED,
    ServerCase,
    request,
    users,
)
from twisted_socks5.config import Settings
from twisted_socks5.server.chap import CHALLENGE, CHAPDialogue
from twisted_socks5.testing import Peer
from twisted_socks5.wire import ChallengeAlgorithm, Method, respond_to
from twisted_socks5.wire.chap import Attribute, pack_attributes

GREETING = b"\5\2\3\2"  # as PuTTY greets
SELECTED = b"\5\3"
NONCE = bytes(range(CHALLENGE))
OFFER = pack_attributes(((Attribute.ALGORITHMS, b"\x85"), (Attribute.USER_IDENTITY, b"alice")))
ASKED = pack_attributes(((Attribute.ALGORITHMS, b"\x85"), (Attribute.CHALLENGE, NONCE)))
PASSED = pack_attributes(((Attribute.STATUS, b"\0"),))
FAILED = pack_attributes(((Attribute.STATUS, b"\1"),))


def response(password: bytes = b"secret", nonce: bytes = NONCE) -> bytes:
    """Respond as somebody with this password does."""
    made = respond_to(ChallengeAlgorithm.HMAC_MD5, nonce, password)
    return pack_attributes(((Attribute.RESPONSE, made),))


def known() -> Portal:
    """Make a portal that has alice's password as it is."""
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.addUser(b"alice", b"secret")
    return users(checker)


class CHAPCase(ServerCase):
    """Challenges that a test knows."""

    def setUp(self) -> None:
        """Have no chance in them."""
        nonce = mock.patch.object(CHAPDialogue, "random", staticmethod(lambda count: NONCE))
        nonce.start()
        self.addCleanup(nonce.stop)

    def assertTurnedAway(self, client: Peer, reason: str, *said: bytes) -> None:
        """Assert that a client has heard this and been closed."""
        record = self.assertRefused(client, b"".join(said), reason)
        self.assertEqual(record.method, "chap")


class AdmittedTests(CHAPCase):
    """Those who know the password."""

    def test_admitted(self) -> None:
        """In any cut, and whatever is said ahead of its turn."""
        for cut in CUTS:
            proxy = self.serve(known())
            target = proxy.target()
            client = proxy.say(*cut(GREETING, OFFER, response(), request(), b"payload"))
            rest = self.assertGranted(client, SELECTED + ASKED + PASSED)
            self.assertEqual((rest, bytes(target.peer.received)), (b"", b"payload"))
            client.abort()
            proxy.settle()
            record = self.record()
            self.assertEqual((record.user, record.method), ("alice", "chap"))

    def test_slowChecker(self) -> None:
        """What is said while a checker takes its time has its turn later."""
        answers: list[Deferred[bytes]] = []

        def later(_: object) -> Deferred[bytes]:
            answers.append(Deferred())
            return answers[-1]

        proxy = self.serve(users(Checker(later, IUsernameHashedPassword)))
        target = proxy.target()
        client = proxy.say(GREETING, OFFER, response(), request(), b"payload")
        self.assertEqual(client.received, SELECTED + ASKED)
        answers[0].callback(b"alice")
        proxy.settle()
        self.assertGranted(client, SELECTED + ASKED + PASSED)
        self.assertEqual(target.peer.received, b"payload")

    def test_stronger(self) -> None:
        """Who can do better is asked to."""
        proxy = self.serve(known())
        offer = pack_attributes(
            ((Attribute.USER_IDENTITY, b"alice"), (Attribute.ALGORITHMS, b"\x05\x85\x87"))
        )
        client = proxy.say(GREETING, offer)
        asked = pack_attributes(((Attribute.ALGORITHMS, b"\x87"), (Attribute.CHALLENGE, NONCE)))
        self.assertEqual(client.received, SELECTED + asked)

    def test_notOffered(self) -> None:
        """Who offers the password alone is not asked for more."""
        proxy = self.serve(known())
        self.assertEqual(proxy.say(LOGIN).received, LOGIN_SELECTED)

    def test_methods(self) -> None:
        """An operator who prefers the password gets it."""
        order = (Method.USERNAME_PASSWORD, Method.CHAP)
        proxy = self.serve(known(), settings={"methods": order})
        self.assertEqual(proxy.say(GREETING).received, LOGIN_SELECTED)

    def test_chance(self) -> None:
        """No two challenges are the same."""
        mock.patch.stopall()
        proxy = self.serve(known())
        asked = {bytes(proxy.say(GREETING, OFFER).received) for _ in range(8)}
        self.assertEqual(len(asked), 8)


class TurnedAwayTests(CHAPCase):
    """Those who don't."""

    def test_wrong(self) -> None:
        """A wrong password, an unknown user, another's answer: STATUS 1, a little later."""
        other = pack_attributes(
            ((Attribute.ALGORITHMS, b"\x85"), (Attribute.USER_IDENTITY, b"mallory"))
        )
        for offer, answer in (
            (OFFER, response(b"Secret")),
            (OFFER, response(b"")),
            (other, response()),
            (OFFER, response(nonce=b"another" * 5)),
            (OFFER, pack_attributes(((Attribute.RESPONSE, b""),))),
        ):
            proxy = self.serve(known())
            target = proxy.target()
            client = proxy.say(GREETING, offer, answer, request())
            self.assertEqual(client.received, SELECTED + ASKED)
            proxy.reactor.advance(0.5)
            self.assertTurnedAway(client, "wrong user name or pass", SELECTED, ASKED, FAILED)
            self.assertEqual(target.peers, [])

    def test_guessing(self) -> None:
        """Guesses at one user from one address take turns, and each costs more."""
        proxy = self.serve(known())
        clients = [proxy.say(GREETING, OFFER, response(b"guess")) for _ in range(2)]
        proxy.reactor.advance(0.5)
        self.assertTrue(clients[0].received.endswith(FAILED))
        self.assertFalse(clients[1].received.endswith(FAILED))
        proxy.reactor.pump([1.0] * 10)
        self.assertTrue(clients[1].received.endswith(FAILED))

    def test_malformed(self) -> None:
        """What is no message is answered with STATUS 1 at once."""
        proxy = self.serve(known())
        for wrong, before, reason in (
            (b"\5\1", b"", "version 5 instead of 1"),
            (b"\1\0", b"", "0 attributes"),
            (pack_attributes(((Attribute.ALGORITHMS, b"\5"),)), b"", "offered 0x05"),
            (OFFER + OFFER, ASKED, "no RESPONSE"),
        ):
            client = proxy.say(GREETING, wrong, b"more")
            self.assertTurnedAway(client, reason, SELECTED, before, FAILED)

    def test_silent(self) -> None:
        """Who stops in the middle is closed when its time is over."""
        for messages in ((), (OFFER[:5],), (OFFER,), (OFFER, response()[:9])):
            proxy = self.serve(known())
            client = proxy.say(GREETING, *messages)
            proxy.reactor.advance(Settings.negotiation_timeout)
            asked = ASKED if OFFER in messages else b""
            self.assertTurnedAway(client, "no complete negotiation", SELECTED, asked)

    def test_gone(self) -> None:
        """Who goes away, or ends its sending, leaves nothing behind."""
        for messages in ((), (OFFER[:5],), (OFFER,), (OFFER, response(b"guess"))):
            for leave in (Peer.abort, Peer.loseWrite):
                proxy = self.serve(known())
                leave(proxy.say(GREETING, *messages))
                proxy.reactor.pump([0.5] * 4)
                self.assertRegex(self.record().reason, "client (reset|closed)|wrong user")

    def test_secrets(self) -> None:
        """No record has what was asked or answered."""
        proxy = self.serve(known())
        proxy.say(GREETING, OFFER, response(b"guess"))
        proxy.reactor.pump([0.5] * 4)
        text = repr(proxy.records) + "".join(map(str, proxy.records))
        self.assertNotIn("guess", text)
        self.assertNotIn(repr(NONCE)[2:10], text)


class StreamAdmittedTests(AdmittedTests):
    """The same on streams."""

    streams = True


class StreamTurnedAwayTests(TurnedAwayTests):
    """The same on streams."""

    streams = True
