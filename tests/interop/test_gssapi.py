"""
GSSAPI (RFC 1961) with a real KDC, the real proxy, and clients that are not ours.
"""

from __future__ import annotations

import socket
import sys
import threading

from tests.interop.client import Client, numbered
from tests.interop.datagrams import UDPEcho
from tests.interop.gssclient import (
    ABORT,
    CONFIDENTIALITY,
    GREETING,
    INTEGRITY,
    PER_MESSAGE,
    Aborted,
    GSSClient,
    fetch,
    frame,
)
from tests.interop.origins import EchoTarget, HTTPOrigin, Target, content, digest
from tests.interop.proxy import Proxy, ProxyTestCase
from tests.security.realm import FOREIGN, RealmTestCase

_SIZE = 20_000_000
_LEVELS = (INTEGRITY, CONFIDENTIALITY)


class GSSAPITestCase(RealmTestCase, ProxyTestCase):
    """A proxy in a realm."""

    principals = (
        *("alice", "bob", "rcmd/localhost", "http/localhost"),
        *(f"eve@{FOREIGN}", f"rcmd/localhost@{FOREIGN}"),
    )

    def gssapiProxy(self, parameters: str = "", *options: str) -> Proxy:
        """Start a proxy with the service's key."""
        keytab = self.realm.keytab("rcmd/localhost")
        return self.proxy("--auth", f"gssapi:keytab={keytab}{parameters}", *options)

    def client(
        self,
        proxy: Proxy,
        level: int = CONFIDENTIALITY,
        *,
        principal: str = "alice",
        sequence: bool = True,
    ) -> GSSClient:
        """Connect, up to the protection level."""
        client = GSSClient(self, proxy, self.realm, principal=principal, sequence=sequence)
        return client.establish().ask(level)

    def abortedFor(self, proxy: Proxy, client: Client, count: int = 1) -> str:
        """See that the proxy aborts the context and closes, and give the reason in the log."""
        self.assertEqual(client.hearOut(), b"\x05\x01" + ABORT)
        client.close()
        return str(proxy.waitRecords(count)[-1]["reason"])


