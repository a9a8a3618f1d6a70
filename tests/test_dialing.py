"""The race: each transition over the network in memory, and any script of outcomes by a model."""

from __future__ import annotations

import errno
import gc
import math
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.address import IPv4Address as PeerAddress
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IConnector,
    IListeningPort,
    IProtocol,
    IReactorTCP,
    ITransport,
)
from twisted.internet.protocol import (
    ClientFactory,
    Factory,
    Protocol,
    ServerFactory,
    connectionDone,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_socks5 import dialing, failures
from twisted_socks5.dialing import MAX_ATTEMPTS, HappyEyeballs
from twisted_socks5.errors import DialError
from twisted_socks5.failures import mostTelling, replyFor
from twisted_socks5.interfaces import IDialer, IPAddress
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


class Dialled(Protocol):
    """What the caller has built: it notes what it lives through."""

    def __init__(self, events: list[str], whenMade: Callable[[], object] | None) -> None:
        self.events = events
        self.whenMade = whenMade

    def connectionMade(self) -> None:
        """Note it, and do what the test wants done here."""
        self.events.append("made")
        if self.whenMade is not None:
            self.whenMade()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Note it."""
        self.events.append(f"lost: {type(reason.value).__name__}")


class DialledFactory(Factory[Dialled]):
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
        self.whenMade: Callable[[], object] | None = None
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
    """A dialer on a network in memory, with a target on port 80 of every address."""

    def setUp(self) -> None:
        """Make them."""
        self.reactor = RecordingReactor()
        self.factory = DialledFactory()
        self.dialer = HappyEyeballs(self.reactor, self.reactor)
        self.ports = [self.listen("0.0.0.0"), self.listen("::")]

    def listen(self, interface: str) -> IListeningPort:
        """Have a target at every address of a family."""
        factory: ServerFactory = ServerFactory()
        factory.noisy = False
        factory.protocol = Protocol
        return self.reactor.listenTCP(PORT, factory, interface=interface)

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
        assert isinstance(protocol, Dialled)  # noqa: PT017
        self.assertEqual([peer.host for peer in self.factory.peers], [str(address)])
        self.assertEqual(self.factory.events, ["built", "made"])
        self.assertOpen(2)
        return protocol

    def assertFailed(self, result: Deferred[IProtocol], reply: Reply, reason: str) -> None:
        """It failed, with this reply and reason, and all is gone."""
        failed = self.failureResultOf(result, DialError).value
        self.assertEqual((failed.reply, failed.reason), (reply, reason))
        self.assertOpen(0)

    def assertOpen(self, count: int) -> None:
        """So many ends of connections are open, and no timer is left."""
        self.assertEqual(len(self.reactor.openConnections()), count)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class SingleTests(DialTestCase):
    """One address, as most dials have."""

    def test_interface(self) -> None:
        """It is what it says."""
        self.assertTrue(verifyObject(IDialer, self.dialer))

    def test_connected(self) -> None:
        """The protocol comes after its connectionMade, on the reactor's own transport."""
        result = self.dial(V4[0])
        fired: list[list[str]] = []
        result.addCallback(lambda protocol: fired.append([*self.factory.events]) or protocol)
        self.assertNoResult(result)
        self.reactor.advance(0)
        protocol = self.assertConnected(result, V4[0])
        self.assertEqual(fired, [["built", "made"]])
        self.assertIs(protocol.transport.protocol, protocol)

    def test_octets(self) -> None:
        """What the target says reaches the protocol, and the other way round."""
        heard: list[bytes] = []
        result = self.dial(V6[0])
        self.reactor.advance(0)
        protocol = self.successResultOf(result)
        protocol.dataReceived = heard.append  # type: ignore[method-assign]
        target = next(
            each for each in self.reactor.openConnections() if each.local == (V6[0], PORT)
        )
        target.send(b"220 hello")
        self.reactor.advance(0)
        self.assertEqual(heard, [b"220 hello"])

    def test_refused(self) -> None:
        """A refusal is told at once."""
        self.failing(V4[0], errno.ECONNREFUSED)
        result = self.dial(V4[0])
        self.reactor.advance(0)
        self.assertFailed(result, Reply.CONNECTION_REFUSED, "198.51.100.1:80 refused")

    def test_deadline(self) -> None:
        """Silence ends with the deadline."""
        self.silent(V6[0])
        result = self.dial(V6[0])
        self.reactor.advance(19.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.assertFailed(result, Reply.TTL_EXPIRED, "[2001:db8::1]:80 timed out")

    def test_timeout(self) -> None:
        """The deadline is the dialer's."""
        self.dialer = HappyEyeballs(self.reactor, self.reactor, timeout=3)
        self.silent(V4[0])
        result = self.dial(V4[0])
        self.reactor.advance(3)
        self.assertFailed(result, Reply.TTL_EXPIRED, "198.51.100.1:80 timed out")

    def test_timers(self) -> None:
        """While it connects there is one timer, its time-out."""
        self.silent(V4[0])
        self.dial(V4[0])
        self.reactor.turn()
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)

    def test_descriptors(self) -> None:
        """No descriptor left is this side's failure."""
        self.failing(V4[0], errno.EMFILE)
        result = self.dial(V4[0])
        self.reactor.advance(0)
        self.assertFailed(result, Reply.GENERAL_FAILURE, "198.51.100.1:80 too many open files")

    def test_port(self) -> None:
        """A port that cannot be is an error at once, and nothing is sent."""
        for port in (0, -1, 65536):
            result = self.dialer.dial([V4[0]], port, self.factory)
            self.assertFailed(result, Reply.GENERAL_FAILURE, f"port {port} cannot be connected to")
        for port in (1, 65535):
            self.dialer.dial([V4[0]], port, self.factory)
        self.assertEqual(len(self.reactor.attempts), 2)

    def test_noAddress(self) -> None:
        """So is the lack of any address."""
        self.assertFailed(self.dial(), Reply.GENERAL_FAILURE, "no address to connect to")

    def test_garbage(self) -> None:
        """Nothing of the race outlives it in a cycle for the collector to find."""
        self.failing(V6[0], errno.ECONNREFUSED)
        self.silent(V4[0])
        result = self.dial(V6[0], V4[0], V6[1])
        self.reactor.advance(1)
        self.assertConnected(result, V6[1])
        del result
        mine = [each for each in gc.get_objects() if isinstance(each, dialing._Race)]
        self.assertEqual(mine, [])


class RaceTests(DialTestCase):
    """Several addresses."""

    def test_order(self) -> None:
        """The families take turns, beginning with the first's; each address is tried once."""
        self.silent(*V4, *V6)
        self.dial(V6[0], V6[1], V6[2], V6[0], V4[0], V4[1])
        self.reactor.advance(5)
        expected = [V6[0], V4[0], V6[1], V4[1], V6[2]]
        self.assertEqual(
            self.reactor.attempts,
            [(0.25 * n, str(address)) for n, address in enumerate(expected)],
        )

    def test_orderIPv4(self) -> None:
        """With IPv4 first it is the other way round, and the rest follows in its order."""
        self.silent(*V4, *V6)
        self.dial(V4[0], V6[0], V6[1], V6[2])
        self.reactor.advance(5)
        hosts = [host for _, host in self.reactor.attempts]
        self.assertEqual(hosts, [str(each) for each in (V4[0], V6[0], V6[1], V6[2])])

    def test_bound(self) -> None:
        """Of a long list only so many are tried, both families still."""
        self.silent(*V4, *V6)
        self.dial(*V6, *V4)
        self.reactor.advance(19)
        hosts = [host for _, host in self.reactor.attempts]
        self.assertEqual(len(hosts), MAX_ATTEMPTS)
        self.assertEqual(sum(":" in host for host in hosts), MAX_ATTEMPTS // 2)

    def test_delay(self) -> None:
        """The delay between two attempts is the dialer's."""
        self.dialer = HappyEyeballs(self.reactor, self.reactor, attemptDelay=1.5)
        self.silent(V6[0])
        result = self.dial(V6[0], V4[0])
        self.reactor.advance(1.25)
        self.assertNoResult(result)
        self.reactor.advance(0.25)
        self.assertConnected(result, V4[0])

    def test_firstWins(self) -> None:
        """A first address that answers in time leaves the others alone."""
        self.slow(V6[0], 0.2)
        result = self.dial(V6[0], V4[0])
        self.reactor.advance(1)
        self.assertConnected(result, V6[0])
        self.assertEqual(len(self.reactor.attempts), 1)

    def test_refusedThenNext(self) -> None:
        """A refusal starts the next attempt at once, and the one after that in due time."""
        self.failing(V6[0], errno.ECONNREFUSED, delay=0.125)
        self.silent(V4[0])
        result = self.dial(V6[0], V4[0], V6[1])
        self.reactor.advance(1)
        self.assertConnected(result, V6[1])
        self.assertEqual([time for time, _ in self.reactor.attempts], [0, 0.125, 0.375])

    def test_refusedAtOnce(self) -> None:
        """Without a wait, all refuse in the same instant."""
        for address in (*V6[:3], *V4[:3]):
            self.failing(address, errno.ECONNREFUSED)
        result = self.dial(*V6[:3], *V4[:3])
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.attempts), 6)
        self.assertEqual(
            self.failureResultOf(result, DialError).value.reply, Reply.CONNECTION_REFUSED
        )

    def test_earlierFails(self) -> None:
        """That an attempt fails while a later one still runs hurries nobody."""
        self.failing(V6[0], errno.ECONNREFUSED, delay=0.375)
        self.silent(V4[0])
        result = self.dial(V6[0], V4[0], V6[1])
        self.reactor.advance(1)
        self.assertConnected(result, V6[1])
        self.assertEqual([time for time, _ in self.reactor.attempts], [0, 0.25, 0.5])

    def test_earlierWins(self) -> None:
        """An attempt may win when later ones have begun; they are abandoned with it."""
        self.slow(V6[0], 0.625)
        self.silent(V4[0], V6[1])
        result = self.dial(V6[0], V4[0], V6[1], V4[1])
        self.reactor.advance(0.5)
        self.assertEqual(len(self.reactor.openConnections()), 3)
        self.reactor.advance(0.125)
        self.assertConnected(result, V6[0])

    def test_sameTurn(self) -> None:
        """Of two that are connected in the same turn one wins; the other is gone."""
        self.slow(V6[0], 0.5)
        self.slow(V4[0], 0.25)
        result = self.dial(V6[0], V4[0])
        self.reactor.advance(0.5)
        self.assertConnected(result, V6[0])

    def test_lastWaits(self) -> None:
        """When the last address has failed, those that still run are waited for."""
        self.slow(V6[0], 5)
        self.failing(V4[0], errno.ECONNREFUSED)
        result = self.dial(V6[0], V4[0])
        self.reactor.advance(4)
        self.assertNoResult(result)
        self.reactor.advance(1)
        self.assertConnected(result, V6[0])

    def test_allFail(self) -> None:
        """When all have failed the most telling failure is the reply; the reason has each."""
        self.failing(V6[0], errno.ENETUNREACH)
        self.failing(V4[0], errno.ECONNREFUSED, delay=1)
        self.failing(V6[1], errno.EHOSTUNREACH)
        result = self.dial(V6[0], V4[0], V6[1])
        self.reactor.advance(1)
        self.assertFailed(
            result,
            Reply.CONNECTION_REFUSED,
            "[2001:db8::1]:80 network unreachable; [2001:db8::2]:80 host unreachable; "
            "198.51.100.1:80 refused",
        )

    def test_deadline(self) -> None:
        """The deadline is one for all, and ends those who run and those who wait."""
        self.dialer = HappyEyeballs(self.reactor, self.reactor, timeout=0.4)
        self.silent(*V6, *V4)
        result = self.dial(V6[0], V4[0], V6[1])
        self.reactor.advance(0.3)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.assertFailed(
            result,
            Reply.TTL_EXPIRED,
            "[2001:db8::1]:80 timed out; 198.51.100.1:80 timed out; [2001:db8::2]:80 not tried",
        )

    def test_deadlineBeforeAttempt(self) -> None:
        """No attempt begins at the deadline or behind it."""
        self.dialer = HappyEyeballs(self.reactor, self.reactor, timeout=0.25)
        self.silent(V6[0])
        result = self.dial(V6[0], V4[0])
        # Both timers are late, as in a process that was stopped for a while.
        self.reactor.turn()
        self.reactor.rightNow = 60
        self.reactor.settle()
        self.assertFailed(
            result, Reply.TTL_EXPIRED, "[2001:db8::1]:80 timed out; 198.51.100.1:80 not tried"
        )
        self.assertEqual(len(self.reactor.attempts), 1)

    def test_factoryCount(self) -> None:
        """The factory is started and stopped for each attempt, as one of a connector's."""
        self.failing(V6[0], errno.ECONNREFUSED)
        result = self.dial(V6[0], V4[0])
        self.reactor.advance(0)
        protocol = self.assertConnected(result, V4[0])
        self.assertEqual(self.factory.numPorts, 1)
        protocol.transport.loseConnection()
        self.reactor.advance(0)
        self.assertEqual(self.factory.numPorts, 0)
        self.assertEqual(self.factory.events[2:], ["lost: ConnectionDone"])


