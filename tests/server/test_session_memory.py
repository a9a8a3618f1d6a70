"""What has ended is gone at once: no circle of a session's waits for the garbage collector."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred

from tests.server.base import (
    GREETING,
    LOGIN,
    ServerCase,
    credentials,
    portal,
    request,
    users,
)
from tests.server.test_session_login import Slow
from twisted_socks5.auth import SOCKS5Realm


class MemoryTests(ServerCase):
    """Sessions, undertakings, relays and transports, however they end."""

    def setUp(self) -> None:
        """Let nothing be collected that is in a circle."""
        gc.collect()
        gc.disable()
        self.addCleanup(gc.enable)

    def assertGone(
        self, *said: bytes, end: Callable[[Any], None], prepare: Callable[[], None] = lambda: None
    ) -> None:
        """
        Assert that nothing is left of a session.

        @param said: what its client says.
        @param end: ends it; it is given the client.
        @param prepare: is called before.
        """
        if not hasattr(self, "proxy"):
            self.serve()
        proxy = self.proxy
        prepare()
        client = proxy.say(*said)
        (session,) = proxy.server.sessions
        refs: list[Any] = [weakref.ref(session), weakref.ref(session.transport)]
        for each in (session._undertaking, session._relay):
            if each is not None and hasattr(type(each), "__weakref__"):
                refs.append(weakref.ref(each))
        del session, each
        end(client)
        proxy.reactor.advance(60)
        self.assertEqual(len(proxy.records), 1)
        # Whoever failed last has been seen by the log, whose events are the test's.
        self.assertEqual([ref() for ref in refs], [None] * len(refs))

    def test_closedEarly(self) -> None:
        """A client that says half of what it should."""
        self.assertGone(b"\5", end=lambda client: client.lose())

    def test_resetEarly(self) -> None:
        """A client that resets."""
        self.assertGone(GREETING, end=lambda client: client.abort())

    def test_refused(self) -> None:
        """A request that is refused."""
        self.assertGone(GREETING, request(command=9), end=lambda client: client.lose())

    def test_lingering(self) -> None:
        """A refused client that does not close."""
        self.assertGone(b"\6", end=lambda _: None)

    def test_silent(self) -> None:
        """A client that is silent."""
        self.assertGone(GREETING, end=lambda _: None)

    def test_login(self) -> None:
        """A client that is not known, and one that goes before it is told."""
        for end in (lambda client: None, lambda client: client.abort()):
            self.serve(users())
            self.assertGone(LOGIN, credentials(b"mallory"), end=end)

    def test_loginNeverAnswered(self) -> None:
        """A login that the checker is still at."""
        slow = Slow()
        self.serve(portal(SOCKS5Realm(), slow))
        self.assertGone(LOGIN, credentials(), end=lambda client: client.abort())
        slow.answers.pop().callback(b"alice")

    def test_forbidden(self) -> None:
        """A request that the rules deny."""
        self.assertGone(GREETING, request("127.0.0.1"), end=lambda client: client.lose())

    def test_dialFails(self) -> None:
        """A target that refuses."""
        self.assertGone(GREETING, request(), end=lambda client: client.lose())

    def test_dialCancelled(self) -> None:
        """A client that goes while its target is dialled."""
        self.serve()
        self.proxy.reactor.route("203.0.113.5", silent=True)
        self.assertGone(GREETING, request(), end=lambda client: client.abort())

    def test_lookup(self) -> None:
        """A name that does not resolve, and one that is not waited for."""
        for name in (b"no.example", b"slow.example"):
            self.serve()
            self.proxy.reactor.names.add("slow.example", ["203.0.113.5"], delay=5)
            self.assertGone(GREETING, request(name), end=lambda client: client.abort())

    def test_relayed(self) -> None:
        """Relays, closed and reset from either side."""

        def fromClient(how: str) -> Callable[[Any], None]:
            def end(client: Any) -> None:
                getattr(client, how)()
                self.proxy.settle()
                self.proxy.targets[0].peer.lose()

            return end

        def fromTarget(how: str) -> Callable[[Any], None]:
            def end(client: Any) -> None:
                getattr(self.proxy.targets[0].peer, how)()
                self.proxy.settle()
                client.lose()

            return end

        for end in (*map(fromClient, ("lose", "abort")), *map(fromTarget, ("lose", "abort"))):
            proxy = self.serve()
            proxy.target()
            self.assertGone(GREETING, request() + b"data", end=end)

    def test_bulk(self) -> None:
        """A relay that has moved bulk."""
        proxy = self.serve()
        target = proxy.target()

        def end(client: Any) -> None:
            target.peer.write(bytes(400_000))
            proxy.settle()
            client.pause()
            target.peer.write(bytes(400_000))
            proxy.settle()
            client.abort()

        self.assertGone(GREETING, request(), end=end)

    def test_aborted(self) -> None:
        """What is cut in the end."""
        for said in ((GREETING,), (GREETING, request())):
            proxy = self.serve()
            proxy.target()
            self.assertGone(*said, end=lambda _: self.proxy.server.abortSessions("stop"))

    def test_whenIdle(self) -> None:
        """Each of those who wait for the last session has a Deferred of its own."""
        proxy = self.serve()
        proxy.say(GREETING)
        waiting = [proxy.server.whenIdle() for _ in range(3)]
        waiting[1].addErrback(lambda _: None)
        waiting[1].cancel()
        proxy.reactor.advance(30)
        self.assertEqual([each.called for each in waiting], [True] * 3)
        at_once: Deferred[None] = proxy.server.whenIdle()
        self.assertTrue(at_once.called)


class StreamMemoryTests(MemoryTests):
    """The same on streams."""

    streams = True
