"""
Reads all datagrams that wait at a socket, in as few calls as the system offers.

On Linux that is one: recvmmsg(2), which Python does not have, so it is called by C{ctypes}, on
memory that is laid out once for the process.  Where datagrams have travelled together, or the
network card has put them together, they also come as one (UDP_GRO, Linux 5.0), and are cut here.
Elsewhere, and where the kernel refuses, each is read by itself.

Datagrams that are alike, all of one length and from one sender, stay where they are until they are
asked for, and can be sent on from there: see L{Alike}.  Who reads when, and what becomes of it, is
not known here.
"""

from __future__ import annotations

import errno
import mmap
import os
import socket
import struct
import sys
from array import array
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from twisted.logger import Logger

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Endpoint = tuple[str, int]


#: Datagrams read in a turn, before others get theirs.
BATCH = 64

#: More octets than any datagram has, or several that come together.
LONGEST = 65536

# linux/udp.h; Python has no name for it.
_UDP_GRO = 104

# From one datagram's place to the next: not a multiple of what caches are, or all of them would
# share the same few lines.
_STRIDE = LONGEST + 9 * 64

_OFFSETS = range(0, BATCH * _STRIDE, _STRIDE)

# struct msghdr and struct mmsghdr, as the kernel has them: name, namelen, iov, iovlen, control,
# controllen, flags; and the length.
_MSGHDR = "@PIPNPNi0P"
_MMSGHDR = struct.Struct(_MSGHDR + "I0P")
_IOVEC = struct.Struct("@PN")
_LENGTH_AT = struct.calcsize(_MSGHDR)
_ASIDE_AT = struct.calcsize("@PIPNP0N")

#: Kinds of parts of datagrams, by where they begin and end, that views are kept of.
_KEPT_VIEWS = 32

_NAME_SIZES: dict[int, int] = {socket.AF_INET: 16, socket.AF_INET6: 28}

# Only Linux gets that far, which has it.
_DONTWAIT = getattr(socket, "MSG_DONTWAIT", 0)

_log = Logger()


class Receiver(Protocol):
    """A way to read datagrams."""

    def expectMany(self, opened: socket.socket) -> None:
        """Prepare for a socket to which datagrams come in bursts."""

    def receive(self, opened: socket.socket) -> list[Run]:
        """
        Read what has come to a socket, up to a batch.

        @param opened: does not block.
        @return: the datagrams in their order; none: whatever error there is, it is about something
            sent before, for which nobody waits.
        """


class Singly:
    """Reads one at a time, on any system."""

    def expectMany(self, opened: socket.socket) -> None:
        """See L{Receiver.expectMany}."""

    def receive(self, opened: socket.socket) -> list[Run]:
        """See L{Receiver.receive}."""
        runs: list[Run] = []
        datagrams: list[bytes] = []
        last: Endpoint | None = None
        with suppress(OSError):
            for _ in range(BATCH):
                datagram, name = opened.recvfrom(LONGEST)
                # IPv6's flow label and scope are in the address, too, where they mean anything.
                source = name[:2]
                if source != last:
                    last, datagrams = source, []
                    runs.append((datagrams, source))
                datagrams.append(datagram)
        return runs


class Alike:
    """
    Datagrams of one length and from one sender, where the kernel has put them.

    There is one such object for a receiver: what it says changes when the next ones are read.

    @ivar total: how many they are; 2 or more.
    @ivar length: octets of each; 1 or more.
    """

    __slots__ = ("_kept", "_memory", "length", "total")

    def __init__(self, memory: mmap.mmap) -> None:
        """
        @param memory: where they are, each in its place.
        """
        self._memory = memory
        self._kept: dict[tuple[int, int], list[memoryview]] = {}
        self.total = self.length = 0

    def __len__(self) -> int:
        return self.total

    def __getitem__(self, index: int) -> bytes:
        """
        Copy a datagram.

        @raise IndexError: there are not so many.
        """
        start = _OFFSETS[: self.total][index]
        return self._memory[start : start + self.length]

    def __iter__(self) -> Iterator[bytes]:
        return map(self.__getitem__, range(self.total))

    def begin(self, octets: bytes) -> bool:
        """Tell whether all of them begin with C{octets}."""
        size = len(octets)
        return size <= self.length and b"".join(self._views(0, size)) == octets * self.total

    def behind(self, size: int) -> list[memoryview]:
        """
        Tell what stands behind the first octets of each.

        @param size: how many, less than C{length}.
        @return: what can be sent, but not kept.
        """
        return self._views(size, self.length)

    def _views(self, start: int, end: int) -> list[memoryview]:
        kept, total = self._kept, self.total
        views = kept.get((start, end))
        if views is None:
            if len(kept) >= _KEPT_VIEWS:
                kept.clear()
            views = kept[start, end] = []
        if len(views) < total:
            with memoryview(self._memory) as whole:
                views += [whole[at + start : at + end] for at in _OFFSETS[len(views) : total]]
        return views if len(views) == total else views[:total]


Datagrams = list[bytes] | Alike

Run = tuple[Datagrams, Endpoint]
"""
Datagrams that came one after the other from one sender; to be looked at before the next ones are
read, if they are L{Alike}.
"""


