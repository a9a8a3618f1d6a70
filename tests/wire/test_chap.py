"""Challenge and response: both halves, and what either may hear from the other."""

from __future__ import annotations

import hashlib
import hmac

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.wire.strategies import damaged, octet, pieces
from twisted_socks5.wire import (
    Challenge,
    ChallengeAlgorithm,
    ChallengeOffer,
    ChallengeResponse,
    ChallengeState,
    ChallengeStatus,
    ClientChallenge,
    LocalProtocolError,
    MalformedChallenge,
    ProtocolError,
    ServerChallenge,
    respond_to,
)
from twisted_socks5.wire.chap import (
    MAX_ATTRIBUTES,
    Attribute,
    AttributePair,
    pack_attributes,
    parse_attributes,
)

MD5, SHA256 = ChallengeAlgorithm.HMAC_MD5, ChallengeAlgorithm.HMAC_SHA256
NONCE = bytes(range(32))
FAILED = b"\x01\x01\x00\x01\x01"
PASSED = b"\x01\x01\x00\x01\x00"

values = st.binary(max_size=255)
attributes = st.lists(st.tuples(octet, values), min_size=1, max_size=MAX_ATTRIBUTES)


def offered(algorithms: bytes = b"\x85", user: bytes = b"alice") -> bytes:
    """What a client says first."""
    return pack_attributes(((Attribute.ALGORITHMS, algorithms), (Attribute.USER_IDENTITY, user)))


class AttributeTests(SynchronousTestCase):
    """VER NAVAS, and each ATT LEN VAL."""

    @given(attributes)
    @settings(max_examples=60, deadline=None)
    def test_inverse(self, pairs: list[AttributePair]) -> None:
        """What is written is read, octet by octet or with more behind it."""
        octets = pack_attributes(pairs)
        self.assertEqual(parse_attributes(octets + b"more"), (tuple(pairs), len(octets)))
        for end in range(min(len(octets), 300)):
            self.assertIsNone(parse_attributes(octets[:end]))

    def test_bounds(self) -> None:
        """As many as fit, and no value too long."""
        one = (Attribute.CHALLENGE, b"")
        for bad in ([], [one] * (MAX_ATTRIBUTES + 1), [(Attribute.CHALLENGE, b"x" * 256)]):
            self.assertRaises(LocalProtocolError, pack_attributes, bad)
        for count in (0, MAX_ATTRIBUTES + 1, 255):
            error = self.assertRaises(MalformedChallenge, parse_attributes, bytes((1, count)))
            self.assertEqual(error.answer, FAILED)
        for version in (0, 2, 5):
            self.assertRaises(MalformedChallenge, parse_attributes, bytes((version,)))

    def test_offset(self) -> None:
        """It may stand anywhere."""
        octets = pack_attributes([(Attribute.STATUS, b"\0")])
        self.assertEqual(parse_attributes(b"xx" + octets, 2), (((0, b"\0"),), 7))
        self.assertIsNone(parse_attributes(b"xx", 2))


