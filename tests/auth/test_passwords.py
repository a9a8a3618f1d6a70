"""Tests of the checker of a file of hashed passwords, in memory but for the file."""

from __future__ import annotations

import os
import pickle
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword, UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import LogLevel
from twisted.python.failure import Failure
from zope.interface.verify import verifyObject

from tests.auth.fakes import LogCase
from tests.auth.test_hashes import argon, bcrypted, scrypted
from twisted_socks5.auth import OctetCredentials, checkUsable, combine
from twisted_socks5.auth import hashes as hashing
from twisted_socks5.auth.passwordfile import SETTLE
from twisted_socks5.auth.passwords import LoginThreads, PasswordFileChecker, installedThreads
from twisted_socks5.auth.successes import Successes
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.testing import MemoryReactor

ALICE, BOB, CAROL = b"alices-secret", b"bobs-secret", b"carols-secret"


def client(number: int) -> Any:
    """Make a client's address."""
    return ip_address(f"192.0.2.{number}")


class CheckerCase(LogCase):
    """
    A checker of three users with three kinds of hashes.

    @ivar computed: the hashes that were computed, by their beginnings.
    """

    def setUp(self) -> None:
        """Make it."""
        super().setUp()
        self.directory = Path(self.mktemp()).absolute()
        self.directory.mkdir(mode=0o700)
        self.path = self.directory / "users"
        self.lines = {
            b"alice": argon(password=ALICE),
            b"bob": bcrypted(BOB),
            b"carol": scrypted(CAROL),
        }
        self.write()
        self.reactor = MemoryReactor()
        self.threads = LoginThreads(self.reactor)
        self.checker = PasswordFileChecker(
            str(self.path), threads=self.threads, successes=Successes(60)
        )
        self.checker.check()
        self.computed: list[bytes] = []
        for kind in (hashing._Argon2, hashing._Bcrypt, hashing._Scrypt):
            self.count(kind)
        self.threads.verifying.size = 1

    def count(self, kind: Any) -> None:
        """Note what is computed."""
        matches = kind.matches

        def counted(found: Any, password: bytes) -> Any:
            self.computed.append(found.text)
            return matches(found, password)

        self.patch(kind, "matches", counted)

    def write(self) -> None:
        """Write the users, whole."""
        other = self.directory / "other"
        other.write_bytes(b"".join(b"%b:%b\n" % line for line in self.lines.items()))
        other.chmod(0o600)
        os.utime(other, ns=(1, 1))
        other.rename(self.path)

    def ask(
        self, name: bytes = b"alice", password: bytes = ALICE, number: int = 1
    ) -> Deferred[Any]:
        """Log in, and do nothing more."""
        return self.checker.requestAvatarId(OctetCredentials(name, password, client(number)))

    def login(self, *arguments: Any) -> object:
        """Log in; return who it is, or why not."""
        answer = self.ask(*arguments)
        self.reactor.settle()
        return self.said(answer)

    def said(self, answer: Deferred[Any]) -> object:
        """Return what a login that is over has come to."""
        said: list[Any] = []

        def refused(failure: Failure) -> None:
            failure.trap(UnauthorizedLogin)
            said.append(str(failure.value))

        answer.addCallbacks(said.append, refused)
        (one,) = said
        return one


