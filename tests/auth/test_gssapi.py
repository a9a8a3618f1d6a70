"""Checkers of principals, and what C{--auth gssapi} makes of its parameters."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.cred.strcred import findCheckerFactory
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.auth.fakes import LogCase
from twisted_socks5.auth import Authenticator, SOCKS5Realm, checkUsable, combine
from twisted_socks5.auth.gssapi import (
    PROTECTED,
    Acceptance,
    IVerifiedPrincipal,
    PrincipalChecker,
    VerifiedPrincipal,
    checkerFor,
    describeLevel,
)
from twisted_socks5.auth.principals import PrincipalMap, PrincipalNames
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.fairthreads import FairThreads
from twisted_socks5.security import kerberos
from twisted_socks5.testing import MemoryReactor
from twisted_socks5.wire import ProtectionLevel

NONE, INTEGRITY, CONFIDENTIALITY, PER_MESSAGE = ProtectionLevel
ALICE = VerifiedPrincipal("alice@EXAMPLE.COM")


class Acceptor:
    """Where contexts would come from, and what is wrong with that."""

    def __init__(self, service: str = "rcmd", keytab: str | None = None) -> None:
        self.service, self.keytab = service, keytab
        self.wrong = ""

    def context(self) -> Any:
        """Make none."""
        raise NotImplementedError

    def check(self) -> None:
        """Say what is wrong."""
        if self.wrong:
            raise ConfigurationError(self.wrong)


class CredentialsTests(SynchronousTestCase):
    """What a context says of its initiator."""

    def test_interface(self) -> None:
        """It is what checkers ask for."""
        verifyObject(IVerifiedPrincipal, ALICE)
        self.assertEqual(ALICE.username, b"alice@EXAMPLE.COM")
        self.assertEqual(VerifiedPrincipal("alíce@R").username, "alíce@R".encode())


class CheckerTests(LogCase):
    """Checkers of principals."""

    def test_admitted(self) -> None:
        """A principal becomes an avatar by its name, in octets."""
        checker = PrincipalChecker(Acceptance(Acceptor()), PrincipalNames(["EXAMPLE.COM"]))
        self.assertEqual(self.successResultOf(checker.requestAvatarId(ALICE)), b"alice")
        checker = PrincipalChecker(Acceptance(Acceptor()))
        self.assertEqual(
            self.successResultOf(checker.requestAvatarId(ALICE)), b"alice@EXAMPLE.COM"
        )

    def test_refused(self) -> None:
        """One that isn't is told why; nothing is wrong with the checker."""
        checker = PrincipalChecker(Acceptance(Acceptor()), PrincipalNames(["ELSEWHERE"]))
        asked = Authenticator(Portal(SOCKS5Realm(), combine([checker]))).login(ALICE)
        error = self.failureResultOf(asked, UnauthorizedLogin)
        self.assertEqual(str(error.value), "alice@EXAMPLE.COM is not of the realm ELSEWHERE")
        self.assertEqual(self.events, [])

    def test_inThreads(self) -> None:
        """A map is looked into in a thread, once the server has lent some."""
        path = Path(self.mktemp())
        path.write_text("alice@EXAMPLE.COM carol\n")
        checker = PrincipalChecker(
            Acceptance(Acceptor()), PrincipalNames(map=PrincipalMap(str(path)))
        )
        self.assertEqual(self.successResultOf(checker.requestAvatarId(ALICE)), b"carol")
        reactor = MemoryReactor()
        checker.threads = FairThreads(reactor, 1)
        asked: Deferred[Any] = checker.requestAvatarId(ALICE)
        self.assertNoResult(asked)
        reactor.advance(0)
        self.assertEqual(self.successResultOf(asked), b"carol")

    def lent(self) -> MemoryReactor:
        """Make a checker with a map, and lend it a thread."""
        path = Path(self.mktemp())
        path.write_text("*@EXAMPLE.COM *\n")
        names = PrincipalNames(map=PrincipalMap(str(path)))
        checker = PrincipalChecker(Acceptance(Acceptor()), names)
        reactor = MemoryReactor()
        checker.threads = FairThreads(reactor, 1)
        self.authenticator = Authenticator(Portal(SOCKS5Realm(), combine([checker])))
        return reactor

    def test_crowd(self) -> None:
        """Many who come at once, after a restart say, are all let in."""
        reactor = self.lent()
        principals = [VerifiedPrincipal(f"user{number}@EXAMPLE.COM") for number in range(200)]
        asked = [self.authenticator.login(each) for each in principals]
        reactor.advance(0)
        for each in asked:
            self.successResultOf(each)

    def test_crowdOfOne(self) -> None:
        """One that comes too often at once is told so; nothing is wrong with the checker."""
        reactor = self.lent()
        asked = [self.authenticator.login(ALICE) for _ in range(100)]
        other = self.authenticator.login(VerifiedPrincipal("carol@EXAMPLE.COM"))
        reactor.advance(0)
        error = self.failureResultOf(asked.pop(), UnauthorizedLogin)
        self.assertEqual(str(error.value), "too many logins wait to be checked")
        self.assertEqual(self.successResultOf(other)[0].name, "carol")
        self.successResultOf(asked[0])
        self.assertEqual(self.events, [])
        for each in asked:
            each.addErrback(lambda _: None)

    def test_check(self) -> None:
        """What keeps everybody out is said at the start."""
        acceptor = Acceptor()
        names = PrincipalNames(map=PrincipalMap("/nonexistent"))
        checkUsable(combine([PrincipalChecker(Acceptance(acceptor))]))
        acceptor.wrong = "no key"
        for checker, what in (
            (PrincipalChecker(Acceptance(acceptor)), "no key"),
            (PrincipalChecker(Acceptance(Acceptor()), names), "'/nonexistent' cannot be read"),
        ):
            error = self.assertRaises(ConfigurationError, checkUsable, combine([checker]))
            self.assertIn(what, str(error))


