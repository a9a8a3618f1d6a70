"""One end of an encapsulated connection: frames, levels, threads, and what ends it."""

from __future__ import annotations

from threading import Event, Thread
from unittest import mock

from tests.security.encapsulations import EncapsulationCase
from twisted_socks5.fairthreads import FairThreads
from twisted_socks5.security import ContextError, Encapsulation
from twisted_socks5.security.encapsulation import LONGEST, SMALL, _Shared
from twisted_socks5.security.levels import seals
from twisted_socks5.streams import BUFFER, knowsHalfClose
from twisted_socks5.testing import MemoryContext, MemoryReactor, PlainPeer
from twisted_socks5.testing.security import OVERHEAD
from twisted_socks5.wire import MalformedFrame, ProtectionLevel
from twisted_socks5.wire.constants import MAX_TOKEN, MTYP
from twisted_socks5.wire.gssapi import pack_abort, pack_token

INTEGRITY = ProtectionLevel.INTEGRITY
CONFIDENTIALITY = ProtectionLevel.CONFIDENTIALITY
PER_MESSAGE = ProtectionLevel.PER_MESSAGE

LARGE = bytes(range(256)) * 1200


class FrameTests(EncapsulationCase):
    """Octets in frames."""

    def test_bothWays(self) -> None:
        """What is written is sent in frames, and what comes in frames is received."""
        self.connect()
        self.near.write(b"a question")
        self.far.write(self.frame(b"an answer"))
        self.settle()
        self.assertEqual(self.heard(), [(b"a question", True)])
        self.assertEqual(self.near.received, b"an answer")
        self.assertEqual(self.near.events, ["made", "data"])

    def test_wire(self) -> None:
        """A frame is VER MTYP LEN and the token."""
        self.connect(INTEGRITY)
        self.near.write(b"in the open")
        self.settle()
        self.assertEqual(self.far.received[:4], bytes((1, 3, 0, 11 + OVERHEAD)))
        self.assertIn(b"in the open", self.far.received)

    def test_levels(self) -> None:
        """What is sent is confidential at levels 2 and 3."""
        for level in (INTEGRITY, CONFIDENTIALITY, PER_MESSAGE):
            self.connect(level)
            self.assertIs(self.layer.level, level)
            self.near.write(b"small")
            self.near.write(LARGE)
            self.settle()
            heard = self.heard()
            self.assertEqual({sealed for _, sealed in heard}, {seals(level)})
            self.assertOctets(b"".join(octets for octets, _ in heard), b"small" + LARGE)

    def test_levelNone(self) -> None:
        """At level 0 there is nothing to encapsulate."""
        reactor = MemoryReactor()
        context, _ = MemoryContext.pair()
        level, threads = ProtectionLevel.NONE, FairThreads(reactor, 1)
        self.assertRaises(ValueError, Encapsulation, None, context, level, threads, "x")

    def test_halfClose(self) -> None:
        """Half-close is the transport's below."""
        self.connect()
        self.assertTrue(knowsHalfClose(self.layer))

    def test_cutIntoFrames(self) -> None:
        """What is larger than a frame is cut, so that a reader of 64 KiB has room for each."""
        self.connect()
        self.near.write(LARGE)
        self.settle()
        sizes = [len(octets) for octets, _ in self.heard()]
        self.assertEqual(max(sizes), LONGEST - OVERHEAD)
        self.assertEqual(sum(sizes), len(LARGE))
        self.assertLess(len(sizes), 3 + len(LARGE) // max(sizes))

    def test_longestFrame(self) -> None:
        """A peer may fill a frame to the last octet that LEN can say."""
        self.connect()
        octets = LARGE[: MAX_TOKEN - OVERHEAD]
        frame = self.frame(octets)
        self.assertEqual(frame[2:4], b"\xff\xff")
        self.far.write(frame + self.frame(b"") + self.frame(b" and more"))
        self.settle()
        self.assertOctets(self.near.received, octets + b" and more")

    def test_octetByOctet(self) -> None:
        """Frames may be cut anywhere."""
        self.connect()
        for octet in self.frame(b"one") + self.frame(b"") + self.frame(b" two"):
            self.far.write(bytes((octet,)))
            self.settle()
        self.assertEqual(self.near.received, b"one two")

    def test_behindTheNegotiation(self) -> None:
        """What came with the last octets of the negotiation is passed in."""
        self.connect()
        self.layer.dataReceived(self.frame(b"pipelined"))
        self.assertEqual(self.near.received, b"pipelined")

    def test_end(self) -> None:
        """A FIN between two frames is an end; the other direction goes on."""
        self.connect()
        self.far.write(self.frame(b"question"))
        self.far.loseWrite()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "eof"])
        self.near.write(b"answer")
        self.near.loseWrite()
        self.settle()
        self.assertEqual(self.heard(), [(b"answer", True)])
        self.assertTrue(self.far.wasClosed)
        self.near.lose()
        self.settle()
        self.assertTrue(self.near.wasClosed)


