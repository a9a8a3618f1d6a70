"""
The fakes against reality: each scenario is played in memory, and over loopback sockets.

What the peers are to see stands in the scenario, so both worlds are held to the same words.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IListeningPort, IPushProducer
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory, PlainPeer

LOOPBACK = "127.0.0.1"

# More than the windows of both ends, and Twisted's buffer, could ever hold.
FLOOD = 40_000_000

# More than a reader's window, less than a sender's buffer.
KERNEL_LOAD = 400_000


class OpenEnded(Peer):
    """A peer that leaves a connection alone whose directions have both ended."""

    closesWhenBothEnded = False


@implementer(IPushProducer)
class Recorder:
    """A producer that records what it is asked for."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.resumed: Deferred[None] = Deferred()

    def pauseProducing(self) -> None:
        """Record it."""
        self.asked.append("pause")

    def resumeProducing(self) -> None:
        """Record it."""
        self.asked.append("resume")
        self.resumed.callback(None)

    def stopProducing(self) -> None:
        """Record it."""
        self.asked.append("stop")


class Datagrams(DatagramProtocol):
    """Keeps datagrams, and fires when the next has come or been refused."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.refusals = 0
        self.next: Deferred[None] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Keep it."""
        self.received.append((datagram, addr))
        self._fire()

    def connectionRefused(self) -> None:
        """Count it."""
        self.refusals += 1
        self._fire()

    def _fire(self) -> None:
        fired, self.next = self.next, Deferred()
        fired.callback(None)


