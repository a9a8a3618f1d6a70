"""The dialogue of GSSAPI (RFC 1961) as it should not be: an abort, a line, and nothing left."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin

from tests.auth.fakes import LogCase, Realm, knows
from tests.server.base import GRANTED, Proxy, request
from tests.server.gssclients import (
    ABORT,
    CONFIDENTIALITY,
    EVERY,
    INTEGRITY,
    LEVELS,
    NONE,
    PER_MESSAGE,
    Acceptor,
    GSSAPICase,
    GSSClient,
    principals,
)
from twisted_socks5.auth.principals import PrincipalNames
from twisted_socks5.security import ContextError
from twisted_socks5.testing import MemoryContext
from twisted_socks5.wire import MTYP
from twisted_socks5.wire.gssapi import pack_token

FIRST = pack_token(MTYP.AUTHENTICATION, b"\xaa" * 40)


class StageCase(GSSAPICase):
    """
    Brings clients to each stage.

    @cvar STAGES: what brings a client there, and what it hears of an abort.
    """

    def selected(self) -> GSSClient:
        """The method is selected."""
        client = self.client()
        client.taken()
        return client

    def midway(self) -> GSSClient:
        """One of two tokens is exchanged."""
        client = self.client(rounds=2)
        client.taken()
        client.raw(pack_token(MTYP.AUTHENTICATION, client.context.step(b"")))
        client.frame(MTYP.AUTHENTICATION)
        return client

    def established(self) -> GSSClient:
        """The context stands."""
        return self.client().authenticate()

    def protected(self) -> GSSClient:
        """A level is granted."""
        return self.opened(CONFIDENTIALITY)

    def stages(self) -> Any:
        """Bring a client of a server of its own to each stage of the dialogue."""
        yield self.on(), self.selected()
        yield self.on(rounds=2), self.midway()
        yield self.on(), self.established()

    def on(self, **accepting: Any) -> Proxy:
        """Start a server."""
        return self.accept(accepting=accepting)


class BrokenTests(StageCase):
    """Messages that are not what they should be."""

    def test_aborts(self) -> None:
        """A client may give up at each stage; it is not answered."""
        for proxy, client in self.stages():
            client.raw(ABORT)
            self.assertEnded(client, b"", "the client gave its security context up")
            self.assertEqual(proxy.server.sessions, set())

    def test_version(self) -> None:
        """A frame of another version; the SOCKS version, say."""
        for _, client in self.stages():
            client.raw(b"\5\1\0\1")
            self.assertAborted(client, "version 5 instead of 1 in a GSSAPI frame")

    def test_type(self) -> None:
        """A frame of a type that there is not."""
        for _, client in self.stages():
            client.raw(b"\1\4\0\0")
            self.assertAborted(client, "a GSSAPI frame of unknown type 0x04")

    def test_outOfTurn(self) -> None:
        """A frame of a type that has not its turn."""
        for _, client in self.stages():
            wrong = MTYP.DATA
            client.raw(pack_token(wrong, b"\xaa" * 20))
            self.assertAborted(client, "a GSSAPI frame of type DATA in place of")

    def test_levelTooEarly(self) -> None:
        """A level before the context stands."""
        self.on()
        client = self.selected()
        client.raw(pack_token(MTYP.PROTECTION_LEVEL, b"\1"))
        self.assertAborted(client, "PROTECTION_LEVEL in place of AUTHENTICATION")

    def test_tokenTooLate(self) -> None:
        """Another token when the context stands."""
        self.on()
        client = self.established()
        client.raw(FIRST)
        self.assertAborted(client, "AUTHENTICATION in place of PROTECTION_LEVEL")

    def test_otherMethod(self) -> None:
        """A client that speaks another method than it has selected: a password, a request."""
        for said, reason in (
            (b"\1\5alice\6secret", "a GSSAPI frame of unknown type 0x05"),
            (request(), "version 5 instead of 1 in a GSSAPI frame"),
        ):
            self.on()
            client = self.selected()
            client.raw(said)
            self.assertAborted(client, reason)

    def test_truncated(self) -> None:
        """Half a frame, and then the end, or nothing more."""
        for _, client in self.stages():
            client.raw(b"\1")
            client.peer.loseWrite()
            self.proxy.settle()
            self.assertTrue(client.peer.wasClosed)
            self.assertEqual(self.record().reason, "client closed during the negotiation")
        for proxy, client in self.stages():
            client.raw(b"\1")
            proxy.reactor.advance(20)
            self.assertEnded(client, b"", "no complete negotiation within 20 s")

    def test_largest(self) -> None:
        """The largest token there can be is taken, and is no good."""
        self.on()
        client = self.selected()
        client.raw(pack_token(MTYP.AUTHENTICATION, bytes(65535)))
        self.assertAborted(client, "no security context: a token is of another realm")

    def test_tooMuchAhead(self) -> None:
        """More than anybody waits with, while a thread is at work."""
        proxy = self.on()
        client = self.selected()
        pool = proxy.reactor.getThreadPool()
        pool.stalled = True
        client.raw(FIRST)
        client.peer.write(bytes(1 << 20))
        proxy.settle()
        (session,) = proxy.server.sessions
        self.assertLess(session._kept, 1 << 18)
        pool.stalled = False
        proxy.settle()
        self.assertAborted(client, "no security context")

    def test_endless(self) -> None:
        """A context that takes token after token is not waited for."""
        self.on(rounds=100)
        client = self.client(rounds=100)
        client.taken()
        token = client.context.step(b"")
        for _ in range(16):
            client.raw(pack_token(MTYP.AUTHENTICATION, token))
            token = client.context.step(client.frame(MTYP.AUTHENTICATION))
        client.raw(pack_token(MTYP.AUTHENTICATION, token))
        self.assertAborted(client, "more than 16 tokens")


class NoiseTests(StageCase):
    """Anything at all."""

    @given(st.data())
    @settings(max_examples=60, deadline=None)
    def test_anything(self, data: st.DataObject) -> None:
        """Whatever is said at whatever stage, a session ends, and is the only one that does."""
        proxy = self.on()
        stage = data.draw(st.sampled_from(["selected", "established", "protected"]))
        client = getattr(self, stage)()
        frames = st.builds(
            pack_token,
            st.sampled_from([MTYP.AUTHENTICATION, MTYP.PROTECTION_LEVEL, MTYP.DATA]),
            st.binary(max_size=60),
        )
        good = st.builds(lambda octets: client.context.wrap(octets, True), st.binary(max_size=9))
        if stage != "selected":
            frames |= st.builds(pack_token, st.sampled_from([*MTYP][1:3]), good)
        for octets in data.draw(st.lists(frames | st.binary(max_size=9), max_size=4)):
            client.raw(octets)
        proxy.reactor.advance(20.1)
        client.peer.abort()
        proxy.settle()
        proxy.reactor.advance(10)
        self.assertEqual(proxy.server.sessions, set())
        self.assertEqual(len(proxy.records), 1)


class ContextTests(StageCase, LogCase):
    """Contexts that do not come about."""

    def test_foreign(self) -> None:
        """A token that is none, is changed, or of another realm."""
        for options in ({"realm": "EVIL.EXAMPLE"}, {}):
            self.on()
            client = self.client(**options)
            client.taken()
            token = bytearray(client.context.step(b""))
            token[-1] ^= 1 if not options else 0
            client.raw(pack_token(MTYP.AUTHENTICATION, bytes(token)))
            record = self.assertAborted(
                client, "no security context: a token is of another realm, or was changed"
            )
            self.assertEqual((record.user, record.method), ("", "gssapi"))

    def test_empty(self) -> None:
        """A token with nothing in it."""
        self.on()
        client = self.selected()
        client.raw(pack_token(MTYP.AUTHENTICATION, b""))
        self.assertAborted(client, "no security context: ")

    def test_noSecrets(self) -> None:
        """What went wrong is logged without the token, even if it should not have."""
        secret = b"the-token-itself"

        class Breaks(MemoryContext):
            def step(self, token: bytes) -> bytes:
                raise ZeroDivisionError

        class Breaking(Acceptor):
            def context(self) -> MemoryContext:
                self.contexts.append(Breaks("rcmd/proxy"))
                return self.contexts[-1]

        self.serve(principals(Breaking()))
        client = self.client()
        client.taken()
        client.raw(pack_token(MTYP.AUTHENTICATION, secret))
        self.assertAborted(client, "internal error, see the log")
        self.assertIn("ZeroDivisionError", self.logged())
        for form in (secret, repr(list(secret)).encode(), secret.hex().encode()):
            self.assertNotIn(form.decode(), self.logged())
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    def test_noKey(self) -> None:
        """An acceptor that has no key any more."""

        class Keyless(Acceptor):
            def context(self) -> MemoryContext:
                raise ContextError("the keytab is gone")

        self.serve(principals(Keyless()))
        client = self.selected()
        client.raw(FIRST)
        self.assertAborted(client, "no security context: the keytab is gone")

    def test_busy(self) -> None:
        """So many contexts at a time that there is no thread for another one."""
        proxy = self.on()
        proxy.server.securityThreads.stop()
        client = self.selected()
        client.raw(FIRST)
        self.assertAborted(client, "no thread for a security context: its threads are stopped")
        proxy.server.securityThreads.start()

    def test_crowdOfOne(self) -> None:
        """One address has room for as many, and leaves some to others."""
        proxy = self.on()
        pool = proxy.reactor.getThreadPool()
        pool.stalled = True
        clients = [self.selected() for _ in range(80)]
        for client in clients:
            client.raw(FIRST)
        told = [client for client in clients if client.peer.eof]
        self.assertEqual(len(told), 80 - 64 - proxy.server.securityThreads.size)
        for client in told:
            self.assertAborted(client, "no thread for a security context: 64 jobs of one owner")
        pool.stalled = False
        proxy.settle()
        self.assertTrue(all(client.peer.eof for client in clients))


class PrincipalTests(StageCase):
    """Principals that are not let in."""

    def test_refused(self) -> None:
        """Nothing is granted; the log has the principal, and the answer takes its time."""
        proxy = self.accept(names=PrincipalNames(["ELSEWHERE.EXAMPLE"]))
        for seconds in (0.5, 1):
            client = self.client()
            client.taken()
            client.raw(pack_token(MTYP.AUTHENTICATION, client.context.step(b"")))
            proxy.reactor.advance(seconds - 0.01)
            self.assertEqual(client.taken(), b"")
            proxy.reactor.advance(0.02)
            record = self.assertAborted(
                client, "^alice@EXAMPLE.COM is not of the realm ELSEWHERE.EXAMPLE$"
            )
            self.assertEqual((record.user, record.reply), ("alice@EXAMPLE.COM", None))
            proxy.reactor.advance(1)

    def test_goneMeanwhile(self) -> None:
        """A client that does not wait for that leaves nothing."""
        for end in ("abort", "lose", "loseWrite"):
            proxy = self.accept(names=PrincipalNames(["ELSEWHERE.EXAMPLE"]))
            client = self.client()
            client.raw(pack_token(MTYP.AUTHENTICATION, client.context.step(b"")))
            getattr(client.peer, end)()
            proxy.settle()
            proxy.reactor.advance(30)
            self.assertIsNotNone(client.peer.lost)

    def test_portal(self) -> None:
        """The realm may refuse as well."""
        realm = Realm()
        realm.result = UnauthorizedLogin("the account is locked")
        proxy = self.accept(realm=realm)
        client = self.client()
        client.taken()
        client.raw(pack_token(MTYP.AUTHENTICATION, client.context.step(b"")))
        proxy.reactor.advance(1)
        self.assertAborted(client, "the account is locked")


class LevelTests(StageCase):
    """Protection levels that are not granted."""

    def test_notAllowed(self) -> None:
        """The log says what was asked for, and what would allow it."""
        for allowed, asked, word in (
            (LEVELS, NONE, "none"),
            ([INTEGRITY], CONFIDENTIALITY, "confidentiality"),
            ([NONE], INTEGRITY, "integrity"),
            ([INTEGRITY], PER_MESSAGE, "per-message"),
        ):
            self.accept(levels=allowed)
            client = self.established()
            client.raw(client.asking(asked))
            record = self.assertAborted(
                client,
                f"^the client asked for protection level {word}, which "
                f"--auth gssapi:protection=…,{word} would allow$",
            )
            self.assertEqual(record.user, "alice@EXAMPLE.COM")

    def test_unknown(self) -> None:
        """A level that there is not."""
        for level in (4, 255):
            self.accept(levels=EVERY, bare=True)
            client = self.established()
            client.raw(client.asking(level))
            self.assertAborted(client, rf"asked for protection level unknown \({level}\)$")

    def test_bare(self) -> None:
        """NEC's way, where it is not allowed, and for a level that isn't."""
        self.accept(levels=EVERY)
        client = self.established()
        client.raw(pack_token(MTYP.PROTECTION_LEVEL, b"\1"))
        self.assertAborted(
            client, r"a bare octet \(NEC's way\), which --auth gssapi:protection=…,nec"
        )
        self.accept(bare=True)
        client = self.established()
        client.raw(pack_token(MTYP.PROTECTION_LEVEL, b"\0"))
        self.assertAborted(client, "protection=…,none would allow")

    def test_malformed(self) -> None:
        """A token with no octet in it, or two; one that is changed; none."""
        for octets in (b"", b"\1\1"):
            self.on()
            client = self.established()
            token = client.context.wrap(octets, False)
            client.raw(pack_token(MTYP.PROTECTION_LEVEL, token))
            self.assertAborted(client, f"{len(octets)} octets in the place of a protection level")
        self.on()
        client = self.established()
        token = client.context.wrap(b"\1", False)
        client.raw(pack_token(MTYP.PROTECTION_LEVEL, token[:-1] + b"?"))
        self.assertAborted(client, "no security context: a token has a bad checksum")
        self.on()
        client = self.established()
        client.raw(pack_token(MTYP.PROTECTION_LEVEL, b""))
        self.assertAborted(client, "no security context: ")

    def test_expired(self) -> None:
        """A context that expires before the level is asked for."""
        proxy = self.accept()
        self.acceptor.options = {"clock": proxy.reactor, "lifetime": 5}
        client = self.established()
        proxy.reactor.advance(6)
        client.raw(client.asking(1))
        self.assertAborted(client, "no security context: the context has expired")


class EndTests(StageCase):
    """Ends at each stage."""

    def test_gone(self) -> None:
        """A client that closes, resets or half-closes, at each stage, also behind a frame."""
        for end in ("abort", "lose", "loseWrite"):
            for _, client in self.stages():
                getattr(client.peer, end)()
                self.proxy.settle()
                self.assertRegex(
                    self.proxy.records[-1].reason, "client (closed|reset) during the negotiation"
                )
                self.assertIsNotNone(client.peer.lost)

    def test_goneWhileAtWork(self) -> None:
        """A client that goes while a thread is at work; what comes of that is dropped."""
        for end in ("abort", "lose"):
            for stage in ("selected", "established"):
                proxy = self.on()
                client = getattr(self, stage)()
                pool = proxy.reactor.getThreadPool()
                pool.stalled = True
                octets = FIRST if stage == "selected" else client.asking(1)
                client.raw(octets)
                getattr(client.peer, end)()
                if end == "lose":
                    client.peer.abort()
                proxy.settle()
                self.assertEqual(proxy.server.sessions, set())
                pool.stalled = False
                proxy.settle()

    def test_endedBehindAFrame(self) -> None:
        """A FIN behind a frame is heard after that is answered."""
        self.on()
        client = self.selected()
        client.peer.write(pack_token(MTYP.AUTHENTICATION, client.context.step(b"")))
        client.peer.loseWrite()
        self.proxy.settle()
        client.context.step(client.frame(MTYP.AUTHENTICATION))
        self.assertTrue(client.peer.wasClosed)

    def test_silent(self) -> None:
        """A client that says nothing more, at each stage, has 20 s."""
        for proxy, client in self.stages():
            proxy.reactor.advance(20.1)
            self.assertEnded(client, b"", "no complete negotiation within 20 s")

    def test_silentUnderProtection(self) -> None:
        """So has one whose request does not come, or not whole."""
        for said in ((), (request()[:-1],)):
            proxy = self.on()
            client = self.protected()
            client.send(*said)
            proxy.reactor.advance(20.1)
            self.assertEnded(client, b"", "no complete negotiation within 20 s; protection: conf")

    def test_cut(self) -> None:
        """The proxy may end any time."""
        for proxy, client in self.stages():
            proxy.server.abortSessions("the proxy stops")
            proxy.settle()
            self.assertTrue(client.peer.wasReset)
            self.assertEqual(self.record().reason, "the proxy stops")
        for proxy, client in self.stages():
            proxy.server.drain("the proxy stops")
            proxy.settle()
            self.assertTrue(client.peer.wasReset)

    def test_othersGoOn(self) -> None:
        """Nobody else is disturbed by any of this."""
        proxy = self.accept(knows(b"alice", b"secret"))
        target = proxy.target()
        good = self.opened(CONFIDENTIALITY)
        good.send(request())
        self.assertEqual(good.heard()[:4], GRANTED)
        for octets in (ABORT, FIRST, b"\5", b"\1\1\xff\xff" + bytes(70000)):
            bad = self.selected()
            bad.raw(octets)
            bad.peer.abort()
            good.send(b"more")
            target.peer.write(b"and more")
            proxy.settle()
            self.assertEqual(good.heard(), b"and more")
        self.assertEqual(target.peer.received, b"more" * 4)

    def test_overload(self) -> None:
        """One too many is told so when it asks, under its protection."""
        proxy = self.accept(settings={"max_connections": 1})
        proxy.target()
        first = self.opened()
        first.send(request())
        second = self.opened()
        second.send(request())
        self.assertEqual(second.heard()[:2], b"\5\1")
        second.peer.lose()
        proxy.settle()
        self.assertIn("too many connections", self.record().reason)
        first.peer.abort()


class StreamBrokenTests(BrokenTests):
    """The same on streams."""

    streams = True


class StreamEndTests(EndTests):
    """The same on streams."""

    streams = True
