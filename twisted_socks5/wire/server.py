"""
The server's half of a negotiation: whose turn it is, what was said, what may be answered.

Octets go in, events come out; answers go in as commands and come out as octets::

    receive(data)       octets from the client
    next_event()        Greeting, UsernamePassword, Token, Abort, Request or Request4
    select_method(…)    and the other commands: the octets to send

A state says whose turn it is.  In an C{EXPECT_…} state the client's next message is read; in a
C{MUST_…} state nothing is: what the client already sends waits, unread, for its turn, so no
octet is ever looked at before the answer that decides what it means.  L{TRANSITIONS} is the
whole of what may follow what.  Not in it is that every C{ProtocolError} leads to C{FAILED}.

Nothing here decides: which method is good enough, whose password is right, what a request may
reach and how it is reached are the caller's answers.  No octet is sent here and no time passes.
"""

from __future__ import annotations

from enum import Enum
from functools import partial
from typing import Final

from .address import UNSPECIFIED, Address
from .constants import (
    MTYP,
    SOCKS4_VERSION,
    SOCKS_VERSION,
    Command,
    Method,
    ProtectionLevel,
    Reply,
    Reply4,
    describe_method,
)
from .errors import LocalProtocolError, SOCKS4Off
from .gssapi import Abort, Token, pack_abort, pack_token, parse_frame
from .messages import (
    Greeting,
    Request,
    pack_method_selection,
    pack_reply,
    parse_greeting,
    parse_request,
    parse_request_strictly,
)
from .negotiation import Negotiation, Reader
from .socks4 import Request4, pack_reply4, parse_request4, reply4_for
from .userpass import UsernamePassword, pack_status, parse_username_password

ServerEvent = Greeting | UsernamePassword | Token | Abort | Request | Request4
"""What L{ServerNegotiation.next_event} gives."""


class ServerState(Enum):
    """Whose turn it is, and for what."""

    # Members are compared by identity, so they can be hashed by it: Enum's own hash costs more
    # than the whole look-up of a transition.
    __hash__ = object.__hash__

    EXPECT_GREETING = "the client greets"
    MUST_SELECT_METHOD = "we select a method"
    EXPECT_CREDENTIALS = "the client says who it is"
    MUST_ANSWER_CREDENTIALS = "we accept or refuse the credentials"
    EXPECT_TOKEN = "the client sends a token of its security context"
    MUST_ANSWER_TOKEN = "we answer the token"
    EXPECT_PROTECTION_LEVEL = "the client asks for a protection level"
    MUST_ANSWER_PROTECTION_LEVEL = "we grant a protection level"
    MUST_SUBNEGOTIATE = "the caller does what this room can't, and says when it's done"
    EXPECT_REQUEST = "the client requests"
    MUST_REPLY = "we reply"
    MUST_REPLY_AGAIN = "we reply to a BIND for the second time"
    DONE = "granted: what follows is payload"
    REFUSED = "refused: nothing more is read"
    FAILED = "the client broke the protocol"


class ServerStep(Enum):
    """An event of the client's or a command of ours: what leads from state to state."""

    __hash__ = object.__hash__

    GREETING = "Greeting"
    REQUEST4 = "Request4"
    CREDENTIALS = "UsernamePassword"
    TOKEN = "Token(AUTHENTICATION)"
    PROTECTION_LEVEL = "Token(PROTECTION_LEVEL)"
    ABORT = "Abort"
    REQUEST = "Request"

    SELECT_NO_AUTHENTICATION = "select_method(NO_AUTHENTICATION)"
    SELECT_USERNAME_PASSWORD = "select_method(USERNAME_PASSWORD)"
    SELECT_GSSAPI = "select_method(GSSAPI)"
    SELECT_OTHER = "select_method(another)"
    SELECT_NONE = "select_method(NO_ACCEPTABLE_METHODS)"
    ACCEPT_CREDENTIALS = "answer_credentials(True)"
    REFUSE_CREDENTIALS = "answer_credentials(False)"
    SEND_TOKEN = "send_token()"
    SEND_LAST_TOKEN = "send_token(established=True)"
    SEND_PROTECTION_LEVEL = "send_protection_level()"
    SEND_NO_PROTECTION = "send_protection_level(NONE)"
    SEND_ABORT = "abort()"
    SUBNEGOTIATED = "finish_subnegotiation(True)"
    NOT_SUBNEGOTIATED = "finish_subnegotiation(False)"
    GRANT = "reply(SUCCEEDED)"
    GRANT_FIRST = "reply(SUCCEEDED), of BIND"
    REFUSE = "reply(a failure)"


