"""
The machine: what it is, how busy it is, and conditions that are the same for all.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import platform
import resource
import socket
import struct
import time
from pathlib import Path

from sidebyside.workloads import Failure

CONGESTION_CONTROL = Path("/proc/sys/net/ipv4/tcp_congestion_control")
CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def private_net() -> None:
    """
    Move this process and its children to a network namespace of their own.

    There the ports and the closing connections of others are out of the way, and the congestion
    control can be set: one that paces its packets, such as bbr, holds loopback below what the
    programs could do.

    @raise Failure: without the right to do so.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(CLONE_NEWNET):
        raise Failure(f"--private-net: {os.strerror(ctypes.get_errno())} (it needs root)")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        request = struct.pack("16sh22x", b"lo", 0)
        flags = struct.unpack("16sh22x", fcntl.ioctl(sock, SIOCGIFFLAGS, request))[1]
        fcntl.ioctl(sock, SIOCSIFFLAGS, struct.pack("16sh22x", b"lo", flags | IFF_UP))
    if CONGESTION_CONTROL.read_text().strip() not in ("cubic", "reno"):
        CONGESTION_CONTROL.write_text("reno")  # always allowed; without loss no worse than cubic


def describe() -> dict[str, str]:
    """What a reader must know of the machine to make sense of the figures."""
    model = "?"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    return {
        "processors": f"{os.cpu_count()} x {model}",
        "kernel": platform.release(),
        "python": platform.python_version(),
        "congestion control": CONGESTION_CONTROL.read_text().strip(),
        "load average": " ".join(f"{load:.2f}" for load in os.getloadavg()),
        "open files": str(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }


def busy_cores(seconds: float) -> float:
    """How many processors are at work, over so many seconds."""

    def ticks() -> int:
        fields = [int(x) for x in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:]]
        return sum(fields[0:3]) + sum(fields[5:7])

    before = ticks()
    time.sleep(seconds)
    return (ticks() - before) / os.sysconf("SC_CLK_TCK") / seconds


def wait_for_calm(limit: float, seconds: float) -> None:
    """Wait at most so many seconds for other programs to use less than C{limit} processors."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and busy_cores(0.25) > limit:
        pass


def raise_open_files(need: int) -> None:
    """Allow this process and its children C{need} open files, or as many as may be had."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (max(need, soft), max(need, hard)))
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