class CommandTests(GSSAPITestCase):
    """All that a client can ask for, at each level."""

    def test_connect(self) -> None:
        """20 MB each way at the same time, and an end in one direction, then in the other."""
        proxy, target = self.gssapiProxy(), Target(self)
        for level in _LEVELS:
            client = self.client(proxy, level)
            self.assertEqual(client.granted, level)
            client.through(target.port)
            got: list[bytes] = []
            with target.accept() as server:
                threads = [
                    threading.Thread(target=self._exchange, args=(server, got)),
                    threading.Thread(target=self._sayAll, args=(client,)),
                ]
                for thread in threads:
                    thread.start()
                down = client.hear(_SIZE)
                for thread in threads:
                    thread.join(60)
                self.assertEqual(digest(b"".join(got)), digest(content(_SIZE)))
                self.assertEqual(digest(down), digest(content(_SIZE)[::-1]))
                # Our direction has ended; the other one goes on until it does, too.
                server.sendall(b"and this")
                self.assertEqual(client.hear(8), b"and this")
                server.shutdown(socket.SHUT_WR)
                self.assertEqual(client.hear(1), b"")
        for record in proxy.stop():
            self.assertEqual((record["sent"], record["received"]), (_SIZE, _SIZE + 8))
            self.assertEqual(record["user"], "alice@EXAMPLE.TEST")
            self.assertEqual(record["method"], "gssapi")

    def _exchange(self, server: socket.socket, got: list[bytes]) -> None:
        sender = threading.Thread(target=server.sendall, args=(content(_SIZE)[::-1],))
        sender.start()
        while octets := server.recv(1 << 18):
            got.append(octets)
        sender.join(60)

    def _sayAll(self, client: GSSClient) -> None:
        client.say(content(_SIZE))
        client.socket.finish()

    def test_perMessage(self) -> None:
        """Level 3, at which the client chooses for each message."""
        client = self.client(self.gssapiProxy(), PER_MESSAGE).through(EchoTarget(self).port)
        self.assertEqual(client.granted, PER_MESSAGE)
        for sealed in (False, True):
            client.socket.sendall(frame(3, client.wrap(b"octets", sealed)))
            self.assertEqual(client.hear(6), b"octets")

    def test_bind(self) -> None:
        """Both replies of BIND, and what its peer says, come in tokens."""
        proxy = self.gssapiProxy()
        for level in _LEVELS:
            client = self.client(proxy, level)
            client.say(numbered("127.0.0.1", 0, 2))
            place = client.hearReply()
            with socket.create_connection(place, 20) as peer:
                peer.sendall(b"hello")
                self.assertEqual(client.hearReply(), peer.getsockname())
                self.assertEqual(client.hear(5), b"hello")
                client.say(b"world")
                client.socket.finish()
                self.assertEqual(peer.recv(100), b"world")
                self.assertEqual(peer.recv(100), b"")

    def test_associate(self) -> None:
        """Each datagram of UDP ASSOCIATE is a token, in both directions."""
        echo, proxy = UDPEcho(self), self.gssapiProxy()
        where = numbered(echo.host, echo.port)[3:]
        for level in _LEVELS:
            client = self.client(proxy, level, sequence=False)
            with socket.socket(type=socket.SOCK_DGRAM) as box:
                box.settimeout(20)
                box.bind(("127.0.0.1", 0))
                client.say(numbered("0.0.0.0", 0, 3))
                place = client.hearReply()
                sealed = level == CONFIDENTIALITY
                for size in (0, 1, 1400, 9000, 65_000):
                    octets = b"\0\0\0" + where + content(size)
                    box.sendto(frame(3, client.wrap(octets, sealed)), place)
                    answer, source = box.recvfrom(1 << 16)
                    self.assertEqual(source, place)
                    self.assertEqual(answer[:4], b"\1\3" + (len(answer) - 4).to_bytes(2, "big"))
                    self.assertEqual(client.unwrap(answer[4:], sealed), octets)
                # Nobody else can send on alice's behalf, not even from her socket.
                box.sendto(b"\0\0\0" + where + b"plain", place)
                box.sendto(frame(3, client.wrap(b"\0\0\0" + where + b"last", sealed)), place)
                answer = box.recv(1 << 16)
                self.assertEqual(client.unwrap(answer[4:], sealed)[10:], b"last")

    def test_refusedRequest(self) -> None:
        """A reply that refuses is in a token as well, and after it comes the end."""
        client = self.client(self.gssapiProxy())
        client.say(numbered("127.0.0.1", 0))
        self.assertNotEqual(client.hear(10)[1], 0)
        self.assertEqual(client.hear(1), b"")


