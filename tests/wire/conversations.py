"""
Whole negotiations as both sides live through them, octet for octet as the RFCs write them.

Each line of a conversation is what one side says: the octets, written by hand, what makes the
speaker say them, and what the listener then hears.  All transitions of both tables are in here;
a test sees to it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from twisted_socks5.wire import (
    MTYP,
    Abort,
    Address,
    AuthenticationFailed,
    Command,
    CredentialsStatus,
    Greeting,
    Method,
    MethodSelection,
    NoAcceptableMethod,
    ProtocolError,
    Reply,
    Reply4Message,
    ReplyMessage,
    Request,
    Request4,
    Token,
    UsernamePassword,
)


@dataclass(frozen=True)
class Do:
    """
    A command.

    @ivar name: the method's name.
    @ivar arguments: what it is called with.
    @ivar keywords: what it is called with by name.
    """

    name: str
    arguments: Sequence[Any] = ()
    keywords: Mapping[str, Any] = field(default_factory=dict)


Heard = object
"""An event, or the kind of L{ProtocolError} that is raised in its place."""


@dataclass(frozen=True)
class Line:
    """
    Something one side says.

    @ivar by_client: who says it.
    @ivar octets: how it looks on the wire.
    @ivar do: the speaker's command.
    @ivar heard: what the listener makes of it.
    """

    by_client: bool
    octets: bytes
    do: Do
    heard: Heard | type[ProtocolError]


@dataclass(frozen=True)
class Aside:
    """
    Something one side does that the other doesn't hear of.

    @ivar by_client: who does it.
    @ivar do: the command; octets that it gives are given back to L{receive}, as if unwrapped.
    """

    by_client: bool
    do: Do


@dataclass(frozen=True)
class Conversation:
    """
    A negotiation from its beginning to its end.

    @ivar name: what it shows.
    @ivar client_ends: the client's last state.
    @ivar server_ends: the server's last state.
    @ivar lines: what is said and done, in order.
    @ivar version: what the client speaks.
    """

    name: str
    client_ends: str
    server_ends: str
    lines: Sequence[Line | Aside]
    version: int = 5


def client_says(octets: str, do: Do, heard: Heard) -> Line:
    """Make a line of the client's; C{octets} are hexadecimal digits."""
    return Line(True, bytes.fromhex(octets), do, heard)


def server_says(octets: str, do: Do, heard: Heard) -> Line:
    """Make a line of the server's; C{octets} are hexadecimal digits."""
    return Line(False, bytes.fromhex(octets), do, heard)


def greets(*methods: int) -> Line:
    """The client offers its methods."""
    octets = bytes((5, len(methods), *methods))
    return Line(True, octets, Do("greet", (methods,)), Greeting(bytes(methods)))


def selects(method: int) -> Line:
    """The server takes one of them."""
    heard = NoAcceptableMethod if method == 0xFF else MethodSelection(method)
    return Line(False, bytes((5, method)), Do("select_method", (method,)), heard)


HTTP = Address(IPv4Address("192.0.2.7"), 80)
NAME = Address(b"ftp.example", 21)
LISTENER = Address(IPv6Address("2001:db8::1"), 4660)
ALICE = UsernamePassword(b"alice", b"wonderland")

requests_connect = client_says(
    "05 01 00 01 C0000207 0050", Do("request", (Command.CONNECT, HTTP)), Request(1, HTTP)
)
requests_bind = client_says(
    "05 02 00 03 0B 6674702E6578616D706C65 0015",
    Do("request", (Command.BIND, NAME)),
    Request(2, NAME),
)
grants = server_says(
    "05 00 00 01 C0000207 0050",
    Do("reply", (Reply.SUCCEEDED, HTTP)),
    ReplyMessage(0, HTTP),
)
grants_ipv6 = server_says(
    "05 00 00 04 20010DB8000000000000000000000001 1234",
    Do("reply", (Reply.SUCCEEDED, LISTENER)),
    ReplyMessage(0, LISTENER),
)
refuses = server_says(
    "05 04 00 01 00000000 0000",
    Do("reply", (Reply.HOST_UNREACHABLE,)),
    ReplyMessage(4, Address(IPv4Address(0), 0)),
)
gives_password = client_says(
    "01 05 616C696365 0A 776F6E6465726C616E64", Do("authenticate", (ALICE,)), ALICE
)

client_token = client_says(
    "01 01 0003 616263", Do("send_token", (b"abc",)), Token(MTYP.AUTHENTICATION, b"abc")
)
server_token = server_says(
    "01 01 0002 7879", Do("send_token", (b"xy",)), Token(MTYP.AUTHENTICATION, b"xy")
)
server_last_token = server_says(
    "01 01 0000",
    Do("send_token", (b"",), {"established": True}),
    Token(MTYP.AUTHENTICATION, b""),
)
client_level = client_says(
    "01 02 0002 7701",
    Do("send_protection_level", (b"w\x01",)),
    Token(MTYP.PROTECTION_LEVEL, b"w\x01"),
)
server_level = server_says(
    "01 02 0002 7701",
    Do("send_protection_level", (b"w\x01", 1)),
    Token(MTYP.PROTECTION_LEVEL, b"w\x01"),
)
server_no_level = server_says(
    "01 02 0002 7700",
    Do("send_protection_level", (b"w\x00", 0)),
    Token(MTYP.PROTECTION_LEVEL, b"w\x00"),
)
client_aborts = client_says("01 FF", Do("abort"), Abort())
server_aborts = server_says("01 FF", Do("abort"), Abort())
both_finish = (Aside(False, Do("finish_subnegotiation")), Aside(True, Do("finish_subnegotiation")))
context = (
    greets(Method.GSSAPI),
    selects(Method.GSSAPI),
    client_token,
    server_token,
    client_token,
    server_last_token,
)