class ThreadTests(EncapsulationCase):
    """What is done where."""

    def test_smallAtOnce(self) -> None:
        """Small pieces are wrapped and unwrapped within the call."""
        self.connect()
        with mock.patch.object(FairThreads, "run", side_effect=AssertionError("in a thread")):
            self.near.write(bytes(SMALL))
            self.layer.dataReceived(self.frame(b"small"))
        self.assertEqual(self.near.received, b"small")
        self.settle()
        self.assertEqual(self.heard(), [(bytes(SMALL), True)])

    def test_largeInThreads(self) -> None:
        """Larger ones are for threads, and so are all behind them and beside them."""
        self.connect()
        self.reactor.threads.stalled = True
        self.near.write(bytes(SMALL + 1))
        self.near.write(b"behind it")
        self.far.write(self.frame(b"beside it"))
        self.settle()
        self.assertEqual((self.far.received, self.near.received), (b"", b""))
        self.reactor.threads.stalled = False
        self.settle()
        self.assertEqual([len(octets) for octets, _ in self.heard()], [SMALL + 1, 9])
        self.assertEqual(self.near.received, b"beside it")

    def test_largeUnwrappedInThreads(self) -> None:
        """So it is with what comes."""
        self.connect()
        self.reactor.threads.stalled = True
        self.far.write(self.frame(bytes(SMALL)))
        self.settle()
        self.near.write(b"beside it")
        self.settle()
        self.assertEqual((self.far.received, self.near.received), (b"", b""))
        self.reactor.threads.stalled = False
        self.settle()
        self.assertEqual(self.near.received, bytes(SMALL))
        self.assertEqual(self.heard(), [(b"beside it", True)])
        with mock.patch.object(FairThreads, "run", side_effect=AssertionError("in a thread")):
            self.near.write(b"at once again")

    def test_noThread(self) -> None:
        """A connection for which there is no thread is reset."""
        self.connect()
        self.threads.stop()
        self.near.write(bytes(SMALL + 1))
        self.settle()
        self.assertEqual(self.near.events, ["made", "Busy"])
        self.assertTrue(self.far.wasReset)

    def test_lostMeanwhile(self) -> None:
        """Work for a connection that is gone is not done."""
        self.connect()
        self.reactor.threads.stalled = True
        self.near.write(bytes(SMALL + 1))
        self.settle()
        self.near.abort()
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionAborted"])
        self.reactor.threads.stalled = False
        self.settle()
        self.assertEqual(self.context.wrapped, 0)

    def test_lostWhileAtWork(self) -> None:
        """A context that a thread is using is let go of when that has done, and nobody waits."""
        context, _ = MemoryContext.pair()
        begun, go = Event(), Event()
        seen: list[bool] = []

        def wrap(*_: object) -> bytes:
            begun.set()
            go.wait(10)
            seen.append(context.disposed)
            return b"token"

        shared = _Shared(context, INTEGRITY)
        with mock.patch.object(MemoryContext, "wrap", side_effect=wrap):
            thread = Thread(target=shared.wrap, args=(b"octets",))
            thread.start()
            begun.wait(10)
            shared.dispose()
            go.set()
            thread.join(10)
        self.assertEqual((seen, context.disposed), ([False], True))
        self.assertRaises(ContextError, shared.wrap, b"more")

    def test_bounded(self) -> None:
        """While threads are busy a bounded amount is read, and a producer is paused."""
        self.connect()
        self.reactor.threads.stalled = True
        producer = mock.Mock()
        self.layer.registerProducer(producer, True)
        self.near.write(bytes(BUFFER))
        producer.pauseProducing.assert_not_called()
        self.near.write(b"x")
        producer.pauseProducing.assert_called_once_with()
        frames = b"".join(self.frame(LARGE[:60_000]) for _ in range(10))
        self.far.write(frames)
        self.settle()
        self.assertLessEqual(self.handle.octetsRead, 2 * BUFFER)
        self.reactor.threads.stalled = False
        self.settle()
        producer.resumeProducing.assert_called_once_with()
        self.assertOctets(self.near.received, LARGE[:60_000] * 10)


