"""CONNECT by way of the next proxy."""

from __future__ import annotations

import errno
from hashlib import sha256
from typing import Any

from twisted.internet.defer import succeed
from twisted.internet.error import ConnectionLost

from tests.server.base import (
    CLIENT,
    CUTS,
    GRANTED,
    GREETED,
    GREETING,
    LOGIN_SELECTED,
    NOT_LOGGED_IN,
    TARGET,
    TARGET6,
    refused,
    request,
    users,
)
from tests.server.forwarding import FAR, NEAR, VIA, ForwardingCase, replies
from tests.server.gssclients import LEVELS
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.server import factory, forwarded
from twisted_socks5.server.forwarded import ForwardedConnect
from twisted_socks5.testing import Peer, PeerFactory
from twisted_socks5.wire import Command

BULK = sha256(b"bulk").digest() * 40_000  # 1.28 MB
BOUND = b"\1\xc6\x33\x64\x07\0\x63"  # 198.51.100.7:99


class Greeter(Peer):
    """A target that speaks first, and has no more to say."""

    def connectionMade(self) -> None:
        """Say it."""
        super().connectionMade()
        self.write(b"220 ready")
        self.loseWrite()


class Strange:
    """A next proxy of an application's own, which builds something else."""

    name = "strange:"

    def connect(self, destination: Any, factory: Any, timeout: float) -> Any:
        """Build no leg."""
        return succeed((Peer(), destination))


