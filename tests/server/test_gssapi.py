"""The dialogue of GSSAPI (RFC 1961), from the greeting to the request, as it should be."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.internet.defer import Deferred
from twisted.internet.protocol import ServerFactory
from twisted.protocols.policies import WrappingFactory

from tests.auth.fakes import Realm, knows
from tests.server.base import GRANTED, LOGGED_IN, LOGIN, TARGET, credentials, request
from tests.server.gssclients import (
    CONFIDENTIALITY,
    EVERY,
    INTEGRITY,
    LEVELS,
    NONE,
    OFFER,
    PER_MESSAGE,
    SELECTED,
    Acceptor,
    GSSAPICase,
    GSSClient,
    principals,
)
from tests.server.test_session_login import Nowhere
from tests.tls.authority import clientContext
from tests.tls.base import contexts
from tests.tls.peers import TLSPeer
from twisted_socks5.auth import User
from twisted_socks5.auth.gssapi import IVerifiedPrincipal
from twisted_socks5.auth.principals import PrincipalNames
from twisted_socks5.interfaces import ISOCKS5Avatar
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.server.session import KEPT
from twisted_socks5.tls.layer import TLSTransport
from twisted_socks5.wire import MTYP, Method
from twisted_socks5.wire.gssapi import pack_token


class DialogueTests(GSSAPICase):
    """Tokens, the level, and the request."""

    def test_levels(self) -> None:
        """At each level a client gets what it asks for, and its name is in the log."""
        for level in LEVELS:
            for cut in (False, True):
                proxy = self.accept()
                target = proxy.target()
                client = self.opened(level, cut=cut)
                self.assertIs(client.level, level)
                client.send(request(), b"payload")
                heard = client.heard()
                self.assertEqual((heard[:4], len(heard)), (GRANTED, 10))
                self.assertEqual(target.peer.received, b"payload")
                target.peer.write(b"answer")
                proxy.settle()
                self.assertEqual(client.heard(), b"answer")
                target.peer.lose()
                proxy.settle()
                client.peer.lose()
                proxy.settle()
                record = self.record()
                self.assertEqual((record.user, record.method), ("alice@EXAMPLE.COM", "gssapi"))
                self.assertEqual((record.sent, record.received), (7, 6))
                word = level.name.lower().replace("_", "-")
                self.assertEqual(record.reason, f"target closed; protection: {word}")

    def test_none(self) -> None:
        """At level 0, where it is allowed, all goes on in clear text."""
        proxy = self.accept(levels=EVERY)
        target = proxy.target()
        client = self.opened(NONE)
        self.assertTrue(self.acceptor.contexts[0].disposed)
        client.raw(request(), b"payload")
        self.assertEqual(client.taken()[:4], GRANTED)
        self.assertEqual(target.peer.received, b"payload")
        client.peer.lose()
        proxy.settle()
        target.peer.lose()
        proxy.settle()
        self.assertEqual(self.record().reason, "client closed; protection: none")

    def test_nec(self) -> None:
        """Where it is allowed, a bare octet asks for a level, and is answered by one."""
        for level in (*LEVELS, NONE):
            proxy = self.accept(levels=EVERY, bare=True)
            target = proxy.target()
            client = self.client().authenticate().askBare(level)
            self.assertIs(client.level, level)
            client.send(request(), b"payload")
            self.assertEqual(client.heard()[:4], GRANTED)
            self.assertEqual(target.peer.received, b"payload")

    def test_wrappedAllTheSame(self) -> None:
        """Where NEC's way is allowed, the RFC's is, too."""
        self.accept(bare=True)
        self.assertIs(self.opened(CONFIDENTIALITY).level, CONFIDENTIALITY)

    def test_moreThanAskedFor(self) -> None:
        """Who asks for a level that isn't allowed may get a better one."""
        self.accept(levels=[CONFIDENTIALITY])
        for asked in (INTEGRITY, PER_MESSAGE):
            self.assertIs(self.opened(asked).level, CONFIDENTIALITY)

    def test_manySteps(self) -> None:
        """A context may take several tokens, and stand without a last one for the client."""
        for rounds, mutual in ((1, True), (1, False), (3, True), (3, False), (16, True)):
            proxy = self.accept(accepting={"rounds": rounds, "mutual": mutual})
            target = proxy.target()
            client = GSSClient(proxy, rounds=rounds, mutual=mutual).connect().authenticate()
            self.assertEqual(self.acceptor.contexts[0].steps, rounds)
            client.ask(INTEGRITY).send(request())
            self.assertEqual(client.heard()[:4], GRANTED)
            self.assertEqual(len(target.peers), 1)

    def test_sealedLevel(self) -> None:
        """A level that is asked for confidentially is understood as well."""
        self.accept()
        client = self.client().authenticate()
        token = client.context.wrap(b"\1", True)
        client.raw(pack_token(MTYP.PROTECTION_LEVEL, token))
        self.assertEqual(
            client.context.unwrap(client.frame(MTYP.PROTECTION_LEVEL)), (b"\1", False)
        )

    def test_ahead(self) -> None:
        """What comes ahead of its turn, protected already, is kept for it."""
        proxy = self.accept(accepting={"mutual": False})
        target = proxy.target()
        client = GSSClient(proxy, mutual=False).connect()
        token = client.context.step(b"")
        client.level = CONFIDENTIALITY
        # An initiator whose context stands with its first token can say all at once.
        said = [pack_token(MTYP.AUTHENTICATION, token), client.asking(2)]
        said += [client.protected(request()), client.protected(b"pay"), client.protected(b"load")]
        client.raw(b"".join(said))
        self.assertEqual(target.peer.received, b"payload")
        octets = client.taken()
        self.assertTrue(octets.startswith(SELECTED + b"\1\1\0\0\1\2"), octets)

    def test_aheadAndEnded(self) -> None:
        """So is a FIN behind it."""
        proxy = self.accept(accepting={"mutual": False})
        target = proxy.target()
        client = GSSClient(proxy, mutual=False).connect()
        client.level = INTEGRITY
        said = [pack_token(MTYP.AUTHENTICATION, client.context.step(b"")), client.asking(1)]
        said += [client.protected(request()), client.protected(b"payload")]
        client.peer.write(b"".join(said))
        client.peer.loseWrite()
        proxy.settle()
        self.assertEqual(target.peer.received, b"payload")
        self.assertTrue(target.peer.eof)
        target.peer.write(b"answer")
        target.peer.lose()
        proxy.settle()
        self.assertTrue(client.peer.wasClosed)

    def test_endedMeanwhile(self) -> None:
        """A FIN that has come before the level is agreed on keeps its place behind the octets."""
        proxy = self.accept(accepting={"mutual": False})
        target = proxy.target()
        proxy.ports.append(proxy.reactor.listenTCP(1443, _Shells(proxy.server)))
        payload = bytes(range(256)) * 100
        pool = proxy.reactor.getThreadPool()
        # Sockets say again that there is nothing more to come, and TLS doesn't.
        for tls in (False, True):
            client = GSSClient(proxy, mutual=False)
            client.peer = (
                proxy.connect(port=1443, peer=TLSPeer(clientContext())) if tls else proxy.connect()
            )
            client.level = CONFIDENTIALITY
            said = [OFFER, pack_token(MTYP.AUTHENTICATION, client.context.step(b""))]
            said += [client.asking(2), client.protected(request()), client.protected(payload)]
            pool.stalled = True
            client.raw(b"".join(said))
            client.peer.loseWrite()
            proxy.settle()
            pool.stalled = False
            proxy.settle()
            peer = target.peers[-1]
            self.assertOctets(peer.received, payload)
            self.assertTrue(peer.eof)
            peer.write(b"answer")
            peer.lose()
            proxy.settle()
            self.assertTrue(client.peer.eof)
            client.peer.abort()

    def test_heldWithinABound(self) -> None:
        """While a target is dialled no more is held of what comes in tokens than in the clear."""
        proxy = self.accept()
        target = proxy.target()
        proxy.reactor.route(TARGET, delay=5)
        client = self.opened()
        payload = bytes(range(256)) * 2000
        client.send(request())
        pieces = [payload[at : at + 65_500] for at in range(0, len(payload), 65_500)]
        frames = [client.protected(piece) for piece in pieces]
        # The worst of cuts: the second frame but for an octet, and then all the rest.
        client.raw(frames[0], frames[1][:-1])
        client.peer.write(frames[1][-1:] + b"".join(frames[2:]))
        proxy.settle()
        (session,) = proxy.server.sessions
        self.assertLess(session._kept, 2 * KEPT)
        proxy.reactor.advance(5.1)
        self.assertOctets(target.peer.received, payload)

    def test_muchAhead(self) -> None:
        """However much is sent ahead, it is held within a bound, and nothing is lost."""
        proxy = self.accept(accepting={"mutual": False})
        target = proxy.target()
        client = GSSClient(proxy, mutual=False).connect()
        client.level = CONFIDENTIALITY
        payload = bytes(range(256)) * 2000
        said = [pack_token(MTYP.AUTHENTICATION, client.context.step(b"")), client.asking(2)]
        pieces = [payload[at : at + 60000] for at in range(0, len(payload), 60000)]
        said += [client.protected(piece) for piece in (request(), *pieces)]
        client.raw(b"".join(said))
        self.assertOctets(target.peer.received, payload)

    def test_threadsTakeTheirTime(self) -> None:
        """While no thread has time, the client is not answered, and then it is."""
        proxy = self.accept()
        target = proxy.target()
        pool = proxy.reactor.getThreadPool()
        client = self.client()
        for say in (client.authenticate, lambda: client.ask(INTEGRITY)):
            pool.stalled = True
            self.assertRaises(AssertionError, say)
            self.assertEqual(client.taken(), b"")
            pool.stalled = False
            proxy.settle()
            if client.level is None and not client.context.established:
                client.context.step(client.frame(MTYP.AUTHENTICATION))
        octets, _ = client.context.unwrap(client.frame(MTYP.PROTECTION_LEVEL))
        client.level = INTEGRITY
        client.send(request())
        self.assertEqual((octets, client.heard()[:4]), (b"\1", GRANTED))
        self.assertEqual(len(target.peers), 1)

    def test_name(self) -> None:
        """A principal is called what the operator says, in the log and by the rules."""
        proxy = self.accept(names=PrincipalNames(["EXAMPLE.COM"]))
        rules = Nowhere()
        proxy.server.rules = rules
        client = self.opened()
        client.send(request())
        self.assertEqual(client.heard()[:2], b"\5\2")
        self.assertEqual([access.user for access in rules.asked], ["alice"])
        client.peer.lose()
        proxy.settle()
        record = self.record()
        self.assertEqual((record.user, record.reply), ("alice", 2))
        self.assertEqual(record.reason, "alice may go nowhere; protection: integrity")

    def test_logout(self) -> None:
        """The avatar is logged out when the session ends."""
        realm = Realm()
        proxy = self.accept(realm=realm)
        client = self.opened()
        self.assertEqual((len(realm.minds), realm.logouts), (1, 0))
        client.peer.abort()
        proxy.settle()
        self.assertEqual(realm.logouts, 1)

    def test_ownRules(self) -> None:
        """The avatar's rules are asked."""
        realm, rules = Realm(), Nowhere()
        realm.result = (ISOCKS5Avatar, User("alice", rules), realm.logout)
        self.accept(realm=realm)
        client = self.opened()
        client.send(request())
        self.assertEqual(client.heard()[:2], b"\5\2")


