"""
What sockets in memory have in common: descriptor, addresses, options, a pending error.

Sockets in memory are what Twisted's transports find below them in a L{MemoryReactor}.  They
answer the calls that Twisted makes on a non-blocking L{socket.socket} as Linux would over its
loopback device.  There is no reactor, transport or protocol here.  The names of methods are
those of L{socket.socket}, since that is the interface.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from twisted_socks5.testing.network import Endpoint, Network

POLL_IN = 1
POLL_OUT = 4
POLL_ERR = 8
POLL_HUP = 16


def socketError(number: int) -> OSError:
    """
    Make the exception that the kernel would give for an C{errno}.

    @param number: one of L{errno}'s.
    @return: the fitting subclass of L{OSError}.
    """
    return OSError(number, os.strerror(number))


class MemorySocket:
    """
    What streams, listeners and datagrams have in common.

    @ivar family: C{AF_INET}, C{AF_INET6} or C{AF_UNIX}.
    @ivar local: the local address and port once they are known.
    @ivar remote: the address and port it is connected to.
    @ivar options: what C{setsockopt} was called with, by level and name.
    @ivar closed: whether C{close} was called.
    """

    kind = "socket"

    def __init__(self, network: Network, family: int) -> None:
        self.network = network
        self.family = family
        self.local: Endpoint | None = None
        self.remote: Endpoint | None = None
        self.options: dict[tuple[int, int], int | bytes] = {}
        self.closed = False
        self._error = 0
        self._fd = network.register(self)

    def __repr__(self) -> str:
        ends = [f"{end[0]}:{end[1]}" for end in (self.local, self.remote) if end is not None]
        return f"<{self.kind} {' -> '.join(ends) or 'unbound'}>"

    def fileno(self) -> int:
        """
        Tell the descriptor.

        @return: a number that no real descriptor has, so that a system call on it fails; -1 once
            closed.
        """
        return -1 if self.closed else self._fd

    def setblocking(self, flag: bool) -> None:
        """
        Accept that this never blocks.

        @raise ValueError: if it is asked to block.
        """
        if flag:
            raise ValueError("a socket in memory cannot block")

    def setsockopt(self, level: int, name: int, value: int | bytes) -> None:
        """Keep an option; none but C{SO_LINGER} has an effect."""
        self.options[level, name] = value

    def getsockopt(self, level: int, name: int, size: int = 0) -> Any:
        """
        Tell an option; C{SO_ERROR} is cleared by asking, as in the kernel.

        @return: what was set, or 0.
        """
        if (level, name) == (socket.SOL_SOCKET, socket.SO_ERROR):
            number, self._error = self._error, 0
            return number
        return self.options.get((level, name), 0)

    def getsockname(self) -> tuple[Any, ...]:
        """
        Tell the local address.

        @return: a sockaddr tuple of the family.
        """
        return self.network.sockaddr(self.family, self.local)

    def getpeername(self) -> tuple[Any, ...]:
        """
        Tell the address it is connected to.

        @return: a sockaddr tuple of the family.
        @raise OSError: C{ENOTCONN}.
        """
        if self.remote is None:
            raise socketError(errno.ENOTCONN)
        return self.network.sockaddr(self.family, self.remote)

    def bind(self, address: tuple[Any, ...]) -> None:
        """
        Take a local address; port 0 takes a free one.

        @raise OSError: C{EADDRINUSE}, or what the address was told to fail with.
        """
        try:
            self.local = self.network.bind(self, address)
        except OSError:
            # Twisted leaves such a socket to the garbage collector, which closes it.
            self.close()
            raise

    def close(self) -> None:
        """Give the descriptor back."""
        if not self.closed:
            self.closed = True
            self.network.forget(self._fd, self)

    def poll(self) -> int:
        """
        Tell what poll(2) would.

        @return: a mask of C{POLL_IN}, C{POLL_OUT}, C{POLL_ERR}, C{POLL_HUP}.
        """
        return POLL_ERR if self._error else 0

    def _raiseError(self) -> None:
        if self._error:
            number, self._error = self._error, 0
            raise socketError(number)
