"""
splice(2) and pipes for sockets in memory: the kernel, as far as a spliced relay asks it.
"""

from __future__ import annotations

import errno

from twisted_socks5.testing import Network, StreamSocket


class MemoryPipe:
    """
    A pipe in memory; it is its own two descriptors.

    @ivar size: octets it can hold.
    @ivar held: the octets in it.
    """

    def __init__(self, kernel: MemoryKernel) -> None:
        self.size = kernel.pipeSize
        self.held = bytearray()
        self.input = self.output = self
        self._kernel = kernel
        kernel.pipes += 1

    def close(self) -> None:
        """Close it, with what is in it."""
        self._kernel.pipes -= 1


class MemoryKernel:
    """
    Moves octets between sockets and pipes.

    @ivar network: whose sockets they are.
    @ivar pipeSize: octets that a new pipe can hold.
    @ivar pipes: how many pipes are open.
    @ivar spliced: how many octets have been moved into pipes.
    @ivar error: what splicing fails with; 0 is a kernel that splices.
    @ivar noPipes: whether the process can have no further descriptor for a pipe.
    """

    O_NONBLOCK = O_CLOEXEC = 0

    def __init__(self) -> None:
        self.network: Network | None = None
        self.pipeSize = 65_536
        self.pipes = 0
        self.spliced = 0
        self.error = 0
        self.noPipes = False

    def pipe(self) -> MemoryPipe:
        """
        Make a pipe.

        @raise OSError: C{EMFILE}, if it shall be.
        """
        if self.noPipes:
            raise OSError(errno.EMFILE, "Too many open files")
        return MemoryPipe(self)

    def splice(
        self, source: int | MemoryPipe, sink: int | MemoryPipe, count: int, *, flags: int
    ) -> int:
        """
        Move octets from a socket to a pipe, or from a pipe to a socket.

        @return: how many; 0 is the source's end.
        @raise OSError: what the socket says; C{EWOULDBLOCK} of a pipe that is full.
        """
        if self.error:
            raise OSError(self.error, "as the test says")
        if isinstance(source, MemoryPipe):
            taken = self._socket(sink).send(bytes(source.held[:count]))
            del source.held[:taken]
            return taken
        if not isinstance(sink, MemoryPipe):
            raise OSError(errno.EINVAL, "neither end is a pipe")
        room = min(count, sink.size - len(sink.held))
        if not room:
            raise BlockingIOError(errno.EWOULDBLOCK, "the pipe is full")
        data = self._socket(source).recv(room)
        sink.held += data
        self.spliced += len(data)
        return len(data)

    def _socket(self, number: int | MemoryPipe) -> StreamSocket:
        item = None
        if self.network is not None and isinstance(number, int):
            item = self.network.sockets.get(number)
        if not isinstance(item, StreamSocket):
            raise OSError(errno.EBADF, "Bad file descriptor")
        return item
