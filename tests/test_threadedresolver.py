"""The system's resolver in threads: real threads, and a getaddrinfo that waits to be told."""

from __future__ import annotations

import socket
import threading
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_socks5.errors import ResolutionError
from twisted_socks5.resolving import NameLookup
from twisted_socks5.threadedresolver import ThreadedResolver

# Which reactor is installed is not known to a type checker.
reactor: Any = installed

ANSWER4 = (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0))
ANSWER6 = (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("fe80::1", 0, 5, 7))


def threads() -> list[threading.Thread]:
    """Tell which threads there are that resolve names."""
    return [each for each in threading.enumerate() if each.name.startswith("socks5-names")]


@implementer(IResolutionReceiver)
class Receiver:
    """
    Who asks.

    @ivar done: fires with the addresses.
    @ivar resolution: the resolution, once it has begun.
    """

    def __init__(self) -> None:
        self.found: list[IAddress] = []
        self.done: Deferred[list[IAddress]] = Deferred()
        self.resolution: Any = None

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Note it."""
        self.resolution = resolutionInProgress

    def addressResolved(self, address: IAddress) -> None:
        """Note it."""
        self.found.append(address)

    def resolutionComplete(self) -> None:
        """Tell it."""
        self.done.callback(self.found)


class System:
    """
    A getaddrinfo that answers when it is told to.

    @ivar calls: what it was asked, in order.
    """

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._answers: dict[str, list[Any]] = {}
        self._released = False
        self._changed = threading.Condition()
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def getaddrinfo(self, *args: Any) -> Any:
        """Wait in the thread until there is an answer, and give or raise it."""
        with self._changed:
            self.calls.append(args)
            reactor.callFromThread(self._begun)
            answers = self._answers.setdefault(args[0], [])
            self._changed.wait_for(lambda: answers or self._released)
            outcome = answers.pop(0) if answers else []
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    def answer(self, name: str, outcome: Any) -> None:
        """Let one call for this name return, or raise if it is an exception."""
        with self._changed:
            self._answers.setdefault(name, []).append(outcome)
            self._changed.notify_all()

    def release(self) -> None:
        """Let all calls return, those to come too."""
        with self._changed:
            self._released = True
            self._changed.notify_all()

    def called(self, count: int) -> Deferred[None]:
        """Tell when it has been called so often."""
        result: Deferred[None] = Deferred()
        self._waiting.append((count, result))
        self._begun()
        return result

    def _begun(self) -> None:
        for each in [each for each in self._waiting if each[0] <= len(self.calls)]:
            self._waiting.remove(each)
            each[1].callback(None)


class ThreadedTestCase(TestCase):
    """A resolver with two threads."""

    def setUp(self) -> None:
        """Make it."""
        self.system = System()
        self.resolver = ThreadedResolver(reactor, 2, getaddrinfo=self.system.getaddrinfo)
        self.receivers: list[Receiver] = []

    def tearDown(self) -> None:
        """No thread survives, once those that are stuck have come back."""
        self.resolver.stop()
        self.system.release()
        for each in threads():
            each.join(10)
        self.assertEqual(threads(), [])

    def ask(self, name: str, **kw: Any) -> Receiver:
        """Ask for a name."""
        receiver = Receiver()
        self.receivers.append(receiver)
        self.resolver.resolveHostName(receiver, name, **kw)
        return receiver

    def names(self) -> list[str]:
        """Tell which names getaddrinfo was called for."""
        return [call[0] for call in self.system.calls]


class ResolvingTests(ThreadedTestCase):
    """From name to addresses."""

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        self.resolver.start()

    def test_interface(self) -> None:
        """It is what it says."""
        self.assertTrue(verifyObject(IHostnameResolver, self.resolver))
        self.assertTrue(verifyObject(IHostResolution, self.ask("a").resolution))

    async def test_found(self) -> None:
        """The addresses come as from Twisted's own resolver, port, zone and all."""
        receiver = self.ask("a", portNumber=80)
        self.system.answer("a", [ANSWER6, ANSWER4])
        self.assertEqual(
            await receiver.done,
            [IPv6Address("TCP", "fe80::1", 80, 5, 7), IPv4Address("TCP", "192.0.2.1", 80)],
        )
        self.assertEqual(self.system.calls, [("a", 0, socket.AF_UNSPEC, socket.SOCK_STREAM)])

    async def test_kinds(self) -> None:
        """One family, and UDP, can be asked for."""
        receiver = self.ask("a", addressTypes=[IPv4Address], transportSemantics="UDP")
        self.system.answer("a", [ANSWER4])
        self.assertEqual(await receiver.done, [IPv4Address("UDP", "192.0.2.1", 0)])
        self.assertEqual(self.system.calls, [("a", 0, socket.AF_INET, socket.SOCK_DGRAM)])

    async def test_reasons(self) -> None:
        """That there are none has its reason; what should not happen is logged."""
        for outcome, reason in [
            (socket.gaierror(socket.EAI_NONAME, "Name or service not known"), "no such name"),
            (
                socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution"),
                "temporary failure in name resolution",
            ),
            (socket.gaierror("odd"), "odd"),
            (UnicodeError("label too long"), "not a name"),
            (ValueError("embedded null character"), "not a name"),
            (ZeroDivisionError(), "getaddrinfo failed (ZeroDivisionError)"),
        ]:
            receiver = self.ask("a")
            self.system.answer("a", outcome)
            self.assertEqual(await receiver.done, [])
            self.assertEqual(receiver.resolution.reason, reason)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    async def test_reasonThroughLookup(self) -> None:
        """The reason gets to whoever looks the name up."""
        lookup = NameLookup(self.resolver, reactor)
        self.system.answer("a", socket.gaierror(socket.EAI_AGAIN, "Try again"))
        try:
            await lookup.lookup("a")
        except ResolutionError as failure:
            self.assertEqual(failure.reason, "cannot resolve a: try again")
        else:
            raise self.failureException("it did not fail")

    async def test_system(self) -> None:
        """The system's own getaddrinfo knows localhost, and that some things are no names."""
        resolver = ThreadedResolver(reactor)
        resolver.start()
        self.resolver = resolver  # to be stopped
        lookup = NameLookup(resolver, reactor)
        found = await lookup.lookup("localhost")
        self.assertTrue(found)
        self.assertTrue(all(each.is_loopback for each in found))
        for name in ("x" * 64 + ".example", "a\0b"):
            try:
                await lookup.lookup(name)
            except ResolutionError as failure:
                self.assertIn(failure.reason.rpartition(": ")[2], ("not a name", "no such name"))
            else:
                raise self.failureException("it did not fail")


