"""Callers that give up at each stage, and reactors whose answers come at odd times."""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from ipaddress import IPv6Address
from typing import Any

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
    ServerFactory,
)
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from tests.races import PORT, V4, V6, Dialled, DialledFactory, DialTestCase
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.errors import DialError
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.wire.constants import Reply


class CancelTests(DialTestCase):
    """
    A caller that gives up, at each stage.

    @cvar addresses: dialled where one would do.
    """

    addresses: Sequence[IPAddress] = V4[:1]

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
        self.silent(V4[1])
        result = self.dial(V4[0], V4[1], V4[2])
        self.factory.whenStarted = result.cancel
        self.reactor.advance(0)
        self.assertCancelled(result)
        self.assertEqual(len(self.attempts), 2)

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
        result = self.dial(*self.addresses)
        self.factory.whenBuilt = result.cancel
        self.reactor.advance(0)
        self.assertCancelled(result)
        self.assertEqual(self.factory.events, ["built"])

    def test_made(self) -> None:
        """In connectionMade: the connection is aborted."""
        result = self.dial(*self.addresses)
        self.factory.whenMade = lambda _: result.cancel()
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
        result = self.dialer.dial(self.addresses, PORT, factory)
        self.reactor.advance(0)
        self.assertCancelled(result)
        self.assertEqual(self.factory.events, ["lost: ConnectionDone"])

    def test_fired(self) -> None:
        """Afterwards it is too late, and of no effect."""
        result = self.dial(*self.addresses)
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
        protocol: Any = factory.buildProtocol(self.peer)
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
        for factory, connector in zip(
            self.reactor.factories, self.reactor.connectors, strict=True
        ):
            self.refused(factory, connector)
        self.failureResultOf(result, CancelledError)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_timeout(self) -> None:
        """One attempt's time-out is everybody's: the timers of the others are not waited for."""
        result = self.dialer.dial(V4[:3], PORT, self.factory)
        self.reactor.advance(0.25)
        first, second = self.reactor.connectors
        self.reactor.factories[0].clientConnectionFailed(first, Failure(error.TimeoutError()))
        failed = self.failureResultOf(result, DialError).value
        self.assertEqual(failed.reply, Reply.TTL_EXPIRED)
        self.assertEqual(failed.reason.count("timed out"), 2)
        self.assertEqual(failed.reason.count("not tried"), 1)
        self.assertEqual(second.stopped, 1)
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
