"""The UDP relay in memory: its sockets, and what becomes of what cannot be sent."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, cast

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IListeningPort, ISystemHandle
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_socks5.relay.legs import BUFFER, MAX_DATAGRAM, ClientLeg
from twisted_socks5.relay.udp import Endpoint, Route, UDPRelay
from twisted_socks5.testing import DatagramSocket, MemoryReactor

PROXY = "192.0.2.10"
CLIENT = "192.0.2.66"
TARGET = "203.0.113.5"
TARGET6 = "2001:db8:5::5"


class Mailbox(DatagramProtocol):
    """Somebody's UDP socket; it keeps what comes."""

    noisy = False
    transport: Any

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Endpoint]] = []

    def datagramReceived(self, datagram: bytes, addr: Endpoint) -> None:
        """Keep it."""
        self.received.append((datagram, addr))


class Pairing:
    """
    An addressing for tests: everything goes to one target, and every answer to one client.

    @ivar route: where to; L{None} drops.
    @ivar client: the client; L{None} drops.
    @ivar problem: is raised.
    """

    def __init__(self) -> None:
        self.route: Route | None = Route(4, (TARGET, 53))
        self.client: Endpoint | None = None
        self.problem: Exception | None = None

    def outward(self, datagram: bytes, source: Endpoint) -> tuple[Route, bytes] | None:
        """Remember the client, and cut its mark off."""
        if self.problem is not None:
            raise self.problem
        self.client = source
        return None if self.route is None else (self.route, datagram[1:])

    def inward(self, source: Endpoint, count: int) -> tuple[bytes, Endpoint] | None:
        """Put a mark in front."""
        return None if self.client is None else (b">", self.client)


class PoorReactor(MemoryReactor):
    """A reactor that fails to open UDP sockets, from the n-th on."""

    def __init__(self, allowed: int, number: int = errno.EMFILE) -> None:
        super().__init__()
        self.allowed = allowed
        self.number = number
        self.asked: list[tuple[int, str]] = []

    def listenUDP(
        self, port: int, protocol: DatagramProtocol, interface: str = "", maxPacketSize: int = 8192
    ) -> IListeningPort:
        """Open one, or fail."""
        self.asked.append((port, interface))
        if len(self.asked) > self.allowed:
            error = OSError(self.number, os.strerror(self.number))
            raise CannotListenError(interface, port, error)
        return super().listenUDP(port, protocol, interface, maxPacketSize)


class RelayCase(SynchronousTestCase):
    """A relay with one client and targets in memory."""

    def setUp(self) -> None:
        """Open all of it."""
        self.begin(MemoryReactor())

    def begin(self, reactor: MemoryReactor, sources: dict[int, str] | None = None) -> None:
        """Open all of it with a reactor."""
        self.reactor = reactor
        self.lost: list[str] = []
        self.boxes: list[Any] = []
        self.relay = UDPRelay(reactor, sources or {}, lambda: self.lost.append("lost"))
        self.relay.addressing = self.pairing = Pairing()
        self.bound = self.relay.open(PROXY, (0,))
        self.addCleanup(self.end)

    def end(self) -> None:
        """Close all of it, and look for what is left."""
        self.relay.close()
        for box in self.boxes:
            box.stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def mailbox(self, host: str, port: int = 0) -> Mailbox:
        """Open somebody's socket."""
        box = Mailbox()
        self.boxes.append(MemoryReactor.listenUDP(self.reactor, port, box, host, MAX_DATAGRAM))
        return box

    def send(self, box: Mailbox, datagram: bytes, to: Endpoint | None = None) -> None:
        """Send as somebody."""
        box.transport.write(datagram, to or self.bound)
        self.reactor.advance(0)

    def sockets(self) -> list[DatagramSocket]:
        """Tell which sockets the relay has."""
        others = {box.getHost().port for box in self.boxes}
        found = cast(list[DatagramSocket], self.reactor.listeners())
        return [each for each in found if each.local is not None and each.local[1] not in others]


