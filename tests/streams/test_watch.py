"""Who watches streams: an epoll set of their own, on sockets of the kernel's."""

from __future__ import annotations

import os
import select
import socket
import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet.base import ReactorBase
from twisted.internet.error import ConnectionLost
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.streams import ReactorWatch, watch, watchFor
from twisted_socks5.streams.watch import BATCH, LINGER, PATIENCE, SOBER, EpollWatch, wakerOf
from twisted_socks5.testing import MemoryReactor


class Bug(BaseException):
    """What is wrong in a protocol, and as bad as can be."""


class Watching(Clock):
    """A reactor that notes what it is to watch."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: list[Any] = []

    def addReader(self, reader: Any) -> None:
        """Watch it."""
        self.readers.append(reader)

    def removeReader(self, reader: Any) -> None:
        """Watch it no more."""
        self.readers.remove(reader)


class Watched:
    """
    A socket that is watched, and notes what it is told.

    @ivar on: what to do or to return, by what it is told.
    """

    def __init__(self) -> None:
        self.socket, self.far = socket.socketpair()
        for each in (self.socket, self.far):
            each.setblocking(False)
        self.told: list[str] = []
        self.on: dict[str, Callable[[], Any]] = {}

    def fileno(self) -> int:
        """Name the descriptor."""
        return self.socket.fileno()

    def _tell(self, what: str) -> Any:
        self.told.append(what)
        return self.on.get(what, lambda: None)()

    def doRead(self) -> Any:
        """Read."""
        return self._tell("read")

    def doWrite(self) -> Any:
        """Write."""
        return self._tell("write")

    def drained(self) -> Any:
        """Do what waits for all to be sent."""
        return self._tell("drained")

    def readConnectionLost(self, reason: Failure) -> None:
        """Nothing more comes."""
        self._tell("end")

    def connectionLost(self, reason: Failure) -> None:
        """It is over."""
        self._tell(type(reason.value).__name__)

    def take(self) -> None:
        """Read what there is."""
        self.socket.recv(100)

    def close(self) -> None:
        """Close both ends."""
        self.socket.close()
        self.far.close()


def fail() -> None:
    """Raise."""
    raise Bug


class EpollTests(SynchronousTestCase):
    """Streams that are ready are served, and no others."""

    def setUp(self) -> None:
        """Make a watch."""
        self.reactor = Watching()
        self.watch = EpollWatch(self.reactor)
        self.open: list[Watched] = []
        self.addCleanup(self.assertClosed)

    def assertClosed(self) -> None:
        """With the last stream, the set is closed."""
        for each in self.open:
            if each.fileno() >= 0:
                self.watch.forget(each)
            each.close()
        self.assertEqual((self.reactor.readers, self.watch.fileno()), ([], -1))

    def watched(self, *, read: bool = True, write: bool = False, said: bytes = b"") -> Watched:
        """Make a socket that is watched."""
        made = Watched()
        self.open.append(made)
        if read:
            self.watch.addReader(made)
        if write:
            self.watch.addWriter(made)
        made.far.send(said)
        return made

    def turn(self) -> None:
        """Let the reactor see that the set is readable, if it is."""
        if self.reactor.readers and select.select([self.watch.fileno()], [], [], 0)[0]:
            self.watch.doRead()

    def test_set(self) -> None:
        """The reactor has one descriptor to watch, as long as there is a stream."""
        self.assertEqual((self.watch.fileno(), self.reactor.readers), (-1, []))
        one, two = self.watched(), self.watched(write=True)
        self.assertEqual(self.reactor.readers, [self.watch])
        self.assertEqual(self.watch.logPrefix(), "Streams")
        self.assertGreaterEqual(self.watch.fileno(), 0)
        self.watch.removeReader(one)
        self.watch.removeReader(two)
        self.assertEqual(self.reactor.readers, [self.watch])
        self.watch.removeWriter(two)
        self.assertEqual((self.watch.fileno(), self.reactor.readers), (-1, []))
        self.watch.addReader(one)
        self.assertEqual(self.reactor.readers, [self.watch])

    def test_reading(self) -> None:
        """Those that can be read, as long as they want to."""
        ready, quiet = self.watched(said=b"x"), self.watched()
        self.turn()
        self.turn()
        self.assertEqual((ready.told, quiet.told), (["read", "read"], []))
        self.watch.removeReader(ready)
        self.turn()
        self.assertEqual(ready.told, ["read", "read"])

    def test_writing(self) -> None:
        """Those that can be written to, as long as they want to."""
        writer = self.watched(read=False, write=True)
        both = self.watched(write=True, said=b"x")
        self.turn()
        self.assertEqual((writer.told, both.told), (["write"], ["read", "write"]))
        both.on["read"] = lambda: self.watch.removeWriter(both)
        self.watch.removeWriter(writer)
        self.turn()
        self.assertEqual((writer.told, both.told), (["write"], ["read", "write", "read"]))

    def test_twice(self) -> None:
        """To want something twice, or not to want what was not wanted, is nothing."""
        stream = self.watched(said=b"x")
        self.watch.addReader(stream)
        self.watch.removeWriter(stream)
        self.turn()
        self.assertEqual(stream.told, ["read"])
        self.watch.forget(stream)
        self.watch.forget(stream)
        self.watch.removeReader(stream)

    def test_ends(self) -> None:
        """What reading and writing return is the end, or that of the input."""
        for what, result, told in (
            ("read", CONNECTION_DONE, ["read", "end"]),
            ("read", CONNECTION_LOST, ["read", "ConnectionLost"]),
            ("write", CONNECTION_DONE, ["write", "ConnectionDone"]),
            ("write", CONNECTION_LOST, ["write", "ConnectionLost"]),
        ):
            stream = self.watched(read=what == "read", write=what == "write", said=b"x")
            stream.on[what] = lambda result=result: result  # type: ignore[misc]  # mypy on lambda
            self.turn()
            self.assertEqual(stream.told, told)
            self.watch.forget(stream)

    def test_endOfInput(self) -> None:
        """Behind the end of the input it is not read, but may be written to."""
        stream = self.watched(write=True, said=b"x")
        stream.on["read"] = lambda: CONNECTION_DONE
        self.turn()
        self.turn()
        self.assertEqual(stream.told, ["read", "end", "write"])

    def test_hungUp(self) -> None:
        """A peer that has gone is told to who reads, and to who writes; to nobody else."""
        for read, write, told in ((True, False, "read"), (False, True, "write")):
            stream = self.watched(read=read, write=write)
            stream.far.close()
            self.turn()
            self.assertEqual(stream.told, [told])
            self.watch.forget(stream)
        nobody = self.watched(read=False)
        other = self.watched()
        nobody.far.close()
        self.turn()
        self.assertEqual((nobody.told, other.told), ([], []))

    def test_soon(self) -> None:
        """Whoever asks from within is called when those that are ready were served; or later."""
        first, second = self.watched(said=b"x"), self.watched(said=b"x")
        for each in (first, second):
            each.on["read"] = lambda each=each: self.watch.soon(each)  # type: ignore[misc]

        def again() -> Any:
            self.watch.soon(second)
            return CONNECTION_DONE

        first.on["drained"] = again
        self.turn()
        self.assertEqual(first.told, ["read", "drained", "ConnectionDone"])
        self.assertEqual(second.told, ["read", "drained", "drained"])
        self.watch.soon(second)
        self.watch.soon(second)
        self.assertEqual(len(second.told), 3)
        self.assertEqual(len(self.reactor.getDelayedCalls()), 1)
        second.on["drained"] = fail
        self.reactor.advance(0)
        self.assertEqual(second.told[3:], ["drained", "Bug", "drained", "Bug"])
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 2)

    def test_raises(self) -> None:
        """One whose protocol raises is ended; the others are served."""
        streams = [self.watched(said=b"x") for _ in range(3)]
        streams[1].on["read"] = fail
        self.turn()
        self.assertEqual([each.told for each in streams], [["read"], ["read", "Bug"], ["read"]])
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_raisesAtItsEnd(self) -> None:
        """Also if it raises at its end, or only there."""
        first, second, third = (self.watched(said=b"x") for _ in range(3))
        first.on["read"] = first.on["Bug"] = fail
        second.on["read"] = lambda: CONNECTION_LOST
        second.on["ConnectionLost"] = fail
        self.turn()
        self.assertEqual(third.told, ["read"])
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 3)

    def test_oneEndsAnother(self) -> None:
        """One that is served may end another one, whose turn it would have been."""
        streams = [self.watched(said=b"x") for _ in range(2)]

        def end(this: Watched, other: Watched) -> None:
            if not other.told:
                self.watch.forget(other)
                other.close()

        for this, other in (streams, streams[::-1]):
            this.on["read"] = lambda this=this, other=other: end(this, other)  # type: ignore[misc]
        self.turn()
        self.assertEqual(sorted(each.told for each in streams), [[], ["read"]])

    def test_numberTaken(self) -> None:
        """A new one may have the number of one that has just ended."""
        old, new = self.watched(said=b"x"), Watched()
        self.open.append(new)
        number = old.fileno()

        def replace() -> None:
            self.watch.forget(old)
            os.dup2(new.fileno(), number)
            old.socket.detach()
            new.socket.close()
            new.socket = socket.socket(fileno=number)
            self.watch.addReader(new)

        old.on["read"] = replace
        self.turn()
        self.turn()
        self.assertEqual((old.told, new.told), (["read"], []))
        new.far.send(b"x")
        self.turn()
        self.assertEqual(new.told, ["read"])

    def test_setClosedMeanwhile(self) -> None:
        """The last one may end, and a new one begin, in the midst of it."""
        streams = [self.watched(said=b"x") for _ in range(2)]

        def restart() -> None:
            for each in streams:
                self.watch.forget(each)
            self.assertEqual(self.watch.fileno(), -1)
            self.watch.addReader(late)

        late = self.watched(read=False, said=b"x")
        for each in streams:
            each.on["read"] = restart
        self.turn()
        self.assertEqual(sum(len(each.told) for each in streams), 1)
        self.turn()
        self.assertEqual(late.told, ["read"])

    def test_fair(self) -> None:
        """Of very many that are ready all have their turn before any has a second one."""
        streams = [self.watched(said=b"x") for _ in range(BATCH + 50)]
        self.turn()
        served = [each for each in streams if each.told]
        self.assertEqual(len(served), BATCH)
        self.turn()
        self.assertEqual([each for each in streams if not each.told], [])

    def test_reactorStops(self) -> None:
        """If the set can't be watched any more, all are told, whatever each makes of it."""
        streams = [self.watched() for _ in range(3)]
        for each in streams:
            each.on["ConnectionLost"] = lambda each=each: self.watch.forget(each)  # type: ignore[misc]
        streams[1].on["ConnectionLost"] = fail
        self.watch.connectionLost(Failure(ConnectionLost()))
        self.assertEqual([each.told[0] for each in streams], ["ConnectionLost"] * 3)
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_time(self) -> None:
        """The time is the reactor's."""
        called: list[int] = []
        self.watch.callLater(1, called.append, 1)
        self.reactor.advance(1)
        self.assertEqual(called, [1])


