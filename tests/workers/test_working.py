"""A worker's process: it begins with a job, obeys orders, and ends with its supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from twisted.internet.error import ReactorNotRunning
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.workers.job import LOG, Job
from twisted_socks5.workers.supervisor import PROGRAM
from twisted_socks5.workers.working import Orders, _in

ROOT = Path(__file__).resolve().parents[2]


class Recording:
    """
    A service, and a reactor, that note what is asked of them.

    @ivar asked: what was.
    @ivar stopped: the reactor is not running any more.
    """

    stopped = False

    def __init__(self) -> None:
        self.asked: list[str] = []

    def addReader(self, reader: object) -> None:
        """Watch it."""
        self.asked.append("watch")

    def removeReader(self, reader: object) -> None:
        """Do so no more."""
        self.asked.append("watch no more")

    def stop(self) -> None:
        """Stop the reactor."""
        if self.stopped:
            raise ReactorNotRunning
        self.stopped = True
        self.asked.append("stop")

    def startService(self) -> None:
        """Begin."""

    def stopService(self) -> None:
        """Stop."""

    def reopen(self) -> None:
        """Open files anew."""
        self.asked.append("reopen")

    def cut(self) -> None:
        """End what is left."""
        self.asked.append("cut")


class OrdersTests(SynchronousTestCase):
    """What comes from the supervisor."""

    def setUp(self) -> None:
        """Have a pipe to obey."""
        reading, self.writing = os.pipe()
        self.addCleanup(os.close, reading)
        self.told = Recording()
        self.orders = Orders(self.told, self.told, reading)
        self.assertEqual((self.orders.fileno(), self.told.asked.pop()), (reading, "watch"))
        self.assertEqual(self.orders.logPrefix(), "Orders")

    def say(self, data: bytes) -> Any:
        """Have it hear something."""
        os.write(self.writing, data)
        return self.orders.doRead()

    def test_orders(self) -> None:
        """Each is carried out once it is whole."""
        self.assertIsNone(self.say(b"reo"))
        self.assertEqual(self.told.asked, [])
        self.assertIsNone(self.say(b"pen\nstop\ncut\n"))
        self.assertEqual(self.told.asked, ["reopen", "stop", "cut"])
        os.close(self.writing)

    def test_nothing(self) -> None:
        """Where nothing has come, nothing is done."""
        self.assertIsNone(self.orders.doRead())
        os.close(self.writing)

    def test_end(self) -> None:
        """The supervisor's end is an order to stop; it makes no difference if one came before."""
        for _ in range(2):
            self.say(b"stop\n")
        os.close(self.writing)
        self.assertIs(self.orders.doRead(), CONNECTION_DONE)
        self.orders.connectionLost(Failure(CONNECTION_DONE))
        self.assertEqual(self.told.asked, ["stop", "watch no more"])


class Says:
    """A service that says where it is, by all ways that there are."""

    log = Logger(namespace="says")

    def __init__(self, job: Job) -> None:
        self._job = job

    def startService(self) -> None:
        """Say something."""
        self.log.info("{where} {arguments}", where=os.getcwd(), arguments=self._job.arguments)
        print("printed")  # noqa: T201  (what is printed is what this is about)
        os.write(1, b"output\n")
        os.write(2, b"errors\n")

    def stopService(self) -> None:
        """Say that it is over."""
        self.log.info("stopped")

    def reopen(self) -> None:
        """Say so, and be told to stop twice, by somebody else."""
        self.log.info("reopened")
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)

    def cut(self) -> None:
        """Say so."""


def nothing(job: Job, reactor: Any) -> Recording:
    """Make a service that says nothing."""
    return Recording()


def says(job: Job, reactor: Any) -> Says:
    """Make the service of the worker that is tested."""
    Says.log.info("{where} {reactor}", where=os.getcwd(), reactor=type(reactor).__module__)
    return Says(job)


class ProcessTests(SynchronousTestCase):
    """A process of its own."""

    def run_(
        self, orders: bytes, first: str = "pass"
    ) -> tuple[subprocess.CompletedProcess[bytes], list[Any]]:
        """
        Run the program.

        @param first: a statement, for the process that it becomes.
        @return: how it ended, and the events it has logged.
        """
        reading, writing = os.pipe()
        self.addCleanup(os.close, reading)
        place = f"os.dup2({writing}, {LOG}); {first}; os.execv(sys.argv[1], sys.argv[1:])"
        command = [sys.executable, "-c", f"import os, sys; {place}", sys.executable, PROGRAM, "1"]
        try:
            said = subprocess.run(
                command, input=orders, capture_output=True, timeout=30, cwd="/", pass_fds=[writing]
            )
        finally:
            os.close(writing)
        with open(reading, closefd=False) as log:
            return said, [json.loads(line) for line in log]

    def test_life(self) -> None:
        """It is given a job, runs it on the reactor that it is told, and ends with its orders."""
        job = Job(
            f"{__name__}.says",
            ["one", "two"],
            2,
            reactor="twisted.internet.selectreactor",
            directory=str(ROOT),
            path=[str(ROOT), *sys.path],
        )
        said, events = self.run_(job.given(1, {})[0].pack() + b"reopen\n")
        self.assertEqual((said.returncode, said.stdout), (0, b"output\n"), said.stderr)
        self.assertEqual(said.stderr, b"errors\n")
        texts = [event["log_format"] for event in events]
        self.assertEqual(
            texts[:5],
            [
                f"{ROOT} twisted.internet.selectreactor",
                "/ ['one', 'two']",
                "printed",
                "reopened",
                "stopped",
            ],
        )
        # To be told so by a signal, another one and the end of the orders is all the same.
        self.assertEqual({event["log_level"]["name"] for event in events}, {"info"})

    def test_nowhere(self) -> None:
        """The directory that all was started in may be gone by the time of a later start."""
        gone = Path(self.mktemp()).absolute()
        gone.mkdir()
        job = Job(f"{__name__}.nothing", [], 2, directory=str(gone), path=[str(ROOT), *sys.path])
        said, _ = self.run_(
            job.given(1, {})[0].pack() + b"stop\n",
            f"os.chdir({str(gone)!r}); os.rmdir({str(gone)!r})",
        )
        self.assertEqual((said.returncode, said.stderr), (0, b""))

    def test_notForUs(self) -> None:
        """It may be a directory of root's, who has started all, and not be for our eyes."""

        def refuse(path: str) -> None:
            """Let nobody in."""
            raise PermissionError(path)

        here = os.getcwd()
        self.patch(os, "chdir", refuse)
        with _in(here):
            self.assertEqual(os.getcwd(), here)

    def test_noJob(self) -> None:
        """Who starts it by hand is told that this is not the way."""
        said, events = self.run_(b"")
        self.assertEqual((said.returncode, events), (1, []))
        self.assertEqual(said.stderr, b"this is started by twistd socks5 --workers\n")
