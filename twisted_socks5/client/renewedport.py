"""
Ports of the proxy's, one after the other: another BIND as soon as one is over.

There is always at most one: under way, waiting for its peer, or put off because the last ones
have failed.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.application.internet import backoffPolicy
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.client.boundport import BoundPort, NotYetBound
from twisted_socks5.client.errors import SOCKSError
from twisted_socks5.client.observers import Observers

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IProtocol

    from twisted_socks5.client.boundport import BoundAddress
    from twisted_socks5.client.control import ControlConnection

_log = Logger()


@implementer(IProtocolFactory)
class _Kept:
    """A factory that outlives its ports: it is told of their connections, not of their ends."""

    def __init__(self, factory: IProtocolFactory) -> None:
        self._factory = factory

    def doStart(self) -> None:
        """A BIND begins; the factory was started with the first one."""

    def doStop(self) -> None:
        """And is over; the next one will come."""

    def buildProtocol(self, addr: Any) -> IProtocol | None:
        """Build a protocol."""
        return self._factory.buildProtocol(addr)


@implementer(IListeningPort)
class RenewedPort:
    """
    A port of the proxy's, and when a connection has come, or nobody in time, another one.

    @ivar connected: whether it goes on.
    """

    def __init__(
        self,
        bind: Callable[[], Deferred[ControlConnection]],
        factory: IProtocolFactory,
        clock: Any,
        *,
        announce: Callable[[BoundAddress], object] | None = None,
        retryPolicy: Callable[[int], float] | None = None,
        acceptTimeout: float | None = None,
    ) -> None:
        """
        @param bind: asks the proxy for a BIND.
        @param factory: builds the protocols.
        @param clock: provides L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
        @param announce: as for L{SOCKS5RenewingServerEndpoint}, as are all that follow.
        """
        self._bind = bind
        self._factory = factory
        self._clock = clock
        self._announce = announce
        self._retryPolicy = retryPolicy or backoffPolicy()
        self._acceptTimeout = acceptTimeout
        self._listening = Observers()
        self._asking: Deferred[None] | None = None
        self._retry: IDelayedCall | None = None
        self._port: BoundPort | None = None
        self._address: BoundAddress | None = None
        self._since = 0.0
        self._failures = 0
        self._started = False
        self.connected = True

    def __repr__(self) -> str:
        state = "listening" if self._port is not None and self._port.connected else "not listening"
        return f"<{type(self).__name__} {self._address}, {state}>"

    def whenListening(self) -> Deferred[BoundAddress]:
        """
        Wait for the first reply of the first BIND.

        @return: fires with what L{getHost} then tells, at once if it does already.  It goes on
            waiting while the proxy refuses.  Fails with L{CancelledError
            <twisted.internet.defer.CancelledError>} if the port is stopped before.
        """
        return self._listening.wait()

    def startWith(self, control: ControlConnection) -> None:
        """
        Begin with a BIND that was granted already.

        @raise ProxyProtocolError: the proxy says it listens on port 0.
        """
        self._listen(control)

    # IListeningPort

    def startListening(self) -> None:
        """
        Ask for the first BIND, unless that is done.

        @raise NotYetBound: it was stopped, and does not listen again.
        """
        if not self.connected:
            raise NotYetBound("it was stopped")
        if not self._started:
            self._begin()
            self._ask()

    def stopListening(self) -> Deferred[None] | None:
        """
        Listen no more, and ask no more.  Connections that have been accepted are not touched.

        @return: fires when the connection to the proxy is closed.
        """
        if not self.connected:
            return None
        self.connected = False
        retry, self._retry = self._retry, None
        if retry is not None:
            retry.cancel()
        asking, self._asking = self._asking, None
        if asking is not None:
            asking.cancel()
        closed = self._port.stopListening() if self._port is not None else None
        if self._started:
            self._factory.doStop()
        self._listening.fire(Failure(CancelledError("the port was stopped")))
        return closed

    def loseConnection(self) -> Deferred[None] | None:
        """As L{stopListening}: what Twisted's ports, and so its FTP client, call it."""
        return self.stopListening()

    def getHost(self) -> BoundAddress:
        """
        Tell where the proxy listens, or has listened last while the next BIND is asked for.

        @raise NotYetBound: the proxy has not granted any yet; see L{whenListening}.
        """
        if self._address is None:
            raise NotYetBound("the proxy has not said yet where it listens; see whenListening()")
        return self._address

    # One BIND after the other.

    def _begin(self) -> None:
        if not self._started:
            self._started = True
            self._factory.doStart()

    def _ask(self) -> None:
        self._retry = None
        self._since = self._clock.seconds()
        asking = self._bind().addCallback(self._listen)
        self._asking = asking
        asking.addErrback(self._refused)

    def _listen(self, control: ControlConnection) -> None:
        """The proxy has granted a BIND: somebody has to be told where."""
        self._asking = None
        try:
            port = BoundPort(control, _Kept(self._factory), self._clock, self._acceptTimeout)
        except Exception:
            control.close()
            raise
        self._begin()
        self._port = port
        self._since = self._clock.seconds()
        self._address = address = port.getHost()
        port.whenAccepted().addBoth(self._over)
        _log.info("Listening at {address}, a port of the proxy", address=str(port.bound))
        if self._announce is not None:
            try:
                self._announce(address)
            except Exception:
                _log.failure("The new address was not announced")
        self._listening.fire(address)

    def _over(self, result: object) -> None:
        """A BIND is over: somebody has come, if only to be turned away, or nobody has."""
        self._port = None
        if isinstance(result, Failure) and result.check(SOCKSError):
            self._again()
        elif self.connected:
            self._failures = 0
            self._ask()

    def _refused(self, failure: Failure) -> None:
        """The proxy has not granted a BIND."""
        if self.connected:
            _log.warn("The proxy does not listen: {reason}", reason=failure.getErrorMessage())
            self._again()

    def _again(self) -> None:
        """Ask again, the later the more often it has failed; the time that it took counts."""
        self._asking = None
        if self.connected:
            self._failures += 1
            passed = self._clock.seconds() - self._since
            delay = max(0.0, self._retryPolicy(self._failures) - passed)
            self._retry = self._clock.callLater(delay, self._ask)