class RelayTests(RelayCase):
    """Datagrams that pass."""

    def test_bothWays(self) -> None:
        """One goes out, its answer comes in, from where the first was sent to; both count."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.send(client, b"<question")
        ((datagram, source),) = target.received
        self.assertEqual(datagram, b"question")
        self.send(target, b"reply", source)
        self.assertEqual(client.received, [(b">reply", self.bound)])
        relay = self.relay
        self.assertEqual((relay.sent, relay.received, relay.datagrams), (8, 5, 2))
        self.assertEqual(relay.drops, {})

    def test_oneSocketForAllTargets(self) -> None:
        """All targets of a family see one port; there is none before the first datagram."""
        client = self.mailbox(CLIENT)
        one, two = self.mailbox(TARGET, 53), self.mailbox("198.51.100.9", 54)
        self.assertEqual(len(self.sockets()), 1)
        self.send(client, b"<a")
        self.pairing.route = Route(4, ("198.51.100.9", 54))
        self.send(client, b"<b")
        self.assertEqual(one.received[0][1], two.received[0][1])
        self.assertEqual(len(self.sockets()), 2)

    def test_bothFamilies(self) -> None:
        """A family has a socket of its own."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET6, 53)
        self.send(client, b"<a")
        self.pairing.route = Route(6, (TARGET6, 53))
        self.send(client, b"<b")
        ((datagram, source),) = target.received
        self.assertEqual(datagram, b"b")
        self.assertEqual(len(self.sockets()), 3)
        self.send(target, b"c", source)
        self.assertEqual(client.received, [(b">c", self.bound)])

    def test_sources(self) -> None:
        """Targets are sent to from the address that was said."""
        self.end()
        self.begin(MemoryReactor(), {4: "192.0.2.77"})
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.send(client, b"<a")
        self.assertEqual(target.received[0][1][0], "192.0.2.77")

    def test_empty(self) -> None:
        """An empty payload is a datagram like others, both ways."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.send(client, b"<")
        self.send(target, b"", target.received[0][1])
        self.assertEqual(target.received[0][0], b"")
        self.assertEqual(client.received[0][0], b">")
        self.assertEqual((self.relay.sent, self.relay.received, self.relay.datagrams), (0, 0, 2))

    def test_largest(self) -> None:
        """The largest datagrams pass uncut; what no longer fits is dropped and counted."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.send(client, b"<" + bytes(65506))
        self.assertEqual(len(target.received[0][0]), 65506)
        source = target.received[0][1]
        self.send(target, bytes(65506), source)
        self.assertEqual(len(client.received[0][0]), 65507)
        self.send(target, bytes(65507), source)
        self.assertEqual(len(client.received), 1)
        self.assertEqual(self.relay.drops, {"too large": 1})

    def test_dropped(self) -> None:
        """What the addressing does not let pass is not sent."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.send(client, b"<a")
        source = target.received[0][1]
        self.pairing.route = None
        self.send(client, b"<b")
        self.pairing.client = None
        self.send(target, b"c", source)
        self.assertEqual(len(target.received), 1)
        self.assertEqual(client.received, [])


class LossTests(RelayCase):
    """What cannot be sent, and sockets that fail."""

    def test_sendErrors(self) -> None:
        """Errors of sending are counted by kind, and the next datagram passes."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        for number, kind in (
            (errno.EAGAIN, "send buffer full"),
            (errno.ENOBUFS, "send buffer full"),
            (errno.ENETUNREACH, os.strerror(errno.ENETUNREACH).lower()),
            (errno.EPERM, os.strerror(errno.EPERM).lower()),
        ):
            self.relay.drops.clear()
            self.reactor.route(TARGET, error=number)
            self.send(client, b"<a")
            self.assertEqual(self.relay.drops, {kind: 1})
        self.reactor.route(TARGET)
        self.send(client, b"<b")
        self.assertEqual([datagram for datagram, _ in target.received], [b"b"])
        self.assertEqual((self.relay.sent, self.relay.datagrams), (1, 1))

    def test_failing(self) -> None:
        """A route on which there is no way says so; one that is only busy does not."""
        client = self.mailbox(CLIENT)
        route = self.pairing.route
        assert route is not None
        self.reactor.route(TARGET, error=errno.EAGAIN)
        self.send(client, b"<a")
        self.send(client, b"<" + bytes(65506))
        self.assertFalse(route.failing)
        self.reactor.route(TARGET, error=errno.EHOSTUNREACH)
        self.send(client, b"<a")
        self.assertTrue(route.failing)

    def test_answerErrors(self) -> None:
        """The same towards the client."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.send(client, b"<a")
        source = target.received[0][1]
        self.reactor.route(CLIENT, error=errno.ENOBUFS)
        self.send(target, b"b", source)
        self.reactor.route(CLIENT)
        self.send(target, b"c", source)
        self.assertEqual([datagram for datagram, _ in client.received], [b">c"])
        self.assertEqual(self.relay.drops, {"send buffer full": 1})
        self.assertEqual(self.relay.received, 1)

    def test_refused(self) -> None:
        """Where nobody listens, and says so by ICMP, nothing ends."""
        client = self.mailbox(CLIENT)
        for _ in range(3):
            self.send(client, b"<a")
        self.assertEqual(self.relay.sent, 3)
        self.assertEqual(self.lost, [])

    def test_exception(self) -> None:
        """An exception on the way of one datagram is logged and is not the end of the others."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.pairing.problem = ZeroDivisionError("wrong")
        self.send(client, b"<a")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.pairing.problem = None
        self.send(client, b"<b")
        self.assertEqual([datagram for datagram, _ in target.received], [b"b"])

    def test_noTargetSocket(self) -> None:
        """Without a descriptor for targets datagrams are dropped, until there is one."""
        self.end()
        reactor = PoorReactor(1)
        self.begin(reactor)
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.send(client, b"<a")
        self.assertEqual(self.relay.drops, {"no socket": 1})
        reactor.allowed = 9
        self.send(client, b"<b")
        self.assertEqual([datagram for datagram, _ in target.received], [b"b"])

    def test_targetSocketLost(self) -> None:
        """A target's socket that breaks is replaced when it is needed again."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.send(client, b"<a")
        leg = self.relay._legs[4]
        leg.transport.connectionLost(None)  # type: ignore[union-attr]
        self.reactor.advance(0)
        self.assertEqual(len(self.sockets()), 1)
        self.send(client, b"<b")
        self.assertEqual([datagram for datagram, _ in target.received], [b"a", b"b"])
        self.assertEqual(self.lost, [])

    def test_clientSocketLost(self) -> None:
        """The client's cannot be replaced: whoever owns the relay is told."""
        self.relay._client.transport.connectionLost(None)  # type: ignore[union-attr]
        self.assertEqual(self.lost, ["lost"])

    def test_close(self) -> None:
        """Closing releases all sockets, tells nobody, and is for ever."""
        client, target = self.mailbox(CLIENT), self.mailbox(TARGET, 53)
        self.send(client, b"<a")
        self.relay.close()
        self.relay.close()
        self.reactor.advance(0)
        self.assertEqual(self.sockets(), [])
        self.assertEqual(self.lost, [])
        self.assertEqual(self.relay.send(Route(4, (TARGET, 53)), b"b"), "no socket")
        self.reactor.advance(0)
        self.assertEqual(len(target.received), 1)
        self.assertEqual(self.sockets(), [])


