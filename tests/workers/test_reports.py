"""What workers say, on its way into one log."""

from __future__ import annotations

import io
import json
import os
from threading import Thread
from typing import Any, cast

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.logger import (
    ILogObserver,
    LegacyLogObserverWrapper,
    LogEvent,
    Logger,
    LogLevel,
    LogPublisher,
    eventAsText,
    formatEvent,
    globalLogPublisher,
)
from twisted.python import log as legacy
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.workers.reports import LONGEST, EventWriter, Lines, Pipe, Reports, eventLine


class Memory(Pipe):
    """A pipe that keeps what is written; or that nobody reads."""

    def __init__(self, broken: bool = False) -> None:
        self.text = ""
        self._broken = broken

    def write(self, text: str) -> int:
        """Keep it."""
        if self._broken:
            raise BrokenPipeError
        self.text += text
        return len(text)


class PipeTests(SynchronousTestCase):
    """The worker's end of a pipe."""

    def test_write(self) -> None:
        """What is written comes out, whatever it is."""
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        pipe = Pipe(writing)
        self.assertEqual(pipe.write("wörd\udcff\n"), 6)
        pipe.flush()
        pipe.close()
        os.close(writing)
        self.assertEqual(os.read(reading, 100), "wörd\\udcff\n".encode())
        self.assertRaises(OSError, pipe.write, "more")

    def test_within(self) -> None:
        """What the garbage collector finds while one writes may have last words, too."""
        written: list[bytes] = []

        def write(_: int, data: bytes) -> int:
            """Write, and meanwhile have somebody else write once."""
            written.append(data)
            if len(written) == 1:
                pipe.write("last words\n")
            return len(data)

        pipe = Pipe(-1)
        self.patch(os, "write", write)
        writing = Thread(target=pipe.write, args=("a line\n",), daemon=True)
        writing.start()
        writing.join(5)
        self.assertEqual(written, [b"a line\n", b"last words\n"])

    def test_atOnce(self) -> None:
        """Two for one descriptor, of two threads, say, do not come between each other."""
        written: list[bytes] = []
        other = Thread(target=lambda: Pipe(-1).write("other\n"), daemon=True)

        def write(_: int, data: bytes) -> int:
            """Write a part, and then let the other one."""
            written.append(data[:3])
            if len(written) == 1:
                other.start()
                other.join(0.1)
            return len(data[:3])

        self.patch(os, "write", write)
        Pipe(-1).write("first\n")
        other.join(5)
        self.assertEqual(written, [b"fir", b"st\n", b"oth", b"er\n"])


