"""CONNECT: what is reached, what is not and why, and what the client is told of it."""

from __future__ import annotations

import errno
import socket
from types import SimpleNamespace
from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IProtocolFactory
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.server.base import (
    CLIENT,
    GRANTED,
    GREETED,
    GREETING,
    PROXY,
    TARGET,
    TARGET6,
    ServerCase,
    refused,
    request,
)
from twisted_socks5.interfaces import IDialer
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.server import localhost
from twisted_socks5.server.connect import LegFactory
from twisted_socks5.testing import Peer
from twisted_socks5.wire import parse_reply

HERE = "127.0.0.1"


class Greeter(Peer):
    """A target that speaks first."""

    def connectionMade(self) -> None:
        """Greet."""
        super().connectionMade()
        self.write(b"220 ready")


class FailureTests(ServerCase):
    """Each failure has its REP, its reason in the log, and a close."""

    def test_onTheWay(self) -> None:
        """What the network says becomes a REP."""
        for number, reply, reason in (
            (errno.ECONNREFUSED, 5, "refused"),
            (errno.ENETUNREACH, 3, "network unreachable"),
            (errno.EHOSTUNREACH, 4, "host unreachable"),
            (errno.ETIMEDOUT, 6, "timed out"),
            (errno.ECONNRESET, 5, "reset"),
            (errno.EACCES, 2, "prohibited"),
            (errno.EMFILE, 1, "too many open files"),
        ):
            proxy = self.serve()
            proxy.reactor.route(TARGET, error=number)
            if proxy.sockets is not None and number == errno.EMFILE:
                proxy.sockets.noDescriptor = True
            client = proxy.say(GREETING, request())
            record = self.assertRefused(client, GREETED + refused(reply), reason)
            self.assertIn(f"{TARGET}:80", record.reason)
            self.assertEqual((record.reply, record.dialled), (reply, ""))

    def test_dialDeadline(self) -> None:
        """A target that does not answer is given up after its time, with 6."""
        proxy = self.serve(settings={"dial_timeout": 7.0})
        proxy.reactor.route(TARGET, silent=True)
        client = proxy.say(GREETING, request())
        proxy.reactor.advance(6.9)
        self.assertEqual(client.received, GREETED)
        proxy.reactor.advance(0.2)
        self.assertRefused(client, GREETED + refused(6), "timed out")

    def test_lookupDeadline(self) -> None:
        """A name that is not answered is given up after its time, with 4."""
        proxy = self.serve(settings={"lookup_timeout": 3.0})
        proxy.reactor.names.add("example.com", silent=True)
        client = proxy.say(GREETING, request(b"example.com"))
        proxy.reactor.advance(2.9)
        self.assertEqual(client.received, GREETED)
        proxy.reactor.advance(0.2)
        self.assertRefused(client, GREETED + refused(4), "no answer within 3 s")

    def test_noSuchName(self) -> None:
        """A name that does not exist is 4."""
        proxy = self.serve()
        client = proxy.say(GREETING, request(b"no.example"))
        self.assertRefused(client, GREETED + refused(4), "cannot resolve no.example: no such name")

    def test_noName(self) -> None:
        """What is no host name is refused before anybody is asked about it, and logged safely."""
        for name in (
            b"",
            b"evil\0.example.com",
            b"a b",
            b"\xff\xfe",
            b"x" * 64,
            b"1.2.3.4.5",
            b"%",
        ):
            proxy = self.serve()
            client = proxy.say(GREETING, request(name))
            record = self.assertRefused(client, GREETED + refused(4), "invalid host name")
            self.assertNotIn("\0", record.reason)
            self.assertTrue(record.reason.isascii())
            self.assertEqual(proxy.reactor.names.lookups, [])

    def test_portZero(self) -> None:
        """Port 0 is refused at once."""
        for host in (TARGET, b"example.com"):
            proxy = self.serve()
            client = proxy.say(GREETING, request(host, 0))
            self.assertRefused(client, GREETED + refused(1), "port 0")
            self.assertEqual(proxy.reactor.names.lookups, [])

    def test_cancelled(self) -> None:
        """A client that goes takes the lookup and the dial along."""
        proxy = self.serve()
        proxy.reactor.names.add("example.com", [TARGET], delay=2)
        target = proxy.target()
        client = proxy.say(GREETING, request(b"example.com"))
        client.abort()
        proxy.reactor.advance(5)
        self.assertEqual(target.peers, [])
        self.assertEqual(self.record().reason, "client reset during the request")


