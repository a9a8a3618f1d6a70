"""
The client against the server of this project, in memory: both stand on the same reactor.
"""

from __future__ import annotations

import errno
from typing import Any

from OpenSSL import crypto
from twisted.internet.endpoints import TCP4ClientEndpoint, wrapClientTLS
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.protocols import tls

from tests.client.base import ALICE, Application, Outcome
from tests.server.base import PROXY, TARGET, TARGET6, Proxy, ServerCase, users
from tests.server.gssclients import LEVELS, Acceptor, principals
from tests.server.test_chap import known
from tests.tls.authority import PROXY as PROXY_NAME
from tests.tls.authority import newAuthority, theAuthority, theProxy
from twisted_socks5.client import (
    CHAP,
    GSSAPI,
    AuthenticationError,
    ProxyClosed,
    SOCKS4ClientEndpoint,
    SOCKS5ClientEndpoint,
    UsernamePassword,
    errors,
)
from twisted_socks5.client import Proxy as ProxyAt
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.testing import MemoryContext, Peer, PeerFactory, PlainPeer
from twisted_socks5.wire import ProtectionLevel


class ServedCase(ServerCase):
    """Connects applications through the server."""

    def at(self, host: str = PROXY, port: int = 1080) -> IStreamClientEndpoint:
        """Make the endpoint that leads to the server, or to somebody else."""
        return TCP4ClientEndpoint(self.proxy.reactor, host, port)

    def through(
        self,
        proxy: IStreamClientEndpoint | ProxyAt,
        host: str = TARGET,
        port: int = 80,
        kind: Any = SOCKS5ClientEndpoint,
        **options: Any,
    ) -> SOCKS5ClientEndpoint:
        """Make an endpoint through a proxy."""
        endpoint: SOCKS5ClientEndpoint = kind(
            proxy, host, port, reactor=self.proxy.reactor, **options
        )
        return endpoint

    def connect(self, endpoint: IStreamClientEndpoint, *, kept: bool = True) -> Outcome:
        """
        Connect an application, and let happen what happens at once.

        @param kept: whether to close it at the end of the test, if the test doesn't.
        """
        application = Application()
        if kept:
            self.proxy.targets.append(application)
        outcome = Outcome(endpoint.connect(application))
        self.proxy.settle()
        return outcome

    def assertTalks(self, peer: Peer, target: PeerFactory) -> None:
        """Octets go both ways, and so do the ends; then both sides are closed."""
        peer.write(b"question" * 20_000)
        peer.loseWrite()
        self.proxy.settle()
        far = target.peers[-1]
        self.assertEqual(len(far.received), 160_000)
        self.assertTrue(far.eof)
        self.assertIsNone(far.lost)
        far.write(b"answer" * 20_000)
        far.loseWrite()
        self.proxy.settle()
        self.assertEqual(len(peer.received), 120_000)
        self.assertTrue(peer.wasClosed)


