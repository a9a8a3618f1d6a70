"""
OpenSSL's contexts: what a TLS server shows of itself, and what it asks of its clients.

Made of L{Files}, and made anew when these change: L{ServerContexts} has the newest, and each
connection keeps the one that it began with.  When to look for changes is L{Renewal
<twisted_socks5.tls.renewal.Renewal>}'s business.

What is agreed on: TLS 1.2 with ephemeral keys and authenticated encryption, or TLS 1.3; no
compression, no renegotiation, and no resumed sessions, whose clients would have been verified
against the authorities and revocation lists of another day.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, cast

from OpenSSL import SSL, crypto
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from zope.interface import implementer

from twisted_socks5.errors import ConfigurationError
from twisted_socks5.tls.pem import Authorities, Identity
from twisted_socks5.tls.validity import isValid, warnings

if TYPE_CHECKING:
    from cryptography import x509

    from twisted_socks5.tls.files import Files

#: Those of TLS 1.2; TLS 1.3 has no others than good ones.
CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"

_OPTIONS = (
    SSL.OP_NO_TICKET
    | SSL.OP_NO_COMPRESSION
    | SSL.OP_NO_RENEGOTIATION
    | SSL.OP_CIPHER_SERVER_PREFERENCE
)

#: Authorities whose names clients are told, for them to choose a certificate; the message that
#: they are in has room for 64 KiB.
NAMED = 50

#: X509_V_ERR_…: what is wrong with a certificate that is not accepted, from openssl/x509_vfy.h.
_NO_REVOCATIONS = 3
_WRONG = {
    2: "its issuer is not known",
    _NO_REVOCATIONS: "there is no revocation list of its issuer",
    7: "its signature is wrong",
    9: "it is not valid yet",
    10: "it has expired",
    11: "the revocation list of its issuer is not valid yet",
    12: "the revocation list of its issuer has expired",
    18: "it is self-signed",
    19: "its issuer is self-signed and not known",
    20: "its issuer is not known",
    21: "its issuer is not known",
    22: "its chain is too long",
    23: "it has been revoked",
    24: "its issuer is no authority",
    26: "it is not for clients (extended key usage)",
    66: "its key is too small",
    67: "its issuer's key is too small",
    68: "its signature is too weak",
    79: "its issuer is no authority",
}


class Verification:
    """
    What came of looking at a client's certificate.

    @ivar wrong: what is wrong with it; empty: nothing, or there is none.
    """

    __slots__ = ("wrong",)

    def __init__(self) -> None:
        self.wrong = ""


class Contexts:
    """
    The contexts of one reading of the files.

    @ivar warnings: what an operator should know about the files, a line each.
    @ivar names: the contexts by the name that clients ask for.
    """

    def __init__(
        self, identities: Iterable[Identity], authorities: Authorities | None, required: bool
    ) -> None:
        """
        @param identities: whom it can be; the first, for clients that do not ask for a name that
            is known.
        @param authorities: whose certificates clients have; L{None}: they are asked for none.
        @param required: whether they must have one.
        @raise ConfigurationError: OpenSSL does not like one of these.
        """
        identities = list(identities)
        self.warnings = warnings(identities, authorities)
        made = [(each, _context(each, authorities, required)) for each in identities]
        self._first = made[0][1]
        self.names: Mapping[str, SSL.Context] = {
            name: context
            # The best last: valid before expired, and renewed before old.
            for each, context in sorted(made, key=lambda one: _worth(one[0].certificate))
            for name in each.names
        }
        if len(made) > 1:
            self._first.set_tlsext_servername_callback(self._choose)

    def connection(self) -> SSL.Connection:
        """Make the server's side of a connection; its app data are a L{Verification}."""
        made = SSL.Connection(self._first, None)
        made.set_app_data(Verification())
        made.set_accept_state()
        return made

    def _choose(self, connection: SSL.Connection) -> None:
        """Show the certificate of the name that the client asks for, if there is one."""
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        context = self.names.get(name) or self.names.get("*." + name.partition(".")[2])
        if context is not None:
            connection.set_context(context)


