"""The race, each transition over the network in memory."""

from __future__ import annotations

import errno
import gc

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import (
    IProtocol,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.races import V4, V6, Dialled, DialTestCase
from twisted_socks5 import dialing, failures
from twisted_socks5.dialing import MAX_ATTEMPTS
from twisted_socks5.errors import DialError
from twisted_socks5.interfaces import IDialer, IPAddress
from twisted_socks5.wire.constants import Reply


class SingleTests(DialTestCase):
    """One address, as most dials have."""

    def test_interface(self) -> None:
        """It is what it says."""
        self.assertTrue(verifyObject(IDialer, self.dialer))

    def test_connected(self) -> None:
        """The protocol comes after its connectionMade, on the reactor's own transport."""
        result = self.dial(V4[0])
        fired: list[list[str]] = []

        def note(protocol: IProtocol) -> IProtocol:
            fired.append([*self.factory.events])
            return protocol

        result.addCallback(note)
        self.assertNoResult(result)
        self.reactor.advance(0)
        protocol = self.assertConnected(result, V4[0])
        self.assertEqual(fired, [["built", "made"]])
        self.assertIs(protocol.transport.protocol, protocol)

    def test_octets(self) -> None:
        """A target that speaks first is heard after connectionMade."""
        self.greeting = b"220"
        self.dial(V6[0])
        self.reactor.advance(0)
        self.assertEqual(self.factory.events, ["built", "made", "received: b'220'"])

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
        self.dialer = self.dials(timeout=3)
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
        self.assertEqual(len(self.attempts), 2)

    def test_noAddress(self) -> None:
        """So is the lack of any address."""
        self.assertFailed(self.dial(), Reply.GENERAL_FAILURE, "no address to connect to")

    def test_garbage(self) -> None:
        """Nothing of the race outlives it in a cycle for the collector to find."""
        self.addCleanup(gc.enable)
        gc.disable()
        self.failing(V6[0], errno.ECONNREFUSED)
        self.silent(V4[0])
        result = self.dial(V6[0], V4[0], V6[1])
        self.reactor.advance(0)
        # The race and the attempt that runs; nothing holds the one that has failed.
        self.assertEqual(self.alive(), ["Race", self.kind])
        self.reactor.advance(1)
        self.assertConnected(result, V6[1])
        self.assertEqual(self.alive(), [self.kind] if self.keeps else [])

    def test_garbageOfFailure(self) -> None:
        """Nor does anything of one that nobody has won, or that was cancelled."""
        self.addCleanup(gc.enable)
        gc.disable()
        for address in (V6[0], V4[0]):
            self.failing(address, errno.ECONNREFUSED)
        for addresses in ([V6[0]], [V6[0], V4[0]]):
            result = self.dial(*addresses)
            self.reactor.advance(0)
            self.failureResultOf(result, DialError)
            self.assertEqual(self.alive(), [])
        self.silent(V4[1])
        result = self.dial(V4[1], V4[2])
        self.reactor.advance(0.1)
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.reactor.advance(0)
        self.assertEqual(self.alive(), [])


class RaceTests(DialTestCase):
    """Several addresses."""

    def test_order(self) -> None:
        """The families take turns, beginning with the first's; each address is tried once."""
        self.silent(*V4, *V6)
        self.dial(V6[0], V6[1], V6[2], V6[0], V4[0], V4[1])
        self.reactor.advance(5)
        expected = [V6[0], V4[0], V6[1], V4[1], V6[2]]
        self.assertEqual(
            self.attempts,
            [(0.25 * n, str(address)) for n, address in enumerate(expected)],
        )

    def test_orderIPv4(self) -> None:
        """With IPv4 first it is the other way round, and the rest follows in its order."""
        self.silent(*V4, *V6)
        self.dial(V4[0], V6[0], V6[1], V6[2])
        self.reactor.advance(5)
        hosts = [host for _, host in self.attempts]
        self.assertEqual(hosts, [str(each) for each in (V4[0], V6[0], V6[1], V6[2])])

    def test_bound(self) -> None:
        """Of a long list only so many are tried, both families still."""
        self.silent(*V4, *V6)
        self.dial(*V6, *V4)
        self.reactor.advance(19)
        hosts = [host for _, host in self.attempts]
        self.assertEqual(len(hosts), MAX_ATTEMPTS)
        self.assertEqual(sum(":" in host for host in hosts), MAX_ATTEMPTS // 2)

    def test_delay(self) -> None:
        """The delay between two attempts is the dialer's."""
        self.dialer = self.dials(attemptDelay=1.5)
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
        self.assertEqual(len(self.attempts), 1)

    def test_refusedThenNext(self) -> None:
        """A refusal starts the next attempt at once, and the one after that in due time."""
        self.failing(V6[0], errno.ECONNREFUSED, delay=0.125)
        self.silent(V4[0])
        result = self.dial(V6[0], V4[0], V6[1])
        self.reactor.advance(1)
        self.assertConnected(result, V6[1])
        self.assertEqual([time for time, _ in self.attempts], [0, 0.125, 0.375])

    def test_refusedAtOnce(self) -> None:
        """Without a wait, all refuse in the same instant."""
        addresses: list[IPAddress] = [*V6[:3], *V4[:3]]
        for address in addresses:
            self.failing(address, errno.ECONNREFUSED)
        result = self.dial(*addresses)
        self.reactor.advance(0)
        self.assertEqual(len(self.attempts), 6)
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
        self.assertEqual([time for time, _ in self.attempts], [0, 0.25, 0.5])

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
        self.dialer = self.dials(timeout=0.4)
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
        self.dialer = self.dials(timeout=0.3)
        self.silent(V6[0])
        result = self.dial(V6[0], V4[0])
        # Both timers are late, as in a process that was stopped for a while.
        self.reactor.turn()
        self.reactor.rightNow = 60
        self.reactor.settle()
        self.assertFailed(
            result, Reply.TTL_EXPIRED, "[2001:db8::1]:80 timed out; 198.51.100.1:80 not tried"
        )
        self.assertEqual(len(self.attempts), 1)

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
        self.dialer = self.dials(bindAddress=[V6[20], V4[20]])
        self.silent(V4[0], V6[0])
        self.dial(V4[0], V6[0])
        self.reactor.advance(1)
        self.assertEqual(self.bindings, [("198.51.100.21", 0), ("2001:db8::15", 0)])

    def test_oneFamily(self) -> None:
        """Without one for a family the system chooses."""
        self.dialer = self.dials(bindAddress=[V4[20]])
        self.dial(V6[0])
        self.assertEqual(self.bindings, [None])

    def test_two(self) -> None:
        """Two of one family are a mistake."""
        with self.assertRaisesRegex(ValueError, "more than one IPv6 address"):
            self.dials(bindAddress=V6[:2])


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
        self.assertEqual(len(self.attempts), 1)

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
        self.factory.whenMade = lambda protocol: protocol.transport.abortConnection()
        result = self.dial(V4[0])
        self.reactor.advance(0)
        self.assertIsInstance(self.successResultOf(result), Dialled)
        self.assertEqual(self.factory.events, ["built", "made", "lost: ConnectionAborted"])
        self.assertOpen(0)


class PublicTests(SynchronousTestCase):
    """What may be imported from where."""

    def test_replyFor(self) -> None:
        """The reply for a failure is found beside the dialer, too."""
        self.assertIs(dialing.replyFor, failures.replyFor)
