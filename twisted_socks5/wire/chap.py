"""
Challenge and response (method 3, draft-ietf-aft-socks-chap-01): both halves of its dialogue.

A message is a list of attributes, VER NAVAS and then as often ATT LEN VAL.  Four of them make
the dialogue::

    client    ALGORITHMS, what it can compute    USER-IDENTITY
    server    ALGORITHMS, the one it chose       CHALLENGE
    client    RESPONSE, the keyed hash of the challenge; the password is the key
    server    STATUS, 0 for success

The password never travels, but both sides must know it as it is, so a server cannot store it
hashed.  Attributes that are not among these are read over, as the draft asks; a server does not
authenticate itself.

Once C{select_method} or C{MethodSelection} has led to C{MUST_SUBNEGOTIATE}, what C{take_rest}
gives and what arrives goes to one of these; at the end its own C{take_rest} goes to the
negotiation, behind C{finish_subnegotiation}.
"""

from __future__ import annotations

import hmac
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Final

from .address import Buffer
from .errors import LocalProtocolError, MalformedChallenge
from .negotiation import Negotiation, Reader

CHAP_VERSION = 1

MAX_ATTRIBUTES = 16
"""Attributes of a message; the draft has eight of them."""

MIN_CHALLENGE = 16
"""
Octets of a challenge that a client answers: one that is shorter has been asked before, perhaps,
by somebody who noted the answer.
"""


class Attribute(IntEnum):
    """ATT: what an attribute means."""

    STATUS = 0x00
    TEXT_MESSAGE = 0x01
    USER_IDENTITY = 0x02
    CHALLENGE = 0x03
    RESPONSE = 0x04
    CHARSET = 0x05
    IDENTIFIER = 0x10
    ALGORITHMS = 0x11


class ChallengeAlgorithm(IntEnum):
    """
    What makes a response of a challenge.

    C{HMAC_MD5} is the draft's.  The draft numbers it by setting the high bit of PPP's CHAP
    algorithm (MD5, 5); C{HMAC_SHA256} is PPP's 7 in the same manner, for those who know it.
    """

    HMAC_MD5 = 0x85
    HMAC_SHA256 = 0x87


STRONGEST_FIRST: Final = (ChallengeAlgorithm.HMAC_SHA256, ChallengeAlgorithm.HMAC_MD5)

_DIGESTS = {ChallengeAlgorithm.HMAC_MD5: "md5", ChallengeAlgorithm.HMAC_SHA256: "sha256"}

AttributePair = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class ChallengeOffer:
    """
    The client's first word.

    @ivar offered: what it can compute, in its order; those that are known here.
    @ivar user: who it says it is.
    """

    offered: tuple[ChallengeAlgorithm, ...]
    user: bytes


@dataclass(frozen=True, slots=True)
class Challenge:
    """
    What the server wants to have answered.

    @ivar algorithm: how.
    @ivar challenge: random octets.
    """

    algorithm: ChallengeAlgorithm
    challenge: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChallengeResponse:
    """
    What the client makes of it.

    @ivar response: the keyed hash.
    """

    response: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class ChallengeStatus:
    """
    What the server says of it.

    @ivar status: 0 is success.
    @ivar text: the server's words, if there are any.
    """

    status: int
    text: bytes = b""

    @property
    def succeeded(self) -> bool:
        """Whether the client is who it says."""
        return self.status == 0


def respond_to(algorithm: ChallengeAlgorithm, challenge: bytes, password: bytes) -> bytes:
    """Make the response to a challenge."""
    return hmac.digest(password, challenge, _DIGESTS[algorithm])


def pack_attributes(attributes: Sequence[AttributePair]) -> bytes:
    """
    Write VER NAVAS and each ATT LEN VAL.

    @raise LocalProtocolError: there are too many, or a value is longer than 255 octets.
    """
    if not 1 <= len(attributes) <= MAX_ATTRIBUTES:
        raise LocalProtocolError(f"{len(attributes)} attributes, not 1 to {MAX_ATTRIBUTES}")
    octets = bytearray((CHAP_VERSION, len(attributes)))
    for attribute, value in attributes:
        if len(value) > 255:
            raise LocalProtocolError(f"an attribute of {len(value)} octets, more than 255")
        octets += bytes((attribute, len(value)))
        octets += value
    return bytes(octets)


