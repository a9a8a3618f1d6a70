"""
What one of it costs: processor time, system calls and functions called for one connection, one
round trip, one datagram, one BIND and one MiB, and where the time goes.

    python costs.py --section ../docs/performance.md:profile --graphs ../docs/performance

The proxy is the first one of peers.toml, whose stacks are looked at (py-spy) and whose functions
are counted (cProfile); system calls are counted (strace) of all that are installed.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sidebyside import machine
from sidebyside.instruments import (
    RATE,
    WORKS,
    Work,
    Workbench,
    function_calls,
    sampled,
    system_calls,
    times,
)
from sidebyside.page import around, fill, section, today
from sidebyside.peers import read_peers
from sidebyside.proxies import HERE, Proxy
from sidebyside.runs import build
from sidebyside.stacks import flame_graph, own_shares, taken_apart
from sidebyside.tables import figure, grid
from sidebyside.workloads import Failure

#: Functions that are named, and system calls.
MOST = 12

#: System calls of which there are fewer for one are not.
RARE = 0.01


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--peers", metavar="FILE", default=str(HERE / "peers.toml"))
    add("--only", metavar="NAMES", help="of the proxies in the file, take these")
    add("--works", metavar="NAMES", default=",".join(WORKS), help="default: %(default)s")
    add("--duration", type=float, default=2.0, help="seconds of a run")
    add("--count", type=int, default=2000, help="connections that are looked at one by one")
    add("--target-port", type=int, default=26100, help="first port of the load's targets")
    add("--load", metavar="PROGRAM", help="a socks5load built before")
    add("--section", metavar="FILE:NAME", type=section, help="write it there")
    add("--graphs", metavar="DIRECTORY", type=Path, help="draw flame graphs there")
    return parser.parse_args()


def choose(args: argparse.Namespace) -> tuple[list[Proxy], list[Work]]:
    """The proxies that are installed, and what they are to do."""
    proxies, _ = read_peers(args.peers)
    only = args.only.split(",") if args.only else [proxy.name for proxy in proxies]
    proxies = [p for p in proxies if p.name in only and p.program is not None]
    if not proxies:
        raise Failure("no such proxy is installed")
    try:
        return proxies, [WORKS[name] for name in args.works.split(",")]
    except KeyError as error:
        raise Failure(f"no such work: {error.args[0]} (known: {', '.join(WORKS)})") from None


def report(bench: Workbench, args: argparse.Namespace) -> Iterator[str]:
    """Measure, and say what was found."""
    proxies, works = choose(args)
    ours = proxies[0]
    summary: list[list[str]] = []
    counts: list[list[str]] = []
    details: list[str] = []
    for work in works:
        print(f"  {work.name}", file=sys.stderr, flush=True)
        calls = {p.name: system_calls(bench, p, work) for p in proxies if work.mode not in p.lacks}
        user, system = times(bench, ours, work)
        written, built_in = function_calls(bench, ours, work)
        stacks = sampled(bench, ours, work)
        each = [user, system, sum(calls[ours.name].values()), written, built_in]
        summary.append([f"{work.name}: one {work.unit}", *map(figure, each)])
        counts.append([work.name, *(counted(calls.get(p.name)) for p in proxies)])
        details += ["", f"### {work.name}, for one {work.unit}", ""]
        details += [f"System calls: {named(calls[ours.name])}.", ""]
        details.append(own_times(own_shares(stacks), user + system))
        if args.graphs:
            title = f"{work.name}: the width is the share of the processor time"
            graph = args.graphs / f"{work.name}.svg"
            graph.write_text(flame_graph(stacks, title), encoding="utf-8")
            details += ["", f"![{title}]({graph.parent.name}/{graph.name})"]
    yield f"Measured on {today()} with {ours.version}."
    yield from (f"- {key}: {value}" for key, value in machine.describe().items())
    yield from ("", f"What one costs {ours.name}:", "")
    heads = ["", "CPU µs, own", "CPU µs, system", "system calls", "functions", "built-ins"]
    yield grid(heads, summary, words=False)
    yield from ("", "System calls for one, beside the others:", "")
    yield grid(["", *(proxy.name for proxy in proxies)], counts, words=False)
    yield from ("", f"Where the time goes, by {RATE} looks a second:")
    yield from details


def counted(calls: dict[str, float] | None) -> str:
    return figure(sum(calls.values())) if calls else "–"


def named(calls: dict[str, float]) -> str:
    """The system calls by name, the rare ones left out."""
    shown = [(name, many) for name, many in calls.items() if many >= RARE]
    return ", ".join(f"`{name}` {figure(many)}" for name, many in shown[:MOST])


def own_times(shares: list[tuple[float, str]], microseconds: float) -> str:
    """The functions that take the most time themselves."""
    rows = []
    for share, frame in shares[:MOST]:
        name, file = taken_apart(frame)
        rows.append([f"`{name}`", f"{100 * share:.1f} %", figure(share * microseconds), file])
    return grid(["function", "own time", "µs", "in"], rows)


def main() -> int:
    args = parse_args()
    try:
        if args.section:
            around(args.section)  # not to measure for nothing
        if os.geteuid() == 0:
            machine.private_net()
        if args.graphs:
            args.graphs.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="costs-") as directory:
            load = args.load or build(str(Path(directory, "socks5load")))
            said = "\n".join(
                report(Workbench(load, args.duration, args.count, args.target_port), args)
            )
        print(said)
        if args.section:
            fill(args.section, said)
    except Failure as failure:
        print(f"costs: {failure}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
