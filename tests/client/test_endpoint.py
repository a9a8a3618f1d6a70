"""
Tests of C{twisted_socks5.client.endpoint}: CONNECT, and what an application sees of it.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.internet import error
from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
from twisted.internet.error import (
    ConnectError,
    ConnectingCancelledError,
    NoProtocol,
)
from twisted.internet.interfaces import IAddress, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from zope.interface.verify import verifyObject

from tests.client.base import (
    GRANTED,
    GREETING,
    PROXY,
    REQUEST,
    SELECTED,
    TARGET,
    Application,
    ClientCase,
    Outcome,
    reply,
)
from twisted_socks5.client import InvalidTarget, Proxy, SOCKS5ClientEndpoint, errors
from twisted_socks5.testing import Peer, PlainPeer


class ConnectTests(ClientCase):
    """What is said, and what the application's protocol gets."""

    def test_interface(self) -> None:
        """It is an endpoint like any other."""
        endpoint = self.endpoint()
        verifyObject(IStreamClientEndpoint, endpoint)
        self.assertIn("example.com:80 via TCP4ClientEndpoint", repr(endpoint))

    def test_conversation(self) -> None:
        """The greeting, the request by name, the reply; then octets go both ways."""
        application, outcome = self.connect()
        self.assertEqual(self.heard(), GREETING)
        self.say(SELECTED)
        self.assertEqual(self.heard(), REQUEST)
        self.assertTrue(outcome.pending)
        self.say(GRANTED)
        peer = outcome.result
        self.assertIs(peer, application.peer)
        peer.write(b"hello")
        self.say(b"welcome")
        self.assertEqual(self.heard(), b"hello")
        self.assertEqual(bytes(peer.received), b"welcome")
        self.assertEqual(peer.events, ["made", "data"])

    def test_addresses(self) -> None:
        """A target's address is asked for as one, in whatever spelling; and told so."""
        for host, octets, told in (
            (TARGET, b"\1\xcb\0\x71\5", IPv4Address("TCP", TARGET, 443)),
            ("0xcb.0.0x7105", b"\1\xcb\0\x71\5", IPv4Address("TCP", TARGET, 443)),
            (b"::ffff:203.0.113.5", b"\1\xcb\0\x71\5", IPv4Address("TCP", TARGET, 443)),
            (
                "[2001:db8::5]",
                b"\4\x20\1\x0d\xb8" + bytes(11) + b"\5",
                IPv6Address("TCP", "2001:db8::5", 443),
            ),
            ("Example.COM.", b"\3\x0bexample.com", HostnameAddress(b"example.com", 443)),
            ("bücher.example", b"\3\x15xn--bcher-kva.example",
             HostnameAddress(b"xn--bcher-kva.example", 443)),
        ):  # fmt: skip
            with self.subTest(host=host):
                application, outcome = self.connect(host=host, port=443)
                self.say(SELECTED)
                self.assertEqual(self.heard(), GREETING + b"\5\1\0" + octets + b"\1\xbb")
                self.say(GRANTED)
                outcome.result.lose()
                self.settle()
                self.assertEqual(application.heard, ["start", told, "stop"])
                self.hangUp()

    def test_transport(self) -> None:
        """The transport is the real one, which tells about its socket, and only to the peer."""
        _application, peer = self.established()
        transport: Any = peer.transport
        self.assertIs(transport.protocol, peer)
        self.assertEqual(peer.transport.getPeer(), IPv4Address("TCP", PROXY, 1080))
        self.assertEqual(peer.transport.getHost().host, "192.0.2.1")

    def test_halfCloseByProxy(self) -> None:
        """A FIN reaches a protocol that knows half-close, and it can still send."""
        _application, peer = self.established()
        self.proxy.loseWrite()
        self.settle()
        self.assertTrue(peer.eof)
        peer.write(b"the last words")
        peer.loseWrite()
        self.settle()
        self.assertEqual(self.heard(), b"the last words")
        self.assertEqual(peer.events, ["made", "eof", "written", "ConnectionDone"])
        self.assertClosed()

    def test_halfCloseByApplication(self) -> None:
        """What it has written arrives, and the FIN behind it; answers still come."""
        _application, peer = self.established()
        peer.write(b"question")
        peer.loseWrite()
        self.settle()
        self.assertTrue(self.proxy.eof)
        self.say(b"answer")
        self.proxy.loseWrite()
        self.settle()
        self.assertEqual(bytes(peer.received), b"answer")
        self.assertEqual(peer.events, ["made", "written", "data", "eof", "ConnectionDone"])

    def test_plainProtocol(self) -> None:
        """For one that knows no half-close a FIN is the end."""
        _application, peer = self.established(application=Application(PlainPeer))
        self.proxy.loseWrite()
        self.settle()
        self.assertEqual(peer.events, ["made", "ConnectionDone"])

    def test_reset(self) -> None:
        """A reset is told as one."""
        _application, peer = self.established()
        self.proxy.abort()
        self.settle()
        self.assertTrue(peer.wasReset)

    def test_backPressure(self) -> None:
        """A producer of the application's is paused while the proxy doesn't read."""

        class Producer:
            paused = False

            def pauseProducing(self) -> None:
                self.paused = True

            def resumeProducing(self) -> None:
                self.paused = False

            def stopProducing(self) -> None:
                """It stops when it is told to pause."""

        _application, peer = self.established()
        producer: Any = Producer()
        peer.transport.registerProducer(producer, True)
        self.proxy.pause()
        for _ in range(10):
            peer.write(bytes(65536))
            self.settle()
        self.assertTrue(producer.paused)
        self.proxy.resume()
        self.settle()
        self.assertFalse(producer.paused)
        self.assertEqual(len(self.heard()), 655360)
        peer.transport.unregisterProducer()

    def test_factory(self) -> None:
        """It hears what it would without a proxy, and is asked for a protocol once, at the end."""
        application, outcome = self.connect()
        self.say(SELECTED)
        self.assertEqual(application.heard, ["start"])
        self.say(GRANTED)
        name = HostnameAddress(b"example.com", 80)
        self.assertEqual(application.heard, ["start", name])
        outcome.result.lose()
        self.settle()
        self.assertEqual(application.heard, ["start", name, "stop"])

    def test_factoryOfRefused(self) -> None:
        """One that is refused is never asked for a protocol."""
        application, outcome = self.connect()
        self.say(SELECTED, reply(5))
        self.assertIsInstance(outcome.error, errors.ConnectionRefused)
        self.assertClosed()
        self.assertEqual(application.heard, ["start", "stop"])

    def test_noProtocol(self) -> None:
        """A factory that builds none: the connection is closed, and the Deferred fails."""

        class Nobody(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> None:
                return None

        _, outcome = self.connect(application=cast(Any, Nobody()))
        self.say(SELECTED, GRANTED)
        self.assertIsInstance(outcome.error, NoProtocol)
        self.assertClosed()

    def test_buildProtocolRaises(self) -> None:
        """A factory that raises: the connection is closed, and the Deferred says so."""

        class Broken(Factory):
            noisy = False

            def buildProtocol(self, addr: Any) -> Protocol:
                raise RuntimeError("no")

        _, outcome = self.connect(application=cast(Any, Broken()))
        self.say(SELECTED, GRANTED)
        self.assertIsInstance(outcome.error, RuntimeError)
        self.assertClosed()

    def test_connectionMadeRaises(self) -> None:
        """A protocol that fails as it is made: it hears of its end, and the Deferred fails."""

        class Broken(Peer):
            def connectionMade(self) -> None:
                raise RuntimeError("no")

        application, outcome = self.connect(application=Application(Broken))
        self.say(SELECTED, GRANTED)
        self.assertIsInstance(outcome.error, RuntimeError)
        self.assertClosed()
        self.assertIsNotNone(application.peer.lost)


class EarlyTests(ClientCase):
    """Octets that come in one segment with the reply."""

    def test_afterConnectionMade(self) -> None:
        """They come behind C{connectionMade}."""
        _application, peer = self.established(behind=b"SSH-2.0")
        self.assertEqual(bytes(peer.received), b"SSH-2.0")
        self.assertEqual(peer.events, ["made", "data"])

    def test_afterDeferred(self) -> None:
        """They come behind the Deferred's callbacks, as those of other endpoints do."""
        application = Application()
        seen: list[bytes] = []
        self.endpoint().connect(application).addCallback(lambda p: seen.append(bytes(p.received)))
        self.settle()
        self.say(SELECTED, GRANTED + b"SSH-2.0")
        self.assertEqual(seen, [b""])
        self.assertEqual(bytes(application.peer.received), b"SSH-2.0")

    def test_written(self) -> None:
        """What C{connectionMade} writes goes out."""

        class Eager(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.write(b"first")

        _application, outcome = self.connect(application=Application(Eager))
        self.say(SELECTED, GRANTED + b"second")
        self.assertEqual(self.heard(), GREETING + REQUEST + b"first")
        self.assertEqual(bytes(outcome.result.received), b"second")

    def test_closed(self) -> None:
        """One that closes as it is made gets nothing more but its end."""
        for way in ("lose", "abort"):
            with self.subTest(way=way):

                class Brief(Peer):
                    how = way

                    def connectionMade(self) -> None:
                        super().connectionMade()
                        getattr(self, self.how)()

                _application, outcome = self.connect(application=Application(Brief))
                self.say(SELECTED, GRANTED + b"too late")
                self.assertClosed()
                self.assertEqual(bytes(outcome.result.received), b"")
                self.assertEqual(len(outcome.result.events), 2)
                self.hangUp()

    def test_paused(self) -> None:
        """One that pauses as it is made gets them when it resumes, in order, and once."""

        class Careful(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.pause()

        _application, outcome = self.connect(application=Application(Careful))
        self.say(SELECTED, GRANTED + b"one ")
        peer = outcome.result
        self.say(b"two ")
        self.assertEqual(peer.events, ["made"])
        peer.resume()
        self.settle()
        self.assertEqual(bytes(peer.received), b"one two ")
        peer.pause()
        self.say(b"three")
        self.assertEqual(bytes(peer.received), b"one two ")
        peer.resume()
        self.settle()
        self.assertEqual(bytes(peer.received), b"one two three")
        self.assertNotIn("pauseProducing", vars(peer.transport))

    def test_pausedAndResumed(self) -> None:
        """Pausing and resuming within C{connectionMade} changes nothing."""

        class Nervous(Peer):
            def connectionMade(self) -> None:
                self.pause()
                self.resume()
                super().connectionMade()

        _application, outcome = self.connect(application=Application(Nervous))
        self.say(SELECTED, GRANTED + b"one")
        self.assertEqual(outcome.result.events, ["made", "data"])
        self.assertEqual(bytes(outcome.result.received), b"one")

    def test_methodsKept(self) -> None:
        """Whoever has kept the transport's two methods can use them later as well."""

        class Keeping(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.stop = self.transport.pauseProducing
                self.go = self.transport.resumeProducing

        _, outcome = self.connect(application=Application(Keeping))
        self.say(SELECTED, GRANTED + b"one ")
        peer = outcome.result
        peer.stop()
        self.say(b"two")
        self.assertEqual(bytes(peer.received), b"one ")
        peer.go()
        self.settle()
        self.assertEqual(bytes(peer.received), b"one two")

    def test_pausedThenLost(self) -> None:
        """One that has paused for good hears of its end."""

        class Careful(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.pause()

        _application, outcome = self.connect(application=Application(Careful))
        self.say(SELECTED, GRANTED + b"one")
        outcome.result.abort()
        self.assertClosed()
        self.assertEqual(outcome.result.events, ["made", "ConnectionAborted"])

    def test_dataReceivedRaises(self) -> None:
        """A protocol that fails on them loses its connection, and the failure is logged."""

        class Broken(Peer):
            def dataReceived(self, data: bytes) -> None:
                raise RuntimeError("no")

        application, outcome = self.connect(application=Application(Broken))
        self.say(SELECTED, GRANTED + b"one")
        self.assertIs(outcome.result, application.peer)
        self.assertClosed()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_endBehindThem(self) -> None:
        """They, and then the FIN that came with them."""
        _application, outcome = self.connect()
        self.say(SELECTED)
        self.proxy.write(GRANTED + b"all there is")
        self.proxy.loseWrite()
        self.settle()
        self.assertEqual(bytes(outcome.result.received), b"all there is")
        self.assertEqual(outcome.result.events, ["made", "data", "eof"])
        outcome.result.lose()


class TargetTests(ClientCase):
    """What cannot be asked for is found out before there is any connection."""

    def test_invalid(self) -> None:
        """Names that are too long, or none, ports that are none."""
        for host, port in (
            ("x" * 256, 80),
            (".".join(["x" * 63] * 5), 80),
            ("", 80),
            ("exam ple.com", 80),
            (b"exa\0mple.com", 80),
            (b"\xff\xfe", 80),
            ("\ud800.example", 80),
            ("fe80::1%eth0", 80),
            ("1.2.3.4.5", 80),
            ("example.com", 0),
            ("example.com", 65536),
            ("example.com", -1),
        ):
            with self.subTest(host=host, port=port):
                found = self.assertRaises(InvalidTarget, self.endpoint, host, port)
                self.assertIsInstance(found, ValueError)
                self.assertIsInstance(found, ConnectError)
                self.assertLess(len(str(found)), 200)
        self.settle()
        self.assertEqual(self.proxies.peers, [])

    def test_longest(self) -> None:
        """The longest name there can be goes out whole."""
        name = ".".join(["x" * 63] * 3 + ["y" * 61])
        self.assertEqual(len(name), 253)
        self.connect(host=name)
        self.say(SELECTED)
        self.assertIn(bytes((3, 253)) + name.encode("ascii") + b"\0\x50", self.heard())

    def test_neverResolved(self) -> None:
        """Nobody is asked for a name here."""
        self.reactor.names.add("example.com", [TARGET])
        self.established()
        self.assertEqual(self.reactor.names.lookups, [])

    def test_settingsTwice(self) -> None:
        """A Proxy has its own settings; to give others as well is a mistake."""
        proxy = Proxy(self.wayToProxy())
        for options in ({"timeout": 3.0}, {"authentication": ()}):
            with self.assertRaises(ValueError):
                SOCKS5ClientEndpoint(proxy, "example.com", 80, **options)


class UnreachableTests(ClientCase):
    """A proxy that cannot be connected to."""

    def test_refused(self) -> None:
        """The error is the endpoint's own."""
        self._ports.pop().stopListening()
        application, outcome = self.connect()
        self.assertIs(type(outcome.error), error.ConnectionRefusedError)
        self.assertEqual(application.heard, ["start", "stop"])

    def test_endpointRaises(self) -> None:
        """An endpoint that raises instead of failing fails, too."""

        class Broken:
            def connect(self, factory: Any) -> None:
                raise RuntimeError("no")

        endpoint = SOCKS5ClientEndpoint(
            cast(IStreamClientEndpoint, Broken()),
            "example.com",
            80,
            reactor=self.reactor,
        )
        failure = self.failureResultOf(endpoint.connect(Application()))
        self.assertIsInstance(failure.value, RuntimeError)

    def test_slow(self) -> None:
        """The time to connect is the endpoint's own, and no part of the deadline."""
        self.reactor.route(PROXY, delay=20.0)
        application, outcome = self.connect(timeout=5.0)
        self.reactor.advance(20.0)
        self.say(SELECTED, GRANTED)
        self.assertIs(outcome.result, application.peer)


class CancellationTests(ClientCase):
    """Whoever no longer wants to wait leaves nothing behind."""

    def cancel(self, *said: bytes) -> None:
        """Cancel behind these octets of the proxy's, and see what is left."""
        application, outcome = self.connect()
        self.say(*said)
        outcome.deferred.cancel()
        self.assertIsInstance(outcome.error, ConnectingCancelledError)
        self.assertEqual(outcome.error.address, HostnameAddress(b"example.com", 80))
        self.assertClosed()
        self.assertEqual(application.heard, ["start", "stop"])
        self.hangUp()

    def test_withinTheApplication(self) -> None:
        """While its protocol is being built, or told of its connection."""
        outcomes: list[Outcome] = []

        class WhenBuilt(Application):
            def buildProtocol(self, addr: IAddress | None) -> PlainPeer:
                outcomes[-1].deferred.cancel()
                return super().buildProtocol(addr)

        class WhenMade(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                outcomes[-1].deferred.cancel()

        for application, events in (
            (WhenBuilt(), []),
            (Application(WhenMade), ["made", "ConnectionAborted"]),
        ):
            _, outcome = self.connect(application)
            outcomes.append(outcome)
            self.say(SELECTED, GRANTED + b"early")
            self.assertIsInstance(outcome.error, ConnectingCancelledError)
            self.assertClosed()
            self.assertEqual(application.peer.events, events)
            self.hangUp()

    def test_atEveryOctet(self) -> None:
        """At every octet of the proxy's."""
        conversation = SELECTED + GRANTED
        for size in range(len(conversation)):
            with self.subTest(size=size):
                self.cancel(conversation[:size])

    def test_connecting(self) -> None:
        """While there is no connection yet."""
        self.reactor.route(PROXY, silent=True)
        application, outcome = self.connect()
        outcome.deferred.cancel()
        self.assertIsInstance(outcome.error, ConnectingCancelledError)
        self.settle()
        self.assertEqual(self.reactor.openConnections(), [])
        self.assertEqual(application.heard, ["start", "stop"])

    def test_tooLate(self) -> None:
        """Behind the end it does nothing."""
        _application, outcome = self.connect()
        self.say(SELECTED, GRANTED)
        outcome.deferred.cancel()
        self.say(b"still here")
        self.assertEqual(bytes(outcome.result.received), b"still here")
