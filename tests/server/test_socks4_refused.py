"""SOCKS4 and 4a in memory: who may, and what is refused."""

from __future__ import annotations

import errno
import json

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.internet.defer import Deferred

from tests.auth.fakes import answering, knows
from tests.server.asking import TARGET, AskingCase
from tests.server.asking4 import (
    GRANTED,
    NO_BOUND,
    NOT_THE_USER,
    REJECTED,
    SOCKS4Case,
    request,
)
from twisted_socks5.interfaces import Access, Verdict
from twisted_socks5.logs import formatJSON, formatText
from twisted_socks5.rules import Rule, Rules


class RefusalTests(SOCKS4Case):
    """Whatever the reason: 91, and the log says which."""

    def refuses(
        self, asked: bytes, reason: str, after: float = 0, reply: int | None = None
    ) -> None:
        """
        See that a request is rejected.

        @param after: seconds until then.
        @param reply: what the access line calls it.
        """
        client = self.ask(asked)
        if after:
            self.assertEqual(bytes(client.received), b"")
            self.reactor.advance(after)
        record = self.assertRefused(client, REJECTED + NO_BOUND, reason)
        self.assertEqual(record.reply, reply)

    def test_refused(self) -> None:
        """Nobody listens there."""
        self.serve()
        self.refuses(request(), "refused", reply=5)

    def test_unreachable(self) -> None:
        """There is no way to it."""
        self.serve()
        self.reactor.route(TARGET, error=errno.ENETUNREACH)
        self.refuses(request(), "unreachable", reply=3)

    def test_timeOut(self) -> None:
        """It does not answer."""
        self.settings["dial_timeout"] = 7
        self.serve()
        self.reactor.route(TARGET, silent=True)
        self.refuses(request(), "timed out", after=7, reply=6)

    def test_noSuchName(self) -> None:
        """The name does not exist."""
        self.serve()
        self.refuses(request(b"nowhere.example"), "no such name", reply=4)

    def test_noName(self) -> None:
        """It is no name at all."""
        self.serve()
        self.refuses(b"\4\1\0\x50\0\0\0\1\0\0", "invalid host name", reply=4)

    def test_forbidden(self) -> None:
        """The rules deny it; and what is protected of SOCKS5 is so here, in any spelling."""
        self.serve(rules=Rules([Rule.parse("deny", TARGET)]))
        self.refuses(request(), f"deny {TARGET}", reply=2)
        for asked in (request("127.0.0.1"), request(b"0x7f.1"), request(b"localhost")):
            self.records.clear()
            self.refuses(asked, "loopback", reply=2)

    def test_portZero(self) -> None:
        """Nothing can be connected to there."""
        self.serve()
        self.refuses(request(port=0), "port 0", reply=1)

    def test_commands(self) -> None:
        """SOCKS4 has no UDP, and no other command than its two."""
        self.settings["resolve"] = True
        self.serve()
        for command in (0, 3, 4, 0xF1, 0xFF):
            self.records.clear()
            self.refuses(request(command=command), f"unknown command {command}$", reply=7)

    def test_tooLong(self) -> None:
        """USERID and the name have to end some day."""
        self.serve()
        self.refuses(b"\4\1\0\x50\1\2\3\4" + bytes([65]) * 256, "user id within 255")
        self.records.clear()
        self.refuses(b"\4\1\0\x50\0\0\0\4\0" + bytes([65]) * 256, "name within 255")

    def test_incomplete(self) -> None:
        """A request that does not end in time is answered with a close."""
        self.settings["negotiation_timeout"] = 9
        self.serve()
        client = self.ask(request()[:-1])
        self.reactor.advance(9)
        self.assertRefused(client, b"", "no complete negotiation within 9 s")

    def test_broken(self) -> None:
        """A client that ends within its request."""
        self.serve()
        client = self.ask(request()[:-1])
        client.lose()
        self.reactor.advance(0)
        self.assertEqual(self.record().reason, "client closed during the negotiation")

    def test_overload(self) -> None:
        """One client too many is told so."""
        self.settings.update(max_connections=1, max_connections_per_client=1)
        self.serve()
        self.target()
        held = self.ask(request())
        self.assertEqual(bytes(held.received[:2]), GRANTED)
        client = self.ask(request())
        self.assertEqual(bytes(client.received), REJECTED + NO_BOUND)
        self.assertTrue(client.eof)


class OffTests(AskingCase):
    """Where it is off: 91, a close, and a line that says why."""

    def test_off(self) -> None:
        """Whatever stands behind the version."""
        self.serve()
        self.target()
        for asked in (request(), request(b"example.com"), b"\4", b"\4\1\0"):
            self.records.clear()
            client = self.ask(asked)
            record = self.assertRefused(client, REJECTED + NO_BOUND, "SOCKS4, which is off")
            self.assertEqual((record.target, record.command, record.reply), ("", "", None))


