"""UDP ASSOCIATE with a proxy that does not do as it should."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.endpoints import clientFromString

from tests.client.base import PROXY, SELECTED, ClientCase, Outcome
from tests.client.test_datagram import App
from tests.client.through import CLIENT, STRANGER
from tests.server.associations import Mailbox, headed
from twisted_socks5.client import Proxy, ProxyClosed, ProxyProtocolError
from twisted_socks5.client.datagram import Association, associate
from twisted_socks5.client.errors import (
    CommandNotSupported,
    NameNotFound,
    NegotiationTimeout,
    SOCKSError,
)
from twisted_socks5.testing import DatagramSocket, PeerFactory
from twisted_socks5.wire import UNSPECIFIED, Address, Command, pack_reply, pack_request

RELAY = Address(IPv4Address(PROXY), 40000)
SOURCE = ("203.0.113.5", 53)


class LyingCase(ClientCase):
    """
    A proxy that says what the test has it say, and a socket at C{RELAY}.

    @ivar relay: that socket.
    """

    def setUp(self) -> None:
        """Have the relay listen."""
        super().setUp()
        self.relay = self.mailbox()

    def mailbox(self, host: str = PROXY, port: int = 40000) -> Mailbox:
        """Have somebody receive datagrams."""
        box = Mailbox()
        self._ports.append(self.reactor.listenUDP(port, box, host, 65536))
        return box

    def asked(self, **options: Any) -> tuple[App, Outcome]:
        """Ask for an association."""
        app = App()
        outcome = Outcome(associate(self.wayToProxy(), app, self.reactor, **options))
        self.settle()
        return app, outcome

    def granted(self, bound: Address = RELAY, **options: Any) -> tuple[App, Association]:
        """Be granted one."""
        app, outcome = self.asked(**options)
        self.say(SELECTED, pack_reply(0, bound))
        association = outcome.result
        self.addCleanup(self.settle)
        self.addCleanup(association.stopListening)
        return app, association

    def greet(self, app: App) -> tuple[str, int]:
        """Send a first datagram; @return: where it came from."""
        app.transport.write(b"hello", SOURCE)
        self.settle()
        self.assertEqual(self.relay.taken(), [headed(b"hello", *SOURCE)])
        return self.relay.last

    def sockets(self) -> int:
        """Count the UDP sockets that are not the test's."""
        return sum(isinstance(each, DatagramSocket) for each in self.reactor.listeners()) - 1


