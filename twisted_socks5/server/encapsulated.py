"""
An association whose datagrams are encapsulated (RFC 1961, section 5).

Each datagram between the client and the proxy is one frame, its UDP request header inside; what
goes on to the target is the payload, as ever.  A datagram's source is looked at before its token,
for anybody may send some, and looking into one costs more.  Large ones are wrapped and unwrapped
in threads: in the reactor that would take longer than passing them on does.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from twisted.logger import Logger
from twisted.python.failure import Failure

from twisted_socks5.fairthreads import Busy
from twisted_socks5.relay.legs import TOO_LARGE
from twisted_socks5.relay.udp import UDPRelay
from twisted_socks5.security import ContextError
from twisted_socks5.security.encapsulation import SMALL
from twisted_socks5.server.datagrams import STRANGER, RuledAddressing
from twisted_socks5.wire import DatagramError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

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

    def answer(self, header: bytes, payloads: Iterable[bytes], client: Endpoint) -> None:
        """Wrap datagrams, and send them to the client, or drop them."""
        for payload in payloads:
            self.translate(
                self._encapsulation.wrapDatagram,
                header + payload,
                (TOO_LARGE, NO_CONTEXT),
                partial(self._wrapped, len(payload), client),
            )

    def _wrapped(self, size: int, client: Endpoint, token: bytes) -> None:
        self.deliver([token], len(token) - size, client)

    def translate(
        self,
        translation: Callable[[bytes], bytes],
        datagram: bytes,
        whys: tuple[str, str],
        then: Callable[[bytes], None],
    ) -> None:
        """
        Wrap or unwrap a datagram, and go on, or drop it.

        A large one is left to a thread; smaller ones may overtake it.

        @param translation: the encapsulation's C{wrapDatagram} or C{unwrapDatagram}.
        @param whys: why it is dropped, where that is its own fault and where it is its token's.
        @param then: called with the result, unless the association is over by then.
        """
        if len(datagram) <= SMALL:
            try:
                result = translation(datagram)
            except (DatagramError, ContextError) as error:
                self.drops[whys[isinstance(error, ContextError)]] += 1
            else:
                then(result)
        elif self._atWork == AT_WORK:
            self.drops[CROWDED] += 1
        else:
            self._atWork += 1
            job = self._encapsulation.inThread(translation, datagram).addBoth(self._back)
            job.addCallbacks(self._goOn, self._drop, callbackArgs=(then,), errbackArgs=(whys,))
            job.addErrback(
                lambda failure: _log.failure("A datagram could not be passed on", failure)
            )

    def _back(self, result: bytes | Failure) -> bytes | Failure:
        self._atWork -= 1
        return result

    def _goOn(self, result: bytes, then: Callable[[bytes], None]) -> None:
        if not self.closed:
            then(result)
            self.flush()

    def _drop(self, failure: Failure, whys: tuple[str, str]) -> None:
        kind = failure.trap(DatagramError, ContextError, Busy)
        if not self.closed:
            self.drops[CROWDED if kind is Busy else whys[kind is ContextError]] += 1


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
        self._relay.translate(
            self._encapsulation.unwrapDatagram,
            datagram,
            (NOT_PROTECTED, BAD_TOKEN),
            lambda inside: self._unwrapped(inside, source),
        )
        return None

    def _unwrapped(self, inside: bytes, source: Endpoint) -> None:
        found = super().outward(inside, source)
        if found is not None:
            route, payload = found
            self._relay.gather(route, [payload])
