"""
How many at a time, and how soon again.

Counts and delays per client.  A client is an IPv4 address, or the /64 of an IPv6 one: that is
what one household or one machine is given, and within it addresses cost nothing.  Everything
here takes a constant time, and no table grows without bound or keeps what is over.

Time is an argument, and neither sockets nor descriptors are touched: whoever asks does that.
"""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv4Address
from typing import TYPE_CHECKING

from twisted_socks5.addresses import unmapped

if TYPE_CHECKING:
    from twisted_socks5.interfaces import IPAddress

DESCRIPTORS_PER_CONNECTION = 2
"""What a CONNECT takes: the client's socket and the target's."""

RESERVED_DESCRIPTORS = 64
"""For all that is no session: the reactor's own, listening sockets, logs, name resolution."""


def client_key(client: IPAddress | None) -> int | None:
    """
    Tell clients apart.

    @param client: L{None} is a Unix socket; all of those are one client.
    @return: IPv4 addresses are numbers below 0, so that none is the prefix of an IPv6 one.
    """
    if isinstance(client, IPv4Address):
        return ~int(client)
    if client is None:
        return None
    client = unmapped(client)
    return ~int(client) if isinstance(client, IPv4Address) else int(client) >> 64


def _shown(client: IPAddress | None) -> str:
    """A client for people, as L{client_key} sees it."""
    if client is None:
        return "this host"
    client = unmapped(client)
    if client.version == 4:
        return str(client)
    return f"{type(client)(int(client) >> 64 << 64)}/64"


class ConnectionLimits:
    """
    How many connections there may be, in all and of one client.

    Clients on this host are counted like all others.

    @ivar total: in all; 0 is without limit.  It may be changed at any time, and so may
        C{per_client}: what is connected stays.
    @ivar per_client: of one client; 0 is without limit.
    """

    def __init__(self, total: int, per_client: int) -> None:
        """
        @raise ValueError: a limit is below 0.
        """
        if total < 0 or per_client < 0:
            raise ValueError(f"a limit must be 0 or more, not {min(total, per_client)}")
        self.total = total
        self.per_client = per_client
        self._count = 0
        self._counts: dict[int | None, int] = {}

    def __len__(self) -> int:
        """How many connections there are."""
        return self._count

    @property
    def full(self) -> bool:
        """Whether there are as many connections as there may be in all."""
        return 0 < self.total <= self._count

    @property
    def clients(self) -> int:
        """How many clients they are of."""
        return len(self._counts)

    def admit(self, client: IPAddress | None) -> str | None:
        """
        Count one more connection, if there may be one more.

        @return: L{None} if there may; else why not, and nothing is counted.
        """
        key = client_key(client)
        count = self._counts.get(key, 0)
        # The client's own limit first: who has too many is told so even when all are taken, and
        # nobody else need be sent away for it.
        if 0 < self.per_client <= count:
            return f"too many connections from {_shown(client)}: {count}"
        if 0 < self.total <= self._count:
            return f"too many connections: {self._count}"
        self._counts[key] = count + 1
        self._count += 1
        return None

    def release(self, client: IPAddress | None) -> None:
        """
        Count one connection less.

        @raise ValueError: C{client} has none.
        """
        key = client_key(client)
        count = self._counts.get(key, 0)
        if not count:
            raise ValueError(f"no connection from {_shown(client)} is counted")
        if count == 1:
            del self._counts[key]
        else:
            self._counts[key] = count - 1
        self._count -= 1


def connections_for(
    descriptors: int,
    per_connection: int = DESCRIPTORS_PER_CONNECTION,
    reserve: int = RESERVED_DESCRIPTORS,
) -> int:
    """
    Say how many connections a process may carry.

    @param descriptors: how many file descriptors it may have open; not RLIM_INFINITY, which is
        below 0.
    @param per_connection: how many each takes, 1 or more.
    @param reserve: how many are kept for the rest.
    @raise ValueError: an argument is out of range.
    """
    _check(descriptors, per_connection, reserve)
    return max(0, descriptors - reserve) // per_connection


def descriptors_for(
    connections: int,
    per_connection: int = DESCRIPTORS_PER_CONNECTION,
    reserve: int = RESERVED_DESCRIPTORS,
) -> int:
    """
    Say how many file descriptors a process needs to carry C{connections}.

    The inverse of L{connections_for}.
    """
    _check(connections, per_connection, reserve)
    return connections * per_connection + reserve


def _check(amount: int, per_connection: int, reserve: int) -> None:
    if amount < 0 or per_connection < 1 or reserve < 0:
        raise ValueError(
            f"no such amounts: {amount}, {per_connection} per connection, {reserve} in reserve"
        )