class ArgumentTests(SynchronousTestCase):
    """Parameters."""

    def setUp(self) -> None:
        """Let no library be needed."""
        self.patch(kerberos, "Acceptor", Acceptor)

    def made(self, argument: str) -> tuple[PrincipalChecker, Any]:
        """Make a checker."""
        checker = checkerFor(argument)
        return checker, checker.acceptance.acceptor

    def wrong(self, argument: str) -> str:
        """Give the line that parameters are refused with."""
        text = str(self.assertRaises(ConfigurationError, checkerFor, argument))
        self.assertNotIn("\n", text)
        self.assertRegex(text, r"^--auth gssapi: .* \(see --help-auth-type gssapi\)$")
        return text

    def test_defaults(self) -> None:
        """With none it is rcmd of the system's keytab, everybody by their principal."""
        checker, acceptor = self.made("")
        self.assertEqual((acceptor.service, acceptor.keytab), ("rcmd", None))
        self.assertEqual(checker.acceptance.levels, PROTECTED)
        self.assertEqual(PROTECTED, {INTEGRITY, CONFIDENTIALITY, PER_MESSAGE})
        self.assertFalse(checker.acceptance.bare)
        self.assertEqual(checker.names, PrincipalNames())

    def test_all(self) -> None:
        """Each has its place."""
        checker, acceptor = self.made(
            "keytab=/etc/socks5.keytab:service=rcmd/proxy@R:protection=none,integrity,nec"
            ":realm=A,B:realm=C:map=/etc/map"
        )
        self.assertEqual(
            (acceptor.service, acceptor.keytab), ("rcmd/proxy@R", "/etc/socks5.keytab")
        )
        self.assertEqual(checker.acceptance.levels, {NONE, INTEGRITY})
        self.assertTrue(checker.acceptance.bare)
        self.assertEqual(checker.names.realms, ("A", "B", "C"))
        self.assertEqual(checker.names.map.path if checker.names.map else "", "/etc/map")

    @given(st.text(min_size=1, max_size=20))
    @settings(max_examples=100, deadline=None)
    def test_quoted(self, path: str) -> None:
        """Whatever a path has in it can be written."""
        quoted = path.replace("\\", "\\\\").replace(":", "\\:")
        _, acceptor = self.made(f"keytab={quoted}:service=x")
        self.assertEqual((acceptor.keytab, acceptor.service), (path, "x"))

    def test_wrong(self) -> None:
        """What is no parameter, or no value of one, is said in one line."""
        for argument, what in (
            ("/etc/krb5.keytab", "'/etc/krb5.keytab' is none of its parameters, which are keytab"),
            ("keytab", "keytab has no value"),
            ("service=", "service has no value"),
            ("keytab=a:keytab=b", "keytab is given twice"),
            ("protection=secret", "protection=secret is not known; there are integrity, conf"),
            ("protection=1", "protection=1 is not known"),
            ("protection=nec", "how a level is asked for, not which"),
            ("protection=none,", "nothing before or behind a comma"),
            ("realm=,", "nothing before or behind a comma"),
            ("keytab=a\\", "a backslash at the end"),
            ("keytab=a::realm=B", "'' is none of its parameters"),
            ("=a", "'' is none of its parameters"),
        ):
            self.assertIn(what, self.wrong(argument))

    def test_library(self) -> None:
        """No GSS library is imported for parameters, only to check what they come to."""
        code = (
            "import sys; import twisted_socks5.auth.gssapi, twisted_socks5.server;"
            "from twisted_socks5.auth.gssapi import checkerFor; checkerFor('');"
            "sys.exit('gssapi' in sys.modules)"
        )
        self.assertEqual(subprocess.call([sys.executable, "-c", code]), 0)

    def test_levels(self) -> None:
        """Levels have names, and other octets are called what they are."""
        self.assertEqual(
            [describeLevel(level) for level in (0, 1, 2, 3, 9)],
            ["none", "integrity", "confidentiality", "per-message", "unknown (9)"],
        )

    def test_plugin(self) -> None:
        """strcred knows the kind, and its help names each parameter."""
        factory = findCheckerFactory("gssapi")
        self.assertEqual(tuple(factory.credentialInterfaces), (IVerifiedPrincipal,))
        for name in ("keytab", "service", "protection", "realm", "map"):
            self.assertIn(f"{name}=", factory.argStringFormat)
            self.assertRegex(factory.authHelp, rf"(?m)^  {name}=[A-Z]+ ")
        self.assertIsInstance(factory.generateChecker(""), PrincipalChecker)
        self.assertIsInstance(factory.generateChecker("realm=R"), PrincipalChecker)
