"""Tests of C{socks5-users} in this process, its terminal and its standard streams replaced."""

from __future__ import annotations

import getpass
import io
import os
import sys
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.auth.passwordfile import Users
from twisted_socks5.userscommand import main


class Stream(io.TextIOWrapper):
    """
    A standard stream in memory.

    @ivar terminal: whether it says that it is one.
    """

    def __init__(
        self, octets: bytes = b"", terminal: bool = False, encoding: str = "utf-8"
    ) -> None:
        super().__init__(io.BytesIO(octets), encoding=encoding, write_through=True)
        self.terminal = terminal

    def isatty(self) -> bool:
        """Say it."""
        return self.terminal

    @property
    def text(self) -> str:
        """What was written."""
        buffer: Any = self.buffer
        return str(buffer.getvalue(), self.encoding)


class CommandCase(SynchronousTestCase):
    """A file that is not there yet."""

    def setUp(self) -> None:
        """Make its directory."""
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(mode=0o700)
        self.path = self.directory / "users"
        self.encoding = "utf-8"

    def run_(self, *arguments: str, stdin: bytes | None = None) -> tuple[int, str, str]:
        """
        Run it.

        @param stdin: what its standard input has; L{None} is a terminal.
        @return: its status, and what it said.
        """
        out, err = Stream(encoding=self.encoding), Stream()
        self.patch(sys, "stdin", Stream(stdin or b"", stdin is None))
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        try:
            status = main([str(self.path), *arguments])
        except SystemExit as end:
            status = int(str(end.code))
        self.assertNotIn("Traceback", err.text)
        return status, out.text, err.text

    def succeeds(self, *arguments: str, stdin: bytes | None = b"") -> str:
        """Run it to a good end; return its output."""
        status, out, err = self.run_(*arguments, stdin=stdin)
        self.assertEqual((status, err), (0, ""))
        return out

    def fails(self, *arguments: str, stdin: bytes | None = b"") -> str:
        """Run it in vain; return its one line."""
        before = self.path.read_bytes() if self.path.exists() else None
        status, out, err = self.run_(*arguments, stdin=stdin)
        self.assertEqual((status, out), (1, ""))
        self.assertEqual(err.count("\n"), 1, err)
        self.assertTrue(err.startswith("socks5-users: "), err)
        after = self.path.read_bytes() if self.path.exists() else None
        self.assertEqual(before, after)
        return err.strip()

    def matches(self, name: bytes, password: bytes) -> bool:
        """Tell whether a user is in the file with a password."""
        return Users.read(self.path.read_bytes()).hashes[name].matches(password)


