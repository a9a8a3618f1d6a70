"""The spliced relay: bulk goes past us, and nothing else about the relay changes."""

from __future__ import annotations

import errno

from tests.relay.joined import HELD, JoinedTestCase
from twisted_socks5.relay import splice
from twisted_socks5.relay.splice import PIPES

FLOOD = b"0123456789abcdef" * 100_000


class SpliceTests(JoinedTestCase):
    """Which octets are spliced, what is held meanwhile, and what happens when it fails."""

    streams = True

    def test_bulk(self) -> None:
        """A flood is spliced from its second read on; a pipe is lent no longer than needed."""
        joined = self.join()
        joined.relay.start()
        joined.target.write(FLOOD)
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertEqual(self.kernel.spliced, len(FLOOD) - 65_536)
        self.assertEqual(joined.relay.target.received, len(FLOOD))
        self.assertEqual(self.kernel.pipes, 1)

    def test_small(self) -> None:
        """Small messages are not spliced, and need no pipe."""
        joined = self.join()
        joined.relay.start()
        for _ in range(10):
            joined.client.write(b"x" * 1000)
            joined.settle()
        self.assertEqual([self.kernel.spliced, self.kernel.pipes], [0, 0])

    def test_onePipeForAll(self) -> None:
        """Relays whose readers keep up share a pipe."""
        first, second = self.join(), self.join()
        for joined in (first, second):
            self.kernel.network = joined.reactor.network
            joined.relay.start()
            joined.target.write(FLOOD)
            joined.settle()
            joined.client.write(FLOOD)
            joined.settle()
            self.assertOctets(joined.client.received, FLOOD)
            self.assertOctets(joined.target.received, FLOOD)
        self.assertEqual(self.kernel.pipes, 1)

    def test_slowReader(self) -> None:
        """A reader that is slow costs one pipe, and the target is not read meanwhile."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.settle()
        self.assertEqual(self.kernel.pipes, 1)
        self.assertGreater(joined.heldForClient(), 0)
        self.assertLessEqual(joined.heldForClient(), HELD)
        joined.client.resume()
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)

    def test_splicedBehindWhatIsCopied(self) -> None:
        """Nothing is spliced past octets that were copied and wait to be sent."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        sent = 0
        for size in (60_000, 60_000, 65_536, 50_000):
            joined.target.write(FLOOD[sent : sent + size])
            joined.settle()
            sent += size
        self.assertEqual(joined.relay.target.received, sent)
        self.assertEqual(self.kernel.spliced, 0)
        joined.target.write(FLOOD[sent:])
        joined.client.resume()
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertGreater(self.kernel.spliced, 0)

    def test_writtenBehindWhatIsHeld(self) -> None:
        """What is written to a leg whose pipe is not empty goes behind it."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.settle()
        joined.legs[0].transport.write(b"behind ")
        joined.legs[0].transport.write(b"it")
        joined.target.loseWrite()
        joined.settle()
        joined.client.resume()
        joined.settle()
        held = joined.client.received.index(b"behind it")
        received = bytes(joined.client.received)
        self.assertOctets(received[:held] + received[held + 9 :], FLOOD)
        self.assertTrue(joined.client.eof)

    def test_readerGoes(self) -> None:
        """A pipe is closed with what it holds for a reader that has gone."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.settle()
        joined.client.abort()
        joined.settle()
        self.assertTrue(joined.target.wasReset)
        self.assertEqual(len(joined.outcomes), 1)
        self.assertNothingLeft(joined)

    def test_targetGoes(self) -> None:
        """A target's reset is found while splicing, and passed on behind its octets."""
        joined = self.join()
        joined.relay.start()
        joined.target.write(FLOOD[:200_000])
        joined.settle()
        joined.target.abort()
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD[:200_000])
        self.assertTrue(joined.client.wasReset)
        self.assertOver(joined, 0, 200_000, "target reset")

    def test_resetFoundBySplicing(self) -> None:
        """A reset that a splice finds out about first is one all the same, and no end."""
        joined = self.join(shuffle=list.reverse)  # the target is served before the client
        joined.relay.start()
        joined.target.write(FLOOD[:65_536])
        joined.client.write(FLOOD[:65_536])
        joined.settle()
        joined.target.write(b"answer")
        joined.reactor.turn()
        joined.client.abort()
        joined.settle()
        self.assertEqual(self.kernel.spliced, 6)
        self.assertTrue(joined.target.wasReset)
        self.assertOver(joined, 65_536, 65_542, "client reset")

    def test_endBehindWhatIsHeld(self) -> None:
        """A FIN goes behind what the pipe holds."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.target.lose()
        joined.settle()
        joined.client.resume()
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertTrue(joined.client.eof)

    def test_noPipe(self) -> None:
        """Without a descriptor for a pipe, octets are copied."""
        self.kernel.noPipes = True
        joined = self.join()
        joined.relay.start()
        joined.target.write(FLOOD)
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertEqual(self.kernel.spliced, 0)
        self.assertTrue(PIPES.usable)

    def test_notHere(self) -> None:
        """A kernel that does not splice is asked once; octets are copied, all of them."""
        self.kernel.error = errno.EINVAL
        joined = self.join()
        joined.relay.start()
        joined.target.write(FLOOD)
        joined.client.write(FLOOD)
        joined.settle()
        self.assertOctets(joined.client.received, FLOOD)
        self.assertOctets(joined.target.received, FLOOD)
        self.assertFalse(PIPES.usable)

    def test_turn(self) -> None:
        """However much there is, others get their turn."""
        self.patch(splice, "TURN", 100_000)
        self.kernel.pipeSize = 20_000
        joined = self.join(window=1_000_000, sendBuffer=1_000_000)
        joined.relay.start()
        joined.target.write(FLOOD)
        before = most = 0
        while joined.reactor.turn():
            most = max(most, self.kernel.spliced - before)
            before = self.kernel.spliced
        self.assertEqual(most, 100_000)
        self.assertOctets(joined.client.received, FLOOD)

    def test_brokenWhileItDrains(self) -> None:
        """A reader that is found to be gone while its pipe is emptied has been reset."""
        joined = self.join()
        joined.relay.start()
        joined.client.pause()
        joined.target.write(FLOOD)
        joined.settle()
        self.kernel.error = errno.EPIPE
        joined.client.resume()
        joined.settle()
        self.assertTrue(joined.target.wasReset)
        self.assertEqual([each.reason for each in joined.outcomes], ["client reset"])
        joined.client.abort()
        joined.settle()
        self.assertNothingLeft(joined)

    def test_keptPipes(self) -> None:
        """Pipes that many slow readers needed are not all kept."""
        many = [self.join() for _ in range(20)]
        for joined in many:
            self.kernel.network = joined.reactor.network
            joined.relay.start()
            joined.client.pause()
            joined.target.write(FLOOD)
            joined.settle()
        self.assertEqual(self.kernel.pipes, 20)
        for joined in many:
            self.kernel.network = joined.reactor.network
            joined.client.resume()
            joined.settle()
            self.assertOctets(joined.client.received, FLOOD)
        self.assertEqual(self.kernel.pipes, 8)
