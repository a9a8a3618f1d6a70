"""
Tests of C{twisted_socks5.client.gssapi}: a security context, and an application above it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.client.base import GRANTED, REQUEST, Application, ClientCase, Outcome, reply
from twisted_socks5.client import (
    GSSAPI,
    AuthenticationError,
    NegotiationTimeout,
    NoAuthentication,
    Proxy,
    ProxyClosed,
    ProxyProtocolError,
    SOCKS5ClientEndpoint,
    SOCKSError,
)
from twisted_socks5.client.gssapi import THREADS, threadsFor
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.security import ContextError, Encapsulation, ISecurityContext, kerberos
from twisted_socks5.testing import Peer, PeerFactory
from twisted_socks5.testing.security import MemoryContext
from twisted_socks5.wire import MTYP, Command, Token, pack_abort, pack_token, parse_frame

SELECTED = b"\5\1"
NONE, INTEGRITY, CONFIDENTIALITY, PER_MESSAGE = range(4)


class Acceptor(Peer):
    """
    A proxy that speaks GSSAPI, message by message as the test says.

    @ivar context: its side.
    """

    def __init__(self, context: MemoryContext) -> None:
        super().__init__()
        self.context = context

    def take(self, kind: MTYP) -> bytes:
        """Take a frame of what was received."""
        parsed = parse_frame(self.received)
        if parsed is None:
            raise AssertionError(f"no frame in {bytes(self.received)!r}")
        frame, end = parsed
        del self.received[:end]
        if not isinstance(frame, Token) or frame.kind is not kind:
            raise AssertionError(f"{frame!r} in place of {kind.name}")
        return frame.data

    def data(self) -> bytes:
        """Take everything that was received, which is all protected."""
        octets = b""
        while self.received:
            octets += self.context.unwrap(self.take(MTYP.DATA))[0]
        return octets

    def step(self) -> None:
        """Answer a token."""
        token = self.context.step(self.take(MTYP.AUTHENTICATION))
        self.write(pack_token(MTYP.AUTHENTICATION, token))

    def grant(self, level: int, *, bare: bool = False) -> None:
        """Answer the level."""
        octet = bytes((level,))
        token = octet if bare else self.context.wrap(octet, False)
        self.write(pack_token(MTYP.PROTECTION_LEVEL, token))

    def protected(self, octets: bytes, sealed: bool = True) -> bytes:
        """Wrap octets."""
        return pack_token(MTYP.DATA, self.context.wrap(octets, sealed))


class GSSAPICase(ClientCase):
    """
    Connects by GSSAPI.

    @ivar contexts: our contexts.
    @ivar asked: for which service, and whether in sequence, each was made.
    """

    rounds = 1
    mutual = True

    def setUp(self) -> None:
        """Have a proxy listen that speaks GSSAPI."""
        super().setUp()
        self.contexts: list[MemoryContext] = []
        self.asked: list[tuple[str, bool]] = []
        self.proxies._build = lambda: Acceptor(
            MemoryContext("rcmd", rounds=self.rounds, mutual=self.mutual)
        )
        self.addCleanup(self.assertDisposed)

    def assertDisposed(self) -> None:
        """No context is left."""
        self.hangUp()
        for context in self.contexts:
            self.assertTrue(context.disposed)

    @property
    def acceptor(self) -> Acceptor:
        """The proxy's end."""
        peer = self.proxy
        if not isinstance(peer, Acceptor):
            raise AssertionError(peer)
        return peer

    def makeContext(self, service: str, sequence: bool) -> ISecurityContext:
        """Make our side."""
        self.asked.append((service, sequence))
        context = MemoryContext(
            "alice", initiates=True, rounds=self.rounds, mutual=self.mutual, ordered=sequence
        )
        self.contexts.append(context)
        return context

    def gssapi(self, **options: Any) -> GSSAPI:
        """Say that we speak GSSAPI."""
        return GSSAPI(**{"context": self.makeContext, **options})

    def begin(self, **options: Any) -> tuple[Application, Outcome]:
        """Connect, and have GSSAPI selected."""
        application, outcome = self.connect(authentication=[self.gssapi(**options)])
        self.assertEqual(self.heard(), b"\5\1\1")
        self.say(SELECTED)
        return application, outcome

    def step(self) -> None:
        """Have the proxy answer a token."""
        self.acceptor.step()
        self.settle()

    def protect(self, level: int = CONFIDENTIALITY, **options: Any) -> tuple[Application, Outcome]:
        """Connect, up to the request; its octets are wrapped."""
        application, outcome = self.begin(**options)
        for _ in range(self.rounds):
            self.step()
        _asked, sealed = self.acceptor.context.unwrap(self.acceptor.take(MTYP.PROTECTION_LEVEL))
        self.assertFalse(sealed)
        self.acceptor.grant(level)
        self.settle()
        return application, outcome

    def establish(self, **options: Any) -> Peer:
        """Connect, all the way."""
        application, outcome = self.protect(**options)
        self.assertEqual(self.acceptor.data(), REQUEST)
        self.say(self.acceptor.protected(GRANTED))
        peer: Peer = outcome.result
        self.assertIs(peer, application.peer)
        return peer


