"""
Tells streams when their sockets are ready.

A reactor that polls thousands of descriptors does so for all kinds of them: it keeps three tables,
puts a log context around each call and asks the kernel again for each that is closed.  Streams
know what they are.  On Linux theirs are in an epoll set of their own, which for the reactor is a
single descriptor that is readable when any of them is ready; what is ready is then served in one
go, and what is closed needs no further word.

Any reactor that watches descriptors will do (epoll, poll, select, asyncio); where there is no
epoll, L{ReactorWatch} hands all to the reactor itself.
"""

from __future__ import annotations

import select
from time import monotonic
from typing import TYPE_CHECKING, Any, Protocol
from weakref import WeakValueDictionary

from twisted.internet.base import ReactorBase
from twisted.internet.error import ConnectionAborted
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.logger import Logger
from twisted.python.failure import Failure

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IDelayedCall


class Ready(Protocol):
    """What is watched: a reader and writer as a reactor knows them."""

    def fileno(self) -> int:
        """Name the descriptor."""

    def doRead(self) -> Any:
        """Read; return an exception if that is the end."""

    def doWrite(self) -> Any:
        """Write; return an exception if that is the end."""

    def readConnectionLost(self, reason: Failure) -> None:
        """Nothing more comes."""

    def connectionLost(self, reason: Failure) -> None:
        """It is over."""


class Drains(Ready, Protocol):
    """One that has something to do once all is sent."""

    def drained(self) -> Any:
        """Do it, if all is sent; return an exception if that is the end."""


class Watch(Protocol):
    """What streams ask of a reactor."""

    def addReader(self, reader: Any) -> None:
        """Call its C{doRead} when there is something to read."""

    def removeReader(self, reader: Any) -> None:
        """Do so no more."""

    def addWriter(self, writer: Any) -> None:
        """Call its C{doWrite} when something can be written."""

    def removeWriter(self, writer: Any) -> None:
        """Do so no more."""

    def soon(self, writer: Any) -> None:
        """Call its C{drained} before long, but not from within."""

    def forget(self, either: Any) -> None:
        """Do neither any more; its descriptor is about to be closed."""

    def callLater(self, delay: float, what: Callable[..., object], *args: object) -> IDelayedCall:
        """Call it in so many seconds."""


