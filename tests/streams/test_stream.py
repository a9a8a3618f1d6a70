"""A stream as a transport: what is read, written and closed, in each order."""

from __future__ import annotations

import errno
import socket
import weakref
from typing import Any

from twisted.internet.address import IPv6Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IHalfCloseableDescriptor,
    IPushProducer,
    IReadWriteDescriptor,
    ISystemHandle,
    ITCPTransport,
)
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.streams.base import FAR, FLOOD, NEAR, Near, StreamCase
from twisted_socks5.streams.stream import describe
from twisted_socks5.testing import MemoryReactor, PlainPeer


class Bug(Exception):
    """What is wrong in a protocol."""


class Worse(BaseException):
    """What is not caught by mistake."""


class TransportTests(StreamCase):
    """What a protocol may ask of it."""

    def test_interfaces(self) -> None:
        """It is what it says."""
        self.connect()
        for interface in (
            ITCPTransport,
            IPushProducer,
            IReadWriteDescriptor,
            IHalfCloseableDescriptor,
            ISystemHandle,
        ):
            self.assertTrue(verifyObject(interface, self.stream))
        self.assertEqual(self.stream.logPrefix(), "Stream")
        self.assertFalse(hasattr(self.stream, "__dict__"))

    def test_ends(self) -> None:
        """It names its ends, of either family."""
        self.connect()
        self.assertEqual((self.stream.getHost(), self.stream.getPeer()), (NEAR, FAR))
        self.assertIs(self.stream.getHandle(), self.handle)
        one = IPv6Address("TCP", "2001:db8::1", 1)
        two = IPv6Address("TCP", "2001:db8::2", 2)
        _, handle = self.reactor.socketPair(one, two)
        stream = self.streamOn(handle)
        self.assertEqual((stream.getHost(), stream.getPeer()), (two, one))
        for each in list(self.reactor.network.sockets.values()):
            if each.family == socket.AF_INET6:
                each.close()

    def test_zone(self) -> None:
        """Who listens at our end of a connection within a link has to name the link."""
        for zone, host in ((0, "fe80::1"), (4, "fe80::1%4")):
            self.assertEqual(describe(("fe80::1", 80, 0, zone)), IPv6Address("TCP", host, 80))

    def test_options(self) -> None:
        """TCP's options can be set and read."""
        self.connect()
        stream = self.stream
        for value in (True, False):
            stream.setTcpNoDelay(value)
            stream.setTcpKeepAlive(value)
            self.assertEqual((stream.getTcpNoDelay(), stream.getTcpKeepAlive()), (value, value))

    def test_closed(self) -> None:
        """Once it is closed there is no socket to ask; all that needs none does nothing."""
        self.connect()
        stream = self.stream
        stream.loseConnection()
        self.settle()
        for ask in (
            stream.getHandle,
            stream.getHost,
            stream.getPeer,
            stream.getTcpNoDelay,
            stream.getTcpKeepAlive,
            lambda: stream.setTcpNoDelay(True),
            lambda: stream.setTcpKeepAlive(True),
        ):
            error = self.assertRaises(OSError, ask)
            self.assertEqual(error.errno, errno.EBADF)
        stream.write(b"x")
        stream.writeSequence([b"x"])
        stream.writeSequence([])
        stream.loseWriteConnection()
        stream.loseConnection()
        stream.abortConnection()
        stream.pauseProducing()
        stream.resumeProducing()
        stream.unregisterProducer()
        stream.readAhead()
        stream.connectionLost(Failure(ConnectionLost()))
        self.assertFalse(stream.flushed)
        self.assertEqual(self.near.events, ["made", "ConnectionDone"])

    def test_collectable(self) -> None:
        """A stream that has ended is gone when nobody wants it any more."""
        reactor = MemoryReactor()
        _, handle = reactor.socketPair()
        self.reactor, self.near = reactor, Near()
        stream = self.streamOn(handle)
        self.near.makeConnection(stream)
        ref = weakref.ref(stream)
        stream.connectionLost(Failure(ConnectionDone()))
        self.near.transport = None
        del stream
        self.assertIsNone(ref())


