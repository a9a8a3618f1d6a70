"""UDP ASSOCIATE in memory: the reply, whose datagrams pass, where to, and who may answer."""

from __future__ import annotations

import errno
import os
import socket
from ipaddress import ip_address
from random import Random
from typing import Any

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError

from tests.server.associations import (
    CLIENT,
    PROXY,
    PROXY6,
    STRANGER,
    TARGET,
    TARGET6,
    ZEROS,
    AssociationCase,
    headed,
)
from twisted_socks5.config import Filtering
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.interfaces import Access, Verdict
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.server.associate import Associate
from twisted_socks5.server.bound import PORTS_TRIED
from twisted_socks5.server.routes import NAME_SECONDS
from twisted_socks5.testing import Peer
from twisted_socks5.wire import Address, ReplyMessage


def rules(*lines: str) -> Rules:
    """Make rules of lines such as C{permit 192.0.2.1}."""
    return Rules([Rule.parse(*line.split()) for line in lines])


class ReplyTests(AssociationCase):
    """What the client is answered."""

    def test_bound(self) -> None:
        """The address it has connected to, and a port that is open."""
        self.associate()
        self.assertEqual(self.bound[0], PROXY)
        (each,) = self.proxySockets()
        self.assertEqual(each.local, (ip_address(PROXY), self.bound[1]))
        self.assertEqual(self.end(), "client closed")
        (record,) = self.records
        self.assertEqual((record.command, record.reply), ("UDP_ASSOCIATE", 0))

    def test_IPv6(self) -> None:
        """The same over IPv6."""
        self.associate(proxy=PROXY6)
        self.assertEqual(self.bound[0], PROXY6)

    def test_mapped(self) -> None:
        """A client that has come to a dual-stack port by IPv4 is answered with IPv4."""
        self.serve("::")
        self.associate()
        self.assertEqual(self.bound[0], PROXY)
        (each,) = self.proxySockets()
        self.assertEqual(each.family, socket.AF_INET)
        box = self.mailbox(TARGET, 53)
        self.send(b"question")
        self.answer(box, b"answer")
        self.assertEqual(self.heard(), [(b"answer", (TARGET, 53))])

    def test_advertised(self) -> None:
        """The operator's address of the same family instead; the socket stays where it is."""
        self.settings["advertised"] = (ip_address("2001:db8::99"), ip_address("203.0.113.99"))
        self.associate()
        self.assertEqual(self.bound[0], "203.0.113.99")
        (each,) = self.proxySockets()
        self.assertEqual(each.local, (ip_address(PROXY), self.bound[1]))

    def test_advertisedOfOtherFamily(self) -> None:
        """One of the other family would be of no use."""
        self.settings["advertised"] = (ip_address("2001:db8::99"),)
        self.associate()
        self.assertEqual(self.bound[0], PROXY)

    def test_portRange(self) -> None:
        """Ports are of the range, each one once, in no order that could be guessed."""
        self.settings["udp_ports"] = range(5000, 5008)
        self.patch(Associate, "random", Random(7))
        self.serve()
        found = [self.ask(self.dial()).bound.port for _ in range(8)]
        self.assertEqual(sorted(found), list(range(5000, 5008)))
        self.assertNotEqual(found, sorted(found))

    def test_portsOut(self) -> None:
        """No port is left: REP 1, with the reason in the log."""
        self.settings["udp_ports"] = range(5000, 5001)
        self.mailbox(PROXY, 5000)
        self.assertRefused(errno.EADDRINUSE)

    def test_portsOutOfMany(self) -> None:
        """Of a large range not every port is tried."""
        self.settings["udp_ports"] = range(1, 65536)
        tried = self.failing(errno.EADDRINUSE)
        self.assertRefused(errno.EADDRINUSE)
        self.assertEqual(len(set(tried)), PORTS_TRIED)

    def test_noDescriptor(self) -> None:
        """No descriptor: REP 1."""
        tried = self.failing(errno.EMFILE)
        self.assertRefused(errno.EMFILE)
        self.assertEqual(tried, [0])

    def test_addressGone(self) -> None:
        """The address cannot be bound: REP 1."""
        self.reactor.route(PROXY, 0, error=errno.EADDRNOTAVAIL)
        self.assertRefused(errno.EADDRNOTAVAIL)

    def failing(self, number: int) -> list[int]:
        """Let UDP fail, and give the ports that will be tried."""
        tried: list[int] = []

        def listenUDP(port: int, protocol: object, interface: str, size: int) -> None:
            tried.append(port)
            raise CannotListenError(interface, port, OSError(number, os.strerror(number)))

        self.patch(self.reactor, "listenUDP", listenUDP)
        return tried

    def assertRefused(self, number: int) -> None:
        """The request is answered with REP 1, and the session ends."""
        self.serve()
        peer = self.dial()
        self.assertEqual(self.ask(peer), ReplyMessage(1, ZEROS))
        self.assertTrue(peer.eof)
        peer.lose()
        self.reactor.advance(0)
        self.assertEqual(
            self.records[0].reason,
            f"no port for datagrams on {PROXY}: {os.strerror(number).lower()}",
        )

    def overPair(self, host: Any, peer: Any) -> ReplyMessage:
        """Ask over a connection with given addresses."""
        self.serve()
        session = self.server.buildProtocol(peer)
        assert session is not None
        client = self.watched(Peer())
        self.reactor.connectPair(session, client, host, peer)
        return self.ask(client)

    def test_unixSocket(self) -> None:
        """A client on a Unix socket gets a port on the loopback address, for this host's use."""
        reply = self.overPair(UNIXAddress("/run/socks"), UNIXAddress(None))
        self.assertEqual(reply.bound.host, ip_address("127.0.0.1"))
        self.bound = ("127.0.0.1", reply.bound.port)
        box = self.mailbox(TARGET, 53)
        for host, seen in ((STRANGER, 0), ("127.0.0.1", 1)):
            self.client = self.mailbox(host)
            self.send(b"question")
            self.assertEqual(len(box.received), seen)
        self.answer(box, b"answer")
        self.assertEqual(self.heard(), [(b"answer", (TARGET, 53))])

    def test_linkLocal(self) -> None:
        """A link-local address is bound to in its zone, and named without it."""
        reply = self.overPair(
            IPv6Address("TCP", "fe80::10%eth0", 1080), IPv6Address("TCP", "fe80::1%eth0", 40000)
        )
        self.assertEqual(reply.bound.host, ip_address("fe80::10"))
        (each,) = self.proxySockets()
        self.assertEqual(each.local, (ip_address("fe80::10%eth0"), reply.bound.port))


