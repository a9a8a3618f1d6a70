"""
Processes in memory: a reactor that starts them, and what each was given and told.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.interfaces import IReactorProcess
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.workers.job import ERRORS, LOG, ORDERS, OUTPUT


class Process:
    """
    A process, as its protocol sees it.

    @ivar pid: its number.
    @ivar command: the words of its command line.
    @ivar inherited: its descriptors and ours that they are copies of.
    @ivar signals: what it was sent.
    """

    def __init__(
        self, protocol: Any, pid: int, command: Sequence[str], childFDs: Mapping[int, int | str]
    ) -> None:
        self.pid: int | None = pid
        self.command = list(command)
        self.inherited = {one: two for one, two in childFDs.items() if isinstance(two, int)}
        self.pipes = {one: two for one, two in childFDs.items() if isinstance(two, str)}
        self.signals: list[str] = []
        self._protocol = protocol
        self._told = b""
        self._open = {ORDERS, OUTPUT, ERRORS, LOG}

    def writeToChild(self, childFD: int, data: bytes) -> None:
        """Tell it something."""
        assert childFD == ORDERS
        if ORDERS not in self.pipes:
            raise KeyError(ORDERS)
        self._told += data

    def signalProcess(self, name: str) -> None:
        """Send it a signal."""
        if self.pid is None:
            raise ProcessExitedAlready
        self.signals.append(name)

    @property
    def job(self) -> dict[str, Any]:
        """What it was told first."""
        job: dict[str, Any] = json.loads(self._told.split(b"\n")[0])
        return job

    @property
    def orders(self) -> list[str]:
        """What it was told since."""
        return self._told.decode().split("\n")[1:-1]

    def says(self, data: bytes, descriptor: int = LOG) -> None:
        """It writes something."""
        self._protocol.childDataReceived(descriptor, data)

    def hearsNoMore(self) -> None:
        """It closes its standard input."""
        del self.pipes[ORDERS]
        self._protocol.childConnectionLost(ORDERS)

    def closeChildFD(self, childFD: int) -> None:
        """Close our end of a pipe."""
        self._open.discard(childFD)
        if not self._open and self.pid is None:
            self._protocol.processEnded(self._reason)

    def exits(self, status: int = 0, signal: int | None = None) -> None:
        """It ends, and leaves its pipes to another one."""
        self.pid = None
        reason = ProcessTerminated(status, signal) if status or signal else ProcessDone(0)
        self._reason = Failure(reason)
        self._protocol.processExited(self._reason)

    def ends(self, status: int = 0, signal: int | None = None) -> None:
        """It ends."""
        self.exits(status, signal)
        for descriptor in (ORDERS, OUTPUT, ERRORS, LOG):
            self._protocol.childConnectionLost(descriptor)
            self.closeChildFD(descriptor)


@implementer(IReactorProcess)
class Processes:
    """
    Starts processes in memory.

    @ivar started: all of them.
    @ivar error: why none can be.
    """

    error: OSError | None = None

    def __init__(self) -> None:
        super().__init__()
        self.started: list[Process] = []

    def spawnProcess(  # type: ignore[override]  # only as it is called
        self,
        processProtocol: Any,
        executable: str,
        args: Sequence[str],
        env: Mapping[str, str] | None,
        childFDs: Mapping[int, int | str],
    ) -> Process:
        """Start one."""
        if self.error is not None:
            raise self.error
        process = Process(processProtocol, 1000 + len(self.started), args, childFDs)
        self.started.append(process)
        processProtocol.makeConnection(process)
        return process


class ProcessReactor(Processes, Clock):
    """A reactor that can do nothing else."""
