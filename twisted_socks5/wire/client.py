"""
The client's half of a negotiation, the mirror of L{twisted_socks5.wire.server}.

Commands come first here and give the octets to send; what the server answers goes in and comes
out as events::

    greet(…)  authenticate(…)  send_token(…)  request(…)
    receive(data)       octets from the server
    next_event()        MethodSelection, CredentialsStatus, Token, Abort, ReplyMessage

A server is not trusted: a method that was not offered, a version that is not its own, an answer
without end are each an error of its own.  An answer that merely refuses is one as well where
nothing but closing can follow (L{NoAcceptableMethod}, L{AuthenticationFailed}); a reply that
refuses is an event, since its REP is the caller's to judge.

What to offer, whom to be and where to go are the caller's; a name goes to the server as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from functools import partial
from typing import Final

from .address import Address
from .constants import (
    MTYP,
    SOCKS4_VERSION,
    SOCKS_VERSION,
    Command,
    Method,
    ProtectionLevel,
)
from .errors import (
    AuthenticationFailed,
    LocalProtocolError,
    MethodNotOffered,
    NoAcceptableMethod,
    ProtocolError,
)
from .gssapi import Abort, Token, pack_abort, pack_token, parse_frame
from .messages import (
    MethodSelection,
    ReplyMessage,
    pack_greeting,
    pack_request,
    parse_method_selection,
    parse_reply,
)
from .negotiation import Negotiation, Reader
from .socks4 import Reply4Message, pack_request4, parse_reply4
from .userpass import (
    CredentialsStatus,
    UsernamePassword,
    pack_username_password,
    parse_status,
)

ClientEvent = MethodSelection | CredentialsStatus | Token | Abort | ReplyMessage | Reply4Message
"""What L{ClientNegotiation.next_event} gives."""


class ClientState(Enum):
    """Whose turn it is, and for what."""

    __hash__ = object.__hash__  # as in ServerState

    MUST_GREET = "we greet"
    EXPECT_METHOD_SELECTION = "the server selects a method"
    MUST_SEND_CREDENTIALS = "we say who we are"
    EXPECT_CREDENTIALS_STATUS = "the server accepts or refuses the credentials"
    MUST_SEND_TOKEN = "we send a token of our security context, or ask for a protection level"
    EXPECT_TOKEN = "the server answers the token"
    EXPECT_PROTECTION_LEVEL = "the server grants a protection level"
    MUST_ACCEPT_PROTECTION_LEVEL = "we accept the protection level or give up"
    MUST_SUBNEGOTIATE = "the caller does what this room can't, and says when it's done"
    MUST_REQUEST = "we request"
    EXPECT_REPLY = "the server replies"
    EXPECT_SECOND_REPLY = "the server replies to a BIND for the second time"
    DONE = "granted: what follows is payload"
    REFUSED = "refused: nothing more is read"
    FAILED = "the server broke the protocol"


class ClientStep(Enum):
    """A command of ours or an event of the server's: what leads from state to state."""

    __hash__ = object.__hash__  # as in ServerState

    GREET = "greet()"
    AUTHENTICATE = "authenticate()"
    SEND_TOKEN = "send_token()"
    SEND_PROTECTION_LEVEL = "send_protection_level()"
    ACCEPT_PROTECTION = "accept_protection_level()"
    ACCEPT_NO_PROTECTION = "accept_protection_level(NONE)"
    SEND_ABORT = "abort()"
    SUBNEGOTIATED = "finish_subnegotiation(True)"
    NOT_SUBNEGOTIATED = "finish_subnegotiation(False)"
    REQUEST = "request()"

    NO_AUTHENTICATION = "MethodSelection(NO_AUTHENTICATION)"
    USERNAME_PASSWORD = "MethodSelection(USERNAME_PASSWORD)"
    GSSAPI = "MethodSelection(GSSAPI)"
    OTHER = "MethodSelection(another)"
    STATUS = "CredentialsStatus(0)"
    TOKEN = "Token(AUTHENTICATION)"
    PROTECTION_LEVEL = "Token(PROTECTION_LEVEL)"
    ABORT = "Abort"
    GRANTED = "ReplyMessage(SUCCEEDED)"
    GRANTED_FIRST = "ReplyMessage(SUCCEEDED), to BIND"
    REFUSED = "ReplyMessage(a failure)"


_S = ClientState
_T = ClientStep