class UserTests(SOCKS4Case):
    """What USERID is worth: nothing where nobody is asked; else a name without a password."""

    def test_anonymous(self) -> None:
        """It is logged, and that is all: rules and limits know nobody of that name."""
        seen: list[str | None] = []

        class Seeing(Rules):
            def judge(self, access: Access) -> Verdict:
                seen.append(access.user)
                return super().judge(access)

        self.serve(rules=Seeing())
        self.target()
        client = self.ask(request(user=b"root"))
        self.assertEqual(bytes(client.received[:2]), GRANTED)
        client.abort()
        self.reactor.advance(0)
        self.assertEqual(self.record().user, "root")
        self.assertEqual(set(seen), {None})

    def test_none(self) -> None:
        """Most clients leave it empty."""
        self.serve()
        self.target()
        self.ask(request()).abort()
        self.reactor.advance(0)
        self.assertEqual(self.record().user, "")

    def test_withoutPassword(self) -> None:
        """A user whose password is empty is let in by the name."""
        checker = knows(b"printer", b"")
        self.serve(checker)
        self.target()
        client = self.ask(request(user=b"printer") + b"hello")
        self.assertEqual(bytes(client.received[:2]), GRANTED)
        self.assertEqual(len(checker.asked), 1)
        client.abort()
        self.reactor.advance(0)
        record = self.record()
        self.assertEqual((record.user, record.method, record.sent), ("printer", "socks4", 5))

    def test_withPassword(self) -> None:
        """A user who has a password has to say it, which SOCKS4 can't; nothing is dialled."""
        self.denied(b"alice")

    def test_unknown(self) -> None:
        """Nobody of that name."""
        self.denied(b"mallory")

    def test_empty(self) -> None:
        """No name at all."""
        self.denied(b"")

    def test_deniedName(self) -> None:
        """Also where a name would have had to be resolved."""
        self.denied(b"alice", request(b"example.com", user=b"alice"))
        self.assertEqual(self.reactor.names.lookups, [])

    def denied(self, user: bytes, asked: bytes = b"") -> None:
        """See that a user is answered with 93, as late as a wrong password."""
        self.serve(knows(b"alice", b"s3cr3t"))
        target = self.target()
        client = self.ask((asked or request(user=user)) + b"hello")
        self.reactor.advance(0.5)
        record = self.assertRefused(client, NOT_THE_USER + NO_BOUND, "wrong user name")
        self.assertEqual((record.user, record.method), (user.decode(), "socks4"))
        self.assertEqual(target.peers, [])

    def test_slowedDown(self) -> None:
        """Guesses of names are slowed down as those of passwords are."""
        self.serve(knows(b"printer", b""))
        waits = []
        for number in range(6):
            client = self.ask(request(user=b"guess%d" % number))
            begun = self.reactor.seconds()
            while not client.received:
                self.reactor.advance(0.25)
            waits.append(self.reactor.seconds() - begun)
            client.lose()
        self.assertEqual(waits, sorted(waits))
        self.assertGreater(waits[-1], waits[0])

    def test_both(self) -> None:
        """Where anybody may use it and users may log in, no USERID keeps anyone out."""
        checker = knows(b"alice", b"s3cr3t")
        self.serve(checker, AllowAnonymousAccess())
        self.target()
        client = self.ask(request(user=b"alice"))
        self.assertEqual(bytes(client.received[:2]), GRANTED)
        self.assertEqual(checker.asked, [])

    def test_slowChecker(self) -> None:
        """What is sent while the portal thinks is kept; a half-close then is no end."""
        answer: Deferred[bytes] = Deferred()
        self.serve(answering(answer))
        target = self.target()
        client = self.ask(request(user=b"printer") + b"hel", b"lo")
        client.loseWrite()
        self.reactor.advance(0)
        self.assertEqual(target.peers, [])
        answer.callback(b"printer")
        self.reactor.advance(0)
        self.assertEqual((bytes(target.peer.received), target.peer.eof), (b"hello", True))
        self.assertEqual(bytes(client.received[:2]), GRANTED)
        target.peer.lose()
        self.reactor.advance(0)
        self.assertTrue(client.wasClosed)

    def test_silentChecker(self) -> None:
        """A portal that never answers has its time, and the client a close."""
        self.serve(answering(Deferred()))
        client = self.ask(request(user=b"printer"))
        self.reactor.advance(20)
        self.assertRefused(client, b"", "no complete negotiation within 20 s")

    def test_gone(self) -> None:
        """A client that resets while the portal thinks is dialled for no more."""
        answer: Deferred[bytes] = Deferred()
        self.serve(answering(answer))
        target = self.target()
        client = self.ask(request(user=b"printer"))
        client.abort()
        self.reactor.advance(0)
        self.assertEqual(self.record().user, "printer")
        answer.callback(b"printer")
        self.reactor.advance(0)
        self.assertEqual(target.peers, [])

    def test_escaped(self) -> None:
        """No USERID writes lines of its own into the log, or escape sequences."""
        self.serve()
        self.target()
        user = b'x" \n\x1b[2J\xff rep=0\xc3\xa9'
        self.ask(request(user=user)).abort()
        self.reactor.advance(0)
        record = self.record()
        text = formatText(record)
        self.assertTrue(text.isascii() and text.isprintable(), text)
        self.assertIn(r'user="x\" \n\u001b[2J\\xff rep=0\u00e9" method=socks4', text)
        self.assertEqual(json.loads(formatJSON(record))["user"], 'x" \n\x1b[2J\\xff rep=0é')
