"""The half of a layer that receives, and what both halves are to their neighbours."""

from __future__ import annotations

import gc
import weakref
from typing import Any
from unittest import mock

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from tests.streams.base import FAR, NEAR, Near
from tests.streams.layers import Hex, LayerCase, Trouble
from twisted_socks5.streams import BUFFER, LayeredTransport, knowsHalfClose
from twisted_socks5.streams.sending import Sending
from twisted_socks5.testing import MemoryReactor, Peer, PlainPeer


class ReceivingTests(LayerCase):
    """What comes from below."""

    def test_cut(self) -> None:
        """It is translated, wherever it was cut."""
        self.connect()
        for octet in b"as digits".hex().encode():
            self.far.write(bytes((octet,)))
            self.settle()
        self.assertEqual(self.near.received, b"as digits")
        self.assertEqual(self.near.events, ["made", "data"])

    def test_later(self) -> None:
        """While something is translated, nothing is read; then it goes on, in order."""
        self.connect(window=10, sendBuffer=10)
        self.layer.later = True
        self.say(b"one after the other")
        self.settle()
        self.assertEqual(len(self.layer.jobs), 1)
        self.assertEqual(self.handle.octetsRead, 10)
        self.layer.work()
        self.settle()
        self.assertEqual(self.near.received, b"one a")
        while self.layer.jobs:
            self.layer.work()
            self.settle()
        self.assertEqual(self.near.received, b"one after the other")

    def test_paused(self) -> None:
        """A paused protocol hears nothing, and nothing is read."""
        self.connect(window=10, sendBuffer=10)
        self.near.pause()
        self.say(b"not yet, please")
        self.settle()
        self.assertEqual((self.near.received, self.handle.octetsRead), (b"", 0))
        self.near.resume()
        self.settle()
        self.assertEqual(self.near.received, b"not yet, please")

    def test_pausedWhileTranslating(self) -> None:
        """What was being translated is held until the protocol is ready for it, but no more."""
        self.connect(window=10, sendBuffer=10)
        self.layer.later = True
        self.say(b"held for a while")
        self.settle()
        self.near.pause()
        self.layer.later = False
        self.layer.work()
        self.settle()
        self.assertEqual((self.near.received, self.handle.octetsRead), (b"", 10))
        self.near.resume()
        self.assertEqual(self.near.received, b"held ")
        self.settle()
        self.assertEqual(self.near.received, b"held for a while")

    def test_pausedWithinData(self) -> None:
        """A protocol may pause when it is told something: nothing more comes, not even the FIN."""
        self.connect()
        self.near.on["data"] = self.near.pause
        self.say(b"that will do")
        self.far.loseWrite()
        self.settle()
        self.layer.dataReceived(b"21")
        self.layer.readConnectionLost()
        self.assertEqual(self.near.events, ["made", "data"])
        self.assertEqual(self.near.received, b"that will do")
        self.near.resume()
        self.settle()
        self.near.resume()
        self.settle()
        self.assertEqual(self.near.received, b"that will do!")
        self.assertEqual(self.near.events, ["made", "data", "eof"])

    def test_end(self) -> None:
        """A FIN is told behind what came before, once, and the other direction goes on."""
        self.connect()
        self.layer.later = True
        self.say(b"question")
        self.far.loseWrite()
        self.settle()
        self.assertEqual(self.near.events, ["made"])
        self.layer.later = False
        self.layer.work()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "eof"])
        self.layer.readConnectionLost()
        self.layer.dataReceived(b"00")
        self.near.resume()
        self.near.write(b"answer")
        self.near.loseWrite()
        self.settle()
        self.assertEqual(self.heard(), b"answer")
        self.near.lose()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "eof", "written", "ConnectionDone"])
        self.assertTrue(self.far.wasClosed)

    def test_endForWhoKnowsNone(self) -> None:
        """A protocol without half-close is closed, behind what it has written."""
        self.connect(PlainPeer())
        self.layer.later = True
        self.near.write(b"answer")
        self.say(b"question")
        self.far.loseWrite()
        self.settle()
        self.layer.workOff()
        self.settle()
        self.assertEqual(self.heard(), b"answer")
        self.assertEqual(self.near.events, ["made", "data", "ConnectionDone"])
        self.assertTrue(self.far.wasClosed)

    def test_truncated(self) -> None:
        """An end where there could be none is an error, and a reset for the far side."""
        self.connect()
        self.far.write(b"616")
        self.far.loseWrite()
        self.settle()
        self.assertEqual(self.near.received, b"a")
        self.assertEqual(self.near.events, ["made", "data", "Trouble"])
        self.assertTrue(self.far.wasReset)

    def test_endInItsOwnWords(self) -> None:
        """The peer may end in the layer's language; what it says behind that nobody hears."""
        self.connect()
        self.layer.ends = True
        self.far.write(b"6162.63")
        self.settle()
        self.assertEqual(self.near.received, b"ab")
        self.assertEqual(self.near.events, ["made", "data", "eof"])
        self.far.write(b"64")
        self.far.loseWrite()
        self.near.write(b"answer")
        self.near.loseWrite()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "eof", "written"])
        self.assertEqual(self.far.received, b"answer".hex().encode() + b".")
        self.assertFalse(self.far.eof)
        self.near.lose()
        self.settle()
        self.assertTrue(self.far.wasClosed)
        self.assertEqual(self.far.received.count(b"."), 1)

    def test_trouble(self) -> None:
        """What makes no sense ends the connection, for this reason; nothing of it is passed on."""
        self.connect()
        self.say(b"good")
        self.settle()
        self.far.write(b"62!")
        self.settle()
        self.assertEqual(self.near.received, b"good")
        self.assertIsInstance(self.near.lost.value, Trouble)
        self.assertTrue(self.far.wasReset)

    def test_spoiled(self) -> None:
        """What came before the trouble, in the same piece, is passed on, and nothing behind it."""
        self.connect()
        self.far.write(b"6162?63")
        self.settle()
        self.assertEqual(self.near.received, b"ab")
        self.assertEqual(self.near.events, ["made", "data", "Trouble"])
        self.assertTrue(self.far.wasReset)

    def test_spoiledLater(self) -> None:
        """Trouble behind a translation that takes its time waits for it; pauses don't matter."""
        self.connect()
        self.layer.later = True
        self.far.write(b"61?62")
        self.settle()
        self.near.pause()
        self.layer.work()
        self.layer.dataReceived(b"6262")
        self.layer.readConnectionLost()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "Trouble"])
        self.assertEqual(self.near.received, b"a")

    def test_laterTrouble(self) -> None:
        """A translation may fail when it has taken its time."""
        self.connect()
        self.layer.later = True
        self.say(b"rubbish")
        self.settle()
        self.layer.jobs.pop()[0].errback(Trouble.failure())
        self.settle()
        self.assertEqual(self.near.events, ["made", "Trouble"])
        self.assertTrue(self.far.wasReset)

    def test_mistake(self) -> None:
        """A mistake of the layer's own ends the connection, and is logged."""
        self.connect()
        self.far.write(b"#")
        self.settle()
        self.assertEqual(self.near.events, ["made", "ValueError"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_mistakeAbove(self) -> None:
        """A protocol that fails when it is told something later fails its connection alone."""
        self.connect()
        self.layer.later = True
        self.near.on["data"] = lambda: 1 // 0
        self.say(b"something")
        self.settle()
        self.layer.work()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "ZeroDivisionError"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertTrue(self.far.wasReset)

    def test_noMoreThanARead(self) -> None:
        """However much a piece comes to, who pauses hears no more than a read brings."""
        octets = bytes(range(256)) * 600
        for later in (False, True):
            self.connect()
            self.layer.later = later
            self.near.on["data"] = self.near.pause
            self.layer.dataReceived(octets.hex().encode())
            self.layer.workOff()
            for heard in (BUFFER, 2 * BUFFER, len(octets)):
                self.assertEqual(len(self.near.received), heard)
                self.near.resume()
            self.assertOctets(self.near.received, octets)

    def test_resumedWithinData(self) -> None:
        """A protocol may resume within what it is told: all else comes behind that."""
        self.connect()
        order: list[bytes] = []
        more = [b"2", b"1"]

        def resume() -> None:
            if more:
                self.layer.dataReceived(more.pop().hex().encode())
                self.near.resume()
                order.append(bytes(self.near.received))

        self.near.on["data"] = resume
        self.say(b"0")
        self.settle()
        self.assertEqual(order, [b"0", b"01"])
        self.assertEqual(self.near.received, b"012")

    def test_troubleTwice(self) -> None:
        """The first trouble is the reason; who gives up meanwhile hears of it no less."""
        self.connect()
        self.near.write(b"trouble")
        self.layer._spoil(Failure(ValueError("a consequence")))
        self.near.abort()
        self.settle()
        self.assertEqual(self.near.events, ["made", "Trouble"])

    def test_exchanged(self) -> None:
        """The protocol may be exchanged for another while it is told something."""
        self.connect()
        other = Peer()
        other.transport = self.layer  # type: ignore[assignment]  # has all that a peer asks

        def exchange() -> None:
            self.layer.protocol = other

        self.near.on["data"] = exchange
        self.say(b"for one")
        self.settle()
        self.say(b"for the other")
        self.far.loseWrite()
        self.settle()
        self.assertEqual((self.near.received, other.received), (b"for one", b"for the other"))
        self.assertTrue(other.eof)
        self.layer.protocol = self.near

    def test_putBack(self) -> None:
        """What the one before has been told too much comes ahead of all else, when it may."""
        for within in (False, True):
            with self.subTest(within=within):
                self.connect()
                other = Peer()
                other.transport = self.layer  # type: ignore[assignment]  # the same

                def exchange(other: Peer = other) -> None:
                    self.layer.protocol = other
                    other.pause()
                    self.layer.putBack(b"two ")

                if within:
                    self.near.on["data"] = exchange
                self.say(b"one two ")
                self.settle()
                if not within:
                    exchange()
                self.say(b"three")
                self.far.loseWrite()
                self.settle()
                self.assertEqual((other.received, other.eof), (b"", False))
                other.resume()
                self.settle()
                self.assertEqual((other.received, other.eof), (b"two three", True))
                self.layer.protocol = self.near
                self.near.abort()
                self.settle()
                self.layer.putBack(b"too late")
                self.assertEqual(self.near.events, ["made", "data", "ConnectionAborted"])

    def test_putBackTheEnd(self) -> None:
        """The end, too."""
        self.connect()
        self.say(b"one")
        self.far.loseWrite()
        self.settle()
        other = Peer()
        other.transport = self.layer  # type: ignore[assignment]  # the same
        self.layer.protocol = other
        self.layer.putBack(b"", ended=True)
        self.assertEqual(other.events, ["eof"])
        self.layer.protocol = self.near
        self.near.abort()
        self.settle()

    def test_abortedWithinData(self) -> None:
        """A protocol that resets the connection hears nothing more but that."""
        self.connect()
        self.near.on["data"] = self.near.abort
        self.layer.dataReceived(b"61")
        self.layer.dataReceived(b"62")
        self.layer.readConnectionLost()
        self.near.abort()
        self.settle()
        self.assertEqual(self.near.received, b"a")
        self.assertEqual(self.near.events, ["made", "data", "ConnectionAborted"])
        self.assertTrue(self.far.wasReset)

    def test_closedMeanwhile(self) -> None:
        """A protocol that closes hears nothing more but that; translations are called off."""
        self.connect()
        self.layer.later = True
        self.say(b"never heard")
        self.settle()
        self.near.lose()
        self.near.lose()
        self.assertTrue(self.layer.disconnecting)
        self.assertTrue(self.layer.jobs[0][0].called)
        self.layer.dataReceived(b"61")
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionDone"])
        self.assertTrue(self.far.eof)


class LossTests(LayerCase):
    """The end of the connection below."""

    def test_reset(self) -> None:
        """It is told behind what came before."""
        self.connect()
        self.layer.later = True
        self.say(b"last words")
        self.settle()
        self.below.connectionLost(Trouble.failure())
        self.assertEqual(self.near.events, ["made"])
        self.layer.work()
        self.assertEqual(self.near.received, b"last words")
        self.assertEqual(self.near.events, ["made", "data", "Trouble"])
        self.layer.connectionLost(Trouble.failure())

    def test_resetWhilePaused(self) -> None:
        """It is told to a paused protocol as well, behind what was held for it."""
        self.connect()
        self.layer.later = True
        self.say(b"last words")
        self.settle()
        self.near.pause()
        self.layer.work()
        self.assertEqual(self.near.received, b"")
        self.below.connectionLost(Trouble.failure())
        self.assertEqual(self.near.received, b"last words")
        self.assertEqual(self.near.events, ["made", "data", "Trouble"])

    def test_closed(self) -> None:
        """Where a FIN is the end of all, it comes alone; it may be in the wrong place."""
        for octets, end in ((b"61", "ConnectionDone"), (b"616", "Trouble")):
            for near in (Near(), PlainPeer()):
                self.connect(near)
                self.layer.dataReceived(octets)
                self.below.connectionLost(connectionDone)
                self.assertEqual(self.near.events, ["made", "data", end])

    def test_givenUpMeanwhile(self) -> None:
        """Who gives up while the rest is translated hears of the end at once."""
        for giveUp in ("lose", "abort"):
            self.connect()
            self.layer.later = True
            self.say(b"last words")
            self.settle()
            self.below.connectionLost(Trouble.failure())
            getattr(self.near, giveUp)()
            self.assertEqual(self.near.events, ["made", "Trouble"])

    def test_givenUpWithinData(self) -> None:
        """Who gives up within what it is told hears of the end only behind that."""
        self.connect()
        self.layer.later = True
        self.say(b"last words")
        self.settle()
        self.below.connectionLost(Trouble.failure())
        told: list[Any] = []

        def giveUp() -> None:
            self.near.abort()
            told.append(self.near.lost)

        self.near.on["data"] = giveUp
        self.layer.work()
        self.assertEqual((told, self.near.events), ([None], ["made", "data", "Trouble"]))

    def test_mistakeAtTheEnd(self) -> None:
        """A protocol that fails at what it is told behind the loss hears of that all the same."""
        for later in (False, True):
            for event in ("data", "eof"):
                self.connect()
                self.layer.later = later
                self.near.on[event] = lambda: 1 // 0
                if not later:
                    self.near.pause()
                self.layer.dataReceived(b"61")
                self.layer.readConnectionLost()
                self.below.connectionLost(Trouble.failure())
                self.layer.workOff()
                self.assertEqual(self.near.events[-1], "Trouble")
                self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_mistakeOfTheLayer(self) -> None:
        """So does one whose layer fails to let go of what translates."""
        self.connect()
        self.layer.released += 1
        with mock.patch.object(Hex, "_released", side_effect=ZeroDivisionError):
            self.far.abort()
            self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionLost"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_nothingAfterwards(self) -> None:
        """Behind the end, whatever is asked does nothing, but addresses are known."""
        self.connect()
        self.near.abort()
        self.settle()
        for ask in ("pause", "resume", "lose", "loseWrite", "abort"):
            getattr(self.near, ask)()
        self.near.write(b"nothing")
        self.layer.writeSequence([b"no", b"thing"])
        self.layer.writeSequence([b""])
        self.layer.stopProducing()
        self.layer.writeConnectionLost()
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionAborted"])
        self.assertEqual(self.far.received, b"")

    def test_noCircles(self) -> None:
        """Nothing of a connection that is over waits for the garbage collector."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)
        for end in ("lose", "abort"):
            reactor = MemoryReactor()
            near, far = Near(), Peer()
            layer = LayeredTransport(near)
            reactor.connectPair(far, layer)
            gone: list[weakref.ref[Any]] = [weakref.ref(layer), weakref.ref(near)]
            getattr(near, end)()
            reactor.advance(0)
            far.abort()
            reactor.advance(0)
            self.assertTrue(near.lost and far.lost)
            del near.transport, layer, near
            self.assertEqual([each() for each in gone], [None, None])


class StreamReceivingTests(ReceivingTests):
    """What comes from a stream."""

    streams = True


class StreamLossTests(LossTests):
    """The end of a stream below."""

    streams = True


class PlaceTests(LayerCase):
    """How a layer comes to its place, and what it says of it."""

    def test_transport(self) -> None:
        """It is a TCP transport; what it does not translate the one below knows."""
        self.connect()
        self.assertTrue(ITCPTransport.providedBy(self.layer))
        self.assertEqual((self.layer.getHost(), self.layer.getPeer()), (NEAR, FAR))
        self.layer.setTcpNoDelay(True)
        self.layer.setTcpKeepAlive(True)
        self.assertTrue(self.below.getTcpNoDelay() and self.below.getTcpKeepAlive())
        self.assertTrue(self.layer.getTcpNoDelay() and self.layer.getTcpKeepAlive())

    def test_abstract(self) -> None:
        """By itself it can't translate."""
        layer = LayeredTransport()
        layer.connectionMade()
        self.assertRaises(NotImplementedError, layer._encode, b"")
        self.assertRaises(NotImplementedError, layer._decode, b"")
        failure = Failure(ValueError())
        self.assertRaises(NotImplementedError, Sending()._failed, failure)

    def test_takeOver(self) -> None:
        """It takes the place of a protocol; what that had paused it resumes when asked."""
        reactor = MemoryReactor()
        near, far = Near(), Peer()
        transport, _ = reactor.connectPair(near, far)
        transport.pauseProducing()
        layer = Hex()
        layer.takeOver(transport)
        layer.protocol, near.transport = near, layer  # type: ignore[assignment]  # as above
        far.write(b"6869")
        near.write(b"ho")
        reactor.advance(0)
        self.assertEqual((near.received, far.received), (b"", b"686f"))
        layer.dataReceived(b"6f68")
        reactor.advance(0)
        self.assertEqual(near.received, b"ohhi")
        self.assertEqual(near.events, ["made", "data"])
        near.abort()
        reactor.advance(0)
        self.assertEqual(reactor.leftOver(), [])

    def test_takeOverBusy(self) -> None:
        """What is received while it is busy from the start is not read further."""
        reactor = MemoryReactor(window=4, sendBuffer=4)
        near, far = Near(), Peer()
        transport, _ = reactor.connectPair(near, far)
        layer = Hex()
        layer.takeOver(transport)
        layer.protocol, near.transport = near, layer  # type: ignore[assignment]  # as above
        layer.later = True
        far.write(b"686965")
        reactor.advance(0)
        handle: Any = transport.getHandle()
        self.assertEqual(handle.octetsRead, 4)
        layer.work()
        reactor.advance(0)
        layer.work()
        self.assertEqual(near.received, b"hie")
        near.abort()
        reactor.advance(0)

    def test_takeOverLayer(self) -> None:
        """What a layer holds for the protocol that it takes over from is not lost."""
        reactor = MemoryReactor()
        near, far = Near(), Peer()
        lower = Hex(near)
        reactor.connectPair(lower, far)
        lower.later = True
        far.write(b"hi".hex().encode().hex().encode())
        reactor.advance(0)
        near.pause()
        lower.work()
        upper = Hex()
        upper.takeOver(lower)
        upper.protocol, near.transport = near, upper  # type: ignore[assignment]  # as above
        self.assertEqual(near.received, b"")
        near.resume()
        self.assertEqual(near.received, b"hi")
        near.abort()
        reactor.advance(0)
        self.assertEqual(reactor.leftOver(), [])

    def test_wrapper(self) -> None:
        """Behind a wrapper it is what the wrapper wraps, and there is no half-close."""
        reactor = MemoryReactor()
        near, far = Near(), Peer()
        wrapper = ProtocolWrapper(WrappingFactory(Factory()), near)
        reactor.connectPair(wrapper, far)
        layer = Hex()
        layer.takeOver(wrapper)
        layer.protocol, near.transport = near, layer  # type: ignore[assignment]  # as above
        self.assertFalse(knowsHalfClose(layer))
        far.write(b"6869")
        reactor.advance(0)
        near.write(b"ho")
        near.loseWrite()
        reactor.advance(0)
        self.assertEqual((near.received, far.received), (b"hi", b"686f"))
        far.lose()
        reactor.advance(0)
        self.assertEqual(near.events, ["made", "data", "ConnectionDone"])
        self.assertIsNot(wrapper.wrappedProtocol, layer)
        self.assertEqual(reactor.leftOver(), [])

    def test_halfClose(self) -> None:
        """It knows half-close if the transport below does, or if it says so."""
        self.connect()
        self.assertTrue(knowsHalfClose(self.layer))
        self.assertFalse(knowsHalfClose(LayeredTransport()))
        layer = Hex()
        self.assertFalse(knowsHalfClose(layer))
        layer.ends = True
        self.assertTrue(knowsHalfClose(layer))

    def test_layers(self) -> None:
        """A layer stands on a layer as well."""
        reactor = MemoryReactor(window=100, sendBuffer=100)
        near, far = Near(), Peer()
        upper = Hex(near)
        lower = Hex(upper)
        reactor.connectPair(lower, far)
        lower.later = True
        near.write(b"twice")
        near.loseWrite()
        far.write(b"thrice".hex().encode().hex().encode())
        far.loseWrite()
        for _ in range(5):
            reactor.advance(0)
            lower.workOff()
        self.assertEqual(bytes.fromhex(bytes.fromhex(far.received.decode()).decode()), b"twice")
        self.assertEqual(near.received, b"thrice")
        self.assertEqual(sorted(near.events), ["data", "eof", "made", "written"])
        near.lose()
        reactor.advance(0)
        self.assertTrue(near.wasClosed and far.wasClosed)
        self.assertEqual(reactor.leftOver(), [])


class StreamPlaceTests(PlaceTests):
    """How a layer comes to its place on a stream."""

    streams = True
