"""What transports seldom or never ask of a socket, but splices and their kin may."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.internet.error import MessageLengthError
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.testing import (
    DatagramSocket,
    ListeningSocket,
    MemoryReactor,
    MemorySocket,
    Peer,
    StreamSocket,
)


class StreamTests(SynchronousTestCase):
    """Streams without transports."""

    def setUp(self) -> None:
        """Connect two."""
        self.reactor = MemoryReactor(window=10, sendBuffer=10)
        self.listener = ListeningSocket(self.reactor.network, socket.AF_INET)
        self.listener.bind(("192.0.2.5", 80))
        self.listener.listen(5)
        self.near = StreamSocket(self.reactor.network, socket.AF_INET)
        self.assertEqual(self.near.connect_ex(("192.0.2.5", 80)), errno.EINPROGRESS)
        self.assertEqual(self.near.connect_ex(("192.0.2.5", 80)), errno.EALREADY)
        self.assertEqual(self.near.poll(), 0)
        self.reactor.turn()
        self.assertEqual(self.near.connect_ex(("192.0.2.5", 80)), errno.EISCONN)
        self.far, address = self.listener.accept()
        self.assertEqual(address, self.near.getsockname())

    def assertFails(self, number: int, function: Any, *arguments: object) -> None:
        """Assert that a call fails with an errno."""
        with self.assertRaises(OSError) as caught:
            function(*arguments)
        self.assertEqual(caught.exception.errno, number)

    def test_sendAndReceive(self) -> None:
        """Octets are taken as far as there is room, and given as they are wanted."""
        self.assertFails(errno.EWOULDBLOCK, self.far.recv, 5)
        self.assertEqual(self.near.send(b"0123456789"), 10)
        self.assertEqual(self.near.send(memoryview(b"abcdefghijkl")), 10)
        self.assertFails(errno.EWOULDBLOCK, self.near.send, b"x")
        buffer = bytearray(4)
        self.assertEqual(self.far.recv_into(buffer), 4)
        self.assertEqual(self.far.recv_into(buffer, 2), 2)
        self.assertEqual(buffer, b"4523")
        self.assertEqual(self.far.recv(100), b"6789abcdef")
        self.assertEqual(self.far.recv(100), b"ghij")
        self.assertEqual(self.near.send(b""), 0)

    def test_end(self) -> None:
        """After its FIN a side cannot send; the other reads the end again and again."""
        self.near.shutdown(socket.SHUT_RD)
        self.near.shutdown(socket.SHUT_WR)
        self.assertFails(errno.EPIPE, self.near.send, b"x")
        self.assertEqual([self.far.recv(1), self.far.recv(1)], [b"", b""])

    def test_reset(self) -> None:
        """A reset is an error once, and an end from then on."""
        self.far.send(b"unread")
        self.near.close()
        self.assertFails(errno.ECONNRESET, self.far.recv, 1)
        self.assertEqual(self.far.recv(1), b"")
        self.assertFails(errno.EPIPE, self.far.send, b"x")
        self.assertFails(errno.ENOTCONN, self.far.shutdown, socket.SHUT_WR)
        self.far.close()

    def test_resetTakenBySend(self) -> None:
        """A reset is told to whoever asks first; two resets are one."""
        self.far.send(b"unread")
        self.near.send(b"unread")
        self.near.close()
        self.assertFails(errno.ECONNRESET, self.far.send, b"x")
        self.far.close()
        self.assertEqual(self.reactor.openConnections(), [])

    def test_flushedAfterClose(self) -> None:
        """What was sent before a close arrives, though the socket is gone."""
        self.near.send(b"0123456789")
        self.near.send(b"abc")
        self.near.close()
        self.near.close()
        self.assertEqual(self.near.fileno(), -1)
        self.assertEqual(self.far.recv(100), b"0123456789")
        self.assertEqual(self.far.recv(100), b"abc")
        self.assertEqual(self.far.recv(100), b"")

    def test_resetOfTheLingering(self) -> None:
        """What a closed socket was still sending is lost when octets come back."""
        self.near.send(b"0123456789")
        self.near.send(b"abc")
        self.near.close()
        self.far.send(b"x")
        self.assertEqual(self.far.recv(100), b"0123456789")
        self.assertFails(errno.ECONNRESET, self.far.recv, 100)

    def test_listenerCloses(self) -> None:
        """A connection that nobody accepted is reset when the listener goes."""
        late = StreamSocket(self.reactor.network, socket.AF_INET)
        late.connect_ex(("192.0.2.5", 80))
        self.reactor.turn()
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.assertFails(errno.ECONNRESET, late.recv, 1)

    def test_nothingToAccept(self) -> None:
        """Accepting when nobody connects does not block."""
        self.assertFails(errno.EWOULDBLOCK, self.listener.accept)

    def test_unconnected(self) -> None:
        """A fresh socket has neither ends nor a way to end."""
        fresh = StreamSocket(self.reactor.network, socket.AF_INET)
        self.assertFails(errno.ENOTCONN, fresh.getpeername)
        self.assertFails(errno.ENOTCONN, fresh.shutdown, socket.SHUT_WR)
        self.assertEqual(fresh.getsockname(), ("0.0.0.0", 0))
        self.assertEqual(repr(fresh), "<connection unbound>")
        fresh.close()
        six = StreamSocket(self.reactor.network, socket.AF_INET6)
        self.assertEqual(six.getsockname(), ("::", 0, 0, 0))

    def test_otherFamily(self) -> None:
        """An address of the other family, or none at all, is an error."""
        fresh = StreamSocket(self.reactor.network, socket.AF_INET)
        self.assertFails(errno.EAFNOSUPPORT, fresh.connect_ex, ("2001:db8::1", 80))
        self.assertFails(errno.EAFNOSUPPORT, fresh.connect_ex, ("example.com", 80))

    def test_descriptors(self) -> None:
        """A descriptor is good for nothing but telling sockets apart; it cannot block."""
        self.assertNotEqual(self.near.fileno(), self.far.fileno())
        self.assertFails(errno.EBADF, os.fstat, self.near.fileno())
        self.near.setblocking(False)
        self.assertRaises(ValueError, self.near.setblocking, True)
        self.assertNotIsInstance(self.near, socket.socket)

    def test_closedListenerForgotten(self) -> None:
        """A socket that was never listening is forgotten like one that was."""
        bound = ListeningSocket(self.reactor.network, socket.AF_INET)
        bound.listen(5)
        bound.close()
        self.assertNotIn(bound, self.reactor.listeners())
        self.assertIsInstance(bound, MemorySocket)


class Keeping(DatagramProtocol):
    """Keeps datagrams."""

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Any]] = []
        self.refusals = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Keep it."""
        self.received.append((datagram, addr))

    def connectionRefused(self) -> None:
        """Count it."""
        self.refusals += 1


