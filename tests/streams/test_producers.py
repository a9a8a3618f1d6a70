"""Producers of a stream: those that are paused, and those that are asked."""

from __future__ import annotations

import io

from twisted.internet.interfaces import IPullProducer, IPushProducer
from twisted.protocols.basic import FileSender
from zope.interface import implementer

from tests.streams.base import FLOOD, StreamCase
from twisted_socks5.streams import BUFFER, Stream


@implementer(IPushProducer)
class Pushing:
    """A producer that pushes; it notes what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def pauseProducing(self) -> None:
        """Pause."""
        self.told.append("pause")

    def resumeProducing(self) -> None:
        """Go on."""
        self.told.append("resume")

    def stopProducing(self) -> None:
        """Stop."""
        self.told.append("stop")


@implementer(IPullProducer)
class Pulled:
    """A producer that writes when it is asked, and unregisters at its end."""

    def __init__(self, stream: Stream, data: bytes, size: int) -> None:
        self._stream = stream
        self._left = data
        self._size = size
        self.asked = 0
        self.stopped = 0

    def resumeProducing(self) -> None:
        """Write a piece."""
        self.asked += 1
        piece, self._left = self._left[: self._size], self._left[self._size :]
        if piece:
            self._stream.write(piece)
        if not self._left:
            self._stream.unregisterProducer()

    def stopProducing(self) -> None:
        """Stop."""
        self.stopped += 1


class PushTests(StreamCase):
    """Streaming producers."""

    def test_pace(self) -> None:
        """One is paused when more than a buffer waits, once, and resumed when nothing does."""
        self.connect(window=1000, sendBuffer=1000)
        producer = Pushing()
        self.stream.registerProducer(producer, True)
        self.far.pause()
        self.stream.write(bytes(BUFFER))
        self.assertEqual(producer.told, [])
        self.stream.write(bytes(2001))
        self.stream.write(bytes(10))
        self.settle()
        self.assertEqual(producer.told, ["pause"])
        self.far.resume()
        self.settle()
        self.assertEqual(producer.told, ["pause", "resume"])
        self.far.pause()
        self.stream.write(FLOOD)
        self.assertEqual(producer.told, ["pause", "resume", "pause"])
        self.stream.unregisterProducer()

    def test_two(self) -> None:
        """There is one at a time."""
        self.connect()
        self.stream.registerProducer(Pushing(), True)
        self.assertRaises(RuntimeError, self.stream.registerProducer, Pushing(), True)
        self.stream.unregisterProducer()
        self.stream.registerProducer(Pushing(), True)
        self.stream.unregisterProducer()

    def test_stopped(self) -> None:
        """It is stopped with the connection, and one that comes too late at once."""
        self.connect()
        before, after = Pushing(), Pushing()
        self.stream.registerProducer(before, True)
        self.stream.loseConnection()
        self.settle()
        self.assertEqual(before.told, ["stop"])
        self.stream.registerProducer(after, True)
        self.assertEqual(after.told, ["stop"])

    def test_nobody(self) -> None:
        """Without one, any amount may wait."""
        self.connect(window=1000, sendBuffer=1000)
        self.far.pause()
        for _ in range(3):
            self.stream.write(FLOOD)
        self.settle()
        self.far.resume()
        self.settle()
        self.assertOctets(self.far.received, FLOOD * 3)

    def test_closesBehindIt(self) -> None:
        """A close, and a FIN, wait for the producer that is paused, and come when it leaves."""
        for how, end in (
            ("loseConnection", "ConnectionDone"),
            ("loseWriteConnection", "written"),
        ):
            self.connect(window=1000, sendBuffer=1000)
            producer = Pushing()
            self.stream.registerProducer(producer, True)
            self.far.pause()
            self.stream.write(FLOOD)
            getattr(self.stream, how)()
            self.far.resume()
            self.settle()
            self.assertEqual(producer.told, ["pause", "resume"])
            self.assertEqual(self.near.events, ["made"])
            self.stream.write(b"the end")
            self.stream.unregisterProducer()
            self.settle()
            self.assertOctets(self.far.received, FLOOD + b"the end")
            self.assertEqual((self.far.eof, self.near.events), (True, ["made", end]))

    def test_resetBehindIt(self) -> None:
        """There is no FIN any more when it leaves a stream that is cut in the same turn."""
        self.connect(window=1000, sendBuffer=1000)
        producer = Pushing()
        self.stream.registerProducer(producer, True)
        self.far.pause()
        self.stream.write(FLOOD)
        self.stream.loseWriteConnection()
        self.far.resume()
        self.settle()
        self.assertEqual(producer.told, ["pause", "resume"])
        self.stream.unregisterProducer()
        self.stream.abortConnection()
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionAborted"])


class PullTests(StreamCase):
    """Producers that are asked for more."""

    def test_fast(self) -> None:
        """One is asked again and again, also where the kernel takes everything at once."""
        self.connect()
        producer = Pulled(self.stream, FLOOD[:10_000], 1000)
        self.stream.registerProducer(producer, False)
        self.assertEqual(producer.asked, 1)
        self.settle()
        self.assertEqual(producer.asked, 10)
        self.assertOctets(self.far.received, FLOOD[:10_000])
        self.assertEqual(producer.stopped, 0)

    def test_slow(self) -> None:
        """It is asked when what it wrote has been sent."""
        self.connect(window=1000, sendBuffer=1000)
        self.far.pause()
        producer = Pulled(self.stream, FLOOD, 10_000)
        self.stream.registerProducer(producer, False)
        self.settle()
        self.assertEqual(producer.asked, 1)
        self.far.resume()
        self.settle()
        self.assertOctets(self.far.received, FLOOD)

    def test_file(self) -> None:
        """Twisted's own sender of files is such a one."""
        self.connect()
        sender = FileSender()
        sent = sender.beginFileTransfer(io.BytesIO(FLOOD), self.stream)
        self.settle()
        self.successResultOf(sent)
        self.assertOctets(self.far.received, FLOOD)
        self.stream.loseConnection()
        self.settle()
        self.assertTrue(self.far.eof)

    def test_stopped(self) -> None:
        """It is stopped with the connection."""
        self.connect(window=1000, sendBuffer=1000)
        self.far.pause()
        producer = Pulled(self.stream, FLOOD, 10_000)
        self.stream.registerProducer(producer, False)
        self.settle()
        self.far.abort()
        self.settle()
        self.assertEqual(producer.stopped, 1)

    def test_closesBehindIt(self) -> None:
        """A close waits until it has unregistered."""
        self.connect()
        producer = Pulled(self.stream, FLOOD, 10_000)
        self.stream.registerProducer(producer, False)
        self.stream.loseConnection()
        self.settle()
        self.assertOctets(self.far.received, FLOOD)
        self.assertTrue(self.far.eof)
        self.assertEqual(producer.stopped, 0)
        self.assertEqual(self.near.events, ["made", "ConnectionDone"])


