"""RESOLVE and RESOLVE_PTR in memory: the answers, whom the rules keep from them, and the ends."""

from __future__ import annotations

import socket
from collections.abc import Callable
from ipaddress import ip_address

from tests.server.asking import PROXY, TARGET, TARGET6, AskingCase
from twisted_socks5.interfaces import Access, Verdict
from twisted_socks5.resolving import NameLookup
from twisted_socks5.reverselookup import PENDING, ReverseLookup
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.testing import Peer
from twisted_socks5.wire import Address, Command, Host, pack_request, pack_request4, parse_reply

GREETING = b"\5\1\0"
SELECTED = b"\5\0"


def refusal(reply: int) -> bytes:
    """Write the reply to a request that fails."""
    return bytes((5, reply, 0, 1)) + bytes(6)


class ResolveCase(AskingCase):
    """A server that resolves for others."""

    command = Command.RESOLVE

    def setUp(self) -> None:
        """Switch it on."""
        super().setUp()
        self.settings["resolve"] = True

    def request(self, host: str | Host, port: int = 0) -> bytes:
        """Write a greeting and a request."""
        where = ip_address(host) if isinstance(host, str) else host
        return GREETING + pack_request(self.command, Address(where, port))

    def answered(self, client: Peer) -> Host:
        """See that there is an answer, and then the end; give what is in it."""
        found = parse_reply(bytes(client.received), 2)
        if found is None:
            raise AssertionError(f"no reply: {client.received!r}")
        reply, end = found
        self.assertEqual((reply.reply, reply.bound.port, end), (0, 0, len(client.received)))
        self.assertTrue(client.eof)
        client.lose()
        self.reactor.advance(0)
        self.assertTrue(client.wasClosed)
        record = self.record()
        self.assertEqual((record.reply, record.reason), (0, "answered"))
        self.assertEqual(record.command, self.command.name)
        return reply.bound.host

    def refuses(self, client: Peer, reply: int, reason: str) -> None:
        """See that a request was refused."""
        record = self.assertRefused(client, SELECTED + refusal(reply), reason)
        self.assertEqual(record.reply, reply)


