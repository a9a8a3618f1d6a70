"""UDP ASSOCIATE for the programs and libraries there are that can ask for it."""

from __future__ import annotations

import socket

import socks

from tests.interop.datagrams import NameServer, UDPEcho
from tests.interop.origins import content
from tests.interop.programs import find, run
from tests.interop.proxy import Proxy, ProxyTestCase
from tests.interop.scripts import node, perl
from tests.interop.socksify import Socksify

HOSTS = "192.0.2.77 host.example\n2001:db8::77 host.example\n"
NAMES = "127.0.0.1 echo.example\n::1 echo6.example\n"


class SocksifyTests(ProxyTestCase):
    """
    Dante's client library under programs that ask the DNS.

    dig is not among them: its own I/O library passes socksify by.
    """

    def asks(self, *program: str, user: str = "") -> None:
        """Run a program that asks a DNS server, and see what it is told and how."""
        server = NameServer(self, self.mktemp(), HOSTS)
        options = ("--auth", self.users(f"{user}:s3cr3t")) if user else ()
        proxy = self.proxy(*options)
        dante = Socksify(proxy, self.mktemp(), user, "s3cr3t")
        asked = (f"@{server.host}", "-p", str(server.port), "host.example", "AAAA")
        said = run(dante.program, *program, *asked, env=dante.environment)
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        self.assertIn("2001:db8::77", said.stdout)
        (record,) = proxy.stop()
        shown = [record[name] for name in ("command", "reply", "user", "reason")]
        self.assertEqual(shown, ["UDP_ASSOCIATE", 0, user or None, "client closed"])
        self.assertEqual(record["sent"], 12 + len("?host?example?") + 4)
        self.assertGreater(record["received"], record["sent"])

    def test_drill(self) -> None:
        """drill."""
        self.asks(find("drill", "ldnsutils"))

    def test_kdig(self) -> None:
        """kdig, for somebody who logs in."""
        self.asks(find("kdig", "knot-dnsutils"), user="alice")


class PySocksTests(ProxyTestCase):
    """PySocks' UDP sockets, which ask for the name "0" as long as it is to resolve names."""

    def associated(self, proxy: Proxy, rdns: bool, *login: str) -> socks.socksocket:
        """Make a socket that sends through a proxy."""
        box = socks.socksocket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(box.close)
        box.settimeout(20)
        box.set_proxy(socks.SOCKS5, proxy.host, proxy.port, rdns, *login)
        box.bind(("127.0.0.1", 0))
        return box

    def exchanges(self, rdns: bool, *login: str) -> None:
        """Send datagrams of all sizes to several hosts by one association."""
        echoes = [UDPEcho(self), UDPEcho(self), UDPEcho(self, "127.0.0.2")]
        options = ("--auth", self.users(":".join(login))) if login else ()
        proxy = self.proxy(*options)
        box = self.associated(proxy, rdns, *login)
        for size in (0, 1, 1400, 9000, 65000):
            for echo in echoes:
                box.sendto(content(size), (echo.host, echo.port))
                got, source = box.recvfrom(1 << 16)
                self.assertEqual((len(got), source), (size, (echo.host, echo.port)))
                self.assertEqual(got, content(size))
        # One port of the proxy's for all of them (RFC 4787, section 4.1).
        self.assertEqual(len({port for each in echoes for _, port in each.sources}), 1)
        _, port = box.getsockname()
        box.close()
        (record,) = proxy.waitRecords(1)
        total = 3 * (1 + 1400 + 9000 + 65000)
        self.assertEqual((record["sent"], record["received"]), (total, total))
        self.assertEqual(record["target"], f"{'0' if rdns else '0.0.0.0'}:{port}")

    def test_remoteNames(self) -> None:
        """It asks for the name "0" with its port, and all that it says in it is true."""
        self.exchanges(True)

    def test_ownNames(self) -> None:
        """It asks for 0.0.0.0 with its port."""
        self.exchanges(False)

    def test_password(self) -> None:
        """Somebody who logs in."""
        self.exchanges(True, "alice", "s3cr3t")

    def test_names(self) -> None:
        """Names, which the proxy resolves; who answers has an address, of either family."""
        four, six = UDPEcho(self), UDPEcho(self, "::1")
        box = self.associated(self.proxy(hosts=NAMES), True)
        for name, echo in (("echo.example", four), ("echo6.example", six), ("::1", six)):
            box.sendto(b"hello", (name, echo.port))
            self.assertEqual(box.recvfrom(100), (b"hello", (echo.host, echo.port)))

    def test_connected(self) -> None:
        """A socket that is connected to one host."""
        echo = UDPEcho(self)
        box = self.associated(self.proxy(), True)
        box.connect((echo.host, echo.port))
        box.send(b"hello")
        self.assertEqual(box.recv(100), b"hello")


class ScriptTests(ProxyTestCase):
    """Libraries of other languages."""

    def test_node(self) -> None:
        """The package "socks" from npm, below most of what Node has."""
        echo, proxy = UDPEcho(self), self.proxy()
        texts = ("hello", "world", "")
        script = node(self, "associate", proxy.host, proxy.port, echo.host, echo.port, *texts)
        self.assertEqual(script.hearJSON()["established"]["host"], "127.0.0.1")
        source = {"host": echo.host, "port": echo.port}
        for text in texts:
            self.assertEqual(script.hearJSON(), {"frameNumber": 0, "from": source, "text": text})
        (record,) = proxy.waitRecords(1)
        self.assertEqual((record["target"], record["sent"]), ("0.0.0.0:0", 10))

    def test_nodeByName(self) -> None:
        """The same to a name."""
        echo, proxy = UDPEcho(self), self.proxy(hosts=NAMES)
        where = ("echo.example", echo.port)
        script = node(self, "associate", proxy.host, proxy.port, *where, "hello")
        self.assertIn("established", script.hearJSON())
        source = {"host": echo.host, "port": echo.port}
        self.assertEqual(script.hearJSON(), {"frameNumber": 0, "from": source, "text": "hello"})

    def test_perl(self) -> None:
        """Perl's IO::Socket::Socks, which asks for the name "0.0.0.0"."""
        echo, proxy = UDPEcho(self), self.proxy(hosts=NAMES)
        for host in (echo.host, "echo.example"):
            script = perl(self, "udp", proxy.host, proxy.port, host, echo.port, "hello", "world")
            self.assertEqual([script.hear() for _ in range(2)], ["heard hello", "heard world"])
        records = proxy.waitRecords(2)
        self.assertEqual({each["target"] for each in records}, {"0.0.0.0:0"})