class ChoiceTests(SynchronousTestCase):
    """What watches over a reactor."""

    def test_epoll(self) -> None:
        """Where there is epoll, a set of the streams' own; else the reactor itself."""
        reactor = MemoryReactor()
        self.assertIsInstance(watchFor(reactor), EpollWatch)
        self.patch(watch, "select", object())
        self.assertIsInstance(watchFor(reactor), ReactorWatch)

    def test_shared(self) -> None:
        """A reactor has one set, for as long as somebody holds it, and no other reactor has it."""
        reactor = MemoryReactor()
        first = watchFor(reactor)
        self.assertIs(watchFor(reactor), first)
        self.assertIsNot(watchFor(MemoryReactor()), first)
        gone = weakref.ref(first)
        del first
        self.assertIsNone(gone())
        self.assertIsInstance(watchFor(reactor), EpollWatch)

    def test_reactor(self) -> None:
        """The reactor is told all; to forget is to want neither."""
        told: list[str] = []

        class Reactor:
            def __getattr__(self, name: str) -> Any:
                return lambda *_: told.append(name)

        watching = ReactorWatch(Reactor())
        for ask in ("addReader", "addWriter", "removeReader", "removeWriter", "callLater"):
            getattr(watching, ask)(None)
        watching.forget(None)
        self.assertEqual(
            told,
            [
                *("addReader", "addWriter", "removeReader", "removeWriter", "callLater"),
                *("removeReader", "removeWriter"),
            ],
        )


