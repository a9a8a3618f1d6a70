"""
The runs: each workload on each proxy in turns, A B C C B A, so that all see the same minutes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from typing import Any

from sidebyside.machine import wait_for_calm
from sidebyside.proxies import HERE, Proxy, stay_on
from sidebyside.workloads import DIRECT, MEASURES, Failure, Workload

Result = dict[str, Any]
"""What socks5load said of one run, and which run it was."""


def build(output: str) -> str:
    """
    Compile socks5load.

    @raise Failure: without a compiler, or with what it complained of.
    """
    command = ["cc", "-O2", "-pthread", "-o", output, str(HERE / "socks5load.c")]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except FileNotFoundError:
        raise Failure("cannot build socks5load: there is no C compiler, cc") from None
    if done.returncode:
        raise Failure(f"cannot build socks5load: {done.stderr[-500:]}")
    return output


def aborted(why: str) -> Result:
    return {"aborted": True, "failure": why}


class Bench:
    """
    All runs of one comparison.

    @ivar runs: the results so far, also while it is still going on.
    """

    def __init__(
        self,
        args: argparse.Namespace,
        load: str,
        proxies: list[Proxy],
        workloads: list[Workload],
    ) -> None:
        self.args, self.load = args, load
        self.proxies, self.workloads = proxies, workloads
        self.runs: list[Result] = []

    def command(self, workload: Workload, proxy: Proxy | None) -> list[str]:
        args = [arg.replace("{idle}", str(self.args.idle)) for arg in workload.args]
        command = [self.load, *args, "--target-port", str(self.args.target_port)]
        if workload.timed:
            command += ["--duration", str(self.args.duration), "--warmup", str(self.args.warmup)]
        if proxy is None:
            command.append("--direct")
        else:
            command += ["--proxy", proxy.address]
            if proxy.pid:
                command += ["--pid", str(proxy.pid)]
            if proxy.user:
                command += ["--user", proxy.user, "--password", proxy.password or ""]
        return [*command, *self.args.load_options]

    def processors(self, workload: Workload) -> tuple[set[int] | None, set[int] | None]:
        """Those of the proxy and those of the load."""
        mine = sorted(os.sched_getaffinity(0))
        if not self.args.pin or len(mine) < 2:
            return None, None
        if workload.together:
            return {mine[-1]}, {mine[-1]}
        half = len(mine) // 2
        return set(mine[:half]), set(mine[half:])

    def once(self, workload: Workload, proxy: Proxy | None) -> Result:
        if self.args.calm:
            wait_for_calm(self.args.max_noise, self.args.calm)
        for_proxy, for_load = self.processors(workload)
        try:
            if proxy is not None:
                proxy.start(for_proxy, for_load)
            done = subprocess.run(
                self.command(workload, proxy),
                capture_output=True,
                text=True,
                timeout=self.args.duration + self.args.warmup + 180,
                preexec_fn=stay_on(for_load),
            )
            trouble = proxy.trouble() if proxy is not None else None
        except Failure as failure:
            return aborted(str(failure))
        except subprocess.TimeoutExpired:
            return aborted("the load generator did not end in time")
        finally:
            if proxy is not None:
                proxy.stop()
        try:
            result: Result = json.loads(done.stdout)
        except ValueError:
            return aborted(trouble or done.stderr.strip()[-200:] or "no result")
        if trouble is not None:
            result["trouble"] = trouble
        if result["aborted"]:
            result["failure"] = trouble or result.get("first_error") or "nothing came through"
        return result

    def measure(self, workload: Workload, proxy: Proxy | None) -> Result:
        """One run; repeated while other programs took too much of the machine."""
        best = self.once(workload, proxy)
        attempts = 1
        while (
            attempts <= self.args.noise_retries
            and not best["aborted"]
            and best.get("other_cpu_cores", 0) > self.args.max_noise
        ):
            again = self.once(workload, proxy)
            attempts += 1
            if again["aborted"]:
                break
            if again.get("other_cpu_cores", 0) < best.get("other_cpu_cores", 0):
                best = again
        best["attempts"] = attempts
        return best

    def subjects(self, workload: Workload) -> list[tuple[str, Proxy | None]]:
        """Who can do it: first nobody, as the limit, then each proxy."""
        found: list[tuple[str, Proxy | None]] = []
        if MEASURES[workload.mode].direct:
            found.append((DIRECT, None))
        found += [
            (proxy.name, proxy)
            for proxy in self.proxies
            if workload.mode not in proxy.lacks and workload.name not in proxy.lacks
        ]
        return found

    def run(self) -> None:
        for workload in self.workloads:
            skip: set[str] = set()
            for turn in range(self.args.rounds):
                # Every other round backwards: nobody is always the first, or the last, of it.
                for name, proxy in self.subjects(workload)[:: -1 if turn % 2 else 1]:
                    if name in skip:
                        continue
                    result = self.measure(workload, proxy)
                    result |= {"workload": workload.name, "name": name, "round": turn}
                    self.runs.append(result)
                    if result["aborted"]:
                        skip.add(name)
                    self.progress(workload, result)

    def progress(self, workload: Workload, result: Result) -> None:
        measure = MEASURES[workload.mode]
        value = result.get(measure.rate)
        said = next(filter(None, map(result.get, ("failure", "trouble", "first_error"))), "")
        shown = "-" if value is None else f"{value * measure.rate_scale:.4g} {measure.rate_unit}"
        print(
            f"  {workload.name:15} round {result['round'] + 1}  {result['name']:24} "
            f"{shown:>20}  {said}",
            file=sys.stderr,
            flush=True,
        )