def parse_attributes(
    buffer: Buffer, offset: int = 0
) -> tuple[tuple[AttributePair, ...], int] | None:
    """
    Read VER NAVAS and each ATT LEN VAL.

    @return: the attributes and the offset behind them, or L{None} if octets are missing.
    @raise MalformedChallenge: as soon as VER or NAVAS is there and wrong.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != CHAP_VERSION:
        raise MalformedChallenge(f"version {buffer[offset]} instead of {CHAP_VERSION} in CHAP")
    if size < offset + 2:
        return None
    count = buffer[offset + 1]
    if not 1 <= count <= MAX_ATTRIBUTES:
        raise MalformedChallenge(f"{count} attributes in CHAP, not 1 to {MAX_ATTRIBUTES}")
    attributes = []
    at = offset + 2
    for _ in range(count):
        if size < at + 2:
            return None
        end = at + 2 + buffer[at + 1]
        if size < end:
            return None
        attributes.append((buffer[at], bytes(buffer[at + 2 : end])))
        at = end
    return tuple(attributes), at


def _only(attributes: Sequence[AttributePair], wanted: Attribute) -> bytes | None:
    """
    Find an attribute's value.

    @raise MalformedChallenge: it is there twice: which one is meant?
    """
    values = [value for attribute, value in attributes if attribute == wanted]
    if len(values) > 1:
        raise MalformedChallenge(f"{wanted.name} twice in one message of CHAP")
    return values[0] if values else None


def _needed(attributes: Sequence[AttributePair], wanted: Attribute) -> bytes:
    value = _only(attributes, wanted)
    if value is None:
        raise MalformedChallenge(f"no {wanted.name} in a message of CHAP that needs it")
    return value


def _status(value: bytes) -> int:
    """Read STATUS: however long it is, it is a success only if it is all zeros."""
    if not value:
        raise MalformedChallenge("an empty STATUS in CHAP")
    return next(filter(None, value), 0)


def _parse_offer(buffer: bytes) -> tuple[ChallengeOffer, int] | None:
    parsed = parse_attributes(buffer)
    if parsed is None:
        return None
    attributes, end = parsed
    offered = _needed(attributes, Attribute.ALGORITHMS)
    known = tuple(each for each in STRONGEST_FIRST if each in offered)
    if not known:
        numbers = ", ".join(f"0x{each:02X}" for each in offered) or "nothing"
        raise MalformedChallenge(f"no algorithm of CHAP that is known here: offered {numbers}")
    return ChallengeOffer(known, _needed(attributes, Attribute.USER_IDENTITY)), end


def _parse_response(buffer: bytes) -> tuple[ChallengeResponse, int] | None:
    parsed = parse_attributes(buffer)
    if parsed is None:
        return None
    attributes, end = parsed
    if _only(attributes, Attribute.CHALLENGE) is not None:
        raise MalformedChallenge("a CHAP client wants the proxy to authenticate itself")
    return ChallengeResponse(_needed(attributes, Attribute.RESPONSE)), end


def _parse_challenge(buffer: bytes) -> tuple[Challenge | ChallengeStatus, int] | None:
    parsed = parse_attributes(buffer)
    if parsed is None:
        return None
    attributes, end = parsed
    status = _only(attributes, Attribute.STATUS)
    if status is not None and _status(status):
        return _refusal(status, attributes), end
    chosen = _needed(attributes, Attribute.ALGORITHMS)
    challenge = _needed(attributes, Attribute.CHALLENGE)
    if len(chosen) != 1 or chosen[0] not in _DIGESTS:
        raise MalformedChallenge("the server chose no algorithm of CHAP that is known here")
    if len(challenge) < MIN_CHALLENGE:
        raise MalformedChallenge(f"a challenge of {len(challenge)} octets, too few to be new")
    return Challenge(ChallengeAlgorithm(chosen[0]), challenge), end


def _parse_status(buffer: bytes) -> tuple[ChallengeStatus, int] | None:
    parsed = parse_attributes(buffer)
    if parsed is None:
        return None
    attributes, end = parsed
    return _refusal(_needed(attributes, Attribute.STATUS), attributes), end


def _refusal(status: bytes, attributes: Sequence[AttributePair]) -> ChallengeStatus:
    return ChallengeStatus(_status(status), _only(attributes, Attribute.TEXT_MESSAGE) or b"")


class ChallengeState(Enum):
    """Whose turn it is, of both halves."""

    EXPECT_ALGORITHMS = "the client says what it can, and who it is"
    MUST_CHALLENGE = "we challenge"
    EXPECT_RESPONSE = "the client responds"
    MUST_JUDGE = "we accept or refuse the response"
    MUST_OFFER = "we say what we can, and who we are"
    EXPECT_CHALLENGE = "the server challenges"
    MUST_RESPOND = "we respond"
    EXPECT_STATUS = "the server accepts or refuses"
    DONE = "accepted"
    REFUSED = "refused: nothing more is read"
    FAILED = "the peer broke the protocol"


class ChallengeStep(Enum):
    """What leads from state to state."""

    OFFERED = "ChallengeOffer"
    CHALLENGE = "challenge()"
    RESPONDED = "ChallengeResponse"
    ACCEPT = "judge(True)"
    REFUSE = "judge(False)"
    OFFER = "offer()"
    CHALLENGED = "Challenge"
    RESPOND = "respond()"
    ACCEPTED = "ChallengeStatus(0)"
    REFUSED = "ChallengeStatus(another)"


_S = ChallengeState
_T = ChallengeStep

CHALLENGE_TRANSITIONS: Final[dict[tuple[ChallengeState, ChallengeStep], ChallengeState]] = {
    (_S.EXPECT_ALGORITHMS, _T.OFFERED): _S.MUST_CHALLENGE,
    (_S.MUST_CHALLENGE, _T.CHALLENGE): _S.EXPECT_RESPONSE,
    (_S.EXPECT_RESPONSE, _T.RESPONDED): _S.MUST_JUDGE,
    (_S.MUST_JUDGE, _T.ACCEPT): _S.DONE,
    (_S.MUST_JUDGE, _T.REFUSE): _S.REFUSED,
    (_S.MUST_OFFER, _T.OFFER): _S.EXPECT_CHALLENGE,
    (_S.EXPECT_CHALLENGE, _T.CHALLENGED): _S.MUST_RESPOND,
    (_S.EXPECT_CHALLENGE, _T.REFUSED): _S.REFUSED,
    (_S.MUST_RESPOND, _T.RESPOND): _S.EXPECT_STATUS,
    (_S.EXPECT_STATUS, _T.ACCEPTED): _S.DONE,
    (_S.EXPECT_STATUS, _T.REFUSED): _S.REFUSED,
}
"""Every legal step and where it leads; one that is not here raises."""

ServerChallengeEvent = ChallengeOffer | ChallengeResponse
ClientChallengeEvent = Challenge | ChallengeStatus

_SERVER_READERS: Final[dict[ChallengeState, Reader[ServerChallengeEvent]]] = {
    _S.EXPECT_ALGORITHMS: _parse_offer,
    _S.EXPECT_RESPONSE: _parse_response,
}
_CLIENT_READERS: Final[dict[ChallengeState, Reader[ClientChallengeEvent]]] = {
    _S.EXPECT_CHALLENGE: _parse_challenge,
    _S.EXPECT_STATUS: _parse_status,
}


class ServerChallenge(Negotiation[ChallengeState, ChallengeStep, ServerChallengeEvent]):
    """
    The server's half: reads a L{ChallengeOffer}, challenges, reads a L{ChallengeResponse}, judges.

    The C{answer} of a C{ProtocolError} is the STATUS of a failure.

    @ivar asked: what was asked, once it was.
    """

    __slots__ = ("_offered", "asked")

    _transitions = CHALLENGE_TRANSITIONS
    _refused = _S.REFUSED
    _failed = _S.FAILED
    _have_rest = frozenset((_S.DONE,))
    _finished = (_T.REFUSED, _T.ACCEPTED)  # nothing of its own is within this one

    def __init__(self) -> None:
        super().__init__(_S.EXPECT_ALGORITHMS, _SERVER_READERS)
        self._offered: tuple[ChallengeAlgorithm, ...] = ()
        self.asked: Challenge | None = None

    def challenge(self, challenge: bytes) -> bytes:
        """
        Ask, with the strongest algorithm that was offered.

        @param challenge: random octets, as they were never asked before.
        @raise LocalProtocolError: they are fewer than C{MIN_CHALLENGE}, or more than 255.
        """
        state = self._after(_T.CHALLENGE)
        if len(challenge) < MIN_CHALLENGE:
            raise LocalProtocolError(f"a challenge of {len(challenge)} octets, too few to be new")
        asked = Challenge(self._offered[0], challenge)
        octets = pack_attributes(
            (
                (Attribute.ALGORITHMS, bytes((asked.algorithm,))),
                (Attribute.CHALLENGE, challenge),
            )
        )
        self.asked = asked
        self._enter(state)
        return octets

    def judge(self, success: bool) -> bytes:
        """Tell the client whether it is who it says; a failure refuses it."""
        state = self._after(_T.ACCEPT if success else _T.REFUSE)
        self._enter(state)
        return pack_attributes(((Attribute.STATUS, bytes((not success,))),))

    def _hear(self, event: ServerChallengeEvent) -> ChallengeStep:
        if isinstance(event, ChallengeResponse):
            return _T.RESPONDED
        self._offered = event.offered
        return _T.OFFERED


class ClientChallenge(Negotiation[ChallengeState, ChallengeStep, ClientChallengeEvent]):
    """
    The client's half: offers, reads a L{Challenge}, responds, reads a L{ChallengeStatus}.

    A server that chooses an algorithm it was not offered has broken the protocol.
    """

    __slots__ = ("_offered",)

    _transitions = CHALLENGE_TRANSITIONS
    _refused = _S.REFUSED
    _failed = _S.FAILED
    _have_rest = frozenset((_S.DONE,))
    _finished = (_T.REFUSE, _T.ACCEPT)  # nothing of its own is within this one

    def __init__(self) -> None:
        super().__init__(_S.MUST_OFFER, _CLIENT_READERS)
        self._offered: tuple[ChallengeAlgorithm, ...] = ()

    def offer(
        self, user: bytes, algorithms: Sequence[ChallengeAlgorithm] = STRONGEST_FIRST
    ) -> bytes:
        """
        Say what we can, and who we are.

        @raise LocalProtocolError: the user's name is not 1 to 255 octets long, or there is no
            algorithm.
        """
        state = self._after(_T.OFFER)
        if not (algorithms and user):
            raise LocalProtocolError("CHAP takes an algorithm and a user's name")
        octets = pack_attributes(
            ((Attribute.ALGORITHMS, bytes(algorithms)), (Attribute.USER_IDENTITY, user))
        )
        self._offered = tuple(algorithms)
        self._enter(state)
        return octets

    def respond(self, response: bytes) -> bytes:
        """Answer the challenge with what L{respond_to} has made of it."""
        state = self._after(_T.RESPOND)
        octets = pack_attributes(((Attribute.RESPONSE, response),))
        self._enter(state)
        return octets

    def _hear(self, event: ClientChallengeEvent) -> ChallengeStep:
        if isinstance(event, Challenge):
            if event.algorithm not in self._offered:
                raise MalformedChallenge(
                    f"the server chose {event.algorithm.name}, which was not offered"
                )
            return _T.CHALLENGED
        return _T.ACCEPTED if event.succeeded else _T.REFUSED