_S = ServerState
_T = ServerStep

TRANSITIONS: Final[dict[tuple[ServerState, ServerStep], ServerState]] = {
    (_S.EXPECT_GREETING, _T.GREETING): _S.MUST_SELECT_METHOD,
    (_S.EXPECT_GREETING, _T.REQUEST4): _S.MUST_REPLY,
    (_S.MUST_SELECT_METHOD, _T.SELECT_NO_AUTHENTICATION): _S.EXPECT_REQUEST,
    (_S.MUST_SELECT_METHOD, _T.SELECT_USERNAME_PASSWORD): _S.EXPECT_CREDENTIALS,
    (_S.MUST_SELECT_METHOD, _T.SELECT_GSSAPI): _S.EXPECT_TOKEN,
    (_S.MUST_SELECT_METHOD, _T.SELECT_OTHER): _S.MUST_SUBNEGOTIATE,
    (_S.MUST_SELECT_METHOD, _T.SELECT_NONE): _S.REFUSED,
    (_S.EXPECT_CREDENTIALS, _T.CREDENTIALS): _S.MUST_ANSWER_CREDENTIALS,
    (_S.MUST_ANSWER_CREDENTIALS, _T.ACCEPT_CREDENTIALS): _S.EXPECT_REQUEST,
    (_S.MUST_ANSWER_CREDENTIALS, _T.REFUSE_CREDENTIALS): _S.REFUSED,
    (_S.EXPECT_TOKEN, _T.TOKEN): _S.MUST_ANSWER_TOKEN,
    (_S.EXPECT_TOKEN, _T.ABORT): _S.REFUSED,
    (_S.MUST_ANSWER_TOKEN, _T.SEND_TOKEN): _S.EXPECT_TOKEN,
    (_S.MUST_ANSWER_TOKEN, _T.SEND_LAST_TOKEN): _S.EXPECT_PROTECTION_LEVEL,
    (_S.MUST_ANSWER_TOKEN, _T.SEND_ABORT): _S.REFUSED,
    (_S.EXPECT_PROTECTION_LEVEL, _T.PROTECTION_LEVEL): _S.MUST_ANSWER_PROTECTION_LEVEL,
    (_S.EXPECT_PROTECTION_LEVEL, _T.ABORT): _S.REFUSED,
    (_S.MUST_ANSWER_PROTECTION_LEVEL, _T.SEND_PROTECTION_LEVEL): _S.MUST_SUBNEGOTIATE,
    (_S.MUST_ANSWER_PROTECTION_LEVEL, _T.SEND_NO_PROTECTION): _S.EXPECT_REQUEST,
    (_S.MUST_ANSWER_PROTECTION_LEVEL, _T.SEND_ABORT): _S.REFUSED,
    (_S.MUST_SUBNEGOTIATE, _T.SUBNEGOTIATED): _S.EXPECT_REQUEST,
    (_S.MUST_SUBNEGOTIATE, _T.NOT_SUBNEGOTIATED): _S.REFUSED,
    (_S.EXPECT_REQUEST, _T.REQUEST): _S.MUST_REPLY,
    (_S.MUST_REPLY, _T.GRANT): _S.DONE,
    (_S.MUST_REPLY, _T.GRANT_FIRST): _S.MUST_REPLY_AGAIN,
    (_S.MUST_REPLY, _T.REFUSE): _S.REFUSED,
    (_S.MUST_REPLY_AGAIN, _T.GRANT): _S.DONE,
    (_S.MUST_REPLY_AGAIN, _T.REFUSE): _S.REFUSED,
}
"""Every legal step and where it leads; one that is not here raises."""


