"""
Which METHODs (RFC 1928, section 3) a portal can check.

A portal's checkers say which credentials they judge, a METHOD says which credentials a client
will show: this is the one place where the two are put together.
"""

from __future__ import annotations

from collections.abc import Iterable

from twisted.cred.credentials import IAnonymous, IUsernamePassword
from twisted.cred.portal import Portal
from zope.interface import Interface

from twisted_socks5.wire.constants import Method

METHODS: tuple[tuple[type[Interface], Method], ...] = (
    # A name before no name: rules and logs know more, and a client that has a password to show
    # usually offers both.  The server's order decides, not the client's.
    (IUsernamePassword, Method.USERNAME_PASSWORD),
    (IAnonymous, Method.NO_AUTHENTICATION),
)


def methodsFor(portal: Portal) -> tuple[Method, ...]:
    """
    List the METHODs whose credentials a portal can check.

    A checker counts for the very interface it is registered for: one for any L{ICredentials
    <twisted.cred.credentials.ICredentials>} does not open the door to method "none".

    @param portal: the portal.
    @return: the methods, in order of preference; empty for a portal nobody can pass.
    """
    known = portal.listCredentialsInterfaces()
    return tuple(method for interface, method in METHODS if interface in known)


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