class StreamFrameTests(FrameTests):
    """Octets in frames, on a stream."""

    streams = True


class StreamThreadTests(ThreadTests):
    """What is done where, on a stream."""

    streams = True


class BrokenTests(EncapsulationCase):
    """What ends a connection: its reason is told above, and the far side is reset."""

    def broken(self, *frames: bytes, reason: type[Exception], text: str) -> None:
        """Send frames; what came before the bad one is received."""
        self.far.write(self.frame(b"good") + b"".join(frames))
        self.settle()
        self.assertEqual(self.near.received, b"good")
        self.assertEqual(self.near.events, ["made", "data", reason.__name__])
        self.assertEqual(str(self.near.lost.value), text)
        self.assertTrue(self.far.wasReset)
        self.near.write(b"nothing")
        self.settle()
        self.assertEqual(self.far.received, b"")

    def test_tampered(self) -> None:
        """A token that was changed."""
        self.connect()
        good, bad = self.frame(b"good"), bytearray(self.frame(b"bad"))
        bad[-1] ^= 1
        self.far.write(good + bytes(bad) + self.frame(b"and never"))
        self.settle()
        self.assertEqual(self.near.received, b"good")
        self.assertEqual(self.near.events, ["made", "data", "ContextError"])
        self.assertEqual(str(self.near.lost.value), "a token has a bad checksum")
        self.assertTrue(self.far.wasReset)

    def test_replayed(self) -> None:
        """A token that comes again."""
        self.connect()
        first = self.frame(b"good")
        self.far.write(first)
        self.settle()
        self.far.write(first)
        self.settle()
        self.assertEqual(self.near.received, b"good")
        self.assertEqual(str(self.near.lost.value), "a token comes again")

    def test_missing(self) -> None:
        """A token without the one before it."""
        self.connect()
        self.frame(b"left out")
        self.far.write(self.frame(b"bad"))
        self.settle()
        self.assertEqual(self.near.events, ["made", "ContextError"])
        self.assertEqual(str(self.near.lost.value), "a token is not the next one")

    def test_reflected(self) -> None:
        """Our own token."""
        self.connect()
        self.near.write(b"question")
        self.settle()
        self.far.write(bytes(self.far.received))
        self.settle()
        self.assertEqual(str(self.near.lost.value), "a token has a bad checksum")

    def test_empty(self) -> None:
        """A frame without a token."""
        self.connect()
        text = "a token has a bad checksum"
        self.broken(pack_token(MTYP.DATA, b""), reason=ContextError, text=text)

    def test_notSealed(self) -> None:
        """A token that is not confidential, at level 2; and not at the others."""
        self.connect()
        text = "a message that is not confidential, as the protection level demands"
        self.far.write(self.frame(b"good"))
        self.settle()
        self.far.write(self.frame(b"bad", sealed=False))
        self.settle()
        self.assertEqual(self.near.received, b"good")
        self.assertEqual(str(self.near.lost.value), text)
        for level in (INTEGRITY, PER_MESSAGE):
            self.connect(level)
            self.far.write(self.frame(b"open, ", sealed=False) + self.frame(b"sealed"))
            self.settle()
            self.assertEqual(self.near.received, b"open, sealed")

    def test_aborted(self) -> None:
        """The peer's abort is no end."""
        self.connect()
        text = "the peer has given up the security context"
        self.broken(pack_abort(), b"\x01\x03", reason=ContextError, text=text)

    def test_wrongKind(self) -> None:
        """A frame of another kind."""
        self.connect()
        text = "a GSSAPI frame of type AUTHENTICATION in place of DATA"
        self.broken(pack_token(MTYP.AUTHENTICATION, b"x"), reason=MalformedFrame, text=text)

    def test_noFrame(self) -> None:
        """No frame at all: a client that forgets to encapsulate, say."""
        self.connect()
        text = "version 5 instead of 1 in a GSSAPI frame"
        self.broken(b"\5\1\0\1", reason=MalformedFrame, text=text)

    def test_largeAndBad(self) -> None:
        """It is the same when a thread finds out."""
        self.connect()
        frame = bytearray(self.frame(b"good") + self.frame(LARGE[:60_000]))
        frame[-1] ^= 1
        self.far.write(bytes(frame) + self.frame(b"and never"))
        self.settle()
        self.assertEqual(self.near.received, b"good")
        self.assertEqual(self.near.events, ["made", "data", "ContextError"])

    def test_truncated(self) -> None:
        """An end in the middle of a frame."""
        for count in (1, 3, 20):
            self.connect()
            frame = self.frame(b"half")
            self.far.write(self.frame(b"whole") + frame[:-count])
            self.far.loseWrite()
            self.settle()
            self.assertEqual(self.near.received, b"")
            self.assertEqual(self.near.events, ["made", "ContextError"])

    def test_expired(self) -> None:
        """A context that has expired, whoever speaks first."""
        for speak in ("near", "far"):
            self.connect()
            frame = self.frame(b"too late")
            self.context.failure = "the context has expired"
            if speak == "near":
                self.near.write(b"too late")
                self.near.lose()
            else:
                self.far.write(frame)
            self.settle()
            self.assertEqual(self.near.events, ["made", "ContextError"])
            self.assertEqual(str(self.near.lost.value), "the context has expired")
            self.assertTrue(self.far.wasReset)

    def test_noRoom(self) -> None:
        """A mechanism whose tokens are too long for any octet."""
        self.connect()
        self.context.wrapSizeLimit = lambda *_: 0  # type: ignore[method-assign]
        self.near.write(b"x")
        self.settle()
        self.assertEqual(self.near.events, ["made", "ContextError"])

    def test_mistake(self) -> None:
        """A mechanism that breaks its promises is logged."""
        self.connect()
        self.context.wrap = mock.Mock(side_effect=OSError("no promise"))  # type: ignore
        self.near.write(b"x")
        self.settle()
        self.assertEqual(self.near.events, ["made", "OSError"])
        self.assertEqual(len(self.flushLoggedErrors(OSError)), 1)

    def test_reset(self) -> None:
        """A reset is a reset."""
        self.connect(near=PlainPeer())
        self.far.write(self.frame(b"half"))
        self.settle()
        self.far.abort()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "ConnectionLost"])


class StreamBrokenTests(BrokenTests):
    """What ends a connection on a stream."""

    streams = True
