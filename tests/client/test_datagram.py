"""UDP ASSOCIATE as a transport, against our own server."""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.error import (
    CannotListenError,
    ConnectingCancelledError,
    InvalidAddressError,
    MessageLengthError,
)
from twisted.internet.interfaces import IListeningPort, IUDPTransport
from twisted.internet.protocol import DatagramProtocol
from twisted.names import client as names
from twisted.names import dns
from zope.interface.verify import verifyObject

from tests.client.base import Outcome
from tests.client.through import CLIENT, PROXY, PROXY6, TARGET, TARGET6, ThroughCase
from tests.server.associations import Mailbox
from twisted_socks5.client.datagram import MAX_WAITING, Association, associate
from twisted_socks5.client.errors import CommandNotSupported, ProxyClosed
from twisted_socks5.client.reactor import SOCKS5Reactor
from twisted_socks5.testing import DatagramSocket


class App(Mailbox):
    """
    An application's protocol.

    @ivar heard: C{"start"}, C{"stop"} and C{"refused"}.
    """

    def __init__(self) -> None:
        super().__init__()
        self.heard: list[str] = []

    def startProtocol(self) -> None:
        """Note it."""
        self.heard.append("start")

    def stopProtocol(self) -> None:
        """Note it."""
        self.heard.append("stop")

    def connectionRefused(self) -> None:
        """Note it."""
        self.heard.append("refused")


class AssociationCase(ThroughCase):
    """A server, and associations with it."""

    def setUp(self) -> None:
        """Serve."""
        super().setUp()
        self.server = self.serve()

    def box(self, host: str = TARGET, port: int = 53) -> Mailbox:
        """Have somebody receive datagrams."""
        box = Mailbox()
        self.ports.append(self.reactor.listenUDP(port, box, host, 65536))
        return box

    def associated(self, proxy: Any = None, **options: Any) -> tuple[App, Association]:
        """Associate."""
        app = App()
        outcome = Outcome(associate(proxy or self.proxy(), app, self.reactor, **options))
        self.settle()
        association = outcome.result
        self.addCleanup(association.stopListening)
        return app, association

    def send(self, app: App, payload: bytes, where: tuple[str, int]) -> None:
        """Send a datagram, and let it arrive."""
        app.transport.write(payload, where)
        self.settle()

    def sockets(self) -> list[DatagramSocket]:
        """Tell which UDP sockets there are."""
        return [each for each in self.reactor.listeners() if isinstance(each, DatagramSocket)]


