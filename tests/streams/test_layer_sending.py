"""The half of a layer that sends."""

from __future__ import annotations

from twisted.internet.defer import succeed

from tests.streams.base import FLOOD
from tests.streams.layers import LayerCase, Trouble
from tests.streams.test_producers import Pulled, Pushing
from twisted_socks5.relay.tcp import AbortWhenFlushed
from twisted_socks5.streams import BUFFER
from twisted_socks5.streams.sending import BATCH


class WritingTests(LayerCase):
    """What is written."""

    def test_atOnce(self) -> None:
        """It is translated and sent."""
        self.connect()
        self.near.write(b"one ")
        self.near.write(b"")
        self.layer.writeSequence([b"and ", b"another"])
        self.layer.writeSequence([])
        self.settle()
        self.assertEqual(self.heard(), b"one and another")
        self.assertEqual(self.layer.sizes, [4, 11])

    def test_later(self) -> None:
        """While something is translated the rest waits, and is then translated together."""
        self.connect()
        self.layer.later = True
        for piece in (b"one", b" after", b" the", b" other"):
            self.near.write(piece)
        self.layer.writeSequence([])
        self.settle()
        self.assertEqual((self.heard(), len(self.layer.jobs)), (b"", 1))
        self.layer.work()
        self.settle()
        self.assertEqual(self.heard(), b"one")
        self.layer.work()
        self.settle()
        self.assertEqual(self.heard(), b"one after the other")
        self.assertEqual(self.layer.sizes, [3, 16])

    def test_laterIsNow(self) -> None:
        """A translation that should come later may be there at once."""
        self.connect()
        self.layer._encode = (  # type: ignore[method-assign]  # for this test alone
            lambda octets: succeed(octets.hex().encode())
        )
        self.near.write(b"one")
        self.near.write(FLOOD)
        self.settle()
        self.assertOctets(self.heard(), b"one" + FLOOD)

    def test_batches(self) -> None:
        """What is large is translated a batch at a time."""
        self.connect()
        data = FLOOD + FLOOD
        self.near.write(data)
        self.settle()
        self.assertOctets(self.heard(), data)
        self.assertEqual(max(self.layer.sizes), BATCH)
        self.assertEqual(sum(self.layer.sizes), len(data))

    def test_notReady(self) -> None:
        """What can't be translated yet waits, and so does the end."""
        self.connect()
        self.layer.ready(False)
        self.near.write(b"in a moment")
        self.near.loseWrite()
        self.settle()
        self.assertEqual((self.heard(), self.far.eof), (b"", False))
        self.layer.ready(True)
        self.settle()
        self.assertEqual((self.heard(), self.far.eof), (b"in a moment", True))

    def test_notReadyForNothing(self) -> None:
        """The end of nothing waits for nothing."""
        self.connect()
        self.layer.ready(False)
        self.near.lose()
        self.settle()
        self.assertTrue(self.near.wasClosed)

    def test_trouble(self) -> None:
        """What can't be translated ends the connection, for this reason."""
        self.connect()
        self.near.write(b"trouble")
        self.near.write(b"never sent")
        self.near.lose()
        self.settle()
        self.assertEqual(self.near.events, ["made", "Trouble"])
        self.assertTrue(self.far.wasReset)

    def test_laterTrouble(self) -> None:
        """So does what turns out later not to be translated; nothing behind it is sent."""
        self.connect()
        self.layer.later = True
        self.near.write(b"x")
        self.near.write(b"never sent")
        self.layer.jobs.pop()[0].errback(Trouble.failure())
        self.settle()
        self.assertEqual(self.near.events, ["made", "Trouble"])
        self.assertEqual((self.heard(), self.layer.sizes), (b"", [1]))

    def test_troubleOfBoth(self) -> None:
        """The first trouble is the reason."""
        self.connect()
        self.layer.later = True
        self.near.write(b"x")
        self.layer.dataReceived(b"61")
        (encoding, _), (decoding, _) = self.layer.jobs
        decoding.errback(Trouble.failure())
        encoding.errback(ValueError("nobody hears of this"))
        self.settle()
        self.assertEqual(self.near.events, ["made", "Trouble"])

    def test_calledOff(self) -> None:
        """Translations are called off when the connection is lost."""
        self.connect()
        self.layer.later = True
        self.near.write(b"never sent")
        self.near.write(b"nor this")
        self.far.abort()
        self.settle()
        self.assertTrue(self.layer.jobs[0][0].called)
        self.assertEqual(self.near.events, ["made", "ConnectionLost"])

    def test_aborted(self) -> None:
        """A reset waits for nothing."""
        self.connect()
        self.layer.later = True
        self.near.write(b"never sent")
        self.near.abort()
        self.assertTrue(self.layer.jobs[0][0].called)
        self.near.write(b"nor this")
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionAborted"])
        self.assertTrue(self.far.wasReset)


