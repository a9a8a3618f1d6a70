"""Sessions over TLS: who they are by their certificates, and what is left of them."""

from __future__ import annotations

from typing import Any

from OpenSSL import SSL
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal

from tests.auth.fakes import knows
from tests.server.base import (
    GRANTED,
    GREETED,
    GREETING,
    LOGGED_IN,
    LOGIN,
    LOGIN_SELECTED,
    PROXY,
    credentials,
    request,
    users,
)
from tests.tls.authority import Issued, clientContext, theAuthority, theProxy
from tests.tls.peers import TLSPeer
from tests.tls.test_pem import FilesCase
from twisted_socks5.auth import SOCKS5Realm, combine
from twisted_socks5.auth.certificates import CertificateChecker
from twisted_socks5.config import Settings
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory
from twisted_socks5.tls.endpoint import endpointFromString
from twisted_socks5.wire import Method

TARGET = "203.0.113.5"


class SessionTests(FilesCase):
    """
    A proxy in memory that listens for TLS.

    @ivar records: the access log.
    @ivar target: what is reached through it.
    """

    def serve(self, portal: Portal | None = None, *more: str, **settings: Any) -> None:
        """Start it."""
        self.reactor = MemoryReactor()
        self.records: list[AccessRecord] = []
        self.server = SOCKS5ServerFactory(
            self.reactor,
            portal or Portal(SOCKS5Realm(), combine([AllowAnonymousAccess()])),
            settings=Settings(**settings),
            resolver=self.reactor.names,
            accessLog=self.records.append,
        )
        key, certificate = theProxy().write(self.place, "own")
        own = f"ssl:1080:privateKey={key}:certKey={certificate}"
        endpoint = endpointFromString(self.reactor, ":".join([own, *more]))
        self.port = self.successResultOf(endpoint.listen(self.server))
        self.target = PeerFactory()
        self.reactor.listenTCP(80, self.target, interface=TARGET)

    def asking(self, *more: str) -> tuple[str, ...]:
        """Ask for certificates."""
        return (f"clientCA={self.write('ca.pem', theAuthority().pem)}", *more)

    def say(self, *segments: bytes, issued: Issued | None = None, peer: Any = None) -> Any:
        """Connect a client, and send this, segment by segment."""
        client = peer or TLSPeer(clientContext(issued, trusted=theAuthority()))
        self.reactor.connectTCP(PROXY, 1080, PeerFactory(lambda: client))
        self.reactor.advance(0)
        for segment in segments:
            client.write(segment)
            self.reactor.advance(0)
        return client

    def end(self, client: Any) -> AccessRecord:
        """End a session; @return: what the access log says of it."""
        client.abort()
        self.reactor.advance(0)
        return self.records[-1]

    def certified(self, *others: Any) -> Portal:
        """Make a portal that knows certificates."""
        return Portal(SOCKS5Realm(), combine([*others, CertificateChecker()]))

    def test_connect(self) -> None:
        """A session over TLS is one like any other, and half-closes."""
        self.serve()
        client = self.say(GREETING, request(TARGET))
        self.assertEqual(client.received[:6], GREETED + GRANTED)
        client.write(b"question")
        client.loseWrite()
        self.reactor.advance(0)
        self.assertEqual((self.target.peer.received, self.target.peer.eof), (b"question", True))
        self.target.peer.write(b"answer")
        self.target.peer.loseWrite()
        self.reactor.advance(0)
        self.assertEqual(client.received[12:], b"answer")
        (record,) = self.records
        found = (record.sent, record.received, record.reason)
        self.assertEqual(found, (8, 6, "client closed"))

    def test_allAtOnce(self) -> None:
        """However early the client says it."""
        self.serve()
        peer = TLSPeer(clientContext())
        peer.write(GREETING + request(TARGET) + b"early")
        self.say(peer=peer)
        self.assertEqual(self.target.peer.received, b"early")

    def test_truncated(self) -> None:
        """A client that ends without close_notify has reset, and the log says why."""
        self.serve()
        client = self.say(GREETING, request(TARGET), b"half a quest")
        client.finish()
        self.reactor.advance(0)
        self.assertTrue(self.target.peer.wasReset)
        self.assertEqual(self.target.peer.received, b"half a quest")
        expected = "TLS failed (the client closed without close_notify)"
        self.assertEqual(self.records[0].reason, expected)

    def test_refusalIsHeard(self) -> None:
        """A refusal arrives, and its connection does not stay."""
        self.serve()
        client = self.say(GREETING, request(TARGET, 81))
        self.assertEqual(client.received[2:4], b"\5\5")
        self.assertTrue(client.eof)
        deaf = TLSPeer(clientContext())
        deaf.closesWhenBothEnded = False
        self.say(GREETING, request(TARGET, 81), peer=deaf)
        self.assertIsNone(deaf.lost)
        self.reactor.advance(Settings().linger_timeout)
        self.assertEqual(len(self.records), 2)
        self.assertEqual(self.server.sessions, set())

    def test_handshakeDeadline(self) -> None:
        """A handshake has the time of the negotiation, and no more."""
        for octets in (b"", b"\x16\3\1\0\x50\1"):
            self.serve()
            client = self.say(octets, peer=Peer())
            self.reactor.advance(Settings().negotiation_timeout)
            self.reactor.advance(0)
            self.assertTrue(client.eof)
            self.assertIn("no complete negotiation within", self.records[0].reason)
            self.assertEqual(self.server.sessions, set())

    def test_notTLS(self) -> None:
        """What failed is in the access log."""
        self.serve()
        self.say(b"\5\1\0", peer=Peer())
        expected = "TLS failed (plain SOCKS5, and this port is for TLS) during the negotiation"
        self.assertEqual(self.records[0].reason, expected)
        self.assertEqual(self.server.sessions, set())

    def test_identity(self) -> None:
        """A certificate is a login by method "none"."""
        alice = theAuthority().issue("alice")
        for others in ((), (knows(b"bob", b"secret"),), (AllowAnonymousAccess(),)):
            self.serve(self.certified(*others), *self.asking())
            client = self.say(GREETING, request(TARGET), issued=alice)
            self.assertEqual(client.received[:6], GREETED + GRANTED)
            record = self.end(client)
            self.assertEqual((record.user, record.method), ("alice", "no_authentication"))

    def test_passwordFirst(self) -> None:
        """Who has both, and offers both, is asked for the password; the order can be another."""
        both, alice = b"\5\2\0\2", theAuthority().issue("alice")
        for methods, selected in (
            (None, LOGIN_SELECTED),
            ((Method.NO_AUTHENTICATION, Method.USERNAME_PASSWORD), GREETED),
        ):
            portal = self.certified(knows(b"bob", b"secret"))
            self.serve(portal, *self.asking(), methods=methods)
            client = self.say(both, issued=alice)
            self.assertEqual(client.received, selected)
            self.end(client)

    def test_nobody(self) -> None:
        """Without a certificate, or with one that names nobody, "none" is not offered."""
        nameless = theAuthority().issue("a", "b")
        for issued, why in ((None, "and shows no certificate"), (nameless, "names nobody")):
            self.serve(self.certified(), *self.asking("clientCertificate=optional"))
            client = self.say(GREETING, issued=issued)
            self.assertEqual(client.received, b"\5\xff")
            record = self.end(client)
            self.assertIn("no acceptable authentication method: offered 0, and", record.reason)
            self.assertIn(why, record.reason)

    def test_anonymousBeside(self) -> None:
        """Where anybody is let in, who shows none is anybody."""
        portal = self.certified(AllowAnonymousAccess())
        self.serve(portal, *self.asking("clientCertificate=optional"))
        client = self.say(GREETING, request(TARGET))
        self.assertEqual(client.received[:6], GREETED + GRANTED)
        self.assertEqual(self.end(client).user, "")

    def test_both(self) -> None:
        """A certificate in the handshake and a password: the user is the password's."""
        self.serve(users(), *self.asking())
        alice = theAuthority().issue("somebody else")
        client = self.say(LOGIN, credentials(), request(TARGET), issued=alice)
        self.assertEqual(client.received[:8], LOGIN_SELECTED + LOGGED_IN + GRANTED)
        self.assertEqual(self.end(client).user, "alice")
        client = self.say(GREETING, issued=alice)
        self.assertEqual(client.received, b"\5\xff")
        self.end(client)
        client = self.say(LOGIN)
        self.assertIsInstance(client.failure, SSL.Error)
        self.assertIn("has no certificate, and needs one", self.end(client).reason)

    def test_socks4(self) -> None:
        """SOCKS4's USERID stands for nothing beside a certificate."""
        self.serve(self.certified(), *self.asking("clientCertificate=optional"), socks4=True)
        asked = b"\4\1\0\x50" + bytes(int(part) for part in TARGET.split(".")) + b"mallory\0"
        client = self.say(asked, issued=theAuthority().issue("alice"))
        self.assertEqual(client.received[:2], b"\0\x5a")
        self.assertEqual(self.end(client).user, "alice")
        client = self.say(asked)
        self.assertEqual(client.received[:2], b"\0\x5d")
        self.end(client)

    def test_socks4WithoutNone(self) -> None:
        """Where method "none" is not to be offered, a certificate is no login of SOCKS4's."""
        portal, methods = self.certified(knows(b"bob", b"secret")), (Method.USERNAME_PASSWORD,)
        self.serve(portal, *self.asking(), socks4=True, methods=methods)
        asked = b"\4\1\0\x50" + bytes(int(part) for part in TARGET.split(".")) + b"\0"
        client = self.say(asked, issued=theAuthority().issue("alice"))
        self.reactor.advance(1)  # A failed login is answered late.
        self.assertEqual(client.received[:2], b"\0\x5d")
        self.end(client)

    def test_associate(self) -> None:
        """A UDP association, whose connection is watched, too."""
        self.serve()
        client = self.say(GREETING, request("0.0.0.0", 0, command=3))
        self.assertEqual(client.received[2:6], GRANTED)
        client.loseWrite()
        self.reactor.advance(0)
        self.assertEqual(len(self.records), 1)