class PortTests(SynchronousTestCase):
    """Which port the client's leg gets."""

    def open(self, reactor: MemoryReactor, ports: tuple[int, ...]) -> Endpoint:
        """Open a client's leg among ports."""
        self.relay = UDPRelay(reactor, {}, lambda: None)
        self.addCleanup(self.relay.close)
        return self.relay.open(PROXY, ports)

    def test_nextFree(self) -> None:
        """Ports that are taken are passed over, in the order given."""
        reactor = MemoryReactor()
        for port in (5003, 5001):
            reactor.listenUDP(port, Mailbox(), PROXY)
        self.assertEqual(self.open(reactor, (5003, 5001, 5002, 5004)), (PROXY, 5002))

    def test_noneFree(self) -> None:
        """If all are taken, the error says so."""
        reactor = MemoryReactor()
        reactor.listenUDP(5001, Mailbox(), PROXY)
        error = self.assertRaises(CannotListenError, self.open, reactor, (5001,))
        self.assertEqual(error.socketError.errno, errno.EADDRINUSE)

    def test_noneToTry(self) -> None:
        """The same if there is none to try."""
        error = self.assertRaises(CannotListenError, self.open, MemoryReactor(), ())
        self.assertEqual(error.socketError.errno, errno.EADDRINUSE)

    def test_privileged(self) -> None:
        """A port that only root may have is passed over, too."""
        reactor = PoorReactor(0, errno.EACCES)
        self.assertRaises(CannotListenError, self.open, reactor, (53, 5001))
        self.assertEqual([port for port, _ in reactor.asked], [53, 5001])

    def test_hopeless(self) -> None:
        """What no other port would mend is not tried again."""
        reactor = PoorReactor(0)
        error = self.assertRaises(CannotListenError, self.open, reactor, (5001, 5002, 5003))
        self.assertEqual(error.socketError.errno, errno.EMFILE)
        self.assertEqual(len(reactor.asked), 1)


