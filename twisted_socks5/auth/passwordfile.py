"""
A file of users and their hashed passwords, and how it is read while others write to it.

One user a line, C{NAME:HASH}; empty lines and lines that begin with C{#} say nothing.  A file of
which a line cannot be used is not used at all: half of the users is not what was written down.

A file is looked at whenever somebody wants to know, and read when it is not the one it was.  It
may be half written at that moment, so what was read counts only once

  - the file was renamed to its place, which is the last that happens to a file that is whole
    (C{socks5-users} and most editors write in this way), or
  - it was left alone for C{SETTLE} seconds, by the times it is marked with, or as it was seen.

Until then the users are those of before, and L{View} tells of whom that may not be the last word.
A file that is bad, when all is said, changes nothing: who was in the last good one stays.

Everything here blocks, for as long as a file system takes, and belongs into a thread; one at a
time.  Nothing here has a clock of its own, nor a log.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from twisted_socks5.auth.hashes import PasswordHash, UnusableHash, readHash

SETTLE = 0.5
"""Seconds without a change after which nobody is writing any more."""

GLANCE = 0.1
"""
Seconds for which a file has to be seen as it is, however long ago it was changed by its marks.

While a file is cut to write it anew, file systems (ext4, for one) show its new size for a moment
with the old marks: an empty file that nobody has touched for long.
"""

MAX_SIZE = 16 << 20
"""Octets of the largest file: some hundred thousand users."""

MAX_NAME = 255
"""What RFC 1929 has room for, in octets."""

#: How often it is read if it changes while it is.
_READS = 5

_BOM = b"\xef\xbb\xbf"


class BadFile(Exception):
    """A file of users cannot be used; the text says why in one line without secrets."""


class Line(NamedTuple):
    """
    A line of a file of users.

    @ivar number: from 1 on.
    @ivar name: whom it is about; L{None}: nobody.
    @ivar rest: what stands behind the colon.
    """

    number: int
    name: bytes | None
    rest: bytes


def splitLines(octets: bytes) -> Iterator[Line]:
    """
    Take a file apart; what hashes are worth is not looked at.

    @param octets: all of the file; lines may end in CR LF, and a UTF-8 byte order mark is none
        of the first name.
    @return: each line.
    @raise BadFile: one is neither empty nor a comment, and has no good name or no colon.
    """
    for number, line in enumerate(octets.removeprefix(_BOM).split(b"\n"), 1):
        line = line.removesuffix(b"\r").rstrip(b" \t")
        if not line or line.startswith(b"#"):
            yield Line(number, None, line)
            continue
        name, colon, rest = line.partition(b":")
        if not colon:
            raise BadFile(f"line {number}: there is no colon; a line is NAME:HASH")
        complaint = complaintAbout(name)
        if complaint:
            raise BadFile(f"line {number}: {complaint}")
        yield Line(number, name, rest)


def complaintAbout(name: bytes) -> str:
    """
    Say why nobody can be called that.

    @return: the reason, or nothing.
    """
    if not name:
        return "a user has to have a name"
    if len(name) > MAX_NAME:
        return f"a name of {len(name)} octets; RFC 1929 has room for {MAX_NAME}"
    if b":" in name:
        return "a colon in a name, where it would end"
    if name.startswith(b"#"):
        return "a name that begins with #, as a comment does"
    if name.startswith(_BOM):
        return "a name that begins with a byte order mark, as a file does"
    if min(name) < 32 or 127 in name:
        return "a control character in a name"
    if name != name.strip():
        return "a name that begins or ends with a space"
    return ""


def shown(name: bytes) -> str:
    """Write a name for people, whatever it is made of."""
    return repr(name.decode("utf-8", "backslashreplace"))


class Users:
    """
    Who is in a file.

    @ivar hashes: the hash of each user's password.
    """

    def __init__(self, hashes: Mapping[bytes, PasswordHash]) -> None:
        self.hashes = hashes
        self._all = tuple(hashes.values())

    @classmethod
    def read(cls, octets: bytes) -> Users:
        """
        Read a file.

        @param octets: all of it.
        @raise BadFile: some line cannot be used.
        """
        hashes: dict[bytes, PasswordHash] = {}
        numbers: dict[bytes, int] = {}
        for number, name, rest in splitLines(octets):
            if name is None:
                continue
            where = f"line {number}: user {shown(name)}"
            if name in hashes:
                raise BadFile(f"{where} is on line {numbers[name]} already")
            if b":" in rest:
                raise BadFile(f"{where} has more than a hash; a line is NAME:HASH")
            try:
                hashes[name] = readHash(rest)
            except UnusableHash as error:
                raise BadFile(f"{where} has {error}") from None
            numbers[name] = number
        return cls(hashes)

    def text(self, name: bytes) -> bytes | None:
        """Tell how a user's hash is written; L{None}: there is no such user."""
        found = self.hashes.get(name)
        return None if found is None else found.text

    def pick(self, number: int) -> PasswordHash:
        """Choose somebody's hash by a number; there has to be one."""
        return self._all[number % len(self._all)]


