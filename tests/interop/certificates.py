"""
A certificate authority of a test's own, and a web server that it vouches for.
"""

from __future__ import annotations

import ssl
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from tests.interop.origins import HTTPOrigin
from tests.interop.servers import Testing


def _name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, text)])


def _alternative(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.DNSName(name)


class Authority:
    """
    Issues certificates that whoever trusts it believes.

    @ivar certificate: its own, PEM.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _name("An authority of the tests")
        authority = x509.BasicConstraints(ca=True, path_length=0)
        issued = self._builder(self._name, self._key).add_extension(authority, critical=True)
        self._certificate = issued.sign(self._key, SHA256())
        self.certificate = self._certificate.public_bytes(Encoding.PEM)

    def issue(self, *names: str) -> bytes:
        """
        Issue a certificate for a server.

        @param names: host names and addresses.
        @return: its key and the certificate, PEM.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        alternatives = x509.SubjectAlternativeName([_alternative(name) for name in names])
        issued = self._builder(_name(names[0]), key).add_extension(alternatives, critical=False)
        certificate = issued.sign(self._key, SHA256())
        return key.private_bytes(
            Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()
        ) + certificate.public_bytes(Encoding.PEM)

    def _builder(
        self, subject: x509.Name, key: ec.EllipticCurvePrivateKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(timezone.utc)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=1))
        )


class HTTPSOrigin(HTTPOrigin):
    """A web server that speaks TLS."""

    def __init__(self, test: Testing, certificate: bytes, host: str = "127.0.0.1") -> None:
        """
        @param test: it runs until this test ends.
        @param certificate: key and certificate, PEM.
        @param host: where it listens.
        """
        path = Path(test.mktemp())
        path.write_bytes(certificate)
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(path)
        super().__init__(test, host)

    def server_bind(self) -> None:
        """Bind; hands are shaken by each connection's own thread."""
        super().server_bind()
        self.socket = self._context.wrap_socket(
            self.socket, server_side=True, do_handshake_on_connect=False
        )
