"""
Username and password (RFC 1929): method 2's sub-negotiation, one message each way.

Both are octets.  The RFC names no encoding, so none is assumed; comparing them, hashing them
and slowing guesses down is not this room's business.  Nothing here puts a password into a text.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from .address import Buffer
from .constants import MAX_PASSWORD, MAX_USERNAME, STATUS_SIZE, USERNAME_PASSWORD_VERSION
from .errors import LocalProtocolError, MalformedCredentials, UnsupportedVersion


@dataclass(frozen=True, slots=True)
class UsernamePassword:
    """
    Who the client says it is (RFC 1929, section 2).

    @ivar username: UNAME.
    @ivar password: PASSWD; not in the C{repr}.
    """

    username: bytes
    password: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class CredentialsStatus:
    """
    What the server says to it (RFC 1929, section 2).

    @ivar status: STATUS; 0 is success.
    """

    status: int

    @property
    def succeeded(self) -> bool:
        """Whether the client is who it says."""
        return self.status == 0


def pack_username_password(credentials: UsernamePassword) -> bytes:
    """
    Write VER ULEN UNAME PLEN PASSWD (RFC 1929, section 2).

    @raise LocalProtocolError: either is not 1 to 255 octets long.
    """
    username, password = credentials.username, credentials.password
    if not 1 <= len(username) <= MAX_USERNAME:
        raise LocalProtocolError(
            f"a username of {len(username)} octets, instead of 1 to {MAX_USERNAME}"
        )
    if not 1 <= len(password) <= MAX_PASSWORD:
        raise LocalProtocolError(f"the password does not have 1 to {MAX_PASSWORD} octets")
    return b"".join(
        (
            bytes((USERNAME_PASSWORD_VERSION, len(username))),
            username,
            bytes((len(password),)),
            password,
        )
    )


def parse_username_password(
    buffer: Buffer, offset: int = 0
) -> tuple[UsernamePassword, int] | None:
    """
    Read VER ULEN UNAME PLEN PASSWD (RFC 1929, section 2).

    Lengths of 0 are read, though the RFC begins at 1: real clients send an empty password, and
    whoever checks it can refuse it in the protocol's own words.

    @return: the credentials and the offset behind them, or L{None} if octets are missing.
    @raise MalformedCredentials: as soon as VER is there and is not 1.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != USERNAME_PASSWORD_VERSION:
        # The version alone: a username and a password stand behind it.
        raise MalformedCredentials(buffer[offset])
    if size < offset + 2:
        return None
    middle = offset + 2 + buffer[offset + 1]
    if size <= middle:
        return None
    end = middle + 1 + buffer[middle]
    if size < end:
        return None
    username = bytes(buffer[offset + 2 : middle])
    return UsernamePassword(username, bytes(buffer[middle + 1 : end])), end


def pack_status(success: bool) -> bytes:
    """Write VER STATUS (RFC 1929, section 2): 0 for success, 1 for failure."""
    return bytes((USERNAME_PASSWORD_VERSION, 0 if success else 1))


def parse_status(buffer: Buffer, offset: int = 0) -> tuple[CredentialsStatus, int] | None:
    """
    Read VER STATUS (RFC 1929, section 2).

    @return: the status and the offset behind it, or L{None} if octets are missing.
    @raise UnsupportedVersion: as soon as VER is there and is not 1.
    """
    size = len(buffer)
    if size <= offset:
        return None
    if buffer[offset] != USERNAME_PASSWORD_VERSION:
        raise UnsupportedVersion(
            bytes(buffer[offset : offset + 1]),
            where="the status of username and password",
            expected=USERNAME_PASSWORD_VERSION,
        )
    end = offset + STATUS_SIZE
    if size < end:
        return None
    return CredentialsStatus(buffer[offset + 1]), end