def _parse_opening(buffer: bytes) -> tuple[Greeting, int] | None:
    """Read how a connection begins where SOCKS4 is off, and tell such a client so."""
    if buffer[0] == SOCKS4_VERSION:
        raise SOCKS4Off(buffer[:1])
    return parse_greeting(buffer)


def _parse_opening_of_either(buffer: bytes) -> tuple[Greeting | Request4, int] | None:
    """Read how a connection begins where SOCKS4 is on."""
    return parse_request4(buffer) if buffer[0] == SOCKS4_VERSION else parse_greeting(buffer)


def _readers(socks4: bool, strict: bool) -> dict[ServerState, Reader[ServerEvent]]:
    """Say which message the client has to send in which state; in other states it has to wait."""
    return {
        _S.EXPECT_GREETING: _parse_opening_of_either if socks4 else _parse_opening,
        _S.EXPECT_CREDENTIALS: parse_username_password,
        _S.EXPECT_TOKEN: partial(parse_frame, kind=MTYP.AUTHENTICATION),
        _S.EXPECT_PROTECTION_LEVEL: partial(parse_frame, kind=MTYP.PROTECTION_LEVEL),
        _S.EXPECT_REQUEST: parse_request_strictly if strict else parse_request,
    }


# Made once: a negotiation is too short to make its own.
_READERS: Final = {
    (socks4, strict): _readers(socks4, strict)
    for socks4 in (False, True)
    for strict in (False, True)
}

_STEPS: Final[dict[type, ServerStep]] = {
    Greeting: _T.GREETING,
    Request4: _T.REQUEST4,
    UsernamePassword: _T.CREDENTIALS,
    Abort: _T.ABORT,
    Request: _T.REQUEST,
}
_SELECTIONS: Final[dict[int, ServerStep]] = {
    Method.NO_AUTHENTICATION: _T.SELECT_NO_AUTHENTICATION,
    Method.USERNAME_PASSWORD: _T.SELECT_USERNAME_PASSWORD,
    Method.GSSAPI: _T.SELECT_GSSAPI,
    Method.NO_ACCEPTABLE_METHODS: _T.SELECT_NONE,
}
# A member is looked up by name each time it is written with its class; these stand where it
# counts, on the way of every connection.
_EXPECT_GREETING: Final = ServerState.EXPECT_GREETING
_MUST_REPLY: Final = ServerState.MUST_REPLY
_SELECT_OTHER: Final = ServerStep.SELECT_OTHER
_GRANT: Final = ServerStep.GRANT
_SUCCEEDED: Final = int(Reply.SUCCEEDED)
_BIND: Final = int(Command.BIND)
_NO_ACCEPTABLE_METHODS: Final = int(Method.NO_ACCEPTABLE_METHODS)