@implementer(IOpenSSLServerConnectionCreator)
class ServerContexts:
    """
    The newest contexts of some files.

    @ivar files: the files.
    @ivar seen: how they were before they were last read.
    @ivar current: what was read of them.
    """

    def __init__(self, files: Files) -> None:
        """
        @raise ConfigurationError: the files can't be used; with one line that says which and why.
        """
        self.files = files
        self.seen = files.signature()
        self.current = readContexts(files)

    def serverConnectionForTLS(self, tlsProtocol: object) -> SSL.Connection:
        """See L{IOpenSSLServerConnectionCreator}."""
        return self.current.connection()


def readContexts(files: Files) -> Contexts:
    """
    Read files, and make contexts of them; blocks.

    @raise ConfigurationError: one can't be read, or OpenSSL does not like it.
    """
    return Contexts(files.identities(), files.readAuthorities(), files.required)


def _context(identity: Identity, authorities: Authorities | None, required: bool) -> SSL.Context:
    # Not Twisted's CertificateOptions: they have no room for revocation lists, and a context
    # may not be changed any more once its ciphers are set.
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_options(_OPTIONS)
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    # A client that wants to resume a session gets a new one; without this, an error.
    context.set_session_id(b"socks5")
    try:
        context.use_certificate(identity.certificate)
        context.use_privatekey(identity.key)  # type: ignore[arg-type]  # a kind without use raises
        for each in identity.chain:
            context.add_extra_chain_cert(each)
        context.check_privatekey()
    except (SSL.Error, crypto.Error, TypeError, ValueError) as error:
        raise ConfigurationError(f"{identity.path!r} cannot be used: {reasonOf(error)}") from None
    if authorities is not None:
        _askForCertificates(context, authorities, required)
    context.set_cipher_list(CIPHERS)
    return context


def _askForCertificates(context: SSL.Context, authorities: Authorities, required: bool) -> None:
    store = cast(crypto.X509Store, context.get_cert_store())
    for each in authorities.certificates:
        store.add_cert(crypto.X509.from_cryptography(each))
    for each in authorities.certificates[:NAMED]:
        context.add_client_ca(each)
    for crl in authorities.revoked:
        store.add_crl(crl)
    # The authority that is named is trusted, whoever has issued it.
    flags = crypto.X509StoreFlags.PARTIAL_CHAIN
    if authorities.revoked:
        flags |= crypto.X509StoreFlags.CRL_CHECK | crypto.X509StoreFlags.CRL_CHECK_ALL
    store.set_flags(flags)
    mode = SSL.VERIFY_PEER | SSL.VERIFY_CLIENT_ONCE
    context.set_verify(mode | (SSL.VERIFY_FAIL_IF_NO_PEER_CERT if required else 0), _verify)


def _verify(
    connection: SSL.Connection, certificate: crypto.X509, error: int, depth: int, valid: int
) -> bool:
    """Judge a certificate as OpenSSL has, and note what it says."""
    if valid:
        return True
    if error == _NO_REVOCATIONS and depth > 0:
        # Few authorities publish a list of the authorities that they have revoked; where there
        # is one, it counts.
        return True
    wrong = _WRONG.get(error, f"OpenSSL's verify error {error}")
    verification: Verification = connection.get_app_data()
    verification.wrong = f"the client's certificate {_whose(certificate)}: {wrong}"
    return False


def _whose(certificate: crypto.X509) -> str:
    """
    Write whose certificate it is, as a stranger has written it.

    Whatever that is: what is raised in OpenSSL's callback is kept with the context, and raised
    again in another connection.
    """
    try:
        return printable(certificate.to_cryptography().subject.rfc4514_string())
    except Exception:
        # ValueError, TypeError, InvalidVersion…: OpenSSL reads more than cryptography does.
        return "(whose subject cannot be read)"


def _worth(certificate: x509.Certificate) -> tuple[bool, float]:
    return isValid(certificate), certificate.not_valid_before_utc.timestamp()


def reasonOf(error: BaseException) -> str:
    """Say in words what OpenSSL has raised."""
    queue = error.args[0] if error.args else ""
    if isinstance(queue, list) and queue:
        return str(queue[-1][-1])
    return str(error) or type(error).__name__


def printable(text: str, longest: int = 200) -> str:
    """Write what a stranger has written so that it stays within its line."""
    plain = "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )
    return plain if len(plain) <= longest else f"{plain[:longest]}…"