class ReadTests(StreamCase):
    """What comes in."""

    def test_octets(self) -> None:
        """Octets, as they come; then the peer's FIN, once."""
        self.connect()
        self.far.write(b"one")
        self.settle()
        self.far.write(b"two")
        self.far.loseWrite()
        self.settle()
        self.assertEqual(self.near.received, b"onetwo")
        self.assertEqual(self.near.events, ["made", "data", "eof"])
        self.stream.write(b"answer")
        self.settle()
        self.assertEqual(self.far.received, b"answer")

    def test_noHalfClose(self) -> None:
        """For a protocol that knows no half-close a FIN is the end."""
        self.connect(PlainPeer())
        self.far.write(b"one")
        self.far.loseWrite()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "ConnectionDone"])

    def test_reset(self) -> None:
        """A reset is the end, behind the octets that came before it."""
        self.connect()
        self.far.write(FLOOD[:200_000])
        self.reactor.turn()
        self.settle()
        self.far.abort()
        self.settle()
        self.assertOctets(self.near.received, FLOOD[:200_000])
        self.assertEqual(self.near.events, ["made", "data", "ConnectionLost"])

    def test_paused(self) -> None:
        """Nothing is read while it is paused."""
        self.connect()
        self.stream.pauseProducing()
        self.far.write(b"one")
        self.settle()
        self.assertEqual(self.near.received, b"")
        self.stream.resumeProducing()
        self.settle()
        self.assertEqual(self.near.received, b"one")

    def test_stopProducing(self) -> None:
        """To stop producing is to close."""
        self.connect()
        self.stream.stopProducing()
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionDone"])

    def test_closesMeanwhile(self) -> None:
        """A protocol may close, or abort, in the midst of what it is told."""
        for how, end in (("loseConnection", "Done"), ("abortConnection", "Aborted")):
            for event in ("data", "eof"):
                self.connect()
                self.near.on[event] = getattr(self.stream, how)
                self.far.write(b"one")
                self.far.loseWrite()
                self.settle()
                self.assertEqual(self.near.events[-1], f"Connection{end}")

    def test_closesWithinItself(self) -> None:
        """Where its writing side is shut, to close is to be closed before that returns."""
        self.connect()
        self.stream.loseWriteConnection()
        order: list[str] = []

        def close() -> None:
            order.append("closes")
            self.stream.loseConnection()
            order.append("closed")

        self.near.on["data"] = close
        self.near.on["ConnectionDone"] = lambda: order.append("lost")
        self.far.write(b"one")
        self.settle()
        self.assertEqual(order, ["closes", "lost", "closed"])
        self.assertEqual(self.near.events, ["made", "written", "data", "ConnectionDone"])

    def test_raises(self) -> None:
        """A protocol that raises loses its connection."""
        self.connect()

        def fail() -> None:
            raise Bug

        self.near.on["data"] = fail
        self.far.write(b"one")
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)
        self.assertEqual(self.stream.fileno(), -1)
        self.near.events = [*self.near.events[:2], "ConnectionLost"]


class ReadAheadTests(StreamCase):
    """Reading before the reactor has said that there is anything."""

    def test_octets(self) -> None:
        """Octets that are there are read at once, and a FIN."""
        self.connect(read=False)
        self.far.write(b"one")
        self.settle()
        self.stream.readAhead()
        self.assertEqual(self.near.received, b"one")
        self.stream.readAhead()
        self.assertEqual(self.near.events, ["made", "data"])
        self.far.loseWrite()
        self.settle()
        self.stream.readAhead()
        self.assertEqual(self.near.events, ["made", "data", "eof"])

    def test_reset(self) -> None:
        """A reset that is there is told at once."""
        self.connect(read=False)
        self.far.abort()
        self.settle()
        self.stream.readAhead()
        self.assertEqual(self.near.events, ["made", "ConnectionLost"])

    def test_notWanted(self) -> None:
        """Nothing is read of what is being closed."""
        for how in ("loseConnection", "abortConnection"):
            self.connect(read=False)
            self.far.write(b"one")
            self.settle()
            getattr(self.stream, how)()
            self.stream.readAhead()
            self.assertEqual(self.near.received, b"")

    def test_raises(self) -> None:
        """A protocol that raises, at whatever it is told, ends its connection and no more."""
        for event in ("data", "eof", "ConnectionLost"):
            self.connect(read=False)

            def fail() -> None:
                raise Worse

            self.near.on[event] = fail
            if event == "data":
                self.far.write(b"one")
            elif event == "eof":
                self.far.loseWrite()
            else:
                self.far.abort()
            self.settle()
            self.stream.readAhead()
            self.assertEqual(self.stream.fileno(), -1)
            self.assertEqual(len(self.flushLoggedErrors(Worse)), 1)
            self.near.events = ["made", "ConnectionLost"]

    def test_raisesAgain(self) -> None:
        """Nor does it help to raise at the end as well."""
        self.connect(read=False)

        def fail() -> None:
            raise Worse

        self.near.on["data"] = self.near.on["Worse"] = fail
        self.far.write(b"one")
        self.settle()
        self.stream.readAhead()
        self.assertEqual(len(self.flushLoggedErrors(Worse)), 2)
        self.near.events = ["made", "ConnectionLost"]


