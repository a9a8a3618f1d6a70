"""
Contexts of Kerberos', both sides in this process, against a real KDC.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

from gssapi import raw
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.realm import RealmTestCase
from twisted_socks5.security import ContextError, ISecurityContext, kerberos
from twisted_socks5.security.kerberos import Acceptor, initiate

_SIZES = (0, 1, 64, 4096, 65_000)

#: GSS_S_CONTEXT_EXPIRED (RFC 2744, section 3.9.1).
_CONTEXT_EXPIRED = 12 << 16


class ContextTestCase(RealmTestCase):
    """
    A test with contexts between alice and the service.

    @ivar now: what time both sides think it is.
    """

    principals = ("alice", "jörg", "rcmd/localhost", "http/localhost")

    def setUp(self) -> None:
        """Get alice a ticket, at no particular time."""
        super().setUp()
        self.keytab = self.realm.keytab("rcmd/localhost")
        self.alice = self.realm.ticket("alice", "-f")
        self.now = 1000.0

    def initiate(
        self, service: str = "rcmd@localhost", *, sequence: bool = False, delegate: bool = False
    ) -> ISecurityContext:
        """Begin as alice."""
        return initiate(
            service,
            ccache=self.alice,
            sequence=sequence,
            delegate=delegate,
            now=lambda: self.now,
        )

    def accept(self) -> ISecurityContext:
        """Begin as the service."""
        return Acceptor(keytab=self.keytab, now=lambda: self.now).context()

    def pair(self, *, sequence: bool = False) -> tuple[ISecurityContext, ISecurityContext]:
        """Bring about a context: alice's side and the service's."""
        client, server = self.initiate(sequence=sequence), self.accept()
        self.assertEqual(client.step(server.step(client.step(b""))), b"")
        return client, server

    def refused(self, context: ISecurityContext, token: bytes) -> str:
        """Step, which has to fail, and say why."""
        return str(self.assertRaises(ContextError, context.step, token))


class EstablishingTests(ContextTestCase):
    """How a context comes about."""

    def test_mutual(self) -> None:
        """Both sides know each other after one token each way."""
        client, server = self.initiate(), self.accept()
        self.assertFalse(client.established or server.established)
        self.assertEqual((client.peer, server.peer), ("", ""))
        answer = server.step(client.step(b""))
        self.assertEqual((client.established, server.established), (False, True))
        self.assertEqual(client.step(answer), b"")
        self.assertTrue(client.established)
        self.assertEqual(server.peer, "alice@EXAMPLE.TEST")
        self.assertEqual(client.peer, "rcmd/localhost@EXAMPLE.TEST")

    def test_wholePrincipal(self) -> None:
        """A service may be named by its whole principal."""
        client, server = self.initiate("rcmd/localhost@EXAMPLE.TEST"), self.accept()
        client.step(server.step(client.step(b"")))
        self.assertEqual(client.peer, "rcmd/localhost@EXAMPLE.TEST")

    def test_notAscii(self) -> None:
        """A principal is UTF-8."""
        server = self.accept()
        client = initiate("rcmd@localhost", ccache=self.realm.ticket("jörg"))
        server.step(client.step(b""))
        self.assertEqual(server.peer, "jörg@EXAMPLE.TEST")

    def test_delegation(self) -> None:
        """Only a client that wants to hands its ticket on, and then the token has it."""
        plain, handedOn = self.initiate().step(b""), self.initiate(delegate=True).step(b"")
        self.assertGreater(len(handedOn), len(plain) + 500)
        server = self.accept()
        server.step(handedOn)
        self.assertEqual(server.peer, "alice@EXAMPLE.TEST")

    def test_replay(self) -> None:
        """A token that another context has been made of makes none."""
        token = self.initiate().step(b"")
        self.accept().step(token)
        self.assertEqual(self.refused(self.accept(), token), "Request is a replay")

    def test_noReplayDetection(self) -> None:
        """A client that would have each message taken as often as it comes is not accepted."""
        self.patch(kerberos, "_FLAGS", ("mutual_authentication", "integrity", "confidentiality"))
        token = self.initiate().step(b"")
        self.assertEqual(
            self.refused(self.accept(), token),
            "the client does not ask that nothing may come twice",
        )

    def test_otherService(self) -> None:
        """A ticket for another service is none for this, and the log says for which it was."""
        token = self.initiate("http@localhost").step(b"")
        server = self.accept()
        self.assertIn(
            "http/localhost@EXAMPLE.TEST not found in keytab", self.refused(server, token)
        )
        self.assertEqual(server.peer, "")

    def test_refusalIsNoText(self) -> None:
        """What a token makes libkrb5 say need not be text for this to be a refusal."""
        token = bytearray(self.initiate("http@localhost").step(b""))
        place = token.index(b"localhost")
        token[place : place + 2] = b"\xff\n"
        said = self.refused(self.accept(), bytes(token))
        self.assertEqual(said, "Kerberos says why with octets that are no text")

    def test_notBegun(self) -> None:
        """A token that is none, or none that begins a context, is refused."""
        for token in (b"", b"\0", b"GET / HTTP/1.1\r\n", b"\x60\x82\xff\xff", bytes(65535)):
            self.assertNotIn("\n", self.refused(self.accept(), token))
        self.assertEqual(self.refused(self.accept(), b""), "an empty token")
        self.assertIn("not a token of Kerberos", self.refused(self.accept(), b"junk"))

    def test_laterToken(self) -> None:
        """Nor is one that a context would end with: nothing could be answered to it."""
        client, server = self.initiate(), self.accept()
        answer = server.step(client.step(b""))
        self.assertIn("does not begin", self.refused(self.accept(), answer))

    def test_emptyAnswer(self) -> None:
        """A service that says nothing in return has not proved who it is."""
        client = self.initiate()
        client.step(b"")
        self.assertEqual(self.refused(client, b""), "an empty token")

    def test_otherAnswer(self) -> None:
        """Nor has one with the answer to another client, or with a changed one."""
        first, second = self.initiate(), self.initiate()
        answer = self.accept().step(first.step(b""))
        second.step(b"")
        self.refused(second, answer)
        self.refused(first, answer[:-1] + bytes([answer[-1] ^ 1]))

    def test_final(self) -> None:
        """After a refusal nothing can be made of a context."""
        server = self.accept()
        self.refused(server, b"junk")
        self.assertIn("no further", self.refused(server, self.initiate().step(b"")))
        self.assertRaises(ContextError, server.wrap, b"octets", True)

    def test_overAndDone(self) -> None:
        """A context that stands takes no further token."""
        for context in self.pair():
            self.assertIn("no further", self.refused(context, b"token"))
            self.assertTrue(context.established)

    def test_changedAnywhere(self) -> None:
        """
        A token that is changed, wherever, is refused in a line, or it is alice's all the same.

        Parts of it are protected by nothing: what the ticket calls itself, say.
        """
        token = self.initiate().step(b"")
        for place in range(0, len(token), 3):
            changed = bytearray(token)
            changed[place] ^= 0x15
            server = self.accept()
            try:
                server.step(bytes(changed))
            except ContextError as error:
                self.assertTrue(str(error).isprintable())
                self.assertFalse(server.established)
            else:
                self.assertEqual(server.peer, "alice@EXAMPLE.TEST")

    @given(st.binary(max_size=200))
    @settings(max_examples=200, deadline=None)
    def test_anything(self, token: bytes) -> None:
        """Octets of chance make a context on neither side, and no other error."""
        client = self.initiate()
        client.step(b"")
        self.assertTrue(self.refused(client, token).isprintable())
        self.assertTrue(self.refused(self.accept(), token).isprintable())

    def test_disposedMeanwhile(self) -> None:
        """A context that is let go of during a step does not come to stand by it."""
        token, server = self.initiate().step(b""), self.accept()
        accept = raw.accept_sec_context

        def slowly(*given: Any) -> Any:
            server.dispose()
            return accept(*given)

        with mock.patch.object(raw, "accept_sec_context", slowly):
            self.assertIn("nobody waits", self.refused(server, token))
        self.assertFalse(server.established)


class ProtectionTests(ContextTestCase):
    """What a context makes of octets."""

    def test_bothWays(self) -> None:
        """Octets come out as they went in, whatever their number, with the protection they had."""
        client, server = self.pair(sequence=True)
        for sender, receiver in ((client, server), (server, client)):
            for size in _SIZES:
                for confidential in (False, True):
                    octets = bytes(range(256)) * (size // 256) + bytes(size % 256)
                    token = sender.wrap(octets, confidential)
                    self.assertEqual(receiver.unwrap(token), (octets, confidential))

    def test_sealed(self) -> None:
        """Only what is confidential cannot be read on its way."""
        client, _ = self.pair()
        self.assertIn(b"octets", client.wrap(b"octets", False))
        self.assertNotIn(b"octets", client.wrap(b"octets", True))

    def test_sizeLimit(self) -> None:
        """The limit holds, and nearly all of a token is used."""
        client, _ = self.pair()
        for confidential in (False, True):
            for size in (100, 1500, 65535):
                limit = client.wrapSizeLimit(confidential, size)
                self.assertGreater(limit, size - 80)
                self.assertLessEqual(len(client.wrap(bytes(limit), confidential)), size)
            self.assertLessEqual(client.wrapSizeLimit(confidential, 10), 0)

    def test_changed(self) -> None:
        """A token that is changed, wherever, gives nothing."""
        client, server = self.pair()
        for confidential in (False, True):
            token = client.wrap(b"octets", confidential)
            for place in range(len(token)):
                changed = bytearray(token)
                changed[place] ^= 1
                error = self.assertRaises(ContextError, server.unwrap, bytes(changed))
                self.assertTrue(str(error).isprintable())
            for cut in range(len(token)):
                self.assertRaises(ContextError, server.unwrap, token[:cut])
            self.assertEqual(server.unwrap(token), (b"octets", confidential))

    def test_reflected(self) -> None:
        """One's own token does not come back as the peer's."""
        client, _ = self.pair()
        error = self.assertRaises(ContextError, client.unwrap, client.wrap(b"octets", True))
        self.assertIn("changed on its way", str(error))

    def test_otherContext(self) -> None:
        """A token of another context of the same two gives nothing."""
        client, _ = self.pair()
        _, server = self.pair()
        self.assertRaises(ContextError, server.unwrap, client.wrap(b"octets", True))

    def test_twice(self) -> None:
        """A token gives its octets once, whether the context knows turns or not."""
        for sequence in (False, True):
            client, server = self.pair(sequence=sequence)
            token = client.wrap(b"octets", True)
            server.unwrap(token)
            error = self.assertRaises(ContextError, server.unwrap, token)
            self.assertEqual(str(error), "a token came a second time")

    def test_turns(self) -> None:
        """Where turns matter, a token that is missing breaks it, and so does a late one."""
        client, server = self.pair(sequence=True)
        first, second, third = (client.wrap(octets, False) for octets in (b"1", b"2", b"3"))
        server.unwrap(first)
        error = self.assertRaises(ContextError, server.unwrap, third)
        self.assertEqual(str(error), "a token is missing before this one")
        error = self.assertRaises(ContextError, server.unwrap, second)
        self.assertEqual(str(error), "a token came out of its turn")

    def test_datagrams(self) -> None:
        """Where they do not, any order will do, but what came long ago is not taken."""
        client, server = self.pair()
        tokens = [client.wrap(b"%d" % number, True) for number in range(200)]
        self.assertEqual([server.unwrap(tokens[i])[0] for i in (3, 1, 2)], [b"3", b"1", b"2"])
        server.unwrap(tokens[199])
        error = self.assertRaises(ContextError, server.unwrap, tokens[0])
        self.assertIn("came too late", str(error))

    def test_expiry(self) -> None:
        """At the end of its ticket a context protects nothing more, in either direction."""
        client, server = self.pair()
        token = server.wrap(b"octets", True)
        left = client.lifetime
        assert left is not None
        self.assertTrue(0 < left <= 86_400, left)
        self.now += left - 1
        self.assertAlmostEqual(client.lifetime or 0, 1)
        client.wrap(b"octets", True)
        self.now += 1
        self.assertEqual(client.lifetime, 0)
        error = self.assertRaises(ContextError, client.wrap, b"octets", True)
        self.assertEqual(str(error), "the context has expired")
        self.assertRaises(ContextError, client.unwrap, token)
        # The service gives the client's clock the five minutes that Kerberos gives it.
        self.assertAlmostEqual(server.lifetime or 0, 300, delta=5)

    def test_notYet(self) -> None:
        """Before it stands a context has no life and protects nothing."""
        for context in (self.initiate(), self.accept()):
            self.assertEqual(context.lifetime, 0)
            self.assertRaises(ContextError, context.wrap, b"octets", False)
            self.assertRaises(ContextError, context.unwrap, b"token")
            self.assertRaises(ContextError, context.wrapSizeLimit, True)

    def test_disposed(self) -> None:
        """A context that was let go of is none, at once and for good."""
        for context in self.pair():
            context.dispose()
            context.dispose()
            self.assertFalse(context.established)
            self.assertEqual(context.lifetime, 0)
            self.assertRaises(ContextError, context.wrap, b"octets", False)
            self.refused(context, b"")

    def test_mechanismFails(self) -> None:
        """What the mechanism itself will not do is said in its words."""
        client, server = self.pair()
        token = server.wrap(b"octets", True)
        # As one that looks at the end of its contexts does.
        error = raw.GSSError(_CONTEXT_EXPIRED, 0)
        for name, call in (
            ("wrap", lambda: client.wrap(b"octets", True)),
            ("unwrap", lambda: client.unwrap(token)),
            ("wrap_size_limit", lambda: client.wrapSizeLimit(True)),
        ):
            with mock.patch.object(raw, name, side_effect=error):
                failed = self.assertRaises(ContextError, call)
            self.assertEqual(str(failed), "the context has expired")

    def test_cannotSeal(self) -> None:
        """A mechanism that only could leave something readable is not believed to have sealed."""
        client, _ = self.pair()
        with mock.patch.object(raw, "wrap", return_value=(b"token", False)):
            error = self.assertRaises(ContextError, client.wrap, b"octets", True)
        self.assertEqual(str(error), "the context cannot seal")
