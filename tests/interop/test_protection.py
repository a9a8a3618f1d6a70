"""
What clients from elsewhere can't reach through the proxy, in whatever disguise.

Nothing here comes from elsewhere: the PROXY protocol, which is spoken to the proxy by a load
balancer in front of it, says so.
"""

from __future__ import annotations

import socket

from tests.interop.client import GREETING, Client, named, numbered, wide
from tests.interop.origins import EchoTarget
from tests.interop.proxy import Proxy, ProxyTestCase

ELSEWHERE = "PROXY TCP4 192.0.2.7 192.0.2.1 40000 1080\r\n"
ELSEWHERE_SIX = "PROXY TCP6 2001:db8::7 2001:db8::1 40000 1080\r\n"
HERE = "PROXY TCP4 127.0.0.1 127.0.0.1 40000 1080\r\n"

#: Names of addresses that nobody from elsewhere is to reach; the last is one of each.
HOSTS = """\
127.0.0.1 inside.example
127.8.9.10 inside8.example
::1 inside6.example
0.0.0.0 nowhere.example
169.254.169.254 metadata.example
224.0.0.1 many.example
127.0.0.1 both.example
::1 both.example
"""

ADDRESSES = (
    *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3"),
    *("169.254.169.254", "169.254.0.1", "224.0.0.1", "239.255.255.250", "255.255.255.255"),
    *("::1", "::", "fe80::1", "ff02::1", "fd00:ec2::254"),
    # IPv4-mapped, -compatible and -translated, NAT64, 6to4, Teredo, ISATAP.
    *("::ffff:127.0.0.1", "::ffff:0.0.0.0", "::ffff:169.254.169.254"),
    *("::127.0.0.1", "::ffff:0:127.0.0.1"),
    *("64:ff9b::127.0.0.1", "64:ff9b::169.254.169.254", "64:ff9b:1::127.0.0.1"),
    *("2002:7f00:1::1", "2002:a9fe:a9fe::1", "2002:7f00:1:1::5efe:127.0.0.1"),
    *("2001:0:7f00:1::", "2001:0:4136:e378:8000:63bf:80ff:fffe"),
    "2001:db8::5efe:127.0.0.1",
)

NAMES = (
    *(b"localhost", b"localhost.", b"LocalHost", b"www.localhost", b"a.b.localhost."),
    *(b"127.0.0.1", b"127.0.0.1.", b"127.1", b"0x7f.1", b"2130706433", b"017700000001", b"0"),
    *(b"::1", b"[::1]", b"::ffff:127.0.0.1", b"[0:0:0:0:0:ffff:7f00:1]"),
    *(wide("127.0.0.1"), wide("localhost")),
    "loc\u00adalhost".encode(),
    *(b"127.0.0.1\0.example.com", b"localhost\0.example.com", b"localhost\0"),
    *(b"inside.example", b"Inside.Example.", b"inside8.example", b"inside6.example"),
    *(b"nowhere.example", b"metadata.example", b"many.example", b"both.example"),
    *(b"169.254.169.254", b"0xa9fea9fe", b"2852039166", b"0251.0376.0251.0376"),
)


