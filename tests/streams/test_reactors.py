"""The proxy on real sockets: on each kind of reactor, and on each path that octets may take."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import tests
from tests.streams import scenarios

PATHS = ("spliced", "watched", "portable")

SECONDS = 120


class ReactorTests(SynchronousTestCase):
    """One set of scenarios; see there."""

    def play(self, reactor: str) -> None:
        """Play them on a reactor, on all paths at the same time, each in its own process."""
        root = str(Path(tests.__file__).parent.parent)
        running = {
            path: subprocess.Popen(
                [sys.executable, "-m", scenarios.__name__, reactor, path],
                env={**os.environ, "PYTHONPATH": root},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
            for path in PATHS
        }
        try:
            for path, process in running.items():
                out, errors = process.communicate(timeout=SECONDS)
                self.assertEqual(process.returncode, 0, f"{path}:\n{out}\n{errors}")
                trouble = json.loads(out)
                said = "\n".join([path, *map(str, trouble.values()), errors])
                self.assertEqual(trouble, {}, said)
        finally:
            for process in running.values():
                process.kill()
                process.communicate()

    def test_epoll(self) -> None:
        """Linux' own."""
        self.play("epoll")

    def test_poll(self) -> None:
        """POSIX'."""
        self.play("poll")

    def test_select(self) -> None:
        """Everybody's."""
        self.play("select")

    def test_asyncio(self) -> None:
        """Python's."""
        self.play("asyncio")
