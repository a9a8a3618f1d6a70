"""
What a race wants of an attempt, and what attempts of either kind have in common: how a factory
is asked for its protocol, and the words for what came of an address.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from twisted.logger import Logger

from twisted_socks5.errors import DialError
from twisted_socks5.wire.constants import Reply

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IProtocol, IProtocolFactory

_log = Logger()


class Attempt(Protocol):
    """
    One address being tried.

    It tells its race once, perhaps from within L{start}: that it has connected (C{won}), or that
    it has not (C{attemptFailed}).

    @ivar destination: address and port.
    @ivar timed: whether it fails by itself at the deadline, so that the race need not watch it.
    """

    destination: tuple[str, int]

    @property
    def timed(self) -> bool:
        """See above."""

    def start(self, source: tuple[str, int] | None) -> None:
        """
        Begin to connect.

        @param source: where from; L{None} leaves that to the system.
        """

    def giveUp(self) -> None:
        """
        End it, whatever its state is, even a connection just made; the race hears no more of it.
        """


def built(factory: IProtocolFactory, peer: IAddress) -> IProtocol | None:
    """Have the application's factory build the protocol."""
    try:
        return factory.buildProtocol(peer)
    except Exception:
        _log.failure("The factory could not build a protocol for {peer}", peer=str(peer))
        return None


def noProtocol() -> DialError:
    """What a dial fails with when L{built} has nothing to give."""
    return DialError(Reply.GENERAL_FAILURE, "connected, but the factory gave no protocol")


def said(destination: tuple[str, int], text: str) -> str:
    """Say what became of an address."""
    host, port = destination
    return f"[{host}]:{port} {text}" if ":" in host else f"{host}:{port} {text}"
