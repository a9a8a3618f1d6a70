"""
A client in memory, and a proxy that says whatever a test has it say.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import ServerFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.client import (
    ControlConnection,
    NoAuthentication,
    Proxy,
    SOCKS5ClientEndpoint,
    UsernamePassword,
)
from twisted_socks5.client.targets import destination
from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory, PlainPeer
from twisted_socks5.wire import Command

PROXY = "192.0.2.10"
PROXY_NAME = f"{PROXY}:1080"
TARGET = "203.0.113.5"

GREETING = b"\5\1\0"
SELECTED = b"\5\0"
LOGIN_SELECTED = b"\5\2"
LOGGED_IN = b"\1\0"
REQUEST = b"\5\1\0\3\x0bexample.com\0\x50"
BOUND = b"\1\xc0\0\2\x0a\x9c\x40"  # 192.0.2.10:40000
GRANTED = b"\5\0\0" + BOUND
ALICE = UsernamePassword(b"alice", b"a secret")
CREDENTIALS = b"\1\5alice\x08a secret"


def reply(code: int) -> bytes:
    """Write a reply, with a REP."""
    return bytes((5, code, 0)) + BOUND


class Application(PeerFactory):
    """
    An application's factory.

    @ivar heard: what it was told: C{"start"}, C{"stop"}, and the address of each C{buildProtocol}.
    """

    def __init__(self, protocol: Any = Peer) -> None:
        super().__init__(protocol)
        self.heard: list[Any] = []

    def doStart(self) -> None:
        """Note it."""
        self.heard.append("start")

    def doStop(self) -> None:
        """Note it."""
        self.heard.append("stop")

    def buildProtocol(self, addr: IAddress | None) -> PlainPeer:
        """Note it, and build a peer."""
        self.heard.append(addr)
        return super().buildProtocol(addr)


class Outcome:
    """
    What became of a Deferred.

    @ivar results: its result, once it has one.
    @ivar failures: or its failure.
    """

    def __init__(self, deferred: Deferred[Any]) -> None:
        self.deferred = deferred
        self.results: list[Any] = []
        self.failures: list[Failure] = []
        deferred.addCallbacks(self.results.append, self.failures.append)

    @property
    def pending(self) -> bool:
        """Whether nothing has become of it yet."""
        return not self.results and not self.failures

    @property
    def result(self) -> Any:
        """The result, where there is one."""
        if self.failures:
            raise AssertionError(self.failures[0].getTraceback())
        (result,) = self.results
        return result

    @property
    def error(self) -> Any:
        """The exception, where it has failed."""
        if self.results:
            raise AssertionError(f"it has not failed: {self.results[0]!r}")
        (failure,) = self.failures
        return failure.value


class ClientCase(SynchronousTestCase):
    """
    Makes a network, a proxy on it and an endpoint, and sees that nothing is left of them.

    @ivar reactor: the network and the clock.
    @ivar proxies: what listens at C{PROXY}, port 1080, and does what the test says.
    """

    def setUp(self) -> None:
        """Have the proxy listen."""
        self.reactor = MemoryReactor()
        self.proxies = self.listen(PROXY, 1080, PeerFactory())
        self.addCleanup(self.assertNothingLeft)

    def listen(self, host: str, port: int, factory: ServerFactory) -> Any:
        """Have somebody listen until the end of the test."""
        listening = self.reactor.listenTCP(port, factory, interface=host)
        self._ports = [*getattr(self, "_ports", []), listening]
        self._factories = [*getattr(self, "_factories", []), factory]
        return factory

    @property
    def proxy(self) -> PlainPeer:
        """The proxy's end of the only connection to it."""
        peer: PlainPeer = self.proxies.peer
        return peer

    def assertNothingLeft(self) -> None:
        """Once the far sides are gone, nothing is: no socket, no delayed call."""
        self.hangUp()
        for port in self._ports:
            port.stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def hangUp(self) -> None:
        """Reset what connections the far sides still have, and forget them."""
        for factory in self._factories:
            for peer in getattr(factory, "peers", []):
                if peer.lost is None:
                    peer.abort()
            getattr(factory, "peers", []).clear()
        self.settle()

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def wayToProxy(self) -> TCP4ClientEndpoint:
        """Make the endpoint that leads to the proxy."""
        return TCP4ClientEndpoint(self.reactor, PROXY, 1080)

    def endpoint(self, host: Any = "example.com", port: int = 80, **options: Any) -> Any:
        """Make an endpoint through the proxy."""
        return SOCKS5ClientEndpoint(
            self.wayToProxy(), host, port, **{"reactor": self.reactor, **options}
        )

    def connect(
        self, application: Application | None = None, **options: Any
    ) -> tuple[Application, Outcome]:
        """Connect an application, and let happen what happens at once."""
        application = application or Application()
        outcome = Outcome(self.endpoint(**options).connect(application))
        self.settle()
        return application, outcome

    def request(
        self,
        command: int = Command.CONNECT,
        host: Any = "example.com",
        port: int = 80,
        **options: Any,
    ) -> Outcome:
        """Make a request, and let happen what happens at once."""
        proxy = Proxy(self.wayToProxy(), **options)
        outcome = Outcome(proxy.request(command, destination(host, port), self.reactor))
        self.settle()
        return outcome

    def say(self, *segments: bytes) -> None:
        """Have the proxy send this, segment by segment."""
        for segment in segments:
            self.proxy.write(segment)
            self.settle()

    def heard(self) -> bytes:
        """Take what the proxy has received since the last call."""
        octets = bytes(self.proxy.received)
        self.proxy.received.clear()
        return octets

    def established(self, *, behind: bytes = b"", **options: Any) -> tuple[Application, Peer]:
        """Connect an application, all the way; C{behind} comes in one segment with the reply."""
        application, outcome = self.connect(**options)
        self.say(SELECTED, GRANTED + behind)
        self.heard()
        peer = outcome.result
        self.assertIs(peer, application.peer)
        return application, peer

    def assertClosed(self) -> None:
        """The connection to the proxy is gone, as the proxy sees it, and at our end, too."""
        self.settle()
        if self.proxy.lost is None:
            # Closed in good order: whoever is left closes, too.
            self.assertTrue(self.proxy.eof)
            self.proxy.lose()
            self.settle()
        self.assertIsNotNone(self.proxy.lost)
        self.assertEqual(self.reactor.openConnections(), [])
        self.assertEqual(self.reactor.getDelayedCalls(), [])


def anyone() -> tuple[NoAuthentication]:
    """Offer what says nothing."""
    return (NoAuthentication(),)


__all__ = [
    "ALICE",
    "BOUND",
    "CREDENTIALS",
    "GRANTED",
    "GREETING",
    "LOGGED_IN",
    "LOGIN_SELECTED",
    "PROXY",
    "PROXY_NAME",
    "REQUEST",
    "SELECTED",
    "TARGET",
    "Application",
    "ClientCase",
    "ControlConnection",
    "IProtocol",
    "Outcome",
    "anyone",
    "reply",
]
