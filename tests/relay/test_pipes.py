"""Pipes of the kernel's, how many of them there are, and real sockets spliced through them."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
from typing import Any, cast
from unittest import skipUnless

from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.relay import Leg, Outcome, TCPRelay
from twisted_socks5.relay.splice import KEPT_PIPES, Pipe, PipePool, Splice
from twisted_socks5.streams import BUFFER, Stream
from twisted_socks5.streams.watch import drain

F_SETPIPE_SZ, F_GETPIPE_SZ = 1031, 1032


class Watching(Clock):
    """Notes what is watched; a test serves it."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()

    def addReader(self, reader: Any) -> None:
        """Watch for reading."""
        self.readers.add(reader)

    def removeReader(self, reader: Any) -> None:
        """Do so no more."""
        self.readers.discard(reader)

    def addWriter(self, writer: Any) -> None:
        """Watch for writing."""
        self.writers.add(writer)

    def removeWriter(self, writer: Any) -> None:
        """Do so no more."""
        self.writers.discard(writer)

    def soon(self, writer: Any) -> None:
        """Have it do in the next turn what waits for all to be sent."""
        self.callLater(0, drain, writer)

    def forget(self, either: Any) -> None:
        """Do neither any more."""
        self.removeReader(either)
        self.removeWriter(either)


def tcpPair() -> tuple[socket.socket, socket.socket]:
    """Connect two TCP sockets, with small buffers, that don't block."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        one = socket.socket()
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 16)
        one.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
        one.connect(listening.getsockname())
        two, _ = listening.accept()
    two.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 16)
    for each in (one, two):
        each.setblocking(False)
    return one, two


@skipUnless(sys.platform == "linux", "splice(2) is Linux'")
class PipeTests(SynchronousTestCase):
    """Pipes, one by one and in a pool."""

    def setUp(self) -> None:
        """Make a pool."""
        self.pool = PipePool()
        self.addCleanup(self.pool.close)
        self.before = len(os.listdir("/proc/self/fd"))

    def assertOpen(self, pipes: int) -> None:
        """Assert how many descriptors are open."""
        self.assertEqual(len(os.listdir("/proc/self/fd")) - self.before, 2 * pipes)

    def test_pipe(self) -> None:
        """A pipe blocks at neither end, is not inherited, and holds what it says."""
        pipe = Pipe()
        self.assertFalse(os.get_blocking(pipe.input) or os.get_blocking(pipe.output))
        self.assertFalse(os.get_inheritable(pipe.input) or os.get_inheritable(pipe.output))
        self.assertEqual(pipe.size, fcntl.fcntl(pipe.input, F_GETPIPE_SZ))
        os.write(pipe.input, b"octets")
        self.assertEqual(os.read(pipe.output, 10), b"octets")
        pipe.close()
        self.assertOpen(0)

    def test_noMoreThanTheDefault(self) -> None:
        """A user whose pipes hold enough already gets one of the kernel's own size."""
        really = fcntl.fcntl

        def limited(descriptor: int, command: int, argument: Any = 0) -> Any:
            if command == F_SETPIPE_SZ:
                raise OSError(errno.EPERM, "Operation not permitted")
            return really(descriptor, command, argument)

        self.patch(fcntl, "fcntl", limited)
        pipe = Pipe()
        self.assertGreaterEqual(pipe.size, 4096)
        pipe.close()

    def test_pool(self) -> None:
        """What is given back is lent again; not all are kept."""
        first = self.pool.borrow()
        self.pool.giveBack(first)
        self.assertIs(self.pool.borrow(), first)
        more = [self.pool.borrow() for _ in range(KEPT_PIPES + 2)]
        self.assertEqual(self.pool.count, KEPT_PIPES + 3)
        for each in (first, *more):
            self.pool.giveBack(each)
        self.assertOpen(KEPT_PIPES)
        self.assertEqual(self.pool.count, KEPT_PIPES)
        self.pool.close()
        self.assertOpen(0)
        self.assertEqual(self.pool.count, 0)

    def test_limit(self) -> None:
        """There are only so many; one that is discarded makes room."""
        self.pool.limit = 2
        one, two = self.pool.borrow(), self.pool.borrow()
        self.assertRaises(OSError, self.pool.borrow)
        self.pool.discard(one)
        three = self.pool.borrow()
        for each in (two, three):
            self.pool.giveBack(each)
        self.assertOpen(2)

    def test_noDescriptor(self) -> None:
        """A pipe that can't be had is not counted."""

        def none(_: int) -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(os, "pipe2", none)
        self.assertRaises(OSError, self.pool.borrow)
        self.assertEqual(self.pool.count, 0)


@skipUnless(sys.platform == "linux", "splice(2) is Linux'")
class SplicedTests(SynchronousTestCase):
    """A relay between real sockets, a step at a time."""

    def setUp(self) -> None:
        """Join two connections, one direction of which is spliced."""
        self.reactor = Watching()
        self.outcomes: list[Outcome] = []
        self.pool = PipePool()
        self.source, near = tcpPair()
        self.sink, far = tcpPair()
        self.legs = [Leg(), Leg()]
        self.streams = []
        for leg, end in zip(self.legs, (far, near), strict=True):
            stream = Stream(cast(Any, self.reactor), end, leg)
            self.reactor.addReader(stream)
            leg.makeConnection(stream)
            self.streams.append(stream)
        self.relay = TCPRelay(self.legs[0], self.legs[1], self.outcomes.append)
        self.relay.start()
        self.splice = Splice(self.legs[1], self.streams[1], self.streams[0], self.pool)
        self.streams[1].divert(self.splice)
        self.addCleanup(self.close)

    def close(self) -> None:
        """End it; no pipe is left."""
        self.source.close()
        self.sink.close()
        for stream in self.streams:
            stream.abortConnection()
        self.reactor.advance(0)
        self.pool.close()
        self.assertEqual(self.pool.count, 0)

    def serve(self) -> None:
        """Let everybody read and write once who wants to."""
        for stream in list(self.reactor.readers):
            stream.doRead()
        for stream in list(self.reactor.writers):
            stream.doWrite()

    def fill(self) -> int:
        """Send until the source's side takes no more; @return: how much was sent."""
        sent = 0
        while True:
            try:
                sent += self.source.send(bytes(BUFFER))
            except BlockingIOError:
                if self.streams[1] not in self.reactor.readers:
                    return sent
                self.serve()

    def test_slowSink(self) -> None:
        """A sink that does not read holds one pipe; then everything arrives."""
        sent = self.fill()
        self.assertEqual(self.pool.count, 1)
        self.assertFalse(self.splice.empty)
        self.assertFalse(self.streams[0].flushed)
        received = 0
        while received < sent:
            try:
                received += len(self.sink.recv(BUFFER))
            except BlockingIOError:
                self.serve()
        self.assertEqual(received, sent)
        self.serve()
        self.assertTrue(self.splice.empty and self.streams[0].flushed)
        self.assertIn(self.streams[1], self.reactor.readers)
        self.assertEqual(self.legs[1].received, sent)

    def test_sinkGoes(self) -> None:
        """A sink that goes takes its pipe along."""
        self.fill()
        self.sink.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sink.close()
        for stream in list(self.reactor.writers):
            lost = stream.doWrite()
            if lost is not None:
                stream.connectionLost(Failure(lost))
        self.assertTrue(self.splice.empty)
        self.assertEqual(self.pool.count, 0)

    def test_nothing(self) -> None:
        """To be told of octets that are not there is nothing."""
        self.assertIsNone(self.splice.doRead())
        self.assertEqual(self.pool.count, 1)