class ElsewhereTests(ProxyTestCase):
    """A client at 192.0.2.7, and one at 2001:db8::7."""

    def behind(self, *options: str) -> Proxy:
        """Start a proxy behind what speaks the PROXY protocol."""
        where = "haproxy:tcp:0:interface=127.0.0.1"
        auth = ("--auth", "anonymous")
        return self.proxy("--listen", where, *auth, *options, hosts=HOSTS)

    def reply(self, proxy: Proxy, request: bytes, client: str = ELSEWHERE) -> int:
        """Make a request, and give the REP that it is answered with."""
        connection = Client(self, proxy, client.encode() + GREETING + request)
        heard = connection.hear(4)
        self.assertEqual(heard[:3], b"\x05\x00\x05", request)
        connection.close()
        return heard[3]

    def test_addresses(self) -> None:
        """Addresses of the proxy's own host and link: REP 2, however they are written."""
        echo, proxy = EchoTarget(self), self.behind()
        for client in (ELSEWHERE, ELSEWHERE_SIX):
            for address in ADDRESSES:
                reply = self.reply(proxy, numbered(address, echo.port), client)
                self.assertEqual(reply, 2, address)
        records = proxy.waitRecords(2 * len(ADDRESSES))
        self.assertEqual({one["dialled"] for one in records}, {None})
        self.assertEqual([one for one in records if "from" not in one["reason"]], [])
        clients = {one["client"] for one in records}
        self.assertEqual(clients, {"192.0.2.7:40000", "[2001:db8::7]:40000"})

    def test_names(self) -> None:
        """Names that mean them, or resolve to them, or are none: REP 2 or 4."""
        echo, proxy = EchoTarget(self), self.behind()
        for name in NAMES:
            self.assertIn(self.reply(proxy, named(name, echo.port)), (2, 4), name)
        records = proxy.waitRecords(len(NAMES))
        self.assertEqual({one["dialled"] for one in records}, {None})

    def test_ownPort(self) -> None:
        """The proxy's own port, on each address of its host."""
        proxy = self.behind()
        own = {"127.0.0.1", "127.0.0.2", "::1"} | ownAddresses()
        for address in sorted(own):
            self.assertEqual(self.reply(proxy, numbered(address, proxy.port)), 2, address)
        reasons = [one["reason"] for one in proxy.waitRecords(len(own))]
        for address in ownAddresses():
            host = f"[{address}]" if ":" in address else address
            expected = f"the proxy's own port {host}:{proxy.port} from 192.0.2.7"
            self.assertIn(expected, reasons)

    def test_saysItIsHere(self) -> None:
        """Nobody becomes this host by a header that says so."""
        echo, proxy = EchoTarget(self), self.behind()
        self.assertEqual(self.reply(proxy, numbered("127.0.0.1", echo.port), HERE), 2)

    def test_fromHere(self) -> None:
        """The same is no secret from this host's own programs."""
        echo, proxy = EchoTarget(self), self.proxy(hosts=HOSTS)
        for request in (
            numbered("127.0.0.1", echo.port),
            numbered("::ffff:127.0.0.1", echo.port),
            named(b"localhost.", echo.port),
            named(b"inside.example", echo.port),
        ):
            self.assertEqual(self.reply(proxy, request, client=""), 0, request)

    def test_permitted(self) -> None:
        """Nor from anybody, where the operator says so; and then nothing else is."""
        echo, other = EchoTarget(self), EchoTarget(self)
        proxy = self.behind("--permit", f"127.0.0.1:{echo.port}")
        self.assertEqual(self.reply(proxy, numbered("127.0.0.1", echo.port)), 0)
        self.assertEqual(self.reply(proxy, named(b"inside.example", echo.port)), 0)
        self.assertEqual(self.reply(proxy, numbered("127.0.0.1", other.port)), 2)
        self.assertEqual(self.reply(proxy, numbered("127.0.0.2", echo.port)), 2)
        self.assertEqual(self.reply(proxy, numbered("64:ff9b:1::127.0.0.1", echo.port)), 2)

    def test_everythingPermitted(self) -> None:
        """A permit for everything, or for a name, does not mean the host itself."""
        echo = EchoTarget(self)
        proxy = self.behind("--permit", "inside.example", "--permit", "*")
        for request in (numbered("127.0.0.1", echo.port), named(b"inside.example", echo.port)):
            self.assertEqual(self.reply(proxy, request), 2, request)

    def test_limits(self) -> None:
        """Each of them has its own places; the load balancer, which they all come from, none."""
        echo = EchoTarget(self)
        limits = ("--permit", f"127.0.0.1:{echo.port}", "--max-connections-per-client", "1")
        proxy, request = self.behind(*limits), numbered("127.0.0.1", echo.port)
        clients = [
            Client(self, proxy, client.encode() + GREETING + request)
            for client in (ELSEWHERE, ELSEWHERE_SIX, HERE)
        ]
        for client in clients:
            self.assertEqual(client.hear(2) + client.hearReply()[:2], b"\x05\x00\x05\x00")
            self.assertEqual(client.asks(b"hello"), b"hello")
        self.assertEqual(self.reply(proxy, request), 1)
        clients[0].close()
        proxy.waitRecords(2)
        self.assertEqual(self.reply(proxy, request), 0)


def ownAddresses() -> set[str]:
    """
    Find the addresses by which this host is reached from elsewhere, if it is.

    Nothing is sent: a UDP socket only looks for its way.
    """
    found = set()
    for family, somewhere in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            try:
                probe.connect((somewhere, 9))
            except OSError:
                continue
            found.add(str(probe.getsockname()[0]))
    return found
