"""
What workers say, as one log.

A worker writes each event of its log as a line of JSON into a pipe; the supervisor reads it,
notes whose it is, and gives it to its own log, wherever that goes.  Access lines can be many:
they are gathered in the worker, and either made events there at little cost, or not made events
at all but passed on as they are.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress
from signal import Signals
from threading import RLock
from typing import TYPE_CHECKING, Any

from twisted.logger import (
    ILogObserver,
    LogEvent,
    Logger,
    LogLevel,
    eventAsJSON,
    eventAsText,
    eventFromJSON,
    globalLogPublisher,
)
from zope.interface import implementer

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import IO

    from twisted.python.failure import Failure

#: A line longer than this is not waited for.
LONGEST = 1 << 20

#: What an event of Twisted's former log has besides; former observers would heed it first.
_FORMER = ("failure", "format", "isError", "message", "system", "why")

_INFO = json.loads(eventAsJSON({"log_level": LogLevel.info}))["log_level"]


class Pipe:
    """
    Writes into a pipe, waiting for room, from any thread.

    What it is given arrives in one piece, even if there are several for one descriptor.
    """

    # Not a plain one: the garbage collector may come in between, and who it finds may log.
    _lock = RLock()

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def write(self, text: str) -> int:
        """
        Write.

        @raise OSError: nobody reads it any more.
        """
        data = text.encode("utf-8", "backslashreplace")
        with self._lock:
            while data:
                data = data[os.write(self._descriptor, data) :]
        return len(text)

    def flush(self) -> None:
        """Everything is written."""

    def close(self) -> None:
        """It is the process' own, and closed with it."""


@implementer(ILogObserver)
class EventWriter:
    """Writes the events of a worker's log for the supervisor."""

    def __init__(self, pipe: Pipe) -> None:
        self._pipe = pipe

    def __call__(self, event: LogEvent) -> None:
        """Write one."""
        # JSON would keep how a value is to be written without heeding it, and of a failure not
        # even what it says.
        text = eventAsText(event, includeTimestamp=False, includeSystem=False)
        event = {**event, "log_format": text.replace("{", "{{").replace("}", "}}")}
        event.pop("log_failure", None)
        if event.get("log_namespace") == "log_legacy":
            for name in _FORMER:
                event.pop(name, None)
        # Once the supervisor is gone there is nobody to tell.
        with suppress(OSError):
            self._pipe.write(f"{eventAsJSON(event)}\n")


def eventLine(namespace: str, when: float, text: str, fields: Mapping[str, Any]) -> str:
    """
    Write the event that a L{Logger} would have made, at a small part of the cost.

    @param namespace: where it comes from.
    @param when: seconds since the epoch.
    @param fields: what JSON does not know is written as text.
    """
    return json.dumps(
        {
            **fields,
            "line": text,
            "log_format": "{line}",
            "log_level": _INFO,
            "log_namespace": namespace,
            "log_time": when,
        },
        default=str,
    )


class Lines:
    """
    Makes lines of what comes in pieces.

    A line that does not end is given as it is when it is too long, or at the end.
    """

    def __init__(self, take: Callable[[bytes], object]) -> None:
        """
        @param take: is given whole lines, one or several, each with its end.
        """
        self._take = take
        self._rest = b""

    def feed(self, data: bytes) -> None:
        """Take what has come."""
        data = self._rest + data
        end = data.rfind(b"\n") + 1
        if not end and len(data) > LONGEST:
            data, end = data + b"\n", len(data) + 1
        self._rest = data[end:]
        if end:
            self._take(data[:end])

    def finish(self) -> None:
        """Nothing more comes."""
        if self._rest:
            self.feed(b"\n")


class Reports:
    """
    Gives what a worker says to the log of this process.

    Texts say whose they are where they say what they come from: C{[worker 1, …]}; events have a
    field C{worker} as well.
    """

    _log = Logger()

    def __init__(self, number: int, output: IO[str] | None) -> None:
        """
        @param number: the worker's.
        @param output: where its standard output goes; L{None}: into the log.
        """
        self._number = number
        self._output = output

    def events(self, lines: bytes) -> None:
        """Log what it has logged."""
        for line in lines.splitlines():
            try:
                event = dict(eventFromJSON(line.decode("utf-8")))
            except ValueError:
                # Half a line, of a worker that was killed while it wrote it.
                self._text(line)
                continue
            event["log_system"] = self._system(event)
            event["worker"] = self._number
            globalLogPublisher(event)

    def output(self, lines: bytes) -> None:
        """Pass on what is on its standard output."""
        if self._output is None:
            self.errors(lines)
            return
        # As with all else that goes there: who reads it no more misses it.
        with suppress(OSError):
            self._output.write(lines.decode("utf-8", "backslashreplace"))
            self._output.flush()

    def errors(self, lines: bytes) -> None:
        """Log what is on its standard error: the last words of an interpreter, say."""
        for line in lines.splitlines():
            self._text(line)

    def _system(self, event: LogEvent) -> str:
        """Say where an event comes from: the worker's number, and what a log of one's own says."""
        system = event.get("log_system", "")
        if not system:
            system = f"{event.get('log_namespace')}#{event.get('log_level', LogLevel.info).name}"
        return f"worker {self._number}" if system == "-" else f"worker {self._number}, {system}"

    def _text(self, line: bytes) -> None:
        self._log.warn(
            "{line}",
            line=line.decode("utf-8", "backslashreplace"),
            worker=self._number,
            log_system=f"worker {self._number}",
        )


def nameOf(reason: Failure) -> str:
    """Say how a process ended."""
    ended: Any = reason.value
    number = getattr(ended, "signal", None)
    if number is None:
        return f"ended with status {ended.exitCode}"
    try:
        return f"ended by {Signals(number).name}"
    except ValueError:
        return f"ended by signal {number}"
