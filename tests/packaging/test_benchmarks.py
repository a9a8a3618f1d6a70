"""
C{benchmarks/compare} and C{benchmarks/costs.py} still measure: very short looks, on ports of their
own.
"""

from __future__ import annotations

import json
import re
import socket
import sys
from pathlib import Path
from subprocess import CompletedProcess
from xml.etree import ElementTree

from twisted.trial.unittest import SynchronousTestCase

from tests.packaging.checkout import ROOT, run

BENCHMARKS = ROOT / "benchmarks"


#: Answers one greeting, as whoever looks whether it serves sends it, and is no more.
DIES = """\
import socket, sys
with socket.create_server(("127.0.0.1", int(sys.argv[1]))) as server:
    while True:
        client, _ = server.accept()
        if client.recv(3):
            client.sendall(bytes([5, 0]))
            sys.exit(3)
"""

PAGE = "# A page\n\n<!-- all -->\nold\n<!-- /all -->\n\nIts end.\n"


def freePort() -> int:
    """A port that nobody listens on just now."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def shares(start: str) -> dict[str, object]:
    """A proxy as a file of proxies has it, on a port of its own."""
    return {"name": start.split()[-2].rpartition("/")[2], "start": start, "port": freePort()}


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
        mine = directory / "mine.md"
        mine.write_text(PAGE)
        said = self.compare(
            *("--peers", str(peers), "--installed", "--overview", f"{mine}:all"),
            *("--workloads", "connect,bulk-up,udp,fair-down,idle"),
            *("--rounds", "1", "--duration", "0.3", "--warmup", "0.1", "--idle", "20"),
            *("--target-port", str(freePort())),
            *("--load-options", "--verify full --target-ports 1 --target-addrs 1"),
            *("--markdown", str(page), "--json", str(data)),
        )
        self.assertEqual(said.returncode, 0, said.stderr)
        runs = [r for r in json.loads(data.read_text())["runs"] if r["name"] == "plain"]
        done = ["connect", "bulk-up", "udp", "fair-down", "idle"]
        self.assertEqual([r["workload"] for r in runs], done)
        self.assertEqual([r.get("errors") for r in runs], [0] * 5, runs)
        self.assertGreater(runs[0]["conn_per_s"], 0)
        self.assertGreater(runs[1]["bytes_per_s"], 0)
        self.assertGreater(runs[2]["datagrams_per_s"], 0)
        self.assertGreater(runs[3]["bytes_per_s"], 0)
        self.assertGreater(min(runs[3][f"p99_us{which}"] for which in ("", "_alone")), 0)
        text = page.read_text(encoding="utf-8")
        self.assertIn("### bulk-up: one upload", text)
        self.assertIn("- not installed here: absent", text)
        text = mine.read_text(encoding="utf-8")
        self.assertRegex(
            text, r"\| connect: conn/s; CPU µs/conn +\| +[0-9,]+ \| +\*\*[0-9,]+\*\*; "
        )
        self.assertEqual(re.sub("-->.*<!--", "-->\nold\n<!--", text, flags=re.DOTALL), PAGE)

    def test_mishaps(self) -> None:
        """A proxy that ends is shown, and so are tracebacks in a log."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "dies.py").write_text(DIES)
        plain = (BENCHMARKS / "plain_twisted.py").read_text()
        (directory / "raises.py").write_text(
            plain.replace(
                "        if self.association", "        1 / 0\n        if self.association"
            )
        )
        peers = directory / "peers.json"
        start = f"{sys.executable} {directory}/%s {{port}}"
        proxies = [shares(start % name) for name in ("dies.py", "raises.py")]
        peers.write_text(json.dumps({"proxy": proxies}))
        said = self.compare(
            *("--peers", str(peers), "--workloads", "connect", "--rounds", "1"),
            *("--duration", "0.3", "--warmup", "0.1", "--target-port", str(freePort())),
        )
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertRegex(said.stdout, r"\| dies\.py .*the proxy ended: status 3 +\|")
        self.assertRegex(said.stdout, r"\| raises\.py .*a traceback in the proxy's log +\|")

    def test_portable(self) -> None:
        """The portable path is what its rows are about: no streams."""
        said = run(
            sys.executable,
            "-c",
            "import portable; portable.installSilent();"
            "from twisted.internet import reactor;"
            "from twisted.cred.portal import Portal;"
            "from twisted_socks5.auth import SOCKS5Realm;"
            "from twisted_socks5 import SOCKS5ServerFactory;"
            "print(SOCKS5ServerFactory(reactor, Portal(SOCKS5Realm())).streams)",
            cwd=BENCHMARKS,
        )
        self.assertEqual((said.stdout, said.stderr), ("None\n", ""))

    def test_wrongUse(self) -> None:
        """A name that means nothing is one line and exit status 2."""
        for args in (
            ["--workloads", "tea"],
            ["--baseline", "tea"],
            ["--proxy", "tea"],
            ["--section", "tea:all"],
            ["--overview", f"{__file__}:tea"],
        ):
            said = self.compare(*args)
            self.assertEqual(said.returncode, 2)
            self.assertEqual(len(said.stderr.splitlines()), 1, said.stderr)
            self.assertIn("tea", said.stderr)


class CostTests(SynchronousTestCase):
    """What one of it costs."""

    def costs(self, *args: str) -> CompletedProcess[str]:
        """Run it."""
        return run(sys.executable, BENCHMARKS / "costs.py", *args)

    def test_counts(self) -> None:
        """Each connection is accepted once, however many there were, and there is a picture."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        page = directory / "page.md"
        page.write_text(PAGE)
        said = self.costs(
            *("--only", "twisted-socks5", "--works", "connect", "--section", f"{page}:all"),
            *("--duration", "0.5", "--count", "300", "--graphs", str(directory / "graphs")),
            *("--target-port", str(freePort())),
        )
        self.assertEqual(said.returncode, 0, said.stderr)
        text = page.read_text(encoding="utf-8")
        self.assertRegex(text, r"\nSystem calls: .*`accept4` 1[,.]")
        self.assertRegex(text, r"\n\| connect: one connection \|( +[0-9.]+ \|){5}")
        self.assertRegex(text, r"\n\| `Stream\.\w+` +\| +[0-9.]+ % \|")
        self.assertIn("(graphs/connect.svg)", text)
        picture = ElementTree.parse(directory / "graphs" / "connect.svg")
        titles = {each.text or "" for each in picture.iter("{http://www.w3.org/2000/svg}title")}
        self.assertTrue(any("twisted_socks5/streams/" in each for each in titles), titles)

    def test_wrongUse(self) -> None:
        """A name that means nothing is one line and exit status 2."""
        for args in (["--works", "tea"], ["--only", "tea"], ["--section", "tea:all"]):
            said = self.costs("--load", "/bin/true", *args)
            self.assertEqual(said.returncode, 2)
            self.assertEqual(len(said.stderr.splitlines()), 1, said.stderr)
