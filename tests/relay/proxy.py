"""The smallest proxy there can be: a relay between real sockets, to one target, without SOCKS."""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, ITransport
from twisted.internet.protocol import ClientFactory, Factory

from twisted_socks5.relay import Leg, Outcome, TCPRelay
from twisted_socks5.streams import StreamTCP, watchFor

LOOPBACK = "127.0.0.1"


class ClientLeg(Leg):
    """The leg of a client: dials as soon as it is connected."""

    __slots__ = ("_proxy",)

    def __init__(self, proxy: Proxy) -> None:
        super().__init__()
        self._proxy = proxy

    def makeConnection(self, transport: ITransport) -> None:
        """Dial."""
        super().makeConnection(transport)
        self._proxy.dial(self)


class TargetLeg(Leg):
    """The leg of the target: the relay starts as soon as it is connected."""

    __slots__ = ("_client", "_proxy")

    def __init__(self, proxy: Proxy, client: Leg) -> None:
        super().__init__()
        self._proxy = proxy
        self._client = client

    def makeConnection(self, transport: ITransport) -> None:
        """Start the relay."""
        super().makeConnection(transport)
        self._proxy.start(self._client, self)


class Accepting(Factory):
    """Builds the legs of clients."""

    noisy = False

    def __init__(self, proxy: Proxy) -> None:
        self._proxy = proxy

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Build a leg."""
        return ClientLeg(self._proxy)


class Dialling(ClientFactory):
    """Builds the leg of a target."""

    noisy = False

    def __init__(self, proxy: Proxy, client: Leg) -> None:
        self._proxy = proxy
        self._client = client

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Build a leg."""
        return TargetLeg(self._proxy, self._client)


class Proxy:
    """
    Relays each connection to one target.

    @ivar port: where it listens, on loopback.
    @ivar relays: the relays that were started.
    @ivar outcomes: what those told that are over.
    """

    def __init__(self, reactor: Any, targetPort: int, streams: bool) -> None:
        """
        @param targetPort: where the target listens, on loopback.
        @param streams: whether the legs are on streams instead of Twisted's own transports.
        """
        self.relays: list[TCPRelay] = []
        self.outcomes: list[Outcome] = []
        self._waiting: list[tuple[int, Deferred[None]]] = []
        self._targetPort = targetPort
        accepting = Accepting(self)
        self._listening = reactor.listenTCP(0, accepting, interface=LOOPBACK)
        self.port: int = self._listening.getHost().port
        self._tcp = reactor
        self._accepting = None
        if streams:
            self._tcp = StreamTCP(watchFor(reactor))
            self._accepting = self._tcp.accept(self._listening, accepting)

    def stop(self) -> Any:
        """
        Stop listening.

        @return: fires when that is done.
        """
        if self._accepting is not None:
            self._accepting.stop()
        return self._listening.stopListening()

    def dial(self, client: Leg) -> None:
        """Connect to the target, for a client."""
        self._tcp.connectTCP(LOOPBACK, self._targetPort, Dialling(self, client))

    def start(self, client: Leg, target: Leg) -> None:
        """Start a relay."""
        relay = TCPRelay(client, target, self._over)
        self.relays.append(relay)
        relay.start()

    def whenOver(self, count: int = 1) -> Deferred[None]:
        """
        Wait for relays.

        @return: fires when so many are over.
        """
        waiting: Deferred[None] = Deferred()
        self._waiting.append((count, waiting))
        self._look()
        return waiting

    def _over(self, outcome: Outcome) -> None:
        self.outcomes.append(outcome)
        self._look()

    def _look(self) -> None:
        for each in self._waiting[:]:
            if len(self.outcomes) >= each[0]:
                self._waiting.remove(each)
                each[1].callback(None)
