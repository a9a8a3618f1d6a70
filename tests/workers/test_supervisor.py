"""The supervisor: each worker has one process at a time, and is not without one for long."""

from __future__ import annotations

import errno
import io
import os
import subprocess
import sys
from typing import Any, cast

from twisted.logger import ILogObserver, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.workers.processes import Process, ProcessReactor
from twisted_socks5.workers import Job, Workers
from twisted_socks5.workers.job import ERRORS, OUTPUT
from twisted_socks5.workers.supervisor import GRACE, PROGRAM, WELL, interpreter

SUPERVISOR = "twisted_socks5.workers.supervisor.Worker"


class SupervisorCase(SynchronousTestCase):
    """Has two workers, on processes in memory."""

    def setUp(self) -> None:
        """Make them."""
        self.reactor = ProcessReactor()
        self.output = io.StringIO()
        self.ports = [7, 9]
        self.workers = Workers(
            self.reactor,
            Job("some.where", ["--workers", "2"], 2, toOutput=True),
            lambda: {"ports": self.ports, "access log": [11]},
            self.output,
        )
        self.events: list[dict[str, Any]] = []
        observer = cast(ILogObserver, self.events.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    @property
    def said(self) -> list[str]:
        """What the supervisor itself has logged."""
        return [
            event["log_format"].format(**event)
            for event in self.events
            if event["log_namespace"] == SUPERVISOR
        ]

    def start(self) -> list[Process]:
        """Start both."""
        self.workers.start()
        return list(self.reactor.started)

    def pauses(self, times: int, after: float = 0.5) -> list[float]:
        """End the newest process so often, and measure how long there is none."""
        found = []
        for _ in range(times):
            self.reactor.advance(after)
            count, began = len(self.reactor.started), self.reactor.seconds()
            self.reactor.started[-1].ends(1)
            self.reactor.advance(0)
            while len(self.reactor.started) == count:
                self.reactor.advance(0.5)
            found.append(self.reactor.seconds() - began)
        return found


class StartTests(SupervisorCase):
    """What a process is given."""

    def test_start(self) -> None:
        """Each is the same program, under a number of its own."""
        one, two = self.start()
        self.assertEqual(one.command, [*interpreter(), PROGRAM, "1"])
        self.assertEqual(two.command, [*interpreter(), PROGRAM, "2"])
        self.assertEqual(self.said, ["Worker 1 is process 1000", "Worker 2 is process 1001"])

    def test_interpreter(self) -> None:
        """Python looks for modules nowhere where the supervisor's own was told not to look."""
        ask = (
            f"import sys; sys.path = {sys.path}; "
            "from twisted_socks5.workers.supervisor import interpreter; print(interpreter()[1:])"
        )
        for flags, expected in ((("-I",), ["-I", "-E", "-s"]), (("-s",), ["-s"]), ((), [])):
            command = [sys.executable, *flags, "-c", ask]
            environment = {"PATH": os.defpath}
            said = subprocess.check_output(command, env=environment, text=True, timeout=30)
            self.assertEqual(said, f"{expected}\n")

    def test_job(self) -> None:
        """It is told what to do where nobody else can read it."""
        for number, process in enumerate(self.start(), 1):
            job = process.job
            self.assertEqual((job["number"], job["workers"]), (number, 2))
            self.assertEqual((job["make"], job["arguments"]), ("some.where", ["--workers", "2"]))
            self.assertTrue(all(each.startswith("/") for each in job["path"]))

    def test_inherited(self) -> None:
        """It inherits the ports and the access log, under the numbers that its job says."""
        process = self.start()[0]
        self.assertEqual(process.inherited, {4: 7, 5: 9, 6: 11})
        self.assertEqual(process.job["descriptors"], {"ports": [4, 5], "access log": [6]})
        self.assertEqual(process.pipes, {0: "w", 1: "r", 2: "r", 3: "r"})

    def test_inheritedLater(self) -> None:
        """The next process inherits what there is then."""
        process = self.start()[0]
        self.ports = [8]
        process.ends(1)
        self.reactor.advance(0)
        self.assertEqual(self.reactor.started[-1].inherited, {4: 8, 5: 11})


class AgainTests(SupervisorCase):
    """Processes that end unasked."""

    def test_others(self) -> None:
        """The first time another one is started at once, and the other worker hears nothing."""
        one, two = self.start()
        one.ends(signal=9)
        self.reactor.advance(0)
        (three,) = self.reactor.started[2:]
        self.assertEqual(three.job["number"], 1)
        self.assertEqual(two.orders, [])
        self.assertEqual(
            self.said[2:],
            [
                "Worker 1: process 1000 ended by SIGKILL; starting it again at once",
                "Worker 1 is process 1002",
            ],
        )

    def test_pauses(self) -> None:
        """One that ends again and again has longer and longer pauses."""
        self.start()
        self.assertEqual(self.pauses(9), [0, 1, 2, 4, 8, 16, 32, 60, 60])
        self.assertIn("Worker 2: process 1008 ended with status 1; starting it again in 60 s",
                      self.said)  # fmt: skip

    def test_well(self) -> None:
        """Who has run well for a while is started at once again."""
        self.start()
        self.assertEqual(self.pauses(4), [0, 1, 2, 4])
        self.assertEqual(self.pauses(1, after=WELL), [0])
        self.assertEqual(self.pauses(2), [1, 2])

    def test_orderly(self) -> None:
        """It makes no difference that it ended well."""
        one, _ = self.start()
        one.ends()
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.started), 3)
        self.assertIn("ended with status 0", self.said[2])

    def test_pipesHeld(self) -> None:
        """If something else has its pipes, another one is started all the same, a little later."""
        one, _ = self.start()
        one.exits(1)
        one.says(b"half", ERRORS)
        self.reactor.advance(GRACE)
        self.assertIn("process 1000 ended with status 1; starting it again", self.said[2])
        self.assertEqual(self.reactor.started[2].job["number"], 1)

    def test_unknownSignal(self) -> None:
        """A signal without a name has its number."""
        one, _ = self.start()
        one.ends(signal=60)
        self.assertIn("process 1000 ended by signal 60;", self.said[2])

    def test_cannotStart(self) -> None:
        """If the system starts none, that is tried again like all else."""
        self.reactor.error = OSError(errno.EAGAIN, "Resource temporarily unavailable")
        self.workers.start()
        self.reactor.advance(0)
        self.assertEqual(
            self.said,
            [
                *(f"Worker {number}: could not be started: Resource temporarily unavailable; "
                  "starting it again at once" for number in (1, 2)),
                *(f"Worker {number}: could not be started: Resource temporarily unavailable; "
                  "starting it again in 1 s" for number in (1, 2)),
            ],
        )  # fmt: skip
        self.reactor.error = None
        self.reactor.advance(1)
        self.assertEqual(len(self.reactor.started), 2)