class WriteTests(StreamCase):
    """What goes out."""

    def test_atOnce(self) -> None:
        """What the kernel takes is sent within the call."""
        self.connect()
        self.stream.write(b"one")
        self.assertEqual(self.handle.octetsSent, 3)
        self.stream.writeSequence([b"two", b"", b"three"])
        self.assertEqual(self.handle.octetsSent, 11)
        self.assertTrue(self.stream.flushed)
        self.settle()
        self.assertEqual(self.far.received, b"onetwothree")

    def test_queued(self) -> None:
        """What it doesn't take is sent later, in order."""
        self.connect(window=100, sendBuffer=100)
        self.far.pause()
        self.stream.write(FLOOD[:1000])
        self.assertFalse(self.stream.flushed)
        self.stream.write(FLOOD[1000:1001])
        self.stream.writeSequence([FLOOD[1001:1500], FLOOD[1500:2000]])
        self.stream.write(b"")
        self.settle()
        self.assertEqual(self.handle.octetsSent, 200)
        self.far.resume()
        self.settle()
        self.assertOctets(self.far.received, FLOOD[:2000])
        self.assertTrue(self.stream.flushed)

    def test_nothing(self) -> None:
        """To write nothing is nothing; of nothing in pieces the queue is looked at."""
        self.connect()
        self.stream.write(b"")
        self.assertTrue(self.stream.flushed)
        self.stream.writeSequence([])
        self.assertFalse(self.stream.flushed)
        self.settle()
        self.assertTrue(self.stream.flushed)

    def test_noText(self) -> None:
        """Text is no octets."""
        self.connect()
        self.assertRaises(TypeError, self.stream.write, "text")

    def test_afterwards(self) -> None:
        """Nothing is written behind a FIN, or while it is aborted."""
        self.connect()
        self.stream.loseWriteConnection()
        self.stream.write(b"late")
        self.settle()
        self.assertEqual((self.far.received, self.far.eof), (b"", True))
        self.connect()
        self.stream.abortConnection()
        self.stream.write(b"late")
        self.stream.writeSequence([b"late"])
        self.stream.writeSequence([])
        self.settle()
        self.assertEqual(self.far.events, ["made", "ConnectionLost"])

    def test_behindAClose(self) -> None:
        """What is written behind a close, as long as it is not closed, is sent."""
        self.connect()
        self.stream.loseConnection()
        self.stream.write(b"late")
        self.settle()
        self.assertEqual(self.far.received, b"late")

    def test_broken(self) -> None:
        """A connection that is found to be broken by a write is lost, but not within it."""
        self.connect(read=False)
        self.far.abort()
        self.settle()
        self.stream.write(b"into the void")
        self.assertEqual(self.near.events, ["made"])
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionLost"])

    def test_brokenWithOctetsWaiting(self) -> None:
        """The same where octets are waiting."""
        self.connect(read=False, window=10, sendBuffer=10)
        self.far.pause()
        self.stream.write(FLOOD)
        self.settle()
        self.far.abort()
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionLost"])

    def test_writeConnectionLost(self) -> None:
        """What the reactor may tell of the writing side is the end."""
        self.connect()
        self.stream.writeConnectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.near.events, ["made", "ConnectionLost"])


