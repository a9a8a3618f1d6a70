"""UDP ASSOCIATE by way of the next proxy."""

from __future__ import annotations

import errno
from ipaddress import ip_address
from typing import Any

from tests.server.associations import Mailbox, headed, opened
from tests.server.base import CLIENT, GREETED, GREETING, TARGET, TARGET6, refused, request
from tests.server.forwarding import FAR, VIA, ForwardingCase, replies
from tests.server.gssclients import LEVELS, GSSClient
from twisted_socks5.config import Filtering
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.server.forwardeddatagrams import ForwardedAssociate
from twisted_socks5.server.forwardroutes import NAMES
from twisted_socks5.testing import DatagramSocket, Peer
from twisted_socks5.wire import Command, pack_header

RELAY = 40000
ANYBODY = "0.0.0.0"
ASSOCIATE = request(ANYBODY, 0, Command.UDP_ASSOCIATE)
STRANGER = "198.51.100.66"


class DatagramCase(ForwardingCase):
    """Associates through the near server."""

    client: Mailbox
    bound: tuple[str, int]

    def mailbox(self, host: str = CLIENT, port: int = 0) -> Mailbox:
        """Open a UDP socket."""
        box = Mailbox()
        self.proxy.ports.append(self.proxy.reactor.listenUDP(port, box, host, 65536))
        return box

    def granted(self, client: Peer) -> Peer:
        """Take the reply, and open the client's socket."""
        ((reply,), rest) = replies(client)
        self.assertEqual((reply.reply, rest), (0, b""))
        self.bound = (str(reply.bound.host), reply.bound.port)
        self.client = self.mailbox()
        return client

    def associate(self, **options: Any) -> Peer:
        """Associate through both servers."""
        near = self.forward(**options)
        near.reactor.names.add("example.com", [TARGET])
        return self.granted(near.say(GREETING, ASSOCIATE))

    def lying(self, bound: bytes = b"\1\xc0\0\2\x14\x9c\x40", **options: Any) -> tuple[Peer, Any]:
        """Associate with somebody who relays as a test says."""
        client, far = self.asked(ASSOCIATE, **options)
        self.relay = self.mailbox(FAR, RELAY)
        self.tell(far, b"\5\0\0" + bound)
        return self.granted(client), far

    def send(self, payload: bytes, host: Any = TARGET, port: int = 53, frag: int = 0) -> None:
        """Send a datagram as the client."""
        self.raw(headed(payload, host, port, frag))

    def raw(self, datagram: bytes) -> None:
        """Send anything as the client."""
        self.client.send(datagram, self.bound)
        self.proxy.settle()

    def answer(self, box: Mailbox, payload: bytes) -> None:
        """Answer who has sent to a mailbox."""
        box.send(payload, box.last)
        self.proxy.settle()

    def heard(self) -> list[tuple[bytes, tuple[str, int]]]:
        """Take what the client has received: payloads and sources."""
        received, self.client.received = self.client.received, []
        self.assertEqual({source for _, source in received} - {self.bound}, set())
        return [opened(datagram) for datagram, _ in received]

    def end(self, client: Peer) -> str:
        """End the association; tell what the log says, and that no socket is left."""
        client.lose()
        self.proxy.settle()
        return self.over()

    def over(self) -> str:
        """Tell why it has ended, and that no socket is left."""
        hosts: list[Any] = [one.getHost() for one in self.proxy.ports]
        own = {(ip_address(one.host), one.port) for one in hosts}
        left = [
            each
            for each in self.proxy.reactor.listeners()
            if isinstance(each, DatagramSocket) and each.local not in own
        ]
        self.assertEqual(left, [])
        return self.record().reason


