"""Tests of files of users: what is in them, who may write to them, and when they are believed."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.test_hashes import KNOWN, argon, bcrypted
from twisted_socks5.auth.passwordfile import (
    GLANCE,
    MAX_SIZE,
    SETTLE,
    BadFile,
    PasswordFile,
    Users,
    View,
    complaintAbout,
    splitLines,
)

A, B = argon(), bcrypted()
NAMES = st.binary(min_size=1, max_size=20).filter(lambda name: not complaintAbout(name))


def lines(*pairs: tuple[bytes, bytes]) -> bytes:
    """Write users."""
    return b"".join(b"%b:%b\n" % pair for pair in pairs)


class UsersTests(SynchronousTestCase):
    """What is in a file."""

    def why(self, octets: bytes) -> str:
        """Tell why a file is bad; nothing of a hash or password is told."""
        with self.assertRaises(BadFile) as caught:
            Users.read(octets)
        self.assertNotIn("secret", str(caught.exception))
        return str(caught.exception)

    @given(st.dictionaries(NAMES, st.sampled_from(KNOWN), max_size=6), st.booleans())
    @settings(max_examples=100, deadline=None)
    def test_read(self, hashes: dict[bytes, bytes], windows: bool) -> None:
        """All users are in it, whatever octets their names are, and whichever way lines end."""
        octets = lines(*hashes.items())
        users = Users.read(octets.replace(b"\n", b"\r\n") if windows else octets)
        self.assertEqual({name: users.text(name) for name in users.hashes}, hashes)
        self.assertIsNone(users.text(b":"))

    def test_nobody(self) -> None:
        """Comments, empty lines and a byte order mark are nobody."""
        for octets in (b"", b"\n\n", b"# alice:x\n", b"  \t\n", b"\xef\xbb\xbf", b"\r\n", b"#\r"):
            self.assertEqual(Users.read(octets).hashes, {})

    def test_mark(self) -> None:
        """A byte order mark is no part of the first name; a line's end may be missing."""
        users = Users.read(b"\xef\xbb\xbf# users\nalice:" + A + b" \t\n\nbob:" + B)
        self.assertEqual(list(users.hashes), [b"alice", b"bob"])

    def test_bad(self) -> None:
        """The first line that cannot be used is named, with its user and the reason."""
        good = b"# users\nalice:" + A + b"\n"
        for octets, reason in (
            (b"secret\n", "line 3: there is no colon; a line is NAME:HASH"),
            (b"bob:secret\n", "line 3: user 'bob' has a password in plain text, it seems"),
            (b"\nbob:$apr1$secret\n", "line 4: user 'bob' has a hash of Apache's MD5"),
            (b"alice:" + A, "line 3: user 'alice' is on line 2 already"),
            (b"bob:" + A + b":secret\n", "line 3: user 'bob' has more than a hash"),
            (b":secret\n", "line 3: a user has to have a name"),
            (b"\xff\n\x00:secret", "line 3: there is no colon"),
            (b"b\x00b:secret", "line 3: a control character in a name"),
            (b"bob :secret", "line 3: a name that begins or ends with a space"),
            (b"b\xffb:secret", "line 3: user 'b\\\\xffb' has a password"),
            ("bób\u202e:secret".encode(), "line 3: user 'bób\\u202e' has a password"),
            (b"x" * 256 + b":secret", "line 3: a name of 256 octets"),
            (b"bob:" + A + b"\rcarol:secret", "line 3: user 'bob' has"),
        ):
            self.assertIn(reason, self.why(good + octets), octets)

    def test_names(self) -> None:
        """Names that a line has room for."""
        for name in (b"a", b"a b", b"x" * 255, "bób".encode(), b"\xff\xfe", b"a#", b"$", b"-a"):
            self.assertEqual(complaintAbout(name), "")
        bad = (b"", b"a:b", b"a\n", b"\x7f", b" a", b"a ", b"#a", b"x" * 256, b"\t")
        for name in (*bad, b"\xef\xbb\xbfa"):
            self.assertNotEqual(complaintAbout(name), "")

    @given(st.binary(max_size=60))
    @settings(max_examples=200, deadline=None)
    def test_total(self, octets: bytes) -> None:
        """Any octets have lines, or are bad; nothing else."""
        try:
            numbers = [line.number for line in splitLines(octets)]
        except BadFile:
            return
        self.assertEqual(numbers, list(range(1, octets.count(b"\n") + 2)))

    def test_pick(self) -> None:
        """Any number chooses somebody, and each can be chosen."""
        users = Users.read(lines((b"alice", A), (b"bob", B)))
        self.assertEqual({users.pick(n).text for n in (0, 1, 2**64 - 1)}, {A, B})

    def test_repr(self) -> None:
        """Hashes are not part of a repr."""
        users = Users.read(lines((b"alice", A)))
        self.assertNotIn(A.decode()[-6:], f"{users!r} {View(users, users)!r}")


