"""Endpoints, and the strings that describe them."""

from __future__ import annotations

import os
from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.protocol import ServerFactory

from tests.tls.authority import PROXY, clientContext, theAuthority, theProxy
from tests.tls.peers import TLSPeer
from tests.tls.test_pem import FilesCase
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory
from twisted_socks5.tls import TLSFactory, TLSServerEndpoint, TLSTransport, endpoint, isTLS
from twisted_socks5.tls.endpoint import LINGER, endpointFromString, parse


class Silent(ServerFactory):
    """A factory that takes nobody."""

    def buildProtocol(self, addr: object) -> Any:
        """Take nobody."""


class DescriptionTests(FilesCase):
    """What C{--listen} takes."""

    def setUp(self) -> None:
        """Write files with names that must be quoted."""
        super().setUp()
        self.key, self.certificate = theProxy().write(self.place, "own")
        self.ca = self.write("ca.pem", theAuthority().pem)
        self.crl = self.write("crl.pem", theAuthority().revoke())
        self.own = f"privateKey={self.key}:certKey={self.certificate}"

    def endpoint(self, description: str) -> TLSServerEndpoint:
        """Make an endpoint."""
        self.assertTrue(isTLS(description))
        return endpointFromString(MemoryReactor(), description)

    def where(self, endpoint: TLSServerEndpoint) -> tuple[type, Any, Any, Any]:
        """Say where it listens."""
        below: Any = endpoint._endpoint
        return type(below), below._port, below._backlog, below._interface

    def test_parse(self) -> None:
        """Fields, names, and what is behind a backslash."""
        for text, found in (
            ("ssl:1080:a=b", (["ssl", "1080"], {"a": "b"})),
            (r"tls:C\:\\dir:1:i=\:\:=1", (["tls", r"C:\dir", "1"], {"i": "::=1"})),
            (r"a\=b::c=", (["a=b", ""], {"c": ""})),
        ):
            self.assertEqual(parse(text), found)
        for text, why in (("a:b=1:b=2", "b= is there twice"), ("a\\", "with a backslash")):
            self.assertSays(why, parse, text)

    def test_ours(self) -> None:
        """C{ssl:} and C{tls:}, and no others."""
        for text in ("ssl:1", "tls:x:1", "SSL:1", "TLS:x:1"):
            self.assertTrue(isTLS(text))
        for text in ("tcp:1", "haproxy:ssl:1", "tlsx:1", "1080", ""):
            self.assertFalse(isTLS(text))

    def test_ssl(self) -> None:
        """C{ssl:} with its files, on all IPv4 addresses unless it is said."""
        endpoint = self.endpoint(f"ssl:1080:{self.own}")
        self.assertEqual(self.where(endpoint), (TCP4ServerEndpoint, 1080, 1024, ""))
        self.assertFalse(endpoint.verifiesClients)
        both = self.write("both.pem", theProxy().pem, theProxy().keyPEM)
        endpoint = self.endpoint(rf"SSL:1:privateKey={both}:interface=\:\:1:backlog=7")
        self.assertEqual(self.where(endpoint), (TCP6ServerEndpoint, 1, 7, "::1"))
        endpoint = self.endpoint(f"ssl:1:{self.own}:extraCertChain={self.ca}:interface=192.0.2.1")
        self.assertEqual(self.where(endpoint)[3], "192.0.2.1")

    def test_tls(self) -> None:
        """C{tls:} with its directory, on all addresses unless it is said."""
        endpoint = self.endpoint(f"tls:{self.place}:1080")
        self.assertEqual(self.where(endpoint), (TCP6ServerEndpoint, 1080, 1024, "::"))
        self.assertIn(PROXY, endpoint.contexts.current.names)

    def test_relative(self) -> None:
        """Files stay where they were when it was said, wherever the process goes."""
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.place)
        key, certificate = (os.path.basename(each) for each in theProxy().write(self.place, "r"))
        ca = os.path.basename(self.ca)
        endpoints = [
            self.endpoint(f"ssl:1:privateKey={key}:certKey={certificate}:clientCA={ca}"),
            self.endpoint("tls:.:1"),
        ]
        os.chdir(here)
        for each in endpoints:
            self.assertEqual(each.contexts.files.signature(), each.contexts.seen)

    def test_clients(self) -> None:
        """Clients' certificates: required, if they are asked for, unless it is said."""
        asking = f"ssl:1:{self.own}:clientCA={self.ca}"
        for more, required, revoked in (
            ("", True, ""),
            (":clientCertificate=optional", False, ""),
            (f":clientCertificate=required:clientCRL={self.crl}", True, self.crl),
        ):
            files = self.endpoint(asking + more).contexts.files
            found = (files.authorities, files.required, files.revoked)
            self.assertEqual(found, (self.ca, required, revoked))

    def test_wrong(self) -> None:
        """What can't be carried out, in a line that says why."""
        for text, why in (
            ("ssl:1", "it takes a privateKey=FILE"),
            ("ssl", "it takes ssl:PORT:privateKey=FILE"),
            (f"ssl:1:2:{self.own}", "it takes ssl:PORT:privateKey=FILE"),
            (f"ssl:many:{self.own}", "'many' is no port"),
            (f"ssl:65536:{self.own}", "'65536' is no port"),
            (f"ssl:-1:{self.own}", "'-1' is no port"),
            (f"ssl:1:{self.own}:backlog=x", "'x' is no backlog"),
            (f"ssl:1:{self.own}:interface=here", "interface=here: not an IP address"),
            (f"ssl:1:{self.own}:sslmethod=SSLv3_METHOD", "leave sslmethod out"),
            (f"ssl:1:{self.own}:dhParameters=x", "leave dhParameters out"),
            (f"ssl:1:{self.own}:clientca=x", "does not know 'clientca'; it knows privateKey"),
            (f"tls:{self.place}:1:privateKey=x", "tls: does not know 'privateKey'; it knows int"),
            ("tls:1", "it takes tls:DIRECTORY:PORT"),
            ("tls::1", "it takes tls:DIRECTORY:PORT"),
            (f"ssl:1:{self.own}:clientCA=", "clientCA= takes a file"),
            (f"ssl:1:{self.own}:clientCRL=x", "clientCRL and clientCertificate take a clientCA"),
            (f"ssl:1:{self.own}:clientCertificate=required", "take a clientCA"),
            (f"ssl:1:{self.own}:clientCA={self.ca}:clientCRL=", "clientCRL= takes a file"),
            (f"ssl:1:{self.own}:clientCA={self.ca}:clientCertificate=no", "not 'no'"),
            ("ssl:1:privateKey=/nonexistent", "'/nonexistent' cannot be read: No such file"),
        ):
            self.assertSays(why, self.endpoint, text)


