"""The transport of what TLS carries: handshakes, ends, and what breaks."""

from __future__ import annotations

import contextlib
import gc
import weakref
from typing import Any, cast
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.address import IPv6Address
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory

from tests.tls.authority import clientContext, newAuthority, theAuthority
from tests.tls.base import VERSIONS, TLSCase, contexts
from tests.tls.peers import TLSPeer
from twisted_socks5.streams import Stream
from twisted_socks5.streams.layer import knowsHalfClose
from twisted_socks5.testing import MemoryReactor, Peer, PeerFactory, PlainPeer
from twisted_socks5.tls import TLSFailure, TLSTransport
from twisted_socks5.tls.layer import RECORD
from twisted_socks5.tls.pem import Authorities

FLOOD = bytes(range(256)) * 2000


def client(version: int = SSL.TLS1_3_VERSION) -> TLSPeer:
    """Make a client of one version that trusts the authority."""
    return TLSPeer(clientContext(version=version, trusted=theAuthority()))


class HandshakeTests(TLSCase):
    """Its beginning."""

    def test_versions(self) -> None:
        """TLS 1.2 and 1.3, with keys that nobody can decrypt later."""
        for version, name in zip(VERSIONS, ("TLSv1.2", "TLSv1.3"), strict=True):
            for stream in (True, False):
                self.connect(client(version), stream=stream)
                self.assertEqual(self.layer.version, name)
                cipher = str(self.client.connection.get_cipher_name())
                self.assertRegex(cipher, "^(ECDHE|TLS)[-_].*(GCM|CHACHA20)")
                self.assertIsNone(self.layer.certificate)
                self.assertTrue(knowsHalfClose(self.layer))

    def test_old(self) -> None:
        """What is older is refused, and so are ciphers without authentication."""
        old = clientContext()
        old.set_max_proto_version(SSL.TLS1_1_VERSION)
        old.set_cipher_list(b"ALL:@SECLEVEL=0")
        blocks = clientContext(version=SSL.TLS1_2_VERSION)
        blocks.set_cipher_list(b"ECDHE+AES+SHA384:ECDHE+AES+SHA")
        for context, why in ((old, "unsupported protocol|wrong version"), (blocks, "no shared")):
            self.connect(TLSPeer(context))
            self.assertIsInstance(self.near.lost.value, TLSFailure)
            self.assertRegex(str(self.near.lost.value), why)
            self.assertIsNotNone(self.client.failure)
            self.client.lose()
            self.settle()
            self.assertNothingLeft()

    def test_octetByOctet(self) -> None:
        """However it is cut, and with data right behind it."""
        for version in VERSIONS:
            peer = client(version)
            peer.write(b"hello")
            self.connect(peer, window=1, sendBuffer=100_000)
            self.assertEqual(self.near.received, b"hello")

    def test_refusesCertificate(self) -> None:
        """A client that does not like our certificate says so, and the reason is passed on."""
        for version in VERSIONS:
            context = clientContext(version=version, trusted=newAuthority())
            self.connect(TLSPeer(context))
            self.assertEqual(self.near.events, ["made", "TLSFailure"])
            said = str(self.near.lost.value)
            self.assertRegex(said, "the client says: .*alert")
            self.client.lose()
            self.settle()
            self.assertNothingLeft()

    def test_noTLS(self) -> None:
        """What is no TLS is refused at its first octet, whatever else is to come."""
        for octets, why in (
            (b"\5", "plain SOCKS5, and this port is for TLS"),
            (b"\4\1", "plain SOCKS4, and this port is for TLS"),
            (b"GET", "no TLS: it begins with octet 71"),
        ):
            self.connect(Peer())
            self.client.write(octets)
            self.settle()
            self.assertEqual(str(self.near.lost.value), why)
            self.assertTrue(self.client.eof)
            self.client.write(b"more of it")
            self.client.lose()
            self.settle()
            self.assertNothingLeft()

    def test_writtenAfter(self) -> None:
        """Who goes on writing when it was refused, and closes, sends nothing."""
        self.connect(Peer())
        self.client.write(b"GET")
        self.settle()
        told = bytes(self.client.received)
        self.layer.loseConnection()
        self.layer.write(b"in clear text")
        self.settle()
        self.assertEqual(self.client.received, told)
        self.assertEqual(self.near.events, ["made", "TLSFailure"])
        self.client.lose()
        self.settle()
        self.assertNothingLeft()

    def test_rubbish(self) -> None:
        """What only begins as TLS is refused."""
        self.connect(Peer())
        self.client.write(b"\x16" * 20_000)
        self.settle()
        self.assertEqual(self.near.events, ["made", "TLSFailure"])
        self.client.lose()
        self.settle()
        self.assertNothingLeft()

    def test_endless(self) -> None:
        """Who has just connected can't make us keep what a hello never is long."""
        body = b"\1" + (131_000).to_bytes(3, "big") + b"\3\3" + bytes(130_000)
        self.connect(Peer())
        for at in range(0, len(body), RECORD):
            piece = body[at : at + RECORD]
            self.client.write(b"\x16\3\1" + len(piece).to_bytes(2, "big") + piece)
            self.settle()
        self.assertEqual(str(self.near.lost.value), "a handshake of more than 32768 octets")
        self.client.lose()
        self.settle()
        self.assertNothingLeft()

    def test_manyCertificates(self) -> None:
        """A chain that is longer than any, and all that a client sends at once, is heard."""
        chain = [theAuthority().issueAuthority(f"Nobody's authority {at}") for at in range(30)]
        server = contexts(authorities=Authorities((theAuthority().certificate,)))
        for version in VERSIONS:
            context = clientContext(theAuthority().issue("alice"), *chain, version=version)
            self.connect(TLSPeer(context), server)
            self.client.write(FLOOD)
            self.settle()
            self.assertEqual(self.near.received, FLOOD)
            self.client.abort()

    def test_alertIsRead(self) -> None:
        """A client that goes on sending still gets to know why; then it is cut."""
        asking = contexts(authorities=Authorities((theAuthority().certificate,)))
        peer = client()
        peer.closesWhenBothEnded = False
        self.connect(peer, asking)
        self.client.transport.write(b"more, and more")
        self.settle()
        self.assertEqual(self.refused, [self.layer])
        self.assertEqual(str(self.near.lost.value), "the client has no certificate, and needs one")
        self.assertRegex(str(self.client.failure), "certificate required")
        self.assertIsNone(self.client.lost)
        self.layer.abandon()
        self.settle()
        self.client.transport.write(b"finds out")
        self.settle()
        self.assertIsNotNone(self.client.lost)
        self.assertNothingLeft()
        self.layer.abandon()

    def test_refusedOnAWrapper(self) -> None:
        """On a transport without half-close, it is closed at once."""
        reactor, near = MemoryReactor(), Peer()
        layer = TLSTransport(contexts().connection(), near, self.fail)
        below = ProtocolWrapper(WrappingFactory(PeerFactory()), layer)
        far = Peer()
        reactor.connectPair(far, below)
        far.write(b"\5\1\0")
        reactor.advance(0)
        far.lose()
        reactor.advance(0)
        self.assertIsInstance(near.lost and near.lost.value, TLSFailure)
        self.assertEqual(reactor.leftOver(), [])

    def test_silence(self) -> None:
        """Who connects and goes without a word has merely closed."""
        self.connect(Peer())
        self.client.lose()
        self.settle()
        self.assertEqual(self.near.events, ["made", "eof"])
        self.near.lose()
        self.settle()
        self.assertEqual(self.near.events[-1], "ConnectionDone")
        self.assertNothingLeft()

    def test_endsInTheMiddle(self) -> None:
        """Who goes during the handshake has broken it off."""
        self.connect(Peer())
        self.client.write(b"\x16\3\1\0\x50\1")
        self.client.lose()
        self.settle()
        self.assertEqual(str(self.near.lost.value), "the client closed during the handshake")
        self.assertNothingLeft()

    def test_closedDuring(self) -> None:
        """Closing or half-closing during the handshake closes at once, whatever was written."""
        for close in ("loseConnection", "loseWriteConnection", "abortConnection"):
            self.connect(Peer())
            self.client.write(b"\x16\3\1\0\x50\1")
            self.settle()
            self.layer.write(b"never sent")
            getattr(self.layer, close)()
            self.settle()
            self.assertEqual(self.near.events[0], "made")
            self.assertIsNotNone(self.near.lost)
            self.assertEqual(self.client.received, b"")
            self.client.abort()
            self.settle()
            self.assertNothingLeft()
            self.assertEqual(self.layer.version, "")

    def test_writtenBefore(self) -> None:
        """What is written before the handshake is sent behind it."""
        self.connect(Peer())
        self.client.abort()
        for version in VERSIONS:
            near = Peer()
            layer = TLSTransport(contexts().connection(), near)
            peer, reactor = client(version), MemoryReactor()
            reactor.connectPair(peer, layer)
            layer.write(b"early")
            reactor.advance(0)
            self.assertEqual(peer.received, b"early")

    def test_renegotiation(self) -> None:
        """TLS 1.2's renegotiation is refused, which OpenSSL's client does not survive."""
        self.connect(client(SSL.TLS1_2_VERSION))
        self.client.connection.renegotiate()
        try:
            self.client.connection.do_handshake()
        except SSL.WantReadError:
            self.client._flush()
        self.settle()
        self.assertRegex(str(self.client.failure), "no renegotiation")

    def test_noResumption(self) -> None:
        """A session is not resumed: its certificate might have been revoked meanwhile."""
        for version in VERSIONS:
            server = contexts()
            context = clientContext(version=version)
            self.connect(TLSPeer(context), server)
            self.layer.write(b"with tickets, if there are any")
            self.settle()
            session = cast("SSL.Session", self.client.connection.get_session())
            again = TLSPeer(context)
            again.connection.set_session(session)
            self.connect(again, server)
            self.assertTrue(again.secure)
            self.assertNotEqual(
                again.connection.master_key(), self._master(session, context, version)
            )

    def _master(self, session: SSL.Session, context: SSL.Context, version: int) -> bytes | None:
        """Give a session's master key."""
        connection = SSL.Connection(context, None)
        connection.set_session(session)
        return connection.master_key()

    def test_closedWithAnAlert(self) -> None:
        """Who closes in the middle, in TLS's words, has closed."""
        peer = client(SSL.TLS1_2_VERSION)
        self.connect(Peer())
        with contextlib.suppress(SSL.WantReadError):
            peer.connection.do_handshake()
        hello = peer.connection.bio_read(10_000)
        self.client.write(hello + b"\x15\3\3\0\2\1\0")
        self.settle()
        self.assertRegex(str(self.near.lost.value), "client (closed|says)|unexpected message")

    def test_gone(self) -> None:
        """A client that can't be named any more is not."""
        self.patch(Stream, "getPeer", mock.Mock(side_effect=OSError("gone")))
        self.connect(Peer())
        self.client.write(b"\5\1\0")
        self.settle()
        self.assertEqual(self.near.lost.type, TLSFailure)

    def test_overSix(self) -> None:
        """An IPv6 client is written as one."""
        far, near = IPv6Address("TCP", "2001:db8::1", 4000), IPv6Address("TCP", "2001:db8::2", 1)
        reactor, client = MemoryReactor(), Peer()
        layer = TLSTransport(contexts().connection(), Peer())
        reactor.connectPair(client, layer, far, near)
        self.assertEqual(layer._peer(), "[2001:db8::1]:4000")


