"""
Whose certificate is it?  The name by which rules and logs know a client's certificate.

Pure: a certificate in, a name out.  Whether the certificate can be trusted has been decided by
then; nothing here looks at that.
"""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass, field

from cryptography import x509
from cryptography.x509.oid import NameOID

#: As many octets as RFC 1929 has room for in a user's name.
LONGEST = 255


@dataclass(frozen=True)
class ClientCertificate:
    """
    A certificate that a client has shown, with its private key, and that was verified.

    @ivar certificate: the certificate.
    @ivar name: the client's name, see L{nameOf}; L{None}: it names nobody.
    """

    certificate: x509.Certificate = field(repr=False)
    name: str | None

    @classmethod
    def of(cls, certificate: x509.Certificate) -> ClientCertificate:
        """Describe a certificate."""
        return cls(certificate, nameOf(certificate))


def nameOf(certificate: x509.Certificate) -> str | None:
    """
    Say whom a certificate names.

    The first of these that there is: the common name (CN) of its subject, if that has only one;
    the first e-mail address (rfc822Name) of its subjectAltName; the first host name (dNSName) in
    there.  What could be read in two ways is nobody's name: the empty one, one with control
    characters, one with spaces around it, one longer than 255 octets.

    @return: the name as it is written there, or L{None}.
    """
    try:
        names = [
            each.value for each in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        ]
        if len(names) != 1:
            names = _alternatives(certificate)
    except Exception:
        # ValueError, TypeError, DuplicateExtension…: an extension, or a name, is not what it
        # should be.
        return None
    if not names or not isinstance(names[0], str):
        return None
    return names[0] if _clear(names[0]) else None


def _alternatives(certificate: x509.Certificate) -> list[str | bytes]:
    try:
        found = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return [
        *found.get_values_for_type(x509.RFC822Name),
        *found.get_values_for_type(x509.DNSName),
    ]


def _clear(name: str) -> bool:
    return (
        0 < len(name.encode("utf-8", "surrogatepass")) <= LONGEST
        and name == name.strip()
        and not any(unicodedata.category(each) in ("Cc", "Cf", "Cs", "Zl", "Zp") for each in name)
    )
