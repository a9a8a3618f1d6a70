"""Tests of what is known to fail before the first login, with the checkers strcred makes."""

from __future__ import annotations

import builtins
import os
import sys
from pathlib import Path
from typing import Any

from twisted.cred import strcred
from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker
from twisted.cred.credentials import Anonymous, IAnonymous, ICredentials, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.internet.defer import Deferred
from twisted.python import usage
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.fakes import answering
from tests.auth.test_hashes import argon
from twisted_socks5.auth import (
    Authenticator,
    OctetCredentials,
    SOCKS5Realm,
    checkUsable,
    combine,
    preflight,
)
from twisted_socks5.errors import ConfigurationError


class _Options(usage.Options, strcred.AuthOptionMixin):
    """The options of a server that takes names and nobody."""

    supportedInterfaces = (IUsernamePassword, IAnonymous)


def _parsed(*descriptions: str) -> list[ICredentialsChecker]:
    """Parse some C{--auth}."""
    options = _Options()
    options.parseOptions([f"--auth={description}" for description in descriptions])
    checkers: list[ICredentialsChecker] = options["credCheckers"]
    return checkers


class StrcredCase(SynchronousTestCase):
    """A command line and a directory."""

    def file(self, content: bytes) -> str:
        """Write a password file."""
        path = Path(self.mktemp())
        path.write_bytes(content)
        return str(path)

    def complaint(self, checkers: list[ICredentialsChecker]) -> str:
        """Return why some checkers are of no use, in one line."""
        caught = self.assertRaises(ConfigurationError, checkUsable, checkers)
        text = str(caught)
        self.assertNotIn("\n", text)
        self.assertIsNone(caught.__cause__)
        return text


class StrcredTests(StrcredCase):
    """What C{--auth} makes, asked about with octets."""

    def login(
        self, checkers: list[ICredentialsChecker], credentials: ICredentials
    ) -> Deferred[Any]:
        """Log in with checkers that were parsed."""
        checkUsable(checkers)
        return Authenticator(Portal(SOCKS5Realm(), combine(checkers))).login(credentials)

    def admitted(self, checkers: list[ICredentialsChecker], credentials: ICredentials) -> object:
        """Return the name of who gets in."""
        avatar, _ = self.successResultOf(self.login(checkers, credentials))
        return avatar.name

    def test_memory(self) -> None:
        """C{memory} lets its users in, and nobody else."""
        checkers = _parsed("memory:alice:secret:bob:x")
        self.assertEqual(self.admitted(checkers, OctetCredentials(b"bob", b"x")), "bob")
        for name, password in ((b"alice", b"x"), (b"carol", b"secret"), (b"alice", b"")):
            login = self.login(checkers, OctetCredentials(name, password))
            self.failureResultOf(login, UnauthorizedLogin)

    def test_memoryNotASCII(self) -> None:
        """Its text is UTF-8, and a command line's other octets are themselves."""
        checkers = _parsed("memory:J\u00f6rg:pa\u00df:J\udcf6rg:pa\udcdf")
        utf8 = OctetCredentials("J\u00f6rg".encode(), "pa\u00df".encode())
        self.assertEqual(self.admitted(checkers, utf8), "J\u00f6rg")
        latin1 = OctetCredentials(b"J\xf6rg", b"pa\xdf")
        self.assertEqual(self.admitted(checkers, latin1), "J\\xf6rg")
        login = self.login(checkers, OctetCredentials(utf8.username, b"pa\xdf"))
        self.failureResultOf(login, UnauthorizedLogin)

    def test_file(self) -> None:
        """C{file} compares the octets of its lines."""
        path = self.file("J\u00f6rg:pa\u00df\r\n".encode() + b"\nJ\xf6rg:pa\xdf\n# none\n")
        checkers = _parsed(f"file:{path}")
        utf8 = OctetCredentials("J\u00f6rg".encode(), "pa\u00df".encode())
        self.assertEqual(self.admitted(checkers, utf8), "J\u00f6rg")
        self.assertEqual(
            self.admitted(checkers, OctetCredentials(b"J\xf6rg", b"pa\xdf")), "J\\xf6rg"
        )
        login = self.login(checkers, OctetCredentials(b"J\xf6rg", b"pa"))
        self.failureResultOf(login, UnauthorizedLogin)

    def test_fileChanges(self) -> None:
        """A user who is added to the file counts at once; a file that is gone refuses."""
        path = self.file(b"alice:secret\n")
        checkers = _parsed(f"file:{path}")
        authenticator = Authenticator(Portal(SOCKS5Realm(), combine(checkers)))
        bob = OctetCredentials(b"bob", b"x")
        self.failureResultOf(authenticator.login(bob), UnauthorizedLogin)
        Path(path).write_bytes(b"alice:secret\nbob:x\n")
        self.successResultOf(authenticator.login(bob))
        Path(path).unlink()
        self.failureResultOf(authenticator.login(bob), UnauthorizedLogin)

    def test_anonymous(self) -> None:
        """C{anonymous} lets nobody in particular in, and nobody with a name."""
        checkers = _parsed("anonymous")
        self.assertIsNone(self.admitted(checkers, Anonymous()))

    def test_several(self) -> None:
        """A second C{--auth} of a kind adds to the first."""
        checkers = _parsed(
            "memory:alice:secret", f"file:{self.file(b'bob:x')}", "memory:carol:y", "anonymous"
        )
        for name, password in ((b"alice", b"secret"), (b"bob", b"x"), (b"carol", b"y")):
            credentials = OctetCredentials(name, password)
            self.assertEqual(self.admitted(checkers, credentials), name.decode())
        self.assertIsNone(self.admitted(checkers, Anonymous()))
        login = self.login(checkers, OctetCredentials(b"alice", b"x"))
        self.failureResultOf(login, UnauthorizedLogin)


