"""
Chromium, without a window.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from tests.interop.origins import HTTPOrigin
from tests.interop.programs import MissingProgram, find, run
from tests.interop.proxy import Proxy, ProxyTestCase

PAGE = b"""<!DOCTYPE html>
<title>A page</title>
<p id="said">nothing ran</p>
<script src="/script.js"></script>
"""

SCRIPT = b"""
const request = new XMLHttpRequest();
request.open("GET", "/data", false);
request.send();
document.getElementById("said").textContent = "the script got " + request.responseText;
"""

#: The browser is to ask for our page and for nothing of its own.
QUIET = (
    "--no-first-run",
    "--no-default-browser-check",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-domain-reliability",
    "--disable-sync",
    "--disable-features=OptimizationHints,MediaRouter,Translate",
)


def chromium() -> str:
    """Find the browser, whose name depends on the distribution."""
    try:
        return find("chromium", "chromium")
    except MissingProgram:
        return find("chromium-browser", "chromium")


class ChromiumTests(ProxyTestCase):
    """C{chromium --headless --proxy-server=socks5://…}."""

    def load(self, proxy: Proxy, url: str) -> str:
        """Load a page through a proxy, and give what became of it."""
        profile = Path(self.mktemp()).absolute()
        self.addCleanup(shutil.rmtree, profile, ignore_errors=True)
        said = run(
            chromium(),
            *("--headless", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage"),
            *(("--no-sandbox",) if os.getuid() == 0 else ()),
            *QUIET,
            f"--user-data-dir={profile}",
            f"--proxy-server=socks5://{proxy}",
            # Without it loopback addresses and localhost are reached past the proxy.
            "--proxy-bypass-list=<-loopback>",
            "--dump-dom",
            url,
            seconds=60,
        )
        self.assertEqual(said.returncode, 0, said.stderr)
        return said.stdout

    def test_page(self) -> None:
        """The page, its script and what that asks for come through; the proxy resolves."""
        origin, proxy = HTTPOrigin(self), self.proxy(hosts="127.0.0.1 page.example\n")
        origin.pages.update({"/it.html": PAGE, "/script.js": SCRIPT, "/data": b"some data"})
        got = self.load(proxy, f"http://page.example:{origin.port}/it.html")
        self.assertIn("the script got some data", got)
        self.assertLessEqual({"/it.html", "/script.js", "/data"}, set(origin.seen))
        targets = [one["target"] for one in proxy.stop() if one["reply"] == 0]
        self.assertEqual(set(targets), {f"page.example:{origin.port}"})

    def test_denied(self) -> None:
        """A page that a rule denies is not shown, and the browser does not wait for it."""
        origin, proxy = HTTPOrigin(self), self.proxy("--deny", "127.0.0.0/8")
        origin.pages["/it.html"] = PAGE
        got = self.load(proxy, f"http://127.0.0.1:{origin.port}/it.html")
        self.assertNotIn("nothing ran", got)
        self.assertEqual(origin.seen, [])
        asked = [(one["target"], one["reply"]) for one in proxy.stop()]
        self.assertIn((f"127.0.0.1:{origin.port}", 2), asked)
