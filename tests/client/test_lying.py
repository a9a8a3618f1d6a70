"""
A proxy that lies: whatever it sends, there is a typed failure at once, and nothing is left.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.error import ConnectError, ConnectionLost

from tests.client.base import (
    ALICE,
    BOUND,
    GRANTED,
    LOGGED_IN,
    LOGIN_SELECTED,
    PROXY_NAME,
    SELECTED,
    Application,
    ClientCase,
    Outcome,
    reply,
)
from twisted_socks5.client import (
    AuthenticationError,
    NegotiationTimeout,
    NoAuthentication,
    ProxyClosed,
    ProxyError,
    ProxyProtocolError,
    SOCKSError,
    UsernamePassword,
)
from twisted_socks5.client.succession import LINGER
from twisted_socks5.wire import MAX_BUFFERED, Command

BOTH = (ALICE, NoAuthentication())


class LyingTests(ClientCase):
    """Each lie by itself."""

    def lie(self, *segments: bytes, **options: Any) -> Any:
        """Say this to a client, and see how it ends; @return: the error."""
        application, outcome = self.connect(**{"authentication": BOTH, **options})
        self.say(*segments)
        error = outcome.error
        self.assertIsInstance(error, SOCKSError)
        self.assertIn(PROXY_NAME, str(error))
        self.assertClosed()
        self.assertEqual(application.heard, ["start", "stop"])
        self.hangUp()
        return error

    def test_wrongVersion(self) -> None:
        """In the method selection, in the status and in the reply."""
        for segments, where in (
            ((b"\4\0",), "version 4 instead of 5 in the method selection"),
            ((b"\0\x5b" + bytes(6),), "may know SOCKS4 only"),
            ((LOGIN_SELECTED, b"\5\0"), "version 5 instead of 1 in the status"),
            ((SELECTED, b"\4\0\0" + BOUND), "version 4 instead of 5 in the reply"),
        ):
            error = self.lie(*segments)
            self.assertIsInstance(error, ProxyProtocolError)
            self.assertIn(where, str(error))

    def test_http(self) -> None:
        """An HTTP proxy is told so by its first octet."""
        error = self.lie(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        self.assertIsInstance(error, ProxyProtocolError)
        self.assertIn("this looks like an HTTP proxy", str(error))

    def test_tls(self) -> None:
        """A proxy that speaks TLS, too."""
        self.assertIn("connect to it by a TLS endpoint", str(self.lie(b"\x15\3\3\0\2\2\x32")))

    def test_methodNotOffered(self) -> None:
        """GSSAPI, CHAP, or one that nobody knows, where none of them was offered."""
        for method in (1, 3, 0x80, 0xFE):
            error = self.lie(bytes((5, method)))
            self.assertIsInstance(error, ProxyProtocolError)
            self.assertIn("was not offered", str(error))

    def test_noneAcceptable(self) -> None:
        """FF, and whatever comes behind it."""
        self.assertIsInstance(self.lie(b"\5\xff" + GRANTED), AuthenticationError)

    def test_unknownAddressType(self) -> None:
        """A reply with an address of no type there is."""
        for kind in (0, 2, 5, 255):
            error = self.lie(SELECTED, bytes((5, 0, 0, kind)) + bytes(30))
            self.assertIsInstance(error, ProxyProtocolError)

    def test_unknownReply(self) -> None:
        """A REP that nobody knows is a failure; its code is kept."""
        for code in (9, 0x5A, 0xFF):
            error = self.lie(SELECTED, reply(code))
            self.assertIsInstance(error, ProxyError)
            self.assertEqual(error.code, code)

    def test_truncated(self) -> None:
        """An end, or a reset, behind every octet but the last."""
        conversation = LOGIN_SELECTED + LOGGED_IN + GRANTED
        for size in range(len(conversation)):
            for way in ("lose", "loseWrite", "abort"):
                with self.subTest(size=size, way=way):
                    application, outcome = self.connect(authentication=BOTH)
                    self.say(conversation[:size])
                    getattr(self.proxy, way)()
                    self.settle()
                    self.assertIsInstance(outcome.error, ProxyClosed)
                    self.assertIsInstance(outcome.error, ConnectionLost)
                    self.assertClosed()
                    self.assertEqual(application.heard, ["start", "stop"])
                    self.hangUp()

    def test_textOfLoss(self) -> None:
        """The error says what was being waited for."""
        for said, text in (
            (b"", "before it had selected a method"),
            (LOGIN_SELECTED, "in place of accepting the username and password"),
            (SELECTED, "before it had replied"),
        ):
            _, outcome = self.connect(authentication=BOTH)
            self.say(said)
            self.proxy.lose()
            self.settle()
            self.assertIn(f"the proxy closed the connection {text}", str(outcome.error))
            self.hangUp()

    def test_reasonOfLoss(self) -> None:
        """Where it is more than an end, the error says what, and has it as its cause."""
        _, outcome = self.connect()
        self.proxy.abort()
        self.settle()
        self.assertIsInstance(outcome.error.__cause__, ConnectionLost)

    def test_silent(self) -> None:
        """A proxy that says nothing, or no more, within its time; and one that drips."""
        conversation = LOGIN_SELECTED + LOGGED_IN + GRANTED
        for size in range(len(conversation)):
            with self.subTest(size=size):
                _, outcome = self.connect(authentication=BOTH, timeout=len(conversation) - 0.5)
                for octet in conversation[:size]:
                    self.say(bytes((octet,)))
                    self.reactor.advance(1.0)
                self.reactor.advance(len(conversation) - size - 0.6)
                self.assertTrue(outcome.pending)
                self.reactor.advance(0.2)
                self.assertIsInstance(outcome.error, NegotiationTimeout)
                self.assertIn("within 13.5 s", str(outcome.error))
                self.assertClosed()
                self.hangUp()

    def test_endless(self) -> None:
        """One that never stops talking ahead of its turn is cut; what is held has a bound."""
        _, outcome = self.connect(authentication=[UsernamePassword("a", "b")])
        self.say(LOGIN_SELECTED, LOGGED_IN[:1])
        self.say(b"\0" + b"\5\0\0\3")
        # A name of at most 255 octets is all that can be read as a reply's; the rest is payload.
        for _ in range(8):
            self.say(b"\xff" * 65536)
        self.assertEqual(len(outcome.result.received), 8 * 65536 - 1 - 255 - 2)

    def test_afterClose(self) -> None:
        """What comes behind a refusal, or behind the end of the time, is nobody's."""
        application, outcome = self.connect()
        self.say(SELECTED, reply(2) + GRANTED + b"hello")
        self.assertEqual(outcome.error.code, 2)
        self.say(GRANTED)
        self.assertClosed()
        self.hangUp()
        application, outcome = self.connect(timeout=1.0)
        self.reactor.advance(1.0)
        self.say(SELECTED + GRANTED)
        self.assertIsInstance(outcome.error, NegotiationTimeout)
        self.assertClosed()
        self.assertEqual(application.heard, ["start", "stop"])

    def test_anyBound(self) -> None:
        """To CONNECT it doesn't matter what BND says: zeros, IPv6, names, or rubbish in one."""
        for bound in (
            b"\1" + bytes(6),
            b"\4" + bytes(18),
            b"\4" + b"\xff" * 18,
            b"\3\0\0\0",
            b"\3\xff" + bytes(range(255)) + b"\xff\xff",
        ):
            _application, outcome = self.connect()
            self.say(SELECTED, b"\5\0\0" + bound + b"hello")
            self.assertEqual(bytes(outcome.result.received), b"hello")
            self.hangUp()

    def test_keepsOpen(self) -> None:
        """A proxy that refuses and doesn't close is left alone, and cut if it doesn't read."""
        _, outcome = self.connect()
        self.say(SELECTED)
        self.proxy.pause()
        self.proxy.write(reply(1))
        self.settle()
        self.assertEqual(outcome.error.code, 1)
        self.reactor.advance(LINGER)
        self.settle()
        self.proxy.resume()
        self.settle()
        self.assertClosed()


