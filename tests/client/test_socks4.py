"""
SOCKS4 and 4a, for old proxies.
"""

from __future__ import annotations

from ipaddress import IPv6Address
from typing import Any

from twisted.internet.address import IPv4Address

from tests.client.base import GRANTED, PROXY, TARGET, Application, ClientCase, Outcome
from twisted_socks5.client import (
    InvalidTarget,
    Proxy,
    ProxyClosed,
    ProxyError,
    ProxyProtocolError,
    SOCKS4ClientEndpoint,
    SOCKS5ClientEndpoint,
)
from twisted_socks5.client.errors import Rejected
from twisted_socks5.testing import Peer
from twisted_socks5.wire import Address, Command

GRANTED4 = b"\0\x5a\x9c\x40\xc0\0\2\x0a"


class SOCKS4Tests(ClientCase):
    """One request, one reply."""

    def connect4(self, host: Any = TARGET, **options: Any) -> tuple[Application, Outcome]:
        """Connect an application by SOCKS4."""
        application = Application()
        endpoint = SOCKS4ClientEndpoint(
            self.wayToProxy(),
            host,
            80,
            reactor=self.reactor,
            **options,
        )
        outcome = Outcome(endpoint.connect(application))
        self.settle()
        return application, outcome

    def test_address(self) -> None:
        """To an address, with a user id."""
        application, outcome = self.connect4(userID="alice")
        self.assertEqual(self.heard(), b"\4\1\0\x50\xcb\0\x71\5alice\0")
        self.say(GRANTED4 + b"hello")
        self.assertIs(outcome.result, application.peer)
        self.assertEqual(bytes(application.peer.received), b"hello")
        self.assertEqual(application.heard[1], IPv4Address("TCP", TARGET, 80))

    def test_name(self) -> None:
        """To a name, as SOCKS4a has it; octet by octet."""
        application, outcome = self.connect4("example.com")
        self.assertEqual(self.heard(), b"\4\1\0\x50\0\0\0\1\0example.com\0")
        self.say(*(bytes((octet,)) for octet in GRANTED4))
        self.assertIs(outcome.result, application.peer)

    def test_refused(self) -> None:
        """The three refusals, and one that nobody knows."""
        for code in (91, 92, 93, 0):
            _application, outcome = self.connect4()
            self.say(bytes((0, code)) + bytes(6))
            self.assertIs(type(outcome.error), Rejected)
            self.assertIsInstance(outcome.error, ProxyError)
            self.assertEqual(outcome.error.code, code)
            self.assertClosed()
            self.hangUp()

    def test_answersInSOCKS5(self) -> None:
        """A proxy that answers in another version."""
        _application, outcome = self.connect4()
        self.say(GRANTED)
        self.assertIsInstance(outcome.error, ProxyProtocolError)
        self.assertClosed()

    def test_truncated(self) -> None:
        """An end behind every octet but the last."""
        for size in range(len(GRANTED4)):
            _application, outcome = self.connect4()
            self.say(GRANTED4[:size])
            self.proxy.lose()
            self.settle()
            self.assertIsInstance(outcome.error, ProxyClosed)
            self.assertClosed()
            self.hangUp()

    def test_cannotCarry(self) -> None:
        """IPv6, and what SOCKS4a takes for its own mark, fail before anything is sent."""
        for host in ("2001:db8::5", IPv6Address("::1"), "0.0.0.7"):
            with self.assertRaises(InvalidTarget):
                SOCKS4ClientEndpoint(self.wayToProxy(), host, 80, reactor=self.reactor)
        self.settle()
        self.assertEqual(self.proxies.peers, [])

    def test_proxy(self) -> None:
        """A Proxy of that version does as well, for either endpoint; of another it does not."""
        proxy = Proxy(self.wayToProxy(), version=4, userID=b"bob")
        for kind in (SOCKS4ClientEndpoint, SOCKS5ClientEndpoint):
            application = Application()
            kind(proxy, TARGET, 80, reactor=self.reactor).connect(application)
            self.settle()
            self.assertEqual(self.heard(), b"\4\1\0\x50\xcb\0\x71\5bob\0")
            self.say(GRANTED4)
            self.assertEqual(application.peer.events, ["made"])
            self.hangUp()
        with self.assertRaises(ValueError):
            SOCKS4ClientEndpoint(Proxy(self.wayToProxy()), TARGET, 80)
        with self.assertRaises(ValueError):
            SOCKS4ClientEndpoint(proxy, TARGET, 80, userID="alice")

    def test_bind(self) -> None:
        """BIND has two replies here, too."""
        proxy = Proxy(self.wayToProxy(), version=4)
        outcome = Outcome(proxy.request(Command.BIND, Address(b"example.com", 0), self.reactor))
        self.settle()
        self.say(GRANTED4 + GRANTED4 + b"hello")
        control = outcome.result
        self.assertEqual(str(control.reply.bound), f"{PROXY}:40000")
        self.assertEqual(self.successResultOf(control.nextReply()).reply, 90)
        peer = Peer()
        control.handOver(peer)
        self.assertEqual(bytes(peer.received), b"hello")


