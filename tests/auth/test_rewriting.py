"""Tests of changing a file of users while others read it, and change it."""

from __future__ import annotations

import fcntl
import os
import stat
import threading
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.auth import rewriting
from twisted_socks5.auth.passwordfile import BadFile, complaintAbout
from twisted_socks5.auth.rewriting import add, readNames, remove, replace

FILE = b"""\
# users of the proxy

alice:old hash
bob:whatever:it is\r
# carol:has left
dave:x"""


class RewritingCase(SynchronousTestCase):
    """A file in a directory of its own."""

    def setUp(self) -> None:
        """Make it."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(mode=0o700)
        self.path = self.directory / "users"
        self.write(FILE)

    def write(self, octets: bytes) -> None:
        """Write it."""
        self.path.write_bytes(octets)
        self.path.chmod(0o600)

    def refused(self, what: object, *arguments: object) -> str:
        """Tell why a change is refused; the file is as it was, and alone."""
        before = self.path.read_bytes()
        with self.assertRaises(BadFile) as caught:
            what(str(self.path), *arguments)  # type: ignore[operator]  # one of ours
        self.assertEqual(self.path.read_bytes(), before)
        self.assertEqual(os.listdir(self.directory), ["users"])
        return str(caught.exception)


class ChangeTests(RewritingCase):
    """What becomes of the lines."""

    def test_names(self) -> None:
        """All that are users, in their order."""
        self.assertEqual(readNames(str(self.path)), [b"alice", b"bob", b"dave"])

    def test_add(self) -> None:
        """A new line at the end, whether the last one was ended or not; the rest stays."""
        add(str(self.path), b"eve", b"new")
        self.assertEqual(self.path.read_bytes(), FILE + b"\neve:new\n")
        add(str(self.path), b"\xffx", b"y")
        self.assertEqual(self.path.read_bytes(), FILE + b"\neve:new\n\xffx:y\n")

    def test_addFirst(self) -> None:
        """The first user makes the file, its owner's alone, whatever the umask."""
        for umask in (0o000, 0o777):
            self.path.unlink()
            before = os.umask(umask)
            try:
                add(str(self.path), b"alice", b"x")
            finally:
                os.umask(before)
            self.assertEqual(self.path.read_bytes(), b"alice:x\n")
            self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)

    def test_replace(self) -> None:
        """One line is another; how it ends, and what is before a first name, stays."""
        replace(str(self.path), b"alice", b"new")
        replace(str(self.path), b"bob", b"new")
        expected = FILE.replace(b"old hash", b"new").replace(b"whatever:it is\r", b"new\r")
        self.assertEqual(self.path.read_bytes(), expected)
        self.write(b"\xef\xbb\xbfalice:x")
        replace(str(self.path), b"alice", b"new")
        self.assertEqual(self.path.read_bytes(), b"\xef\xbb\xbfalice:new")

    def test_remove(self) -> None:
        """A line is gone, and no other."""
        remove(str(self.path), b"bob")
        remove(str(self.path), b"dave")
        self.assertEqual(
            self.path.read_bytes(), b"# users of the proxy\n\nalice:old hash\n# carol:has left"
        )

    def test_twice(self) -> None:
        """Who is there twice, which the proxy would refuse, is so no more."""
        self.write(b"alice:1\nbob:2\nalice:3\n")
        replace(str(self.path), b"alice", b"4")
        self.assertEqual(self.path.read_bytes(), b"alice:4\nbob:2\n")
        self.write(b"alice:1\nbob:2\nalice:3\n")
        remove(str(self.path), b"alice")
        self.assertEqual(self.path.read_bytes(), b"bob:2\n")

    def test_refused(self) -> None:
        """What cannot be."""
        self.assertEqual(self.refused(add, b"alice", b"x"), "user 'alice' is there already")
        self.assertEqual(self.refused(replace, b"carol", b"x"), "there is no user 'carol'")
        self.assertEqual(self.refused(remove, b"# carol"), "there is no user '# carol'")
        self.write(b"alice:x\nnobody knows what this is\n")
        for what, arguments in ((add, [b"bob", b"x"]), (replace, [b"alice", b"x"])):
            self.assertIn("line 2: there is no colon", self.refused(what, *arguments))

    @given(
        st.lists(
            st.tuples(
                st.binary(min_size=1, max_size=3).filter(lambda name: not complaintAbout(name)),
                st.sampled_from("ard"),
            ),
            max_size=12,
        )
    )
    @settings(max_examples=40, deadline=None)
    def test_model(self, changes: list[tuple[bytes, str]]) -> None:
        """Whatever is done one after the other, the file has it, and comments stay."""
        self.write(b"# users\n")
        known: dict[bytes, bytes] = {}
        for number, (name, letter) in enumerate(changes):
            text = b"%d" % number
            try:
                if letter == "a":
                    add(str(self.path), name, text)
                elif letter == "r":
                    replace(str(self.path), name, text)
                else:
                    remove(str(self.path), name)
            except BadFile:
                self.assertEqual(name in known, letter == "a")
                continue
            known[name] = text
            if letter == "d":
                del known[name]
        lines = self.path.read_bytes().splitlines(keepends=True)
        self.assertEqual(lines[0], b"# users\n")
        self.assertEqual(sorted(lines[1:]), sorted(b"%b:%b\n" % each for each in known.items()))