class ClientTests(AssociationCase):
    """Whose datagrams pass."""

    def test_pinned(self) -> None:
        """Without a declaration, the first one to send from the client's address is the client."""
        box = self.mailbox(TARGET, 53)
        self.associate()
        self.send(b"first")
        first, self.client = self.client, self.mailbox(CLIENT)
        self.send(b"another port")
        self.client = first
        self.send(b"second")
        self.assertEqual(box.taken(), [b"first", b"second"])
        self.assertEqual(self.end(), "client closed; dropped: 1 from strangers")

    def test_declared(self) -> None:
        """With one, only the port that was declared."""
        box = self.mailbox(TARGET, 53)
        self.associate(Address(ip_address(CLIENT), 7777))
        self.send(b"from elsewhere")
        self.assertEqual(box.taken(), [])
        self.client = self.mailbox(CLIENT, 7777)
        self.send(b"from there")
        self.assertEqual(box.taken(), [b"from there"])
        self.assertEqual(self.end(), "client closed; dropped: 1 from strangers")

    def test_declarationsOfClients(self) -> None:
        """What clients are seen to declare is tolerated, and means nothing."""
        box = self.mailbox(TARGET, 53)
        for declared in (
            ZEROS,  # most
            Address(ip_address("0.0.0.0"), 7777),
            Address(ip_address("::"), 0),
            Address(b"0", 7777),  # PySocks
            Address(b"0.0.0.0", 0),  # Perl
            Address(ip_address("192.168.1.5"), 7777),
            Address(ip_address(TARGET), 53),
            Address(b"target.example", 53),
            Address(b"not a name", 53),
        ):
            self.associate(declared)
            self.send(str(declared).encode())
            self.assertEqual(box.taken(), [str(declared).encode()])
            self.control.abort()

    def test_strangers(self) -> None:
        """Strangers neither take the association nor end it, and reach no target; nor hear it."""
        box = self.mailbox(TARGET, 53)
        self.associate()
        stranger = self.mailbox(STRANGER)

        def strangerSends() -> None:
            for datagram in (headed(b"stranger", TARGET, 53), b"", b"\0\0\1", bytes(1000)):
                stranger.send(datagram, self.bound)
            self.reactor.advance(0)

        strangerSends()
        self.send(b"question")
        strangerSends()
        self.answer(box, b"answer")
        self.assertEqual(self.heard(), [(b"answer", (TARGET, 53))])
        self.assertEqual(box.taken(), [b"question"])
        self.assertEqual(stranger.received, [])
        self.assertEqual(self.end(), "client closed; dropped: 8 from strangers")

    def test_malformedPinsNobody(self) -> None:
        """A datagram without a header tells of no client."""
        box = self.mailbox(TARGET, 53)
        self.associate()
        self.raw(b"noise")
        self.client = self.mailbox(CLIENT)
        self.send(b"question")
        self.assertEqual(box.taken(), [b"question"])

    def test_noAnswerBeforeQuestion(self) -> None:
        """Until the client is known there is nobody to send an answer to, and no socket for it."""
        self.associate()
        (session,) = self.server.sessions
        undertaking: Any = session._undertaking
        self.assertIsNone(undertaking._addressing.inward((TARGET, 53), 1))
        self.assertEqual(self.end(), "client closed; dropped: 1 before the client's first")


