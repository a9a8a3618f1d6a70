"""
A port of the proxy's, from the first reply of a BIND to its second (RFC 1928, section 6).

The second reply says who has connected: the factory builds a protocol for that address, and it
gets the connection to the proxy, which from then on is the one to the peer.  Or the second reply
is a failure: mostly that nobody has come in time (REP 6).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import NoProtocol
from twisted.internet.interfaces import IListeningPort
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.client.bound import boundAddress
from twisted_socks5.client.errors import NegotiationTimeout
from twisted_socks5.client.observers import Observers
from twisted_socks5.client.succession import abort
from twisted_socks5.client.targets import asTwisted

if TYPE_CHECKING:
    from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address
    from twisted.internet.interfaces import IDelayedCall, IProtocol, IProtocolFactory

    from twisted_socks5.client.control import ControlConnection
    from twisted_socks5.wire import Reply4Message, ReplyMessage

    BoundAddress = IPv4Address | IPv6Address | HostnameAddress

_log = Logger()


class NotYetBound(RuntimeError):
    """The proxy has not said yet where it listens."""


@implementer(IListeningPort)
class BoundPort:
    """
    A port of the proxy's, which waits for one connection.

    @ivar connected: whether it still does.
    @ivar bound: where the proxy listens, as the wire writes it.
    """

    def __init__(
        self,
        control: ControlConnection,
        factory: IProtocolFactory,
        clock: Any,
        acceptTimeout: float | None = None,
    ) -> None:
        """
        @param control: the connection on which the proxy has granted the BIND.
        @param factory: builds the protocol for the peer.
        @param clock: provides L{IReactorTime<twisted.internet.interfaces.IReactorTime>}.
        @param acceptTimeout: seconds that the peer has to connect; L{None}: as long as the proxy
            waits.
        @raise ProxyProtocolError: the proxy says it listens on port 0.
        """
        self.bound = boundAddress(control)
        self._address = asTwisted(self.bound)
        self._control = control
        self._factory = factory
        self._accepted = Observers()
        self._expiry: IDelayedCall | None = None
        self.connected = True
        factory.doStart()
        # Not at once: who asked for the port has to have it before somebody comes.
        self._beginning: IDelayedCall | None = clock.callLater(0, self._await)
        if acceptTimeout is not None:
            self._expiry = clock.callLater(acceptTimeout, self._expired, acceptTimeout)

    def __repr__(self) -> str:
        state = "waiting" if self.connected else "over"
        return f"<{type(self).__name__} {self.bound}, {state}>"

    def whenAccepted(self) -> Deferred[IProtocol]:
        """
        Wait for the peer.

        @return: fires with the protocol that the factory has built, once it is connected.  Fails
            with a L{SOCKSError<twisted_socks5.client.errors.SOCKSError>} if nobody has come,
            with L{NoProtocol<twisted.internet.error.NoProtocol>} or whatever the factory raised
            if it wanted no connection, and with L{CancelledError
            <twisted.internet.defer.CancelledError>} if the port was stopped.
        """
        return self._accepted.wait()

    # IListeningPort

    def startListening(self) -> None:
        """
        Do nothing: it listens from the beginning.

        @raise NotYetBound: it does no more, and cannot again.
        """
        if not self.connected:
            raise NotYetBound("a BIND is for one connection, and this one is over")

    def stopListening(self) -> Deferred[None] | None:
        """
        Listen no more.  A connection that has been accepted is not touched.

        @return: fires when the connection to the proxy is closed.
        """
        if not self.connected:
            return None
        self._end()
        closed = self._control.whenClosed().addCallback(_nothing)
        # What then becomes of the second reply is no news.
        self._control.close()
        self._factory.doStop()
        self._accepted.fire(Failure(CancelledError("the port was stopped")))
        return closed

    def loseConnection(self) -> Deferred[None] | None:
        """As L{stopListening}: what Twisted's ports, and so its FTP client, call it."""
        return self.stopListening()

    def getHost(self) -> BoundAddress:
        """
        Tell where the proxy listens, which is what the peer is to be told.

        @return: for TCP; a L{HostnameAddress<twisted.internet.address.HostnameAddress>} if the
            proxy has answered with a name.
        """
        return self._address

    # What becomes of it.

    def _await(self) -> None:
        self._beginning = None
        self._control.nextReply().addCallbacks(self._peerCame, self._nobodyCame)

    def _peerCame(self, reply: ReplyMessage | Reply4Message) -> None:
        """Let the factory build a protocol, and give it the connection."""
        if not self.connected:
            return
        self._end()
        result: object
        try:
            result = self._handOver(reply)
        except Exception as error:
            # Whoever has the transport by now hears of its loss.
            abort(self._control.transport)
            result = Failure()
            if not isinstance(error, NoProtocol):
                _log.failure(
                    "The connection to {address} failed to begin", address=str(self.bound)
                )
        self._factory.doStop()
        self._accepted.fire(result)

    def _handOver(self, reply: ReplyMessage | Reply4Message) -> IProtocol:
        protocol = self._factory.buildProtocol(asTwisted(reply.bound))
        if protocol is None:
            raise NoProtocol
        self._control.handOver(protocol)
        return protocol

    def _nobodyCame(self, failure: Failure) -> None:
        if not self.connected:
            return  # it was stopped
        self._end()
        _log.warn(
            "Nobody has come to {address}: {reason}",
            address=str(self.bound),
            reason=failure.getErrorMessage(),
        )
        self._control.close()
        self._factory.doStop()
        self._accepted.fire(failure)

    def _expired(self, seconds: float) -> None:
        self._expiry = None
        reason = f"nobody has connected within {seconds:g} s"
        self._nobodyCame(
            Failure(
                NegotiationTimeout(
                    reason, proxy=self._control.proxyName, target=self._control.destination
                )
            )
        )

    def _end(self) -> None:
        """It waits no more."""
        self.connected = False
        for call in (self._beginning, self._expiry):
            if call is not None:
                call.cancel()
        self._beginning = self._expiry = None


def _nothing(_: object) -> None:
    """Forget a result."""
