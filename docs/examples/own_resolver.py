"""
A resolver of your own: names that only this proxy knows; all others are the system's.

The rules judge what comes out of it, as they do with every resolver.
"""

import sys
from collections.abc import Mapping, Sequence

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorPluggableNameResolver,
    IResolutionReceiver,
)
from twisted.python.log import startLogging
from zope.interface import implementer

from twisted_socks5 import SOCKS5ServerFactory, SOCKS5Service
from twisted_socks5.auth import SOCKS5Realm


@implementer(IHostResolution)
class Known:
    """A lookup that is over as soon as it has begun."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> None:
        pass


@implementer(IHostnameResolver)
class Names:
    """Answers from a table, or asks another resolver."""

    def __init__(self, table: Mapping[str, str], others: IHostnameResolver) -> None:
        self.table = table
        self.others = others

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        # hostName is lower case, ASCII, and has no dot at its end.
        if hostName not in self.table:
            return self.others.resolveHostName(
                resolutionReceiver, hostName, portNumber, addressTypes, transportSemantics
            )
        known = Known(hostName)
        resolutionReceiver.resolutionBegan(known)
        resolutionReceiver.addressResolved(IPv4Address("TCP", self.table[hostName], portNumber))
        resolutionReceiver.resolutionComplete()
        return known


if __name__ == "__main__":
    startLogging(sys.stdout)

    system = IReactorPluggableNameResolver(reactor).nameResolver
    names = Names({"printer.home.arpa": "127.0.0.1"}, system)
    portal = Portal(SOCKS5Realm(), [AllowAnonymousAccess()])
    factory = SOCKS5ServerFactory(reactor, portal, resolver=names)
    endpoint = serverFromString(reactor, "tcp:1080:interface=127.0.0.1")
    service = SOCKS5Service(factory, [endpoint])
    service.startService()
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()
