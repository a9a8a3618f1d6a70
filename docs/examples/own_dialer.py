"""
A dialer of your own: who asks for hello.home.arpa reaches a factory in this process.

A dialer is given addresses, not names, for the rules have judged them.  So the name stands for
an address that nobody has (of 192.0.2.0/24, RFC 5737), and the dialer knows that one.
"""

import socket
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Any

from own_resolver import Names
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IReactorPluggableNameResolver,
    IReactorSocket,
    ITransport,
)
from twisted.internet.protocol import Factory, connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from twisted.python.log import startLogging
from zope.interface import implementer

from twisted_socks5 import IDialer, SOCKS5ServerFactory, SOCKS5Service
from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.interfaces import IPAddress

HERE = ip_address("192.0.2.80")


class Handing(Factory):
    """Hands out a protocol that there is already."""

    noisy = False

    def __init__(self, protocol: Any) -> None:
        self.made = protocol

    def buildProtocol(self, addr: object) -> Any:
        return self.made


@implementer(IDialer)
class InProcess:
    """Connects one address to a factory, and leaves all others to another dialer."""

    def __init__(self, served: Factory, others: IDialer) -> None:
        self.served = served
        self.others = others

    def dial(
        self, addresses: Sequence[IPAddress], port: int, factory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        if HERE not in addresses:
            return self.others.dial(addresses, port, factory)
        # A pair of sockets has what a TCP connection has: back-pressure and half-close, too.
        leg: Any = factory.buildProtocol(UNIXAddress(None))
        builders: tuple[Any, Any] = (self.served, Handing(leg))
        for end, builder in zip(socket.socketpair(), builders, strict=True):
            end.setblocking(False)
            IReactorSocket(reactor).adoptStreamConnection(end.fileno(), socket.AF_UNIX, builder)
            end.close()  # the reactor has a duplicate
        return succeed(leg)


class Hello(LineReceiver):
    """What is reached."""

    transport: ITransport

    def connectionMade(self) -> None:
        self.sendLine(b"Hello. What is your name?")

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(b"Nice to meet you, " + line + b".")
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        print("served a visitor")


startLogging(sys.stdout)

system = IReactorPluggableNameResolver(reactor).nameResolver
names = Names({"hello.home.arpa": str(HERE)}, system)
portal = Portal(SOCKS5Realm(), [AllowAnonymousAccess()])
factory = SOCKS5ServerFactory(reactor, portal, resolver=names)
factory.dialer = InProcess(Factory.forProtocol(Hello), factory.dialer)
endpoint = serverFromString(reactor, "tcp:1080:interface=127.0.0.1")
service = SOCKS5Service(factory, [endpoint])
service.startService()
reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
reactor.run()