class ThreadTests(ThreadedTestCase):
    """How many threads there are, and what they are given."""

    def setUp(self) -> None:
        """Start it."""
        super().setUp()
        self.resolver.start()

    async def test_lazy(self) -> None:
        """There is a thread for each name at a time, no more, and it is used again."""
        self.assertEqual(threads(), [])
        for _ in range(3):
            receiver = self.ask("a")
            self.system.answer("a", [])
            await receiver.done
            self.assertEqual(len(threads()), 1)

    async def test_limit(self) -> None:
        """Two names keep two threads busy; a third waits for the first of them."""
        first, _, third = (self.ask(name) for name in "abc")
        await self.system.called(2)
        self.assertEqual(sorted(self.names()), ["a", "b"])
        self.system.answer("a", [ANSWER4])
        await first.done
        self.assertNoResult(third.done)
        await self.system.called(3)
        self.assertEqual(self.names()[2:], ["c"])
        self.assertEqual(len(threads()), 2)

    async def test_sameName(self) -> None:
        """A name whose thread is stuck takes no other; its answer serves all."""
        first = self.ask("a")
        await self.system.called(1)
        second = self.ask("a", portNumber=80)
        other = self.ask("b")
        self.system.answer("b", [])
        await other.done
        self.system.answer("a", [ANSWER4])
        self.assertEqual(await first.done, [IPv4Address("TCP", "192.0.2.1", 0)])
        self.assertEqual(await second.done, [IPv4Address("TCP", "192.0.2.1", 80)])
        self.assertEqual(self.names(), ["a", "b"])

    async def test_cancelWaiting(self) -> None:
        """What waits and is cancelled is not asked for, unless somebody else wants it."""
        first, _, third, fourth, again, last = (self.ask(name) for name in "abcddc")
        third.resolution.cancel()
        fourth.resolution.cancel()
        again.resolution.cancel()
        again.resolution.cancel()  # once more is of no effect
        self.system.answer("a", [])
        await first.done
        self.system.answer("c", [ANSWER4])
        self.assertEqual(len(await last.done), 1)
        behind = self.ask("e")
        self.system.answer("e", [])
        await behind.done
        self.assertEqual(sorted(self.names()), ["a", "b", "c", "e"])
        for each in (third, fourth, again):
            self.assertNoResult(each.done)

    async def test_cancelRunning(self) -> None:
        """What runs and is cancelled is not heard, and its thread is free when it returns."""
        first = self.ask("a")
        second = self.ask("b")
        await self.system.called(2)
        first.resolution.cancel()
        second.resolution.cancel()
        third = self.ask("c")
        self.system.answer("a", [ANSWER4])
        self.system.answer("c", [])
        await third.done
        self.assertNoResult(first.done)

    async def test_receiverRaises(self) -> None:
        """A receiver that fails is logged, and does not keep the answer from the others."""
        first = self.ask("a")
        second = self.ask("a")
        first.found = ()  # type: ignore[assignment] # so that it cannot append
        self.system.answer("a", [ANSWER4])
        self.assertEqual(len(await second.done), 1)
        self.assertEqual(len(self.flushLoggedErrors(AttributeError)), 1)

    async def test_noThread(self) -> None:
        """A system without threads makes names wait, and it is tried again with the next."""
        start = threading.Thread.start

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        self.patch(threading.Thread, "start", refuse)
        first = self.ask("a")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.patch(threading.Thread, "start", start)
        second = self.ask("b")
        self.system.answer("a", [])
        self.system.answer("b", [])
        await first.done
        await second.done