class SourceTests(DialTestCase):
    """Where connections come from."""

    def test_byFamily(self) -> None:
        """Each attempt comes from the address of its family."""
        self.dialer = HappyEyeballs(self.reactor, self.reactor, bindAddress=[V6[20], V4[20]])
        self.silent(V4[0], V6[0])
        self.dial(V4[0], V6[0])
        self.reactor.advance(1)
        self.assertEqual(self.reactor.bindings, [("198.51.100.21", 0), ("2001:db8::15", 0)])

    def test_oneFamily(self) -> None:
        """Without one for a family the system chooses."""
        self.dialer = HappyEyeballs(self.reactor, self.reactor, bindAddress=[V4[20]])
        self.dial(V6[0])
        self.assertEqual(self.reactor.bindings, [None])

    def test_two(self) -> None:
        """Two of one family are a mistake."""
        with self.assertRaisesRegex(ValueError, "more than one IPv6 address"):
            HappyEyeballs(self.reactor, self.reactor, bindAddress=V6[:2])


class FactoryTests(DialTestCase):
    """Factories that do not build."""

    def test_none(self) -> None:
        """No protocol: the connection is closed, and other addresses are not tried."""
        self.factory.takes = False
        result = self.dial(V4[0], V4[1])
        self.reactor.advance(1)
        self.assertFailed(
            result, Reply.GENERAL_FAILURE, "connected, but the factory gave no protocol"
        )
        self.assertEqual(len(self.reactor.attempts), 1)

    def test_raises(self) -> None:
        """An exception: it is logged, else the same."""

        def broken() -> None:
            raise ZeroDivisionError

        self.factory.whenBuilt = broken
        result = self.dial(V4[0], V4[1])
        self.reactor.advance(1)
        self.assertFailed(
            result, Reply.GENERAL_FAILURE, "connected, but the factory gave no protocol"
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_startRaises(self) -> None:
        """A factory that cannot start fails each attempt, and is logged."""

        def broken() -> None:
            raise ZeroDivisionError("no")

        self.factory.whenStarted = broken
        self.assertFailed(
            self.dial(V4[0], V4[1]),
            Reply.GENERAL_FAILURE,
            "198.51.100.1:80 no; 198.51.100.2:80 no",
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 2)

    def test_abortsWhenMade(self) -> None:
        """A protocol that ends the connection in connectionMade is handed over all the same."""
        lost: list[str] = self.factory.events

        def abort() -> None:
            [end] = [e for e in self.reactor.openConnections() if e.remote == (V4[0], PORT)]
            transports.append(end)

        transports: list[Any] = []
        self.factory.whenMade = abort
        result = self.dial(V4[0])
        result.addCallback(lambda protocol: protocol.transport.abortConnection())
        self.reactor.advance(0)
        self.assertIsNone(self.successResultOf(result))
        self.assertEqual(lost, ["built", "made", "lost: ConnectionAborted"])
        self.assertOpen(0)


class CancelTests(DialTestCase):
    """A caller that gives up, at each stage."""

    def assertCancelled(self, result: Deferred[IProtocol]) -> None:
        """It failed so, and nothing is left, then and later."""
        self.failureResultOf(result, CancelledError)
        self.reactor.advance(0)
        self.assertOpen(0)
        self.reactor.advance(60)
        self.assertEqual(self.factory.numPorts, 0)

    def test_begun(self) -> None:
        """Before the first packet: not one is sent."""
        result = self.dial(V4[0], V6[0])
        result.cancel()
        self.assertCancelled(result)
        self.assertEqual(self.factory.events, [])

    def test_connecting(self) -> None:
        """With one attempt under way and the next one's timer set: at once."""
        self.silent(V4[0])
        result = self.dial(V4[0], V6[0])
        self.reactor.advance(0.1)
        result.cancel()
        self.assertOpen(0)
        self.assertCancelled(result)

    def test_several(self) -> None:
        """With several under way."""
        self.silent(*V4, *V6)
        result = self.dial(*V4[:3])
        self.reactor.advance(0.6)
        self.assertEqual(len(self.reactor.openConnections()), 3)
        result.cancel()
        self.assertOpen(0)
        self.assertCancelled(result)

    def test_starting(self) -> None:
        """While the reactor is being asked to connect to the second address."""
        self.failing(V4[0], errno.ECONNREFUSED)
        result = self.dial(V4[0], V4[1], V4[2])
        self.factory.whenStarted = result.cancel
        self.reactor.advance(0)
        self.assertCancelled(result)
        self.assertEqual(len(self.reactor.attempts), 2)

    def test_startingRaises(self) -> None:
        """While the reactor is being asked, and the factory fails besides."""
        self.failing(V4[0], errno.ECONNREFUSED)
        result = self.dial(V4[0], V4[1], V4[2])

        def cancelAndRaise() -> None:
            result.cancel()
            raise ZeroDivisionError

        self.factory.whenStarted = cancelAndRaise
        self.reactor.advance(0)
        self.failureResultOf(result, CancelledError)
        self.assertOpen(0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_building(self) -> None:
        """While the factory builds: its protocol is never connected."""
        result = self.dial(V4[0])
        self.factory.whenBuilt = result.cancel
        self.reactor.advance(0)
        self.assertCancelled(result)
        self.assertEqual(self.factory.events, ["built"])

    def test_made(self) -> None:
        """In connectionMade: the connection is aborted."""
        result = self.dial(V4[0])
        self.factory.whenMade = result.cancel
        self.reactor.advance(0)
        self.assertCancelled(result)
        self.assertEqual(self.factory.events, ["built", "made", "lost: ConnectionAborted"])

    def test_madeElsewhere(self) -> None:
        """A protocol that keeps its transport to itself loses its connection in good order."""

        class Private(Dialled):
            def makeConnection(self, transport: ITransport) -> None:
                result.cancel()

        factory = DialledFactory()
        factory.buildProtocol = lambda addr: Private(  # type: ignore[method-assign]
            self.factory.events, None
        )
        result = self.dialer.dial([V4[0]], PORT, factory)
        self.reactor.advance(0)
        self.assertCancelled(result)
        self.assertEqual(self.factory.events, ["lost: ConnectionDone"])

    def test_fired(self) -> None:
        """Afterwards it is too late, and of no effect."""
        result = self.dial(V4[0])
        self.reactor.advance(0)
        result.cancel()
        self.reactor.advance(0)
        self.assertConnected(result, V4[0])


@implementer(IConnector)
class OtherConnector:
    """A connector that ignores whoever wants to stop it, or is done before it could be."""

    def __init__(self) -> None:
        self.stopped = 0

    def stopConnecting(self) -> None:
        """Note it."""
        self.stopped += 1

    disconnect = connect = stopConnecting

    def getDestination(self) -> IAddress:
        """Tell an address."""
        return PeerAddress("TCP", "192.0.2.1", PORT)


@implementer(IReactorTCP)
class OtherReactor(Clock):
    """
    A reactor of another making: its completions are queued when they cannot be stopped any more
    (as IOCP's are), or come within connectTCP.

    @ivar within: what happens within connectTCP.
    """

    def __init__(self) -> None:
        super().__init__()
        self.factories: list[ClientFactory[Any]] = []
        self.connectors: list[OtherConnector] = []
        self.within: list[Callable[[ClientFactory[Any], IConnector], object]] = []

    def connectTCP(
        self,
        host: str,
        port: int,
        factory: ClientFactory[Any],
        timeout: float = 30.0,
        bindAddress: tuple[str, int] | None = None,
    ) -> IConnector:
        """Note it, and do what the test wants done."""
        connector = OtherConnector()
        self.factories.append(factory)
        self.connectors.append(connector)
        factory.doStart()
        if self.within:
            self.within.pop(0)(factory, connector)
        return connector

    def listenTCP(
        self, port: int, factory: ServerFactory, backlog: int = 50, interface: str = ""
    ) -> IListeningPort:
        """Nobody listens here."""
        raise NotImplementedError


class OtherReactorTests(SynchronousTestCase):
    """What Twisted's own reactors do not do, and others may."""

    def setUp(self) -> None:
        """Make the reactor and a dialer."""
        self.reactor = OtherReactor()
        self.factory = DialledFactory()
        self.dialer = HappyEyeballs(self.reactor, self.reactor)
        self.peer = PeerAddress("TCP", "192.0.2.1", PORT)

    def connected(self, factory: ClientFactory[Any], connector: IConnector) -> None:
        """Connect within connectTCP."""
        protocol = factory.buildProtocol(self.peer)
        protocol.makeConnection(None)

    def refused(self, factory: ClientFactory[Any], connector: IConnector) -> None:
        """Refuse within connectTCP."""
        factory.clientConnectionFailed(connector, Failure(error.ConnectionRefusedError()))

    def test_loserConnects(self) -> None:
        """An attempt that connects after the race gets no protocol, so it is closed."""
        result = self.dialer.dial(V4[:2], PORT, self.factory)
        self.reactor.advance(0.25)
        first, second = self.reactor.factories
        protocol = second.buildProtocol(self.peer)
        self.assertEqual([each.stopped for each in self.reactor.connectors], [1, 0])
        self.assertIsNone(first.buildProtocol(self.peer))
        self.reactor.advance(0)
        self.assertIs(self.successResultOf(result), protocol)
        self.assertEqual(self.factory.events, ["built"])

    def test_loserFails(self) -> None:
        """An attempt that fails after the race is not heard."""
        result = self.dialer.dial(V4[:2], PORT, self.factory)
        self.reactor.advance(0.25)
        result.cancel()
        for factory, connector in zip(self.reactor.factories, self.reactor.connectors):
            self.refused(factory, connector)
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_connectedWithin(self) -> None:
        """Connected within connectTCP."""
        self.reactor.within = [self.connected]
        result = self.dialer.dial(V4[:2], PORT, self.factory)
        self.assertNoResult(result)
        self.reactor.advance(0)
        self.successResultOf(result)
        self.assertEqual([each.stopped for each in self.reactor.connectors], [0])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refusedWithin(self) -> None:
        """Refused within connectTCP, the last attempt too."""
        self.reactor.within = [self.refused] * 3
        result = self.dialer.dial(V4[:3], PORT, self.factory)
        failed = self.failureResultOf(result, DialError).value
        self.assertEqual(failed.reply, Reply.CONNECTION_REFUSED)
        self.assertEqual(failed.reason.count("refused"), 3)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_refusedWithinThenConnected(self) -> None:
        """Refused within connectTCP, and then connected within it."""
        self.reactor.within = [self.refused, self.connected]
        result = self.dialer.dial(V4[:3], PORT, self.factory)
        self.reactor.advance(0)
        self.successResultOf(result)
        self.assertEqual(self.factory.events, ["built", "made"])
        self.assertEqual(self.reactor.connectors[1].stopped, 0)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_zone(self) -> None:
        """A zone that does not exist is found out within connectTCP; it is no bug to be logged."""

        def noSuchZone(factory: ClientFactory[Any], connector: IConnector) -> None:
            raise OSError(errno.ENETUNREACH, "no such zone")

        self.reactor.within = [noSuchZone]
        result = self.dialer.dial([IPv6Address("fe80::1%eth9")], PORT, self.factory)
        failed = self.failureResultOf(result, DialError).value
        self.assertEqual(failed.reply, Reply.NETWORK_UNREACHABLE)
        self.assertEqual(failed.reason, "[fe80::1%eth9]:80 network unreachable")


@dataclass(frozen=True)
class Outcome:
    """
    What becomes of one address.

    @ivar number: the error; 0 is a connection, L{None} silence.
    @ivar delay: seconds until then.
    """

    number: int | None
    delay: float


NUMBERS = (
    0,
    0,
    None,
    errno.ECONNREFUSED,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ETIMEDOUT,
    errno.EMFILE,
)


@st.composite
def scripts(draw: st.DrawFn) -> list[Outcome]:
    """
    What becomes of each address.

    The fractions of the delays are such that no two events fall together by chance: which one
    would be first is the network's affair.
    """
    numbers = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=8))
    return [
        Outcome(number, draw(st.integers(0, 16)) * 0.125 + 2.0 ** -(index + 5))
        if number != errno.EMFILE
        else Outcome(number, 0)
        for index, number in enumerate(numbers)
    ]


