"""BIND in memory: a server, its clients, and whoever connects to the ports they are told."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.cred.checkers import ICredentialsChecker

from tests.server.asking import PROXY, TARGET, AskingCase
from tests.streams.memory import streamsOn
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.relay.splice import PIPES
from twisted_socks5.server import bind
from twisted_socks5.server.bound import Own
from twisted_socks5.testing import ListeningSocket, Peer, PeerFactory, PlainPeer
from twisted_socks5.testing.sockets import socketError
from twisted_socks5.wire import Address, Command, Host, ReplyMessage, pack_request, parse_reply

# What the network in memory takes for whoever connects, and so for us as well.
OWN = "192.0.2.1"
OWN6 = "2001:db8::1"
STRANGER = "198.51.100.66"
NEIGHBOUR = "203.0.113.77"

GREETED = b"\5\0"


def asked(host: str | Host = TARGET, port: int = 0) -> bytes:
    """Write a greeting and a BIND's request."""
    where = ip_address(host) if isinstance(host, str) else host
    return b"\5\1\0" + pack_request(Command.BIND, Address(where, port))


def endpoint(reply: ReplyMessage) -> tuple[str, int]:
    """Give BND."""
    return str(reply.bound.host), reply.bound.port


class BindCase(AskingCase):
    """
    A server that does BIND.

    @cvar streams: whether its connections are streams instead of Twisted's own.
    """

    streams = False

    def setUp(self) -> None:
        """Let the network in memory be the one that is asked for ways."""
        super().setUp()
        self.patch(bind, "ownTowards", self.ownTowards)

    def ownTowards(self, peer: IPAddress, second: int) -> Own:
        """Say what we would connect from, or fail as its route does."""
        network = self.reactor.network
        error = network.routeTo((peer, 9)).error
        if error:
            raise socketError(error)
        return Own.parse(str(network.source((peer, 9))[0]))

    def serve(self, *checkers: ICredentialsChecker, interface: str = "::", **options: Any) -> None:
        """Start a server."""
        super().serve(*checkers, interface=interface, **options)
        if self.streams:
            streams, self.sockets = streamsOn(self.reactor, self)
            self.server.streams = streams
            # The kernel can't splice what is in memory.
            self.patch(PIPES, "usable", False)
            self.addCleanup(streams.accept(self.ports[-1], self.server).stop)

    def bind(
        self, host: str | Host = TARGET, port: int = 0, *, more: bytes = b"", proxy: str = PROXY
    ) -> Peer:
        """Connect a client, and ask for a BIND."""
        return self.ask(asked(host, port) + more, proxy=proxy)

    def waiting(
        self, host: str | Host = TARGET, port: int = 0, *, more: bytes = b"", proxy: str = PROXY
    ) -> tuple[Peer, tuple[str, int]]:
        """Ask for a BIND that is granted; @return: the client, and where it waits."""
        if not hasattr(self, "server"):
            self.serve()
        client = self.bind(host, port, more=more, proxy=proxy)
        (first,), rest = self.replies(client)
        self.assertEqual((first.reply, rest), (0, b""))
        return client, endpoint(first)

    def replies(self, client: Peer) -> tuple[list[ReplyMessage], bytes]:
        """Read what a client has received: one or two replies, and what is behind them."""
        octets = bytes(client.received)
        self.assertEqual(octets[:2], GREETED)
        found: list[ReplyMessage] = []
        at = 2
        while len(found) < 2 and (one := parse_reply(octets, at)) is not None:
            found.append(one[0])
            at = one[1]
        return found, octets[at:]

    def comer(
        self,
        where: tuple[str, int],
        source: str = TARGET,
        port: int = 20,
        *,
        settle: bool = True,
        protocol: type[Peer] = Peer,
    ) -> PeerFactory:
        """Connect to a port from somewhere; @return: what has the peer, or why not."""
        factory = PeerFactory(protocol)
        self.reactor.connectTCP(*where, factory, bindAddress=(source, port))
        if settle:
            self.reactor.advance(0)
        self.addCleanup(_abort, factory)
        return factory

    def joined(
        self, host: str | Host = TARGET, source: str = TARGET, more: bytes = b""
    ) -> tuple[Peer, Peer]:
        """Bring a BIND to where both are connected; @return: the client and its peer."""
        client, where = self.waiting(host, more=more)
        peer = self.comer(where, source).peer
        found, _ = self.replies(client)
        self.assertEqual([each.reply for each in found], [0, 0])
        if not isinstance(peer, Peer):
            raise AssertionError(f"{peer} cannot half-close")
        return client, peer

    def listening(self) -> list[tuple[str, int]]:
        """Tell where a BIND listens: wherever the server itself and the test do not."""
        own = {self.ports[0].getHost().port} if self.ports else set()
        own |= {port.getHost().port for port in self.ports}
        sockets = [each for each in self.reactor.listeners() if isinstance(each, ListeningSocket)]
        ends = [each.local for each in sockets if each.local is not None]
        return [(str(host), port) for host, port in ends if port not in own]

    def assertSecond(self, client: Peer, reply: int) -> None:
        """See that the second reply of a BIND is this failure, and that nothing follows it."""
        (first, second), rest = self.replies(client)
        self.assertEqual((first.reply, second.reply, rest), (0, reply, b""))
        self.assertEqual(endpoint(second), ("0.0.0.0", 0))
        self.assertEqual(self.listening(), [])
        self.assertTrue(client.eof)

    def assertFirst(self, client: Peer, reply: int) -> str:
        """See that a BIND is refused by its first reply; @return: why, by the access log."""
        (only,), rest = self.replies(client)
        self.assertEqual((only.reply, rest, endpoint(only)), (reply, b"", ("0.0.0.0", 0)))
        self.assertEqual(self.listening(), [])
        self.assertTrue(client.eof)
        client.lose()
        self.reactor.advance(0)
        record = self.records[-1]
        self.assertEqual((record.command, record.reply), ("BIND", reply))
        return record.reason

    def ended(self, client: Peer, peer: PlainPeer | None = None) -> str:
        """End a client's connection, and its peer's; tell what the access log says of it."""
        client.lose()
        self.reactor.advance(0)
        if peer is not None:
            peer.lose()
            self.reactor.advance(0)
            self.assertTrue(peer.wasClosed)
        self.assertEqual(self.listening(), [])
        return self.record().reason


def _abort(factory: PeerFactory) -> None:
    """End what somebody has connected."""
    for peer in factory.peers:
        peer.abort()