class WriteTests(RewritingCase):
    """How it gets to its place."""

    def test_whole(self) -> None:
        """It is renamed, not written to: who has it open reads what it was."""
        with self.path.open("rb") as file:
            add(str(self.path), b"eve", b"x")
            self.assertEqual(file.read(), FILE)
        self.assertEqual(os.listdir(self.directory), ["users"])

    def test_full(self) -> None:
        """Where there is no room, or any other error, the old one stays and nothing else."""
        for name in ("fsync", "replace", "fchmod"):

            def fail(*_: object) -> None:
                raise OSError(28, "No space left on device")

            patch = self.patch(os, name, fail)
            self.assertEqual(
                self.refused(add, b"eve", b"x"), "cannot be changed: No space left on device"
            )
            patch.restore()

    def test_interrupted(self) -> None:
        """Nor does Ctrl-C leave anything."""

        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        patch = self.patch(os, "replace", interrupt)
        self.assertRaises(KeyboardInterrupt, add, str(self.path), b"eve", b"x")
        patch.restore()
        self.assertEqual(os.listdir(self.directory), ["users"])

    def test_link(self) -> None:
        """A symbolic link stays one; the file it leads to is changed, where that is."""
        elsewhere = self.directory / "elsewhere"
        elsewhere.mkdir()
        link = elsewhere / "link"
        link.symlink_to("../users")
        add(str(link), b"eve", b"x")
        self.assertTrue(link.is_symlink())
        self.assertIn(b"eve", self.path.read_bytes())
        self.assertEqual(os.listdir(elsewhere), ["link"])

    def test_mode(self) -> None:
        """Its group goes on reading it; nobody else does, and only its owner writes."""
        for before, after in ((0o600, 0o600), (0o640, 0o640), (0o666, 0o640), (0o400, 0o600)):
            self.path.chmod(before)
            replace(str(self.path), b"alice", b"x")
            self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), after)

    def test_owner(self) -> None:
        """The root leaves it to its owner; the rest is what others may do."""
        owned: list[tuple[int, int]] = []
        status = os.stat

        class Status:
            """A file of somebody else's."""

            st_mode, st_uid, st_gid = stat.S_IFREG | 0o640, 1234, 4321

        def stat_(path: Any, **options: Any) -> Any:
            return Status() if str(path) == str(self.path) else status(path, **options)

        self.patch(os, "stat", stat_)
        self.patch(os, "fchown", lambda _, user, group: owned.append((user, group)))
        self.patch(os, "geteuid", lambda: 0)
        add(str(self.path), b"eve", b"x")
        self.assertEqual(owned, [(1234, 4321)])
        self.patch(os, "geteuid", lambda: 99)
        self.assertEqual(self.refused(add, b"frank", b"x"), "belongs to another user")
        self.patch(os, "geteuid", lambda: 1234)

        def refuse(*_: object) -> None:
            raise PermissionError(1, "Operation not permitted")

        self.patch(os, "fchown", refuse)
        add(str(self.path), b"frank", b"x")
        self.assertEqual(status(self.path).st_mode & 0o777, 0o600)

    def test_unreadable(self) -> None:
        """What is no file, or in no directory."""
        self.path.unlink()
        self.path.mkdir()
        with self.assertRaises(BadFile) as caught:
            readNames(str(self.path))
        self.assertEqual(str(caught.exception), "not a regular file")
        with self.assertRaises(BadFile) as caught:
            add(str(self.directory / "none" / "users"), b"a", b"x")
        self.assertEqual(str(caught.exception), "cannot be changed: No such file or directory")

        def refuse(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        self.patch(os, "stat", refuse)
        with self.assertRaises(BadFile) as caught:
            readNames(str(self.path))
        self.assertEqual(str(caught.exception), "cannot be read: Permission denied")

    def test_twoAtOnce(self) -> None:
        """One waits until the other is done, and then does not undo it."""
        inside, release = threading.Event(), threading.Event()
        replaced = rewriting._replace

        def slow(path: str, octets: bytes) -> None:
            inside.set()
            release.wait(10)
            replaced(path, octets)

        self.patch(rewriting, "_replace", slow)
        threads = [
            threading.Thread(target=add, args=(str(self.path), name, b"x"))
            for name in (b"eve", b"frank")
        ]
        for thread in threads:
            thread.start()
        inside.wait(10)
        directory = os.open(self.directory, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        self.assertRaises(BlockingIOError, fcntl.flock, directory, fcntl.LOCK_EX | fcntl.LOCK_NB)
        release.set()
        for thread in threads:
            thread.join(10)
        self.assertEqual(sorted(readNames(str(self.path)))[-2:], [b"eve", b"frank"])

    def test_locked(self) -> None:
        """Whoever may read the directory can lock it, but not make us wait for ever."""
        self.patch(rewriting, "PATIENCE", 0.0)
        directory = os.open(self.directory, os.O_RDONLY)
        self.addCleanup(os.close, directory)
        fcntl.flock(directory, fcntl.LOCK_EX)
        self.assertIn("has a lock on", self.refused(add, b"eve", b"x"))
