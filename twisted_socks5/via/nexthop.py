"""
The way to the next proxy, as a server goes it to its targets.

An endpoint like Twisted's own C{HostnameEndpoint}, but on the dialer that has the server's fast
streams, so that what is relayed over it can be left to the kernel; and one that never leads back
to the server itself, for that would be a chain without an end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorFDSet, IReactorTCP, IStreamClientEndpoint
from zope.interface import implementer

from twisted_socks5.addresses import normalise
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.errors import DialError
from twisted_socks5.resolving import NameLookup
from twisted_socks5.streams import StreamTCP, watchFor
from twisted_socks5.wire import Reply

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol, IProtocolFactory

    from twisted_socks5.interfaces import IDialer, IPAddress


@implementer(IStreamClientEndpoint)
class NextHop:
    """Connects to the next proxy."""

    def __init__(
        self,
        reactor: Any,
        host: str,
        port: int,
        *,
        timeout: float = 20.0,
        isOwn: Callable[[IPAddress, int], bool] | None = None,
        dialer: IDialer | None = None,
    ) -> None:
        """
        @param reactor: connects, tells the time and resolves C{host}.
        @param host: the next proxy's name or address.
        @param port: 1 to 65535.
        @param timeout: seconds for its name to be resolved, and as many to connect.
        @param isOwn: tells whether an address and a port are the server's own.
        @param dialer: connects in the reactor's stead.
        @raise InvalidName: C{host} is neither a name nor an address.
        """
        self._host = normalise(host.encode("utf-8", "surrogateescape"))
        self._port = port
        self._isOwn = isOwn
        self._lookup = NameLookup(reactor.nameResolver, reactor, timeout=timeout)
        if dialer is None:
            streams = StreamTCP(watchFor(reactor)) if IReactorFDSet.providedBy(reactor) else None
            tcp = cast(IReactorTCP, streams or reactor)
            dialer = HappyEyeballs(tcp, reactor, timeout=timeout)
        self._dialer = dialer

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """
        See L{IStreamClientEndpoint.connect}.

        @return: fires with the connected protocol.  Fails with a L{RequestError
            <twisted_socks5.errors.RequestError>}, which says what is wrong with the way.
        """
        found: Deferred[list[IPAddress]]
        if isinstance(self._host, str):
            found = self._lookup.lookup(self._host)
        else:
            found = succeed([self._host])
        return found.addCallback(self._dial, protocolFactory)

    def _dial(self, addresses: list[IPAddress], factory: IProtocolFactory) -> Deferred[IProtocol]:
        isOwn = self._isOwn
        if isOwn is not None and any(isOwn(address, self._port) for address in addresses):
            raise DialError(Reply.GENERAL_FAILURE, "that is this proxy itself")
        return self._dialer.dial(addresses, self._port, factory)
