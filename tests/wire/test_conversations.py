"""Both halves at once: what one packs the other reads, in any fragmentation."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    ClientNegotiation,
    LocalProtocolError,
    ProtocolError,
    ServerNegotiation,
)

from .conversations import ALICE, CONVERSATIONS, HTTP, Aside, Conversation, Do, Line

Side = ClientNegotiation | ServerNegotiation

CLIENT_COMMANDS = (
    Do("greet", ((0,),)),
    Do("authenticate", (ALICE,)),
    Do("send_token", (b"",)),
    Do("send_protection_level", (b"",)),
    Do("accept_protection_level", (1,)),
    Do("abort"),
    Do("finish_subnegotiation"),
    Do("request", (1, HTTP)),
)
SERVER_COMMANDS = (
    Do("select_method", (0,)),
    Do("select_method", (0xFF,)),
    Do("answer_credentials", (True,)),
    Do("answer_credentials", (False,)),
    Do("send_token", (b"",)),
    Do("send_protection_level", (b"", 1)),
    Do("abort"),
    Do("finish_subnegotiation"),
    Do("reply", (0,)),
    Do("reply", (1,)),
)


def at_once(octets: bytes) -> Iterable[bytes]:
    """Don't cut."""
    return (octets,)


def one_by_one(octets: bytes) -> Iterable[bytes]:
    """Cut between all octets."""
    return (octets[place : place + 1] for place in range(len(octets)))


class ConversationTests(SynchronousTestCase):
    """Each conversation goes as it is written."""

    def both(self, conversation: Conversation) -> tuple[ClientNegotiation, ServerNegotiation]:
        """Make the two sides."""
        return ClientNegotiation(version=conversation.version), ServerNegotiation(socks4=True)

    def hear(self, side: Side, pieces: Iterable[bytes], heard: object) -> None:
        """Give octets to a side; it has to hear C{heard} at the last of them, and not before."""
        *earlier, last = pieces
        for piece in earlier:
            side.receive(piece)
            self.assertIsNone(side.next_event())
        side.receive(last)
        if isinstance(heard, type) and issubclass(heard, ProtocolError):
            self.assertRaises(heard, side.next_event)
        else:
            self.assertEqual(side.next_event(), heard)

    def do(self, side: Side, line: Line | Aside) -> Any:
        """Let a side act."""
        return getattr(side, line.do.name)(*line.do.arguments, **line.do.keywords)

    def converse(self, conversation: Conversation, cut: Any) -> None:
        """Go through a conversation, line by line."""
        client, server = self.both(conversation)
        for line in conversation.lines:
            speaker, listener = (client, server) if line.by_client else (server, client)
            done = self.do(speaker, line)
            if isinstance(line, Line):
                self.assertEqual(done, line.octets, conversation.name)
                self.hear(listener, cut(done), line.heard)
        self.assertEqual(client.state.name, conversation.client_ends, conversation.name)
        self.assertEqual(server.state.name, conversation.server_ends, conversation.name)

    def overhear(self, conversation: Conversation, by_client: bool, trailing: bytes) -> None:
        """Give a side all that its peer will say before it has said anything itself."""
        client, server = self.both(conversation)
        side: Side = server if by_client else client
        said = [
            line
            for line in conversation.lines
            if isinstance(line, Line) and line.by_client is by_client
        ]
        side.receive(b"".join(line.octets for line in said) + trailing)
        for line in conversation.lines:
            if line.by_client is not by_client:
                done = self.do(side, line)
                if isinstance(line, Aside) and isinstance(done, bytes):
                    side.receive(done)
            elif isinstance(line, Line):
                self.hear(side, (b"",), line.heard)
        if side.state.name == "DONE":
            self.assertIsNone(side.next_event())
            self.assertEqual(side.take_rest(), trailing)
            self.assertEqual(side.take_rest(), b"")

    def test_whole(self) -> None:
        """Message by message."""
        for conversation in CONVERSATIONS:
            self.converse(conversation, at_once)

    def test_octet_by_octet(self) -> None:
        """Octet by octet: no message is heard before its last one."""
        for conversation in CONVERSATIONS:
            self.converse(conversation, one_by_one)

    def test_pipelined(self) -> None:
        """A peer that doesn't wait for answers is heard in order, payload included."""
        for conversation in CONVERSATIONS:
            for trailing in (b"", b"\x05\x01\x00 payload"):
                self.overhear(conversation, True, trailing)
                self.overhear(conversation, False, trailing)

    def test_out_of_turn(self) -> None:
        """Whatever a side does that isn't its turn is refused, and changes nothing."""
        for conversation in CONVERSATIONS:
            client, server = self.both(conversation)
            for line in conversation.lines:
                self.refuse_others(client, CLIENT_COMMANDS)
                self.refuse_others(server, SERVER_COMMANDS)
                speaker, listener = (client, server) if line.by_client else (server, client)
                done = self.do(speaker, line)
                if isinstance(line, Line):
                    self.hear(listener, (done,), line.heard)
            self.refuse_others(client, CLIENT_COMMANDS)
            self.refuse_others(server, SERVER_COMMANDS)

    def refuse_others(self, side: Side, commands: Sequence[Do]) -> None:
        """Try all commands that the table doesn't have for this state."""
        before = side.state
        legal = {
            step.value.partition("(")[0] for state, step in side._transitions if state is before
        }
        error = ProtocolError if before.name == "FAILED" else LocalProtocolError
        for command in commands:
            if command.name not in legal:
                self.assertRaises(error, self.do, side, Aside(True, command))
                self.assertIs(side.state, before)
        if before not in side._have_rest:
            self.assertRaises(error, side.take_rest)


