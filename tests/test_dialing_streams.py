"""Dials over streams: one address, which is no race, and several, which are one."""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IProtocol, ITransport

from tests.races import PORT, V4, V6, Dialled, DialledFactory, DialTestCase
from tests.streams.memory import streamsOn
from tests.test_dialing_cancelled import CancelTests
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.testing import StreamSocket
from twisted_socks5.wire.constants import Reply


class OverStreams(DialTestCase):
    """The network in memory, with streams on it."""

    def setUp(self) -> None:
        """Make the dialer."""
        super().setUp()
        self.tcp, self.sockets = streamsOn(self.reactor, self)
        self.dialer = HappyEyeballs(self.tcp, self.reactor)


class StreamCancelTests(OverStreams, CancelTests):
    """A caller that gives up, at each stage: the same over streams."""

    def assertCancelled(self, result: Deferred[IProtocol]) -> None:
        """It failed so, and nothing is left; a factory is not told of a connection's end."""
        self.failureResultOf(result, CancelledError)
        self.reactor.advance(0)
        self.assertOpen(0)

    def test_starting(self) -> None:
        """While the second attempt begins: there is no third."""
        self.failing(V4[0], errno.ECONNREFUSED)
        self.silent(V4[1])
        result = self.dial(V4[0], V4[1], V4[2])
        self.factory.whenStarted = result.cancel
        self.reactor.advance(0)
        self.assertCancelled(result)
        self.reactor.advance(60)
        self.assertEqual(len(self.sockets.made), 2)

    def test_madeElsewhere(self) -> None:
        """The connection of a protocol that keeps its transport to itself is aborted, too."""

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
        self.assertEqual(self.factory.events, ["lost: ConnectionAborted"])


class SingleTests(OverStreams):
    """One address."""

    def atOnce(self) -> None:
        """Have the kernel connect within the call."""
        really = StreamSocket.connect_ex

        def connect(handle: StreamSocket, address: Any) -> int:
            really(handle, address)
            self.reactor.network.arrive(self.reactor.seconds())
            return errno.EISCONN

        self.patch(StreamSocket, "connect_ex", connect)

    def test_connected(self) -> None:
        """It connects, of either family, at once or later."""
        for address in (V4[0], V6[0]):
            self.slow(address, 1)
            result = self.dial(address)
            self.assertNoResult(result)
            self.reactor.advance(1)
            self.assertConnected(result, address).transport.loseConnection()
            self.reactor.advance(0)
            self.factory.events.clear()
            self.factory.peers.clear()
        self.atOnce()
        self.assertConnected(self.dial(V4[1]), V4[1])

    def test_failed(self) -> None:
        """It fails, with the address and why."""
        for address, shown in ((V4[0], "198.51.100.1:80"), (V6[0], "[2001:db8::1]:80")):
            self.failing(address, errno.ECONNREFUSED)
            result = self.dial(address)
            self.reactor.advance(0)
            self.assertFailed(result, Reply.CONNECTION_REFUSED, f"{shown} refused")
            self.assertEqual(self.factory.numPorts, 0)

    def test_deadline(self) -> None:
        """It has the dialer's time."""
        self.dialer = HappyEyeballs(self.tcp, self.reactor, timeout=3)
        self.silent(V4[0])
        result = self.dial(V4[0])
        self.reactor.advance(2.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.assertFailed(result, Reply.TTL_EXPIRED, "198.51.100.1:80 timed out")

    def test_descriptors(self) -> None:
        """No descriptor left is this side's failure."""
        self.sockets.noDescriptor = True
        result = self.dial(V4[0])
        self.reactor.advance(0)
        self.assertFailed(result, Reply.GENERAL_FAILURE, "198.51.100.1:80 too many open files")

    def test_cancelledBeforeItIsTold(self) -> None:
        """A failure of which nobody wants to hear is not told."""
        self.sockets.noDescriptor = True
        result = self.dial(V4[0])
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.reactor.advance(1)
        self.assertOpen(0)

    def test_source(self) -> None:
        """It connects from where it should."""
        self.dialer = HappyEyeballs(self.tcp, self.reactor, bindAddress=[V4[20]])
        self.dial(V4[0])
        self.dial(V6[0])
        self.reactor.advance(0)
        self.assertEqual(
            [each.getsockname()[0] == str(V4[20]) for each in self.sockets.made], [True, False]
        )

    def test_noProtocol(self) -> None:
        """A factory that builds none, or raises, has its connection closed, at once or later."""
        reason = "connected, but the factory gave no protocol"
        for wanted in ("later", "at once"):
            self.factory.takes = False
            if wanted == "at once":
                self.atOnce()
            result = self.dial(V4[0])
            self.reactor.advance(0)
            self.assertFailed(result, Reply.GENERAL_FAILURE, reason)
            self.factory.takes = True
            self.factory.whenBuilt = self.stumble
            result = self.dial(V4[0])
            self.reactor.advance(0)
            self.assertFailed(result, Reply.GENERAL_FAILURE, reason)
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
            self.factory.whenBuilt = None

    def test_protocolRaises(self) -> None:
        """A protocol that raises when it is connected is cut off, at once or later."""
        self.factory.whenMade = self.stumble
        for wanted in ("later", "at once"):
            if wanted == "at once":
                self.atOnce()
            result = self.dial(V4[0])
            self.reactor.advance(0)
            self.assertFailed(
                result,
                Reply.GENERAL_FAILURE,
                "connected, but the factory gave no protocol",
            )
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def stumble(self, _: object = None) -> None:
        """Raise."""
        raise ZeroDivisionError