class StreamDialogueTests(DialogueTests):
    """The same on streams."""

    streams = True


class CutTests(GSSAPICase):
    """Messages in any pieces."""

    @given(st.data())
    @settings(max_examples=40, deadline=None)
    def test_anyCut(self, data: st.DataObject) -> None:
        """Wherever what is sent at once is cut, the conversation is the same."""
        proxy = self.accept(accepting={"rounds": 2, "mutual": False})
        target = proxy.target()
        client = GSSClient(proxy, rounds=2, mutual=False)
        client.peer = proxy.connect()
        level = client.level = data.draw(st.sampled_from(LEVELS))

        def say(octets: bytes) -> None:
            at = sorted(data.draw(st.lists(st.integers(0, len(octets)), max_size=4)))
            for start, end in zip([0, *at], [*at, len(octets)], strict=True):
                if octets[start:end]:
                    client.raw(octets[start:end])

        say(OFFER + pack_token(MTYP.AUTHENTICATION, client.context.step(b"")))
        self.assertEqual(client.peer.received[:2], SELECTED)
        client._read = 2
        token = client.context.step(client.frame(MTYP.AUTHENTICATION))
        said = pack_token(MTYP.AUTHENTICATION, token) + client.asking(level)
        say(said + client.protected(request()) + client.protected(b"payload"))
        self.assertEqual(target.peer.received, b"payload")
        client.peer.abort()
        proxy.settle()