class TransportTests(AssociationCase):
    """What an application sees."""

    def test_interfaces(self) -> None:
        """It is what Twisted knows."""
        _, association = self.associated()
        verifyObject(IUDPTransport, association)
        verifyObject(IListeningPort, association)

    def test_to_and_fro(self) -> None:
        """To an address, and what it answers."""
        box = self.box()
        app, association = self.associated()
        self.assertEqual(app.heard, ["start"])
        self.assertIs(app.transport, association)
        for payload in (b"question", b"", b"x" * 60_000):
            self.send(app, payload, (TARGET, 53))
            self.assertEqual(box.taken(), [payload])
            box.send(payload[::-1], box.last)
            self.settle()
            self.assertEqual(app.received, [(payload[::-1], (TARGET, 53))])
            app.received.clear()
        self.assertEqual(association.drops, {})

    def test_sequence(self) -> None:
        """A datagram that comes in pieces."""
        box = self.box()
        _, association = self.associated()
        association.writeSequence([b"a", b"b"], (TARGET, 53))
        self.settle()
        self.assertEqual(box.taken(), [b"ab"])

    def test_name(self) -> None:
        """Names go to the proxy; answers come from addresses."""
        self.reactor.names.add("ns.example", [TARGET])
        box = self.box()
        app, _ = self.associated()
        self.send(app, b"question", ("NS.example.", 53))
        self.assertEqual(self.reactor.names.lookups, ["ns.example"])
        box.send(b"answer", box.last)
        self.settle()
        self.assertEqual(app.received, [(b"answer", (TARGET, 53))])

    def test_ipv6_target(self) -> None:
        """IPv6 targets by an IPv4 proxy."""
        box = self.box(TARGET6)
        app, _ = self.associated()
        self.send(app, b"question", (TARGET6.upper(), 53))
        box.send(b"answer", box.last)
        self.settle()
        self.assertEqual(app.received, [(b"answer", (TARGET6, 53))])

    def test_ipv6_proxy(self) -> None:
        """And the other way round."""
        self.serve(PROXY6)
        box = self.box()
        app, association = self.associated(self.proxy(PROXY6))
        self.assertIsInstance(association.getHost(), IPv6Address)
        self.send(app, b"question", (TARGET, 53))
        self.assertEqual(box.taken(), [b"question"])

    def test_addresses(self) -> None:
        """What it says of where it is."""
        _, association = self.associated()
        host = association.getHost()
        self.assertEqual((host.type, host.host), ("UDP", "0.0.0.0"))  # a kernel would know more
        assert association.relay is not None
        self.assertEqual(str(association.relay.host), PROXY)

    def test_cut(self) -> None:
        """What is longer than was asked for is cut, as by C{listenUDP}."""
        box = self.box()
        app, _ = self.associated(maxPacketSize=4)
        self.send(app, b"123456789", (TARGET, 53))
        box.send(b"123456789", box.last)
        self.settle()
        self.assertEqual(app.received, [(b"1234", (TARGET, 53))])

    def test_too_large(self) -> None:
        """With its header it does not fit into a datagram."""
        app, _ = self.associated()
        self.assertRaises(MessageLengthError, app.transport.write, bytes(65_507), (TARGET, 53))

    def test_fragments(self) -> None:
        """What is too large for us goes in fragments, where that was asked for."""
        box = self.box()
        app, _ = self.associated(fragmentSize=1000)
        for size in (990, 991, 65_497):
            payload = bytes(index % 251 for index in range(size))
            self.send(app, payload, (TARGET, 53))
            self.assertEqual(box.taken(), [payload])
        _, small = self.associated(fragmentSize=20)
        self.assertRaises(MessageLengthError, small.write, bytes(1271), (TARGET, 53))

    def test_nowhere(self) -> None:
        """What cannot be a target, is none."""
        app, _ = self.associated()
        for host in ("", "two words", "a" * 254, "fe80::1%eth0"):
            self.assertRaises(InvalidAddressError, app.transport.write, b"", (host, 1))
        self.assertRaises(InvalidAddressError, app.transport.write, b"", (TARGET, 65536))
        self.assertRaises(ValueError, app.transport.write, b"")

    def test_connected(self) -> None:
        """Only to one address, and from it."""
        box, other = self.box(), self.box("203.0.113.6")
        app, association = self.associated()
        app.transport.connect(TARGET, 53)
        self.send(app, b"question", (TARGET, 53))
        app.transport.write(b"another")
        self.settle()
        self.assertEqual(box.taken(), [b"question", b"another"])
        self.assertRaises(ValueError, app.transport.write, b"", ("203.0.113.6", 53))
        other.send(b"spam", box.last)
        box.send(b"answer", box.last)
        self.settle()
        self.assertEqual(app.received, [(b"answer", (TARGET, 53))])
        self.assertEqual(association.drops, {"not from the connected address": 1})
        self.assertRaises(RuntimeError, app.transport.connect, TARGET, 54)

    def test_connect_wants_an_address(self) -> None:
        """By a name nobody could tell whose datagrams come back."""
        app, _ = self.associated()
        self.assertRaises(InvalidAddressError, app.transport.connect, "ns.example", 53)
        self.assertRaises(InvalidAddressError, app.transport.connect, TARGET, 65536)
        app.transport.connect(TARGET6.upper(), 53)
        app.transport.write(b"question")

    def test_unsupported(self) -> None:
        """What no proxy can do."""
        app, association = self.associated()
        self.assertFalse(app.transport.getBroadcastAllowed())
        app.transport.setBroadcastAllowed(False)
        self.assertRaises(OSError, app.transport.setBroadcastAllowed, True)
        self.assertRaises(OSError, association.joinGroup, "224.0.0.1")
        self.assertRaises(OSError, association.setTTL, 3)
        self.assertRaises(OSError, association.setLoopbackMode, True)

    def test_declared(self) -> None:
        """With an interface the proxy is told who will send, and then takes nobody else."""
        box = self.box()
        app, association = self.associated(interface=CLIENT)
        own = association.getHost()
        self.assertEqual(own.host, CLIENT)
        thief = self.box(CLIENT, 4000)
        assert association.relay is not None
        thief.send(b"\0\0\0\1\xcb\0\x71\5\0\x35stolen", (PROXY, association.relay.port))
        self.settle()
        self.assertEqual(box.taken(), [])
        self.send(app, b"question", (TARGET, 53))
        self.assertEqual(box.taken(), [b"question"])

    def test_not_declared(self) -> None:
        """Unless there is a NAT in between."""
        _, association = self.associated(interface=CLIENT, declare=False)
        box = self.box()
        other = self.box(CLIENT, 4000)
        assert association.relay is not None
        other.send(b"\0\0\0\1\xcb\0\x71\5\0\x35rewritten", (PROXY, association.relay.port))
        self.settle()
        self.assertEqual(box.taken(), [b"rewritten"])

    def test_refused(self) -> None:
        """That nobody relays there any more is told to who is connected."""
        app, association = self.associated()
        for connected in (False, True):
            if connected:
                app.transport.connect(TARGET, 53)
            association._socket.protocol.connectionRefused()
        self.assertEqual(app.heard, ["start", "refused"])

    def test_chain(self) -> None:
        """Datagrams to a proxy, through another proxy."""
        self.serve("192.0.2.11")
        box = self.box()
        app = App()
        near = self.proxy()
        outcome = Outcome(
            associate(self.proxy("192.0.2.11"), app, SOCKS5Reactor(self.reactor, near))
        )
        self.settle()
        association = outcome.result
        self.send(app, b"question", (TARGET, 53))
        self.settle()
        self.assertEqual(box.taken(), [b"question"])
        box.send(b"answer", box.last)
        self.settle()
        self.assertEqual(app.received, [(b"answer", (TARGET, 53))])
        association.stopListening()
        self.settle()
        commands = [(record.command, record.client) for record in self.records]
        self.assertEqual(len(commands), 2)
        self.assertEqual({record.command for record in self.records}, {"UDP_ASSOCIATE"})

    def test_chain_broken(self) -> None:
        """The nearer proxy goes away, and takes the way to the farther one along."""
        self.serve("192.0.2.11")
        app = App()
        through = SOCKS5Reactor(self.reactor, self.proxy())
        outcome = Outcome(associate(self.proxy("192.0.2.11"), app, through))
        self.settle()
        closed = Outcome(outcome.result.whenClosed())
        for session in list(self.server.sessions):
            session.transport.abortConnection()
        self.settle()
        self.assertIsInstance(closed.error, ProxyClosed)
        self.assertEqual(app.heard, ["start", "stop"])
        self.assertEqual(self.reactor.openConnections(), [])


