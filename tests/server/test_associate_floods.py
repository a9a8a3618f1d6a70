"""What a client, or anybody, can make the proxy hold by sending datagrams: never much."""

from __future__ import annotations

import tracemalloc
from typing import Any

from tests.server.associations import (
    CLIENT,
    STRANGER,
    TARGET,
    AssociationCase,
    headed,
)
from twisted_socks5.config import Filtering
from twisted_socks5.server import datagrams, lookupqueue, routes, verdicts
from twisted_socks5.wire import Host

COUNT = 3000


class FloodTests(AssociationCase):
    """
    Two associations; one is flooded, and the other must not notice.

    @ivar box: the target of the other one.
    """

    def setUp(self) -> None:
        """Associate twice."""
        super().setUp()
        self.reactor.network.datagramBuffer = 1 << 30
        self.settings["udp_filtering"] = Filtering.ADDRESS_DEPENDENT
        self.box = self.mailbox(TARGET, 53)
        self.reactor.names.add("good.example", [TARGET])
        self.associate()
        self.other, self.otherBound = self.client, self.bound
        del self.client
        self.associate()
        undertaking: Any = next(
            each._undertaking
            for each in self.server.sessions
            if each._undertaking._relay._client._port.getHost().port == self.bound[1]
        )
        self.addressing: datagrams.RuledAddressing = undertaking._addressing

    def flood(self, *datagrams: bytes) -> None:
        """Send all of these at once, and see that memory has not grown by more than a bit."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        self.client.transport.protocol = None  # what comes back is not of interest
        before = tracemalloc.get_traced_memory()[0]
        for datagram in datagrams:
            self.client.send(datagram, self.bound)
        del datagrams
        self.reactor.advance(0)
        grown = tracemalloc.get_traced_memory()[0] - before
        self.assertLess(grown, 1_000_000)
        self.assertOtherUnharmed()

    def assertOtherUnharmed(self) -> None:
        """The other association works, with numbers and with names."""
        for host in (TARGET, b"good.example"):
            self.other.send(self.headedFor(host), self.otherBound)
            self.reactor.advance(0)
            self.box.send(b"answer", self.box.last)
            self.reactor.advance(0)
        self.assertEqual(len(self.other.taken()), 2)
        self.assertEqual(self.box.taken()[-2:], [b"question"] * 2)

    def headedFor(self, host: str | Host) -> bytes:
        """Make a question."""
        return headed(b"question", host, 53)

    def test_fragments(self) -> None:
        """Fragments that never complete."""
        big = bytes(10_000)
        self.flood(*(headed(big, TARGET, 53, frag) for frag in list(range(1, 128)) * 20))
        self.assertLessEqual(self.addressing._fragments.octets, 65507)
        self.flood(*(headed(bytes(500), TARGET, 53, frag) for frag in range(1, 127)))
        self.assertEqual(self.addressing._fragments.octets, 126 * 500)
        self.reactor.advance(5)
        self.assertEqual(self.addressing._fragments.octets, 0)

    def test_names(self) -> None:
        """Names that never resolve: bounded lookups, bounded waiting, and then none of it."""
        for number in range(COUNT):
            self.reactor.names.add(f"n{number}.example", silent=True)
        big = bytes(5000)
        self.flood(*(headed(big, b"n%d.example" % number, 53) for number in range(COUNT)))
        queue = self.addressing._routes._queue
        self.assertEqual(queue._octets, lookupqueue.MAX_OCTETS // 5000 * 5000)
        self.assertEqual(len(queue), lookupqueue.MAX_OCTETS // 5000)
        asked = [name for name in self.reactor.names.lookups if name != "good.example"]
        self.assertEqual(len(asked), lookupqueue.MAX_LOOKUPS)
        for _ in range(lookupqueue.MAX_WAITING // lookupqueue.MAX_LOOKUPS + 1):
            self.reactor.advance(10)
        self.assertEqual((queue._octets, len(queue)), (0, 0))

    def test_namesThatDoNotExist(self) -> None:
        """Names that are answered at once."""
        self.flood(*(headed(b"x", b"n%d.example" % number, 53) for number in range(COUNT)))
        self.assertLessEqual(len(self.addressing._routes._routes), 2 * routes.REMEMBERED)

    def test_namesThatExist(self) -> None:
        """Names that lead somewhere, each of them elsewhere."""
        for number in range(COUNT):
            address = f"203.0.{number >> 8}.{number & 255}"
            self.reactor.names.add(f"n{number}.example", [address])
        self.flood(*(headed(b"x", b"n%d.example" % number, 53) for number in range(COUNT)))
        known = self.addressing._verdicts
        self.assertLessEqual(len(known._names), 2 * verdicts.REMEMBERED)
        self.assertLessEqual(len(known.spokenTo or ()), 2 * verdicts.REMEMBERED)

    def test_destinations(self) -> None:
        """Ever other destinations, good and bad."""
        self.flood(
            *(headed(b"x", TARGET, port) for port in range(1000, 1000 + COUNT)),
            *(headed(b"x", "127.0.0.1", port) for port in range(1000, 1000 + COUNT)),
            *(headed(b"x", b"not a name %d" % number, 53) for number in range(COUNT)),
        )
        self.assertLessEqual(len(self.addressing._routes._routes), 2 * routes.REMEMBERED)

    def test_sources(self) -> None:
        """Ever other sources, good and bad."""
        self.client.send(self.headedFor(TARGET), self.bound)
        self.reactor.advance(0)
        for number in range(COUNT):
            source = (f"198.18.{number >> 8}.{number & 255}", 53)
            self.addressing.inward(source)
        self.assertLessEqual(len(self.addressing._verdicts._sources), 2 * verdicts.REMEMBERED)
        self.assertOtherUnharmed()

    def test_strangers(self) -> None:
        """Strangers, before the client is known and after."""
        stranger, mine = self.mailbox(STRANGER), self.client
        self.client = stranger
        for _ in range(2):
            self.flood(*[self.headedFor(TARGET)] * COUNT)
            mine.send(self.headedFor(TARGET), self.bound)
            self.reactor.advance(0)
        self.assertEqual(self.box.taken(), [b"question"])

    def test_garbage(self) -> None:
        """Garbage."""
        self.flood(*[bytes(100)] * COUNT, *[b""] * COUNT)

    def test_control(self) -> None:
        """A control connection that is used as if it were a relay."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(100):
            self.control.write(bytes(65536))
            self.reactor.advance(0)
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 1_000_000)
        self.assertOtherUnharmed()
        self.assertEqual(self.mailbox(CLIENT).received, [])
