"""
Who a Kerberos principal is, here: whom the operator admits, and by which name.

A principal is text such as C{alice@EXAMPLE.COM}, C{alice/admin@EXAMPLE.COM} or
C{host/www.example.com@EXAMPLE.COM}, with a backslash before what would otherwise be a separator.
Three rules, from the simplest on:

  - none: everybody whom the mechanism vouches for, by the whole principal;
  - realms: only theirs; a principal of one plain component loses its realm, any other keeps it,
    so that C{host/www.example.com@EXAMPLE.COM} cannot come to be called as some user is;
  - a map: a file of lines C{PRINCIPAL NAME}, the first that matches decides, and whom none
    matches is not admitted.

Knows nothing of contexts and tickets: text in, text out.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from threading import Lock

from twisted.logger import Logger

from twisted_socks5.errors import ConfigurationError

#: A map has one line for each user or for many; beyond this it is some other file.
MAX_MAP_SIZE = 1 << 20

#: Nanoseconds after which a change to a file has a time of its own, on every file system.
SETTLED = 2_000_000_000

#: In the place of a name: this principal is not admitted.
NOBODY = "-"

_SEPARATED = re.compile(r"((?:[^@\\]|\\.)*)@((?:[^@\\]|\\.)*)", re.DOTALL)
_PLAIN = re.compile(r"[^@/\\]+")
# What one "*" stands for: within a component, so that it cannot reach over into the realm.
_ANYTHING = r"([^@/\\]+)"


class NotAdmitted(Exception):
    """No rule admits a principal; the text says which, for the log."""


def realmOf(principal: str) -> str | None:
    """Tell a principal's realm; L{None}: it has none, or more than one separator for it."""
    found = _SEPARATED.fullmatch(principal)
    return found[2] if found else None


@dataclass(frozen=True)
class MapLine:
    """
    One line of a map.

    @ivar principal: what matches: a principal, in which one C{*} stands for any octets but
        C{@}, C{/} and backslashes, at least one.
    @ivar name: the name; a C{*} in it is what that one stood for.  L{NOBODY} admits nobody.
    """

    principal: str
    name: str

    def nameFor(self, principal: str) -> str | None:
        """Give a principal's name; L{None}: it does not match."""
        before, star, after = self.principal.partition("*")
        if not star:
            return self.name if principal == self.principal else None
        found = re.fullmatch(re.escape(before) + _ANYTHING + re.escape(after), principal)
        return self.name.replace("*", found[1]) if found else None


def parseMap(octets: bytes, path: str) -> list[MapLine]:
    """
    Read a map.

    @param octets: what is in the file.
    @param path: the file, for errors.
    @raise ConfigurationError: with one line, about the first line of the map that is wrong.
    """
    where = f"principal map {path!r}"
    if octets and not octets.endswith(b"\n"):
        # It may be half of a name that somebody is about to write.
        raise ConfigurationError(f"{where}: its last line has no end")
    try:
        text = octets.decode("utf-8")
    except UnicodeDecodeError as error:
        number = octets.count(b"\n", 0, error.start) + 1
        raise ConfigurationError(f"{where}, line {number}: not UTF-8") from None
    lines = []
    for number, line in enumerate(text.split("\n"), 1):
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        complaint = _complaint(words)
        if complaint:
            raise ConfigurationError(f"{where}, line {number}: {complaint}")
        lines.append(MapLine(*words))
    if not lines:
        raise ConfigurationError(f"{where} has no line of the form PRINCIPAL NAME")
    return lines


def _complaint(words: Sequence[str]) -> str:
    """Say what is wrong with a line; empty: nothing."""
    if len(words) != 2:
        return f"{len(words)} words, not PRINCIPAL NAME"
    principal, name = words
    if realmOf(principal) is None:
        return f"{principal!r} has no realm: write NAME@REALM"
    if principal.count("*") > 1:
        return "more than one * in the principal"
    if "*" in name and "*" not in principal:
        return "a * in the name, but none in the principal that it could stand for"
    return ""


class PrincipalMap:
    """
    A map in a file, read again when it has changed.

    What is wrong with it then is logged, once for each change, and what it was before holds: a
    file that somebody is in the middle of writing throws nobody out.

    Several threads may ask it.  They look at the file in turns, or else what one of them has read
    long ago could take the place of what another has read since, and stay there.

    @ivar path: the file.
    """

    _log = Logger()

    def __init__(self, path: str) -> None:
        self.path = path
        self._lines: list[MapLine] = []
        self._seen: tuple[int, ...] | None = None
        self._complaint = ""
        self._looking = Lock()

    def load(self) -> None:
        """
        Read the file; blocks as long as that takes.

        @raise ConfigurationError: it can't be used, with one line that says why.
        """
        with self._looking:
            self._load()

    def refresh(self) -> None:
        """Read the file again if it has changed; blocks as long as that takes."""
        with self._looking:
            try:
                if self._signature(os.stat(self.path)) == self._seen:
                    return
            except OSError:
                pass  # It is said below why.
            try:
                self._load()
            except ConfigurationError as error:
                if str(error) != self._complaint:
                    self._complaint = str(error)
                    self._log.error("{what}; what it was before holds", what=self._complaint)

    def nameFor(self, principal: str) -> str | None:
        """Give a principal's name, by what was read last; L{None}: it has none."""
        for line in self._lines:
            name = line.nameFor(principal)
            if name is not None:
                return None if name == NOBODY else name
        return None

    def _load(self) -> None:
        self._seen = None
        try:
            octets, self._seen = self._read()
        except OSError as error:
            raise ConfigurationError(
                f"principal map {self.path!r} cannot be read: {error.strerror}"
            ) from None
        self._lines = parseMap(octets, self.path)
        self._complaint = ""

    def _read(self) -> tuple[bytes, tuple[int, ...] | None]:
        with open(self.path, "rb") as file:
            # Of the file that is read, before it is: what changes meanwhile is seen next time.
            status = os.fstat(file.fileno())
            if status.st_mode & 0o002:
                raise ConfigurationError(
                    f"principal map {self.path!r} can be written by anybody: chmod o-w"
                )
            octets = file.read(MAX_MAP_SIZE + 1)
        if len(octets) > MAX_MAP_SIZE:
            raise ConfigurationError(f"principal map {self.path!r} is larger than 1 MiB")
        # Another change in the same tick of the file system's clock would not show.
        settled = time.time_ns() - status.st_mtime_ns > SETTLED
        return octets, self._signature(status) if settled else None

    @staticmethod
    def _signature(status: os.stat_result) -> tuple[int, ...]:
        return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)


@dataclass(frozen=True)
class PrincipalNames:
    """
    Whom the operator admits, and by which name.

    @ivar realms: the realms that are admitted; none are all.
    @ivar map: has the last word about those that are; L{None}: they keep their names.
    """

    realms: Collection[str] = ()
    map: PrincipalMap | None = None

    def nameFor(self, principal: str) -> str:
        """
        Give a principal's name; blocks while a map is looked at.

        @raise NotAdmitted: it is not admitted.
        """
        if self.realms and realmOf(principal) not in self.realms:
            raise NotAdmitted(f"{principal} is not of the realm {' or '.join(self.realms)}")
        if self.map is not None:
            self.map.refresh()
            name = self.map.nameFor(principal)
            if name is None:
                raise NotAdmitted(f"no line of {self.map.path} admits {principal}")
            return name
        first = principal.partition("@")[0]
        return first if self.realms and _PLAIN.fullmatch(first) else principal
