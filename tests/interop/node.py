"""
Node, with the packages of package.json, which are installed into build/ when they are first asked
for.

What Node is to do with them is in socks.js beside this file, a command for each of SOCKS's.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

from tests.interop.origins import Cleaning
from tests.interop.programs import SECONDS, environment, find, run

_HERE = Path(__file__).resolve().parent
_PACKAGES = _HERE / "package.json"
_BUILD = _HERE.parents[1] / "build"


def _installed() -> Path:
    """Find the packages, or install them."""
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


class Node:
    """
    A run of socks.js; what it has to say comes as JSON, a line at a time.
    """

    def __init__(self, test: Cleaning, *arguments: str | int) -> None:
        """
        @param test: it is ended with this test, if it has not ended before.
        @param arguments: a command, and what it takes.
        """
        self._process = subprocess.Popen(
            [find("node", "nodejs"), str(_HERE / "socks.js"), *map(str, arguments)],
            env=environment({"NODE_PATH": os.fspath(_installed())}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        test.addCleanup(self._end)

    def hear(self) -> Any:
        """
        Wait for the next thing it says.

        @raise AssertionError: it has ended instead.
        """
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise AssertionError(f"node ended with status {self._process.wait(SECONDS)}")
        return json.loads(line)

    def _end(self) -> None:
        self._process.kill()
        self._process.wait(SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
