"""
A proxy: where it is, what it speaks, who we are to it; and a request to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, fail

from twisted_socks5.client.attempt import Attempt
from twisted_socks5.client.authentication import Authentication, NoAuthentication
from twisted_socks5.client.errors import InvalidTarget
from twisted_socks5.wire import Address, LocalProtocolError, pack_request, pack_request4
from twisted_socks5.wire.constants import MAX_USER_ID

if TYPE_CHECKING:
    from twisted.internet.interfaces import IProtocolFactory, IStreamClientEndpoint

    from twisted_socks5.client.control import ControlConnection


@dataclass(frozen=True)
class Proxy:
    """
    A SOCKS proxy.

    @ivar endpoint: leads to it, in whatever way: TCP, a Unix socket, TLS, another proxy.
    @ivar authentication: what is offered, in order of preference; each method once.
    @ivar timeout: seconds that it has, once connected, until it grants a request.  To connect is
        the endpoint's business, and its own time.
    @ivar version: 5, or 4 for SOCKS4, which has names only as SOCKS4a, and no IPv6.
    @ivar name: what it is called in errors, HOST:PORT mostly, and whose host GSSAPI means unless
        that is told otherwise; empty: its address, once connected.
    @ivar userID: what SOCKS4 calls the user, without any proof; at most 255 octets, none a NUL.
    """

    endpoint: IStreamClientEndpoint
    authentication: Sequence[Authentication] = field(default=(NoAuthentication(),))
    timeout: float = 30.0
    version: int = 5
    name: str = ""
    userID: bytes = b""

    def __post_init__(self) -> None:
        """
        @raise ValueError: one of these is not what it has to be.
        """
        methods = [each.method for each in self.authentication]
        if not methods or len({*methods}) < len(methods):
            raise ValueError("authentication takes one value or more, no two of one method")
        if self.version not in (4, 5):
            raise ValueError(f"there is no SOCKS{self.version}")
        if self.version == 4 and methods != [NoAuthentication.method]:
            raise ValueError("SOCKS4 has no authentication, only a user id")
        if self.version == 5 and self.userID:
            raise ValueError("SOCKS5 has no user id, but authentication")
        if len(self.userID) > MAX_USER_ID or b"\0" in self.userID:
            raise ValueError(f"a user id has at most {MAX_USER_ID} octets, and no NUL")
        if not self.timeout > 0:
            raise ValueError("the timeout is not above 0 seconds")
        object.__setattr__(self, "authentication", tuple(self.authentication))

    def request(
        self,
        command: int,
        destination: Address,
        clock: Any,
        *,
        factory: IProtocolFactory | None = None,
    ) -> Deferred[ControlConnection]:
        """
        Connect to the proxy, say who we are, and ask for something.

        @param command: a L{Command<twisted_socks5.wire.Command>}.
        @param destination: a name goes to the proxy as it is.
        @param clock: provides L{IReactorTime<twisted.internet.interfaces.IReactorTime>}; for
            GSSAPI it has threads, too.
        @param factory: hears C{doStart} and C{doStop} whenever the proxy's endpoint says them of
            the connection: so an application's factory hears what it would without a proxy.
        @return: fires when the proxy has granted the request, BIND's by its first reply; fails
            with a L{SOCKSError<twisted_socks5.client.errors.SOCKSError>}, or with what the
            endpoint fails with.  Cancel it and the connection is closed, in whatever state, and
            it fails with L{ConnectingCancelledError
            <twisted.internet.error.ConnectingCancelledError>}.
        """
        try:
            self.check(command, destination)
        except InvalidTarget:
            return fail()
        return Attempt(self, command, destination, clock, factory).start()

    def check(self, command: int, destination: Address) -> None:
        """
        See whether something can be asked for at all.

        @raise InvalidTarget: it cannot.
        """
        try:
            if self.version == 4:
                pack_request4(command, destination, self.userID)
            else:
                pack_request(command, destination)
        except LocalProtocolError as error:
            # The target is not named: it may have the length of a book.
            raise InvalidTarget(str(error), proxy=self.name) from None
