"""
A C{twistd socks5} of this environment in a process of its own, and what it says.

A thread reads the process' output as it comes, so nobody looks for a line at intervals: whoever
waits for one is woken by it.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.programs import SECONDS, MissingProgram, environment, ours

_T = TypeVar("_T")

Record = dict[str, Any]
"""A line of the access log."""

#: What must not be in a log, whatever clients send.
_TROUBLE = re.compile(r"Traceback|Unhandled|internal error|Exception ignored|Warning:")

_SHUT_DOWN = "Main loop terminated."
_LISTENING = (
    # In words, or as a field of JSON.
    r'(?:SOCKS5 proxy on |"address": ")'
    r'(?:\[(?P<six>[0-9a-f:]+)\]|(?P<four>[0-9.]+)):(?P<port>[0-9]+)(?=[,"]|$)'
)
_RECORD = '{"time": '

#: Where Debian and its likes keep libraries.
_LIBRARIES = ("/usr/lib/*-linux-gnu*", "/usr/lib64", "/usr/lib")


def nssWrapper() -> str:
    """Find the library that gives a process an /etc/hosts of its own."""
    for place in _LIBRARIES:
        for found in Path("/").glob(f"{place[1:]}/libnss_wrapper.so"):
            return str(found)
    raise MissingProgram("libnss_wrapper.so is missing: apt-get install libnss-wrapper")


class Output:
    """What a process says on a pipe, while it says it."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self._lines: list[str] = []
        self._ended = False
        self._news = threading.Condition()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    @property
    def text(self) -> str:
        """All that was said so far."""
        with self._news:
            return "".join(self._lines)

    def wait(self, look: Callable[[list[str]], _T | None], what: str) -> _T:
        """
        Wait until C{look} finds something in the lines.

        @raise AssertionError: it does not in time, or before the process ends.
        """
        until = time.monotonic() + SECONDS
        with self._news:
            while (found := look(self._lines)) is None:
                left = until - time.monotonic()
                if self._ended or left <= 0:
                    raise AssertionError(f"it said no {what}, but:\n{''.join(self._lines)}")
                self._news.wait(left)
            return found

    def waitFor(self, pattern: str) -> re.Match[str]:
        """Wait for a line in which C{pattern} is found."""
        search = re.compile(pattern).search

        def look(lines: list[str]) -> re.Match[str] | None:
            return next((found for line in lines if (found := search(line.rstrip()))), None)

        return self.wait(look, repr(pattern))

    def finish(self) -> str:
        """Wait for the end, and close the pipe."""
        self._thread.join(SECONDS)
        if self._process.stdout is not None:
            self._process.stdout.close()
        return self.text

    def _read(self) -> None:
        for line in self._process.stdout or ():
            with self._news:
                self._lines.append(line.decode("utf-8", "backslashreplace"))
                self._news.notify_all()
        with self._news:
            self._ended = True
            self._news.notify_all()


class Proxy:
    """
    A running proxy, on a port that the system has chosen.

    @ivar process: the process.
    @ivar output: its log, the access lines among it.
    @ivar host: where it listens; of several places the first.
    @ivar port: the port.
    """

    def __init__(
        self,
        directory: str,
        *options: str,
        hosts: str = "",
        command: tuple[str, ...] = ("twistd", "-n", "--pidfile=", "socks5"),
    ) -> None:
        """
        Start it, and wait until it listens.

        @param directory: runs it; is made.
        @param options: of C{socks5}.
        @param hosts: names that it can resolve besides, in the format of /etc/hosts.
        @param command: what they are options of.
        """
        place = Path(directory).absolute()
        place.mkdir(exist_ok=True)
        own = {}
        if hosts:
            (place / "hosts").write_text(hosts)
            own = {"LD_PRELOAD": nssWrapper(), "NSS_WRAPPER_HOSTS": str(place / "hosts")}
        # Coverage would be measured at some cost, and then be lost: see how it L{ended}.
        env = {k: v for k, v in environment(own).items() if not k.startswith("COVERAGE_PROCESS")}
        self.process = subprocess.Popen(
            [ours(command[0]), *command[1:], *options],
            cwd=place,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self.output = Output(self.process)
        self._over = False
        try:
            found = self.output.waitFor(_LISTENING)
        except AssertionError:
            self.kill()
            raise
        self.host = found["four"] or found["six"]
        self.port = int(found["port"])

    def __str__(self) -> str:
        """Write host and port as programs take them."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def records(self) -> list[Record]:
        """The sessions that have ended, from access lines in JSON."""
        return _records(self.output.text.splitlines())

    def waitRecords(self, count: int) -> list[Record]:
        """Wait until so many sessions have ended."""

        def look(lines: list[str]) -> list[Record] | None:
            found = _records(lines)
            return found if len(found) >= count else None

        return self.output.wait(look, f"{count} access lines")

    def sockets(self) -> int:
        """Count the sockets that it has open; a few pipes it keeps for later."""
        count = 0
        for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
            # One may be closed between the two looks.
            with suppress(FileNotFoundError):
                count += os.readlink(descriptor).startswith("socket:")
        return count

    def memory(self) -> int:
        """Say how many octets of memory it has used at the most."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+([0-9]+) kB$", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0

    def tell(self, number: signal.Signals) -> None:
        """Send it a signal."""
        self.process.send_signal(number)

    def wait(self) -> int:
        """Wait for its end, which has to come within the time that any program is given."""
        status = self.process.wait(SECONDS)
        self.output.finish()
        return status

    def kill(self) -> None:
        """End it in whatever state it is."""
        self.process.kill()
        self.wait()

    def stop(self) -> list[Record]:
        """
        End it as an operator does.

        @return: all sessions that there were.
        @raise AssertionError: it does not end, or not well.
        """
        if self._over:
            return self.records
        if self.process.poll() is None:
            self.tell(signal.SIGTERM)
        return self.ended(signal.SIGTERM)

    def ended(self, number: signal.Signals) -> list[Record]:
        """
        Wait for the end, which has to be a good one.

        twistd shuts down, and then dies of the signal that it was told to stop by, so that
        whoever started it can see that; where it does not it ends with status 0.

        @param number: that signal.
        @return: all sessions that there were.
        @raise AssertionError: it does not end, or not in that way, or its log has a traceback.
        """
        try:
            status = self.wait()
        except subprocess.TimeoutExpired:
            self.kill()
            raise AssertionError(f"{number.name} did not end it:\n{self.output.text}") from None
        text = self.output.text
        if status not in (0, -number) or _TROUBLE.search(text) or _SHUT_DOWN not in text:
            raise AssertionError(f"it ended with status {status} and said:\n{text}")
        self._over = True
        return self.records


def _records(lines: list[str]) -> list[Record]:
    return [json.loads(line[line.index(_RECORD) :]) for line in lines if _RECORD in line]


class ProxyTestCase(SynchronousTestCase):
    """A test with proxies; each is ended with the test, and has to end well."""

    def proxy(self, *options: str, hosts: str = "") -> Proxy:
        """
        Start a proxy on a free port of 127.0.0.1.

        @param options: further ones, or C{--listen} for another place.
        @param hosts: names that it can resolve besides.
        """
        where = () if "--listen" in options else ("--port", "0")
        log = ("--access-log-format", "json")
        proxy = Proxy(self.mktemp(), *where, *log, *options, hosts=hosts)
        self.addCleanup(proxy.stop)
        return proxy

    def users(self, *lines: str) -> str:
        """Write a password file and give the C{--auth} that names it."""
        path = Path(self.mktemp()).absolute()
        path.write_text("".join(f"{line}\n" for line in lines))
        return f"file:{path}"
