"""What holds for any octets, in any cut, with any answers."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    MTYP,
    ClientEvent,
    ClientNegotiation,
    Command,
    CredentialsStatus,
    Greeting,
    LocalProtocolError,
    Method,
    MethodSelection,
    ProtocolError,
    Reply,
    Request,
    Request4,
    ServerEvent,
    ServerNegotiation,
    Token,
    TokenReader,
    UsernamePassword,
    pack_abort,
    pack_greeting,
    pack_method_selection,
    pack_reply,
    pack_request,
    pack_request4,
    pack_status,
    pack_token,
    pack_username_password,
)

from .conversations import HTTP, NAME
from .strategies import address, damaged, pieces

KEY = 0x5A


def wrap(octets: bytes) -> bytes:
    """Stand in for GSSAPI's wrapping, which undoes itself."""
    return bytes(octet ^ KEY for octet in octets)


class Server:
    """
    The least that can stand around a L{ServerNegotiation}: it answers whatever it hears.

    @ivar heard: the events, and how it ended.
    @ivar said: the octets it has sent.
    """

    def __init__(self, socks4: bool, strict: bool) -> None:
        self.negotiation = ServerNegotiation(socks4=socks4, strict=strict)
        self.reader: TokenReader | None = None
        self.heard: list[object] = []
        self.said = b""

    def receive(self, data: bytes) -> None:
        """Take octets as they come from the client."""
        if self.reader is None:
            self.negotiation.receive(data)
            self.advance()
        else:
            self.unwrap(self.reader, data)

    def unwrap(self, reader: TokenReader, data: bytes) -> None:
        """Take the octets out of their frames."""
        reader.receive(data)
        while (frame := reader.next_frame()) is not None:
            self.negotiation.receive(wrap(frame.data) if isinstance(frame, Token) else b"")
            self.advance()

    def advance(self) -> None:
        """Answer what there is to answer."""
        while (event := self.negotiation.next_event()) is not None:
            self.heard.append(event)
            self.answer(event)

    def answer(self, event: ServerEvent) -> None:
        """Answer by rules that depend on nothing but the event."""
        negotiation = self.negotiation
        if isinstance(event, Greeting):
            preferred = [method for method in (1, 2, 0) if method in event.methods]
            self.said += negotiation.select_method(preferred[0] if preferred else 0xFF)
        elif isinstance(event, UsernamePassword):
            self.said += negotiation.answer_credentials(event.password != b"wrong")
        elif isinstance(event, (Request, Request4)):
            reply = Reply.SUCCEEDED if event.command < 4 else Reply.COMMAND_NOT_SUPPORTED
            self.said += negotiation.reply(reply)
            if event.command == Command.BIND:
                self.said += negotiation.reply(Reply.SUCCEEDED)
        elif isinstance(event, Token):
            self.answer_token(event)

    def answer_token(self, token: Token) -> None:
        """Establish a context at the first non-empty token, and protect for an odd level."""
        if token.kind is MTYP.AUTHENTICATION:
            self.said += self.negotiation.send_token(b"", established=bool(token.data))
            return
        level = sum(token.data) % 2
        self.said += self.negotiation.send_protection_level(b"", level)
        if level:
            rest = self.negotiation.finish_subnegotiation()
            self.reader = TokenReader(kind=MTYP.DATA)
            self.unwrap(self.reader, rest)


