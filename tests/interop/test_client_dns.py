"""
DNS through UDP ASSOCIATE, by Twisted's own client, against a real server: Knot.
"""

from __future__ import annotations

import random
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectError
from twisted.internet.protocol import DatagramProtocol
from twisted.internet.threads import deferToThread
from twisted.names import client, dns
from twisted.trial.unittest import TestCase

from tests.docs.pages import EXAMPLES
from tests.interop.datagrams import UDPEcho
from tests.interop.origins import Cleaning
from tests.interop.programs import SECONDS, environment, find, run
from tests.interop.proxy import Output, ProxyTestCase
from tests.interop.proxy import Proxy as RunningProxy
from twisted_socks5.client.datagram import Association, associate
from twisted_socks5.client.reactor import SOCKS5Reactor

reactor: Any = installed

_CONFIGURATION = """
server:
    rundir: "{short}"
    listen: {host}@{port}
database:
    storage: "{place}"
zone:
  - domain: example.test
    file: "{place}/zone"
log:
  - target: stdout
    any: info
"""

_ZONE = """
$ORIGIN example.test.
$TTL 60
@    SOA  ns admin 1 3600 600 86400 60
@    NS   ns
ns   A    192.0.2.53
www  A    192.0.2.80
www  AAAA 2001:db8::80
many TXT  {texts}
"""

#: More than a datagram of 512 octets, which is all that Twisted's client takes, has room for.
TEXTS = [f"{number:02d} " + "x" * 60 for number in range(20)]