class ReplyTests(LyingCase):
    """What the proxy says of where it relays."""

    def test_request(self) -> None:
        """By default nothing is declared."""
        self.granted()
        wanted = pack_request(Command.UDP_ASSOCIATE, UNSPECIFIED)
        self.assertEqual(self.heard(), b"\5\1\0" + wanted)

    def test_declared(self) -> None:
        """With an interface, our socket is."""
        _, association = self.granted(interface=CLIENT)
        declared = Address(IPv4Address(CLIENT), association.getHost().port)
        wanted = pack_request(Command.UDP_ASSOCIATE, declared)
        self.assertEqual(self.heard(), b"\5\1\0" + wanted)

    def test_zeros(self) -> None:
        """They are the proxy's own address, of whatever family they are."""
        for zeros in (IPv4Address(0), IPv6Address(0)):
            app, association = self.granted(Address(zeros, 40000))
            self.assertEqual(association.relay, RELAY)
            self.greet(app)
            association.stopListening()
            self.settle()
            self.hangUp()

    def test_mapped(self) -> None:
        """IPv4 that is mapped into IPv6 is IPv4."""
        _, association = self.granted(Address(IPv6Address(f"::ffff:{PROXY}"), 40000))
        self.assertEqual(association.relay, RELAY)

    def test_other_host(self) -> None:
        """Another host may relay than the one we are connected to."""
        box = self.mailbox("192.0.2.77", 9)
        app, _ = self.granted(Address(IPv4Address("192.0.2.77"), 9))
        app.transport.write(b"hello", SOURCE)
        self.settle()
        self.assertEqual(box.taken(), [headed(b"hello", *SOURCE)])

    def test_name(self) -> None:
        """A name is looked up here, since there is nobody else to do it."""
        self.reactor.names.add("relay.example", ["2001:db8::77", PROXY], delay=1.0)
        _, outcome = self.asked(interface=CLIENT)
        self.say(SELECTED, pack_reply(0, Address(b"relay.example", 40000)))
        self.assertTrue(outcome.pending)
        self.reactor.advance(1)
        association = outcome.result
        self.assertEqual(association.relay, RELAY)  # the one that the socket can send to
        association.stopListening()

    def test_no_such_name(self) -> None:
        """And may not be found."""
        app, outcome = self.asked()
        self.say(SELECTED, pack_reply(0, Address(b"relay.example", 40000)))
        self.assertIsInstance(outcome.error, NameNotFound)
        self.assertEqual((app.heard, self.sockets()), ([], 0))
        self.assertClosed()

    def test_name_without_answer(self) -> None:
        """Or never be answered, or the proxy goes away in the meantime, or we."""
        self.reactor.names.add("relay.example", silent=True)
        for end, error in (
            (lambda outcome: self.reactor.advance(30), NameNotFound),
            (lambda outcome: self.proxy.abort(), ProxyClosed),
            (lambda outcome: outcome.deferred.cancel(), Exception),
        ):
            app, outcome = self.asked()
            self.say(SELECTED, pack_reply(0, Address(b"relay.example", 40000)))
            end(outcome)
            self.settle()
            self.assertIsInstance(outcome.error, error)
            self.assertEqual((app.heard, self.sockets()), ([], 0))
            self.hangUp()
            self.assertEqual(self.reactor.openConnections(), [])

    def test_port_0(self) -> None:
        """Nothing can be sent to port 0."""
        app, outcome = self.asked(interface=CLIENT)
        self.say(SELECTED, pack_reply(0, Address(IPv4Address(PROXY), 0)))
        self.assertIsInstance(outcome.error, ProxyProtocolError)
        self.assertEqual((app.heard, self.sockets()), ([], 0))
        self.assertClosed()

    def test_other_family(self) -> None:
        """Our socket was bound before, and cannot send there."""
        app, outcome = self.asked(interface=CLIENT)
        self.say(SELECTED, pack_reply(0, Address(IPv6Address("2001:db8::77"), 40000)))
        self.assertIsInstance(outcome.error, SOCKSError)
        self.assertIn("[2001:db8::77]:40000", str(outcome.error))
        self.assertEqual((app.heard, self.sockets()), ([], 0))
        self.assertClosed()

    def test_refused(self) -> None:
        """By a proxy that doesn't do such a thing."""
        app, outcome = self.asked(interface=CLIENT)
        self.say(SELECTED, pack_reply(7))
        self.assertIsInstance(outcome.error, CommandNotSupported)
        self.assertEqual((app.heard, self.sockets()), ([], 0))
        self.assertClosed()

    def test_deadline(self) -> None:
        """By one that says nothing."""
        app, outcome = self.asked(interface=CLIENT)
        self.say(SELECTED)
        self.reactor.advance(30)
        self.assertIsInstance(outcome.error, NegotiationTimeout)
        self.assertEqual((app.heard, self.sockets()), ([], 0))

    def test_talkative(self) -> None:
        """What it says on the control connection means nothing, and is not kept."""
        app, association = self.granted()
        for _ in range(50):
            self.say(b"x" * 10_000)
        self.greet(app)
        self.assertIsNone(self.proxy.lost)
        self.assertEqual(association.drops, {})

    def test_half_closed(self) -> None:
        """Its FIN is the end."""
        app, association = self.granted()
        closed = Outcome(association.whenClosed())
        self.proxy.loseWrite()
        self.settle()
        self.assertIsInstance(closed.error, ProxyClosed)
        self.assertEqual(app.heard, ["start", "stop"])

    def test_lost_at_once(self) -> None:
        """The connection is lost in the turn that brought the reply."""
        app, outcome = self.asked()
        self.say(SELECTED)
        self.proxy.write(pack_reply(0, RELAY))
        self.proxy.abort()
        self.settle()
        if outcome.failures:
            self.assertIsInstance(outcome.error, ProxyClosed)
            self.assertEqual(app.heard, [])
        else:
            self.assertEqual(app.heard, ["start", "stop"])
        self.assertEqual(self.sockets(), 0)