class FileCase(SynchronousTestCase):
    """A file in a directory of its own, and a clock that its times are compared with."""

    def setUp(self) -> None:
        """Make it."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(mode=0o700)
        self.path = self.directory / "users"
        self.write(lines((b"alice", A)))
        self.file = PasswordFile(str(self.path), lambda: self.wall)
        self.wall = 0.0  # before anything was ever written
        self.now = 100.0

    def write(self, octets: bytes) -> None:
        """Write in place, and do nothing else."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(octets)

    def rename(self, octets: bytes) -> None:
        """Put another file in place, which was written longer ago than a tick of its clock."""
        other = self.directory / "other"
        other.write_bytes(octets)
        other.chmod(0o600)
        os.utime(other, ns=(1, 1))
        other.rename(self.path)

    def look(self, seconds: float = 0.0) -> View:
        """Look again after some time."""
        self.now += seconds
        return self.file.look(self.now)

    def names(self, view: View) -> list[bytes]:
        """Tell who counts."""
        return list(view.users.hashes)


class LoadTests(FileCase):
    """The file at the start."""

    def why(self) -> str:
        """Tell why it is refused."""
        with self.assertRaises(BadFile) as caught:
            self.file.load()
        return str(caught.exception)

    def test_loaded(self) -> None:
        """It is read, and counts."""
        view = self.file.load()
        self.assertEqual((self.names(view), view.wait, view.readable), ([b"alice"], 0, False))
        self.assertEqual(self.names(self.look()), [b"alice"])

    def test_absolute(self) -> None:
        """The path is what it was, wherever the process goes."""
        here = os.getcwd()
        self.addCleanup(os.chdir, here)
        os.chdir(self.directory)
        file = PasswordFile("users")
        os.chdir(here)
        self.assertEqual(self.names(file.load()), [b"alice"])

    def test_refused(self) -> None:
        """What cannot be used."""
        self.write(b"# nobody\n")
        self.assertIn("nobody is in it", self.why())
        self.write(b"alice:wonderland\n")
        self.assertIn("line 1: user 'alice' has a password in plain text", self.why())
        self.path.unlink()
        self.assertEqual(self.why(), "cannot be read: No such file or directory")
        self.path.mkdir()
        self.assertEqual(self.why(), "not a regular file")

    def test_pipe(self) -> None:
        """A named pipe is not waited for."""
        self.path.unlink()
        os.mkfifo(self.path)
        self.assertEqual(self.why(), "not a regular file")

    def test_large(self) -> None:
        """A file that is too large is not read whole."""
        with self.path.open("wb") as file:
            file.truncate(MAX_SIZE + 1)
        self.assertEqual(self.why(), "larger than 16 MiB")

    def test_changesWhileRead(self) -> None:
        """One that changes while it is read is read again, a few times."""
        fstat, looks = os.fstat, []

        def touch(descriptor: int) -> os.stat_result:
            looks.append(descriptor)
            if len(looks) <= times:
                os.utime(self.path, ns=(1, len(looks)))
            return fstat(descriptor)

        self.patch(os, "fstat", touch)
        times = 4
        self.assertEqual(self.names(self.file.load()), [b"alice"])
        looks.clear()
        times = 1000
        self.assertEqual(self.why(), "somebody writes to it all the time")

    def test_writers(self) -> None:
        """Nobody else may write to it or put another in its place."""
        for mode in (0o620, 0o602, 0o666):
            self.path.chmod(mode)
            self.assertEqual(self.why(), "others than its owner may write to it: chmod go-w")
        self.path.chmod(0o600)
        for mode in (0o720, 0o702, 0o777):
            self.directory.chmod(mode)
            self.assertIn(f"write to its directory '{self.directory}': chmod go-w", self.why())
        self.directory.chmod(0o1777)  # as /tmp
        self.file.load()

    def test_writersOfTheLink(self) -> None:
        """Neither where it is, nor where the link to it is."""
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir(mode=0o700)
        link = elsewhere / "link"
        link.symlink_to(self.path)
        self.file = PasswordFile(str(link))
        self.file.load()
        for directory in (elsewhere, self.directory):
            directory.chmod(0o777)
            self.assertIn(repr(str(directory)), self.why())
            directory.chmod(0o700)

    def test_readable(self) -> None:
        """That others may read it is worth a warning: once, and again if it comes to be so."""
        self.path.chmod(0o640)
        self.assertFalse(self.file.load().readable)
        self.path.chmod(0o644)
        self.assertEqual([self.file.load().readable for _ in range(2)], [True, False])
        self.assertFalse(self.look().readable)
        self.path.chmod(0o600)
        self.assertFalse(self.look().readable)
        self.path.chmod(0o604)
        self.assertTrue(self.look().readable)