class EndingTests(LayerCase):
    """Ends, behind what was written."""

    def test_loseWrite(self) -> None:
        """A FIN waits for what is being translated; the other direction goes on."""
        self.connect()
        self.layer.later = True
        self.near.write(b"question")
        self.near.loseWrite()
        self.near.write(b", after all")
        self.near.loseWrite()
        self.settle()
        self.assertEqual((self.far.eof, self.near.events), (False, ["made"]))
        self.layer.workOff()
        self.settle()
        self.assertEqual((self.heard(), self.far.eof), (b"question, after all", True))
        self.assertEqual(self.near.events, ["made", "written"])
        self.near.loseWrite()
        self.near.write(b"too late")
        self.layer.later = False
        self.say(b"answer")
        self.settle()
        self.assertEqual(self.near.received, b"answer")
        self.near.lose()
        self.settle()
        self.assertEqual(self.near.events, ["made", "written", "data", "ConnectionDone"])

    def test_lose(self) -> None:
        """A close waits for what is being translated."""
        self.connect()
        self.layer.later = True
        self.near.write(b"the")
        self.near.write(b" end")
        self.near.lose()
        self.settle()
        self.assertEqual((self.far.eof, self.near.events), (False, ["made"]))
        self.layer.workOff()
        self.settle()
        self.assertEqual((self.heard(), self.far.eof), (b"the end", True))
        self.assertEqual(self.near.events, ["made", "ConnectionDone"])

    def test_loseBehindLoseWrite(self) -> None:
        """A close may come while a FIN waits."""
        self.connect()
        self.layer.ends = self.layer.later = True
        self.near.write(b"the end")
        self.near.loseWrite()
        self.near.lose()
        self.layer.workOff()
        self.settle()
        self.assertEqual(self.far.received, b"the end".hex().encode() + b".")
        self.assertTrue(self.near.wasClosed and self.far.eof)

    def test_endBehindAFullBuffer(self) -> None:
        """An end waits for a far side that does not read."""
        for end, event in (("lose", "ConnectionDone"), ("loseWrite", "written")):
            self.connect(window=1000, sendBuffer=1000)
            self.far.pause()
            self.near.write(FLOOD)
            getattr(self.near, end)()
            self.settle()
            self.assertEqual(self.near.events, ["made"])
            self.far.resume()
            self.settle()
            self.assertOctets(self.heard(), FLOOD)
            self.assertEqual((self.far.eof, self.near.events), (True, ["made", event]))

    def test_resetBehindEverything(self) -> None:
        """What a relay does to reset a flushed stream it does here."""
        for later in (False, True):
            self.connect(window=1000, sendBuffer=1000)
            self.layer.later = later
            self.far.pause()
            self.near.write(FLOOD[:200_000])
            self.near.write(b"the end")
            AbortWhenFlushed(self.layer)
            self.settle()
            self.assertEqual(self.near.events, ["made"])
            self.far.resume()
            for _ in range(3):
                self.layer.workOff()
                self.settle()
            # The kernel was given everything; what it has not delivered the reset overtakes.
            self.assertEqual(self.handle.octetsSent, 2 * 200_007)
            self.assertEqual(self.near.events, ["made", "ConnectionAborted"])
            self.assertTrue(self.far.wasReset)

    def test_resetOfNothing(self) -> None:
        """With nothing to flush, such a reset comes at once."""
        self.connect()
        AbortWhenFlushed(self.layer)
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionAborted"])


