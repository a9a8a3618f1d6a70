"""
What can go wrong between an application and its target, on the way through a proxy.

All are L{SOCKSError}s, and so also Twisted's own L{ConnectError
<twisted.internet.error.ConnectError>}: what catches that keeps working behind a proxy.  Who
wants to know whose fault it was asks for one of these:

  - L{ProxyError}: the proxy says that it did not, or could not, do what was asked; one class for
    each REP, which is also the error that Twisted has for the same trouble without a proxy;
  - L{AuthenticationError}: the proxy does not want us, or we don't trust it;
  - L{ProxyProtocolError}: what it sends is not SOCKS;
  - L{ProxyClosed}: it went away before it had answered;
  - L{NegotiationTimeout}: it took too long;
  - L{InvalidTarget}: the target cannot be asked for; nothing was sent;
  - L{NameNotFound}: the target's name was to be looked up here, not at the proxy, and has failed.

A proxy that cannot even be connected to is none of these: then the error is the one of the
endpoint that leads to it, as it came.

No text here has a secret in it, and what a proxy has sent is not quoted.
"""

from __future__ import annotations

from typing import Final

from twisted.internet import error

from twisted_socks5.wire import (
    Address,
    ProtocolError,
    Reply,
    Reply4,
    UnsupportedVersion,
    describe_reply,
    describe_reply4,
)


class SOCKSError(error.ConnectError):
    """
    A request to a proxy that came to nothing.

    @ivar proxy: what the proxy is called; empty if there was none in it yet.
    @ivar target: what was asked for; L{None} if it is not about one.
    @ivar reason: what went wrong, in words.
    @ivar osError: always L{None}: no system call has failed here.
    """

    def __init__(self, reason: str, *, proxy: str = "", target: Address | None = None) -> None:
        super().__init__(None, reason)
        self.reason = reason
        self.proxy = proxy
        self.target = target

    def __str__(self) -> str:
        where = f"SOCKS proxy {self.proxy}" if self.proxy else "SOCKS"
        for_whom = f" (to reach {self.target})" if self.target is not None else ""
        return f"{where}{for_whom}: {self.reason}"


class InvalidTarget(SOCKSError, ValueError):
    """
    What is no host, or a host that the protocol cannot carry: a name that is too long, say.

    It is found out before there is any connection, and nothing is sent.  In particular no name is
    cut off, or resolved here instead.
    """


class NameNotFound(SOCKSError, error.UnknownHostError):
    """The target's name was to be looked up here, and no address was found that will do."""


class NegotiationTimeout(SOCKSError, error.TimeoutError):
    """The proxy has not granted the request within the time allowed."""


class ProxyClosed(SOCKSError, error.ConnectionLost):
    """The connection to the proxy is lost, and there is no reply yet."""


class ProxyProtocolError(SOCKSError):
    """
    What the proxy has sent is not what SOCKS has it send: perhaps it is no SOCKS proxy at all.
    """


class AuthenticationError(SOCKSError):
    """
    The proxy accepts none of the methods we offer, or not what we have shown it; or it could not
    show us that it is the one we meant.
    """


class ProxyError(SOCKSError):
    """
    The proxy's reply is that the request has failed (RFC 1928, section 6).

    @ivar code: REP, or SOCKS4's CD.
    """

    def __init__(
        self, code: int, reason: str = "", *, proxy: str = "", target: Address | None = None
    ) -> None:
        """
        @param code: REP, or SOCKS4's CD.
        @param reason: what it means, and what to do about it.
        """
        super().__init__(reason or describe_reply(code), proxy=proxy, target=target)
        self.code = code


class GeneralFailure(ProxyError):
    """REP 1: the proxy itself has failed."""


class NotAllowed(ProxyError):
    """REP 2: the proxy's rules forbid it."""


class NetworkUnreachable(ProxyError, error.NoRouteError):
    """REP 3: the proxy knows no way to the target's network."""


class HostUnreachable(ProxyError, error.NoRouteError):
    """REP 4: the proxy cannot reach the target, or doesn't find its name."""


class ConnectionRefused(ProxyError, error.ConnectionRefusedError):
    """REP 5: the target refuses the connection."""


