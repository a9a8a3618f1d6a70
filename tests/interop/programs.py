"""
Programs of other people's: where they are, and how they are run to their end.

One that is missing fails its test with the name of the Debian package that has it: none of these
tests is ever skipped.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

#: More than any of them takes on a busy machine; a program that hangs is a failure.
SECONDS = 30

#: sshd is not where users look for programs.
_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


class MissingProgram(AssertionError):
    """A program that a test needs is not installed."""


def find(name: str, package: str) -> str:
    """
    Find a program.

    @param package: the Debian package that has it.
    @return: its absolute path; sshd, for one, insists on being called by that.
    @raise MissingProgram: it is not installed.
    """
    found = shutil.which(name, path=_PATH)
    if found is None:
        raise MissingProgram(f"{name} is missing: apt-get install {package}")
    return os.path.abspath(found)


def ours(name: str) -> str:
    """Find a script of the environment that runs the tests: C{twistd}."""
    return str(Path(sys.executable).with_name(name))


def run(
    *command: str | Path,
    cwd: str | Path | None = None,
    env: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
) -> subprocess.CompletedProcess[str]:
    """
    Run a program to its end, without standard input.

    @param env: what differs from this process' own environment.
    @return: its exit status and what it said; what is no UTF-8 is escaped.
    @raise subprocess.TimeoutExpired: it did not end by itself, and was killed.
    """
    return subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env=environment(env),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        encoding="utf-8",
        errors="backslashreplace",
        timeout=seconds,
    )


def environment(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """
    This process' environment, without what would send programs through some other proxy.

    @param env: what differs from it besides.
    """
    kept = {k: v for k, v in os.environ.items() if not k.lower().endswith("_proxy")}
    return {**kept, "LC_ALL": "C.UTF-8", **(env or {})}
