"""
The tables: medians over the rounds, with the lowest and highest, and ratios to a baseline.

A ratio is taken between two runs of the same round, seconds apart; the table shows the median
of these.  Text is Markdown, for people and for the documentation alike.
"""

from __future__ import annotations

import math
import statistics
from typing import Any

from sidebyside.runs import Bench, Result
from sidebyside.workloads import DIRECT, MEASURES, Measure

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
    "p50_us_alone",
    "p99_us_alone",
    "held",
    "proxy_fds",
    "pss_before",
    "pss_closed",
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
    said = [r.get(key) for r in runs for key in ("failure", "trouble", "first_error")]
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


def middle(data: Spread | None) -> float:
    return math.nan if data is None else data["median"]


def cell(data: Spread | None, spans: bool = True) -> str:
    if data is None:
        return "-"
    if not spans or data["rounds"] == 1:
        return figure(data["median"])
    return f"{figure(data['median'])} [{figure(data['min'])}–{figure(data['max'])}]"


def times(data: Spread | None) -> str:
    return "-" if data is None else f"{figure(data['median'])}×"


def grid(head: list[str], rows: list[list[str]], words: bool = True) -> str:
    """
    A Markdown table: the first column to the left, figures to the right.

    @param words: the last column is not of figures.
    """
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    texts = (0, len(head) - 1) if words else (0,)

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
        held, fds = middle(row["held"]), middle(row["proxy_fds"])
        pss = [middle(row[key]) / 2**20 for key in ("pss_before", "pss_after", "pss_closed")]
        return {
            "open s": cell(row["open_s"], False),
            "PSS MiB": figure(pss[1]),
            "closed": f"{figure(pss[2])} of {figure(pss[0])}",
            "fds/conn": figure(fds / held),
            "threads": cell(row["proxy_threads"], False),
        }
    cores = {"cores": cell(row["cpu_cores"], False)}
    if mode == "bulk":
        return {key: cell(row[key], False) for key in ("fairness", "balance")} | cores
    delays = {"p50 µs": figure(row["p50_us"]), "p99 µs": figure(row["p99_us"])}
    if mode == "fairness":
        # Its p99 is the cost, in a column of its own.
        alone = {f"{each} alone": cell(row[f"{each}_us_alone"], False) for each in ("p50", "p99")}
        return {"p50 µs": delays["p50 µs"]} | alone | cores
    if mode == "udp":
        return delays | {"loss %": cell(row["loss_pct"], False)} | cores
    return delays | cores


def remarks(row: Row) -> str:
    said = []
    if row["errors"]:
        said.append(f"{row['errors']} errors")
    if row["problem"]:
        said.append(" ".join(str(row["problem"]).replace("|", "/").split())[:120])
    return "; ".join(said)


def emphasized(text: str, best: bool) -> str:
    return f"**{text}**" if best else text


def overview(tables: list[Table]) -> str:
    """All of it as one table: a line for each workload, a column for each proxy."""
    names = list(dict.fromkeys(row["name"] for table in tables for row in table["rows"]))
    lines = []
    for table in tables:
        rows = {row["name"]: row for row in table["rows"]}
        proxies = [row for name, row in rows.items() if name != DIRECT]
        rates = [row["rate"]["median"] for row in proxies if row["rate"]]
        costs = [row["cost"]["median"] for row in proxies if row["cost"]]
        most = max if MEASURES[table["mode"]].more else min
        cells = []
        for name in names:
            row = rows.get(name)
            if row is None:
                cells.append("–")
                continue
            said = []
            if row["rate"]:
                best = name != DIRECT and row["rate"]["median"] == most(rates)
                said.append(emphasized(figure(row["rate"]["median"]), best))
            if row["cost"]:
                best = name != DIRECT and row["cost"]["median"] == min(costs)
                said.append(emphasized(figure(row["cost"]["median"]), best))
            if remarks(row):
                said.append("fails" if not said else "with errors")
            cells.append("; ".join(said))
        spreads = [row["rate"] for row in rows.values() if row["rate"] and row["rate"]["median"]]
        noise = max((abs((s["max"] - s["min"]) / s["median"] / 2) for s in spreads), default=0.0)
        lines.append(
            [
                f"{table['workload']}: {table['rate_unit']}; {table['cost_unit']}",
                *cells,
                f"±{100 * noise:.0f} %" if noise else "",
            ]
        )
    return grid(["workload", *names, "noise"], lines)


def render(tables: list[Table]) -> str:
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
            parts.append(f"### {table['workload']}: {table['title']}\n\n{grid(head, lines)}\n")
    return "\n".join(parts)
