"""
The examples of the client, through the real proxy, each run as its reader would.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.docs.pages import EXAMPLES
from tests.interop.certificates import Authority, HTTPSOrigin
from tests.interop.origins import HTTPOrigin, closedPort
from tests.interop.programs import run
from tests.interop.proxy import ProxyTestCase

NAMES = "127.0.0.1 origin.example\n"
PAGE = "this is the origin\n"


def example(name: str, *words: object, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run one."""
    return run(sys.executable, EXAMPLES / name, *map(str, words), env=variables)


class ConnectTests(ProxyTestCase):
    """client_connect.py."""

    def test_name(self) -> None:
        """To a name that the proxy alone can resolve."""
        origin, proxy = HTTPOrigin(self), self.proxy(hosts=NAMES)
        where = (proxy.host, proxy.port, "origin.example", origin.port)
        done = example("client_connect.py", *where)
        self.assertRegex(done.stdout, "^HTTP/1.1 200 ", done.stderr)
        self.assertTrue(done.stdout.endswith(PAGE), done.stdout)
        self.assertEqual(proxy.stop()[0]["target"], f"origin.example:{origin.port}")

    def test_login(self) -> None:
        """With the right password and a wrong one."""
        origin, proxy = HTTPOrigin(self), self.proxy("--auth", self.users("alice:s3cr3t"))
        where = (proxy.host, proxy.port, "127.0.0.1", origin.port)
        done = example("client_connect.py", *where, "alice", "s3cr3t")
        self.assertIn(PAGE, done.stdout, done.stderr)
        for login in (("alice", "guess"), ()):
            done = example("client_connect.py", *where, *login)
            self.assertRegex(done.stderr, "^AuthenticationError: ")
            self.assertEqual(done.returncode, 1)

    def test_refused(self) -> None:
        """An error says what happened, and where."""
        proxy, port = self.proxy(), closedPort(self)
        done = example("client_connect.py", proxy.host, proxy.port, "127.0.0.1", port)
        self.assertRegex(done.stderr, f"^ConnectionRefused: .*127.0.0.1.*{port}")


class StringTests(ProxyTestCase):
    """client_string.py."""

    def test_strings(self) -> None:
        """Without a proxy, and with one."""
        origin, proxy = HTTPOrigin(self), self.proxy()
        where = f"127.0.0.1:{origin.port}"
        via = f"via={proxy.host}\\:{proxy.port}"
        for text in (f"tcp:{where}", f"socks5:{where}:{via}", f"socks5:{where}:{via}:dns=local"):
            done = example("client_string.py", text)
            self.assertTrue(done.stdout.endswith(PAGE), done.stdout + done.stderr)
        self.assertEqual({one["target"] for one in proxy.stop()}, {where})
        self.assertEqual(len(proxy.records), 2)


class ChainTests(ProxyTestCase):
    """client_chain.py."""

    def test_three(self) -> None:
        """Each proxy knows its neighbors only."""
        origin = HTTPOrigin(self)
        first, second, third = (self.proxy("--permit", "127.0.0.1") for _ in range(3))
        words = ("127.0.0.1", origin.port, first, second, third)
        done = example("client_chain.py", *words)
        self.assertTrue(done.stdout.endswith(PAGE), done.stdout + done.stderr)
        ways = [[one["target"] for one in proxy.stop()] for proxy in (first, second, third)]
        self.assertEqual(ways, [[str(second)], [str(third)], [f"127.0.0.1:{origin.port}"]])


class WebTests(ProxyTestCase):
    """client_agent.py and client_treq.py."""

    def test_agent(self) -> None:
        """Two requests over one connection."""
        origin, proxy = HTTPOrigin(self), self.proxy(hosts=NAMES)
        url = f"http://origin.example:{origin.port}/"
        done = example("client_agent.py", url, url, ALL_PROXY=f"socks5h://{proxy}")
        self.assertEqual(done.stdout, "200 19\n" * 2, done.stderr)
        self.assertEqual(len(proxy.stop()), 1)

    def test_treq(self) -> None:
        """One URL through the proxy, over TLS, and one directly."""
        authority = Authority()
        trusted = Path(self.mktemp()).absolute()
        trusted.write_bytes(authority.certificate)
        secure = HTTPSOrigin(self, authority.issue("origin.example"))
        origin, proxy = HTTPOrigin(self), self.proxy(hosts=NAMES)
        done = example(
            "client_treq.py",
            f"https://origin.example:{secure.port}/",
            f"http://localhost:{origin.port}/",
            HTTPS_PROXY=f"socks5h://{proxy}",
            NO_PROXY="localhost",
            SSL_CERT_FILE=str(trusted),
        )
        self.assertEqual(done.stdout, f"200 {PAGE}" * 2, done.stderr)
        (record,) = proxy.stop()
        self.assertEqual(record["target"], f"origin.example:{secure.port}")
