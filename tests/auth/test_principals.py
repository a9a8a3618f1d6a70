"""Whom the operator admits, and by which name."""

from __future__ import annotations

import os
from pathlib import Path
from threading import Thread

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.fakes import LogCase
from twisted_socks5.auth import principals
from twisted_socks5.auth.principals import (
    MapLine,
    NotAdmitted,
    PrincipalMap,
    PrincipalNames,
    parseMap,
    realmOf,
)
from twisted_socks5.errors import ConfigurationError

ODD = (
    "host/www.example.com@EXAMPLE.COM",
    "alice/admin@EXAMPLE.COM",
    r"al\@ice@EXAMPLE.COM",
    r"al\/ice@EXAMPLE.COM",
    r"alice\@EXAMPLE.COM@EXAMPLE.COM",
    "@EXAMPLE.COM",
)
"""Principals of the realm that are not one plain component."""


class RealmTests(SynchronousTestCase):
    """Realms, and what is left without one."""

    def test_realmOf(self) -> None:
        """It is what is behind the only separator that is one."""
        for principal in ("alice@EXAMPLE.COM", *ODD):
            self.assertEqual(realmOf(principal), "EXAMPLE.COM", principal)
        self.assertEqual(realmOf(r"alice@EX\@AMPLE"), r"EX\@AMPLE")
        self.assertEqual(realmOf("alice@"), "")
        for principal in ("alice", "", "a@b@c", "alice@EXAMPLE.COM\\", r"alice\@EXAMPLE.COM"):
            self.assertIsNone(realmOf(principal), principal)

    def test_anybody(self) -> None:
        """Without a rule everybody has the whole principal for a name."""
        for principal in ("alice@EXAMPLE.COM", "alice", *ODD):
            self.assertEqual(PrincipalNames().nameFor(principal), principal)

    def test_stripped(self) -> None:
        """With realms, one plain component loses its realm, and nothing else does."""
        names = PrincipalNames(["EXAMPLE.COM", "EXAMPLE.ORG"])
        self.assertEqual(names.nameFor("alice@EXAMPLE.COM"), "alice")
        self.assertEqual(names.nameFor("alíce@EXAMPLE.ORG"), "alíce")
        for principal in ODD:
            self.assertEqual(names.nameFor(principal), principal)

    def test_foreign(self) -> None:
        """Other realms are not admitted, and neither is what looks like one of these."""
        names = PrincipalNames(["EXAMPLE.COM"])
        for principal in (
            *("alice@EVIL.EXAMPLE", "alice@example.com", "alice", r"alice\@EXAMPLE.COM"),
            *("alice@EXAMPLE.COM@EVIL.EXAMPLE", r"alice@EVIL\@EXAMPLE.COM", "alice@"),
            *("alice@EXAMPLE.COM\n", "alice@EXAMPLE.COM\\"),
        ):
            error = self.assertRaises(NotAdmitted, names.nameFor, principal)
            self.assertEqual(str(error), f"{principal} is not of the realm EXAMPLE.COM")

    @given(st.text(max_size=12), st.text(max_size=12))
    @settings(max_examples=200, deadline=None)
    def test_nobodyBecomesAnother(self, first: str, second: str) -> None:
        """Two principals of a realm never get the same name."""
        names = PrincipalNames(["R"])
        found = []
        for principal in {f"{first}@R", f"{second}@R"}:
            try:
                found.append(names.nameFor(principal))
            except NotAdmitted:
                continue
        self.assertEqual(len(set(found)), len(found))


class LineTests(SynchronousTestCase):
    """The lines of a map."""

    def name(self, line: str, principal: str) -> str | None:
        """Give the name by one line."""
        (only,) = parseMap(f"{line}\n".encode(), "map")
        return only.nameFor(principal)

    def test_exact(self) -> None:
        """A principal stands for itself, whatever a pattern could make of it."""
        self.assertEqual(self.name("a.c@R carol", "a.c@R"), "carol")
        for principal in ("abc@R", "a.c@R ", "a.c@RR", "xa.c@R", "a.c@R\n"):
            self.assertIsNone(self.name("a.c@R carol", principal))

    def test_star(self) -> None:
        """A star stands for a part of a component, and its name may have that."""
        self.assertEqual(self.name("*@R *", "alice@R"), "alice")
        self.assertEqual(self.name("*/admin@R root-*", "alice/admin@R"), "root-alice")
        self.assertEqual(self.name("*@R *.*", "alice@R"), "alice.alice")
        self.assertEqual(self.name("dev-*@R developer", "dev-7@R"), "developer")
        for principal in ("alice/x@R", "@R", "alice@S@R", "al\\ice@R", "alice@R2", "alice@R\n"):
            self.assertIsNone(self.name("*@R *", principal), principal)

    def test_wrong(self) -> None:
        """What is no line is refused by its number."""
        for line, what in (
            ("alice@R", "1 words, not PRINCIPAL NAME"),
            ("alice@R alice b", "3 words"),
            ("alice alice", "'alice' has no realm: write NAME@REALM"),
            ("*/*@R x", r"more than one \* in the principal"),
            ("alice@R *", r"a \* in the name"),
            ("\xff", "1 words"),
        ):
            error = self.assertRaises(
                ConfigurationError, parseMap, f"# a map\n\n{line}\n".encode(), "/etc/map"
            )
            self.assertRegex(str(error), f"^principal map '/etc/map', line 3: .*{what}")

    def test_wholeFile(self) -> None:
        """So is a file that is none, or not whole."""
        for octets, what in (
            (b"", "has no line of the form PRINCIPAL NAME"),
            (b"# nobody\n \n", "has no line"),
            (b"alice@R al", "its last line has no end"),
            (b"a@R a\nb@R \xff\n", "line 2: not UTF-8"),
        ):
            error = self.assertRaises(ConfigurationError, parseMap, octets, "map")
            self.assertRegex(str(error), what)
            self.assertNotIn("\n", str(error))

    def test_comments(self) -> None:
        """Comments, empty lines, tabs and CRLF."""
        lines = parseMap(b"# who is who\r\n\n\talice@R\talice\r\n", "map")
        self.assertEqual(lines, [MapLine("alice@R", "alice")])


