"""More clients than there may be: who is told so, who is turned away, and who has to go."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from tests.server.base import GREETED, GREETING, ServerCase, refused, request
from twisted_socks5.server.factory import TOLD
from twisted_socks5.testing import Peer

HERE = "127.0.0.1"


class Elsewhere(ProtocolWrapper):
    """Has its protocol know by its first octets where the client really connects from."""

    def dataReceived(self, data: bytes) -> None:
        """Learn it, as from the PROXY protocol."""
        self.really = self.factory.really
        super().dataReceived(data)

    def getPeer(self) -> Any:
        """Name the client, as far as it is known."""
        return getattr(self, "really", None) or super().getPeer()


class FullTests(ServerCase):
    """As many sessions as there may be in all."""

    def relays(self, count: int, **options: Any) -> list[Peer]:
        """Start a server, and so many relays."""
        proxy = self.serve(**options)
        self.target = proxy.target()
        return [proxy.say(GREETING, request()) for _ in range(count)]

    def test_told(self) -> None:
        """One too many is told so, at its request, with REP 1; a place given back is one."""
        first, second = self.relays(2, settings={"max_connections": 2})
        client = self.proxy.say(GREETING, request())
        record = self.assertRefused(client, GREETED + refused(1), "too many connections: 2")
        self.assertEqual((record.reply, record.target), (1, "203.0.113.5:80"))
        first.abort()
        self.proxy.settle()
        self.assertGranted(self.proxy.say(GREETING, request()))
        self.assertIsNone(second.lost)

    def test_turnedAway(self) -> None:
        """Those that are told so are not many either: a further one is closed at once."""
        self.relays(1, settings={"max_connections": 1})
        told = [self.proxy.connect() for _ in range(TOLD)]
        self.assertEqual([each for each in told if each.lost or each.eof], [])
        self.assertEqual(len(self.proxy.server.sessions), 1 + TOLD)
        away = self.proxy.connect()
        self.assertTrue(away.eof)
        self.assertEqual(away.received, b"")
        self.assertEqual(len(self.proxy.server.sessions), 1 + TOLD)
        told[0].abort()
        self.proxy.settle()
        self.assertFalse(self.proxy.connect().eof)

    def test_roomIsMade(self) -> None:
        """The oldest of those that have not said what they want goes for one that may."""
        relay, *_ = self.relays(1, settings={"max_connections": 3})
        silent = [self.proxy.say(b"\5"), self.proxy.say(GREETING)]
        client = self.proxy.say(GREETING, request())
        self.assertGranted(client)
        self.assertEqual([each.wasReset for each in silent], [True, False])
        self.assertRegex(self.record().reason, "dropped to make room")
        self.assertGranted(self.proxy.say(GREETING, request()))
        self.assertTrue(silent[1].wasReset)
        self.assertRefused(self.proxy.say(GREETING, request()), GREETED + refused(1), "too many")
        self.assertIsNone(relay.lost)
        self.assertIsNone(client.lost)

    def test_noDescriptors(self) -> None:
        """Before descriptors run out a request is refused, and those that have theirs go on."""
        proxy = self.serve()
        proxy.target()
        relay = proxy.say(GREETING, request())
        proxy.server.descriptors = 71
        self.assertRefused(
            proxy.say(GREETING, request()), GREETED + refused(1), "no file descriptors to spare"
        )
        proxy.server.descriptors = 72
        self.assertGranted(proxy.say(GREETING, request()))
        self.assertIsNone(relay.lost)

    def test_noRoomIsMadeForNothing(self) -> None:
        """One who has too many of its own costs nobody else a place."""
        proxy = self.serve(settings={"max_connections": 3, "max_connections_per_client": 2})
        silent = proxy.connect(HERE)
        proxy.target()
        for _ in range(2):
            proxy.say(GREETING, request())
        client = proxy.say(GREETING, request())
        self.assertRefused(client, GREETED + refused(1), "too many connections from 192.0.2.1: 2")
        self.assertIsNone(silent.lost)
        self.assertEqual(len(proxy.server.limits), 3)

    def test_roomIsMadeOfOnesOwn(self) -> None:
        """One who has too many, the oldest of them silent, gives that one up for another."""
        proxy = self.serve(settings={"max_connections": 2, "max_connections_per_client": 2})
        proxy.target()
        silent = [proxy.connect(), proxy.connect()]
        self.assertGranted(proxy.say(GREETING, request()))
        self.assertEqual([each.wasReset for each in silent], [True, False])

    def test_thoseWhoAreToldMakeNoRoom(self) -> None:
        """Silent sessions that take no place are not dropped, and hide none that does."""
        proxy = self.serve(settings={"max_connections": 3, "max_connections_per_client": 2})
        proxy.target()
        relays = [proxy.say(GREETING, request(), proxy=HERE) for _ in range(2)]
        told = proxy.connect(HERE)
        silent = proxy.connect()
        self.assertGranted(proxy.say(GREETING, request()))
        self.assertEqual([each.wasReset for each in (told, silent)], [False, True])
        told.write(GREETING + request())
        proxy.settle()
        self.assertRefused(told, GREETED + refused(1), "too many connections from 127.0.0.1")
        self.assertEqual([each.lost for each in relays], [None, None])

    def test_silentAndTold(self) -> None:
        """Who is over the limit and says nothing has no more time than others."""
        self.relays(1, settings={"max_connections": 1, "negotiation_timeout": 5.0})
        told = self.proxy.connect()
        self.proxy.reactor.advance(6)
        self.assertRefused(told, b"", "no complete negotiation within 5 s")

    def test_drain(self) -> None:
        """Those over the limit that have not requested yet are ended with the others."""
        relay, *_ = self.relays(1, settings={"max_connections": 1})
        told = self.proxy.connect()
        self.proxy.server.limits.total = 2
        silent = self.proxy.connect()
        self.assertEqual(len(self.proxy.server.limits), 2)
        self.proxy.server.drain("the proxy stops")
        self.proxy.settle()
        self.assertTrue(silent.wasReset and told.wasReset)
        self.assertIsNone(relay.lost)

    def test_unlimited(self) -> None:
        """0 is no limit."""
        clients = self.relays(40, settings={"max_connections": 0, "max_connections_per_client": 0})
        for client in clients:
            self.assertGranted(client)


class IdentifiedTests(ServerCase):
    """Clients that turn out, by the PROXY protocol, to be others than who connected."""

    def behind(self, really: Any, **settings: Any) -> Peer:
        """Connect a client whose address will be said to be another one."""
        if not hasattr(self, "proxy"):
            self.serve(settings=settings)
            wrapping: Any = WrappingFactory(self.proxy.server)
            wrapping.protocol = Elsewhere
            self.wrapping = wrapping
            self.proxy.ports.append(self.proxy.reactor.listenTCP(1081, wrapping, interface=HERE))
        self.wrapping.really = really
        return self.proxy.connect(HERE, 1081)

    def test_counted(self) -> None:
        """A session is counted as one of the client whose it is, and judged so."""
        client = self.behind(IPv4Address("TCP", "198.51.100.9", 4711))
        target = self.proxy.target(HERE)
        self.assertEqual(self.proxy.server.limits.clients, 1)
        client.write(GREETING + request(HERE))
        self.proxy.settle()
        self.assertRefused(client, GREETED + refused(2), "loopback destination")
        self.assertEqual(self.record().client, "198.51.100.9:4711")
        self.assertEqual(target.peers, [])

    def test_tooMany(self) -> None:
        """The limit of one client is that of the one whose the sessions are."""
        really = IPv4Address("TCP", "198.51.100.9", 4711)
        clients = [self.behind(really, max_connections_per_client=2) for _ in range(2)]
        self.proxy.target()
        for client in clients:
            client.write(GREETING + request())
            self.proxy.settle()
            self.assertGranted(client)
        third = self.behind(really)
        third.write(GREETING + request())
        self.proxy.settle()
        self.assertRefused(
            third, GREETED + refused(1), "too many connections from 198.51.100.9: 2"
        )
        other = self.behind(IPv4Address("TCP", "198.51.100.10", 4711))
        other.write(GREETING + request())
        self.proxy.settle()
        self.assertGranted(other)

    def test_noAddress(self) -> None:
        """A client without an IP address is this host's."""
        client = self.behind(UNIXAddress(b"/run/balancer"))
        client.write(GREETING)
        self.proxy.settle()
        client.abort()
        self.proxy.settle()
        self.assertEqual(self.record().client, "unix")


class StreamFullTests(FullTests):
    """The same on streams."""

    streams = True