class LoginSlowdown:
    """
    How long the answer to a failed login is held back.

    The first failure of a client costs C{base} seconds, each further one twice as much as the
    one before, up to C{ceiling}; after C{forget} seconds without a failure it starts over.

    Only failures are held back, and only those of the client that failed: nobody's delay depends
    on what others do, except that a crowd of them may push it out of the table.  A success
    changes nothing, or else an attacker with one account of his own would use it to start over.
    """

    def __init__(
        self,
        base: float = 0.5,
        ceiling: float = 8.0,
        forget: float = 600.0,
        size: int = 10_000,
    ) -> None:
        """
        @param base: seconds for a first failure, more than 0.
        @param ceiling: the most seconds, C{base} or more.
        @param forget: after how many seconds a failure is forgotten, more than 0.
        @param size: how many clients are remembered, 1 or more; beyond, the one whose last
            failure is the longest ago is forgotten.
        @raise ValueError: one of them is out of range.
        """
        if not (0 < base <= ceiling and forget > 0 and size >= 1):
            raise ValueError(
                f"no such slowdown: {base} to {ceiling} s, forgotten after {forget} s, "
                f"{size} clients"
            )
        self.base = base
        self.ceiling = ceiling
        self.forget = forget
        self.size = size
        # The last failure of each client, when and how long its answer was held back; the oldest
        # first.
        self._failures: OrderedDict[int | None, tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many clients are remembered."""
        return len(self._failures)

    def failed(self, client: IPAddress | None, now: float) -> float:
        """
        Note a failed login.

        @param client: whose.
        @param now: the time in seconds, from any one origin.
        @return: for how many seconds to hold its answer back.
        """
        failures = self._failures
        # Two at most are forgotten for one that is noted: enough to keep up, and no call is slow.
        for _ in range(2):
            oldest = next(iter(failures.values()), None)
            if oldest is not None and now - oldest[0] >= self.forget:
                failures.popitem(last=False)
        key = client_key(client)
        last, delay = failures.pop(key, (now, 0.0))
        if now - last >= self.forget:
            delay = 0.0
        delay = min(self.ceiling, 2 * delay) if delay else self.base
        failures[key] = now, delay
        if len(failures) > self.size:
            failures.popitem(last=False)
        return delay


class LoginTurns:
    """
    Makes those who guess at one user's password from one address take turns.

    After a failure the next question waits, longer with each: how many connections somebody
    guesses over makes no difference.  Another user, or the same one from another address, does
    not wait.
    """

    def __init__(
        self,
        base: float = 0.5,
        ceiling: float = 8.0,
        forget: float = 600.0,
        size: int = 10_000,
    ) -> None:
        """
        @param base: seconds that the first question after a failure waits, more than 0.
        @param ceiling: the most seconds between two, C{base} or more.
        @param forget: after how many seconds of rest the failures are forgotten, more than 0.
        @param size: how many pairs of address and user are remembered, 1 or more; beyond, the
            one that was asked about the longest ago is forgotten.
        """
        self.base = base
        self.ceiling = ceiling
        self.forget = forget
        self.size = size
        # How far apart the questions about a user are, and when the next one may be asked.
        self._turns: OrderedDict[tuple[int | None, bytes], tuple[float, float]] = OrderedDict()

    def __len__(self) -> int:
        """How many pairs are remembered."""
        return len(self._turns)

    def wait(self, client: IPAddress | None, user: bytes, now: float) -> float:
        """
        Take a turn, if there is one; otherwise ask again when there may be.

        @param client: who asks.
        @param user: about whom.
        @param now: the time in seconds, from any one origin.
        @return: 0, and the turn is taken; or seconds until it is worth asking again.
        """
        key = client_key(client), user
        apart, following = self._turns.get(key, (0.0, now))
        if now < following:
            return following - now
        if apart and now - following < self.forget:
            self._turns[key] = apart, now + apart
        elif apart:
            del self._turns[key]
        return 0.0

    def failed(self, client: IPAddress | None, user: bytes, now: float) -> None:
        """Note that the password was wrong."""
        key = client_key(client), user
        apart, following = self._turns.pop(key, (0.0, now))
        apart = min(self.ceiling, 2 * apart) if apart else self.base
        self._turns[key] = apart, max(following, now + apart)
        if len(self._turns) > self.size:
            self._turns.popitem(last=False)

    def succeeded(self, client: IPAddress | None, user: bytes) -> None:
        """Note that it was right: who knows it has no need to guess."""
        if self._turns:
            self._turns.pop((client_key(client), user), None)
