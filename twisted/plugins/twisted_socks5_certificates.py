"""
Names the kind C{certificate} of C{--auth}.

Every program that scans for plugins imports this file, so it imports nothing of ours before
somebody asks for it.
"""

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import Interface, implementer


@implementer(ICheckerFactory, IPlugin)
class CertificateCheckerFactory:
    """Makes a checker of what TLS has verified."""

    authType = "certificate"
    argStringFormat = "(none: --listen …:clientCA=FILE says whose certificates count)"

    @property
    def authHelp(self) -> str:
        """What it does."""
        from twisted_socks5.auth.certificates import HELP

        return HELP

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        """What it checks."""
        from twisted_socks5.auth.certificates import IVerifiedCertificate

        return (IVerifiedCertificate,)

    def generateChecker(self, argstring: str) -> ICredentialsChecker:
        """Make a checker."""
        from twisted_socks5.auth.certificates import checkerFor

        return checkerFor(argstring or "")


certificate = CertificateCheckerFactory()