class PropertyTests(ClientCase):
    """Whatever is said, in whatever pieces."""

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_anyCut(self, data: st.DataObject) -> None:
        """Any cut of a conversation gives the same result."""
        code = data.draw(st.sampled_from((0, 0, 0, 1, 5, 200)))
        login = data.draw(st.booleans())
        payload = data.draw(st.binary(max_size=20)) if not code else b""
        said = (LOGIN_SELECTED + LOGGED_IN if login else SELECTED) + reply(code) + payload
        cuts = sorted(data.draw(st.sets(st.integers(0, len(said)))))
        _application, outcome = self.connect(authentication=BOTH)
        for start, end in zip([0, *cuts], [*cuts, len(said)], strict=True):
            self.say(said[start:end])
        if code:
            self.assertEqual(outcome.error.code, code)
            self.assertClosed()
        else:
            self.assertEqual(bytes(outcome.result.received), payload)
        self.hangUp()

    @settings(max_examples=150, deadline=None)
    @given(
        segments=st.lists(st.binary(max_size=40), max_size=4),
        beginning=st.sampled_from((b"", SELECTED, LOGIN_SELECTED, LOGIN_SELECTED + LOGGED_IN)),
        ending=st.sampled_from(("", "lose", "abort", "loseWrite")),
        command=st.sampled_from((Command.CONNECT, Command.BIND, Command.UDP_ASSOCIATE, 0xF0)),
    )
    def test_anyOctets(
        self, segments: list[bytes], beginning: bytes, ending: str, command: int
    ) -> None:
        """Any octets: a connection or one of our errors, within the time, and nothing left."""
        outcome = self.request(command, authentication=BOTH, timeout=10.0)
        self.say(beginning)
        for segment in segments:
            if self.proxy.lost is None:
                self.say(segment)
        if ending and self.proxy.lost is None:
            getattr(self.proxy, ending)()
            self.settle()
        self.reactor.advance(10.0)
        self.assertFalse(outcome.pending)
        if outcome.failures:
            self.assertIsInstance(outcome.error, SOCKSError)
            self.assertClosed()
        else:
            outcome.result.close()
            self.assertClosed()
        self.hangUp()

    @settings(max_examples=60, deadline=None)
    @given(data=st.data())
    def test_cancelledAnywhere(self, data: st.DataObject) -> None:
        """Cancelled behind any number of octets, in any pieces: nothing is left."""
        said = LOGIN_SELECTED + LOGGED_IN + GRANTED
        end = data.draw(st.integers(0, len(said) - 1))
        middle = data.draw(st.integers(0, end))
        connected = data.draw(st.booleans())
        application = Application()
        outcome = Outcome(self.endpoint(authentication=BOTH).connect(application))
        if connected:
            self.settle()
            self.say(said[:middle], said[middle:end])
        outcome.deferred.cancel()
        self.assertFalse(outcome.pending)
        self.assertNotIsInstance(outcome.error, ConnectError)
        self.settle()
        self.assertEqual(self.reactor.openConnections(), [])
        self.assertEqual(application.heard[-1], "stop")
        self.hangUp()


class BoundsTests(ClientCase):
    """How much is held of what nobody has asked for."""

    def test_aheadOfOurTurn(self) -> None:
        """What comes before a connection is handed over is held up to a bound, then not read."""
        outcome = self.request()
        self.say(SELECTED, GRANTED)
        control = outcome.result
        for _ in range(100):
            self.proxy.write(bytes(65536))
            self.settle()
        held = len(control._negotiation._buffer)
        self.assertLess(held, MAX_BUFFERED)
        application = Application()
        peer = application.buildProtocol(None)
        control.handOver(peer)
        self.settle()
        self.assertEqual(len(peer.received), 6553600)
        peer.lose()
        self.settle()
