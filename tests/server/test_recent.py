"""The memory of what was used lately: bounded, and what is in use stays."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.server.recent import Recent


class RecentTests(SynchronousTestCase):
    """A memory of few keys."""

    def test_remembers(self) -> None:
        """What was put is found; what was not, is not; a second value replaces the first."""
        recent: Recent[str, int] = Recent(2)
        recent.put("a", 1)
        self.assertEqual(recent.get("a"), 1)
        self.assertIsNone(recent.get("b"))
        recent.put("a", 2)
        self.assertEqual(recent.get("a"), 2)

    def test_falsy(self) -> None:
        """Values that are false are values."""
        recent: Recent[str, int] = Recent(1)
        recent.put("a", 0)
        recent.put("b", 1)
        self.assertEqual(recent.get("a"), 0)

    def test_inUse(self) -> None:
        """However many others come by, what is asked for in between stays."""
        recent: Recent[int, str] = Recent(4)
        recent.put(-1, "kept")
        for number in range(100):
            recent.put(number, "passing")
            self.assertEqual(recent.get(-1), "kept")

    def test_forgets(self) -> None:
        """What was not asked for while twice as many others came is forgotten."""
        recent: Recent[int, str] = Recent(4)
        for number in range(9):
            recent.put(number, "passing")
        self.assertIsNone(recent.get(0))
        self.assertEqual(recent.get(8), "passing")

    def test_replacing(self) -> None:
        """To replace a value makes nobody old."""
        recent: Recent[int, int] = Recent(2)
        recent.put(1, 0)
        recent.put(2, 0)
        for value in range(10):
            recent.put(1, value)
        self.assertEqual((recent.get(1), recent.get(2)), (9, 0))

    def test_clear(self) -> None:
        """Both generations are forgotten."""
        recent: Recent[int, int] = Recent(1)
        recent.put(1, 1)
        recent.put(2, 2)
        recent.clear()
        self.assertEqual((recent.get(1), recent.get(2), len(recent)), (None, None, 0))

    @given(
        st.integers(1, 5),
        st.lists(st.tuples(st.booleans(), st.integers(0, 12)), max_size=60),
    )
    @settings(max_examples=100, deadline=None)
    def test_model(self, size: int, steps: list[tuple[bool, int]]) -> None:
        """The last C{size} keys used are there; never more than twice as many are."""
        recent: Recent[int, int] = Recent(size)
        used: dict[int, int] = {}
        for time, (put, key) in enumerate(steps):
            if put:
                recent.put(key, time)
                used.pop(key, None)
                used[key] = time
            else:
                found = recent.get(key)
                if key in list(used)[-size:]:
                    self.assertEqual(found, used[key])
                if found is None:
                    used.pop(key, None)
                else:
                    self.assertEqual(found, used[key])
                    used[key] = used.pop(key)
            self.assertLessEqual(len(recent), 2 * size)
