"""
BIND in memory: who is expected, who is let in, and who is turned away.

- strangers: reset, logged within a bound, counted; the wait goes on;
- anybody: zeros in all their spellings; names that only lead to zeros are none;
- names: any of their addresses, of both families; other spellings of an address;
- the options that let in a peer's neighbours, or anybody;
- rules, at the request by name and by address, and again for who comes; the built-in protection;
  rules of the user's own; rules that fail.
"""

from __future__ import annotations

from ipaddress import ip_address

from twisted.logger import capturedLogs
from zope.interface import implementer

from tests.server.asking import PROXY, PROXY6, TARGET, TARGET6
from tests.server.bindings import NEIGHBOUR, OWN, OWN6, STRANGER, BindCase, endpoint
from twisted_socks5.config import BindPeers
from twisted_socks5.interfaces import Access, IRules, Verdict
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.server.bind import STRANGERS_LOGGED
from twisted_socks5.server.expected import SHOWN, Expected
from twisted_socks5.testing import Peer
from twisted_socks5.wire import Command, Host

NEIGHBOUR6 = "2001:db8:5::77"
ELSEWHERE6 = "2001:db8:6::5"


class PeerCase(BindCase):
    """A BIND whose peers are let in or not."""

    def assertTurnedAway(self, where: tuple[str, int], source: str) -> None:
        """See that somebody is reset without a word, and that the wait goes on."""
        stranger = self.comer(where, source, 4711).peer
        self.assertTrue(stranger.wasReset)
        self.assertEqual(bytes(stranger.received), b"")
        self.assertIn(where, self.listening())

    def assertLetIn(self, client: Peer, where: tuple[str, int], source: str) -> None:
        """See that somebody is let in, and the client told who."""
        peer = self.comer(where, source, 4711).peer
        self.assertIsNone(peer.lost)
        replies, _ = self.replies(client)
        self.assertEqual((replies[-1].reply, endpoint(replies[-1])), (0, (source, 4711)))


class StrangerTests(PeerCase):
    """Others than the peer come."""

    def test_turnedAway(self) -> None:
        """A stranger is reset, and the peer still gets in."""
        client, where = self.waiting()
        self.assertTurnedAway(where, STRANGER)
        self.assertTurnedAway(where, NEIGHBOUR)
        self.assertLetIn(client, where, TARGET)

    def test_log(self) -> None:
        """The log says who came, where, and who is expected instead, and names the option."""
        _, where = self.waiting()
        with capturedLogs() as logs:
            self.comer(where, STRANGER, 4711)
        (event,) = [each for each in logs if "stranger" in each]
        self.assertEqual(
            (event["stranger"], event["bound"], event["reason"]),
            (
                f"{STRANGER}:4711",
                f"{OWN}:{where[1]}",
                f"expected is {TARGET} (bind-peers: exact)",
            ),
        )
        self.assertRegex(event["client"], rf"{OWN}:\d+")

    def test_logIsBounded(self) -> None:
        """Who comes again and again does not fill the log, and is counted."""
        client, where = self.waiting()
        with capturedLogs() as logs:
            for port in range(100):
                self.comer(where, STRANGER, 1000 + port)
        self.assertEqual(len([each for each in logs if "stranger" in each]), STRANGERS_LOGGED)
        self.assertRegex(self.ended(client), rf"; turned away: 100, the last one {STRANGER}:1099$")

    def test_speaks(self) -> None:
        """What a stranger sends goes nowhere."""
        client, where = self.waiting()
        factory = self.comer(where, STRANGER, settle=False)
        while not (factory.peers and factory.peer.connected):
            self.reactor.turn()
        factory.peer.write(b"I am your server")
        self.reactor.advance(0)
        self.assertTrue(factory.peer.wasReset)
        self.assertLetIn(client, where, TARGET)
        self.assertEqual(self.replies(client)[1], b"")

    def test_otherFamily(self) -> None:
        """A stranger's address may be of the other family, where both are listened on."""
        self.reactor.names.add("both.example", [TARGET, TARGET6])
        client, where = self.waiting(b"both.example")
        self.assertTurnedAway(where, STRANGER)
        self.assertTurnedAway((OWN6, where[1]), ELSEWHERE6)
        self.assertLetIn(client, (OWN6, where[1]), TARGET6)


