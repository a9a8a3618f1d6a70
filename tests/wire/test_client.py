"""The client's half, and servers that lie to it."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    MAX_BUFFERED,
    MTYP,
    Abort,
    Address,
    AuthenticationFailed,
    ClientNegotiation,
    ClientState,
    Command,
    LocalProtocolError,
    MalformedFrame,
    Method,
    MethodNotOffered,
    NoAcceptableMethod,
    ProtocolError,
    Reply4Message,
    ReplyMessage,
    TooManyOctets,
    UnknownAddressType,
    UnsupportedVersion,
    UsernamePassword,
    pack_reply,
    pack_token,
)
from twisted_socks5.wire.constants import MAX_TOKEN_ROUNDS

TARGET = Address(IPv4Address("192.0.2.1"), 80)


def greeted(*methods: int) -> ClientNegotiation:
    """Make a negotiation that has offered its methods."""
    client = ClientNegotiation()
    client.greet(methods)
    return client


def selected(method: int) -> ClientNegotiation:
    """Make a negotiation whose one method the server has taken."""
    client = greeted(method)
    client.receive(bytes((5, method)))
    client.next_event()
    return client


def asked(command: int = Command.CONNECT) -> ClientNegotiation:
    """Make a negotiation that has sent its request."""
    client = selected(Method.NO_AUTHENTICATION)
    client.request(command, TARGET)
    return client


class LyingServerTests(SynchronousTestCase):
    """Each lie is an error of its own kind, final, and nothing is said in return."""

    def fails(
        self, client: ClientNegotiation, octets: bytes, kind: type[ProtocolError]
    ) -> ProtocolError:
        """Let the server say C{octets}; from then on every use raises the one error."""
        client.receive(octets)
        error: ProtocolError = self.assertRaises(kind, client.next_event)
        self.assertIs(client.state, ClientState.FAILED)
        self.assertEqual((error.reply, error.answer), (None, b""))
        for use in (
            client.next_event,
            lambda: client.receive(b""),
            lambda: client.request(1, TARGET),
            client.take_rest,
        ):
            self.assertIs(self.assertRaises(kind, use), error)
        return error

    def test_method_not_offered(self) -> None:
        """A server can't make us do without a password, or give one we did not offer."""
        for method in {*range(255)} - {Method.USERNAME_PASSWORD}:
            error = self.fails(greeted(2), bytes((5, method)), MethodNotOffered)
            self.assertIn(f"0x{method:02X}", str(error))

    def test_no_acceptable_method(self) -> None:
        """FF says that nothing we offered is good enough; the error names what that was."""
        error = self.fails(greeted(0, 2), b"\x05\xff", NoAcceptableMethod)
        self.assertIn("no authentication (0x00), username/password (0x02)", error.reason)

    def test_versions(self) -> None:
        """Every message has its version."""
        self.fails(greeted(0), b"HTTP/1.0 400", UnsupportedVersion)
        password = selected(Method.USERNAME_PASSWORD)
        password.authenticate(UsernamePassword(b"u", b"p"))
        self.fails(password, b"\x05", UnsupportedVersion)
        self.fails(asked(), b"\x01", UnsupportedVersion)
        socks4 = ClientNegotiation(version=4)
        socks4.request(1, TARGET)
        self.fails(socks4, b"\x04", UnsupportedVersion)

    def test_password_refused(self) -> None:
        """Any STATUS but 0 means that the server will close."""
        for status in (1, 255):
            client = selected(Method.USERNAME_PASSWORD)
            client.authenticate(UsernamePassword(b"u", b"p"))
            error = self.fails(client, bytes((1, status)), AuthenticationFailed)
            self.assertEqual(error.status, status)  # type: ignore[attr-defined]

    def test_bad_reply(self) -> None:
        """A reply with an address of no type is none."""
        self.fails(asked(), b"\x05\x00\x00\x07", UnknownAddressType)

    def test_tokens(self) -> None:
        """Frames of no kind, and of one that has no turn."""
        for octets in (b"\x02", b"\x01\x09", b"\x01\x02", b"\x01\x03"):
            client = selected(Method.GSSAPI)
            client.send_token(b"t")
            self.fails(client, octets, MalformedFrame)
        client = selected(Method.GSSAPI)
        client.send_protection_level(b"l")
        self.fails(client, b"\x01\x01", MalformedFrame)

    def test_endless_tokens(self) -> None:
        """A server may answer MAX_TOKEN_ROUNDS tokens, and not one more."""
        client = selected(Method.GSSAPI)
        for _round in range(MAX_TOKEN_ROUNDS):
            client.send_token(b"t")
            client.receive(pack_token(MTYP.AUTHENTICATION, b""))
            self.assertIsNotNone(client.next_event())
        client.send_token(b"t")
        self.fails(client, pack_token(MTYP.AUTHENTICATION, b""), MalformedFrame)

    def test_endless_octets(self) -> None:
        """What comes ahead of its turn is held up to MAX_BUFFERED octets."""
        for client in (ClientNegotiation(), selected(0), selected(0x80)):
            client.receive(b"x" * MAX_BUFFERED)
            error = self.assertRaises(TooManyOctets, client.receive, b"x")
            self.assertEqual(error.reply, None)
            self.assertIs(client.state, ClientState.FAILED)