class RelayedTests(DatagramCase):
    """Through two servers."""

    def test_there_and_back(self) -> None:
        """To addresses and to a name, which the far one resolves; and who answers."""
        client = self.associate()
        target, target6 = self.mailbox(TARGET, 53), self.mailbox(TARGET6, 53)
        for host, box, source in (
            (TARGET, target, TARGET),
            (b"example.com", target, TARGET),
            (TARGET6, target6, TARGET6),
        ):
            for payload in (b"question", b"", bytes(40_000)):
                self.send(payload, host)
                self.assertEqual(box.taken(), [payload])
                self.answer(box, payload + b"!")
                self.assertEqual(self.heard(), [(payload + b"!", (source, 53))])
        self.assertEqual(self.proxy.reactor.names.lookups, ["example.com"])
        self.assertEqual(self.end(client), "client closed")
        record = self.record()
        self.assertEqual((record.command, record.dialled, record.reply), ("UDP_ASSOCIATE", VIA, 0))
        self.assertEqual((record.sent, record.received), (3 * 40_008, 3 * 40_011))
        (theirs,) = self.proxy.farRecords
        self.assertEqual((theirs.sent, theirs.received), (record.sent, record.received))

    def test_batches(self) -> None:
        """Many at once, in their order."""
        client = self.associate()
        target = self.mailbox(TARGET, 53)
        for number in range(50):
            self.client.send(headed(bytes([number]) * 100, TARGET, 53), self.bound)
        self.proxy.settle()
        self.assertEqual([one[:1] for one in target.taken()], [bytes([n]) for n in range(50)])
        for number in range(50):
            target.send(bytes([number]) * 100, target.last)
        self.proxy.settle()
        self.assertEqual([one[:1] for one, _ in self.heard()], [bytes([n]) for n in range(50)])
        self.end(client)

    def test_fragments(self) -> None:
        """Fragments are put together before they go on."""
        client = self.associate()
        target = self.mailbox(TARGET, 53)
        self.send(b"one ", frag=1)
        self.send(b"two", frag=0x82)
        self.assertEqual(target.taken(), [b"one two"])
        self.end(client)

    def test_dropped(self) -> None:
        """What is not the client's, or not permitted, does not go on."""
        client = self.associate()
        self.send(b"?")
        self.mailbox(STRANGER).send(headed(b"spoof", TARGET, 53), self.bound)
        self.raw(b"\0\0\0\x09")
        self.send(b"?", "127.0.0.1")
        self.send(b"?", "127.0.0.1")
        self.send(b"?", b"localhost")
        self.send(b"?", b"a b")
        self.send(b"?", TARGET, 0)
        self.assertEqual(
            self.end(client),
            "client closed; dropped: 3 forbidden, 1 from strangers, 1 malformed, 1 unresolved, "
            "1 to port 0",
        )
        self.assertEqual(self.proxy.farRecords[0].sent, 1)

    def test_ends(self) -> None:
        """The client's end is the far one's, and the other way round."""
        for end in ("loseWrite", "lose", "abort"):
            client = self.associate()
            getattr(client, end)()
            self.proxy.settle()
            self.assertRegex(self.over(), "client (closed|reset)")
            self.assertEqual(len(self.proxy.farRecords), 1)

    def test_idle(self) -> None:
        """One that is idle ends."""
        client = self.associate(settings={"association_timeout": 20.0})
        self.proxy.reactor.advance(40)
        self.assertTrue(client.eof)
        self.assertEqual(self.end(client), "no datagram for 20 s")

    def test_drained(self) -> None:
        """A server that stops lets it go on, and then cuts it."""
        client = self.associate()
        self.proxy.server.drain("the proxy stops")
        self.send(b"?")
        self.assertIsNone(client.lost)
        self.proxy.server.abortSessions("the proxy stops")
        self.proxy.settle()
        self.assertEqual(self.over(), "the proxy stops")


class StreamRelayedTests(RelayedTests):
    """The same on streams."""

    streams = True


