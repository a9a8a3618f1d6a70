"""
An association whose datagrams are encapsulated (RFC 1961, section 5).

Each datagram between the client and the proxy is one frame, its UDP request header inside; what
goes on to the target is the payload, as ever.  A datagram's source is looked at before its token,
for anybody may send some, and looking into one costs more.  Large ones are wrapped and unwrapped
in threads: in the reactor that would take longer than passing them on does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_socks5.fairthreads import Busy
from twisted_socks5.relay.udp import TOO_LARGE, UDPRelay
from twisted_socks5.security import ContextError
from twisted_socks5.security.encapsulation import SMALL
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
CROWDED = "too many in threads"

#: Large datagrams of an association that threads may be at work on.
AT_WORK = 64

_log = Logger()


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

        self._atWork = 0  # threads, for large datagrams

    def answer(self, header: bytes, payload: bytes, client: Endpoint) -> None:
        """Wrap a datagram, and send it to the client, or drop it."""
        wrap, datagram, size = self._encapsulation.wrapDatagram, header + payload, len(payload)
        if len(datagram) > SMALL:
            self.beside(wrap, datagram, lambda token: self.deliver(token, size, client))
            return
        try:
            token = wrap(datagram)
        except (DatagramError, ContextError) as error:
            self.drops[TOO_LARGE if isinstance(error, DatagramError) else NO_CONTEXT] += 1
        else:
            self.deliver(token, size, client)

    def beside(
        self, translate: Callable[[bytes], bytes], datagram: bytes, then: Callable[[bytes], None]
    ) -> None:
        """
        Wrap or unwrap a large datagram in a thread, and go on; or drop it.

        Others, smaller ones, may overtake it.

        @param then: called with the result, unless the association is over by then.
        """
        if self._atWork == AT_WORK:
            self.drops[CROWDED] += 1
            return
        self._atWork += 1
        inward = translate == self._encapsulation.unwrapDatagram

        def done(result: bytes | Failure) -> None:
            self._atWork -= 1
            if self.closed:
                return
            if not isinstance(result, Failure):
                then(result)
                self.flush()
            elif result.check(Busy):
                self.drops[CROWDED] += 1
            else:
                kind = result.trap(DatagramError, ContextError)
                whys = (NOT_PROTECTED, BAD_TOKEN) if inward else (TOO_LARGE, NO_CONTEXT)
                self.drops[whys[kind is ContextError]] += 1

        job = self._encapsulation.inThread(translate, datagram).addBoth(done)
        job.addErrback(lambda failure: _log.failure("A datagram could not be passed on", failure))


class EncapsulatedAddressing(RuledAddressing):
    """Decides about datagrams that come in tokens."""

    def __init__(
        self,
        encapsulation: Encapsulation,
        relay: EncapsulatedRelay,
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
        self._relay = relay
        self._encapsulation = encapsulation

    def outward(self, datagram: bytes, source: Endpoint) -> tuple[TargetRoute, bytes] | None:
        """Unwrap a datagram from the client's side, and look at it."""
        client = self._client
        if source != client.endpoint and not client.mayBe(source):
            self._drops[STRANGER] += 1
            return None
        unwrap = self._encapsulation.unwrapDatagram
        if len(datagram) > SMALL:
            self._relay.beside(unwrap, datagram, lambda inside: self._unwrapped(inside, source))
            return None
        try:
            inside = unwrap(datagram)
        except (DatagramError, ContextError) as error:
            malformed = isinstance(error, DatagramError)
            self._drops[NOT_PROTECTED if malformed else BAD_TOKEN] += 1
            return None
        return super().outward(inside, source)

    def _unwrapped(self, inside: bytes, source: Endpoint) -> None:
        found = super().outward(inside, source)
        if found is not None:
            route, payload = found
            self._relay.gather(route, payload, len(payload))
