"""
Whatever octets a client sends, in whatever pieces, and however it ends: nobody reaches anything
without the portal's leave, and nothing is left behind.
"""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.fakes import Checker
from tests.server.base import TARGET, TARGET6, Proxy, credentials, request, users
from twisted_socks5.interfaces import Access, Verdict
from twisted_socks5.testing import Peer, PeerFactory

HOSTS = (TARGET, TARGET6, b"example.com", b"", b"\0", b"127.1", "::ffff:127.0.0.1", "0.0.0.0")

#: Pieces of conversations, right and wrong.
PIECES = st.one_of(
    st.sampled_from([b"\5\1\0", b"\5\1\2", b"\5\2\0\2", b"\5\0", b"\5\1\xff", b"\1", b"\5", b""]),
    st.sampled_from(
        [credentials(b"alice", b"Secret"), credentials(b"", b"secret"), credentials(b"alice", b"")]
    ),
    st.builds(
        request,
        st.sampled_from(HOSTS),
        st.sampled_from([0, 80, 1080, 65535]),
        st.sampled_from([1, 2, 3, 4, 0xF0, 0xF1]),
    ),
    st.sampled_from(
        [
            b"\4\1\0\x50\xcb\0\x71\5alice\0",
            b"\4\1\0\x50\0\0\0\1alice\0example.com\0",
            b"\4\2\0\0\0\0\0\0\0",
            b"GET http://example.com/ HTTP/1.1\r\n\r\n",
        ]
    ),
    st.binary(max_size=40),
    st.binary(min_size=1000, max_size=1001),
)

#: How a client sends, waits and goes.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("say"), PIECES),
        st.tuples(st.just("wait"), st.sampled_from([0.0, 0.3, 3.0, 30.0])),
        st.tuples(st.sampled_from(["loseWrite", "abort", "lose", "pause", "resume"]), st.none()),
    ),
    max_size=12,
)

OPTIONS = st.fixed_dictionaries({"socks4": st.booleans(), "resolve": st.booleans()})


class Permissive:
    """Rules that permit everything, and remember that they were asked."""

    def __init__(self) -> None:
        self.asked: list[Access] = []

    def judge(self, access: Access) -> Verdict:
        """Permit it."""
        self.asked.append(access)
        return Verdict(True, "why not")