class LoginTests(CheckerCase):
    """Who is let in."""

    def test_interface(self) -> None:
        """It is a checker of names and passwords, in chains, too."""
        self.assertTrue(verifyObject(ICredentialsChecker, self.checker))
        (chain,) = combine([self.checker])
        self.assertEqual(chain.credentialInterfaces, (IUsernamePassword,))
        answer = chain.requestAvatarId(OctetCredentials(b"alice", ALICE))
        self.reactor.settle()
        self.assertEqual(self.successResultOf(answer), b"alice")

    def test_right(self) -> None:
        """Who knows the password, whatever kind of hash it has."""
        for name, password in ((b"alice", ALICE), (b"bob", BOB), (b"carol", CAROL)):
            self.assertEqual(self.login(name, password), name)

    def test_wrong(self) -> None:
        """Nobody else."""
        for name, password in (
            (b"alice", BOB),
            (b"bob", ALICE),
            (b"carol", b""),
            (b"mallory", ALICE),
            (b"", b""),
            (b"Alice", ALICE),
            (b"alice\0", ALICE),
        ):
            self.assertEqual(self.login(name, password), "")
        self.assertEqual(self.login(), b"alice")

    def test_decoyMatches(self) -> None:
        """An unknown user gets in with nobody's password, the decoy's included, nor later."""
        for password in (ALICE, BOB, CAROL):
            for _ in range(2):
                self.assertEqual(self.login(b"mallory", password), "")
        self.assertEqual(len(self.checker._successes), 0)

    def test_text(self) -> None:
        """Credentials of Twisted's own, in octets or text."""
        users: list[tuple[Any, Any]] = [(b"alice", ALICE), ("alice", ALICE.decode())]
        for name, password in users:
            answer = self.checker.requestAvatarId(UsernamePassword(name, password))
            self.reactor.settle()
            self.assertEqual(self.successResultOf(answer), b"alice")

    def test_breakdown(self) -> None:
        """A hash that cannot be computed is a breakdown, and nobody is let in by it."""

        def fail(_: object, password: bytes) -> bool:
            raise MemoryError

        self.patch(hashing._Argon2, "matches", fail)
        (chain,) = combine([self.checker])
        answer = chain.requestAvatarId(OctetCredentials(b"alice", ALICE))
        self.reactor.settle()
        self.assertIn("MemoryError, see the log", str(self.said(answer)))
        self.assertEqual(len(self.flushLoggedErrors(MemoryError)), 1)
        self.assertNotIn(ALICE.decode(), self.logged())

    def test_notOnTheReactor(self) -> None:
        """Neither the file nor a hash is touched before a thread does it."""
        self.reactor.threads.stalled = True
        self.patch(os, "stat", None)
        self.assertNoResult(answer := self.ask())
        self.reactor.settle()
        self.assertNoResult(answer)
        self.assertEqual(self.computed, [])
        answer.cancel()
        self.failureResultOf(answer, CancelledError)


class SameWorkTests(CheckerCase):
    """What an answer's time tells: nothing."""

    def test_unknown(self) -> None:
        """A hash is computed for an unknown user as for a wrong password: one."""
        for name in (b"alice", b"mallory"):
            self.computed.clear()
            self.login(name, b"wrong")
            self.assertEqual(len(self.computed), 1)

    def test_decoy(self) -> None:
        """An unknown name has the same decoy each time, and all of the users serve as one."""
        decoys = set()
        for number in range(60):
            self.computed.clear()
            for password in (b"wrong", b"wrong, too"):
                self.login(b"mallory%d" % number, password)
            first, second = self.computed
            self.assertEqual(first, second)
            decoys.add(first)
        self.assertEqual(decoys, set(self.lines.values()))

    def test_empty(self) -> None:
        """Where there is nobody left, there is nothing to tell."""
        self.lines.clear()
        self.write()
        self.assertEqual(self.login(), "")
        self.assertEqual(self.computed, [])