class TargetTests(AssociationCase):
    """Where datagrams go, and what comes back."""

    def test_manyTargets(self) -> None:
        """IPv4, IPv6 and names within one association; answers tell their true source."""
        four, six = self.mailbox(TARGET, 53), self.mailbox(TARGET6, 54)
        named = self.mailbox("203.0.113.9", 55)
        self.reactor.names.add("target.example", ["203.0.113.9"])
        self.associate()
        self.send(b"to four", TARGET, 53)
        self.send(b"to mapped", f"::ffff:{TARGET}", 53)
        self.send(b"to six", TARGET6, 54)
        self.send(b"to named", b"Target.Example.", 55)
        self.send(b"to literal", TARGET.encode(), 53)
        self.assertEqual(
            [payload for payload, _ in four.received], [b"to four", b"to mapped", b"to literal"]
        )
        for box, payload in ((four, b"from four"), (six, b"from six"), (named, b"from named")):
            self.answer(box, payload)
        self.assertEqual(
            self.heard(),
            [
                (b"from four", (TARGET, 53)),
                (b"from six", (TARGET6, 54)),
                (b"from named", ("203.0.113.9", 55)),
            ],
        )
        self.assertEqual(len(self.proxySockets()), 3)
        self.assertEqual(self.end(), "client closed")
        (record,) = self.records
        self.assertEqual((record.sent, record.received), (40, 27))

    def test_IPv6Client(self) -> None:
        """A client on IPv6 reaches both families, too."""
        four, six = self.mailbox(TARGET, 53), self.mailbox(TARGET6, 53)
        self.associate(proxy=PROXY6)
        self.send(b"to four", TARGET)
        self.send(b"to six", TARGET6)
        self.answer(four, b"from four")
        self.answer(six, b"from six")
        self.assertEqual(
            self.heard(), [(b"from four", (TARGET, 53)), (b"from six", (TARGET6, 53))]
        )

    def test_mappedSource(self) -> None:
        """A source that the socket of IPv6 saw as mapped is told as IPv4."""
        six, four = self.mailbox(TARGET6, 53), self.mailbox(TARGET, 53)
        self.associate()
        self.send(b"question", TARGET6)
        four.send(b"from four", (PROXY, six.last[1]))
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [(b"from four", (TARGET, 53))])

    def test_onePort(self) -> None:
        """All targets see the same port, whoever they are (endpoint-independent mapping)."""
        boxes = [self.mailbox(TARGET, 53), self.mailbox(TARGET, 54), self.mailbox(STRANGER, 53)]
        self.associate()
        for box in boxes:
            self.send(b"x", *box.address)
        self.assertEqual(len({box.last for box in boxes}), 1)

    def test_dialersAddress(self) -> None:
        """Targets are sent to from where the dialer dials from."""
        dialer = HappyEyeballs(self.reactor, self.reactor, bindAddress=[ip_address("192.0.2.200")])
        box = self.mailbox(TARGET, 53)
        self.associate(dialer=dialer)
        self.send(b"x")
        self.assertEqual(box.last[0], "192.0.2.200")

    def test_anybodyAnswers(self) -> None:
        """By default anybody may answer, and is told by the address it has."""
        box, other = self.mailbox(TARGET, 53), self.mailbox(STRANGER, 4000)
        self.associate()
        self.send(b"question")
        other.send(b"hello", box.last)
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [(b"hello", (STRANGER, 4000))])

    def test_addressDependent(self) -> None:
        """By option only hosts that were sent to, by address or by name, from any port."""
        self.settings["udp_filtering"] = Filtering.ADDRESS_DEPENDENT
        self.reactor.names.add("target.example", [TARGET6])
        box, otherPort = self.mailbox(TARGET, 53), self.mailbox(TARGET, 54)
        stranger, six = self.mailbox(STRANGER, 53), self.mailbox(TARGET6, 53)
        self.associate()
        self.send(b"question")
        self.send(b"question", b"target.example")
        for sender in (box, otherPort, stranger):
            sender.send(b"answer", box.last)
        self.reactor.advance(0)
        self.answer(six, b"answer")
        answerers = [(TARGET, 53), (TARGET, 54), (TARGET6, 53)]
        self.assertEqual(self.heard(), [(b"answer", source) for source in answerers])
        self.send(b"question", STRANGER)
        self.answer(stranger, b"answer")
        self.assertEqual(self.heard(), [(b"answer", (STRANGER, 53))])
        self.assertEqual(self.end(), "client closed; dropped: 1 unsolicited")

    def test_emptyAndLargest(self) -> None:
        """Payloads of no octet, and of as many as there may be with a header before them."""
        box = self.mailbox(TARGET, 53)
        self.associate()
        for payload in (b"", bytes(range(256)) * 255 + bytes(217)):
            self.send(payload)
            self.assertEqual(box.received[-1][0], payload)
            self.answer(box, payload)
            self.assertEqual(self.heard(), [(payload, (TARGET, 53))])
        self.assertEqual(len(payload), 65507 - 10)
        self.answer(box, payload + b"x")
        self.assertEqual(self.heard(), [])
        self.assertEqual(self.end(), "client closed; dropped: 1 too large")

    def test_malformed(self) -> None:
        """What is no datagram of SOCKS is dropped and counted, before and after the first."""
        whole = headed(b"payload", TARGET, 53)
        wrong = [
            b"",
            *(whole[:size] for size in range(1, 10)),
            b"\1" + whole[1:],
            b"\0\1" + whole[2:],
            *(whole[:3] + bytes([kind]) + whole[4:] for kind in (0, 2, 5, 255)),
            b"\0\0\0\3\0\0\x35payload",
            b"\0\0\0\3\xffexample",
            headed(b"", TARGET6, 53)[:21],
        ]
        box = self.mailbox(TARGET, 53)
        self.associate()
        for _ in range(2):
            for datagram in wrong:
                self.raw(datagram)
            self.send(b"question")
        self.assertEqual(box.taken(), [b"question"] * 2)
        self.assertEqual(self.end(), f"client closed; dropped: {2 * len(wrong)} malformed")

    def test_portZero(self) -> None:
        """Port 0 is no destination."""
        self.associate()
        self.send(b"x", TARGET, 0)
        self.send(b"x", b"target.example", 0)
        self.assertEqual(self.reactor.names.lookups, [])
        self.assertEqual(self.end(), "client closed; dropped: 2 to port 0")

    def test_unreachable(self) -> None:
        """Where there is no way, datagrams are dropped; when there is one again, they pass."""
        box, other = self.mailbox(TARGET, 53), self.mailbox(STRANGER, 53)
        self.associate()
        self.reactor.route(TARGET, error=errno.ENETUNREACH)
        self.send(b"1")
        self.send(b"2")
        self.send(b"3", STRANGER)
        self.reactor.route(TARGET)
        self.send(b"4")
        self.send(b"5")
        self.assertEqual((box.taken(), other.taken()), ([b"4", b"5"], [b"3"]))
        unreachable = os.strerror(errno.ENETUNREACH).lower()
        self.assertEqual(self.end(), f"client closed; dropped: 2 {unreachable}")

    def test_fullBuffer(self) -> None:
        """A full send buffer drops and counts."""
        box = self.mailbox(TARGET, 53)
        self.associate()
        self.reactor.route(TARGET, error=errno.EAGAIN)
        self.send(b"1")
        self.reactor.route(TARGET)
        self.send(b"2")
        self.assertEqual(box.taken(), [b"2"])
        self.assertEqual(self.end(), "client closed; dropped: 1 send buffer full")

    def test_nobodyListens(self) -> None:
        """A target that refuses by ICMP is no end of anything."""
        box = self.mailbox(TARGET, 53)
        self.associate()
        for _ in range(3):
            self.send(b"x", STRANGER)
            self.send(b"y")
        self.assertEqual(box.taken(), [b"y"] * 3)