class ExchangeTests(GSSAPICase):
    """Tokens, and the level."""

    def test_all(self) -> None:
        """The context, the level, the request, the reply, and payload both ways."""
        peer = self.establish()
        self.assertIsInstance(peer.transport, Encapsulation)
        self.assertEqual(self.asked, [("rcmd@192.0.2.10", True)])
        self.assertEqual(self.acceptor.context.peer, "alice@EXAMPLE.COM")
        peer.write(b"hello")
        self.settle()
        self.assertEqual(self.acceptor.data(), b"hello")
        self.say(self.acceptor.protected(b"welcome"))
        self.assertEqual(bytes(peer.received), b"welcome")

    def test_service(self) -> None:
        """The service is the proxy's, by the name that it has or GSSAPI says."""
        for options, name, service in (
            ({}, "proxy.example:1080", "rcmd@proxy.example"),
            ({}, "[2001:db8::1]:1080", "rcmd@2001:db8::1"),
            ({}, "proxy.example", "rcmd@proxy.example"),
            ({"host": "other.example"}, "proxy.example", "rcmd@other.example"),
            ({"service": "socks/proxy@R"}, "proxy.example", "socks/proxy@R"),
        ):
            self.request(name=name, authentication=[self.gssapi(**options)])
            self.say(SELECTED)
            self.assertEqual(self.asked.pop()[0], service)
            self.hangUp()

    def test_datagrams(self) -> None:
        """Where there are to be datagrams messages have no sequence; they share the context."""
        outcome = self.request(Command.UDP_ASSOCIATE, authentication=[self.gssapi()])
        self.heard()
        self.say(SELECTED)
        self.assertEqual(self.asked[0][1], False)
        self.step()
        self.acceptor.take(MTYP.PROTECTION_LEVEL)
        self.acceptor.context._ordered = False
        self.acceptor.grant(CONFIDENTIALITY)
        self.settle()
        self.say(self.acceptor.protected(GRANTED))
        control = outcome.result
        self.assertIs(control.encapsulation, control.transport)
        datagram = control.encapsulation.wrapDatagram(b"datagram")
        self.acceptor.data()
        self.acceptor.received += datagram
        token = self.acceptor.take(MTYP.DATA)
        self.assertEqual(self.acceptor.context.unwrap(token), (b"datagram", True))
        control.close()
        self.settle()

    def test_levels(self) -> None:
        """The first level is asked for; another one that will do may be granted."""
        for levels, granted, sealed in (
            ((CONFIDENTIALITY, INTEGRITY), CONFIDENTIALITY, True),
            ((CONFIDENTIALITY, INTEGRITY), INTEGRITY, False),
            ((INTEGRITY, CONFIDENTIALITY), CONFIDENTIALITY, True),
            ((INTEGRITY,), INTEGRITY, False),
            ((PER_MESSAGE,), PER_MESSAGE, True),
        ):
            _, outcome = self.begin(levels=levels)
            self.step()
            asked = self.acceptor.context.unwrap(self.acceptor.take(MTYP.PROTECTION_LEVEL))
            self.assertEqual(asked, (bytes((levels[0],)), False))
            self.acceptor.grant(granted)
            self.settle()
            token = self.acceptor.take(MTYP.DATA)
            self.assertEqual(self.acceptor.context.unwrap(token), (REQUEST, sealed))
            self.say(self.acceptor.protected(GRANTED, sealed))
            self.assertEqual(outcome.result.events, ["made"])
            self.hangUp()

    def test_notThatLevel(self) -> None:
        """A level that won't do: an abort, and an error that says which."""
        for levels, granted in (
            ((CONFIDENTIALITY,), INTEGRITY),
            ((CONFIDENTIALITY, INTEGRITY), NONE),
            ((INTEGRITY,), CONFIDENTIALITY),
            ((INTEGRITY,), 77),
        ):
            _, outcome = self.begin(levels=levels)
            self.step()
            self.acceptor.take(MTYP.PROTECTION_LEVEL)
            self.acceptor.grant(granted)
            self.settle()
            self.assertEqual(self.heard(), pack_abort())
            self.assertIsInstance(outcome.error, AuthenticationError)
            self.assertIn(f"grants level {granted} of protection", str(outcome.error))
            self.assertClosed()
            self.hangUp()

    def test_noLevel(self) -> None:
        """An answer that is no single octet is none."""
        for octets in (b"", b"\1\1"):
            _, outcome = self.begin()
            self.step()
            token = self.acceptor.context.wrap(octets, False)
            self.say(pack_token(MTYP.PROTECTION_LEVEL, token))
            self.assertIn("grants no level of protection", str(outcome.error))
            self.assertClosed()
            self.hangUp()

    def test_unprotected(self) -> None:
        """Where that will do, nothing is protected; the transport is the real one."""
        _application, outcome = self.protect(NONE, levels=(NONE,))
        self.assertEqual(self.heard(), REQUEST)
        self.assertTrue(self.contexts[0].disposed)
        self.say(GRANTED + b"hello")
        self.assertEqual(bytes(outcome.result.received), b"hello")
        self.assertIs(outcome.result.transport.protocol, outcome.result)

    def test_nec(self) -> None:
        """In NEC's way the level is a bare octet, both ways; all else is the same."""
        _, outcome = self.begin(nec=True)
        self.step()
        self.assertEqual(self.acceptor.take(MTYP.PROTECTION_LEVEL), b"\2")
        self.acceptor.grant(CONFIDENTIALITY, bare=True)
        self.settle()
        self.assertEqual(self.acceptor.data(), REQUEST)
        self.say(self.acceptor.protected(GRANTED))
        self.assertEqual(outcome.result.events, ["made"])

    def test_tampered(self) -> None:
        """A token that is another's, at each stage: an abort, and an error."""
        _, outcome = self.begin()
        self.heard()
        self.say(pack_token(MTYP.AUTHENTICATION, b"rubbish"))
        self.assertEqual(self.heard(), pack_abort())
        self.assertIn("of another realm, or was changed", str(outcome.error))
        self.assertClosed()
        self.hangUp()
        _, outcome = self.begin()
        self.step()
        self.heard()
        self.say(pack_token(MTYP.PROTECTION_LEVEL, b"\2"))
        self.assertEqual(self.heard(), pack_abort())
        self.assertIn("bad checksum", str(outcome.error))
        self.assertClosed()

    def test_aborted(self) -> None:
        """The server gives up, at each stage."""
        for steps in (0, 1):
            _, outcome = self.begin()
            for _ in range(steps):
                self.step()
            self.say(pack_abort())
            self.assertIsInstance(outcome.error, AuthenticationError)
            self.assertIn("the server has given up", str(outcome.error))
            self.assertClosed()
            self.hangUp()

    def test_endless(self) -> None:
        """A server that has always one token more is cut."""

        class Endless(MemoryContext):
            def step(self, token: bytes) -> bytes:
                return b"more"

        _, outcome = self.begin(context=lambda *_: Endless("alice", initiates=True))
        for _ in range(20):
            if self.proxy.lost is None:
                self.say(pack_token(MTYP.AUTHENTICATION, b"more"))
        self.assertIsInstance(outcome.error, ProxyProtocolError)
        self.assertIn("more than 16 tokens", str(outcome.error))
        self.assertClosed()

    def test_stuck(self) -> None:
        """A context that neither stands nor has a token."""

        class Mute(MemoryContext):
            def step(self, token: bytes) -> bytes:
                return b""

        _, outcome = self.begin(context=lambda *_: Mute("alice", initiates=True))
        self.assertIn("nothing more to say", str(outcome.error))
        self.assertClosed()

    def test_noContext(self) -> None:
        """Where there can be no context at all the error says why; nothing else is tried."""
        for error in (ContextError("no tickets"), ValueError("no tickets")):

            def raising(service: str, sequence: bool, error: Exception = error) -> MemoryContext:
                raise error

            _, outcome = self.begin(context=raising)
            self.assertIsInstance(outcome.error, AuthenticationError)
            self.assertIn(
                "no security context for rcmd@192.0.2.10: no tickets", str(outcome.error)
            )
            self.assertClosed()
            self.hangUp()

    def test_blunder(self) -> None:
        """A context that fails as it should not is logged, and an error all the same."""

        class Broken(MemoryContext):
            def step(self, token: bytes) -> bytes:
                raise ZeroDivisionError

        _, outcome = self.begin(context=lambda *_: Broken("alice"))
        self.assertIsInstance(outcome.error, AuthenticationError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertClosed()

    def test_notOffered(self) -> None:
        """A server that wants none needs no context."""
        _, outcome = self.connect(authentication=[self.gssapi(), NoAuthentication()])
        self.say(b"\5\0", GRANTED)
        self.assertEqual(outcome.result.events, ["made"])
        self.assertEqual(self.contexts, [])


class ManyRoundsTests(GSSAPICase):
    """A mechanism with more than one token each way."""

    rounds = 3

    def test_all(self) -> None:
        """It takes its rounds."""
        self.establish()
        self.assertEqual(self.contexts[0].steps, 4)


class OneWayTests(GSSAPICase):
    """A context that stands with our own token; the server answers it with an empty one."""

    mutual = False

    def test_all(self) -> None:
        """The empty token is waited for."""
        self.establish()

    def test_tooMuch(self) -> None:
        """One that is not empty is one too many."""
        _, outcome = self.begin()
        self.say(pack_token(MTYP.AUTHENTICATION, b"more"))
        self.assertIn("a token after its last one", str(outcome.error))
        self.assertTrue(self.heard().endswith(pack_abort()))
        self.assertClosed()


class EndingTests(GSSAPICase):
    """Threads that are busy, deadlines, cancellation and loss."""

    def stages(self) -> list[Callable[[], None]]:
        """Say what leads to where a thread is at work, or will be."""
        return [
            lambda: None,
            lambda: self.acceptor.step(),
            lambda: self.acceptor.grant(CONFIDENTIALITY),
        ]

    def at(self, stage: int) -> Outcome:
        """Connect, up to a stage where no thread gets to work."""
        _, outcome = self.connect(authentication=[self.gssapi()])
        self.heard()
        for number, lead in enumerate((lambda: self.proxy.write(SELECTED), *self.stages()[1:])):
            self.reactor.threads.stalled = number == stage
            lead()
            self.settle()
            if number == stage:
                break
            if number == 1:
                self.heard()
        self.assertTrue(outcome.pending)
        return outcome

    def release(self) -> None:
        """Let the threads work, and see that nothing comes of it."""
        self.settle()
        self.reactor.threads.stalled = False
        self.settle()
        self.assertTrue(all(context.disposed for context in self.contexts))
        self.contexts.clear()
        self.hangUp()

    def test_cancelled(self) -> None:
        """Cancelled while a thread is at work: it is let finish, and the context goes then."""
        for stage in range(3):
            with self.subTest(stage=stage):
                outcome = self.at(stage)
                outcome.deferred.cancel()
                self.assertFalse(outcome.pending)
                self.assertClosed()
                self.release()

    def test_late(self) -> None:
        """A thread that takes too long."""
        for stage in range(3):
            with self.subTest(stage=stage):
                outcome = self.at(stage)
                self.reactor.advance(30.0)
                self.assertIsInstance(outcome.error, NegotiationTimeout)
                self.assertClosed()
                self.release()

    def test_lost(self) -> None:
        """The connection is lost in the meantime."""
        for stage in range(3):
            for way in ("lose", "abort", "loseWrite"):
                with self.subTest(stage=stage, way=way):
                    outcome = self.at(stage)
                    getattr(self.proxy, way)()
                    self.settle()
                    self.assertIsInstance(outcome.error, ProxyClosed)
                    self.assertIn("during the authentication", str(outcome.error))
                    self.assertClosed()
                    self.release()

    def test_broken(self) -> None:
        """A frame that is none, at each stage."""
        for steps in (0, 1):
            _, outcome = self.begin()
            for _ in range(steps):
                self.step()
            self.say(b"\1\7\0\0")
            self.assertIsInstance(outcome.error, ProxyProtocolError)
            self.assertClosed()
            self.hangUp()

    def test_ahead(self) -> None:
        """What comes while a thread is at work is heard afterwards."""
        outcome = self.at(0)
        self.say(pack_abort())
        self.assertTrue(outcome.pending)
        self.reactor.threads.stalled = False
        self.settle()
        self.assertIsInstance(outcome.error, AuthenticationError)
        self.assertClosed()

    def test_refused(self) -> None:
        """A reply that refuses comes through the protection, and the connection is closed."""
        _, outcome = self.protect()
        self.acceptor.data()
        self.say(self.acceptor.protected(reply(5)))
        self.assertEqual(outcome.error.code, 5)
        self.assertClosed()

    def test_tamperedReply(self) -> None:
        """A reply that was changed on its way ends it, and grants nothing."""
        _application, outcome = self.protect()
        self.acceptor.data()
        octets = bytearray(self.acceptor.protected(GRANTED))
        octets[-1] ^= 1
        self.say(bytes(octets))
        self.assertIsInstance(outcome.error, ProxyClosed)
        self.assertIn("bad checksum", str(outcome.error))
        self.assertClosed()

    def test_unprotectedReply(self) -> None:
        """A reply without any protection ends it, too."""
        _application, outcome = self.protect()
        self.acceptor.data()
        self.say(GRANTED)
        self.assertIsInstance(outcome.error, SOCKSError)
        self.assertClosed()

    def test_halfClose(self) -> None:
        """Half-close holds through the protection."""
        peer = self.establish()
        peer.write(b"question")
        peer.loseWrite()
        self.settle()
        self.assertEqual(self.acceptor.data(), b"question")
        self.assertTrue(self.acceptor.eof)
        self.acceptor.write(self.acceptor.protected(b"answer"))
        self.acceptor.loseWrite()
        self.settle()
        self.assertEqual(bytes(peer.received), b"answer")
        self.assertEqual(peer.events, ["made", "written", "data", "eof", "ConnectionDone"])

    def test_paused(self) -> None:
        """A protocol that pauses as it is made gets what came early when it resumes."""

        class Careful(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.pause()

        _application, outcome = self.connect(
            application=Application(Careful), authentication=[self.gssapi()]
        )
        self.heard()
        self.say(SELECTED)
        self.step()
        self.acceptor.context.unwrap(self.acceptor.take(MTYP.PROTECTION_LEVEL))
        self.acceptor.grant(CONFIDENTIALITY)
        self.settle()
        self.acceptor.data()
        wrap = self.acceptor.protected
        self.acceptor.write(wrap(GRANTED + b"one ") + wrap(b"two "))
        self.settle()
        self.say(wrap(b"three"))
        peer = outcome.result
        self.assertEqual(peer.events, ["made"])
        peer.resume()
        self.settle()
        self.assertEqual(bytes(peer.received), b"one two three")

    def test_large(self) -> None:
        """What is too large for one token is cut, and wrapped in threads."""
        peer = self.establish()
        octets = bytes(range(256)) * 1024
        peer.write(octets)
        self.settle()
        self.assertEqual(self.acceptor.data(), octets)

    @settings(max_examples=40, deadline=None)
    @given(data=st.data())
    def test_anyCut(self, data: st.DataObject) -> None:
        """Any cut of what the server says gives the same result."""

        def cut(octets: bytes) -> None:
            places = sorted(data.draw(st.sets(st.integers(0, len(octets)), max_size=4)))
            for start, end in zip([0, *places], [*places, len(octets)], strict=True):
                self.say(octets[start:end])

        self.hangUp()
        _application, outcome = self.connect(authentication=[self.gssapi()])
        self.heard()
        cut(SELECTED)
        context = self.acceptor.context
        cut(pack_token(MTYP.AUTHENTICATION, context.step(self.acceptor.take(MTYP.AUTHENTICATION))))
        context.unwrap(self.acceptor.take(MTYP.PROTECTION_LEVEL))
        level = pack_token(MTYP.PROTECTION_LEVEL, context.wrap(b"\2", False))
        # The reply may come in one piece with the level, from a server that knows beforehand.
        cut(level + self.acceptor.protected(GRANTED + b"he") + self.acceptor.protected(b"llo"))
        self.assertEqual(bytes(outcome.result.received), b"hello")
        self.assertEqual(self.acceptor.data(), REQUEST)
        self.hangUp()
        self.contexts.clear()


class ChainTests(GSSAPICase):
    """Through a proxy that speaks GSSAPI to another one."""

    def test_chain(self) -> None:
        """The second proxy's conversation is what is protected; so is the payload."""
        first = SOCKS5ClientEndpoint(
            Proxy(self.wayToProxy(), [self.gssapi()]), "second.example", 1080, reactor=self.reactor
        )
        application = Application()
        endpoint = SOCKS5ClientEndpoint(first, "example.com", 80, reactor=self.reactor)
        outcome = Outcome(endpoint.connect(application))
        self.settle()
        self.heard()
        self.say(SELECTED)
        self.step()
        self.acceptor.context.unwrap(self.acceptor.take(MTYP.PROTECTION_LEVEL))
        self.acceptor.grant(CONFIDENTIALITY)
        self.settle()
        self.assertIn(b"second.example", self.acceptor.data())
        self.say(self.acceptor.protected(GRANTED))
        self.assertEqual(self.acceptor.data(), b"\5\1\0")
        self.say(self.acceptor.protected(b"\5\0"))
        self.assertEqual(self.acceptor.data(), REQUEST)
        self.say(self.acceptor.protected(GRANTED + b"hello"))
        self.assertEqual(bytes(outcome.result.received), b"hello")
        self.assertIsInstance(application.peer.transport, Encapsulation)


class KerberosTests(ClientCase):
    """What Kerberos is asked for, where no other context is."""

    def test_asked(self) -> None:
        """Its settings are GSSAPI's."""
        asked: list[Any] = []

        def initiate(service: str, **options: Any) -> MemoryContext:
            asked.append((service, options))
            raise ConfigurationError("not installed")

        self.patch(kerberos, "initiate", initiate)
        gssapi = GSSAPI(host="p", principal="alice", ccache="/tmp/tickets", delegate=True)
        _, outcome = self.connect(authentication=[gssapi])
        self.say(SELECTED)
        options = {"principal": "alice", "ccache": "/tmp/tickets", "delegate": True}
        self.assertEqual(asked, [("rcmd@p", {**options, "sequence": True})])
        self.assertIn("no security context for rcmd@p: not installed", str(outcome.error))
        self.assertClosed()


class ThreadsTests(ClientCase):
    """The threads of a reactor."""

    def test_shared(self) -> None:
        """They are the same for all, and of a number."""
        threads = threadsFor(self.reactor)
        self.assertIs(threadsFor(self.reactor), threads)
        self.assertEqual(threads.size, THREADS)
        self.assertIsInstance(self.proxies, PeerFactory)
