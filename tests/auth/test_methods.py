"""Tests of which METHODs a portal can check."""

from __future__ import annotations

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.credentials import (
    IAnonymous,
    ICredentials,
    ISSHPrivateKey,
    IUsernameHashedPassword,
    IUsernamePassword,
)
from twisted.cred.portal import Portal
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface

from tests.auth.fakes import answering
from tests.auth.test_gssapi import Acceptor
from twisted_socks5.auth import SOCKS5Realm, combine
from twisted_socks5.auth.gssapi import Acceptance, IVerifiedPrincipal, PrincipalChecker
from twisted_socks5.auth.methods import (
    acceptanceOf,
    checkMethods,
    methodsFor,
    parseMethods,
    select,
)
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.wire.constants import Method

_NONE, _PASSWORD = Method.NO_AUTHENTICATION, Method.USERNAME_PASSWORD
_GSSAPI = Method.GSSAPI

ACCEPTANCE = Acceptance(Acceptor())


class MethodsForTests(SynchronousTestCase):
    """A portal's interfaces as METHODs."""

    def methods(self, *interfaces: type[Interface]) -> tuple[Method, ...]:
        """Return the methods of a portal with a checker for each interface."""
        checkers = [answering(b"alice", interface) for interface in interfaces]
        return methodsFor(Portal(SOCKS5Realm(), checkers))

    def test_mixes(self) -> None:
        """What can be checked is offered, a name before no name, in whatever order they came."""
        self.assertEqual(self.methods(), ())
        self.assertEqual(self.methods(IAnonymous), (_NONE,))
        self.assertEqual(self.methods(IUsernamePassword), (_PASSWORD,))
        self.assertEqual(self.methods(IAnonymous, IUsernamePassword), (_PASSWORD, _NONE))
        self.assertEqual(self.methods(IUsernamePassword, IAnonymous), (_PASSWORD, _NONE))

    def test_useless(self) -> None:
        """Checkers of what SOCKS cannot transport offer nothing."""
        self.assertEqual(self.methods(ISSHPrivateKey), ())

    def test_challenges(self) -> None:
        """CHAP comes first where all who have a password can answer a challenge, else behind."""
        knowing = answering(b"", IUsernamePassword, IUsernameHashedPassword)
        hashed = answering(b"", IUsernamePassword)
        for checkers, expected in (
            ([knowing], (Method.CHAP, _PASSWORD)),
            ([knowing, hashed], (_PASSWORD, Method.CHAP)),
            ([knowing, hashed, AllowAnonymousAccess()], (_PASSWORD, Method.CHAP, _NONE)),
            ([answering(b"", IUsernameHashedPassword)], (Method.CHAP,)),
        ):
            portal = Portal(SOCKS5Realm(), combine(checkers))
            self.assertEqual(methodsFor(portal), expected)

    def test_catchAll(self) -> None:
        """A checker of credentials in general does not open the door to nobody."""
        self.assertEqual(self.methods(ICredentials), ())

    def test_combined(self) -> None:
        """Chains count as their checkers do."""
        checkers = combine([AllowAnonymousAccess(), answering(b"", IUsernamePassword)])
        self.assertEqual(methodsFor(Portal(SOCKS5Realm(), checkers)), (_PASSWORD, _NONE))

    def test_later(self) -> None:
        """A checker that is registered later counts from then on."""
        portal = Portal(SOCKS5Realm())
        self.assertEqual(methodsFor(portal), ())
        portal.registerChecker(AllowAnonymousAccess())
        self.assertEqual(methodsFor(portal), (_NONE,))


class GSSAPITests(SynchronousTestCase):
    """GSSAPI, which takes more than a checker."""

    def portal(self, *checkers: Any) -> Portal:
        """Make a portal that accepts contexts, and has these checkers."""
        return Portal(SOCKS5Realm(), combine([PrincipalChecker(ACCEPTANCE), *checkers]))

    def test_order(self) -> None:
        """It stands behind all else, since curl offers it whether it has a ticket or not."""
        portal = self.portal(AllowAnonymousAccess(), answering(b"", IUsernamePassword))
        self.assertEqual(methodsFor(portal), (_PASSWORD, _NONE, _GSSAPI))
        self.assertEqual(acceptanceOf(portal), ACCEPTANCE)

    def test_notAccepting(self) -> None:
        """A checker that does not say how contexts are accepted offers nothing."""
        checker = answering(b"alice", IVerifiedPrincipal)
        for checkers in ([checker], combine([checker])):
            portal = Portal(SOCKS5Realm(), checkers)
            self.assertEqual(methodsFor(portal), ())
            self.assertIsNone(acceptanceOf(portal))

    def test_several(self) -> None:
        """The first that says how is asked how; alone or in a chain."""
        second = PrincipalChecker(Acceptance(ACCEPTANCE.acceptor, bare=True))
        first = answering(b"alice", IVerifiedPrincipal)
        self.assertIs(
            acceptanceOf(Portal(SOCKS5Realm(), combine([first, second]))), second.acceptance
        )
        self.assertIs(acceptanceOf(Portal(SOCKS5Realm(), [second])), second.acceptance)