class ReachedTests(ForwardingCase):
    """What is reached, and how."""

    def test_talks(self) -> None:
        """Much goes both ways, and so do the ends."""
        proxy = self.forward()
        target = proxy.target()
        client = proxy.say(GREETING, request())
        self.assertEqual(client.received, GREETED + GRANTED + b"\xc0\0\2\1" + client.received[-2:])
        far: Any = target.peer
        client.write(BULK)
        far.write(BULK)
        proxy.settle()
        self.assertOctets(far.received, BULK)
        self.assertOctets(self.assertGranted(client), BULK)
        client.loseWrite()
        proxy.settle()
        self.assertTrue(far.eof)
        self.tell(far, b"and more")
        self.assertTrue(client.received.endswith(b"and more"))
        far.loseWrite()
        proxy.settle()
        self.assertTrue(client.wasClosed)
        self.assertTrue(far.wasClosed)
        record = self.record()
        self.assertEqual((record.dialled, record.reply), (VIA, 0))
        self.assertEqual((record.sent, record.received), (len(BULK), len(BULK) + 8))
        self.assertEqual(record.reason, "client closed")
        (theirs,) = proxy.farRecords
        self.assertEqual((theirs.target, theirs.dialled), (f"{TARGET}:80", f"{TARGET}:80"))

    def test_reset(self) -> None:
        """A cut is a cut, in both directions."""
        for who in ("client", "target"):
            proxy = self.forward()
            target = proxy.target()
            client = proxy.say(GREETING, request())
            (client if who == "client" else target.peer).abort()
            proxy.settle()
            other = target.peer if who == "client" else client
            self.assertTrue(other.wasReset)
            self.assertEqual(self.record().reason, f"{who} reset")

    def test_speaksFirst(self) -> None:
        """What a target says at once comes behind the reply, and so does its end."""
        proxy = self.forward()
        proxy.target(peer=Greeter)
        client = proxy.say(GREETING, request())
        self.assertEqual(self.assertGranted(client), b"220 ready")
        self.assertTrue(client.eof)

    def test_ahead(self) -> None:
        """What a client says ahead of the reply goes on; however it is cut."""
        for cut in CUTS:
            proxy = self.forward()
            target = proxy.target()
            client = proxy.say(*cut(GREETING, request(), b"early"))
            self.assertEqual(target.peer.received, b"early")
            client.abort()

    def test_inOneSegment(self) -> None:
        """The far proxy's reply, the target's octets and its end may come at once."""
        client, far = self.asked()
        far.write(b"\5\0\0" + BOUND + b"hello")
        far.loseWrite()
        self.proxy.settle()
        self.assertEqual(client.received, GREETED + b"\5\0\0" + BOUND + b"hello")
        self.assertTrue(client.eof)
        self.tell(client, b"thanks")
        client.loseWrite()
        self.proxy.settle()
        self.assertTrue(far.received.endswith(b"thanks"))
        self.assertTrue(client.wasClosed)

    def test_octetByOctet(self) -> None:
        """The same, an octet at a time."""
        client, far = self.asked()
        for octet in b"\5\0\0" + BOUND + b"hello":
            self.tell(far, bytes([octet]))
        self.assertEqual(client.received, GREETED + b"\5\0\0" + BOUND + b"hello")

    def test_nobodyBetween(self) -> None:
        """The connection to the far proxy has the leg for its protocol, and nobody else."""
        proxy = self.forward()
        proxy.target()
        proxy.say(GREETING, request())
        (session,) = proxy.server.sessions
        relay: Any = session._relay
        self.assertIs(relay.target.transport.protocol, relay.target)

    def test_bound(self) -> None:
        """BND is what the far proxy says; a name without octets says nothing."""
        for bound in (BOUND, b"\4" + bytes(15) + b"\1\0\1", b"\3\4name\0\1", b"\1\0\0\0\0\0\0"):
            client, far = self.asked()
            self.tell(far, b"\5\0\0" + bound)
            self.assertEqual(client.received, GREETED + b"\5\0\0" + bound)
        client, far = self.asked()
        self.tell(far, b"\5\0\0\3\0\0\1")
        self.assertEqual(client.received, GREETED + refused(0))

    def test_backPressure(self) -> None:
        """A client that does not read holds the target up."""
        proxy = self.forward()
        target = proxy.target()
        client = proxy.say(GREETING, request())
        client.pause()
        target.peer.write(BULK * 4)
        proxy.settle()
        self.assertLess(len(client.received), 1000)
        client.resume()
        proxy.settle()
        self.assertEqual(len(self.assertGranted(client)), len(BULK * 4))

    def test_socks4Client(self) -> None:
        """A SOCKS4 client's request goes on, with a name as well."""
        proxy = self.forward(settings={"socks4": True})
        proxy.reactor.names.add("example.com", [TARGET])
        target = proxy.target()
        for octets in (
            b"\4\1\0\x50\xcb\0\x71\5\0",
            b"\4\1\0\x50\0\0\0\1\0example.com\0",
        ):
            client = proxy.say(octets)
            self.assertEqual(client.received[:2], b"\0\x5a")
        self.assertEqual(len(target.peers), 2)

    def test_socks4Proxy(self) -> None:
        """The far proxy may speak SOCKS4a; then there is no IPv6."""
        via = f"socks4a://bob@{FAR}:1080"
        liar = self.liar(via)
        client = self.proxy.say(GREETING, request(b"example.com"))
        self.assertEqual(liar.peer.received, b"\4\1\0\x50\0\0\0\1bob\0example.com\0")
        self.tell(liar.peer, b"\0\x5a\0\x63\xc6\x33\x64\7")
        self.assertEqual(client.received, GREETED + b"\5\0\0" + BOUND)
        self.assertEqual(self.proxy.reactor.names.lookups, [])
        self.forward(via, to={"settings": {"socks4": True}})
        self.assertFails(self.proxy.say(GREETING, request(TARGET6)), 8, "cannot carry the IPv6")
        self.assertFails(self.proxy.say(GREETING, request(TARGET)), 1, "via socks4a://.*rejected")


class StreamReachedTests(ReachedTests):
    """The same on streams."""

    streams = True


