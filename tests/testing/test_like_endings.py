"""
How connections end, in memory as over loopback sockets.
"""

from __future__ import annotations

import socket
from typing import Any

from tests.testing.worlds import FLOOD, KERNEL_LOAD, InMemory, OnLoopback, World, played
from twisted_socks5.testing import Peer, PlainPeer


class OpenEnded(Peer):
    """A peer that leaves a connection alone whose directions have both ended."""

    closesWhenBothEnded = False


class Endings(World):
    """FINs, closes and resets."""

    # Endings in order

    @played
    async def test_halfClose(self) -> None:
        """A side that has sent its FIN still receives; both then close."""
        near, far = await self.pair()
        near.write(b"question")
        near.loseWrite()
        await far.whenEOF()
        near.write(b"not sent any more")
        await self.rest()
        far.write(b"answer")
        far.loseWrite()
        await near.whenLost()
        await far.whenLost()
        self.assertEqual(far.received, b"question")
        self.assertEqual(near.received, b"answer")
        self.assertEqual(near.events, ["made", "written", "data", "eof", "ConnectionDone"])
        self.assertEqual(far.events, ["made", "data", "eof", "written", "ConnectionDone"])

    @played
    async def test_bothHalvesStayOpen(self) -> None:
        """Twisted does not close a connection of which both directions have ended."""
        near, far = await self.pair(OpenEnded, OpenEnded)
        near.loseWrite()
        await far.whenEOF()
        far.loseWrite()
        await near.whenEOF()
        await self.rest()
        self.assertEqual(near.events, ["made", "written", "eof"])
        self.assertEqual(far.events, ["made", "eof", "written"])
        far.lose()
        near.lose()
        await self.rest()
        self.assertEqual(near.events[-1:] + far.events[-1:], ["ConnectionDone"] * 2)

    @played
    async def test_abortAfterBothHalves(self) -> None:
        """Once both FINs are through there is nothing to reset."""
        near, far = await self.pair(OpenEnded, OpenEnded)
        near.loseWrite()
        await far.whenEOF()
        far.loseWrite()
        await near.whenEOF()
        near.abort()
        await near.whenLost()
        await self.rest()
        far.resume()
        await self.rest()
        self.assertEqual(near.events[-1], "ConnectionAborted")
        self.assertEqual(far.events, ["made", "eof", "written", "eof"])

    @played
    async def test_loseConnection(self) -> None:
        """A close is flushed; the other side reads it as a FIN."""
        near, far = await self.pair()
        near.write(b"x" * 1_000_000)
        near.lose()
        await far.whenEOF()
        await near.whenLost()
        self.assertEqual(len(far.received), 1_000_000)
        self.assertEqual(far.events, ["made", "data", "eof"])
        self.assertEqual(near.events, ["made", "ConnectionDone"])

    @played
    async def test_plainPeer(self) -> None:
        """Without half-close the other side's FIN is the end of the connection."""
        near, far = await self.pair(far=PlainPeer)
        near.loseWrite()
        await far.whenLost()
        await near.whenLost()
        self.assertEqual(far.events, ["made", "ConnectionDone"])
        self.assertEqual(near.events, ["made", "written", "eof", "ConnectionDone"])

    @played
    async def test_bothLose(self) -> None:
        """Two sides that close at once close in order."""
        near, far = await self.pair()
        near.lose()
        far.lose()
        await near.whenLost()
        await far.whenLost()
        self.assertEqual(near.events + far.events, ["made", "ConnectionDone"] * 2)

    @played
    async def test_loseWhilePaused(self) -> None:
        """A side that does not read can close."""
        near, far = await self.pair()
        near.pause()
        near.write(b"bye")
        near.lose()
        await near.whenLost()
        await far.whenEOF()
        self.assertEqual(near.events, ["made", "ConnectionDone"])
        self.assertEqual(far.events, ["made", "data", "eof"])

    @played
    async def test_endWhilePaused(self) -> None:
        """A side that does not read notices neither octets nor their end until it reads."""
        near, far = await self.pair()
        far.pause()
        near.write(b"bye")
        near.lose()
        await near.whenLost()
        await self.rest()
        self.assertEqual(far.events, ["made"])
        far.resume()
        await far.whenEOF()
        self.assertEqual(far.events, ["made", "data", "eof"])

    @played
    async def test_loseAfterLosingWrite(self) -> None:
        """A close after the FIN is immediate."""
        near, far = await self.pair()
        near.loseWrite()
        await far.whenEOF()
        near.lose()
        self.assertEqual(near.events, ["made", "written", "ConnectionDone"])

    # Resets

    @played
    async def test_abort(self) -> None:
        """An abort is a reset for the other side."""
        near, far = await self.pair()
        near.abort()
        self.assertEqual(near.events, ["made"])
        await far.whenLost()
        self.assertEqual(near.events, ["made", "ConnectionAborted"])
        self.assertEqual(far.events, ["made", "ConnectionLost"])
        self.assertEqual([far.wasReset, far.wasClosed], [True, False])

    @played
    async def test_abortBehindOctets(self) -> None:
        """What arrived before a reset is still read; a paused side notices neither."""
        near, far = await self.pair()
        far.pause()
        near.write(b"x" * 1000)
        await self.rest()
        near.abort()
        await near.whenLost()
        await self.rest()
        self.assertEqual(far.events, ["made"])
        far.resume()
        await far.whenLost()
        self.assertEqual(len(far.received), 1000)
        self.assertEqual(far.events, ["made", "data", "ConnectionLost"])

    @played
    async def test_abortDropsWhatIsBuffered(self) -> None:
        """What the other side had no room for is lost with a reset."""
        near, far = await self.pair()
        far.pause()
        near.write(b"x" * FLOOD)
        await self.rest()
        near.abort()
        await near.whenLost()
        far.resume()
        await far.whenLost()
        self.assertGreater(len(far.received), 0)
        self.assertLess(len(far.received), FLOOD)
        self.assertEqual(far.events, ["made", "data", "ConnectionLost"])

    @played
    async def test_abortOfAWriter(self) -> None:
        """A side that waits to write notices a reset, though it does not read; input is lost."""
        near, far = await self.pair()
        near.pause()
        far.pause()
        near.write(b"unread")
        far.write(b"x" * FLOOD)
        await self.rest()
        near.abort()
        await far.whenLost()
        self.assertEqual(far.events, ["made", "ConnectionLost"])

    @played
    async def test_abortAfterEOF(self) -> None:
        """A reset after the FIN goes unnoticed until something is written."""
        near, far = await self.pair()
        near.loseWrite()
        await far.whenEOF()
        near.abort()
        await near.whenLost()
        await self.rest()
        self.assertEqual(far.events, ["made", "eof"])
        far.write(b"anybody there?")
        await far.whenLost()
        self.assertEqual(far.events, ["made", "eof", "ConnectionLost"])

    @played
    async def test_writeToAClosedConnection(self) -> None:
        """Octets for a closed connection bring a reset, which the next octets notice."""
        near, far = await self.pair()
        near.lose()
        await near.whenLost()
        await far.whenEOF()
        far.write(b"taken")
        await self.rest()
        self.assertEqual(far.events, ["made", "eof"])
        far.write(b"not taken")
        await far.whenLost()
        self.assertEqual(far.events, ["made", "eof", "ConnectionLost"])

    @played
    async def test_finishAClosedConnection(self) -> None:
        """A FIN for a closed connection is in order."""
        near, far = await self.pair()
        near.lose()
        await near.whenLost()
        await far.whenEOF()
        far.loseWrite()
        await far.whenLost()
        self.assertEqual(far.events, ["made", "eof", "written", "ConnectionDone"])

    @played
    async def test_loseWithUnreadInput(self) -> None:
        """A close with unread input is a reset; a FIN that got through before is still read."""
        near, far = await self.pair()
        near.pause()
        far.write(b"unread")
        await self.rest()
        near.write(b"reply")
        near.lose()
        await near.whenLost()
        await far.whenEOF()
        await self.rest()
        self.assertEqual(near.events, ["made", "ConnectionDone"])
        self.assertEqual(far.events, ["made", "data", "eof"])
        far.write(b"more")
        await far.whenLost()
        self.assertEqual(far.events, ["made", "data", "eof", "ConnectionLost"])

    @played
    async def test_loseWithUnreadInputLosesTheReply(self) -> None:
        """A close with unread input drops what has not reached the other side yet."""
        near, far = await self.pair()
        handle: Any = near.transport.getHandle()
        handle.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2 * KERNEL_LOAD)
        near.pause()
        far.pause()
        far.write(b"unread")
        await self.rest()
        near.write(b"r" * KERNEL_LOAD)
        near.lose()
        await near.whenLost()
        self.assertEqual(near.events, ["made", "ConnectionDone"])
        far.resume()
        await far.whenLost()
        self.assertLess(len(far.received), KERNEL_LOAD)
        self.assertEqual(far.events, ["made", "data", "ConnectionLost"])

    @played
    async def test_failingProtocol(self) -> None:
        """A protocol that raises loses its connection, with what it raised."""

        class Failing(Peer):
            def dataReceived(self, data: bytes) -> None:
                raise ZeroDivisionError

        near, far = await self.pair(far=Failing)
        near.write(b"x")
        await far.whenLost()
        await near.whenEOF()
        self.assertEqual(far.events, ["made", "ZeroDivisionError"])
        self.assertEqual(near.events, ["made", "eof"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class EndingsInMemoryTests(InMemory, Endings):
    """The same in memory."""


class EndingsOnLoopbackTests(OnLoopback, Endings):
    """The same over loopback sockets."""