class StrangerStreamTests(StrangerTests):
    """The same on streams."""

    streams = True


class ExpectedTests(PeerCase):
    """What DST.ADDR stands for."""

    ANYBODY: tuple[str | Host, ...] = (
        "0.0.0.0", "::", "::ffff:0.0.0.0", b"0.0.0.0", b"0", b"0x0", b"::", b"[::]",
    )  # fmt: skip

    def test_anybody(self) -> None:
        """Zeros, however they are spelt."""
        for host in self.ANYBODY:
            client, where = self.waiting(host)
            self.assertLetIn(client, where, STRANGER)
        self.assertEqual(self.reactor.names.lookups, [])

    def test_anybodyTimesOut(self) -> None:
        """The log calls them by that word."""
        client, _ = self.waiting("0.0.0.0")
        self.reactor.advance(300)
        self.assertRegex(self.ended(client), "^no connection from anybody to ")

    def test_spellings(self) -> None:
        """Other spellings of the peer's address."""
        number = int(ip_address(TARGET))
        for host in (f"::ffff:{TARGET}", TARGET.encode(), b"%d" % number, b"%#x" % number):
            client, where = self.waiting(host)
            self.assertTurnedAway(where, STRANGER)
            self.assertLetIn(client, where, TARGET)

    def test_name(self) -> None:
        """A name is any of its addresses."""
        self.reactor.names.add("several.example", [TARGET, NEIGHBOUR])
        for source in (TARGET, NEIGHBOUR):
            client, where = self.waiting(b"Several.Example.")
            self.assertTurnedAway(where, STRANGER)
            self.assertLetIn(client, where, source)

    def test_nameAgain(self) -> None:
        """A name that changes its mind changes nothing: it is asked once."""
        self.reactor.names.add("rebind.example", [TARGET], [STRANGER])
        _, where = self.waiting(b"rebind.example")
        self.reactor.advance(60)
        self.assertTurnedAway(where, STRANGER)
        self.assertEqual(self.reactor.names.lookups, ["rebind.example"])

    def test_nameOfZeros(self) -> None:
        """A name for zeros is nobody's: the client has not asked for anybody."""
        self.reactor.names.add("zeros.example", ["0.0.0.0", "::"])
        self.reactor.names.add("some.example", ["0.0.0.0", TARGET])
        self.serve(rules=Rules([Rule.parse("permit", "0.0.0.0"), Rule.parse("permit", "::")]))
        self.assertEqual(
            self.assertFirst(self.bind(b"zeros.example"), 4),
            "zeros.example has no address that a connection could come from",
        )
        client, where = self.waiting(b"some.example")
        self.assertTurnedAway(where, STRANGER)
        self.assertLetIn(client, where, TARGET)

    def test_port(self) -> None:
        """DST.PORT filters nothing."""
        client, where = self.waiting(TARGET, 21)
        self.assertLetIn(client, where, TARGET)

    def test_text(self) -> None:
        """The log names a few of many."""
        addresses = [ip_address(f"192.0.2.{number}") for number in range(SHOWN + 3)]
        text = str(Expected(addresses, BindPeers.EXACT))
        self.assertEqual(text, "192.0.2.0, 192.0.2.1, 192.0.2.2, 192.0.2.3 and 3 more")
        text = str(Expected([*addresses, ip_address(TARGET6)], BindPeers.NETWORK))
        self.assertEqual(text, "192.0.2.0/24, 2001:db8:5::/64")
        self.assertEqual(str(Expected(addresses, BindPeers.ANYONE)), "anybody")


