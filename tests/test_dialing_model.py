"""Any script of outcomes: the race comes to what a simple model of it says."""

from __future__ import annotations

import errno
import math
from dataclasses import dataclass

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.races import PORT, V4, V6, Dialled, DialTestCase, OverStreams
from twisted_socks5.errors import DialError
from twisted_socks5.failures import mostTelling, replyFor
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.wire.constants import Reply


@dataclass(frozen=True)
class Outcome:
    """
    What becomes of one address.

    @ivar number: the error; 0 is a connection, L{None} silence.
    @ivar delay: seconds until then.
    """

    number: int | None
    delay: float


NUMBERS = (
    0,
    0,
    None,
    errno.ECONNREFUSED,
    errno.ENETUNREACH,
    errno.EHOSTUNREACH,
    errno.ETIMEDOUT,
    errno.EMFILE,
)


@st.composite
def scripts(draw: st.DrawFn) -> list[Outcome]:
    """
    What becomes of each address.

    The fractions of the delays are such that no two events fall together by chance: which one
    would be first is the network's affair.
    """
    numbers = draw(st.lists(st.sampled_from(NUMBERS), min_size=1, max_size=8))
    return [
        Outcome(number, draw(st.integers(0, 16)) * 0.125 + 2.0 ** -(index + 5))
        if number != errno.EMFILE
        else Outcome(number, 0)
        for index, number in enumerate(numbers)
    ]


def model(script: list[Outcome], timeout: float) -> tuple[int | Reply, int]:
    """
    Say what the race must come to.

    @return: who wins, or the reply; and how many were tried.
    """
    running: dict[int, float] = {}
    replies: list[Reply] = []
    tried, nextStart = 0, 0.0
    while running or tried < len(script):
        first = min(running, key=running.__getitem__, default=-1)
        event = running.get(first, math.inf)
        start = nextStart if tried < len(script) else math.inf
        if min(event, start) >= timeout:
            replies.append(Reply.TTL_EXPIRED)
            break
        if start <= event:
            outcome = script[tried]
            running[tried] = math.inf if outcome.number is None else start + outcome.delay
            tried, nextStart = tried + 1, start + 0.25
            continue
        del running[first]
        number = script[first].number
        if not number:
            return first, tried
        replies.append(
            Reply.GENERAL_FAILURE if number == errno.EMFILE else replyFor(OSError(number, ""))[0]
        )
        if first == tried - 1:
            nextStart = event
    return mostTelling(replies), tried


class Scripted(DialTestCase):
    """A dial to addresses of which a script says what becomes of them."""

    def compare(self, script: list[Outcome], timeout: float, mixed: bool) -> None:
        """The winner or the reply is the model's, and nothing is left."""
        self.setUp()
        addresses: list[IPAddress] = [
            (V6 if mixed and index % 2 else V4)[index] for index in range(len(script))
        ]
        for address, outcome in zip(addresses, script, strict=True):
            if outcome.number is None:
                self.silent(address)
            else:
                self.failing(address, outcome.number, outcome.delay)
        self.dialer = self.dials(timeout=timeout)
        expected, tried = model(script, timeout)
        result = self.dial(*addresses)
        self.reactor.advance(30)
        self.assertEqual(len(self.attempts), tried)
        if isinstance(expected, Reply):
            failed = self.failureResultOf(result, DialError).value
            self.assertEqual(failed.reply, expected)
            self.assertEqual(failed.reason.count(f":{PORT} "), len(script))
            self.assertOpen(0)
        else:
            self.assertConnected(result, addresses[expected])

    def cancel(self, script: list[Outcome], when: float, mixed: bool) -> None:
        """Cancelled at any time, it leaves nothing; what was connected before stays."""
        self.setUp()
        addresses: list[IPAddress] = [
            (V6 if mixed and index % 2 else V4)[index] for index in range(len(script))
        ]
        for address, outcome in zip(addresses, script, strict=True):
            if outcome.number is None:
                self.silent(address)
            else:
                self.failing(address, outcome.number, outcome.delay)
        result = self.dial(*addresses)
        fired: list[object] = []
        result.addBoth(fired.append)
        self.reactor.advance(when)
        result.cancel()
        self.assertEqual(len(fired), 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.reactor.advance(30)
        self.assertOpen(2 if isinstance(fired[0], Dialled) else 0)


class ModelTests(Scripted):
    """Any script of outcomes, over a reactor."""

    @settings(max_examples=300, deadline=None)
    @given(scripts(), st.sampled_from([0.5, 1.0, 20.0]), st.booleans())
    def test_model(self, script: list[Outcome], timeout: float, mixed: bool) -> None:
        """The race comes to what the model says."""
        self.compare(script, timeout, mixed)

    @settings(max_examples=200, deadline=None)
    @given(scripts(), st.floats(0, 3), st.booleans())
    def test_cancel(self, script: list[Outcome], when: float, mixed: bool) -> None:
        """It may be cancelled at any time."""
        self.cancel(script, when, mixed)


class StreamModelTests(OverStreams, Scripted):
    """Any script of outcomes, over streams."""

    @settings(max_examples=300, deadline=None)
    @given(scripts(), st.sampled_from([0.5, 1.0, 20.0]), st.booleans())
    def test_model(self, script: list[Outcome], timeout: float, mixed: bool) -> None:
        """The race comes to what the model says."""
        self.compare(script, timeout, mixed)

    @settings(max_examples=200, deadline=None)
    @given(scripts(), st.floats(0, 3), st.booleans())
    def test_cancel(self, script: list[Outcome], when: float, mixed: bool) -> None:
        """It may be cancelled at any time."""
        self.cancel(script, when, mixed)
