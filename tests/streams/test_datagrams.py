"""UDP sockets of our own, on loopback."""

from __future__ import annotations

import errno
import socket
import sys
from typing import Any, cast

from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_socks5.streams import datagrams
from twisted_socks5.streams.datagrams import (
    MAX_TRAIN,
    MAX_TRAIN_OCTETS,
    DatagramPort,
    DatagramUDP,
)
from twisted_socks5.streams.receiving import BATCH, Run, Singly

LOOPBACK = "127.0.0.1"
LOOPBACK6 = "::1"

SECONDS = 10


class Watching:
    """A watch that a test looks through: who wants to read."""

    def __init__(self) -> None:
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """Note one."""
        self.readers.append(reader)

    def forget(self, reader: Any) -> None:
        """Note one no more."""
        if reader in self.readers:
            self.readers.remove(reader)


class Batches(DatagramProtocol):
    """Keeps batches."""

    def __init__(self) -> None:
        self.batches: list[list[Run]] = []
        self.stopped = 0

    def datagramsReceived(self, runs: list[Run]) -> None:
        """Keep a batch."""
        self.batches.append([(list(datagrams), source) for datagrams, source in runs])

    def stopProtocol(self) -> None:
        """Count the ends."""
        self.stopped += 1


class Singles(DatagramProtocol):
    """Keeps datagrams; stops at one that says so."""

    def __init__(self) -> None:
        self.received: list[bytes] = []
        self.stopped = 0

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        """Keep a datagram."""
        self.received.append(datagram)
        if datagram == b"stop":
            cast(DatagramPort, self.transport).stopListening()
        if datagram == b"break":
            raise ZeroDivisionError("of the protocol")

    def stopProtocol(self) -> None:
        """Count the ends."""
        self.stopped += 1