class Client:
    """The least that can stand around a L{ClientNegotiation}; see L{Server}."""

    def __init__(self, command: int) -> None:
        self.negotiation = ClientNegotiation()
        self.command = command
        self.heard: list[object] = []
        self.said = self.negotiation.greet([0, 1, 2])

    def receive(self, data: bytes) -> None:
        """Take octets as they come from the server."""
        self.negotiation.receive(data)
        while (event := self.negotiation.next_event()) is not None:
            self.heard.append(event)
            self.answer(event)

    def answer(self, event: ClientEvent) -> None:
        """Answer by rules that depend on nothing but the event."""
        negotiation = self.negotiation
        if isinstance(event, MethodSelection) and event.method == Method.USERNAME_PASSWORD:
            self.said += negotiation.authenticate(UsernamePassword(b"u", b"p"))
        elif isinstance(event, MethodSelection) and event.method == Method.GSSAPI:
            self.said += negotiation.send_token(b"t")
        elif isinstance(event, Token) and event.kind is MTYP.PROTECTION_LEVEL:
            negotiation.accept_protection_level(0)
            self.said += negotiation.request(self.command, HTTP)
        elif isinstance(event, Token):
            self.said += negotiation.send_protection_level(b"\x00")
        elif isinstance(event, (MethodSelection, CredentialsStatus)):
            self.said += negotiation.request(self.command, HTTP)


def listen(side: Server | Client, cut: list[bytes]) -> tuple[Any, ...]:
    """
    Give a side its octets, piece by piece.

    @return: all that can be seen from outside: what it heard and said, and how it ended.
    """
    end: object = None
    try:
        for piece in cut:
            side.receive(piece)
        if side.negotiation.state.name == "DONE":
            end = side.negotiation.take_rest()
    except ProtocolError as error:
        # Not its text: a hint may tell more the more octets there are.
        end = (type(error), error.reply, error.answer)
    return side.heard, side.said, side.negotiation.state, end


