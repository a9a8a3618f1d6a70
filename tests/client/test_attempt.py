"""
Tests of C{twisted_socks5.client.attempt}: endpoints that are not like others.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from zope.interface import implementer

from tests.client.base import (
    GRANTED,
    GREETING,
    PROXY,
    PROXY_NAME,
    SELECTED,
    Application,
    ClientCase,
    Outcome,
    reply,
)
from twisted_socks5.client import (
    Proxy,
    ProxyProtocolError,
    SOCKS5ClientEndpoint,
)
from twisted_socks5.client.dialogue import Dialogue
from twisted_socks5.client.targets import destination
from twisted_socks5.testing import Peer
from twisted_socks5.wire import MAX_BUFFERED, Command


@implementer(IStreamClientEndpoint)
class HandMade:
    """
    An endpoint whose connections a test makes.

    @ivar factory: what it was given.
    @ivar connecting: what it has returned.
    @ivar cancelled: whether that was cancelled.
    """

    def __init__(self, case: ClientCase) -> None:
        self.case = case
        self.connecting: Deferred[Any] = Deferred(self._cancel)
        self.cancelled = False

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Wait for the test."""
        self.factory = protocolFactory
        return self.connecting

    def make(self) -> tuple[Any, Peer]:
        """Make a connection; @return: our protocol, and the proxy."""
        ours, proxy = self.factory.buildProtocol(None), Peer()  # type: ignore[arg-type]
        self.case.reactor.connectPair(ours, proxy)  # type: ignore[arg-type]
        self.case.settle()
        return ours, proxy

    def _cancel(self, _: object) -> None:
        self.cancelled = True


class EndpointTests(ClientCase):
    """Connections that come late, twice, or break in unusual ways."""

    def asked(self, command: int = Command.CONNECT) -> tuple[HandMade, Outcome]:
        """Make a request."""
        way = HandMade(self)
        proxy = Proxy(way)
        return way, Outcome(proxy.request(command, destination("example.com", 80), self.reactor))

    def test_deferredFiresLate(self) -> None:
        """That the endpoint's Deferred has not fired yet makes no difference."""
        way, outcome = self.asked()
        ours, proxy = way.make()
        proxy.write(SELECTED + GRANTED)
        self.settle()
        peer = Peer()
        outcome.result.handOver(peer)
        way.connecting.callback(ours)
        proxy.write(b"hello")
        self.settle()
        self.assertEqual(bytes(peer.received), b"hello")
        peer.abort()
        self.settle()

    def test_second(self) -> None:
        """An endpoint that connects twice: the second connection is cut at once."""
        way, outcome = self.asked()
        _, first = way.make()
        _, second = way.make()
        self.assertEqual(second.events, ["made", "ConnectionLost"])
        self.assertEqual(bytes(first.received), GREETING)
        self.assertTrue(outcome.pending)
        outcome.deferred.cancel()
        self.settle()
        self.assertTrue(first.wasReset)

    def test_connectsAfterCancel(self) -> None:
        """An endpoint that connects though it was cancelled."""
        way, outcome = self.asked()
        outcome.deferred.cancel()
        self.assertTrue(way.cancelled)
        self.assertFalse(outcome.pending)
        _, proxy = way.make()
        self.assertTrue(proxy.wasReset)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_failsAfterConnecting(self) -> None:
        """An endpoint that fails behind its connection: the error is its own, all is closed."""
        way, outcome = self.asked()
        _, proxy = way.make()
        way.connecting.errback(RuntimeError("no"))
        self.assertIsInstance(outcome.error, RuntimeError)
        self.settle()
        self.assertTrue(proxy.wasReset)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_failsTooLate(self) -> None:
        """A failure behind the end is nobody's."""
        way, outcome = self.asked()
        _ours, proxy = way.make()
        proxy.abort()
        self.settle()
        error = outcome.error
        way.connecting.errback(RuntimeError("no"))
        self.assertIs(outcome.error, error)

    def test_hugeReads(self) -> None:
        """A transport that reads more at once than anybody waits with."""
        for said in ((), (SELECTED,)):
            way, outcome = self.asked()
            ours, proxy = way.make()
            for octets in said:
                ours.dataReceived(octets)
            ours.transport.protocol.dataReceived(SELECTED[:1] + bytes(MAX_BUFFERED))
            self.assertIsInstance(outcome.error, ProxyProtocolError)
            self.assertIn("ahead of their turn", str(outcome.error))
            self.settle()
            self.assertTrue(proxy.wasReset)
            self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_lateOctets(self) -> None:
        """Octets that a transport delivers behind the end mean nothing."""
        way, outcome = self.asked()
        ours, proxy = way.make()
        ours.dataReceived(b"\5\xff")
        ours.dataReceived(SELECTED + GRANTED)
        ours.readConnectionLost()
        self.assertEqual(len(outcome.failures), 1)
        self.settle()
        self.assertTrue(proxy.eof)
        proxy.lose()
        self.settle()
        way, outcome = self.asked()
        ours, proxy = way.make()
        ours.dataReceived(SELECTED)
        control = ours.transport.protocol
        control.dataReceived(reply(1))
        control.dataReceived(GRANTED)
        control.readConnectionLost()
        self.assertEqual(outcome.error.code, 1)
        self.settle()
        proxy.lose()
        self.settle()

    def test_lateOctetsOfGranted(self) -> None:
        """Too many octets for a connection that nobody has taken: it is cut."""
        way, outcome = self.asked()
        ours, proxy = way.make()
        ours.dataReceived(SELECTED)
        control = ours.transport.protocol
        control.dataReceived(GRANTED)
        closed = Outcome(outcome.result.whenClosed())
        control.dataReceived(bytes(MAX_BUFFERED + 1))
        self.settle()
        self.assertIsInstance(closed.result, ConnectionAborted)
        self.assertTrue(proxy.wasReset)


