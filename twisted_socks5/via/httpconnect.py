"""
An HTTP proxy as the next one: CONNECT, and nothing else (RFC 9110, section 9.3.6).

A request, one header of an answer, and from then on the connection is the target's.  What HTTP
says of the rest of an answer does not matter: behind a 2xx there is none, and behind anything
else the connection is cut.

Its codes are of many minds.  What can be told from them is told to the client; whatever else is
REP 1, with the code and the phrase in the log.
"""

from __future__ import annotations

import re
from base64 import b64encode
from ipaddress import IPv6Address
from typing import TYPE_CHECKING, Any, Final

from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.interfaces import IProtocolFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.client.succession import Predecessor, abort
from twisted_socks5.client.targets import asTwisted
from twisted_socks5.errors import RequestError
from twisted_socks5.interfaces import IFarAssociation, IFarBind, IVia
from twisted_socks5.via.asking import Asking, handOver
from twisted_socks5.wire import UNSPECIFIED, Address, Reply, describe_host

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IProtocol, IStreamClientEndpoint

MAX_HEADER: Final = 16384
"""Octets that an answer's header may have, and all of those before it."""

_STATUS = re.compile(rb"HTTP/1\.[0-9] ([1-9][0-9]{2})(?: ([^\r\n]*))?")
_END = re.compile(rb"\r?\n\r?\n")

_REPLIES: Final = {
    400: Reply.GENERAL_FAILURE,
    403: Reply.CONNECTION_NOT_ALLOWED,
    404: Reply.HOST_UNREACHABLE,
    405: Reply.COMMAND_NOT_SUPPORTED,
    451: Reply.CONNECTION_NOT_ALLOWED,
    501: Reply.COMMAND_NOT_SUPPORTED,
    502: Reply.HOST_UNREACHABLE,
    503: Reply.HOST_UNREACHABLE,
    504: Reply.TTL_EXPIRED,
}


def packConnect(destination: Address, login: tuple[bytes, bytes] | None = None) -> bytes:
    """
    Write the request.

    @param destination: a name has no octet that a header could not have: it was normalised.
    @param login: user name, without a colon, and password.
    """
    host = describe_host(destination.host)
    if isinstance(destination.host, IPv6Address):
        host = f"[{host}]"
    where = f"{host}:{destination.port}".encode("ascii")
    lines = [b"CONNECT " + where + b" HTTP/1.1", b"Host: " + where]
    if login is not None:
        lines.append(b"Proxy-Authorization: Basic " + b64encode(b":".join(login)))
    return b"\r\n".join((*lines, b"", b""))


@implementer(IVia)
class HTTPVia:
    """
    An HTTP proxy that is the next one.

    @ivar name: what the log calls it.
    """

    def __init__(
        self,
        endpoint: IStreamClientEndpoint,
        reactor: Any,
        *,
        name: str,
        login: tuple[bytes, bytes] | None = None,
    ) -> None:
        """
        @param endpoint: leads to it, best a L{NextHop<twisted_socks5.via.NextHop>}.
        @param reactor: tells the time.
        @param name: C{http://HOST:PORT}.
        @param login: user name and password (Basic), if it wants some.
        @raise ValueError: a colon in the user name would end it.
        """
        if login is not None and b":" in login[0]:
            raise ValueError("a user name for HTTP has no colon")
        self.name = name
        self._endpoint = endpoint
        self._asking = Asking(name, reactor)
        self._login = login

    def connect(
        self, destination: Address, factory: IProtocolFactory, timeout: float
    ) -> Deferred[tuple[IProtocol, Address]]:
        """
        See L{IVia}.

        @return: BND is always zeros, for HTTP does not tell it.
        """
        attempt = _Attempt(self._asking, destination, self._login)
        return self._asking.asked(attempt.start(self._endpoint), timeout).addCallback(
            lambda tunnel: (handOver(tunnel, factory, destination), UNSPECIFIED)
        )

    def bind(self, destination: Address, timeout: float) -> Deferred[IFarBind]:
        """Fail: see L{IVia}."""
        return fail(self._never("BIND"))

    def associate(self, timeout: float) -> Deferred[IFarAssociation]:
        """Fail: see L{IVia}."""
        return fail(self._never("UDP ASSOCIATE"))

    def resolve(self, command: int, destination: Address, timeout: float) -> Deferred[Address]:
        """Fail: see L{IVia}."""
        return fail(self._never("RESOLVE"))

    def _never(self, command: str) -> RequestError:
        return self._asking.refusal(
            Reply.COMMAND_NOT_SUPPORTED, f"an HTTP proxy has CONNECT only, and no {command}"
        )


