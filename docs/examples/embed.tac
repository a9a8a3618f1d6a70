"""The same as a part of an application that twistd runs: twistd -ny embed.tac"""

from twisted.application.service import Application
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

from twisted_socks5 import SOCKS5ServerFactory, SOCKS5Service
from twisted_socks5.auth import SOCKS5Realm

application = Application("an application with a proxy in it")

factory = SOCKS5ServerFactory(reactor, Portal(SOCKS5Realm(), [AllowAnonymousAccess()]))
endpoint = serverFromString(reactor, "tcp:1080:interface=127.0.0.1")
SOCKS5Service(factory, [endpoint]).setServiceParent(application)
