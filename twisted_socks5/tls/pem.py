"""
What is in PEM files: certificates, their private keys, authorities and lists of the revoked.

Files in, values of C{cryptography} out, or one line that names the file and says what to do
about it.  What they are used for, and when they are read again, is L{contexts
<twisted_socks5.tls.contexts>}' business; nothing here knows OpenSSL or a connection.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography import x509
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
)

from twisted_socks5.errors import ConfigurationError

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import (
        PrivateKeyTypes,
        PublicKeyTypes,
    )

_BEGIN = b"-----BEGIN "
#: Up to its own end, and not beyond the beginning of another.
_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----\r?\n[^-]*(?:-(?!----)[^-]*)*-----END \1-----")

_CERTIFICATES = (b"CERTIFICATE", b"X509 CERTIFICATE")
_REVOCATIONS = b"X509 CRL"

#: More than any bundle of the world's authorities; a device or a log by mistake is larger.
LARGEST = 8 << 20


@dataclass(frozen=True)
class Identity:
    """
    A certificate and its private key: who a server is.

    @ivar certificate: its own.
    @ivar key: the certificate's private key; never part of the repr.
    @ivar chain: the certificates between it and the authority that clients know, in order.
    @ivar path: the file that the certificate is from.
    """

    certificate: x509.Certificate
    key: PrivateKeyTypes
    chain: tuple[x509.Certificate, ...]
    path: str

    def __repr__(self) -> str:
        return f"<Identity {self.certificate.subject.rfc4514_string()} of {self.path}>"

    @property
    def names(self) -> tuple[str, ...]:
        """The names that clients may call it by, in lower case; perhaps with a wildcard."""
        try:
            found = self.certificate.extensions.get_extension_for_class(
                x509.SubjectAlternativeName
            ).value
        except (x509.ExtensionNotFound, ValueError):
            return ()
        return tuple(name.lower() for name in found.get_values_for_type(x509.DNSName))


@dataclass(frozen=True)
class Authorities:
    """
    Whose word counts for clients' certificates.

    @ivar certificates: the authorities' own.
    @ivar revoked: their lists of what does not count any more.
    """

    certificates: tuple[x509.Certificate, ...]
    revoked: tuple[x509.CertificateRevocationList, ...] = ()


def readIdentity(key: str, certificate: str, chain: str | None = None) -> Identity:
    """
    Read a certificate and its key from the files that an operator names.

    @param key: the file with the private key.
    @param certificate: the file with the certificate, which may be the same, and in which the
        chain may follow.
    @param chain: a file with the chain, or more of it.
    @raise ConfigurationError: one of them is missing or holds something else, or they do not
        belong together.
    """
    private = _onlyKey(key)
    found = _certificatesIn(certificate)
    if not found:
        raise ConfigurationError(f"{certificate!r} has no certificate in it (PEM)")
    own = [each for each in found if _fits(each, private)]
    if not own:
        raise ConfigurationError(
            f"the key in {key!r} does not belong to the certificate in {certificate!r}: name "
            "the key that its request was made with"
        )
    more = _certificatesIn(chain) if chain is not None else []
    if chain is not None and not more:
        raise ConfigurationError(f"{chain!r} has no certificate in it (PEM)")
    rest = [each for each in (*found, *more) if each != own[0]]
    return Identity(own[0], private, tuple(rest), certificate)


def readDirectory(directory: str) -> list[Identity]:
    """
    Read all certificates that a directory has the keys of, as certbot's C{live} does.

    Its C{*.pem} files, and those of the directories in it, hold certificates and keys in any
    order; a certificate's chain is made of those that are there.

    @return: one for each key whose certificate is there, in the order of the files' names.
    @raise ConfigurationError: it can't be read, one of its files can't be, or no key has its
        certificate.
    """
    keys: dict[bytes, PrivateKeyTypes] = {}
    certificates: dict[x509.Certificate, str] = {}
    paths = pemFiles(directory)
    for path in paths:
        text = readFile(path)
        keys.update((_spelled(key.public_key()), key) for key in _keysIn(path, text))
        for each in _certificatesOf(path, text):
            certificates.setdefault(each, path)
    identities = []
    for each, path in certificates.items():
        key = keys.get(_spelled(each.public_key()))
        if key is not None:
            identities.append(Identity(each, key, _chainOf(each, certificates), path))
    if not identities:
        what = "no *.pem file" if not paths else "no certificate with its key"
        raise ConfigurationError(
            f"there is {what} in the directory {directory!r}: put both into *.pem files there"
        )
    return identities


def readAuthorities(certificates: str, revoked: str | None = None) -> Authorities:
    """
    Read whose certificates clients are to have.

    @param certificates: the file with the authorities' certificates.
    @param revoked: a file with their revocation lists.
    @raise ConfigurationError: one of them is missing, or holds something else; no list is there
        for any of the authorities.
    """
    found = _certificatesIn(certificates)
    if not found:
        raise ConfigurationError(f"{certificates!r} has no certificate in it (PEM)")
    for each in found:
        if not _isAuthority(each):
            raise ConfigurationError(
                f"{certificates!r} has a certificate that is no authority's, "
                f"{subjectOf(each)}: name the one that it was issued with"
            )
    if revoked is None:
        return Authorities(tuple(found))
    lists = _revocationsIn(revoked)
    if not lists:
        raise ConfigurationError(f"{revoked!r} has no revocation list in it (PEM, X509 CRL)")
    issuers = {each.subject for each in found}
    if not any(each.issuer in issuers for each in lists):
        raise ConfigurationError(
            f"{revoked!r} has no revocation list of an authority in {certificates!r}"
        )
    return Authorities(tuple(found), tuple(lists))


def pemFiles(directory: str) -> list[str]:
    """
    List the C{*.pem} files of a directory, and of those in it.

    @raise ConfigurationError: it can't be read.
    """

    def fail(error: OSError) -> None:
        raise ConfigurationError(f"{error.filename!r} cannot be read: {error.strerror}")

    if os.path.isfile(directory):
        raise ConfigurationError(
            f"{directory!r} is a file: name the directory that it is in, or say "
            "ssl:PORT:privateKey=…:certKey=…"
        )
    found = []
    for place, _, names in os.walk(directory, onerror=fail):
        found += [os.path.join(place, name) for name in names if name.endswith(".pem")]
    return sorted(found)


def readFile(path: str) -> bytes:
    """
    Read a file.

    @raise ConfigurationError: it can't be read, or is none.
    """
    if "\0" in path:
        raise ConfigurationError(f"{path!r} cannot be read: no file has such a name")
    try:
        # Before it is opened: opening a named pipe waits for somebody to write to it.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigurationError(f"{path!r} is not a regular file")
        with open(path, "rb") as opened:
            text = opened.read(LARGEST + 1)
    except OSError as error:
        raise ConfigurationError(f"{path!r} cannot be read: {error.strerror}") from None
    if len(text) > LARGEST:
        raise ConfigurationError(f"{path!r} is too large for a file of certificates")
    return text


def _certificatesIn(path: str) -> list[x509.Certificate]:
    return _certificatesOf(path, readFile(path))


def _certificatesOf(path: str, text: bytes) -> list[x509.Certificate]:
    found = []
    for kind, block in _blocks(path, text):
        if kind in _CERTIFICATES:
            try:
                found.append(x509.load_pem_x509_certificate(block))
            except ValueError:
                raise ConfigurationError(
                    f"{path!r} has a certificate that cannot be read: is it whole?"
                ) from None
    return found


def _revocationsIn(path: str) -> list[x509.CertificateRevocationList]:
    found: list[x509.CertificateRevocationList] = []
    for kind, block in _blocks(path, readFile(path)):
        if kind == _REVOCATIONS:
            try:
                found.append(x509.load_pem_x509_crl(block))
            except ValueError:
                raise ConfigurationError(
                    f"{path!r} has a revocation list that cannot be read: is it whole?"
                ) from None
    return found


def _onlyKey(path: str) -> PrivateKeyTypes:
    found = _keysIn(path, readFile(path))
    if len(found) != 1:
        number = f"{len(found)} private keys" if found else "no private key"
        raise ConfigurationError(f"{path!r} has {number} in it, and must have one (PEM)")
    return found[0]


def _keysIn(path: str, text: bytes) -> list[PrivateKeyTypes]:
    found: list[PrivateKeyTypes] = []
    for kind, block in _blocks(path, text):
        if kind.endswith(b"PRIVATE KEY"):
            if kind.startswith(b"ENCRYPTED") or b"\nProc-Type: 4,ENCRYPTED" in block:
                raise ConfigurationError(
                    f"the key in {path!r} is encrypted, and nobody is there to type its "
                    "passphrase: write it without one (openssl pkey -in … -out …) into a file "
                    "that only the proxy can read"
                )
            try:
                found.append(load_pem_private_key(block, None))
            except Exception:
                # ValueError, TypeError, UnsupportedAlgorithm…, whose text may quote the key.
                raise ConfigurationError(
                    f"{path!r} has a private key that cannot be read: is it whole?"
                ) from None
    return found


def _blocks(path: str, text: bytes) -> list[tuple[bytes, bytes]]:
    found = [(each[1], each[0]) for each in _BLOCK.finditer(text)]
    if len(found) != text.count(_BEGIN):
        # Somebody is writing to it, or was interrupted: what is missing would not be missed.
        raise ConfigurationError(
            f"{path!r} has something in it that begins and does not end: is it whole?"
        )
    return found


def _fits(certificate: x509.Certificate, key: PrivateKeyTypes) -> bool:
    return _spelled(certificate.public_key()) == _spelled(key.public_key())


def _spelled(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _chainOf(
    certificate: x509.Certificate, known: Iterable[x509.Certificate]
) -> tuple[x509.Certificate, ...]:
    """Follow the issuers, as far as they are known; the last one, a root, clients have."""
    issuers: dict[x509.Name, x509.Certificate] = {}
    for each in known:
        issuers.setdefault(each.subject, each)
    chain: list[x509.Certificate] = []
    last = certificate
    while last.issuer != last.subject and last.issuer in issuers:
        last = issuers[last.issuer]
        if last in chain or last.issuer == last.subject:
            break
        chain.append(last)
    return tuple(chain)


def _isAuthority(certificate: x509.Certificate) -> bool:
    try:
        found = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except x509.ExtensionNotFound:
        return certificate.version is x509.Version.v1  # From before there were extensions.
    except ValueError:
        return False
    return found.ca


def subjectOf(certificate: x509.Certificate) -> str:
    """Write whose certificate it is."""
    return certificate.subject.rfc4514_string() or "(without a subject)"