def model(script: list[Outcome], timeout: float) -> tuple[int | Reply, int]:
    """
    Say what the race must come to.

    @return: who wins, or the reply; and how many were tried.
    """
    running: dict[int, float] = {}
    replies: list[Reply] = []
    tried, nextStart = 0, 0.0
    while running or tried < len(script):
        first = min(running, key=running.__getitem__, default=-1)
        event = running.get(first, math.inf)
        start = nextStart if tried < len(script) else math.inf
        if min(event, start) >= timeout:
            replies.append(Reply.TTL_EXPIRED)
            break
        if start <= event:
            outcome = script[tried]
            running[tried] = math.inf if outcome.number is None else start + outcome.delay
            tried, nextStart = tried + 1, start + 0.25
            continue
        del running[first]
        number = script[first].number
        if not number:
            return first, tried
        replies.append(
            Reply.GENERAL_FAILURE if number == errno.EMFILE else replyFor(OSError(number, ""))[0]
        )
        if first == tried - 1:
            nextStart = event
    return mostTelling(replies), tried


class ModelTests(DialTestCase):
    """Any script of outcomes."""

    @settings(max_examples=300, deadline=None)
    @given(scripts(), st.sampled_from([0.5, 1.0, 20.0]), st.booleans())
    def test_model(self, script: list[Outcome], timeout: float, mixed: bool) -> None:
        """The winner or the reply is the model's, and nothing is left."""
        self.setUp()
        addresses: list[IPAddress] = [
            (V6 if mixed and index % 2 else V4)[index] for index in range(len(script))
        ]
        for address, outcome in zip(addresses, script):
            if outcome.number is None:
                self.silent(address)
            else:
                self.failing(address, outcome.number, outcome.delay)
        self.dialer = HappyEyeballs(self.reactor, self.reactor, timeout=timeout)
        expected, tried = model(script, timeout)
        result = self.dial(*addresses)
        self.reactor.advance(30)
        self.assertEqual(len(self.reactor.attempts), tried)
        if isinstance(expected, Reply):
            failed = self.failureResultOf(result, DialError).value
            self.assertEqual(failed.reply, expected)
            self.assertEqual(failed.reason.count(f":{PORT} "), len(script))
            self.assertOpen(0)
        else:
            self.assertConnected(result, addresses[expected])

    @settings(max_examples=200, deadline=None)
    @given(scripts(), st.floats(0, 3), st.booleans())
    def test_cancel(self, script: list[Outcome], when: float, mixed: bool) -> None:
        """Cancelled at any time, it leaves nothing; what was connected before stays."""
        self.setUp()
        addresses: list[IPAddress] = [
            (V6 if mixed and index % 2 else V4)[index] for index in range(len(script))
        ]
        for address, outcome in zip(addresses, script):
            if outcome.number is None:
                self.silent(address)
            else:
                self.failing(address, outcome.number, outcome.delay)
        result = self.dial(*addresses)
        fired: list[object] = []
        result.addBoth(fired.append)
        self.reactor.advance(when)
        result.cancel()
        self.assertEqual(len(fired), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.advance(30)
        self.assertOpen(2 if isinstance(fired[0], Dialled) else 0)


class PublicTests(SynchronousTestCase):
    """What may be imported from where."""

    def test_replyFor(self) -> None:
        """The reply for a failure is found beside the dialer, too."""
        self.assertIs(dialing.replyFor, failures.replyFor)