def joined(*parts: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Draw octets one behind the other."""
    return st.tuples(*parts).map(b"".join)


requests = st.builds(pack_request, st.integers(0, 5), address, st.sampled_from((0, 0, 0, 1)))
passwords = st.sampled_from(
    [
        pack_username_password(UsernamePassword(b"alice", password))
        for password in (b"right", b"wrong")
    ]
)
tokens = st.sampled_from(
    [
        pack_token(MTYP.AUTHENTICATION, b"") + pack_token(MTYP.AUTHENTICATION, b"t"),
        pack_token(MTYP.AUTHENTICATION, b"t"),
        pack_token(MTYP.AUTHENTICATION, b"") + pack_abort(),
    ]
)
plain_level = st.just(pack_token(MTYP.PROTECTION_LEVEL, b"\x02"))
level = st.just(pack_token(MTYP.PROTECTION_LEVEL, b"\x01"))
payload = st.binary(max_size=12)
framed = st.tuples(requests, payload, st.integers(0, 8)).map(
    lambda drawn: b"".join(
        pack_token(MTYP.DATA, wrap(part))
        for part in (drawn[0][: drawn[2]], drawn[0][drawn[2] :], drawn[1])
    )
)
requests4 = st.builds(
    pack_request4, st.integers(1, 4), st.sampled_from((HTTP, NAME)), st.just(b"joe")
)

from_clients = st.one_of(
    joined(st.just(pack_greeting([0])), requests, payload),
    joined(st.just(pack_greeting([0, 2])), passwords, requests, payload),
    joined(st.just(pack_greeting([1, 2])), tokens, plain_level, requests, payload),
    joined(st.just(pack_greeting([1])), tokens, level, framed),
    joined(st.just(pack_greeting([3])), requests),
    joined(requests4, payload),
)

statuses = st.sampled_from((pack_status(True), pack_status(False)))
replies = st.builds(pack_reply, st.sampled_from((0, 0, 5, 0xF0)), address)
from_servers = st.one_of(
    joined(st.just(pack_method_selection(0)), replies, replies, payload),
    joined(st.just(pack_method_selection(2)), statuses, replies, replies, payload),
    joined(st.just(pack_method_selection(1)), tokens, plain_level, replies, payload),
    st.sampled_from((pack_method_selection(3), pack_method_selection(0xFF))),
)

examples = settings(max_examples=250, deadline=None)


def octets_like(good: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """Draw what is right, what is nearly right, what ends early and what is nothing at all."""
    return st.one_of(good, damaged(good), damaged(damaged(good)), st.binary(max_size=40))


class CutTests(SynchronousTestCase):
    """Fragmentation changes nothing; and whatever comes, only C{ProtocolError} is raised."""

    @examples
    @given(octets_like(from_clients), st.booleans(), st.booleans(), st.data())
    def test_server(self, octets: bytes, socks4: bool, strict: bool, data: st.DataObject) -> None:
        """The server's half."""
        whole = listen(Server(socks4, strict), [octets])
        cut = data.draw(pieces(octets))
        self.assertEqual(listen(Server(socks4, strict), cut), whole)
        single = [octets[place : place + 1] for place in range(len(octets))]
        self.assertEqual(listen(Server(socks4, strict), single), whole)

    @examples
    @given(octets_like(from_servers), st.integers(1, 3), st.data())
    def test_client(self, octets: bytes, command: int, data: st.DataObject) -> None:
        """The client's half."""
        whole = listen(Client(command), [octets])
        cut = data.draw(pieces(octets))
        self.assertEqual(listen(Client(command), cut), whole)
        single = [octets[place : place + 1] for place in range(len(octets))]
        self.assertEqual(listen(Client(command), single), whole)

    @settings(max_examples=150, deadline=None)
    @given(from_clients, st.data())
    def test_truncated(self, octets: bytes, data: st.DataObject) -> None:
        """What a shorter message makes heard is the beginning of what the whole one does."""
        size = data.draw(st.integers(0, len(octets)))
        some, _said, _state, _end = listen(Server(True, False), [octets[:size]])
        all_of_it, _said, _state, _end = listen(Server(True, False), [octets])
        self.assertEqual(some, all_of_it[: len(some)])


class Gate:
    """
    A second opinion on whether a request may be heard, which knows nothing of tables.

    @ivar selected: the method that the server has taken.
    @ivar open: whether what it asks for has succeeded.
    """

    def __init__(self) -> None:
        self.selected: int | None = None
        self.open = False

    def select_method(self, method: int) -> None:
        """Method 0 asks for nothing."""
        self.selected = method
        self.open = method == Method.NO_AUTHENTICATION

    def answer_credentials(self, success: bool) -> None:
        """Method 2 asks for credentials, which count for no other."""
        self.open = success and self.selected == Method.USERNAME_PASSWORD

    def send_token(self, _data: bytes, *, established: bool = False) -> None:
        """Method 1 asks for a context, and for more."""
        self.open = False

    def send_protection_level(self, _data: bytes, level: int) -> None:
        """Without protection that is all."""
        self.open = level == 0 and self.selected == Method.GSSAPI

    def finish_subnegotiation(self, success: bool) -> None:
        """Otherwise, and for methods unknown, the caller has the last word."""
        self.open = success and self.selected not in (0, 2, 0xFF, None)

    def abort(self) -> None:
        """This shuts it."""
        self.open = False

    def reply(self, _reply: int) -> None:
        """There is one request."""
        self.open = False


commands = st.one_of(
    st.tuples(st.just("select_method"), st.tuples(st.sampled_from((0, 1, 2, 0x80, 0xFF)))),
    st.tuples(st.just("answer_credentials"), st.tuples(st.booleans())),
    st.tuples(st.just("send_token"), st.tuples(st.just(b""))),
    st.tuples(st.just("send_last_token"), st.tuples(st.just(b""))),
    st.tuples(st.just("send_protection_level"), st.tuples(st.just(b""), st.integers(0, 3))),
    st.tuples(st.just("finish_subnegotiation"), st.tuples(st.booleans())),
    st.tuples(st.just("abort"), st.just(())),
    st.tuples(st.just("reply"), st.tuples(st.integers(0, 1))),
)
spoken = st.one_of(
    st.just(pack_greeting([0, 1, 2, 0x80])),
    passwords,
    tokens,
    plain_level,
    requests,
    st.binary(max_size=4),
)
Step = bytes | tuple[str, tuple[Any, ...]]
"""What the client says, or a command of ours."""

a_greeting = pack_greeting([0, 1, 2, 0x80])
a_request = pack_request(1, HTTP)
a_password = pack_username_password(UsernamePassword(b"u", b"p"))
a_token = pack_token(MTYP.AUTHENTICATION, b"t")
a_level = pack_token(MTYP.PROTECTION_LEVEL, b"l")
WAYS: list[list[Step]] = [
    [a_greeting, ("select_method", (0,)), a_request],
    [
        a_greeting,
        ("select_method", (2,)),
        a_password,
        ("answer_credentials", (True,)),
        a_request,
    ],
    [
        a_greeting,
        ("select_method", (1,)),
        a_token,
        ("send_last_token", (b"",)),
        a_level,
        ("send_protection_level", (b"", 0)),
        a_request,
    ],
    [
        a_greeting,
        ("select_method", (1,)),
        a_token,
        ("send_last_token", (b"",)),
        a_level,
        ("send_protection_level", (b"", 2)),
        ("finish_subnegotiation", (True,)),
        a_request,
    ],
    [a_greeting, ("select_method", (0x80,)), ("finish_subnegotiation", (True,)), a_request],
]


@st.composite
def walks(draw: st.DrawFn) -> list[Step]:
    """A way that leads to a request, with steps left out, put in or in another order."""
    steps = list(draw(st.sampled_from(WAYS)))
    for place in draw(st.lists(st.integers(0, 8), max_size=2)):
        del steps[place : place + 1]
    for place in draw(st.lists(st.integers(0, 8), max_size=4)):
        steps.insert(place, draw(st.one_of(commands, spoken)))
    for place in draw(st.lists(st.integers(0, 8), max_size=1)):
        steps[place : place + 2] = reversed(steps[place : place + 2])
    return steps


class GateTests(SynchronousTestCase):
    """No octets and no answers lead to a request past the method."""

    def walk(self, steps: list[Step], socks4: bool) -> int:
        """
        Say and do anything, in any order, legal or not.

        @return: how many requests came through.
        """
        server, gate, requests = ServerNegotiation(socks4=socks4), Gate(), 0
        for step in steps:
            try:
                if isinstance(step, bytes):
                    server.receive(step)
                else:
                    self.act(server, gate, *step)
                while (event := server.next_event()) is not None:
                    if isinstance(event, Request):
                        requests += 1
                        self.assertTrue(gate.open)
                        self.assertEqual(requests, 1)
                    if isinstance(event, Request4):
                        self.assertTrue(socks4)
                        self.assertIsNone(gate.selected)
            except ProtocolError:
                break
        return requests

    def act(
        self, server: ServerNegotiation, gate: Gate, name: str, arguments: tuple[Any, ...]
    ) -> None:
        """Try a command; the gate hears of those that are legal."""
        established = {"established": True} if name == "send_last_token" else {}
        name = name.replace("_last", "")
        try:
            getattr(server, name)(*arguments, **established)
        except LocalProtocolError:
            return
        getattr(gate, name)(*arguments, **established)

    def test_no_way_around(self) -> None:
        """Whatever is said and done, a request is heard only once the gate is open."""
        came = []

        @settings(max_examples=500, deadline=None)
        @given(walks(), st.booleans())
        def anything(steps: list[Step], socks4: bool) -> None:
            came.append(self.walk(steps, socks4))

        anything()
        # Or it would have shown nothing.
        self.assertIn(1, came)
        self.assertIn(0, came)

    def test_every_way_through(self) -> None:
        """The ways that do lead to a request, one for each method."""
        for way in WAYS:
            self.assertEqual(self.walk(way, False), 1)
            # And not one of their steps can be left out.
            for step in range(len(way)):
                self.assertEqual(self.walk(way[:step] + way[step + 1 :], False), 0)
