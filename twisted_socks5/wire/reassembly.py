"""
Fragments of datagrams put together again (RFC 1928, section 7): one queue per association.

FRAG counts from 1; its high-order bit marks the last fragment.  The RFC gives up a sequence when
its timer, of at least five seconds, runs out, or when a FRAG arrives that is lower than the last.
This queue gives it up for everything else, too, after which what it would put together might be
pieces of different datagrams: a gap, a repetition, another destination, and a datagram that is
no fragment.  A fragment with position 1 begins anew, always.  What is given up is lost: this is
UDP.

There is no clock here: C{now} is an argument, in seconds of any monotonic clock.
"""

from __future__ import annotations

from collections.abc import Hashable
from math import isfinite

from .constants import END_OF_FRAGMENTS, MAX_FRAGMENTS, MAX_UDP_PAYLOAD, MIN_REASSEMBLY_SECONDS
from .errors import LocalProtocolError


class ReassemblyQueue:
    """
    The fragments of one datagram, as far as they have come.

    Bounded: 127 fragments, since FRAG has no more, and C{max_octets}.

    @ivar deadline: when the reassembly timer runs out, or L{None} if nothing is waiting.
    @ivar abandoned: how many fragments have been given up so far, for the statistics.
    """

    __slots__ = ("_key", "_max_octets", "_octets", "_parts", "_timeout", "abandoned", "deadline")

    def __init__(
        self, timeout: float = MIN_REASSEMBLY_SECONDS, max_octets: int = MAX_UDP_PAYLOAD
    ) -> None:
        """
        @param timeout: seconds from the first fragment on, at least 5.
        @param max_octets: the largest datagram to put together, at least 1.
        @raise LocalProtocolError: one of them is out of its bounds.
        """
        if not (isfinite(timeout) and timeout >= MIN_REASSEMBLY_SECONDS):
            raise LocalProtocolError(f"a reassembly timer of {timeout} s, instead of at least 5")
        if not 1 <= max_octets <= MAX_UDP_PAYLOAD:
            raise LocalProtocolError(f"{max_octets} octets, instead of 1 to {MAX_UDP_PAYLOAD}")
        self._timeout = timeout
        self._max_octets = max_octets
        self._parts: list[bytes] = []
        self._octets = 0
        self._key: Hashable = None
        self.deadline: float | None = None
        self.abandoned = 0

    @property
    def octets(self) -> int:
        """How many octets are waiting."""
        return self._octets

    def add(self, now: float, frag: int, key: Hashable, payload: bytes) -> bytes | None:
        """
        Take one datagram.

        @param now: the time, in seconds.
        @param frag: its FRAG, an octet.
        @param key: its destination; that of all fragments must be equal.
        @param payload: what stands behind its header.
        @return: the whole payload, if it is complete with this; otherwise L{None}.  A datagram
            that is no fragment (FRAG 0) is complete by itself, and gives up what was waiting.
        """
        if self.expired(now):
            self.reinitialise()
        position = frag & MAX_FRAGMENTS
        if position != len(self._parts) + 1 or key != self._key:
            # Out of sequence: the start of another one at best.
            self.reinitialise()
            if frag == 0:
                return payload
            if position != 1:
                self.abandoned += 1
                return None
        if self._octets + len(payload) > self._max_octets:
            self.reinitialise()
            self.abandoned += 1
            return None
        if self.deadline is None:
            self.deadline = now + self._timeout
            self._key = key
        self._parts.append(payload)
        self._octets += len(payload)
        if frag < END_OF_FRAGMENTS:
            return None
        whole = b"".join(self._parts)
        self._clear()
        return whole

    def expired(self, now: float) -> bool:
        """Whether the timer has run out; L{reinitialise} is what to do then."""
        return self.deadline is not None and now >= self.deadline

    def reinitialise(self) -> None:
        """Give up what is waiting, if anything."""
        self.abandoned += len(self._parts)
        self._clear()

    def _clear(self) -> None:
        self._parts = []
        self._octets = 0
        self._key = None
        self.deadline = None
