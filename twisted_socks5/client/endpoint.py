"""
CONNECT, for an application: an endpoint that leads through a proxy.

The application's protocol gets the real transport (see L{ControlConnection.handOver}), and what
Twisted's own endpoints promise holds here: when C{connect} fires, C{connectionMade} has been
called and no octet delivered; its factory hears C{doStart} and C{doStop}.

What the transport says of addresses is the truth about its socket: C{getPeer()} is the proxy.
Whom the proxy was asked for is what C{buildProtocol} is told.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError, NoProtocol
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.client.authentication import Authentication, NoAuthentication
from twisted_socks5.client.errors import InvalidTarget, NameNotFound, ProxyError
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.client.succession import abort
from twisted_socks5.client.targets import asTwisted, destination
from twisted_socks5.resolving import NameLookup
from twisted_socks5.wire import Address, Command

if TYPE_CHECKING:
    from twisted.internet.interfaces import IHostnameResolver, IProtocol, IProtocolFactory

    from twisted_socks5.client.control import ControlConnection
    from twisted_socks5.interfaces import IPAddress

_log = Logger()


@implementer(IStreamClientEndpoint)
class SOCKS5ClientEndpoint:
    """
    Connects to a target through a SOCKS5 proxy::

        proxy = HostnameEndpoint(reactor, "proxy.example", 1080)
        endpoint = SOCKS5ClientEndpoint(proxy, "www.example.com", 80, reactor=reactor)
        protocol = await endpoint.connect(factory)

    To reach a proxy through another one, give C{proxy} an endpoint of this kind.  TLS with the
    target is C{wrapClientTLS(options, SOCKS5ClientEndpoint(...))}; TLS with the proxy is
    C{SOCKS5ClientEndpoint(wrapClientTLS(options, ...), ...)}.

    @ivar proxy: the L{Proxy}.
    @ivar destination: the target, as it is asked for.
    """

    def __init__(
        self,
        proxy: IStreamClientEndpoint | Proxy,
        host: str | bytes | IPAddress,
        port: int,
        *,
        authentication: Sequence[Authentication] | None = None,
        timeout: float | None = None,
        reactor: Any = None,
        resolver: IHostnameResolver | None = None,
    ) -> None:
        """
        @param proxy: a L{Proxy}, or the endpoint that leads to one.
        @param host: the target's name or address.  A name goes to the proxy, and is not looked up
            here, unless there is a C{resolver}.
        @param port: 1 to 65535.
        @param authentication: what to offer, in order of preference; by default
            C{NoAuthentication()}.
        @param timeout: seconds that the proxy has to grant the request, once it's connected to;
            30 by default.
        @param reactor: provides C{IReactorTime}, and for GSSAPI C{IReactorFromThreads}; by
            default the one that is installed.
        @param resolver: looks names up here; the proxy then gets addresses only, one after
            another until it reaches one.
        @raise InvalidTarget: C{host} is none, or cannot be sent: it is too long, above all.
        @raise ValueError: C{authentication} or C{timeout} are not what they have to be, or are
            given twice, here and in a L{Proxy}.
        """
        self.proxy = _proxy(proxy, authentication, timeout)
        self._reactor = reactor
        self._resolver = resolver
        self.destination = destination(host, port)
        if not port:
            raise InvalidTarget("there is no port 0 to connect to")
        if resolver is None or not isinstance(self.destination.host, bytes):
            self.proxy.check(Command.CONNECT, self.destination)

    def __repr__(self) -> str:
        """Say where it leads."""
        via = self.proxy.name or type(self.proxy.endpoint).__name__
        return f"<{type(self).__name__} {self.destination} via {via}>"

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint.connect}.

        @return: fires with the connected protocol.  Fails with a L{SOCKSError
            <twisted_socks5.client.errors.SOCKSError>}; with what the proxy's endpoint fails with,
            if the proxy can't be reached; with C{NoProtocol}, or what C{buildProtocol} raises.
            Cancelling it closes whatever is open, and it fails with C{ConnectingCancelledError}.
        """
        reactor = _installed() if self._reactor is None else self._reactor
        connecting = _Connecting(self.proxy, self.destination, protocolFactory, reactor)
        return connecting.start(self._resolver)


