"""
The arguments of an endpoint string: read one by one, and complained of by name.

A string may have a password in it, and a colon too few in it makes an argument of anything.  So
complaints name the argument that is wrong, and quote none whose name or place nobody knows; nor
what may be a password that was written where its place should have been.

What the arguments mean is not known here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NoReturn, TypeVar

_T = TypeVar("_T")

#: Of a user name, a password (RFC 1929) and SOCKS4's user id.
_MAX_OCTETS: Final = 255


class Arguments:
    """
    The arguments of a string.

    @ivar prefix: what they are arguments of, for complaints.
    """

    def __init__(
        self, prefix: str, known: Sequence[str], args: Sequence[str], named: Mapping[str, str]
    ) -> None:
        self.prefix = prefix
        if len(args) > 2:
            # None is quoted: an unescaped colon in a password makes such an argument.
            raise ValueError(
                f"{prefix}: only host and port go without a name, not {len(args)} arguments; a"
                r" colon in an argument is written \:"
            )
        self._given = dict(named)
        for name, value in zip(("host", "port"), args, strict=False):
            if name in self._given:
                self.complain(name, "given twice")
            self._given[name] = value
        unknown = [name for name in self._given if name not in known]
        if unknown:
            what = "an argument" if "password" in self._given else f"'{unknown[0]}'"
            raise ValueError(f"{prefix}: {what} is unknown; there are {', '.join(known)}")

    def __contains__(self, name: str) -> bool:
        return name in self._given

    def complain(self, name: str, why: object) -> NoReturn:
        """
        Say what is wrong with an argument.

        @raise ValueError: always.
        """
        # Not raised from: a cause could have the argument in it.
        raise ValueError(f"{self.prefix}: '{name}': {why}") from None

    def take(self, name: str, read: Callable[[str], _T], default: str | None = None) -> _T:
        """
        Read an argument.

        @raise ValueError: it is missing, or C{read} raises one.
        """
        text = self._given.get(name, default)
        if text is None:
            self.complain(name, "missing")
        try:
            return read(text)
        except ValueError as error:
            self.complain(name, error)

    def octets(self, name: str) -> bytes | None:
        """
        Read what may be said inline, or be in a file, or in a variable.

        @return: L{None} if it isn't said at all.
        """
        ways = {name: _toOctets, f"{name}File": _fromFile, f"{name}Env": _fromEnvironment}
        given = [way for way in ways if way in self]
        if len(given) > 1:
            self.complain(given[1], f"there is '{given[0]}' already")
        for way in given:
            octets = self.take(way, ways[way])
            if not octets:
                self.complain(way, "empty")
            if len(octets) > _MAX_OCTETS:
                self.complain(way, f"longer than {_MAX_OCTETS} octets")
            return octets
        return None


def text(text: str) -> str:
    """Read what has to be there."""
    if not text:
        raise ValueError("empty")
    return text


def port(text: str) -> int:
    """Read a port."""
    if not re.fullmatch("[0-9]{1,5}", text) or not 0 < int(text) < 65536:
        raise ValueError("not a number from 1 to 65535")
    return int(text)


def seconds(text: str) -> float:
    """Read a length of time."""
    if not re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", text) or not float(text):
        raise ValueError("not a number of seconds above 0")
    return float(text)


def choice(meanings: Mapping[str, _T]) -> Callable[[str], _T]:
    """Make a reader for one of a few words."""

    def read(text: str) -> _T:
        if text not in meanings:
            raise ValueError(f"not {' or '.join(meanings)}")
        return meanings[text]

    return read


def listOf(known: Sequence[str]) -> Callable[[str], list[str]]:
    """Make a reader for a list of some of a few words."""

    def read(text: str) -> list[str]:
        words = text.split(",")
        if not {*words} <= {*known} or len({*words}) < len(words):
            raise ValueError(f"not a list, with commas, of {', '.join(known)}")
        return words

    return read


def _toOctets(text: str) -> bytes:
    """Turn text into the octets it was, where it came from a command line."""
    return text.encode("utf-8", "surrogateescape")


def _fromFile(path: str) -> bytes:
    """Read a file's first line."""
    try:
        with open(path, "rb") as file:
            return file.readline().rstrip(b"\r\n")
    except OSError as error:
        # The path is not quoted, and neither is a variable's name: it may be the secret itself,
        # written where its place should have been.
        raise ValueError(f"the file cannot be read: {error.strerror}") from None


def _fromEnvironment(name: str) -> bytes:
    """Read a variable of the environment."""
    value = os.environ.get(name)
    if value is None:
        raise ValueError("there is no such variable")
    return os.fsencode(value)
