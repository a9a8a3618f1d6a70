"""
A test of rules of your own, with a whole server but without a socket, a thread or a wait.

    trial ./in_memory.py
"""

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5 import Rule, Rules, SOCKS5ServerFactory
from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.logs import AccessRecord
from twisted_socks5.testing import MemoryReactor, PeerFactory
from twisted_socks5.wire import Address, Command, Method, Reply, pack_greeting, pack_request


class WebOnlyTests(SynchronousTestCase):
    """Port 80 and nothing else."""

    def setUp(self) -> None:
        """Make a network with a web server and a proxy in it."""
        self.reactor = MemoryReactor()
        self.reactor.names.add("www.example", ["203.0.113.5"], delay=0.1)
        self.web = PeerFactory()
        self.ports = [self.reactor.listenTCP(80, self.web, interface="203.0.113.5")]

        self.records: list[AccessRecord] = []
        self.proxy = SOCKS5ServerFactory(
            self.reactor,
            Portal(SOCKS5Realm(), [AllowAnonymousAccess()]),
            rules=Rules([Rule.parse("permit", "*:80"), Rule.parse("deny", "*")]),
            resolver=self.reactor.names,
            accessLog=self.records.append,
        )
        self.ports.append(self.reactor.listenTCP(1080, self.proxy, interface="198.51.100.1"))

    def ask(self, name: bytes, port: int) -> PeerFactory:
        """Connect to the proxy and ask for a target."""
        client = PeerFactory()
        self.reactor.connectTCP("198.51.100.1", 1080, client)
        self.reactor.advance(0)
        client.peer.write(pack_greeting([Method.NO_AUTHENTICATION]))
        client.peer.write(pack_request(Command.CONNECT, Address(name, port)))
        self.reactor.advance(0.1)
        return client

    def tearDown(self) -> None:
        """Leave nothing behind: no socket, no delayed call."""
        for port in self.ports:
            port.stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_permitted(self) -> None:
        """Octets pass, both ways, and so does each side's end."""
        client = self.ask(b"www.example", 80)
        self.web.peer.write(b"hello")
        self.reactor.advance(0)
        self.assertEqual(client.peer.received[-5:], b"hello")
        client.peer.loseWrite()
        self.web.peer.loseWrite()
        self.reactor.advance(0)
        self.assertTrue(client.peer.wasClosed and self.web.peer.wasClosed)
        self.assertEqual(self.records[0].dialled, "203.0.113.5:80")

    def test_denied(self) -> None:
        """The client is told so, and nobody is connected to."""
        client = self.ask(b"www.example", 25)
        self.assertEqual(client.peer.received[2:4], bytes([5, Reply.CONNECTION_NOT_ALLOWED]))
        self.assertEqual(self.web.peers, [])
        client.peer.lose()
        self.reactor.advance(0)
        self.assertEqual(self.records[0].reason, "deny *")
