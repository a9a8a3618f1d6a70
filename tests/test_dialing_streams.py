"""Dials over streams: the same race, and one address, which is none."""

from __future__ import annotations

import errno
from collections.abc import Sequence

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol, ITransport

from tests import test_dialing, test_dialing_cancelled
from tests.races import PORT, V4, V6, Dialled, DialledFactory, OverStreams
from twisted_socks5.errors import DialError
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.wire.constants import Reply


class StreamDialTests(OverStreams, test_dialing.SingleTests):
    """One address, as over a reactor."""


class StreamRaceTests(OverStreams, test_dialing.RaceTests):
    """Several addresses."""

    def test_factoryCount(self) -> None:
        """The factory is started for each attempt, and told of failures, but not of the end."""
        self.failing(V6[0], errno.ECONNREFUSED)
        result = self.dial(V6[0], V4[0])
        self.reactor.advance(0)
        protocol = self.assertConnected(result, V4[0])
        self.assertEqual(self.factory.numPorts, 1)
        protocol.transport.loseConnection()
        self.reactor.advance(0)
        self.assertEqual(self.factory.numPorts, 1)
        self.assertEqual(self.factory.events[2:], ["lost: ConnectionDone"])

    def test_losersCounted(self) -> None:
        """The factory is told of those who are given up."""
        self.silent(V6[0])
        result = self.dial(V6[0], V4[0])
        self.reactor.advance(0.25)
        self.assertConnected(result, V4[0])
        self.assertEqual(self.factory.numPorts, 1)

    def test_atOnce(self) -> None:
        """What the kernel knows within the call needs neither a turn nor a timer."""
        self.atOnce(V6[0], errno.ENETUNREACH)
        self.atOnce(V6[1], errno.ECONNREFUSED)
        self.atOnce(V4[0])
        for addresses in ((V4[0], V6[0]), (V6[0], V4[0]), (V6[0], V6[1], V4[0])):
            protocol = self.assertConnected(self.dial(*addresses), V4[0])
            protocol.transport.abortConnection()
            self.reactor.advance(0)
            self.factory.events.clear()
            self.factory.peers.clear()

    def test_allFailAtOnce(self) -> None:
        """So do failures."""
        self.atOnce(V6[0], errno.ENETUNREACH)
        self.atOnce(V4[0], errno.ECONNREFUSED)
        self.assertFailed(
            self.dial(V6[0], V4[0]),
            Reply.CONNECTION_REFUSED,
            "[2001:db8::1]:80 network unreachable; 198.51.100.1:80 refused",
        )
        self.assertEqual(self.factory.numPorts, 0)

    def test_sameTurnAsFailure(self) -> None:
        """The next attempt begins in the turn in which the one before has failed."""
        self.failing(V6[0], errno.ECONNREFUSED, delay=0.125)
        self.atOnce(V4[0])
        result = self.dial(V6[0], V4[0])
        self.reactor.turn()
        self.assertNoResult(result)
        self.reactor.rightNow = 0.125
        self.reactor.turn()
        self.assertConnected(result, V4[0])

    def test_oneTimer(self) -> None:
        """Whoever runs, there is one timer: for the next one, and then for the deadline."""
        self.silent(V6[0], V4[0], V6[1])
        result = self.dial(V6[0], V4[0], V6[1])
        for expected in (0.25, 0.5, 20.0, 20.0):
            self.assertEqual(
                [each.getTime() for each in self.reactor.getDelayedCalls()], [expected]
            )
            self.reactor.advance(0.25)
        self.reactor.advance(19)
        self.assertFailed(
            result,
            Reply.TTL_EXPIRED,
            "[2001:db8::1]:80 timed out; 198.51.100.1:80 timed out; [2001:db8::2]:80 timed out",
        )

    def test_deadlineAfterLast(self) -> None:
        """That the last one fails does not take the deadline from those who still run."""
        for failing in (self.failing, self.atOnce):
            self.silent(V6[0])
            failing(V4[0], errno.ECONNREFUSED)
            result = self.dial(V6[0], V4[0])
            self.reactor.advance(19.9)
            self.assertNoResult(result)
            self.reactor.advance(0.1)
            self.assertFailed(
                result,
                Reply.CONNECTION_REFUSED,
                "198.51.100.1:80 refused; [2001:db8::1]:80 timed out",
            )