class StopTests(SupervisorCase):
    """The end."""

    def test_stop(self) -> None:
        """All are told, and it is over when the last one has ended."""
        one, two = self.start()
        stopped = self.workers.stop(5)
        self.assertEqual((one.orders, two.orders), (["stop"], ["stop"]))
        one.ends()
        self.assertNoResult(stopped)
        two.ends()
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertIn("Worker 2: process 1001 ended with status 0", self.said)

    def test_hangs(self) -> None:
        """Who does not end in time is killed, a little later."""
        one, two = self.start()
        stopped = self.workers.stop(5)
        two.ends()
        self.reactor.advance(5 + GRACE - 0.1)
        self.assertEqual(one.signals, [])
        self.reactor.advance(0.2)
        self.assertEqual(one.signals, ["KILL"])
        self.assertIn("Worker 1 does not end: it is killed", self.said)
        one.ends(signal=9)
        self.successResultOf(stopped)

    def test_pipesHeld(self) -> None:
        """One that has ended, while something else has its pipes, is not waited for long."""
        one, two = self.start()
        stopped = self.workers.stop(5)
        two.ends()
        self.reactor.advance(5 + GRACE - 0.1)
        one.exits()
        self.reactor.advance(0.1)
        self.assertIn("Worker 1 has ended before", self.said)
        self.assertNoResult(stopped)
        self.reactor.advance(GRACE)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_cut(self) -> None:
        """A second word makes it short."""
        one, two = self.start()
        stopped = self.workers.stop(1000)
        two.ends()
        self.workers.cut()
        self.assertEqual((one.orders, two.orders), (["stop", "cut"], ["stop"]))
        self.reactor.advance(GRACE)
        self.assertEqual(one.signals, ["KILL"])
        self.workers.cut()
        one.ends(signal=9)
        self.successResultOf(stopped)

    def test_absent(self) -> None:
        """One that is about to be started is not."""
        one, two = self.start()
        one.ends(1)
        stopped = self.workers.stop(5)
        two.ends()
        self.successResultOf(stopped)
        self.reactor.advance(100)
        self.assertEqual(len(self.reactor.started), 2)

    def test_deaf(self) -> None:
        """One that has closed its standard input is no reason to fail."""
        one, two = self.start()
        one.hearsNoMore()
        self.workers.tell("reopen")
        self.assertEqual((one.orders, two.orders), ([], ["reopen"]))

    def test_again(self) -> None:
        """They can be started again after they were stopped."""
        one, two = self.start()
        stopped = self.workers.stop(5)
        one.ends()
        two.ends()
        self.successResultOf(stopped)
        self.workers.start()
        self.reactor.started[2].ends(1)
        self.reactor.advance(0)
        self.assertEqual(len(self.reactor.started), 5)


class SayTests(SupervisorCase):
    """What they say."""

    def test_output(self) -> None:
        """Standard output comes out in whole lines, of each worker by itself."""
        one, two = self.start()
        one.says(b"first\nsec", OUTPUT)
        two.says(b"other\n", OUTPUT)
        self.assertEqual(self.output.getvalue(), "first\nother\n")
        one.says(b"ond\n", OUTPUT)
        two.says(b"cut of", OUTPUT)
        two.ends(signal=9)
        self.assertEqual(self.output.getvalue(), "first\nother\nsecond\ncut of\n")

    def test_errors(self) -> None:
        """Standard error is logged, with the number of who it was."""
        self.start()[1].says(b"Fatal Python error: \xff\n  where\n", ERRORS)
        found = [event for event in self.events if event.get("worker") == 2]
        self.assertEqual([event["line"] for event in found],
                         ["Fatal Python error: \\xff", "  where"])  # fmt: skip
        self.assertEqual(found[0]["log_system"], "worker 2")

    def test_restarted(self) -> None:
        """What a process had not finished saying is not continued by the next one."""
        one = self.start()[0]
        one.says(b"half", ERRORS)
        one.ends(1)
        self.reactor.advance(0)
        self.reactor.started[-1].says(b"whole\n", ERRORS)
        lines = [event["line"] for event in self.events if event.get("worker") == 1]
        self.assertEqual(lines, ["half", "whole"])
