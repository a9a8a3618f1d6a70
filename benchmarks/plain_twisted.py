"""
A SOCKS5 proxy as one writes it on Twisted in an afternoon: the yardstick C{make bench} lays
beside ours.

It knows method "none", CONNECT, UDP ASSOCIATE and IPv4 destinations, joins two transports with
C{registerProducer} and leaves out everything that makes a proxy one to rely on: no limits, no
deadlines, no log, no rules, no half-close, no names, no fragments, anybody's datagrams.  What ours
does more has to cost nothing that can be measured against this.

    python plain_twisted.py 1080
    python plain_twisted.py 1080 both.pem       # over TLS, with this key and certificate
"""

from __future__ import annotations

import sys
from ipaddress import IPv4Address
from socket import inet_aton, inet_ntoa
from typing import cast

from twisted.internet import reactor as installed
from twisted.internet.interfaces import IAddress
from twisted.internet.posixbase import PosixReactorBase
from twisted.internet.protocol import (
    ClientFactory,
    DatagramProtocol,
    Protocol,
    ServerFactory,
    connectionDone,
)
from twisted.internet.ssl import DefaultOpenSSLContextFactory
from twisted.internet.tcp import Client, Server
from twisted.internet.udp import Port
from twisted.python.failure import Failure

reactor = cast(PosixReactorBase, installed)


class Leg(Protocol):
    """One side of a relay: what it receives, the other side sends."""

    transport: Client | Server
    other: Leg | None = None

    def join(self, other: Leg) -> None:
        self.other = other
        self.transport.registerProducer(other.transport, True)

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        other, self.other = self.other, None
        if other is not None:
            other.other = None
            other.transport.unregisterProducer()
            other.transport.loseConnection()


class TargetLeg(Leg):
    """The connection to what the client asked for."""

    transport: Client

    def __init__(self, client: ClientLeg) -> None:
        self.client = client

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.client.relayTo(self)


class Dial(ClientFactory):
    """One attempt to reach the target."""

    noisy = False

    def __init__(self, client: ClientLeg) -> None:
        self.client = client

    def buildProtocol(self, addr: IAddress | None) -> TargetLeg:
        return TargetLeg(self.client)

    def clientConnectionFailed(self, connector: object, reason: Failure) -> None:
        self.client.refuse(1)


class Targets(DatagramProtocol):
    """An association's socket for its targets."""

    transport: Port

    def __init__(self, client: Association) -> None:
        self.client = client

    def datagramReceived(self, data: bytes, addr: tuple[str, int]) -> None:
        header = b"\0\0\0\1" + inet_aton(addr[0]) + addr[1].to_bytes(2, "big")
        self.client.transport.write(header + data, self.client.address)


class Association(DatagramProtocol):
    """An association's socket for its client."""

    transport: Port
    address: tuple[str, int]

    def __init__(self) -> None:
        self.targets = Targets(self)
        reactor.listenUDP(0, self.targets, "127.0.0.1", 65536)
        self.port = reactor.listenUDP(0, self, "127.0.0.1", 65536)

    def datagramReceived(self, data: bytes, addr: tuple[str, int]) -> None:
        if data[:4] == b"\0\0\0\1":
            self.address = addr
            target = inet_ntoa(data[4:8]), int.from_bytes(data[8:10], "big")
            self.targets.transport.write(data[10:], target)

    def end(self) -> None:
        self.transport.stopListening()
        self.targets.transport.stopListening()


class ClientLeg(Leg):
    """The client's connection: greeting and request, then a relay."""

    association: Association | None = None

    def connectionMade(self) -> None:
        self.transport.setTcpNoDelay(True)
        self.buffer = b""
        self.greeted = False

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            self.other.transport.write(data)
            return
        self.buffer += data
        if not self.greeted:
            if len(self.buffer) < 2 or len(self.buffer) < 2 + self.buffer[1]:
                return
            self.buffer = self.buffer[2 + self.buffer[1] :]
            self.greeted = True
            self.transport.write(b"\x05\x00")
        if len(self.buffer) >= 10:
            request, self.buffer = self.buffer[:10], self.buffer[10:]
            if request[:4] == b"\x05\x03\x00\x01":
                self.associate()
                return
            self.transport.pauseProducing()
            if request[:4] != b"\x05\x01\x00\x01":
                self.refuse(7)
                return
            host = str(IPv4Address(request[4:8]))
            port = int.from_bytes(request[8:10], "big")
            reactor.connectTCP(host, port, Dial(self))

    def associate(self) -> None:
        self.association = Association()
        host = self.association.port.getHost()
        bound = inet_aton(host.host) + host.port.to_bytes(2, "big")
        self.transport.write(b"\x05\x00\x00\x01" + bound)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        super().connectionLost(reason)
        if self.association is not None:
            self.association.end()

    def relayTo(self, target: TargetLeg) -> None:
        host = target.transport.getHost()
        bound = IPv4Address(host.host).packed + host.port.to_bytes(2, "big")
        self.transport.write(b"\x05\x00\x00\x01" + bound)
        target.transport.write(self.buffer)
        self.join(target)
        target.join(self)
        self.transport.resumeProducing()

    def refuse(self, reply: int) -> None:
        self.transport.write(bytes([5, reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        self.transport.loseConnection()


class Clients(ServerFactory):
    """Whoever connects."""

    noisy = False
    protocol = ClientLeg


def main() -> None:
    port, *pem = sys.argv[1:]
    if pem:
        contexts = DefaultOpenSSLContextFactory(pem[0], pem[0])
        reactor.listenSSL(int(port), Clients(), contexts, backlog=1024, interface="127.0.0.1")
    else:
        reactor.listenTCP(int(port), Clients(), backlog=1024, interface="127.0.0.1")
    reactor.run()


if __name__ == "__main__":
    main()
