"""
One time limit for many: thousands of sessions share a single DelayedCall.

Sessions that may each take the same time expire in the order in which they came, so a queue and
one call for its head are enough.  What an item is, and what becomes of it when its time is up, is
the owner's business.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Generic, TypeVar

from twisted.logger import Logger

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime

T = TypeVar("T", bound=Hashable)

_RESOLUTION = 0.001
"""Deadlines this close together, in seconds, are met by one call."""


class DeadlineQueue(Generic[T]):
    """
    Items that each expire the same time after they were added.

    The call for the head of the queue is not moved when the head is discarded: it fires early,
    finds out and is set for the new head.  It is cancelled when the last item goes, so an idle
    queue leaves nothing behind in the reactor.
    """

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, seconds: float | None, expired: Callable[[T], None]
    ) -> None:
        """
        @param clock: tells the time and makes the one call.
        @param seconds: how long each item has, more than 0; L{None} is for ever: items are kept
            in order, and nothing expires.
        @param expired: called with each item whose time is up, when it is no longer in the queue.
            It may add and discard items and stop the queue; what it raises is logged and
            disturbs no other item.
        @raise ValueError: C{seconds} is not more than 0.
        """
        if seconds is not None and not seconds > 0:
            raise ValueError(f"a deadline must be more than 0 seconds, not {seconds}")
        self.seconds = seconds
        # Sums of floats may fall short of the time the call was set for; and those who came
        # within the same moment may go together.  An item added by C{expired} never does.
        self._slack = min(_RESOLUTION, (seconds or 0.0) / 2)
        self._clock = clock
        self._expired = expired
        # Not a dict: finding its first key walks over all that were deleted before it.
        self._due: OrderedDict[T, float] = OrderedDict()
        self._call: IDelayedCall | None = None

    def __len__(self) -> int:
        return len(self._due)

    def add(self, item: T) -> None:
        """Start C{item}'s time; if it is in the queue already, start it anew, at the end."""
        due = self._due
        if item in due:
            due.move_to_end(item)
        if self.seconds is None:
            due[item] = 0.0
            return
        due[item] = self._clock.seconds() + self.seconds
        if self._call is None:
            self._call = self._clock.callLater(self.seconds, self._fire)

    def discard(self, item: T) -> None:
        """Forget C{item}: it will not expire.  Nothing happens if it is not in the queue."""
        due = self._due
        if due.pop(item, None) is not None and not due:
            self._cancel()

    def oldest(self) -> T | None:
        """Return the item that will expire next, or L{None} if there is none."""
        return next(iter(self._due), None)

    def stop(self) -> None:
        """Forget all items and cancel the call; the queue can be used again."""
        self._due.clear()
        self._cancel()

    def _cancel(self) -> None:
        """Leave no call behind; the one that is just being made is left to L{_fire}."""
        if self._call is not None and self._call.active():
            self._call.cancel()
            self._call = None

    def _fire(self) -> None:
        """
        Expire every item whose time is up, and set the call for the next one.

        Until the end C{_call} is the call being made, so that what C{expired} adds does not set
        one of its own, later than the items before it need.
        """
        due, clock = self._due, self._clock
        limit = clock.seconds() + self._slack
        try:
            while due:
                item, when = next(iter(due.items()))
                if when > limit:
                    break
                del due[item]
                try:
                    self._expired(item)
                except Exception:
                    self._log.failure("What follows a deadline failed")
        finally:
            self._call = None
            if due:
                when = next(iter(due.values()))
                self._call = clock.callLater(max(0.0, when - clock.seconds()), self._fire)
