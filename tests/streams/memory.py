"""
What streams find below them, in memory: the module C{socket}, and C{os} for a few calls.

Streams make their sockets themselves, so a test gives their modules another C{socket} to make
them of.
"""

from __future__ import annotations

import errno
import os
import socket
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.relay.kernel import MemoryKernel
from twisted_socks5.relay import splice
from twisted_socks5.relay.splice import PIPES
from twisted_socks5.streams import ReactorWatch, StreamTCP, accepting, connecting
from twisted_socks5.testing import ListeningSocket, MemoryReactor, MemorySocket, StreamSocket


class Duplicate:
    """
    Another descriptor of a listening socket.

    @ivar failures: what the next calls of C{accept} fail with.
    """

    def __init__(self, item: ListeningSocket) -> None:
        self._item = item
        self.failures: list[int] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._item, name)

    def accept(self) -> Any:
        """Accept, or fail."""
        if self.failures:
            raise OSError(self.failures.pop(0), "as the test says")
        return self._item.accept()

    def close(self) -> None:
        """Close this one; the other goes on listening."""


class MemorySockets:
    """
    The module C{socket}: its sockets are a reactor's in memory.

    @ivar made: all sockets that were made.
    @ivar noDescriptor: whether the process can have no further descriptor.
    @ivar instantly: what the first call of C{connect_ex} returns; L{None} leaves that to the
        network, which takes a moment.
    """

    def __init__(self, reactor: MemoryReactor) -> None:
        self._network = reactor.network
        self.made: list[Any] = []
        self.noDescriptor = False

    def __getattr__(self, name: str) -> Any:
        return getattr(socket, name)

    def socket(self, family: int = -1, kind: int = -1, fileno: int = -1) -> Any:
        """
        Make a socket.

        @raise OSError: C{EMFILE}, if it shall be.
        """
        if self.noDescriptor:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        if fileno < 0:
            made: Any = StreamSocket(self._network, family)
        else:
            found: MemorySocket = self._network.sockets[fileno]
            if not isinstance(found, ListeningSocket):
                raise TypeError(found)
            made = Duplicate(found)
        self.made.append(made)
        return made


class MemoryOS:
    """The module C{os}, whose C{dup} gives a descriptor in memory once more."""

    def dup(self, descriptor: int) -> int:
        """Duplicate."""
        return descriptor


def streamsOn(
    reactor: MemoryReactor, test: SynchronousTestCase
) -> tuple[StreamTCP, MemorySockets]:
    """
    Let streams stand on a reactor's network in memory, for as long as a test runs.

    @return: what connects and accepts them, and the module that their sockets come from.
    """
    sockets = MemorySockets(reactor)
    test.patch(connecting, "socket", sockets)
    test.patch(accepting, "socket", sockets)
    test.patch(accepting, "os", MemoryOS())
    kernel = MemoryKernel()
    kernel.network = reactor.network
    PIPES.close()
    test.patch(splice, "os", kernel)
    test.patch(splice, "Pipe", kernel.pipe)
    test.patch(PIPES, "usable", True)
    test.addCleanup(PIPES.close)
    return StreamTCP(ReactorWatch(reactor)), sockets
