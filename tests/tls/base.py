"""A server's side of TLS in memory, and the client at its other end."""

from __future__ import annotations

import socket
from typing import Any, cast

from OpenSSL import SSL
from twisted.internet.address import IPv4Address
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import Issued, clientContext, theProxy
from tests.tls.peers import TLSPeer
from twisted_socks5.streams import ReactorWatch, Stream
from twisted_socks5.testing import MemoryReactor, MemoryTransport, Peer, PlainPeer
from twisted_socks5.tls.contexts import Contexts
from twisted_socks5.tls.layer import TLSTransport
from twisted_socks5.tls.pem import Authorities, Identity

FAR = IPv4Address("TCP", "192.0.2.1", 49_151)
NEAR = IPv4Address("TCP", "192.0.2.2", 1080)

VERSIONS = (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION)


def contexts(
    *issued: Issued, authorities: Authorities | None = None, required: bool = True
) -> Contexts:
    """Make the contexts of a server with these certificates, or the proxy's."""
    identities = [
        Identity(each.certificate, each.key, (), "proxy.pem") for each in issued or (theProxy(),)
    ]
    return Contexts(identities, authorities, required)


class TLSCase(SynchronousTestCase):
    """
    Connects clients.

    @ivar reactor: the network.
    @ivar client: the client.
    @ivar near: the protocol that has TLS for its transport.
    @ivar layer: that transport.
    @ivar refused: the layers whose handshake has failed.
    """

    def connect(
        self,
        client: Any = None,
        server: Contexts | None = None,
        near: PlainPeer | None = None,
        stream: bool = True,
        **options: Any,
    ) -> None:
        """Connect a client, and let happen what happens at once."""
        self.reactor = MemoryReactor(**options)
        self.client = client or TLSPeer(clientContext())
        self.near: Any = near or Peer()
        self.refused: list[TLSTransport] = []
        connection = (server or contexts()).connection()
        self.layer = TLSTransport(connection, self.near, self.refused.append)
        if not stream:
            self.reactor.connectPair(self.client, self.layer)
        else:
            there, here = self.reactor.socketPair(FAR, NEAR)
            self.client.makeConnection(
                MemoryTransport(there, self.client, self.reactor, FAR, NEAR)
            )
            below = Stream(ReactorWatch(self.reactor), cast(socket.socket, here), self.layer)
            self.reactor.addReader(below)
            self.layer.makeConnection(below)
        self.settle()

    def settle(self) -> None:
        """Let happen what happens at once."""
        self.reactor.advance(0)

    def assertNothingLeft(self) -> None:
        """Assert that both sides are closed."""
        self.assertEqual(self.reactor.leftOver(), [])
        self.assertIsNone(self.layer._connection)
