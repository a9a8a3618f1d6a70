"""
The proxies: started afresh for each run and ended by process id, or running already.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sidebyside.workloads import Failure

HERE = Path(__file__).resolve().parent.parent

BEHIND = 1000
"""How far above its port a proxy listens that has something in front of it."""


def descendants(root: int) -> dict[int, str]:
    """Process ids below and including root, with their start times."""
    parent: dict[int, int] = {}
    started: dict[int, str] = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = Path("/proc", entry, "stat").read_text().rpartition(")")[2].split()
                parent[int(entry)] = int(fields[1])
                started[int(entry)] = fields[19]
    tree = {root} & started.keys()
    grown = True
    while grown:
        more = {pid for pid, ppid in parent.items() if ppid in tree} - tree
        tree |= more
        grown = bool(more)
    return {pid: started[pid] for pid in tree}


def stay_on(cpus: set[int] | None) -> Callable[[], None] | None:
    """What a child runs before its program, to keep it on some processors."""
    if not cpus:
        return None
    chosen = cpus
    return lambda: os.sched_setaffinity(0, chosen)


class Proxy:
    """
    A proxy to measure.

    @ivar front: what stands before it, on the load's side: the load goes to that, and what it
        costs is not the proxy's.
    @ivar prepare: what is run before it is started.
    @ivar prefix: what its command is run by: a profiler.
    @ivar pid: its first process, while it runs and if that is known.
    """

    def __init__(
        self,
        name: str,
        host: str,
        port: int,
        *,
        start: str | None = None,
        config: str | None = None,
        prepare: str = "",
        front: str | None = None,
        front_config: str = "",
        pid: int | None = None,
        user: str | None = None,
        password: str | None = None,
        lacks: tuple[str, ...] = (),
        version: str = "",
        version_command: str = "",
        env: dict[str, str] | None = None,
        note: str = "",
    ) -> None:
        self.name, self.host, self.port = name, host, port
        self.start_command, self.config, self.pid = start, config, pid
        self.prepare, self.front, self.front_config = prepare, front, front_config
        self.prefix: list[str] = []
        self.user, self.password = user, password
        self.lacks, self.note = lacks, note
        self.fixed_version, self.version_command = version, version_command
        self.env = env or {}
        self.process: subprocess.Popen[bytes] | None = None
        self.fronting: subprocess.Popen[bytes] | None = None
        self.directory: str | None = None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def program(self) -> str | None:
        """The path of what is started; L{None} if that, or what stands before it, is missing."""
        if self.start_command is None or (self.front and not self.found(self.front)):
            return None
        return self.found(self.start_command)

    def found(self, command: str) -> str | None:
        """The path of a command's program; L{None} if it is not installed."""
        return shutil.which(os.path.expanduser(self.words(command)[0]))

    @property
    def version(self) -> str:
        """The first line of what its C{version_command} says, else its C{version}."""
        if not self.version_command:
            return self.fixed_version
        try:
            said = subprocess.run(
                self.words(self.version_command),
                capture_output=True,
                text=True,
                timeout=20,
                check=True,
            )
        except (OSError, subprocess.SubprocessError):
            return self.fixed_version
        lines = (said.stdout + said.stderr).splitlines()
        return " ".join(lines[0].split()) if lines else self.fixed_version

    def fill(self, text: str) -> str:
        """Put port, paths and the like where C{text} has their names in braces."""
        values = {
            "port": self.port,
            "behind": self.port + BEHIND,
            "host": self.host,
            "dir": self.directory,
            "config": f"{self.directory}/config",
            "front_config": f"{self.directory}/front_config",
            # Not sys.prefix: what is installed beside the Python that runs this.
            "bin": Path(sys.executable).parent,
            "python": sys.executable,
            "here": HERE,
        }
        for key, value in values.items():
            text = text.replace("{" + key + "}", str(value))
        return text

    def words(self, command: str) -> list[str]:
        return shlex.split(self.fill(command))

    def start(self, cpus: set[int] | None = None, front_cpus: set[int] | None = None) -> None:
        """
        Start it, and what stands before it, and wait until it serves.

        @raise Failure: if they do not, with the last line of what was said.
        """
        if self.start_command is None:
            return
        for command in filter(None, (self.start_command, self.front)):
            if self.found(command) is None:
                raise Failure(f"{self.words(command)[0]} is not installed")
        ports = [self.port + BEHIND, self.port] if self.front else [self.port]
        for port in ports:
            if self.accepts(port):
                raise Failure(f"port {port} is taken")
        self.directory = tempfile.mkdtemp(prefix="compare-")
        try:
            for name, text in (("config", self.config), ("front_config", self.front_config)):
                if text:
                    Path(self.directory, name).write_text(self.fill(text))
            if self.prepare:
                self.begin([], self.prepare, "prepared").wait(30)
            self.process = self.begin(self.prefix, self.start_command, "log", cpus)
            self.pid = self.process.pid
            if self.front:
                self.wait_for(self.process, "log", lambda: self.accepts(ports[0]))
                self.fronting = self.begin([], self.front, "front", front_cpus)
            self.wait_for(self.fronting or self.process, "log", self.answers)
        except Failure:
            self.stop()
            raise
        time.sleep(0.15)

    def begin(
        self, prefix: list[str], command: str, log: str, cpus: set[int] | None = None
    ) -> subprocess.Popen[bytes]:
        """Start one program, in a session of its own."""
        with open(self.path(log), "wb") as said:
            return subprocess.Popen(
                [*prefix, self.found(command) or command, *self.words(command)[1:]],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=said,
                env=os.environ | {k: self.fill(v) for k, v in self.env.items()},
                start_new_session=True,
                preexec_fn=stay_on(cpus),
            )

    def wait_for(
        self,
        process: subprocess.Popen[bytes],
        log: str,
        ready: Callable[[], bool],
        wait: float = 15,
    ) -> None:
        """
        Wait until a process is ready.

        @raise Failure: it has ended, or it takes too long.
        """
        end = time.monotonic() + wait
        while not ready():
            if process.poll() is not None or time.monotonic() > end:
                said = self.path(log).read_text(errors="replace").split("\n")
                last = next(filter(None, map(str.strip, reversed(said))), "no answer on its port")
                raise Failure(f"does not start: {last}")
            time.sleep(0.02)

    def path(self, name: str) -> Path:
        """A file of this run."""
        return Path(self.directory or "", name)

    def accepts(self, port: int) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, port), 1).close()
            return True
        return False

    def answers(self) -> bool:
        """Whether a greeting is answered: a port may be open before anybody serves there."""
        with (
            contextlib.suppress(OSError),
            socket.create_connection((self.host, self.port), 1) as client,
        ):
            client.sendall(bytes([5, 1, 2 if self.user else 0]))
            return bool(client.recv(2))
        return False

    def trouble(self) -> str | None:
        """What has gone wrong with it, though the load may have got through."""
        if self.process is None:
            return None
        status = self.process.poll()
        if status is not None:
            how = f"status {status}" if status >= 0 else signal.Signals(-status).name
            return f"the proxy ended: {how}"
        if b"Traceback (most recent call last)" in self.path("log").read_bytes():
            return "a traceback in the proxy's log"
        return None

    def stop(self) -> None:
        """End what start() began, by process id."""
        for process in filter(None, (self.fronting, self.process)):
            end(process)
        self.process = self.fronting = None
        if self.directory:
            self.pid = None
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process and all that it has started."""
    mine = descendants(process.pid)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(3)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(3)
    for pid, started in mine.items():
        if descendants(pid).get(pid) == started:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