class Signature(NamedTuple):
    """What changes when a file does; times are in nanoseconds."""

    device: int
    inode: int
    size: int
    mode: int
    modified: int
    changed: int

    @classmethod
    def of(cls, status: os.stat_result) -> Signature:
        """Take what there is to compare."""
        return cls(
            status.st_dev,
            status.st_ino,
            status.st_size,
            status.st_mode,
            status.st_mtime_ns,
            status.st_ctime_ns,
        )

    def isWhole(self) -> bool:
        """
        Tell whether the last that happened to the file was something else than writing.

        Writing marks both times alike.  Renaming marks the second only, and so does what programs
        do to a file once it is written: say who owns it, and who may read it.
        """
        return self.changed > self.modified

    def isMarkedAs(self, other: Signature | None) -> bool:
        """Tell whether this is the same file, and nothing has happened to it by its marks."""
        return other is not None and self._replace(size=0, mode=0) == other._replace(
            size=0, mode=0
        )


@dataclass(frozen=True)
class View:
    """
    What one look at a file has shown.

    @ivar users: who counts.
    @ivar coming: who is in the file, which is perhaps still being written; L{None}: it cannot be
        read as it is now.
    @ivar wait: seconds until another look will tell; 0: this is the last word for now.
    @ivar complaint: why the file, settled as it is, cannot be used; told once for each change.
    @ivar taken: whether these are new C{users}; told once.
    @ivar readable: whether everybody on this host may read it; told once.
    """

    users: Users
    coming: Users | None
    wait: float = 0.0
    complaint: str = ""
    taken: bool = False
    readable: bool = False

    def isLastWord(self, name: bytes) -> bool:
        """Tell whether waiting could make a difference to a user."""
        if not self.wait:
            return True
        return self.coming is not None and self.coming.text(name) == self.users.text(name)