TRANSITIONS: Final[dict[tuple[ClientState, ClientStep], ClientState]] = {
    (_S.MUST_GREET, _T.GREET): _S.EXPECT_METHOD_SELECTION,
    (_S.EXPECT_METHOD_SELECTION, _T.NO_AUTHENTICATION): _S.MUST_REQUEST,
    (_S.EXPECT_METHOD_SELECTION, _T.USERNAME_PASSWORD): _S.MUST_SEND_CREDENTIALS,
    (_S.EXPECT_METHOD_SELECTION, _T.GSSAPI): _S.MUST_SEND_TOKEN,
    (_S.EXPECT_METHOD_SELECTION, _T.OTHER): _S.MUST_SUBNEGOTIATE,
    (_S.MUST_SEND_CREDENTIALS, _T.AUTHENTICATE): _S.EXPECT_CREDENTIALS_STATUS,
    (_S.EXPECT_CREDENTIALS_STATUS, _T.STATUS): _S.MUST_REQUEST,
    (_S.MUST_SEND_TOKEN, _T.SEND_TOKEN): _S.EXPECT_TOKEN,
    (_S.MUST_SEND_TOKEN, _T.SEND_PROTECTION_LEVEL): _S.EXPECT_PROTECTION_LEVEL,
    (_S.MUST_SEND_TOKEN, _T.SEND_ABORT): _S.REFUSED,
    (_S.EXPECT_TOKEN, _T.TOKEN): _S.MUST_SEND_TOKEN,
    (_S.EXPECT_TOKEN, _T.ABORT): _S.REFUSED,
    (_S.EXPECT_PROTECTION_LEVEL, _T.PROTECTION_LEVEL): _S.MUST_ACCEPT_PROTECTION_LEVEL,
    (_S.EXPECT_PROTECTION_LEVEL, _T.ABORT): _S.REFUSED,
    (_S.MUST_ACCEPT_PROTECTION_LEVEL, _T.ACCEPT_PROTECTION): _S.MUST_SUBNEGOTIATE,
    (_S.MUST_ACCEPT_PROTECTION_LEVEL, _T.ACCEPT_NO_PROTECTION): _S.MUST_REQUEST,
    (_S.MUST_ACCEPT_PROTECTION_LEVEL, _T.SEND_ABORT): _S.REFUSED,
    (_S.MUST_SUBNEGOTIATE, _T.SUBNEGOTIATED): _S.MUST_REQUEST,
    (_S.MUST_SUBNEGOTIATE, _T.NOT_SUBNEGOTIATED): _S.REFUSED,
    (_S.MUST_REQUEST, _T.REQUEST): _S.EXPECT_REPLY,
    (_S.EXPECT_REPLY, _T.GRANTED): _S.DONE,
    (_S.EXPECT_REPLY, _T.GRANTED_FIRST): _S.EXPECT_SECOND_REPLY,
    (_S.EXPECT_REPLY, _T.REFUSED): _S.REFUSED,
    (_S.EXPECT_SECOND_REPLY, _T.GRANTED): _S.DONE,
    (_S.EXPECT_SECOND_REPLY, _T.REFUSED): _S.REFUSED,
}
"""Every legal step and where it leads; one that is not here raises."""


def _readers(
    parse: Callable[[bytes], tuple[ClientEvent, int] | None],
) -> dict[ClientState, Reader[ClientEvent]]:
    """Say which message the server has to send in which state; C{parse} reads its replies."""
    return {
        _S.EXPECT_METHOD_SELECTION: parse_method_selection,
        _S.EXPECT_CREDENTIALS_STATUS: parse_status,
        _S.EXPECT_TOKEN: partial(parse_frame, kind=MTYP.AUTHENTICATION),
        _S.EXPECT_PROTECTION_LEVEL: partial(parse_frame, kind=MTYP.PROTECTION_LEVEL),
        _S.EXPECT_REPLY: parse,
        _S.EXPECT_SECOND_REPLY: parse,
    }


_READERS: Final = {SOCKS_VERSION: _readers(parse_reply), SOCKS4_VERSION: _readers(parse_reply4)}

_SELECTED: Final[dict[int, ClientStep]] = {
    Method.NO_AUTHENTICATION: _T.NO_AUTHENTICATION,
    Method.USERNAME_PASSWORD: _T.USERNAME_PASSWORD,
    Method.GSSAPI: _T.GSSAPI,
}