class ProducerTests(LayerCase):
    """Producers above."""

    def test_pace(self) -> None:
        """One is paused when the transport below has enough, and resumed when it has room."""
        self.connect(window=1000, sendBuffer=1000)
        producer = Pushing()
        self.layer.registerProducer(producer, True)
        self.far.pause()
        self.near.write(bytes(100))
        self.settle()
        self.assertEqual(producer.told, [])
        self.near.write(bytes(BUFFER))
        self.assertEqual(producer.told, ["pause"])
        self.near.write(b"on top of it")
        self.settle()
        self.assertEqual(producer.told, ["pause"])
        self.assertEqual(self.layer.sizes, [100, BUFFER])
        self.far.resume()
        self.settle()
        self.assertEqual(producer.told, ["pause", "resume"])
        self.assertOctets(self.heard(), bytes(100 + BUFFER) + b"on top of it")

    def test_paceOfTranslation(self) -> None:
        """One is paused when more than a buffer waits to be translated, and resumed in time."""
        self.connect()
        self.layer.later = True
        producer = Pushing()
        self.layer.registerProducer(producer, True)
        self.near.write(bytes(BUFFER))
        self.assertEqual(producer.told, [])
        self.near.write(b"one too many")
        self.near.write(b"another")
        self.assertEqual(producer.told, ["pause"])
        self.layer.work()
        self.settle()
        # What waited is being translated: there is room for more already.
        self.assertEqual(producer.told, ["pause", "resume"])
        self.layer.workOff()
        self.layer.unregisterProducer()

    def test_pausedByBelow(self) -> None:
        """One hears at once when the transport below has enough, though it has written nothing."""
        self.connect()
        producer = Pushing()
        self.layer.registerProducer(producer, True)
        self.layer._fullBelow()
        self.layer._fullBelow()
        self.assertEqual(producer.told, ["pause"])
        self.layer._roomBelow()
        self.assertEqual(producer.told, ["pause", "resume"])

    def test_two(self) -> None:
        """There is one at a time."""
        self.connect()
        self.layer.registerProducer(Pushing(), True)
        self.assertRaises(RuntimeError, self.layer.registerProducer, Pushing(), True)
        self.layer.unregisterProducer()
        self.layer.registerProducer(Pushing(), False)
        self.assertRaises(RuntimeError, self.layer.registerProducer, Pushing(), True)

    def test_stopped(self) -> None:
        """It is stopped with the connection, and one that comes too late at once."""
        self.connect()
        before, after = Pushing(), Pushing()
        self.layer.registerProducer(before, True)
        self.layer.stopProducing()
        self.settle()
        self.assertEqual(before.told, ["stop"])
        self.layer.registerProducer(after, True)
        self.assertEqual(after.told, ["stop"])
        self.layer.unregisterProducer()

    def test_closesBehindIt(self) -> None:
        """A close, and a FIN, wait for the producer that is paused, and come when it leaves."""
        for how, end in (
            ("loseConnection", "ConnectionDone"),
            ("loseWriteConnection", "written"),
        ):
            self.connect(window=1000, sendBuffer=1000)
            producer = Pushing()
            self.layer.registerProducer(producer, True)
            self.far.pause()
            self.near.write(FLOOD)
            getattr(self.layer, how)()
            self.far.resume()
            self.settle()
            self.assertEqual(producer.told, ["pause", "resume"])
            self.assertEqual(self.near.events, ["made"])
            self.near.write(b"the end")
            self.layer.unregisterProducer()
            self.settle()
            self.assertOctets(self.heard(), FLOOD + b"the end")
            self.assertEqual((self.far.eof, self.near.events), (True, ["made", end]))

    def test_pulled(self) -> None:
        """One that is asked is asked each time that all is sent."""
        for later in (False, True):
            self.connect(window=1000, sendBuffer=1000)
            self.layer.later = later
            producer = Pulled(self.layer, FLOOD[:10_000], 1000)  # type: ignore[arg-type]
            self.layer.registerProducer(producer, False)
            self.near.loseWrite()
            for _ in range(20):
                self.settle()
                self.layer.workOff()
            self.assertEqual(producer.asked, 10)
            self.assertOctets(self.heard(), FLOOD[:10_000])
            self.assertEqual(self.near.events, ["made", "written"])

    def test_pulledBehindAQueue(self) -> None:
        """It is first asked when what was written before is sent, a piece at a time."""
        self.connect(window=1000, sendBuffer=1000)
        self.far.pause()
        self.near.write(FLOOD + FLOOD)
        producer = Pulled(self.layer, b"behind it", 9)  # type: ignore[arg-type]
        self.layer.registerProducer(producer, False)
        self.settle()
        self.assertEqual(producer.asked, 0)
        self.assertLess(sum(self.layer.sizes), 2 * len(FLOOD))
        self.far.resume()
        self.settle()
        self.assertEqual(producer.asked, 1)
        self.assertOctets(self.heard(), FLOOD + FLOOD + b"behind it")

    def test_pulledWhenNothingCameOfIt(self) -> None:
        """A translation to nothing, for now, is as good as sent."""
        self.connect()
        self.layer._encode = lambda octets: b""  # type: ignore[method-assign]
        producer = Pulled(self.layer, bytes(300), 100)  # type: ignore[arg-type]
        self.layer.registerProducer(producer, False)
        self.settle()
        self.assertEqual(producer.asked, 3)


class StreamWritingTests(WritingTests):
    """What is written to a stream."""

    streams = True


class StreamEndingTests(EndingTests):
    """Ends, on a stream."""

    streams = True


class StreamProducerTests(ProducerTests):
    """Producers above a stream."""

    streams = True
