"""Datagrams for names: waiting, order, failures, and names that change."""

from __future__ import annotations

import errno
import os

from tests.server.associations import STRANGER, TARGET, TARGET6, AssociationCase
from tests.server.test_associate import rules
from twisted_socks5.server.lookupqueue import MAX_LOOKUPS, MAX_WAITING
from twisted_socks5.server.routes import MAX_TRIES, NAME_SECONDS, RETRY_SECONDS

NAME = b"target.example"
OTHER = "203.0.113.77"


class NameTests(AssociationCase):
    """One association, and names that mean what a test says."""

    def setUp(self) -> None:
        """Open two targets, and a third one on IPv6."""
        super().setUp()
        self.box = self.mailbox(TARGET, 53)
        self.other = self.mailbox(OTHER, 53)
        self.six = self.mailbox(TARGET6, 53)
        self.names = self.reactor.names

    def test_waiting(self) -> None:
        """What comes while the name is asked for waits, and goes in order; others overtake."""
        self.names.add("target.example", [TARGET], delay=2)
        self.names.add("other.example", [OTHER], delay=1)
        self.associate()
        for payload in (b"1", b"2", b"3"):
            self.send(payload, NAME)
        self.send(b"at once", OTHER)
        self.send(b"sooner", b"other.example")
        self.assertEqual((self.box.taken(), self.other.taken()), ([], [b"at once"]))
        self.reactor.advance(1)
        self.assertEqual((self.box.taken(), self.other.taken()), ([], [b"sooner"]))
        self.reactor.advance(1)
        self.send(b"4", NAME)
        self.assertEqual(self.box.taken(), [b"1", b"2", b"3", b"4"])
        self.assertEqual(self.names.lookups, ["target.example", "other.example"])
        self.assertEqual(self.end(), "client closed")
        self.assertEqual(self.records[0].sent, 17)

    def test_ports(self) -> None:
        """The ports of a name are destinations of their own, which share the answer."""
        second = self.mailbox(TARGET, 54)
        self.names.add("target.example", [TARGET])
        self.associate()
        self.send(b"1", NAME)
        self.send(b"2", NAME, 54)
        self.assertEqual((self.box.taken(), second.taken()), ([b"1"], [b"2"]))
        self.assertEqual(self.names.lookups, ["target.example"])

    def test_unresolvable(self) -> None:
        """A name that does not exist: dropped, not asked for again at once, but later."""
        self.associate()
        for _ in range(3):
            self.send(b"x", NAME)
        self.assertEqual(self.names.lookups, ["target.example"])
        self.names.add("target.example", [TARGET])
        self.reactor.advance(RETRY_SECONDS)
        self.send(b"y", NAME)
        self.assertEqual(self.box.taken(), [b"y"])
        self.assertEqual(self.end(), "client closed; dropped: 3 unresolved")

    def test_noName(self) -> None:
        """What is no name is not asked for, ever."""
        self.associate()
        for name in (b"no name", b"\xff", b"a..b", b"1.2.3.4.5", b"."):
            for _ in range(2):
                self.send(b"x", name)
                self.reactor.advance(RETRY_SECONDS)
        self.assertEqual(self.names.lookups, [])
        self.assertEqual(self.end(), "client closed; dropped: 10 unresolved")

    def test_noAnswer(self) -> None:
        """A name that never resolves: what has waited is dropped when time is up."""
        self.names.add("target.example", silent=True)
        self.settings["lookup_timeout"] = 10
        self.associate()
        for _ in range(3):
            self.send(b"x", NAME)
        self.reactor.advance(10)
        self.assertEqual(self.end(), "client closed; dropped: 3 unresolved")

    def test_brokenResolver(self) -> None:
        """A resolver that raises is not the end."""
        self.names.add("target.example", error=ZeroDivisionError())
        self.associate()
        self.send(b"x", NAME)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.end(), "client closed; dropped: 1 unresolved")

    def test_crowd(self) -> None:
        """Only so many may wait; the others are dropped, and numbers are not kept waiting."""
        self.names.add("target.example", [TARGET], delay=1)
        self.associate()
        for number in range(MAX_WAITING + 3):
            self.send(b"%d" % number, NAME)
        self.send(b"by number")
        self.assertEqual(self.box.taken(), [b"by number"])
        self.reactor.advance(1)
        self.assertEqual(self.box.taken(), [b"%d" % number for number in range(MAX_WAITING)])
        self.assertEqual(self.end(), "client closed; dropped: 3 too many waiting for names")

    def test_lookupsAtATime(self) -> None:
        """One association has only so many lookups at a time, and leaves the others theirs."""
        for number in range(MAX_LOOKUPS + 1):
            self.names.add(f"n{number}.example", [TARGET], delay=1)
        self.associate()
        for number in range(MAX_LOOKUPS + 1):
            self.send(b"x", b"n%d.example" % number)
        self.assertEqual(len(self.names.lookups), MAX_LOOKUPS)
        self.reactor.advance(1)
        self.assertEqual(len(self.box.taken()), MAX_LOOKUPS)
        self.reactor.advance(1)
        self.assertEqual(len(self.box.taken()), 1)

    def test_firstPermitted(self) -> None:
        """Of several addresses the first one that the rules permit."""
        self.names.add("target.example", ["127.0.0.1", STRANGER, TARGET, OTHER])
        self.associate(rules=rules(f"deny {STRANGER}"))
        self.send(b"x", NAME)
        self.assertEqual((self.box.taken(), self.other.taken()), ([b"x"], []))

    def test_firstThatCanBeSentTo(self) -> None:
        """Of several addresses the first one that there is a way to."""
        self.names.add("target.example", [TARGET6, "2001:db8:6::6", TARGET])
        for host in (TARGET6, "2001:db8:6::6"):
            self.reactor.route(host, error=errno.ENETUNREACH)
        self.associate()
        self.send(b"1", NAME)
        self.send(b"2", NAME)
        self.answer(self.box, b"answer")
        self.assertEqual(self.box.taken(), [b"1", b"2"])
        self.assertEqual(self.heard(), [(b"answer", (TARGET, 53))])
        self.assertEqual(self.end(), "client closed")

    def test_noWayToAny(self) -> None:
        """If there is a way to none, the datagrams are dropped; then it is tried again."""
        self.names.add("target.example", [TARGET6, TARGET], delay=1)
        for host in (TARGET6, TARGET):
            self.reactor.route(host, error=errno.ENETUNREACH)
        self.associate()
        self.send(b"1", NAME)
        self.send(b"2", NAME)
        self.reactor.advance(1)
        self.reactor.route(TARGET)
        self.send(b"3", NAME)
        self.assertEqual((self.six.taken(), self.box.taken()), ([], [b"3"]))
        unreachable = os.strerror(errno.ENETUNREACH).lower()
        self.assertEqual(self.end(), f"client closed; dropped: 2 {unreachable}")

    def test_tries(self) -> None:
        """Only so many are tried."""
        hosts = [f"2001:db8:6::{number}" for number in range(1, MAX_TRIES + 1)]
        self.names.add("few.example", [*hosts[1:], TARGET])
        self.names.add("many.example", [*hosts, TARGET])
        for host in hosts:
            self.reactor.route(host, error=errno.ENETUNREACH)
        self.associate()
        self.send(b"few", b"few.example")
        self.send(b"many", b"many.example")
        self.assertEqual(self.box.taken(), [b"few"])

    def test_wayLost(self) -> None:
        """When there is no more way to the one, the next datagram goes to another."""
        self.names.add("target.example", [TARGET6, TARGET])
        self.associate()
        self.send(b"1", NAME)
        self.reactor.route(TARGET6, error=errno.EHOSTUNREACH)
        self.send(b"2", NAME)
        self.send(b"3", NAME)
        self.assertEqual((self.six.taken(), self.box.taken()), ([b"1"], [b"3"]))

    def test_busy(self) -> None:
        """A full buffer is no reason to take another address."""
        self.names.add("target.example", [TARGET, OTHER])
        self.associate()
        self.reactor.route(TARGET, error=errno.EAGAIN)
        self.send(b"1", NAME)
        self.reactor.route(TARGET)
        self.send(b"2", NAME)
        self.assertEqual((self.box.taken(), self.other.taken()), ([b"2"], []))
        self.assertEqual(self.end(), "client closed; dropped: 1 send buffer full")


