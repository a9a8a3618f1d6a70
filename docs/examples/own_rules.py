"""
Rules of your own: users reach what they like, guests no more than web servers.

The server's usual rules, with their protection of the proxy's own host, are still asked.
"""

import sys

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.python.log import startLogging
from zope.interface import implementer

from twisted_socks5 import Access, IRules, SOCKS5ServerFactory, SOCKS5Service, Verdict
from twisted_socks5.auth import SOCKS5Realm, combine


@implementer(IRules)
class WebForGuests:
    """Refuses some accesses, and leaves all others to other rules."""

    def __init__(self, usual: IRules) -> None:
        self.usual = usual

    def judge(self, access: Access) -> Verdict:
        # Asked with the name alone first, then with each address that it has (access.address).
        if access.user is None and access.port not in (80, 443):
            return Verdict(False, "guests reach ports 80 and 443 only")
        return self.usual.judge(access)


startLogging(sys.stdout)

checkers = [InMemoryUsernamePasswordDatabaseDontUse(alice=b"wonderland"), AllowAnonymousAccess()]
factory = SOCKS5ServerFactory(reactor, Portal(SOCKS5Realm(), combine(checkers)))
factory.rules = WebForGuests(factory.rules)
endpoint = serverFromString(reactor, "tcp:1080:interface=127.0.0.1")
service = SOCKS5Service(factory, [endpoint])
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