class CloseTests(StreamCase):
    """FINs, closes and resets."""

    def test_halfClose(self) -> None:
        """A FIN goes at once where nothing waits, and leaves the other direction open."""
        self.connect()
        self.stream.write(b"question")
        self.stream.loseWriteConnection()
        self.assertEqual(self.near.events, ["made", "written"])
        self.settle()
        self.assertEqual((self.far.received, self.far.eof), (b"question", True))
        self.far.write(b"answer")
        self.settle()
        self.assertEqual(self.near.received, b"answer")
        self.stream.loseWriteConnection()
        self.settle()
        self.assertEqual(self.near.events.count("written"), 1)

    def test_halfCloseLater(self) -> None:
        """It goes behind what waits."""
        self.connect(window=100, sendBuffer=100)
        self.far.pause()
        self.stream.write(FLOOD)
        self.stream.loseWriteConnection()
        self.stream.loseWriteConnection()
        self.settle()
        self.assertEqual(self.near.events, ["made"])
        self.far.resume()
        self.settle()
        self.assertOctets(self.far.received, FLOOD)
        self.assertTrue(self.far.eof)
        self.assertEqual(self.near.events, ["made", "written"])

    def test_halfCloseOnce(self) -> None:
        """One that was sent is not sent again, whatever makes the stream look at its queue."""
        self.connect()
        self.stream.loseWriteConnection()
        self.stream.writeSequence([b""])
        self.settle()
        self.assertEqual(self.near.events, ["made", "written"])

    def test_halfCloseOfABrokenOne(self) -> None:
        """A FIN that can't be sent is no error of the caller's; reading tells."""
        self.connect()
        self.stream.pauseProducing()
        self.far.abort()
        self.settle()
        self.stream.loseWriteConnection()
        self.assertEqual(self.near.events, ["made", "written"])
        self.stream.resumeProducing()
        self.settle()
        self.assertEqual(self.near.events, ["made", "written", "ConnectionLost"])

    def test_noHalfClose(self) -> None:
        """A protocol that knows no half-close may use it, and is not told."""
        self.connect(PlainPeer())
        self.stream.loseWriteConnection()
        self.settle()
        self.assertTrue(self.far.eof)
        self.assertEqual(self.near.events, ["made"])

    def test_close(self) -> None:
        """A close goes behind what waits, and is one, however often it is asked for."""
        self.connect(window=100, sendBuffer=100)
        self.far.pause()
        self.stream.write(FLOOD)
        self.stream.loseConnection()
        self.stream.loseConnection()
        self.stream.resumeProducing()
        self.settle()
        self.assertEqual(self.near.events, ["made"])
        self.far.resume()
        self.settle()
        self.assertOctets(self.far.received, FLOOD)
        self.assertEqual(self.near.events, ["made", "ConnectionDone"])

    def test_closeReadsNoMore(self) -> None:
        """What comes while it is being closed is not read."""
        self.connect(window=100, sendBuffer=100)
        self.far.pause()
        self.stream.write(FLOOD)
        self.stream.loseConnection()
        self.far.write(b"late")
        self.settle()
        self.assertEqual(self.near.events, ["made"])

    def test_bothOrders(self) -> None:
        """Either side may end first, and the other then."""
        for first, second in (("far", "near"), ("near", "far")):
            self.connect()
            ends = {"far": self.far.loseWrite, "near": self.stream.loseWriteConnection}
            ends[first]()
            self.settle()
            ends[second]()
            self.settle()
            self.assertEqual(sorted(self.near.events), ["eof", "made", "written"])
            self.stream.loseConnection()
            self.assertEqual(self.near.events[-1], "ConnectionDone")

    def test_abort(self) -> None:
        """An abort is a reset, in the next turn, whatever waits."""
        self.connect(window=100, sendBuffer=100)
        self.far.pause()
        self.stream.write(FLOOD)
        self.stream.abortConnection()
        self.stream.abortConnection()
        self.stream.loseConnection()
        self.stream.resumeProducing()
        self.assertFalse(self.stream.flushed)
        self.assertEqual(self.near.events, ["made"])
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionAborted"])
        self.assertIs(self.near.lost.type, ConnectionAborted)
        self.far.resume()
        self.settle()
        self.assertTrue(self.far.wasReset)

    def test_abortAfterClose(self) -> None:
        """What was closed, but has not been flushed, can be aborted."""
        self.connect(window=100, sendBuffer=100)
        self.far.pause()
        self.stream.write(FLOOD)
        self.stream.loseConnection()
        self.stream.abortConnection()
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionAborted"])

    def test_lostBeforeTheAbort(self) -> None:
        """What ends between an abort and its turn ends once."""
        self.connect()
        self.stream.abortConnection()
        self.stream.connectionLost(Failure(ConnectionLost()))
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionLost"])

    def test_systemComplains(self) -> None:
        """Whatever the system says of the closing of a socket, its protocol is told."""
        for name in ("setsockopt", "close"):
            self.connect()
            really = getattr(self.handle, name)

            def complain(*arguments: Any, really: Any = really) -> None:
                really(*arguments)
                raise OSError(errno.EINVAL, "Invalid argument")

            self.patch(self.handle, name, complain)
            self.stream.abortConnection()
            self.settle()
            self.assertEqual(self.near.events, ["made", "ConnectionAborted"])

    def test_protocolReplaced(self) -> None:
        """A protocol may hand its stream over to another one."""
        self.connect()
        other = Near()
        other.makeConnection(self.stream)
        self.stream.protocol = other
        self.far.write(b"one")
        self.far.loseWrite()
        self.settle()
        self.stream.loseConnection()
        self.settle()
        self.assertEqual(other.events, ["made", "data", "eof", "ConnectionDone"])
        self.assertEqual(self.near.events, ["made"])
        self.near.events = other.events
