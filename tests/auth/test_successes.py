"""Tests of what is remembered of logins."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.auth.successes import Successes

OCTETS = st.binary(max_size=6)


class SuccessesTests(SynchronousTestCase):
    """A success, for a while."""

    def test_while(self) -> None:
        """It is remembered for so long."""
        successes = Successes(60)
        mark = successes.mark(b"alice", b"secret", b"$2b$...")
        self.assertFalse(successes.has(mark, 0))
        successes.add(mark, 0)
        self.assertTrue(successes.has(mark, 59.9))
        self.assertFalse(successes.has(mark, 60))

    def test_again(self) -> None:
        """Another success begins the time anew."""
        successes = Successes(60)
        for now in (0, 50):
            successes.add(b"a", now)
        self.assertTrue(successes.has(b"a", 100))
        self.assertEqual(len(successes), 1)

    @given(OCTETS, OCTETS, OCTETS, OCTETS, OCTETS, OCTETS)
    @settings(max_examples=200, deadline=None)
    def test_belongs(
        self, name: bytes, word: bytes, text: bytes, other: bytes, otherWord: bytes, line: bytes
    ) -> None:
        """To a name, a password and a line; wherever one ends and the next begins."""
        successes = Successes()
        marks = successes.mark(name, word, text), successes.mark(other, otherWord, line)
        self.assertEqual(marks[0] == marks[1], (name, word, text) == (other, otherWord, line))

    def test_boundaries(self) -> None:
        """A name's end is not a password's beginning, digits and colons included."""
        successes = Successes()
        triples = [(b"a", b"bc", b""), (b"ab", b"c", b""), (b"", b"abc", b""), (b"a", b"b", b"c")]
        triples += [(b"1:2:a", b"", b"b"), (b"", b"1:2:a", b"b"), (b"1", b":2:a", b"b")]
        self.assertEqual(len({successes.mark(*triple) for triple in triples}), len(triples))

    def test_key(self) -> None:
        """Another process' marks are others, and no mark shows what it was made of."""
        marks = [Successes().mark(b"alice", b"secret", b"line") for _ in range(2)]
        self.assertNotEqual(*marks)
        self.assertNotIn(b"secret", marks[0])

    def test_bounded(self) -> None:
        """So many are remembered: the last ones."""
        successes = Successes(60, 3)
        for number in range(10):
            successes.add(b"%d" % number, number)
            self.assertLessEqual(len(successes), 3)
        self.assertEqual([n for n in range(10) if successes.has(b"%d" % n, 10)], [7, 8, 9])

    def test_forgets(self) -> None:
        """What is over goes when others come."""
        successes = Successes(60)
        for number in range(10):
            successes.add(b"%d" % number, 0)
        for number in range(10, 20):
            successes.add(b"%d" % number, 100)
        self.assertLessEqual(len(successes), 10)

    def test_alone(self) -> None:
        """The newest stays, however small the table and short the time."""
        successes = Successes(1e-9, 1)
        for now in (0.0, 1.0, 2.0):
            successes.add(b"a", now)
            self.assertTrue(successes.has(b"a", now))

    def test_number(self) -> None:
        """A name has one number, another process' is another, and they are spread."""
        successes = Successes()
        numbers = [successes.number(b"%d" % n) % 4 for n in range(400)]
        self.assertEqual(numbers, [successes.number(b"%d" % n) % 4 for n in range(400)])
        for each in range(4):
            self.assertGreater(numbers.count(each), 50)
        self.assertNotEqual(successes.number(b"alice"), Successes().number(b"alice"))

    def test_range(self) -> None:
        """Numbers that make no sense are refused."""
        for arguments in ((0, 1), (-1, 1), (1, 0)):
            self.assertRaises(ValueError, Successes, *arguments)
