"""
Who is it?  What a session does with the words of each method, from the greeting on.

Each function here answers one event of the negotiation.  Those that must ask somebody leave the
session with what it waits for (a L{Login}, a L{GSSAPIDialogue}), and have it proceed, or turn the
client away, in the words of the method.

Knows methods and credentials, and nothing of what a client wants to do here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from twisted.cred.credentials import Anonymous

from twisted_socks5.auth import OctetCredentials
from twisted_socks5.auth.certificates import certificateOf, whyNobody
from twisted_socks5.server.chap import CHAPDialogue
from twisted_socks5.server.gssapi import GSSAPIDialogue
from twisted_socks5.server.login import logIn
from twisted_socks5.wire import (
    Abort,
    Greeting,
    Method,
    Reply4,
    Request4,
    Token,
    UsernamePassword,
)

if TYPE_CHECKING:
    from twisted.cred.credentials import ICredentials

    from twisted_socks5.server.session import SOCKS5ServerProtocol


#: What the log calls the methods.
_WORDS: Final[Mapping[Method, str]] = {method: method.name.lower() for method in Method}


def greeted(session: SOCKS5ServerProtocol, greeting: Greeting) -> None:
    """A client offers methods: select one, and do what it takes."""
    authenticator = session.server.authenticator
    certificate = certificateOf(session.transport, authenticator.portal)
    method = authenticator.select(greeting.methods, certificate is not None)
    octets = session.negotiation.select_method(method)
    if method is Method.NO_ACCEPTABLE_METHODS:
        offered = ", ".join(str(number) for number in greeting.methods) or "nothing"
        if Method.NO_AUTHENTICATION in greeting.methods:
            offered += whyNobody(session.transport, authenticator.portal)
        session.turnAway(octets, f"no acceptable authentication method: offered {offered}")
        return
    session.record.method = _WORDS[method]
    session.transport.write(octets)
    if method is Method.NO_AUTHENTICATION and certificate is not None:
        logIn(session, certificate, session.proceed, partial(session.turnAway, b""))
    elif method is Method.NO_AUTHENTICATION:
        session.avatar = authenticator.anybody()
        if session.avatar is None:
            logIn(session, Anonymous(), session.proceed, partial(session.turnAway, b""))
    elif method is Method.GSSAPI:
        session.dialogue = GSSAPIDialogue(session, authenticator.acceptance)
    elif method is Method.CHAP:
        CHAPDialogue(session).begin()


def credentialsShown(session: SOCKS5ServerProtocol, shown: UsernamePassword) -> None:
    """A client shows its name and password (RFC 1929)."""
    negotiation = session.negotiation
    session.record.user = shown.username.decode("utf-8", "backslashreplace")
    logIn(
        session,
        OctetCredentials(shown.username, shown.password, session.client),
        lambda: session.proceed(negotiation.answer_credentials(True)),
        lambda reason: session.turnAway(negotiation.answer_credentials(False), reason),
    )


def framed(session: SOCKS5ServerProtocol, frame: Token | Abort) -> None:
    """A client has sent a frame of GSSAPI's (RFC 1961)."""
    dialogue = session.dialogue
    if dialogue is not None:
        session.waitFor(dialogue)
        dialogue.received(frame)


def requested4(session: SOCKS5ServerProtocol, request: Request4) -> None:
    """A SOCKS4 client says who it is and what it wants in one message."""
    negotiation, authenticator = session.negotiation, session.server.authenticator
    session.record.user = request.user_id.decode("utf-8", "backslashreplace")
    session.record.method = "socks4"
    certificate = certificateOf(session.transport, authenticator.portal)
    credentials: ICredentials = certificate or Anonymous()

    def takes(method: Method) -> bool:
        """Whether a client of SOCKS5 could log in so."""
        return authenticator.select(bytes((method,)), certificate is not None) is method

    if not takes(Method.NO_AUTHENTICATION):
        if not takes(Method.USERNAME_PASSWORD):
            octets = negotiation.reply(Reply4.IDENTD_MISMATCH)
            session.turnAway(octets, "SOCKS4 has no way to log in here")
            return
        # Nobody vouches for a USERID: it opens the door only where a name without a password
        # does.
        credentials = OctetCredentials(request.user_id, b"", session.client)
    logIn(
        session,
        credentials,
        lambda: session.requested(request),
        lambda reason: session.turnAway(negotiation.reply(Reply4.IDENTD_MISMATCH), reason),
    )


EVENTS: Final[Mapping[type, Callable[[SOCKS5ServerProtocol, Any], None]]] = {
    Greeting: greeted,
    UsernamePassword: credentialsShown,
    Token: framed,
    Abort: framed,
    Request4: requested4,
}
"""What answers the events that come before the request."""
