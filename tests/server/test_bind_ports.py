"""
BIND in memory: where it listens, and what the first reply names.

- the address on the way to the peer, of either family, of both on one port; for anybody the one
  that the client has reached us by; for a Unix socket's client; no way to the peer;
- the address that is advertised, and the one that the dialer connects from;
- ports: the system's, a range's in random order, taken, forbidden, used up; the client's own;
- SOCKS4, whose replies have no room for IPv6.
"""

from __future__ import annotations

import errno
from ipaddress import ip_address
from random import Random
from typing import Any

from twisted.internet.address import UNIXAddress
from twisted.internet.error import CannotListenError

from tests.server.asking import PROXY, PROXY6, TARGET, TARGET6
from tests.server.bindings import OWN, OWN6, BindCase, asked, endpoint
from twisted_socks5.config import PortChoice
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.errors import RequestError
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.server import bind
from twisted_socks5.server.bind import TRIES, WAYS_MISSED, Bind
from twisted_socks5.server.bound import PORTS_TRIED, Own
from twisted_socks5.server.listeners import listen
from twisted_socks5.testing import Peer
from twisted_socks5.wire import Address, pack_request4

BOTH = b"both.example"


class AddressTests(BindCase):
    """BND.ADDR."""

    def setUp(self) -> None:
        """Make a name with both families."""
        super().setUp()
        self.reactor.names.add("both.example", [TARGET6, TARGET])

    def test_onTheWay(self) -> None:
        """The address that we would connect to the peer from, whatever the client's."""
        self.serve()
        for host, own in ((TARGET, OWN), (TARGET6, OWN6)):
            for proxy in (PROXY, PROXY6):
                _, where = self.waiting(host, proxy=proxy)
                self.assertEqual(where[0], own)
                self.assertIn(where, self.listening())

    def test_bothFamilies(self) -> None:
        """Both are listened on, on one port; the client's own is named."""
        self.serve()
        for proxy, named, other in ((PROXY, OWN, OWN6), (PROXY6, OWN6, OWN)):
            before = self.listening()
            client, where = self.waiting(BOTH, proxy=proxy)
            self.assertEqual(where[0], named)
            new = [each for each in self.listening() if each not in before]
            self.assertEqual(sorted(new), sorted([where, (other, where[1])]))
            self.assertIsNone(
                self.comer((other, where[1]), TARGET if other == OWN else TARGET6).peer.lost
            )
            self.assertEqual(len(self.replies(client)[0]), 2)
            self.assertEqual(self.listening(), before)

    def test_onlyOneFamily(self) -> None:
        """A family that there is no way to is left alone."""
        self.reactor.route(TARGET6, error=errno.ENETUNREACH)
        _, where = self.waiting(BOTH, proxy=PROXY6)
        self.assertEqual(self.listening(), [where])
        self.assertEqual(where[0], OWN)

    def test_noWay(self) -> None:
        """No way to the peer at all: the most telling failure counts."""
        self.reactor.route(TARGET6, error=errno.ENETUNREACH)
        self.reactor.route(TARGET, error=errno.EHOSTUNREACH)
        self.serve()
        self.assertEqual(
            self.assertFirst(self.bind(TARGET6), 3), f"no way to {TARGET6}: network unreachable"
        )
        self.assertEqual(
            self.assertFirst(self.bind(BOTH), 4),
            f"no way to {TARGET6}: network unreachable; no way to {TARGET}: host unreachable",
        )

    def test_manyAddresses(self) -> None:
        """Of hundreds of addresses without a way not all are tried."""
        self.reactor.names.add("many.example", [f"203.0.113.{n}" for n in range(200)])
        tried: list[IPAddress] = []

        def noWay(peer: IPAddress, second: int) -> Own:
            tried.append(peer)
            raise OSError(errno.ENETUNREACH, "no way")

        self.patch(bind, "ownTowards", noWay)
        self.serve()
        self.assertFirst(self.bind(b"many.example"), 3)
        self.assertEqual(len(tried), WAYS_MISSED)

    def test_anybody(self) -> None:
        """For anybody it is where the client has reached us."""
        self.serve()
        for proxy in (PROXY, PROXY6):
            for host in ("0.0.0.0", "::"):
                _, where = self.waiting(host, proxy=proxy)
                self.assertEqual(where[0], proxy)
                self.assertIn(where, self.listening())

    def test_unixSocket(self) -> None:
        """A client on a Unix socket has reached us on this host."""
        self.serve()
        for host, own in (("0.0.0.0", "127.0.0.1"), (TARGET, OWN), (BOTH, OWN6)):
            client = Peer()
            session = self.server.buildProtocol(UNIXAddress(b"/run/socks"))
            assert session is not None
            address = UNIXAddress(b"/run/socks")
            self.reactor.connectPair(client, session, UNIXAddress(None), address)
            self.addCleanup(self.reactor.advance, 0)
            self.addCleanup(client.abort)
            client.write(asked(host))
            self.reactor.advance(0)
            (first,), _ = self.replies(client)
            self.assertEqual((first.reply, endpoint(first)[0]), (0, own))

    def test_advertised(self) -> None:
        """The address that leads to us from outside is named, where there is one of the family."""
        self.settings["advertised"] = (ip_address("203.0.113.200"),)
        self.serve()
        _, where = self.waiting(TARGET)
        self.assertEqual(where[0], "203.0.113.200")
        self.assertEqual(self.listening(), [(OWN, where[1])])
        _, where = self.waiting("0.0.0.0")
        self.assertEqual(where[0], "203.0.113.200")
        _, where = self.waiting(TARGET6)
        self.assertEqual(where[0], OWN6)

    def test_source(self) -> None:
        """Where the dialer connects from an address of its own, peers know us by that."""
        source = "192.0.2.99"
        dialer = HappyEyeballs(self.reactor, self.reactor, bindAddress=[ip_address(source)])
        self.serve(dialer=dialer)
        _, where = self.waiting(TARGET)
        self.assertEqual(where[0], source)
        _, where = self.waiting(BOTH, proxy=PROXY6)
        self.assertEqual(where[0], OWN6)
        self.assertIn((source, where[1]), self.listening())


