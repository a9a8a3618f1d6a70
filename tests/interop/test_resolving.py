"""Tor's RESOLVE and RESOLVE_PTR, and SOCKS4 beside them, for the programs that speak them."""

from __future__ import annotations

from ipaddress import ip_address

from tests.interop.client import GREETING, Client, named, numbered, refusal
from tests.interop.origins import EchoTarget, HTTPOrigin
from tests.interop.programs import find, run
from tests.interop.proxy import ProxyTestCase

NAMES = "192.0.2.77 host.example\n127.0.0.1 origin.example\n"


class ResolveTests(ProxyTestCase):
    """The commands by which Tor's clients ask for names."""

    def resolves(self, *arguments: str) -> str:
        """Run tor-resolve, and give its answer."""
        proxy = self.proxy("--resolve", "--socks4", hosts=NAMES)
        said = run(find("tor-resolve", "tor"), *arguments, str(proxy))
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        (record,) = proxy.waitRecords(1)
        self.assertEqual((record["reply"], record["reason"]), (0, "answered"))
        return said.stdout.strip()

    def test_torResolve(self) -> None:
        """tor-resolve over SOCKS5."""
        self.assertEqual(self.resolves("-5", "host.example"), "192.0.2.77")

    def test_torResolve4(self) -> None:
        """tor-resolve over SOCKS4a."""
        self.assertEqual(self.resolves("-4", "host.example"), "192.0.2.77")

    def test_torResolvePTR(self) -> None:
        """tor-resolve the other way round."""
        self.assertEqual(self.resolves("-x", "192.0.2.77"), "host.example")

    def test_torsocks(self) -> None:
        """A program under torsocks, whose getaddrinfo asks the proxy."""
        proxy = self.proxy("--resolve", hosts=NAMES)
        wrapped = (
            find("torsocks", "torsocks"),
            "--address",
            proxy.host,
            "--port",
            str(proxy.port),
        )
        said = run(*wrapped, find("getent", "libc-bin"), "ahostsv4", "host.example")
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        self.assertEqual({line.split()[0] for line in said.stdout.splitlines()}, {"192.0.2.77"})
        self.assertEqual(proxy.stop()[0]["command"], "RESOLVE")

    def test_octets(self) -> None:
        """Octet for octet as Tor writes it, and where it is off."""
        on, off = self.proxy("--resolve", hosts=NAMES), self.proxy(hosts=NAMES)
        forwards, backwards = named(b"host.example", 0, 0xF0), numbered("192.0.2.77", 0, 0xF1)
        address = b"\0\0\1" + ip_address("192.0.2.77").packed + b"\0\0"
        name = b"\0\0\3\x0chost.example\0\0"
        for proxy, request, answer in (
            (on, forwards, b"\5" + address),
            (on, backwards, b"\5" + name),
            (off, forwards, refusal(7)),
            (off, backwards, refusal(7)),
        ):
            with Client(self, proxy, GREETING + request) as client:
                self.assertEqual(client.hearOut(), b"\5\0" + answer)


class SOCKS4Tests(ProxyTestCase):
    """SOCKS4 and 4a, as curl speaks them."""

    def fetch(self, kind: str, host: str, *options: str, user: str = "") -> tuple[int, str]:
        """Fetch a page, and tell curl's exit status and the page."""
        origin, proxy = HTTPOrigin(self), self.proxy(*options, hosts=NAMES)
        quietly = ("-q", "--silent", "--show-error", "--noproxy", "")
        login = f"{user}@" if user else ""
        url = f"http://{host}:{origin.port}/"
        said = run(find("curl", "curl"), *quietly, "--proxy", f"{kind}://{login}{proxy}", url)
        (record,) = proxy.stop()
        self.assertEqual(record["user"], user or None)
        return said.returncode, said.stdout

    def test_curl(self) -> None:
        """curl, which resolves names itself in SOCKS4."""
        status = self.fetch("socks4", "127.0.0.1", "--socks4", user="joe")
        self.assertEqual(status, (0, "this is the origin\n"))

    def test_curl4a(self) -> None:
        """curl, which leaves it to the proxy in SOCKS4a."""
        status = self.fetch("socks4a", "origin.example", "--socks4")
        self.assertEqual(status, (0, "this is the origin\n"))

    def test_curlUser(self) -> None:
        """Where users log in, one without a password is let in by USERID, and nobody else."""
        users = ("--socks4", "--auth", self.users("printer:", "alice:s3cr3t"))
        status, page = self.fetch("socks4a", "origin.example", *users, user="printer")
        self.assertEqual((status, page), (0, "this is the origin\n"))
        status, page = self.fetch("socks4a", "origin.example", *users, user="alice")
        self.assertEqual((status, page), (97, ""))

    def test_off(self) -> None:
        """Where it is off the client hears a refusal, and the log says what it came with."""
        echo, proxy = EchoTarget(self), self.proxy()
        request = b"\4\1" + echo.port.to_bytes(2, "big") + bytes((127, 0, 0, 1)) + b"joe\0"
        with Client(self, proxy, request) as client:
            self.assertEqual(client.hearOut(), b"\0\x5b" + bytes(6))
        (record,) = proxy.stop()
        self.assertIn("SOCKS4, which is off", record["reason"])