class ChangeTests(FileCase):
    """The file when it changes."""

    def setUp(self) -> None:
        """Load it."""
        super().setUp()
        self.file.load()
        self.both = lines((b"alice", A), (b"bob", B))

    def test_renamed(self) -> None:
        """A file that is renamed to its place is whole, and counts at once; told once."""
        self.rename(self.both)
        view = self.look()
        self.assertEqual((self.names(view), view.wait), ([b"alice", b"bob"], 0))
        self.assertTrue(view.taken)
        self.assertFalse(self.look().taken)
        self.rename(b"")
        self.assertEqual(self.names(self.look()), [])

    def test_inPlace(self) -> None:
        """One that is written in place counts when it has been left alone for a while."""
        self.write(self.both)
        view = self.look()
        self.assertEqual((self.names(view), view.taken), ([b"alice"], False))
        self.assertAlmostEqual(view.wait, SETTLE)
        view = self.look(SETTLE - 0.1)
        self.assertAlmostEqual(view.wait, 0.1)
        view = self.look(0.1)
        self.assertEqual((self.names(view), view.wait, view.taken), ([b"alice", b"bob"], 0, True))

    def test_old(self) -> None:
        """One that was written in place a while ago counts once it was looked at twice."""
        self.write(self.both)
        self.wall = self.path.stat().st_ctime + SETTLE + 0.01
        view = self.look()
        self.assertEqual((self.names(view), view.isLastWord(b"bob")), ([b"alice"], False))
        self.assertAlmostEqual(view.wait, GLANCE)
        self.assertEqual(self.names(self.look(2 * GLANCE)), [b"alice", b"bob"])

    def test_cut(self) -> None:
        """Nobody is locked out by one that is cut and not marked as changed yet (ext4 does so)."""
        for write in (self.rename, self.write):
            write(self.both)
            self.look()
            self.look(SETTLE)
            before = self.path.stat()
            self.wall = before.st_ctime + 60
            self.write(b"")
            patches = [self.markAs(before, name) for name in ("stat", "fstat")]
            view = self.look()
            self.assertEqual(self.names(view), [b"alice", b"bob"])
            self.assertFalse(view.isLastWord(b"alice"))
            for each in patches:
                each.restore()
            self.write(self.both)
            self.assertEqual(self.names(self.look(GLANCE)), [b"alice", b"bob"])

    def markAs(self, marks: os.stat_result, name: str) -> Any:
        """Have files look as if they were last changed at another time."""
        really: Any = getattr(os, name)

        def look(*arguments: Any) -> Any:
            found = really(*arguments)
            return mock.Mock(
                spec=found,
                **{each: getattr(found, each) for each in dir(found) if each.startswith("st_")}
                | {"st_mtime_ns": marks.st_mtime_ns, "st_ctime_ns": marks.st_ctime_ns},
            )

        return self.patch(os, name, look)

    def test_torn(self) -> None:
        """What is written in pieces counts when it is whole, however long it takes."""
        whole = self.both + lines((b"carol", A))
        with self.path.open("wb", buffering=0) as file:
            for octet in range(0, len(whole), 20):
                file.write(whole[octet : octet + 20])
                view = self.look(SETTLE / 2)
                self.assertEqual((self.names(view), view.complaint), ([b"alice"], ""))
                self.assertGreater(view.wait, 0)
        self.look()
        self.assertEqual(self.names(self.look(SETTLE)), [b"alice", b"bob", b"carol"])

    def test_lastWord(self) -> None:
        """While it settles, who is in it as before need not wait, and who is not does."""
        self.write(lines((b"alice", A), (b"bob", B), (b"carol", A)))
        self.look()
        self.look(SETTLE)
        self.write(lines((b"alice", A), (b"carol", B)))
        view = self.look()
        last = {name: view.isLastWord(name) for name in (b"alice", b"bob", b"carol", b"dave")}
        self.assertEqual(last, {b"alice": True, b"bob": False, b"carol": False, b"dave": True})
        self.write(b"alice")
        view = self.look()
        self.assertFalse(view.isLastWord(b"alice"))
        self.assertTrue(self.look(SETTLE).isLastWord(b"alice"))

    def test_bad(self) -> None:
        """A file that becomes bad leaves the users as they were; told once for each change."""
        self.rename(b"alice:wonderland\n")
        self.assertEqual(self.look().complaint, "")
        for _ in range(2):
            view = self.look(SETTLE)
            self.assertIn("line 1: user 'alice' has a password", view.complaint)
            self.assertEqual((self.names(view), view.wait), ([b"alice"], 0))
            self.assertEqual(self.look(SETTLE).complaint, "")
            self.rename(b"alice:wonderland!\n")
            self.look()
        self.rename(self.both)
        self.assertEqual(self.names(self.look()), [b"alice", b"bob"])

    def test_gone(self) -> None:
        """One that is gone, or no longer safe, leaves the users as they were, too."""
        octets = self.path.read_bytes()
        self.path.unlink()
        view = self.look()
        self.assertEqual((view.complaint, view.wait), ("", SETTLE))
        self.assertEqual(self.look(SETTLE).complaint, "cannot be read: No such file or directory")
        self.assertEqual(self.look(SETTLE).complaint, "")
        self.assertEqual(self.names(self.look()), [b"alice"])
        self.write(octets)
        self.assertEqual(self.look().complaint, "")
        self.path.chmod(0o666)
        self.look()
        self.assertIn("others than its owner", self.look(SETTLE).complaint)
        self.path.chmod(0o600)
        self.assertEqual(self.names(self.look()), [b"alice"])
        self.path.unlink()
        self.look()
        self.assertIn("No such file", self.look(SETTLE).complaint)

    def test_goneForAMoment(self) -> None:
        """One that is away while it is replaced is no reason to complain."""
        self.path.unlink()
        self.look()
        self.rename(self.both)
        view = self.look()
        self.assertEqual((self.names(view), view.complaint), ([b"alice", b"bob"], ""))

    def test_sameTick(self) -> None:
        """Two changes within a tick of the file system's clock, which marks them alike."""
        self.rename(lines((b"alice", A), (b"bob", B)))
        self.look()
        status = self.path.stat()
        with self.path.open("r+b") as file:
            file.seek(len(lines((b"alice", A))))
            file.write(b"rob")
        os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        held = self.file._held
        if held is None:
            self.fail("nothing is held")
        # What the system would not tell apart: only this clock is finer.
        self.file._held = held._replace(changed=self.path.stat().st_ctime_ns)
        self.look()
        self.assertEqual(self.names(self.look(SETTLE)), [b"alice", b"rob"])

    def test_notRead(self) -> None:
        """A file that is what it was is not read again, once that is sure."""
        self.look()
        self.look(SETTLE)

        def refuse(*_: object, **__: object) -> int:
            raise AssertionError("it is opened")

        self.patch(os, "open", refuse)
        self.assertEqual(self.names(self.look(1000)), [b"alice"])

    def test_touched(self) -> None:
        """A file that is only touched is the same."""
        self.path.touch()
        view = self.look()
        self.assertEqual((view.taken, view.wait), (False, 0))

    def test_link(self) -> None:
        """A link that comes to lead elsewhere."""
        link = self.directory / "link"
        link.symlink_to(self.path)
        self.file = PasswordFile(str(link), lambda: self.wall)
        self.file.load()
        other = self.directory / "other"
        other.write_bytes(self.both)
        other.chmod(stat.S_IRUSR)
        link.unlink()
        link.symlink_to(other)
        self.look()
        self.assertEqual(self.names(self.look(SETTLE)), [b"alice", b"bob"])
