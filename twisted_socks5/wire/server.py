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

from collections.abc import Callable
from enum import Enum
from functools import partial
from typing import Final, Union

from .address import UNSPECIFIED, Address
from .constants import (
    MAX_BUFFERED,
    MAX_TOKEN_ROUNDS,
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
from .errors import LocalProtocolError, MalformedFrame, ProtocolError, SOCKS4Off, TooManyOctets
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
from .socks4 import Request4, pack_reply4, parse_request4, reply4_for
from .userpass import UsernamePassword, pack_status, parse_username_password

ServerEvent = Union[Greeting, UsernamePassword, Token, Abort, Request, Request4]
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


_Reader = Callable[[bytes], Union[tuple[ServerEvent, int], None]]


def _readers(socks4: bool, strict: bool) -> dict[ServerState, _Reader]:
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
_TOKEN_STEPS: Final = {
    MTYP.AUTHENTICATION: _T.TOKEN,
    MTYP.PROTECTION_LEVEL: _T.PROTECTION_LEVEL,
}
_SELECTIONS: Final[dict[int, ServerStep]] = {
    Method.NO_AUTHENTICATION: _T.SELECT_NO_AUTHENTICATION,
    Method.USERNAME_PASSWORD: _T.SELECT_USERNAME_PASSWORD,
    Method.GSSAPI: _T.SELECT_GSSAPI,
    Method.NO_ACCEPTABLE_METHODS: _T.SELECT_NONE,
}
_HAVE_REST: Final = frozenset((_S.DONE, _S.MUST_REPLY_AGAIN, _S.MUST_SUBNEGOTIATE))

# A member is looked up by name each time it is written with its class; these stand where it
# counts, on the way of every connection.
_EXPECT_GREETING: Final = ServerState.EXPECT_GREETING
_MUST_REPLY: Final = ServerState.MUST_REPLY
_REFUSED: Final = ServerState.REFUSED
_SELECT_OTHER: Final = ServerStep.SELECT_OTHER
_GRANT: Final = ServerStep.GRANT
_SUCCEEDED: Final = int(Reply.SUCCEEDED)
_BIND: Final = int(Command.BIND)
_NO_ACCEPTABLE_METHODS: Final = int(Method.NO_ACCEPTABLE_METHODS)


class ServerNegotiation:
    """
    One client's negotiation, from its greeting to the last reply.

    A command that has no turn, or a value that the wire cannot carry, raises
    L{LocalProtocolError} and changes nothing.  A mistake of the client's raises L{ProtocolError}
    from L{next_event} (or from L{receive}, for too many octets), and again from every later
    call; its C{answer} is what can still be sent.

    What it holds is bounded.  Once L{next_event} has given L{None} in an C{EXPECT_…} state, less
    than one message is left: up to 256 octets of a greeting, 512 of credentials, 261 of a
    request, C{MAX_FRAME} of a token.  In a C{MUST_…} state what arrives is kept for later: stop
    reading from the client then.  A client that pipelines will have sent one read's worth by
    that time; C{MAX_BUFFERED} octets in all are an error.

    @ivar state: whose turn it is.
    @ivar version: the version that is spoken: 5, or 4 once a SOCKS4 request has come.
    """

    __slots__ = (
        "_buffer",
        "_command",
        "_error",
        "_offered",
        "_readers",
        "_rounds",
        "state",
        "version",
    )

    def __init__(self, *, socks4: bool = False, strict: bool = False) -> None:
        """
        @param socks4: whether SOCKS4 and 4a are served as well.
        @param strict: whether a request is refused whose RSV is not 0.
        """
        self.state = _EXPECT_GREETING
        self.version = SOCKS_VERSION
        self._readers = _READERS[socks4, strict]
        self._buffer = b""
        self._offered = b""
        self._command = 0
        self._rounds = 0
        self._error: ProtocolError | None = None

    # From the client.

    def receive(self, data: bytes) -> None:
        """
        Take octets from the client, in whatever pieces; L{next_event} says what they mean.

        After a refusal they are dropped.

        @raise ProtocolError: the negotiation has failed, or fails now because more than
            C{MAX_BUFFERED} octets would be waiting.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        if self.state is _REFUSED:
            return
        size = len(self._buffer) + len(data)
        if size > MAX_BUFFERED:
            raise self._fail(TooManyOctets(size))
        self._buffer += data

    def next_event(self) -> ServerEvent | None:
        """
        Read the client's next message, if it is the client's turn.

        @return: what the client said, or L{None}: its message is not complete, or it is our
            turn; L{state} tells which.
        @raise ProtocolError: the client broke the protocol; final.
        """
        reader = self._readers.get(self.state)
        if reader is None:
            if self._error is not None:
                raise self._error.with_traceback(None)
            return None
        buffer = self._buffer
        if not buffer:
            return None
        try:
            parsed = reader(buffer)
        except ProtocolError as error:
            raise self._fail(error) from None
        if parsed is None:
            return None
        event, end = parsed
        self._buffer = buffer[end:]
        if isinstance(event, Token):
            self._count_round(event)
            step = _TOKEN_STEPS[event.kind]
        else:
            step = _STEPS[type(event)]
            if isinstance(event, Greeting):
                self._offered = event.methods
            elif isinstance(event, (Request, Request4)):
                self._command = event.command
                self.version = event.version
        self.state = state = TRANSITIONS[self.state, step]
        if state is _REFUSED:
            self._buffer = b""
        return event

    def take_rest(self) -> bytes:
        """
        Take what the client has sent behind its last message, and hold nothing back.

        In C{DONE} and C{MUST_REPLY_AGAIN} that is payload that came early.  In
        C{MUST_SUBNEGOTIATE} it belongs to the sub-negotiation that the caller speaks itself.

        @raise LocalProtocolError: in any other state.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        if self.state not in _HAVE_REST:
            raise LocalProtocolError(f"take_rest() while {self.state.name}")
        rest, self._buffer = self._buffer, b""
        return rest

    # To the client.

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

    def finish_subnegotiation(self, success: bool = True) -> bytes:
        """
        Go on to the request, or give up, after what the caller did itself.

        Nothing that arrived before is read as a request: octets from inside a sub-negotiation,
        or not yet unwrapped, must not pass for what they are not.

        @param success: whether the client is who it says, and the request may come.
        @return: the octets received since the last L{take_rest}, which belong to the caller.
        """
        state = self._after(_T.SUBNEGOTIATED if success else _T.NOT_SUBNEGOTIATED)
        rest, self._buffer = self._buffer, b""
        self._enter(state)
        return rest

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

    # Between the two.

    def _reply_step(self, success: bool) -> ServerStep:
        if not success:
            return _T.REFUSE
        if self._command == _BIND and self.state is _MUST_REPLY:
            return _T.GRANT_FIRST
        return _GRANT

    def _after(self, step: ServerStep) -> ServerState:
        """Look up where a command of ours leads, before anything is done about it."""
        state = TRANSITIONS.get((self.state, step))
        if state is not None:
            return state
        if self._error is not None:
            raise self._error.with_traceback(None)
        raise LocalProtocolError(f"{step.value} while {self.state.name}")

    def _enter(self, state: ServerState) -> None:
        self.state = state
        if state is _REFUSED:
            self._buffer = b""

    def _count_round(self, token: Token) -> None:
        """@raise MalformedFrame: the client goes on and on."""
        self._rounds += token.kind is MTYP.AUTHENTICATION
        if self._rounds > MAX_TOKEN_ROUNDS:
            raise self._fail(MalformedFrame(f"more than {MAX_TOKEN_ROUNDS} tokens"))

    def _fail(self, error: ProtocolError) -> ProtocolError:
        self._error = error
        self._buffer = b""
        self.state = ServerState.FAILED
        return error
