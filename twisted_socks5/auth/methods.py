"""
Which METHODs (RFC 1928, section 3) a portal can check, and which of them is preferred.

A portal's checkers say which credentials they judge, a METHOD says which credentials a client
will show: this is the one place where the two are put together.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import TYPE_CHECKING

from twisted.cred.credentials import IAnonymous, IUsernameHashedPassword, IUsernamePassword
from zope.interface import Interface

from twisted_socks5.auth.certificates import IVerifiedCertificate
from twisted_socks5.auth.checkers import CheckerChain
from twisted_socks5.auth.gssapi import Acceptance, IVerifiedPrincipal
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.wire.constants import Method

if TYPE_CHECKING:
    from twisted.cred.checkers import ICredentialsChecker
    from twisted.cred.portal import Portal

METHODS: tuple[tuple[type[Interface], Method], ...] = (
    # The same password, but not said aloud; only those offer it who mean it.
    (IUsernameHashedPassword, Method.CHAP),
    # A name before no name: rules and logs know more, and a client that has a password to show
    # usually offers both.  The server's order decides, not the client's.
    (IUsernamePassword, Method.USERNAME_PASSWORD),
    (IAnonymous, Method.NO_AUTHENTICATION),
    # For clients that have shown one, and so need say no more.
    (IVerifiedCertificate, Method.NO_AUTHENTICATION),
    # Last: curl and git offer it always, and without a ticket nothing comes of it.
    (IVerifiedPrincipal, Method.GSSAPI),
)
"""In order of preference, unless somebody prefers another."""

WORDS = {
    "chap": Method.CHAP,
    "password": Method.USERNAME_PASSWORD,
    "none": Method.NO_AUTHENTICATION,
    "gssapi": Method.GSSAPI,
}
"""The methods, as operators call them."""

# IANA's registry and the constants' names, for who has looked there.
_OTHER_WORDS = {
    "chap": Method.CHAP,
    "username/password": Method.USERNAME_PASSWORD,
    "username_password": Method.USERNAME_PASSWORD,
    "no authentication required": Method.NO_AUTHENTICATION,
    "no_authentication": Method.NO_AUTHENTICATION,
}

_AUTH = {
    Method.CHAP: "file:PATH or memory:NAME:PASSWORD, say",
    Method.USERNAME_PASSWORD: "file:PATH, say",
    Method.GSSAPI: "gssapi",
    Method.NO_AUTHENTICATION: "anonymous",
}


def parseMethods(text: str) -> tuple[Method, ...]:
    """
    Read methods in order of preference.

    @param text: their names, separated by commas.
    @raise ConfigurationError: a word that is none.
    """
    methods = []
    for word in text.split(","):
        method = (WORDS | _OTHER_WORDS).get(word.strip().lower())
        if method is None:
            raise ConfigurationError(
                f"{word.strip()!r} is no method; there are {', '.join(WORDS)}"
            )
        methods.append(method)
    return tuple(methods)


def methodsFor(
    portal: Portal, order: Collection[Method] | None = None, certified: bool = False
) -> tuple[Method, ...]:
    """
    List the METHODs whose credentials a portal can check.

    A checker counts for the very interface it is registered for: one for any L{ICredentials
    <twisted.cred.credentials.ICredentials>} does not open the door to method "none".  GSSAPI
    also takes an L{Acceptance}.

    @param portal: the portal.
    @param order: the methods to offer at all, in order of preference; L{None} is all, in the
        order of L{METHODS}.
    @param certified: whether it is about a client that has shown a certificate.
    @return: the methods, in order of preference; empty for a portal nobody can pass.
    """
    known = set(portal.listCredentialsInterfaces())
    if not certified:
        known.discard(IVerifiedCertificate)
    methods = list(dict.fromkeys(method for interface, method in METHODS if interface in known))
    if Method.GSSAPI in methods and acceptanceOf(portal) is None:
        methods.remove(Method.GSSAPI)
    if order is None:
        if Method.CHAP in methods and not _allKnowPasswords(portal):
            # Who is in a file of hashes can log in with a password only, and may offer both.
            methods.remove(Method.CHAP)
            methods.insert(methods.index(Method.USERNAME_PASSWORD) + 1, Method.CHAP)
        return tuple(methods)
    return tuple(method for method in order if method in methods)


def _allKnowPasswords(portal: Portal) -> bool:
    """Tell whether whoever can log in with a password can answer a challenge, too."""
    challenging = _checkers(portal, IUsernameHashedPassword)
    return all(checker in challenging for checker in _checkers(portal, IUsernamePassword))


def checkMethods(portal: Portal, order: Collection[Method] | None) -> None:
    """
    Make sure that an order of methods and a portal's checkers belong together.

    @param portal: the portal.
    @param order: as for L{methodsFor}.
    @raise ConfigurationError: with one line: nothing can check a method, or a checker would
        never be asked.
    """
    if order is None:
        return
    names = {method: name for name, method in WORDS.items()}
    able = methodsFor(portal, certified=True)
    for method in order:
        if method not in able:
            raise ConfigurationError(
                f"method {names[method]} is to be offered, and nothing can check it: it takes "
                f"--auth {_AUTH[method]}"
            )
    # Some checkers are good for several methods; one of them is enough for it to be asked.
    asked = [
        checker
        for interface, method in METHODS
        for checker in _checkers(portal, interface)
        if method in order
    ]
    for interface, method in METHODS:
        if any(checker not in asked for checker in _checkers(portal, interface)):
            raise ConfigurationError(
                f"there is an --auth for method {names[method]}, which is not among the methods "
                f"that are to be offered: {', '.join(names[each] for each in order)}"
            )


def _checkers(portal: Portal, interface: type[Interface]) -> Sequence[ICredentialsChecker]:
    """Give a portal's checkers for an interface, out of their chain if they are in one."""
    checker = portal.checkers.get(interface)
    if checker is None:
        return ()
    return checker.checkers if isinstance(checker, CheckerChain) else (checker,)


def acceptanceOf(portal: Portal) -> Acceptance | None:
    """
    Find how a portal accepts security contexts.

    @return: C{acceptance} of the first of its checkers of principals that has one.
    """
    checker = principalChecker(portal)
    return None if checker is None else checker.acceptance  # type: ignore[attr-defined]


def principalChecker(portal: Portal) -> ICredentialsChecker | None:
    """Find a portal's first checker of principals that knows how to accept a context."""
    for checker in _checkers(portal, IVerifiedPrincipal):
        if isinstance(getattr(checker, "acceptance", None), Acceptance):
            return checker
    return None


def select(methods: Iterable[Method], offered: bytes) -> Method:
    """
    Choose one of the METHODs that a client offers.

    @param methods: what the server takes, in order of preference.
    @param offered: the greeting's METHODS, an octet each.
    @return: the first of C{methods} that is offered, else C{NO_ACCEPTABLE_METHODS}.
    """
    for method in methods:
        if method in offered:
            return method
    return Method.NO_ACCEPTABLE_METHODS
