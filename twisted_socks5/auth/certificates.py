"""
Who it is by its certificate: TLS has verified it, and a checker says whose it is.

Method "none" in the SOCKS inside is a login then, and is offered to those alone who have shown a
certificate that names somebody (see L{nameOf<twisted_socks5.tls.nameOf>}).  What of the
certificate is a name is decided there; here, who is let in by it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import ICredentials
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred, fail, succeed
from zope.interface import Attribute, Interface, implementer

from twisted_socks5.auth.credentials import toOctets
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.tls import ClientCertificate, TLSTransport

if TYPE_CHECKING:
    from twisted.cred.portal import Portal

HELP = """
Client certificates: whoever has shown one that the authority of
--listen …:clientCA=FILE has issued is a user.

  --listen tls:/etc/ssl/proxy:1080:clientCA=/etc/ssl/users.pem
  --auth certificate

The user's name is the common name (CN) of the certificate's subject; if it
has none, or several, the first e-mail address of its subjectAltName, or the
first host name there. Who has no name is not let in. So name an authority
of your own, and none that issues to everybody.

A client offers method "none" then, and is not asked for a password. With
another --auth beside it, that will do as well; where both are to be asked
for, leave this one out: clientCA alone takes a certificate of everybody.
"""


class IVerifiedCertificate(ICredentials, Interface):
    """A certificate that a client has shown, and that TLS has verified."""

    certificate: ClientCertificate = Attribute("""The certificate, and whom it names.""")


INTERFACES = (IVerifiedCertificate,)


@implementer(IVerifiedCertificate)
@dataclass(frozen=True)
class VerifiedCertificate:
    """
    The certificate of the connection that somebody logs in on.

    @ivar certificate: the certificate.
    """

    certificate: ClientCertificate


@implementer(ICredentialsChecker)
class CertificateChecker:
    """Lets in whomever a certificate names."""

    credentialInterfaces = INTERFACES

    def requestAvatarId(self, credentials: IVerifiedCertificate) -> Deferred[bytes | tuple[()]]:
        """
        Give the name in octets.

        @return: fails with L{UnauthorizedLogin} if there is none.
        """
        name = credentials.certificate.name
        if name is None:
            return fail(UnauthorizedLogin("the certificate names nobody"))
        return succeed(toOctets(name))


def certificateOf(transport: object, portal: Portal) -> VerifiedCertificate | None:
    """
    Say who a client is by the TLS that it is connected with.

    @return: the credentials of a certificate that names somebody, if the portal can check it.
    """
    if not isinstance(transport, TLSTransport) or IVerifiedCertificate not in portal.checkers:
        return None
    shown = transport.certificate
    return None if shown is None or shown.name is None else VerifiedCertificate(shown)


def whyNobody(transport: object, portal: Portal) -> str:
    """
    Say why a client that has offered method "none" was not let in by its certificate.

    @return: a clause for the log; empty where there is nothing to say.
    """
    if IVerifiedCertificate not in portal.checkers:
        return ""
    shown = transport.certificate if isinstance(transport, TLSTransport) else None
    return ", and its certificate names nobody" if shown else ", and shows no certificate"


def checkerFor(argument: str) -> CertificateChecker:
    """
    Make what C{--auth certificate} asks for.

    @raise ConfigurationError: there is an argument.
    """
    if argument:
        raise ConfigurationError(
            "--auth certificate takes no parameter; whose certificates count says --listen, with "
            "clientCA=FILE"
        )
    return CertificateChecker()