class DNSTests(AssociationCase):
    """Twisted's DNS client, as it is."""

    def test_query(self) -> None:
        """C{DNSDatagramProtocol} on an association."""
        box = self.box()
        controller = names.Resolver(servers=[(TARGET, 53)], reactor=self.reactor)
        protocol = dns.DNSDatagramProtocol(controller, reactor=self.reactor)
        protocol.noisy = False
        outcome = Outcome(associate(self.proxy(), protocol, self.reactor))
        self.settle()
        answer = Outcome(protocol.query((TARGET, 53), [dns.Query(b"example.com")]))
        self.settle()
        message = dns.Message()
        message.fromStr(box.taken()[0])
        message.answer = 1
        message.answers = [dns.RRHeader(b"example.com", payload=dns.Record_A("192.0.2.77"))]
        box.send(message.toStr(), box.last)
        self.settle()
        self.assertEqual(answer.result.answers[0].payload.dottedQuad(), "192.0.2.77")
        outcome.result.stopListening()
        self.settle()
        self.assertIsNone(protocol.transport)


class EndTests(AssociationCase):
    """How an association ends."""

    def test_stopped(self) -> None:
        """By us: the socket and the control connection are closed."""
        app, association = self.associated()
        closed = Outcome(association.whenClosed())
        stopped = association.stopListening()
        assert stopped is not None
        self.assertIsNone(association.stopListening())
        outcome = Outcome(stopped)
        self.settle()
        self.assertIsNone(outcome.result)
        self.assertIsNone(closed.result)
        self.assertEqual(app.heard, ["start", "stop"])
        self.assertIsNone(app.transport)
        self.assertEqual(self.sockets(), [])
        self.assertEqual(self.records[-1].reason.partition(";")[0], "client closed")
        association.write(b"too late", (TARGET, 53))
        self.assertEqual(association.drops, {"after the end": 1})
        self.assertRaises(RuntimeError, association.startListening)

    def test_start_listening(self) -> None:
        """It listens from the beginning."""
        self.associated()[1].startListening()

    def test_stopped_from_within(self) -> None:
        """By a protocol that goes on with its transport afterwards."""
        box = self.box()
        app, association = self.associated()
        seen: list[Any] = []

        def received(datagram: bytes, addr: Any) -> None:
            app.transport.loseConnection()
            seen.append(app.transport)
            app.transport.write(b"a last word", addr)

        app.datagramReceived = received  # type: ignore[method-assign]  # it is a test's
        self.send(app, b"question", (TARGET, 53))
        box.taken()
        box.send(b"one", box.last)
        box.send(b"two", box.last)
        self.settle()
        self.assertEqual(seen, [association])
        self.assertEqual(app.heard, ["start", "stop"])

    def test_lost(self) -> None:
        """The proxy goes away: the protocol is stopped, and who asks is told why."""
        app, association = self.associated()
        closed = Outcome(association.whenClosed())
        for session in list(self.server.sessions):
            session.transport.abortConnection()
        self.settle()
        self.assertIsInstance(closed.error, ProxyClosed)
        self.assertIn("192.0.2.10:1080", str(closed.error))
        self.assertEqual(app.heard, ["start", "stop"])
        self.assertEqual(self.sockets(), [])
        self.assertIn("over", repr(association))
        self.assertIsInstance(Outcome(association.whenClosed()).error, ProxyClosed)

    def test_idle(self) -> None:
        """A proxy that ends what is not used."""
        app, _ = self.associated()
        self.reactor.advance(301)
        self.assertEqual(app.heard, ["start", "stop"])

    def test_refused(self) -> None:
        """A proxy that does not relay datagrams."""
        app = App()
        proxy = self.proxy(version=4)
        outcome = Outcome(associate(proxy, app, self.reactor))
        self.settle()
        self.assertIsNotNone(outcome.error)
        self.assertEqual((app.heard, self.sockets()), ([], []))

    def test_no_proxy(self) -> None:
        """None at all; the socket that was open already is closed."""
        app = App()
        outcome = Outcome(associate(self.proxy("192.0.2.99"), app, self.reactor, interface=CLIENT))
        self.settle()
        self.assertNotIsInstance(outcome.error, CommandNotSupported)
        self.assertEqual((app.heard, self.sockets()), ([], []))

    def test_no_socket(self) -> None:
        """There is no such address here."""
        self.reactor.route("192.0.2.200", error=99)
        outcome = Outcome(associate(self.proxy(), App(), self.reactor, interface="192.0.2.200"))
        self.settle()
        self.assertIsInstance(outcome.error, CannotListenError)
        bad = Outcome(associate(self.proxy(), App(), self.reactor, interface="nowhere"))
        self.settle()
        self.assertIsInstance(bad.error, ValueError)

    def test_starting_fails(self) -> None:
        """A protocol that cannot begin has no association."""
        protocol = DatagramProtocol()
        protocol.noisy = False
        protocol.startProtocol = lambda: 1 // 0  # type: ignore[method-assign]  # it is a test's
        outcome = Outcome(associate(self.proxy(), protocol, self.reactor))
        self.settle()
        self.assertIsInstance(outcome.error, ZeroDivisionError)
        self.assertEqual(self.sockets(), [])

    def test_cancelled(self) -> None:
        """Calling it off at each step leaves nothing."""
        for options in ({}, {"interface": CLIENT}):
            for steps in range(12):
                app = App()
                outcome = Outcome(associate(self.proxy(), app, self.reactor, **options))  # type: ignore[arg-type]  # all of them take it
                for _ in range(steps):
                    self.reactor.turn()
                if not outcome.pending:
                    outcome.result.stopListening()
                    break
                outcome.deferred.cancel()
                self.assertIsInstance(outcome.error, ConnectingCancelledError)
                self.settle()
                self.assertEqual((app.heard, self.sockets()), ([], []))
                self.assertEqual(self.reactor.openConnections(), [])
            self.assertGreater(steps, 3)
            self.settle()