class Scenarios:
    """What is played; a subclass says where, by way of C{reactor} and C{play}."""

    reactor: Any
    play: Callable[[Coroutine[Deferred[Any], Any, None]], Any]
    assertEqual: Any
    assertLess: Any
    assertGreater: Any
    assertRaises: Any
    addCleanup: Any

    def listen(self, factory: PeerFactory) -> int:
        """Listen until the test is over."""
        port = self.reactor.listenTCP(0, factory, interface=LOOPBACK)
        self.addCleanup(self.stop, port)
        return int(port.getHost().port)

    def listenUDP(self, protocol: DatagramProtocol, **options: Any) -> Any:
        """Receive datagrams until the test is over."""
        port = self.reactor.listenUDP(0, protocol, interface=LOOPBACK, **options)
        self.addCleanup(self.stop, port)
        return port

    def stop(self, port: IListeningPort) -> Any:
        """Stop listening."""
        return port.stopListening()

    async def rest(self) -> None:
        """Let happen what would happen: a while, in turns of the reactor."""
        for _ in range(20):
            await deferLater(self.reactor, 0)

    async def pair(
        self, near: Callable[[], PlainPeer] = Peer, far: Callable[[], PlainPeer] = Peer
    ) -> tuple[PlainPeer, PlainPeer]:
        """Connect two peers."""
        listening, connecting = PeerFactory(far), PeerFactory(near)
        self.reactor.connectTCP(LOOPBACK, self.listen(listening), connecting)
        while not (listening.peers and connecting.peers):
            await deferLater(self.reactor, 0)
        for peer in (listening.peer, connecting.peer):
            self.addCleanup(peer.abort)
            while not peer.connected:
                await deferLater(self.reactor, 0)
        return connecting.peer, listening.peer

    # Endings in order

    def test_halfClose(self) -> None:
        """A side that has sent its FIN still receives; both then close."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.write(b"question")
            near.loseWrite()
            near.write(b"not sent any more")
            await far.whenEOF()
            await self.rest()
            far.write(b"answer")
            far.loseWrite()
            await near.whenLost()
            await far.whenLost()
            self.assertEqual(far.received, b"question")
            self.assertEqual(near.received, b"answer")
            self.assertEqual(near.events, ["made", "written", "data", "eof", "ConnectionDone"])
            self.assertEqual(far.events, ["made", "data", "eof", "written", "ConnectionDone"])

        return self.play(scenario())

    def test_bothHalvesStayOpen(self) -> None:
        """Twisted does not close a connection of which both directions have ended."""

        async def scenario() -> None:
            near, far = await self.pair(OpenEnded, OpenEnded)
            near.loseWrite()
            await far.whenEOF()
            far.loseWrite()
            await near.whenEOF()
            await self.rest()
            self.assertEqual(near.events, ["made", "written", "eof"])
            self.assertEqual(far.events, ["made", "eof", "written"])
            far.lose()
            near.lose()
            await self.rest()
            self.assertEqual(near.events[-1:] + far.events[-1:], ["ConnectionDone"] * 2)

        return self.play(scenario())

    def test_abortAfterBothHalves(self) -> None:
        """Once both FINs are through there is nothing to reset."""

        async def scenario() -> None:
            near, far = await self.pair(OpenEnded, OpenEnded)
            near.loseWrite()
            await far.whenEOF()
            far.loseWrite()
            await near.whenEOF()
            near.abort()
            await near.whenLost()
            await self.rest()
            far.resume()
            await self.rest()
            self.assertEqual(near.events[-1], "ConnectionAborted")
            self.assertEqual(far.events, ["made", "eof", "written", "eof"])

        return self.play(scenario())

    def test_loseConnection(self) -> None:
        """A close is flushed; the other side reads it as a FIN."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.write(b"x" * 1_000_000)
            near.lose()
            await far.whenEOF()
            await near.whenLost()
            self.assertEqual(len(far.received), 1_000_000)
            self.assertEqual(far.events, ["made", "data", "eof"])
            self.assertEqual(near.events, ["made", "ConnectionDone"])

        return self.play(scenario())

    def test_plainPeer(self) -> None:
        """Without half-close the other side's FIN is the end of the connection."""

        async def scenario() -> None:
            near, far = await self.pair(far=PlainPeer)
            near.loseWrite()
            await far.whenLost()
            await near.whenLost()
            self.assertEqual(far.events, ["made", "ConnectionDone"])
            self.assertEqual(near.events, ["made", "written", "eof", "ConnectionDone"])

        return self.play(scenario())

    def test_bothLose(self) -> None:
        """Two sides that close at once close in order."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.lose()
            far.lose()
            await near.whenLost()
            await far.whenLost()
            self.assertEqual(near.events + far.events, ["made", "ConnectionDone"] * 2)

        return self.play(scenario())

    def test_loseWhilePaused(self) -> None:
        """A side that does not read can close."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.pause()
            near.write(b"bye")
            near.lose()
            await near.whenLost()
            await far.whenEOF()
            self.assertEqual(near.events, ["made", "ConnectionDone"])
            self.assertEqual(far.events, ["made", "data", "eof"])

        return self.play(scenario())

    def test_endWhilePaused(self) -> None:
        """A side that does not read notices neither octets nor their end until it reads."""

        async def scenario() -> None:
            near, far = await self.pair()
            far.pause()
            near.write(b"bye")
            near.lose()
            await near.whenLost()
            await self.rest()
            self.assertEqual(far.events, ["made"])
            far.resume()
            await far.whenEOF()
            self.assertEqual(far.events, ["made", "data", "eof"])

        return self.play(scenario())

    def test_loseAfterLosingWrite(self) -> None:
        """A close after the FIN is immediate."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.loseWrite()
            await far.whenEOF()
            near.lose()
            self.assertEqual(near.events, ["made", "written", "ConnectionDone"])

        return self.play(scenario())

    # Resets

    def test_abort(self) -> None:
        """An abort is a reset for the other side."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.abort()
            self.assertEqual(near.events, ["made"])
            await far.whenLost()
            self.assertEqual(near.events, ["made", "ConnectionAborted"])
            self.assertEqual(far.events, ["made", "ConnectionLost"])
            self.assertEqual([far.wasReset, far.wasClosed], [True, False])

        return self.play(scenario())

    def test_abortBehindOctets(self) -> None:
        """What arrived before a reset is still read; a paused side notices neither."""

        async def scenario() -> None:
            near, far = await self.pair()
            far.pause()
            near.write(b"x" * 1000)
            await self.rest()
            near.abort()
            await near.whenLost()
            await self.rest()
            self.assertEqual(far.events, ["made"])
            far.resume()
            await far.whenLost()
            self.assertEqual(len(far.received), 1000)
            self.assertEqual(far.events, ["made", "data", "ConnectionLost"])

        return self.play(scenario())

    def test_abortDropsWhatIsBuffered(self) -> None:
        """What the other side had no room for is lost with a reset."""

        async def scenario() -> None:
            near, far = await self.pair()
            far.pause()
            near.write(b"x" * FLOOD)
            await self.rest()
            near.abort()
            await near.whenLost()
            far.resume()
            await far.whenLost()
            self.assertGreater(len(far.received), 0)
            self.assertLess(len(far.received), FLOOD)
            self.assertEqual(far.events, ["made", "data", "ConnectionLost"])

        return self.play(scenario())

    def test_abortOfAWriter(self) -> None:
        """A side that waits to write notices a reset, though it does not read; input is lost."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.pause()
            far.pause()
            near.write(b"unread")
            far.write(b"x" * FLOOD)
            await self.rest()
            near.abort()
            await far.whenLost()
            self.assertEqual(far.events, ["made", "ConnectionLost"])

        return self.play(scenario())

    def test_abortAfterEOF(self) -> None:
        """A reset after the FIN goes unnoticed until something is written."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.loseWrite()
            await far.whenEOF()
            near.abort()
            await near.whenLost()
            await self.rest()
            self.assertEqual(far.events, ["made", "eof"])
            far.write(b"anybody there?")
            await far.whenLost()
            self.assertEqual(far.events, ["made", "eof", "ConnectionLost"])

        return self.play(scenario())

    def test_writeToAClosedConnection(self) -> None:
        """Octets for a closed connection bring a reset, which the next octets notice."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.lose()
            await near.whenLost()
            await far.whenEOF()
            far.write(b"taken")
            await self.rest()
            self.assertEqual(far.events, ["made", "eof"])
            far.write(b"not taken")
            await far.whenLost()
            self.assertEqual(far.events, ["made", "eof", "ConnectionLost"])

        return self.play(scenario())

    def test_finishAClosedConnection(self) -> None:
        """A FIN for a closed connection is in order."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.lose()
            await near.whenLost()
            await far.whenEOF()
            far.loseWrite()
            await far.whenLost()
            self.assertEqual(far.events, ["made", "eof", "written", "ConnectionDone"])

        return self.play(scenario())

    def test_loseWithUnreadInput(self) -> None:
        """A close with unread input is a reset; a FIN that got through before is still read."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.pause()
            far.write(b"unread")
            await self.rest()
            near.write(b"reply")
            near.lose()
            await near.whenLost()
            await far.whenEOF()
            await self.rest()
            self.assertEqual(near.events, ["made", "ConnectionDone"])
            self.assertEqual(far.events, ["made", "data", "eof"])
            far.write(b"more")
            await far.whenLost()
            self.assertEqual(far.events, ["made", "data", "eof", "ConnectionLost"])

        return self.play(scenario())

    def test_loseWithUnreadInputLosesTheReply(self) -> None:
        """A close with unread input drops what has not reached the other side yet."""

        async def scenario() -> None:
            near, far = await self.pair()
            near.transport.getHandle().setsockopt(
                socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * KERNEL_LOAD
            )
            near.pause()
            far.pause()
            far.write(b"unread")
            await self.rest()
            near.write(b"r" * KERNEL_LOAD)
            near.lose()
            await near.whenLost()
            self.assertEqual(near.events, ["made", "ConnectionDone"])
            far.resume()
            await far.whenLost()
            self.assertLess(len(far.received), KERNEL_LOAD)
            self.assertEqual(far.events, ["made", "data", "ConnectionLost"])

        return self.play(scenario())

    def test_failingProtocol(self) -> None:
        """A protocol that raises loses its connection, with what it raised."""

        class Failing(Peer):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        async def scenario() -> None:
            near, far = await self.pair(far=Failing)
            near.write(b"x")
            await far.whenLost()
            await near.whenEOF()
            self.assertEqual(far.events, ["made", "ZeroDivisionError"])
            self.assertEqual(near.events, ["made", "eof"])
            self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

        return self.play(scenario())

    flushLoggedErrors: Any

    # Back-pressure

    def test_backPressure(self) -> None:
        """A reader that pauses makes the writer's producer pause; reading on resumes it."""

        async def scenario() -> None:
            near, far = await self.pair()
            recorder = Recorder()
            far.pause()
            near.transport.registerProducer(recorder, True)
            near.write(b"x" * 65_536)
            self.assertEqual(recorder.asked, [])
            near.write(b"x" * (FLOOD - 65_536))
            self.assertEqual(recorder.asked, ["pause"])
            await self.rest()
            self.assertEqual(recorder.asked, ["pause"])
            far.resume()
            await recorder.resumed
            await far.whenReceived(FLOOD)
            self.assertEqual(recorder.asked, ["pause", "resume"])
            near.transport.unregisterProducer()

        return self.play(scenario())

    def test_producerIsStopped(self) -> None:
        """A producer is stopped when its consumer's connection is lost."""

        async def scenario() -> None:
            near, far = await self.pair()
            recorder = Recorder()
            near.transport.registerProducer(recorder, True)
            far.abort()
            await near.whenLost()
            self.assertEqual(recorder.asked, ["stop"])

        return self.play(scenario())

    # Beginnings

    def test_addresses(self) -> None:
        """Each side's host is the other side's peer."""

        async def scenario() -> None:
            near, far = await self.pair()
            self.assertEqual(near.transport.getHost(), far.transport.getPeer())
            self.assertEqual(near.transport.getPeer(), far.transport.getHost())
            self.assertEqual(near.transport.getHost().host, LOOPBACK)

        return self.play(scenario())

    def test_targetSpeaksFirst(self) -> None:
        """What is written at once arrives."""

        class Greeting(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.write(b"220 ready")

        async def scenario() -> None:
            near, _ = await self.pair(far=Greeting)
            await near.whenReceived(9)
            self.assertEqual(near.events, ["made", "data"])

        return self.play(scenario())

    def test_refused(self) -> None:
        """Connecting to a port that nobody listens on is refused."""

        async def scenario() -> None:
            gone = self.reactor.listenTCP(0, PeerFactory(), interface=LOOPBACK)
            number = gone.getHost().port
            await gone.stopListening()
            factory = PeerFactory()
            connector = self.reactor.connectTCP(LOOPBACK, number, factory)
            self.assertEqual(factory.failures, [])
            while not factory.failures:
                await deferLater(self.reactor, 0)
            (failure,) = factory.failures
            self.assertEqual(failure.type, Refused)
            self.assertEqual(failure.value.osError, errno.ECONNREFUSED)
            self.assertEqual(connector.state, "disconnected")

        return self.play(scenario())

    def test_portInUse(self) -> None:
        """Two cannot listen on one port."""
        number = self.listen(PeerFactory())
        with self.assertRaises(CannotListenError) as caught:
            self.reactor.listenTCP(number, PeerFactory(), interface=LOOPBACK)
        self.assertEqual(caught.exception.socketError.args[0], errno.EADDRINUSE)

    def test_notBuilt(self) -> None:
        """A connection for which no protocol is built is closed."""

        class Refusing(PeerFactory):
            def buildProtocol(self, addr: object) -> Any:
                return None

        async def scenario() -> None:
            factory = PeerFactory()
            self.reactor.connectTCP(LOOPBACK, self.listen(Refusing()), factory)
            while not factory.peers:
                await deferLater(self.reactor, 0)
            await factory.peer.whenEOF()
            self.assertEqual(factory.peer.events, ["made", "eof"])
            factory.peer.lose()
            await factory.peer.whenLost()

        return self.play(scenario())

    # Datagrams

    def test_datagrams(self) -> None:
        """A datagram arrives whole with its sender's address, or cut to what is read."""

        async def scenario() -> None:
            one, two = Datagrams(), Datagrams()
            sender = self.listenUDP(one)
            receiver = self.listenUDP(two, maxPacketSize=4)
            sender.write(b"datagram", (LOOPBACK, receiver.getHost().port))
            await two.next
            self.assertEqual(two.received, [(b"data", (LOOPBACK, sender.getHost().port))])

        return self.play(scenario())

    def test_datagramToNobody(self) -> None:
        """A datagram for nobody is lost; only a connected sender hears of it."""

        async def scenario() -> None:
            nobody = self.listenUDP(DatagramProtocol())
            number = nobody.getHost().port
            await nobody.stopListening()
            plain, connected = Datagrams(), Datagrams()
            self.listenUDP(plain).write(b"x", (LOOPBACK, number))
            port = self.listenUDP(connected)
            port.connect(LOOPBACK, number)
            port.write(b"x")
            await connected.next
            await self.rest()
            self.assertEqual([plain.refusals, connected.refusals], [0, 1])

        return self.play(scenario())

    def test_datagramTooLong(self) -> None:
        """A datagram of more octets than IPv4 can carry is an error."""

        async def scenario() -> None:
            protocol = Datagrams()
            port = self.listenUDP(protocol, maxPacketSize=65_507)
            own = (LOOPBACK, port.getHost().port)
            port.write(b"x" * 65_507, own)
            await protocol.next
            self.assertEqual(len(protocol.received[0][0]), 65_507)
            with self.assertRaises(MessageLengthError):
                port.write(b"x" * 65_508, own)

        return self.play(scenario())


class InMemoryTests(Scenarios, SynchronousTestCase):
    """The scenarios in memory."""

    def setUp(self) -> None:
        """Make a reactor whose sender's buffer is like a kernel's, large."""
        self.reactor = MemoryReactor(sendBuffer=2 * KERNEL_LOAD)
        self.addCleanup(self.assertNothingLeft)

    def assertNothingLeft(self) -> None:
        """Nothing outlives a scenario."""
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def play(self, scenario: Coroutine[Deferred[Any], Any, None]) -> None:
        """Let the scenario come to its end."""
        playing = Deferred.fromCoroutine(scenario)
        self.reactor.advance(0)
        self.successResultOf(playing)


class OnLoopbackTests(Scenarios, TestCase):
    """The scenarios over loopback sockets, with the reactor that the tests run in."""

    timeout = 30

    def setUp(self) -> None:
        """Take the real reactor."""
        from twisted.internet import reactor

        self.reactor = reactor

    def play(self, scenario: Coroutine[Deferred[Any], Any, None]) -> Deferred[None]:
        """Wait for the scenario's end, and for the sockets that it leaves to close."""
        playing = Deferred.fromCoroutine(scenario)
        self.addCleanup(deferLater, self.reactor, 0)
        return playing
