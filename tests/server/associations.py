"""An association in memory: a server, its client, and whoever else sends datagrams."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.config import Settings
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.testing import DatagramSocket, MemoryReactor, Peer, PeerFactory, PlainPeer
from twisted_socks5.wire import (
    Address,
    Command,
    Host,
    ReplyMessage,
    pack_header,
    pack_request,
    parse_header,
    parse_reply,
)

PROXY = "192.0.2.10"
STRANGER = "198.51.100.66"
PROXY6 = "2001:db8::10"
# What the network in memory takes for whoever connects.
CLIENT = "192.0.2.1"
CLIENT6 = "2001:db8::1"
TARGET = "203.0.113.5"
TARGET6 = "2001:db8:5::5"

ZEROS = Address(ip_address("0.0.0.0"), 0)

Endpoint = tuple[str, int]


def headed(payload: bytes, host: str | Host, port: int, frag: int = 0) -> bytes:
    """Put a header before a payload."""
    return pack_header(ip_address(host) if isinstance(host, str) else host, port, frag) + payload


def opened(datagram: bytes) -> tuple[bytes, Endpoint]:
    """Take a reply's header off; @return: the payload and its source."""
    frag, kind, host, port, offset = parse_header(datagram)
    if frag or kind == 3:
        raise AssertionError(f"a reply with FRAG {frag} and address type {kind}")
    return datagram[offset:], (str(ip_address(host)), port)


class Mailbox(DatagramProtocol):
    """
    Somebody's UDP socket.

    @ivar received: datagrams and where they came from.
    @ivar last: where the last one came from.
    """

    noisy = False
    transport: Any

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Endpoint]] = []
        self.last: Endpoint = ("", 0)

    def datagramReceived(self, datagram: bytes, addr: Endpoint) -> None:
        """Keep it."""
        self.received.append((datagram, addr))
        self.last = addr

    @property
    def address(self) -> Endpoint:
        """Where it is bound."""
        host = self.transport.getHost()
        return host.host, host.port

    def send(self, datagram: bytes, to: Endpoint) -> None:
        """Send a datagram."""
        self.transport.write(datagram, to)

    def taken(self) -> list[bytes]:
        """Take the datagrams that have come, without their sources."""
        received, self.received = self.received, []
        return [datagram for datagram, _ in received]


class AssociationCase(SynchronousTestCase):
    """
    A server, and at most one association at first.

    @ivar records: the access log.
    @ivar control: the control connection's far side.
    @ivar bound: where the client is told to send to.
    @ivar client: the client's UDP socket.
    """

    def setUp(self) -> None:
        """Make a reactor."""
        self.reactor = MemoryReactor()
        self.records: list[AccessRecord] = []
        self.ports: list[Any] = []
        self.settings: dict[str, Any] = {}
        self.addCleanup(self.assertNothingLeft)

    def assertNothingLeft(self) -> None:
        """What the test itself has opened is all there is, once the sessions have ended."""
        for port in self.ports:
            port.stopListening()
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def serve(self, interface: str = PROXY, port: int = 1080, **options: Any) -> None:
        """Start a server, with C{settings}."""
        self.server = SOCKS5ServerFactory(
            self.reactor,
            Portal(SOCKS5Realm(), [AllowAnonymousAccess()]),
            settings=Settings(**self.settings),
            resolver=self.reactor.names,
            accessLog=self.records.append,
            **options,
        )
        self.ports.append(self.reactor.listenTCP(port, self.server, interface=interface))

    def mailbox(self, host: str = CLIENT, port: int = 0) -> Mailbox:
        """Open a UDP socket."""
        box = Mailbox()
        self.ports.append(self.reactor.listenUDP(port, box, host, 65536))
        return box

    def dial(self, proxy: str = PROXY) -> Peer:
        """Connect to the server."""
        factory = PeerFactory()
        self.reactor.connectTCP(proxy, 1080, factory)
        self.reactor.advance(0)
        return self.watched(factory.peer)

    def watched(self, peer: PlainPeer) -> Peer:
        """Have a control connection end with the test."""
        if not isinstance(peer, Peer):
            raise AssertionError(f"{peer} cannot half-close")
        self.addCleanup(self.reactor.advance, 0)
        self.addCleanup(peer.abort)
        return peer

    def ask(self, peer: Peer, declared: Address = ZEROS, more: bytes = b"") -> ReplyMessage:
        """Ask for an association, and give the reply, which is all there is."""
        peer.write(b"\5\1\0" + pack_request(Command.UDP_ASSOCIATE, declared) + more)
        self.reactor.advance(0)
        self.assertEqual(bytes(peer.received[:2]), b"\5\0")
        found = parse_reply(bytes(peer.received), 2)
        if found is None:
            raise AssertionError(f"no reply: {peer.received!r}")
        self.assertEqual(found[1], len(peer.received))
        return found[0]

    def associate(self, declared: Address = ZEROS, proxy: str = PROXY, **options: Any) -> None:
        """Serve, if that isn't done, and associate."""
        if not hasattr(self, "server"):
            self.serve(proxy, **options)
        self.control = self.dial(proxy)
        reply = self.ask(self.control, declared)
        self.assertEqual(reply.reply, 0)
        self.bound = (str(reply.bound.host), reply.bound.port)
        self.client = self.mailbox(CLIENT6 if ":" in proxy else CLIENT)

    def send(
        self, payload: bytes, host: str | Host = TARGET, port: int = 53, frag: int = 0
    ) -> None:
        """Send a datagram to the relay as the client."""
        self.raw(headed(payload, host, port, frag))

    def raw(self, datagram: bytes) -> None:
        """Send anything to the relay as the client."""
        self.client.send(datagram, self.bound)
        self.reactor.advance(0)

    def answer(self, box: Mailbox, payload: bytes) -> None:
        """Send a datagram to whom the mailbox got its last one from."""
        box.send(payload, box.last)
        self.reactor.advance(0)

    def heard(self) -> list[tuple[bytes, Endpoint]]:
        """Take what the client has received from the relay: payloads and sources."""
        received, self.client.received = self.client.received, []
        self.assertEqual({source for _, source in received} - {self.bound}, set())
        return [opened(datagram) for datagram, _ in received]

    def end(self) -> str:
        """End the association as a client does, and tell what the access log says of it."""
        self.control.lose()
        self.reactor.advance(0)
        return self.reason()

    def reason(self) -> str:
        """Tell why the only session that has ended did, and that nothing of it is left."""
        (record,) = self.records
        self.assertEqual(self.proxySockets(), [])
        self.assertEqual(self.server.sessions, set())
        return record.reason

    def proxySockets(self) -> list[DatagramSocket]:
        """Tell which UDP sockets are not the test's own."""
        own = {(ip_address(box.getHost().host), box.getHost().port) for box in self.ports}
        found = [each for each in self.reactor.listeners() if isinstance(each, DatagramSocket)]
        return [each for each in found if each.local not in own]
