"""
Names the kind C{gssapi} of C{--auth}.

Every program that scans for plugins imports this file, so it imports nothing of ours before
somebody asks for it.
"""

from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(ICheckerFactory, IPlugin)
class GSSAPICheckerFactory:
    """Makes a checker of principals of what stands behind C{gssapi:}."""

    authType = "gssapi"
    argStringFormat = "[keytab=PATH][:service=NAME][:protection=LIST][:realm=LIST][:map=PATH]"

    @property
    def authHelp(self):
        """The parameters."""
        from twisted_socks5.auth.gssapi import HELP

        return HELP

    @property
    def credentialInterfaces(self):
        """What it checks."""
        from twisted_socks5.auth.gssapi import IVerifiedPrincipal

        return (IVerifiedPrincipal,)

    def generateChecker(self, argstring):
        """Make a checker."""
        from twisted_socks5.auth.gssapi import checkerFor

        return checkerFor(argstring or "")


gssapi = GSSAPICheckerFactory()
