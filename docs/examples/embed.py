"""A SOCKS5 server in an application of your own: the five lines in the middle."""

import sys

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.python.log import startLogging

from twisted_socks5 import SOCKS5ServerFactory, SOCKS5Service
from twisted_socks5.auth import SOCKS5Realm

startLogging(sys.stdout)

portal = Portal(SOCKS5Realm(), [AllowAnonymousAccess()])
factory = SOCKS5ServerFactory(reactor, portal)
endpoint = serverFromString(reactor, "tcp:1080:interface=127.0.0.1")
service = SOCKS5Service(factory, [endpoint])
service.startService()

# Let the sessions end before the application does.
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
