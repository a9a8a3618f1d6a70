"""Who it is: right, wrong, late, and never said; and what an avatar brings along."""

from __future__ import annotations

from typing import Any

from twisted.cred.credentials import IAnonymous, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail
from zope.interface import implementer

from tests.auth.fakes import Checker, Realm, knows
from tests.server.base import (
    CUTS,
    GREETED,
    GREETING,
    LOGGED_IN,
    LOGIN,
    LOGIN_SELECTED,
    NOT_LOGGED_IN,
    ServerCase,
    credentials,
    portal,
    refused,
    request,
    users,
)
from twisted_socks5.auth import User
from twisted_socks5.interfaces import Access, IRules, ISOCKS5Avatar, Verdict

ASKED = (LOGIN, credentials(), request(), b"payload")


@implementer(IRules)
class Nowhere:
    """Rules that permit nothing, and remember what they were asked."""

    def __init__(self) -> None:
        self.asked: list[Access] = []

    def judge(self, access: Access) -> Verdict:
        """Deny it."""
        self.asked.append(access)
        return Verdict(False, "alice may go nowhere")


class Slow(Checker):
    """A checker that answers when it is told to."""

    def __init__(self, *interfaces: Any) -> None:
        self.answers: list[Deferred[Any]] = []
        super().__init__(self._later, *interfaces)

    def _later(self, _: object) -> Deferred[Any]:
        self.answers.append(Deferred())
        return self.answers[-1]


class LoginTests(ServerCase):
    """Username and password."""

    def test_wrong(self) -> None:
        """Who is not known hears STATUS 1, a little later, and then the end."""
        for cut in CUTS:
            for name, password in ((b"alice", b"Secret"), (b"mallory", b"secret"), (b"", b"")):
                proxy = self.serve(users())
                target = proxy.target()
                client = proxy.say(*cut(LOGIN, credentials(name, password), request()))
                self.assertEqual(client.received, LOGIN_SELECTED)
                proxy.reactor.advance(0.5)
                record = self.assertRefused(
                    client, LOGIN_SELECTED + NOT_LOGGED_IN, "wrong user name or password"
                )
                self.assertEqual((record.user, record.reply), (name.decode(), None))
                self.assertNotIn("ecret", repr(record))
                self.assertEqual(target.peers, [])

    def test_slowedDown(self) -> None:
        """Each further failure of a client's costs it twice as long, up to 8 s."""
        proxy = self.serve(users())
        for seconds in (0.5, 1, 2, 4, 8, 8):
            client = proxy.say(LOGIN, credentials(b"alice", b"guess"))
            proxy.reactor.advance(seconds - 0.01)
            self.assertEqual(client.received, LOGIN_SELECTED)
            proxy.reactor.advance(0.02)
            self.assertEqual(client.received, LOGIN_SELECTED + NOT_LOGGED_IN)
            client.abort()
            proxy.settle()

    def test_guessesTakeTurns(self) -> None:
        """Behind a wrong password the right one waits: or else guessing would cost nothing."""
        proxy = self.serve(users())
        proxy.target()
        proxy.say(LOGIN, credentials(b"alice", b"guess"))
        client = proxy.say(*ASKED[:3])
        proxy.reactor.advance(0.49)
        self.assertEqual(client.received, LOGIN_SELECTED)
        proxy.reactor.advance(0.02)
        self.assertGranted(client, LOGIN_SELECTED + LOGGED_IN)
        self.assertGranted(proxy.say(*ASKED[:3]), LOGIN_SELECTED + LOGGED_IN)

    def test_guessesAtOnce(self) -> None:
        """Over however many connections somebody guesses, one question at a time is asked."""
        asked: list[float] = []

        def ask(_: object) -> Deferred[Any]:
            asked.append(proxy.reactor.seconds())
            return fail(UnauthorizedLogin())

        proxy = self.serve(portal(Realm(), Checker(ask, IUsernamePassword)))
        for _ in range(50):
            proxy.say(LOGIN, credentials(b"alice", b"guess"))
        proxy.reactor.advance(19)
        self.assertLess(len(asked), 8)
        self.assertEqual(sorted(set(asked)), asked)

    def test_othersDoNotWait(self) -> None:
        """Another user of the same address is let in at once."""
        proxy = self.serve(users())
        proxy.target()
        proxy.say(LOGIN, credentials(b"mallory", b"guess"))
        self.assertGranted(proxy.say(*ASKED[:3]), LOGIN_SELECTED + LOGGED_IN)

    def test_goneWhileWaiting(self) -> None:
        """A client that does not wait for its turn leaves nothing."""
        for end in ("abort", "lose", "loseWrite"):
            proxy = self.serve(users())
            proxy.say(LOGIN, credentials(b"alice", b"guess"))
            client = proxy.say(LOGIN, credentials())
            getattr(client, end)()
            proxy.settle()
            proxy.reactor.advance(30)
            self.assertNotEqual(client.lost, None)

    def test_goneWhileSlowedDown(self) -> None:
        """A client that does not wait for its refusal leaves nothing."""
        for end in ("abort", "lose", "loseWrite"):
            proxy = self.serve(users())
            client = proxy.say(LOGIN, credentials(b"alice", b"guess"))
            getattr(client, end)()
            proxy.settle()
            proxy.reactor.advance(1)
            self.assertNotEqual(client.lost, None)
            reason = "client reset during" if end == "abort" else "wrong user name or password"
            self.assertIn(reason, self.record().reason)

    def test_nobodyIsKnown(self) -> None:
        """The portal's own reason is in the log, not on the wire."""

        def refuse(_: object) -> None:
            raise UnauthorizedLogin("the account is locked")

        proxy = self.serve(users(Checker(refuse)))
        client = proxy.say(LOGIN, credentials())
        proxy.reactor.advance(1)
        self.assertRefused(client, LOGIN_SELECTED + NOT_LOGGED_IN, "the account is locked")

    def test_brokenChecker(self) -> None:
        """A checker that breaks lets nobody in; the log has it, the client hears a refusal."""

        def fail(_: object) -> None:
            raise ZeroDivisionError

        proxy = self.serve(users(Checker(fail)))
        client = proxy.say(*ASKED)
        proxy.reactor.advance(1)
        self.assertRefused(client, LOGIN_SELECTED + NOT_LOGGED_IN, "ZeroDivisionError")
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_anonymousRefused(self) -> None:
        """Method "none" may be refused as well: by a close, for it has no STATUS."""

        def refuse(_: object) -> None:
            raise UnauthorizedLogin("not at this hour")

        proxy = self.serve(users(Checker(refuse, IAnonymous)))
        client = proxy.say(GREETING, request())
        proxy.reactor.advance(1)
        self.assertRefused(client, GREETED, "not at this hour")