class PortTests(BindCase):
    """BND.PORT."""

    def test_range(self) -> None:
        """All ports of a range, each once, and then none."""
        ports = range(4000, 4010)
        self.settings["bind_ports"] = ports
        bound = [self.waiting()[1][1] for _ in ports]
        self.assertEqual(sorted(bound), list(ports))
        reason = self.assertRefusedAt(self.bind())
        self.assertEqual(reason, f"cannot listen on {OWN}: address already in use")

    def assertRefusedAt(self, client: Peer) -> str:
        """See that a BIND is refused with REP 1, whatever others wait; @return: why."""
        (only,), rest = self.replies(client)
        self.assertEqual((only.reply, rest), (1, b""))
        client.lose()
        self.reactor.advance(0)
        return self.records[-1].reason

    def test_order(self) -> None:
        """They are taken in the order that the source of chance gives."""
        ports = range(4000, 4100)
        self.settings["bind_ports"] = ports
        self.patch(Bind, "random", Random(1))
        order = [Random(1).sample(ports, len(ports))[0]]
        self.assertEqual([self.waiting()[1][1]], order)
        self.assertNotEqual(order, [4000])

    def test_largeRange(self) -> None:
        """Of a range that is taken not all ports are tried."""
        self.settings["bind_ports"] = range(1, 65536)
        self.serve()
        tried: list[int] = []

        def taken(port: int, *args: object, **kwargs: object) -> None:
            tried.append(port)
            raise CannotListenError(OWN, port, OSError(errno.EADDRINUSE, "taken"))

        self.patch(self.reactor, "listenTCP", taken)
        self.assertFirst(self.bind(), 1)
        self.assertEqual((len(tried), len(set(tried))), (PORTS_TRIED, PORTS_TRIED))

    def test_forbiddenPorts(self) -> None:
        """Ports that may not be bound are passed over."""
        for port in (4000, 4001):
            self.reactor.route(OWN, port, error=errno.EACCES)
        self.settings["bind_ports"] = range(4000, 4003)
        self.assertEqual(self.waiting()[1], (OWN, 4002))

    def test_noAddress(self) -> None:
        """Where the address can't be bound, trying other ports is in vain."""
        self.reactor.route(OWN, error=errno.EADDRNOTAVAIL)
        self.settings["bind_ports"] = range(4000, 4003)
        self.serve()
        listen = self.reactor.listenTCP
        tried: list[int] = []

        def counted(port: int, *args: Any) -> object:
            tried.append(port)
            return listen(port, *args)

        self.patch(self.reactor, "listenTCP", counted)
        reason = self.assertFirst(self.bind(), 1)
        self.assertRegex(reason, f"^cannot listen on {OWN}: cannot assign requested address")
        self.assertEqual(len(tried), 1)

    def test_takenInOtherFamily(self) -> None:
        """A port that is free in one family only is not used, nor kept."""
        self.reactor.names.add("both.example", [TARGET, TARGET6])
        for port in (4000, 4001):
            self.target(OWN6, port)
        self.settings["bind_ports"] = range(4000, 4003)
        for _ in range(3):
            client, where = self.waiting(BOTH)
            self.assertEqual(where, (OWN, 4002))
            self.assertEqual(sorted(self.listening()), [(OWN, 4002), (OWN6, 4002)])
            client.abort()
            self.reactor.advance(0)

    def test_systemsPortTaken(self) -> None:
        """The system's port for one family may be taken in the other: it is asked again."""
        self.reactor.names.add("both.example", [TARGET, TARGET6])
        self.serve()
        listen = self.reactor.listenTCP
        asked: list[int] = []

        def unlucky(port: int, factory: object, backlog: int = 50, interface: str = "") -> object:
            asked.append(port)
            if interface == OWN6 and len(asked) < 2 * self.unlucky:
                raise CannotListenError(OWN6, port, OSError(errno.EADDRINUSE, "taken"))
            return listen(port, factory, backlog, interface)  # type: ignore[arg-type]

        self.patch(self.reactor, "listenTCP", unlucky)
        self.unlucky = 3
        _, where = self.waiting(BOTH)
        self.assertEqual((asked[0], asked[2], asked[4], asked[5]), (0, 0, 0, where[1]))
        self.assertEqual(sorted(self.listening()), [(OWN, where[1]), (OWN6, where[1])])
        asked.clear()
        self.unlucky = 1000
        self.assertRegex(
            self.assertRefusedAt(self.bind(BOTH)), f"cannot listen on {OWN} and {OWN6}: "
        )
        self.assertEqual(len(asked), 2 * TRIES)

    def test_listenFails(self) -> None:
        """A port that could be bound, but not listened on; Twisted lets that error pass."""
        self.serve()

        def racing(*args: object, **kwargs: object) -> None:
            raise OSError(errno.EADDRINUSE, "Address already in use")

        self.patch(self.reactor, "listenTCP", racing)
        self.assertEqual(
            self.assertFirst(self.bind(), 1), f"cannot listen on {OWN}: address already in use"
        )

    def test_nothingToTry(self) -> None:
        """Without a port to try it fails like that."""
        error = self.assertRaises(RequestError, listen, self.reactor, [OWN], [], None)
        self.assertEqual(
            (error.reply, error.reason), (1, f"cannot listen on {OWN}: no port to try")
        )