class LinesTests(SynchronousTestCase):
    """Whole lines of pieces."""

    @given(
        lines=st.lists(st.binary(max_size=5).map(lambda line: line.replace(b"\n", b"."))),
        cuts=st.lists(st.integers(0, 60)),
        ended=st.booleans(),
    )
    @settings(max_examples=100, deadline=None)
    def test_pieces(self, lines: list[bytes], cuts: list[int], ended: bool) -> None:
        """However they are cut, all come, whole and in order, each with an end."""
        data = b"\n".join(lines) + b"\n" * ended
        taken: list[bytes] = []
        reader = Lines(taken.append)
        last = 0
        for cut in [*sorted(cuts), len(data)]:
            reader.feed(data[last:cut])
            last = max(last, cut)
        reader.finish()
        self.assertTrue(all(one.endswith(b"\n") for one in taken))
        whole = b"".join(taken)
        self.assertEqual(whole, data if data.endswith(b"\n") or not data else data + b"\n")

    def test_endless(self) -> None:
        """A line that does not end is not kept for ever."""
        taken: list[bytes] = []
        reader = Lines(taken.append)
        for _ in range(3):
            reader.feed(b"x" * (LONGEST // 2 + 1))
        self.assertEqual([len(one) for one in taken], [2 * (LONGEST // 2 + 1) + 1])


class ReportsTests(SynchronousTestCase):
    """Events of a worker's log, in the supervisor's."""

    def setUp(self) -> None:
        """Be both."""
        self.pipe = Memory()
        self.log = LogPublisher(EventWriter(self.pipe))
        self.reports = Reports(3, None)
        self.events: list[LogEvent] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def reported(self) -> LogEvent:
        """Have what was logged reported."""
        self.reports.events(self.pipe.text.encode())
        (event,) = self.events
        return event

    def text(self) -> str:
        """Have it reported, and write it as the supervisor's log would."""
        return eventAsText(self.reported(), includeTimestamp=False)

    def test_event(self) -> None:
        """An event has its time, level, source, text and fields, and the number of the worker."""
        logger = Logger("twisted_socks5.somewhere", observer=self.log)
        logger.warn("{seconds:g} s for {whom!r} {{}}", seconds=2.0, whom=["a"], more=7)
        event = self.reported()
        self.assertEqual(formatEvent(event), "2 s for ['a'] {}")
        self.assertEqual(
            eventAsText(event, includeTimestamp=False),
            "[worker 3, twisted_socks5.somewhere#warn] 2 s for ['a'] {}",
        )
        self.assertIs(event["log_level"], LogLevel.warn)
        self.assertEqual((event["worker"], event["more"], event["whom"]), (3, 7, ["a"]))
        self.assertAlmostEqual(event["log_time"], event["log_time"])

    def test_failure(self) -> None:
        """A failure is reported with what it says and where it was."""
        logger = Logger("twisted_socks5.somewhere", observer=self.log)
        try:
            raise ZeroDivisionError("{by} nothing")
        except ZeroDivisionError:
            logger.failure("It went wrong")
        text = self.text()
        self.assertRegex(text, r"#critical\] It went wrong\nTraceback .*\n(.*\n)*.*\{by\} nothing")
        self.assertIn("test_failure", text)

    def test_legacy(self) -> None:
        """So is what comes by Twisted's former log, and what is printed."""
        former = legacy.LogPublisher(publishPublisher=self.log)
        former.msg("Port is closed")
        self.assertEqual(self.text(), "[worker 3] Port is closed")

    def test_legacyObserver(self) -> None:
        """A former observer, the system's log, say, is told whose it is, and all that it says."""
        got: list[dict[str, Any]] = []
        observer = LegacyLogObserverWrapper(cast(Any, got.append))
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        former = legacy.LogPublisher(publishPublisher=self.log)
        former.msg(isError=1, failure=Failure(ValueError("so far")), why="Halfway")
        self.assertIsNotNone(self.reported())
        self.assertEqual(got[0]["system"], "worker 3")
        text = legacy.textFromEventDict(cast(Any, got[0]))
        self.assertRegex(text or "", r"^Halfway\nTraceback .*\n(.*\n)*.*so far")

    def test_nobodyReads(self) -> None:
        """Without a supervisor nothing is said, and nothing fails."""
        EventWriter(Memory(broken=True))({"log_format": "hello"})

    def test_half(self) -> None:
        """Half an event, of a worker that was killed, is shown as it is."""
        self.reports.events(b'{"log_format": "The ca\n')
        self.assertEqual(self.events[0]["line"], '{"log_format": "The ca')
        self.assertEqual(self.events[0]["log_system"], "worker 3")

    def test_record(self) -> None:
        """An access line becomes the event that a log of one's own would have made of it."""
        fields: dict[str, Any] = {"client": "192.0.2.1:9", "reply": None, "target": "{x}"}
        line = eventLine("twisted_socks5.access", 1.5, "client=192.0.2.1:9 {", fields)
        self.reports.events(f"{line}\n".encode())
        (event,) = self.events
        self.assertEqual(formatEvent(event), "client=192.0.2.1:9 {")
        self.assertEqual({name: event[name] for name in fields}, fields)
        self.assertIs(event["log_level"], LogLevel.info)
        self.assertEqual(event["log_time"], 1.5)
        self.assertEqual(event["log_system"], "worker 3, twisted_socks5.access#info")
        self.assertEqual(json.loads(eventLine("a", 0, "", {"x": ValueError("y")}))["x"], "y")

    def test_output(self) -> None:
        """Standard output is passed on, or logged where there is none."""
        output = io.StringIO()
        Reports(3, output).output(b"one\ntwo\xff\n")
        self.assertEqual((output.getvalue(), self.events), ("one\ntwo\\xff\n", []))
        self.reports.output(b"one\n")
        self.assertEqual(self.events[0]["line"], "one")

    def test_outputBroken(self) -> None:
        """Who does not read the standard output ends nothing."""

        class Broken(io.StringIO):
            """Nobody reads it."""

            def write(self, text: str) -> int:
                """Fail."""
                raise BrokenPipeError

        Reports(3, Broken()).output(b"one\n")
        self.assertEqual(self.events, [])