class PortCase(SynchronousTestCase):
    """A port, and a plain socket that speaks with it."""

    def setUp(self) -> None:
        """Make the watch."""
        self.watching = Watching()
        self.udp = DatagramUDP(cast(Any, self.watching))

    def open(self, protocol: DatagramProtocol, host: str = LOOPBACK) -> DatagramPort:
        """Open a port."""
        port = self.udp.listenUDP(0, protocol, host, 65536)
        self.addCleanup(port.stopListening)
        return port

    def plain(self, host: str = LOOPBACK) -> socket.socket:
        """Open a plain socket."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        opened = socket.socket(family, socket.SOCK_DGRAM)
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
        opened.bind((host, 0))
        opened.settimeout(SECONDS)
        self.addCleanup(opened.close)
        return opened


class ReceivingTests(PortCase):
    """What comes."""

    def test_batch(self) -> None:
        """What has come is handed on together, in its order, with its sources."""
        protocol = Batches()
        port = self.open(protocol)
        verifyObject(IListeningPort, port)
        one, two = self.plain(), self.plain()
        host = port.getHost()
        for sender, datagram in ((one, b"a"), (two, b""), (one, b"c" * 60000)):
            sender.sendto(datagram, (host.host, host.port))
        port.doRead()
        sources = [one.getsockname(), two.getsockname(), one.getsockname()]
        expected = list(zip([[b"a"], [b""], [b"c" * 60000]], sources, strict=True))
        self.assertEqual(protocol.batches, [expected])
        port.doRead()
        self.assertEqual(len(protocol.batches), 1)

    def test_turns(self) -> None:
        """A flood is read in parts, so that others have their turns."""
        protocol = Batches()
        port = self.open(protocol)
        sender, host = self.plain(), port.getHost()
        for _ in range(BATCH + 1):
            sender.sendto(b"x", (host.host, host.port))
        port.doRead()
        port.doRead()
        self.assertEqual([len(run[0]) for (run,) in protocol.batches], [BATCH, 1])

    def test_ipv6(self) -> None:
        """A source is host and port in either family."""
        protocol = Batches()
        port = self.open(protocol, LOOPBACK6)
        sender, host = self.plain(LOOPBACK6), port.getHost()
        self.assertEqual((type(host).__name__, host.type), ("IPv6Address", "UDP"))
        sender.sendto(b"x", (host.host, host.port))
        port.doRead()
        self.assertEqual(protocol.batches, [[([b"x"], sender.getsockname()[:2])]])

    def test_singles(self) -> None:
        """Any other protocol is called for each, and no more once it has stopped."""
        protocol = Singles()
        port = self.open(protocol)
        sender, host = self.plain(), port.getHost()
        for datagram in (b"a", b"stop", b"b"):
            sender.sendto(datagram, (host.host, host.port))
        port.doRead()
        self.assertEqual((protocol.received, protocol.stopped), ([b"a", b"stop"], 1))

    def test_brokenProtocol(self) -> None:
        """One that raises is closed, and the log says why."""
        protocol = Singles()
        port = self.open(protocol)
        sender, host = self.plain(), port.getHost()
        sender.sendto(b"break", (host.host, host.port))
        port.doRead()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual((protocol.stopped, port.fileno()), (1, -1))


class SendingTests(PortCase):
    """What goes."""

    def setUp(self) -> None:
        """Look at the log."""
        super().setUp()
        self.said: list[str] = []
        self.patch(datagrams._log, "warn", self.said.append)
        datagrams._refused.cache_clear()
        self.addCleanup(datagrams._refused.cache_clear)

    def train(self, datagrams: list[bytes], host: str = LOOPBACK) -> list[bytes]:
        """Send a train, and say what arrives."""
        port, receiver = self.open(Batches(), host), self.plain(host)
        self.assertTrue(port.writeTrain(datagrams, len(datagrams[0]), receiver.getsockname()[:2]))
        return [receiver.recv(65536) for _ in datagrams]

    def test_write(self) -> None:
        """One goes as it is."""
        port, receiver = self.open(Batches()), self.plain()
        port.write(b"one", receiver.getsockname())
        got, source = receiver.recvfrom(65536)
        self.assertEqual((got, source[1]), (b"one", port.getHost().port))

    def test_train(self) -> None:
        """Several go at once, and arrive as they were."""
        for host in (LOOPBACK, LOOPBACK6):
            for count, length in ((2, 1), (3, 1400), (MAX_TRAIN, 1000), (2, 32000)):
                datagrams = [bytes((number,)) * length for number in range(count)]
                self.assertEqual(self.train(datagrams, host), datagrams)

    def test_tooMuch(self) -> None:
        """More than the kernel takes at once is not sent at all."""
        port, receiver = self.open(Batches()), self.plain()
        receiver.settimeout(0.01)
        for train in ([b"x"] * 1000, [b"x" * 1000] * 66):
            self.assertFalse(port.writeTrain(train, len(train[0]), receiver.getsockname()))
        self.assertRaises(TimeoutError, receiver.recv, 65536)

    def refusing(self, number: int) -> tuple[DatagramPort, list[int]]:
        """Make a port whose kernel refuses trains, and count what it is asked for."""
        port, asked = self.open(Batches()), []

        class Refusing:
            def setsockopt(self, *args: object) -> None:
                """Trains are known."""

            def sendmsg(self, datagrams: list[bytes], *args: object) -> int:
                asked.append(len(datagrams[0]))
                raise OSError(number, "refused")

            def close(self) -> None:
                """Nothing to close."""

        port._socket.close()
        port._socket = cast(socket.socket, Refusing())
        return port, asked

    def test_notSoLong(self) -> None:
        """What would have to be fragmented is not tried again; what is shorter is."""
        for number in (errno.EINVAL, errno.EMSGSIZE):
            port, asked = self.refusing(number)
            for length in (1400, 1400, 1500, 1399, 1400, 1399, 1):
                self.assertFalse(port.writeTrain([b"x" * length] * 2, length, (LOOPBACK, 9)))
            self.assertEqual(asked, [1400, 1399, 1])

    def test_notNow(self) -> None:
        """A full buffer says nothing of the next time; a device that can't is believed."""
        for number, times, said in ((errno.EAGAIN, 3, 0), (errno.EIO, 1, 1), (errno.EIO, 1, 1)):
            port, asked = self.refusing(number)
            for _ in range(3):
                self.assertFalse(port.writeTrain([b"x"] * 2, 1, (LOOPBACK, 9)))
            self.assertEqual((len(asked), len(self.said)), (times, said))

    def test_otherSystem(self) -> None:
        """On another system the option may mean anything, and is not tried."""
        self.patch(sys, "platform", "freebsd14")
        port = self.open(Batches())
        self.assertFalse(port.writeTrain([b"x"] * 2, 1, (LOOPBACK, 9)))

    def test_oldKernel(self) -> None:
        """Where the kernel does not know the option, nothing is sent with it."""

        class Old(socket.socket):
            def setsockopt(self, *args: Any) -> None:
                raise OSError(errno.ENOPROTOOPT, "unknown")

        bound = Old(socket.AF_INET, socket.SOCK_DGRAM)
        port = DatagramPort(cast(Any, self.watching), bound, Batches(), Singly())
        for _ in range(2):
            self.assertFalse(port.writeTrain([b"x"] * 2, 1, (LOOPBACK, 9)))
        self.assertEqual(len(self.said), 1)
        bound.close()

    def test_bounds(self) -> None:
        """What is promised to be possible is."""
        self.assertEqual(len(self.train([b"x" * (MAX_TRAIN_OCTETS // MAX_TRAIN)] * MAX_TRAIN)), 64)


class ClosingTests(PortCase):
    """The end."""

    def test_stop(self) -> None:
        """Stopping closes at once, and once."""
        protocol = Batches()
        port = self.open(protocol)
        self.assertEqual(self.watching.readers, [port])
        for _ in range(2):
            self.assertIsNone(self.successResultOf(port.stopListening()))
        self.assertEqual((self.watching.readers, protocol.stopped, port.fileno()), ([], 1, -1))

    def test_lost(self) -> None:
        """When the watch can't go on, neither can the port."""
        protocol = Batches()
        port = self.open(protocol)
        port.connectionLost(Failure(OSError("no more")))
        self.assertEqual((protocol.stopped, port.fileno()), (1, -1))

    def test_taken(self) -> None:
        """A port that is taken can't be bound, nor one of nobody's address."""
        port = self.open(Batches())
        taken = port.getHost().port
        for host, number in ((LOOPBACK, taken), ("192.0.2.1", 0)):
            error = self.assertRaises(
                CannotListenError, self.udp.listenUDP, number, Batches(), host
            )
            self.assertIsInstance(error.socketError, OSError)

    def test_blocking(self) -> None:
        """No socket blocks, also where that takes a call of its own."""
        for kind in (datagrams._KIND, socket.SOCK_DGRAM):
            self.patch(datagrams, "_KIND", kind)
            self.assertFalse(self.open(Batches()).getHandle().getblocking())

    def test_noDescriptors(self) -> None:
        """Where there is no descriptor, that is said as well."""

        def none(*args: object) -> None:
            raise OSError(errno.EMFILE, "too many")

        self.patch(socket, "socket", none)
        error = self.assertRaises(CannotListenError, self.udp.listenUDP, 0, Batches(), LOOPBACK)
        self.assertEqual(error.socketError.errno, errno.EMFILE)
