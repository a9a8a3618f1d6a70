"""
Listening through a proxy: BIND (RFC 1928, sections 4 and 6) as Twisted's server endpoints.

The story of a BIND:

  1. we ask for it, and name the peer that is to connect; the proxy listens, and its I{first
     reply} says where.  That is what C{getHost} tells, and what somebody has to tell the peer:
     in FTP's PORT, or in whatever way the two have;
  2. the peer connects to the proxy, whose I{second reply} says from where.  The factory builds a
     protocol for that address, and it gets the connection to the proxy, which from now on is
     the one to the peer;
  3. or the second reply is a failure: mostly that nobody has come in time (REP 6).

So a BIND is for one connection.  L{SOCKS5ServerEndpoint} is that and no more.
L{SOCKS5RenewingServerEndpoint} asks for the next BIND when one is over; each listens on a port of
its own, unless the proxy lets its clients choose, so somebody has to be told again and again.

What a proxy says, and when it has to say it, is the business of L{Proxy
<twisted_socks5.client.proxy.Proxy>}.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IStreamServerEndpoint
from zope.interface import implementer

from twisted_socks5.client.boundport import BoundPort, NotYetBound
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.client.renewedport import RenewedPort
from twisted_socks5.client.targets import destination
from twisted_socks5.wire import Command

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint

    from twisted_socks5.client.boundport import BoundAddress
    from twisted_socks5.client.control import ControlConnection

__all__ = [
    "ANYBODY",
    "BoundPort",
    "NotYetBound",
    "RenewedPort",
    "SOCKS5RenewingServerEndpoint",
    "SOCKS5ServerEndpoint",
]

ANYBODY = "0.0.0.0"
"""The peer's host, where anybody may connect; not every proxy takes it."""


@implementer(IStreamServerEndpoint)
class SOCKS5ServerEndpoint:
    """
    A port of the proxy's for one connection, by BIND::

        endpoint = SOCKS5ServerEndpoint(proxy, "ftp.example.com", reactor=reactor)
        port = await endpoint.listen(factory)
        # tell the peer port.getHost(), and then
        protocol = await port.whenAccepted()

    The connection that the factory's protocol gets is the one to the proxy: its C{getPeer} is the
    proxy's address.  The peer's is what C{buildProtocol} is called with.
    """

    def __init__(
        self,
        proxy: Proxy | IStreamClientEndpoint,
        peerHost: str | bytes = ANYBODY,
        peerPort: int = 0,
        *,
        reactor: Any,
        acceptTimeout: float | None = None,
    ) -> None:
        """
        @param proxy: the proxy, or the endpoint that leads to one without authentication.
        @param peerHost: who is to connect (DST.ADDR): an address, or a name, which goes to the
            proxy unresolved.  Zeros are anybody, where the proxy permits that.
        @param peerPort: DST.PORT.  What it means differs among proxies: the peer's port; the port
            to listen on; mostly nothing.  0 is safe.
        @param reactor: tells the time.
        @param acceptTimeout: seconds that the peer has to connect; L{None}: as long as the proxy
            waits.
        @raise InvalidTarget: that is no peer; it is a C{ValueError}, too.
        """
        self._proxy = proxy if isinstance(proxy, Proxy) else Proxy(proxy)
        self._peer = destination(peerHost, peerPort)
        self._reactor = reactor
        self._acceptTimeout = acceptTimeout
        self._proxy.check(Command.BIND, self._peer)

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[BoundPort]:  # type: ignore[override]  # Deferred is invariant
        """
        Ask the proxy to listen.

        @param protocolFactory: builds one protocol, with the peer's address.
        @return: fires with the port once the first reply is there; fails with a L{SOCKSError
            <twisted_socks5.client.errors.SOCKSError>}, or with what the endpoint to the proxy
            fails with.  Cancel it, and the connection to the proxy is closed.
        """
        return self._bind().addCallback(self._granted, protocolFactory)

    def _bind(self) -> Deferred[ControlConnection]:
        return self._proxy.request(Command.BIND, self._peer, self._reactor)

    def _granted(self, control: ControlConnection, factory: IProtocolFactory) -> Any:
        """The first reply is there."""
        try:
            return BoundPort(control, factory, self._reactor, self._acceptTimeout)
        except Exception:
            control.close()
            raise


class SOCKS5RenewingServerEndpoint(SOCKS5ServerEndpoint):
    """
    Ports of the proxy's, one after the other, each for one connection.

    Between a connection and the next BIND there is a moment in which nobody can connect, and a
    peer has to be told each port: C{announce} is called with it.  If the proxy lets its clients
    choose (C{--bind-port-choice client} of C{twistd socks5}), C{peerPort} is the port, and stays.
    """

    def __init__(
        self,
        proxy: Proxy | IStreamClientEndpoint,
        peerHost: str | bytes = ANYBODY,
        peerPort: int = 0,
        *,
        reactor: Any,
        announce: Callable[[BoundAddress], object] | None = None,
        retryPolicy: Callable[[int], float] | None = None,
        acceptTimeout: float | None = None,
    ) -> None:
        """
        @param proxy: as for L{SOCKS5ServerEndpoint}, as are those not named here.
        @param announce: called with each new address, the first one included.
        @param retryPolicy: from the number of failures in a row to the seconds from one BIND to
            the next; by default as C{ClientService} does it, up to a minute.
        """
        super().__init__(proxy, peerHost, peerPort, reactor=reactor, acceptTimeout=acceptTimeout)
        self._announce = announce
        self._retryPolicy = retryPolicy

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[RenewedPort]:  # type: ignore[override]  # the same
        """
        Ask the proxy to listen, and go on.

        @param protocolFactory: builds a protocol for each peer.
        @return: fires with the port once the first reply of the first BIND is there; fails as
            L{SOCKS5ServerEndpoint.listen} does.  What fails later is logged, and tried again.
        """
        return self._bind().addCallback(self._granted, protocolFactory)

    def port(self, factory: IProtocolFactory) -> RenewedPort:
        """
        Make a port that does not listen before it is told to by C{startListening}.

        @param factory: builds a protocol for each peer.
        """
        return RenewedPort(
            self._bind,
            factory,
            self._reactor,
            announce=self._announce,
            retryPolicy=self._retryPolicy,
            acceptTimeout=self._acceptTimeout,
        )

    def _granted(self, control: ControlConnection, factory: IProtocolFactory) -> Any:
        port = self.port(factory)
        port.startWith(control)
        return port
