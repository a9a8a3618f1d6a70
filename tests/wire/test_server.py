"""The server's half: what the conversations don't say."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from traceback import extract_tb

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    MAX_BUFFERED,
    Abort,
    Address,
    Command,
    Greeting,
    LocalProtocolError,
    MalformedCredentials,
    MalformedFrame,
    MalformedRequest,
    MalformedRequest4,
    Method,
    ProtocolError,
    Reply,
    Reply4,
    Request,
    Request4,
    ServerNegotiation,
    ServerState,
    SOCKS4Off,
    TooManyOctets,
    UnknownAddressType,
    UnsupportedVersion,
    pack_reply,
    pack_token,
)
from twisted_socks5.wire.constants import MAX_TOKEN_ROUNDS, MTYP

TARGET = Address(IPv4Address("192.0.2.1"), 80)
REQUEST = bytes.fromhex("05 01 00 01 C0000201 0050")


def greeted(methods: bytes, method: int, **options: bool) -> ServerNegotiation:
    """Make a negotiation that has selected its method."""
    server = ServerNegotiation(**options)
    server.receive(bytes((5, len(methods))) + methods)
    server.next_event()
    server.select_method(method)
    return server


def requested(octets: bytes = REQUEST, **options: bool) -> ServerNegotiation:
    """Make a negotiation that has heard a request."""
    server = greeted(b"\0", 0, **options)
    server.receive(octets)
    server.next_event()
    return server


class SelectionTests(SynchronousTestCase):
    """RFC 1928, section 3."""

    def test_only_what_was_offered(self) -> None:
        """A method that the client can't do is not selected for it, and nothing has happened."""
        server = ServerNegotiation()
        server.receive(b"\x05\x01\x00")
        server.next_event()
        for method in (Method.USERNAME_PASSWORD, Method.GSSAPI, 0x80, 256, -1):
            self.assertRaises(LocalProtocolError, server.select_method, method)
        self.assertIs(server.state, ServerState.MUST_SELECT_METHOD)
        self.assertEqual(server.select_method(0), b"\x05\x00")

    def test_none_offered(self) -> None:
        """NMETHODS of 0 leaves FF, in two octets, and nothing more is read."""
        server = ServerNegotiation()
        server.receive(b"\x05\x00" + REQUEST)
        self.assertEqual(server.next_event(), Greeting(b""))
        self.assertRaises(LocalProtocolError, server.select_method, 0)
        self.assertEqual(server.select_method(0xFF), b"\x05\xff")
        server.receive(REQUEST)
        self.assertIsNone(server.next_event())
        self.assertRaises(LocalProtocolError, server.take_rest)

    def test_none_is_always_possible(self) -> None:
        """FF may be answered to any offer, and offering FF is no way in."""
        server = ServerNegotiation()
        server.receive(b"\x05\x01\xff")
        server.next_event()
        self.assertEqual(server.select_method(0xFF), b"\x05\xff")
        self.assertIs(server.state, ServerState.REFUSED)

    def test_turn(self) -> None:
        """While it is our turn nothing is read, whatever is there."""
        server = ServerNegotiation()
        server.receive(b"\x05\x01\x00" + REQUEST)
        server.next_event()
        for _again in range(2):
            self.assertIsNone(server.next_event())
        server.select_method(0)
        self.assertEqual(server.next_event(), Request(1, TARGET))


