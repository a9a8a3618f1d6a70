"""
Scripts beside this file, for libraries of other languages: socks.js and socks.pl.

What Node needs from npm is in package.json, and is installed into build/ when it is first asked
for.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.interop.origins import Cleaning
from tests.interop.programs import SECONDS, environment, find, run

_HERE = Path(__file__).resolve().parent
_PACKAGES = _HERE / "package.json"
_BUILD = _HERE.parents[1] / "build"


class Script:
    """A program that says something, a line at a time, and is ended with its test."""

    def __init__(
        self, test: Cleaning, *command: str, env: Mapping[str, str] | None = None
    ) -> None:
        """
        @param test: whose program it is.
        @param command: the program.
        @param env: what differs from this process' own environment.
        """
        self._process = subprocess.Popen(
            command,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        test.addCleanup(self._end)

    def hear(self) -> str:
        """
        Wait for the next line.

        @raise AssertionError: it has ended instead.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            said = self._process.communicate(timeout=SECONDS)[1]
            raise AssertionError(f"it ended with status {self._process.returncode}: {said}")
        return line.rstrip("\n")

    def hearJSON(self) -> Any:
        """Wait for the next line, and read it."""
        return json.loads(self.hear())

    def _end(self) -> None:
        self._process.kill()
        self._process.communicate()


def node(test: Cleaning, *arguments: str | int) -> Script:
    """Run socks.js."""
    command = (find("node", "nodejs"), str(_HERE / "socks.js"), *map(str, arguments))
    return Script(test, *command, env={"NODE_PATH": os.fspath(_installed())})


def perl(test: Cleaning, *arguments: str | int) -> Script:
    """Run socks.pl."""
    return Script(test, find("perl", "perl"), str(_HERE / "socks.pl"), *map(str, arguments))


def _installed() -> Path:
    """Find what comes from npm, or install it."""
    place = _BUILD / "npm"
    wanted = _PACKAGES.read_bytes()
    if not (place / "node_modules").is_dir() or (place / "package.json").read_bytes() != wanted:
        _BUILD.mkdir(exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="npm-", dir=_BUILD))
        (fresh / "package.json").write_bytes(wanted)
        quietly = ("--silent", "--no-audit", "--no-fund", "--ignore-scripts")
        said = run(find("npm", "npm"), "install", *quietly, cwd=fresh, seconds=4 * SECONDS)
        if said.returncode or not (fresh / "node_modules").is_dir():
            raise AssertionError(f"npm could not install the packages: {said.stdout}{said.stderr}")
        shutil.rmtree(place, ignore_errors=True)
        fresh.rename(place)
    return place / "node_modules"
