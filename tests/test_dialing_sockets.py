"""The race over real loopback sockets and the real reactor: what only a kernel can tell."""

from __future__ import annotations

import os
import socket
import warnings
from collections.abc import Callable
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, cast

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IAddress, IProtocol
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.errors import DialError
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.streams import StreamTCP, watchFor
from twisted_socks5.wire.constants import Reply

# Which reactor is installed is not known to a type checker.
reactor: Any = installed

HERE4 = IPv4Address("127.0.0.1")
HERE6 = IPv6Address("::1")


def descriptors() -> int:
    """Count the descriptors this process has open."""
    return len(os.listdir("/dev/fd"))


class Caller(Protocol):
    """
    The protocol of a dial.

    @ivar lost: fires when its connection is lost.
    """

    transport: Any

    def __init__(self) -> None:
        self.lost: Deferred[None] = Deferred()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell it."""
        self.lost.callback(None)


class CallerFactory(Factory):
    """The caller's factory; it counts."""

    noisy = False

    def __init__(self) -> None:
        self.built = 0

    def buildProtocol(self, addr: IAddress | None) -> Caller:
        """Build one."""
        self.built += 1
        return Caller()


class SocketTests(TestCase):
    """The dialer among real sockets, all on the loopback interface."""

    # Any: trial waits for a Deferred here, of which unittest knows nothing.
    def setUp(self) -> Any:
        """Count the descriptors, once the reactor runs: it has some of its own then."""
        self.factory = CallerFactory()
        self.dialer = self.dials()
        self.targets: list[socket.socket] = []
        running: Deferred[None] = Deferred()
        reactor.callLater(0, running.callback, None)

        def count(_: None) -> None:
            self.before = descriptors()

        return running.addCallback(count)

    def tearDown(self) -> None:
        """Close the targets; then as many descriptors are open as before."""
        for target in self.targets:
            target.close()
        self.assertEqual(descriptors(), self.before)

    def dials(self, **options: Any) -> HappyEyeballs:
        """Make a dialer."""
        return HappyEyeballs(reactor, reactor, **options)

    def freePort(self) -> int:
        """Find a port that nobody uses in either family."""
        for _ in range(100):
            with socket.socket() as four, socket.socket(socket.AF_INET6) as six:
                six.bind((str(HERE6), 0))
                port = int(six.getsockname()[1])
                try:
                    four.bind((str(HERE4), port))
                except OSError:
                    continue
                return port
        raise self.failureException("no port is free")

    def target(self, address: IPAddress, port: int = 0, backlog: int | None = 128) -> int:
        """
        Make a target on an address.

        @param backlog: L{None} does not listen: a port that refuses, and that nobody else takes.
        @return: its port.
        """
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        target = socket.socket(family, socket.SOCK_STREAM)
        self.targets.append(target)
        target.bind((str(address), port))
        if backlog is not None:
            target.listen(backlog)
        return int(target.getsockname()[1])

    def silentTarget(self, address: IPAddress, port: int = 0) -> int:
        """
        Make a target that never answers: its queue is full, so the kernel drops what comes.

        @return: its port.
        """
        port = self.target(address, port, backlog=0)
        for _ in range(2):
            filler = socket.socket(self.targets[-1].family, socket.SOCK_STREAM)
            filler.setblocking(False)
            filler.connect_ex((str(address), port))
            self.targets.append(filler)
        return port

    async def connected(self, dialled: Deferred[IProtocol], address: IPAddress) -> str:
        """
        Check that it is connected to this address, and close it.

        @return: the host it is connected from.
        """
        protocol = await dialled
        self.assertIsInstance(protocol, Caller)
        caller = cast(Caller, protocol)
        self.assertEqual(caller.transport.getPeer().host, str(address))
        host = caller.transport.getHost().host
        caller.transport.abortConnection()
        await caller.lost
        return str(host)

    async def failed(self, dialled: Deferred[IProtocol], kind: type[Exception]) -> Any:
        """
        Wait for it to fail.

        @return: how it did.
        """
        try:
            await dialled
        except kind as failure:
            return failure
        raise self.failureException(f"not {kind.__name__}")

    async def test_connected(self) -> None:
        """Both families of the loopback interface can be reached."""
        for address in (HERE4, HERE6):
            port = self.target(address)
            await self.connected(self.dialer.dial([address], port, self.factory), address)

    async def test_refused(self) -> None:
        """A port where nobody listens refuses, in either family."""
        for address in (HERE4, HERE6):
            port = self.target(address, backlog=None)
            failure = await self.failed(self.dialer.dial([address], port, self.factory), DialError)
            self.assertEqual(failure.reply, Reply.CONNECTION_REFUSED)
            self.assertTrue(failure.reason.endswith(f":{port} refused"))

    async def test_refusedThenConnected(self) -> None:
        """Where the first address refuses the next one is tried without the 250 ms."""
        port = self.target(HERE4, self.freePort())
        self.target(HERE6, port, backlog=None)
        self.dialer.attemptDelay = 3600
        await self.connected(self.dialer.dial([HERE6, HERE4], port, self.factory), HERE4)

    async def test_silentThenConnected(self) -> None:
        """Where the first address is silent the next one wins, and the first is let go."""
        port = self.silentTarget(HERE6, self.freePort())
        self.target(HERE4, port)
        self.dialer.attemptDelay = 0.01
        await self.connected(self.dialer.dial([HERE6, HERE4], port, self.factory), HERE4)
        self.assertEqual(self.factory.built, 1)

    async def test_race(self) -> None:
        """Of two that connect at the same time one is built, and the other closed."""
        port = self.target(HERE6, self.freePort())
        self.target(HERE4, port)
        self.dialer.attemptDelay = 0
        for _ in range(20):
            protocol = cast(Caller, await self.dialer.dial([HERE6, HERE4], port, self.factory))
            protocol.transport.abortConnection()
            await protocol.lost
        self.assertEqual(self.factory.built, 20)

    async def test_deadline(self) -> None:
        """Silence ends with the deadline."""
        port = self.silentTarget(HERE4)
        self.dialer.timeout = 0.05
        failure = await self.failed(self.dialer.dial([HERE4], port, self.factory), DialError)
        self.assertEqual(failure.reply, Reply.TTL_EXPIRED)

    async def test_cancel(self) -> None:
        """Cancelling closes the sockets there and then."""
        port = self.silentTarget(HERE4, self.freePort())
        self.silentTarget(HERE6, port)
        self.dialer.attemptDelay = 0
        before = descriptors()
        dialled = self.dialer.dial([HERE4, HERE6], port, self.factory)
        await self.turns(lambda: descriptors() == before + 2)
        dialled.cancel()
        self.assertEqual(descriptors(), before)
        await self.failed(dialled, CancelledError)

    async def test_source(self) -> None:
        """A connection comes from the address it is told to come from."""
        port = self.target(HERE4)
        dialer = self.dials(bindAddress=[IPv4Address("127.0.0.2")])
        host = await self.connected(dialer.dial([HERE4], port, self.factory), HERE4)
        self.assertEqual(ip_address(host), IPv4Address("127.0.0.2"))

    async def test_foreignSource(self) -> None:
        """A source that is not this host's is this side's failure; nothing is sent."""
        dialer = self.dials(bindAddress=[IPv4Address("192.0.2.1")])
        with warnings.catch_warnings():
            # Twisted leaves a socket that it could not bind for the interpreter to close.
            warnings.simplefilter("ignore", ResourceWarning)
            dialled = dialer.dial([HERE4], 9, self.factory)
        failure = await self.failed(dialled, DialError)
        self.assertEqual(failure.reply, Reply.GENERAL_FAILURE)
        self.assertIn("cannot assign requested address", failure.reason)

    async def test_noRoute(self) -> None:
        """An address that no packet can go to fails at once with the network's reply."""
        # The kernel knows this without sending: TCP has no broadcast (tcp_v4_connect).
        everyone = IPv4Address("255.255.255.255")
        failure = await self.failed(self.dialer.dial([everyone], 9, self.factory), DialError)
        self.assertEqual(failure.reply, Reply.NETWORK_UNREACHABLE)

    async def turns(self, condition: Callable[[], bool]) -> None:
        """Let the reactor go round until something holds, a hundred times at most."""
        for _ in range(100):
            if condition():
                return
            turn: Deferred[None] = Deferred()
            reactor.callLater(0, turn.callback, None)
            await turn
        raise self.failureException("it never came to hold")


class StreamSocketTests(SocketTests):
    """The same over streams."""

    def dials(self, **options: Any) -> HappyEyeballs:
        """Make a dialer."""
        return HappyEyeballs(StreamTCP(watchFor(reactor)), reactor, **options)

    async def test_refusedAtOnce(self) -> None:
        """A refusal of this host's own is known within the call, and so is the next address."""
        port = self.target(HERE4, self.freePort())
        self.target(HERE6, port, backlog=None)
        dialled = self.dialer.dial([HERE6, HERE4], port, self.factory)
        self.assertTrue(dialled.called)
        await self.connected(dialled, HERE4)