@implementer(IProtocolFactory)
class _Attempt:
    """One request: the factory of its connection, and the first of all that can end it."""

    def __init__(
        self, asking: Asking, destination: Address, login: tuple[bytes, bytes] | None
    ) -> None:
        self.asking = asking
        self.request = packConnect(destination, login)
        self._destination = destination
        self._result: Deferred[_Tunnel] = Deferred(self._cancel)
        self._over = False
        self._opening: Deferred[IProtocol] | None = None
        self._tunnel: _Tunnel | None = None

    def start(self, endpoint: IStreamClientEndpoint) -> Deferred[_Tunnel]:
        """Connect."""
        opening = self._opening = endpoint.connect(self)
        opening.addErrback(self._failed)
        return self._result

    def buildProtocol(self, addr: IAddress) -> _Tunnel:
        """Speak with the proxy."""
        return _Tunnel(self)

    def doStart(self) -> None:
        """The endpoint begins to connect."""

    def doStop(self) -> None:
        """It has ended."""

    def connected(self, tunnel: _Tunnel) -> bool:
        """Tell whether a connection is wanted."""
        if self._over or self._tunnel is not None:
            return False
        self._tunnel = tunnel
        return True

    def succeed(self, tunnel: _Tunnel) -> None:
        """The proxy has connected."""
        if not self._over:
            self._over = True
            self._result.callback(tunnel)

    def fail(self, reply: Reply, reason: str) -> None:
        """It has not."""
        self._failed(Failure(self.asking.refusal(reply, reason)))

    def _failed(self, failure: Failure) -> None:
        if not self._over:
            self._over = True
            self._cut()
            self._result.errback(failure)

    def _cancel(self, result: Deferred[_Tunnel]) -> None:
        self._over = True
        if self._tunnel is None and self._opening is not None:
            self._opening.cancel()
        self._cut()
        result.errback(ConnectingCancelledError(asTwisted(self._destination)))

    def _cut(self) -> None:
        if self._tunnel is not None:
            abort(self._tunnel.transport)


class _Tunnel(Predecessor):
    """A connection to the proxy, until it is the target's."""

    def __init__(self, attempt: _Attempt) -> None:
        self._attempt = attempt
        self._heard = b""
        self._read = 0
        self._done = False

    def handOver(self, protocol: IProtocol) -> None:
        """Give way to who speaks with the target."""
        clock = self._attempt.asking.clock
        self.giveWay(protocol, self._heard, clock=clock)

    def connectionMade(self) -> None:
        """Ask."""
        if self._attempt.connected(self):
            self.transport.write(self._attempt.request)
        else:
            self._done = True
            abort(self.transport)

    def octetsReceived(self, data: bytes) -> None:
        """An answer, and perhaps what the target has said already."""
        if self._done:
            return
        self._heard += data
        while not self._done:
            found = _END.search(self._heard)
            if found is None or self._read + found.end() > MAX_HEADER:
                self._wait()
                return
            head, self._heard = self._heard[: found.start()], self._heard[found.end() :]
            self._read += found.end()
            self._answered(head)

    def inputEnded(self) -> None:
        """The proxy's FIN; one behind an answer that grants is no longer for us."""
        self._fail("it closed the connection before it had answered")

    def lost(self, reason: Failure) -> None:
        """The connection is gone."""
        self._fail("it closed the connection before it had answered")

    def _wait(self) -> None:
        """There is no whole header yet; will there be one?"""
        if self._read + len(self._heard) > MAX_HEADER:
            self._fail(f"its answer's header has more than {MAX_HEADER} octets")
        elif not b"HTTP/1."[: len(self._heard)].startswith(self._heard[:7]):
            self._fail("what it answers is not HTTP/1")

    def _answered(self, head: bytes) -> None:
        found = _STATUS.match(head)
        if found is None:
            self._fail("what it answers is not HTTP/1")
            return
        code = int(found[1])
        if code // 100 == 2:
            self._done = True
            self._attempt.succeed(self)
        elif code // 100 != 1 or code == 101:
            phrase = describe_host((found[2] or b"").replace(b" ", b"_")[:80]).replace("_", " ")
            self._refused(code, phrase)

    def _refused(self, code: int, phrase: str) -> None:
        self._done = True
        why = f"HTTP {code} {phrase}".rstrip()
        if code == 407:
            why += " (it wants a user name and password, or others)"
        self._attempt.fail(_REPLIES.get(code, Reply.GENERAL_FAILURE), why)

    def _fail(self, reason: str) -> None:
        if not self._done:
            self._done = True
            self._attempt.fail(Reply.GENERAL_FAILURE, reason)
