"""
Security contexts of MIT Kerberos, by way of the C{gssapi} package (RFC 1961, RFC 4121).

The package is an extra, since it is built against krb5's headers: nothing imports it before it is
wanted, and where it is missing one line says how to get it.  It is its low layer that is used; the
high one defers errors to some later call.

All that may take its time (the import, 80 ms; keytabs, tickets, the replay cache, a KDC, a name
server that makes a host's name a canonical one) happens in L{ISecurityContext.step}, libkrb5's
part of it without Python's lock: so a thread that steps holds up nobody.  The same goes for
C{wrap} and C{unwrap}.  They take, sealed by the cipher that is usual today, 3 µs for 64 octets,
40 µs for 4 KiB and 0.6 ms for 64 KiB, and a third of that unsealed.

What libkrb5 is told by the environment holds here as anywhere: C{KRB5_CONFIG}, C{KRB5_KTNAME},
C{KRB5CCNAME}, C{KRB5RCACHEDIR}, C{KRB5_TRACE}.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from zope.interface import implementer

from twisted_socks5.errors import ConfigurationError
from twisted_socks5.security.contexts import ContextError, ISecurityContext
from twisted_socks5.security.plainwords import TEXT_ERRORS, explain, oneLine, principalText

if TYPE_CHECKING:
    from gssapi import raw
    from gssapi.raw.named_tuples import AcceptSecContextResult, InitSecContextResult

_Clock = Callable[[], float]
_Credentials = Callable[[Any], "raw.Creds"]
_Store = dict[bytes, bytes] | None

_REPLAY = "replay_detection"

#: What every client asks for: that the proxy proves who it is, that nothing comes twice, and both
#: kinds of protection (RFC 1961, section 3.2).
_FLAGS = ("mutual_authentication", _REPLAY, "integrity", "confidentiality")

_MISSING = (
    "GSSAPI needs the gssapi package: pip install 'twisted-socks5[gssapi]' "
    "(it needs krb5's headers, Debian: libkrb5-dev)"
)

#: Who got a ticket without saying who they are (RFC 6112, section 3), whatever the realm.
_ANONYMOUS = "WELLKNOWN/ANONYMOUS@"


class Acceptor:
    """
    A service that clients can prove to who they are: the server's side of contexts.

    Nothing is kept from one context to the next, so a keytab that is changed or replaced holds
    from then on.  libkrb5's replay cache, a file that it keeps for each Unix user, is asked and
    written with each context: 16 octets, without waiting for the disk.
    """

    def __init__(
        self, service: str = "rcmd", keytab: str | None = None, *, now: _Clock = time.monotonic
    ) -> None:
        """
        @param service: C{"rcmd"}: whatever hosts of that service the keytab has keys for (RFC
            1961, section 3, names the service); C{"rcmd@host"}: one host, about which libkrb5
            mostly asks a name server; with a C{"/"} in it, a whole principal,
            C{"rcmd/host@REALM"}.
        @param keytab: a path; L{None} is libkrb5's default, mostly /etc/krb5.keytab.
        @param now: seconds of a clock that is never set.
        @raise ConfigurationError: C{service} is no such name.
        """
        if not _isName(service):
            raise ConfigurationError(f"{service!r} is not the name of a service")
        self._service = service
        self._keytab = keytab
        self._now = now

    def __repr__(self) -> str:
        """Name the service, and where its key is."""
        return f"<{type(self).__name__} {self._service}, {self._place}>"

    @property
    def _place(self) -> str:
        return "the default keytab" if self._keytab is None else f"keytab {self._keytab}"

    def check(self) -> None:
        """
        Try whether contexts could be accepted; it reads files, and may ask a name server.

        @raise ConfigurationError: the package is missing; the keytab is, or cannot be read, or
            has no key of the service.
        """
        library = _library()
        try:
            self._credentials(library)
        except (library.GSSError, *TEXT_ERRORS) as error:
            raise ConfigurationError(
                f"no clients of {self._service} can be accepted with {self._place}: "
                f"{explain(error)}"
            ) from None

    def context(self) -> ISecurityContext:
        """
        Make the context for one client.

        @raise ConfigurationError: the package is missing.
        """
        _demand()
        return _Accepting(self._credentials, self._now)

    def _credentials(self, library: Any) -> raw.Creds:
        """Look for the key.  Only Kerberos' own: nothing is negotiated within a token."""
        store = None if self._keytab is None else {b"keytab": _octets(self._keytab)}
        return _acquire(library, self._service, store, "accept")


