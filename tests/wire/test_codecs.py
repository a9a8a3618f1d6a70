"""What holds for every message: reading inverts writing, and nothing is read ahead of its end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.wire import (
    MTYP,
    Abort,
    Address,
    CredentialsStatus,
    Greeting,
    MethodSelection,
    ProtocolError,
    Reply4Message,
    ReplyMessage,
    Request,
    Request4,
    Token,
    UsernamePassword,
    pack_abort,
    pack_address,
    pack_greeting,
    pack_method_selection,
    pack_reply,
    pack_reply4,
    pack_request,
    pack_request4,
    pack_status,
    pack_token,
    pack_username_password,
    parse_address,
    parse_frame,
    parse_greeting,
    parse_method_selection,
    parse_reply,
    parse_reply4,
    parse_request,
    parse_request4,
    parse_request_strictly,
    parse_status,
    parse_username_password,
)

from .strategies import address, address4, damaged, ipv4, name, octet, port, string4


class Codec(NamedTuple):
    """
    A message's two ways.

    @ivar messages: draws messages.
    @ivar pack: writes one.
    @ivar parse: reads one.
    """

    messages: SearchStrategy[Any]
    pack: Callable[[Any], bytes]
    parse: Callable[..., tuple[Any, int] | None]


method = st.integers(0, 254)
short = st.binary(max_size=600)

CODECS = (
    Codec(address, pack_address, parse_address),
    Codec(
        st.builds(Greeting, st.lists(method, min_size=1, max_size=255).map(bytes)),
        lambda message: pack_greeting(message.methods),
        parse_greeting,
    ),
    Codec(
        st.builds(MethodSelection, octet),
        lambda message: pack_method_selection(message.method),
        parse_method_selection,
    ),
    Codec(
        st.builds(Request, octet, address, octet),
        lambda message: pack_request(message.command, message.destination, message.reserved),
        parse_request,
    ),
    Codec(
        st.builds(Request, octet, address),
        lambda message: pack_request(message.command, message.destination),
        parse_request_strictly,
    ),
    Codec(
        st.builds(ReplyMessage, octet, address),
        lambda message: pack_reply(message.reply, message.bound),
        parse_reply,
    ),
    Codec(
        st.builds(UsernamePassword, name, name),
        pack_username_password,
        parse_username_password,
    ),
    Codec(
        st.builds(CredentialsStatus, st.integers(0, 1)),
        lambda message: pack_status(message.succeeded),
        parse_status,
    ),
    Codec(
        st.builds(Token, st.sampled_from((MTYP.AUTHENTICATION, MTYP.DATA)), short),
        lambda message: pack_token(message.kind, message.data),
        parse_frame,
    ),
    Codec(st.just(Abort()), lambda _message: pack_abort(), parse_frame),
    Codec(
        st.builds(Request4, octet, address4, string4),
        lambda message: pack_request4(message.command, message.destination, message.user_id),
        parse_request4,
    ),
    Codec(
        st.builds(Reply4Message, octet, st.builds(Address, ipv4, port)),
        lambda message: pack_reply4(message.reply, message.bound),
        parse_reply4,
    ),
)

codec = st.sampled_from(CODECS)
examples = settings(max_examples=300, deadline=None)


class CodecTests(SynchronousTestCase):
    """The laws of C{pack_x} and C{parse_x}."""

    @examples
    @given(codec, st.data(), st.binary(max_size=8), st.binary(max_size=8))
    def test_parse_inverts_pack(
        self, codec: Codec, data: st.DataObject, before: bytes, behind: bytes
    ) -> None:
        """What was written is read, wherever it stands and in whatever kind of buffer."""
        message = data.draw(codec.messages)
        octets = codec.pack(message)
        for buffer in (bytes, bytearray, memoryview):
            found = codec.parse(buffer(before + octets + behind), len(before))
            self.assertEqual(found, (message, len(before) + len(octets)))
        self.assertEqual(codec.parse(octets), (message, len(octets)))

    @examples
    @given(codec, st.data())
    def test_truncated(self, codec: Codec, data: st.DataObject) -> None:
        """The beginning of a message is no message, and no mistake either."""
        octets = codec.pack(data.draw(codec.messages))
        size = data.draw(st.integers(0, len(octets) - 1))
        self.assertIsNone(codec.parse(octets[:size]))
        self.assertIsNone(codec.parse(b"??" + octets[:size], 2))

    @examples
    @given(codec, st.data())
    def test_damaged(self, codec: Codec, data: st.DataObject) -> None:
        """Octets that are nearly a message raise nothing but ProtocolError."""
        octets = data.draw(damaged(codec.messages.map(codec.pack)))
        self.parse_anything(codec, octets)

    @examples
    @given(codec, st.binary(max_size=64), st.integers(0, 4))
    def test_arbitrary(self, codec: Codec, octets: bytes, version: int) -> None:
        """So do octets that are nothing, behind a version that may be right."""
        self.parse_anything(codec, octets)
        self.parse_anything(codec, bytes((version + 1,)) + octets)

    def parse_anything(self, codec: Codec, octets: bytes) -> None:
        """Read what may be no message; if it is one, it ends where there are octets."""
        try:
            found = codec.parse(octets)
        except ProtocolError as error:
            self.assertEqual(str(error), error.reason)
            return
        if found is not None:
            self.assertTrue(0 < found[1] <= len(octets))
            # It is the same with nothing behind it, and incomplete with less.
            self.assertEqual(codec.parse(octets[: found[1]]), found)
            self.assertIsNone(codec.parse(octets[: found[1] - 1]))