class DatagramTests(SynchronousTestCase):
    """The network's datagrams."""

    def setUp(self) -> None:
        """Make a reactor with a receiver."""
        self.reactor = MemoryReactor()
        self.receiver = Keeping()
        self.there = ("192.0.2.53", 53)
        self.port: Any = self.reactor.listenUDP(53, self.receiver, interface="192.0.2.53")

    def sender(self, interface: str = "", protocol: DatagramProtocol | None = None) -> Any:
        """Make another port."""
        return self.reactor.listenUDP(5000, protocol or Keeping(), interface=interface)

    def test_fromEverywhere(self) -> None:
        """A port bound to all addresses sends from this host's, or from loopback."""
        local = Keeping()
        self.reactor.listenUDP(53, local, interface="127.0.0.1")
        sender = self.sender()
        sender.write(b"one", self.there)
        sender.write(b"two", ("127.0.0.1", 53))
        self.assertEqual(self.receiver.received, [])
        self.reactor.advance(0)
        self.assertEqual(self.receiver.received, [(b"one", ("192.0.2.1", 5000))])
        self.assertEqual(local.received, [(b"two", ("127.0.0.1", 5000))])

    def test_mapped(self) -> None:
        """A port bound to all of IPv6 speaks IPv4 in mapped addresses."""
        protocol = Keeping()
        sender = self.sender("::", protocol)
        sender.write(b"ping", ("::ffff:192.0.2.53", 53))
        self.reactor.advance(0)
        self.assertEqual(self.receiver.received, [(b"ping", ("192.0.2.1", 5000))])
        self.port.write(b"pong", ("192.0.2.1", 5000))
        self.reactor.advance(0)
        self.assertEqual(protocol.received, [(b"pong", ("::ffff:192.0.2.53", 53))])

    def test_routes(self) -> None:
        """A datagram may fail, vanish, or take its time."""
        sender = self.sender()
        self.reactor.route("192.0.2.53", silent=True)
        sender.write(b"vanishes", self.there)
        self.reactor.route("192.0.2.53", error=errno.ENETUNREACH)
        with self.assertRaises(OSError) as caught:
            sender.write(b"fails", self.there)
        self.assertEqual(caught.exception.errno, errno.ENETUNREACH)
        self.reactor.route("192.0.2.53", delay=0.2)
        sender.write(b"late", self.there)
        self.reactor.advance(0.1)
        self.assertEqual(self.receiver.received, [])
        self.reactor.advance(0.1)
        self.assertEqual([data for data, _ in self.receiver.received], [b"late"])

    def test_full(self) -> None:
        """What a port does not read in time is dropped."""
        self.reactor.network.datagramBuffer = 10
        self.port.stopReading()
        sender = self.sender()
        for data in (b"123456", b"789012", b"abc"):
            sender.write(data, self.there)
        self.reactor.advance(0)
        self.port.startReading()
        self.reactor.advance(0)
        self.assertEqual([data for data, _ in self.receiver.received], [b"123456", b"abc"])

    def test_connected(self) -> None:
        """A connected port hears nobody else, and is told when nobody is there."""
        protocol = Keeping()
        port = self.sender("192.0.2.9", protocol)
        port.connect("192.0.2.53", 53)
        self.port.write(b"heard", ("192.0.2.9", 5000))
        other = self.reactor.listenUDP(54, Keeping(), interface="192.0.2.53")
        other.write(b"not heard", ("192.0.2.9", 5000))  # type: ignore[attr-defined] # IListeningPort
        self.reactor.advance(0)
        self.assertEqual([data for data, _ in protocol.received], [b"heard"])
        self.port.stopListening()
        self.reactor.advance(0)
        port.stopReading()
        port.write(b"refused")
        self.reactor.advance(0)
        port.write(b"told")
        self.assertEqual(protocol.refusals, 1)

    def receiver_(self) -> Any:
        """Tell the receiver's port."""
        return self.receiver.transport

    def test_arrivingTooLate(self) -> None:
        """A datagram for a port that is closed meanwhile is lost."""
        item = DatagramSocket(self.reactor.network, socket.AF_INET)
        item.close()
        item.datagramArrived(b"x", self.reactor.network.endpoint(socket.AF_INET, self.there))
        self.assertEqual(item.poll() & 1, 0)

    def test_unbound(self) -> None:
        """A socket that sends before it is bound gets a port."""
        item = DatagramSocket(self.reactor.network, socket.AF_INET)
        self.assertEqual(item.sendto(b"x", self.there), 1)
        self.reactor.advance(0)
        self.assertEqual(self.receiver.received, [(b"x", ("192.0.2.1", item.getsockname()[1]))])
        with self.assertRaises(BlockingIOError):
            item.recvfrom(1)

    def test_longIPv6(self) -> None:
        """IPv6 carries more, and has its own end."""
        port = self.sender("2001:db8::1")
        port.write(b"x" * 65_527, ("2001:db8::2", 53))
        with self.assertRaises(MessageLengthError):
            port.write(b"x" * 65_528, ("2001:db8::2", 53))


class PeerTests(SynchronousTestCase):
    """What is asked of a peer more than once."""

    def test_waiting(self) -> None:
        """Each who waits is told, and told at once when it has already happened."""
        reactor = MemoryReactor()
        one, two = Peer(), Peer()
        reactor.connectPair(one, two)
        waiting = [two.whenReceived(3), two.whenReceived(5), two.whenEOF(), two.whenLost()]
        one.write(b"abc")
        reactor.advance(0)
        self.successResultOf(waiting[0])
        self.assertNoResult(waiting[1])
        one.abort()
        reactor.advance(0)
        self.assertNoResult(waiting[1])
        for each in (*waiting[2:], two.whenLost(), two.whenEOF(), two.whenReceived(3)):
            self.successResultOf(each)
        self.assertEqual([two.wasReset, two.wasClosed, one.wasReset], [True, False, False])