def initiate(
    service: str,
    *,
    principal: str | None = None,
    ccache: str | None = None,
    keytab: str | None = None,
    delegate: bool = False,
    sequence: bool = False,
    now: _Clock = time.monotonic,
) -> ISecurityContext:
    """
    Make the client's side of a context (RFC 1961, section 3.2).

    Whose tickets it takes is for libkrb5 to say, unless it is said here; a password is never
    asked for.

    @param service: C{"rcmd@host"}, or with a C{"/"} in it a whole principal.
    @param principal: who to be: C{"alice"}, C{"alice@REALM"}; L{None}: whoever has tickets there.
    @param ccache: where the tickets are: a path, or as in C{KRB5CCNAME}; L{None}: in the default.
    @param keytab: the path of a keytab with which tickets are got when there are none.  They are
        kept in memory unless there is C{ccache}, too.
    @param delegate: whether the service may act for the principal elsewhere, if the ticket allows
        to pass it on.
    @param sequence: whether what is missing or comes out of turn breaks the context.  Right for
        streams; never where there will be datagrams.
    @param now: seconds of a clock that is never set.
    @raise ValueError: C{service} or C{principal} is no such name.
    @raise ConfigurationError: the package is missing.  If it is broken, the first step says so.
    """
    for name in (service, *([] if principal is None else [principal])):
        if not _isName(name):
            raise ValueError(f"{name!r} is not a principal's name")
    _demand()
    store = {}
    if keytab is not None:
        store[b"client_keytab"] = _octets(keytab)
        # Else the tickets would go to the user's own, and take the place of those there.
        ccache = ccache or f"MEMORY:twisted-socks5 {principal or ''} {keytab}"
    if ccache is not None:
        store[b"ccache"] = _octets(ccache)
    flags = [*_FLAGS]
    if sequence:
        flags.append("out_of_sequence_detection")
    if delegate:
        flags.append("delegate_to_peer")

    def credentials(library: Any) -> raw.Creds:
        return _acquire(library, principal, store or None, "initiate")

    return _Initiating(credentials, service, flags, now)


@implementer(ISecurityContext)
class _Context:
    """
    What both sides have in common.

    @ivar peer: see L{ISecurityContext}.
    """

    peer = ""

    def __init__(self, credentials: _Credentials, now: _Clock) -> None:
        self._library: Any = None
        self._acquire = credentials
        self._now = now
        self._credentials: raw.Creds | None = None
        self._context: raw.SecurityContext | None = None
        self._established = False
        self._over = False
        self._end: float | None = None

    @property
    def established(self) -> bool:
        """See L{ISecurityContext}."""
        return self._established

    @property
    def lifetime(self) -> float | None:
        """See L{ISecurityContext}; 0 before it stands."""
        if not self._established:
            return 0.0
        return None if self._end is None else max(self._end - self._now(), 0.0)

    def step(self, token: bytes) -> bytes:
        """See L{ISecurityContext}."""
        if self._established or self._over:
            raise ContextError("the context takes no further token")
        try:
            self._library = _library()
        except ConfigurationError as error:
            raise ContextError(str(error)) from error
        try:
            return self._step(token)
        except (self._library.GSSError, *TEXT_ERRORS) as error:
            self.dispose()
            raise ContextError(explain(error)) from None
        except ContextError:
            self.dispose()
            raise

    def wrap(self, octets: bytes, confidential: bool) -> bytes:
        """See L{ISecurityContext}."""
        context = self._standing()
        try:
            token, sealed = self._library.wrap(context, octets, confidential)
        except (self._library.GSSError, *TEXT_ERRORS) as error:
            raise ContextError(explain(error)) from None
        if confidential and not sealed:
            raise ContextError("the context cannot seal")
        wrapped: bytes = token
        return wrapped

    def unwrap(self, token: bytes) -> tuple[bytes, bool]:
        """See L{ISecurityContext}."""
        context = self._standing()
        try:
            octets, sealed, _ = self._library.unwrap(context, token)
        except (self._library.GSSError, *TEXT_ERRORS) as error:
            raise ContextError(explain(error)) from None
        return octets, sealed

    def wrapSizeLimit(self, confidential: bool, size: int = 65535) -> int:
        """See L{ISecurityContext}."""
        context = self._standing()
        try:
            limit: int = self._library.wrap_size_limit(context, size, confidential)
        except (self._library.GSSError, *TEXT_ERRORS) as error:
            raise ContextError(explain(error)) from None
        return limit

    def dispose(self) -> None:
        """See L{ISecurityContext}; a thread that is busy with it brings its piece to the end."""
        # libkrb5's context is freed with the last reference, so never under a thread's feet.
        self._context = self._credentials = None
        self._established = False
        self._over = True

    def _step(self, token: bytes) -> bytes:
        """Take a token, and make one."""
        result = self._exchange(token)
        if self._over:
            raise ContextError("nobody waits for the context any more")
        if result.more_steps:
            if not result.token:
                # libkrb5 says so of one whose turn is later: to go on, but not with what.
                raise ContextError("a token that does not begin a context")
        else:
            self.peer = principalText(self._library.display_name(self._peerOf(result)).name)
            if self.peer.startswith(_ANONYMOUS):
                raise ContextError(f"{self.peer} is nobody in particular")
            self._end = None if result.lifetime is None else self._now() + result.lifetime
            self._credentials = None
            self._established = True
        self._context = result.context
        return result.token or b""

    def _exchange(self, token: bytes) -> AcceptSecContextResult | InitSecContextResult:
        """Hand a token to the side's own function."""
        raise NotImplementedError

    def _peerOf(self, result: Any) -> raw.Name:
        """Find the other side's name, once it is known."""
        raise NotImplementedError

    def _standing(self) -> raw.SecurityContext:
        """Give the context if it can be used; libkrb5 protects on, whatever the time."""
        if not self._established or self._context is None:
            raise ContextError("there is no context")
        if self._end is not None and self._now() >= self._end:
            raise ContextError("the context has expired")
        return self._context