class ServerNegotiation(Negotiation[ServerState, ServerStep, ServerEvent]):
    """
    One client's negotiation, from its greeting to the last reply.

    L{Negotiation} says what happens out of turn and what is held.  In figures: once
    L{next_event} has given L{None} in an C{EXPECT_…} state, at most 256 octets of a greeting,
    512 of credentials, 261 of a request (519 of SOCKS4's) or 65,538 of a token are left.

    The C{answer} of a C{ProtocolError} is what can still be sent to the client.

    @ivar state: whose turn it is, a L{ServerState}.
    @ivar version: the version that is spoken: 5, or 4 once a SOCKS4 request has come.
    """

    __slots__ = ("_command", "_offered", "version")

    _transitions = TRANSITIONS
    _refused = _S.REFUSED
    _failed = _S.FAILED
    _have_rest = frozenset((_S.DONE, _S.MUST_REPLY_AGAIN, _S.MUST_SUBNEGOTIATE))
    _finished = (_T.NOT_SUBNEGOTIATED, _T.SUBNEGOTIATED)

    def __init__(self, *, socks4: bool = False, strict: bool = False) -> None:
        """
        @param socks4: whether SOCKS4 and 4a are served as well.
        @param strict: whether a request is refused whose RSV is not 0.
        """
        super().__init__(_EXPECT_GREETING, _READERS[socks4, strict])
        self.version = SOCKS_VERSION
        self._offered = b""
        self._command = 0

    def _hear(self, event: ServerEvent) -> ServerStep:
        if isinstance(event, Greeting):
            self._offered = event.methods
        elif isinstance(event, (Request, Request4)):
            self._command = event.command
            self.version = event.version
        elif isinstance(event, Token):
            if event.kind is MTYP.PROTECTION_LEVEL:
                return _T.PROTECTION_LEVEL
            self._count_round()
            return _T.TOKEN
        return _STEPS[type(event)]

    def select_method(self, method: int) -> bytes:
        """
        Answer the greeting (RFC 1928, section 3).

        What follows depends on it: the request for C{NO_AUTHENTICATION}, credentials for
        C{USERNAME_PASSWORD}, tokens for C{GSSAPI}.  After any other method its sub-negotiation
        is the caller's, until L{finish_subnegotiation}.

        @param method: one that the client has offered, or C{Method.NO_ACCEPTABLE_METHODS},
            which refuses it.
        @raise LocalProtocolError: the client has not offered it.
        """
        state = self._after(_SELECTIONS.get(method, _SELECT_OTHER))
        octets = pack_method_selection(method)
        if method != _NO_ACCEPTABLE_METHODS and method not in self._offered:
            raise LocalProtocolError(f"the client has not offered {describe_method(method)}")
        self._enter(state)
        return octets

    def answer_credentials(self, success: bool) -> bytes:
        """Answer username and password (RFC 1929, section 2); a failure refuses the client."""
        state = self._after(_T.ACCEPT_CREDENTIALS if success else _T.REFUSE_CREDENTIALS)
        self._enter(state)
        return pack_status(success)

    def send_token(self, data: bytes, *, established: bool = False) -> bytes:
        """
        Answer a token of the client's with one of ours (RFC 1961, section 3.7).

        @param data: the token; empty if the context stands and there is none.
        @param established: whether our context stands, so that the protection level is next.
        @raise LocalProtocolError: C{data} is longer than 65,535 octets.
        """
        state = self._after(_T.SEND_LAST_TOKEN if established else _T.SEND_TOKEN)
        octets = pack_token(MTYP.AUTHENTICATION, data)
        self._enter(state)
        return octets

    def send_protection_level(self, data: bytes, level: int) -> bytes:
        """
        Grant a protection level (RFC 1961, section 4.2).

        Unless nothing is to be protected, call L{finish_subnegotiation} next: what it gives are
        the first encapsulated octets; unwrapped, they and all that follow go to L{receive}.
        The octets of every later command are to be wrapped.

        @param data: the level's octet, wrapped (or bare, for a client that speaks NEC's way).
        @param level: the same level, readable.
        @raise LocalProtocolError: C{data} is longer than 65,535 octets.
        """
        none = level == ProtectionLevel.NONE
        state = self._after(_T.SEND_NO_PROTECTION if none else _T.SEND_PROTECTION_LEVEL)
        octets = pack_token(MTYP.PROTECTION_LEVEL, data)
        self._enter(state)
        return octets

    def abort(self) -> bytes:
        """Answer a token, or what protection level was asked for, with an abort: a refusal."""
        self._enter(self._after(_T.SEND_ABORT))
        return pack_abort()

    def reply(self, reply: int, bound: Address = UNSPECIFIED) -> bytes:
        """
        Answer the request, in the version that it came in (RFC 1928, section 6).

        The first success of a C{BIND} asks for a second reply; any other is the last word of
        the negotiation, and a failure refuses the client.

        @param reply: REP.  For a SOCKS4 client it is translated; a C{Reply4} stays as it is.
        @param bound: BND.ADDR and BND.PORT.
        @raise LocalProtocolError: the wire cannot carry C{reply} or C{bound}.
        """
        if self.version == SOCKS4_VERSION:
            reply4 = reply4_for(reply)
            state = self._after(self._reply_step(reply4 is Reply4.GRANTED))
            octets = pack_reply4(reply4, bound)
        else:
            state = self._after(self._reply_step(reply == _SUCCEEDED))
            octets = pack_reply(reply, bound)
        self._enter(state)
        return octets

    def _reply_step(self, success: bool) -> ServerStep:
        if not success:
            return _T.REFUSE
        if self._command == _BIND and self.state is _MUST_REPLY:
            return _T.GRANT_FIRST
        return _GRANT
