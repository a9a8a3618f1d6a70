"""
What a client says of itself in RFC 1929's sub-negotiation, as C{twisted.cred} wants it.

UNAME and PASSWD are octets without a declared encoding.  They stay octets here: nothing is
decoded, normalised or folded, so two spellings of one accented letter are two passwords.  Text,
where a checker holds some, is turned into octets instead, as UTF-8.

Knows neither who is asked nor what the answer leads to.  The credentials of method "none" are
Twisted's own L{Anonymous<twisted.cred.credentials.Anonymous>}.
"""

from __future__ import annotations

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from twisted.cred.credentials import IUsernamePassword
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted_socks5.interfaces import IPAddress


def toOctets(text: bytes | str) -> bytes:
    """
    Turn a name or password that somebody wrote down into the octets a client sends for it.

    Total: there is no text it fails on, since the error would quote the text, and the text may
    be a password.

    @param text: octets, returned as they are, or text, encoded as UTF-8.  A command line's
        octets that were no UTF-8 (Python holds them as lone surrogates) become those octets
        again.
    @return: the octets.
    """
    if not isinstance(text, str):
        return text
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        # Surrogates that no command line makes; no UTF-8 client can send these octets.
        return text.encode("utf-8", "surrogatepass")


class Interest:
    """
    Whether anybody still waits to hear who a client is.

    A login is not called off by cancelling what its portal returns: its realm may be at work by
    then, and the avatar would be lost.  A checker that takes its time asks here instead.
    """

    def __init__(self) -> None:
        self._lost = False
        self._callbacks: list[Callable[[], object]] = []

    def whenLost(self, callback: Callable[[], object]) -> None:
        """
        Have something called when the client is gone; at once, if it is already.

        @param callback: must be harmless when what it ends is over.
        """
        if self._lost:
            callback()
        else:
            self._callbacks.append(callback)

    def lose(self) -> None:
        """The client is gone, and nobody waits any more."""
        self._lost = True
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback()


@implementer(IUsernamePassword)
@dataclass(frozen=True, eq=False)
class OctetCredentials:
    """
    UNAME and PASSWD (RFC 1929, section 2).

    Without C{==}: comparing passwords is L{checkPassword}'s business alone.

    @ivar username: UNAME, 0 to 255 octets.
    @ivar password: PASSWD, 0 to 255 octets; never part of the repr.
    @ivar client: where the client is, for checkers that see to it that no client keeps others
        waiting; L{None}: not known, or on a Unix socket.
    @ivar interest: whether anybody still waits for the answer.
    """

    username: bytes
    password: bytes = field(repr=False)
    client: IPAddress | None = None
    interest: Interest = field(default_factory=Interest, init=False, repr=False)

    def checkPassword(self, password: bytes | str) -> bool:
        """
        Compare a password that a checker holds with the one the client sent.

        How long it takes depends on what the client sent, and not on what the checker holds.

        @param password: octets, or text to be taken as UTF-8.
        @return: whether they are the same octets.  What is neither octets nor text, as the
            L{None} of a user without a password, is never the same.
        """
        if not isinstance(password, (bytes, str)):
            return False
        # The order matters: where lengths differ, compare_digest walks along its second
        # argument, and the time that takes must not tell the length of the checker's.
        return hmac.compare_digest(toOctets(password), self.password)
