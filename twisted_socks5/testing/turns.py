"""
The turns of a reactor in memory, in which time and sockets act on transports.

It goes round as a poll(2) reactor does: what has arrived, delayed calls that are due, then each
descriptor that is ready, once; what becomes ready meanwhile waits for the next turn.  Nothing
happens by itself.  What can be listened to, connected or resolved is not known here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from twisted.internet import error, main
from twisted.internet.base import DelayedCall
from twisted.internet.interfaces import IHalfCloseableDescriptor
from twisted.internet.task import Clock
from twisted.python import log
from twisted.python.failure import Failure

from twisted_socks5.testing.network import Network
from twisted_socks5.testing.sockets import POLL_ERR, POLL_HUP, POLL_IN, POLL_OUT
from twisted_socks5.testing.threads import MemoryThreadPool


class NotAtRest(Exception):
    """The code under test kept the reactor busy without end."""


class Turns(Clock):
    """
    A clock whose turns also move octets between sockets and transports.

    @ivar network: the sockets and routes.
    @ivar threads: work that threads would do.
    @cvar turnLimit: how many turns without rest are a bug.
    """

    turnLimit = 100_000

    def __init__(self, network: Network, shuffle: Callable[[list[Any]], None] | None) -> None:
        super().__init__()
        self.network = network
        self.threads = MemoryThreadPool()
        self._shuffle = shuffle
        self._fromThreads: list[Callable[[], object]] = []
        self._descriptors: dict[int, Any] = {}
        self._reading: set[int] = set()
        self._writing: set[int] = set()

    def turn(self) -> bool:
        """
        Go round once: arrivals, threads' results, delayed calls, ready descriptors.

        @return: whether there was anything to do.
        """
        arrived = self.network.arrive(self.rightNow)
        work = self.threads.takeWork()
        work += self._fromThreads
        self._fromThreads = []
        for each in work:
            each()
        due = sorted(
            (call for call in self.calls if call.getTime() <= self.rightNow),
            key=DelayedCall.getTime,
        )
        for call in due:
            # It may have been cancelled or put off by one before it.
            if call in self.calls and call.getTime() <= self.rightNow:
                self.calls.remove(call)
                call.called = 1
                call.func(*call.args, **call.kw)
        ready = self._poll()
        for descriptor, number, events in ready:
            if self._descriptors.get(number) is descriptor:
                self._serve(descriptor, number, events)
        return bool(arrived or work or due or ready)

    def settle(self) -> None:
        """
        Go round until there is nothing to do at this time.

        @raise NotAtRest: when there always is.
        """
        for _ in range(self.turnLimit):
            if not self.turn():
                return
        raise NotAtRest(f"still busy after {self.turnLimit} turns")

    def advance(self, amount: float) -> None:
        """
        Let time pass; whatever it brings about is done when it is due, octets included.

        @param amount: seconds; 0 only settles.
        @raise NotAtRest: as L{settle}.
        """
        target = self.rightNow + amount
        self.settle()
        while True:
            times = [call.getTime() for call in (*self.calls, *self.network.time.calls)]
            due = min(times, default=target)
            if not self.rightNow < due < target:
                break
            self.rightNow = due
            self.settle()
        self.rightNow = target
        self.settle()

    def pump(self, timings: Iterable[float] = (0.0,)) -> None:
        """
        Advance several times.

        @param timings: seconds.
        """
        super().pump(timings)

    # What transports call, as on an IReactorFDSet

    def addReader(self, reader: Any) -> None:
        """
        Tell this descriptor when it can be read.

        @param reader: an L{IReadDescriptor<twisted.internet.interfaces.IReadDescriptor>}.
        """
        self._add(reader, self._reading)

    def addWriter(self, writer: Any) -> None:
        """
        Tell this descriptor when it can be written to.

        @param writer: an L{IWriteDescriptor<twisted.internet.interfaces.IWriteDescriptor>}.
        """
        self._add(writer, self._writing)

    def removeReader(self, reader: Any) -> None:
        """
        Stop telling this descriptor when it can be read.

        @param reader: what was added, or not.
        """
        self._remove(reader, self._reading)

    def removeWriter(self, writer: Any) -> None:
        """
        Stop telling this descriptor when it can be written to.

        @param writer: what was added, or not.
        """
        self._remove(writer, self._writing)

    def _add(self, descriptor: Any, interested: set[int]) -> None:
        number = descriptor.fileno()
        self._descriptors[number] = descriptor
        interested.add(number)

    def _remove(self, descriptor: Any, interested: set[int]) -> None:
        number = descriptor.fileno()
        interested.discard(number)
        if number not in self._reading and number not in self._writing:
            self._descriptors.pop(number, None)

    def _poll(self) -> list[tuple[Any, int, int]]:
        """Tell which descriptors are ready, as of now."""
        ready = []
        for number, descriptor in self._descriptors.items():
            wanted = POLL_ERR | POLL_HUP
            wanted |= POLL_IN if number in self._reading else 0
            wanted |= POLL_OUT if number in self._writing else 0
            item = self.network.sockets.get(number)
            events = item.poll() & wanted if item is not None else 0
            if events:
                ready.append((descriptor, number, events))
        if self._shuffle is not None:
            self._shuffle(ready)
        return ready

    def _serve(self, descriptor: Any, number: int, events: int) -> None:
        """Let a descriptor read and write, and lose its connection when that is how it ends."""
        why: BaseException | None = None
        inRead = False
        if events & (POLL_ERR | POLL_HUP) and not events & POLL_IN:
            inRead = number in self._reading
            why = main.CONNECTION_DONE if inRead else main.CONNECTION_LOST
        else:
            try:
                if events & POLL_IN:
                    inRead = True
                    why = descriptor.doRead()
                if not why and events & POLL_OUT:
                    inRead = False
                    why = descriptor.doWrite()
            except Exception as problem:
                why = problem
                log.err()
        if why:
            self.removeReader(descriptor)
            halfClosed = inRead and isinstance(why, error.ConnectionDone)
            if halfClosed and IHalfCloseableDescriptor.providedBy(descriptor):
                descriptor.readConnectionLost(Failure(why))
            else:
                self.removeWriter(descriptor)
                descriptor.connectionLost(Failure(why))