class RulesTests(AssociationCase):
    """What the rules forbid."""

    def test_protected(self) -> None:
        """The proxy's own host, and what else is protected, is so from datagrams, too."""
        box = self.mailbox("127.0.0.1", 53)
        self.associate()
        for host in ("127.0.0.1", "::ffff:127.0.0.1", "0.0.0.0", "::1", "169.254.169.254"):
            self.send(b"x", host)
        for name in (b"localhost", b"0x7f.1", b"127.0.0.1"):
            self.send(b"x", name)
        self.send(b"x", TARGET, 53)
        self.assertEqual(box.taken(), [])
        self.assertEqual(self.end(), "client closed; dropped: 8 forbidden")

    def test_deniedDestination(self) -> None:
        """Rules judge the address, in any spelling, with its port."""
        box, other = self.mailbox(TARGET, 53), self.mailbox(TARGET, 54)
        self.associate(rules=rules(f"deny {TARGET}:53"))
        for host in (TARGET, f"::ffff:{TARGET}", TARGET.encode()):
            for _ in range(2):
                self.send(b"x", host)
        self.send(b"x", TARGET, 54)
        self.assertEqual((len(box.received), len(other.received)), (0, 1))
        self.assertEqual(self.end(), "client closed; dropped: 6 forbidden")

    def test_deniedName(self) -> None:
        """A name that is denied is not even asked for; one may be denied by where it leads."""
        box = self.mailbox(TARGET, 53)
        self.reactor.names.add("leads.example", [TARGET])
        self.associate(rules=rules("deny denied.example", f"deny {TARGET}"))
        for _ in range(2):
            self.send(b"x", b"denied.example")
            self.send(b"x", b"leads.example")
            self.reactor.advance(NAME_SECONDS / 2)
        self.assertEqual(box.taken(), [])
        self.assertEqual(self.reactor.names.lookups, ["leads.example"])
        self.assertEqual(self.end(), "client closed; dropped: 4 forbidden")

    def test_deniedSource(self) -> None:
        """What the client may not reach does not reach the client."""
        box, denied = self.mailbox(TARGET, 53), self.mailbox(STRANGER, 53)
        self.associate(rules=rules(f"deny {STRANGER}"))
        self.send(b"question")
        for _ in range(2):
            denied.send(b"hello", box.last)
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [])
        self.assertEqual(self.end(), "client closed; dropped: 2 from forbidden sources")

    def test_permittedByName(self) -> None:
        """A rule that permits a name permits its answers; and no other port of its address."""
        box, other = self.mailbox(TARGET, 53), self.mailbox(TARGET, 54)
        self.reactor.names.add("target.example", [TARGET])
        self.reactor.names.add("first.example", ["203.0.113.9"])
        first = self.mailbox("203.0.113.9", 53)
        self.associate(rules=rules("permit target.example:53", "permit first.example", "deny *"))
        self.send(b"x", b"first.example")
        proxy = (CLIENT, first.last[1])
        # Judged for the first time as anybody, and then as who it is known to be.
        box.send(b"too early", proxy)
        self.reactor.advance(0)
        self.send(b"question", b"target.example")
        self.answer(box, b"answer")
        other.send(b"another", box.last)
        self.reactor.advance(0)
        self.assertEqual(self.heard(), [(b"answer", (TARGET, 53))])
        self.send(b"by address")
        self.assertEqual(
            self.end(), "client closed; dropped: 2 from forbidden sources, 1 forbidden"
        )

    def test_asked(self) -> None:
        """Rules are asked once for each destination, as what it is; it may answer then."""
        asked: list[Access] = []

        class Noting:
            """Rules that note what they are asked."""

            def judge(self, access: Access) -> Verdict:
                """Permit."""
                asked.append(access)
                return Verdict(True, "")

        box = self.mailbox(TARGET, 53)
        self.associate(Address(ip_address("127.0.0.1"), 1), rules=Noting())
        self.assertEqual(asked, [])
        for _ in range(3):
            self.send(b"x")
            self.answer(box, b"y")
        target = ip_address(TARGET)
        self.assertEqual(asked, [Access(ip_address(CLIENT), None, 3, TARGET, 53, target)])
        self.answer(box, b"another")
        self.mailbox(TARGET, 54).send(b"from beside", box.last)
        self.reactor.advance(0)
        self.assertEqual(asked[1:], [Access(ip_address(CLIENT), None, 3, TARGET, 54, target)])

    def test_brokenRules(self) -> None:
        """Rules that fail permit nothing, and say so once in the log."""

        class Broken:
            """Rules that fail."""

            def judge(self, access: Access) -> Verdict:
                """Fail."""
                raise ZeroDivisionError

        box = self.mailbox(TARGET, 53)
        self.associate(rules=Broken())
        for _ in range(3):
            self.send(b"x")
            self.send(b"x", STRANGER)
            self.send(b"x", b"target.example")
        self.assertEqual(box.taken(), [])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.end(), "client closed; dropped: 6 forbidden, 3 internal error")