class MemoryAndFileTests(StrcredCase):
    """Users who are not there, and files that cannot be used."""

    def test_nobody(self) -> None:
        """Memory without users."""
        self.assertEqual(
            self.complaint(_parsed("memory")),
            "no user is named in memory; write memory:NAME:PASSWORD",
        )

    def test_missing(self) -> None:
        """A file that does not exist, in a path that would break a line."""
        checkers: list[ICredentialsChecker] = [FilePasswordDB("/nowhere/a\nb")]
        self.assertEqual(
            self.complaint(checkers),
            "password file '/nowhere/a\\nb' cannot be read: No such file or directory",
        )

    def test_unreadable(self) -> None:
        """A file that may not be read; the test may be root, who may read anything."""
        path = self.file(b"alice:secret")

        def denying(name: object, *args: Any) -> Any:
            if name == path:
                raise PermissionError(13, "Permission denied", path)
            return opening(name, *args)

        opening: Any = open
        self.patch(builtins, "open", denying)
        self.assertIn("cannot be read: Permission denied", self.complaint([FilePasswordDB(path)]))

    def test_notRegular(self) -> None:
        """A directory; a named pipe, whose opening would wait for a writer."""
        directory, pipe = self.mktemp(), self.mktemp()
        os.mkdir(directory)
        os.mkfifo(pipe)
        for path in (directory, pipe):
            self.assertIn("is not a regular file", self.complaint([FilePasswordDB(path)]))

    def test_nobodyInFile(self) -> None:
        """A file in which no line names a user."""
        for content in (b"", b"\n# users follow\n"):
            self.assertIn(
                "has no line of the form NAME:PASSWORD",
                self.complaint([FilePasswordDB(self.file(content))]),
            )

    def test_hashes(self) -> None:
        """An htpasswd file: its hashes would be the passwords."""
        for hashed in (b"$apr1$x", b"$2y$05$x", b"$argon2id$v=19$x", b"$6$x", b"{SHA}x"):
            path = self.file(b"bob:x\nalice:" + hashed)
            text = self.complaint([FilePasswordDB(path)])
            self.assertIn("line 2: a hash, but this file's passwords are compared as", text)
            self.assertNotIn(hashed.decode(), text)
        checkUsable([FilePasswordDB(path, hash=lambda name, password, held: held)])

    def test_moreFields(self) -> None:
        """A password cannot hold a colon; and /etc/passwd is not a password file."""
        for content in (b"alice:sec:ret", b"root:x:0:0:root:/root:/bin/sh"):
            text = self.complaint([FilePasswordDB(self.file(content))])
            self.assertIn("line 1: more than NAME:PASSWORD", text)
        path = self.file(b"1;alice;a@example.org;secret;more")
        checkUsable([FilePasswordDB(path, b";", usernameField=1, passwordField=3)])
        self.assertIn(
            "has no line",
            self.complaint([FilePasswordDB(path, b";", usernameField=1, passwordField=5)]),
        )

    def test_chains(self) -> None:
        """A portal's chains are looked into; other checkers are taken at their word."""
        good = _parsed("memory:alice:secret", "anonymous")
        checkUsable([*combine(good), answering(b"alice")])
        bad = combine([*good, *_parsed("memory")])
        portal = Portal(SOCKS5Realm(), bad)
        self.assertIn("no user", self.complaint(list(portal.checkers.values())))


