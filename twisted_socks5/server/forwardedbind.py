"""
BIND of a server that is not the last one: it is the next proxy that listens (RFC 1928, section 4).

The story is that of our own BIND, told by somebody else:

  1. the expected peer is judged, and goes on as it was asked for, zeros and port included;
  2. the next proxy's first reply says where it listens, and so does ours;
  3. its second reply says who has come.  That is judged, too, and then both are joined;
  4. or its second reply is a refusal, which is ours as well; or nobody has come in our own time;
  5. or the client has ended the control connection before: so we end the one to the next proxy.

Strangers are turned away over there, and not counted here.
"""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from twisted_socks5.addresses import unmapped
from twisted_socks5.errors import Forbidden, RequestError
from twisted_socks5.server.connect import LegFactory
from twisted_socks5.server.destinations import insist, normalised
from twisted_socks5.server.forwarded import Forwarded, connected, judged, nameable
from twisted_socks5.wire import Address, Reply
from twisted_socks5.wire.constants import SOCKS4_VERSION

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred

    from twisted_socks5.interfaces import IFarBind
    from twisted_socks5.server.session import SOCKS5ServerProtocol
    from twisted_socks5.wire import Request, Request4


class ForwardedBind(Forwarded):
    """One BIND."""

    def __init__(self, session: SOCKS5ServerProtocol, request: Request | Request4) -> None:
        """
        @param session: whose request it is.
        @param request: the request.
        """
        super().__init__(session, request)
        #: What the next proxy has granted, until it is handed over.
        self._far: IFarBind | None = None
        self._waiting: Deferred[None] | None = None

    def clientEnded(self) -> None:
        """The client's FIN: whoever came now would come in vain."""
        self.cancel()
        self._session.finish("client closed before its peer had come")

    def drain(self, reason: str) -> None:
        """Nobody will come in time: say so, and have nobody listen any more."""
        self._session.refuse(Reply.GENERAL_FAILURE, reason)

    def expired(self) -> None:
        """Nobody has come in time: say so, and have nobody listen any more."""
        seconds = self._session.server.settings.bind_timeout
        self._session.refuse(
            Reply.TTL_EXPIRED,
            f"via {self.via.name}: no connection for {self._request.destination} within "
            f"{seconds:g} s",
        )

    def cancel(self) -> None:
        """Let nobody come any more."""
        super().cancel()
        self._stopWaiting()
        far, self._far = self._far, None
        if far is not None:
            far.close()

    def _judged(self) -> Address:
        session, request = self._session, self._request
        host = normalised(request.destination.host)
        if isinstance(host, str) or int(host):
            return judged(session, request)
        insist(session.rules, session.access(request, host))
        return Address(host, request.destination.port)

    def _ask(self, destination: Address, timeout: float) -> Deferred[None]:
        return self.via.bind(destination, timeout).addCallback(self._granted)

    def _granted(self, far: IFarBind) -> None:
        """The next proxy listens: tell the client where, and wait."""
        self._far = far
        session, server = self._session, self._session.server
        if self._request.version == SOCKS4_VERSION and not isinstance(far.bound.host, IPv4Address):
            raise RequestError(
                Reply.ADDRESS_TYPE_NOT_SUPPORTED,
                f"via {self.via.name}: it listens on {far.bound}, which SOCKS4 cannot name",
            )
        server.binds.add(self)
        session.promise(nameable(far.bound))
        waiting = self._waiting = far.whenPeer().addCallback(self._arrived, far)
        waiting.addErrback(session.fail)

    def _arrived(self, peer: Address, far: IFarBind) -> None:
        """Somebody has come: join, if they may."""
        self._stopWaiting()
        session = self._session
        self._judgePeer(peer)
        # From now on it is the leg's, which goes with its connection.
        self._far = None
        leg = connected(far.handOver(LegFactory()))
        session.record.dialled = self.via.name
        session.relay(leg, nameable(peer))

    def _judgePeer(self, peer: Address) -> None:
        """
        Judge who has come, if the next proxy tells the address.

        @raise Forbidden: they may not.
        """
        host = peer.host
        if isinstance(host, bytes) or not int(host):
            return
        address = unmapped(host)
        session = self._session
        asked = normalised(self._request.destination.host)
        named = asked if isinstance(asked, str) else address
        access = session.access(self._request, named)._replace(address=address)
        verdict = session.rules.judge(access)
        if not verdict.permitted:
            raise Forbidden(f"{peer} has come: {verdict.reason}")

    def _stopWaiting(self) -> None:
        self._session.server.binds.discard(self)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.cancel()