class PendingTests(AssociationCase):
    """A transport that is there before the association is, as for C{listenUDP}."""

    def pending(self) -> tuple[App, Association]:
        """Begin."""
        app = App()
        association = Association(app, self.reactor)
        association.start()
        association.open(self.proxy()).addErrback(lambda _: None)
        return app, association

    def test_waiting(self) -> None:
        """What is sent meanwhile waits, in order."""
        box = self.box()
        app, association = self.pending()
        self.assertEqual(app.heard, ["start"])
        self.assertIn("opening", repr(association))
        self.assertEqual(association.getHost(), IPv4Address("UDP", "0.0.0.0", 0))
        for number in range(5):
            app.transport.write(b"%d" % number, (TARGET, 53))
        self.settle()
        self.assertEqual(box.taken(), [b"0", b"1", b"2", b"3", b"4"])
        association.stopListening()

    def test_bounded(self) -> None:
        """But not without end."""
        box = self.box()
        app, association = self.pending()
        for number in range(MAX_WAITING + 5):
            app.transport.write(b"%d" % number, (TARGET, 53))
        app.transport.write(bytes(65_507), (TARGET, 53))
        self.settle()
        self.assertEqual(len(box.taken()), MAX_WAITING)
        self.assertEqual(association.drops, {"too many before the reply": 6})
        association.stopListening()

    def test_too_large(self) -> None:
        """One that turns out to be too large is no hindrance to the others."""
        box = self.box()
        app, association = self.pending()
        app.transport.write(bytes(65_507), (TARGET, 53))
        app.transport.write(b"next", (TARGET, 53))
        self.settle()
        self.assertEqual(box.taken(), [b"next"])
        self.assertEqual(association.drops, {"too large": 1})
        association.stopListening()

    def test_stopped(self) -> None:
        """It can be stopped at each step."""
        for steps in range(10):
            app, association = self.pending()
            for _ in range(steps):
                self.reactor.turn()
            closed = Outcome(association.whenClosed())
            stopped = association.stopListening()
            self.assertEqual(app.heard, ["start"])
            self.settle()
            assert stopped is not None
            self.assertIsNone(Outcome(stopped).result)
            self.assertIsNone(closed.result)
            self.assertEqual(app.heard, ["start", "stop"])
            self.assertEqual((self.sockets(), self.reactor.openConnections()), ([], []))
