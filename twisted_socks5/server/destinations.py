"""
From a destination as the client wrote it to the addresses it may really reach.

The order is the protection: a destination is normalised before any rule sees it, judged by its
name, resolved once, and judged again by each address; only what passed is handed on, as
addresses, so that nobody resolves the name a second time and gets another answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from twisted.internet.defer import Deferred, fail

from twisted_socks5.addresses import InvalidName, normalise
from twisted_socks5.errors import Forbidden, ResolutionError

if TYPE_CHECKING:
    from twisted_socks5.interfaces import Access, IPAddress, IRules
    from twisted_socks5.resolving import NameLookup
    from twisted_socks5.wire import Host


def normalised(host: Host) -> IPAddress | str:
    """
    Give a destination its one spelling.

    @raise ResolutionError: it is neither an address nor a host name.
    """
    try:
        return normalise(host)
    except InvalidName as error:
        raise ResolutionError(str(error)) from None


def permittedAddresses(
    addresses: Sequence[IPAddress], rules: IRules, access: Access
) -> list[IPAddress]:
    """
    Keep those addresses that the rules permit, in their order.

    @param access: who wants to reach them, by what name.
    @return: at least one.
    @raise Forbidden: none is permitted.
    """
    verdicts = [(one, rules.judge(access._replace(address=one))) for one in addresses]
    permitted = [one for one, verdict in verdicts if verdict.permitted]
    if not permitted:
        raise Forbidden("; ".join(dict.fromkeys(verdict.reason for _, verdict in verdicts)))
    return permitted


def insist(rules: IRules, access: Access) -> None:
    """
    Go on only if the rules permit it.

    @raise Forbidden: they don't.
    """
    verdict = rules.judge(access)
    if not verdict.permitted:
        raise Forbidden(verdict.reason)


def resolved(
    name: str, lookup: NameLookup, rules: IRules, access: Access
) -> Deferred[list[IPAddress]]:
    """
    Find the addresses of a name that the rules permit, in the order in which it resolves.

    @param name: as L{normalised}.
    @param access: who wants to reach it.
    @return: fires with at least one address.  Fails with L{Forbidden} or L{ResolutionError}.
        Cancelling it calls the lookup off.
    """
    try:
        insist(rules, access)
    except Forbidden as error:
        return fail(error)
    return lookup.lookup(name).addCallback(permittedAddresses, rules, access)
