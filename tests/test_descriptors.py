"""How many file descriptors the process may have, as the system says."""

from __future__ import annotations

import resource
import sys
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.descriptors import UNLIMITED, raiseDescriptorLimit


class DescriptorTests(SynchronousTestCase):
    """The soft limit becomes the hard one, as far as the system lets it."""

    def limits(self, soft: int, hard: int, error: Exception | None = None) -> tuple[int, Any]:
        """Raise a limit; @return: what that returns, and what was set."""
        found: list[Any] = [None]

        def set_(which: int, limits: tuple[int, int]) -> None:
            self.assertEqual(which, resource.RLIMIT_NOFILE)
            if error is not None:
                raise error
            found[0] = limits

        self.patch(resource, "getrlimit", lambda which: (soft, hard))
        self.patch(resource, "setrlimit", set_)
        return raiseDescriptorLimit(), found[0]

    def test_raised(self) -> None:
        """As many as it may have."""
        self.assertEqual(self.limits(1024, 4096), (4096, (4096, 4096)))

    def test_unlimited(self) -> None:
        """No limit is a large one."""
        infinity = resource.RLIM_INFINITY
        self.assertEqual(self.limits(1024, infinity), (UNLIMITED, (UNLIMITED, infinity)))
        self.assertEqual(self.limits(1024, UNLIMITED * 4)[0], UNLIMITED)

    def test_refused(self) -> None:
        """A system that does not keep to what it says leaves what there was."""
        infinity = resource.RLIM_INFINITY
        for error in (ValueError("current limit exceeds maximum limit"), PermissionError()):
            self.assertEqual(self.limits(256, infinity, error), (256, None))
            self.assertEqual(self.limits(infinity, infinity, error), (UNLIMITED, None))

    def test_windows(self) -> None:
        """Where there is no such limit, nothing is asked."""
        self.patch(sys, "platform", "win32")
        self.assertEqual(self.limits(1, 1), (UNLIMITED, None))