class StreamSourceTests(OverStreams, test_dialing.SourceTests):
    """Where connections come from."""


class StreamFactoryTests(OverStreams, test_dialing.FactoryTests):
    """Factories that do not build."""

    def test_startRaisesSingle(self) -> None:
        """A factory that cannot start fails a dial of one address, too."""
        self.factory.whenStarted = lambda: 1 // 0
        self.assertFailed(
            self.dial(V4[0]),
            Reply.GENERAL_FAILURE,
            "198.51.100.1:80 integer division or modulo by zero",
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class StreamCancelTests(OverStreams, test_dialing_cancelled.CancelTests):
    """A caller that gives up, at each stage."""

    def assertCancelled(self, result: Deferred[IProtocol]) -> None:
        """It failed so, and nothing is left; a factory is not told of a connection's end."""
        self.failureResultOf(result, CancelledError)
        self.reactor.advance(0)
        self.assertOpen(0)
        attempts = len(self.attempts)
        self.reactor.advance(60)
        self.assertEqual(len(self.attempts), attempts)

    def test_starting(self) -> None:
        """While the factory is told of the second attempt: there is none, nor a third."""
        self.failing(V4[0], errno.ECONNREFUSED)
        self.silent(V4[1])
        result = self.dial(V4[0], V4[1], V4[2])
        self.factory.whenStarted = result.cancel
        self.reactor.advance(0)
        self.assertCancelled(result)
        self.assertEqual(len(self.sockets.made), 1)
        self.assertEqual(self.factory.numPorts, 0)

    def test_madeElsewhere(self) -> None:
        """The connection of a protocol that keeps its transport to itself is aborted, too."""

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
        self.assertEqual(self.factory.events, ["lost: ConnectionAborted"])


class StreamRaceCancelTests(StreamCancelTests):
    """The same, where there would have been another address."""

    addresses = (V4[0], V6[0])


class SingleTests(OverStreams):
    """
    What only streams do, to one address.

    @cvar addresses: dialled; the first is the one.
    """

    addresses: Sequence[IPAddress] = (V4[0],)

    def test_connected(self) -> None:
        """It connects, at once or later, and that takes no further turn."""
        self.slow(V4[0], 0.125)
        result = self.dial(*self.addresses)
        self.assertNoResult(result)
        self.reactor.rightNow = 0.125
        self.reactor.turn()
        self.assertConnected(result, V4[0]).transport.abortConnection()
        self.reactor.advance(0)
        self.factory.events.clear()
        self.factory.peers.clear()
        self.slow(V4[0], 0)
        self.atOnce(V4[0])
        self.assertConnected(self.dial(*self.addresses), V4[0])

    def test_descriptors(self) -> None:
        """No descriptor left is this side's failure, and known at once."""
        self.sockets.noDescriptor = True
        failed = self.failureResultOf(self.dial(*self.addresses), DialError).value
        self.assertEqual(failed.reply, Reply.GENERAL_FAILURE)
        self.assertIn("198.51.100.1:80 too many open files", failed.reason)
        self.assertOpen(0)
        self.assertEqual(self.factory.numPorts, 0)

    def test_noProtocol(self) -> None:
        """A factory that builds none, or raises, has its connection closed, at once or later."""
        for atOnce in (False, True):
            if atOnce:
                self.atOnce(V4[0])
            self.factory.takes = False
            self.assertNotTaken()
            self.factory.takes = True
            self.factory.whenBuilt = self.stumble
            self.assertNotTaken()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.factory.whenBuilt = None

    def test_protocolRaises(self) -> None:
        """A protocol that raises when it is connected is cut off, at once or later."""
        self.factory.whenMade = self.stumble
        for atOnce in (False, True):
            if atOnce:
                self.atOnce(V4[0])
            self.assertNotTaken()
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def assertNotTaken(self) -> None:
        """A dial connects, and fails for want of a protocol."""
        result = self.dial(*self.addresses)
        self.reactor.advance(0)
        self.assertFailed(
            result, Reply.GENERAL_FAILURE, "connected, but the factory gave no protocol"
        )

    def stumble(self, _: object = None) -> None:
        """Raise."""
        raise ZeroDivisionError


class OneOfSeveralTests(SingleTests):
    """The same to the first of several, which is all that are tried."""

    addresses = (V4[0], V6[0], V4[1])