class PortChoiceTests(BindCase):
    """DST.PORT, where it may choose the port, and where not."""

    def test_proxyChooses(self) -> None:
        """By default it says nothing."""
        _, where = self.waiting(TARGET, 4000)
        self.assertNotEqual(where[1], 4000)

    def test_clientChooses(self) -> None:
        """With the option it is that very port."""
        self.settings["bind_port_choice"] = PortChoice.CLIENT
        for host, port in ((TARGET, 4000), (TARGET6, 65535), ("0.0.0.0", 1024)):
            _, where = self.waiting(host, port)
            self.assertEqual(where[1], port)

    def test_bothFamilies(self) -> None:
        """Of both families, too."""
        self.settings["bind_port_choice"] = PortChoice.CLIENT
        self.reactor.names.add("both.example", [TARGET, TARGET6])
        self.waiting(BOTH, 4000)
        self.assertEqual(sorted(self.listening()), [(OWN, 4000), (OWN6, 4000)])

    def test_taken(self) -> None:
        """Taken by another, it is none."""
        self.settings["bind_port_choice"] = PortChoice.CLIENT
        client, where = self.waiting(TARGET, 4000)
        other = self.bind(TARGET, 4000)
        self.assertEqual([each.reply for each in self.replies(other)[0]], [1])
        self.comer(where)
        self.assertEqual(len(self.replies(client)[0]), 2)
        # As soon as the first has its peer, its port can be had.
        self.waiting(TARGET, 4000)

    def test_privileged(self) -> None:
        """A port below 1024 is no client's."""
        self.settings["bind_port_choice"] = PortChoice.CLIENT
        self.serve()
        for port in (1, 21, 1023):
            self.assertEqual(
                self.assertFirst(self.bind(TARGET, port), 1),
                f"port {port}, asked for, is none of those for BIND",
            )

    def test_range(self) -> None:
        """It lies in the range, if there is one; 0 leaves the choice to us."""
        self.settings["bind_port_choice"] = PortChoice.CLIENT
        self.settings["bind_ports"] = range(1000, 1026)
        self.serve()
        for port in (1000, 1023, 1026, 4000):
            self.assertFirst(self.bind(TARGET, port), 1)
        self.assertEqual(self.waiting(TARGET, 1025)[1][1], 1025)
        self.assertIn(self.waiting(TARGET, 0)[1][1], range(1000, 1026))


class SOCKS4Tests(BindCase):
    """Replies without room for IPv6."""

    def setUp(self) -> None:
        """Switch it on."""
        super().setUp()
        self.settings["socks4"] = True
        self.reactor.names.add("both.example", [TARGET6, TARGET])
        self.reactor.names.add("six.example", [TARGET6])

    def test_onlyIPv4(self) -> None:
        """Of both families IPv4 is listened on, also for a client of IPv6."""
        self.serve()
        client = self.ask(pack_request4(2, Address(BOTH, 0)), proxy=PROXY6)
        ((host, port),) = self.listening()
        self.assertEqual(host, OWN)
        said = b"\0\x5a" + port.to_bytes(2, "big") + ip_address(OWN).packed
        self.assertEqual(bytes(client.received), said)
        self.comer((host, port), TARGET, 20)
        said += b"\0\x5a\0\x14" + ip_address(TARGET).packed
        self.assertEqual(bytes(client.received), said)

    def test_onlyIPv6(self) -> None:
        """Where there is nothing else, it is refused."""
        self.serve()
        for asked4, proxy in (
            (pack_request4(2, Address(b"six.example", 0)), PROXY),
            (pack_request4(2, Address(ip_address("0.0.0.0"), 0)), PROXY6),
        ):
            client = self.ask(asked4, proxy=proxy)
            self.assertEqual(bytes(client.received[:2]), b"\0\x5b")
            client.lose()
            self.reactor.advance(0)
            self.assertEqual(self.records[-1].reason, "SOCKS4 cannot name an IPv6 address")