class ResponseTests(SynchronousTestCase):
    """What is made of a challenge."""

    def test_hmac_md5(self) -> None:
        """RFC 2202's second case."""
        made = respond_to(MD5, b"what do ya want for nothing?", b"Jefe")
        self.assertEqual(made.hex(), "750c783e6ab0b503eaa86e310a5db738")

    def test_hmac_sha256(self) -> None:
        """RFC 4231's second case."""
        made = respond_to(SHA256, b"what do ya want for nothing?", b"Jefe")
        self.assertEqual(
            made.hex(), "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        )


class DialogueTests(SynchronousTestCase):
    """The two halves together."""

    def meet(self, algorithms: tuple[ChallengeAlgorithm, ...], success: bool) -> None:
        """Lead a dialogue."""
        client, server = ClientChallenge(), ServerChallenge()
        server.receive(client.offer(b"alice", algorithms))
        offer = server.next_event()
        assert isinstance(offer, ChallengeOffer)
        self.assertEqual((set(offer.offered), offer.user), (set(algorithms), b"alice"))
        client.receive(server.challenge(NONCE))
        asked = client.next_event()
        self.assertEqual(asked, server.asked)
        assert isinstance(asked, Challenge)
        # The strongest, whatever the client's order.
        self.assertEqual(asked.algorithm, max(algorithms))
        server.receive(client.respond(respond_to(asked.algorithm, asked.challenge, b"secret")))
        response = server.next_event()
        digest = hashlib.sha256 if asked.algorithm is SHA256 else hashlib.md5
        self.assertEqual(response, ChallengeResponse(hmac.new(b"secret", NONCE, digest).digest()))
        client.receive(server.judge(success) + b"rest")
        status = client.next_event()
        assert isinstance(status, ChallengeStatus)
        self.assertEqual(status.succeeded, success)
        end = ChallengeState.DONE if success else ChallengeState.REFUSED
        self.assertEqual((client.state, server.state), (end, end))
        if success:
            self.assertEqual(client.take_rest(), b"rest")

    def test_meet(self) -> None:
        """They agree on the strongest algorithm, and each hears how it ends."""
        for algorithms in ((MD5,), (SHA256,), (MD5, SHA256)):
            for success in (True, False):
                self.meet(algorithms, success)

    def test_secrets(self) -> None:
        """No text has what would help somebody who guesses."""
        for secret in (Challenge(MD5, b"hunter2" * 3), ChallengeResponse(b"hunter2")):
            self.assertNotIn("hunter2", repr(secret))

    def test_turns(self) -> None:
        """A command out of turn changes nothing."""
        client, server = ClientChallenge(), ServerChallenge()
        commands = (
            lambda: client.respond(b"x"),
            lambda: server.challenge(NONCE),
            lambda: server.judge(True),
            server.finish_subnegotiation,
            client.finish_subnegotiation,
            server.take_rest,
        )
        for command in commands:
            self.assertRaises(LocalProtocolError, command)
        self.assertEqual(client.state, ChallengeState.MUST_OFFER)
        self.assertEqual(server.state, ChallengeState.EXPECT_ALGORITHMS)
        client.offer(b"alice")
        self.assertRaises(LocalProtocolError, client.offer, b"alice")

    def test_local_bounds(self) -> None:
        """What can't be said is not: no user, no algorithm, a challenge worth nothing."""
        client, server = ClientChallenge(), ServerChallenge()
        self.assertRaises(LocalProtocolError, client.offer, b"")
        self.assertRaises(LocalProtocolError, client.offer, b"alice", ())
        self.assertRaises(LocalProtocolError, client.offer, b"a" * 256)
        server.receive(offered())
        server.next_event()
        for octets in (b"", NONCE[:15], b"x" * 256):
            self.assertRaises(LocalProtocolError, server.challenge, octets)
        self.assertEqual(server.state, ChallengeState.MUST_CHALLENGE)

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_cut(self, data: st.DataObject) -> None:
        """However the octets are cut, the events are the same."""
        client, server = ClientChallenge(), ServerChallenge()

        def hear(half: ClientChallenge | ServerChallenge, octets: bytes) -> list[object]:
            events = []
            for piece in data.draw(pieces(octets)):
                half.receive(piece)
                events.append(half.next_event())
            return [event for event in events if event is not None]

        client.offer(b"alice")
        offer = offered(b"\x05\x87\x85")
        self.assertEqual(hear(server, offer), [ChallengeOffer((SHA256, MD5), b"alice")])
        self.assertEqual(hear(client, server.challenge(NONCE)), [Challenge(SHA256, NONCE)])
        self.assertEqual(hear(server, client.respond(b"made")), [ChallengeResponse(b"made")])
        self.assertEqual(hear(client, server.judge(True)), [ChallengeStatus(0)])


class BadClientTests(SynchronousTestCase):
    """What a server hears, and how it answers."""

    def refused(self, *messages: bytes) -> str:
        """Let a server hear messages, the last of which breaks the protocol."""
        server = ServerChallenge()
        for message in messages[:-1]:
            server.receive(message)
            server.next_event()
            if server.state is ChallengeState.MUST_CHALLENGE:
                server.challenge(NONCE)
        server.receive(messages[-1])
        error = self.assertRaises(MalformedChallenge, server.next_event)
        self.assertEqual(error.answer, FAILED)
        self.assertEqual(server.state, ChallengeState.FAILED)
        reason: str = error.reason
        return reason

    def test_offers(self) -> None:
        """Nothing that is known, no user, or two of them."""
        self.assertIn("0x05", self.refused(offered(b"\x05")))
        self.assertIn("nothing", self.refused(offered(b"")))
        user = (Attribute.USER_IDENTITY, b"alice")
        algorithms = (Attribute.ALGORITHMS, b"\x85")
        self.assertIn("USER_IDENTITY", self.refused(pack_attributes([algorithms])))
        self.assertIn("ALGORITHMS", self.refused(pack_attributes([user])))
        self.assertIn("twice", self.refused(pack_attributes([algorithms, user, user])))

    def test_responses(self) -> None:
        """None, or a wish that is not fulfilled."""
        self.assertIn("RESPONSE", self.refused(offered(), offered()))
        mutual = pack_attributes([(Attribute.RESPONSE, b"x"), (Attribute.CHALLENGE, NONCE)])
        self.assertIn("authenticate itself", self.refused(offered(), mutual))

    def test_unknown_attributes(self) -> None:
        """They are read over."""
        server = ServerChallenge()
        server.receive(
            pack_attributes(
                [
                    (Attribute.CHARSET, b"utf-8"),
                    (0xEE, b"x" * 255),
                    (Attribute.USER_IDENTITY, b"alice"),
                    (Attribute.ALGORITHMS, b"\x85"),
                ]
            )
        )
        self.assertEqual(server.next_event(), ChallengeOffer((MD5,), b"alice"))

    @given(st.one_of(st.binary(max_size=600), damaged(st.just(offered()))))
    @settings(max_examples=150, deadline=None)
    def test_anything(self, octets: bytes) -> None:
        """Nothing raises anything but the protocol's own error, and no more is held than fits."""
        server = ServerChallenge()
        try:
            server.receive(octets)
            event = server.next_event()
        except ProtocolError:
            self.assertEqual(server.state, ChallengeState.FAILED)
        else:
            self.assertIsInstance(event, (ChallengeOffer, type(None)))


class BadServerTests(SynchronousTestCase):
    """What a client hears."""

    def client(self) -> ClientChallenge:
        """Make one that has said what it can."""
        client = ClientChallenge()
        client.offer(b"alice", (MD5,))
        return client

    def test_choices(self) -> None:
        """Nothing, something unknown, something else than was offered; too little to answer."""
        for chosen, challenge in (
            (b"", NONCE),
            (b"\x05", NONCE),
            (b"\x85\x85", NONCE),
            (b"\x87", NONCE),
            (b"\x85", NONCE[:15]),
        ):
            client = self.client()
            client.receive(
                pack_attributes([(Attribute.ALGORITHMS, chosen), (Attribute.CHALLENGE, challenge)])
            )
            self.assertRaises(MalformedChallenge, client.next_event)

    def test_refusals(self) -> None:
        """At once, or after the response; in words, too."""
        for status in (b"\x01", b"\x00\xff", b"\x80\x00"):
            client = self.client()
            client.receive(
                pack_attributes([(Attribute.STATUS, status), (Attribute.TEXT_MESSAGE, b"no")])
            )
            event = client.next_event()
            assert isinstance(event, ChallengeStatus)
            self.assertEqual((event.succeeded, event.text), (False, b"no"))
            self.assertEqual(client.state, ChallengeState.REFUSED)

    def test_status(self) -> None:
        """Zeros are a success, however many; none at all is no status."""
        for octets, success in ((PASSED, True), (FAILED, False)):
            client = self.client()
            client.receive(
                pack_attributes([(Attribute.ALGORITHMS, b"\x85"), (Attribute.CHALLENGE, NONCE)])
            )
            client.next_event()
            client.respond(b"x" * 16)
            client.receive(octets)
            event = client.next_event()
            assert isinstance(event, ChallengeStatus)
            self.assertEqual(event.succeeded, success)
        client = self.client()
        client.receive(b"\x01\x01\x00\x00")
        self.assertRaises(MalformedChallenge, client.next_event)

    def test_early_success(self) -> None:
        """A success before the challenge is none."""
        client = self.client()
        client.receive(PASSED)
        self.assertRaises(MalformedChallenge, client.next_event)

    @given(st.binary(max_size=600))
    @settings(max_examples=100, deadline=None)
    def test_anything(self, octets: bytes) -> None:
        """Nothing raises anything but the protocol's own error."""
        client = self.client()
        try:
            client.receive(octets)
            client.next_event()
        except ProtocolError:
            self.assertEqual(client.state, ChallengeState.FAILED)
