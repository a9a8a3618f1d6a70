"""
What can be wrong on the wire, and the octets each mistake is answered with.

Two families that no C{except} clause should mix up: L{ProtocolError} is the peer's mistake,
L{LocalProtocolError} is ours.

A L{ProtocolError} is final.  Once a negotiation has raised one it is in its state C{FAILED} and
raises the same one for whatever it is asked, for what follows a mistake cannot be trusted to
start where a message starts.  What can still be done is to send L{ProtocolError.answer} and to
close (RFC 1928, section 6: within ten seconds).
"""

from __future__ import annotations

from typing import Final

from .constants import (
    GSSAPI_VERSION,
    MAX_BUFFERED,
    MTYP,
    SOCKS4_REPLY_VERSION,
    SOCKS_VERSION,
    USERNAME_PASSWORD_VERSION,
    AddressType,
    Reply,
    Reply4,
    describe_method,
)

_REFUSED4: Final = bytes((SOCKS4_REPLY_VERSION, Reply4.REJECTED, 0, 0, 0, 0, 0, 0))
_STATUS_FAILED: Final = bytes((USERNAME_PASSWORD_VERSION, 1))
_CHALLENGE_FAILED: Final = bytes((1, 1, 0, 1, 1))
_ABORT: Final = bytes((GSSAPI_VERSION, MTYP.ABORT))


class ProtocolError(Exception):
    """
    The peer broke the protocol.

    @ivar reason: what was wrong, in words, for the log; it quotes nothing of what the peer sent.
    @ivar reply: the REP it is answered with (RFC 1928, section 6), or L{None} where there is
        none: then the connection is just closed, after L{answer}.
    @ivar answer: the octets to send before the close, complete: the reply, or another refusal
        in the words of the sub-protocol that was being spoken, or nothing.
    """

    def __init__(self, reason: str, reply: Reply | None = None, answer: bytes = b"") -> None:
        super().__init__(reason)
        self.reason = reason
        self.reply = reply
        if reply is not None and not answer:
            answer = bytes((SOCKS_VERSION, reply, 0, AddressType.IPV4, 0, 0, 0, 0, 0, 0))
        self.answer = answer

    def __str__(self) -> str:
        return self.reason


class LocalProtocolError(Exception):
    """
    We were about to break the protocol: a command out of turn, a value the wire cannot carry.

    It is raised before anything has happened: no octet was packed, no state has changed, and
    the negotiation goes on as if the call had not been made.

    It is no L{ProtocolError}, so that a bug of ours is not logged as a mistake of the peer's.
    """


# What is spoken on port 1080 by those who meant another port, by how it begins.
_OTHER_PROTOCOLS: Final = (
    (b"\x16\x03", "looks like TLS"),
    (b"PROXY ", "looks like the PROXY protocol"),
    (b"\r\n\r\n\x00\r\nQUIT\n", "looks like the PROXY protocol"),
    (b"SSH-", "looks like SSH"),
    *(
        (method + b" ", "looks like HTTP")
        for method in b"CONNECT DELETE GET HEAD OPTIONS PATCH POST PRI PUT TRACE".split()
    ),
)


def _guess(octets: bytes) -> str:
    """Guess what other protocol begins so: a hint for the log, on which nothing depends."""
    for beginning, text in _OTHER_PROTOCOLS:
        if beginning.startswith(octets[: len(beginning)]):
            return text
    return ""


class UnsupportedVersion(ProtocolError):
    """
    The version octet is not the one that belongs here.

    @ivar version: the octet that was found.
    @ivar hint: what else the octets look like, or an empty string.
    """

    def __init__(
        self,
        octets: bytes,
        *,
        where: str = "the greeting",
        expected: int = SOCKS_VERSION,
        reply: Reply | None = None,
        answer: bytes = b"",
        hint: str = "",
    ) -> None:
        """
        @param octets: what was received, from the version octet on; at least that one.
        @param where: which message should have begun here.
        @param expected: the version octet of that message.
        @param hint: what to say instead of guessing from the octets.
        """
        self.version = octets[0]
        self.hint = hint or (_guess(octets) if expected == SOCKS_VERSION else "")
        reason = f"version {self.version} instead of {expected} in {where}"
        super().__init__(f"{reason}: {self.hint}" if self.hint else reason, reply, answer)


class SOCKS4Off(UnsupportedVersion):
    """
    A SOCKS4 request, where only SOCKS5 is spoken.

    It is answered in SOCKS4's own words (91, rejected), which the client can tell its user.
    """

    def __init__(self, octets: bytes) -> None:
        super().__init__(octets, answer=_REFUSED4, hint="SOCKS4, which is off")


class MalformedRequest(ProtocolError):
    """A request with something in it that the RFC excludes: REP 1."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, Reply.GENERAL_FAILURE)


class UnknownAddressType(ProtocolError):
    """
    An ATYP that the RFC does not have (RFC 1928, section 5): REP 8.

    @ivar address_type: the ATYP that was found.
    """

    def __init__(self, address_type: int) -> None:
        super().__init__(
            f"unknown address type 0x{address_type:02X}", Reply.ADDRESS_TYPE_NOT_SUPPORTED
        )
        self.address_type = address_type


class MalformedRequest4(ProtocolError):
    """A SOCKS4 request that goes beyond its bounds: 91, rejected."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, answer=_REFUSED4)


class MalformedCredentials(UnsupportedVersion):
    """
    A username/password message whose version is not 1 (RFC 1929, section 2; some write 5).

    It is answered with the STATUS of a failure.
    """

    def __init__(self, version: int) -> None:
        super().__init__(
            bytes((version,)),
            where="username and password",
            expected=USERNAME_PASSWORD_VERSION,
            answer=_STATUS_FAILED,
            hint="the sub-negotiation has its own version" if version == SOCKS_VERSION else "",
        )


class MalformedFrame(ProtocolError):
    """A GSSAPI frame that is none, or one out of turn (RFC 1961): it is answered with an abort."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, answer=_ABORT)


class MalformedChallenge(ProtocolError):
    """A message of CHAP that is none, or lacks what it must have: the STATUS of a failure."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason, answer=_CHALLENGE_FAILED)


class TooManyOctets(ProtocolError):
    """The peer sent more, ahead of its turn, than anybody waits with."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} octets ahead of their turn, more than {MAX_BUFFERED}")


class DatagramError(ProtocolError):
    """A datagram that cannot be relayed (RFC 1928, section 7): it is dropped in silence."""


class NoAcceptableMethod(ProtocolError):
    """The server accepts none of the methods offered: FF (RFC 1928, section 3)."""

    def __init__(self, offered: bytes) -> None:
        methods = ", ".join(map(describe_method, offered))
        super().__init__(f"the server accepts none of the methods offered: {methods}")


class MethodNotOffered(ProtocolError):
    """
    The server selected a method that it was not offered.

    @ivar method: the one it selected.
    """

    def __init__(self, method: int) -> None:
        super().__init__(f"the server selected {describe_method(method)}, which was not offered")
        self.method = method


class AuthenticationFailed(ProtocolError):
    """
    The server did not take the credentials (RFC 1929, section 2): it will close.

    @ivar status: STATUS, which is not 0.
    """

    def __init__(self, status: int) -> None:
        super().__init__(f"the server refused the username and password (status {status})")
        self.status = status
