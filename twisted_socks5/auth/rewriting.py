"""
Changing a file of users while a proxy reads it.

A change is written beside the file and renamed to its place, so that nobody ever sees half of
it; two at a time wait for each other; and what a change is not about stays as it is, comments
included, octet by octet.  A symbolic link stays one: the file that it leads to is changed.

Everything here blocks.  It knows where users are written, and not what their hashes are worth: a
line that the proxy would refuse is a line to be changed.
"""

from __future__ import annotations

import fcntl
import os
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from twisted_socks5.auth.passwordfile import BadFile, shown, splitLines

PATIENCE = 30.0
"""Seconds to wait for somebody else who changes it: anybody may hold a lock on a directory."""

_Lines = list[bytes]


def readNames(path: str) -> list[bytes]:
    """
    List who is in a file, in its order.

    @param path: the file; one that is not there has nobody in it.
    @raise BadFile: it cannot be read, or a line of it is none.
    """
    return [line.name for line in splitLines(_read(path)) if line.name is not None]


def add(path: str, name: bytes, text: bytes) -> None:
    """
    Add a user; makes the file if there is none.

    @param path: the file.
    @param name: who; see L{complaintAbout<twisted_socks5.auth.passwordfile.complaintAbout>}.
    @param text: the hash.
    @raise BadFile: there is such a user, or the file cannot be changed.
    """

    def change(lines: _Lines, places: list[int]) -> None:
        if places:
            raise BadFile(f"user {shown(name)} is there already")
        # Behind the last line, which ends in a line feed, or will now.
        end = len(lines) if lines[-1] else len(lines) - 1
        lines[end:] = [name + b":" + text, b""]

    _rewrite(path, name, change)


def replace(path: str, name: bytes, text: bytes) -> None:
    """
    Give a user another password.

    @param text: its hash.
    @raise BadFile: there is no such user, or the file cannot be changed.
    """

    def change(lines: _Lines, places: list[int]) -> None:
        first, *others = _existing(name, places)
        ending = b"\r" if lines[first].endswith(b"\r") else b""
        beginning = lines[first].partition(name)[0]  # a byte order mark, perhaps
        lines[first] = beginning + name + b":" + text + ending
        for place in reversed(others):
            del lines[place]

    _rewrite(path, name, change)


def remove(path: str, name: bytes) -> None:
    """
    Remove a user.

    @raise BadFile: there is no such user, or the file cannot be changed.
    """

    def change(lines: _Lines, places: list[int]) -> None:
        for place in reversed(_existing(name, places)):
            del lines[place]

    _rewrite(path, name, change)


def _existing(name: bytes, places: list[int]) -> list[int]:
    if not places:
        raise BadFile(f"there is no user {shown(name)}")
    return places


def _rewrite(path: str, name: bytes, change: Callable[[_Lines, list[int]], None]) -> None:
    """
    Read a file, change its lines, and put the outcome into its place.

    @param change: is given the lines, and which of them are about C{name}.
    @raise BadFile: whatever went wrong; the file is as it was.
    """
    path = os.path.realpath(path)
    try:
        with _locked(os.path.dirname(path)) as directory:
            octets = _read(path)
            places = [line.number - 1 for line in splitLines(octets) if line.name == name]
            lines = octets.split(b"\n")
            change(lines, places)
            _replace(path, b"\n".join(lines))
            os.fsync(directory)
    except OSError as error:
        raise BadFile(f"cannot be changed: {error.strerror}") from None


@contextmanager
def _locked(directory: str) -> Iterator[int]:
    """
    Keep others who change a file of this directory waiting; a crash lets go of the lock.

    @raise BadFile: somebody else doesn't let go of it.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        until = time.monotonic() + PATIENCE
        while not _lock(descriptor):
            if time.monotonic() >= until:
                raise BadFile(f"somebody has a lock on {directory!r}, and does not let go of it")
            time.sleep(0.01)
        yield descriptor
    finally:
        os.close(descriptor)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _replace(path: str, octets: bytes) -> None:
    """Write a file whole, or not at all."""
    descriptor, temporary = tempfile.mkstemp(
        prefix=f".{os.path.basename(path)}-", dir=os.path.dirname(path)
    )
    try:
        with open(descriptor, "wb") as file:
            file.write(octets)
            file.flush()
            _own(descriptor, path)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        with suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _own(descriptor: int, path: str) -> None:
    """
    Have a new file belong to whom the old one does.

    Its group goes on reading it, if it could: a proxy that has given up its privileges may be in
    there.  Otherwise it is its owner's alone, whatever it was.

    @raise BadFile: it is somebody else's, and only the root could leave it to them.
    """
    mode = stat.S_IRUSR | stat.S_IWUSR
    with suppress(FileNotFoundError):
        old = os.stat(path)
        mine = os.geteuid()
        if old.st_uid != mine and mine != 0:
            raise BadFile("belongs to another user")
        with suppress(PermissionError):  # It would be read by another group then: by none.
            os.fchown(descriptor, old.st_uid, old.st_gid)
            mode |= old.st_mode & stat.S_IRGRP
    os.fchmod(descriptor, mode)


def _read(path: str) -> bytes:
    """
    Read a file.

    @return: nothing if there is none.
    @raise BadFile: it cannot be read.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise BadFile("not a regular file")
        with open(path, "rb") as file:
            return file.read()
    except FileNotFoundError:
        return b""
    except OSError as error:
        raise BadFile(f"cannot be read: {error.strerror}") from None
