"""
What is measured: the workloads, as arguments of socks5load, and the figures they are judged by.
"""

from __future__ import annotations

from dataclasses import dataclass

DIRECT = "direct"
"""The name under which socks5load alone, with no proxy, appears in the tables."""


class Failure(Exception):
    """Something to tell the user in one line."""


@dataclass(frozen=True)
class Workload:
    """
    One thing that users do with a proxy.

    @ivar args: mode and options of socks5load.
    @ivar timed: whether it lasts as long as it is told, instead of until it is done.
    @ivar together: with C{--pin}, proxy and load share one processor.
    """

    name: str
    args: tuple[str, ...]
    title: str
    timed: bool = True
    together: bool = False

    @property
    def mode(self) -> str:
        return self.args[0]


@dataclass(frozen=True)
class Measure:
    """
    How one mode of socks5load is shown.

    @ivar direct: whether it can be done without a proxy.
    @ivar more: whether more of the rate is better.
    """

    rate: str
    rate_unit: str
    rate_scale: float
    cost: str
    cost_unit: str
    direct: bool = True
    more: bool = True


MEASURES = {
    "connect": Measure("conn_per_s", "conn/s", 1, "cpu_us_per_conn", "CPU µs/conn"),
    "bulk": Measure("bytes_per_s", "GB/s", 1e-9, "cpu_s_per_GiB", "CPU s/GiB"),
    "rr": Measure("rt_per_s", "rt/s", 1, "cpu_us_per_rt", "CPU µs/rt"),
    "idle": Measure("bytes_per_conn", "B/conn", 1, "cpu_us_per_conn", "CPU µs/conn", False, False),
    "udp": Measure("datagrams_per_s", "dgram/s", 1, "cpu_us_per_datagram", "CPU µs/dgram"),
    "bind": Measure("cycles_per_s", "cycles/s", 1, "cpu_us_per_cycle", "CPU µs/cycle", False),
    # What the bulk gets, and what the others pay for it.
    "fairness": Measure("bytes_per_s", "GB/s", 1e-9, "p99_us", "p99 µs"),
}

WORKLOADS = {
    workload.name: workload
    for workload in (
        Workload(
            "connect",
            ("connect", "--connections", "64"),
            "short connections, 64 at a time, IPv4 target",
        ),
        Workload(
            "connect-domain",
            ("connect", "--connections", "64", "--dest", "domain"),
            "short connections, 64 at a time, target named localhost",
        ),
        Workload("bulk-down", ("bulk", "--direction", "down"), "one download"),
        Workload("bulk-up", ("bulk", "--direction", "up"), "one upload"),
        Workload(
            "bulk-16",
            ("bulk", "--direction", "down", "--connections", "16"),
            "16 downloads together",
        ),
        Workload(
            "bulk-both",
            ("bulk", "--direction", "both", "--connections", "4"),
            "4 connections busy in both directions",
        ),
        Workload(
            "rr-1",
            ("rr", "--connections", "1"),
            "64 B ping-pong, one connection (delay)",
            together=True,
        ),
        Workload(
            "rr-64",
            ("rr", "--connections", "64"),
            "64 B ping-pong, 64 connections (load)",
        ),
        Workload(
            "udp",
            ("udp", "--connections", "4", "--window", "16", "--size", "512"),
            "512 B datagrams out and back, 4 associations of 16 under way",
        ),
        Workload("bind", ("bind", "--connections", "16"), "whole BIND cycles, 16 at a time"),
        Workload(
            "idle",
            ("idle", "--connections", "{idle}"),
            "memory per idle connection ({idle} held)",
            timed=False,
        ),
        Workload(
            "fair-down",
            ("fairness", "--direction", "down"),
            "1,000 ping-pongs, some 5,000 a second in all, beside one download",
        ),
        Workload(
            "fair-up",
            ("fairness", "--direction", "up"),
            "1,000 ping-pongs, some 5,000 a second in all, beside one upload",
        ),
    )
}
DEFAULT = "connect,bulk-down,bulk-up,bulk-16,rr-1,rr-64,udp,bind,idle,fair-down,fair-up"
QUICK = "connect,bulk-down,rr-64,udp,bind,idle"