class MapTests(LogCase):
    """Maps in files."""

    def setUp(self) -> None:
        """Make a file that is no longer new, and listen to the log."""
        super().setUp()
        self.path = Path(self.mktemp())
        self.age = 1000

    def write(self, text: str) -> None:
        """Write it, each time at another time long ago."""
        self.path.write_text(text)
        self.age -= 10
        os.utime(self.path, (self.age, self.age))

    def names(self, text: str, *realms: str) -> PrincipalNames:
        """Make names by a map."""
        self.write(text)
        return PrincipalNames(realms, PrincipalMap(str(self.path)))

    def test_first(self) -> None:
        """The first line that matches decides, and nobody is admitted without one."""
        names = self.names("mallory@R -\nalice@R root\n*@R *\n")
        self.assertEqual(names.nameFor("alice@R"), "root")
        self.assertEqual(names.nameFor("bob@R"), "bob")
        for principal in ("mallory@R", "bob@S", "bob"):
            error = self.assertRaises(NotAdmitted, names.nameFor, principal)
            self.assertEqual(str(error), f"no line of {self.path} admits {principal}")

    def test_realms(self) -> None:
        """Where there are realms, too, the map is asked about theirs only."""
        names = self.names("alice@R carol\nalice@S carol\n", "S")
        self.assertEqual(names.nameFor("alice@S"), "carol")
        self.assertRaises(NotAdmitted, names.nameFor, "alice@R")

    def test_changed(self) -> None:
        """A change holds from the next look on; a file that has not changed is not read."""
        names = self.names("alice@R alice\n")
        self.assertEqual(names.nameFor("alice@R"), "alice")
        reads: list[int] = []
        parse = principals.parseMap

        def counted(octets: bytes, path: str) -> list[MapLine]:
            reads.append(1)
            return parse(octets, path)

        self.patch(principals, "parseMap", counted)
        self.assertEqual(names.nameFor("alice@R"), "alice")
        self.assertEqual(reads, [])
        self.write("alice@R carol\n")
        self.assertEqual(names.nameFor("alice@R"), "carol")
        self.assertEqual(reads, [1])

    def test_changedAtOnce(self) -> None:
        """Changes within one tick of the file system's clock are not missed."""
        names = self.names("alice@R alice\n")
        for name in ("carol", "danny", "erich", "frank"):
            self.path.write_text(f"alice@R {name}\n")
            self.assertEqual(names.nameFor("alice@R"), name)

    def test_changedMeanwhile(self) -> None:
        """What one thread has read is not overtaken by what another had read before it."""
        names = self.names("mallory@R root\n")
        parse = principals.parseMap
        others: list[Thread] = []

        def overtaken(octets: bytes, path: str) -> list[MapLine]:
            if not others:
                self.write("mallory@R -\nalice@R root\n")
                others.append(Thread(target=names.nameFor, args=("alice@R",)))
                others[0].start()
                # It is done within this time, or waits until we are.
                others[0].join(0.2)
            return parse(octets, path)

        self.patch(principals, "parseMap", overtaken)
        names.nameFor("mallory@R")
        others[0].join(10)
        self.assertRaises(NotAdmitted, names.nameFor, "mallory@R")
        self.assertEqual(names.nameFor("alice@R"), "root")

    def test_spoiled(self) -> None:
        """What is wrong later is logged once, and what it was before holds."""
        names = self.names("alice@R alice\n")
        self.assertEqual(names.nameFor("alice@R"), "alice")
        for spoil, what in (
            (lambda: self.write("alice@R al"), "its last line has no end"),
            (lambda: self.write("alice\n"), "line 1: 1 words"),
            (self.path.unlink, "cannot be read: No such file or directory"),
        ):
            self.events.clear()
            spoil()
            for _ in range(3):
                self.assertEqual(names.nameFor("alice@R"), "alice")
            (event,) = self.events
            self.assertIn(what, event["what"])
        self.write("alice@R carol\n")
        self.assertEqual(names.nameFor("alice@R"), "carol")

    def test_unusable(self) -> None:
        """At the start all that is an error."""
        self.write("alice@R alice\n")
        self.path.chmod(0o666)
        big = Path(self.mktemp())
        big.write_bytes(b"#" * (1 << 20) + b"\n")
        for path, what in (
            ("/nonexistent", "'/nonexistent' cannot be read: No such file or directory$"),
            ("/", "cannot be read: Is a directory$"),
            (str(self.path), "can be written by anybody: chmod o-w$"),
            (str(big), "is larger than 1 MiB$"),
        ):
            error = self.assertRaises(ConfigurationError, PrincipalMap(path).load)
            self.assertRegex(str(error), what)
