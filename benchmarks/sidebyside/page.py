"""
What is said around the tables: the machine, the versions, the command and the noise.
"""

from __future__ import annotations

import argparse
import shlex
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path

from sidebyside.proxies import Proxy
from sidebyside.runs import Result
from sidebyside.tables import Table, figure, overview, render
from sidebyside.workloads import Failure


def today() -> str:
    return datetime.now(timezone.utc).strftime("%Y-%m-%d")


def section(text: str) -> tuple[Path, str]:
    """Read C{FILE:NAME}, an option's value."""
    path, _, name = text.rpartition(":")
    if not path:
        raise argparse.ArgumentTypeError(f"FILE:NAME, not {text}")
    return Path(path), name


def around(where: tuple[Path, str]) -> tuple[str, str]:
    """
    What stands in a page before a section's text, up to C{<!-- name -->}, and after it.

    @raise Failure: there is no such section.
    """
    page, name = where
    first, last = f"<!-- {name} -->\n", f"<!-- /{name} -->\n"
    try:
        before, found, rest = page.read_text(encoding="utf-8").partition(first)
    except OSError as error:
        raise Failure(f"{page}: {error.strerror}") from None
    _, closed, after = rest.partition(last)
    if not (found and closed):
        raise Failure(f"{page}: there is no section {name}")
    return before + found, closed + after


def fill(where: tuple[Path, str], text: str) -> None:
    """
    Put a text into a section.

    @raise Failure: there is no such section.
    """
    before, after = around(where)
    where[0].write_text(f"{before}\n{text.strip()}\n\n{after}", encoding="utf-8")


@dataclass
class Report:
    """A finished comparison, ready to be written down."""

    args: argparse.Namespace
    command: list[str]
    machine: dict[str, str]
    baseline: str
    proxies: list[Proxy]
    left_out: list[str]
    tables: list[Table]
    runs: list[Result]
    versions: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.versions = {proxy.name: proxy.version for proxy in self.proxies}

    def noise(self) -> str:
        values = sorted(
            r["other_cpu_cores"] for r in self.runs if r.get("other_cpu_cores", -1) >= 0
        )
        if not values:
            return "not known"
        median = values[len(values) // 2]
        return (
            f"other programs kept {figure(median)} processors busy in the median run, "
            f"{figure(values[-1])} in the noisiest of {len(values)}"
        )

    def conditions(self) -> list[str]:
        said = [
            f"Rounds: {self.args.rounds}, of {self.args.duration:g} s, in turns; "
            "median [lowest–highest].",
            f"Ratios are to {self.baseline}, taken within a round.",
        ]
        if self.args.pin:
            said.append(
                "The proxy has one half of the processors, the load the other; rr-1: both on one."
            )
        if self.args.private_net:
            said.append("Everything runs in a network namespace of its own.")
        return said

    def legend(self) -> str:
        return (
            "cores: processors the proxy kept busy; load: the same for the load generator; "
            "others: all other programs."
        )

    def peers(self) -> list[str]:
        lines = []
        for proxy in self.proxies:
            facts = "; ".join(filter(None, [self.versions[proxy.name], proxy.note]))
            lines.append(f"- {proxy.name}: {facts}" if facts else f"- {proxy.name}")
        if self.left_out:
            lines.append(f"- not installed here: {', '.join(self.left_out)}")
        return lines

    def text(self) -> str:
        """For the terminal."""
        return "\n".join(
            [
                "; ".join(f"{key}: {value}" for key, value in self.machine.items()),
                *self.conditions(),
                self.legend(),
                "",
                *self.peers(),
                "",
                render(self.tables),
            ]
        )

    def page(self) -> str:
        """For the documentation, Markdown."""
        return "\n".join(
            [
                "# Benchmarks",
                "",
                "Written by `make bench`; `benchmarks/README.md` explains the workloads and how "
                "to read the",
                "tables.  **Ratios within one run count, absolute numbers do not**: they belong "
                "to the machine.",
                "",
                *self.facts(),
                "",
                *self.conditions(),
                self.legend(),
                "",
                "## Who was measured",
                "",
                *self.peers(),
                "",
                "## Workloads",
                "",
                render(self.tables),
            ]
        )

    def facts(self) -> list[str]:
        return [
            f"- measured on {today()}: `{shlex.join(self.command)}`",
            *(f"- {key}: {value}" for key, value in self.machine.items()),
            f"- noise: {self.noise()}",
        ]

    def section(self) -> str:
        """For a page that has words of its own: the tables."""
        return "\n".join(
            [
                *self.facts(),
                *self.peers(),
                "",
                *self.conditions(),
                self.legend(),
                "",
                render(self.tables),
            ]
        )

    def overview(self) -> str:
        """For a page that has words of its own: all in one table."""
        said = [
            "Each cell has the rate and then the price, in the units that stand on the left; "
            "bold is the best of the",
            "proxies.  Noise is half the distance from the lowest to the highest round, for the "
            "proxy that it was",
            "the largest for.",
            "",
            overview(self.tables),
            "",
            *self.facts(),
            *self.peers(),
        ]
        return "\n".join(said)

    def data(self) -> dict[str, object]:
        """Everything, for other programs."""
        options = (
            "rounds",
            "duration",
            "warmup",
            "idle",
            "max_noise",
            "calm",
            "noise_retries",
            "private_net",
            "pin",
            "load_options",
        )
        return {
            "machine": self.machine,
            "options": {key: getattr(self.args, key) for key in options},
            "baseline": self.baseline,
            "proxies": [
                {"name": p.name, "version": self.versions[p.name], "note": p.note}
                for p in self.proxies
            ],
            "tables": self.tables,
            "runs": self.runs,
        }