class GreetingTests(SynchronousTestCase):
    """What we can is said once, and rightly."""

    def test_bounds(self) -> None:
        """Methods that can't be offered aren't, and the turn stays ours."""
        client = ClientNegotiation()
        for methods in ((), (0,) * 256, (0xFF,), (256,), (-1,)):
            self.assertRaises(LocalProtocolError, client.greet, methods)
        self.assertEqual(client.greet([0, 2]), b"\x05\x02\x00\x02")

    def test_credentials(self) -> None:
        """Credentials that the wire can't carry aren't sent."""
        client = selected(Method.USERNAME_PASSWORD)
        for bad in (UsernamePassword(b"", b"p"), UsernamePassword(b"u", b"p" * 256)):
            self.assertRaises(LocalProtocolError, client.authenticate, bad)
        self.assertEqual(client.authenticate(UsernamePassword(b"u", b"p")), b"\x01\x01u\x01p")

    def test_tokens(self) -> None:
        """Nor are tokens."""
        client = selected(Method.GSSAPI)
        self.assertRaises(LocalProtocolError, client.send_token, b"x" * 65536)
        self.assertRaises(LocalProtocolError, client.send_protection_level, b"x" * 65536)
        self.assertIs(client.state, ClientState.MUST_SEND_TOKEN)


class RequestTests(SynchronousTestCase):
    """A request is sent as it was meant, or not at all."""

    def test_long_name(self) -> None:
        """A name over 255 octets fails before an octet is produced."""
        client = selected(0)
        self.assertRaises(LocalProtocolError, client.request, 1, Address(b"n" * 256, 80))
        self.assertIs(client.state, ClientState.MUST_REQUEST)
        octets = client.request(1, Address(b"n" * 255, 80))
        self.assertEqual(octets, b"\x05\x01\x00\x03\xff" + b"n" * 255 + b"\x00\x50")

    def test_user_id(self) -> None:
        """SOCKS5 has no place for a USERID, so giving one is a mistake."""
        self.assertRaises(LocalProtocolError, selected(0).request, 1, TARGET, b"joe")

    def test_bind(self) -> None:
        """BIND has two replies, and payload may come with the second one."""
        client = asked(Command.BIND)
        client.receive(pack_reply(0, TARGET))
        self.assertEqual(client.next_event(), ReplyMessage(0, TARGET))
        self.assertIs(client.state, ClientState.EXPECT_SECOND_REPLY)
        self.assertRaises(LocalProtocolError, client.take_rest)
        client.receive(pack_reply(0, TARGET) + b"220 ready")
        self.assertEqual(client.next_event(), ReplyMessage(0, TARGET))
        self.assertEqual(client.take_rest(), b"220 ready")

    def test_refused(self) -> None:
        """After a failure nothing more is read: an unknown REP is one as well."""
        for reply in (1, 8, 0xF0):
            client = asked()
            client.receive(pack_reply(reply) + b"rest")
            event = client.next_event()
            self.assertEqual(event, ReplyMessage(reply, Address(IPv4Address(0), 0)))
            self.assertIs(client.state, ClientState.REFUSED)
            client.receive(b"more")
            self.assertIsNone(client.next_event())
            self.assertRaises(LocalProtocolError, client.take_rest)

    def test_strange_bound_addresses(self) -> None:
        """BND may be a name, an empty one even, or IPv6."""
        for bound, packed in (
            (Address(b"proxy", 1), "03 05 70726F7879 0001"),
            (Address(b"", 1), "03 00 0001"),
            (Address(IPv6Address("::1"), 1), "04 00000000000000000000000000000001 0001"),
        ):
            client = asked()
            client.receive(b"\x05\x00\x00" + bytes.fromhex(packed))
            self.assertEqual(client.next_event(), ReplyMessage(0, bound))


class AbortTests(SynchronousTestCase):
    """A server that gives its context up."""

    def test_rest_is_dropped(self) -> None:
        """Nothing follows an abort."""
        client = selected(Method.GSSAPI)
        client.send_token(b"t")
        client.receive(b"\x01\xff\x05\x00")
        self.assertEqual(client.next_event(), Abort())
        self.assertIs(client.state, ClientState.REFUSED)
        self.assertIsNone(client.next_event())


class SOCKS4Tests(SynchronousTestCase):
    """The client for old proxies."""

    def test_begins_with_the_request(self) -> None:
        """There is no greeting."""
        client = ClientNegotiation(version=4)
        self.assertEqual(client.version, 4)
        self.assertRaises(LocalProtocolError, client.greet, [0])
        octets = client.request(1, TARGET, b"joe")
        self.assertEqual(octets, bytes.fromhex("04 01 0050 C0000201 6A6F6500"))
        client.receive(b"\x00\x5b\x00\x00\x00\x00\x00\x00")
        self.assertEqual(client.next_event(), Reply4Message(91, Address(IPv4Address(0), 0)))
        self.assertIs(client.state, ClientState.REFUSED)

    def test_ipv6(self) -> None:
        """What SOCKS4 can't carry isn't sent, and the turn stays ours."""
        client = ClientNegotiation(version=4)
        self.assertRaises(LocalProtocolError, client.request, 1, Address(IPv6Address(1), 1))
        self.assertIs(client.state, ClientState.MUST_REQUEST)

    def test_versions(self) -> None:
        """There are two."""
        for version in (0, 3, 6):
            self.assertRaises(LocalProtocolError, ClientNegotiation, version=version)
