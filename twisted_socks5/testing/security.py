"""
A security context in memory: what Kerberos does to octets, without Kerberos.

It does protect, in its way: a token that was changed, sent again, sent back or left out is told
apart from a good one, and what is confidential is not to be read in the token.  But the key is
everybody's: it is for tests alone.
"""

from __future__ import annotations

import hashlib
import hmac
from threading import Lock
from typing import TYPE_CHECKING

from zope.interface import implementer

from twisted_socks5.security.contexts import ContextError, ISecurityContext

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

_MAC = 16
_HEADER = 1 + 8

#: What a token has besides what is wrapped.
OVERHEAD = _HEADER + _MAC

_SEALED = 1


@implementer(ISecurityContext)
class MemoryContext:
    """
    One side of a context in memory.

    C{rounds} tokens go from the initiator to the acceptor before it stands, and one comes back
    for each but perhaps the last.

    @ivar steps: how often L{step} was called.
    @ivar wrapped: how many tokens L{wrap} has made.
    @ivar unwrapped: how many L{unwrap} has opened.
    @ivar disposed: whether L{dispose} was.
    @ivar failure: set it, and each further call fails with a L{ContextError} of this text.
    """

    def __init__(
        self,
        name: str,
        *,
        initiates: bool = False,
        realm: str = "EXAMPLE.COM",
        rounds: int = 1,
        mutual: bool = True,
        ordered: bool = True,
        clock: IReactorTime | None = None,
        lifetime: float | None = None,
    ) -> None:
        """
        @param name: whose side it is; the other one's C{peer} will be C{name@realm}.
        @param initiates: whether it begins.
        @param realm: contexts of different realms do not understand each other.
        @param rounds: the initiator's tokens until it stands.
        @param mutual: whether the acceptor has an answer to the last one; if not, C{peer} may
            stay empty.  Both sides have to agree on this, and on C{rounds}.
        @param ordered: whether a token that is not the next one is bad.  If not, one that comes
            again is.
        @param clock: what C{lifetime} is measured by.
        @param lifetime: seconds from now that it remains valid; L{None}: without end.
        """
        self.established = False
        self.peer = ""
        self.steps = 0
        self.wrapped = 0
        self.unwrapped = 0
        self.disposed = False
        self.failure = ""
        self._name = f"{name}@{realm}"
        self._initiates = initiates
        self._key = hashlib.sha256(f"everybody knows {realm}".encode()).digest()
        self._rounds = rounds
        self._mutual = mutual
        self._ordered = ordered
        self._clock = clock
        self._ends = None if clock is None or lifetime is None else clock.seconds() + lifetime
        self._next = 0
        self._seen: set[int] = set()
        self._inUse = Lock()

    @classmethod
    def pair(
        cls, initiator: str = "alice", acceptor: str = "rcmd/proxy", *, ordered: bool = True
    ) -> tuple[MemoryContext, MemoryContext]:
        """Make both sides of a context that stands."""
        one = cls(initiator, initiates=True, ordered=ordered)
        other = cls(acceptor, ordered=ordered)
        one.step(other.step(one.step(b"")))
        return one, other

    @property
    def lifetime(self) -> float | None:
        """Seconds from now that it remains valid."""
        if self._ends is None or self._clock is None:
            return None
        return max(0.0, self._ends - self._clock.seconds())

    def step(self, token: bytes) -> bytes:
        """
        See L{ISecurityContext}.

        @raise ContextError: the token is not the one that has its turn.
        """
        with _Use(self):
            if self.established:
                raise ContextError("the context stands already")
            first = self._initiates and self.steps == 0
            if first and token:
                raise ContextError("a token for who begins")
            if not first:
                self._hear(token)
            self.steps += 1
            return self._say()

    def wrap(self, octets: bytes, confidential: bool) -> bytes:
        """
        See L{ISecurityContext}.

        @raise ContextError: it does not stand.
        """
        with _Use(self):
            self._check()
            header = bytes((_SEALED if confidential else 0,)) + self.wrapped.to_bytes(8, "big")
            self.wrapped += 1
            body = self._scramble(header, octets) if confidential else octets
            return header + body + self._mac(header + body, self._initiates)

    def unwrap(self, token: bytes) -> tuple[bytes, bool]:
        """
        See L{ISecurityContext}.

        @raise ContextError: it does not stand, or the token is bad.
        """
        with _Use(self):
            self._check()
            signed, mac = token[:-_MAC], token[-_MAC:]
            if len(token) < OVERHEAD or not hmac.compare_digest(
                mac, self._mac(signed, not self._initiates)
            ):
                raise ContextError("a token has a bad checksum")
            header, body = signed[:_HEADER], signed[_HEADER:]
            self._take(int.from_bytes(header[1:], "big"))
            self.unwrapped += 1
            sealed = header[0] == _SEALED
            return (self._scramble(header, body) if sealed else body), sealed

    def wrapSizeLimit(self, confidential: bool, size: int = 65535) -> int:
        """
        See L{ISecurityContext}.

        @raise ContextError: it does not stand.
        """
        with _Use(self):
            self._check()
            return size - OVERHEAD

    def dispose(self) -> None:
        """See L{ISecurityContext}."""
        with _Use(self, always=True):
            self.disposed = True
            self.established = False

    def _hear(self, token: bytes) -> None:
        """Take one of the tokens that come before it stands: MAC NUMBER NAME."""
        mac, text = token[:_MAC], token[_MAC:]
        if not hmac.compare_digest(mac, self._mac(text, not self._initiates)):
            raise ContextError("a token is of another realm, or was changed")
        number = self.steps - 1 if self._initiates else self.steps
        if text[:1] != bytes((number,)):
            raise ContextError("a token is not the one that has its turn")
        self.peer = text[1:].decode()
        if number + 1 == self._rounds:
            self.established = True

    def _say(self) -> bytes:
        number = self.steps - 1
        if self._initiates and number == self._rounds - 1 and not self._mutual:
            self.established = True
        if number >= self._rounds or (
            self.established and not self._initiates and not self._mutual
        ):
            return b""
        text = bytes((number,)) + self._name.encode()
        return self._mac(text, self._initiates) + text

    def _take(self, number: int) -> None:
        if number in self._seen:
            raise ContextError("a token comes again")
        if self._ordered:
            if number != self._next:
                raise ContextError("a token is not the next one")
            self._next += 1
            self._seen = {number}
        else:
            self._seen.add(number)

    def _check(self) -> None:
        if not self.established:
            raise ContextError("the context does not stand")
        if self.lifetime == 0:
            raise ContextError("the context has expired")

    def _mac(self, octets: bytes, initiators: bool) -> bytes:
        """Sign: each side in its own way, so that what is sent back is not taken for an answer."""
        side = b"initiator" if initiators else b"acceptor"
        return hmac.digest(self._key + side, octets, "sha256")[:_MAC]

    def _scramble(self, header: bytes, octets: bytes) -> bytes:
        """Make octets unreadable, or readable again."""
        size = len(octets)
        pad = hashlib.shake_128(self._key + header).digest(size)
        mixed = int.from_bytes(octets, "big") ^ int.from_bytes(pad, "big")
        return mixed.to_bytes(size, "big")


class _Use:
    """One call of a context, of which there may be only one at a time."""

    def __init__(self, context: MemoryContext, always: bool = False) -> None:
        self._context = context
        self._always = always

    def __enter__(self) -> None:
        if not self._context._inUse.acquire(blocking=False):
            raise RuntimeError("two threads use a context at the same time")
        if not self._always and (self._context.disposed or self._context.failure):
            self._context._inUse.release()
            raise ContextError(self._context.failure or "the context is closed")

    def __exit__(self, *_: object) -> None:
        self._context._inUse.release()