class ReachedTests(ServerCase):
    """What is reached, and how it was asked for."""

    def reach(self, host: Any, really: str, port: int = 80) -> Any:
        """Connect to a host that is expected to be this; @return: the client."""
        target = self.proxy.target(really, port)
        client = self.proxy.say(GREETING, request(host, port))
        self.assertEqual(len(target.peers), 1)
        return client

    def bound(self, client: Any) -> tuple[str, int]:
        """Give the reply's address."""
        found = parse_reply(bytes(client.received), 2)
        if found is None:
            raise AssertionError(client.received)
        return str(found[0].bound.host), found[0].bound.port

    def test_addresses(self) -> None:
        """Addresses, of either family; the reply names the connection's own end."""
        for host, own in ((TARGET, CLIENT), (TARGET6, "2001:db8::1")):
            self.serve()
            client = self.reach(host, host)
            (handle,) = self.proxy.ends(target=host)
            self.assertEqual(self.bound(client), (own, handle.local and handle.local[1]))
            client.abort()
            self.proxy.settle()
            shown = f"[{host}]:80" if ":" in host else f"{host}:80"
            self.assertEqual((self.record().target, self.record().dialled), (shown, shown))

    def test_spellings(self) -> None:
        """An address is the same however it is written: mapped, as a name, in hexadecimal."""
        for host in (
            f"::ffff:{TARGET}",
            TARGET.encode(),
            b"0xcb.0.0x71.5",
            b"3405803781",
            b"[::ffff:203.0.113.5]",
            b"203.0.113.5.",
        ):
            self.serve()
            self.reach(host, TARGET)
            self.assertEqual(self.proxy.reactor.names.lookups, [])

    def test_names(self) -> None:
        """A name, in whatever case and with or without its last dot."""
        for name in (b"example.com", b"EXAMPLE.com", b"example.com."):
            self.serve()
            self.proxy.reactor.names.add("example.com", [TARGET])
            client = self.reach(name, TARGET)
            client.abort()
            self.proxy.settle()
            self.assertEqual(self.record().target, f"{name.decode()}:80")
            self.assertEqual(self.record().dialled, f"{TARGET}:80")

    def test_secondAddress(self) -> None:
        """Where a name has several addresses, any that answers will do."""
        self.serve()
        self.proxy.reactor.names.add("example.com", [TARGET6, TARGET])
        self.proxy.reactor.route(TARGET6, error=errno.ENETUNREACH)
        client = self.reach(b"example.com", TARGET)
        client.abort()
        self.proxy.settle()
        self.assertEqual(self.record().dialled, f"{TARGET}:80")

    def test_speaksFirst(self) -> None:
        """A target that speaks first is heard behind the reply."""
        proxy = self.serve()
        proxy.target(peer=Greeter)
        client = proxy.say(GREETING, request())
        self.assertEqual(self.assertGranted(client), b"220 ready")

    def test_closesFirst(self) -> None:
        """A target that closes at once has been reached all the same."""
        proxy = self.serve()

        class Closing(Greeter):
            def connectionMade(self) -> None:
                super().connectionMade()
                self.lose()

        proxy.target(peer=Closing)
        client = proxy.say(GREETING, request())
        self.assertEqual(self.assertGranted(client), b"220 ready")
        self.assertTrue(client.eof)

    def test_options(self) -> None:
        """On both legs small messages go at once, and dead peers are noticed."""
        proxy = self.serve()
        proxy.target()
        self.assertGranted(proxy.say(GREETING, request()))
        legs = proxy.ends(target=TARGET)
        self.assertEqual(len(legs), 1)
        if not self.streams:  # Those of streams inherit it from the port.
            legs += proxy.ends(port=1080)
        for leg in legs:
            self.assertTrue(leg.options[socket.IPPROTO_TCP, socket.TCP_NODELAY])
            self.assertTrue(leg.options[socket.SOL_SOCKET, socket.SO_KEEPALIVE])


