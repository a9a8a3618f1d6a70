"""
curl, the client that everybody tries first.
"""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

from tests.interop.origins import LARGE, HTTPOrigin, closedPort, content, digest
from tests.interop.programs import find, run
from tests.interop.proxy import Proxy, ProxyTestCase

#: curl's exit code for a proxy that does not do what it was asked for.
PROXY_REFUSED = 97

NAMES = "127.0.0.1 origin.example\n::1 six.example\n::1 both.example\n127.0.0.1 both.example\n"


def curl(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run curl, without a configuration of the user's."""
    return run(find("curl", "curl"), "-q", "--silent", "--show-error", *arguments)


class CurlTests(ProxyTestCase):
    """C{--socks5} and C{--socks5-hostname}, downwards and upwards."""

    def test_address(self) -> None:
        """curl resolves the name itself, and the access line tells what it did."""
        origin, proxy = HTTPOrigin(self), self.proxy()
        said = curl("--socks5", str(proxy), f"http://127.0.0.1:{origin.port}/")
        self.assertEqual((said.returncode, said.stdout), (0, "this is the origin\n"), said.stderr)
        (record,) = proxy.stop()
        where = f"127.0.0.1:{origin.port}"
        self.assertEqual((record["command"], record["reply"]), ("CONNECT", 0))
        self.assertEqual((record["target"], record["dialled"]), (where, where))
        self.assertEqual(record["method"], "no_authentication")
        self.assertGreater(record["sent"], 50)
        self.assertGreater(record["received"], len("this is the origin\n"))

    def test_name(self) -> None:
        """The proxy resolves the name, which nobody else here could."""
        origin, proxy = HTTPOrigin(self), self.proxy(hosts=NAMES)
        said = curl("--socks5-hostname", str(proxy), f"http://origin.example:{origin.port}/")
        self.assertEqual((said.returncode, said.stdout), (0, "this is the origin\n"), said.stderr)
        (record,) = proxy.stop()
        self.assertEqual(record["target"], f"origin.example:{origin.port}")
        self.assertEqual(record["dialled"], f"127.0.0.1:{origin.port}")

    def test_sixAddress(self) -> None:
        """An IPv6 literal is a target, too."""
        origin, proxy = HTTPOrigin(self, "::1"), self.proxy()
        for option in ("--socks5", "--socks5-hostname"):
            said = curl("--globoff", option, str(proxy), f"http://[::1]:{origin.port}/")
            self.assertEqual(said.stdout, "this is the origin\n", said.stderr)
        self.assertEqual({one["dialled"] for one in proxy.stop()}, {f"[::1]:{origin.port}"})

    def test_sixName(self) -> None:
        """A name with an IPv6 address only."""
        origin, proxy = HTTPOrigin(self, "::1"), self.proxy(hosts=NAMES)
        said = curl("--socks5-hostname", str(proxy), f"http://six.example:{origin.port}/")
        self.assertEqual(said.stdout, "this is the origin\n", said.stderr)

    def test_bothFamilies(self) -> None:
        """A name with addresses of both families, of which only IPv4's answers."""
        origin, proxy = HTTPOrigin(self), self.proxy(hosts=NAMES)
        said = curl("--socks5-hostname", str(proxy), f"http://both.example:{origin.port}/")
        self.assertEqual(said.stdout, "this is the origin\n", said.stderr)
        self.assertEqual(proxy.stop()[0]["dialled"], f"127.0.0.1:{origin.port}")

    def test_overSix(self) -> None:
        """The proxy itself is reached by IPv6."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--listen", "tcp:0:interface=\\:\\:1")
        said = curl("--socks5", str(proxy), f"http://127.0.0.1:{origin.port}/")
        self.assertEqual(said.stdout, "this is the origin\n", said.stderr)

    def test_download(self) -> None:
        """50 MB come down as they are."""
        origin, proxy = HTTPOrigin(self), self.proxy()
        got = Path(self.mktemp()).absolute()
        url = f"http://127.0.0.1:{origin.port}/bytes/{LARGE}"
        said = curl("--socks5", str(proxy), "--output", got, url)
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertEqual(digest(got.read_bytes()), digest(content(LARGE)))
        self.assertGreater(proxy.stop()[0]["received"], LARGE)

    def test_upload(self) -> None:
        """50 MB go up as they are."""
        origin, proxy = HTTPOrigin(self), self.proxy()
        put = Path(self.mktemp()).absolute()
        put.write_bytes(content(LARGE))
        url = f"http://127.0.0.1:{origin.port}/upload"
        said = curl("--socks5", str(proxy), "--upload-file", put, url)
        self.assertEqual((said.returncode, said.stdout), (0, digest(content(LARGE))), said.stderr)
        self.assertGreater(proxy.stop()[0]["sent"], LARGE)

    def test_parallel(self) -> None:
        """50 transfers at the same time, none of which gets another one's octets."""
        origin, proxy = HTTPOrigin(self), self.proxy()
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        sizes = range(100_000, 150_000, 1000)
        arguments: list[str | Path] = []
        for size in sizes:
            url = f"http://127.0.0.1:{origin.port}/bytes/{size}"
            arguments += ["--output", directory / str(size), url]
        together = ("--parallel", "--parallel-immediate", "--parallel-max", "50")
        said = curl(*together, "--socks5", str(proxy), *arguments)
        self.assertEqual(said.returncode, 0, said.stderr)
        for size in sizes:
            self.assertEqual(digest((directory / str(size)).read_bytes()), digest(content(size)))
        records = proxy.stop()
        self.assertEqual({one["reply"] for one in records}, {0})
        self.assertGreater(len(records), 1)


class RefusedCurlTests(ProxyTestCase):
    """What does not work ends curl with its code 97, and our log says why."""

    def refused(self, proxy: Proxy, url: str, reply: int, *, option: str = "--socks5") -> str:
        """Be refused with a REP, and give the log's reason."""
        said = curl(option, str(proxy), url)
        self.assertEqual(said.returncode, PROXY_REFUSED, said.stderr)
        self.assertRegex(said.stderr, rf"\({reply}\)")
        (record,) = proxy.stop()
        self.assertEqual(record["reply"], reply)
        return str(record["reason"])

    def test_refusedPort(self) -> None:
        """A port on which nobody listens: REP 5."""
        port = closedPort(self)
        reason = self.refused(self.proxy(), f"http://127.0.0.1:{port}/", 5)
        self.assertEqual(reason, f"127.0.0.1:{port} refused")

    def test_unknownName(self) -> None:
        """A name that does not exist: REP 4."""
        url, option = "http://nowhere.invalid/", "--socks5-hostname"
        reason = self.refused(self.proxy(), url, 4, option=option)
        self.assertIn("nowhere.invalid", reason)

    def test_forbidden(self) -> None:
        """A destination that a rule denies: REP 2, and the log names the rule."""
        proxy = self.proxy("--deny", "127.0.0.0/8:9")
        reason = self.refused(proxy, "http://127.0.0.1:9/", 2)
        self.assertEqual(reason, "deny 127.0.0.0/8:9")

    def test_unreachable(self) -> None:
        """An address that no TCP connection can lead to, by the kernel's own word: REP 3."""
        reason = self.refused(self.proxy(), "http://224.0.0.1/", 3)
        self.assertIn("network unreachable", reason)


class AuthenticatedCurlTests(ProxyTestCase):
    """A proxy that asks for name and password."""

    def test_right(self) -> None:
        """The right password lets in; the access line has the name and never the password."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--auth", self.users("alice:s3cr3t-w0rd", "bob:other"))
        user = ("--proxy-user", "alice:s3cr3t-w0rd")
        said = curl("--socks5", str(proxy), *user, f"http://127.0.0.1:{origin.port}/")
        self.assertEqual(said.stdout, "this is the origin\n", said.stderr)
        (record,) = proxy.stop()
        self.assertEqual((record["user"], record["method"]), ("alice", "username_password"))
        self.assertNotIn("s3cr3t", proxy.output.text)

    def test_wrong(self) -> None:
        """Wrong passwords and names do not, whatever they are, and the log says so."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--auth", self.users("alice:s3cr3t-w0rd"))
        for user in ("alice:wr0ng-0ne", "mallory:s3cr3t-w0rd"):
            url = f"http://127.0.0.1:{origin.port}/"
            said = curl("--socks5", str(proxy), "--proxy-user", user, url)
            self.assertEqual(said.returncode, PROXY_REFUSED)
            self.assertRegex(said.stderr, "(?i)rejected|authentication|denied")
        self.assertEqual(origin.seen, [])
        records = proxy.stop()
        self.assertEqual([one["user"] for one in records], ["alice", "mallory"])
        self.assertEqual({one["reason"] for one in records}, {"wrong user name or password"})
        self.assertEqual({one["command"] for one in records}, {None})
        self.assertIsNone(re.search("s3cr3t|wr0ng", proxy.output.text))

    def test_missing(self) -> None:
        """Without any there is no acceptable method."""
        proxy = self.proxy("--auth", self.users("alice:s3cr3t-w0rd"))
        said = curl("--socks5", str(proxy), "http://127.0.0.1:9/")
        self.assertEqual(said.returncode, PROXY_REFUSED)
        self.assertIn("no acceptable authentication method", proxy.stop()[0]["reason"])

    def test_twoFiles(self) -> None:
        """A second C{--auth} of the same kind adds to the first."""
        origin = HTTPOrigin(self)
        files = (self.users("alice:one"), self.users("bob:two"))
        proxy = self.proxy("--auth", files[0], "--auth", files[1])
        for user in ("alice:one", "bob:two"):
            url = f"http://127.0.0.1:{origin.port}/"
            said = curl("--socks5", str(proxy), "--proxy-user", user, url)
            self.assertEqual(said.stdout, "this is the origin\n", said.stderr)

    def test_octets(self) -> None:
        """Names and passwords are octets: colons and letters of all sorts arrive."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--auth", self.users("jürgen:größe €"))
        url = f"socks5h://j%C3%BCrgen:gr%C3%B6%C3%9Fe%20%E2%82%AC@{proxy}"
        said = curl("--proxy", url, f"http://127.0.0.1:{origin.port}/")
        self.assertEqual(said.stdout, "this is the origin\n", said.stderr)
        self.assertEqual(proxy.stop()[0]["user"], "jürgen")