class OptionTests(PeerCase):
    """Who may come in the peer's stead."""

    def test_network(self) -> None:
        """Neighbours, and nobody from further away."""
        self.settings["bind_peers"] = BindPeers.NETWORK
        client, where = self.waiting(TARGET)
        self.assertTurnedAway(where, STRANGER)
        self.assertLetIn(client, where, NEIGHBOUR)
        client, where = self.waiting(TARGET6)
        self.assertTurnedAway(where, ELSEWHERE6)
        self.assertLetIn(client, where, NEIGHBOUR6)

    def test_anyone(self) -> None:
        """Anybody, also where an address is asked for."""
        self.settings["bind_peers"] = BindPeers.ANYONE
        client, where = self.waiting(TARGET)
        self.assertLetIn(client, where, STRANGER)

    def test_judged(self) -> None:
        """Who comes in its stead is judged by his own address."""
        self.settings["bind_peers"] = BindPeers.ANYONE
        self.serve(rules=Rules([Rule.parse("deny", f"{NEIGHBOUR}/32")]))
        client, where = self.waiting(TARGET)
        with capturedLogs() as logs:
            self.assertTurnedAway(where, NEIGHBOUR)
            self.assertTurnedAway(where, "169.254.1.1")
        self.assertEqual(
            [each["reason"] for each in logs if "stranger" in each],
            [f"deny {NEIGHBOUR}/32", f"link-local destination 169.254.1.1 from {OWN}"],
        )
        self.assertLetIn(client, where, STRANGER)


