"""
Who is it?  A session's one way to its portal.

From here a login ends in one of two ways: an avatar with a logout that cannot fail and happens
at most once, or an L{UnauthorizedLogin} that tells nothing it should not.  A session that ends
first cancels its login, and owes nothing: an avatar that still arrives is logged out here.

Knows METHODs and portals, and no octets of the wire.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, Any

from twisted.cred.credentials import IAnonymous
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import qual

from twisted_socks5.auth.checkers import CheckerChain
from twisted_socks5.auth.methods import acceptanceOf, methodsFor, select
from twisted_socks5.auth.realm import ANYBODY, SOCKS5Realm
from twisted_socks5.auth.refusals import clientName, explain, withoutSecrets
from twisted_socks5.interfaces import ISOCKS5Avatar

if TYPE_CHECKING:
    from twisted.cred.credentials import ICredentials
    from twisted.cred.portal import Portal

    from twisted_socks5.auth.credentials import Interest
    from twisted_socks5.auth.gssapi import Acceptance
    from twisted_socks5.wire.constants import Method

    _Admission = tuple[ISOCKS5Avatar, Callable[[], None]]

#: Different offers of clients, of which it is remembered what is chosen.
REMEMBERED = 256

_log = Logger()


class Authenticator:
    """
    Asks a portal who a client is; one serves all sessions.

    @ivar portal: who knows.  Its checkers may change while the server runs.
    """

    def __init__(self, portal: Portal, order: Collection[Method] | None = None) -> None:
        """
        @param portal: who knows.
        @param order: the methods to offer at all, in order of preference; L{None} is all that
            can be checked.
        """
        self.portal = portal
        self._order = order
        # What the checkers were, and which method was chosen then for what had been offered,
        # with or without a certificate.
        self._checkers: object = None
        self._chosen: dict[tuple[bytes, bool], Method] = {}

    @property
    def methods(self) -> tuple[Method, ...]:
        """The METHODs that the portal can check now of anybody, in order of preference."""
        return methodsFor(self.portal, self._order)

    @property
    def acceptance(self) -> Acceptance:
        """
        How security contexts are accepted.

        @raise LookupError: they are not; GSSAPI is not among the methods then.
        """
        found = acceptanceOf(self.portal)
        if found is None:
            raise LookupError("the portal accepts no security contexts")
        return found

    def select(self, offered: bytes, certified: bool = False) -> Method:
        """
        Choose the METHOD of a session (RFC 1928, section 3).

        @param offered: the greeting's METHODS, an octet each.
        @param certified: whether the client has shown a certificate that can be checked.
        @return: the one preferred among those that can be checked, or C{NO_ACCEPTABLE_METHODS}.
        """
        portal = self.portal
        checkers = portal.listCredentialsInterfaces(), [*portal.checkers.values()]
        if self._checkers != checkers or len(self._chosen) > REMEMBERED:
            self._checkers = checkers
            self._chosen.clear()
        asked = offered, certified
        chosen = self._chosen.get(asked)
        if chosen is None:
            chosen = select(methodsFor(portal, self._order, certified), offered)
            self._chosen[asked] = chosen
        return chosen

    def anybody(self) -> ISOCKS5Avatar | None:
        """
        Tell who a client is that need not say who it is, where that takes no asking.

        @return: the avatar of all who come with method "none", if the portal is one of ours that
            admits anybody; L{None} if its checker or its realm may want to know of each.
        """
        chain = self.portal.checkers.get(IAnonymous)
        if type(self.portal.realm) is SOCKS5Realm and type(chain) is CheckerChain:
            return ANYBODY if chain.admitsAnybody else None
        return None

    def login(self, credentials: ICredentials, mind: object = None) -> Deferred[_Admission]:
        """
        Let the portal decide who a client is.

        @param credentials: an L{OctetCredentials<twisted_socks5.auth.OctetCredentials>} or, for
            method "none", an L{Anonymous<twisted.cred.credentials.Anonymous>}, or what another
            method has found out.
        @param mind: whatever the realm may want to know of the session.
        @return: fires with the avatar and its logout, to be called when the session ends; a
            second call does nothing, and what goes wrong in it is logged.  Fails with
            L{UnauthorizedLogin} and nothing else, its text the reason for the log, perhaps
            empty; what should not have happened is in the log already.  Or cancel it, when the
            session ends before: it fails with L{CancelledError
            <twisted.internet.defer.CancelledError>}, and what the portal still answers is undone.
        """
        visit = _Visit(clientName(credentials), getattr(credentials, "interest", None))
        # The portal's own Deferred is never cancelled.  Its realm may be at work already, and an
        # avatar whose Deferred was cancelled would be lost on its way, and never logged out.
        asked = maybeDeferred(self.portal.login, credentials, mind, ISOCKS5Avatar)
        asked.addCallback(visit.admitted).addErrback(visit.refused, self.portal, credentials)
        return visit.answer


class _Visit:
    """
    One login and, where it succeeds, its logout.

    It does not keep the credentials: a password has no business in memory once it was checked.
    """

    def __init__(self, client: str, interest: Interest | None) -> None:
        self.answer: Deferred[_Admission] = Deferred(self._abandon)
        self._client = client
        self._interest = interest
        self._abandoned = False
        self._logout: Callable[[], object] | None = None

    def admitted(self, result: object) -> None:
        """The portal lets the client in, unless its realm's word is not good."""
        avatar, self._logout = _understood(result)
        if not ISOCKS5Avatar.providedBy(avatar):
            self.leave()
            raise TypeError(f"a {qual(type(avatar))} is no ISOCKS5Avatar")
        if self._abandoned:
            self.leave()
        else:
            self.answer.callback((avatar, self.leave))

    def refused(self, failure: Failure, portal: Portal, credentials: ICredentials) -> None:
        """The portal does not let the client in, for whatever reason."""
        if self._abandoned and failure.check(CancelledError):
            return  # A checker that did not go on for nobody.
        reason = explain(failure, portal, credentials)
        if not self._abandoned:
            # A new failure: the portal's has frames, and in them what the client sent.
            self.answer.errback(Failure(UnauthorizedLogin(reason)))

    def leave(self) -> None:
        """The avatar's logout, as its session gets it."""
        logout, self._logout = self._logout, None
        if logout is not None:
            maybeDeferred(logout).addErrback(self._stuck)

    def _abandon(self, answer: object) -> None:
        self._abandoned = True
        if self._interest is not None:
            # For a checker that has not answered yet; to others it is nothing.
            self._interest.lose()

    def _stuck(self, failure: Failure) -> None:
        # A realm is never shown the credentials, so there is nothing to look for in the text.
        _log.failure("The logout of {client} failed", withoutSecrets(failure), client=self._client)


def _understood(result: Any) -> tuple[Any, Callable[[], object]]:
    """Take apart what L{IRealm.requestAvatar<twisted.cred.portal.IRealm>} is to return."""
    _interface, avatar, logout = result
    if not callable(logout):
        raise TypeError(f"a {qual(type(logout))} is no logout")
    return avatar, logout
