"""BIND and UDP ASSOCIATE under GSSAPI, against our own server."""

from __future__ import annotations

from typing import Any

from twisted.internet.error import MessageLengthError

from tests.client.base import Application, Outcome
from tests.client.test_datagram import App
from tests.client.through import TARGET, ThroughCase
from tests.server.associations import Mailbox
from tests.server.gssclients import Acceptor, principals
from twisted_socks5.client import GSSAPI, Proxy
from twisted_socks5.client.datagram import associate
from twisted_socks5.client.listening import SOCKS5ServerEndpoint
from twisted_socks5.testing import MemoryContext
from twisted_socks5.wire import ProtectionLevel


class ProtectedCase(ThroughCase):
    """
    A server that wants GSSAPI.

    @ivar contexts: the client's.
    """

    def serveProtected(self, *, ordered: bool) -> Proxy:
        """Start it; @return: how the client reaches it."""
        self.contexts: list[MemoryContext] = []
        self.serve(portal=principals(Acceptor(ordered=ordered)))

        def context(service: str, sequence: bool) -> MemoryContext:
            self.assertEqual(sequence, ordered)
            self.contexts.append(MemoryContext("alice", initiates=True, ordered=sequence))
            return self.contexts[-1]

        return self.proxy(authentication=(GSSAPI(context=context),))

    def sealedOnly(self) -> Proxy:
        """Start one whose datagrams are protected."""
        return self.serveProtected(ordered=False)


class BindTests(ProtectedCase):
    """BIND."""

    def test_accepted(self) -> None:
        """Both replies and all octets are protected."""
        application = Application()
        endpoint = SOCKS5ServerEndpoint(
            self.serveProtected(ordered=True), TARGET, reactor=self.reactor
        )
        outcome = Outcome(endpoint.listen(application))
        self.reactor.advance(1)
        port = outcome.result
        peer = self.comer(port.getHost())
        peer.write(b"from the peer" * 10_000)
        self.reactor.advance(1)
        application.peer.write(b"from us" * 10_000)
        self.reactor.advance(1)
        self.assertEqual(application.peer.received, b"from the peer" * 10_000)
        self.assertEqual(peer.received, b"from us" * 10_000)
        self.assertGreater(self.contexts[0].unwrapped, 3)
        application.peer.lose()
        self.reactor.advance(1)
        self.assertTrue(peer.eof)

    def test_stopped(self) -> None:
        """Stopping it leaves nothing."""
        endpoint = SOCKS5ServerEndpoint(
            self.serveProtected(ordered=True), TARGET, reactor=self.reactor
        )
        outcome = Outcome(endpoint.listen(Application()))
        self.reactor.advance(1)
        outcome.result.stopListening()
        self.reactor.advance(6)
        self.assertTrue(self.contexts[0].disposed)


class AssociationTests(ProtectedCase):
    """UDP ASSOCIATE."""

    def associated(self, **options: Any) -> tuple[App, Any, Mailbox]:
        """Associate; @return: the application, the association and a target."""
        app, box = App(), Mailbox()
        self.ports.append(self.reactor.listenUDP(53, box, TARGET, 65536))
        outcome = Outcome(associate(self.sealedOnly(), app, self.reactor, **options))
        self.reactor.advance(1)
        self.addCleanup(self.reactor.advance, 6)
        self.addCleanup(outcome.result.stopListening)
        return app, outcome.result, box

    def test_to_and_fro(self) -> None:
        """Each datagram is protected, headers and all."""
        app, association, box = self.associated()
        seen: list[bytes] = []
        network = self.reactor.network
        transmit = network.transmit

        def watched(item: Any, data: bytes, to: Any) -> None:
            seen.append(bytes(data))
            transmit(item, data, to)

        self.patch(network, "transmit", watched)
        for payload in (b"a question", b"", bytes(30_000)):
            app.transport.write(payload, (TARGET, 53))
            self.reactor.advance(1)
            self.assertEqual(box.taken(), [payload])
            box.send(payload + b"!", box.last)
            self.reactor.advance(1)
            self.assertEqual(app.received.pop(), (payload + b"!", (TARGET, 53)))
        self.assertNotIn(b"a question", seen[0])
        self.assertEqual(seen[0][:2], b"\1\3")
        self.assertEqual(association.drops, {})
        self.assertEqual(association._control.encapsulation.level, ProtectionLevel.CONFIDENTIALITY)

    def test_fragments(self) -> None:
        """What is cut up is protected piece by piece."""
        app, _, box = self.associated(fragmentSize=500)
        payload = bytes(range(256)) * 10
        app.transport.write(payload, (TARGET, 53))
        self.reactor.advance(1)
        self.assertEqual(box.taken(), [payload])

    def test_forged(self) -> None:
        """What is not protected, tampered with, or sent twice, is dropped."""
        app, association, box = self.associated()
        app.transport.write(b"question", (TARGET, 53))
        self.reactor.advance(1)
        received = association._socket.protocol.datagramReceived
        relay = association._peer
        good: list[bytes] = []
        self.patch(association._socket.protocol, "datagramReceived", lambda d, a: good.append(d))
        box.send(b"answer", box.last)
        self.reactor.advance(1)
        (datagram,) = good
        received(b"\0\0\0\1\xcb\0\x71\5\0\x35plain", relay)
        received(datagram[:-1] + bytes((datagram[-1] ^ 1,)), relay)
        received(datagram, relay)
        received(datagram, relay)
        self.assertEqual(app.received, [(b"answer", (TARGET, 53))])
        self.assertEqual(association.drops, {"malformed": 1, "bad token": 2})

    def test_too_large(self) -> None:
        """Wrapped it does not fit."""
        app, _, _ = self.associated()
        self.assertRaises(MessageLengthError, app.transport.write, bytes(65_490), (TARGET, 53))

    def test_expired(self) -> None:
        """Without a context nothing is sent."""
        app, association, box = self.associated()
        self.contexts[0].failure = "the ticket has expired"
        app.transport.write(b"question", (TARGET, 53))
        self.reactor.advance(1)
        self.assertEqual(box.taken(), [])
        self.assertEqual(association.drops, {"without a security context": 1})
        self.contexts[0].failure = ""
