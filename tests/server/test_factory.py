"""What sessions share, and how it is made where nobody brings something better."""

from __future__ import annotations

import time
from ipaddress import ip_address

from twisted.cred.portal import Portal
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock

from tests.server.base import (
    GREETED,
    GREETING,
    PROXY,
    ServerCase,
    anybody,
    refused,
    request,
    users,
)
from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.logs import TwistedAccessLog
from twisted_socks5.rules import Rules
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.server.session import SOCKS5ServerProtocol
from twisted_socks5.testing import MemoryReactor


class DefaultsTests(ServerCase):
    """A factory made of a reactor and a portal."""

    def setUp(self) -> None:
        """Make it."""
        self.reactor = MemoryReactor()
        self.factory = SOCKS5ServerFactory(self.reactor, anybody())

    def test_parts(self) -> None:
        """All that is needed is there."""
        factory = self.factory
        self.assertIs(factory.clock, self.reactor)
        self.assertIsInstance(factory.rules, Rules)
        self.assertIsInstance(factory.accessLog, TwistedAccessLog)
        self.assertIsInstance(factory.dialer, HappyEyeballs)
        # A reactor that watches no descriptors has no streams.
        self.assertIsNone(factory.streams)
        self.assertFalse(factory.noisy)

    def test_ownResolver(self) -> None:
        """Names resolve, in threads of the factory's own, as long as it listens."""
        port = self.reactor.listenTCP(1080, self.factory)
        resolver = self.factory._ownResolver
        self.assertIsNotNone(resolver._queue)
        port.stopListening()
        self.reactor.advance(0)
        self.assertIsNone(resolver._queue)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_ownClock(self) -> None:
        """Time may be another's than the reactor's; records tell the time of day."""
        clock = Clock()
        clock.advance(1000)
        factory = SOCKS5ServerFactory(self.reactor, anybody(), clock=clock)
        self.factory = factory
        session = self.session(UNIXAddress(b""))
        self.assertLess(abs(session.record.started - time.time()), 60)
        self.assertEqual(session.record.client, "unix")
        self.assertIsNone(session.client)

    def test_noAddress(self) -> None:
        """A connection without an address gets no session."""
        self.assertIsNone(self.factory.buildProtocol(None))
        self.assertEqual(len(self.factory.limits), 0)

    def test_addresses(self) -> None:
        """Clients are written as addresses are, and known by theirs."""
        for address, shown in (
            (IPv4Address("TCP", "192.0.2.1", 9), "192.0.2.1:9"),
            (IPv6Address("TCP", "2001:db8::1", 9), "[2001:db8::1]:9"),
            (IPv6Address("TCP", "fe80::1%eth0", 9), "[fe80::1]:9"),
        ):
            session = self.session(address)
            self.assertEqual(session.record.client, shown)
            self.assertIn(str(session.client), shown)

    def session(self, address: IAddress) -> SOCKS5ServerProtocol:
        """Make a session."""
        session = self.factory.buildProtocol(address)
        if session is None:
            raise AssertionError("no session")
        return session


class SharedTests(ServerCase):
    """What sessions have in common."""

    def test_portalsMayChange(self) -> None:
        """The methods are those that the portal can check at the time."""
        proxy = self.serve(users())
        self.assertEqual(proxy.say(b"\5\1\0").received, b"\5\xff")
        proxy.server.authenticator.portal = anybody()
        self.assertEqual(proxy.say(b"\5\1\0").received, b"\5\0")

    def test_emptyPortal(self) -> None:
        """A portal that can check nothing lets nobody in."""
        proxy = self.serve(Portal(SOCKS5Realm(), []))
        client = proxy.say(b"\5\3\0\1\2")
        self.assertRefused(client, b"\5\xff", "no acceptable authentication method")

    def test_ownSessions(self) -> None:
        """An application may make sessions of its own kind."""

        class Own(SOCKS5ServerProtocol):
            """A session of its own kind."""

        proxy = self.serve()
        proxy.server.protocol = Own
        proxy.connect()
        self.assertEqual([type(each) for each in proxy.server.sessions], [Own])

    def test_unknownLeave(self) -> None:
        """Commands may be taken away."""
        proxy = self.serve()
        proxy.server.commands = {}
        client = proxy.say(GREETING, request())
        self.assertRefused(client, GREETED + refused(7), "unknown command 1")

    def test_severalPorts(self) -> None:
        """One server may listen on several ports, and counts all their sessions."""
        proxy = self.serve(settings={"max_connections": 2})
        proxy.ports.append(proxy.reactor.listenTCP(1081, proxy.server))
        proxy.target()
        for port in (1080, 1081):
            client = proxy.connect(PROXY, port)
            client.write(GREETING + request())
            proxy.settle()
            self.assertGranted(client)
        self.assertEqual(len(proxy.server.limits), 2)
        client = proxy.say(GREETING, request())
        self.assertRefused(client, GREETED + refused(1), "too many connections: 2")

    def test_isOwn(self) -> None:
        """Only its port of its host is the server's own."""
        proxy = self.serve()
        own = proxy.server.isOwn
        here, there = ip_address("127.0.0.1"), ip_address("203.0.113.5")
        self.assertEqual(
            [own(here, 1080), own(here, 1081), own(there, 1080)], [True, False, False]
        )