class MistakeTests(SynchronousTestCase):
    """Each mistake is final, and knows its answer."""

    def fails(
        self, server: ServerNegotiation, octets: bytes, kind: type[ProtocolError], answer: bytes
    ) -> None:
        """Send C{octets}; from then on every use raises the one error."""
        server.receive(octets)
        error = self.assertRaises(kind, server.next_event)
        self.assertEqual(error.answer, answer)
        self.assertIs(server.state, ServerState.FAILED)
        for use in (
            server.next_event,
            lambda: server.receive(REQUEST),
            lambda: server.select_method(0),
            lambda: server.answer_credentials(True),
            lambda: server.send_token(b""),
            lambda: server.send_protection_level(b"", 0),
            server.abort,
            server.finish_subnegotiation,
            lambda: server.reply(0),
            server.take_rest,
        ):
            self.assertIs(self.assertRaises(kind, use), error)
        self.assertEqual(server._buffer, b"")

    def test_greeting(self) -> None:
        """Another protocol is closed on, without a word."""
        self.fails(ServerNegotiation(), b"GET / HTTP/1.0\r\n\r\n", UnsupportedVersion, b"")
        self.fails(ServerNegotiation(socks4=True), b"\x03", UnsupportedVersion, b"")

    def test_socks4_off(self) -> None:
        """A SOCKS4 client hears in its own words that it is rejected."""
        request = bytes.fromhex("04 01 0050 C0000201 00")
        self.fails(ServerNegotiation(), request, SOCKS4Off, b"\x00\x5b" + bytes(6))

    def test_socks4_endless(self) -> None:
        """So does one whose USERID doesn't end."""
        self.fails(
            ServerNegotiation(socks4=True),
            bytes.fromhex("04 01 0050 C0000201") + b"x" * 256,
            MalformedRequest4,
            b"\x00\x5b" + bytes(6),
        )

    def test_credentials(self) -> None:
        """Credentials in a version of their own get a STATUS."""
        self.fails(greeted(b"\2", 2), b"\x05\x01u\x01p", MalformedCredentials, b"\x01\x01")

    def test_request(self) -> None:
        """A request is answered with its REP."""
        for octets, kind, reply in (
            (b"\x04\x01\x00", UnsupportedVersion, Reply.GENERAL_FAILURE),
            (b"\x05\x01\x00\x02", UnknownAddressType, Reply.ADDRESS_TYPE_NOT_SUPPORTED),
        ):
            self.fails(greeted(b"\0", 0), octets, kind, pack_reply(reply))

    def test_strict(self) -> None:
        """RSV other than 0 is refused if asked for, and otherwise kept for who wants it."""
        octets = b"\x05\x01\x01" + REQUEST[3:]
        self.fails(greeted(b"\0", 0, strict=True), octets, MalformedRequest, pack_reply(1))
        server = greeted(b"\0", 0)
        server.receive(octets)
        self.assertEqual(server.next_event(), Request(1, TARGET, 1))

    def test_token(self) -> None:
        """What is no token, or not the kind that has its turn, is answered with an abort."""
        for octets in (b"\x05", b"\x01\x02", b"\x01\x03", b"\x01\x04"):
            self.fails(greeted(b"\1", 1), octets, MalformedFrame, b"\x01\xff")
        server = greeted(b"\1", 1)
        server.receive(pack_token(MTYP.AUTHENTICATION, b"t"))
        server.next_event()
        server.send_token(b"", established=True)
        self.fails(server, b"\x01\x01", MalformedFrame, b"\x01\xff")

    def test_tracebacks(self) -> None:
        """Raising the one error again and again doesn't make its traceback grow."""
        server = ServerNegotiation()
        server.receive(b"\x00")
        self.assertRaises(UnsupportedVersion, server.next_event)
        depths = set()
        for _again in range(5):
            error = self.assertRaises(UnsupportedVersion, server.next_event)
            depths.add(len(extract_tb(error.__traceback__)))
        self.assertEqual(len(depths), 1)


class TokenTests(SynchronousTestCase):
    """RFC 1961, as far as it is framing."""

    def test_rounds(self) -> None:
        """An exchange may take MAX_TOKEN_ROUNDS tokens, and not one more."""
        server = greeted(b"\1", 1)
        for _round in range(MAX_TOKEN_ROUNDS):
            server.receive(pack_token(MTYP.AUTHENTICATION, b"t"))
            self.assertIsNotNone(server.next_event())
            server.send_token(b"")
        server.receive(pack_token(MTYP.AUTHENTICATION, b"t"))
        error = self.assertRaises(MalformedFrame, server.next_event)
        self.assertIn("16", error.reason)

    def test_too_long(self) -> None:
        """A token that is too long is not sent, and the turn stays ours."""
        server = greeted(b"\1", 1)
        server.receive(pack_token(MTYP.AUTHENTICATION, b"t"))
        server.next_event()
        self.assertRaises(LocalProtocolError, server.send_token, b"x" * 65536)
        self.assertEqual(len(server.send_token(b"x" * 65535, established=True)), 65539)
        server.receive(pack_token(MTYP.PROTECTION_LEVEL, b"l"))
        server.next_event()
        self.assertRaises(LocalProtocolError, server.send_protection_level, b"x" * 65536, 1)
        self.assertIs(server.state, ServerState.MUST_ANSWER_PROTECTION_LEVEL)

    def test_nothing_slips_in(self) -> None:
        """What came behind the protection level, in the clear, is never read as a request."""
        server = greeted(b"\1", 1)
        server.receive(
            pack_token(MTYP.AUTHENTICATION, b"t")
            + pack_token(MTYP.PROTECTION_LEVEL, b"l")
            + REQUEST
        )
        server.next_event()
        server.send_token(b"", established=True)
        server.next_event()
        server.send_protection_level(b"l", 1)
        self.assertIsNone(server.next_event())
        self.assertEqual(server.finish_subnegotiation(), REQUEST)
        self.assertIsNone(server.next_event())
        server.receive(REQUEST)
        self.assertEqual(server.next_event(), Request(1, TARGET))

    def test_abort_ends(self) -> None:
        """After the client's abort nothing more is read."""
        server = greeted(b"\1", 1)
        server.receive(b"\x01\xff" + REQUEST)
        self.assertEqual(server.next_event(), Abort())
        self.assertIs(server.state, ServerState.REFUSED)
        self.assertIsNone(server.next_event())
        self.assertEqual(server._buffer, b"")