class Recording(dict[tuple[Any, Any], Any]):
    """
    A table of transitions that remembers which were looked up.

    @ivar visited: those.
    """

    def __init__(self, table: Mapping[Any, Any]) -> None:
        super().__init__(table)
        self.visited: set[tuple[Any, Any]] = set()

    def __getitem__(self, key: tuple[Any, Any]) -> Any:
        self.visited.add(key)
        return super().__getitem__(key)

    def get(self, key: tuple[Any, Any], default: Any = None) -> Any:
        """Look up, as the negotiations do for their commands."""
        if key in self:
            self.visited.add(key)
        return super().get(key, default)


class TransitionTests(SynchronousTestCase):
    """The conversations leave no line of the tables out."""

    def test_every_transition_is_visited(self) -> None:
        """What is visited is the table, for both roles."""
        server, client = Recording(SERVER_TRANSITIONS), Recording(CLIENT_TRANSITIONS)
        self.patch(ServerNegotiation, "_transitions", server)
        self.patch(ClientNegotiation, "_transitions", client)
        conversations = ConversationTests("test_whole")
        conversations.test_whole()
        self.assertEqual(server.visited, set(SERVER_TRANSITIONS))
        self.assertEqual(client.visited, set(CLIENT_TRANSITIONS))

    def test_every_state_can_be_reached_and_left(self) -> None:
        """No state is an island, and only the last ones are ends."""
        for table, begin in (
            (SERVER_TRANSITIONS, {"EXPECT_GREETING"}),
            (CLIENT_TRANSITIONS, {"MUST_GREET"}),
        ):
            states = {state.name for state in type(next(iter(table))[0])}
            left = {state.name for state, _step in table}
            entered = {state.name for state in table.values()}
            self.assertEqual(states - left, {"DONE", "REFUSED", "FAILED"})
            self.assertEqual(states - entered, begin | {"FAILED"})

    def test_whose_turn(self) -> None:
        """Messages are read in the states that expect something, and in no others."""
        for negotiation in (ServerNegotiation(), ClientNegotiation()):
            expecting = {state for state in type(negotiation.state) if "EXPECT_" in state.name}
            self.assertEqual(set(negotiation._readers), expecting)