class ClientNegotiation(Negotiation[ClientState, ClientStep, ClientEvent]):
    """
    A negotiation with one server, from our greeting to its last reply.

    L{Negotiation} says what happens out of turn and what is held.  A C{ProtocolError} has
    nothing to answer with here: a client closes.

    SOCKS4 and 4a have no greeting: with version 4 it begins with the request, and the replies
    are C{Reply4Message}, which has the attributes of C{ReplyMessage}.

    @ivar state: whose turn it is, a L{ClientState}.
    @ivar version: the version that is spoken, 5 or 4.
    """

    __slots__ = ("_command", "_offered", "version")

    _transitions = TRANSITIONS
    _refused = _S.REFUSED
    _failed = _S.FAILED
    _have_rest = frozenset((_S.DONE, _S.MUST_SUBNEGOTIATE))
    _finished = (_T.NOT_SUBNEGOTIATED, _T.SUBNEGOTIATED)

    def __init__(self, *, version: int = SOCKS_VERSION) -> None:
        """
        @param version: what to speak, 5 or 4.
        @raise LocalProtocolError: it is neither.
        """
        if version not in _READERS:
            raise LocalProtocolError(f"there is no SOCKS{version}")
        begin = _S.MUST_GREET if version == SOCKS_VERSION else _S.MUST_REQUEST
        super().__init__(begin, _READERS[version])
        self.version = version
        self._offered = b""
        self._command = 0

    def greet(self, methods: Sequence[int]) -> bytes:
        """
        Begin, by saying what we can (RFC 1928, section 3).

        @param methods: METHODs, 1 to 255; the server chooses.  After one that is not
            C{NO_AUTHENTICATION}, C{USERNAME_PASSWORD} or C{GSSAPI} the sub-negotiation is the
            caller's, until L{finish_subnegotiation}.
        @raise LocalProtocolError: the methods are too few or too many, or none.
        """
        state = self._after(_T.GREET)
        octets = pack_greeting(methods)
        self._offered = bytes(methods)
        self._enter(state)
        return octets

    def authenticate(self, credentials: UsernamePassword) -> bytes:
        """
        Say who we are (RFC 1929, section 2), after C{MethodSelection(USERNAME_PASSWORD)}.

        @raise LocalProtocolError: the username or the password is not 1 to 255 octets long.
        """
        state = self._after(_T.AUTHENTICATE)
        octets = pack_username_password(credentials)
        self._enter(state)
        return octets

    def send_token(self, data: bytes) -> bytes:
        """
        Send a token of our security context (RFC 1961, section 3.4).

        The server answers each one, if only with an empty token.

        @raise LocalProtocolError: C{data} is longer than 65,535 octets.
        """
        state = self._after(_T.SEND_TOKEN)
        octets = pack_token(MTYP.AUTHENTICATION, data)
        self._enter(state)
        return octets

    def send_protection_level(self, data: bytes) -> bytes:
        """
        Ask for a protection level, once the context stands (RFC 1961, section 4.2).

        @param data: the level's octet, wrapped (or bare, for a server that speaks NEC's way).
        @raise LocalProtocolError: C{data} is longer than 65,535 octets.
        """
        state = self._after(_T.SEND_PROTECTION_LEVEL)
        octets = pack_token(MTYP.PROTECTION_LEVEL, data)
        self._enter(state)
        return octets

    def accept_protection_level(self, level: int) -> None:
        """
        Go on with the level that the server has granted (RFC 1961, section 4.2).

        Unless nothing is protected, call L{finish_subnegotiation} next: what it gives, and all
        that follows, goes to L{receive} unwrapped; the octets of our request are to be wrapped.
        """
        none = level == ProtectionLevel.NONE
        self._enter(self._after(_T.ACCEPT_NO_PROTECTION if none else _T.ACCEPT_PROTECTION))

    def abort(self) -> bytes:
        """Give up the security context in place of our next token; then close."""
        self._enter(self._after(_T.SEND_ABORT))
        return pack_abort()

    def request(self, command: int, destination: Address, user_id: bytes = b"") -> bytes:
        """
        Say what we want (RFC 1928, section 4).

        @param command: CMD; two replies answer a C{BIND}.
        @param destination: DST.ADDR and DST.PORT; a name is sent as it is.
        @param user_id: SOCKS4's USERID; SOCKS5 has none.
        @raise LocalProtocolError: the wire cannot carry it: a name of more than 255 octets
            above all.  Nothing is cut off, and nothing resolved.
        """
        state = self._after(_T.REQUEST)
        if self.version == SOCKS4_VERSION:
            octets = pack_request4(command, destination, user_id)
        elif user_id:
            raise LocalProtocolError("SOCKS5 has no user id in its request")
        else:
            octets = pack_request(command, destination)
        self._command = command
        self._enter(state)
        return octets

    def _hear(self, event: ClientEvent) -> ClientStep:
        if isinstance(event, (ReplyMessage, Reply4Message)):
            if not event.succeeded:
                return _T.REFUSED
            first = self._command == Command.BIND and self.state is _S.EXPECT_REPLY
            return _T.GRANTED_FIRST if first else _T.GRANTED
        if isinstance(event, MethodSelection):
            return self._selected(event.method)
        if isinstance(event, CredentialsStatus):
            if not event.succeeded:
                raise AuthenticationFailed(event.status)
            return _T.STATUS
        if isinstance(event, Abort):
            return _T.ABORT
        if event.kind is MTYP.PROTECTION_LEVEL:
            return _T.PROTECTION_LEVEL
        self._count_round()
        return _T.TOKEN

    def _selected(self, method: int) -> ClientStep:
        if method == Method.NO_ACCEPTABLE_METHODS:
            raise NoAcceptableMethod(self._offered)
        if method not in self._offered:
            raise MethodNotOffered(method)
        return _SELECTED.get(method, _T.OTHER)

    def _fail(self, error: ProtocolError) -> ProtocolError:
        # Whatever a server would answer is nothing that a client says.
        error.reply = None
        error.answer = b""
        return super()._fail(error)