class ListeningTests(FilesCase):
    """Endpoints that listen."""

    def listen(self, factory: Any, *more: str) -> tuple[MemoryReactor, TLSServerEndpoint, Any]:
        """Listen on port 1080 of a network in memory."""
        reactor = MemoryReactor()
        key, certificate = theProxy().write(self.place, "own")
        own = f"ssl:1080:privateKey={key}:certKey={certificate}"
        endpoint = endpointFromString(reactor, ":".join([own, *more]))
        return reactor, endpoint, self.successResultOf(endpoint.listen(factory))

    def connect(self, reactor: MemoryReactor, peer: Any) -> Any:
        """Connect to it."""
        reactor.connectTCP("192.0.2.10", 1080, PeerFactory(lambda: peer))
        reactor.advance(0)
        return peer

    def test_speaks(self) -> None:
        """Protocols have TLS for their transport; the factory is started and stopped."""
        factory = PeerFactory()
        reactor, _, port = self.listen(factory)
        self.assertEqual(factory.numPorts, 1)
        self.assertIsInstance(port.factory, TLSFactory)
        self.assertEqual(port.factory.logPrefix(), "PeerFactory (TLS)")
        client = self.connect(reactor, TLSPeer(clientContext(trusted=theAuthority())))
        client.write(b"hello")
        reactor.advance(0)
        self.assertEqual(factory.peer.received, b"hello")
        self.assertIsInstance(factory.peer.transport, TLSTransport)
        self.assertEqual(factory.peer.transport.getHost().port, 1080)
        client.abort()
        port.stopListening()
        reactor.advance(0)
        self.assertEqual(factory.numPorts, 0)
        self.assertEqual(reactor.leftOver(), [])

    def test_nobody(self) -> None:
        """A connection without a protocol is closed."""
        reactor, _, port = self.listen(Silent())
        client = self.connect(reactor, Peer())
        self.assertTrue(client.eof)
        self.assertEqual(port.factory.logPrefix(), "Silent (TLS)")

    def test_reload(self) -> None:
        """Connections that come after a reload meet the new certificate, others go on."""
        factory = PeerFactory()
        reactor, endpoint, _ = self.listen(factory)
        old = self.connect(reactor, TLSPeer(clientContext(trusted=theAuthority())))
        new = theAuthority().issue(PROXY, hosts=(PROXY,))
        new.write(self.place, "own")
        done: list[None] = []
        endpoint.reload().addCallback(done.append)
        reactor.settle()
        self.assertEqual(done, [None])
        fresh = self.connect(reactor, TLSPeer(clientContext(trusted=theAuthority())))
        for peer, issued in ((old, theProxy()), (fresh, new)):
            shown = peer.connection.get_peer_certificate(as_cryptography=True)
            self.assertEqual(shown, issued.certificate)
            peer.write(b"hello")
        reactor.advance(0)
        self.assertEqual([peer.received for peer in factory.peers], [b"hello", b"hello"])

    def test_lingers(self) -> None:
        """Who was refused has a while to hear why, and not more."""
        factory = PeerFactory()
        reactor, _, port = self.listen(factory)
        client = self.connect(reactor, Peer())
        client.write(b"\5\1\0")
        reactor.advance(0)
        self.assertTrue(client.eof)
        self.assertIsNotNone(factory.peer.lost)
        port.stopListening()
        reactor.advance(LINGER)
        client.write(b"finds out")
        reactor.advance(0)
        self.assertIsNotNone(client.lost)
        self.assertEqual(reactor.leftOver(), [])

    def test_manyLinger(self) -> None:
        """A crowd of these does not stay: the first has to go for one too many."""
        self.patch(endpoint, "LINGERING", 2)
        reactor, _, _ = self.listen(PeerFactory())
        clients = []
        for _ in range(3):
            clients.append(self.connect(reactor, Peer()))
            clients[-1].write(b"\5\1\0")
            reactor.advance(0)
        for client in clients:
            client.write(b"finds out")
        reactor.advance(0)
        self.assertEqual([client.lost is None for client in clients], [False, True, True])

    def test_badFiles(self) -> None:
        """What can't be read is found before it listens."""
        error = self.assertRaises(ConfigurationError, self.listen, Silent(), "clientCA=/dev/null")
        self.assertEqual(str(error), "'/dev/null' is not a regular file")