class ReactorWatch:
    """Lets the reactor itself watch."""

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: provides L{IReactorFDSet} and L{IReactorTime}.
        """
        self.addReader = reactor.addReader
        self.removeReader = reactor.removeReader
        self.addWriter = reactor.addWriter
        self.removeWriter = reactor.removeWriter
        self.callLater = reactor.callLater

    def soon(self, writer: Drains) -> None:
        """See L{Watch.soon}."""
        self.callLater(0, drain, writer)

    def forget(self, either: Any) -> None:
        """See L{Watch.forget}."""
        self.removeReader(either)
        self.removeWriter(either)


#: Streams served in a turn, before timers and others get theirs.
BATCH = 256

#: Seconds for which it is worth waiting for the next stream that is ready.
PATIENCE = 0.001

#: Seconds for which streams may keep the reactor from its turn.
LINGER = 0.003

#: Seconds without any waiting after one that was in vain: it may be somebody of the reactor's own,
#: the client on a Unix socket say, whose turn it is to speak.
SOBER = 0.025

#: What reading and writing return of a connection that we have cut.
CONNECTION_ABORTED = ConnectionAborted()

#: Why a connection is lost that was closed.
DONE = Failure(CONNECTION_DONE)

# Made once, as Twisted does: they have no traceback, and say nothing of whose they are.
_REASONS: dict[Exception, Failure] = {
    each: Failure(each) for each in (CONNECTION_LOST, CONNECTION_ABORTED)
}
_REASONS[CONNECTION_DONE] = DONE

_log = Logger()


def reasonFor(lost: Exception) -> Failure:
    """Give the reason for what reading or writing returned."""
    return _REASONS.get(lost) or Failure(lost)


def broken(stream: Ready) -> None:
    """
    End a stream whose protocol has raised what is being handled, and log it.

    Nothing is raised here, whatever the protocol makes of its end: all other streams depend on
    whoever calls this.  That is true of C{SystemExit}, too, as in a reactor.
    """
    failure = Failure()
    _log.failure("Unhandled error in a protocol", failure)
    try:
        stream.connectionLost(failure)
    except BaseException:
        _log.failure("Unhandled error in a protocol that has failed before")


def wakerOf(reactor: Any) -> int | None:
    """
    Find what is readable when a thread or a signal wants something of a reactor.

    @return: a descriptor; L{None} if it has none, or is woken in another way (asyncio's).
    """
    if getattr(type(reactor), "callFromThread", None) is not ReactorBase.callFromThread:
        return None
    return None if reactor.waker is None else int(reactor.waker.fileno())


def drain(stream: Drains) -> None:
    """Have a stream do what it does once all is sent; it may be its end."""
    try:
        lost = stream.drained()
        if lost is not None:
            stream.connectionLost(reasonFor(lost))
    except BaseException:
        broken(stream)


class EpollWatch:
    """An epoll set of our own; to the reactor, one descriptor."""

    def __init__(self, reactor: Any) -> None:
        """
        @param reactor: provides L{IReactorFDSet} and L{IReactorTime}.
        """
        self._reactor = reactor
        self.callLater = reactor.callLater
        # Made with the first stream, which is after a daemon has forked, and closed with the last.
        self._epoll: Any = None
        self._watched: dict[int, Ready] = {}
        self._wanted: dict[int, int] = {}
        self._soon: list[Drains] = []
        self._serving = False
        # Readable when a thread or a signal wants the reactor; L{None}: there is no telling.
        self._waker: int | None = None
        self._called = False
        # When its last turn was over, and until when there is no waiting.
        self._left = self._sober = 0.0

    # What streams ask.

    def addReader(self, reader: Ready) -> None:
        """See L{Watch.addReader}."""
        self._want(reader, reader.fileno(), _EPOLLIN)

    def addWriter(self, writer: Ready) -> None:
        """See L{Watch.addWriter}."""
        self._want(writer, writer.fileno(), _EPOLLOUT)

    def removeReader(self, reader: Ready) -> None:
        """See L{Watch.removeReader}."""
        self._unwant(reader.fileno(), _EPOLLIN)

    def removeWriter(self, writer: Ready) -> None:
        """See L{Watch.removeWriter}."""
        self._unwant(writer.fileno(), _EPOLLOUT)

    def soon(self, writer: Drains) -> None:
        """See L{Watch.soon}: when those that are ready have been served, if they are being."""
        if not (self._serving or self._soon):
            self.callLater(0, self._serveSoon)
        self._soon.append(writer)

    def forget(self, either: Ready) -> None:
        """See L{Watch.forget}; what is closed leaves an epoll set by itself."""
        descriptor = either.fileno()
        if self._wanted.pop(descriptor, None) is not None:
            del self._watched[descriptor]
            if not self._wanted:
                self._close()

    def _want(self, stream: Ready, descriptor: int, events: int) -> None:
        wanted = self._wanted.get(descriptor)
        if wanted is None:
            if self._epoll is None:
                self._open()
            self._epoll.register(descriptor, events)
            self._wanted[descriptor] = events
        elif wanted | events != wanted:
            self._epoll.modify(descriptor, wanted | events)
            self._wanted[descriptor] = wanted | events
        self._watched[descriptor] = stream

    def _unwant(self, descriptor: int, events: int) -> None:
        wanted = self._wanted.get(descriptor)
        if wanted is None or not wanted & events:
            return
        wanted &= ~events
        if wanted:
            self._epoll.modify(descriptor, wanted)
            self._wanted[descriptor] = wanted
        else:
            # Not watched for nothing: a reset would be reported without end.
            self._epoll.unregister(descriptor)
            del self._wanted[descriptor], self._watched[descriptor]
            if not self._wanted:
                self._close()

    # What the reactor asks.

    def fileno(self) -> int:
        """Name the set."""
        return -1 if self._epoll is None else int(self._epoll.fileno())

    def logPrefix(self) -> str:
        """Name us in the log."""
        return "Streams"

    def doRead(self) -> None:
        """
        Serve those that are ready, and then those that soon are.

        A turn of the reactor costs more than to pass a message on.  So where one follows another
        its turn has to wait a little: until nothing is ready any more, a thread or a signal wants
        it, or L{LINGER} is over.  While it has something to do itself, we only look.
        """
        self._serve(self._epoll.poll(0, BATCH))
        now = monotonic()
        if now - self._left < PATIENCE and now >= self._sober and self._waker is not None:
            until = now + LINGER
            while now < until and self._epoll is not None and not self._called:
                due = self._reactor.timeout()
                ready = self._epoll.poll(PATIENCE if due is None else min(due, PATIENCE), BATCH)
                if not ready:
                    self._sober = now + SOBER
                    break
                self._serve(ready)
                now = monotonic()
        self._called = False
        self._left = now

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        """Serve those that are ready."""
        watched, wanted = self._watched, self._wanted
        self._serving = True
        for descriptor, events in ready:
            # One that was served before may have ended this one, or changed what it wants.
            wants = wanted.get(descriptor)
            if wants is None:
                self._called = self._called or descriptor == self._waker
                continue
            stream = watched[descriptor]
            try:
                lost = None
                if events & _READABLE and wants & _EPOLLIN:
                    lost = stream.doRead()
                    if lost is CONNECTION_DONE:
                        stream.readConnectionLost(DONE)
                        # Mostly that has closed it, and there is nothing to tell the kernel.
                        if watched.get(descriptor) is stream:
                            self._unwant(descriptor, _EPOLLIN)
                        continue
                    if lost is None:
                        if not events & _WRITABLE:
                            continue
                        wants = wanted.get(descriptor, 0)
                if lost is None and events & _WRITABLE and wants & _EPOLLOUT:
                    lost = stream.doWrite()
                if lost is not None:
                    stream.connectionLost(reasonFor(lost))
            except BaseException:
                broken(stream)
        self._serving = False
        if self._soon:
            self._serveSoon()

    def _serveSoon(self) -> None:
        """Serve those that were not to be served from within."""
        soon = self._soon
        for stream in soon:  # And those that come to it meanwhile.
            drain(stream)
        soon.clear()

    def connectionLost(self, reason: Failure) -> None:
        """The reactor can't watch the set any more: nobody would hear of any stream."""
        for stream in list(self._watched.values()):
            try:
                stream.connectionLost(reason)
            except BaseException:
                broken(stream)

    def _open(self) -> None:
        self._epoll = select.epoll()
        self._waker = wakerOf(self._reactor)
        if self._waker is not None:
            self._epoll.register(self._waker, _EPOLLIN)
        self._reactor.addReader(self)

    def _close(self) -> None:
        self._reactor.removeReader(self)
        self._epoll.close()
        self._epoll = None


if hasattr(select, "epoll"):
    _EPOLLIN = select.EPOLLIN
    _EPOLLOUT = select.EPOLLOUT
    _READABLE = select.EPOLLIN | select.EPOLLHUP | select.EPOLLERR
    _WRITABLE = select.EPOLLOUT | select.EPOLLHUP | select.EPOLLERR


# By the reactor's id, which is its own as long as its set is there and holds it.
_sets: WeakValueDictionary[int, EpollWatch] = WeakValueDictionary()


def watchFor(reactor: Any) -> Watch:
    """
    Choose what watches best over a reactor.

    All who ask share one epoll set, as long as any of them holds it: two would each wait for what
    the other one has.

    @param reactor: provides L{IReactorFDSet} and L{IReactorTime}.
    """
    if not hasattr(select, "epoll"):
        return ReactorWatch(reactor)
    found = _sets.get(id(reactor))
    if found is None:
        found = _sets[id(reactor)] = EpollWatch(reactor)
    return found
