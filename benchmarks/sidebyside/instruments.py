"""
A proxy at work under an instrument: strace counts its system calls, cProfile the functions that it
calls, py-spy looks at its stacks.  Each changes how long things take, so times are measured in a
run without any.
"""

from __future__ import annotations

import contextlib
import json
import pstats
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sidebyside.proxies import Proxy
from sidebyside.stacks import Stacks, parse
from sidebyside.workloads import MEASURES, Failure

#: Samples a second.
RATE = 500

#: The shorter of two runs.
SHORT = 0.2


@dataclass(frozen=True)
class Work:
    """
    What is done to learn what one of it costs.

    @ivar unit: what is counted.
    @ivar args: mode and options of socks5load.
    @ivar scale: what makes units of socks5load's rate.
    @ivar counted: whether socks5load can be told how many.
    """

    name: str
    unit: str
    args: tuple[str, ...]
    scale: float = 1
    counted: bool = False

    @property
    def mode(self) -> str:
        return self.args[0]


WORKS = {
    work.name: work
    for work in (
        Work("connect", "connection", ("connect", "--connections", "64"), counted=True),
        Work("rr-64", "round trip", ("rr", "--connections", "64")),
        Work("udp", "datagram out and back", ("udp", "--connections", "4", "--window", "16")),
        Work("bind", "cycle", ("bind", "--connections", "16"), counted=True),
        Work("bulk-down", "MiB", ("bulk", "--direction", "down"), 2.0**-20),
    )
}


def program(name: str) -> str:
    """
    Find an instrument, beside the Python that runs this or anywhere else.

    @raise Failure: it is not installed.
    """
    beside = Path(sys.executable).parent / name
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise Failure(f"{name} is not installed")
    return found


@dataclass
class Workbench:
    """
    What is measured with.

    @ivar load: the load generator.
    @ivar seconds: how long a proxy works.
    @ivar count: how many connections or cycles it is given where they are counted.
    """

    load: str
    seconds: float
    count: int
    target_port: int

    def work_on(
        self, proxy: Proxy, work: Work, timed: bool = False, part: float = 1
    ) -> dict[str, Any]:
        """
        Give a proxy work.

        @param part: of the time or the count.
        @param timed: its processor time is wanted; else all that it does is counted, from the
            first unit to the last.
        @raise Failure: something went wrong.
        """
        command = [self.load, *work.args, "--proxy", proxy.address]
        command += ["--target-port", str(self.target_port), "--duration", str(part * self.seconds)]
        if timed:
            command += ["--pid", str(proxy.pid)]
        elif work.counted:
            command += ["--count", str(int(part * self.count)), "--duration", "60"]
        else:
            command += ["--warmup", "0"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        try:
            result: dict[str, Any] = json.loads(done.stdout)
        except ValueError:
            raise Failure(f"{work.name}: {done.stderr.strip()[-200:]}") from None
        if result["aborted"] or result["errors"]:
            raise Failure(f"{work.name}: {result.get('first_error', 'nothing came through')}")
        return result


def units(result: dict[str, Any], work: Work) -> float:
    """How many were done."""
    if "done" in result:
        return float(result["done"])
    return float(result[MEASURES[work.mode].rate]) * float(result["seconds"]) * work.scale


def times(bench: Workbench, proxy: Proxy, work: Work) -> tuple[float, float]:
    """Processor time for one, in microseconds: the program's own, and the system's for it."""
    proxy.start()
    try:
        result = bench.work_on(proxy, work, timed=True)
    finally:
        proxy.stop()
    count = units(result, work)
    return result["cpu_user_s"] * 1e6 / count, result["cpu_sys_s"] * 1e6 / count


def system_calls(bench: Workbench, proxy: Proxy, work: Work) -> dict[str, float]:
    """
    System calls for one, by name, the most frequent first: what a longer run has more of than a
    short one, for what there is more done.  So those of start, opening and end don't count.
    """
    less, few = traced(bench, proxy, work, SHORT)
    more, many = traced(bench, proxy, work, 1)
    if many <= few:
        return {}  # too noisy to tell
    return {name: calls / (many - few) for name, calls in (more - less).most_common()}


def traced(bench: Workbench, proxy: Proxy, work: Work, part: float) -> tuple[Counter[str], float]:
    """Let a proxy start, do some work, and end, under strace."""
    with tempfile.TemporaryDirectory(prefix="costs-") as directory:
        output = Path(directory, "counts")
        proxy.prefix = [program("strace"), "-f", "-c", "-U", "name,calls", "-o", str(output)]
        proxy.start()
        try:
            done = units(bench.work_on(proxy, work, part=part), work)
        finally:
            proxy.stop()
            proxy.prefix = []
        return parse_counts(output.read_text() if output.exists() else ""), done


def parse_counts(text: str) -> Counter[str]:
    """
    Read what C{strace -c -U name,calls} writes.

    @raise Failure: there is nothing.
    """
    found: Counter[str] = Counter()
    for line in text.splitlines():
        words = line.split()
        if len(words) == 2 and words[1].isdigit() and words[0] != "total":
            found[words[0]] += int(words[1])
    if not found:
        raise Failure("strace has counted nothing: may it trace here?")
    return found


def function_calls(bench: Workbench, proxy: Proxy, work: Work) -> tuple[float, float]:
    """Functions called for one by C{twistd}: those written in Python, and built-in ones."""
    start = proxy.start_command or ""
    with tempfile.TemporaryDirectory(prefix="costs-") as directory:
        output = Path(directory, "stats")
        profiling = f"twistd --profile={output} --profiler=cprofile --savestats "
        proxy.start_command = start.replace("twistd ", profiling, 1)
        proxy.start()
        try:
            count = units(bench.work_on(proxy, work), work)
        finally:
            proxy.stop()
            proxy.start_command = start
        if not output.exists():
            raise Failure(f"{proxy.name} has written no profile")
        counted: dict[tuple[str, int, str], tuple[int, int, float, float, Any]]
        counted = pstats.Stats(str(output)).stats  # type: ignore[attr-defined]
    built_in = sum(calls for (file, *_), (_, calls, *_) in counted.items() if file == "~")
    every = sum(calls for _, calls, *_ in counted.values())
    return (every - built_in) / count, built_in / count


def sampled(bench: Workbench, proxy: Proxy, work: Work) -> Stacks:
    """
    Look at what a Python program is doing, some hundred times a second.

    @raise Failure: py-spy has seen nothing.
    """
    with tempfile.TemporaryDirectory(prefix="costs-") as directory:
        output = Path(directory, "stacks")
        proxy.prefix = [program("py-spy"), "record", "--format", "raw", "--function"]
        proxy.prefix += ["--rate", str(RATE), "--output", str(output), "--"]
        proxy.start()
        try:
            bench.work_on(proxy, work)
            if proxy.process is not None:
                # Now it writes what it has seen.
                proxy.process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    proxy.process.wait(10)
        finally:
            proxy.stop()
            proxy.prefix = []
        seen = parse(output.read_text(encoding="utf-8")) if output.exists() else Counter()
    at_work = Counter({stack: n for stack, n in seen.items() if any(map(_is_loop, stack))})
    if not at_work:
        raise Failure("py-spy has seen nothing: may it trace here?")
    return at_work


def _is_loop(frame: str) -> bool:
    """Whether it is the reactor's: what comes before that is the start."""
    return "mainLoop " in frame