class DatagramTests(LyingCase):
    """What comes as datagrams."""

    def test_from_elsewhere(self) -> None:
        """Nobody but the relay is heard; it is the kernel that drops them."""
        app, association = self.granted()
        ours = self.greet(app)
        for box in (
            self.mailbox(PROXY, 40001),
            self.mailbox(STRANGER, 40000),
            self.mailbox(CLIENT, 40000),
        ):
            box.send(headed(b"spam", *SOURCE), (CLIENT, ours[1]))
        self.settle()
        self.assertEqual(app.received, [])
        self.relay.send(headed(b"answer", *SOURCE), ours)
        self.settle()
        self.assertEqual(app.received, [(b"answer", SOURCE)])
        self.assertEqual(association.drops, {})

    def test_from_elsewhere_early(self) -> None:
        """What had come before our socket was connected is dropped by us."""
        app, outcome = self.asked(interface=CLIENT)
        stranger = self.mailbox(STRANGER, 40000)
        (ours,) = [
            each.local
            for each in self.reactor.listeners()
            if isinstance(each, DatagramSocket) and str((each.local or [""])[0]) == CLIENT
        ]
        assert ours is not None
        self.proxy.write(SELECTED + pack_reply(0, RELAY))
        for _ in range(20):
            if not outcome.pending:
                break
            stranger.send(headed(b"spam", *SOURCE), (CLIENT, ours[1]))
            self.reactor.turn()
        association = outcome.result
        self.settle()
        self.assertEqual(app.received, [])
        self.assertGreater(association.drops["not from the proxy"], 0)
        association.stopListening()

    def test_malformed(self) -> None:
        """No headers, and bad ones."""
        app, association = self.granted()
        ours = self.greet(app)
        bad = (
            b"",
            b"\0\0\0\1",
            b"\0\0\0\1\xcb\0\x71\5\0",
            b"\0\1\0\1\xcb\0\x71\5\0\x35x",
            b"\0\0\0\2\xcb\0\x71\5\0\x35x",
            b"\0\0\0\3\0\0\x35x",
            b"\0\0\0\3\xffshort",
            b"HTTP/1.0 200 OK",
        )
        for octets in bad:
            self.relay.send(octets, ours)
        self.settle()
        self.assertEqual(app.received, [])
        self.assertEqual(association.drops, {"malformed": len(bad)})
        self.relay.send(headed(b"", *SOURCE), ours)
        self.settle()
        self.assertEqual(app.received, [(b"", SOURCE)])

    def test_sources(self) -> None:
        """A source is told as the proxy writes it, but for IPv4 in disguise."""
        app, _ = self.granted()
        ours = self.greet(app)
        for host, shown in (
            (b"ns.example", "ns.example"),
            (b"odd \xff\n", "odd\\x20\\xff\\x0a"),
            ("2001:db8::5", "2001:db8::5"),
            ("::ffff:203.0.113.5", "203.0.113.5"),
        ):
            self.relay.send(headed(b"x", host, 53), ours)
            self.settle()
            self.assertEqual(app.received.pop(), (b"x", (shown, 53)))

    def test_fragments(self) -> None:
        """A proxy that cuts its answers up is understood."""
        app, association = self.granted()
        ours = self.greet(app)
        for payload, frag in ((b"an ", 1), (b"ans", 2), (b"wer", 0x83)):
            self.relay.send(headed(payload, *SOURCE, frag=frag), ours)
        self.settle()
        self.assertEqual(app.received, [(b"an answer", SOURCE)])
        self.assertEqual(association.drops, {})

    def test_fragments_given_up(self) -> None:
        """Those that don't fit together, or come too late, are dropped."""
        app, association = self.granted()
        ours = self.greet(app)
        for payload, frag, after in (
            (b"1", 1, 0.0),
            (b"3", 0x83, 0.0),
            (b"1", 1, 0.0),
            (b"whole", 0, 0.0),
            (b"1", 1, 5.0),
            (b"2", 0x82, 0.0),
        ):
            self.relay.send(headed(payload, *SOURCE, frag=frag), ours)
            self.reactor.advance(after)
        self.assertEqual(app.received, [(b"whole", SOURCE)])
        self.assertEqual(association.drops, {"abandoned fragments": 5})

    def test_cut_after_the_whole(self) -> None:
        """The largest datagram that was asked for is measured once it is whole."""
        app, _ = self.granted(maxPacketSize=5)
        ours = self.greet(app)
        for payload, frag in ((b"1234", 1), (b"5678", 0x82)):
            self.relay.send(headed(payload, *SOURCE, frag=frag), ours)
        self.settle()
        self.assertEqual(app.received, [(b"12345", SOURCE)])

    def test_application_stumbles(self) -> None:
        """An application's mistake is logged, and does no harm to what follows."""
        app, _ = self.granted()
        ours = self.greet(app)
        stumbling = [lambda: 1 // 0]

        def received(datagram: bytes, addr: Any) -> None:
            if stumbling:
                stumbling.pop()()
            app.received.append((datagram, addr))

        app.datagramReceived = received  # type: ignore[method-assign]  # it is a test's
        for payload in (b"one", b"two"):
            self.relay.send(headed(payload, *SOURCE), ours)
        self.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(app.received, [(b"two", SOURCE)])

    @settings(max_examples=60, deadline=None)
    @given(
        st.lists(
            st.one_of(
                st.binary(max_size=40), st.binary(max_size=20).map(lambda tail: b"\0\0" + tail)
            ),
            max_size=20,
        )
    )
    def test_anything(self, datagrams: list[bytes]) -> None:
        """Whatever comes, nothing is raised, and a good datagram behind it arrives."""
        ClientCase.setUp(self)
        self.relay = self.mailbox()
        app, association = self.granted()
        ours = self.greet(app)
        for datagram in datagrams:
            self.relay.send(datagram, ours)
            self.settle()
        app.received.clear()
        self.relay.send(headed(b"good", *SOURCE), ours)
        self.settle()
        self.assertEqual(app.received, [(b"good", SOURCE)])
        association.stopListening()
        self.assertNothingLeft()


class OtherWayTests(LyingCase):
    """Proxies that are reached in another way."""

    def test_proxy_value(self) -> None:
        """A proxy with everything that can be said of one."""
        way = clientFromString(self.reactor, f"tcp:{PROXY}:1080")
        app = App()
        outcome = Outcome(associate(Proxy(way, name="home"), app, self.reactor))
        self.settle()
        self.say(SELECTED, pack_reply(1))
        self.assertIn("home", str(outcome.error))

    def test_factory(self) -> None:
        """The relay's port may be that of the control connection: UDP and TCP are apart."""
        self.listen("192.0.2.11", 1080, PeerFactory())
        box = self.mailbox(PROXY, 1080)
        app, _ = self.granted(Address(IPv4Address(0), 1080))
        app.transport.write(b"hello", SOURCE)
        self.settle()
        self.assertEqual(box.taken(), [headed(b"hello", *SOURCE)])