class ProtectedTests(ServerCase):
    """What clients from elsewhere don't reach, in any disguise, and those of this host do."""

    #: This host's loopback, link-local, multicast and broadcast addresses, and their disguises.
    PROTECTED: tuple[str | bytes, ...] = (
        "127.0.0.1",
        "127.8.9.10",
        "0.0.0.0",
        "::",
        "::1",
        "::ffff:127.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b:1::7f00:1",
        "2002:7f00:1::",
        "2001:0:7f00:1::",
        "169.254.169.254",
        "::ffff:169.254.169.254",
        "fe80::1",
        "224.0.0.1",
        "255.255.255.255",
        b"127.0.0.1",
        b"0x7f.1",
        b"2130706433",
        b"0177.0.0.1",
        b"localhost",
        b"LOCALHOST.",
        b"x.localhost",
        b"[::1]",
        "\uff11\uff12\uff17.0.0.1".encode(),
    )

    def test_elsewhere(self) -> None:
        """None of them is reached by a client from elsewhere, nor looked up."""
        for host in self.PROTECTED:
            proxy = self.serve()
            here = [proxy.target(each) for each in (HERE, "::1")]
            client = proxy.say(GREETING, request(host))
            record = self.assertRefused(client, GREETED + refused(2), "from 192.0.2.1")
            self.assertEqual(record.reply, 2)
            self.assertEqual([each.peers for each in here], [[], []])
            self.assertEqual(proxy.reactor.names.lookups, [])

    def test_loopback(self) -> None:
        """A client on this host reaches its loopback."""
        for host in ("127.0.0.1", b"127.0.0.1", b"0x7f.1", "::ffff:127.0.0.1", b"localhost"):
            proxy = self.serve()
            proxy.reactor.names.add("localhost", [HERE])
            proxy.target(HERE)
            client = proxy.say(GREETING, request(host), proxy=HERE)
            self.assertGranted(client)

    def test_nameOfLoopback(self) -> None:
        """A name that resolves there is not reached either."""
        for address in (HERE, "::1", "::ffff:127.0.0.1", "169.254.169.254", "0.0.0.0"):
            proxy = self.serve()
            proxy.target(HERE)
            proxy.reactor.names.add("inside.example", [address])
            client = proxy.say(GREETING, request(b"inside.example"))
            self.assertRefused(client, GREETED + refused(2), "from 192.0.2.1")

    def test_partlyPermitted(self) -> None:
        """Of a name's addresses those that may be reached are tried, and no others."""
        proxy = self.serve()
        proxy.reactor.names.add("mixed.example", [HERE, TARGET, "::1"])
        inside, outside = proxy.target(HERE), proxy.target(TARGET)
        proxy.reactor.route(TARGET, delay=5)
        client = proxy.say(GREETING, request(b"mixed.example"))
        proxy.reactor.advance(6)
        self.assertGranted(client)
        self.assertEqual((len(inside.peers), len(outside.peers)), (0, 1))

    def test_rebinding(self) -> None:
        """A name that resolves elsewhere the second time is judged by what is dialled."""
        proxy = self.serve()
        inside, outside = proxy.target(HERE), proxy.target(TARGET)
        proxy.reactor.names.add("rebind.example", [TARGET], [HERE])
        first = proxy.say(GREETING, request(b"rebind.example"))
        self.assertGranted(first)
        self.assertEqual(proxy.reactor.names.lookups, ["rebind.example"])
        # By then the first answer is forgotten.
        proxy.reactor.advance(120)
        second = proxy.say(GREETING, request(b"rebind.example"))
        self.assertRefused(second, GREETED + refused(2), "loopback destination 127.0.0.1")
        self.assertEqual((inside.peers, len(outside.peers)), ([], 1))

    def test_ownPort(self) -> None:
        """The proxy itself is not reached, by any address of its host's."""
        module = _OwnAddress(PROXY)
        self.patch(localhost, "socket", module)
        proxy = self.serve()
        other = proxy.target(PROXY, 1081)
        for host in (PROXY, f"::ffff:{PROXY}", PROXY.encode()):
            client = proxy.say(GREETING, request(host, 1080))
            self.assertRefused(
                client, GREETED + refused(2), "the proxy's own port 192.0.2.10:1080"
            )
        self.assertGranted(proxy.say(GREETING, request(PROXY, 1081)))
        self.assertEqual(len(other.peers), 1)
        # The same port of somebody else is none of ours.
        proxy.target(TARGET, 1080)
        self.assertGranted(proxy.say(GREETING, request(TARGET, 1080)))

    def test_permitted(self) -> None:
        """What the operator permits by its address is reached."""
        proxy = self.serve(rules=Rules([Rule.parse("permit", "127.0.0.1:80")]))
        proxy.target(HERE)
        proxy.target(HERE, 81)
        self.assertGranted(proxy.say(GREETING, request(HERE)))
        client = proxy.say(GREETING, request(HERE, 81))
        self.assertRefused(client, GREETED + refused(2), "loopback")

    def test_denied(self) -> None:
        """What the operator denies is not, by whatever name; a denied name is not looked up."""
        rules = [Rule.parse("deny", text) for text in ("203.0.113.0/24", "secret.example")]
        proxy = self.serve(rules=Rules(rules))
        target = proxy.target()
        proxy.reactor.names.add("example.com", [TARGET])
        for host in (TARGET, b"example.com", b"secret.example", f"::ffff:{TARGET}"):
            client = proxy.say(GREETING, request(host))
            self.assertRefused(client, GREETED + refused(2), "deny")
        self.assertEqual(target.peers, [])
        self.assertEqual(proxy.reactor.names.lookups, ["example.com"])