class MemoryTests(CheckerCase):
    """What is remembered for a moment."""

    def test_known(self) -> None:
        """A login that has just succeeded costs no hash; another one of the same user does."""
        for _ in range(3):
            self.assertEqual(self.login(), b"alice")
        self.assertEqual(self.computed, [self.lines[b"alice"]])
        self.login(b"alice", b"wrong")
        self.assertEqual(len(self.computed), 2)

    def test_refused(self) -> None:
        """Nor does one that has just failed, of the same client, whether there is the user."""
        for name in (b"alice", b"mallory"):
            self.computed.clear()
            for _ in range(3):
                self.assertEqual(self.login(name, b"wrong"), "")
            self.assertEqual(len(self.computed), 1)
            self.assertEqual(self.login(name, b"wrong", 2), "")
            self.assertEqual(len(self.computed), 2)
        self.reactor.advance(60)
        self.login(b"alice", b"wrong")
        self.assertEqual(len(self.computed), 3)

    def test_refusedBefore(self) -> None:
        """A new file has none of that: neither who is in it shows, nor is anybody locked out."""
        for name in (b"alice", b"mallory"):
            self.assertEqual(self.login(name, b"secret"), "")
        self.lines[b"mallory"] = argon(password=b"secret")
        self.write()
        self.computed.clear()
        self.assertEqual(self.login(b"mallory", b"secret"), b"mallory")
        self.assertEqual(self.login(b"alice", b"secret"), "")
        self.assertEqual(len(self.computed), 2)

    def test_secondFile(self) -> None:
        """Who is in the second of two files costs nothing in the first either."""
        other = self.directory / "others"
        other.write_bytes(b"dave:%b\n" % argon(password=b"daves-secret"))
        other.chmod(0o600)
        second = PasswordFileChecker(str(other), threads=self.threads)
        second.check()
        (chain,) = combine([self.checker, second])
        for _ in range(3):
            credentials = OctetCredentials(b"dave", b"daves-secret", client(1))
            answer = chain.requestAvatarId(credentials)
            self.reactor.settle()
            self.assertEqual(self.successResultOf(answer), b"dave")
        self.assertEqual(len(self.computed), 2)

    def test_expires(self) -> None:
        """After its time it costs one."""
        self.login()
        self.reactor.advance(60)
        self.assertEqual(self.login(), b"alice")
        self.assertEqual(len(self.computed), 2)

    def test_changed(self) -> None:
        """A password that was changed holds no more, at once; the new one does."""
        self.login()
        self.lines[b"alice"] = argon(password=b"new")
        self.write()
        self.assertEqual(self.login(), "")
        self.assertEqual(self.login(b"alice", b"new"), b"alice")

    def test_deleted(self) -> None:
        """Nor does a user's who is gone."""
        self.login()
        del self.lines[b"alice"]
        self.write()
        self.assertEqual(self.login(), "")
        self.assertEqual(self.login(b"bob", BOB), b"bob")

    def test_noPassword(self) -> None:
        """No password is kept, neither right nor wrong; nor is what could be guessed from."""
        self.login()
        self.login(b"alice", b"wrong")
        memories = [self.checker._successes, self.checker._refusals]
        self.assertEqual([len(each) for each in memories], [1, 1])
        held = pickle.dumps([each._until for each in memories] + [self.checker._verifications])
        for each in (ALICE, b"wrong", b"alice", self.lines[b"alice"]):
            self.assertNotIn(each, held)

    def test_together(self) -> None:
        """The same login over many connections at a time is computed once."""
        answers = [self.ask() for _ in range(30)]
        wrong = [self.ask(b"alice", b"wrong") for _ in range(5)]
        other = self.ask(number=2)
        self.reactor.settle()
        self.assertEqual([self.said(each) for each in answers], [b"alice"] * 30)
        self.assertEqual([self.said(each) for each in wrong], [""] * 5)
        self.assertEqual(self.said(other), b"alice")
        self.assertEqual(len(self.computed), 3)


