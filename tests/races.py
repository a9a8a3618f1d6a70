"""What the tests of dialing stand on: targets in memory, and a caller that takes notes."""

from __future__ import annotations

import errno
import gc
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IProtocol,
)
from twisted.internet.protocol import (
    ClientFactory,
    Factory,
    Protocol,
    connectionDone,
)
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.streams.memory import streamsOn
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.errors import DialError
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.testing import StreamSocket
from twisted_socks5.testing.reactor import MemoryReactor
from twisted_socks5.wire.constants import Reply

PORT = 80
V4 = [IPv4Address(f"198.51.100.{n}") for n in range(1, 30)]
V6 = [IPv6Address(f"2001:db8::{n:x}") for n in range(1, 30)]


class RecordingReactor(MemoryReactor):
    """
    A reactor that notes what it was asked to connect to.

    @ivar attempts: when, where to.
    @ivar bindings: where from.
    """

    def __init__(self) -> None:
        super().__init__()
        self.attempts: list[tuple[float, str]] = []
        self.bindings: list[tuple[str, int] | None] = []

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """Note it, and connect."""
        self.attempts.append((self.seconds(), host))
        self.bindings.append(bindAddress)
        return super().connectTCP(host, port, factory, timeout, bindAddress)


class Target(Protocol):
    """What is dialled."""

    def __init__(self, greeting: bytes) -> None:
        self.greeting = greeting

    def connectionMade(self) -> None:
        """Speak first, if there is anything to say."""
        assert self.transport is not None
        self.transport.write(self.greeting)


class Dialled(Protocol):
    """What the caller has built: it notes what it lives through."""

    transport: Any

    def __init__(self, events: list[str], whenMade: Callable[[Dialled], object] | None) -> None:
        self.events = events
        self.whenMade = whenMade

    def connectionMade(self) -> None:
        """Note it, and do what the test wants done here."""
        self.events.append("made")
        if self.whenMade is not None:
            self.whenMade(self)

    def dataReceived(self, data: bytes) -> None:
        """Note it."""
        self.events.append(f"received: {data!r}")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.events.append(f"lost: {type(reason.value).__name__}")


class DialledFactory(Factory):
    """
    The caller's factory; it notes what is built, and for which peer.

    @ivar whenBuilt: what the test wants done when a protocol is asked for.
    @ivar whenMade: what it wants done when the protocol is connected.
    @ivar whenStarted: what it wants done when an attempt begins.
    """

    noisy = False

    def __init__(self) -> None:
        self.events: list[str] = []
        self.peers: list[Any] = []
        self.whenBuilt: Callable[[], object] | None = None
        self.whenMade: Callable[[Dialled], object] | None = None
        self.whenStarted: Callable[[], object] | None = None
        self.takes = True

    def doStart(self) -> None:
        """An attempt begins."""
        super().doStart()
        if self.whenStarted is not None:
            self.whenStarted()

    def buildProtocol(self, addr: IAddress | None) -> Dialled | None:
        """Build one, unless the test does not want it to be taken."""
        self.peers.append(addr)
        self.events.append("built")
        if self.whenBuilt is not None:
            self.whenBuilt()
        return Dialled(self.events, self.whenMade) if self.takes else None


class DialTestCase(SynchronousTestCase):
    """
    A dialer on a network in memory, with a target on port 80 of every address.

    @ivar attempts: when the network was asked to connect, and where to.
    @ivar bindings: where from.
    @cvar kind: what attempts are made of.
    @cvar keeps: whether connections keep their attempts.
    """

    kind = "ReactorAttempt"
    keeps = True

    def setUp(self) -> None:
        """Make them."""
        self.reactor = RecordingReactor()
        self.tcp: Any = self.reactor
        self.attempts = self.reactor.attempts
        self.bindings = self.reactor.bindings
        self.factory = DialledFactory()
        self.dialer = self.dials()
        self.greeting = b""
        factory: Any = Factory.forProtocol(lambda: Target(self.greeting))
        factory.noisy = False
        self.reactor.listenTCP(PORT, factory, interface="::")  # IPv4 as well

    def dials(self, **options: Any) -> HappyEyeballs:
        """Make a dialer."""
        return HappyEyeballs(self.tcp, self.reactor, **options)

    def failing(self, address: IPAddress, number: int, delay: float = 0.0) -> None:
        """Have an address fail."""
        self.reactor.route(str(address), error=number, delay=delay)

    def slow(self, address: IPAddress, delay: float) -> None:
        """Have an address take its time to accept."""
        self.reactor.route(str(address), delay=delay)

    def silent(self, *addresses: IPAddress) -> None:
        """Have addresses never answer."""
        for address in addresses:
            self.reactor.route(str(address), silent=True)

    def dial(self, *addresses: IPAddress) -> Deferred[IProtocol]:
        """Dial port 80."""
        return self.dialer.dial(addresses, PORT, self.factory)

    def assertConnected(self, result: Deferred[IProtocol], address: IPAddress) -> Dialled:
        """One protocol was built, for this address, and all else is gone."""
        protocol = self.successResultOf(result)
        self.assertIsInstance(protocol, Dialled)
        assert isinstance(protocol, Dialled)
        self.assertEqual([peer.host for peer in self.factory.peers], [str(address)])
        self.assertEqual(self.factory.events, ["built", "made"])
        self.assertOpen(2)
        return protocol

    def assertFailed(self, result: Deferred[IProtocol], reply: Reply, reason: str) -> None:
        """It failed, with this reply and reason, and all is gone."""
        failed = self.failureResultOf(result, DialError).value
        self.assertEqual((failed.reply, failed.reason), (reply, reason))
        self.assertOpen(0)

    def alive(self) -> list[str]:
        """Name what there is of dialing that has to do with our factory."""
        return sorted(
            type(each).__name__
            for each in gc.get_objects()
            if str(type(each).__module__).startswith("twisted_socks5.dialing.")
            and getattr(each, "factory", None) is self.factory
        )

    def assertOpen(self, count: int) -> None:
        """So many ends of connections are open, and no timer is left."""
        self.assertEqual(len(self.reactor.openConnections()), count)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


_connect = StreamSocket.connect_ex


class OverStreams(DialTestCase):
    """The same network, with streams on it."""

    kind = "StreamAttempt"
    keeps = False

    def setUp(self) -> None:
        """Make the dialer."""
        super().setUp()
        self.tcp, self.sockets = streamsOn(self.reactor, self)
        self.dialer = self.dials()
        self.instantly: dict[str, int] = {}
        self.patch(StreamSocket, "connect_ex", lambda *call: self.connect(*call))

    def connect(self, handle: StreamSocket, address: tuple[Any, ...]) -> int:
        """Note where a socket connects to, and whence."""
        if handle.remote is None:
            self.attempts.append((self.reactor.seconds(), address[0]))
            local = handle.local
            self.bindings.append(None if local is None else (str(local[0]), 0))
        number = self.instantly.get(address[0])
        if number is None:
            return _connect(handle, address)
        if number == errno.EISCONN:
            _connect(handle, address)
            self.reactor.network.arrive(self.reactor.seconds())
        return number

    def atOnce(self, address: IPAddress, number: int = errno.EISCONN) -> None:
        """Have the kernel connect to an address within the call, or fail to."""
        self.instantly[str(address)] = number

    def failing(self, address: IPAddress, number: int, delay: float = 0.0) -> None:
        """Have an address fail; a lack of descriptors is known at once."""
        if number == errno.EMFILE:
            self.atOnce(address, number)
        else:
            super().failing(address, number, delay)
