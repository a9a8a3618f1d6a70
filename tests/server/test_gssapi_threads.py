"""Contexts between threads, and what is left of sessions that had one: nothing."""

from __future__ import annotations

import gc
import threading
import weakref
from collections.abc import Callable
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.server.base import request
from tests.server.gssclients import ABORT, CONFIDENTIALITY, EVERY, NONE, GSSAPICase, GSSClient
from twisted_socks5.security import ContextError
from twisted_socks5.server.gssapi import ContextInThreads
from twisted_socks5.testing import MemoryContext
from twisted_socks5.wire import MTYP
from twisted_socks5.wire.gssapi import pack_token


class ContextInThreadsTests(SynchronousTestCase):
    """A context that is used in threads."""

    def setUp(self) -> None:
        """Make one."""
        self.context = MemoryContext("rcmd/proxy")
        self.made = 0
        self.shared = ContextInThreads(self.make)

    def make(self) -> MemoryContext:
        """Make it, and count."""
        self.made += 1
        return self.context

    def test_madeWhenUsed(self) -> None:
        """It is made by the first who uses it, once."""
        self.assertEqual(self.made, 0)
        for _ in range(2):
            self.assertIs(self.shared.use(lambda context: context), self.context)
        self.assertEqual(self.made, 1)

    def test_neverMade(self) -> None:
        """Disposed of before, it is never made."""
        self.shared.dispose()
        self.assertRaises(ContextError, self.shared.use, lambda context: context)
        self.assertEqual(self.made, 0)

    def test_disposed(self) -> None:
        """Disposed of while nobody uses it, it goes at once, and only once."""
        self.shared.use(lambda context: context)
        self.shared.dispose()
        self.assertTrue(self.context.disposed)
        self.shared.dispose()
        self.assertRaises(ContextError, self.shared.use, lambda context: context)

    def test_inUse(self) -> None:
        """Disposed of while a thread uses it, it goes when that is done; nobody waits."""
        begun, go = threading.Event(), threading.Event()
        seen: list[bool] = []

        def work(context: Any) -> None:
            begun.set()
            go.wait(10)
            seen.append(context.disposed)

        thread = threading.Thread(target=self.shared.use, args=(work,))
        thread.start()
        begun.wait(10)
        self.shared.dispose()
        self.assertFalse(self.context.disposed)
        go.set()
        thread.join(10)
        self.assertEqual((seen, self.context.disposed), ([False], True))

    def test_broken(self) -> None:
        """What goes wrong with it does not keep it."""

        def fail(context: Any) -> None:
            self.shared.dispose()
            raise ZeroDivisionError

        self.assertRaises(ZeroDivisionError, self.shared.use, fail)
        self.assertTrue(self.context.disposed)

    def test_handedOver(self) -> None:
        """Given away, it is not ours to dispose of."""
        self.shared.use(lambda context: context)
        self.assertIs(self.shared.handOver(), self.context)
        self.shared.dispose()
        self.assertFalse(self.context.disposed)
        self.assertRaises(ContextError, self.shared.handOver)

    def test_noContext(self) -> None:
        """Where making it has failed, it isn't tried again."""

        def fail() -> MemoryContext:
            raise ContextError("no key")

        shared = ContextInThreads(fail)
        for text in ("no key", "there is no context"):
            error = self.assertRaises(ContextError, shared.use, lambda context: context)
            self.assertEqual(str(error), text)


class MemoryTests(GSSAPICase):
    """No circle of a session's, its dialogue's or its layer's waits for the collector."""

    def setUp(self) -> None:
        """Let nothing be collected that is in a circle."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def assertGone(self, begin: Callable[[], GSSClient], end: Callable[[GSSClient], None]) -> None:
        """Assert that nothing is left of a session after its end."""
        proxy = self.accept(levels=EVERY)
        proxy.target()
        client = begin()
        (session,) = proxy.server.sessions
        found = (session, session.transport, session.dialogue, session._relay)
        refs: list[Any] = [
            weakref.ref(each) for each in found if hasattr(type(each), "__weakref__")
        ]
        del session, found
        end(client)
        proxy.settle()
        for peer in proxy.targets[0].peers:
            peer.abort()
        proxy.reactor.advance(60)
        self.assertEqual(len(proxy.records), 1)
        self.assertEqual([ref() for ref in refs], [None] * len(refs))

    def requested(self, level: Any) -> GSSClient:
        """Bring a client to where it is connected."""
        client = self.opened(level)
        client.send(request())
        return client

    def test_dialogue(self) -> None:
        """Ends within the dialogue."""
        for begin in (self.client, lambda: self.client().authenticate()):
            self.assertGone(begin, lambda client: client.peer.abort())
            self.assertGone(begin, lambda client: client.raw(ABORT))
            self.assertGone(begin, lambda client: client.raw(b"\5"))
            self.assertGone(
                begin, lambda client: client.raw(pack_token(MTYP.AUTHENTICATION, b"?"))
            )

    def test_protected(self) -> None:
        """Ends of what goes on under a level, or under none."""
        for level in (NONE, CONFIDENTIALITY):

            def begin(level: Any = level) -> GSSClient:
                return self.requested(level)

            self.assertGone(begin, lambda client: client.peer.abort())
            self.assertGone(begin, lambda client: client.peer.lose())
            self.assertGone(begin, lambda client: client.raw(ABORT))


class StreamMemoryTests(MemoryTests):
    """The same on streams."""

    streams = True
