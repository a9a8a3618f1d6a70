"""
What streams find below them, in memory: the module C{socket}.

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
from twisted_socks5.testing import (
    ListeningSocket,
    MemoryReactor,
    MemorySocket,
    Network,
    StreamSocket,
)


class Listening(ListeningSocket):
    """
    A socket that listens.

    @ivar failures: what the next calls of C{accept} fail with.
    """

    def __init__(self, network: Network, family: int) -> None:
        super().__init__(network, family)
        self.failures: list[int] = []

    def accept(self) -> tuple[StreamSocket, tuple[Any, ...]]:
        """Accept, or fail."""
        if self.failures:
            raise OSError(self.failures.pop(0), "as the test says")
        return super().accept()


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

    def socket(self, family: int, kind: int) -> Any:
        """
        Make a socket.

        @raise OSError: C{EMFILE}, if it shall be.
        """
        return self.make(StreamSocket, family)

    def make(self, kind: type[MemorySocket], family: int) -> Any:
        """Make a socket of this kind; see L{socket}."""
        if self.noDescriptor:
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        made = kind(self._network, family)
        self.made.append(made)
        return made


class ListeningSockets:
    """The same module, for those who make sockets to listen."""

    def __init__(self, sockets: MemorySockets) -> None:
        self._sockets = sockets

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sockets, name)

    def socket(self, family: int, kind: int) -> Any:
        """Make a socket; see L{MemorySockets.socket}."""
        return self._sockets.make(Listening, family)


def streamsOn(
    reactor: MemoryReactor, test: SynchronousTestCase
) -> tuple[StreamTCP, MemorySockets]:
    """
    Let streams stand on a reactor's network in memory, for as long as a test runs.

    @return: what connects and accepts them, and the module that their sockets come from.
    """
    sockets = MemorySockets(reactor)
    test.patch(connecting, "socket", sockets)
    test.patch(accepting, "socket", ListeningSockets(sockets))
    test.patch(accepting, "accepted", lambda opened: opened.accept())
    kernel = MemoryKernel()
    kernel.network = reactor.network
    PIPES.close()
    test.patch(splice, "os", kernel)
    test.patch(splice, "Pipe", kernel.pipe)
    test.patch(PIPES, "usable", True)
    test.addCleanup(PIPES.close)
    return StreamTCP(ReactorWatch(reactor)), sockets
