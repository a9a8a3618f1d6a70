"""The context in memory: it has to tell what it is there to tell."""

from __future__ import annotations

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from twisted_socks5.security import ContextError, ISecurityContext
from twisted_socks5.testing import MemoryContext
from twisted_socks5.testing.security import OVERHEAD


class Case(SynchronousTestCase):
    """Asserts what contexts refuse."""

    def refused(self, text: str, call: object, *args: object) -> None:
        """Assert that a call is refused, and why."""
        self.assertEqual(str(self.assertRaises(ContextError, call, *args)), text)


class StepTests(Case):
    """Tokens before it stands."""

    def talk(self, rounds: int, mutual: bool) -> tuple[MemoryContext, MemoryContext, int]:
        """Let two contexts talk until neither has anything to say; @return: them, and tokens."""
        one = MemoryContext("alice", initiates=True, rounds=rounds, mutual=mutual)
        two = MemoryContext("rcmd/proxy", rounds=rounds, mutual=mutual)
        sides, token, count = [one, two], one.step(b""), 0
        while token:
            count += 1
            sides.reverse()
            token = sides[0].step(token)
        return one, two, count

    def test_interface(self) -> None:
        """It has what is asked of a context."""
        self.assertTrue(verifyObject(ISecurityContext, MemoryContext("alice")))

    def test_rounds(self) -> None:
        """Any number of tokens may be needed, and the last may have no answer."""
        for rounds in (1, 2, 5):
            for mutual in (True, False):
                one, two, count = self.talk(rounds, mutual)
                self.assertTrue(one.established and two.established)
                self.assertEqual(count, 2 * rounds - (not mutual))
                self.assertEqual(two.peer, "alice@EXAMPLE.COM")
                if mutual:
                    self.assertEqual(one.peer, "rcmd/proxy@EXAMPLE.COM")
                self.assertEqual(two.unwrap(one.wrap(b"x", True)), (b"x", True))

    def test_refused(self) -> None:
        """What is changed, foreign or out of its turn is no token."""
        one = MemoryContext("alice", initiates=True)
        self.refused("a token for who begins", one.step, b"x")
        token = one.step(b"")
        two = MemoryContext("rcmd/proxy")
        bad = "a token is of another realm, or was changed"
        self.refused(bad, two.step, token[:-1] + b"x")
        self.refused(bad, two.step, b"")
        self.refused(bad, MemoryContext("rcmd/proxy", realm="FOREIGN").step, token)
        self.refused(bad, one.step, token)
        two.step(token)
        self.refused("the context stands already", two.step, token)
        two = MemoryContext("rcmd/proxy", rounds=2)
        two.step(token)
        self.refused("a token is not the one that has its turn", two.step, token)


class WrapTests(Case):
    """Tokens once it stands."""

    def test_wrap(self) -> None:
        """What is confidential can't be read, and what is not can; each knows which it was."""
        one, two = MemoryContext.pair()
        for sealed in (True, False):
            for octets in (b"", b"\0", b"\0\0secret", bytes(70_000)):
                token = one.wrap(octets, sealed)
                self.assertEqual(len(token), len(octets) + OVERHEAD)
                self.assertEqual(two.unwrap(token), (octets, sealed))
        self.assertNotIn(b"secret", one.wrap(b"secret", True))
        self.assertIn(b"secret", one.wrap(b"secret", False))
        self.assertEqual((one.wrapped, two.unwrapped), (10, 8))

    def test_limit(self) -> None:
        """As much as it says fits into a token."""
        one, _ = MemoryContext.pair()
        self.assertEqual(len(one.wrap(bytes(one.wrapSizeLimit(True)), True)), 65_535)
        self.assertEqual(len(one.wrap(bytes(one.wrapSizeLimit(True, 100)), True)), 100)

    def test_changed(self) -> None:
        """A change anywhere is found."""
        one, two = MemoryContext.pair()
        token = one.wrap(b"octets", True)
        for place in range(len(token)):
            changed = bytearray(token)
            changed[place] ^= 0x10
            self.refused("a token has a bad checksum", two.unwrap, bytes(changed))
        self.refused("a token has a bad checksum", two.unwrap, token[1:])
        self.refused("a token has a bad checksum", two.unwrap, token[: OVERHEAD - 1])
        self.refused("a token has a bad checksum", one.unwrap, token)

    def test_order(self) -> None:
        """One that comes again is found, and where there is an order one that is left out."""
        one, two = MemoryContext.pair()
        first, second, third = (one.wrap(b"x", True) for _ in range(3))
        two.unwrap(first)
        self.refused("a token comes again", two.unwrap, first)
        self.refused("a token is not the next one", two.unwrap, third)
        two.unwrap(second)
        self.refused("a token is not the next one", two.unwrap, first)
        one, two = MemoryContext.pair(ordered=False)
        first, second = (one.wrap(b"x", True) for _ in range(2))
        two.unwrap(second)
        two.unwrap(first)
        self.refused("a token comes again", two.unwrap, first)

    def test_notStanding(self) -> None:
        """Before it stands, and when it is disposed of, there are none."""
        context = MemoryContext("alice", initiates=True)
        for call in (lambda: context.wrap(b"", True), lambda: context.wrapSizeLimit(True)):
            self.refused("the context does not stand", call)
        one, two = MemoryContext.pair()
        token = one.wrap(b"x", True)
        for _ in range(2):
            two.dispose()
        self.refused("the context is closed", two.unwrap, token)
        self.assertFalse(two.established)

    def test_failure(self) -> None:
        """It fails when a test says so."""
        one, _ = MemoryContext.pair()
        one.failure = "no more"
        self.refused("no more", one.wrap, b"", True)

    def test_lifetime(self) -> None:
        """It expires."""
        clock = Clock()
        one = MemoryContext("alice", initiates=True, clock=clock, lifetime=10)
        two = MemoryContext("rcmd/proxy")
        one.step(two.step(one.step(b"")))
        self.assertEqual((one.lifetime, two.lifetime), (10, None))
        one.wrap(b"", True)
        clock.advance(11)
        self.assertEqual(one.lifetime, 0)
        self.refused("the context has expired", one.wrap, b"", True)

    def test_twoThreads(self) -> None:
        """Two threads at the same time are found out."""
        one, _ = MemoryContext.pair()
        one._inUse.acquire()
        self.assertRaises(RuntimeError, one.wrap, b"", True)