class FragmentTests(AssociationCase):
    """Fragments (RFC 1928, section 7)."""

    def setUp(self) -> None:
        """Associate."""
        super().setUp()
        self.box = self.mailbox(TARGET, 53)
        self.associate()

    def test_whole(self) -> None:
        """A sequence is put together, and the whole goes out as one; answers are whole."""
        self.send(b"one ", frag=1)
        self.send(b"two ", frag=2)
        self.assertEqual(self.box.received, [])
        self.send(b"three", frag=0x83)
        self.assertEqual(self.box.taken(), [b"one two three"])
        self.send(b"single", frag=0x81)
        self.answer(self.box, bytes(65497))
        self.assertEqual(self.box.taken(), [b"single"])
        self.assertEqual(self.heard(), [(bytes(65497), (TARGET, 53))])
        self.assertEqual(self.end(), "client closed")

    def test_largest(self) -> None:
        """As large as UDP carries, and no larger."""
        self.send(bytes(65497), frag=1)
        self.send(bytes(10), frag=0x82)
        self.assertEqual([len(datagram) for datagram in self.box.taken()], [65507])
        self.send(bytes(65497), frag=1)
        self.send(bytes(11), frag=0x82)
        self.assertEqual(self.box.taken(), [])
        self.assertEqual(self.end(), "client closed; dropped: 2 abandoned fragments")

    def test_pins(self) -> None:
        """A fragment is a datagram of the client's, too."""
        self.send(b"one ", frag=1)
        first, self.client = self.client, self.mailbox(CLIENT)
        self.send(b"other", frag=0x82)
        self.client = first
        self.send(b"two", frag=0x82)
        self.assertEqual(self.box.taken(), [b"one two"])

    def test_reinitialised(self) -> None:
        """A lower number, a gap, another destination and a standalone datagram give it up."""
        for number, host in ((1, TARGET), (3, TARGET), (2, STRANGER), (0x82, STRANGER)):
            self.send(b"one ", frag=1)
            self.send(b"between", host, frag=number)
            self.send(b"late", frag=0x82 if number != 1 else 0x83)
            self.assertEqual(self.box.taken(), [], number)
        self.send(b"one ", frag=1)
        self.send(b"alone")
        self.send(b"two", frag=0x82)
        self.assertEqual(self.box.taken(), [b"alone"])
        self.send(b"one ", frag=1)
        self.send(b"two", frag=0x82)
        self.assertEqual(self.box.taken(), [b"one two"])
        self.assertTrue(self.end().endswith(" abandoned fragments"))

    def test_standaloneOnKnownWay(self) -> None:
        """A standalone datagram gives it up also where the way is known already."""
        self.send(b"before")
        self.send(b"one ", frag=1)
        self.send(b"alone")
        self.send(b"two", frag=0x82)
        self.assertEqual(self.box.taken(), [b"before", b"alone"])

    def test_timer(self) -> None:
        """It is given up five seconds after it began, even if nothing comes, and not before."""
        self.send(b"one ", frag=1)
        self.reactor.advance(4.9)
        self.send(b"two", frag=0x82)
        self.assertEqual(self.box.taken(), [b"one two"])
        self.reactor.advance(0.1)  # the timer of that one
        self.send(b"one ", frag=1)
        self.reactor.advance(5)
        self.send(b"two", frag=0x82)
        self.assertEqual(self.box.taken(), [])
        self.assertEqual(self.end(), "client closed; dropped: 2 abandoned fragments")

    def test_timerOfNext(self) -> None:
        """A sequence has its own five seconds, whenever the one before it began."""
        self.send(b"lost", frag=1)
        self.reactor.advance(3)
        self.send(b"one ", frag=1)
        self.reactor.advance(4)
        self.send(b"two", frag=0x82)
        self.assertEqual(self.box.taken(), [b"one two"])

    def test_oneTimer(self) -> None:
        """However many sequences begin, there is one timer; and none is left when time is up."""
        before = len(self.reactor.getDelayedCalls())
        for _ in range(100):
            self.send(b"x", frag=1)
        self.assertEqual(len(self.reactor.getDelayedCalls()), before + 1)
        self.reactor.advance(5)
        self.assertEqual(len(self.reactor.getDelayedCalls()), before)

    def test_judged(self) -> None:
        """The whole is judged as any datagram."""
        self.send(b"one ", "127.0.0.1", frag=1)
        self.send(b"two", "127.0.0.1", frag=0x82)
        self.send(b"one ", TARGET, 0, frag=1)
        self.send(b"two", TARGET, 0, frag=0x82)
        self.assertEqual(self.end(), "client closed; dropped: 1 forbidden, 1 to port 0")

    def test_named(self) -> None:
        """The whole may be for a name."""
        self.reactor.names.add("target.example", [TARGET])
        self.send(b"one ", b"target.example", frag=1)
        self.send(b"two", b"target.example", frag=0x82)
        self.assertEqual(self.box.taken(), [b"one two"])
