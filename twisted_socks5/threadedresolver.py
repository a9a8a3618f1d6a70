"""
The system's own resolver, getaddrinfo, so that /etc/hosts and nsswitch.conf hold.

It blocks, up to half a minute for a name whose servers are dead, so it runs in threads.  Those
of the reactor are ten, and ten dead names would hold up all else that is done in them; these
are nobody else's::

    asked -> waiting (cancelled: gone) -> running, in a thread -> complete
             at most NameLookup's limit   at most C{threads}

All tables belong to the reactor's thread; a queue of jobs goes to the threads, and what they
find comes back through callFromThread.  Deadlines, and who wants to know, are
L{resolving<twisted_socks5.resolving>}'s.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IHostnameResolver, IHostResolution, IReactorFromThreads
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress, IResolutionReceiver

_log = Logger()

_STOPPED = "the resolver is stopped"

# A call of getaddrinfo, what it gives, and what a thread brings back: that, or an exception.
_Job = tuple[str, socket.AddressFamily, socket.SocketKind]
_Found = Sequence[tuple[Any, Any, Any, Any, tuple[Any, ...]]]
_Outcome = _Found | Exception
_GetAddrInfo = Callable[
    [str, int, socket.AddressFamily, socket.SocketKind],
    _Found,
]

_FAMILIES: dict[frozenset[Any], socket.AddressFamily] = {
    frozenset([IPv4Address]): socket.AF_INET,
    frozenset([IPv6Address]): socket.AF_INET6,
    frozenset([IPv4Address, IPv6Address]): socket.AF_UNSPEC,
}
_KINDS = {"TCP": socket.SOCK_STREAM, "UDP": socket.SOCK_DGRAM}


@implementer(IHostnameResolver)
class ThreadedResolver:
    """
    The system's getaddrinfo, in threads of its own.

    Between L{start} and L{stop} only; at other times every name resolves to nothing at once.
    Threads are made when there is work for them, so never before a daemon has forked, and kept
    until L{stop}.  They are daemons: one that is stuck in getaddrinfo, for half a minute or for
    ever, holds up neither L{stop} nor the end of the process.

    A thread works for one name at a time, so who asks for a name that has one stuck waits
    together with whoever asked before, and takes no further thread.

    @param reactor: runs what the threads bring back.
    @param threads: how many names are resolved at the same time; further ones wait, and while
        they do can be cancelled.
    @param getaddrinfo: asks the system; must be safe to call in threads.
    """

    def __init__(
        self,
        reactor: IReactorFromThreads,
        threads: int = 32,
        *,
        getaddrinfo: _GetAddrInfo = socket.getaddrinfo,
    ) -> None:
        self._reactor = reactor
        self._limit = threads
        self._getaddrinfo = getaddrinfo
        self._waiting: dict[_Job, list[_Resolution]] = {}
        self._running: dict[_Job, list[_Resolution]] = {}
        # The queue of this start; threads of an earlier one, still stuck, have another.
        self._queue: SimpleQueue[_Job | None] | None = None
        self._threads = 0

    def start(self) -> None:
        """Begin to resolve.  It may be started again after a stop."""
        if self._queue is None:
            self._queue = SimpleQueue()

    def stop(self) -> None:
        """
        Resolve no more, and wait for nothing: who still waits gets no addresses, idle threads
        end, and stuck ones do when they come back.
        """
        queue, self._queue = self._queue, None
        if queue is None:
            return
        for _ in range(self._threads):
            queue.put(None)
        self._threads = 0
        jobs = [*self._running.values(), *self._waiting.values()]
        self._running.clear()
        self._waiting.clear()
        for resolutions in jobs:
            _complete(resolutions, [], _STOPPED)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        See L{IHostnameResolver.resolveHostName
        <twisted.internet.interfaces.IHostnameResolver.resolveHostName>}.

        @return: the resolution; it can be cancelled, and its C{reason} says why it has brought
            no addresses.
        """
        family = _FAMILIES[frozenset(addressTypes or (IPv4Address, IPv6Address))]
        job = (hostName, family, _KINDS[transportSemantics])
        resolution = _Resolution(self, job, resolutionReceiver, portNumber, transportSemantics)
        resolutionReceiver.resolutionBegan(resolution)
        if self._queue is None:
            resolution.complete([], _STOPPED)
        elif job in self._running:
            self._running[job].append(resolution)
        else:
            self._waiting.setdefault(job, []).append(resolution)
            self._dispatch(self._queue)
        return resolution

    def _dispatch(self, queue: SimpleQueue[_Job | None]) -> None:
        """Give what waits to the threads, as far as there are any."""
        while self._waiting and len(self._running) < self._limit:
            job = next(iter(self._waiting))
            self._running[job] = self._waiting.pop(job)
            if self._threads < len(self._running):
                self._startThread(queue)
            queue.put(job)

    def _startThread(self, queue: SimpleQueue[_Job | None]) -> None:
        """Add a thread; a system that has none left makes the job wait for another's end."""
        number = self._threads + 1
        thread = Thread(
            target=self._work, args=(queue,), name=f"socks5-names-{number}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError:
            _log.failure("Cannot start thread {number} to resolve names", number=number)
        else:
            self._threads = number

    def _work(self, queue: SimpleQueue[_Job | None]) -> None:
        """What a thread does, all its life."""
        while (job := queue.get()) is not None:
            name, family, kind = job
            outcome: _Outcome
            try:
                outcome = self._getaddrinfo(name, 0, family, kind)
            except Exception as exception:
                outcome = exception
            self._reactor.callFromThread(self._returned, queue, job, outcome)

    def _returned(self, queue: SimpleQueue[_Job | None], job: _Job, outcome: _Outcome) -> None:
        """A thread is done with a job, perhaps one of an earlier start that nobody knows."""
        if queue is not self._queue:
            return
        resolutions = self._running.pop(job)
        self._dispatch(queue)
        if isinstance(outcome, Exception):
            _complete(resolutions, [], _reasonOf(outcome))
        else:
            _complete(resolutions, outcome, "")

    def _cancel(self, resolution: _Resolution) -> None:
        """Tell C{resolution} nothing more, and do not begin for nobody."""
        job = resolution.job
        for jobs in (self._waiting, self._running):
            resolutions = jobs.get(job, [])
            if resolution in resolutions:
                resolutions.remove(resolution)
                if not resolutions and jobs is self._waiting:
                    del jobs[job]


@implementer(IHostResolution)
class _Resolution:
    """
    One asker's share in a job.

    @ivar job: what is being resolved.
    @ivar reason: once it is complete and has brought nothing: why, in a few words.
    """

    def __init__(
        self,
        resolver: ThreadedResolver,
        job: _Job,
        receiver: IResolutionReceiver,
        port: int,
        transport: Any,
    ) -> None:
        self.name = job[0]
        self.job = job
        self.reason = ""
        self._resolver = resolver
        self._receiver = receiver
        self._port = port
        self._transport = transport

    def cancel(self) -> None:
        """Hear nothing more."""
        self._resolver._cancel(self)

    def complete(self, found: _Found, reason: str) -> None:
        """Tell the receiver."""
        self.reason = reason
        for family, _, _, _, (host, _, *more) in found:
            kind = IPv6Address if family == socket.AF_INET6 else IPv4Address
            self._receiver.addressResolved(kind(self._transport, host, self._port, *more))
        self._receiver.resolutionComplete()


def _complete(resolutions: list[_Resolution], found: _Found, reason: str) -> None:
    """Tell all who asked; one of them may cancel another, or fail."""
    while resolutions:
        resolution = resolutions.pop(0)
        try:
            resolution.complete(found, reason)
        except Exception:
            _log.failure("An answer for {name} was not taken", name=resolution.name)


def _reasonOf(exception: Exception) -> str:
    """Why getaddrinfo has failed; what it does not fail with in ordinary life is logged."""
    if isinstance(exception, socket.gaierror):
        if exception.errno in _NO_SUCH_NAME:
            return "no such name"
        return str(exception.strerror or exception).lower()
    if isinstance(exception, ValueError):
        return "not a name"  # also UnicodeError: a label over 63 octets, say
    _log.failure("getaddrinfo failed", Failure(exception))
    return f"getaddrinfo failed ({type(exception).__name__})"


# EAI_NODATA, a name without addresses, is not everywhere.
_NO_SUCH_NAME = {
    number
    for number in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", None))
    if number is not None
}