class PasswordFile:
    """
    A file of users, read again when it has changed.

    @ivar path: where it is, absolute.
    """

    def __init__(self, path: str, wallClock: Callable[[], float] = time.time) -> None:
        """
        @param path: where it is.
        @param wallClock: the time that files are marked with.
        """
        self.path = os.path.abspath(path)
        self._wallClock = wallClock
        self._users = Users({})
        self._octets: bytes | None = None
        #: Of which file these are, and whether it can't have changed within a tick of its clock.
        self._held: Signature | None = None
        self._sure = False
        #: What the file was when it was last looked at, and since when.
        self._seen: Signature | str = ""
        self._since = 0.0
        self._complained: Signature | str = ""
        self._parsed: tuple[bytes, Users | str] = b"", Users({})
        self._warned = False

    def load(self) -> View:
        """
        Read the file as it is, whatever it was: at the start, or as somebody else than before.

        @return: its users, who count from now on.
        @raise BadFile: it cannot be used, or there is nobody in it.
        """
        signature, octets = self._read()
        users = Users.read(octets)
        if not users.hashes:
            raise BadFile("nobody is in it; add users with socks5-users")
        self._seen, self._held, self._sure = "", signature, False
        self._users, self._octets = users, octets
        return View(users, users, taken=True, readable=self._worthAWarning(signature))

    def look(self, now: float) -> View:
        """
        Look at the file, and read it if it is not what it was.

        @param now: the time in seconds, from any one origin.
        """
        try:
            signature = Signature.of(os.stat(self.path))
            if signature == self._held and self._sure:
                self._seen = signature
                return View(self._users, self._users)
            if signature == self._complained:
                return View(self._users, None)
            signature, octets = self._read()
        except OSError as error:
            return self._bad(str(error), f"cannot be read: {error.strerror}", now)
        except BadFile as error:
            return self._bad(str(error), str(error), now)
        if octets == self._octets:
            self._sure = self._settled(signature, now)
            self._held = signature
            return View(self._users, self._users, readable=self._worthAWarning(signature))
        settled = self._settled(signature, now)
        users = self._parse(octets)
        if isinstance(users, str):
            return self._bad(signature, users, now)
        # Marks that tell nothing of what has changed tell nothing of the end of that either.
        whole = signature.isWhole() and not signature.isMarkedAs(self._held)
        if not (settled or whole):
            return View(self._users, users, self._wait(signature, now))
        self._users, self._octets = users, octets
        self._held, self._sure = signature, settled
        return View(users, users, taken=True, readable=self._worthAWarning(signature))

    def _parse(self, octets: bytes) -> Users | str:
        """Read what was not read before: while a file settles it is looked at many times."""
        if self._parsed[0] != octets:
            try:
                self._parsed = octets, Users.read(octets)
            except BadFile as error:
                self._parsed = octets, str(error)
        return self._parsed[1]

    def _bad(self, seen: Signature | str, complaint: str, now: float) -> View:
        """The file cannot be used, at least not as it is now."""
        if not self._settled(seen, now):
            return View(self._users, None, self._wait(seen, now))
        told, self._complained = self._complained, seen
        return View(self._users, None, complaint="" if told == seen else complaint)

    def _settled(self, seen: Signature | str, now: float) -> bool:
        """Tell whether the file was left alone for long enough, by its marks or by ours."""
        if seen != self._seen:
            self._seen, self._since = seen, now
            self._complained = ""
        return now - self._since >= self._patience(seen)

    def _patience(self, seen: Signature | str) -> float:
        """Tell for how many seconds a file has to be seen as it is."""
        if isinstance(seen, str):
            return SETTLE
        age = self._wallClock() - max(seen.modified, seen.changed) / 1e9
        return GLANCE if age >= SETTLE else SETTLE

    def _wait(self, seen: Signature | str, now: float) -> float:
        return max(0.01, self._since + self._patience(seen) - now)

    def _worthAWarning(self, signature: Signature) -> bool:
        warned, self._warned = self._warned, bool(signature.mode & stat.S_IROTH)
        return self._warned and not warned

    def _read(self) -> tuple[Signature, bytes]:
        """
        Read all of the file.

        @raise BadFile: there is no telling whose it is, or what is in it.
        """
        for _ in range(_READS):
            try:
                # Without waiting for somebody to write to it, should it be a named pipe.
                descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
                try:
                    before = os.fstat(descriptor)
                    if not stat.S_ISREG(before.st_mode):
                        raise BadFile("not a regular file")
                    _checkWriters(self.path, before)
                    with open(descriptor, "rb", closefd=False) as file:
                        octets = file.read(MAX_SIZE + 1)
                    after = os.fstat(descriptor)
                finally:
                    os.close(descriptor)
            except OSError as error:
                raise BadFile(f"cannot be read: {error.strerror}") from None
            if len(octets) > MAX_SIZE:
                raise BadFile(f"larger than {MAX_SIZE >> 20} MiB")
            if Signature.of(before) == Signature.of(after):
                return Signature.of(after), octets
        raise BadFile("somebody writes to it all the time")


def _checkWriters(path: str, status: os.stat_result) -> None:
    """
    Make sure that nobody but its owner can write to a file, or put another into its place.

    @raise BadFile: somebody can.
    """
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise BadFile("others than its owner may write to it: chmod go-w")
    for directory in {os.path.dirname(path), os.path.dirname(os.path.realpath(path))}:
        mode = os.stat(directory).st_mode
        # Where the sticky bit is set, as in /tmp, files can be replaced by their owners only.
        if mode & (stat.S_IWGRP | stat.S_IWOTH) and not mode & stat.S_ISVTX:
            raise BadFile(
                f"others than its owner may write to its directory {directory!r}: chmod go-w"
            )
