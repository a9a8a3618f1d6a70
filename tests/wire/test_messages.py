"""RFC 1928's four messages: what the codec laws don't say."""

from __future__ import annotations

from ipaddress import IPv4Address

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    UNSPECIFIED,
    Address,
    Greeting,
    LocalProtocolError,
    MalformedRequest,
    Method,
    MethodSelection,
    Reply,
    ReplyMessage,
    Request,
    UnknownAddressType,
    UnsupportedVersion,
    pack_greeting,
    pack_method_selection,
    pack_reply,
    pack_request,
    parse_greeting,
    parse_method_selection,
    parse_reply,
    parse_request,
    parse_request_strictly,
)

TARGET = Address(IPv4Address("192.0.2.1"), 80)


class GreetingTests(SynchronousTestCase):
    """VER NMETHODS METHODS."""

    def test_contains(self) -> None:
        """One asks for a method with C{in}."""
        greeting = Greeting(b"\x00\x02")
        self.assertIn(Method.USERNAME_PASSWORD, greeting.methods)
        self.assertNotIn(Method.GSSAPI, greeting.methods)

    def test_no_methods(self) -> None:
        """NMETHODS of 0 is outside the RFC, but can be answered: with "none acceptable"."""
        self.assertEqual(parse_greeting(b"\x05\x00"), (Greeting(b""), 2))

    def test_bounds(self) -> None:
        """1 to 255 methods are packed, each an octet, and not FF."""
        self.assertEqual(pack_greeting([0]), b"\x05\x01\x00")
        self.assertEqual(len(pack_greeting([254] * 255)), 257)
        for methods in ([], [0] * 256, [256], [-1], [0, 255]):
            self.assertRaises(LocalProtocolError, pack_greeting, methods)


class VersionTests(SynchronousTestCase):
    """Any version but 5 is refused, at its own octet."""

    def test_every_version(self) -> None:
        """256 octets, one of them right."""
        for parse, reply in (
            (parse_greeting, None),
            (parse_method_selection, None),
            (parse_request, Reply.GENERAL_FAILURE),
            (parse_reply, None),
        ):
            for version in range(256):
                octets = b"?" + bytes((version,))
                if version == 5:
                    self.assertIsNone(parse(octets, 1))
                else:
                    error = self.assertRaises(UnsupportedVersion, parse, octets, 1)
                    self.assertEqual(error.version, version)
                    self.assertIs(error.reply, reply)

    def test_hints(self) -> None:
        """The error says what else it looks like, as far as one can tell."""
        for octets, hint in (
            (b"GET / HTTP/1.1\r\n", "looks like HTTP"),
            (b"CONNECT a:1 HTTP/1.1", "looks like HTTP"),
            (b"PO", "looks like HTTP"),
            (b"\x16\x03\x01\x02\x00\x01", "looks like TLS"),
            (b"SSH-2.0-OpenSSH", "looks like SSH"),
            (b"PROXY TCP4 192.0.2.1", "looks like the PROXY protocol"),
            (b"\r\n\r\n\x00\r\nQUIT\n\x21", "looks like the PROXY protocol"),
            (b"GIVE", ""),
            (b"\x16\x00", ""),
            (b"\x00", ""),
        ):
            error = self.assertRaises(UnsupportedVersion, parse_greeting, octets)
            self.assertEqual(error.hint, hint)
            reason = f"version {octets[0]} instead of 5 in the greeting"
            self.assertEqual(str(error), f"{reason}: {hint}" if hint else reason)


class RequestTests(SynchronousTestCase):
    """VER CMD RSV and the destination."""

    def test_unknown_command(self) -> None:
        """A command that nobody knows is read: refusing it needs the whole message."""
        for command in range(256):
            octets = pack_request(command, TARGET)
            self.assertEqual(parse_request(octets), (Request(command, TARGET), len(octets)))

    def test_reserved(self) -> None:
        """RSV other than 0 is read by default, since a draft gives it a meaning."""
        octets = pack_request(3, TARGET, 4)
        self.assertEqual(octets[2], 4)
        self.assertEqual(parse_request(octets), (Request(3, TARGET, 4), len(octets)))

    def test_reserved_strictly(self) -> None:
        """By the letter it is refused with REP 1, once the message is complete."""
        octets = pack_request(3, TARGET, 4)
        self.assertIsNone(parse_request_strictly(octets[:-1]))
        error = self.assertRaises(MalformedRequest, parse_request_strictly, octets)
        self.assertIs(error.reply, Reply.GENERAL_FAILURE)
        self.assertEqual(error.answer, b"\x05\x01\x00\x01\x00\x00\x00\x00\x00\x00")

    def test_address_type(self) -> None:
        """ATYP is refused before anything behind it has come."""
        self.assertRaises(UnknownAddressType, parse_request, b"\x05\x01\x00\x02")

    def test_version(self) -> None:
        """Requests and replies say which they are; SOCKS4's have the same attribute."""
        self.assertEqual(Request(1, TARGET).version, 5)
        self.assertEqual(ReplyMessage(1, TARGET).version, 5)


class ReplyTests(SynchronousTestCase):
    """VER REP RSV and the bound address."""

    def test_success(self) -> None:
        """Only 0 is a success; what nobody knows is none."""
        self.assertTrue(ReplyMessage(Reply.SUCCEEDED, UNSPECIFIED).succeeded)
        for code in range(1, 256):
            self.assertFalse(ReplyMessage(code, UNSPECIFIED).succeeded)

    def test_bound_name(self) -> None:
        """BND may be a name, both ways."""
        octets = pack_reply(0, Address(b"proxy", 1))
        self.assertEqual(parse_reply(octets), (ReplyMessage(0, Address(b"proxy", 1)), len(octets)))

    def test_reserved(self) -> None:
        """A server's RSV is not looked at."""
        octets = bytearray(pack_reply(0))
        octets[2] = 0xFF
        self.assertEqual(parse_reply(octets), (ReplyMessage(0, UNSPECIFIED), 10))

    def test_default(self) -> None:
        """A failure has no address: zeros."""
        self.assertEqual(pack_reply(2), b"\x05\x02\x00\x01\x00\x00\x00\x00\x00\x00")


class CodeTests(SynchronousTestCase):
    """Codes are octets."""

    def test_bounds(self) -> None:
        """0 and 255 are packed, -1 and 256 are refused."""
        for code in (0, 255):
            self.assertEqual(pack_method_selection(code)[1], code)
            self.assertEqual(pack_request(code, TARGET, code)[1:3], bytes((code, code)))
            self.assertEqual(pack_reply(code)[1], code)
        for code in (-1, 256):
            self.assertRaises(LocalProtocolError, pack_method_selection, code)
            self.assertRaises(LocalProtocolError, pack_request, code, TARGET)
            self.assertRaises(LocalProtocolError, pack_request, 1, TARGET, code)
            self.assertRaises(LocalProtocolError, pack_reply, code)


class ValueTests(SynchronousTestCase):
    """Messages are values."""

    def test_kinds_differ(self) -> None:
        """Equal fields don't make different messages equal."""
        self.assertEqual(Request(1, TARGET), Request(1, TARGET))
        self.assertNotEqual(Request(1, TARGET), ReplyMessage(1, TARGET))
        self.assertNotEqual(Request(1, TARGET), Request(2, TARGET))
        self.assertEqual(len({MethodSelection(1), MethodSelection(1)}), 1)

    def test_frozen(self) -> None:
        """Nobody changes what was said."""
        self.assertRaises(AttributeError, setattr, Request(1, TARGET), "command", 2)
