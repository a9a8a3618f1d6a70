"""
A C{twistd socks5} of this environment in a process of its own, and what it says.

A thread reads the process' output as it comes, so nobody has to look for it at intervals: whoever
waits for a line is woken by it.
"""

from __future__ import annotations

import ctypes
import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.programs import SECONDS, environment, find, ours

_T = TypeVar("_T")

#: What must not be in a log, whatever clients send.
_TROUBLE = re.compile(r"Traceback|Unhandled|\bfailure\b.*#critical|Exception ignored|Warning:")

_LISTENING = re.compile(r"SOCKS5 proxy on (\S+):(\d+)$", re.MULTILINE)
_RECORD = '{"time": '

_PR_SET_PDEATHSIG = 1
_LIBC = ctypes.CDLL(None, use_errno=True)

Record = dict[str, Any]


def _endWithParent() -> None:
    """Runs in the child: should the tests be killed, the kernel ends it, too."""
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


class Output:
    """What a process says on a pipe, while it says it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._text = ""
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """All that was said so far."""
        with self._news:
            return self._text

    def whole(self) -> str:
        """Wait for the end of what is said, which is all."""
        self._thread.join(SECONDS)
        return self.text

    def wait(self, look: Callable[[str], _T | None], what: str, seconds: float = SECONDS) -> _T:
        """
        Wait until C{look} finds something in the text.

        @raise AssertionError: it does not within C{seconds}, or before the process ends.
        """
        until = time.monotonic() + seconds
        with self._news:
            while (found := look(self._text)) is None:
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    raise AssertionError(f"it did not say {what}; it said:\n{self._text}")
                self._news.wait(left)
            return found

    def waitFor(self, pattern: str, seconds: float = SECONDS) -> re.Match[str]:
        """Wait for a line like C{pattern}."""
        compiled = re.compile(pattern, re.MULTILINE)
        return self.wait(compiled.search, repr(pattern), seconds)

    def _read(self) -> None:
        pipe = self._process.stdout
        if pipe is None:
            return
        for line in pipe:
            with self._news:
                self._text += line.decode("utf-8", "backslashreplace")
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


class Proxy:
    """
    A running proxy, on a port that the system has chosen.

    @ivar host: where it listens.
    @ivar port: the port.
    @ivar output: its log, access lines among it.
    """

    def __init__(
        self,
        directory: str,
        *options: str,
        hosts: str = "",
        command: tuple[str, ...] = ("twistd", "-n", "--pidfile=", "socks5"),
    ) -> None:
        """
        @param directory: a new one for it to run in.
        @param options: of C{socks5}.
        @param hosts: names that it can resolve besides, in the format of /etc/hosts.
        @param command: how it is started.
        """
        place = Path(directory)
        place.mkdir()
        env = {}
        if hosts:
            (place / "hosts").write_text(hosts)
            find("getent", "libc-bin")
            env = {"LD_PRELOAD": nssWrapper(), "NSS_WRAPPER_HOSTS": str((place / "hosts").resolve())}
        self.process = subprocess.Popen(
            [ours(command[0]), *command[1:], *options],
            cwd=place,
            env=environment(env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            preexec_fn=_endWithParent,
        )
        self.output = Output(self.process)