class SubnegotiationTests(SynchronousTestCase):
    """A method that this room doesn't know is its caller's."""

    def test_rest(self) -> None:
        """The caller takes what comes, and says when it is done."""
        server = greeted(b"\x80", 0x80)
        server.receive(b"one")
        self.assertIsNone(server.next_event())
        self.assertEqual(server.take_rest(), b"one")
        server.receive(b"two" + REQUEST)
        rest = server.finish_subnegotiation()
        self.assertEqual(rest, b"two" + REQUEST)
        server.receive(rest[3:])
        self.assertEqual(server.next_event(), Request(1, TARGET))

    def test_failed(self) -> None:
        """If it fails no request is read."""
        server = greeted(b"\x80", 0x80)
        server.receive(REQUEST)
        self.assertEqual(server.finish_subnegotiation(False), REQUEST)
        server.receive(REQUEST)
        self.assertIsNone(server.next_event())


class ReplyTests(SynchronousTestCase):
    """RFC 1928, section 6."""

    def test_one_reply(self) -> None:
        """All commands but BIND have one reply, also those that nobody knows."""
        for command in {*range(256)} - {Command.BIND}:
            server = requested(b"\x05" + bytes((command,)) + REQUEST[2:])
            server.reply(Reply.SUCCEEDED)
            self.assertIs(server.state, ServerState.DONE)
            self.assertRaises(LocalProtocolError, server.reply, Reply.SUCCEEDED)

    def test_every_failure(self) -> None:
        """Every REP but 0 refuses."""
        for reply in range(1, 256):
            server = requested()
            self.assertEqual(server.reply(reply), bytes((5, reply, 0, 1, 0, 0, 0, 0, 0, 0)))
            self.assertIs(server.state, ServerState.REFUSED)

    def test_bad_address(self) -> None:
        """What can't be packed isn't sent, and the turn stays ours."""
        server = requested()
        for reply, bound in (
            (256, TARGET),
            (0, Address(b"", 1)),
            (0, Address(IPv6Address("fe80::1%2"), 1)),
        ):
            self.assertRaises(LocalProtocolError, server.reply, reply, bound)
        self.assertIs(server.state, ServerState.MUST_REPLY)

    def test_early_payload_of_bind(self) -> None:
        """What comes between BIND's replies can be taken at any time."""
        server = requested(b"\x05\x02" + REQUEST[2:] + b"early")
        self.assertRaises(LocalProtocolError, server.take_rest)
        server.reply(Reply.SUCCEEDED, TARGET)
        self.assertEqual(server.take_rest(), b"early")
        server.receive(b"later")
        self.assertIsNone(server.next_event())
        server.reply(Reply.SUCCEEDED, TARGET)
        self.assertEqual(server.take_rest(), b"later")


