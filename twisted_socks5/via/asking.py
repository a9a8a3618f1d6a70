"""
What the next proxies of all kinds have in common: time that runs out, words for what fails, and
how a connection that stands is given away.

To a client it makes a difference whether its target has failed or the chain: what the next proxy
says of the target is passed on, and what is wrong with the next proxy itself is REP 1, with a
reason that names it.
"""

from __future__ import annotations

from typing import Any, NoReturn, Protocol, TypeVar

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IReactorTime
from twisted.python.failure import Failure

from twisted_socks5.client.errors import (
    InvalidTarget,
    NegotiationTimeout,
    ProxyError,
    SOCKSError,
)
from twisted_socks5.client.succession import abort
from twisted_socks5.client.targets import asTwisted
from twisted_socks5.errors import RequestError
from twisted_socks5.failures import replyFor
from twisted_socks5.wire import Address, Reply
from twisted_socks5.wire.constants import SOCKS_VERSION

_T = TypeVar("_T")


class Asking:
    """
    Asks a next proxy.

    @ivar name: what the log calls it.
    @ivar clock: tells the time.
    """

    def __init__(self, name: str, clock: IReactorTime, version: int = SOCKS_VERSION) -> None:
        """
        @param name: as for L{IVia<twisted_socks5.interfaces.IVia>}.
        @param clock: tells the time.
        @param version: of SOCKS.
        """
        self.name = name
        self.clock = clock
        self._version = version

    def asked(self, asking: Deferred[_T], timeout: float) -> Deferred[_T]:
        """
        Wait for an answer for so long.

        @return: C{asking} itself; it fails with a L{RequestError}, or a C{CancelledError}.
        """
        asking.addTimeout(timeout, self.clock, self._late)
        return asking.addErrback(self.explained)

    def refusal(self, reply: Reply, reason: str) -> RequestError:
        """Make an error that names the next proxy."""
        return RequestError(reply, f"via {self.name}: {reason}")

    def explained(self, failure: Failure) -> Failure:
        """
        Say what has failed in words for our client, and for the log.

        @return: a L{RequestError}, or a C{CancelledError}.
        """
        if failure.check(CancelledError, ConnectingCancelledError):
            return Failure(CancelledError())
        return Failure(self._explanation(failure))

    def _explanation(self, failure: Failure) -> RequestError:
        error = failure.value
        if isinstance(error, ProxyError):
            return self.refusal(self._reply(error.code), error.reason)
        if isinstance(error, InvalidTarget) and self._version != SOCKS_VERSION:
            return self.refusal(Reply.ADDRESS_TYPE_NOT_SUPPORTED, error.reason)
        if isinstance(error, NegotiationTimeout):
            return self.refusal(Reply.TTL_EXPIRED, error.reason)
        if isinstance(error, SOCKSError):
            return self.refusal(Reply.GENERAL_FAILURE, error.reason)
        if isinstance(error, RequestError) and error.reason.startswith(f"via {self.name}: "):
            return error
        return self.refusal(Reply.GENERAL_FAILURE, f"not reached: {replyFor(failure)[1]}")

    def _reply(self, code: int) -> Reply:
        """Pass on a REP that means something to others."""
        known = self._version == SOCKS_VERSION and 0 < code <= max(Reply)
        return Reply(code) if known else Reply.GENERAL_FAILURE

    def _late(self, _: object, timeout: float) -> NoReturn:
        raise self.refusal(Reply.TTL_EXPIRED, f"no answer within {timeout:g} s")


class Standing(Protocol):
    """A connection that stands, through a next proxy."""

    transport: Any

    def handOver(self, protocol: IProtocol) -> None:
        """Give it to a protocol."""


def handOver(connection: Standing, factory: IProtocolFactory, destination: Address) -> IProtocol:
    """
    Give a connection that stands to a protocol of its own; or reset it, if that fails.

    @param factory: makes the protocol.
    @param destination: where it leads to.
    @raise Exception: what the factory, or its protocol, has raised; a L{TypeError} if there is
        none.
    """
    try:
        protocol = factory.buildProtocol(asTwisted(destination))
        if protocol is None:
            raise TypeError("the factory gave no protocol")
        connection.handOver(protocol)
    except Exception:
        abort(connection.transport)
        raise
    return protocol