class LocalNamesTests(ClientCase):
    """Names that are looked up here, because the application says so."""

    def resolved(self, *answers: str, **options: Any) -> tuple[Application, Outcome]:
        """Connect to a name with these addresses."""
        self.reactor.names.add("example.com", list(answers))
        return self.connect(**{"resolver": self.reactor.names, **options})

    def test_addresses(self) -> None:
        """One after the other, until the proxy reaches one."""
        application, outcome = self.resolved(TARGET, "2001:db8::5")
        self.say(b"\5\0")
        self.assertTrue(self.heard().endswith(b"\5\1\0\1\xcb\0\x71\5\0\x50"))
        self.say(b"\5\4\0\1" + bytes(6))
        self.proxies.peers.pop(0).lose()
        self.settle()
        self.say(b"\5\0")
        self.assertIn(b"\5\1\0\4\x20\1", self.heard())
        self.say(GRANTED)
        self.assertIs(outcome.result, application.peer)
        self.assertEqual(application.heard[-1].host, "2001:db8::5")

    def test_lastFailure(self) -> None:
        """Where none can be reached, the last one's failure counts."""
        _, outcome = self.resolved(TARGET)
        self.say(b"\5\0", b"\5\5\0\1" + bytes(6))
        self.assertEqual(outcome.error.code, 5)
        self.assertClosed()

    def test_otherFailure(self) -> None:
        """A proxy that does not work is not asked again."""
        _, outcome = self.resolved(TARGET, "203.0.113.6")
        self.say(b"\5\xff")
        self.assertEqual(len(self.proxies.peers), 1)
        self.assertClosed()
        self.assertFalse(outcome.pending)

    def test_notFound(self) -> None:
        """No such name: nobody is connected to."""
        _, outcome = self.connect(resolver=self.reactor.names)
        self.assertIn("cannot resolve example.com", str(outcome.error))
        self.assertEqual(self.proxies.peers, [])

    def test_onlyIPv6(self) -> None:
        """SOCKS4 has no IPv6."""
        self.reactor.names.add("example.com", ["2001:db8::5"])
        application = Application()
        endpoint = SOCKS4ClientEndpoint(
            self.wayToProxy(), "example.com", 80, reactor=self.reactor, resolver=self.reactor.names
        )
        outcome = Outcome(endpoint.connect(application))
        self.settle()
        self.assertIn("no IPv4 address", str(outcome.error))

    def test_noAnswer(self) -> None:
        """A resolver that never answers has as much time as a proxy."""
        self.reactor.names.add("example.com", silent=True)
        _, outcome = self.connect(resolver=self.reactor.names, timeout=3.0)
        self.reactor.advance(3.0)
        self.assertIn("no answer within 3 s", str(outcome.error))

    def test_cancelled(self) -> None:
        """Whoever no longer waits cancels that, too."""
        self.reactor.names.add("example.com", silent=True)
        _, outcome = self.connect(resolver=self.reactor.names)
        outcome.deferred.cancel()
        self.assertEqual(type(outcome.error).__name__, "ConnectingCancelledError")
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_addressIsNoName(self) -> None:
        """An address needs no resolver."""
        self.established(host=TARGET, resolver=self.reactor.names)
        self.assertEqual(self.reactor.names.lookups, [])
