"""
Who it is by GSS-API (RFC 1961): what a checker of principals is made of, and C{--auth gssapi}.

A security context proves who its initiator is; nothing is left to compare.  So the credentials
are the principal that a context already stands for, and the checker says whether the operator
admits it, and by which name.  It also has what a server must know to accept contexts at all, an
L{Acceptance}: method 1 is offered where the portal has such a checker.

Imports no GSS library: who has none installed hears so when they ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn, Protocol

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, maybeDeferred
from zope.interface import Attribute, Interface, implementer

from twisted_socks5.auth.credentials import toOctets
from twisted_socks5.auth.principals import NotAdmitted, PrincipalMap, PrincipalNames
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.fairthreads import Busy
from twisted_socks5.wire.constants import ProtectionLevel

if TYPE_CHECKING:
    from twisted.python.failure import Failure

    from twisted_socks5.fairthreads import FairThreads
    from twisted_socks5.security import ISecurityContext

HELP = """
Kerberos tickets (GSSAPI, RFC 1961): whoever has one for this proxy's service
may use it. It needs the gssapi package (pip install 'twisted-socks5[gssapi]')
and a keytab with the service's key.

  --auth gssapi
  --auth gssapi:keytab=/etc/socks5.keytab:realm=EXAMPLE.COM
  --auth gssapi:protection=integrity,confidentiality,none

Every parameter can be left out; a colon in a value is written \\:.

  keytab=PATH      the keytab, if it isn't the system's
  service=NAME     the service; default: rcmd, for any of its hosts in the
                   keytab. rcmd@HOST is one host's; with a slash in it, it
                   is a whole principal
  protection=LIST  what clients may ask for: integrity, confidentiality,
                   per-message (default: all three); none, which protects
                   nothing (curl asks for it); and nec, which is how the
                   level is asked for: as one bare octet (curl
                   --socks5-gssapi-nec)
  realm=LIST       admit only principals of these realms; alice@EXAMPLE.COM
                   is called alice then
  map=PATH         a file of lines PRINCIPAL NAME: the first that matches
                   says what somebody is called, and whom none matches is
                   not admitted. * stands for part of a principal; the name
                   - admits nobody
"""


SERVICE = "rcmd"

LEVELS = {
    "integrity": ProtectionLevel.INTEGRITY,
    "confidentiality": ProtectionLevel.CONFIDENTIALITY,
    "per-message": ProtectionLevel.PER_MESSAGE,
    "none": ProtectionLevel.NONE,
}
"""The protection levels, as operators call them."""

BARE = "nec"

PROTECTED = frozenset(level for level in LEVELS.values() if level is not ProtectionLevel.NONE)
"""What RFC 1961 knows."""

_PARAMETERS = ("keytab", "service", "protection", "realm", "map")
# Up to the next colon that has no backslash before it.
_PARAMETER = re.compile(r"((?:[^:\\]|\\.)*)(?::|$)", re.DOTALL)


class IVerifiedPrincipal(ICredentials, Interface):
    """What a security context says of its initiator."""

    principal: str = Attribute(
        """The principal, as the mechanism writes it: C{"alice@EXAMPLE.COM"}."""
    )


INTERFACES = (IVerifiedPrincipal,)


@implementer(IVerifiedPrincipal)
@dataclass(frozen=True)
class VerifiedPrincipal:
    """
    The principal that a context which stands was initiated by.

    @ivar principal: as the mechanism writes it.
    """

    principal: str

    @property
    def username(self) -> bytes:
        """The same in octets: what a log calls it."""
        return toOctets(self.principal)


class ContextAcceptor(Protocol):
    """Where an acceptor's side of contexts comes from."""

    def context(self) -> ISecurityContext:
        """
        Make a context that waits for the initiator's first token.

        Called in a thread: it may read files.

        @raise ContextError: there is no key, say.
        """

    def check(self) -> None:
        """
        Make sure that contexts can be accepted; reads files.

        @raise ConfigurationError: with one line that says why not.
        """


@dataclass(frozen=True)
class Acceptance:
    """
    How a server accepts security contexts.

    @ivar acceptor: makes them.
    @ivar levels: the protection levels that clients may have.
    @ivar bare: whether a level may be asked for by a bare octet, as NEC's clients do, although
        anybody on the way could change it.
    """

    acceptor: ContextAcceptor
    levels: Collection[ProtectionLevel] = PROTECTED
    bare: bool = False


