"""
The tables: medians over the rounds, with the lowest and highest, and ratios to a baseline.

A ratio is taken between two runs of the same round, seconds apart; the table shows the median
of these.  Text is Markdown, for people and for the documentation alike.
"""

from __future__ import annotations

import statistics
from typing import Any

from sidebyside.runs import Bench, Result
from sidebyside.workloads import MEASURES, Measure

Spread = dict[str, float]
"""C{median}, C{min}, C{max} and the number of C{rounds}."""

Row = dict[str, Any]
Table = dict[str, Any]

COLUMNS = (
    "cpu_cores",
    "load_cpu_cores",
    "other_cpu_cores",
    "open_s",
    "loss_pct",
    "fairness",
    "balance",
    "pss_after",
    "proxy_processes",
    "proxy_threads",
)


def spread(values: list[float]) -> Spread | None:
    if not values:
        return None
    return {
        "median": statistics.median(values),
        "min": min(values),
        "max": max(values),
        "rounds": len(values),
    }


def column(results: list[Result], key: str, scale: float = 1) -> Spread | None:
    return spread([r[key] * scale for r in results if r.get(key) is not None])


def ratio(results: list[Result], base: dict[int, Result], key: str) -> Spread | None:
    """C{key} over the baseline's, round by round."""
    return spread(
        [
            r[key] / base[r["round"]][key]
            for r in results
            if r.get(key) is not None and base.get(r["round"], {}).get(key)
        ]
    )


def latency(results: list[Result], key: str) -> float | None:
    values = [r["latency_us"][key] for r in results if "latency_us" in r]
    return statistics.median(values) if values else None


def make_row(name: str, runs: list[Result], base: dict[int, Result], measure: Measure) -> Row:
    """What one proxy did in one workload."""
    good = [r for r in runs if not r["aborted"]]
    said = [r.get("failure") or r.get("first_error") for r in runs]
    return {
        "name": name,
        "rate": column(good, measure.rate, measure.rate_scale),
        "rate_ratio": ratio(good, base, measure.rate),
        "cost": column(good, measure.cost),
        "cost_ratio": ratio(good, base, measure.cost),
        "p50_us": latency(good, "p50"),
        "p99_us": latency(good, "p99"),
        **{key: column(good, key) for key in COLUMNS},
        "errors": sum(r.get("errors", 0) for r in good),
        "rounds": len(good),
        "problem": next(filter(None, said), None),
    }


def summarize(bench: Bench, baseline: str) -> list[Table]:
    """One table for each workload, in order."""
    tables = []
    for workload in bench.workloads:
        measure = MEASURES[workload.mode]
        runs = [r for r in bench.runs if r["workload"] == workload.name]
        base = {r["round"]: r for r in runs if r["name"] == baseline and not r["aborted"]}
        names = dict.fromkeys(r["name"] for r in runs)
        tables.append(
            {
                "workload": workload.name,
                "mode": workload.mode,
                "title": workload.title.replace("{idle}", str(bench.args.idle)),
                "rate_unit": measure.rate_unit,
                "cost_unit": measure.cost_unit,
                "baseline": baseline,
                "rows": [
                    make_row(name, [r for r in runs if r["name"] == name], base, measure)
                    for name in names
                ],
            }
        )
    return tables


def figure(value: float | None) -> str:
    """Three significant digits, thousands kept whole."""
    if value is None or value != value:  # NaN is what differs from itself
        return "-"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def cell(data: Spread | None, spans: bool = True) -> str:
    if data is None:
        return "-"
    if not spans or data["rounds"] == 1:
        return figure(data["median"])
    return f"{figure(data['median'])} [{figure(data['min'])}–{figure(data['max'])}]"


def times(data: Spread | None) -> str:
    return "-" if data is None else f"{figure(data['median'])}×"


def grid(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table: first and last column to the left, figures to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    texts = (0, len(head) - 1)

    def line(row: list[str]) -> str:
        cells = [
            text.ljust(width) if i in texts else text.rjust(width)
            for i, (text, width) in enumerate(zip(row, widths, strict=True))
        ]
        return "| " + " | ".join(cells) + " |"

    rules = [
        "-" * (width + 2) if i in texts else "-" * (width + 1) + ":"
        for i, width in enumerate(widths)
    ]
    return "\n".join([line(head), "|" + "|".join(rules) + "|", *map(line, rows)])


def extra_columns(mode: str, row: Row) -> dict[str, str]:
    """The columns that only some modes have, by their heads."""
    if mode == "idle":
        pss = row["pss_after"]
        return {
            "open s": cell(row["open_s"], False),
            "PSS MiB": figure(pss and pss["median"] / 2**20),
            "threads": cell(row["proxy_threads"], False),
        }
    cores = {"cores": cell(row["cpu_cores"], False)}
    if mode == "bulk":
        return {key: cell(row[key], False) for key in ("fairness", "balance")} | cores
    delays = {"p50 µs": figure(row["p50_us"]), "p99 µs": figure(row["p99_us"])}
    if mode == "udp":
        return delays | {"loss %": cell(row["loss_pct"], False)} | cores
    return delays | cores


def remarks(row: Row) -> str:
    said = []
    if row["errors"]:
        said.append(f"{row['errors']} errors")
    if row["problem"]:
        said.append(" ".join(str(row["problem"]).replace("|", "/").split())[:80])
    return "; ".join(said)


def render(tables: list[Table], level: str = "###") -> str:
    """All tables, each below a heading."""
    parts = []
    for table in tables:
        head: list[str] = []
        lines: list[list[str]] = []
        for row in table["rows"]:
            extra = extra_columns(table["mode"], row)
            base = f"vs {table['baseline']}"
            head = ["proxy", table["rate_unit"], base, table["cost_unit"], base]
            head += [*extra, "load", "others", "remarks"]
            lines.append(
                [
                    row["name"],
                    cell(row["rate"]),
                    times(row["rate_ratio"]),
                    cell(row["cost"]),
                    times(row["cost_ratio"]),
                    *extra.values(),
                    cell(row["load_cpu_cores"], False),
                    cell(row["other_cpu_cores"], False),
                    remarks(row),
                ]
            )
        if lines:
            parts.append(f"{level} {table['workload']}: {table['title']}\n\n{grid(head, lines)}\n")
    return "\n".join(parts)
