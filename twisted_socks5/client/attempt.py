"""
One request to one proxy, from before there is a connection until it is granted or has failed.

What can end it comes from many sides: the endpoint that leads to the proxy, the proxy's answers,
the loss of the connection, the clock, and whoever waits and no longer wants to.  The first of
them counts, and it leaves nothing behind: no connection, no delayed call.

Which octets say what is the business of L{Dialogue} and L{ControlConnection}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.client.dialogue import Dialogue
from twisted_socks5.client.errors import (
    AuthenticationError,
    NegotiationTimeout,
    ProxyClosed,
    SOCKSError,
    broken,
    refusal,
)
from twisted_socks5.client.succession import Predecessor, abort
from twisted_socks5.client.targets import asTwisted, describeProxy
from twisted_socks5.wire import AuthenticationFailed, NoAcceptableMethod, ProtocolError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IDelayedCall, IProtocol

    from twisted_socks5.client.control import ControlConnection
    from twisted_socks5.client.proxy import Proxy
    from twisted_socks5.wire import Address

_E = TypeVar("_E", bound=SOCKSError)


class Attempt:
    """
    A request under way.

    @ivar proxy: whom it is to.
    @ivar command: what is asked for.
    @ivar destination: and of what.
    @ivar clock: the reactor.
    @ivar name: what the proxy is called.
    """

    def __init__(
        self,
        proxy: Proxy,
        command: int,
        destination: Address,
        clock: Any,
        factory: IProtocolFactory | None,
    ) -> None:
        self.proxy = proxy
        self.command = command
        self.destination = destination
        self.clock = clock
        self.name = proxy.name
        self._factory = factory
        self._result: Deferred[ControlConnection] = Deferred(self._cancel)
        self._over = False
        self._opening: Deferred[IProtocol] | None = None
        self._party: Predecessor | None = None
        self._deadline: IDelayedCall | None = None

    def start(self) -> Deferred[ControlConnection]:
        """Connect to the proxy, and see what becomes of it."""
        try:
            opening = self.proxy.endpoint.connect(_Opening(self, self._factory))
        except Exception:
            self._settle()
            self._result.errback()
        else:
            self._opening = opening
            # Its result is who has spoken, and Twisted keeps it for as long as there's a
            # connection.
            opening.addCallbacks(lambda _: None, self._notOpened)
        return self._result

    def connected(self, party: Predecessor) -> bool:
        """
        A connection to the proxy stands.

        @return: whether it is wanted; if not, it is cut.
        """
        if self._over or self._party is not None:
            abort(party.transport)
            return False
        self._party = party
        self.name = self.name or describeProxy(self.proxy.endpoint, party.transport)
        self._deadline = self.clock.callLater(self.proxy.timeout, self._expired)
        return True

    def passTo(self, party: Predecessor) -> None:
        """Somebody else speaks on the connection from now on."""
        self._party = party

    def gone(self) -> None:
        """The connection is lost: there is nothing to close any more."""
        self._party = None

    def granted(self, control: ControlConnection) -> None:
        """The proxy has granted the request."""
        if not self._over:
            self._settle()
            self._party = None  # They knew each other: nothing waits for the garbage collector.
            self._result.callback(control)

    def refusal(self, code: int) -> SOCKSError:
        """Make the error for a reply that refuses."""
        return refusal(code, proxy=self.name, target=self.destination, version=self.proxy.version)

    def closed(self, when: str, reason: Failure | None = None) -> ProxyClosed:
        """
        Make the error for the loss of the connection.

        @param when: in words.
        @param reason: what the transport says; L{None}: the proxy has merely ended.
        """
        text = f"the proxy closed the connection {when}"
        if reason is None or reason.check(ConnectionDone):
            return self.error(ProxyClosed, text)
        if not reason.check(ConnectionLost):
            # It was our side that ended it: the certificate is not the proxy's, say.
            text = f"the connection was given up {when}"
        error = self.error(ProxyClosed, f"{text}: {str(reason.value).rstrip('.')}")
        error.__cause__ = reason.value
        return error

    def broken(self, error: ProtocolError) -> SOCKSError:
        """Make the error for what the proxy should not have said."""
        if isinstance(error, NoAcceptableMethod):
            advice = "its operator knows which it wants"
            return self.error(AuthenticationError, f"{error.reason}; {advice}")
        if isinstance(error, AuthenticationFailed):
            return self.error(AuthenticationError, error.reason)
        return broken(error, proxy=self.name, target=self.destination)

    def error(self, kind: type[_E], reason: str) -> _E:
        """Make an error that says whom and what it is about."""
        return kind(reason, proxy=self.name, target=self.destination)

    def fail(self, error: SOCKSError, *, cut: bool = False) -> None:
        """
        It has failed.

        @param cut: whether to cut the connection, rather than to close it in good order.
        """
        if self._over:
            return
        self._settle()
        if self._party is not None:
            if cut:
                abort(self._party.transport)
            else:
                self._party.part(self.clock)
        self._result.errback(error)

    def _notOpened(self, failure: Failure) -> None:
        """There is no connection to the proxy, or none any more."""
        if not self._over:
            self._settle()
            if self._party is not None:
                abort(self._party.transport)
            self._result.errback(failure)

    def _expired(self) -> None:
        self._deadline = None
        seconds = self.proxy.timeout
        reason = f"the proxy has not granted the request within {seconds:g} s"
        self.fail(self.error(NegotiationTimeout, reason), cut=True)

    def _cancel(self, result: Deferred[ControlConnection]) -> None:
        """Whoever waits no longer wants to."""
        self._settle()
        if self._party is not None:
            abort(self._party.transport)
        elif self._opening is not None:
            self._opening.cancel()
        result.errback(ConnectingCancelledError(asTwisted(self.destination)))

    def _settle(self) -> None:
        """From now on nothing else counts."""
        self._over = True
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None


@implementer(IProtocolFactory)
class _Opening:
    """Builds the protocol that speaks with the proxy; passes on what else it hears."""

    def __init__(self, attempt: Attempt, factory: IProtocolFactory | None) -> None:
        self._attempt = attempt
        self._factory = factory

    def buildProtocol(self, addr: IAddress) -> Dialogue:
        """There may be several, from an endpoint that tries again; the first one counts."""
        return Dialogue(self._attempt)

    def doStart(self) -> None:
        """The endpoint begins to connect."""
        if self._factory is not None:
            self._factory.doStart()

    def doStop(self) -> None:
        """The connection is lost, or did not come about."""
        if self._factory is not None:
            self._factory.doStop()
