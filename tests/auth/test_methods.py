"""Tests of which METHODs a portal can check."""

from __future__ import annotations

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
from twisted_socks5.auth import SOCKS5Realm, combine
from twisted_socks5.auth.methods import methodsFor, select
from twisted_socks5.wire.constants import Method

_NONE, _PASSWORD = Method.NO_AUTHENTICATION, Method.USERNAME_PASSWORD


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
        self.assertEqual(self.methods(ISSHPrivateKey, IUsernameHashedPassword), ())

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
