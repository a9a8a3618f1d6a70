"""The access log: nobody writes lines of their own into it, and no line is lost."""

from __future__ import annotations

import io
import json
import os
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import ILogObserver, LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.logs import (
    NAMESPACE,
    WRITE_EVERY,
    AccessRecord,
    FileAccessLog,
    TwistedAccessLog,
    appending,
    formatDated,
    formatJSON,
    formatLikeTwisted,
    formatText,
    jsonObserver,
)

#: A moment that is written the same in every time zone but the local one.
STARTED = 1_795_254_600.25
NASTY = (
    "a\nb",
    "a\r\nclient=1.2.3.4:5 user=root",
    'a" user="root',
    "a=b c=d",
    "\x1b[2J\x1b]0;title\x07",
    "naïve \u202e\U0001f600",
    "back\\slash \\n",
    "\x00",
    "-",
    "{user} %s %(x)s",
)

FIELD = re.compile(r'([a-z]+)=("(?:[^"\\]|\\.)*"|[!#-<>-~]+)(?: |$)')


def record(**fields: Any) -> AccessRecord:
    """Make a record."""
    return AccessRecord(**{"client": "192.0.2.1:4711", "started": STARTED, **fields})


def parsed(line: str) -> dict[str, str | None]:
    """Read a line of text back; it must be nothing but fields."""
    found: dict[str, str | None] = {}
    end = 0
    for match in FIELD.finditer(line):
        if match.start() != end:
            raise AssertionError(f"{line!r} at {end}")
        name, value = match.groups()
        if name in found:
            raise AssertionError(f"{name} twice in {line!r}")
        found[name] = json.loads(value) if value.startswith('"') else value
        if value == "-":
            found[name] = None
        end = match.end()
    if end != len(line):
        raise AssertionError(f"{line!r} at {end}")
    return found


class FormatTests(SynchronousTestCase):
    """The forms of a line."""

    def test_text(self) -> None:
        """All that is known, as C{key=value}."""
        full = record(
            user="alice",
            method="username_password",
            command="CONNECT",
            target="example.com:443",
            dialled="203.0.113.5:443",
            reply=0,
            sent=12,
            received=3456,
            seconds=1.23456,
            reason="client closed",
        )
        self.assertEqual(
            formatText(full),
            "client=192.0.2.1:4711 user=alice method=username_password command=CONNECT "
            "target=example.com:443 dialled=203.0.113.5:443 rep=0 sent=12 received=3456 "
            'seconds=1.235 reason="client closed"',
        )

    def test_nothing(self) -> None:
        """What is not known is a hyphen, and nobody is called so."""
        self.assertEqual(
            formatText(record()),
            "client=192.0.2.1:4711 user=- method=- command=- target=- dialled=- rep=- sent=0 "
            'received=0 seconds=0.000 reason=""',
        )
        self.assertIn('user="-" ', formatText(record(user="-")))

    def test_times(self) -> None:
        """A line of its own says when the session began, in UTC."""
        self.assertTrue(
            formatDated(record()).startswith(
                "time=2026-11-21T09:50:00.250Z client=192.0.2.1:4711 "
            )
        )
        line = formatLikeTwisted(record(seconds=2.9))
        self.assertRegex(
            line,
            r"^2026-11-2[0-9]T[0-9:]{6}03[+-][0-9]{4} \[twisted_socks5\.access#info\] client=",
        )

    def test_nasty(self) -> None:
        """Whatever a name is, it stays within its field, in printable ASCII."""
        for text in NASTY:
            for name in ("user", "target", "reason"):
                for form in (formatText, formatDated, formatLikeTwisted, formatJSON):
                    line = form(record(**{name: text}))
                    self.assertTrue(line.isascii() and line.isprintable(), line)
                found = parsed(formatText(record(**{name: text})))
                self.assertEqual(found[name], text)
                self.assertEqual(found["client"], "192.0.2.1:4711")
                self.assertEqual(len(found), 11)

    @settings(max_examples=200, deadline=None)
    @given(st.text(max_size=60), st.text(max_size=60), st.text(max_size=60))
    def test_anything(self, user: str, target: str, reason: str) -> None:
        """Text and JSON give back what was put in, and are one line of ASCII."""
        made = record(user=user, target=target, reason=reason)
        line = formatText(made)
        self.assertTrue(line.isascii() and line.isprintable())
        found = parsed(line)
        self.assertEqual((found["user"] or "", found["target"] or ""), (user, target))
        self.assertEqual(found["reason"], reason)
        line = formatJSON(made)
        self.assertTrue(line.isascii() and line.isprintable())
        values = json.loads(line)
        self.assertEqual((values["user"] or "", values["reason"] or ""), (user, reason))

    def test_json(self) -> None:
        """JSON has all fields by name, C{null} for what is not known, and numbers as such."""
        values = json.loads(formatJSON(record(reply=5, seconds=0.1 + 0.2, user="alice")))
        self.assertEqual(
            values,
            {
                "time": "2026-11-21T09:50:00.250Z",
                "client": "192.0.2.1:4711",
                "user": "alice",
                "method": None,
                "command": None,
                "target": None,
                "dialled": None,
                "reply": 5,
                "sent": 0,
                "received": 0,
                "seconds": 0.3,
                "reason": None,
            },
        )


