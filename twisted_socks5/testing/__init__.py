"""
Fakes in memory for testing SOCKS programs, and any other Twisted program that listens and dials.

Twisted's own fakes know no half-close, no reset, no way of failing to connect and no
back-pressure.  Here Twisted's own transports stand on sockets in memory which have all of these,
in a reactor whose clock the test moves::

    reactor = MemoryReactor()
    target, client = PeerFactory(), PeerFactory()
    reactor.listenTCP(80, target, interface="203.0.113.5")
    reactor.connectTCP("203.0.113.5", 80, client)
    reactor.advance(0)                 # connected
    client.peer.write(b"hello")
    client.peer.loseWrite()
    reactor.advance(0)
    assert target.peer.received == b"hello" and target.peer.eof

    reactor.route("203.0.113.6", error=errno.ENETUNREACH)
    reactor.route("203.0.113.7", silent=True)
    reactor.names.add("example.com", ["203.0.113.5", "2001:db8::5"], delay=0.5)

At the end C{reactor.leftOver()} tells what was not closed or cancelled.
"""

from __future__ import annotations

from twisted_socks5.testing.datagrams import DatagramSocket
from twisted_socks5.testing.names import MemoryResolver
from twisted_socks5.testing.network import Network, Route
from twisted_socks5.testing.peers import Peer, PeerFactory, PlainPeer
from twisted_socks5.testing.reactor import MemoryReactor
from twisted_socks5.testing.security import MemoryContext
from twisted_socks5.testing.sockets import MemorySocket
from twisted_socks5.testing.streams import ListeningSocket, StreamSocket
from twisted_socks5.testing.threads import MemoryThreadPool
from twisted_socks5.testing.transports import MemoryTransport
from twisted_socks5.testing.turns import NotAtRest

__all__ = [
    "DatagramSocket",
    "ListeningSocket",
    "MemoryContext",
    "MemoryReactor",
    "MemoryResolver",
    "MemorySocket",
    "MemoryThreadPool",
    "MemoryTransport",
    "Network",
    "NotAtRest",
    "Peer",
    "PeerFactory",
    "PlainPeer",
    "Route",
    "StreamSocket",
]
