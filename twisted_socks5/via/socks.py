"""
Another SOCKS proxy as the next one: CONNECT, BIND, UDP ASSOCIATE and Tor's commands.

All that is spoken with it is the client's half's business; here its answers are brought into the
shape that a server's commands expect.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import implementer

from twisted_socks5.addresses import ipAddress
from twisted_socks5.client.bound import boundAddress, zoned
from twisted_socks5.client.errors import ProxyProtocolError
from twisted_socks5.interfaces import IFarAssociation, IFarBind, IVia
from twisted_socks5.resolving import NameLookup
from twisted_socks5.via.asking import Asking, handOver
from twisted_socks5.wire import UNSPECIFIED, Address, Command, Reply, describe_host
from twisted_socks5.wire.constants import SOCKS4_VERSION

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocol, IProtocolFactory
    from twisted.python.failure import Failure

    from twisted_socks5.client.control import ControlConnection
    from twisted_socks5.client.proxy import Proxy
    from twisted_socks5.interfaces import IPAddress
    from twisted_socks5.security import Encapsulation

_COMMANDS4 = frozenset((Command.CONNECT, Command.BIND, Command.RESOLVE))


@implementer(IVia)
class SOCKSVia:
    """
    A SOCKS proxy that is the next one.

    @ivar proxy: where it is, and who we are to it.
    @ivar name: what the log calls it.
    """

    def __init__(self, proxy: Proxy, reactor: Any, *, name: str = "") -> None:
        """
        @param proxy: the proxy; SOCKS4 has no UDP and no IPv6.  Its endpoint is best a
            L{NextHop<twisted_socks5.via.NextHop>}.
        @param reactor: tells the time; for GSSAPI it has threads, too; and it resolves the name
            by which the proxy may say where it relays datagrams.
        @param name: what the log is to call it; by default it is made of the proxy's.
        """
        self.proxy = proxy
        self.name = name or f"socks{proxy.version}://{proxy.name}"
        self._reactor = reactor
        self._asking = Asking(self.name, reactor, proxy.version)

    def connect(
        self, destination: Address, factory: IProtocolFactory, timeout: float
    ) -> Deferred[tuple[IProtocol, Address]]:
        """See L{IVia}."""

        def granted(control: ControlConnection) -> tuple[IProtocol, Address]:
            return handOver(control, factory, control.destination), control.reply.bound

        return self._request(Command.CONNECT, destination, timeout).addCallback(granted)

    def bind(self, destination: Address, timeout: float) -> Deferred[IFarBind]:
        """See L{IVia}."""

        def granted(control: ControlConnection) -> IFarBind:
            return FarBind(control, self._bound(control), self._asking)

        return self._request(Command.BIND, destination, timeout).addCallback(granted)

    def associate(self, timeout: float) -> Deferred[IFarAssociation]:
        """See L{IVia}."""

        def granted(control: ControlConnection) -> Deferred[IFarAssociation]:
            bound = self._bound(control)
            if not isinstance(bound.host, bytes):
                return succeed(FarAssociation(control, bound))
            # It is the proxy's own name, none that anybody has asked for.
            resolver = self._reactor.nameResolver
            lookup = NameLookup(resolver, self._reactor, timeout=timeout, lifetime=0)
            looking = lookup.lookup(describe_host(bound.host))
            standing = looking.addCallback(self._found, control, bound.port, _Losses(control))
            return standing.addErrback(_closed, control)

        requested = self._proxied(Command.UDP_ASSOCIATE, UNSPECIFIED).addCallback(granted)
        return self._asking.asked(requested, timeout)

    def resolve(self, command: int, destination: Address, timeout: float) -> Deferred[Address]:
        """See L{IVia}."""

        def granted(control: ControlConnection) -> Address:
            control.close()
            return control.reply.bound

        return self._request(command, destination, timeout).addCallback(granted)

    def _found(
        self,
        addresses: list[IPAddress],
        control: ControlConnection,
        port: int,
        losses: _Losses,
    ) -> IFarAssociation:
        """It is known where the proxy relays, if it still does."""
        if losses.reason:
            raise self._asking.refusal(Reply.GENERAL_FAILURE, losses.reason)
        return FarAssociation(control, Address(addresses[0], port))

    def _request(
        self, command: int, destination: Address, timeout: float
    ) -> Deferred[ControlConnection]:
        return self._asking.asked(self._proxied(command, destination), timeout)

    def _proxied(self, command: int, destination: Address) -> Deferred[ControlConnection]:
        """Ask the proxy, if it can be asked for such a thing."""
        if self.proxy.version == SOCKS4_VERSION and command not in _COMMANDS4:
            return fail(
                self._asking.refusal(
                    Reply.COMMAND_NOT_SUPPORTED, f"SOCKS4 has no {Command(command).name}"
                )
            )
        return self.proxy.request(command, destination, self._reactor)

    def _bound(self, control: ControlConnection) -> Address:
        """
        Say where the proxy listens.

        @raise RequestError: it does not say that.
        """
        try:
            return boundAddress(control)
        except ProxyProtocolError as error:
            control.close()
            raise self._asking.refusal(Reply.GENERAL_FAILURE, error.reason) from None


@implementer(IFarBind)
class FarBind:
    """
    A BIND of the next proxy's.

    @ivar bound: where it listens.
    """

    def __init__(self, control: ControlConnection, bound: Address, asking: Asking) -> None:
        """
        @param control: the connection on which it was granted.
        @param bound: where it listens.
        @param asking: has the words for what fails.
        """
        self.bound = bound
        self._control = control
        self._asking = asking

    def whenPeer(self) -> Deferred[Address]:
        """See L{IFarBind}."""
        return self._control.nextReply().addCallbacks(
            lambda reply: reply.bound, self._asking.explained
        )

    def handOver(self, factory: IProtocolFactory) -> IProtocol:
        """See L{IFarBind}."""
        return handOver(self._control, factory, self._control.destination)

    def close(self) -> None:
        """See L{IFarBind}."""
        self._control.close()


@implementer(IFarAssociation)
class FarAssociation:
    """
    An association of the next proxy's.

    @ivar address: where it relays.
    @ivar interface: our end of the control connection, whose datagrams alone it takes.
    @ivar protected: whether the control connection is encapsulated.
    """

    def __init__(self, control: ControlConnection, relay: Address) -> None:
        """
        @param control: the connection on which it was granted.
        @param relay: where it relays.
        """
        host = relay.host
        if isinstance(host, bytes):
            raise TypeError(f"{relay} is no address")
        self._control = control
        self._encapsulation: Encapsulation | None = control.encapsulation
        self.protected = self._encapsulation is not None
        self.address = zoned(control, host), relay.port
        self.interface = "0.0.0.0" if host.version == 4 else "::"
        own = control.transport.getHost()
        found = ipAddress(own)
        if found is not None and found[0].version == host.version:
            self.interface = str(found[0]) if host.version == 4 else own.host

    def wrap(self, datagram: bytes) -> bytes:
        """See L{IFarAssociation}."""
        layer = self._encapsulation
        return datagram if layer is None else layer.wrapDatagram(datagram)

    def unwrap(self, datagram: bytes) -> bytes:
        """See L{IFarAssociation}."""
        layer = self._encapsulation
        return datagram if layer is None else layer.unwrapDatagram(datagram)

    def whenLost(self) -> Deferred[str]:
        """See L{IFarAssociation}."""
        return self._control.whenClosed().addCallback(_describeLoss)

    def close(self) -> None:
        """See L{IFarAssociation}."""
        self._control.close()


class _Losses:
    """
    Notes that a connection is lost.

    @ivar reason: why, once it is.
    """

    def __init__(self, control: ControlConnection) -> None:
        self.reason = ""
        control.whenClosed().addCallback(self._note)

    def _note(self, why: BaseException) -> None:
        self.reason = _describeLoss(why)


def _describeLoss(why: BaseException) -> str:
    return f"its association is lost: {str(why).rstrip('.')}"


def _closed(failure: Failure, control: ControlConnection) -> Failure:
    """Close a connection that has come to nothing."""
    control.close()
    return failure