class TwistedTests(SynchronousTestCase):
    """Records in Twisted's log."""

    def test_event(self) -> None:
        """The event has the line for its text, and each field by its name."""
        events: list[LogEvent] = []
        observer = cast(ILogObserver, events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        made = record(user="{user}\n", reply=2)
        TwistedAccessLog()(made)
        TwistedAccessLog(formatJSON)(made)
        text, asJSON = events
        self.assertEqual(formatEvent(text), formatText(made))
        self.assertEqual(formatEvent(asJSON), formatJSON(made))
        self.assertEqual(
            (text["log_namespace"], text["user"], text["reply"], text["client"]),
            (NAMESPACE, "{user}\n", 2, "192.0.2.1:4711"),
        )

    def test_jsonObserver(self) -> None:
        """The whole log may be JSON, a line for each event."""
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        observer = jsonObserver()
        observer({"log_format": "{what}", "what": "one\ntwo"})
        observer({"log_format": "{what}", "what": "three"})
        lines = [json.loads(line) for line in out.getvalue().splitlines()]
        self.assertEqual([line["what"] for line in lines], ["one\ntwo", "three"])


class Disk(io.RawIOBase):
    """A file on a disk that has room for so many octets."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.written = bytearray()

    def writable(self) -> bool:
        """It can be written to."""
        return True

    def write(self, data: Any) -> int:
        """Write what there is room for."""
        taken = bytes(data)[: self.room]
        if not taken:
            raise OSError(28, "No space left on device")
        self.room -= len(taken)
        self.written += taken
        return len(taken)


class FileTests(SynchronousTestCase):
    """Records in a file of their own."""

    def setUp(self) -> None:
        """Make a log."""
        self.clock = Clock()
        self.path = Path(self.mktemp())
        self.errors: list[str] = []
        observer = cast(ILogObserver, self._observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def _observe(self, event: LogEvent) -> None:
        if event.get("log_namespace") == "twisted_socks5.logs.FileAccessLog":
            self.errors.append(formatEvent(event))

    def log(self, openFile: Callable[[], IO[str]] | None = None) -> FileAccessLog:
        """Open it."""
        log = FileAccessLog(self.clock, openFile or appending(str(self.path)), formatText)
        self.addCleanup(lambda: log._file.close())
        return log

    def users(self, path: Path | None = None) -> list[str | None]:
        """Tell whose sessions a file tells of."""
        return [parsed(line)["user"] for line in (path or self.path).read_text().splitlines()]

    def test_batches(self) -> None:
        """Lines are gathered for a moment, and then written together."""
        log = self.log()
        for name in ("one", "two"):
            log(record(user=name))
        self.clock.advance(WRITE_EVERY / 2)
        log(record(user="three"))
        self.assertEqual(self.users(), [])
        self.clock.advance(WRITE_EVERY / 2)
        self.assertEqual(self.users(), ["one", "two", "three"])
        log(record(user="four"))
        self.assertEqual(len(self.clock.calls), 1)
        self.clock.advance(WRITE_EVERY)
        self.assertEqual(self.users(), ["one", "two", "three", "four"])
        self.assertEqual(self.clock.calls, [])

    def test_appends(self) -> None:
        """What a file has it keeps."""
        self.path.write_text("client=before user=old\n")
        log = self.log()
        log(record(user="new"))
        log.flush()
        self.assertEqual(self.users(), ["old", "new"])

    def test_flush(self) -> None:
        """It can be told to write now."""
        log = self.log()
        log(record(user="one"))
        log.flush()
        self.assertEqual(self.users(), ["one"])
        log.flush()
        self.clock.advance(1)
        self.assertEqual(self.users(), ["one"])

    def test_reopen(self) -> None:
        """A file that was moved away has all lines up to then, a new one those after."""
        log = self.log()
        log(record(user="one"))
        moved = self.path.rename(self.mktemp())
        log.reopen()
        log(record(user="two"))
        self.clock.advance(1)
        self.assertEqual((self.users(moved), self.users()), (["one"], ["two"]))

    def test_reopenFails(self) -> None:
        """If it can't be opened anew, the old one goes on."""
        log = self.log()
        moved = self.path.rename(self.mktemp())
        self.path.mkdir()
        log.reopen()
        self.assertRegex(self.errors[0], "can't be opened anew: .*directory")
        log(record(user="one"))
        self.clock.advance(1)
        self.assertEqual(self.users(moved), ["one"])

    def test_sameFile(self) -> None:
        """The standard output is the same when it is opened anew, and not closed."""
        out = io.StringIO()
        log = self.log(lambda: out)
        log.reopen()
        log(record(user="one"))
        log.flush()
        self.assertEqual(parsed(out.getvalue().strip())["user"], "one")

    def test_cannotOpen(self) -> None:
        """A file that can't be opened at all is an error at the start."""
        self.path.mkdir()
        self.assertRaises(OSError, self.log)

    def test_diskFull(self) -> None:
        """A full disk is said once; with room again, whole lines follow whole lines."""
        disk = Disk(300)
        log = self.log(lambda: io.TextIOWrapper(io.BufferedWriter(disk), "ascii"))
        for number in range(20):
            log(record(user=f"u{number}"))
            self.clock.advance(1)
        self.assertEqual(len(disk.written), 300)
        self.assertEqual(len(self.errors), 1)
        self.assertRegex(self.errors[0], "can't be written: .*No space left")
        disk.room = 100_000
        for number in range(20, 25):
            log(record(user=f"u{number}"))
            self.clock.advance(1)
        names = [parsed(line)["user"] for line in disk.written.decode().splitlines()]
        self.assertEqual(len(names), len(set(names)))
        self.assertEqual(names[-5:], [f"u{number}" for number in range(20, 25)])
        disk.room = 0
        log(record(user="last"))
        self.clock.advance(1)
        self.assertEqual(len(self.errors), 2)
        # Nor does it matter when it is reopened, and the old one can't be closed properly.
        log._open = appending(str(self.path))
        log.reopen()
        log(record(user="elsewhere"))
        log.flush()
        self.assertEqual(self.users(), ["elsewhere"])

    def test_pipe(self) -> None:
        """A reader that has gone is an error, too, and no exception."""
        reading, writing = os.pipe()
        os.close(reading)
        log = self.log(lambda: os.fdopen(writing, "w"))
        log(record())
        self.clock.advance(1)
        self.assertEqual(len(self.errors), 1)
        log._open = appending(str(self.path))
        log.reopen()
