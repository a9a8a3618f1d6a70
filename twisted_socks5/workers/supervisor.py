"""
Keeps workers running.

Each worker has a place, and one process at a time in it::

    absent ── start ──► running ── it ends ──► absent, until the pause is over ── start ──► …
                           └── stop ──► leaving ── it ends, or is killed ──► gone

A process that ends unasked is followed by another one: at once, and then after 1 s, 2 s and so on,
up to a minute; one that has run for a minute has run well, and counts for a first time.  The
others hear nothing of it.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, gatherResults, succeed
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger

from twisted_socks5.workers.job import ERRORS, FIRST, LOG, ORDERS, OUTPUT, Job
from twisted_socks5.workers.reports import Lines, Reports, nameOf

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall
    from twisted.python.failure import Failure

#: What a worker's interpreter runs.
PROGRAM = str(Path(__file__).with_name("__main__.py"))

#: Seconds before the second start after another, twice as many before the next, and the most.
PAUSE, LONGEST_PAUSE = 1.0, 60.0

#: Seconds after which a process has run well.
WELL = 60.0

#: Seconds that a process has to end in once its time is over.
GRACE = 3.0


def interpreter() -> list[str]:
    """Say how to start Python: where it was told not to look for modules, it is told so again."""
    told = {
        "-I": sys.flags.isolated,
        "-E": sys.flags.ignore_environment,
        "-s": sys.flags.no_user_site,
    }
    return [sys.executable, *(flag for flag, given in told.items() if given)]


class Worker(ProcessProtocol):
    """
    A place, and the process that has it.

    @ivar number: its number, from 1 on.
    """

    _log = Logger()
    transport: Any = None

    def __init__(
        self,
        reactor: Any,
        number: int,
        job: Callable[[int], tuple[Job, list[int]]],
        output: IO[str] | None,
    ) -> None:
        """
        @param job: says at each start what it has to do, and which descriptors it inherits.
        """
        self.number = number
        self._reactor = reactor
        self._job = job
        self._reports = Reports(number, output)
        self._lines: dict[int, Lines] = {}
        self._pid = 0
        self._began = 0.0
        self._pause = 0.0
        self._retry: IDelayedCall | None = None
        self._kill: IDelayedCall | None = None
        self._closing: IDelayedCall | None = None
        self._leaving: Deferred[None] | None = None

    def start(self) -> None:
        """Start a process."""
        self._retry = None
        self._began = self._reactor.seconds()
        job, inherited = self._job(self.number)
        descriptors: dict[int, int | str] = {ORDERS: "w", OUTPUT: "r", ERRORS: "r", LOG: "r"}
        descriptors.update(enumerate(inherited, FIRST))
        self._lines = {
            OUTPUT: Lines(self._reports.output),
            ERRORS: Lines(self._reports.errors),
            LOG: Lines(self._reports.events),
        }
        # Its number is for those who look at a list of processes.
        command = [*interpreter(), PROGRAM, str(self.number)]
        try:
            self._reactor.spawnProcess(
                self, sys.executable, command, env=None, childFDs=descriptors
            )
        except OSError as error:
            self._again(f"could not be started: {error.strerror}")
        else:
            self._write(job.pack())

    def tell(self, order: str) -> None:
        """Give the process an order, if there is one."""
        if self.transport is not None:
            self._write(f"{order}\n".encode("ascii"))

    def stop(self, seconds: float) -> Deferred[None]:
        """
        Have it end, and no other one follow.

        @param seconds: how long its sessions may take.
        @return: fires when it has.
        """
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        if self.transport is None:
            return succeed(None)
        self.tell("stop")
        self._kill = self._reactor.callLater(seconds + GRACE, self._killed)
        self._leaving = Deferred()
        return self._leaving

    def cut(self) -> None:
        """Have it end at once, once it was to stop."""
        self.tell("cut")
        if self._kill is not None:
            self._kill.reset(GRACE)

    # What the process does.

    def connectionMade(self) -> None:
        """It is started."""
        # Forgotten by the transport once there is no such process.
        self._pid = self.transport.pid
        self._log.info("Worker {number} is process {pid}", number=self.number, pid=self._pid)

    def childDataReceived(self, childFD: int, data: bytes) -> None:
        """It says something."""
        self._lines[childFD].feed(data)

    def processExited(self, reason: Failure) -> None:
        """It is gone; what it has said last may be on its way."""
        self._closing = self._reactor.callLater(GRACE, self._close)

    def processEnded(self, reason: Failure) -> None:
        """It is gone, and all that it has said is here."""
        self.transport = None
        if self._closing is not None:
            self._closing.cancel()
            self._closing = None
        for lines in self._lines.values():
            lines.finish()
        ending = f"process {self._pid} {nameOf(reason)}"
        leaving, self._leaving = self._leaving, None
        if leaving is None:
            self._again(ending)
            return
        if self._kill is not None:
            self._kill.cancel()
            self._kill = None
        self._log.info("Worker {number}: {ending}", number=self.number, ending=ending)
        leaving.callback(None)

    def _write(self, order: bytes) -> None:
        # Who hears nothing any more is about to end.
        with suppress(KeyError):
            self.transport.writeToChild(ORDERS, order)

    def _again(self, ending: str) -> None:
        now = self._reactor.seconds()
        if now - self._began >= WELL:
            self._pause = 0.0
        pause = self._pause
        self._pause = min(LONGEST_PAUSE, 2 * pause) or PAUSE
        self._log.error(
            "Worker {number}: {ending}; starting it again {when}",
            number=self.number,
            ending=ending,
            when=f"in {pause:g} s" if pause else "at once",
        )
        # Not from within: what ends us as well may have been reported a moment later.
        self._retry = self._reactor.callLater(pause, self.start)

    def _close(self) -> None:
        # Somebody else, whom it has started, holds the other ends, maybe for ever.
        self._closing = None
        for descriptor in (ORDERS, OUTPUT, ERRORS, LOG):
            self.transport.closeChildFD(descriptor)

    def _killed(self) -> None:
        self._kill = None
        self._log.error("Worker {number} does not end: it is killed", number=self.number)
        try:
            self.transport.signalProcess("KILL")
        except ProcessExitedAlready:
            # And somebody else holds a pipe of its.
            self._log.error("Worker {number} has ended before", number=self.number)


class Workers:
    """
    All workers of a service.

    @ivar workers: each of them.
    """

    def __init__(
        self,
        reactor: Any,
        job: Job,
        descriptors: Callable[[], dict[str, list[int]]],
        output: IO[str] | None = None,
    ) -> None:
        """
        @param reactor: starts processes, and tells the time.
        @param job: what each worker does.
        @param descriptors: says, at each start, what a worker inherits.
        @param output: where workers' standard output goes; default: into the log.
        """

        def given(number: int) -> tuple[Job, list[int]]:
            return job.given(number, descriptors())

        self.workers = [
            Worker(reactor, number, given, output) for number in range(1, job.workers + 1)
        ]

    def start(self) -> None:
        """Start all of them."""
        for worker in self.workers:
            worker.start()

    def tell(self, order: str) -> None:
        """Give all of them an order."""
        for worker in self.workers:
            worker.tell(order)

    def stop(self, seconds: float) -> Deferred[Any]:
        """
        Have all of them end.

        @param seconds: how long their sessions may take.
        @return: fires when the last one has.
        """
        return gatherResults([worker.stop(seconds) for worker in self.workers])

    def cut(self) -> None:
        """Have them end at once, once they were to stop."""
        for worker in self.workers:
            worker.cut()