class PreferenceTests(GSSAPICase):
    """Which method is selected."""

    def selected(self, offer: bytes) -> int:
        """Offer methods, and tell which is selected."""
        client = self.proxy.say(offer)
        method = client.received[1]
        client.abort()
        self.proxy.settle()
        return method

    def test_default(self) -> None:
        """A password before none before GSSAPI, whatever the client prefers."""
        self.accept(knows(b"alice", b"secret"), AllowAnonymousAccess())
        for offer, method in (
            (b"\5\3\0\1\2", Method.USERNAME_PASSWORD),
            (b"\5\2\1\0", Method.NO_AUTHENTICATION),
            (b"\5\1\1", Method.GSSAPI),
        ):
            self.assertEqual(self.selected(offer), method)

    def test_preferred(self) -> None:
        """The operator's order goes before that."""
        order = (Method.GSSAPI, Method.USERNAME_PASSWORD)
        self.accept(knows(b"alice", b"secret"), settings={"methods": order})
        self.assertEqual(self.selected(b"\5\3\0\1\2"), Method.GSSAPI)
        self.assertEqual(self.selected(b"\5\2\0\2"), Method.USERNAME_PASSWORD)

    def test_notListed(self) -> None:
        """What is not in that order is not offered."""
        self.accept(knows(b"alice", b"secret"), settings={"methods": (Method.USERNAME_PASSWORD,)})
        self.assertEqual(self.selected(OFFER), Method.NO_ACCEPTABLE_METHODS)

    def test_passwordStill(self) -> None:
        """A client that offers both, as curl does, is let in by its password."""
        proxy = self.accept(knows(b"alice", b"secret"))
        proxy.target()
        client = proxy.say(b"\5\3\0\1\2", credentials(), request())
        self.assertGranted(client, b"\5\2" + LOGGED_IN)
        self.assertEqual(self.acceptor.contexts, [])

    def test_noAcceptor(self) -> None:
        """A checker of principals alone does not make it offered: nobody can accept."""
        self.acceptor = Acceptor()
        portal = principals(self.acceptor)
        chain: Any = portal.checkers[IVerifiedPrincipal]
        chain.checkers = [_Without(chain.checkers[0])]
        self.serve(portal)
        self.assertEqual(self.selected(OFFER), Method.NO_ACCEPTABLE_METHODS)
        self.assertRaises(LookupError, lambda: self.proxy.server.authenticator.acceptance)