class RuleTests(PeerCase):
    """What the rules say, and when they are asked."""

    def rules(self, *texts: str) -> None:
        """Serve with these rules."""
        self.serve(rules=Rules([Rule.parse(*text.split(" ", 1)) for text in texts]))

    def test_deniedByName(self) -> None:
        """A name that is denied is not even looked up."""
        self.rules("deny *.evil.example")
        reason = self.assertFirst(self.bind(b"ftp.evil.example"), 2)
        self.assertEqual(reason, "deny *.evil.example")
        self.assertEqual(self.reactor.names.lookups, [])

    def test_deniedByAddress(self) -> None:
        """An address that is denied, asked for as it is and by a name."""
        self.reactor.names.add("ftp.example", [TARGET])
        self.rules(f"deny {TARGET}")
        for host in (TARGET, b"ftp.example"):
            self.assertEqual(self.assertFirst(self.bind(host), 2), f"deny {TARGET}")

    def test_deniedInPart(self) -> None:
        """Of a name's addresses those that are denied are strangers."""
        self.reactor.names.add("several.example", [TARGET, NEIGHBOUR])
        self.rules(f"deny {TARGET}")
        client, where = self.waiting(b"several.example")
        self.assertTurnedAway(where, TARGET)
        self.assertLetIn(client, where, NEIGHBOUR)

    def test_permittedByName(self) -> None:
        """A rule that permits a name permits its addresses, when they come."""
        self.reactor.names.add("ftp.example", [TARGET])
        self.rules("permit ftp.example", "deny *")
        client, where = self.waiting(b"ftp.example")
        self.assertLetIn(client, where, TARGET)
        self.assertFirst(self.bind(TARGET), 2)

    def test_anybody(self) -> None:
        """For anybody only the rules about all are asked at first, the others when one comes."""
        self.rules(f"permit {TARGET}", "deny *")
        client, where = self.waiting("0.0.0.0")
        self.assertTurnedAway(where, STRANGER)
        self.assertLetIn(client, where, TARGET)

    def test_nobody(self) -> None:
        """Where nobody is permitted, neither is anybody."""
        self.rules("deny *")
        self.assertEqual(self.assertFirst(self.bind("0.0.0.0"), 2), "deny *")

    def test_protected(self) -> None:
        """A client from elsewhere can't have the proxy host's own programs for its peers."""
        self.serve()
        for host, kind in (
            ("127.0.0.1", "loopback"),
            ("::1", "loopback"),
            ("169.254.169.254", "link-local"),
            (b"localhost", "loopback name"),
        ):
            self.assertRegex(self.assertFirst(self.bind(host), 2), f"^{kind} ")
        client, where = self.waiting("0.0.0.0")
        self.assertTurnedAway(where, "127.0.0.1")
        self.assertTurnedAway(where, "169.254.1.1")
        self.assertLetIn(client, where, STRANGER)

    def test_local(self) -> None:
        """A client on this host may."""
        client, where = self.waiting("127.0.0.1", proxy="127.0.0.1")
        self.assertEqual(where[0], "127.0.0.1")
        self.assertTurnedAway(where, "127.0.0.2")
        self.assertLetIn(client, where, "127.0.0.1")

    def test_port(self) -> None:
        """DST.PORT is the port of the access, at the request and when somebody comes."""
        self.rules("deny *:21")
        self.assertEqual(self.assertFirst(self.bind(TARGET, 21), 2), "deny *:21")
        _, where = self.waiting(TARGET, 0)
        self.assertIsNone(self.comer(where, TARGET, 21).peer.lost)

    def test_asked(self) -> None:
        """What they are asked, from the request to the peer."""
        asked: list[Access] = []

        @implementer(IRules)
        class Noting:
            """Permits all."""

            def judge(self, access: Access) -> Verdict:
                """Note it."""
                asked.append(access)
                return Verdict(True, "")

        self.reactor.names.add("both.example", [TARGET, TARGET6])
        self.serve(rules=Noting())
        _, where = self.waiting(b"both.example", 21)
        self.comer(where, STRANGER)
        self.comer(where, TARGET)
        client, four, six = (ip_address(text) for text in (OWN, TARGET, TARGET6))
        about = Access(client, None, Command.BIND, "both.example", 21)
        expected = [about, *(about._replace(address=each) for each in (four, six, four))]
        self.assertEqual(asked, expected)
        asked.clear()
        _, where = self.waiting("0.0.0.0")
        self.comer(where, STRANGER)
        about = Access(client, None, Command.BIND, "0.0.0.0", 0)
        comer = about._replace(host=STRANGER, address=ip_address(STRANGER))
        self.assertEqual(asked, [about, comer])

    def test_failAtRequest(self) -> None:
        """Rules that fail at the request."""
        self.serve(rules=Failing(0))
        self.assertRegex(self.assertFirst(self.bind(), 1), "internal error")
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)

    def test_failAtArrival(self) -> None:
        """Rules that fail when somebody comes permit nothing, and end it."""
        self.serve(rules=Failing(1))
        client, where = self.waiting()
        self.assertTrue(self.comer(where).peer.wasReset)
        self.assertSecond(client, 1)
        self.assertRegex(self.ended(client), "internal error")
        self.assertEqual(len(self.flushLoggedErrors(Broken)), 1)

    def test_byIPv6(self) -> None:
        """A client and a peer of IPv6."""
        client, where = self.waiting(TARGET6, proxy=PROXY6)
        self.assertTurnedAway(where, ELSEWHERE6)
        self.assertLetIn(client, where, TARGET6)

    def test_ownPort(self) -> None:
        """The proxy itself can't be the peer."""
        own = (ip_address(PROXY), 1080)
        self.serve(rules=Rules(own=lambda address, port: (address, port) == own))
        self.assertRegex(self.assertFirst(self.bind(PROXY, 1080), 2), "the proxy's own port")


class Broken(Exception):
    """What rules fail with."""


@implementer(IRules)
class Failing:
    """Rules that work a few times."""

    def __init__(self, times: int) -> None:
        self._times = times

    def judge(self, access: Access) -> Verdict:
        """Permit, or fail."""
        if not self._times:
            raise Broken
        self._times -= 1
        return Verdict(True, "")
