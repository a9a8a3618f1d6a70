"""The words and their texts, and that each bound is the largest message's size."""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    MTYP,
    Address,
    Command,
    Method,
    Reply,
    Reply4,
    UsernamePassword,
    constants,
    describe_command,
    describe_method,
    describe_reply,
    describe_reply4,
    pack_greeting,
    pack_header,
    pack_reply,
    pack_reply4,
    pack_request,
    pack_request4,
    pack_status,
    pack_token,
    pack_username_password,
)

LONGEST = Address(b"n" * 255, 65535)


class DescriptionTests(SynchronousTestCase):
    """Every code has a text for the log."""

    def test_known(self) -> None:
        """The RFC's codes have the RFC's words."""
        self.assertEqual(describe_method(Method.USERNAME_PASSWORD), "username/password (0x02)")
        self.assertEqual(describe_command(Command.UDP_ASSOCIATE), "UDP ASSOCIATE")
        self.assertEqual(describe_reply(4), "host unreachable (4)")
        self.assertEqual(describe_reply4(91), "request rejected or failed (91)")

    def test_unknown(self) -> None:
        """Those of nobody have their number."""
        self.assertEqual(describe_method(0x42), "unassigned method (0x42)")
        self.assertEqual(describe_method(0x80), "private method (0x80)")
        self.assertEqual(describe_command(9), "command 0x09")
        self.assertEqual(describe_reply(0xF0), "unassigned reply (240)")
        self.assertEqual(describe_reply4(0), "unassigned SOCKS4 reply (0)")

    def test_all(self) -> None:
        """No octet is without a text, and no word shares another's."""
        for describe, words in (
            (describe_method, Method),
            (describe_command, Command),
            (describe_reply, Reply),
            (describe_reply4, Reply4),
        ):
            texts = {describe(code) for code in range(256)}
            self.assertEqual(len(texts), 256)
            for word in words:
                self.assertNotIn("unassigned", describe(word))


class BoundTests(SynchronousTestCase):
    """The bounds are what the largest messages measure."""

    def test_largest_messages(self) -> None:
        """Packing the largest of each kind gives just that size."""
        longest = b"x" * 255
        for octets, bound in (
            (pack_greeting(range(255)), constants.MAX_GREETING),
            (pack_request(1, LONGEST), constants.MAX_REQUEST),
            (pack_reply(0, LONGEST), constants.MAX_REPLY),
            (
                pack_username_password(UsernamePassword(longest, longest)),
                constants.MAX_CREDENTIALS,
            ),
            (pack_status(True), constants.STATUS_SIZE),
            (pack_token(MTYP.DATA, b"x" * 65535), constants.MAX_FRAME),
            (pack_request4(1, LONGEST, longest), constants.MAX_REQUEST4),
            (pack_reply4(90), constants.REPLY4_SIZE),
            (pack_header(LONGEST.host, 1), constants.MAX_UDP_HEADER),
        ):
            self.assertEqual(len(octets), bound)

    def test_udp(self) -> None:
        """RFC 1928, section 7, counts 10, 262 and 20; the last one is 22."""
        self.assertEqual(
            (
                constants.UDP_HEADER_IPV4_SIZE,
                constants.MAX_UDP_HEADER,
                constants.UDP_HEADER_IPV6_SIZE,
            ),
            (10, 262, 22),
        )
        self.assertEqual(constants.MAX_UDP_PAYLOAD, 65507)