class NameTests(ForwardingCase):
    """Names go on as names, and what is judged is what goes on."""

    def test_unresolved(self) -> None:
        """No name of a target's is looked up here."""
        for asked, sent in (
            (b"example.com", b"example.com"),
            (b"EXAMPLE.com.", b"example.com"),
            ("bücher.example".encode(), b"xn--bcher-kva.example"),
        ):
            client, far = self.asked(request(asked))
            self.assertTrue(far.received.endswith(request(sent)), far.received)
            self.assertEqual(self.proxy.reactor.names.lookups, [])
            client.abort()

    def test_addresses(self) -> None:
        """An address in the clothes of a name goes on as an address."""
        for asked, sent in ((b"203.0.113.5", TARGET), (b"[2001:db8:5::5]", TARGET6)):
            client, far = self.asked(request(asked))
            self.assertTrue(far.received.endswith(request(sent)), far.received)
            client.abort()

    def test_proxysName(self) -> None:
        """The next proxy's own name is resolved; if it can't be, that is 1."""
        proxy = self.forward("socks5://next.example:1080")
        proxy.reactor.names.add("next.example", [FAR])
        proxy.target()
        self.assertGranted(proxy.say(GREETING, request()))
        self.assertEqual(proxy.reactor.names.lookups, ["next.example"])
        self.forward("socks5://no.example:1080")
        self.assertFails(
            self.proxy.say(GREETING, request()),
            1,
            "via socks5://no.example:1080: not reached: cannot resolve no.example: no such name",
        )

    def test_forbidden(self) -> None:
        """What is forbidden by name, or by address, is not asked for over there."""
        rules = [
            Rule.parse("deny", "*.evil.example"),
            Rule.parse("deny", "198.51.100.0/24"),
            Rule.parse("permit", "10.0.0.0/8"),
        ]
        for host, reason in (
            (b"www.evil.example", r"deny \*.evil.example"),
            ("198.51.100.7", "deny 198.51.100.0/24"),
            (b"localhost", "loopback name localhost"),
            (b"x.localhost", "loopback name x.localhost"),
            ("127.0.0.1", "loopback destination"),
            (b"0x7f.1", "loopback destination"),
            ("169.254.169.254", "link-local destination"),
            ("::ffff:169.254.169.254", "link-local destination"),
        ):
            near = self.forward()
            near.server.rules = Rules(rules, own=near.server.isOwn, resolves=False)
            self.assertRefused(near.say(GREETING, request(host)), GREETED + refused(2), reason)
            self.assertEqual(near.farRecords, [])

    def test_defaultRules(self) -> None:
        """Without any rules of an application's, it is the same protection."""
        near = self.forward()
        self.assertRefused(
            near.say(GREETING, request(b"localhost")), GREETED + refused(2), "loopback name"
        )

    def test_noName(self) -> None:
        """What is no host name, and port 0, are refused here."""
        for octets, reply, reason in (
            (request(b"a b"), 4, "invalid host name"),
            (request(b""), 4, "invalid host name"),
            (request(TARGET, 0), 1, "port 0"),
        ):
            near = self.forward()
            self.assertRefused(near.say(GREETING, octets), GREETED + refused(reply), reason)
            self.assertEqual(near.farRecords, [])