class TTLExpired(ProxyError, error.TCPTimedOutError, error.TimeoutError):
    """REP 6: the target is too far away; most proxies mean that it did not answer in time."""


class CommandNotSupported(ProxyError):
    """REP 7: the proxy doesn't do such a thing at all."""


class AddressTypeNotSupported(ProxyError, error.UnsupportedAddressFamily):
    """REP 8: the proxy doesn't know such addresses."""


class OtherFailure(ProxyError):
    """A REP that RFC 1928 doesn't have; C{code} says which.  Tor's are told in words."""


class Rejected(ProxyError):
    """SOCKS4's only refusal: 91 for whatever reason; 92 and 93 if it wanted identd."""


_REPLIES: Final[dict[int, tuple[type[ProxyError], str]]] = {
    Reply.GENERAL_FAILURE: (GeneralFailure, "the proxy's own log may say more"),
    Reply.CONNECTION_NOT_ALLOWED: (NotAllowed, "the proxy's operator can permit it"),
    Reply.NETWORK_UNREACHABLE: (
        NetworkUnreachable,
        "the proxy may have no IPv6, or no IPv4; try the other, or the name",
    ),
    Reply.HOST_UNREACHABLE: (
        HostUnreachable,
        "check the name, which the proxy resolves, and whether the host is up",
    ),
    Reply.CONNECTION_REFUSED: (ConnectionRefused, "nothing listens there, or it is filtered"),
    Reply.TTL_EXPIRED: (TTLExpired, "the host did not answer the proxy in time"),
    Reply.COMMAND_NOT_SUPPORTED: (CommandNotSupported, "another proxy may do it"),
    Reply.ADDRESS_TYPE_NOT_SUPPORTED: (
        AddressTypeNotSupported,
        "try a name in place of the address, or an address in place of the name",
    ),
    **{
        0xF0 + number: (OtherFailure, f"Tor says: {text}")
        for number, text in enumerate(
            (
                "the onion service's descriptor was not found",
                "the onion service's descriptor is invalid",
                "the introduction to the onion service has failed",
                "the rendezvous with the onion service has failed",
                "the onion service wants a client authorization",
                "the onion service refuses the client authorization",
                "the onion service's address is invalid",
                "the introduction to the onion service has timed out",
            )
        )
    },
}


def refusal(code: int, *, proxy: str, target: Address, version: int = 5) -> ProxyError:
    """
    Make the error for a reply that refuses.

    @param code: REP, or SOCKS4's CD; not that of a success.
    @param proxy: what the proxy is called.
    @param target: what was asked for.
    @param version: 4 for a SOCKS4 reply.
    """
    if version == 4:
        reason = describe_reply4(code)
        if code == Reply4.REJECTED:
            reason += ": SOCKS4 has no word for why; the proxy's own log may say more"
        return Rejected(code, reason, proxy=proxy, target=target)
    kind, advice = _REPLIES.get(code, (OtherFailure, ""))
    reason = f"{describe_reply(code)}: {advice}" if advice else describe_reply(code)
    return kind(code, reason, proxy=proxy, target=target)


#: What those who are no SOCKS proxies begin their answers with.
_STRANGERS: Final = {
    ord("H"): "this looks like an HTTP proxy",
    ord("<"): "this looks like a web server",
    0x15: "it speaks TLS; connect to it by a TLS endpoint",
    0x16: "it speaks TLS; connect to it by a TLS endpoint",
    ord("S"): "this looks like an SSH server",
    ord("2"): "this looks like a mail or FTP server",
    0: "it may know SOCKS4 only",
    4: "it may know SOCKS4 only",
}


def broken(mistake: ProtocolError, *, proxy: str, target: Address) -> ProxyProtocolError:
    """
    Make the error for octets that are not what they should be.

    @param mistake: what L{twisted_socks5.wire} says of them.
    """
    reason = mistake.reason
    if isinstance(mistake, UnsupportedVersion) and "greeting" not in reason:
        hint = _STRANGERS.get(mistake.version) if mistake.version != 5 else None
        if hint is not None and "method selection" in reason:
            reason = f"{reason.partition(':')[0]}: {hint}"
    return ProxyProtocolError(reason, proxy=proxy, target=target)
