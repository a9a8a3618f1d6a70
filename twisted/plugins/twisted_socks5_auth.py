"""
Names the kinds of C{--auth} that are ours, for C{twistd socks5} and whatever else uses
L{twisted.cred.strcred}.

Every program that scans for plugins imports this file, so it names our modules as strings, and
imports one of them when somebody asks for its kind.
"""

from importlib import import_module
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import Interface, implementer


@implementer(ICheckerFactory, IPlugin)
class _Kind:
    """
    A kind, whose module has C{HELP}, C{INTERFACES} and C{checkerFor}.

    @ivar authType: what it is called.
    @ivar argStringFormat: what may stand behind the name.
    """

    def __init__(self, authType: str, argStringFormat: str, module: str) -> None:
        self.authType = authType
        self.argStringFormat = argStringFormat
        self._name = module

    @property
    def _module(self) -> Any:
        return import_module(self._name)

    @property
    def authHelp(self) -> str:
        """What C{--help-auth-type} tells."""
        return str(self._module.HELP)

    @property
    def credentialInterfaces(self) -> tuple[type[Interface], ...]:
        """Which credentials its checkers judge."""
        return tuple(self._module.INTERFACES)

    def generateChecker(self, argstring: str) -> ICredentialsChecker:
        """
        Make a checker.

        @param argstring: what stands behind the name and a colon.
        @raise ConfigurationError: that is no good.
        """
        checker: ICredentialsChecker = self._module.checkerFor(argstring or "")
        return checker


htpasswd = _Kind(
    "htpasswd",
    "PATH: a file of lines NAME:HASH, see socks5-users",
    "twisted_socks5.auth.passwords",
)
gssapi = _Kind(
    "gssapi",
    "[keytab=PATH][:service=NAME][:protection=LIST][:realm=LIST][:map=PATH]",
    "twisted_socks5.auth.gssapi",
)
certificate = _Kind(
    "certificate",
    "(none: --listen …:clientCA=FILE says whose certificates count)",
    "twisted_socks5.auth.certificates",
)
