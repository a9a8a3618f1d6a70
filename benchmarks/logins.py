#!/usr/bin/env python3
"""Measure what a crowd of logins costs a session that is already open.

A proxy is started with a file of users (--auth htpasswd, hashes as socks5-users
makes them).  One client keeps a connection and sends 64 octets to and fro, one
message at a time; its times are taken three times over:

    quiet    nobody else is there
    logins   10,000 logins, 200 at a time, half of them wrong
    quiet    nobody again

and, to tell the cost of the hashes from that of connections, beside a proxy
whose users are not hashed (--auth file:), with the same crowd.

Users are many, so that few logins are known again; each comes from an address
of its own in 127/8, so that no answer waits longer than a first wrong one does.

    python benchmarks/logins.py --attempts 2000
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import multiprocessing
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Event
from pathlib import Path

MESSAGE = b"x" * 64
USERS = 500


def main() -> None:
    options = parse_args()
    raise_descriptors()
    with tempfile.TemporaryDirectory() as directory, echo() as target:
        hashed, plain = write_users(Path(directory))
        for name, auth in (("hashed", f"htpasswd:{hashed}"), ("plain text", f"file:{plain}")):
            for _ in range(options.rounds):
                with proxy(auth) as port:
                    show(name, measure(port, target, options))


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--attempts", type=int, default=10_000, help="logins [%(default)s]")
    parser.add_argument("--at-a-time", type=int, default=200, help="[%(default)s]")
    parser.add_argument("--quiet", type=float, default=5.0, help="seconds [%(default)s]")
    parser.add_argument("--rounds", type=int, default=1, help="[%(default)s]")
    return parser.parse_args()


@dataclass
class Result:
    before: list[int]
    during: list[int]
    after: list[int]
    seconds: float
    outcomes: Counter[str]


def measure(port: int, target: int, options: argparse.Namespace) -> Result:
    """Take the times of one connection, in nanoseconds, before, during and after the crowd."""
    with session(port, target) as connection:
        ping_pong(connection, 1.0)  # so that all is warm
        before = ping_pong(connection, options.quiet)
        ready = multiprocessing.Event()
        results: SimpleQueue[Counter[str]] = multiprocessing.SimpleQueue()
        crowd = multiprocessing.Process(
            target=log_in, args=(port, options.attempts, options.at_a_time, ready, results)
        )
        crowd.start()
        ready.wait()
        began = time.monotonic()
        during = ping_pong(connection, 600, crowd)
        seconds = time.monotonic() - began
        outcomes = results.get()
        crowd.join()
        return Result(before, during, ping_pong(connection, options.quiet), seconds, outcomes)


def ping_pong(
    connection: socket.socket, seconds: float, until: multiprocessing.Process | None = None
) -> list[int]:
    times = []
    end = time.monotonic() + seconds
    clock = time.perf_counter_ns
    while time.monotonic() < end and (until is None or until.is_alive()):
        for _ in range(100):
            began = clock()
            connection.sendall(MESSAGE)
            left = len(MESSAGE)
            while left:
                left -= len(connection.recv(left))
            times.append(clock() - began)
    return times


def show(name: str, result: Result) -> None:
    quiet = percentile(result.before, 99), percentile(result.after, 99)
    during = percentile(result.during, 99)
    said = ", ".join(f"{count} {what}" for what, count in sorted(result.outcomes.items()))
    print(f"{name}: {sum(result.outcomes.values())} logins in {result.seconds:.1f} s ({said})")
    for what, times in (
        ("before", result.before),
        ("during", result.during),
        ("after", result.after),
    ):
        shares = "  ".join(f"p{p} {percentile(times, p):.0f} µs" for p in (50, 90, 99, 99.9))
        print(f"  {what:7}{shares}  ({len(times)} round trips)")
    print(
        f"  p99 during / before: {during / quiet[0]:.2f}, during / after: {during / quiet[1]:.2f}"
    )


def percentile(times: list[int], share: float) -> float:
    ordered = sorted(times)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share / 100))] / 1000


def log_in(
    port: int,
    attempts: int,
    at_a_time: int,
    ready: Event,
    results: multiprocessing.SimpleQueue[Counter[str]],
) -> None:
    """Be the crowd; a process of its own."""
    raise_descriptors()
    results.put(asyncio.run(crowd(port, attempts, at_a_time, ready)))


async def crowd(port: int, attempts: int, at_a_time: int, ready: Event) -> Counter[str]:
    outcomes: Counter[str] = Counter()
    numbers = iter(range(attempts))
    ready.set()

    async def client() -> None:
        for number in numbers:
            outcomes[await attempt(port, number)] += 1

    await asyncio.gather(*(client() for _ in range(at_a_time)))
    return outcomes


async def attempt(port: int, number: int) -> str:
    right = number % 2 == 0
    name = b"user%d" % (number % USERS)
    word = password(number % USERS) if right else b"wrong%d" % number
    source = f"127.{1 + number // 62500 % 250}.{number // 250 % 250}.{1 + number % 250}"
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, local_addr=(source, 0))
    except OSError:
        return "could not connect"
    try:
        credentials = bytes((1, len(name))) + name + bytes((len(word),)) + word
        writer.write(b"\x05\x01\x02" + credentials)
        heard = await reader.readexactly(4)
    except (OSError, asyncio.IncompleteReadError):
        return "lost"
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()
    kind = "right" if right else "wrong"
    return f"{kind}, let in" if heard == b"\x05\x02\x01\x00" else f"{kind}, refused"


def password(number: int) -> bytes:
    return b"secret%d" % number


def write_users(directory: Path) -> tuple[Path, Path]:
    """Write the users twice; hashing them takes a while."""
    from twisted_socks5.auth.hashes import newHash

    hashed, plain = directory / "hashed", directory / "plain"
    names = [(b"user%d" % number, password(number)) for number in range(USERS)]
    hashed.write_bytes(b"".join(b"%b:%b\n" % (name, newHash(word)) for name, word in names))
    plain.write_bytes(b"".join(b"%b:%b\n" % pair for pair in names))
    for path in (hashed, plain):
        path.chmod(0o600)
    return hashed, plain


@contextlib.contextmanager
def session(port: int, target: int) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        word = password(0)
        connection.sendall(b"\x05\x01\x02\x01\x05user0" + bytes((len(word),)) + word)
        connection.sendall(b"\x05\x01\x00\x01\x7f\x00\x00\x01" + target.to_bytes(2, "big"))
        heard = b""
        while len(heard) < 14:
            heard += connection.recv(14 - len(heard))
        if heard[:6] != b"\x05\x02\x01\x00\x05\x00":
            raise SystemExit(f"the session was not granted: {heard!r}")
        yield connection


@contextlib.contextmanager
def proxy(auth: str) -> Iterator[int]:
    """Run a proxy."""
    twistd = Path(sys.executable).with_name("twistd")
    process = subprocess.Popen(
        [
            *(twistd, "-n", "--pidfile=", "socks5", "--port", "0", "--auth", auth),
            *("--access-log", os.devnull, "--permit", "127.0.0.1"),
        ],
        stdout=subprocess.PIPE,
        text=True,
    )
    lines = process.stdout or ()
    try:
        for line in lines:
            found = re.search(r"SOCKS5 proxy on 127\.0\.0\.1:([0-9]+)", line)
            if found:
                break
        else:
            raise SystemExit("the proxy did not start")
        threading.Thread(target=lambda: [None for _ in lines], daemon=True).start()
        yield int(found[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


@contextlib.contextmanager
def echo() -> Iterator[int]:
    """Run a target that sends back what it gets, in a process of its own."""
    listener = socket.create_server(("127.0.0.1", 0))
    process = multiprocessing.Process(target=answer, args=(listener,), daemon=True)
    process.start()
    try:
        yield listener.getsockname()[1]
    finally:
        process.terminate()


def answer(listener: socket.socket) -> None:
    while True:
        connection, _ = listener.accept()
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        with contextlib.suppress(OSError):
            while octets := connection.recv(65536):
                connection.sendall(octets)
        connection.close()


def raise_descriptors() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


if __name__ == "__main__":
    main()