class WrappedTests(GSSAPICase):
    """Behind a protocol of Twisted's that wraps ours, as that of the PROXY protocol does."""

    def test_relayed(self) -> None:
        """Who is wrapped gets its octets all the same, in order, and both ends."""
        proxy = self.accept()
        target = proxy.target()
        wrapping: Any = WrappingFactory(proxy.server)
        wrapping.noisy = False
        proxy.ports.append(proxy.reactor.listenTCP(1081, wrapping))
        for level in LEVELS:
            client = GSSClient(proxy)
            client.peer = proxy.connect(port=1081)
            client.raw(OFFER)
            client.authenticate().ask(level).send(request(), b"payload")
            self.assertEqual(client.heard()[:4], GRANTED)
            peer = target.peers[-1]
            self.assertEqual(peer.received, b"payload")
            peer.write(b"answer" * 20_000)
            peer.lose()
            proxy.settle()
            self.assertEqual(client.heard(), b"answer" * 20_000)
            client.peer.lose()
            proxy.settle()
            self.assertIn("target closed; protection: ", proxy.records[-1].reason)


class OverTLSTests(GSSAPICase):
    """A layer on a layer: TLS beneath the level."""

    def test_relayed(self) -> None:
        """Both do their part: much both ways, and an end in each direction."""
        proxy = self.accept()
        target = proxy.target()
        shells = _Shells(proxy.server)
        proxy.ports.append(proxy.reactor.listenTCP(1443, shells))
        for level in LEVELS:
            client = GSSClient(proxy)
            client.peer = proxy.connect(port=1443, peer=TLSPeer(clientContext()))
            client.raw(OFFER)
            client.authenticate().ask(level).send(request(), b"payload" * 9_000)
            self.assertEqual(client.heard()[:4], GRANTED)
            peer = target.peers[-1]
            self.assertEqual(peer.received, b"payload" * 9_000)
            client.peer.loseWrite()
            proxy.settle()
            self.assertTrue(peer.eof)
            peer.write(b"answer" * 50_000)
            peer.lose()
            proxy.settle()
            self.assertEqual(client.heard(), b"answer" * 50_000)
            self.assertTrue(client.peer.eof)
            client.peer.abort()
            proxy.settle()
            self.assertIn("client closed; protection: ", proxy.records[-1].reason)

    def test_ahead(self) -> None:
        """What comes in one piece of TLS's is taken apart in order."""
        proxy = self.accept(accepting={"mutual": False})
        target = proxy.target()
        proxy.ports.append(proxy.reactor.listenTCP(1443, _Shells(proxy.server)))
        client = GSSClient(proxy, mutual=False)
        client.peer = proxy.connect(port=1443, peer=TLSPeer(clientContext()))
        client.level = CONFIDENTIALITY
        payload = bytes(range(256)) * 1500
        said = [OFFER, pack_token(MTYP.AUTHENTICATION, client.context.step(b""))]
        said += [client.asking(2), client.protected(request())]
        said += [
            client.protected(payload[at : at + 60000]) for at in range(0, len(payload), 60000)
        ]
        client.raw(b"".join(said))
        self.assertOctets(target.peer.received, payload)