class FailureTests(ForwardingCase):
    """What fails over there, and on the way."""

    def test_refusals(self) -> None:
        """The far proxy's REP is ours; one that RFC 1928 does not have becomes 1."""
        for code in range(1, 9):
            client, far = self.asked()
            self.tell(far, refused(code))
            self.assertFails(client, code, rf"^via {VIA}: .*\({code}\): ")
            self.assertTrue(far.eof)
        for code in (9, 0xF0, 0xFF):
            client, far = self.asked()
            self.tell(far, refused(code))
            self.assertFails(client, 1, f"^via {VIA}: ")

    def test_realRefusal(self) -> None:
        """So it is with a real one."""
        proxy = self.forward()
        proxy.reactor.route(TARGET, error=errno.ECONNREFUSED)
        self.assertFails(proxy.say(GREETING, request()), 5, "connection refused")

    def test_notReached(self) -> None:
        """A far proxy that can't be reached is 1, whatever the reason."""
        for number, words in (
            (errno.ECONNREFUSED, "refused"),
            (errno.EHOSTUNREACH, "host unreachable"),
            (errno.ETIMEDOUT, "timed out"),
        ):
            near = self.forward(to=None)
            near.reactor.route(FAR, error=number)
            record = self.assertFails(
                near.say(GREETING, request()), 1, f"^via {VIA}: not reached: {FAR}:1080 {words}"
            )
            self.assertEqual(record.dialled, "")

    def test_silentWay(self) -> None:
        """There is an end of waiting for a connection."""
        near = self.forward(to=None, settings={"dial_timeout": 7.0})
        near.reactor.route(FAR, silent=True)
        client = near.say(GREETING, request())
        near.reactor.advance(6.9)
        self.assertEqual(client.received, GREETED)
        near.reactor.advance(0.2)
        self.assertFails(client, 1, "not reached: .*timed out")

    def test_silentProxy(self) -> None:
        """There is an end of waiting for an answer, and it is that of the request as a whole."""
        client, far = self.asked(settings={"dial_timeout": 7.0})
        self.proxy.reactor.advance(6.9)
        self.assertEqual(client.received, GREETED)
        self.proxy.reactor.advance(0.2)
        self.assertFails(client, 6, f"^via {VIA}: no answer within 7 s")
        self.assertTrue(far.wasReset)

    def test_impatient(self) -> None:
        """A string may give the proxy less time than the request has."""
        client, far = self.asked(via=rf"socks5:via={FAR}\:1080:timeout=2")
        self.proxy.reactor.advance(2.1)
        self.assertFails(client, 6, f"^via {VIA}: the proxy has not granted the request within 2")
        self.assertTrue(far.wasReset)

    def test_slowEverywhere(self) -> None:
        """The way, and the answer, share the time."""
        near = self.forward(to=None, settings={"dial_timeout": 7.0})
        near.reactor.route(FAR, delay=5)
        liar = near.target(FAR, 1080)
        client = near.say(GREETING, request())
        near.reactor.advance(5)
        self.assertEqual(len(liar.peers), 1)
        near.reactor.advance(2.1)
        self.assertFails(client, 6, "no answer within 7 s")

    def test_liars(self) -> None:
        """Whatever is not SOCKS is 1, and the connection is closed."""
        for said, reason in (
            (b"HTTP/1.1 400 Bad Request\r\n\r\n", "this looks like an HTTP proxy"),
            (b"\4\0", "SOCKS4 only"),
            (b"\5\2", "has not been offered|not offered|did not offer"),
            (b"\5\xff", "none of the methods|accepts none|no acceptable"),
            (GREETED + b"\5\0\0\x09", "address type"),
            (GREETED + b"\4\0\0\1", "version 4"),
        ):
            liar = self.liar()
            client = self.proxy.say(GREETING, request())
            far = liar.peer
            self.tell(far, said)
            self.assertFails(client, 1, f"^via {VIA}: .*({reason})")
            self.assertTrue(far.eof or far.lost)

    def test_gone(self) -> None:
        """A far proxy that goes, at whatever stage, is 1."""
        for said in ((), (GREETED,), (GREETED, b"\5\0\0\1")):
            for end in ("lose", "loseWrite", "abort"):
                liar = self.liar()
                client = self.proxy.say(GREETING, request())
                self.tell(liar.peer, *said)
                getattr(liar.peer, end)()
                self.proxy.settle()
                self.assertFails(client, 1, f"^via {VIA}: the proxy closed the connection")

    def test_login(self) -> None:
        """Who we are stands in the URL, and nowhere in the log."""
        for word, reply in (("secret", 0), ("guess", 1)):
            near = self.forward(f"socks5://alice:{word}@{FAR}", to={"portal": users()})
            near.target()
            client = near.say(GREETING, request())
            near.reactor.advance(5)
            if reply:
                record = self.assertFails(client, 1, f"^via {VIA}: ")
                self.assertNotIn(word, record.reason)
            else:
                self.assertGranted(client)
                client.abort()
                near.settle()
                self.assertEqual(self.record().dialled, VIA)
                self.assertEqual(near.farRecords[0].user, "alice")

    def test_notLoggedIn(self) -> None:
        """A far proxy that does not believe us is 1."""
        liar = self.liar(f"socks5://alice:secret@{FAR}")
        client = self.proxy.say(GREETING, request())
        self.tell(liar.peer, LOGIN_SELECTED, NOT_LOGGED_IN)
        self.assertFails(client, 1, f"^via {VIA}: ")

    def test_itself(self) -> None:
        """A proxy that is its own next one would never end: 1."""
        self.patch(factory, "isLocalAddress", lambda address: str(address) == NEAR)
        near = self.forward(f"socks5://{NEAR}:1080", to=None)
        self.assertFails(near.say(GREETING, request()), 1, "that is this proxy itself")

    def test_lostAtOnce(self) -> None:
        """A connection that is cut while it is handed over fails: 5."""
        self.patch(forwarded, "tune", self.failing)
        client, far = self.asked()
        self.tell(far, b"\5\0\0" + BOUND)
        self.assertRefused(client, GREETED + refused(5), "the next proxy cut the connection")
        self.assertTrue(far.wasReset)

    def failing(self, transport: Any) -> None:
        """Be a socket that is gone."""
        raise OSError(errno.ENOTCONN, "not connected")

    def test_lostWithReply(self) -> None:
        """One whose loss comes with the reply is a cut for the client, too."""
        client, far = self.asked()
        far.write(b"\5\0\0" + BOUND)
        self.proxy.reactor.turn()
        far.abort()
        self.proxy.settle()
        self.assertTrue(client.wasReset)

    def test_foreign(self) -> None:
        """What an application's own next proxy returns is looked at."""
        near = self.forward(lambda *_: Strange(), to=None)
        client = near.say(GREETING, request())
        self.assertRefused(client, GREETED + refused(1), "internal error")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_without(self) -> None:
        """A server without a next proxy has nothing to forward to."""
        near = self.forward()
        near.server.via = None
        near.server.commands = {Command.CONNECT: ForwardedConnect}
        client = near.say(GREETING, request())
        self.assertRefused(client, GREETED + refused(1), "internal error")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)


