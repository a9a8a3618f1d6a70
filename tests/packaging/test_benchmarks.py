"""
C{benchmarks/compare} still measures: one very short look, on ports of its own.
"""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from subprocess import CompletedProcess

from twisted.trial.unittest import SynchronousTestCase

from tests.packaging.checkout import ROOT, run

BENCHMARKS = ROOT / "benchmarks"


def freePort() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


class CompareTests(SynchronousTestCase):
    """The comparison, run as a user runs it."""

    def compare(self, *args: str) -> CompletedProcess[str]:
        """Run it."""
        return run(sys.executable, BENCHMARKS / "compare", *args)

    def test_measures(self) -> None:
        """Octets pass through the yardstick unharmed and the figures are written down."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        plain = f"{sys.executable} {BENCHMARKS / 'plain_twisted.py'} {{port}}"
        peers = directory / "peers.json"
        peers.write_text(
            json.dumps(
                {
                    "proxy": [
                        {"name": "plain", "start": plain, "port": freePort()},
                        {"name": "absent", "start": "no-such-program", "port": freePort()},
                    ]
                }
            )
        )
        page, data = directory / "page.md", directory / "data.json"
        said = self.compare(
            *("--peers", str(peers), "--installed", "--workloads", "connect,bulk-up,idle"),
            *("--rounds", "1", "--duration", "0.3", "--warmup", "0.1", "--idle", "20"),
            *("--target-port", str(freePort())),
            *("--load-options", "--verify full --target-ports 1 --target-addrs 1"),
            *("--markdown", str(page), "--json", str(data)),
        )
        self.assertEqual(said.returncode, 0, said.stderr)
        runs = [r for r in json.loads(data.read_text())["runs"] if r["name"] == "plain"]
        self.assertEqual([r["workload"] for r in runs], ["connect", "bulk-up", "idle"])
        self.assertEqual([r.get("errors") for r in runs], [0, 0, 0], runs)
        self.assertGreater(runs[0]["conn_per_s"], 0)
        self.assertGreater(runs[1]["bytes_per_s"], 0)
        text = page.read_text(encoding="utf-8")
        self.assertIn("### bulk-up: one upload", text)
        self.assertIn("- not installed here: absent", text)

    def test_wrongUse(self) -> None:
        """A name that means nothing is one line and exit status 2."""
        for args in (["--workloads", "tea"], ["--baseline", "tea"], ["--proxy", "tea"]):
            said = self.compare(*args)
            self.assertEqual(said.returncode, 2)
            self.assertEqual(len(said.stderr.splitlines()), 1, said.stderr)
            self.assertIn("tea", said.stderr)
