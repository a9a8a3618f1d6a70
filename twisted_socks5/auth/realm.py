"""
Who a session is, once a checker has answered for it.

Knows neither how that was found out nor what the user then does.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.cred.checkers import ANONYMOUS
from twisted.cred.portal import IRealm
from zope.interface import Interface, implementer

from twisted_socks5.auth.credentials import toOctets
from twisted_socks5.interfaces import ISOCKS5Avatar

if TYPE_CHECKING:
    from twisted_socks5.interfaces import IRules


@implementer(ISOCKS5Avatar)
@dataclass(frozen=True)
class User:
    """
    A user of the proxy.

    @ivar name: the name in logs and rules; L{None} is nobody in particular.
    @ivar rules: rules for this user instead of the server's.
    """

    name: str | None
    rules: IRules | None = None


#: Whoever need not say who they are.
ANYBODY = User(None)


@implementer(IRealm)
class SOCKS5Realm:
    """Makes a L{User} of everybody whom the checkers know."""

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], User, Callable[[], None]]:
        """
        Make the avatar of one session.

        @param avatarId: octets, taken as UTF-8; what is none is escaped, C{b"\\xff"} becoming the
            four characters C{\\xff}.  Text passes too, as Twisted's C{unix} checker returns it.
            L{ANONYMOUS} has no name.
        @param mind: not used.
        @param interfaces: must contain L{ISOCKS5Avatar}.
        @return: the interface, the L{User}, and a logout that has nothing to do.
        @raise NotImplementedError: when asked for another kind of avatar.
        @raise TypeError: for any other avatar ID: a checker that returns L{None} or a truth value
            by mistake has not identified anybody.
        """
        if ISOCKS5Avatar not in interfaces:
            raise NotImplementedError("SOCKS5Realm makes nothing but an ISOCKS5Avatar")
        return ISOCKS5Avatar, User(_name(avatarId)), _nothing


def _name(avatarId: object) -> str | None:
    if isinstance(avatarId, (bytes, str)):
        return toOctets(avatarId).decode("utf-8", "backslashreplace")
    if isinstance(avatarId, tuple) and avatarId == ANONYMOUS:
        return None
    raise TypeError(f"an avatar ID is bytes or ANONYMOUS, and no {type(avatarId).__name__}")


def _nothing() -> None:
    """Log out of a realm that keeps nothing."""