class SOCKS4ClientEndpoint(SOCKS5ClientEndpoint):
    """
    The same through a SOCKS4 proxy: an old one, for SOCKS5 does all that and more.

    Names are sent as SOCKS4a has it; a proxy without that needs a C{resolver}.  There is no IPv6.
    """

    def __init__(
        self,
        proxy: IStreamClientEndpoint | Proxy,
        host: str | bytes | IPAddress,
        port: int,
        *,
        userID: bytes | str = b"",
        timeout: float | None = None,
        reactor: Any = None,
        resolver: IHostnameResolver | None = None,
    ) -> None:
        """
        @param userID: who we say we are; at most 255 octets, text as UTF-8.
        @raise InvalidTarget: C{host} is an IPv6 address, too.

        The other parameters are those of L{SOCKS5ClientEndpoint}.
        """
        if not isinstance(proxy, Proxy):
            user = userID.encode("utf-8") if isinstance(userID, str) else userID
            proxy = Proxy(
                proxy, timeout=30.0 if timeout is None else timeout, version=4, userID=user
            )
        elif timeout is not None or userID:
            raise ValueError("a Proxy says the timeout and the user id itself")
        elif proxy.version != 4:
            raise ValueError("this Proxy speaks SOCKS5")
        super().__init__(proxy, host, port, reactor=reactor, resolver=resolver)


def _proxy(
    proxy: IStreamClientEndpoint | Proxy,
    authentication: Sequence[Authentication] | None,
    timeout: float | None,
) -> Proxy:
    """Put together what belongs together."""
    if not isinstance(proxy, Proxy):
        return Proxy(
            proxy,
            (NoAuthentication(),) if authentication is None else authentication,
            30.0 if timeout is None else timeout,
        )
    if authentication is not None or timeout is not None:
        raise ValueError("a Proxy says the authentication and the timeout itself")
    return proxy


def _installed() -> Any:
    """Find the reactor of an application that has not said which one it means."""
    from twisted.internet import reactor

    return reactor


class _Connecting:
    """One call of C{connect}."""

    def __init__(
        self, proxy: Proxy, target: Address, factory: IProtocolFactory, reactor: Any
    ) -> None:
        self._proxy = proxy
        self._target = target
        self._factory = factory
        self._reactor = reactor
        self._result: Deferred[IProtocol] = Deferred(self._cancel)
        #: What is waited for.
        self._step: Deferred[Any] | None = None
        self._left: list[Address] = []

    def start(self, resolver: IHostnameResolver | None) -> Deferred[IProtocol]:
        """Look the target up, if that is to be done here, and go on."""
        target = self._target
        if resolver is None or not isinstance(target.host, bytes):
            self._tryAll([target])
        else:
            timeout = self._proxy.timeout
            lookup = NameLookup(resolver, self._reactor, timeout=timeout, lifetime=0)
            self._step = lookup.lookup(target.host.decode("ascii"))
            self._step.addCallbacks(self._found, self._notFound)
        return self._result

    def _found(self, addresses: list[IPAddress]) -> None:
        target = self._target
        families = (4,) if self._proxy.version == 4 else (4, 6)
        usable = [Address(each, target.port) for each in addresses if each.version in families]
        if usable:
            self._tryAll(usable)
        else:
            self._failed(Failure(NameNotFound("the name has no IPv4 address", target=target)))

    def _notFound(self, failure: Failure) -> None:
        if failure.check(CancelledError):
            self._failed(Failure(ConnectingCancelledError(asTwisted(self._target))))
        else:
            self._failed(Failure(NameNotFound(str(failure.value), target=self._target)))

    def _tryAll(self, targets: list[Address]) -> None:
        """Ask the proxy for one address after another."""
        self._left = targets
        self._tryNext()

    def _tryNext(self) -> None:
        target = self._left.pop(0)
        self._step = step = self._proxy.request(
            Command.CONNECT, target, self._reactor, factory=self._factory
        )
        step.addCallbacks(self._granted, self._notGranted, callbackArgs=(target,))
        step.addErrback(self._failed)

    def _notGranted(self, failure: Failure) -> None:
        if self._left and failure.check(ProxyError):
            self._tryNext()
        else:
            self._failed(failure)

    def _granted(self, control: ControlConnection, target: Address) -> None:
        """Build the application's protocol, and leave it alone with its connection."""
        try:
            protocol = self._factory.buildProtocol(asTwisted(target))
            if protocol is None:
                raise NoProtocol
            if self._result.called:
                abort(control.transport)  # It was cancelled in there.
            else:
                control.handOver(protocol, lambda: self._made(control, protocol))
        except Exception:
            # Whoever has the transport by now hears of its loss.
            abort(control.transport)
            raise

    def _made(self, control: ControlConnection, protocol: IProtocol) -> None:
        """It has been told of its connection; and may have cancelled that."""
        if self._result.called:
            abort(control.transport)
        else:
            self._result.callback(protocol)

    def _failed(self, failure: Failure) -> None:
        if not self._result.called:
            self._result.errback(failure)
        else:
            _log.failure("A protocol has failed on what came with its connection", failure)

    def _cancel(self, result: Deferred[IProtocol]) -> None:
        if self._step is not None:
            self._step.cancel()
        if not result.called:
            # All that was waited for is there: it is the application that is asked or told now.
            result.errback(ConnectingCancelledError(asTwisted(self._target)))
