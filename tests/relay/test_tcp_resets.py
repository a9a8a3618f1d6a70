"""Resets, in memory: a stream that breaks must not look like one that ended."""

from __future__ import annotations

from tests.relay.joined import JoinedTestCase
from twisted_socks5.testing import PlainPeer

FLOOD = b"0123456789abcdef" * 100_000


class ResetTests(JoinedTestCase):
    """A stream that breaks must not look like one that ended."""

    def test_targetResets(self) -> None:
        """A reset of the target is a reset for the client, behind what was received."""
        joined = self.join()
        joined.relay.start()
        joined.target.write(b"half an ans")
        joined.settle()
        joined.target.abort()
        joined.settle()
        self.assertEqual(joined.client.events, ["made", "data", "ConnectionLost"])
        self.assertEqual(joined.client.received, b"half an ans")
        self.assertOver(joined, 0, 11, "target reset")

    def test_clientResets(self) -> None:
        """A reset of the client is a reset for the target."""
        joined = self.join()
        joined.relay.start()
        joined.client.write(b"half a quest")
        joined.settle()
        joined.client.abort()
        joined.settle()
        self.assertEqual(joined.target.events, ["made", "data", "ConnectionLost"])
        self.assertOver(joined, 12, 0, "client reset")

    def test_resetWithOctetsUnflushed(self) -> None:
        """What had been received before the reset is flushed before it is passed on."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(b"x" * 150_000)  # more than the window and the buffer below
        joined.settle()
        received = joined.relay.target.received
        self.assertGreater(joined.heldForClient(), 0)
        self.assertEqual(received, 150_000)
        joined.target.abort()
        joined.settle()
        self.assertRunning(joined)
        joined.client.resume()
        joined.settle()
        self.assertEqual(len(joined.client.received), received)
        self.assertTrue(joined.client.wasReset)
        self.assertOver(joined, 0, received, "target reset")

    def test_resetFoundByWriting(self) -> None:
        """A reset that a write finds out about first is one all the same, and no end."""
        joined = self.join(shuffle=list.reverse)  # the target is served before the client
        joined.relay.start()
        joined.settle()
        joined.target.write(b"answer")
        joined.reactor.turn()
        joined.client.abort()
        joined.settle()
        self.assertEqual(joined.target.events, ["made", "ConnectionLost"])
        self.assertOver(joined, 0, 6, "client reset")

    def test_resetOfBoth(self) -> None:
        """Both may reset in the same turn."""
        joined = self.join()
        joined.relay.start()
        joined.client.abort()
        joined.target.abort()
        joined.settle()
        self.assertEqual(len(joined.outcomes), 1)
        self.assertNothingLeft(joined)

    def test_resetWhileFlushing(self) -> None:
        """A side that is being flushed before its reset may reset itself."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(b"x" * 150_000)
        joined.settle()
        joined.target.abort()
        joined.settle()
        self.assertRunning(joined)
        joined.client.abort()
        joined.settle()
        # A target that is paused is not yet known to have gone.
        reason = "client reset" if self.streams else "target reset"
        self.assertOver(joined, 0, 150_000, reason)

    def test_targetResetsAfterItsEnd(self) -> None:
        """A reset behind the FIN takes nothing away: the client is closed in peace."""
        joined = self.join()
        joined.relay.start()
        joined.target.write(b"answer")
        joined.target.loseWrite()
        joined.settle()
        joined.target.abort()
        joined.settle()
        self.assertRunning(joined)
        joined.client.write(b"noticed when something is written")
        joined.settle()
        self.assertEqual(joined.client.received, b"answer")
        self.assertFalse(joined.client.wasReset)
        joined.client.lose()
        joined.settle()
        self.assertOver(joined, 33, 6, "target closed")

    def test_clientResetsAfterItsEnd(self) -> None:
        """A client that goes while it is answered is found out, and the target's stream cut."""
        joined = self.join()
        joined.relay.start()
        joined.client.write(b"question")
        joined.client.loseWrite()
        joined.settle()
        joined.client.abort()
        joined.settle()
        joined.target.write(FLOOD)
        joined.settle()
        self.assertEqual(joined.target.received, b"question")
        self.assertFalse(joined.outcomes == [])
        self.assertTrue(joined.target.wasReset or joined.target.wasClosed)
        self.assertEqual(joined.outcomes[0].reason, "client closed")
        self.assertNothingLeft(joined)

    def test_targetResetsAfterTheClientsEnd(self) -> None:
        """An answer that breaks off is a reset, though the client had ended its side."""
        joined = self.join()
        joined.relay.start()
        joined.client.loseWrite()
        joined.settle()
        joined.target.write(b"half an ans")
        joined.settle()
        joined.target.abort()
        joined.settle()
        self.assertEqual(joined.client.events, ["made", "written", "data", "ConnectionLost"])
        self.assertOver(joined, 0, 11, "client closed")

    def test_pausedTargetResets(self) -> None:
        """A reset behind back-pressure is passed on when the client reads on."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.settle()
        joined.target.abort()
        joined.settle()
        self.assertRunning(joined)
        joined.client.resume()
        joined.settle()
        self.assertTrue(joined.client.wasReset)
        self.assertLess(len(joined.client.received), len(FLOOD))
        self.assertOctets(joined.client.received, FLOOD[: len(joined.client.received)])
        self.assertOver(joined, 0, len(joined.client.received), "target reset")

    def test_clientResetsWithTheTargetPaused(self) -> None:
        """A client that goes ends a relay whose target is held back for it."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.settle()
        joined.client.abort()
        joined.settle()
        self.assertTrue(joined.target.wasReset)
        self.assertEqual(len(joined.outcomes), 1)
        self.assertEqual(joined.outcomes[0].reason, "client reset")
        self.assertNothingLeft(joined)

    def test_resetBeforeTheRelay(self) -> None:
        """A side that was reset before the relay started resets the other."""
        joined = self.join()
        joined.client.write(b"question")
        joined.settle()
        joined.target.abort()
        joined.settle()
        joined.relay.start()
        joined.settle()
        self.assertTrue(joined.client.wasReset)
        self.assertOver(joined, 8, 0, "target reset")

    def test_octetsAndResetBeforeTheRelay(self) -> None:
        """What came before a reset is passed on, though the relay started after it."""
        joined = self.join(target=PlainPeer())
        joined.target.write(b"last words")
        joined.reactor.turn()
        joined.target.abort()
        joined.settle()
        joined.relay.start()
        joined.settle()
        self.assertEqual(joined.client.received, b"last words")
        self.assertTrue(joined.client.wasReset)
        self.assertOver(joined, 0, 10, "target reset")

    def test_endAndResetBeforeTheRelay(self) -> None:
        """A side that ended, and was then reset, before the relay started has only ended."""
        joined = self.join()
        joined.target.loseWrite()
        joined.settle()
        joined.target.abort()
        joined.settle()
        joined.legs[1].transport.write(b"finds out")
        joined.settle()
        joined.relay.start()
        joined.settle()
        self.assertFalse(joined.client.wasReset)
        self.assertTrue(joined.client.eof)
        joined.client.lose()
        joined.settle()
        self.assertOver(joined, 0, 0, "target closed")

    def test_bothLostBeforeTheRelay(self) -> None:
        """A relay of two connections that are gone tells so once."""
        joined = self.join()
        joined.client.abort()
        joined.target.abort()
        joined.settle()
        joined.relay.start()
        joined.settle()
        self.assertOver(joined, 0, 0, "target reset")

    def test_abort(self) -> None:
        """A relay that is aborted resets both sides at once, whatever they still had to get."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.settle()
        joined.relay.abort("drain")
        joined.relay.abort("not the reason any more")
        joined.settle()
        joined.client.resume()
        joined.settle()
        self.assertTrue(joined.client.wasReset and joined.target.wasReset)
        self.assertEqual([each.reason for each in joined.outcomes], ["drain"])
        self.assertNothingLeft(joined)

    def test_abortAfterAnEnd(self) -> None:
        """A relay of which one side has ended keeps that as its reason; its streams are cut."""
        joined = self.join()
        joined.relay.start()
        joined.client.loseWrite()
        joined.settle()
        joined.relay.abort("drain")
        joined.settle()
        self.assertTrue(joined.client.wasReset)
        joined.target.write(b"finds out")
        joined.settle()
        self.assertTrue(joined.target.wasReset)
        self.assertOver(joined, 0, 0, "client closed")


class StreamResetTests(ResetTests):
    """Resets, on streams."""

    streams = True
