"""
A certificate authority of the tests' own, and all that it can do right and wrong.
"""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto

PROXY = "proxy.example"

DAY = datetime.timedelta(days=1)
NOW = datetime.datetime.now(datetime.timezone.utc).replace(microsecond=0)

CLIENT_AUTH = ExtendedKeyUsageOID.CLIENT_AUTH
SERVER_AUTH = ExtendedKeyUsageOID.SERVER_AUTH


@dataclass(frozen=True)
class Issued:
    """
    A certificate and its key.

    @ivar certificate: the certificate.
    @ivar key: the key.
    """

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def pem(self) -> bytes:
        """The certificate."""
        return self.certificate.public_bytes(Encoding.PEM)

    @property
    def keyPEM(self) -> bytes:
        """The key."""
        return self.keyAs()

    def keyAs(
        self,
        form: PrivateFormat = PrivateFormat.PKCS8,
        encryption: KeySerializationEncryption | None = None,
    ) -> bytes:
        """Write the key in one of the ways there are."""
        return self.key.private_bytes(Encoding.PEM, form, encryption or NoEncryption())

    def write(self, directory: Path, name: str) -> tuple[str, str]:
        """
        Write both into files.

        @return: the paths of the key and of the certificate.
        """
        key, certificate = directory / f"{name}-key.pem", directory / f"{name}.pem"
        key.write_bytes(self.keyPEM)
        certificate.write_bytes(self.pem)
        return str(key), str(certificate)


def name(*common: str, organisation: str = "") -> x509.Name:
    """Make a name with so many common names."""
    parts = [x509.NameAttribute(NameOID.COMMON_NAME, each) for each in common]
    if organisation:
        parts.append(x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation))
    return x509.Name(parts)


class Authority(Issued):
    """An authority, which issues and revokes."""

    def issue(
        self,
        *common: str,
        hosts: Sequence[str] = (),
        mails: Sequence[str] = (),
        purposes: Sequence[Any] = (),
        begins: datetime.timedelta = -DAY,
        ends: datetime.timedelta = DAY,
        subject: x509.Name | None = None,
        key: ec.EllipticCurvePrivateKey | None = None,
        authority: bool | None = False,
        extensions: Sequence[x509.ExtensionType] = (),
    ) -> Issued:
        """
        Issue a certificate.

        @param common: the subject's common names.
        @param hosts: names of the subjectAltName, or addresses.
        @param mails: its e-mail addresses.
        @param purposes: of the extended key usage; empty: it has none.
        @param begins: when it becomes valid, from now.
        @param ends: when it expires, from now.
        @param authority: whether it is one's; L{None}: it doesn't say.
        @param extensions: further ones.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject or name(*common))
            .issuer_name(self.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(NOW + begins)
            .not_valid_after(NOW + ends)
        )
        if authority is not None:
            builder = builder.add_extension(x509.BasicConstraints(authority, None), critical=True)
        for extension in extensions:
            builder = builder.add_extension(extension, critical=False)
        alternatives: list[x509.GeneralName] = [x509.RFC822Name(each) for each in mails]
        for each in hosts:
            try:
                alternatives.append(x509.IPAddress(ip_address(each)))
            except ValueError:
                alternatives.append(x509.DNSName(each))
        if alternatives:
            builder = builder.add_extension(
                x509.SubjectAlternativeName(alternatives), critical=False
            )
        if purposes:
            builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
        return Issued(builder.sign(self.key, hashes.SHA256()), key)

    def issueAuthority(
        self, common: str, key: ec.EllipticCurvePrivateKey | None = None
    ) -> Authority:
        """Issue the certificate of another authority."""
        made = self.issue(common, key=key, authority=True)
        return Authority(made.certificate, made.key)

    def revoke(self, *revoked: Issued, ends: datetime.timedelta = DAY) -> bytes:
        """Make a revocation list."""
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.certificate.subject)
            .last_update(NOW - 2 * DAY)
            .next_update(NOW + ends)
        )
        for each in revoked:
            builder = builder.add_revoked_certificate(
                x509.RevokedCertificateBuilder()
                .serial_number(each.certificate.serial_number)
                .revocation_date(NOW - DAY)
                .build()
            )
        made = builder.sign(self.key, hashes.SHA256())
        return made.public_bytes(Encoding.PEM)


def unreadable(issued: Issued) -> Issued:
    """Make the subject of a certificate, C{CN=abcdefgh}, one that OpenSSL alone can read."""
    octets = issued.certificate.public_bytes(Encoding.DER)
    # A BIT STRING in the place of the UTF8String.
    octets = octets.replace(b"\x0c\x08abcdefgh", b"\x03\x08\x00bcdefgh")
    return Issued(x509.load_der_x509_certificate(octets), issued.key)


def newAuthority(common: str = "Tests' authority", ends: datetime.timedelta = DAY) -> Authority:
    """Make an authority that nobody else has heard of."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = (
        x509.CertificateBuilder()
        .subject_name(name(common))
        .issuer_name(name(common))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - 2 * DAY)
        .not_valid_after(NOW + ends)
        .add_extension(x509.BasicConstraints(True, None), critical=True)
        .sign(key, hashes.SHA256())
    )
    return Authority(made, key)


@lru_cache(maxsize=1)
def theAuthority() -> Authority:
    """Give the one that most tests trust."""
    return newAuthority()


@lru_cache(maxsize=1)
def theProxy() -> Issued:
    """Give the certificate of the proxy, which it has issued."""
    return theAuthority().issue(PROXY, hosts=(PROXY, "127.0.0.1"), purposes=(SERVER_AUTH,))


def clientContext(
    issued: Issued | None = None,
    *chain: Issued,
    version: int | None = None,
    trusted: Authority | None = None,
) -> SSL.Context:
    """
    Make a client's context.

    @param issued: its certificate.
    @param chain: what is sent with it.
    @param version: the one version of TLS that it speaks.
    @param trusted: the authority whose certificate the server must have.
    """
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if issued is not None:
        context.use_certificate(issued.certificate)
        context.use_privatekey(issued.key)
        for each in chain:
            context.add_extra_chain_cert(each.certificate)
    if trusted is not None:
        store = context.get_cert_store()
        if store is not None:
            store.add_cert(crypto.X509.from_cryptography(trusted.certificate))
        context.set_verify(SSL.VERIFY_PEER, lambda _c, _x, _e, _d, ok: bool(ok))
    return context
