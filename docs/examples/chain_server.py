"""A SOCKS5 server that forwards everything to the next proxy, whose URL it is given."""

import sys

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.python.log import startLogging

from twisted_socks5 import ConfigurationError, SOCKS5ServerFactory, SOCKS5Service
from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.via import viaFromString

try:
    via = viaFromString(reactor, sys.argv[1])
except ConfigurationError as error:
    raise SystemExit(f"chain_server: {error}") from None

startLogging(sys.stdout)

portal = Portal(SOCKS5Realm(), [AllowAnonymousAccess()])
factory = SOCKS5ServerFactory(reactor, portal, via=via)
endpoint = serverFromString(reactor, "tcp:1080:interface=127.0.0.1")
service = SOCKS5Service(factory, [endpoint])
service.startService()

# Let the sessions end before the application does.
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
