"""An association in memory: a server, its client, and whoever else sends datagrams."""

from __future__ import annotations


from ipaddress import ip_address
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet.interfaces import IListeningPort
from twisted.internet.protocol import DatagramProtocol
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.config import Settings
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.server.associate import Associate
from twisted_socks5.testing import DatagramSocket, MemoryReactor, Peer, PeerFactory
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
CLIENT = "192.0.2.1"  # what the network in memory takes for whoever connects
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
    """

    noisy = False
    transport: Any

    def __init__(self) -> None:
        self.received: list[tuple[bytes, Endpoint]] = []

    def datagramReceived(self, datagram: bytes, addr: Endpoint) -> None:
        """Keep it."""
        self.received.append((datagram, addr))

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
        self.ports: list[IListeningPort] = []
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

    def control_(self, proxy: str = PROXY) -> Peer:
        """Connect to the server."""
        factory = PeerFactory()
        self.reactor.connectTCP(proxy, 1080, factory)
        self.reactor.advance(0)
        peer = factory.peer
        assert isinstance(peer, Peer)
        self.addCleanup(self.reactor.advance, 0)
        self.addCleanup(peer.abort)
        return peer

    def ask(self, peer: Peer, declared: Address = ZEROS, more: bytes = b"") -> ReplyMessage:
        """Ask for an association, and give the reply."""
        request = pack_request(Command.UDP_ASSOCIATE, declared)
        peer.write(b"\5\1\0" + request + more)
        self.reactor.advance(0)
        self.assertEqual(bytes(peer.received[:2]), b"\5\0")
        found = parse_reply(bytes(peer.received), 2)
        assert found is not None, bytes(peer.received)
        self.assertEqual(found[1], len(peer.received))
        return found[0]

    def associate(self, declared: Address = ZEROS, **options: Any) -> None:
        """Serve, if that isn't done, and associate."""
        if not hasattr(self, "server"):
            self.serve(**options)
        self.control = self.control_()
        reply = self.ask(self.control, declared)
        self.assertEqual(reply.reply, 0)
        self.bound = (str(reply.bound.host), reply.bound.port)
        self.client = self.mailbox()

    def send(
        self, payload: bytes, host: str | Host = TARGET, port: int = 53, frag: int = 0
    ) -> None:
        """Send a datagram to the relay as the client."""
        self.client.send(headed(payload, host, port, frag), self.bound)
        self.reactor.advance(0)

    def drops(self) -> dict[str, int]:
        """Tell what was dropped so far."""
        (session,) = self.server.sessions
        undertaking = session._undertaking
        assert isinstance(undertaking, Associate)
        return dict(undertaking._relay.drops)

    def targetSockets(self) -> list[DatagramSocket]:
        """Tell which sockets the proxy has for targets."""
        own = {box.getHost().port for box in self.ports}
        return [
            each
            for each in self.reactor.listeners()
            if isinstance(each, DatagramSocket)
            and each.local is not None
            and each.local[1] not in own | {self.bound[1]}
        ]