class PipedTests(CommandCase):
    """With a password on the standard input."""

    def test_life(self) -> None:
        """A user is added, listed, given another password, and deleted."""
        self.assertEqual(self.succeeds("add", "alice", stdin=b"secret\nnot this\n"), "")
        self.assertTrue(self.matches(b"alice", b"secret"))
        self.succeeds("add", "bób", stdin=b"x")
        self.assertEqual(self.succeeds("list"), "alice\nbób\n")
        self.succeeds("change", "alice", stdin=b" sp ace \r\n")
        self.assertTrue(self.matches(b"alice", b" sp ace "))
        self.succeeds("delete", "alice")
        self.assertEqual(self.succeeds("list"), "bób\n")
        self.assertEqual(self.path.stat().st_mode & 0o777, 0o600)

    def test_octets(self) -> None:
        """Names and passwords are octets, whatever they are in the terminal's encoding."""
        self.succeeds("add", os.fsdecode(b"\xff\xfe"), stdin=b"\xe4\x00\xff")
        self.assertTrue(self.matches(b"\xff\xfe", b"\xe4\x00\xff"))
        self.assertEqual(self.succeeds("list"), "\\xff\\xfe\n")

    def test_terminalWithoutLetters(self) -> None:
        """A name that the terminal can't show is shown as what it can."""
        self.succeeds("add", "bób", stdin=b"x")
        for self.encoding, shown in (("ascii", "b\\xf3b\n"), ("latin-1", "bób\n")):
            self.assertEqual(self.succeeds("list"), shown)

    def test_longest(self) -> None:
        """What RFC 1929 has room for, and one octet more."""
        for end in (b"", b"\n", b"\r\n"):
            self.succeeds("add", "alice", stdin=b"x" * 255 + end)
            self.assertTrue(self.matches(b"alice", b"x" * 255))
            self.succeeds("delete", "alice")
            said = self.fails("add", "bob", stdin=b"x" * 256 + end)
            self.assertIn("has more than 255 octets; RFC 1929 has room for 1 to 255", said)
        self.succeeds("add", "x" * 255, stdin=b"x")
        self.assertIn("a name of 256 octets", self.fails("add", "x" * 256, stdin=b"x"))

    def test_noPassword(self) -> None:
        """An empty password is none."""
        for stdin in (b"", b"\n", b"\r\n"):
            self.assertIn("the password is empty", self.fails("add", "alice", stdin=stdin))

    def test_names(self) -> None:
        """Names that a line has no room for."""
        for name in ("", "a:b", "a\nb", "#a", " a", "\x1b[2J"):
            self.assertNotIn("\x1b", self.fails("add", name, stdin=b"x"))

    def test_wrongWay(self) -> None:
        """Who is there already, or is not."""
        self.succeeds("add", "alice", stdin=b"x")
        self.assertIn("user 'alice' is there already", self.fails("add", "alice", stdin=b"y"))
        for command in ("change", "delete"):
            self.assertIn("there is no user 'bob'", self.fails(command, "bob", stdin=b"y"))
        self.path.unlink()
        self.assertIn("there is no user 'alice'", self.fails("delete", "alice"))
        self.assertIn("there is no such file", self.fails("list"))

    def test_badFile(self) -> None:
        """A line that the proxy would refuse is said with the list, and can be mended."""
        self.path.write_text("alice:$apr1$secret\nbob:wonderland\n")
        self.path.chmod(0o600)
        status, out, err = self.run_("list", stdin=b"")
        self.assertEqual((status, out), (1, "alice\nbob\n"))
        self.assertIn(f"{self.path}: line 1: user 'alice' has a hash of Apache's MD5", err)
        self.succeeds("change", "alice", stdin=b"x")
        self.succeeds("delete", "bob")
        self.assertEqual(self.succeeds("list"), "alice\n")
        self.path.write_text("no colon")
        self.assertIn("line 1: there is no colon", self.fails("add", "bob", stdin=b"x"))

    def test_usage(self) -> None:
        """Wrong usage has status 2; a password on the command line is one."""
        for arguments in (
            ["add"],
            ["list", "alice"],
            ["rename", "alice"],
            ["add", "alice", "secret"],
            [],
        ):
            status, out, err = self.run_(*arguments, stdin=b"x")
            self.assertEqual((status, out), (2, ""))
            self.assertTrue(err.startswith("usage: socks5-users"), err)
        self.assertFalse(self.path.exists())

    def test_help(self) -> None:
        """Help has examples."""
        status, out, _ = self.run_("--help", stdin=b"")
        self.assertEqual(status, 0)
        self.assertIn("socks5-users /etc/socks5-users add alice", out)

    def test_full(self) -> None:
        """An output that takes nothing."""

        def fail(*_: object) -> None:
            raise OSError(28, "No space left on device")

        self.succeeds("add", "alice", stdin=b"x")
        self.patch(Stream, "write", fail)
        self.patch(sys, "stdin", Stream())
        self.patch(sys, "stdout", Stream())
        err = io.StringIO()
        self.patch(sys, "stderr", err)
        self.assertEqual(main([str(self.path), "list"]), 1)
        self.assertEqual(err.getvalue(), "socks5-users: No space left on device\n")

    def test_nobodyReads(self) -> None:
        """Whoever was to read the list may leave; that is no news."""
        self.succeeds("add", "alice", stdin=b"x")
        reading, writing = os.pipe()
        os.close(reading)
        err = io.StringIO()
        self.patch(sys, "stderr", err)
        with open(writing, "w") as out:
            self.patch(sys, "stdout", out)
            self.assertEqual(main([str(self.path), "list"]), 1)
        self.assertEqual(err.getvalue(), "")


class TerminalTests(CommandCase):
    """With a password that is asked for."""

    def answer(self, *answers: str | BaseException) -> list[str]:
        """Answer questions; return those that were asked."""
        asked: list[str] = []
        left = list(answers)

        def ask(prompt: str) -> str:
            asked.append(prompt)
            answer = left.pop(0)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        self.patch(getpass, "getpass", ask)
        return asked

    def test_twice(self) -> None:
        """It is asked for twice, and taken as UTF-8."""
        asked = self.answer("gehéim", "gehéim")
        self.succeeds("add", "alice", stdin=None)
        self.assertEqual(asked, ["Password: ", "The same again: "])
        self.assertTrue(self.matches(b"alice", "gehéim".encode()))

    def test_different(self) -> None:
        """Two that differ are none."""
        self.answer("one", "two")
        self.assertIn("the two passwords differ", self.fails("add", "alice", stdin=None))

    def test_notAsked(self) -> None:
        """Nobody is asked in vain."""
        asked = self.answer("one", "one")
        self.succeeds("add", "alice", stdin=None)
        asked.clear()
        self.fails("add", "alice", stdin=None)
        self.fails("change", "bob", stdin=None)
        self.succeeds("delete", "alice", stdin=None)
        self.assertEqual(asked, [])

    def test_notGiven(self) -> None:
        """The end of the input, or octets that no terminal like this has."""
        for error in (EOFError(), UnicodeDecodeError("utf-8", b"\xff", 0, 1, "secret")):
            self.answer(error)
            said = self.fails("add", "alice", stdin=None)
            self.assertIn("no password was given", said)
            self.assertNotIn("secret", said)

    def test_interrupted(self) -> None:
        """Ctrl-C is a line of its own."""
        self.answer(KeyboardInterrupt())
        status, out, err = self.run_("add", "alice", stdin=None)
        self.assertEqual((status, out, err), (1, "", "\nsocks5-users: interrupted\n"))