class EndTests(TLSCase):
    """Its ends, one direction at a time."""

    def test_clientFirst(self) -> None:
        """After the client's close_notify we may say all that we have to, and then ours."""
        for version in VERSIONS:
            self.connect(client(version))
            self.client.write(FLOOD)
            self.client.loseWrite()
            self.settle()
            self.assertEqual(self.near.events, ["made", "data", "eof"])
            self.assertEqual(len(self.near.received), len(FLOOD))
            self.layer.write(FLOOD)
            self.near.loseWrite()
            self.settle()
            self.assertEqual(self.client.received, FLOOD)
            self.assertTrue(self.client.eof)
            self.assertEqual(self.near.events[-2:], ["written", "ConnectionDone"])
            self.assertNothingLeft()

    def test_weFirst(self) -> None:
        """After our close_notify the client may say all that it has to; no FIN is sent."""
        for version in VERSIONS:
            self.connect(client(version))
            self.near.loseWrite()
            self.settle()
            self.assertEqual((self.client.eof, self.client.fin), (True, False))
            self.assertEqual(self.near.events, ["made", "written"])
            self.layer.write(b"not heard")
            self.client.write(FLOOD)
            self.settle()
            self.assertEqual(self.near.received, FLOOD)
            self.client.loseWrite()
            self.settle()
            self.assertEqual(self.near.events[-1], "ConnectionDone")
            self.assertNothingLeft()

    def test_writtenMeansFlushed(self) -> None:
        """C{writeConnectionLost} comes when the kernel has the close_notify, not before."""
        self.connect(client())
        self.client.pause()
        self.layer.write(FLOOD)
        self.near.loseWrite()
        self.settle()
        self.assertEqual(self.near.events, ["made"])
        self.client.resume()
        self.settle()
        self.assertEqual(self.near.events, ["made", "written"])
        self.assertEqual(self.client.received, FLOOD)

    def test_closeBehindAFlood(self) -> None:
        """A close waits until all is sent, and for no answer."""
        for half in (True, False):
            self.connect(client())
            self.client.pause()
            self.layer.write(FLOOD)
            if half:
                self.near.loseWrite()
            self.near.lose()
            self.settle()
            self.assertIsNone(self.near.lost)
            self.client.closesWhenBothEnded = False
            self.client.resume()
            self.settle()
            self.assertEqual(self.client.received, FLOOD)
            self.assertEqual((self.client.eof, self.client.fin), (True, True))
            self.assertEqual(self.near.events[-1], "ConnectionDone")
            self.client.transport.loseConnection()
            self.settle()
            self.assertNothingLeft()

    def test_noAnswer(self) -> None:
        """A client that never answers our close_notify holds nothing up."""
        self.connect(client())
        self.client.pause()
        self.near.lose()
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionDone"])

    def test_truncated(self) -> None:
        """A FIN without close_notify may be anybody's: a reset, behind what came before."""
        for version in VERSIONS:
            self.connect(client(version))
            self.client.write(b"half a quest")
            self.settle()
            self.client.finish()
            self.settle()
            self.assertEqual(self.near.received, b"half a quest")
            self.assertEqual(self.near.events, ["made", "data", "TLSFailure"])
            self.assertEqual(str(self.near.lost.value), "the client closed without close_notify")
            self.assertTrue(self.client.wasReset)
            self.assertNothingLeft()

    def test_leavesWithoutAnswer(self) -> None:
        """A FIN that follows our close_notify is an end, though there was none of theirs."""
        self.connect(client())
        self.near.loseWrite()
        self.settle()
        self.client.finish()
        self.settle()
        self.assertEqual(self.near.events, ["made", "written", "eof", "ConnectionDone"])
        self.assertNothingLeft()

    def test_reset(self) -> None:
        """A reset is one, either way."""
        self.connect(client())
        self.client.abort()
        self.settle()
        self.assertTrue(self.near.wasReset)
        self.assertNothingLeft()
        self.connect(client())
        self.near.abort()
        self.settle()
        self.assertTrue(self.client.wasReset)
        self.assertFalse(self.client.eof)
        self.assertNothingLeft()

    def test_tampered(self) -> None:
        """A record that was changed ends it with a reset; nothing of it is passed on."""
        for version in VERSIONS:
            self.connect(client(version))
            self.client.write(b"good")
            self.settle()
            self.client.connection.send(b"bad")
            record = bytearray(self.client.connection.bio_read(1000))
            record[-1] ^= 1
            self.client.transport.write(bytes(record))
            self.settle()
            self.assertEqual(self.near.received, b"good")
            self.assertIsInstance(self.near.lost.value, TLSFailure)
            self.assertTrue(self.client.wasReset)
            self.assertNothingLeft()

    def test_OpenSSLFails(self) -> None:
        """What OpenSSL can't encrypt ends it with a reset."""
        self.connect(client())
        self.patch(SSL.Connection, "send", mock.Mock(side_effect=SSL.Error([("", "", "no")])))
        self.layer.write(b"lost")
        self.settle()
        self.assertEqual(str(self.near.lost.value), "no")
        self.assertTrue(self.client.wasReset)

    def test_writtenAfter(self) -> None:
        """What is written behind the end is not heard."""
        self.connect(Peer())
        self.client.write(b"\5\1\0")
        self.settle()
        self.layer.write(b"too late")
        self.layer.loseConnection()
        self.settle()
        self.assertEqual(self.client.received, b"")

    def test_knowsNoHalfClose(self) -> None:
        """A protocol that knows none is closed when the client has ended."""
        self.connect(client(), near=PlainPeer())
        self.client.write(b"bye")
        self.client.loseWrite()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "ConnectionDone"])
        self.assertTrue(self.client.eof)
        self.assertNothingLeft()

    def test_pausedEnd(self) -> None:
        """A paused protocol hears of an end when it listens again."""
        self.connect(client())
        self.layer.pauseProducing()
        self.client.write(b"hello")
        self.client.loseWrite()
        self.settle()
        self.assertEqual(self.near.events, ["made"])
        self.layer.resumeProducing()
        self.settle()
        self.assertEqual(self.near.events, ["made", "data", "eof"])

    def test_newKeys(self) -> None:
        """A client that goes on asking for new keys without reading the answers is cut."""
        self.connect(client())
        self.client.pause()
        self.layer.write(FLOOD)
        self.settle()
        self.layer._brimful = True
        self.layer._owed = 16_384
        with self.assertRaises(TLSFailure):
            connection = self.layer._connection
            if connection is not None:
                connection.send(b"as if OpenSSL had something to say")
                self.layer._sayOwn(connection)

    def test_nothingStays(self) -> None:
        """What is over is let go of, without the garbage collector."""
        gc.disable()
        self.addCleanup(gc.enable)
        self.connect(client())
        self.client.lose()
        self.settle()
        self.near.lose()
        self.settle()
        self.assertIsNotNone(self.near.lost)
        layer = weakref.ref(self.layer)
        del self.layer
        self.near.transport = None
        self.assertIsNone(layer())


