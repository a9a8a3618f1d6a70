"""
A server as an L{IService<twisted.application.service.IService>}: listen, and stop with a drain.

The drain gives the sessions that are there some time to end by themselves; what is left then is
cut; who does not want to wait for that cuts at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, cast

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred, DeferredList, maybeDeferred
from twisted.internet.tcp import Port
from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_socks5.addresses import ipAddress
from twisted_socks5.auth.certificates import IVerifiedCertificate
from twisted_socks5.tls import TLSFactory, TLSServerEndpoint
from twisted_socks5.wire import Address, Method, describe_method

if TYPE_CHECKING:
    from twisted.internet.interfaces import (
        IAddress,
        IDelayedCall,
        IListeningPort,
        IProtocolFactory,
        IStreamServerEndpoint,
    )

    from twisted_socks5.server import SOCKS5ServerFactory
    from twisted_socks5.streams import StreamPort


def describeAddress(address: IAddress) -> str:
    """Name a listening address for people."""
    found = ipAddress(address)
    if found:
        return str(Address(*found))
    # A path is octets; a socket handed over by systemd may have none.
    name = getattr(address, "name", None)
    return os.fsdecode(name) if name else str(address)


def isReachable(address: IAddress) -> bool:
    """Tell whether others than this host's own programs can connect to an address."""
    found = ipAddress(address)
    return found is not None and not found[0].is_loopback


class SOCKS5Service(Service):
    """
    Listens on endpoints for as long as it runs.

    @ivar factory: makes the sessions.
    @ivar ports: what it listens on, while it does.
    """

    log = Logger()

    def __init__(
        self,
        factory: SOCKS5ServerFactory,
        endpoints: Sequence[IStreamServerEndpoint],
        *,
        drain: float = 5.0,
        mayListen: Callable[[IAddress], None] | None = None,
    ) -> None:
        """
        @param factory: makes the sessions.
        @param endpoints: where to listen.
        @param drain: how long, in seconds, sessions may go on after the service is stopped.
        @param mayListen: is asked about each address that it listens on, before any client is
            served, and raises what is to stop the start.
        """
        self.factory = factory
        self.ports: list[IListeningPort] = []
        self._accepting: list[StreamPort] = []
        self._awaited: list[Deferred[None]] = []
        self._endpoints = endpoints
        self._drain = drain
        self._mayListen = mayListen

    def privilegedStartService(self) -> None:
        """Listen while we still may use ports below 1024."""
        super().privilegedStartService()
        self._listen()

    def startService(self) -> None:
        """Listen, unless that was done with privileges (C{twist} knows no such step)."""
        super().startService()
        if not (self.ports or self._awaited):
            self._listen()

    def stopService(self) -> Deferred[None]:
        """
        Stop listening, and let the sessions end.

        @return: fires when the last session has ended, which is when the drain is over at the
            latest.
        """
        super().stopService()
        return self._stopListening().addCallback(lambda _: self._drained())

    def reload(self) -> None:
        """Look now whether certificates have changed, for connections that come."""
        for endpoint in self._endpoints:
            if isinstance(endpoint, TLSServerEndpoint):
                endpoint.reload()

    def cut(self) -> None:
        """End all sessions at once."""
        self.factory.abortSessions("the proxy stops")

    def _drained(self) -> Deferred[None]:
        self.factory.drain("the proxy stops")
        idle = self.factory.whenIdle()
        if not idle.called:
            self.log.info(
                "Waiting up to {seconds:g} s for {count} sessions to end",
                seconds=self._drain,
                count=len(self.factory.sessions),
            )
            cut = self.factory.clock.callLater(self._drain, self.cut)
            idle.addCallback(_cancel, cut)
        return idle

    def _listen(self) -> None:
        """
        Listen on all endpoints, or on none.

        @raise Exception: whatever kept one of them from listening.
        """
        failures: list[Failure] = []
        for endpoint in self._endpoints:
            listening = maybeDeferred(endpoint.listen, self.factory).addCallback(self._listening)
            if listening.called:
                listening.addErrback(failures.append)
            else:
                # None of Twisted's own takes its time.  What does can fail, but not the start.
                self._awaited.append(listening.addErrback(self._notListening))
        if failures:
            self._stopListening()
            failures[0].raiseException()

    def _stopListening(self) -> Deferred[Any]:
        awaited, self._awaited = self._awaited, []
        for each in awaited:
            each.cancel()
        for accepting in self._accepting:
            accepting.stop()
        self._accepting.clear()
        ports, self.ports = self.ports, []
        return DeferredList([maybeDeferred(port.stopListening) for port in ports])

    def _notListening(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self.log.failure("The proxy can't listen", failure)

    def _listening(self, port: IListeningPort) -> None:
        self.ports.append(port)
        host = port.getHost()
        found = ipAddress(host)
        if found is not None:
            self.factory.listeningPorts.add(found[1])
        if self._mayListen is not None:
            self._mayListen(host)
        streams = self.factory.streams
        if streams is not None and type(port) is Port and _isOurs(port.factory, self.factory):
            # Only where nothing but our own TLS is between the port and the sessions.
            self._accepting.append(streams.accept(port, cast("IProtocolFactory", port.factory)))
        self._announce(host, getattr(port, "factory", None))

    def _announce(self, host: IAddress, factory: object) -> None:
        """Say that something listens there."""
        self.log.info(
            "SOCKS5 proxy on {address}, for {users}",
            address=describeAddress(host),
            users=self._users(host, factory),
        )

    def _users(self, host: IAddress, factory: object) -> str:
        """Say who may use what listens there."""
        authenticator = self.factory.authenticator
        files = factory.contexts.files if isinstance(factory, TLSFactory) else None
        methods = authenticator.methods
        ways = [describe_method(each) for each in methods]
        if files is not None and files.authorities:
            if IVerifiedCertificate in authenticator.portal.checkers:
                ways.append("certificate")
            elif files.required and Method.NO_AUTHENTICATION in methods:
                return "whoever has a certificate"
            elif files.required:
                return f"users who have a certificate and log in ({', '.join(ways)})"
        if Method.NO_AUTHENTICATION in methods:
            return "anybody who can reach it" if isReachable(host) else "the programs of this host"
        return f"users who log in ({', '.join(ways)})"


def _isOurs(factory: object, wrapped: object) -> bool:
    """Tell whether connections come to our sessions on the transports that we give them."""
    return factory is wrapped or (isinstance(factory, TLSFactory) and factory.wrapped is wrapped)


def _cancel(_: None, call: IDelayedCall) -> None:
    if call.active():
        call.cancel()