class SlowTests(ServerCase):
    """Checkers that take their time."""

    def setUp(self) -> None:
        """Make a checker whose answer is the test's."""
        self.slow = Slow()
        self.realm = Realm()

    def serveSlowly(self, **options: Any) -> None:
        """Start a server whose portal takes its time."""
        self.serve(portal(self.realm, self.slow), **options)
        self.target = self.proxy.target()

    def test_pipelined(self) -> None:
        """What comes meanwhile is kept: the request, and the payload behind it."""
        for cut in CUTS:
            self.serveSlowly()
            client = self.proxy.say(*cut(*ASKED))
            self.proxy.reactor.advance(3)
            self.assertEqual(client.received, LOGIN_SELECTED)
            self.assertEqual(self.target.peers, [])
            self.slow.answers.pop().callback(b"alice")
            self.proxy.settle()
            self.assertGranted(client, LOGIN_SELECTED + LOGGED_IN)
            self.assertEqual(self.target.peer.received, b"payload")

    def test_refusedLate(self) -> None:
        """A late refusal is one, whatever came meanwhile."""
        self.serveSlowly()
        client = self.proxy.say(*ASKED)
        self.slow.answers.pop().errback(UnauthorizedLogin())
        self.proxy.reactor.advance(1)
        self.assertRefused(client, LOGIN_SELECTED + NOT_LOGGED_IN, "wrong user name or password")
        self.assertEqual(self.target.peers, [])

    def test_never(self) -> None:
        """A checker that never answers costs the client its time, not the server a session."""
        self.serveSlowly()
        client = self.proxy.say(*ASKED)
        self.proxy.reactor.advance(20)
        self.assertRefused(client, LOGIN_SELECTED, "no complete negotiation within 20 s")
        self.assertEqual(self.realm.logouts, 0)

    def test_gone(self) -> None:
        """A client that goes before the answer is not logged in, or is logged out at once."""
        self.serveSlowly()
        client = self.proxy.say(*ASKED)
        client.abort()
        self.proxy.settle()
        self.assertEqual(self.record().reason, "client reset during the negotiation")
        self.slow.answers.pop().callback(b"alice")
        self.proxy.settle()
        self.assertEqual(self.realm.logouts, len(self.realm.minds))
        self.assertEqual(self.target.peers, [])

    def test_endedBehindTheRequest(self) -> None:
        """A FIN behind all that a client has to say does not keep it from being answered."""
        self.serveSlowly()
        client = self.proxy.say(*ASKED)
        client.loseWrite()
        self.proxy.settle()
        self.slow.answers.pop().callback(b"alice")
        self.proxy.settle()
        self.target.peer.write(b"answer")
        self.target.peer.lose()
        self.proxy.settle()
        self.assertEqual(self.assertGranted(client, LOGIN_SELECTED + LOGGED_IN), b"answer")
        self.assertTrue(self.target.peer.eof)
        self.assertEqual(self.target.peer.received, b"payload")

    def test_endedWithoutARequest(self) -> None:
        """A FIN behind the credentials alone is the end, once they are answered."""
        self.serveSlowly()
        client = self.proxy.say(LOGIN, credentials())
        client.loseWrite()
        self.proxy.settle()
        self.assertIsNone(client.lost)
        self.slow.answers.pop().callback(b"alice")
        self.proxy.settle()
        self.assertEqual(client.received, LOGIN_SELECTED + LOGGED_IN)
        self.assertTrue(client.wasClosed)
        self.assertEqual(self.record().reason, "client closed during the negotiation")
        self.assertEqual(self.realm.logouts, 1)

    def test_anonymous(self) -> None:
        """Method "none" may take its time, too."""
        self.slow = Slow(IAnonymous)
        self.serveSlowly()
        client = self.proxy.say(GREETING, request(), b"payload")
        self.assertEqual(client.received, GREETED)
        self.slow.answers.pop().callback(())
        self.proxy.settle()
        self.assertGranted(client)
        self.assertEqual(self.target.peer.received, b"payload")

    def test_deadlineGoesOn(self) -> None:
        """Time that the checker has taken is not given back to the client."""
        self.serveSlowly()
        client = self.proxy.say(LOGIN, credentials())
        self.proxy.reactor.advance(15)
        self.slow.answers.pop().callback(b"alice")
        self.proxy.reactor.advance(5)
        self.assertRefused(client, LOGIN_SELECTED + LOGGED_IN, "no complete negotiation")


