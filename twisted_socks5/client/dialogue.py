"""
The first part of a connection to a proxy: who we are.

A L{Dialogue} offers what the L{Proxy} has, does what the server has chosen of it, and then gives
way to a L{ControlConnection}, which asks for what is wanted.  With GSSAPI that is a layer higher
up, where all is protected; the dialogue alone knows what is below it.

Every error ends it, with a name that says what was being waited for.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from twisted.python.failure import Failure

from twisted_socks5.client.authentication import CHAP, GSSAPI, UsernamePassword
from twisted_socks5.client.chap import Responder
from twisted_socks5.client.control import ControlConnection
from twisted_socks5.client.errors import AuthenticationError, ProxyProtocolError
from twisted_socks5.client.gssapi import Exchange
from twisted_socks5.client.succession import Predecessor
from twisted_socks5.wire import (
    Abort,
    ClientNegotiation,
    ClientState,
    MethodSelection,
    ProtocolError,
    Token,
)
from twisted_socks5.wire import UsernamePassword as Credentials

if TYPE_CHECKING:
    from twisted_socks5.client.attempt import Attempt
    from twisted_socks5.security import Encapsulation
    from twisted_socks5.wire import ClientEvent

#: What was missing when the connection was lost.
_MISSING: Final = {
    ClientState.EXPECT_METHOD_SELECTION: "before it had selected a method",
    ClientState.EXPECT_CREDENTIALS_STATUS: "in place of accepting the username and password",
}


class Dialogue(Predecessor):
    """Says to a proxy who we are."""

    def __init__(self, attempt: Attempt) -> None:
        self._attempt = attempt
        self._negotiation = ClientNegotiation(version=attempt.proxy.version)
        self._exchange: Exchange | None = None
        self._responder: Responder | None = None
        self._done = False

    def connectionMade(self) -> None:
        """We have the first word."""
        if not self._attempt.connected(self):
            self._done = True
        elif self._attempt.proxy.version == 4:
            self.unprotected()
        else:
            methods = [each.method for each in self._attempt.proxy.authentication]
            self.transport.write(self._negotiation.greet(methods))

    def octetsReceived(self, data: bytes) -> None:
        """The proxy's answers."""
        if self._done:
            return
        try:
            self._negotiation.receive(data)
        except ProtocolError as error:
            self._broken(error)
        else:
            self.advance()

    def inputEnded(self) -> None:
        """The proxy has said all that it will ever say."""
        if not self._done:
            self._stop()
            self._attempt.fail(self._attempt.closed(self._missing()))

    def lost(self, reason: Failure) -> None:
        """The connection is gone, and perhaps because we have closed it."""
        if self._done:
            return
        self._stop()
        self._attempt.gone()
        self._attempt.fail(self._attempt.closed(self._missing(), reason))

    def advance(self) -> None:
        """Hear what has been said, as far as it is the proxy's turn."""
        while not self._done:
            try:
                event = self._negotiation.next_event()
                if event is None:
                    if self._responder is not None:
                        self._responder.hear(self._negotiation.take_rest())
                    return
            except ProtocolError as error:
                self._broken(error)
                return
            self._answer(event)

    def failed(self, reason: str) -> None:
        """What we were to do cannot be done, or the proxy is not who it should be."""
        self._stop()
        self._attempt.fail(self._attempt.error(AuthenticationError, reason))

    def protected(self, protect: Callable[[Any], Encapsulation]) -> None:
        """
        All that follows is protected, our request first.

        @param protect: makes the layer that does it, which takes the transport over.
        """
        rest = self._negotiation.finish_subnegotiation()
        control = self._nextParty()
        control.encapsulation = encapsulation = self.giveWayTo(protect)
        encapsulation.protocol = control
        control.makeConnection(encapsulation)
        if rest:
            encapsulation.dataReceived(rest)

    def unprotected(self) -> None:
        """We are known, and nothing that follows is protected."""
        self.giveWay(self._nextParty())

    def _answer(self, event: ClientEvent) -> None:
        if isinstance(event, MethodSelection):
            self._begin(event.method)
        elif isinstance(event, (Token, Abort)):
            if self._exchange is not None:
                self._exchange.hear(event)
        else:
            self.unprotected()

    def _begin(self, method: int) -> None:
        """Do what the server has selected; it is one of ours."""
        chosen = next(each for each in self._attempt.proxy.authentication if each.method == method)
        if isinstance(chosen, UsernamePassword):
            credentials = Credentials(chosen.username, chosen.password)
            self.transport.write(self._negotiation.authenticate(credentials))
        elif isinstance(chosen, CHAP):
            self._responder = Responder(self, self._negotiation, chosen)
            self._responder.start()
        elif isinstance(chosen, GSSAPI):
            self._exchange = Exchange(self, self._attempt, self._negotiation, chosen)
            self._exchange.start()
        else:
            self.unprotected()

    def _nextParty(self) -> ControlConnection:
        """Our part is done: make who asks for what is wanted."""
        self._done = True
        self._responder = None
        control = ControlConnection(self._attempt, self._negotiation)
        self._attempt.passTo(control)
        return control

    def _missing(self) -> str:
        return _MISSING.get(self._negotiation.state, "during the authentication")

    def _broken(self, error: ProtocolError) -> None:
        self._stop()
        found = self._attempt.broken(error)
        self._attempt.fail(found, cut=isinstance(found, ProxyProtocolError))

    def _stop(self) -> None:
        self._done = True
        self._responder = None
        if self._exchange is not None:
            self._exchange.stop()
            self._exchange = None