class UnixTests(StrcredCase):
    """Unix accounts."""

    def test_modules(self) -> None:
        """Python 3.13 has no module left to check them with."""
        self.patch(preflight, "find_spec", lambda name: None)
        text = self.complaint(_parsed("unix"))
        self.assertIn("Python has no crypt and no spwd module here", text)
        self.assertIn("use file:PATH", text)

    def test_thisPython(self) -> None:
        """The modules are looked for where they would be."""
        self.patch(preflight, "_SHADOW", self.file(b""))
        if sys.version_info >= (3, 13):
            self.assertIn("no crypt", self.complaint(_parsed("unix")))
        else:
            checkUsable(_parsed("unix"))

    def test_privilege(self) -> None:
        """Whoever cannot read the hashes cannot compare them."""
        self.patch(preflight, "find_spec", lambda name: object())
        self.patch(preflight, "_SHADOW", os.path.dirname(self.file(b"")) or ".")
        text = self.complaint(_parsed("unix"))
        self.assertIn("unix accounts cannot be checked: ", text)
        self.assertIn("Is a directory", text)

    def test_noShadow(self) -> None:
        """A system may keep its hashes in /etc/passwd."""
        self.patch(preflight, "find_spec", lambda name: object())
        self.patch(preflight, "_SHADOW", self.mktemp())
        checkUsable(_parsed("unix"))


class HtpasswdTests(StrcredCase):
    """C{--auth htpasswd:}."""

    def parsed(self, content: bytes) -> tuple[str, list[ICredentialsChecker]]:
        """Write a file, whose directory is nobody else's, and name it on a command line."""
        directory = Path(self.mktemp())
        directory.mkdir(mode=0o700)
        path = directory / "users"
        path.write_bytes(content)
        path.chmod(0o600)
        return str(path.absolute()), _parsed(f"htpasswd:{path}")

    def test_usable(self) -> None:
        """A file of hashes, alone and in a chain."""
        _, checkers = self.parsed(b"alice:" + argon() + b"\n")
        checkUsable(checkers)
        checkUsable(combine(checkers))
        self.assertEqual(checkers[0].credentialInterfaces, (IUsernamePassword,))

    def test_line(self) -> None:
        """A line that cannot be used, with its number, its user and the reason."""
        path, checkers = self.parsed(b"# users\nalice:$apr1$secret\n")
        self.assertEqual(
            self.complaint(checkers),
            f"password file {path!r}: line 2: user 'alice' has a hash of Apache's MD5 (apr1), "
            "which is so quick to compute that passwords can be guessed from it",
        )

    def test_notNamed(self) -> None:
        """No file at all."""
        for description in ("htpasswd", "htpasswd:"):
            caught = self.assertRaises(usage.UsageError, _parsed, description)
            self.assertIn("htpasswd:PATH", str(caught))

    def test_notRead(self) -> None:
        """To parse a command line reads nothing."""
        _parsed("htpasswd:/nonexistent")