class FarTests(DatagramCase):
    """What the far one may do."""

    def test_spelling(self) -> None:
        """What goes on is what was judged: one spelling, and no name looked up."""
        self.lying()
        for host, sent in (
            (b"EXAMPLE.com.", pack_header(b"example.com", 53)),
            (b"203.0.113.5", pack_header(ip_address(TARGET), 53)),
            (ip_address("::ffff:203.0.113.5"), pack_header(ip_address(TARGET), 53)),
            (TARGET6, pack_header(ip_address(TARGET6), 53)),
        ):
            self.send(b"?", host)
            self.send(b"?", host)
            self.assertEqual(self.relay.taken(), [sent + b"?"] * 2)
        self.assertEqual(self.proxy.reactor.names.lookups, [])
        # From the address that the far one knows us by.
        self.assertEqual(self.relay.last[0], CLIENT)

    def test_sources(self) -> None:
        """What counts is what comes from the far one's relay, whole and permitted."""
        client, _ = self.lying()
        self.send(b"?")
        near = self.relay.last
        stranger, other = self.mailbox(STRANGER), self.mailbox(FAR, RELAY + 1)
        good = headed(b"good", TARGET, 53)
        for box, datagram in (
            (stranger, good),
            (other, good),
            (self.relay, good),
            (self.relay, b"\0\0\0\1short"),
            (self.relay, headed(b"part", TARGET, 53, 1)),
            (self.relay, headed(b"inner", "127.0.0.1", 53)),
            (self.relay, headed(b"inner", b"localhost", 53)),
            (self.relay, headed(b"odd", b"a b", 53)),
            (self.relay, headed(b"more", TARGET6, 53)),
        ):
            box.send(datagram, near)
        self.proxy.settle()
        self.assertEqual(self.heard(), [(b"good", (TARGET, 53)), (b"more", (TARGET6, 53))])
        self.assertEqual(
            self.end(client),
            "client closed; dropped: 3 from forbidden sources, 2 not from the next proxy, "
            "1 malformed, 1 fragments from the next proxy",
        )

    def test_named(self) -> None:
        """A source may be a name; it is told to the client as it is."""
        client, _ = self.lying()
        self.send(b"?", b"example.com")
        self.answer(self.relay, headed(b"!", b"example.com", 53))
        ((datagram, _),) = self.client.received
        self.assertEqual(datagram, headed(b"!", b"example.com", 53))
        self.end(client)

    def test_beforeTheClient(self) -> None:
        """Nobody knows yet where the client is."""
        client, _ = self.lying()
        sockets = [
            each.local
            for each in self.proxy.reactor.listeners()
            if isinstance(each, DatagramSocket) and each.local is not None
        ]
        (ours,) = [port for host, port in sockets if str(host) == CLIENT if port != self.port]
        self.relay.send(headed(b"early", TARGET, 53), (CLIENT, ours))
        self.proxy.settle()
        self.assertIn("dropped: 1 before the client's first", self.end(client))

    @property
    def port(self) -> int:
        """The port of the client's own socket."""
        return self.client.address[1]

    def test_rules(self) -> None:
        """A rule for a name is one for who answers under it, at the same port."""
        rules = [Rule.parse("permit", "example.com"), Rule.parse("deny", "*")]
        client, _ = self.lying(rules=Rules(rules, resolves=False))
        self.send(b"?", TARGET)
        self.assertEqual(self.relay.taken(), [])
        self.send(b"?", b"example.com")
        self.assertEqual(len(self.relay.taken()), 1)
        self.answer(self.relay, headed(b"yes", TARGET, 53))
        self.answer(self.relay, headed(b"no", TARGET, 54))
        self.assertEqual(self.heard(), [(b"yes", (TARGET, 53))])
        self.send(b"?", b"example.com", 54)
        self.answer(self.relay, headed(b"now", TARGET, 54))
        self.assertEqual(self.heard(), [(b"now", (TARGET, 54))])
        self.assertIn("1 forbidden, 1 from forbidden sources", self.end(client))

    def test_manyNames(self) -> None:
        """Not all names are remembered for ever."""
        rules = [Rule.parse("permit", "*.example"), Rule.parse("deny", "203.0.113.0/24")]
        client, _ = self.lying(rules=Rules(rules, resolves=False))
        for number in range(NAMES + 5):
            self.send(b"?", f"n{number}.example".encode(), 1000 + number)
        for port, heard in ((1000, 0), (1000 + NAMES, 1)):
            self.answer(self.relay, headed(b"!", TARGET, port))
            self.assertEqual(len(self.heard()), heard)
        self.end(client)

    def test_brokenRules(self) -> None:
        """Rules that fail permit nothing, and are in the log once."""

        class Broken:
            def judge(self, access: Any) -> Any:
                raise RuntimeError("broken")

        client, _ = self.lying(rules=Broken())
        self.send(b"?", b"example.com")
        self.send(b"?", TARGET)
        self.assertEqual(self.relay.taken(), [])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIn("dropped: 2 forbidden", self.end(client))

    def test_relays(self) -> None:
        """Where it relays: zeros and names are looked into, IPv6 is as good."""
        self.lying(b"\1\0\0\0\0\x9c\x40")
        self.send(b"?")
        self.assertEqual(len(self.relay.taken()), 1)
        client, far = self.asked(ASSOCIATE)
        self.proxy.reactor.names.add("relay.example", [FAR])
        self.relay = self.mailbox(FAR, RELAY)
        self.tell(far, b"\5\0\0\3\x0drelay.example\x9c\x40")
        self.granted(client)
        self.send(b"?")
        self.assertEqual(len(self.relay.taken()), 1)
        client, far = self.asked(ASSOCIATE)
        box = self.mailbox("2001:db8::20", RELAY)
        self.tell(far, b"\5\0\0\4" + ip_address("2001:db8::20").packed + b"\x9c\x40")
        self.granted(client)
        self.send(b"?")
        self.assertEqual(len(box.taken()), 1)

    def test_nowhere(self) -> None:
        """It relays nowhere, or nobody knows where: 1."""
        for bound in (b"\1\xc0\0\2\x14\0\0", b"\3\x0ano.example\0\x9c\x40"[:-3] + b"\x9c\x40"):
            client, far = self.asked(ASSOCIATE)
            self.tell(far, b"\5\0\0" + bound)
            self.assertFails(client, 1, f"^via {VIA}: ")
            self.assertTrue(far.eof or far.lost)

    def test_refused(self) -> None:
        """Its refusal is ours."""
        for code in (1, 2, 7, 8):
            client, far = self.asked(ASSOCIATE)
            self.tell(far, refused(code))
            self.assertFails(client, code, rf"^via {VIA}: .*\({code}\)")

    def test_lost(self) -> None:
        """Its association's end is ours."""
        for end in ("lose", "loseWrite", "abort"):
            client, far = self.lying()
            getattr(far, end)()
            self.proxy.settle()
            self.assertTrue(client.eof)
            client.lose()
            self.proxy.settle()
            self.assertRegex(self.over(), f"^via {VIA}: its association is lost: Connection")

    def test_silent(self) -> None:
        """There is an end of waiting."""
        client, far = self.asked(ASSOCIATE, settings={"dial_timeout": 3.0})
        self.proxy.reactor.advance(3.1)
        self.assertFails(client, 6, f"^via {VIA}: no answer within 3 s")
        self.assertTrue(far.wasReset)

    def test_clientGone(self) -> None:
        """A client that goes meanwhile takes it along."""
        for end in ("loseWrite", "lose", "abort"):
            client, far = self.asked(ASSOCIATE)
            getattr(client, end)()
            self.proxy.settle()
            self.assertTrue(far.wasReset)
            self.assertRegex(self.over(), "client (closed|reset)")

    def test_clientGoneAtTheName(self) -> None:
        """So does one that goes while the relay's name is looked up."""
        client, far = self.asked(ASSOCIATE)
        self.proxy.reactor.names.add("relay.example", [FAR], delay=1)
        self.tell(far, b"\5\0\0\3\x0drelay.example\x9c\x40")
        client.abort()
        self.proxy.settle()
        self.proxy.reactor.advance(10)
        self.assertTrue(far.eof or far.lost)
        self.over()

    def test_lostAtTheName(self) -> None:
        """The far one goes while its relay's name is looked up: 1."""
        client, far = self.asked(ASSOCIATE)
        self.proxy.reactor.names.add("relay.example", [FAR], delay=1)
        self.tell(far, b"\5\0\0\3\x0drelay.example\x9c\x40")
        far.abort()
        self.proxy.settle()
        self.proxy.reactor.advance(1)
        self.assertFails(client, 1, f"^via {VIA}: its association is lost")
        self.over()

    def test_socks4(self) -> None:
        """SOCKS4 has no such thing: 7, and nothing is sent."""
        liar = self.liar(f"socks4a://{FAR}")
        client = self.proxy.say(GREETING, ASSOCIATE)
        self.assertFails(client, 7, "SOCKS4 has no UDP_ASSOCIATE")
        self.assertEqual(liar.peers, [])

    def test_noSocket(self) -> None:
        """There may be no socket for it: neither to the far one nor to the client."""
        for host in (CLIENT, "192.0.2.10"):
            client, far = self.asked(ASSOCIATE)
            self.proxy.reactor.route(host, error=errno.EADDRNOTAVAIL)
            self.tell(far, b"\5\0\0\1\xc0\0\2\x14\x9c\x40")
            self.assertFails(client, 1, "no port for datagrams")
            self.assertTrue(far.eof or far.lost)

    def test_tooLarge(self) -> None:
        """The far one's header may be one too many."""
        client, _ = self.lying()
        self.send(b"?")
        self.send(bytes(65_490))
        self.assertEqual([len(one) for one in self.relay.taken()], [11, 65_500])
        self.end(client)

    def test_without(self) -> None:
        """A server without a next proxy has nothing to forward to."""
        near = self.forward()
        near.server.via = None
        near.server.commands = {Command.UDP_ASSOCIATE: ForwardedAssociate}
        client = near.say(GREETING, ASSOCIATE)
        self.assertRefused(client, GREETED + refused(1), "internal error")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class StreamFarTests(FarTests):
    """The same on streams."""

    streams = True


