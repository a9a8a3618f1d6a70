"""A server in memory, and clients that ask it something octet by octet or all at once."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, ICredentialsChecker
from twisted.cred.portal import Portal
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.auth import SOCKS5Realm, combine
from twisted_socks5.config import Settings
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory

PROXY = "192.0.2.10"
PROXY6 = "2001:db8::10"
TARGET = "203.0.113.5"
TARGET6 = "2001:db8:5::5"


class AskingCase(SynchronousTestCase):
    """
    A server that is started with C{settings}, and its clients.

    @ivar reactor: the network and the clock.
    @ivar settings: what the server will be started with.
    @ivar records: the access log.
    """

    def setUp(self) -> None:
        """Make a reactor."""
        self.reactor = MemoryReactor()
        self.settings: dict[str, Any] = {}
        self.records: list[AccessRecord] = []
        self.ports: list[Any] = []
        self.addCleanup(self.assertNothingLeft)

    def assertNothingLeft(self) -> None:
        """Only what the test has opened itself was left, and what went wrong was logged."""
        for port in self.ports:
            port.stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def serve(self, *checkers: ICredentialsChecker, interface: str = "::", **options: Any) -> None:
        """Start a server; anybody may use it unless there are checkers."""
        self.server = SOCKS5ServerFactory(
            self.reactor,
            Portal(SOCKS5Realm(), combine(checkers or [AllowAnonymousAccess()])),
            settings=Settings(**self.settings),
            resolver=self.reactor.names,
            accessLog=self.records.append,
            **options,
        )
        self.ports.append(self.reactor.listenTCP(1080, self.server, interface=interface))

    def target(self, host: str = TARGET, port: int = 80) -> PeerFactory:
        """Have somebody listen."""
        factory = PeerFactory()
        self.ports.append(self.reactor.listenTCP(port, factory, interface=host))
        return factory

    def dial(self, host: str = PROXY, port: int = 1080) -> Peer:
        """Connect to the server, or to something of its; whoever does goes with the test."""
        factory = PeerFactory()
        self.reactor.connectTCP(host, port, factory)
        self.reactor.advance(0)
        peer = factory.peer
        if not isinstance(peer, Peer):
            raise AssertionError(f"{peer} cannot half-close")
        self.addCleanup(self.reactor.advance, 0)
        self.addCleanup(peer.abort)
        return peer

    def ask(self, *octets: bytes, proxy: str = PROXY) -> Peer:
        """Connect, and send this, a segment for each argument."""
        peer = self.dial(proxy)
        for segment in octets:
            peer.write(segment)
            self.reactor.advance(0)
        return peer

    def record(self) -> AccessRecord:
        """Give the access line of the only session that there was."""
        (record,) = self.records
        self.assertEqual((self.server.sessions, len(self.server.limits)), (set(), 0))
        return record

    def assertRefused(self, client: Peer, answer: bytes, reason: str) -> AccessRecord:
        """
        See that a client got an answer, and then the end of it.

        @param reason: what the access line says, as a regular expression.
        """
        self.assertEqual(bytes(client.received), answer)
        self.assertTrue(client.eof)
        self.assertIsNone(client.lost)
        client.lose()
        self.reactor.advance(0)
        self.assertTrue(client.wasClosed)
        record = self.record()
        self.assertRegex(record.reason, reason)
        return record


def octets(data: bytes) -> list[bytes]:
    """Take octets apart."""
    return [data[at : at + 1] for at in range(len(data))]
