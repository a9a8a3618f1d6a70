"""The UDP request header, RFC 1928, section 7."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    AddressType,
    DatagramError,
    Host,
    LocalProtocolError,
    pack_header,
    pack_raw_header,
    parse_header,
)

from .strategies import host, octet, port

examples = settings(max_examples=300, deadline=None)


def raw(host: Host) -> tuple[int, bytes]:
    """ATYP and the octets of a host."""
    if isinstance(host, bytes):
        return AddressType.DOMAINNAME, host
    return (4, host.packed) if isinstance(host, IPv6Address) else (1, host.packed)


class HeaderTests(SynchronousTestCase):
    """RSV RSV FRAG ATYP ADDR PORT."""

    def test_octets(self) -> None:
        """The three kinds, 10, 22 and 7 more than the name."""
        for target, frag, octets in (
            (IPv4Address("192.0.2.1"), 0, "0000 00 01 C0000201 0035"),
            (IPv6Address("::1"), 0x81, "0000 81 04 00000000000000000000000000000001 0035"),
            (b"ns", 1, "0000 01 03 02 6E73 0035"),
        ):
            expected = bytes.fromhex(octets)
            self.assertEqual(pack_header(target, 53, frag), expected)
            self.assertEqual(
                parse_header(expected + b"data"), (frag, *raw(target), 53, len(expected))
            )

    @examples
    @given(host, port, octet, st.binary(max_size=20))
    def test_parse_inverts_pack(self, host: Host, port: int, frag: int, data: bytes) -> None:
        """What was written is read; the payload may be empty."""
        header = pack_header(host, port, frag)
        address_type, octets = raw(host)
        self.assertEqual(
            parse_header(header + data), (frag, address_type, octets, port, len(header))
        )
        self.assertEqual(pack_raw_header(address_type, octets, port, frag), header)

    @examples
    @given(host, port, st.data())
    def test_truncated(self, host: Host, port: int, data: st.DataObject) -> None:
        """A datagram that ends within its header is an error: nothing follows a datagram."""
        header = pack_header(host, port)
        size = data.draw(st.integers(0, len(header) - 1))
        self.assertRaises(DatagramError, parse_header, header[:size])

    @examples
    @given(st.one_of(st.binary(max_size=40), st.binary(max_size=40).map(b"\0\0\0".__add__)))
    def test_arbitrary(self, data: bytes) -> None:
        """Anything at all is read, or raises DatagramError."""
        try:
            frag, address_type, octets, port, offset = parse_header(data)
        except DatagramError as error:
            self.assertIsNone(error.reply)
            self.assertEqual(error.answer, b"")
        else:
            header = pack_raw_header(address_type, octets, port, frag)
            self.assertEqual(header, data[:offset])

    def test_malformed(self) -> None:
        """RSV other than 0, an unknown ATYP and an empty name: dropped, with the reason."""
        rest = b"\xc0\x00\x02\x01\x00\x35"
        for data, reason in (
            (b"\x00\x01\x00\x01" + rest, "RSV is 0x0001 in a datagram"),
            (b"\x80\x00\x00\x01" + rest, "RSV is 0x8000 in a datagram"),
            (b"\x00\x00\x00\x02" + rest, "unknown address type 0x02 in a datagram"),
            (b"\x00\x00\x00\x03\x00\x00\x35", "an empty name in a datagram"),
            (b"\x00\x00\x00\x01" + rest[:-1], "a datagram of 9 octets ends within its header"),
            (b"", "a datagram of 0 octets has no header"),
        ):
            error = self.assertRaises(DatagramError, parse_header, data)
            self.assertEqual(str(error), reason)

    def test_bounds(self) -> None:
        """FRAG, port and name at their bounds and beyond."""
        ipv4 = IPv4Address("192.0.2.1")
        self.assertEqual(pack_header(ipv4, 65535, 255)[2:4], b"\xff\x01")
        self.assertEqual(len(pack_header(b"n" * 255, 0)), 262)
        for bad, number, frag in (
            (ipv4, 65536, 0),
            (ipv4, -1, 0),
            (ipv4, 1, 256),
            (ipv4, 1, -1),
            (b"", 1, 0),
            (b"n" * 256, 1, 0),
            (IPv6Address("fe80::1%2"), 1, 0),
        ):
            self.assertRaises(LocalProtocolError, pack_header, bad, number, frag)

    def test_raw_bounds(self) -> None:
        """A host has the size that its ATYP says."""
        for address_type, size in ((1, 3), (1, 5), (4, 15), (4, 17), (2, 4), (3, 0), (3, 256)):
            self.assertRaises(LocalProtocolError, pack_raw_header, address_type, b"x" * size, 1)
