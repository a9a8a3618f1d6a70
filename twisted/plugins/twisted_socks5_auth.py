"""
Names a kind of C{--auth} for C{twistd socks5} and whatever else uses L{twisted.cred.strcred}.

Every program that scans for plugins imports this file, so it imports none of our modules before
a checker is made.
"""

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.strcred import ICheckerFactory
from twisted.plugin import IPlugin
from zope.interface import implementer

_HELP = """
Users of a file of hashed passwords, with lines of the form NAME:HASH.

    --auth htpasswd:/etc/socks5-users

Make the file, change it and list it with socks5-users, which asks for the
password and stores it as argon2id:

    socks5-users /etc/socks5-users add alice
    socks5-users /etc/socks5-users delete alice

Hashes of argon2 (id and i), bcrypt (as Apache's "htpasswd -B" writes them)
and scrypt can be verified.  Those of MD5 (apr1), SHA and DES crypt are
refused: passwords can be guessed from them.

The file is read again when it changes.  Only its owner may write to it:

    chmod 600 /etc/socks5-users
"""


@implementer(ICheckerFactory, IPlugin)
class HtpasswdCheckerFactory:
    """Makes what checks names and passwords against a file of hashes."""

    authType = "htpasswd"
    authHelp = _HELP
    argStringFormat = "PATH: a file of lines NAME:HASH, see socks5-users"
    credentialInterfaces = (IUsernamePassword,)

    def generateChecker(self, argstring: str) -> ICredentialsChecker:
        """
        Make a checker.

        @param argstring: the file's path; it is read when the server starts.
        @raise ConfigurationError: there is none.
        """
        from twisted_socks5.auth.passwords import PasswordFileChecker
        from twisted_socks5.errors import ConfigurationError

        if not argstring:
            raise ConfigurationError("--auth htpasswd takes the path of a file: htpasswd:PATH")
        return PasswordFileChecker(argstring)


htpasswd = HtpasswdCheckerFactory()