class AnythingTests(TLSCase):
    """Whatever is done, in whatever order."""

    @given(
        steps=st.lists(
            st.tuples(
                st.sampled_from(
                    ["up", "down", "pauseClient", "resumeClient", "pauseUs", "resumeUs", "turn"]
                ),
                st.integers(1, 90_000),
            ),
            max_size=25,
        ),
        ends=st.permutations(["client", "we"]),
        version=st.sampled_from(VERSIONS),
        stream=st.booleans(),
    )
    @settings(max_examples=60, deadline=None)
    def test_nothingLost(
        self, steps: list[tuple[str, int]], ends: list[str], version: int, stream: bool
    ) -> None:
        """Both directions arrive whole and in order, and then end."""
        near = Peer()
        near.closesWhenBothEnded = False
        self.connect(client(version), near=near, stream=stream)
        up, down = bytearray(), bytearray()
        for number, (what, size) in enumerate(steps):
            octets = bytes([number + 1]) * size
            if what == "up":
                up += octets
                self.client.write(octets)
            elif what == "down":
                down += octets
                self.layer.write(octets)
            elif what == "turn":
                self.reactor.turn()
            else:
                side: Any = self.client.transport if what.endswith("Client") else self.layer
                getattr(side, f"{what.removesuffix('Client').removesuffix('Us')}Producing")()
        for side in ends:
            (self.client if side == "client" else near).loseWrite()
            self.reactor.turn()
        self.client.resume()
        self.layer.resumeProducing()
        self.settle()
        self.assertEqual(len(near.received), len(up))
        self.assertTrue(near.received == up)
        self.assertTrue(self.client.received == down)
        self.assertTrue(near.eof and self.client.eof and near.writeEnded)
        near.lose()
        self.settle()
        self.assertTrue(near.wasClosed)
        self.assertNothingLeft()