class _Accepting(_Context):
    """The server's side."""

    def _exchange(self, token: bytes) -> AcceptSecContextResult:
        if not token:
            raise ContextError("an empty token")
        if self._credentials is None:
            self._credentials = self._acquire(self._library)
        result: AcceptSecContextResult = self._library.accept_sec_context(
            token, self._credentials, self._context
        )
        # The client decides for both sides.  Without this, libkrb5 takes a message as often as it
        # comes, and that would not be the protection that the operator wants.
        flags: Any = result.flags  # a set, whatever its annotation says
        if not result.more_steps and self._library.RequirementFlag[_REPLAY] not in flags:
            raise ContextError("the client does not ask that nothing may come twice")
        return result

    def _peerOf(self, result: Any) -> raw.Name:
        name: raw.Name = result.initiator_name
        return name


class _Initiating(_Context):
    """The client's side."""

    def __init__(
        self,
        credentials: _Credentials,
        service: str,
        flags: list[str],
        now: _Clock,
    ) -> None:
        super().__init__(credentials, now)
        self._service = service
        self._flags = flags
        self._target: raw.Name | None = None

    def _exchange(self, token: bytes) -> InitSecContextResult:
        if self._target is None:
            self._target = _import(self._library, self._service)
            self._credentials = self._acquire(self._library)
        elif not token:
            raise ContextError("an empty token")
        result: InitSecContextResult = self._library.init_sec_context(
            self._target,
            self._credentials,
            self._context,
            self._library.MechType.kerberos,
            [self._library.RequirementFlag[name] for name in self._flags],
            input_token=token or None,
        )
        return result

    def _peerOf(self, result: Any) -> raw.Name:
        name: raw.Name = self._library.inquire_context(result.context).target_name
        return name


def _demand() -> None:
    """
    See whether the package is there, without the time that its import takes.

    @raise ConfigurationError: it is not.
    """
    if find_spec("gssapi") is None:
        raise ConfigurationError(f"{_MISSING}; there is none")


def _library() -> Any:
    """
    Import the package's low layer.

    @raise ConfigurationError: it, or the library that it is made for, is missing or broken.
    """
    try:
        from gssapi import raw
    except (ImportError, OSError) as error:
        raise ConfigurationError(f"{_MISSING}; {oneLine(str(error))}") from error
    return raw


def _acquire(library: Any, name: str | None, store: _Store, usage: str) -> raw.Creds:
    """Look for credentials of Kerberos', in a store or where libkrb5 looks by itself."""
    mechanisms = [library.MechType.kerberos]
    wanted = None if name is None else _import(library, name, principal=usage == "initiate")
    if store is None:
        found = library.acquire_cred(wanted, None, mechanisms, usage)
    else:
        found = library.acquire_cred_from(store, wanted, None, mechanisms, usage)
    credentials: raw.Creds = found.creds
    return credentials


def _import(library: Any, name: str, *, principal: bool = False) -> raw.Name:
    """Make a name of Kerberos' of what a user writes; it may take a name server."""
    kinds = library.NameType
    whole = principal or "/" in name
    kind = kinds.kerberos_principal if whole else kinds.hostbased_service
    imported: raw.Name = library.import_name(_octets(name), kind)
    return imported


def _isName(name: str) -> bool:
    """Tell whether it can be the name of anything; what libkrb5 makes of it is another matter."""
    return bool(name) and name.isprintable()


def _octets(text: str) -> bytes:
    """Write text as libkrb5 takes names and paths."""
    return text.encode("utf-8", "surrogateescape")