class OrderTests(SynchronousTestCase):
    """The operator's order."""

    def portal(self, *checkers: Any) -> Portal:
        """Make a portal."""
        return Portal(SOCKS5Realm(), combine(checkers))

    def wrong(self, order: tuple[Method, ...], *checkers: Any) -> str:
        """Give the line that an order is refused with."""
        text = str(
            self.assertRaises(ConfigurationError, checkMethods, self.portal(*checkers), order)
        )
        self.assertNotIn("\n", text)
        return text

    def test_words(self) -> None:
        """Methods have a short name each, and the names of the constants and of IANA's list."""
        for text, methods in (
            ("password", (_PASSWORD,)),
            ("none, GSSAPI,Password", (_NONE, _GSSAPI, _PASSWORD)),
            ("username/password,no authentication required", (_PASSWORD, _NONE)),
            ("USERNAME_PASSWORD,no_authentication", (_PASSWORD, _NONE)),
        ):
            self.assertEqual(parseMethods(text), methods)

    def test_noWords(self) -> None:
        """What is no method is said."""
        for text in ("", "kerberos", "password,", "2", "no acceptable methods"):
            error = self.assertRaises(ConfigurationError, parseMethods, text)
            self.assertRegex(str(error), "is no method; there are chap, password, ")

    def test_order(self) -> None:
        """It decides, and what it does not have is not offered."""
        portal = self.portal(
            PrincipalChecker(ACCEPTANCE),
            AllowAnonymousAccess(),
            answering(b"", IUsernamePassword),
        )
        for order in ((_NONE, _PASSWORD, _GSSAPI), (_GSSAPI,), (_GSSAPI, _NONE)):
            self.assertEqual(methodsFor(portal, order), order)
        self.assertEqual(methodsFor(self.portal(), (_NONE,)), ())

    def test_fits(self) -> None:
        """An order of all that can be checked is one, and so is none."""
        password = answering(b"", IUsernamePassword)
        checkMethods(self.portal(password), None)
        checkMethods(self.portal(password), (_PASSWORD,))
        checkMethods(self.portal(password, AllowAnonymousAccess()), (_NONE, _PASSWORD))

    def test_unchecked(self) -> None:
        """A method that nothing can check is said, with what could."""
        for method, auth in ((_GSSAPI, "gssapi"), (_NONE, "anonymous")):
            text = self.wrong((_PASSWORD, method), answering(b"", IUsernamePassword))
            self.assertRegex(text, f"nothing can check it: it takes --auth {auth}$")
        self.assertIn("--auth file:", self.wrong((_PASSWORD,), AllowAnonymousAccess()))

    def test_unasked(self) -> None:
        """So is a checker that would never be asked."""
        text = self.wrong((_PASSWORD,), answering(b"", IUsernamePassword), AllowAnonymousAccess())
        self.assertEqual(
            text,
            "there is an --auth for method none, which is not among the methods that are to be "
            "offered: password",
        )

    def test_askedForAnother(self) -> None:
        """A checker that is good for two methods may be asked for one only."""
        both = answering(b"", IUsernamePassword, IAnonymous)
        checkMethods(self.portal(both), (_PASSWORD,))
        checkMethods(Portal(SOCKS5Realm(), [both]), (_PASSWORD,))


class SelectTests(SynchronousTestCase):
    """The choice among what a client offers."""

    def test_order(self) -> None:
        """The server's order decides, not the client's."""
        self.assertIs(select((_PASSWORD, _NONE), b"\x00\x01\x02"), _PASSWORD)
        self.assertIs(select((_NONE, _PASSWORD), b"\x02\x01\x00"), _NONE)
        self.assertIs(select((_PASSWORD, _NONE), b"\x00\x01"), _NONE)

    def test_none(self) -> None:
        """Nothing in common is FF."""
        for methods, offered in (((_PASSWORD,), b"\x00\x01"), ((_PASSWORD,), b""), ((), b"\x00")):
            self.assertIs(select(methods, offered), Method.NO_ACCEPTABLE_METHODS)

    @given(st.lists(st.sampled_from([_NONE, _PASSWORD]), unique=True), st.binary(max_size=255))
    @settings(max_examples=100, deadline=None)
    def test_common(self, methods: list[Method], offered: bytes) -> None:
        """What is chosen was offered by both; FF is chosen only if nothing was."""
        chosen = select(methods, offered)
        common = [method for method in methods if int(method) in offered]
        self.assertEqual(chosen, common[0] if common else Method.NO_ACCEPTABLE_METHODS)