class LifecycleTests(ThreadedTestCase):
    """Before, between and after."""

    def test_before(self) -> None:
        """Before it is started there is no thread, and every name resolves to nothing."""
        receiver = self.ask("a")
        self.assertEqual(self.successResultOf(receiver.done), [])
        self.assertEqual(receiver.resolution.reason, "the resolver is stopped")
        self.assertEqual(threads(), [])

    async def test_stop(self) -> None:
        """Stopping waits for nobody: who still waits gets nothing, at once."""
        self.resolver.start()
        self.resolver.start()  # twice is once
        receivers = [self.ask(name) for name in "aabc"]
        await self.system.called(2)
        self.resolver.stop()
        self.resolver.stop()
        for each in receivers:
            self.assertEqual(self.successResultOf(each.done), [])
            self.assertEqual(each.resolution.reason, "the resolver is stopped")
        self.assertTrue(all(each.daemon for each in threads()))

    async def test_idleThreadsEnd(self) -> None:
        """Stopping ends the threads that have nothing to do."""
        self.resolver.start()
        receivers = [self.ask(name) for name in "ab"]
        for name in "ab":
            self.system.answer(name, [])
        for each in receivers:
            await each.done
        self.assertEqual(len(threads()), 2)
        self.resolver.stop()
        for thread in threads():
            thread.join(10)
        self.assertEqual(threads(), [])

    async def test_again(self) -> None:
        """Started again it has threads of its own; what the old ones bring is not heard."""
        self.resolver.start()
        self.ask("a")
        await self.system.called(1)
        self.resolver.stop()
        self.resolver.start()
        receiver = self.ask("a")
        await self.system.called(2)
        [old, _] = threads()
        self.system.answer("a", [ANSWER4])
        # Which of the two calls takes the answer is open; both get one.
        self.system.answer("a", [ANSWER4])
        self.assertEqual(len(await receiver.done), 1)
        old.join(10)
        self.assertFalse(old.is_alive())

    async def test_cancelAfterStop(self) -> None:
        """Cancelling what a stop has ended is of no effect."""
        self.resolver.start()
        receiver = self.ask("a")
        self.resolver.stop()
        receiver.resolution.cancel()
        self.assertEqual(self.successResultOf(receiver.done), [])