class RenewalTests(AssociationCase):
    """A name is asked for again from time to time."""

    def setUp(self) -> None:
        """Open two targets, and associate."""
        super().setUp()
        self.box = self.mailbox(TARGET, 53)
        self.other = self.mailbox(OTHER, 53)
        self.settings["association_timeout"] = 10_000

    def renewed(self, *answers: list[str], **options: float) -> tuple[list[bytes], list[bytes]]:
        """Send before, while, and after the name is asked for again; @return: who got what."""
        self.reactor.names.add("target.example", *answers)
        self.associate(rules=rules(f"deny {STRANGER}"))
        self.send(b"1", NAME)
        self.reactor.advance(NAME_SECONDS - 1)
        self.send(b"2", NAME)
        self.assertEqual(len(self.reactor.names.lookups), 1)
        self.reactor.advance(1)
        self.reactor.names._names["target.example"].delay = 1
        self.send(b"3", NAME)
        self.send(b"4", NAME)
        self.assertEqual(len(self.reactor.names.lookups), 2)
        self.reactor.advance(1)
        self.send(b"5", NAME)
        return self.box.taken(), self.other.taken()

    def test_sameAnswer(self) -> None:
        """If its address is still among them, it stays, whatever the order."""
        found = self.renewed([TARGET, OTHER], [OTHER, TARGET])
        self.assertEqual(found, ([b"1", b"2", b"3", b"4", b"5"], []))
        self.reactor.advance(NAME_SECONDS / 2)
        self.send(b"6", NAME)
        self.assertEqual(len(self.reactor.names.lookups), 2)
        self.reactor.advance(NAME_SECONDS / 2)
        self.send(b"7", NAME)
        self.assertEqual(len(self.reactor.names.lookups), 3)

    def test_anotherAnswer(self) -> None:
        """If not, what comes then goes to another; nothing has waited for that."""
        found = self.renewed([TARGET], [OTHER])
        self.assertEqual(found, ([b"1", b"2", b"3", b"4"], [b"5"]))
        self.answer(self.other, b"answer")
        self.assertEqual(self.heard(), [(b"answer", (OTHER, 53))])

    def test_noAnswer(self) -> None:
        """If there is none, it stays."""
        self.assertEqual(self.renewed([TARGET], []), ([b"1", b"2", b"3", b"4", b"5"], []))
        self.assertEqual(self.end(), "client closed")

    def test_forbiddenAnswer(self) -> None:
        """If it leads where the client may not go, nothing goes there, and nowhere else."""
        self.assertEqual(self.renewed([TARGET], [STRANGER]), ([b"1", b"2", b"3", b"4"], []))
        self.assertEqual(self.end(), "client closed; dropped: 1 forbidden")