class _Shells(ServerFactory):
    """Puts TLS around each session."""

    noisy = False

    def __init__(self, server: SOCKS5ServerFactory) -> None:
        self.server = server
        self.contexts = contexts()

    def buildProtocol(self, addr: Any) -> Any:
        """Build one."""
        return TLSTransport(self.contexts.connection(), self.server.buildProtocol(addr))


class _Without:
    """A checker of principals that has no acceptance."""

    def __init__(self, checker: object) -> None:
        self.requestAvatarId = checker.requestAvatarId  # type: ignore[attr-defined]


class SlowPortalTests(GSSAPICase):
    """Portals that take their time, and logins that must not."""

    def test_guessed(self) -> None:
        """Whoever guesses at a password under a principal's name does not keep the principal."""
        proxy = self.accept(knows(b"alice@EXAMPLE.COM", b"secret"))
        for _ in range(5):
            proxy.say(LOGIN, credentials(b"alice@EXAMPLE.COM", b"wrong"))
            proxy.reactor.advance(0.1)
        self.assertIs(self.opened(INTEGRITY).level, INTEGRITY)

    def test_late(self) -> None:
        """Until the portal has agreed, the last token is not sent."""
        answers: list[Deferred[object]] = []
        realm = Realm()

        def later(*_: object) -> Deferred[object]:
            answers.append(Deferred())
            return answers[-1]

        self.patch(realm, "requestAvatar", later)
        proxy = self.accept(realm=realm)
        client = self.client()
        self.assertRaises(AssertionError, client.authenticate)
        proxy.reactor.advance(5)
        self.assertEqual(client.taken(), b"")
        answers.pop().callback(realm.result)
        proxy.settle()
        client.context.step(client.frame(MTYP.AUTHENTICATION))
        self.assertIs(client.ask(INTEGRITY).level, INTEGRITY)