class Held:
    """An inlet that holds octets outside of our memory; it is drained in two steps."""

    def __init__(self, data: bytes, handle: object, broken: bool = False) -> None:
        self._data = data
        self._handle = handle
        self._broken = broken
        self.closed = 0

    @property
    def empty(self) -> bool:
        """Whether nothing is held."""
        return not self._data

    def drain(self) -> Exception | None:
        """Send some."""
        if self._broken:
            return ConnectionResetError()
        piece, self._data = self._data[:5], self._data[5:]
        self._handle.send(piece)  # type: ignore[attr-defined]  # a socket in memory
        return None

    def close(self) -> None:
        """The stream is gone."""
        self.closed += 1


class Counting:
    """An outlet that counts how often it reads."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.reads = 0

    def doRead(self) -> Exception | None:
        """Read."""
        self.reads += 1
        return self._stream.receive()


class InletTests(StreamCase):
    """Octets that go past a stream, and what is written meanwhile."""

    def test_order(self) -> None:
        """What an inlet holds goes before what is written after it."""
        self.connect()
        inlet = Held(b"held and more", self.handle)
        self.stream.awaitInlet(inlet)
        self.assertFalse(self.stream.flushed)
        self.stream.write(b", written")
        self.stream.write(b" and written")
        self.stream.loseWriteConnection()
        self.settle()
        self.assertEqual(self.far.received, b"held and more, written and written")
        self.assertTrue(self.far.eof)
        self.assertEqual(inlet.closed, 0)

    def test_broken(self) -> None:
        """One that can't be drained is the end, and is closed with its stream."""
        self.connect()
        inlet = Held(b"held", self.handle, broken=True)
        self.stream.awaitInlet(inlet)
        self.settle()
        self.assertEqual(inlet.closed, 1)
        self.near.events = ["made", "ConnectionLost"]

    def test_closed(self) -> None:
        """With its stream it is closed, whatever it holds."""
        self.connect()
        inlet = Held(b"held", self.handle)
        self.stream.awaitInlet(inlet)
        self.stream.abortConnection()
        self.settle()
        self.assertEqual(inlet.closed, 1)

    def test_outlet(self) -> None:
        """An outlet reads in a stream's stead."""
        self.connect()
        outlet = Counting(self.stream)
        self.stream.divert(outlet)
        self.far.write(b"one")
        self.settle()
        self.assertEqual((self.near.received, outlet.reads), (b"one", 1))
