"""What an application brings along may fail; a client hears so, and its session ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from zope.interface import implementer

from tests.auth.fakes import Realm, knows
from tests.server.base import (
    GREETED,
    GREETING,
    LOGGED_IN,
    LOGIN,
    LOGIN_SELECTED,
    ServerCase,
    credentials,
    portal,
    refused,
    request,
)
from tests.server.test_session_login import Slow
from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.interfaces import Access, IDialer, IRules, ISOCKS5Avatar, Verdict
from twisted_socks5.logs import AccessRecord
from twisted_socks5.relay import Leg

BROKEN = "internal error, see the log"


class Bug(Exception):
    """What is wrong in an application."""


@implementer(IRules)
class BrokenRules:
    """Rules that break, for names or for addresses."""

    def __init__(self, atAddress: bool = False) -> None:
        self._atAddress = atAddress

    def judge(self, access: Access) -> Verdict:
        """Break."""
        if self._atAddress and access.address is None:
            return Verdict(True, "so far")
        raise Bug


@implementer(IDialer)
class OwnDialer:
    """A dialer that does what it is told."""

    def __init__(self, dial: Callable[[Any], Any]) -> None:
        self._dial = dial

    def dial(self, addresses: Any, port: int, factory: Any) -> Deferred[Any]:
        """Do it."""
        return self._dial(factory)  # type: ignore[no-any-return]  # whatever it is


class BrokenTests(ServerCase):
    """Rules, dialers, logs and commands that raise."""

    def assertBroken(self, said: bytes = b"", **options: Any) -> None:
        """Assert that a request is refused with REP 1, and the log has it."""
        proxy = self.serve(**options)
        client = proxy.say(GREETING, said or request())
        proxy.reactor.advance(1)
        record = self.assertRefused(client, GREETED + refused(1), BROKEN)
        self.assertEqual((record.reply, record.command), (1, "CONNECT"))
        self.assertEqual(len(self.flushLoggedErrors(Bug, TypeError)), 1)

    def test_rules(self) -> None:
        """Rules that raise about an address."""
        self.assertBroken(rules=BrokenRules())

    def test_rulesOfNames(self) -> None:
        """Rules that raise about a name."""
        self.assertBroken(request(b"example.com"), rules=BrokenRules())

    def test_rulesOfResolved(self) -> None:
        """Rules that raise about an address that a name resolved to."""
        proxy = self.serve(rules=BrokenRules(atAddress=True))
        proxy.reactor.names.add("example.com", ["203.0.113.5"])
        client = proxy.say(GREETING, request(b"example.com"))
        self.assertRefused(client, GREETED + refused(1), BROKEN)
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_rulesAfterALogin(self) -> None:
        """Rules that raise when a request is read that has waited for the login."""
        slow = Slow()
        proxy = self.serve(portal(SOCKS5Realm(), slow), rules=BrokenRules())
        client = proxy.say(LOGIN + credentials() + request())
        slow.answers.pop().callback(b"alice")
        proxy.settle()
        self.assertRefused(client, LOGIN_SELECTED + LOGGED_IN + refused(1), BROKEN)
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_dialer(self) -> None:
        """A dialer that raises."""

        def dial(_: object) -> None:
            raise Bug

        self.assertBroken(dialer=OwnDialer(dial))

    def test_dialerFails(self) -> None:
        """A dialer that fails with what it should not."""
        self.assertBroken(dialer=OwnDialer(lambda _: fail(Bug())))

    def test_dialerOfOthers(self) -> None:
        """A dialer that connects something else than it was given."""
        self.assertBroken(dialer=OwnDialer(lambda _: succeed(Protocol())))

    def test_dialerThatCannotStop(self) -> None:
        """A dialer that breaks when its dial is called off does not keep a session."""

        def cancelled(_: object) -> None:
            raise Bug

        dialling: Deferred[Any] = Deferred(cancelled)
        realm = Realm()
        proxy = self.serve(
            portal(realm, knows(b"alice", b"secret")), dialer=OwnDialer(lambda _: dialling)
        )
        proxy.say(LOGIN, credentials(), request()).abort()
        proxy.settle()
        self.assertEqual(self.record().reason, "client reset during the request")
        self.assertEqual(realm.logouts, 1)
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_lateDial(self) -> None:
        """A dialer that fails after its session has ended disturbs nobody."""
        dialling: Deferred[Any] = Deferred(lambda _: None)
        proxy = self.serve(dialer=OwnDialer(lambda _: dialling))
        proxy.say(GREETING, request()).abort()
        proxy.settle()
        self.assertEqual(len(proxy.records), 1)
        self.assertEqual(self.flushLoggedErrors(), [])

    def test_command(self) -> None:
        """A command that cannot even be made."""

        def command(_session: object, _request: object) -> Any:
            raise Bug

        proxy = self.serve()
        proxy.server.commands = {1: command}
        client = proxy.say(GREETING, request())
        self.assertRefused(client, GREETED + refused(1), BROKEN)
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_avatar(self) -> None:
        """An avatar that breaks can't be refused in SOCKS' words: the connection is reset."""

        @implementer(ISOCKS5Avatar)
        class Broken:
            rules = None

            @property
            def name(self) -> str:
                raise Bug

        realm = Realm()
        realm.result = (ISOCKS5Avatar, Broken(), realm.logout)
        proxy = self.serve(portal(realm, knows(b"alice", b"secret")))
        client = proxy.say(LOGIN, credentials())
        self.assertTrue(client.wasReset)
        self.assertEqual((self.record().reason, realm.logouts), (BROKEN, 1))
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_negotiation(self) -> None:
        """An error of ours in the midst of what is received ends the session, and only this."""
        proxy = self.serve()
        other = proxy.say(GREETING)

        def select(*_: object) -> None:
            raise Bug("of ours")

        self.patch(proxy.server.authenticator, "select", select)
        client = proxy.say(GREETING)
        self.assertTrue(client.lost or client.eof)
        self.assertEqual(self.record().reason, "Bug during the negotiation")
        self.assertEqual(len(proxy.server.limits), 1)
        self.assertIsNone(other.lost)
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_endsTwice(self) -> None:
        """A session that is told of its end twice ends once, for the first reason: TLS' here."""
        proxy = self.serve()
        client = proxy.connect()
        (session,) = proxy.server.sessions
        error = SSL.Error([("SSL routines", "", "http request")])
        session.connectionLost(Failure(error))
        self.assertEqual(len(proxy.server.limits), 0)
        client.abort()
        proxy.settle()
        self.assertEqual(
            self.record().reason,
            "TLS failed ([('SSL routines', '', 'http request')]) during the negotiation",
        )

    def test_accessLog(self) -> None:
        """An access log that breaks is in the other log, and no session stays for it."""

        def write(_: AccessRecord) -> None:
            raise Bug

        proxy = self.serve(accessLog=write)
        proxy.say(GREETING).abort()
        proxy.settle()
        self.assertEqual(proxy.server.sessions, set())
        self.assertEqual(len(self.flushLoggedErrors(Bug)), 1)

    def test_lostBeforeItIsRelayed(self) -> None:
        """A target that resets its connection between two turns was not reached."""
        dialling: Deferred[Any] = Deferred()
        built: list[Leg] = []

        def dial(factory: Any) -> Deferred[Any]:
            built.append(factory.buildProtocol(None))
            return dialling

        proxy = self.serve(dialer=OwnDialer(dial))
        target = proxy.target()
        client = proxy.say(GREETING, request())
        (leg,) = built

        class Builder(type(target)):  # type: ignore[misc]  # a PeerFactory that builds a leg
            def buildProtocol(self, addr: Any) -> Any:
                return leg

        proxy.reactor.connectTCP("203.0.113.5", 80, Builder())
        proxy.settle()
        target.peer.abort()
        proxy.settle()
        dialling.callback(leg)
        proxy.settle()
        self.assertRefused(client, GREETED + refused(5), "reset the connection at once")


class StreamBrokenTests(BrokenTests):
    """The same on streams."""

    streams = True