class StreamFailureTests(FailureTests):
    """The same on streams."""

    streams = True


class ProtectedTests(ForwardingCase):
    """GSSAPI to the far proxy."""

    def test_talks(self) -> None:
        """All that follows is protected, and ends as ever."""
        for level in LEVELS[:2]:
            near = self.forward(
                self.protectedVia(level), to={"portal": self.accepting(ordered=True)}
            )
            target = near.target(peer=Greeter)
            client = near.say(GREETING, request(), b"early")
            self.assertEqual(self.assertGranted(client), b"220 ready")
            self.assertTrue(client.eof)
            self.tell(client, BULK)
            client.loseWrite()
            near.settle()
            self.assertOctets(target.peer.received, b"early" + BULK)
            self.assertTrue(client.wasClosed)
            self.assertEqual(self.record().received, 9)
            self.assertGreater(self.contexts[0].unwrapped, 1)
            self.assertTrue(self.contexts[0].disposed)
            self.assertEqual(near.farRecords[0].user, "near@EXAMPLE.COM")

    def test_bind(self) -> None:
        """BIND, too."""
        near = self.forward(
            self.protectedVia(LEVELS[0]), to={"portal": self.accepting(ordered=True)}
        )
        client = near.say(GREETING, request(TARGET, 0, Command.BIND))
        ((first,), _) = replies(client)
        peers = PeerFactory()
        where = (str(first.bound.host), first.bound.port)
        near.reactor.connectTCP(*where, peers, bindAddress=(TARGET, 20))
        near.settle()
        near.targets.append(peers)
        self.tell(peers.peer, b"hello")
        (_, second), rest = replies(client)
        self.assertEqual((str(second.bound), rest), (f"{TARGET}:20", b"hello"))

    def test_notWanted(self) -> None:
        """A far proxy that has no GSSAPI does not want us."""
        near = self.forward(self.protectedVia(LEVELS[0]))
        self.assertFails(near.say(GREETING, request()), 1, f"^via {VIA}: ")


class StreamProtectedTests(ProtectedTests):
    """The same on streams."""

    streams = True


class CancelTests(ForwardingCase):
    """A client that goes takes everything along, at each stage."""

    def test_stages(self) -> None:
        """Before there is a connection, and at each step of what is said on it."""
        for said in (None, (), (GREETED,), (GREETED, b"\5\0\0\1\0")):
            near = self.forward(to=None)
            near.reactor.route(FAR, delay=1)
            liar = near.target(FAR, 1080)
            client = near.say(GREETING, request(b"example.com"))
            if said is not None:
                near.reactor.advance(1)
                self.tell(liar.peer, *said)
            client.abort()
            near.settle()
            near.reactor.advance(2)
            if said is None:
                self.assertEqual(liar.peers, [])
            else:
                self.assertIs(liar.peer.lost and liar.peer.lost.type, ConnectionLost)
            self.assertEqual(self.record().reason, "client reset during the request")

    def test_name(self) -> None:
        """While the next proxy's name is looked up."""
        near = self.forward("socks5://next.example", to=None)
        near.reactor.names.add("next.example", [FAR], delay=2)
        liar = near.target(FAR, 1080)
        client = near.say(GREETING, request())
        client.abort()
        near.reactor.advance(5)
        self.assertEqual(liar.peers, [])

    def test_closes(self) -> None:
        """A client's FIN is no reason to give up: it may await the answer."""
        client, far = self.asked(request(), b"all I have to say")
        client.loseWrite()
        self.proxy.settle()
        self.tell(far, b"\5\0\0" + BOUND)
        self.assertTrue(far.received.endswith(b"all I have to say"))
        self.assertTrue(far.eof)
        self.tell(far, b"answer")
        self.assertTrue(client.received.endswith(b"answer"))

    def test_drained(self) -> None:
        """A server that stops lets it go on for a while, and then cuts both."""
        client, far = self.asked()
        self.proxy.server.drain("the proxy stops")
        self.proxy.settle()
        self.assertEqual(client.received, GREETED)
        self.proxy.server.abortSessions("the proxy stops")
        self.proxy.settle()
        self.assertTrue(far.wasReset)
        self.assertTrue(client.wasReset)