class Handle:
    """A socket whose buffers have a limit, above which asking fails."""

    def __init__(self, limit: int, size: int = 0) -> None:
        self.limit = limit
        self.sizes = {socket.SO_RCVBUF: size, socket.SO_SNDBUF: size}

    def getsockopt(self, level: int, name: int) -> int:
        """Tell a buffer's size."""
        return self.sizes[name]

    def setsockopt(self, level: int, name: int, value: int) -> None:
        """Set a buffer's size."""
        if value > self.limit:
            raise OSError(errno.ENOBUFS, "too much")
        self.sizes[name] = value

    def sendto(self, data: bytes, address: Endpoint) -> int:
        """Send nothing."""
        return len(data)


class Transport:
    """The least that a transport for datagrams is: it can write."""

    def __init__(self, problem: Exception | None = None) -> None:
        self.problem = problem
        self.written: list[tuple[bytes, Endpoint]] = []

    def write(self, data: bytes, address: Endpoint) -> None:
        """Take it, or fail."""
        if self.problem is not None:
            raise self.problem
        self.written.append((data, address))


@implementer(ISystemHandle)
class SocketTransport(Transport):
    """One with a socket."""

    def __init__(self, handle: Handle) -> None:
        super().__init__()
        self.handle = handle

    def getHandle(self) -> Handle:
        """Give the socket."""
        return self.handle


def legOn(transport: Transport) -> ClientLeg:
    """Make a leg on a transport."""
    leg = ClientLeg(cast(UDPRelay, None), lambda: None)
    leg.makeConnection(cast(Any, transport))
    return leg


class BufferTests(SynchronousTestCase):
    """The sockets' buffers."""

    def sizes(self, handle: Handle) -> set[int]:
        """Tell what a leg makes of a socket."""
        legOn(SocketTransport(handle))
        return set(handle.sizes.values())

    def test_enlarged(self) -> None:
        """Both are enlarged."""
        self.assertEqual(self.sizes(Handle(BUFFER)), {BUFFER})

    def test_refused(self) -> None:
        """Where that much is refused, less is asked for."""
        self.assertEqual(self.sizes(Handle(BUFFER // 3)), {BUFFER // 4})

    def test_notAtAll(self) -> None:
        """Where nothing is granted, it stays as it was."""
        self.assertEqual(self.sizes(Handle(1000)), {0})

    def test_neverShrunk(self) -> None:
        """A buffer that is large enough is left alone."""
        self.assertEqual(self.sizes(Handle(BUFFER * 4, BUFFER * 2)), {BUFFER * 2})


class TransportTests(SynchronousTestCase):
    """A transport that is not on a socket of this process does, too."""

    def test_write(self) -> None:
        """It is written to."""
        transport = Transport()
        self.assertEqual(legOn(transport).send(b"a", (TARGET, 53)), "")
        self.assertEqual(transport.written, [(b"a", (TARGET, 53))])

    def test_errors(self) -> None:
        """It fails in its own ways."""
        too_large = legOn(Transport(MessageLengthError()))
        self.assertEqual(too_large.send(b"a", (TARGET, 53)), "too large")
        nameless = legOn(Transport(OSError("of no number")))
        self.assertEqual(nameless.send(b"a", (TARGET, 53)), os.strerror(errno.EIO).lower())