class SettingTests(ForwardingCase):
    """Settings that could not be kept."""

    def test_theNextOnes(self) -> None:
        """What the next proxy decides can't be said here."""
        for settings, words in (
            ({"udp_filtering": Filtering.ADDRESS_DEPENDENT}, "UDP filtering"),
            ({"bind_ports": range(2000, 3000)}, "BIND ports"),
        ):
            error = self.assertRaises(ConfigurationError, self.forward, to=None, settings=settings)
            self.assertIn(f"the setting of {words} cannot take effect", str(error))


class ProtectedTests(DatagramCase):
    """GSSAPI on either side, and on both."""

    def test_sides(self) -> None:
        """There and back, at each level of either side."""
        for ours in (None, *LEVELS[:2]):
            for theirs in (None, *LEVELS[:2]):
                via = VIA if theirs is None else self.protectedVia(theirs)
                to: dict[str, Any] = {} if theirs is None else {"portal": self.accepting()}
                portal = None if ours is None else self.accepting()
                near = self.forward(via, portal, to=to)
                near.reactor.names.add("example.com", [TARGET])
                target = self.mailbox(TARGET, 53)
                gss: GSSClient | None = None
                if ours is None:
                    client = self.granted(near.say(GREETING, ASSOCIATE))
                else:
                    gss = GSSClient(near, ordered=False).connect().authenticate().ask(ours)
                    gss.send(ASSOCIATE)
                    client = gss.peer
                    heard = gss.heard()
                    self.bound = ("192.0.2.10", int.from_bytes(heard[-2:], "big"))
                    self.client = self.mailbox()
                for host in (TARGET, b"example.com"):
                    datagram = headed(b"question", host, 53)
                    self.raw(datagram if gss is None else gss.protected(datagram))
                    self.assertEqual(target.taken(), [b"question"])
                    self.answer(target, b"answer")
                    ((got, _),) = self.client.received
                    self.client.received.clear()
                    if gss is not None:
                        gss._read = len(gss.peer.received)
                        gss.peer.received += got
                        got = gss.heard()
                    self.assertEqual(opened(got), (b"answer", (TARGET, 53)))
                client.lose()
                near.settle()
                record = self.record()
                self.assertEqual((record.sent, record.received), (16, 12))

    def test_tampered(self) -> None:
        """What nobody has wrapped, or somebody changed, is dropped, and what can't be wrapped."""
        near = self.forward(self.protectedVia(LEVELS[1]), to={"portal": self.accepting()})
        client = self.granted(near.say(GREETING, ASSOCIATE))
        target = self.mailbox(TARGET, 53)
        seen: list[tuple[Any, bytes, Any]] = []
        transmit = near.reactor.network.transmit

        def watched(item: Any, data: bytes, to: Any) -> None:
            seen.append((item, bytes(data), to))
            transmit(item, data, to)

        self.patch(near.reactor.network, "transmit", watched)
        self.send(b"question")
        self.answer(target, b"answer")
        self.assertEqual(self.heard(), [(b"answer", (TARGET, 53))])
        # Client, near, far, target; and back: it's the far one's answer that comes again.
        item, data, to = seen[4]
        self.assertNotIn(b"answer", data)
        for spoilt in (data, data[:-1] + b"?", headed(b"spoof", TARGET, 53)):
            transmit(item, spoilt, to)
        near.settle()
        self.assertEqual(self.heard(), [])
        self.send(bytes(65_490))
        self.contexts[0].failure = "the context has expired"
        self.send(b"question")
        self.assertEqual(target.taken()[1:], [])
        self.assertIn(
            "dropped: 2 bad token, 1 malformed, 1 too large, 1 without a security context",
            self.end(client),
        )