class _OwnAddress:
    """The module C{socket}, on a host that has one address."""

    def __init__(self, own: str) -> None:
        self._own = own

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def socket(self, family: int, kind: int) -> Any:
        """Make a socket."""
        return _Bindable(self._own)


class _Bindable:
    """A socket that can be bound to that address."""

    def __init__(self, own: str) -> None:
        self._own = own

    def __enter__(self) -> _Bindable:
        return self

    def __exit__(self, *_: object) -> None:
        """Close it."""

    def bind(self, address: tuple[str, int]) -> None:
        """Bind it."""
        if address[0] != self._own:
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")


@implementer(IDialer)
class OtherTransports:
    """A dialer whose connections are no TCP."""

    def __init__(self, reactor: Any, here: Any, there: Any) -> None:
        self._ends = reactor, here, there
        self.far = Peer()

    def dial(self, addresses: Any, port: int, factory: Any) -> Deferred[Any]:
        """Connect at once."""
        reactor, here, there = self._ends
        leg = factory.buildProtocol(there)
        reactor.connectPair(self.far, leg, there, here)
        return succeed(leg)


class OwnDialerTests(ServerCase):
    """Dialers of an application's."""

    def test_otherEnds(self) -> None:
        """The reply and the log name a connection's ends where it has an IP address."""
        tcp = IPv4Address("TCP", "198.51.100.1", 4711), IPv4Address("TCP", "198.51.100.2", 80)
        unix = UNIXAddress(b""), UNIXAddress(b"/run/next")
        for (here, there), bound, dialled in (
            (tcp, b"\xc6\x33\x64\1\x12\x67", "198.51.100.2:80"),
            (unix, bytes(6), "unix"),
        ):
            proxy = self.serve()
            dialer = OtherTransports(proxy.reactor, here, there)
            proxy.server.dialer = dialer
            client = proxy.say(GREETING, request())
            self.assertEqual(client.received, GREETED + GRANTED + bound)
            dialer.far.write(b"hello")
            proxy.settle()
            self.assertEqual(self.assertGranted(client), b"hello")
            dialer.far.lose()
            client.lose()
            proxy.settle()
            self.assertEqual(self.record().dialled, dialled)

    def test_noEnd(self) -> None:
        """A connection whose end here can't be named is refused, and not left open."""
        there = IPv4Address("TCP", "198.51.100.2", 80)
        here = SimpleNamespace(host="198.51.100.1", port=4711)  # of a kind of its own
        proxy = self.serve()
        proxy.server.dialer = dialer = OtherTransports(proxy.reactor, here, there)
        client = proxy.say(GREETING, request())
        self.assertRefused(client, GREETED + refused(1), "internal error")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertTrue(dialer.far.wasReset)

    def test_legFactory(self) -> None:
        """A target's leg is built for whatever address; one that is of no kind is not named."""
        factory = LegFactory()
        verifyObject(IProtocolFactory, factory)
        strange: Any = HostnameAddress(b"target", 80)
        self.assertIsNot(factory.buildProtocol(strange), factory.buildProtocol(strange))
        self.assertEqual(factory.dialled, "")
        factory.buildProtocol(IPv6Address("TCP", TARGET6, 80))
        self.assertEqual(factory.dialled, f"[{TARGET6}]:80")


class StreamFailureTests(FailureTests):
    """The same on streams."""

    streams = True


class StreamReachedTests(ReachedTests):
    """The same on streams."""

    streams = True


class StreamProtectedTests(ProtectedTests):
    """The same on streams."""

    streams = True
