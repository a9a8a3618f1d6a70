"""
Two servers in one reactor in memory: the near one, and the far one that it forwards to.

In the far one's place there may be somebody who says whatever a test has them say.
"""

from __future__ import annotations

from typing import Any, cast

from twisted.cred.portal import Portal
from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.internet.tcp import Port

from tests.server.base import (
    GREETED,
    GREETING,
    Proxy,
    ServerCase,
    anybody,
    refused,
    request,
)
from tests.server.gssclients import Acceptor, principals
from tests.streams.memory import streamsOn
from twisted_socks5.client import GSSAPI
from twisted_socks5.client import Proxy as ProxyAt
from twisted_socks5.config import Settings
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.interfaces import IVia
from twisted_socks5.logs import AccessRecord
from twisted_socks5.relay.splice import PIPES
from twisted_socks5.server import SOCKS5ServerFactory, bind
from twisted_socks5.server.bound import Own
from twisted_socks5.testing import MemoryContext, MemoryReactor, Peer, PeerFactory, PlainPeer
from twisted_socks5.via import NextHop, SOCKSVia, viaFromString
from twisted_socks5.wire import ReplyMessage, parse_reply

NEAR = "192.0.2.10"
FAR = "192.0.2.20"
VIA = f"socks5://{FAR}:1080"


class Near(Proxy):
    """
    A server that forwards, with the clients and the targets of a test.

    @ivar via: whom it forwards to.
    """

    def __init__(
        self,
        test: ServerCase,
        via: str | Any,
        portal: Portal | None = None,
        *,
        streams: bool = False,
        settings: dict[str, Any] | None = None,
        **options: Any,
    ) -> None:
        """
        @param via: how it is written; or what makes it, of a reactor and a dialer.
        """
        self.reactor = reactor = MemoryReactor()
        self.records: list[AccessRecord] = []
        self.sockets = tcp = dialer = None
        values = Settings(**(settings or {}))
        if streams:
            tcp, self.sockets = streamsOn(reactor, test)
            dialer = HappyEyeballs(cast(IReactorTCP, tcp), reactor, timeout=values.dial_timeout)
        found: IVia
        if isinstance(via, str):
            found = viaFromString(
                reactor,
                via,
                timeout=values.dial_timeout,
                isOwn=lambda address, port: self.server.isOwn(address, port),
                dialer=dialer,
            )
        else:
            found = via(reactor, dialer)
        self.server = SOCKS5ServerFactory(
            reactor,
            portal or anybody(),
            settings=values,
            via=found,
            **{"resolver": reactor.names, "accessLog": self.records.append, **options},
        )
        port = reactor.listenTCP(1080, self.server, interface=NEAR)
        self.ports: list[IListeningPort] = [port]
        self.accepting = tcp and tcp.accept(cast(Port, port), self.server)
        self.server.listeningPorts.add(1080)
        self.peers: list[PlainPeer] = []
        self.targets: list[PeerFactory] = []

    def far(self, portal: Portal | None = None, **options: Any) -> SOCKS5ServerFactory:
        """Have a server listen over there."""
        self.farRecords: list[AccessRecord] = []
        settings = Settings(**options.pop("settings", {}))
        server = SOCKS5ServerFactory(
            self.reactor,
            portal or anybody(),
            settings=settings,
            resolver=self.reactor.names,
            accessLog=self.farRecords.append,
            **options,
        )
        self.ports.append(self.reactor.listenTCP(1080, server, interface=FAR))
        return server


class ForwardingCase(ServerCase):
    """Forwards, and sees that nothing is left of it on either side."""

    proxy: Near

    def setUp(self) -> None:
        """Let the network in memory be the one that is asked for ways; it can't be spliced."""
        super().setUp()
        self.patch(bind, "ownTowards", self.ownTowards)

    def ownTowards(self, peer: Any, second: int) -> Own:
        """Say what we would connect from."""
        return Own.parse(str(self.proxy.reactor.network.source((peer, 9))[0]))

    def forward(
        self, via: Any = VIA, portal: Portal | None = None, *, to: Any = True, **options: Any
    ) -> Near:
        """
        Start the near server, and the far one.

        @param to: the far one's options; L{None}: there is none.
        """
        self.proxy = near = Near(self, via, portal, **{"streams": self.streams, **options})
        if self.streams:
            self.patch(PIPES, "usable", False)
        self.addCleanup(self.assertNothingLeft, near)
        if to is not None:
            near.far(**({} if to is True else to))
        return near

    def liar(self, via: Any = VIA, port: int = 1080, **options: Any) -> PeerFactory:
        """Start the near server, and somebody in the far one's place."""
        near = self.forward(via, to=None, **options)
        return near.target(FAR, port)

    def asked(self, *octets: bytes, **options: Any) -> tuple[Peer, Any]:
        """Have a client ask this, and the liar select no authentication; @return: both."""
        liar = self.liar(**options)
        client = self.proxy.say(GREETING, *(octets or (request(),)))
        far = liar.peer
        self.tell(far, GREETED)
        return client, far

    def protectedVia(self, level: Any) -> Any:
        """Make a next proxy that is spoken with under a protection level."""
        self.contexts: list[MemoryContext] = []

        def context(service: str, sequence: bool) -> MemoryContext:
            self.contexts.append(MemoryContext("near", initiates=True, ordered=sequence))
            return self.contexts[-1]

        def made(reactor: Any, dialer: Any) -> IVia:
            authentication = (GSSAPI(context=context, levels=(level,)),)
            hop = NextHop(reactor, FAR, 1080, dialer=dialer)
            return SOCKSVia(ProxyAt(hop, authentication, name=f"{FAR}:1080"), reactor)

        return made

    def accepting(self, *, ordered: bool = False) -> Portal:
        """Make a portal that takes contexts, those without an order for datagrams."""
        return principals(Acceptor(ordered=ordered))

    def tell(self, peer: Any, *octets: bytes) -> None:
        """Have somebody say this."""
        for each in octets:
            peer.write(each)
            self.proxy.settle()

    def assertFails(self, client: Peer, reply: int, reason: str) -> AccessRecord:
        """Assert that a request is refused with this REP, for a reason that names the far one."""
        record = self.assertRefused(client, GREETED + refused(reply), reason)
        self.assertEqual(record.reply, reply)
        return record


def replies(client: PlainPeer, at: int = 2) -> tuple[list[ReplyMessage], bytes]:
    """Read what a client has received: one or two replies, and what is behind them."""
    octets = bytes(client.received)
    found: list[ReplyMessage] = []
    while len(found) < 2 and (one := parse_reply(octets, at)) is not None:
        found.append(one[0])
        at = one[1]
    return found, octets[at:]
