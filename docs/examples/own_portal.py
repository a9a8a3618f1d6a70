"""
A portal of your own: hashed passwords, and a realm that knows what each user may reach.

A checker answers who it is.  The realm makes an avatar of the answer, once for each session, and
is told when the session ends.
"""

import hashlib
import hmac
import os
import sys
from collections.abc import Callable

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python.log import startLogging
from zope.interface import Interface, implementer

from twisted_socks5 import IRules, ISOCKS5Avatar, Rule, Rules, SOCKS5ServerFactory, SOCKS5Service
from twisted_socks5.auth import OctetCredentials, User


def scrypt(password: bytes, salt: bytes) -> bytes:
    return hashlib.scrypt(password, salt=salt, n=2**14, r=8, p=1)


def hashed(password: bytes) -> tuple[bytes, bytes]:
    salt = os.urandom(16)
    return salt, scrypt(password, salt)


@implementer(ICredentialsChecker)
class ScryptChecker:
    """Knows users by salt and hash."""

    credentialInterfaces = (IUsernamePassword,)

    def __init__(self, users: dict[bytes, tuple[bytes, bytes]]) -> None:
        self.users = users
        # A stranger takes as long as a wrong password.
        self.nobody = hashed(os.urandom(16))

    def requestAvatarId(self, credentials: OctetCredentials) -> Deferred[bytes | tuple[()]]:
        salt, expected = self.users.get(credentials.username, self.nobody)

        def compare(found: bytes) -> bytes | tuple[()]:
            if not hmac.compare_digest(found, expected):
                raise UnauthorizedLogin("wrong name or password")
            return credentials.username

        # It takes 50 ms, on purpose; the reactor has other sessions to serve.
        return deferToThread(scrypt, credentials.password, salt).addCallback(compare)


@implementer(IRealm)
class Household:
    """Gives some users rules of their own; the others have the server's."""

    log = Logger()

    def __init__(self) -> None:
        self.rules: dict[str, IRules] = {}

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: type[Interface]
    ) -> tuple[type[Interface], User, Callable[[], None]]:
        name = bytes(avatarId).decode()  # () is for those who need not say who they are
        self.log.info("{name} comes from {mind}", name=name, mind=str(mind))
        user = User(name, self.rules.get(name))
        return ISOCKS5Avatar, user, lambda: self.log.info("{name} leaves", name=name)


startLogging(sys.stdout)

realm = Household()
checker = ScryptChecker({b"alice": hashed(b"wonderland"), b"child": hashed(b"bedtime")})
factory = SOCKS5ServerFactory(reactor, Portal(realm, [checker]))
realm.rules["child"] = Rules(
    [Rule.parse("permit", ".example.org:443"), Rule.parse("deny", "*")], own=factory.isOwn
)
endpoint = serverFromString(reactor, "tcp:1080:interface=127.0.0.1")
service = SOCKS5Service(factory, [endpoint])
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
