"""
Who we are to a proxy: one small value for each method that can be offered.

They are given in order of preference, though it is the server that chooses.  A value says what
the method needs to know; how it is carried out is the business of L{dialogue
<twisted_socks5.client.dialogue>}, and of L{gssapi<twisted_socks5.client.gssapi>} and L{chap
<twisted_socks5.client.chap>}.

Nothing here puts a password into a text.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import ClassVar

from twisted_socks5.security import ISecurityContext
from twisted_socks5.wire import ChallengeAlgorithm, Method, ProtectionLevel
from twisted_socks5.wire.chap import STRONGEST_FIRST
from twisted_socks5.wire.constants import MAX_PASSWORD, MAX_USERNAME

ContextMaker = Callable[[str, bool], ISecurityContext]
"""
Makes a context for a service, C{"rcmd@proxy.example"}; whether messages come in sequence, which
datagrams do not, is the second argument.
"""


@dataclass(frozen=True)
class NoAuthentication:
    """We are nobody in particular: method 0."""

    method: ClassVar[int] = Method.NO_AUTHENTICATION


@dataclass(frozen=True)
class UsernamePassword:
    """
    A user name and a password (RFC 1929): method 2.

    They travel as they are, for whoever can listen to read: connect to the proxy by TLS where
    that matters.

    @ivar username: 1 to 255 octets; text is taken as UTF-8.
    @ivar password: the same; in no text.
    """

    method: ClassVar[int] = Method.USERNAME_PASSWORD

    username: bytes
    password: bytes = field(repr=False)

    def __init__(self, username: bytes | str, password: bytes | str) -> None:
        """
        @raise ValueError: either is empty, or longer than 255 octets.
        """
        name, word = _account(username, password)
        object.__setattr__(self, "username", name)
        object.__setattr__(self, "password", word)


@dataclass(frozen=True)
class CHAP:
    """
    A user name, and a password that is used but not said (draft-ietf-aft-socks-chap-01): method 3.

    The proxy asks, and hears a keyed hash.  Whoever listens can guess at a weak password with it.

    @ivar username: 1 to 255 octets; text is taken as UTF-8.
    @ivar password: the same; in no text.
    @ivar algorithms: what will do to make the hash, the preferred one first.
    """

    method: ClassVar[int] = Method.CHAP

    username: bytes
    password: bytes = field(repr=False)
    algorithms: tuple[ChallengeAlgorithm, ...] = STRONGEST_FIRST

    def __init__(
        self,
        username: bytes | str,
        password: bytes | str,
        algorithms: tuple[ChallengeAlgorithm, ...] = STRONGEST_FIRST,
    ) -> None:
        """
        @raise ValueError: either is empty, or longer than 255 octets; or there is no algorithm.
        """
        name, word = _account(username, password)
        if not algorithms:
            raise ValueError("CHAP needs an algorithm")
        object.__setattr__(self, "username", name)
        object.__setattr__(self, "password", word)
        object.__setattr__(self, "algorithms", tuple(map(ChallengeAlgorithm, algorithms)))


@dataclass(frozen=True)
class GSSAPI:
    """
    A security context (RFC 1961), Kerberos': method 1.

    Once it stands all that goes to and from the proxy is protected at a level; a server may
    answer with another level than it was asked for, and then that will do if it is in C{levels}.

    @ivar service: the proxy's service; with a C{/} in it, a whole principal.
    @ivar host: the host of that service; L{None} is the proxy's.
    @ivar levels: the protection levels that will do; the first is asked for.
    @ivar nec: whether the level travels unprotected, as NEC's implementation has it.
    @ivar principal: who to be; L{None}: whoever has tickets.
    @ivar ccache: where the tickets are; L{None}: in the default place.
    @ivar delegate: whether the proxy may act for us elsewhere.
    @ivar context: makes the context instead of Kerberos, for another mechanism and for tests.
    """

    method: ClassVar[int] = Method.GSSAPI

    service: str = "rcmd"
    host: str | None = None
    levels: tuple[ProtectionLevel, ...] = (
        ProtectionLevel.CONFIDENTIALITY,
        ProtectionLevel.INTEGRITY,
    )
    nec: bool = False
    principal: str | None = None
    ccache: str | None = None
    delegate: bool = False
    context: ContextMaker | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        """
        @raise ValueError: there is no service, or no level.
        """
        if not self.service:
            raise ValueError("GSSAPI needs the name of a service")
        levels = tuple(map(ProtectionLevel, self.levels))
        if not levels:
            raise ValueError("GSSAPI needs a protection level")
        object.__setattr__(self, "levels", levels)

    def serviceAt(self, host: str) -> str:
        """
        Name the service for a proxy.

        @param host: the proxy's, unless we know better.
        """
        return self.service if "/" in self.service else f"{self.service}@{self.host or host}"


Authentication = NoAuthentication | UsernamePassword | CHAP | GSSAPI
"""What can be offered."""


def _account(username: bytes | str, password: bytes | str) -> tuple[bytes, bytes]:
    """
    Take a user name and a password as octets.

    @raise ValueError: either is empty, or longer than 255 octets.
    """
    name, word = _octets(username, "username"), _octets(password, "password")
    if not 1 <= len(name) <= MAX_USERNAME:
        raise ValueError(f"a username of {len(name)} octets, instead of 1 to {MAX_USERNAME}")
    if not 1 <= len(word) <= MAX_PASSWORD:
        raise ValueError(f"the password does not have 1 to {MAX_PASSWORD} octets")
    return name, word


def _octets(text: bytes | str, what: str) -> bytes:
    """Take text as UTF-8, without showing it if that fails."""
    if isinstance(text, bytes):
        return text
    try:
        return text.encode("utf-8")
    except UnicodeEncodeError:
        # Not raised from: the cause has the text in it.
        raise ValueError(f"the {what} cannot be written as UTF-8") from None
