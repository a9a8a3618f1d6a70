"""
Moves a stream's octets from socket to socket inside the kernel (Linux).

What a relay does with a download is copy: out of one socket into our memory, out of our memory
into the other.  C{splice(2)} moves the pages instead, through a pipe, and we see only counts.

A pipe is borrowed while octets are in it and no longer.  As long as the sink takes all that the
source gives, that is the time of a single call, and all relays share one pipe; a sink that does
not keep up holds one, and its source is not read until the sink has emptied it.  So a reader
that is slow costs one pipe, whatever is sent to it.
"""

from __future__ import annotations

import os
import sys
from errno import EINVAL, EMFILE, ENOSYS, EOPNOTSUPP, EPERM
from typing import TYPE_CHECKING

from twisted.internet.main import CONNECTION_LOST
from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted_socks5.relay.tcp import Leg
    from twisted_socks5.streams import Stream

_log = Logger()

#: Octets that a pipe should hold.  More is a little faster, and what each reader that does not
#: keep up costs the kernel.
PIPE_SIZE = 1 << 18

#: Octets moved in a turn, before others get theirs.
TURN = 1 << 20

#: Pipes at a time, two descriptors each.
MAX_PIPES = 512

#: Empty pipes kept open.
KEPT_PIPES = 8

_NONBLOCK_MOVE = 3  # SPLICE_F_MOVE | SPLICE_F_NONBLOCK

#: What a kernel says that does not splice sockets, or a filter of system calls in its stead.
_NOT_HERE = {EINVAL, ENOSYS, EOPNOTSUPP, EPERM}


class Pipe:
    """
    A pipe, none of whose ends blocks.

    @ivar size: octets it can hold.
    """

    __slots__ = ("input", "output", "size")

    def __init__(self) -> None:
        """
        @raise OSError: the process can't have another.
        """
        import fcntl

        self.output, self.input = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        try:
            # F_SETPIPE_SZ, which Python 3.10 doesn't name in all builds.
            self.size = fcntl.fcntl(self.input, 1031, PIPE_SIZE)
        except OSError:
            # The user's pipes hold a lot already: the kernel's default will do.
            self.size = fcntl.fcntl(self.input, 1032)

    def close(self) -> None:
        """Close it."""
        os.close(self.input)
        os.close(self.output)


class PipePool:
    """
    The pipes that nothing is in.

    @ivar usable: whether this system can splice sockets at all.
    @ivar limit: how many there may be; who gets none copies.
    @ivar count: how many there are, borrowed or free.
    """

    def __init__(self) -> None:
        self._free: list[Pipe] = []
        self.limit = MAX_PIPES
        self.count = 0
        self.usable = sys.platform == "linux" and hasattr(os, "splice")

    def borrow(self) -> Pipe:
        """
        Take a pipe.

        @raise OSError: the process can't have another, or shall not.
        """
        if self._free:
            return self._free.pop()
        if self.count >= self.limit:
            raise OSError(EMFILE, "as many pipes as there may be")
        pipe = Pipe()
        self.count += 1
        return pipe

    def giveBack(self, pipe: Pipe) -> None:
        """Return a pipe that is empty."""
        if len(self._free) < KEPT_PIPES:
            self._free.append(pipe)
        else:
            self.discard(pipe)

    def discard(self, pipe: Pipe) -> None:
        """Close a pipe that was borrowed, and lose what is in it."""
        self.count -= 1
        pipe.close()

    def givenUp(self, error: OSError) -> None:
        """Say, once, that this kernel doesn't splice for us."""
        if self.usable:
            self.usable = False
            _log.warn(
                "This system does not splice sockets ({error}): octets are copied instead",
                error=str(error),
            )

    def close(self) -> None:
        """Close all."""
        while self._free:
            self.discard(self._free.pop())


#: One for the process: what is in a pipe belongs to one relay, an empty one to nobody.
PIPES = PipePool()


class Splice:
    """
    One direction of a relay: its source's C{doRead}, and what its sink's C{doWrite} does first.

    @ivar leg: the source's leg; what is moved is counted there.
    """

    __slots__ = ("_held", "_pipe", "_pipes", "_sink", "_source", "leg")

    def __init__(self, leg: Leg, source: Stream, sink: Stream, pipes: PipePool = PIPES) -> None:
        self.leg = leg
        self._source = source
        self._sink = sink
        self._pipes = pipes
        self._pipe: Pipe | None = None
        self._held = 0

    def doRead(self) -> Exception | None:
        """Move what the source has to the sink."""
        if not self._sink.flushed or not self._pipes.usable:
            # What was written before has to go before.
            return self._source.receive()
        try:
            pipe = self._pipe = self._pipes.borrow()
        except OSError:
            return self._source.receive()
        source, left = self._source.fileno(), TURN
        while left > 0:
            try:
                moved = os.splice(source, pipe.input, pipe.size, flags=_NONBLOCK_MOVE)
            except BlockingIOError:
                if left < TURN:
                    break
                moved = 0
            except OSError as error:
                return self._refused(error)
            if not moved:
                # The end; or an urgent octet, which splice stops at for ever.  recv knows.
                self._giveBack()
                return self._source.receive()
            self.leg.received += moved
            self._held = moved
            left -= moved
            try:
                self._drain()
            except OSError as error:
                self._sink.sendingFailed(error)
            if self._held:
                # The sink is full, or broken: its doWrite goes on, or finds out.
                self._source.pauseProducing()
                self._sink.awaitInlet(self)
                return None
            if moved < pipe.size:
                break
        self._giveBack()
        return None

    def drain(self) -> Exception | None:
        """
        Give the sink what is held for it.

        @return: an exception if the sink is broken.
        """
        try:
            self._drain()
        except OSError:
            return CONNECTION_LOST
        if not self._held:
            self._giveBack()
            self.leg.resumeProducing()
        return None

    @property
    def empty(self) -> bool:
        """Whether nothing is held for the sink."""
        return not self._held

    def close(self) -> None:
        """The sink is gone: what is held for it is lost."""
        if self._pipe is not None:
            self._pipes.discard(self._pipe)
            self._pipe = None
        self._held = 0

    def _drain(self) -> None:
        sink, pipe = self._sink.fileno(), self._pipe
        while self._held and pipe is not None:
            try:
                self._held -= os.splice(pipe.output, sink, self._held, flags=_NONBLOCK_MOVE)
            except BlockingIOError:
                return

    def _giveBack(self) -> None:
        pipe, self._pipe = self._pipe, None
        if pipe is not None:
            self._pipes.giveBack(pipe)

    def _refused(self, error: OSError) -> Exception | None:
        """The source is broken, or the kernel doesn't do this for us."""
        self._giveBack()
        if error.errno in _NOT_HERE:
            self._pipes.givenUp(error)
            return self._source.receive()
        return CONNECTION_LOST