class CrowdTests(CheckerCase):
    """Many at a time."""

    def order(self, *asked: tuple[str, Deferred[Any]]) -> list[str]:
        """Note in which order logins end."""
        order: list[str] = []
        for name, answer in asked:
            answer.addBoth(lambda _, name: order.append(name), name)
        self.reactor.settle()
        return order

    def test_turns(self) -> None:
        """Who guesses waits for itself; who comes from elsewhere is next."""
        guesses = [("guess", self.ask(b"bob", b"%d" % n)) for n in range(40)]
        order = self.order(*guesses, ("alice", self.ask(number=2)))
        self.assertLess(order.index("alice"), 3)

    def test_network(self) -> None:
        """Addresses of one /64 are one client."""

        def ask(host: str, password: bytes) -> Deferred[Any]:
            credentials = OctetCredentials(b"alice", password, ip_address(host))
            return self.checker.requestAvatarId(credentials)

        guesses = [("guess", ask(f"2001:db8::{n + 1:x}", b"%d" % n)) for n in range(20)]
        order = self.order(*guesses, ("alice", ask("2001:db8:0:1::1", ALICE)))
        self.assertLess(order.index("alice"), 3)

    def test_busy(self) -> None:
        """Where too many wait they are refused, with the reason; others are not."""
        answers = [self.ask(b"bob", b"%d" % n) for n in range(200)]
        self.reactor.settle()
        said = [self.said(each) for each in answers]
        self.assertEqual(set(said), {"", "too many logins wait to be checked"})
        self.assertGreater(said.count(""), 60)
        self.assertGreater(said.count("too many logins wait to be checked"), 100)
        self.assertEqual(self.login(b"alice", ALICE, 2), b"alice")

    def test_knownOvertake(self) -> None:
        """Who is known again does not wait for those who are not."""
        self.login()
        guesses = [("guess", self.ask(b"bob", b"%d" % n, n)) for n in range(60)]
        order = self.order(*guesses, ("alice", self.ask(number=99)))
        self.assertLess(order.index("alice"), 3)

    def test_cancel(self) -> None:
        """Who does not wait gives up its place, and no hash is computed."""
        answers = [self.ask(b"bob", b"%d" % n) for n in range(20)]
        for answer in answers[::2]:
            answer.cancel()
            self.failureResultOf(answer, CancelledError)
        self.reactor.settle()
        self.assertEqual([self.said(each) for each in answers[1::2]], [""] * 10)
        self.assertEqual(len(self.computed), 10)

    def test_cancelInTheQueue(self) -> None:
        """The same once it waits for a thread that computes hashes."""
        self.reactor.threads.stalled = True
        self.checker._threads.verifying.run("other", list)
        self.reactor.threads.stalled = False
        started: list[Deferred[Any]] = []
        run = self.threads.verifying.run

        def stall(owner: Any, work: Any) -> Any:
            self.reactor.threads.stalled = True
            started.append(run(owner, work))
            return started[-1]

        self.patch(self.threads.verifying, "run", stall)
        credentials = OctetCredentials(b"alice", ALICE, client(1))
        answers = [self.checker.requestAvatarId(credentials) for _ in range(2)]
        self.reactor.settle()
        self.assertEqual(len(started), 1)
        # Both are gone: the way that an Authenticator tells.
        credentials.interest.lose()
        for answer in answers:
            self.failureResultOf(answer, CancelledError)
        self.reactor.threads.stalled = False
        self.reactor.settle()
        self.assertEqual((self.computed, self.checker._verifications), ([], {}))

    def test_oneLook(self) -> None:
        """Many at a time look at the file twice, not each of them."""
        looks: list[float] = []
        look = self.checker.file.look

        def count(now: float) -> Any:
            looks.append(now)
            return look(now)

        self.patch(self.checker.file, "look", count)
        answers = [self.ask() for _ in range(50)]
        self.reactor.settle()
        self.assertEqual([self.said(each) for each in answers], [b"alice"] * 50)
        self.assertEqual(len(looks), 2)

    def test_stopped(self) -> None:
        """Once the threads are stopped nobody is let in."""
        self.threads.stop()
        (chain,) = combine([self.checker])
        answer = chain.requestAvatarId(OctetCredentials(b"alice", ALICE))
        self.assertIn("too many", str(self.said(answer)))