class AvatarTests(ServerCase):
    """The avatar's rules, and its logout: exactly once, however a session ends."""

    def begin(self, *said: bytes, **options: Any) -> Any:
        """Log alice in, and say this; @return: the client."""
        self.realm = Realm()
        proxy = self.serve(portal(self.realm, knows(b"alice", b"secret")), **options)
        self.target = proxy.target()
        proxy.reactor.route("203.0.113.9", silent=True)
        client = proxy.say(LOGIN, credentials(), *said)
        self.assertEqual((len(self.realm.minds), self.realm.logouts), (1, 0))
        return client

    def assertLoggedOut(self) -> None:
        """Assert that the session is over, and the avatar logged out, once."""
        self.proxy.reactor.advance(60)
        self.assertEqual((self.proxy.server.sessions, self.realm.logouts), (set(), 1))

    def test_mind(self) -> None:
        """The realm is told where the client connects from."""
        self.begin()
        self.assertEqual(self.realm.minds[0].host, "192.0.2.1")  # type: ignore[attr-defined]

    def test_closedInTheNegotiation(self) -> None:
        """A client that goes before its request."""
        for end in ("abort", "lose", "loseWrite"):
            getattr(self.begin(), end)()
            self.assertLoggedOut()

    def test_brokenOff(self) -> None:
        """A client that says something wrong then."""
        self.begin(b"\5\1\0\xff")
        self.assertLoggedOut()

    def test_silent(self) -> None:
        """A client that says nothing more."""
        self.begin()
        self.assertLoggedOut()

    def test_refused(self) -> None:
        """A request that is refused."""
        client = self.begin(request("203.0.113.7"))
        self.assertEqual(client.received[-10:], refused(5))
        self.assertLoggedOut()

    def test_goneWhileDialling(self) -> None:
        """A client that goes while its target is dialled."""
        self.begin(request("203.0.113.9")).abort()
        self.assertLoggedOut()

    def test_relayed(self) -> None:
        """A relay that ends, in each way."""
        for end in ("lose", "abort"):
            client = self.begin(request())
            self.assertGranted(client, LOGIN_SELECTED + LOGGED_IN)
            getattr(self.target.peer, end)()
            self.proxy.settle()
            client.lose()
            self.assertLoggedOut()

    def test_aborted(self) -> None:
        """A relay that is cut, and a negotiation."""
        for said in ((request(),), ()):
            self.begin(*said)
            self.proxy.server.abortSessions("the proxy stops")
            self.assertLoggedOut()
            self.assertEqual(self.record().reason, "the proxy stops")

    def test_ownRules(self) -> None:
        """An avatar that has rules of its own is judged by these, and by its name."""
        rules = Nowhere()
        self.realm = Realm()
        self.realm.result = (ISOCKS5Avatar, User("alice", rules), self.realm.logout)
        proxy = self.serve(portal(self.realm, knows(b"alice", b"secret")))
        client = proxy.say(LOGIN, credentials(), request())
        self.assertRefused(client, LOGIN_SELECTED + LOGGED_IN + refused(2), "alice may go nowhere")
        self.assertEqual(
            [(one.user, str(one.client)) for one in rules.asked], [("alice", "192.0.2.1")]
        )

    def test_brokenLogout(self) -> None:
        """A logout that fails is in the log, and disturbs nothing."""
        self.realm = Realm()

        def fail() -> None:
            raise ZeroDivisionError

        self.realm.result = (ISOCKS5Avatar, User("alice"), fail)
        proxy = self.serve(portal(self.realm, knows(b"alice", b"secret")))
        proxy.say(LOGIN, credentials()).abort()
        proxy.settle()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.record().reason, "client reset during the negotiation")


class StreamLoginTests(LoginTests):
    """The same on streams."""

    streams = True


class StreamSlowTests(SlowTests):
    """The same on streams."""

    streams = True


class StreamAvatarTests(AvatarTests):
    """The same on streams."""

    streams = True