class StreamCancelTests(CancelTests):
    """The same on streams."""

    streams = True


class ResolveTests(ForwardingCase):
    """RESOLVE and RESOLVE_PTR are the next proxy's to answer."""

    def ask(self, host: Any, command: int = Command.RESOLVE, **options: Any) -> Any:
        """Ask through both."""
        options = {"to": {"settings": {"resolve": True}}, **options}
        near = self.forward(**{"settings": {"resolve": True}, **options})
        near.reactor.names.add("example.com", [TARGET])
        near.reactor.names.add("inner.example", ["127.0.0.1"])
        return near.say(GREETING, request(host, 0, command))

    def test_answered(self) -> None:
        """A name's address; the far proxy looks it up, once."""
        client = self.ask(b"example.com")
        (reply,), rest = replies(client)
        self.assertEqual((str(reply.bound), rest), (f"{TARGET}:0", b""))
        self.assertEqual(self.proxy.reactor.names.lookups, ["example.com"])
        client.lose()
        self.proxy.settle()
        record = self.record()
        self.assertEqual((record.dialled, record.reason), (VIA, "answered"))

    def test_refused(self) -> None:
        """What the far proxy doesn't know, doesn't do, or should not tell."""
        self.assertFails(self.ask(b"no.example"), 4, f"^via {VIA}: ")
        self.assertFails(self.ask(b"example.com", to={}), 7, f"^via {VIA}: ")
        client = self.ask(b"localhost")
        self.assertRefused(client, GREETED + refused(2), "loopback name")

    def test_address(self) -> None:
        """An address that a client may not reach is not told it either."""
        liar = self.liar(settings={"resolve": True})
        client = self.proxy.say(GREETING, request(b"inner.example", 0, Command.RESOLVE))
        self.tell(liar.peer, GREETED, b"\5\0\0\1\x7f\0\0\1\0\0")
        self.assertRefused(client, GREETED + refused(2), "loopback destination")

    def test_pointer(self) -> None:
        """A name for an address; for a name there is none."""
        liar = self.liar(settings={"resolve": True})
        client = self.proxy.say(GREETING, request(TARGET, 0, Command.RESOLVE_PTR))
        self.tell(liar.peer, GREETED)
        self.assertTrue(liar.peer.received.endswith(request(TARGET, 0, Command.RESOLVE_PTR)))
        self.tell(liar.peer, b"\5\0\0\3\x0bexample.com\0\0")
        self.assertEqual(client.received, GREETED + b"\5\0\0\3\x0bexample.com\0\0")
        client = self.ask(b"example.com", Command.RESOLVE_PTR)
        self.assertRefused(client, GREETED + refused(4), "RESOLVE_PTR asks for a name")

    def test_off(self) -> None:
        """Without the setting there are no such commands."""
        client = self.ask(b"example.com", settings={})
        self.assertRefused(client, GREETED + refused(7), "unknown command 240")
        self.assertEqual(self.proxy.farRecords, [])


class LocalClientTests(ForwardingCase):
    """Who is on this host may ask for more."""

    def test_localhost(self) -> None:
        """For a client on this host, what is protected is the far proxy's business."""
        near = self.forward(to=None)
        liar = near.target(FAR, 1080)
        port = near.reactor.listenTCP(1081, near.server, interface="127.0.0.1")
        near.ports.append(port)
        client = near.connect("127.0.0.1", 1081)
        self.assertNotEqual(CLIENT, "127.0.0.1")
        self.tell(client, GREETING, request(b"localhost"))
        self.tell(liar.peer, GREETED)
        self.assertTrue(liar.peer.received.endswith(request(b"localhost")))
