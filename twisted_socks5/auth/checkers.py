"""
Several credentials checkers where a portal has room for one.

L{Portal<twisted.cred.portal.Portal>} keeps one checker for each credentials interface and lets
the last one win without a word, so that a second C{--auth file:…} would lock out the first
file's users.  L{combine} gives it one L{CheckerChain} for each interface instead.

A checker may be anybody's.  What it raises is never more than its own refusal: the next one is
asked, and nobody is let in by a breakdown.  Knows nothing of SOCKS.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, cast

from twisted.cred.checkers import (
    AllowAnonymousAccess,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)
from twisted.cred.credentials import IAnonymous, ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.python.failure import Failure
from zope.interface import Interface, implementer

from twisted_socks5.auth.credentials import toOctets
from twisted_socks5.auth.refusals import explain


def combine(checkers: Iterable[ICredentialsChecker]) -> list[CheckerChain]:
    """
    Group checkers so that a portal asks them all.

    Checkers of strcred's C{memory} type, whose names and passwords are text when they come from
    a command line, are made to answer for octets.

    @param checkers: as C{options["credCheckers"]} has them, in the order to ask them in.  One
        that supports several interfaces becomes part of several chains.
    @return: one chain for each interface, in order of first appearance: what
        C{Portal(realm, combine(checkers))} takes.
    """
    chains: dict[type[Interface], list[ICredentialsChecker]] = {}
    for checker in checkers:
        answering = _forOctets(checker)
        for interface in checker.credentialInterfaces:
            chains.setdefault(interface, []).append(answering)
    return [CheckerChain(chain, interface) for interface, chain in chains.items()]


@dataclass(frozen=True)
class _Refused:
    """One checker's "no", as a value: the chain goes on."""

    reason: str


@implementer(ICredentialsChecker)
class CheckerChain:
    """
    Asks one checker after the other until one knows the client.

    A user whom several checkers know can log in with any of these passwords.

    How long a refusal takes: for an unknown user all checkers are asked, as they are for a wrong
    password.  How long each takes for either is its own, and cannot be mended from here:
    Twisted's C{file:} stops reading at the line of a user it knows, and a checker of hashed
    passwords may have nothing to hash for a user it does not know.

    @ivar checkers: the checkers, in the order they are asked in.
    @ivar credentialInterfaces: the one interface whose credentials they are asked about.
    """

    def __init__(
        self, checkers: Iterable[ICredentialsChecker], credentialInterface: type[Interface]
    ) -> None:
        self.checkers: Sequence[ICredentialsChecker] = tuple(checkers)
        self.credentialInterfaces = (credentialInterface,)
        #: Whether nobody is asked anything at all.
        self.admitsAnybody = credentialInterface is IAnonymous and [
            type(checker) for checker in self.checkers[:1]
        ] == [AllowAnonymousAccess]

    def requestAvatarId(self, credentials: ICredentials) -> Deferred[bytes | tuple[()]]:
        """
        Ask who a client is.

        @param credentials: what the client says of itself.
        @return: fires with the avatar ID that the first content checker gives.  Fails with
            L{UnauthorizedLogin}, whose text has the checkers' reasons, when none is content.
            Cancelling it cancels the checker that is being asked, and asks no further one.
        """
        return Deferred.fromCoroutine(self._ask(credentials))

    async def _ask(self, credentials: ICredentials) -> bytes | tuple[()]:
        reasons = []
        for checker in self.checkers:
            asked: Deferred[Any] = maybeDeferred(checker.requestAvatarId, credentials)
            answer = await asked.addErrback(self._refusedBy, checker, credentials)
            if not isinstance(answer, _Refused):
                return cast("bytes | tuple[()]", answer)
            if answer.reason:
                reasons.append(answer.reason)
        # Not from within an except clause: what a checker raised must not be its context.
        raise UnauthorizedLogin("; ".join(reasons))

    def _refusedBy(
        self, failure: Failure, checker: ICredentialsChecker, credentials: ICredentials
    ) -> _Refused | Failure:
        if failure.check(CancelledError):
            # Whoever cancels has given the whole login up.
            return failure
        return _Refused(explain(failure, checker, credentials))


@implementer(ICredentialsChecker)
class InMemoryOctets:
    """
    Lets octets find users whose names and passwords are text.

    strcred's C{memory} type fills its checker with the text of a command line, and compares it
    with what the client sent, which is never equal to it.  This one reads the same table, so a
    user who is added later counts at once, and answers with the octets of the name.

    An unknown user takes as long as a wrong password: each name is looked at, always, and some
    password is compared.

    @ivar checker: the checker whose C{users} these are.
    """

    def __init__(self, checker: InMemoryUsernamePasswordDatabaseDontUse) -> None:
        self.checker = checker
        self.credentialInterfaces = checker.credentialInterfaces

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """
        Ask who a client is.

        @param credentials: provides one of C{credentialInterfaces}.
        @return: fires with the user's name in octets, or fails with L{UnauthorizedLogin}.
        """
        wanted = toOctets(credentials.username)
        known, password = False, b""
        for name, stored in self.checker.users.items():
            if toOctets(name) == wanted:
                known, password = True, toOctets(stored)

        def compared(same: bool) -> bytes:
            if not (known and same):
                raise UnauthorizedLogin
            return wanted

        return maybeDeferred(credentials.checkPassword, password).addCallback(compared)


def _forOctets(checker: ICredentialsChecker) -> ICredentialsChecker:
    # Not isinstance: a subclass may well answer in its own way.
    if type(checker) is InMemoryUsernamePasswordDatabaseDontUse:
        return InMemoryOctets(checker)
    return checker