class ConnectTests(ServedCase):
    """CONNECT, and its refusals."""

    def test_address(self) -> None:
        """To an address, IPv4 and IPv6."""
        for host in (TARGET, TARGET6):
            proxy = self.serve()
            target = proxy.target(host)
            self.assertTalks(self.connect(self.through(self.at(), host)).result, target)

    def test_name(self) -> None:
        """To a name, which the server resolves."""
        proxy = self.serve()
        proxy.reactor.names.add("example.com", [TARGET])
        target = proxy.target()
        self.assertTalks(self.connect(self.through(self.at(), "Example.com.")).result, target)
        self.assertEqual(proxy.records[-1].target, "example.com:80")

    def test_resolvedHere(self) -> None:
        """To a name that is resolved here; the second address answers."""
        proxy = self.serve()
        proxy.reactor.names.add("example.com", [TARGET6, TARGET])
        target = proxy.target()
        endpoint = self.through(self.at(), "example.com", resolver=proxy.reactor.names)
        self.assertTalks(self.connect(endpoint).result, target)
        self.assertEqual(
            [each.target for each in proxy.records], [f"[{TARGET6}]:80", f"{TARGET}:80"]
        )

    def test_login(self) -> None:
        """With a username and password; with wrong ones; with none."""
        proxy = self.serve(users())
        target = proxy.target()
        alice = UsernamePassword("alice", "secret")
        self.assertTalks(
            self.connect(self.through(self.at(), authentication=[alice])).result, target
        )
        outcome = self.connect(self.through(self.at(), authentication=[ALICE]))
        proxy.reactor.advance(60.0)
        self.assertIsInstance(outcome.error, AuthenticationError)
        outcome = self.connect(self.through(self.at()))
        self.assertIsInstance(outcome.error, AuthenticationError)

    def test_challenge(self) -> None:
        """With a password that is not said; and with a wrong one."""
        proxy = self.serve(known())
        target = proxy.target()
        alice = CHAP("alice", "secret")
        self.assertTalks(
            self.connect(self.through(self.at(), authentication=[alice])).result, target
        )
        mallory = CHAP("alice", "guess")
        outcome = self.connect(self.through(self.at(), authentication=[mallory]))
        proxy.reactor.advance(60.0)
        self.assertIsInstance(outcome.error, AuthenticationError)

    def test_refused(self) -> None:
        """Each refusal of the server's is its own exception."""
        proxy = self.serve(rules=Rules([Rule.parse("deny", "203.0.113.66")]))
        proxy.reactor.route("203.0.113.7", error=errno.ENETUNREACH)
        proxy.reactor.route("203.0.113.8", error=errno.EHOSTUNREACH)
        proxy.reactor.route("203.0.113.9", silent=True)
        for host, kind in (
            (TARGET, errors.ConnectionRefused),
            ("203.0.113.66", errors.NotAllowed),
            ("203.0.113.7", errors.NetworkUnreachable),
            ("203.0.113.8", errors.HostUnreachable),
            ("nowhere.example", errors.HostUnreachable),
            ("203.0.113.9", errors.TTLExpired),
            ("127.0.0.1", errors.NotAllowed),
        ):
            with self.subTest(host=host):
                outcome = self.connect(self.through(self.at(), host))
                proxy.reactor.advance(25.0)
                self.assertIs(type(outcome.error), kind)
                self.assertEqual(outcome.error.proxy, f"{PROXY}:1080")
                self.assertIn(f"(to reach {host}:80)", str(outcome.error))

    def test_socks4(self) -> None:
        """SOCKS4 and 4a, where the server speaks them."""
        proxy = self.serve(settings={"socks4": True})
        proxy.reactor.names.add("example.com", [TARGET])
        target = proxy.target()
        for host in (TARGET, "example.com"):
            endpoint = self.through(self.at(), host, kind=SOCKS4ClientEndpoint, userID="alice")
            self.assertTalks(self.connect(endpoint).result, target)
        outcome = self.connect(self.through(self.at(), port=81, kind=SOCKS4ClientEndpoint))
        self.assertIsInstance(outcome.error, errors.Rejected)

    def test_socks4Off(self) -> None:
        """And where it does not."""
        self.serve()
        outcome = self.connect(self.through(self.at(), kind=SOCKS4ClientEndpoint))
        self.assertIsInstance(outcome.error, errors.Rejected)

    def test_early(self) -> None:
        """A target that talks first is heard behind C{connectionMade}."""

        class Talkative(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.write(b"220 ready")

        proxy = self.serve()
        proxy.target(peer=Talkative)
        peer = self.connect(self.through(self.at())).result
        self.assertEqual(bytes(peer.received), b"220 ready")
        self.assertEqual(peer.events, ["made", "data"])

    def test_cancelled(self) -> None:
        """Cancelled after any number of turns: neither side keeps anything."""
        proxy = self.serve()
        proxy.target(peer=PlainPeer)
        for turns in range(40):
            outcome = Outcome(self.through(self.at()).connect(Application()))
            for _ in range(turns):
                proxy.reactor.turn()
            outcome.deferred.cancel()
            if outcome.results:
                outcome.result.abort()
            proxy.settle()
            self.assertEqual(proxy.server.sessions, set())
            self.assertEqual(proxy.reactor.openConnections(), [])
        self.assertEqual(outcome.failures, [])


class StreamConnectTests(ConnectTests):
    """The same on the server's own transports."""

    streams = True


class ChainTests(ServedCase):
    """Through one proxy to the next."""

    def test_three(self) -> None:
        """Through three; the application's transport is the one to the first."""
        proxy = self.serve(rules=Rules([Rule.parse("permit", "192.0.2.0/24")]))
        target = proxy.target()
        way: IStreamClientEndpoint = self.at()
        for host in ("192.0.2.11", "192.0.2.12"):
            way = self.through(way, host, 1080)
        peer = self.connect(self.through(way)).result
        self.assertEqual(peer.transport.getPeer().host, PROXY)
        self.assertIs(peer.transport.protocol, peer)
        self.assertTalks(peer, target)
        self.assertEqual(
            {each.target for each in proxy.records},
            {"192.0.2.11:1080", "192.0.2.12:1080", f"{TARGET}:80"},
        )

    def test_refusedAtTheEnd(self) -> None:
        """The last one's refusal is its own; nothing of the chain is left."""
        proxy = self.serve(rules=Rules([Rule.parse("permit", "192.0.2.0/24")]))
        way = self.through(self.at(), "192.0.2.11", 1080)
        for given, name in (("the second", "the second"), ("", "192.0.2.11:1080")):
            outcome = self.connect(self.through(ProxyAt(way, name=given)))
            self.assertIsInstance(outcome.error, errors.ConnectionRefused)
            self.assertEqual(outcome.error.proxy, name)
        self.assertEqual(str(outcome.error.target), f"{TARGET}:80")
        self.assertEqual(proxy.reactor.openConnections(), [])

    def test_refusedInTheMiddle(self) -> None:
        """Where the second proxy isn't reached, that is the first one's refusal."""
        self.serve()
        way = self.through(self.at(), "192.0.2.11", 1081)
        outcome = self.connect(self.through(way))
        self.assertEqual(outcome.error.proxy, f"{PROXY}:1080")
        self.assertEqual(str(outcome.error.target), "192.0.2.11:1081")


class TLSTests(ServedCase):
    """TLS inside, with the target; and outside, with the proxy."""

    def serve(self, *args: Any, **options: Any) -> Proxy:
        """Start a server; its clock is that of TLS, too, to which C{wrapClientTLS} gives none."""
        proxy = super().serve(*args, **options)
        self.patch(tls, "_get_default_clock", lambda: proxy.reactor)
        return proxy

    def trusting(self, authority: Any, name: str) -> Any:
        """Make options that trust an authority, for a server of a name."""
        root = trustRootFromCertificates([Certificate.loadPEM(authority.pem)])
        return optionsForClientTLS(name, trustRoot=root)

    def serveTLS(self, factory: Any) -> Any:
        """Put TLS before a factory."""
        issued = theProxy()
        options = CertificateOptions(
            privateKey=crypto.PKey.from_cryptography_key(issued.key),
            certificate=crypto.X509.from_cryptography(issued.certificate),
        )
        return tls.TLSMemoryBIOFactory(options, False, factory, self.proxy.reactor)

    def test_inside(self) -> None:
        """With the target, whose name is verified: C{wrapClientTLS} on our endpoint."""
        proxy = self.serve()
        target = PeerFactory()
        proxy.ports.append(proxy.reactor.listenTCP(443, self.serveTLS(target), interface=TARGET))
        endpoint = wrapClientTLS(
            self.trusting(theAuthority(), PROXY_NAME), self.through(self.at(), port=443)
        )
        peer = self.connect(endpoint, kept=False).result
        peer.write(b"secret")
        proxy.settle()
        self.assertEqual(bytes(target.peer.received), b"secret")
        target.peer.write(b"answer")
        proxy.settle()
        self.assertEqual(bytes(peer.received), b"answer")
        peer.lose()
        proxy.settle()

    def test_outside(self) -> None:
        """With the proxy: our endpoint on C{wrapClientTLS}."""
        proxy = self.serve()
        proxy.ports.append(proxy.reactor.listenTCP(1443, self.serveTLS(proxy.server)))
        target = proxy.target()
        way = wrapClientTLS(self.trusting(theAuthority(), PROXY_NAME), self.at(port=1443))
        peer = self.connect(self.through(way), kept=False).result
        peer.write(b"question")
        proxy.settle()
        target.peer.write(b"answer")
        proxy.settle()
        self.assertEqual(bytes(target.peer.received), b"question")
        self.assertEqual(bytes(peer.received), b"answer")
        self.assertIs(peer.transport.wrappedProtocol, peer)
        peer.lose()
        proxy.settle()
        self.assertTrue(peer.wasClosed)

    def test_stranger(self) -> None:
        """A proxy whose certificate is another's is told nothing; the error says why."""
        proxy = self.serve()
        proxy.ports.append(proxy.reactor.listenTCP(1443, self.serveTLS(proxy.server)))
        for authority, name in (
            (newAuthority("Another"), PROXY_NAME),
            (theAuthority(), "other.example"),
        ):
            way = wrapClientTLS(self.trusting(authority, name), self.at(port=1443))
            outcome = self.connect(self.through(way))
            self.assertIsInstance(outcome.error, ProxyClosed)
            self.assertRegex(str(outcome.error), "the connection was given up .*(?i:verif)")
            self.assertEqual(proxy.reactor.openConnections(), [])

    def test_plain(self) -> None:
        """A proxy that speaks TLS, connected to without: it waits for more, and so do we."""
        proxy = self.serve()
        proxy.ports.append(proxy.reactor.listenTCP(1443, self.serveTLS(proxy.server)))
        outcome = self.connect(self.through(self.at(port=1443)))
        proxy.reactor.advance(30.0)
        self.assertIsInstance(outcome.error, errors.SOCKSError)
        self.assertEqual(proxy.reactor.openConnections(), [])


class SecurityTests(ServedCase):
    """GSSAPI on both sides."""

    def gssapi(self, **options: Any) -> GSSAPI:
        """Say that we are alice."""
        return GSSAPI(
            context=lambda service, sequence: MemoryContext(
                "alice", initiates=True, ordered=sequence
            ),
            **options,
        )

    def test_levels(self) -> None:
        """Payload, half-close and all, at each level."""
        for level in LEVELS:
            proxy = self.serve(principals(Acceptor()))
            target = proxy.target()
            way = ProxyAt(self.at(), [self.gssapi(levels=(level,))])
            self.assertTalks(self.connect(self.through(way)).result, target)
            self.assertEqual(proxy.records[-1].user, "alice@EXAMPLE.COM")

    def test_nec(self) -> None:
        """In NEC's way, where the server admits that."""
        proxy = self.serve(principals(Acceptor(), bare=True))
        target = proxy.target()
        way = ProxyAt(self.at(), [self.gssapi(nec=True)])
        self.assertTalks(self.connect(self.through(way)).result, target)

    def test_refusedLevel(self) -> None:
        """A server that has no such protection gives up."""
        self.serve(principals(Acceptor(), levels=[ProtectionLevel.INTEGRITY]))
        way = ProxyAt(self.at(), [self.gssapi(levels=(ProtectionLevel.CONFIDENTIALITY,))])
        outcome = self.connect(self.through(way))
        self.assertIsInstance(outcome.error, AuthenticationError)

    def test_refused(self) -> None:
        """A reply that refuses comes through the protection."""
        self.serve(principals(Acceptor()))
        outcome = self.connect(self.through(ProxyAt(self.at(), [self.gssapi()])))
        self.assertIsInstance(outcome.error, errors.ConnectionRefused)
        self.assertEqual(self.proxy.reactor.openConnections(), [])


class StreamSecurityTests(SecurityTests):
    """The same on the server's own transports."""

    streams = True
