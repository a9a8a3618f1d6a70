"""
How connections begin, octets flow and datagrams fly, in memory as over loopback sockets.
"""

from __future__ import annotations

import errno
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.error import ConnectionRefusedError as Refused
from twisted.internet.interfaces import IPushProducer
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.testing.worlds import FLOOD, LOOPBACK, InMemory, OnLoopback, World, played
from twisted_socks5.testing import Peer, PeerFactory


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
    """Keeps datagrams, and fires when the next has come."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.refusals = 0
        self.stopped = False
        self.next: Deferred[None] = Deferred()

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Keep it."""
        self.received.append((datagram, addr))
        self._fire()

    def connectionRefused(self) -> None:
        """Count it."""
        self.refusals += 1

    def stopProtocol(self) -> None:
        """Note it."""
        self.stopped = True

    def _fire(self) -> None:
        fired, self.next = self.next, Deferred()
        fired.callback(None)


class Flow(World):
    """Connecting, back-pressure and datagrams."""

    # Back-pressure

    @played
    async def test_backPressure(self) -> None:
        """A reader that pauses makes the writer's producer pause; reading on resumes it."""
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

    @played
    async def test_producerIsStopped(self) -> None:
        """A producer is stopped when its consumer's connection is lost."""
        near, far = await self.pair()
        recorder = Recorder()
        near.transport.registerProducer(recorder, True)
        far.abort()
        await near.whenLost()
        self.assertEqual(recorder.asked, ["stop"])

    # Beginnings

    @played
    async def test_addresses(self) -> None:
        """Each side's host is the other side's peer."""
        near, far = await self.pair()
        self.assertEqual(near.transport.getHost(), far.transport.getPeer())
        self.assertEqual(near.transport.getPeer(), far.transport.getHost())
        self.assertEqual(near.transport.getHost().host, LOOPBACK)

    @played
    async def test_targetSpeaksFirst(self) -> None:
        """What is written at once arrives."""

        class Greeting(Peer):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.write(b"220 ready")

        near, _ = await self.pair(far=Greeting)
        await near.whenReceived(9)
        self.assertEqual(near.events, ["made", "data"])

    @played
    async def test_refused(self) -> None:
        """Connecting to a port that nobody listens on is refused."""
        gone = self.reactor.listenTCP(0, PeerFactory(), interface=LOOPBACK)
        number = gone.getHost().port
        await gone.stopListening()
        factory = PeerFactory()
        connector = self.reactor.connectTCP(LOOPBACK, number, factory)
        self.assertEqual(factory.failures, [])
        while not factory.failures:
            await deferLater(self.reactor, 0)
        reason: Any = factory.failures[0].value
        self.assertEqual(type(reason), Refused)
        self.assertEqual(reason.osError, errno.ECONNREFUSED)
        self.assertEqual(connector.state, "disconnected")

    def test_portInUse(self) -> None:
        """Two cannot listen on one port."""
        number = self.listen(PeerFactory())
        with self.assertRaises(CannotListenError) as caught:
            self.reactor.listenTCP(number, PeerFactory(), interface=LOOPBACK)
        self.assertEqual(caught.exception.socketError.args[0], errno.EADDRINUSE)

    @played
    async def test_notBuilt(self) -> None:
        """A connection for which no protocol is built is closed."""

        class Refusing(PeerFactory):
            def buildProtocol(self, addr: object) -> Any:
                return None

        factory = PeerFactory()
        self.reactor.connectTCP(LOOPBACK, self.listen(Refusing()), factory)
        while not factory.peers:
            await deferLater(self.reactor, 0)
        await factory.peer.whenEOF()
        self.assertEqual(factory.peer.events, ["made", "eof"])
        factory.peer.lose()
        await factory.peer.whenLost()

    @played
    async def test_mapped(self) -> None:
        """A listener on all of IPv6 hears IPv4 as well, and sees mapped addresses."""
        listening, connecting = PeerFactory(), PeerFactory()
        port = self.reactor.listenTCP(0, listening, interface="::")
        self.addCleanup(port.stopListening)
        self.reactor.connectTCP(LOOPBACK, port.getHost().port, connecting)
        while not (listening.peers and connecting.peers):
            await deferLater(self.reactor, 0)
        near, far = connecting.peer, listening.peer
        await self.rest()
        self.assertEqual(far.transport.getPeer().host, f"::ffff:{LOOPBACK}")
        self.assertEqual(far.transport.getHost().host, f"::ffff:{LOOPBACK}")
        self.assertEqual(near.transport.getPeer().host, LOOPBACK)
        near.lose()
        await far.whenEOF()
        far.lose()
        await far.whenLost()

    @played
    async def test_resetBeforeAccepted(self) -> None:
        """A listener that goes resets the connections it has not accepted."""
        listening, connecting = PeerFactory(), PeerFactory()
        port = self.reactor.listenTCP(0, listening, interface=LOOPBACK)
        port.stopReading()
        self.reactor.connectTCP(LOOPBACK, port.getHost().port, connecting)
        while not connecting.peers:
            await deferLater(self.reactor, 0)
        await port.stopListening()
        await connecting.peer.whenLost()
        self.assertEqual(connecting.peer.events, ["made", "ConnectionLost"])
        self.assertEqual(listening.peers, [])

    @played
    async def test_failingFactory(self) -> None:
        """A factory that raises costs its connection, not the listener."""

        class Failing(PeerFactory):
            def buildProtocol(self, addr: object) -> Any:
                if not self.failures:
                    self.failures.append(Failure(ZeroDivisionError()))
                    raise ZeroDivisionError
                return super().buildProtocol(None)

        listening, connecting = Failing(), PeerFactory()
        number = self.listen(listening)
        self.reactor.connectTCP(LOOPBACK, number, connecting)
        while not (connecting.peers and listening.failures):
            await deferLater(self.reactor, 0)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        connecting.peer.abort()
        again = PeerFactory()
        self.reactor.connectTCP(LOOPBACK, number, again)
        while not (again.peers and listening.peers):
            await deferLater(self.reactor, 0)
        again.peer.abort()
        await listening.peer.whenLost()

    # Datagrams

    @played
    async def test_datagrams(self) -> None:
        """A datagram arrives whole with its sender's address, or cut to what is read."""
        one, two = Datagrams(), Datagrams()
        sender = self.listenUDP(one)
        receiver = self.listenUDP(two, maxPacketSize=4)
        sender.write(b"datagram", (LOOPBACK, receiver.getHost().port))
        await two.next
        self.assertEqual(two.received, [(b"data", (LOOPBACK, sender.getHost().port))])

    @played
    async def test_datagramToNobody(self) -> None:
        """A datagram for nobody is lost; poll and epoll reactors close a connected sender."""
        nobody = self.listenUDP(DatagramProtocol())
        number = nobody.getHost().port
        await nobody.stopListening()
        plain, connected = Datagrams(), Datagrams()
        sender, connectedSender = self.listenUDP(plain), self.listenUDP(connected)
        connectedSender.connect(LOOPBACK, number)
        for port in (sender, connectedSender):
            port.write(b"x", (LOOPBACK, number))
        await self.rest()
        self.assertEqual([plain.stopped, connected.stopped], [False, True])
        self.assertEqual([plain.refusals, connected.refusals], [0, 0])

    @played
    async def test_datagramTooLong(self) -> None:
        """A datagram of more octets than IPv4 can carry is an error."""
        protocol = Datagrams()
        port = self.listenUDP(protocol, maxPacketSize=65_507)
        own = (LOOPBACK, port.getHost().port)
        port.write(b"x" * 65_507, own)
        await protocol.next
        self.assertEqual(len(protocol.received[0][0]), 65_507)
        with self.assertRaises(MessageLengthError):
            port.write(b"x" * 65_508, own)


class FlowInMemoryTests(InMemory, Flow):
    """The same in memory."""


class FlowOnLoopbackTests(OnLoopback, Flow):
    """The same over loopback sockets."""
