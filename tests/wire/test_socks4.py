"""SOCKS4 and 4a: what the codec laws don't say."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    UNSPECIFIED,
    Address,
    LocalProtocolError,
    MalformedRequest4,
    Reply,
    Reply4,
    Reply4Message,
    Request4,
    UnsupportedVersion,
    pack_reply4,
    pack_request4,
    parse_reply4,
    parse_request4,
    reply4_for,
)

TARGET = Address(IPv4Address("192.0.2.1"), 80)
HEAD = b"\x04\x01\x00\x50"


class MarkTests(SynchronousTestCase):
    """SOCKS4a's mark is 0.0.0.x with x other than 0, and all four octets count."""

    def test_name(self) -> None:
        """Behind the mark a name follows USERID."""
        octets = HEAD + b"\0\0\0\x07joe\0example.com\0"
        self.assertEqual(
            parse_request4(octets + b"payload"),
            (Request4(1, Address(b"example.com", 80), b"joe"), len(octets)),
        )
        self.assertIsNone(parse_request4(octets[:-1]))

    def test_no_name(self) -> None:
        """0.0.0.0 is an address, and so is everything that merely begins with zeros."""
        for text in ("0.0.0.0", "0.0.1.1", "0.1.0.1", "1.0.0.1", "0.0.1.0"):
            host = IPv4Address(text)
            octets = HEAD + host.packed + b"\0"
            expected = Request4(1, Address(host, 80))
            self.assertEqual(parse_request4(octets + b"x\0"), (expected, len(octets)))

    def test_empty_name(self) -> None:
        """An empty name is read, as in SOCKS5."""
        octets = HEAD + b"\0\0\0\x01\0\0"
        self.assertEqual(parse_request4(octets), (Request4(1, Address(b"", 80)), len(octets)))

    def test_not_packed(self) -> None:
        """An address that would be read as the mark is never written as one."""
        for last in (1, 255):
            destination = Address(IPv4Address(last), 80)
            self.assertRaises(LocalProtocolError, pack_request4, 1, destination)
        self.assertEqual(
            pack_request4(1, Address(IPv4Address(256), 80)), HEAD + b"\0\0\x01\0" + b"\0"
        )


class RequestTests(SynchronousTestCase):
    """VN CD DSTPORT DSTIP USERID NUL."""

    def test_version(self) -> None:
        """VN is 4; SOCKS5's requests have the same attribute."""
        self.assertEqual(Request4(1, TARGET).version, 4)
        for version in set(range(256)) - {4}:
            error = self.assertRaises(UnsupportedVersion, parse_request4, bytes((version,)))
            self.assertEqual((error.version, error.hint), (version, ""))

    def test_read_bounds(self) -> None:
        """USERID and name end within 255 octets, or the client is told that it's rejected."""
        for start in (HEAD + b"\x01\x02\x03\x04", HEAD + b"\0\0\0\x01u\0"):
            at = start + b"x" * 255
            self.assertIsNone(parse_request4(at))
            found = parse_request4(at + b"\0")
            self.assertEqual(found and found[1], len(at) + 1)
            for above in (at + b"x", at + b"x\0"):
                error = self.assertRaises(MalformedRequest4, parse_request4, above)
                self.assertEqual(error.answer, b"\x00\x5b\x00\x00\x00\x00\x00\x00")
                self.assertIsNone(error.reply)

    def test_write_bounds(self) -> None:
        """What doesn't fit is refused: nothing is cut off."""
        for user_id, name in ((b"u" * 255, b"n"), (b"", b"n" * 255)):
            octets = pack_request4(1, Address(name, 1), user_id)
            self.assertEqual(
                parse_request4(octets), (Request4(1, Address(name, 1), user_id), len(octets))
            )
        for user_id, destination in (
            (b"u" * 256, TARGET),
            (b"a\0b", TARGET),
            (b"", Address(b"n" * 256, 1)),
            (b"", Address(b"a\0b", 1)),
            (b"", Address(b"", 1)),
            (b"", Address(IPv6Address("::1"), 1)),
            (b"", Address(TARGET.host, -1)),
            (b"", Address(TARGET.host, 65536)),
        ):
            self.assertRaises(LocalProtocolError, pack_request4, 1, destination, user_id)
        self.assertRaises(LocalProtocolError, pack_request4, 256, TARGET)


class ReplyTests(SynchronousTestCase):
    """VN CD DSTPORT DSTIP."""

    def test_version(self) -> None:
        """VN is 0 and not 4."""
        self.assertEqual(pack_reply4(90, TARGET), b"\x00\x5a\x00\x50\xc0\x00\x02\x01")
        self.assertRaises(UnsupportedVersion, parse_reply4, b"\x04")
        self.assertEqual(Reply4Message(90, TARGET).version, 4)

    def test_success(self) -> None:
        """90 alone is a success."""
        for code in range(256):
            self.assertEqual(Reply4Message(code, TARGET).succeeded, code == 90)

    def test_mapping(self) -> None:
        """SOCKS5's words in SOCKS4's: granted or rejected; its own stay as they are."""
        self.assertIs(reply4_for(Reply.SUCCEEDED), Reply4.GRANTED)
        for reply in set(Reply) - {Reply.SUCCEEDED}:
            self.assertIs(reply4_for(reply), Reply4.REJECTED)
        for own in Reply4:
            self.assertIs(reply4_for(own), own)
        self.assertIs(reply4_for(0xF0), Reply4.REJECTED)

    def test_other_addresses(self) -> None:
        """What SOCKS4 can't carry becomes 0.0.0.0, which stands for the server itself."""
        for host, packed in (
            (IPv6Address("2001:db8::1"), "0.0.0.0"),
            (b"proxy.example", "0.0.0.0"),
            (IPv6Address("::ffff:192.0.2.9"), "192.0.2.9"),
        ):
            expected = bytes((0, 90, 0x10, 0xE1)) + IPv4Address(packed).packed
            self.assertEqual(pack_reply4(90, Address(host, 4321)), expected)

    def test_bounds(self) -> None:
        """Codes are octets, ports are ports."""
        self.assertEqual(pack_reply4(255, UNSPECIFIED)[1], 255)
        self.assertRaises(LocalProtocolError, pack_reply4, 256)
        self.assertRaises(LocalProtocolError, pack_reply4, -1)
        self.assertRaises(LocalProtocolError, pack_reply4, 90, Address(TARGET.host, 65536))