class Lively(Watching):
    """
    A reactor that is woken by a descriptor, as Twisted's own are.

    @ivar due: what it says of its next call, in seconds.
    """

    callFromThread = ReactorBase.callFromThread

    def __init__(self) -> None:
        super().__init__()
        self.due: float | None = None
        self.waker, self.waking = socket.socketpair()

    def timeout(self) -> float | None:
        """Say when it has to do something itself."""
        return self.due


class LingerTests(SynchronousTestCase):
    """The reactor's turn waits a little where one message follows another."""

    def setUp(self) -> None:
        """Make a watch, by a clock that stands still, and two streams that it watches."""
        self.reactor = Lively()
        self.now = 100.0
        self.patch(watch, "monotonic", lambda: self.now)
        self.watch = EpollWatch(self.reactor)
        self.first, self.second = Watched(), Watched()
        for each in (self.first, self.second):
            self.watch.addReader(each)
            each.on["read"] = each.take
        self.addCleanup(self.end)

    def end(self) -> None:
        """Close all."""
        for each in (self.first, self.second):
            self.watch.forget(each)
            each.close()
        self.reactor.waker.close()
        self.reactor.waking.close()

    def passOn(self) -> None:
        """Make the second stream ready when the first is read."""

        def read() -> None:
            self.first.take()
            self.second.far.send(b"y")

        self.first.on["read"] = read
        self.first.far.send(b"x")

    def rest(self) -> None:
        """Let nothing happen for a while, and then one turn pass."""
        self.now += SOBER
        self.watch.doRead()

    def test_lively(self) -> None:
        """What is ready a moment later is served at once, unless it was quiet before."""
        for pause, served in ((0.0, 1), (PATIENCE / 2, 1), (PATIENCE, 0)):
            self.rest()
            self.now += pause
            self.passOn()
            self.watch.doRead()
            self.assertEqual(len(self.second.told), served)
            self.watch.doRead()
            self.assertEqual(len(self.second.told), 1)
            self.second.told.clear()

    def test_reactorIsDue(self) -> None:
        """With something due in the reactor there is no waiting, only a look."""
        waits: list[float] = []
        self.watch.doRead()
        really = self.watch._epoll

        class Noting:
            """The set, which notes for how long it is asked."""

            close = really.close
            fileno = really.fileno
            unregister = really.unregister

            def poll(self, seconds: float, most: int) -> Any:
                """Look, and don't wait."""
                waits.append(seconds)
                return really.poll(0, most)

        self.watch._epoll = Noting()
        for due, wait in (
            (None, PATIENCE),
            (5.0, PATIENCE),
            (PATIENCE / 4, PATIENCE / 4),
            (0.0, 0.0),
        ):
            self.reactor.due = due
            self.rest()
            self.watch.doRead()
            self.assertEqual(waits, [0, 0, wait])
            waits.clear()

    def test_inVain(self) -> None:
        """Behind a wait in vain there is none for a while: others may be those who speak."""
        self.rest()
        self.watch.doRead()
        for pause, served in ((SOBER / 2, 0), (SOBER / 2, 1)):
            self.now += pause
            self.watch.doRead()
            self.passOn()
            self.watch.doRead()
            self.assertEqual(len(self.second.told), served)
            self.watch.doRead()
            self.second.told.clear()

    def test_woken(self) -> None:
        """A thread or a signal that wants the reactor gets it."""
        self.watch.doRead()
        self.passOn()
        self.reactor.waking.send(b"!")
        self.watch.doRead()
        self.assertEqual((self.first.told, self.second.told), (["read"], []))
        self.reactor.waker.recv(1)
        self.watch.doRead()
        self.assertEqual(self.second.told, ["read"])

    def test_bound(self) -> None:
        """However lively they are, the reactor has its turn in time."""

        def read() -> None:
            self.now += LINGER / 10

        self.watch.doRead()
        self.first.on["read"] = read
        self.first.far.send(b"x")
        self.watch.doRead()
        self.assertIn(len(self.first.told), (10, 11, 12))

    def test_nobodyLeft(self) -> None:
        """With the last stream the set is closed, and there is nothing to wait for."""
        self.watch.doRead()
        self.watch.forget(self.second)
        self.first.on["read"] = lambda: self.watch.forget(self.first)
        self.first.far.send(b"x")
        self.watch.doRead()
        self.assertEqual((self.first.told, self.watch.fileno()), (["read"], -1))

    def test_wakers(self) -> None:
        """Reactors that are woken otherwise, or never, are not kept waiting."""

        class Other(Lively):
            """One that has its own way."""

            def callFromThread(self) -> None:  # type: ignore[override]
                """Wake it in that way."""

        self.assertEqual(wakerOf(self.reactor), self.reactor.waker.fileno())
        asleep = Lively()
        asleep.waker.close()
        asleep.waking.close()
        self.patch(asleep, "waker", None)
        for reactor in (asleep, Other(), Watching(), MemoryReactor()):
            self.assertIsNone(wakerOf(reactor))
            if isinstance(reactor, Other):
                reactor.waker.close()
                reactor.waking.close()