open_door = (greets(Method.NO_AUTHENTICATION), selects(Method.NO_AUTHENTICATION))

CONVERSATIONS = (
    Conversation("CONNECT", "DONE", "DONE", (*open_door, requests_connect, grants)),
    Conversation("a refusal", "REFUSED", "REFUSED", (*open_door, requests_connect, refuses)),
    Conversation(
        "no acceptable method", "FAILED", "REFUSED", (greets(Method.CHAP), selects(0xFF))
    ),
    Conversation(
        "username and password",
        "DONE",
        "DONE",
        (
            greets(Method.GSSAPI, Method.USERNAME_PASSWORD),
            selects(Method.USERNAME_PASSWORD),
            gives_password,
            server_says("01 00", Do("answer_credentials", (True,)), CredentialsStatus(0)),
            requests_connect,
            grants,
        ),
    ),
    Conversation(
        "a wrong password",
        "FAILED",
        "REFUSED",
        (
            greets(Method.USERNAME_PASSWORD),
            selects(Method.USERNAME_PASSWORD),
            gives_password,
            server_says("01 01", Do("answer_credentials", (False,)), AuthenticationFailed),
        ),
    ),
    Conversation("BIND", "DONE", "DONE", (*open_door, requests_bind, grants_ipv6, grants)),
    Conversation(
        "BIND without a peer",
        "REFUSED",
        "REFUSED",
        (*open_door, requests_bind, grants_ipv6, refuses),
    ),
    Conversation("BIND refused", "REFUSED", "REFUSED", (*open_door, requests_bind, refuses)),
    Conversation(
        "GSSAPI, protected",
        "DONE",
        "DONE",
        (*context, client_level, server_level,
         Aside(True, Do("accept_protection_level", (1,))), *both_finish,
         requests_connect, grants),
    ),
    Conversation(
        "GSSAPI, plain",
        "DONE",
        "DONE",
        (*context, client_level, server_no_level,
         Aside(True, Do("accept_protection_level", (0,))),
         requests_connect, grants),
    ),
    Conversation(
        "GSSAPI, the client's token refused",
        "REFUSED",
        "REFUSED",
        (*context[:3], server_aborts),
    ),
    Conversation(
        "GSSAPI, the server's token refused",
        "REFUSED",
        "REFUSED",
        (*context[:4], client_aborts),
    ),
    Conversation(
        "GSSAPI, the established context refused",
        "REFUSED",
        "REFUSED",
        (*context, client_aborts),
    ),
    Conversation(
        "GSSAPI, the level asked for refused",
        "REFUSED",
        "REFUSED",
        (*context, client_level, server_aborts),
    ),
    Conversation(
        "GSSAPI, the level granted refused",
        "REFUSED",
        "REFUSED",
        (*context, client_level, server_level,
         Aside(True, Do("abort")), Aside(False, Do("finish_subnegotiation", (False,)))),
    ),
    Conversation(
        "a method of their own",
        "DONE",
        "DONE",
        (greets(0x80, 0), selects(0x80), *both_finish, requests_connect, grants),
    ),
    Conversation(
        "a method of their own, failed",
        "REFUSED",
        "REFUSED",
        (
            greets(0x80),
            selects(0x80),
            Aside(False, Do("finish_subnegotiation", (False,))),
            Aside(True, Do("finish_subnegotiation", (False,))),
        ),
    ),
    Conversation(
        "SOCKS4",
        "DONE",
        "DONE",
        (
            client_says(
                "04 01 0050 C0000207 6A6F6500",
                Do("request", (Command.CONNECT, HTTP, b"joe")),
                Request4(1, HTTP, b"joe"),
            ),
            server_says(
                "00 5A 0050 C0000207",
                Do("reply", (Reply.SUCCEEDED, HTTP)),
                Reply4Message(90, HTTP),
            ),
        ),
        version=4,
    ),
    Conversation(
        "SOCKS4a, BIND",
        "REFUSED",
        "REFUSED",
        (
            client_says(
                "04 02 0015 00000001 00 6674702E6578616D706C6500",
                Do("request", (Command.BIND, NAME)),
                Request4(2, NAME, b""),
            ),
            server_says(
                "00 5A 0050 C0000207",
                Do("reply", (Reply.SUCCEEDED, HTTP)),
                Reply4Message(90, HTTP),
            ),
            server_says(
                "00 5B 0000 00000000",
                Do("reply", (Reply.TTL_EXPIRED,)),
                Reply4Message(91, Address(IPv4Address(0), 0)),
            ),
        ),
        version=4,
    ),
)  # fmt: skip