class FileTests(CheckerCase):
    """The file while the server runs."""

    def texts(self, level: Any) -> list[str]:
        """Return what was logged at a level."""
        return [
            event["log_format"].format(**event)
            for event in self.events
            if event["log_level"] is level
        ]

    def inPlace(self, octets: bytes) -> None:
        """Write in place."""
        with self.path.open("wb") as file:
            file.write(octets)

    def test_added(self) -> None:
        """A user who is added is let in at once, and the log says that the file has changed."""
        self.lines[b"dave"] = bcrypted(b"daves-secret")
        self.write()
        self.assertEqual(self.login(b"dave", b"daves-secret"), b"dave")
        self.assertEqual(
            self.texts(LogLevel.info), [f"Password file {self.path} has changed: 4 users"]
        )

    def test_halfWritten(self) -> None:
        """While the file is being written, its users wait; who is in it as before does not."""
        octets = self.path.read_bytes()
        self.inPlace(octets[: octets.index(b"carol")])
        self.assertEqual(self.login(), b"alice")
        carol = self.ask(b"carol", CAROL)
        self.reactor.advance(SETTLE / 2)
        self.assertNoResult(carol)
        self.inPlace(octets)
        self.reactor.advance(SETTLE)
        self.assertEqual(self.said(carol), b"carol")

    def test_rewrittenAgainAndAgain(self) -> None:
        """One that never settles does not keep anybody waiting for ever."""
        octets = self.path.read_bytes()
        self.inPlace(b"")
        carol = self.ask(b"carol", CAROL)
        for number in range(20):
            self.inPlace(octets[: number + 1])
            self.reactor.advance(0.3 * SETTLE)
        self.assertEqual(self.said(carol), b"carol")
        self.assertEqual(self.checker.file.look(self.reactor.seconds()).complaint, "")

    def test_cancelWhileItSettles(self) -> None:
        """Who goes in the meantime leaves nothing."""
        self.inPlace(b"")
        answer = self.ask()
        self.reactor.settle()
        answer.cancel()
        self.failureResultOf(answer, CancelledError)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_bad(self) -> None:
        """A file that becomes bad is an error in the log, once; who was in it stays."""
        self.inPlace(b"alice:wonderland\n")
        answer = self.ask()
        self.reactor.advance(SETTLE)
        self.assertEqual(self.said(answer), b"alice")
        for _ in range(3):
            self.assertEqual(self.login(b"bob", BOB), b"bob")
        (text,) = self.texts(LogLevel.error)
        self.assertIn(f"Password file {self.path} cannot be used, the users of before", text)
        self.assertIn("line 1: user 'alice' has a password in plain text", text)
        self.assertNotIn("wonderland", self.logged())

    def test_readable(self) -> None:
        """That others may read it is a warning, once."""
        self.path.chmod(0o644)
        for _ in range(3):
            self.checker.check()
            self.login()
        self.assertEqual(
            self.texts(LogLevel.warn),
            [f"Password file {self.path} is readable by others: chmod o-r"],
        )

    def test_checked(self) -> None:
        """At the start it is refused with one line, in a chain, too."""
        self.path.unlink()
        for checkers in ([self.checker], combine([self.checker])):
            with self.assertRaises(ConfigurationError) as caught:
                checkUsable(checkers)
            self.assertEqual(
                str(caught.exception),
                f"password file {str(self.path)!r}: cannot be read: No such file or directory",
            )


class ThreadsTests(LogCase):
    """The threads that logins take."""

    def test_size(self) -> None:
        """Hashes leave the reactor a processor, if there are several, and are four at most."""
        for processors, size in ((1, 1), (2, 1), (3, 2), (5, 4), (64, 4)):
            self.patch(os, "sched_getaffinity", lambda _, n=processors: set(range(n)))
            self.assertEqual(LoginThreads(MemoryReactor()).verifying.size, size)

    def test_elsewhere(self) -> None:
        """On systems that only count all processors, these are counted."""
        if hasattr(os, "sched_getaffinity"):
            affinity = os.sched_getaffinity
            del os.sched_getaffinity
            self.addCleanup(setattr, os, "sched_getaffinity", affinity)
        for processors, size in ((None, 1), (4, 3)):
            self.patch(os, "cpu_count", lambda n=processors: n)
            self.assertEqual(LoginThreads(MemoryReactor()).verifying.size, size)

    def test_installed(self) -> None:
        """All files share the threads of the reactor that is installed."""
        from twisted.internet import reactor

        self.assertIs(installedThreads(), installedThreads())
        self.assertIs(installedThreads().clock, reactor)
        checker = PasswordFileChecker("/nonexistent")
        self.assertIs(checker._threads, installedThreads())
