"""
What can go wrong between a request and its target, and the REP each is answered with.

Errors of the wire itself are L{twisted_socks5.wire.ProtocolError} and its kinds.
"""

from __future__ import annotations

from twisted_socks5.wire.constants import Reply


class ConfigurationError(ValueError):
    """A setting is wrong or cannot take effect; its text is one line for the operator."""


class RequestError(Exception):
    """
    A request that cannot be carried out.

    @ivar reply: the REP to answer with (RFC 1928, section 6).
    @ivar reason: why, in words, for the log.
    """

    def __init__(self, reply: Reply, reason: str) -> None:
        super().__init__(reply, reason)
        self.reply = reply
        self.reason = reason

    def __str__(self) -> str:
        return self.reason


class Forbidden(RequestError):
    """The rules do not permit it: REP 2."""

    def __init__(self, reason: str) -> None:
        super().__init__(Reply.CONNECTION_NOT_ALLOWED, reason)


class ResolutionError(RequestError):
    """A name that cannot be turned into an address: REP 4."""

    def __init__(self, reason: str) -> None:
        super().__init__(Reply.HOST_UNREACHABLE, reason)


class DialError(RequestError):
    """The target could not be connected to."""
