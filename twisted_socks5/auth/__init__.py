"""
Who is it?  Authentication through L{twisted.cred}.

An application brings a L{Portal<twisted.cred.portal.Portal>} of its own, or makes one::

    checkUsable(checkers)
    portal = Portal(SOCKS5Realm(), combine(checkers))

and gives it to the server, which asks an L{Authenticator} for each session.  The METHODs that
are offered to clients are those whose credentials the portal can check: username/password
(RFC 1929), GSSAPI (RFC 1961) and none.
"""

from __future__ import annotations

from twisted_socks5.auth.authenticator import Authenticator
from twisted_socks5.auth.checkers import CheckerChain, combine
from twisted_socks5.auth.credentials import OctetCredentials
from twisted_socks5.auth.gssapi import (
    Acceptance,
    IVerifiedPrincipal,
    PrincipalChecker,
    VerifiedPrincipal,
)
from twisted_socks5.auth.methods import checkMethods, methodsFor
from twisted_socks5.auth.passwords import PasswordFileChecker
from twisted_socks5.auth.preflight import checkUsable
from twisted_socks5.auth.principals import PrincipalMap, PrincipalNames
from twisted_socks5.auth.realm import SOCKS5Realm, User

__all__ = [
    "Acceptance",
    "Authenticator",
    "CheckerChain",
    "IVerifiedPrincipal",
    "OctetCredentials",
    "PasswordFileChecker",
    "PrincipalChecker",
    "PrincipalMap",
    "PrincipalNames",
    "SOCKS5Realm",
    "User",
    "VerifiedPrincipal",
    "checkMethods",
    "checkUsable",
    "combine",
    "methodsFor",
]