class ResolveTests(ResolveCase):
    """RESOLVE: the first address that the rules permit."""

    def test_name(self) -> None:
        """A name."""
        self.reactor.names.add("example.com", [TARGET, TARGET6])
        self.serve()
        self.assertEqual(
            self.answered(self.ask(self.request(b"Example.com."))), ip_address(TARGET)
        )

    def test_IPv6(self) -> None:
        """A name that leads to IPv6 first, or only."""
        self.reactor.names.add("example.com", [TARGET6, TARGET])
        self.serve()
        client = self.ask(self.request(b"example.com"))
        self.assertEqual(self.answered(client), ip_address(TARGET6))

    def test_address(self) -> None:
        """An address stands for itself, however it is written; nobody is asked."""
        self.serve()
        for host in (TARGET, b"203.0.113.5", b"0xcb.0.0x7105", b"::ffff:203.0.113.5"):
            self.records.clear()
            self.assertEqual(self.answered(self.ask(self.request(host))), ip_address(TARGET))
        self.assertEqual(self.reactor.names.lookups, [])

    def test_port(self) -> None:
        """The port means nothing to it, and the rules get it all the same."""
        self.reactor.names.add("example.com", [TARGET])
        self.serve(rules=Rules([Rule.parse("deny", f"{TARGET}:443")]))
        client = self.ask(self.request(b"example.com", 80))
        self.assertEqual(self.answered(client), ip_address(TARGET))
        self.records.clear()
        client = self.ask(self.request(b"example.com", 443))
        self.refuses(client, 2, f"deny {TARGET}:443")

    def test_later(self) -> None:
        """An answer that takes its time; a client that has ended its sending still gets it."""
        self.reactor.names.add("example.com", [TARGET], delay=3)
        self.serve()
        client = self.ask(self.request(b"example.com"))
        client.loseWrite()
        self.reactor.advance(2.9)
        self.assertEqual((bytes(client.received), client.eof), (SELECTED, False))
        self.reactor.advance(0.2)
        self.assertTrue(client.wasClosed)
        self.assertEqual(client.received[-6:-2], ip_address(TARGET).packed)
        self.assertEqual(self.record().reason, "answered")

    def test_more(self) -> None:
        """What a client sends behind its request is read and dropped."""
        self.reactor.names.add("example.com", [TARGET], delay=1)
        self.serve()
        client = self.ask(self.request(b"example.com") + bytes(1000), bytes(1000))
        self.reactor.advance(1)
        client.write(bytes(1000))
        self.reactor.advance(0)
        self.assertEqual(self.answered(client), ip_address(TARGET))

    def test_deniedName(self) -> None:
        """A name that is denied; the query does not even go out."""
        self.reactor.names.add("example.com", [TARGET])
        self.serve(rules=Rules([Rule.parse("deny", ".example.com")]))
        self.refuses(self.ask(self.request(b"example.com")), 2, r"deny \.example\.com")
        self.assertEqual(self.reactor.names.lookups, [])

    def test_deniedAddress(self) -> None:
        """Of an address that is denied nobody is told; of the others next to it, yes."""
        self.reactor.names.add("example.com", [TARGET])
        self.reactor.names.add("both.example", [TARGET, TARGET6])
        self.serve(rules=Rules([Rule.parse("deny", TARGET)]))
        self.refuses(self.ask(self.request(b"example.com")), 2, f"deny {TARGET}")
        self.records.clear()
        self.refuses(self.ask(self.request(TARGET)), 2, f"deny {TARGET}")
        self.records.clear()
        client = self.ask(self.request(b"both.example"))
        self.assertEqual(self.answered(client), ip_address(TARGET6))

    def test_protected(self) -> None:
        """What a client from elsewhere can't reach it does not learn of either."""
        self.reactor.names.add("inside.example", ["127.0.0.1", "169.254.169.254"])
        self.serve()
        for host in (b"inside.example", b"localhost", "127.0.0.1", "::1"):
            self.records.clear()
            self.refuses(self.ask(self.request(host)), 2, "loopback")

    def test_rulesKnowTheCommand(self) -> None:
        """An application's own rules can tell it from a CONNECT."""
        judged: list[Access] = []

        class Seeing(Rules):
            def judge(self, access: Access) -> Verdict:
                judged.append(access)
                return super().judge(access)

        self.reactor.names.add("example.com", [TARGET])
        self.serve(rules=Seeing())
        self.answered(self.ask(self.request(b"example.com")))
        self.assertEqual([each.command for each in judged], [0xF0, 0xF0])
        self.assertEqual([each.address for each in judged], [None, ip_address(TARGET)])

    def test_unknown(self) -> None:
        """A name that nobody knows, and what is no name."""
        self.serve()
        self.refuses(self.ask(self.request(b"nowhere.example")), 4, "no such name")
        self.records.clear()
        self.refuses(self.ask(self.request(b"a b")), 4, "invalid host name")

    def test_late(self) -> None:
        """An answer that comes too late."""
        self.settings["lookup_timeout"] = 6
        self.reactor.names.add("example.com", silent=True)
        self.serve()
        client = self.ask(self.request(b"example.com"))
        self.reactor.advance(6)
        self.refuses(client, 4, "no answer within 6 s")

    def test_broken(self) -> None:
        """A resolver that breaks down."""
        self.reactor.names.add("example.com", error=ZeroDivisionError("resolver"))
        self.serve()
        self.refuses(self.ask(self.request(b"example.com")), 4, "ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_gone(self) -> None:
        """A client that resets meanwhile: the question is given up, and others may ask."""
        self.reactor.names.add("example.com", silent=True)
        self.serve()
        self.server.lookup = NameLookup(self.reactor.names, self.reactor, pending=1)
        client = self.ask(self.request(b"example.com"))
        client.abort()
        self.reactor.advance(0)
        self.assertEqual(self.record().reason, "client reset during the request")
        self.records.clear()
        self.reactor.names.add("example.org", [TARGET])
        client = self.ask(self.request(b"example.org"))
        self.assertEqual(self.answered(client), ip_address(TARGET))

    def test_off(self) -> None:
        """Where it is off neither command exists."""
        self.settings["resolve"] = False
        self.serve()
        for command in (0xF0, 0xF1):
            self.records.clear()
            asked = GREETING + pack_request(command, Address(ip_address(TARGET), 0))
            self.refuses(self.ask(asked), 7, f"unknown command {command}")
        self.assertEqual(self.record().command, "241")


class Resolve4Tests(AskingCase):
    """RESOLVE in SOCKS4a, which Tor has as well: IPv4 or nothing."""

    def setUp(self) -> None:
        """Switch both on."""
        super().setUp()
        self.settings.update(resolve=True, socks4=True)
        self.serve()

    def resolves(self, host: Host) -> Peer:
        """Ask."""
        return self.ask(pack_request4(Command.RESOLVE, Address(host, 0)))

    def test_name(self) -> None:
        """The first address that a reply has room for."""
        self.reactor.names.add("example.com", [TARGET6, TARGET])
        client = self.resolves(b"example.com")
        answer = b"\0\x5a\0\0" + ip_address(TARGET).packed
        self.assertRefused(client, answer, "answered")

    def test_address(self) -> None:
        """An address."""
        client = self.resolves(ip_address(TARGET))
        self.assertRefused(client, b"\0\x5a\0\0" + ip_address(TARGET).packed, "answered")

    def test_none(self) -> None:
        """There is none, and 0.0.0.0 would be a lie."""
        self.reactor.names.add("six.example", [TARGET6])
        client = self.resolves(b"six.example")
        self.assertRefused(client, b"\0\x5b" + bytes(6), "no IPv4 address")


class ResolvePTRTests(ResolveCase):
    """RESOLVE_PTR: from an address to its name, by the system's resolver in a thread."""

    command = Command.RESOLVE_PTR

    def setUp(self) -> None:
        """Put something in the place of the system."""
        super().setUp()
        self.asked: list[tuple[tuple[str, int], int]] = []
        self.system: Callable[[], str] = lambda: "host.example"

        original = socket.getnameinfo

        def getnameinfo(address: tuple[str, int], flags: int) -> tuple[str, str]:
            if not flags & socket.NI_NAMEREQD:
                return original(address, flags)  # Twisted's: how an address is written
            self.asked.append((address, flags))
            return self.system(), "0"

        self.patch(socket, "getnameinfo", getnameinfo)

    def test_name(self) -> None:
        """IPv4 and IPv6; a name is wanted, and no address in its place."""
        self.serve()
        for host in (TARGET, TARGET6):
            self.records.clear()
            client = self.ask(self.request(host))
            self.assertEqual(self.answered(client), b"host.example")
        wanted = socket.NI_NAMEREQD
        self.assertEqual(self.asked, [((TARGET, 0), wanted), ((TARGET6, 0), wanted)])

    def test_spelling(self) -> None:
        """An address that is written as a name is an address."""
        self.serve()
        client = self.ask(self.request(b"0xcb.0.113.5"))
        self.assertEqual(self.answered(client), b"host.example")
        self.assertEqual(self.asked[0][0], (TARGET, 0))

    def test_noAddress(self) -> None:
        """A name is what it asks for, not from."""
        self.serve()
        self.refuses(self.ask(self.request(b"example.com")), 4, "example.com is a name")
        self.assertEqual((self.asked, self.reactor.names.lookups), ([], []))

    def test_unknown(self) -> None:
        """It has none."""
        self.system = self.failing
        self.serve()
        self.refuses(self.ask(self.request(TARGET)), 4, "cannot find 203.0.113.5's name: .*known")

    def failing(self) -> str:
        """Fail as the system does."""
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def test_denied(self) -> None:
        """Of an address that the rules deny nobody learns the name, nor is the system asked."""
        self.serve(rules=Rules([Rule.parse("deny", TARGET)]))
        self.refuses(self.ask(self.request(TARGET)), 2, f"deny {TARGET}")
        self.assertEqual(self.asked, [])

    def test_protected(self) -> None:
        """Nor, for who comes from elsewhere, that of an address of this host."""
        self.serve()
        self.refuses(self.ask(self.request("127.0.0.1")), 2, "loopback")
        self.assertEqual(self.asked, [])

    def test_foreign(self) -> None:
        """A name with octets that no host name has becomes one that can be shown."""
        self.system = lambda: "h\udcffst.example"
        self.serve()
        self.assertEqual(self.answered(self.ask(self.request(TARGET))), b"h?st.example")

    def test_length(self) -> None:
        """A name of 255 octets fits; a longer one, and none at all, is no name."""
        self.system = lambda: "n" * 255
        self.serve()
        self.assertEqual(self.answered(self.ask(self.request(TARGET))), b"n" * 255)
        for size in (256, 0):
            self.records.clear()
            self.system = lambda size=size: "n" * size  # type: ignore[misc]
            self.refuses(self.ask(self.request(TARGET)), 4, f"name of {size} octets")

    def test_late(self) -> None:
        """Threads that are all busy; what one of them still says later is dropped."""
        self.settings["lookup_timeout"] = 6
        self.reactor.threads.stalled = True
        self.serve()
        client = self.ask(self.request(TARGET))
        self.reactor.advance(6)
        self.refuses(client, 4, "within 6 s")
        self.reactor.threads.stalled = False
        self.reactor.advance(0)
        self.assertEqual(len(self.asked), 1)

    def test_gone(self) -> None:
        """A client that resets meanwhile."""
        self.reactor.threads.stalled = True
        self.serve()
        self.ask(self.request(TARGET)).abort()
        self.reactor.advance(0)
        self.assertEqual(self.record().reason, "client reset during the request")
        self.reactor.threads.stalled = False
        self.reactor.advance(0)
        self.assertEqual(len(self.asked), 1)

    def test_bounded(self) -> None:
        """A crowd gets no more threads than its share, and is told so at once."""
        self.reactor.threads.stalled = True
        self.serve()
        waiting = [self.ask(self.request(TARGET)) for _ in range(PENDING)]
        self.assertEqual([bytes(each.received) for each in waiting], [SELECTED] * PENDING)
        client = self.ask(self.request(TARGET))
        self.assertEqual(bytes(client.received), SELECTED + refusal(4))
        client.lose()
        self.reactor.advance(0)
        self.assertIn("too many lookups waiting", self.records[0].reason)
        self.reactor.threads.stalled = False
        self.reactor.advance(0)
        for each in waiting:
            self.assertIn(b"host.example", each.received)
            each.lose()
        self.reactor.advance(0)
        self.records.clear()
        client = self.ask(self.request(TARGET))
        self.assertEqual(self.answered(client), b"host.example")


class ReverseLookupTests(AskingCase):
    """The lookup itself, whose threads do not come back when nobody waits any more."""

    def setUp(self) -> None:
        """Make one, of a pool that is all busy."""
        super().setUp()
        self.patch(socket, "getnameinfo", lambda *_: ("host.example", "0"))
        self.reverse = ReverseLookup(self.reactor, self.reactor, timeout=5)
        self.reactor.threads.stalled = True

    def test_threadsStayTaken(self) -> None:
        """Lookups that were given up, or are late, take their thread until it is done."""
        address = ip_address(PROXY)
        late = self.reverse.lookup(address)
        self.reactor.advance(5)
        self.failureResultOf(late)
        for _ in range(PENDING - 1):
            given = self.reverse.lookup(address)
            given.cancel()
            self.failureResultOf(given)
        self.failureResultOf(self.reverse.lookup(address))
        self.reactor.threads.stalled = False
        self.reactor.advance(0)
        answers = [self.reverse.lookup(address) for _ in range(PENDING)]
        self.reactor.advance(0)
        self.assertEqual([self.successResultOf(each) for each in answers], ["host.example"] * 4)
