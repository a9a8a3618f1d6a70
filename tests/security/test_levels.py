"""Which protection level two sides agree on."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.security.levels import accept, grant, seals, suffices
from twisted_socks5.wire import ProtectionLevel

NONE, INTEGRITY, CONFIDENTIALITY, PER_MESSAGE = ProtectionLevel

#: How much protection a level has.
WORTH = {NONE: 0, INTEGRITY: 1, PER_MESSAGE: 1, CONFIDENTIALITY: 2}

LEVELS = st.sets(st.sampled_from(list(ProtectionLevel)))


class GrantTests(SynchronousTestCase):
    """The server's choice."""

    def test_asAsked(self) -> None:
        """What is allowed is granted."""
        for level in ProtectionLevel:
            self.assertIs(grant(int(level), list(ProtectionLevel)), level)
            self.assertIs(grant(int(level), {level}), level)

    def test_more(self) -> None:
        """Who asks for less than the operator demands is given more, but for who asks for none."""
        self.assertIs(grant(1, {CONFIDENTIALITY}), CONFIDENTIALITY)
        self.assertIs(grant(3, {INTEGRITY, CONFIDENTIALITY}), CONFIDENTIALITY)
        self.assertIsNone(grant(0, {INTEGRITY, CONFIDENTIALITY, PER_MESSAGE}))

    def test_notLess(self) -> None:
        """Nobody is given less than was asked for."""
        self.assertIsNone(grant(2, {NONE, INTEGRITY, PER_MESSAGE}))
        self.assertIsNone(grant(1, {NONE}))
        self.assertIsNone(grant(3, {NONE, INTEGRITY}))

    @given(st.integers(0, 255), LEVELS)
    def test_any(self, asked: int, allowed: set[ProtectionLevel]) -> None:
        """It is allowed, no less than was asked for, or nothing."""
        granted = grant(asked, allowed)
        if granted is not None:
            self.assertIn(granted, allowed)
            self.assertGreaterEqual(WORTH[granted], WORTH[ProtectionLevel(asked)])
        else:
            self.assertNotIn(asked, allowed)


class AcceptTests(SynchronousTestCase):
    """The client's judgement."""

    @given(st.integers(0, 255), LEVELS)
    def test_wanted(self, granted: int, wanted: set[ProtectionLevel]) -> None:
        """What is wanted is accepted, and nothing else."""
        found = accept(granted, wanted)
        self.assertEqual(found, granted if granted in wanted else None)
        self.assertTrue(found is None or isinstance(found, ProtectionLevel))


class MeaningTests(SynchronousTestCase):
    """What a level asks of each message."""

    def test_seals(self) -> None:
        """What is sent at levels 2 and 3 is confidential."""
        self.assertEqual([seals(level) for level in ProtectionLevel], [False, False, True, True])

    def test_suffices(self) -> None:
        """What is received must be confidential at level 2, and may be at the others."""
        self.assertEqual([level for level in ProtectionLevel if not suffices(level, False)], [2])
        self.assertTrue(all(suffices(level, True) for level in ProtectionLevel))