class SOCKS4Tests(SynchronousTestCase):
    """The other version, on the same port."""

    def heard(self, octets: str) -> ServerNegotiation:
        """Make a negotiation that has heard a SOCKS4 request."""
        server = ServerNegotiation(socks4=True)
        self.assertEqual(server.version, 5)
        server.receive(bytes.fromhex(octets))
        event = server.next_event()
        self.assertIsInstance(event, Request4)
        self.assertEqual(server.version, 4)
        return server

    def test_codes(self) -> None:
        """REP is translated; SOCKS4's own codes can be given as they are."""
        for reply, code in (
            (Reply.SUCCEEDED, 90),
            (Reply4.GRANTED, 90),
            (Reply.HOST_UNREACHABLE, 91),
            (Reply.COMMAND_NOT_SUPPORTED, 91),
            (Reply4.REJECTED, 91),
            (Reply4.IDENTD_UNREACHABLE, 92),
            (Reply4.IDENTD_MISMATCH, 93),
        ):
            server = self.heard("04 01 0050 C0000201 00")
            self.assertEqual(server.reply(reply)[:2], bytes((0, code)))
            ended = ServerState.DONE if code == 90 else ServerState.REFUSED
            self.assertIs(server.state, ended)

    def test_payload(self) -> None:
        """Payload behind the request is kept, name and all."""
        server = self.heard("04 01 0050 00000001 6A6F6500 61622E6300 7061796C6F6164")
        server.reply(Reply.SUCCEEDED)
        self.assertEqual(server.take_rest(), b"payload")

    def test_beside_socks5(self) -> None:
        """SOCKS5 clients notice nothing."""
        server = requested(socks4=True)
        self.assertEqual(server.version, 5)
        self.assertEqual(server.reply(0)[0], 5)


class BufferTests(SynchronousTestCase):
    """What is held is bounded."""

    def test_in_turn(self) -> None:
        """Once there is no event in it, what is held is less than a message."""
        longest = b"\xff" * 300
        for server, octets, held in (
            (ServerNegotiation(), b"\x05\xff" + longest, 256),
            (greeted(b"\2", 2), b"\x01\xff" + b"x" * 255 + b"\xff" + longest, 512),
            (greeted(b"\0", 0), b"\x05\x01\x00\x03\xff" + longest, 261),
            (greeted(b"\1", 1), b"\x01\x01\xff\xff" + b"x" * 65535, 65538),
            (
                ServerNegotiation(socks4=True),
                b"\x04\x01\0\x50\0\0\0\x01" + (b"x" * 255 + b"\0") * 2,
                519,
            ),
        ):
            server.receive(octets[:held])
            self.assertIsNone(server.next_event())
            self.assertEqual(len(server._buffer), held)
            server.receive(octets[held : held + 1])
            self.assertIsNotNone(server.next_event())
            self.assertEqual(server._buffer, b"")

    def test_out_of_turn(self) -> None:
        """In every other state MAX_BUFFERED octets wait for their turn, and not one more."""
        bind = b"\x05\x02" + REQUEST[2:]
        waiting = requested(bind)
        waiting.reply(0)
        done = requested()
        done.reply(0)
        for server in (requested(), waiting, done, greeted(b"\x80", 0x80), ServerNegotiation()):
            server.receive(b"x" * (MAX_BUFFERED - 1))
            server.receive(b"x")
            error = self.assertRaises(TooManyOctets, server.receive, b"x")
            self.assertIsNone(error.reply)
            self.assertEqual(error.answer, b"")
            self.assertIs(server.state, ServerState.FAILED)
            self.assertEqual(server._buffer, b"")

    def test_after_a_refusal(self) -> None:
        """Nothing is held for who was refused, however much has come or comes."""
        server = requested(REQUEST + b"early")
        server.reply(Reply.CONNECTION_NOT_ALLOWED)
        self.assertEqual(server._buffer, b"")
        for _again in range(3):
            server.receive(b"x" * MAX_BUFFERED)
        self.assertEqual(server._buffer, b"")

    def test_honest_pipelining(self) -> None:
        """All that a client has to say, and one read's worth of payload, in one piece."""
        payload = b"x" * 65536
        server = ServerNegotiation()
        server.receive(b"\x05\x01\x02" + b"\x01\x01u\x01p" + REQUEST + payload)
        server.next_event()
        server.select_method(2)
        server.next_event()
        server.answer_credentials(True)
        self.assertEqual(server.next_event(), Request(1, TARGET))
        server.receive(payload)
        server.reply(0)
        self.assertEqual(server.take_rest(), payload * 2)