class RefusalTests(GSSAPITestCase):
    """Who is not let in, and what is heard of it on both sides."""

    def test_level(self) -> None:
        """A level that is not allowed, and how it could be."""
        proxy = self.gssapiProxy(":protection=integrity")
        client = GSSClient(self, proxy, self.realm).establish()
        self.assertRaises(Aborted, client.ask, CONFIDENTIALITY)
        self.assertIn("confidentiality would allow", self.abortedReason(proxy))

    def test_otherService(self) -> None:
        """A ticket for another service of this host."""
        self.assertRefused("http/localhost@EXAMPLE.TEST not found", service="http@localhost")

    def test_foreign(self) -> None:
        """A ticket of a realm that ours does not know."""
        self.assertRefused(
            f"rcmd/localhost@{FOREIGN} not found",
            principal=f"eve@{FOREIGN}",
            service=f"rcmd/localhost@{FOREIGN}",
        )

    def test_realm(self) -> None:
        """A principal that the operator does not admit."""
        proxy = self.gssapiProxy(":realm=OTHER.TEST")
        client = GSSClient(self, proxy, self.realm)
        self.assertRaises(Aborted, client.establish)
        self.assertIn("alice@EXAMPLE.TEST", self.abortedReason(proxy))

    def test_replay(self) -> None:
        """Somebody who has overheard a token gains nothing by it."""
        proxy = self.gssapiProxy()
        client = self.client(proxy)
        thief = Client(self, proxy, GREETING + frame(1, client.sent))
        self.assertEqual(self.abortedFor(proxy, thief), "no security context: Request is a replay")
        client.through(EchoTarget(self).port).say(b"still here")
        self.assertEqual(client.hear(10), b"still here")

    def test_noToken(self) -> None:
        """Octets that no context can come of."""
        proxy = self.gssapiProxy()
        for count, octets in enumerate((b"", b"junk", bytes(65535)), 1):
            client = Client(self, proxy, GREETING + frame(1, octets))
            self.assertIn("no security context", self.abortedFor(proxy, client, count))

    def test_withoutGSSAPI(self) -> None:
        """A proxy that does not have the method does not choose it."""
        client = Client(self, self.proxy(), GREETING)
        self.assertEqual(client.hearOut(), b"\x05\xff")

    def test_onlyGSSAPI(self) -> None:
        """A client without a ticket gets nowhere."""
        client = Client(self, self.gssapiProxy(), b"\x05\x02\x00\x02")
        self.assertEqual(client.hearOut(), b"\x05\xff")

    def test_tampered(self) -> None:
        """A stream that is changed on its way is cut off there; another goes on."""
        proxy, target = self.gssapiProxy(), Target(self)
        other = self.client(proxy, principal="bob").through(EchoTarget(self).port)
        client = self.client(proxy).through(target.port)
        with target.accept() as server:
            client.say(b"good")
            self.assertEqual(server.recv(100), b"good")
            token = client.wrap(b"bad", True)
            client.socket.sendall(frame(3, token[:-1] + bytes((token[-1] ^ 1,))))
            self.assertRaises(ConnectionResetError, server.recv, 100)
        self.assertIn("a token was changed on its way", self.abortedReason(proxy))
        other.say(b"still here")
        self.assertEqual(other.hear(10), b"still here")

    def assertRefused(self, reason: str, *, service: str, principal: str = "alice") -> None:
        """See that a client gets nowhere, and why."""
        proxy = self.gssapiProxy()
        client = GSSClient(self, proxy, self.realm, principal=principal, service=service)
        self.assertRaises(Aborted, client.establish)
        self.assertIn(reason, self.abortedReason(proxy))

    def abortedReason(self, proxy: Proxy) -> str:
        """Give the reason of the session that has ended."""
        (record,) = proxy.waitRecords(1)
        return str(record["reason"])


# Later Pythons have no wheel of PycURL's with a libcurl that old; see pyproject.toml.
if sys.version_info < (3, 13):

    class LibcurlTests(GSSAPITestCase):
        """libcurl 7.61, the last but a few whose GSSAPI gets anywhere: it can protect nothing."""

        def test_nothingProtected(self) -> None:
            """It fetches where the operator allows level 0, and NEC's way to ask for it."""
            origin = HTTPOrigin(self)
            proxy = self.gssapiProxy(":protection=integrity,none,nec")
            for nec in (False, True):
                found = fetch(
                    self.realm, proxy, f"http://127.0.0.1:{origin.port}/bytes/1000000", nec=nec
                )
                self.assertEqual(found, {"octets": digest(content(1_000_000))})
            records = proxy.stop()
            self.assertEqual({each["user"] for each in records}, {"alice@EXAMPLE.TEST"})
            self.assertEqual({each["method"] for each in records}, {"gssapi"})

        def test_refused(self) -> None:
            """It does not where he doesn't, and the log has the word that would allow it."""
            origin = HTTPOrigin(self)
            for allowed, nec, reason in (
                ("integrity", False, "asked for protection level none, which --auth gssapi:"),
                ("integrity,none", True, "a bare octet (NEC's way), which --auth gssapi:"),
            ):
                proxy = self.gssapiProxy(f":protection={allowed}")
                found = fetch(self.realm, proxy, f"http://127.0.0.1:{origin.port}/", nec=nec)
                self.assertIn("GSS-API", found["error"])
                (record,) = proxy.stop()
                self.assertIn(reason, record["reason"])
            self.assertEqual(origin.seen, [])
