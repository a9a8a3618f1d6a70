"""
The proxies: started afresh for each run and ended by process id, or running already.
"""

from __future__ import annotations

import contextlib
import json
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

from sidebyside.workloads import MEASURES, Failure, Workload

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

HERE = Path(__file__).resolve().parent.parent


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
        self.user, self.password = user, password
        self.lacks, self.note = lacks, note
        self.fixed_version, self.version_command = version, version_command
        self.env = env or {}
        self.process: subprocess.Popen[bytes] | None = None
        self.directory: str | None = None

    @property
    def address(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def program(self) -> str | None:
        """The path of what is started; L{None} if it is not installed."""
        if self.start_command is None:
            return None
        return shutil.which(os.path.expanduser(self.words(self.start_command)[0]))

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
            "host": self.host,
            "dir": self.directory,
            "config": f"{self.directory}/config",
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

    def start(self, cpus: set[int] | None = None, wait: float = 15) -> None:
        """
        Start it and wait until it accepts connections.

        @raise Failure: if it does not, with the end of what it said.
        """
        if self.start_command is None:
            return
        self.directory = tempfile.mkdtemp(prefix="compare-")
        if self.config is not None:
            Path(self.directory, "config").write_text(self.fill(self.config))
        program = self.program
        if program is None:
            self.stop()
            raise Failure(f"{self.words(self.start_command)[0]} is not installed")
        if self.accepts():
            self.stop()
            raise Failure(f"port {self.port} is taken")
        with open(Path(self.directory, "log"), "wb") as log:
            self.process = subprocess.Popen(
                [program, *self.words(self.start_command)[1:]],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=os.environ | {k: self.fill(v) for k, v in self.env.items()},
                start_new_session=True,
                preexec_fn=stay_on(cpus),
            )
        self.pid = self.process.pid
        end = time.monotonic() + wait
        while not self.accepts():
            if self.process.poll() is not None or time.monotonic() > end:
                tail = Path(self.directory, "log").read_text(errors="replace")[-300:].strip()
                self.stop()
                raise Failure(f"does not start: {tail or 'no answer on its port'}")
            time.sleep(0.02)
        time.sleep(0.15)

    def accepts(self) -> bool:
        with contextlib.suppress(OSError):
            socket.create_connection((self.host, self.port), 1).close()
            return True
        return False

    def stop(self) -> None:
        """End what start() began, by process id."""
        process, self.process = self.process, None
        if process is not None:
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
            self.pid = None
        if self.directory:
            shutil.rmtree(self.directory, ignore_errors=True)
            self.directory = None


def read_peers(path: str) -> tuple[list[Proxy], list[Workload]]:
    """
    Read a TOML or JSON file of proxies and workloads.

    @raise Failure: if a table in it is not right.
    """
    data = Path(path).read_text(encoding="utf-8")
    tables = json.loads(data) if path.endswith(".json") else tomllib.loads(data)
    proxies = []
    for table in tables.get("proxy", []):
        rest = dict(table)
        lacks = tuple(rest.pop("lacks", ()))
        try:
            name, host, port = rest.pop("name"), rest.pop("host", "127.0.0.1"), rest.pop("port")
            proxies.append(Proxy(name, host, port, lacks=lacks, **rest))
        except (KeyError, TypeError) as error:
            raise Failure(f"{path}: a proxy table is not right: {error}") from None
    workloads = []
    for table in tables.get("workload", []):
        args = tuple(str(arg) for arg in table["args"])
        if args[0] not in MEASURES:
            raise Failure(f"{path}: workload {table['name']}: unknown mode {args[0]}")
        workloads.append(
            Workload(
                table["name"],
                args,
                table.get("title", " ".join(args)),
                timed=args[0] != "idle",
                together=table.get("together", False),
            )
        )
    return proxies, workloads


def parse_running(text: str) -> Proxy:
    """
    A proxy that runs already, from C{NAME=HOST:PORT[:PID]}.

    @raise Failure: if the text is not of that form.
    """
    name, _, address = text.partition("=")
    host, _, rest = address.rpartition("]:") if "]:" in address else address.partition(":")
    port, _, pid = rest.partition(":")
    if not (name and host and port.isdigit() and (not pid or pid.isdigit())):
        raise Failure(f"--proxy {text}: NAME=HOST:PORT or NAME=HOST:PORT:PID")
    return Proxy(name, host.lstrip("["), int(port), pid=int(pid) if pid else None)
