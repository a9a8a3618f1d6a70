"""
Ends relays on which nothing moves.

The path of the octets knows nothing of it: a relay is looked at from time to time, and one
whose count has not changed for as long as is allowed is cut.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_socks5.deadlines import DeadlineQueue

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_socks5.relay.tcp import TCPRelay

#: Looks at a relay within the shortest time allowed: an idle relay is cut after its time and
#: at most two looks more.
LOOKS = 4


class IdleWatch:
    """Watches relays; both times are in seconds, and 0 means for ever."""

    def __init__(self, clock: IReactorTime, idle: float, halfClosed: float) -> None:
        """
        @param clock: tells the time.
        @param idle: how long nothing may move on a relay.
        @param halfClosed: the same once one direction has ended.
        """
        self._clock = clock
        self._idle = idle
        self._halfClosed = halfClosed
        times = [seconds for seconds in (idle, halfClosed) if seconds]
        self._queue: DeadlineQueue[TCPRelay] = DeadlineQueue(
            clock, min(times) / LOOKS if times else None, self._look
        )

    def watch(self, relay: TCPRelay) -> None:
        """Begin to watch a relay."""
        relay.seen = relay.octets
        relay.quietSince = self._clock.seconds()
        self._queue.add(relay)

    def forget(self, relay: TCPRelay) -> None:
        """Watch a relay no longer."""
        self._queue.discard(relay)

    def stop(self) -> None:
        """Forget all relays."""
        self._queue.stop()

    def _look(self, relay: TCPRelay) -> None:
        now = self._clock.seconds()
        allowed, state = (
            (self._halfClosed, "half-closed") if relay.halfClosed else (self._idle, "idle")
        )
        if relay.octets != relay.seen:
            relay.seen = relay.octets
            relay.quietSince = now
        elif allowed and now - relay.quietSince >= allowed:
            relay.reason = f"{state} for {allowed:g} s"
            relay.abort(relay.reason)
            return
        self._queue.add(relay)
