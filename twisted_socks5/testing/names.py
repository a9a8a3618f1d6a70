"""
Names in memory: a resolver that gives the answers it was told, when it was told to.

It behaves as the one Twisted installs: a name that does not exist is an answer without
addresses, and a lookup cannot be cancelled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NoReturn

from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.error import DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IReactorTime,
    IResolutionReceiver,
)
from zope.interface import implementer


@dataclass
class Name:
    """
    What is known of a name.

    @ivar answers: the addresses of each answer in turn; the last one is given ever after.
    @ivar delay: seconds until an answer.
    @ivar silent: no answer ever comes.
    @ivar error: what the resolver raises instead of beginning.
    """

    answers: list[Sequence[str]] = field(default_factory=list)
    delay: float = 0.0
    silent: bool = False
    error: Exception | None = None


@implementer(IHostResolution)
class MemoryResolution:
    """A lookup under way."""

    def __init__(self, name: str) -> None:
        self.name = name

    def cancel(self) -> NoReturn:
        """Refuse, as Twisted's own resolver does."""
        raise NotImplementedError


@implementer(IResolutionReceiver)
class FirstAddress:
    """
    Waits for a lookup's first address.

    @ivar result: fires with it as text; fails with L{DNSLookupError}.
    """

    def __init__(self, name: str) -> None:
        self.result: Deferred[str] = Deferred()
        self._name = name
        self._found: list[str] = []

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """
        See L{IResolutionReceiver.resolutionBegan}.

        @param resolutionInProgress: the lookup.
        """

    def addressResolved(self, address: IAddress) -> None:
        """
        See L{IResolutionReceiver.addressResolved}.

        @param address: one address.
        """
        found: Any = address  # an IPv4Address: no other was asked for
        self._found.append(found.host)

    def resolutionComplete(self) -> None:
        """See L{IResolutionReceiver.resolutionComplete}."""
        if self._found:
            self.result.callback(self._found[0])
        else:
            self.result.errback(DNSLookupError(f"no results for hostname lookup: {self._name}"))


@implementer(IHostnameResolver)
class MemoryResolver:
    """
    Answers from a table.

    @ivar lookups: the names that were asked for, in order.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._names: dict[str, Name] = {}
        self.lookups: list[str] = []

    def add(
        self,
        name: str,
        *answers: Sequence[str],
        delay: float = 0.0,
        silent: bool = False,
        error: Exception | None = None,
    ) -> None:
        """
        Say what a name means.

        @param name: the name; case does not matter.
        @param answers: IP addresses; a second answer is given when the name is asked for again,
            and the last one from then on.  No answer, or one without addresses: no such name.
        @param delay: seconds until the answer comes.
        @param silent: it never comes.
        @param error: the resolver raises this at once, as a broken one would.
        """
        self._names[name.lower()] = Name(list(answers), delay, silent, error)

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """
        See L{IHostnameResolver.resolveHostName}.

        @param resolutionReceiver: is told of the addresses.
        @param hostName: a name that was added; an IP address is its own answer.
        @param portNumber: the port of the addresses.
        @param addressTypes: the families wanted; L{None} is both.
        @param transportSemantics: C{"TCP"} or C{"UDP"}.
        @return: the lookup; not to be cancelled.
        """
        self.lookups.append(hostName)
        resolution = MemoryResolution(hostName)
        if isIPAddress(hostName) or isIPv6Address(hostName):
            name = Name([[hostName]])
        else:
            name = self._names.get(hostName.lower(), Name())
        if name.error is not None:
            raise name.error
        answer = name.answers.pop(0) if len(name.answers) > 1 else [*name.answers, ()][0]
        found: list[IPv4Address | IPv6Address] = []
        semantics: Literal["TCP", "UDP"] = "UDP" if transportSemantics == "UDP" else "TCP"
        for host in answer:
            kind = IPv6Address if isIPv6Address(host) else IPv4Address
            if addressTypes is None or kind in addressTypes:
                found.append(kind(semantics, host, portNumber))

        def answered() -> None:
            for address in found:
                resolutionReceiver.addressResolved(address)
            resolutionReceiver.resolutionComplete()

        resolutionReceiver.resolutionBegan(resolution)
        if not name.silent:
            self._clock.callLater(name.delay, answered)
        return resolution