@implementer(ICredentialsChecker)
class PrincipalChecker:
    """
    Admits principals.

    @ivar acceptance: how the server accepts their contexts.
    @ivar names: whom it admits, and by which names.
    @ivar threads: where names are looked up that stand in a file; the server lends its own.
        L{None}: at once.
    """

    credentialInterfaces = INTERFACES

    def __init__(self, acceptance: Acceptance, names: PrincipalNames | None = None) -> None:
        self.acceptance = acceptance
        self.names = names or PrincipalNames()
        self.threads: FairThreads | None = None

    def requestAvatarId(self, credentials: IVerifiedPrincipal) -> Deferred[bytes | tuple[()]]:
        """
        Give a principal's name in octets.

        @return: fails with L{UnauthorizedLogin}, whose text says why, if it is not admitted.
        """
        principal = credentials.principal
        if self.names.map is None or self.threads is None:
            return maybeDeferred(self._nameFor, principal)
        # Each principal has its own turn, so many of them at once are not too many.
        asked = self.threads.run(principal, lambda: self._nameFor(principal))
        return asked.addErrback(_tooMany)

    def check(self) -> None:
        """
        Make sure that somebody can come in; reads files.

        @raise ConfigurationError: nobody can, with one line that says why.
        """
        if self.names.map is not None:
            self.names.map.load()
        self.acceptance.acceptor.check()

    def _nameFor(self, principal: str) -> bytes | tuple[()]:
        try:
            return toOctets(self.names.nameFor(principal))
        except NotAdmitted as error:
            raise UnauthorizedLogin(str(error)) from None


def _tooMany(failure: Failure) -> NoReturn:
    failure.trap(Busy)
    raise UnauthorizedLogin("too many logins wait to be checked")


def checkerFor(argument: str) -> PrincipalChecker:
    """
    Make what C{--auth gssapi:ARGUMENT} asks for.

    @param argument: C{name=value}, separated by colons; see L{HELP}.
    @raise ConfigurationError: a parameter is wrong, or there is no GSS library.
    """
    given: dict[str, str] = {}
    for name, value in _parameters(argument):
        if name not in _PARAMETERS:
            known = ", ".join(_PARAMETERS)
            raise _wrong(f"{name!r} is none of its parameters, which are {known}")
        if not value:
            raise _wrong(f"{name} has no value; write {name}=…")
        if name not in given:
            given[name] = value
        elif name == "realm":
            given[name] += f",{value}"
        else:
            raise _wrong(f"{name} is given twice")
    levels, bare = _protection(given.get("protection"))
    # Only now, for who has asked for it: it may not be installed.
    from twisted_socks5.security.kerberos import Acceptor

    acceptor = Acceptor(given.get("service", SERVICE), given.get("keytab"))
    path = given.get("map")
    names = PrincipalNames(
        tuple(_list("realm", given["realm"])) if "realm" in given else (),
        None if path is None else PrincipalMap(path),
    )
    return PrincipalChecker(Acceptance(acceptor, levels, bare), names)


def describeLevel(level: int) -> str:
    """Name a protection level, or an octet that is none, for the log."""
    for word, known in LEVELS.items():
        if level == known:
            return word
    return f"unknown ({level})"


def _parameters(argument: str) -> Iterator[tuple[str, str]]:
    """Take an argument apart."""
    at = 0
    while at < len(argument):
        found = _PARAMETER.match(argument, at)
        if found is None:
            raise _wrong("a backslash at the end stands for nothing")
        name, _, value = found[1].partition("=")
        yield name, re.sub(r"\\(.)", r"\1", value, flags=re.DOTALL)
        at = found.end()


def _protection(value: str | None) -> tuple[frozenset[ProtectionLevel], bool]:
    """Read which levels are allowed, and whether NEC's way to ask for one is."""
    if value is None:
        return PROTECTED, False
    words = _list("protection", value)
    for word in words:
        if word != BARE and word not in LEVELS:
            known = ", ".join([*LEVELS, BARE])
            raise _wrong(f"protection={word} is not known; there are {known}")
    levels = frozenset(LEVELS[word] for word in words if word != BARE)
    if not levels:
        raise _wrong(
            "protection=nec says how a level is asked for, not which may be: "
            "add integrity, confidentiality or none"
        )
    return levels, BARE in words


def _list(name: str, value: str) -> list[str]:
    words = value.split(",")
    if not all(words):
        raise _wrong(f"{name}={value} has nothing before or behind a comma")
    return words


def _wrong(what: str) -> ConfigurationError:
    return ConfigurationError(f"--auth gssapi: {what} (see --help-auth-type gssapi)")
