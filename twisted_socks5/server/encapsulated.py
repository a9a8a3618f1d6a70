"""
An association whose datagrams are encapsulated (RFC 1961, section 5).

Each datagram between the client and the proxy is one frame, its UDP request header inside; what
goes on to the target is the payload, as ever.  A datagram's source is looked at before its token,
for anybody may send some, and looking into one costs more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_socks5.relay.udp import TOO_LARGE, UDPRelay
from twisted_socks5.security import ContextError
from twisted_socks5.server.datagrams import STRANGER, RuledAddressing
from twisted_socks5.wire import DatagramError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from twisted.internet.interfaces import IReactorTime, IReactorUDP

    from twisted_socks5.relay.udp import Endpoint
    from twisted_socks5.security.encapsulation import Encapsulation
    from twisted_socks5.server.clientend import ClientEnd
    from twisted_socks5.server.routes import Routes, TargetRoute
    from twisted_socks5.server.verdicts import Verdicts
    from twisted_socks5.streams import DatagramUDP

# Why a datagram was dropped, as the count names it.
NOT_PROTECTED = "not protected"
BAD_TOKEN = "bad token"
NO_CONTEXT = "without a security context"


class EncapsulatedRelay(UDPRelay):
    """A relay whose answers go to the client in tokens."""

    def __init__(
        self,
        reactor: IReactorUDP | DatagramUDP,
        sources: Mapping[int, str],
        lost: Callable[[], object],
        encapsulation: Encapsulation,
    ) -> None:
        """
        @param reactor: as for L{UDPRelay}.
        @param sources: as for L{UDPRelay}.
        @param lost: as for L{UDPRelay}.
        @param encapsulation: the control connection's.
        """
        super().__init__(reactor, sources, lost)
        self._encapsulation = encapsulation

    def answer(self, header: bytes, payload: bytes, client: Endpoint) -> None:
        """Wrap a datagram, and send it to the client, or drop it."""
        try:
            datagram = self._encapsulation.wrapDatagram(header + payload)
        except DatagramError:
            self.drops[TOO_LARGE] += 1
        except ContextError:
            self.drops[NO_CONTEXT] += 1
        else:
            self.deliver(datagram, len(payload), client)


class EncapsulatedAddressing(RuledAddressing):
    """Decides about datagrams that come in tokens."""

    def __init__(
        self,
        encapsulation: Encapsulation,
        relay: UDPRelay,
        client: ClientEnd,
        routes: Routes,
        verdicts: Verdicts,
        clock: IReactorTime,
    ) -> None:
        """
        @param encapsulation: the control connection's.
        @param relay: as for L{RuledAddressing}, as is what follows.
        """
        super().__init__(relay, client, routes, verdicts, clock)
        self._encapsulation = encapsulation

    def outward(self, datagram: bytes, source: Endpoint) -> tuple[TargetRoute, bytes] | None:
        """Unwrap a datagram from the client's side, and look at it."""
        client = self._client
        if source != client.endpoint and not client.mayBe(source):
            self._drops[STRANGER] += 1
            return None
        try:
            inside = self._encapsulation.unwrapDatagram(datagram)
        except DatagramError:
            self._drops[NOT_PROTECTED] += 1
            return None
        except ContextError:
            self._drops[BAD_TOKEN] += 1
            return None
        return super().outward(inside, source)
