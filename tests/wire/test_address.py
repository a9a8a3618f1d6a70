"""Host and port on the wire and in a log line."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    UNSPECIFIED,
    Address,
    LocalProtocolError,
    Reply,
    UnknownAddressType,
    describe_host,
    pack_address,
    parse_address,
)

from .strategies import address


class PackTests(SynchronousTestCase):
    """ATYP ADDR PORT, RFC 1928, section 5."""

    def test_octets(self) -> None:
        """Each address type looks as the RFC says."""
        for packed, value in (
            ("01 7F000001 0050", Address(IPv4Address("127.0.0.1"), 80)),
            (
                "04 20010DB8000000000000000000000001 FFFF",
                Address(IPv6Address("2001:db8::1"), 65535),
            ),
            ("03 02 6162 0101", Address(b"ab", 257)),
            ("01 00000000 0000", UNSPECIFIED),
        ):
            octets = bytes.fromhex(packed)
            self.assertEqual(pack_address(value), octets)
            self.assertEqual(parse_address(octets), (value, len(octets)))

    def test_bounds(self) -> None:
        """Ports from 0 to 65535 and names of 1 to 255 octets; nothing is cut off."""
        for good in (Address(b"n", 0), Address(b"n" * 255, 65535)):
            self.assertIsNotNone(parse_address(pack_address(good)))
        for bad in (
            Address(b"", 1),
            Address(b"n" * 256, 1),
            Address(b"n", -1),
            Address(b"n", 65536),
            Address(IPv4Address(0), 65536),
            Address(IPv6Address(0), -1),
        ):
            self.assertRaises(LocalProtocolError, pack_address, bad)

    def test_zone(self) -> None:
        """The wire has no place for a zone: it is refused rather than dropped."""
        zoned = IPv6Address("fe80::1%eth0")
        error = self.assertRaises(LocalProtocolError, pack_address, Address(zoned, 1))
        self.assertIn("fe80::1%eth0", str(error))


class ParseTests(SynchronousTestCase):
    """What others write."""

    def test_empty_name(self) -> None:
        """A name of length 0 is legal on the wire, and read."""
        self.assertEqual(parse_address(b"\x03\x00\x00\x50"), (Address(b"", 80), 4))

    def test_raw_name(self) -> None:
        """A name's octets are nobody's business here: NUL, blanks, any encoding."""
        raw = b"a\0b \xff\n"
        self.assertEqual(parse_address(b"\x03\x06" + raw + b"\0\1"), (Address(raw, 1), 10))

    def test_unknown_type(self) -> None:
        """An unknown ATYP is refused with REP 8, as soon as it is there."""
        for octet in {*range(256)} - {1, 3, 4}:
            error = self.assertRaises(UnknownAddressType, parse_address, bytes((octet,)))
            self.assertEqual(error.address_type, octet)
            self.assertIs(error.reply, Reply.ADDRESS_TYPE_NOT_SUPPORTED)
            self.assertEqual(error.answer, b"\x05\x08\x00\x01\x00\x00\x00\x00\x00\x00")


class TextTests(SynchronousTestCase):
    """Addresses in logs."""

    def test_readable(self) -> None:
        """They look as one writes them."""
        for text, host in (
            ("192.0.2.1:80", IPv4Address("192.0.2.1")),
            ("[2001:db8::1]:80", IPv6Address("2001:db8::1")),
            ("example.com:80", b"example.com"),
            (":80", b""),
        ):
            self.assertEqual(str(Address(host, 80)), text)

    def test_escaped(self) -> None:
        """Whatever could break a log line out of its frame is escaped."""
        self.assertEqual(
            describe_host(b'a\n b\x00"\\\x7f\xc3\xa9'), r"a\x0a\x20b\x00\x22\x5c\x7f\xc3\xa9"
        )

    @settings(max_examples=200, deadline=None)
    @given(address)
    def test_safe(self, address: Address) -> None:
        """No address has anything but visible ASCII in its text."""
        text = str(address)
        self.assertTrue(all(0x20 < ord(character) < 0x7F for character in text))
        self.assertNotIn('"', text)
