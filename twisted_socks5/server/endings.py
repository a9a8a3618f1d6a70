"""
How a client's connection came to its end, and whose it was, in the words of the access log.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost

from twisted_socks5.addresses import ipAddress, parsed
from twisted_socks5.fairthreads import Busy
from twisted_socks5.security import ContextError
from twisted_socks5.tls import TLSFailure
from twisted_socks5.wire import Address, ProtocolError

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress
    from twisted.python.failure import Failure

#: What breaks a connection that is encapsulated, or in TLS.
BROKEN = (ContextError, ProtocolError, Busy, TLSFailure)


def textOf(address: IAddress | tuple[Any, ...]) -> str:
    """
    Write an address.

    @param address: or what the system calls it: an IP address and a port first.
    """
    if isinstance(address, tuple):
        host, port = address[:2]
        return str(Address(parsed(host), port)) if ":" in host else f"{host}:{port}"
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    found = ipAddress(address)
    return str(Address(*found)) if found else "unix"


def howLost(reason: Failure) -> str:
    """Say how a connection came to its end: the client's doing, or what else."""
    if reason.check(ConnectionDone):
        return "client closed"
    if reason.check(ConnectionLost, ConnectionAborted):
        return "client reset"
    if reason.check(TLSFailure):
        return f"TLS failed ({reason.value})"
    if reason.check(*BROKEN):
        return f"encapsulation failed ({reason.value})"
    error = type(reason.value)
    if error.__module__.startswith("OpenSSL."):
        return f"TLS failed ({str(reason.value)[:200]})"
    # An error of ours, which is in the log; its text may be of anything.
    return error.__name__