class Knot:
    """
    A DNS server, with one zone.

    @ivar host: where it listens, by UDP and TCP.
    @ivar port: the port.
    """

    host = "127.0.0.1"

    def __init__(self, test: Cleaning, directory: str) -> None:
        """
        Start it, and wait until it answers.

        @param test: it runs until this test ends.
        @param directory: is made.
        """
        place = Path(directory).absolute()
        place.mkdir()
        texts = " ".join(f'"{text}"' for text in TEXTS)
        (place / "zone").write_text(_ZONE.format(texts=texts))
        self.port = _freePort(self.host)
        # A socket of its own gets its name from there, and that must not be long.
        short = tempfile.TemporaryDirectory(prefix="knot-")
        test.addCleanup(short.cleanup)
        configuration = _CONFIGURATION.format(
            place=place, short=short.name, host=self.host, port=self.port
        )
        (place / "knot.conf").write_text(configuration)
        self._process = subprocess.Popen(
            [find("knotd", "knot"), "-c", str(place / "knot.conf")],
            cwd=place,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        self._output = Output(self._process)
        test.addCleanup(self._stop)
        self._output.waitFor("server started")

    def _stop(self) -> None:
        self._process.terminate()
        self._process.wait(SECONDS)
        self._output.finish()


def _freePort(host: str) -> int:
    """Find a port that is free for TCP and UDP; Knot does not let the system choose."""
    while True:
        with socket.socket() as tcp, socket.socket(type=socket.SOCK_DGRAM) as udp:
            tcp.bind((host, 0))
            try:
                udp.bind(tcp.getsockname())
            except OSError:
                continue
            port: int = tcp.getsockname()[1]
            return port


def _address(record: Any) -> str:
    """Tell an A record's address."""
    return str(record.payload.dottedQuad())


class Echoing(DatagramProtocol):
    """Sends datagrams to one place, and waits for what comes back."""

    noisy = False

    def __init__(self, where: tuple[str, int]) -> None:
        """
        @param where: the place.
        """
        self._where = where
        self._waiting: Deferred[bytes] = Deferred()

    def send(self, datagram: bytes) -> Deferred[bytes]:
        """Send one; @return: fires with the answer."""
        self._waiting = Deferred()
        if self.transport is not None:
            self.transport.write(datagram, self._where)
        return self._waiting

    def datagramReceived(self, datagram: bytes, addr: tuple[str, int]) -> None:
        """An answer."""
        self._waiting.callback(datagram)


class DNSCase(ProxyTestCase, TestCase):
    """A DNS server and a proxy."""

    timeout = 60

    def setUp(self) -> None:
        """Start both."""
        self.knot = Knot(self, self.mktemp())
        self.running = self.proxy()

    def way(self, proxy: RunningProxy | None = None) -> HostnameEndpoint:
        """Make the endpoint that leads to the proxy."""
        proxy = proxy or self.running
        return HostnameEndpoint(reactor, proxy.host, proxy.port)

    async def associated(self, protocol: Any, **options: Any) -> Association:
        """Associate, until the end of the test."""
        protocol.noisy = False
        association = await associate(self.way(), protocol, reactor, **options)
        self.addCleanup(association.stopListening)
        return association


class ResolvingTests(DNSCase):
    """Questions and answers."""

    async def _protocol(self) -> None:
        controller = client.Resolver(servers=[(self.knot.host, self.knot.port)])
        protocol = dns.DNSDatagramProtocol(controller, reactor=reactor)
        await self.associated(protocol)
        where = (self.knot.host, self.knot.port)
        names = [b"www.example.test", b"ns.example.test", b"nobody.example.test"] * 5
        answers = await gatherResults(
            [protocol.query(where, [dns.Query(name)]) for name in names], consumeErrors=True
        )
        found = [[_address(each) for each in one.answers] for one in answers]
        self.assertEqual(found, [["192.0.2.80"], ["192.0.2.53"], []] * 5)
        self.assertEqual(answers[2].rCode, dns.ENAME)

    def test_protocol(self) -> Any:
        """C{DNSDatagramProtocol} as it is, on an association: many questions at a time."""
        return ensureDeferred(self._protocol())

    async def _resolver(self) -> None:
        through = SOCKS5Reactor(reactor, self.way())
        servers = [(self.knot.host, self.knot.port)]
        resolver = client.Resolver(servers=servers, reactor=through)
        (answers, _, _) = await resolver.lookupAddress("www.example.test")
        self.assertEqual([each.payload.dottedQuad() for each in answers], ["192.0.2.80"])
        (answers, _, _) = await resolver.lookupIPV6Address("www.example.test")
        self.assertEqual(len(answers), 1)
        (answers, _, _) = await resolver.lookupText("many.example.test")
        self.assertEqual([each.decode() for each in answers[0].payload.data], TEXTS)

    def test_resolver(self) -> Any:
        """The resolver as it is, on our reactor; what is too long for a datagram by TCP."""

        def commands(_: object) -> None:
            said = {each["command"] for each in self.running.waitRecords(3)}
            self.assertIn("UDP_ASSOCIATE", said)

        return ensureDeferred(self._resolver()).addCallback(commands)

    def test_example(self) -> None:
        """docs/examples/client_dns.py."""
        where = (self.running.host, self.running.port, self.knot.host, self.knot.port)
        program = EXAMPLES / "client_dns.py"
        done = run(sys.executable, program, *map(str, where), "www.example.test")
        self.assertEqual(done.stdout, "www.example.test 192.0.2.80\n", done.stderr)


class DatagramTests(DNSCase):
    """Datagrams of other kinds."""

    def test_sizes(self) -> Any:
        """From none to the largest that UDP has room for beside the header."""
        return ensureDeferred(self._echo([0, 1, 1472, 30_000, 65_507 - 10]))

    def test_fragments(self) -> Any:
        """The same, cut into pieces that the proxy puts together again."""
        return ensureDeferred(self._echo([0, 1490, 1491, 30_000, 65_497], fragmentSize=1500))

    async def _echo(self, sizes: list[int], **options: Any) -> None:
        echo = UDPEcho(self)
        box = Echoing((echo.host, echo.port))
        association = await self.associated(box, **options)
        for size in sizes:
            payload = random.Random(size).randbytes(size)
            self.assertEqual(await box.send(payload), payload)
        self.assertEqual(association.drops, {})

    def test_example(self) -> None:
        """docs/examples/client_udp.py, to a name that the proxy knows."""
        echo, proxy = UDPEcho(self), self.proxy(hosts="127.0.0.1 echo.example\n")
        words = (proxy.host, proxy.port, "echo.example", echo.port, "hello, echo")
        done = run(sys.executable, EXAMPLES / "client_udp.py", *map(str, words))
        self.assertEqual(done.stdout, f"127.0.0.1 port {echo.port}: hello, echo\n", done.stderr)

    def test_lost(self) -> Any:
        """The proxy goes away."""
        return ensureDeferred(self._lost())

    async def _lost(self) -> None:
        box = Echoing(("127.0.0.1", 9))
        association = await self.associated(box, interface="127.0.0.1")
        self.assertEqual(association.getHost().host, "127.0.0.1")
        lost = association.whenClosed()
        await deferToThread(self.running.stop)
        with self.assertRaises(ConnectError):
            await lost
        self.assertIsNone(box.transport)
