"""
Which passwords were right a moment ago.

A program that uses a SOCKS proxy logs in again for each of its connections, dozens at a time.
Its password is worth computing a slow hash once; for a short while it is known again by a quick
one, whose key nobody outside this process has, so that what is kept here is of no use elsewhere.

A success belongs to one name, one password and one line of a file: where that line has changed
or is gone, nothing is remembered.  The password itself is not kept.

What was wrong a moment ago is remembered in the same way, by another memory of the kind.

Time is an argument.
"""

from __future__ import annotations

import hmac
import os
from collections import OrderedDict

_ABSENT = 0.0


class Successes:
    """The logins that have succeeded of late."""

    def __init__(self, seconds: float = 60.0, size: int = 10_000) -> None:
        """
        @param seconds: for how long one is remembered, more than 0.
        @param size: how many are remembered, 1 or more; beyond, the oldest is forgotten.
        @raise ValueError: one of them is out of range.
        """
        if not (seconds > 0 and size >= 1):
            raise ValueError(f"no such memory: {seconds} s, {size} logins")
        self._seconds = seconds
        self._size = size
        self._key = os.urandom(32)
        # Until when each is remembered; the oldest first.
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._until)

    def mark(self, name: bytes, password: bytes, text: bytes) -> bytes:
        """
        Mark a login, so that it is known again, and tells nothing.

        @param name: who.
        @param password: what was said.
        @param text: the hash it is checked against, as it is written.
        """
        # Lengths first: or else one of them could end where the next begins.
        lengths = b"%d:%d:" % (len(name), len(password))
        return hmac.digest(self._key, lengths + name + password + text, "sha256")

    def add(self, mark: bytes, now: float) -> None:
        """
        Remember a success.

        @param now: the time in seconds, from any one origin.
        """
        self._until.pop(mark, None)
        self._until[mark] = now + self._seconds
        # Two at most are forgotten for one that is added, so the old ones go and no call is slow.
        for _ in range(2):
            mark, until = next(iter(self._until.items()))
            if until <= now or len(self._until) > self._size:
                del self._until[mark]

    def has(self, mark: bytes, now: float) -> bool:
        """
        Tell whether this very login has succeeded of late.

        @param now: the time in seconds, from the same origin.
        """
        return now < self._until.get(mark, _ABSENT)

    def number(self, name: bytes) -> int:
        """Give a name a number: always the same, and nobody outside this process knows which."""
        return int.from_bytes(hmac.digest(self._key, name, "sha512")[:8], "big")