class HostnameTests(ClientCase):
    """Twisted's endpoint for host names, which most will use."""

    def test_transport(self) -> None:
        """The application's protocol is the transport's own here, too."""
        self.reactor.names.add("proxy.example", [PROXY, "192.0.2.11"])
        self.reactor.route("192.0.2.11", silent=True)
        way = HostnameEndpoint(self.reactor, "proxy.example", 1080)
        application = Application()
        endpoint = SOCKS5ClientEndpoint(way, "example.com", 80, reactor=self.reactor)
        outcome = Outcome(endpoint.connect(application))
        self.settle()
        self.say(SELECTED, GRANTED)
        self.assertIs(outcome.result.transport.protocol, application.peer)


class KeptTests(ClientCase):
    """What a standing connection costs."""

    def test_nothing(self) -> None:
        """Who has spoken with the proxy is gone, without the garbage collector."""
        spoken: list[weakref.ref[Any]] = []
        opened = Dialogue.connectionMade

        def note(dialogue: Dialogue) -> None:
            spoken.append(weakref.ref(dialogue))
            opened(dialogue)

        self.patch(Dialogue, "connectionMade", note)
        if gc.isenabled():
            self.addCleanup(gc.enable)
        gc.disable()
        _, peer = self.established()
        (dialogue,) = spoken
        self.assertIsNone(dialogue())
        peer.abort()
        self.settle()


class DefaultReactorTests(ClientCase):
    """An application that doesn't say which reactor it means."""

    def test_installed(self) -> None:
        """It is the one that is installed: there the time runs."""
        from twisted.internet import reactor

        clock: Any = reactor
        before = clock.getDelayedCalls()
        outcome = Outcome(self.endpoint(reactor=None).connect(Application()))
        self.settle()
        (call,) = (each for each in clock.getDelayedCalls() if each not in before)
        self.assertGreater(call.getTime(), clock.seconds() + 20.0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        outcome.deferred.cancel()
        self.assertEqual(clock.getDelayedCalls(), before)
        self.settle()


class NamesTests(ClientCase):
    """What a proxy without a name is called."""

    def test_peers(self) -> None:
        """By its address, whatever that is."""
        from twisted.internet.address import (
            HostnameAddress,
            IPv4Address,
            IPv6Address,
            UNIXAddress,
        )

        from twisted_socks5.client.targets import describeProxy, hostOf

        class Transport:
            def __init__(self, peer: Any) -> None:
                self.peer = peer

            def getPeer(self) -> Any:
                return self.peer

        for peer, text in (
            (IPv4Address("TCP", PROXY, 1080), PROXY_NAME),
            (IPv6Address("TCP", "2001:db8::1", 1080), "[2001:db8::1]:1080"),
            (HostnameAddress(b"proxy.example", 1080), "proxy.example:1080"),
            (UNIXAddress("/run/proxy"), "UNIXAddress('/run/proxy')"),
            (None, ""),
        ):
            self.assertEqual(describeProxy(None, Transport(peer)), text)
        self.assertEqual(describeProxy(None, object()), "")
        for name, host in (
            ("proxy.example:1080", "proxy.example"),
            ("[2001:db8::1]:1080", "2001:db8::1"),
            ("2001:db8::1", "2001:db8::1"),
            ("proxy.example", "proxy.example"),
            ("the proxy: ours", "the proxy: ours"),
        ):
            self.assertEqual(hostOf(name), host)
