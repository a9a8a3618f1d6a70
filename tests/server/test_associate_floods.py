"""What a client, or anybody, can make the proxy hold by sending datagrams: never much."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterable, Iterator

from tests.server.associations import STRANGER, TARGET, AssociationCase, Mailbox, headed
from twisted_socks5.config import Filtering
from twisted_socks5.server import lookupqueue, routes, verdicts
from twisted_socks5.server.associate import Associate
from twisted_socks5.server.session import SOCKS5ServerProtocol
from twisted_socks5.wire import Command, Request

COUNT = 1500

NOWHERE = "203.0.113.250"


class FloodTests(AssociationCase):
    """
    Two associations; one is flooded, and the other must not notice.

    @ivar box: the target of the other one.
    """

    def setUp(self) -> None:
        """Associate twice."""
        super().setUp()
        self.settings["udp_filtering"] = Filtering.ADDRESS_DEPENDENT
        self.box = self.mailbox(TARGET, 53)
        self.reactor.names.add("good.example", [TARGET])
        self.reactor.route(NOWHERE, silent=True)
        self.serve()
        self.patch(self.server, "commands", {Command.UDP_ASSOCIATE: self.begin})
        self.undertakings: list[Associate] = []
        self.associate()
        self.other, self.otherBound = self.client, self.bound
        self.associate()
        self.relay = self.undertakings[-1]._relay
        self.addressing = self.undertakings[-1]._addressing

    def begin(self, session: SOCKS5ServerProtocol, request: Request) -> Associate:
        """Begin an association, and keep it."""
        self.undertakings.append(Associate(session, request))
        return self.undertakings[-1]

    def flood(self, datagrams: Iterable[bytes], source: Mailbox | None = None) -> None:
        """Let all of these arrive, and see that memory has not grown by more than a bit."""
        leg, address = self.relay._client, (source or self.client).address
        gc.collect()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for datagram in datagrams:
            leg.datagramReceived(datagram, address)
        grown = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        self.assertLess(grown, 1_000_000)
        self.reactor.advance(0)
        self.assertOtherUnharmed()

    def assertOtherUnharmed(self) -> None:
        """The other association works, with numbers and with names."""
        for host in (TARGET, b"good.example"):
            self.other.send(headed(b"question", host, 53), self.otherBound)
            self.reactor.advance(0)
            self.answer(self.box, b"answer")
        self.assertEqual(len(self.other.taken()), 2)
        self.assertEqual(self.box.taken()[-2:], [b"question"] * 2)

    def test_fragments(self) -> None:
        """Fragments that never complete."""
        octets = bytes(10_000)
        frags = list(range(1, 128)) * 10
        self.flood(headed(octets, TARGET, 53, frag) for frag in frags)
        self.assertLessEqual(self.addressing._fragments.octets, 65507)
        self.flood(headed(bytes(500), TARGET, 53, frag) for frag in range(1, 127))
        self.assertEqual(self.addressing._fragments.octets, 126 * 500)
        self.reactor.advance(5)
        self.assertEqual(self.addressing._fragments.octets, 0)

    def test_names(self) -> None:
        """Names that never resolve: bounded lookups, bounded waiting, and then none of it."""
        for number in range(COUNT):
            self.reactor.names.add(f"n{number}.example", silent=True)
        octets = bytes(5000)
        self.flood(headed(octets, b"n%d.example" % number, 53) for number in range(COUNT))
        queue = self.addressing._routes._queue
        assert queue is not None
        self.assertEqual(len(queue), lookupqueue.MAX_OCTETS // 5000)
        asked = [name for name in self.reactor.names.lookups if name != "good.example"]
        self.assertEqual(len(asked), lookupqueue.MAX_LOOKUPS)
        for _ in range(lookupqueue.MAX_WAITING // lookupqueue.MAX_LOOKUPS + 1):
            self.reactor.advance(10)
        self.assertEqual(len(queue), 0)

    def test_namesThatDoNotExist(self) -> None:
        """Names that nobody has heard of."""
        self.floodInTurns(b"n%d.example" % number for number in range(COUNT))
        self.assertLessEqual(len(self.addressing._routes._routes), 2 * routes.REMEMBERED)

    def test_namesThatExist(self) -> None:
        """Names that lead somewhere, each of them elsewhere."""
        for number in range(COUNT):
            address = f"198.18.{number >> 8}.{number & 255}"
            self.reactor.names.add(f"n{number}.example", [address])
            self.reactor.route(address, silent=True)
        self.floodInTurns(b"n%d.example" % number for number in range(COUNT))
        known = self.addressing._verdicts
        self.assertLessEqual(len(known._names), 2 * verdicts.REMEMBERED)
        self.assertLessEqual(len(known.spokenTo or ()), 2 * verdicts.REMEMBERED)
        self.assertEqual(self.relay.sent, COUNT)

    def floodInTurns(self, names: Iterable[bytes]) -> None:
        """Let the names be answered between the datagrams."""

        def datagrams() -> Iterator[bytes]:
            for name in names:
                yield headed(b"x", name, 53)
                self.reactor.advance(0)

        self.server.lookup._lifetime = 0
        self.flood(datagrams())

    def test_destinations(self) -> None:
        """Ever other destinations, good, forbidden, and none at all."""
        self.flood(headed(b"x", NOWHERE, port) for port in range(1000, 1000 + COUNT))
        self.flood(headed(b"x", "127.0.0.1", port) for port in range(1000, 1000 + COUNT))
        self.flood(headed(b"x", b"no name %d" % number, 53) for number in range(COUNT))
        self.assertLessEqual(len(self.addressing._routes._routes), 2 * routes.REMEMBERED)
        self.assertEqual(self.relay.sent, COUNT)

    def test_sources(self) -> None:
        """Ever other sources."""
        self.flood([headed(b"question", TARGET, 53)])
        for number in range(COUNT):
            self.addressing.inward((f"198.18.{number >> 8}.{number & 255}", 53), 1)
        self.assertLessEqual(len(self.addressing._verdicts._sources), 2 * verdicts.REMEMBERED)
        self.assertOtherUnharmed()

    def test_strangers(self) -> None:
        """Strangers, before the client is known and after."""
        stranger = self.mailbox(STRANGER)
        for _ in range(2):
            self.flood([headed(b"stranger's", TARGET, 53)] * COUNT, stranger)
            self.send(b"question")
            self.assertEqual(self.box.taken(), [b"question"])

    def test_garbage(self) -> None:
        """Garbage, and nothing at all."""
        self.flood([bytes(100)] * COUNT + [b""] * COUNT)

    def test_control(self) -> None:
        """A control connection that is used as if it were a relay."""
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        before = tracemalloc.get_traced_memory()[0]
        for _ in range(50):
            self.control.write(bytes(65536))
            self.reactor.advance(0)
        self.assertLess(tracemalloc.get_traced_memory()[0] - before, 1_000_000)
        self.assertOtherUnharmed()
