"""
Names looked up by a proxy: RESOLVE and RESOLVE_PTR, which are Tor's extensions to SOCKS.

To connect by a name nobody needs this: the name goes to the proxy as it is.  It is for programs
that look names up themselves, and should not ask the DNS that they are in.  C{twistd socks5} knows
both commands with C{--resolve}; proxies that are neither that nor Tor mostly know neither.

Each question is a connection to the proxy, and each answer is one address.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address as _IPv4Address
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, Literal

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.logger import Logger
from zope.interface import implementer

from twisted_socks5.addresses import unmapped
from twisted_socks5.client.errors import InvalidTarget, ProxyProtocolError
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.client.targets import destination
from twisted_socks5.wire import Address, Command, describe_host

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IResolutionReceiver, IStreamClientEndpoint
    from twisted.python.failure import Failure

    from twisted_socks5.client.control import ControlConnection
    from twisted_socks5.interfaces import IPAddress

_log = Logger()


@implementer(IHostResolution)
class _Resolution:
    """
    A question to the proxy, for somebody who does not ask by Deferreds.

    @ivar name: what is asked.
    """

    def __init__(self, name: str, receiver: IResolutionReceiver) -> None:
        self.name = name
        self._receiver: IResolutionReceiver | None = receiver
        self._asking: Deferred[None] | None = None

    def ask(self, found: Deferred[IPAddress], take: _Taker) -> None:
        """Tell the receiver that it began, and then what has been found."""
        receiver = self._receiver
        if receiver is not None:
            receiver.resolutionBegan(self)
        self._asking = found.addCallbacks(self._found, self._notFound, callbackArgs=(take,))
        self._asking.addErrback(lambda failure: _log.failure("A receiver failed", failure))
        if self._receiver is None:  # cancelled already
            self._asking.cancel()

    def cancel(self) -> None:
        """Ask no more; the receiver hears no more."""
        self._receiver = None
        if self._asking is not None:
            self._asking.cancel()

    def _found(self, address: IPAddress, take: _Taker) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            wanted = take.take(address)
            if wanted is not None:
                receiver.addressResolved(wanted)
            receiver.resolutionComplete()

    def _notFound(self, failure: Failure) -> None:
        receiver, self._receiver = self._receiver, None
        if receiver is not None:
            _log.debug(
                "{name} was not found: {reason}",
                name=self.name,
                reason=failure.getErrorMessage(),
            )
            receiver.resolutionComplete()


class _Taker:
    """Makes of an address what was asked for, if it is that."""

    def __init__(self, port: int, kinds: Sequence[type[IAddress]] | None, semantics: str) -> None:
        self._port = port
        self._kinds = kinds
        self._semantics: Literal["TCP", "UDP"] = "UDP" if semantics == "UDP" else "TCP"

    def take(self, address: IPAddress) -> IPv4Address | IPv6Address | None:
        """Make it; L{None}: it is of another family."""
        kind = IPv4Address if isinstance(address, _IPv4Address) else IPv6Address
        if self._kinds is not None and kind not in self._kinds:
            return None
        return kind(self._semantics, str(address), self._port)


@implementer(IHostnameResolver)
class SOCKS5Resolver:
    """
    Looks names up through a proxy::

        reactor.installNameResolver(SOCKS5Resolver(proxy, reactor))

    As Twisted's own it tells no reason when there is no answer: that is in the log, at level
    C{debug}.  L{lookup} and L{reverse} do tell it.
    """

    def __init__(self, proxy: Proxy | IStreamClientEndpoint, reactor: Any) -> None:
        """
        @param proxy: the proxy, or the endpoint that leads to one without authentication.  The
            endpoint must not need this very resolver to find the proxy.
        @param reactor: tells the time.
        """
        self._proxy = proxy if isinstance(proxy, Proxy) else Proxy(proxy)
        self._reactor = reactor

    def lookup(self, name: str | bytes) -> Deferred[IPAddress]:
        """
        Find an address of a name (RESOLVE).

        @param name: a host name; an address is its own answer, and nobody is asked.
        @return: fires with the proxy's answer, IPv4 where that is only mapped into IPv6.  Fails
            with a L{SOCKSError<twisted_socks5.client.errors.SOCKSError>}, or with what the
            endpoint to the proxy fails with.  Cancel it, and the connection is closed.
        """
        try:
            wanted = destination(name, 0)
        except InvalidTarget:
            return fail()
        if not isinstance(wanted.host, bytes):
            return succeed(wanted.host)
        return self._ask(Command.RESOLVE, wanted).addCallback(self._address)

    def reverse(self, address: str | IPAddress) -> Deferred[str]:
        """
        Find the name of an address (RESOLVE_PTR).

        @param address: an IP address.
        @return: fires with the name, as the proxy has written it but for octets that are not plain
            visible ASCII; fails as L{lookup} does.
        @raise ValueError: it is no address.
        """
        wanted = Address(unmapped(ip_address(address)), 0)
        return self._ask(Command.RESOLVE_PTR, wanted).addCallback(self._name)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        See L{IHostnameResolver.resolveHostName}.

        @param resolutionReceiver: is told of one address, or none.
        @param hostName: a name; an address is its own answer.
        @param portNumber: the port of the addresses.
        @param addressTypes: the families wanted; L{None} is both.  The proxy is not told: where
            it answers with one of the other family, that is no answer.
        @param transportSemantics: C{"TCP"} or C{"UDP"}.
        @return: the question, which can be cancelled.
        """
        resolution = _Resolution(hostName, resolutionReceiver)
        take = _Taker(portNumber, addressTypes, transportSemantics)
        resolution.ask(self.lookup(hostName), take)
        return resolution

    def _ask(self, command: int, wanted: Address) -> Deferred[Address]:
        return self._proxy.request(command, wanted, self._reactor).addCallback(_answer)

    def _address(self, answer: Address) -> IPAddress:
        if isinstance(answer.host, bytes):
            raise ProxyProtocolError("asked for an address, the proxy answers with a name")
        if not int(answer.host):
            raise ProxyProtocolError("asked for an address, the proxy answers with zeros")
        return unmapped(answer.host)

    def _name(self, answer: Address) -> str:
        if not isinstance(answer.host, bytes) or not answer.host:
            raise ProxyProtocolError("asked for a name, the proxy answers with something else")
        return describe_host(answer.host)


def _answer(control: ControlConnection) -> Address:
    """Take the answer, which is all there is."""
    control.close()
    return control.reply.bound