class Batched:
    """Reads many at a time, from the sockets of one family."""

    def __init__(self, family: int) -> None:
        """
        Lay out what recvmmsg is given.

        @raise OSError: this system does not do that.
        """
        import ctypes  # here only: it takes a while

        try:
            self._recvmmsg: Callable[..., int] = ctypes.CDLL(None, use_errno=True).recvmmsg
        except AttributeError:
            raise OSError(errno.ENOSYS, "the C library has no recvmmsg") from None
        self._nameSize = nameSize = _NAME_SIZES[family]
        self._room = room = socket.CMSG_SPACE(struct.calcsize("i"))
        self._memory = _memory()
        self._alike = Alike(self._memory)
        # Names are taken out in one slice, which here is bytes (and for a type checker a list).
        self._names: Any = ctypes.create_string_buffer(BATCH * nameSize)
        asides = bytearray(BATCH * room)
        iovecs = bytearray(BATCH * _IOVEC.size)
        headers = bytearray(BATCH * _MMSGHDR.size)
        memory, names = _addressOf(self._memory), _addressOf(self._names)
        aside, iovec = _addressOf(asides), _addressOf(iovecs)
        for index, start in enumerate(_OFFSETS):
            _IOVEC.pack_into(iovecs, index * _IOVEC.size, memory + start, LONGEST)
            _MMSGHDR.pack_into(
                headers, index * _MMSGHDR.size,
                names + index * nameSize, nameSize, iovec + index * _IOVEC.size, 1,
                aside + index * room, room, 0, 0,
            )  # fmt: skip
        self._pointer = ctypes.c_void_p(_addressOf(headers))
        #: What the kernel reads and writes, for as long as we are.
        self._kept = (asides, iovecs, headers)
        word = struct.calcsize("L")
        #: Of each: its octets; those of what is said beside it, if anything; and what that is.
        self._lengths = memoryview(headers).cast("I")[_LENGTH_AT // 4 :: _MMSGHDR.size // 4]
        self._asides = memoryview(headers).cast("L")[_ASIDE_AT // word :: _MMSGHDR.size // word]
        self._segments = memoryview(asides).cast("i")[socket.CMSG_LEN(0) // 4 :: room // 4]
        self._rooms = memoryview(array("L", [room]) * BATCH)
        self._ask(ctypes.get_errno)

    def _ask(self, errorNumber: Callable[[], int]) -> None:
        """See what the kernel says, while nothing depends on it."""
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
            self._recvmmsg(probe.fileno(), self._pointer, BATCH, _DONTWAIT, None)
            number = errorNumber()
            if number != errno.EAGAIN:  # nothing has come
                raise OSError(number, os.strerror(number))

    def expectMany(self, opened: socket.socket) -> None:
        """
        See L{Receiver.expectMany}.

        Not done for each: a kernel changes its own code when the first socket asks for this, and
        when the last one is closed.
        """
        with suppress(OSError):  # an older kernel: each comes by itself
            opened.setsockopt(socket.IPPROTO_UDP, _UDP_GRO, 1)

    def receive(self, opened: socket.socket) -> list[Run]:
        """See L{Receiver.receive}."""
        count = self._recvmmsg(opened.fileno(), self._pointer, BATCH, _DONTWAIT, None)
        if count <= 0:
            return []
        asides, size = self._asides, self._nameSize
        if count == 1 and not asides[0]:
            asides[0] = self._room  # the kernel has written there
            return [([self._memory[: self._lengths[0]]], endpoint(self._names[:size]))]
        runs = self._runs(count)
        asides[:count] = self._rooms[:count]
        return runs

    def _runs(self, count: int) -> list[Run]:
        """Take out what has come."""
        memory, size = self._memory, self._nameSize
        names = self._names[: count * size]
        lengths = self._lengths[:count].tolist()
        last, length = names[:size], lengths[0]
        if (
            names == last * count
            and lengths.count(length) == count > 1
            and length
            and not any(self._asides[:count])
        ):
            alike = self._alike
            alike.total, alike.length = count, length
            return [(alike, endpoint(last))]
        datagrams: list[bytes] = []
        runs: list[Run] = [(datagrams, endpoint(last))]
        for index, length in enumerate(lengths):
            name = names[index * size : (index + 1) * size]
            if name != last:
                last, datagrams = name, []
                runs.append((datagrams, endpoint(name)))
            start = _OFFSETS[index]
            end = start + length
            step = (self._segments[index] if self._asides[index] else 0) or max(length, 1)
            # An empty one is one, too.
            starts = range(start, max(end, start + 1), step)
            datagrams += [memory[at : min(at + step, end)] for at in starts]
        return runs


@lru_cache(maxsize=1)
def _memory() -> mmap.mmap:
    """
    Take the memory for a batch.

    A process that is forked off gets one of its own.  Where no datagram ever was it costs nothing.
    """
    return mmap.mmap(-1, BATCH * _STRIDE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


def _addressOf(memory: Any) -> int:
    import ctypes

    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


@lru_cache(maxsize=1024)
def endpoint(name: bytes) -> Endpoint:
    """
    Read a sender's address as Linux writes it.

    @param name: a C{struct sockaddr_in} or C{sockaddr_in6}.
    """
    port = name[2] << 8 | name[3]
    if len(name) == _NAME_SIZES[socket.AF_INET]:
        return socket.inet_ntop(socket.AF_INET, name[4:8]), port
    host = socket.inet_ntop(socket.AF_INET6, name[8:24])
    (scope,) = struct.unpack_from("=I", name, 24)
    if not scope:
        return host, port
    try:
        return f"{host}%{socket.if_indextoname(scope)}", port
    except OSError:  # it has gone
        return f"{host}%{scope}", port


@lru_cache(maxsize=2)
def receiver(family: int) -> Receiver:
    """
    Choose what reads best here, once for the process.

    @param family: C{AF_INET} or C{AF_INET6}.
    """
    return Batched(family) if _many() else Singly()


@lru_cache(maxsize=1)
def _many() -> bool:
    """Find out whether many can be read at once, and if not, say so."""
    if sys.platform != "linux":  # the structures would mean something else
        return False
    try:
        Batched(socket.AF_INET)
    except OSError as error:
        _log.warn(
            "This system does not read several datagrams at once ({error}): "
            "each is read by itself",
            error=str(error),
        )
        return False
    return True
