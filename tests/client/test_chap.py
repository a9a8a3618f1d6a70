"""Answering a proxy's challenge (method 3)."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.client.base import GRANTED, PROXY_NAME, REQUEST, ClientCase
from twisted_socks5.client import CHAP, AuthenticationError, ProxyClosed, ProxyProtocolError
from twisted_socks5.wire import ChallengeAlgorithm, respond_to
from twisted_socks5.wire.chap import Attribute, pack_attributes

MD5, SHA256 = ChallengeAlgorithm.HMAC_MD5, ChallengeAlgorithm.HMAC_SHA256
ALICE = CHAP("alice", "a secret")
SELECTED = b"\5\3"
NONCE = bytes(range(32))
OFFER = pack_attributes(((Attribute.ALGORITHMS, b"\x87\x85"), (Attribute.USER_IDENTITY, b"alice")))
PASSED = pack_attributes(((Attribute.STATUS, b"\0"),))
REFUSED = pack_attributes(((Attribute.STATUS, b"\7"), (Attribute.TEXT_MESSAGE, b"a secret?")))


def asked(algorithm: int = MD5) -> bytes:
    """Ask, as a server does."""
    return pack_attributes(
        ((Attribute.ALGORITHMS, bytes((algorithm,))), (Attribute.CHALLENGE, NONCE))
    )


def answered(algorithm: ChallengeAlgorithm = MD5) -> bytes:
    """Answer, as alice does."""
    return pack_attributes(((Attribute.RESPONSE, respond_to(algorithm, NONCE, b"a secret")),))


class ValueTests(SynchronousTestCase):
    """Who we are."""

    def test_value(self) -> None:
        """A value like the others, without its secret in any text."""
        self.assertEqual(ALICE, CHAP(b"alice", b"a secret"))
        self.assertNotIn("secret", repr(ALICE))
        self.assertEqual(ALICE.algorithms, (SHA256, MD5))

    def test_wrong(self) -> None:
        """What cannot be said is no value."""
        for username, password in ((b"", b"x"), (b"x", b""), (b"x" * 256, b"x")):
            self.assertRaises(ValueError, CHAP, username, password)
        self.assertRaises(ValueError, CHAP, "alice", "secret", ())
        self.assertRaises(ValueError, CHAP, "alice", "secret", (5,))


class ChallengeTests(ClientCase):
    """What a proxy asks, and how it ends."""

    def test_answered(self) -> None:
        """With either algorithm, as the proxy chooses."""
        for algorithm in (MD5, SHA256):
            application, outcome = self.connect(authentication=[ALICE])
            self.assertEqual(self.heard(), b"\5\1\3")
            self.say(SELECTED)
            self.assertEqual(self.heard(), OFFER)
            self.say(asked(algorithm))
            self.assertEqual(self.heard(), answered(algorithm))
            self.say(PASSED)
            self.assertEqual(self.heard(), REQUEST)
            self.say(GRANTED + b"hello")
            self.assertIs(outcome.result, application.peer)
            self.assertEqual(bytes(application.peer.received), b"hello")
            self.hangUp()

    def test_anyCut(self) -> None:
        """Octet by octet, or all at once."""
        said = SELECTED + asked() + PASSED + GRANTED + b"hello"
        for segments in ([bytes((octet,)) for octet in said], [said]):
            application, outcome = self.connect(authentication=[ALICE])
            self.say(*segments)
            self.assertEqual(self.heard(), b"\5\1\3" + OFFER + answered() + REQUEST)
            self.assertIs(outcome.result, application.peer)
            self.assertEqual(bytes(application.peer.received), b"hello")
            self.hangUp()

    def test_refused(self) -> None:
        """At once, or after the answer; what the proxy says of it is not repeated."""
        for before in ((), (asked(),)):
            _, outcome = self.connect(authentication=[ALICE])
            self.say(SELECTED, *before, REFUSED)
            self.assertIsInstance(outcome.error, AuthenticationError)
            self.assertIn(PROXY_NAME, str(outcome.error))
            self.assertIn("refused our answer to its challenge (status 7)", str(outcome.error))
            self.assertNotIn("secret", str(outcome.error))
            self.assertClosed()
            self.hangUp()

    def test_nonsense(self) -> None:
        """What makes no sense ends it, promptly."""
        for said in (b"\5\1", b"\1\0", PASSED, asked(5), asked()[:4] + b"\x86" + asked()[5:]):
            _, outcome = self.connect(authentication=[ALICE])
            self.say(SELECTED, said)
            self.assertIsInstance(outcome.error, ProxyProtocolError)
            self.assertClosed()
            self.hangUp()

    def test_closed(self) -> None:
        """A proxy that goes away instead of an answer."""
        for before in ((), (asked(),)):
            _, outcome = self.connect(authentication=[ALICE])
            self.say(SELECTED, *before)
            self.proxy.lose()
            self.settle()
            self.assertIsInstance(outcome.error, ProxyClosed)
            self.assertClosed()
            self.hangUp()

    def test_cancelled(self) -> None:
        """Cancelling in the middle leaves nothing."""
        for before in ((), (asked(),)):
            _, outcome = self.connect(authentication=[ALICE])
            self.say(SELECTED, *before)
            outcome.deferred.cancel()
            self.assertClosed()
            self.assertEqual(len(outcome.failures), 1)
            self.hangUp()
