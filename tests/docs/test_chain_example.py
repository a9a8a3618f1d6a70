"""docs/examples/chain_server.py, run as its reader would."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.docs.pages import EXAMPLES
from tests.interop.client import Client, named, refusal
from tests.interop.origins import EchoTarget, closedPort
from tests.interop.programs import run
from tests.interop.proxy import Proxy, ProxyTestCase

NAMES = "127.0.0.1 origin.example\n"


class ChainServerTests(ProxyTestCase):
    """The server that forwards."""

    def chain(self, via: str) -> Proxy:
        """Start it on a port that the system chooses."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        program = place / "chain_server.py"
        shutil.copy(EXAMPLES / program.name, program)
        text = program.read_text(encoding="utf-8")
        self.assertEqual(text.count("tcp:1080:interface=127.0.0.1"), 1)
        program.write_text(text.replace("tcp:1080:", "tcp:0:"), encoding="utf-8")
        proxy = Proxy(str(place), via, command=("python", program.name))
        self.addCleanup(proxy.stop)
        return proxy

    def test_forwards(self) -> None:
        """What its clients ask for, the next proxy reaches, names as well; refusals come back."""
        echo, far = EchoTarget(self), self.proxy("--permit", "127.0.0.1", hosts=NAMES)
        near = self.chain(f"socks5://{far}")
        client = Client(self, near, b"\5\1\0" + named(b"origin.example", echo.port))
        client.hear(2)
        client.hearReply()
        self.assertEqual(client.asks(b"hello"), b"hello")
        client.close()
        client = Client(self, near, b"\5\1\0" + named(b"origin.example", closedPort(self)))
        self.assertEqual(client.hearOut(), b"\5\0" + refusal(5))
        near.output.waitFor(rf"dialled=socks5://{far} rep=0 .* reason=\"client closed\"")
        self.assertEqual(far.waitRecords(2)[0]["target"], f"origin.example:{echo.port}")

    def test_wrong(self) -> None:
        """Without a URL that makes sense it says so."""
        done = run(sys.executable, EXAMPLES / "chain_server.py", "gopher://proxy.example")
        self.assertRegex(done.stderr, "^chain_server: the next proxy is not a URL of socks5,")
        self.assertEqual(done.returncode, 1)