class PropertyTests(SynchronousTestCase):
    """Clients that do anything, on Twisted's own transports and on streams."""

    def begin(self, streams: bool, **options: Any) -> Proxy:
        """Start a server, with somebody to reach."""
        proxy = Proxy(self, streams=streams, **options)
        proxy.target()
        proxy.target(TARGET6)
        proxy.reactor.names.add("example.com", [TARGET6, TARGET])
        return proxy

    def play(self, proxy: Proxy, steps: list[tuple[str, Any]]) -> bytes:
        """Play a client; @return: what it has sent."""
        client = proxy.connect()
        said = b""
        for kind, value in steps:
            if kind == "wait":
                proxy.reactor.advance(value)
            elif kind == "say":
                if not (client.writeEnded or client.lost):
                    said += value
                    client.write(value)
                    proxy.settle()
            elif client.lost is None and not (kind == "resume" and client.eof):
                getattr(client, kind)()
                proxy.settle()
        return said

    def assertCleanEnd(self, proxy: Proxy) -> None:
        """Assert that nothing went wrong, each session has told its end, and nothing is left."""
        for peer in [*proxy.peers, *(peer for each in proxy.targets for peer in each.peers)]:
            peer.abort()
        # A reset behind a FIN is noticed when there is something to say.
        proxy.reactor.advance(30)
        self.assertEqual(proxy.close(), [])
        self.assertEqual(self.flushLoggedErrors(), [])
        self.assertEqual(proxy.server.sessions, set())
        self.assertEqual(len(proxy.server.limits), 0)
        # More than one where the client has reached the proxy itself.
        self.assertGreaterEqual(len(proxy.records), 1)
        self.assertNotIn("", [record.reason for record in proxy.records])

    @settings(max_examples=200, deadline=None)
    @given(STEPS, OPTIONS, st.booleans())
    def test_nothingWithoutPassword(
        self, steps: list[tuple[str, Any]], options: dict[str, Any], streams: bool
    ) -> None:
        """Who has not sent the right password has nothing dialled, listened to or looked up."""
        rules = Permissive()
        proxy = self.begin(streams, portal=users(), rules=rules, settings=options)
        listening = len(proxy.reactor.listeners())
        said = self.play(proxy, steps)
        if credentials() not in said:
            self.assertEqual(rules.asked, [])
            self.assertEqual([target.peers for target in proxy.targets], [[], []])
            self.assertEqual(proxy.reactor.names.lookups, [])
            self.assertEqual(len(proxy.reactor.listeners()), listening)
        self.assertCleanEnd(proxy)

    @settings(max_examples=100, deadline=None)
    @given(
        st.lists(st.integers(1, 40), max_size=12),
        st.booleans(),
        st.sampled_from([1, 2, 3]),
        st.booleans(),
    )
    def test_cuts(self, cuts: list[int], right: bool, command: int, streams: bool) -> None:
        """However a conversation is cut, the password alone decides."""
        rules = Permissive()
        proxy = self.begin(streams, portal=users(), rules=rules)
        password = b"secret" if right else b"Secret"
        octets = b"\5\2\0\2" + credentials(b"alice", password) + request(command=command) + b"data"
        client = proxy.connect()
        for size in [*cuts, len(octets)]:
            client.write(octets[:size])
            octets = octets[size:]
            proxy.settle()
        proxy.reactor.advance(1)
        granted = client.received.startswith(b"\5\2\1\0\5\0")
        self.assertEqual(granted, right)
        if not right:
            self.assertEqual((client.received, rules.asked), (b"\5\2\1\1", []))
        if command == 1:
            self.assertEqual([len(target.peers) for target in proxy.targets], [int(right), 0])
        self.assertCleanEnd(proxy)

    @settings(max_examples=200, deadline=None)
    @given(STEPS, OPTIONS, st.booleans())
    def test_anybody(
        self, steps: list[tuple[str, Any]], options: dict[str, Any], streams: bool
    ) -> None:
        """Where nobody is asked, anything may happen, but cleanly."""
        proxy = self.begin(streams, settings=options, rules=Permissive())
        self.play(proxy, [("say", b"\5\1\0"), *steps])
        self.assertCleanEnd(proxy)

    @settings(max_examples=100, deadline=None)
    @given(STEPS, st.sampled_from(["yes", "no", "never", "bug"]), st.booleans())
    def test_checkers(self, steps: list[tuple[str, Any]], answer: str, streams: bool) -> None:
        """Whatever a checker does, only its word lets anybody in."""

        def check(_: object) -> Any:
            if answer == "no":
                raise UnauthorizedLogin
            if answer == "bug":
                raise ZeroDivisionError
            return succeed(b"alice") if answer == "yes" else Deferred()

        proxy = self.begin(streams, portal=users(Checker(check)))
        greeted = [("say", b"\5\1\2" + credentials(b"bob", b"x"))]
        self.play(proxy, [*greeted, *steps])
        dialled = [peer for target in proxy.targets for peer in target.peers]
        if answer != "yes":
            self.assertEqual(dialled, [])
        self.flushLoggedErrors(ZeroDivisionError)
        self.assertCleanEnd(proxy)


class CrowdTests(SynchronousTestCase):
    """Many clients at once, each of which does something else."""

    @settings(max_examples=25, deadline=None)
    @given(st.lists(STEPS, min_size=2, max_size=8), st.integers(1, 6))
    def test_limits(self, clients: list[list[tuple[str, Any]]], limit: int) -> None:
        """Never more sessions than there may be take a place; each gives its own back."""
        proxy = Proxy(self, settings={"max_connections": limit})
        proxy.target()
        peers: list[Peer] = []
        for turn in range(12):
            for number, steps in enumerate(clients):
                if turn == 0:
                    factory = PeerFactory()
                    proxy.reactor.connectTCP("192.0.2.10", 1080, factory)
                    proxy.settle()
                    peers.append(factory.peer)  # type: ignore[arg-type]  # made as such
                peer = peers[number]
                if turn < len(steps) and peer.lost is None:
                    kind, value = steps[turn]
                    if kind == "say" and not peer.writeEnded:
                        peer.write((b"\5\1\0" if turn == 0 else b"") + value)
                    elif kind == "wait":
                        proxy.reactor.advance(value)
                    elif kind not in ("say", "resume"):
                        getattr(peer, kind)()
                proxy.settle()
                self.assertLessEqual(len(proxy.server.limits), limit)
                self.assertEqual(
                    len(proxy.server.limits),
                    len([one for one in proxy.server.sessions if one.counted]),
                )
        for peer in peers:
            peer.abort()
        proxy.reactor.advance(30)
        self.assertEqual(proxy.close(), [])
        self.assertEqual((len(proxy.server.limits), proxy.server.sessions), (0, set()))
        self.assertEqual(self.flushLoggedErrors(), [])
