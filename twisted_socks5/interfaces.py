"""
What an application can bring of its own, and the values that pass between the rooms.

A server asks four questions of each session, in this order, and each has its interface:

  - who is it?      a L{twisted.cred.portal.Portal} answers with an L{ISOCKS5Avatar};
  - may they?       L{IRules} judges an L{Access}, before and after its name is resolved;
  - where is it?    Twisted's own L{twisted.internet.interfaces.IHostnameResolver};
  - reach it:       L{IDialer} connects to one of the addresses that were permitted.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocol, IProtocolFactory

IPAddress = IPv4Address | IPv6Address


class Access(NamedTuple):
    """
    What somebody wants to reach: the subject of a rule.

    @ivar client: where the client connects from; L{None} is a Unix socket, that is, this host.
    @ivar user: the avatar's name; L{None} is nobody in particular (method "none").
    @ivar command: a L{Command<twisted_socks5.wire.Command>}; an int keeps unknown ones possible.
    @ivar host: the destination as asked for, normalised: a lower-case ASCII name without a
        trailing dot, or the text of an IP address.
    @ivar port: the destination's port, 0 to 65535.
    @ivar address: the address that is about to be connected to; L{None} while C{host} is a
        name that has not been resolved yet.
    """

    client: IPAddress | None
    user: str | None
    command: int
    host: str
    port: int
    address: IPAddress | None = None


class Verdict(NamedTuple):
    """
    A rule's answer.

    @ivar permitted: whether the access may go on.
    @ivar reason: why, for the log: which rule or built-in protection decided.
    """

    permitted: bool
    reason: str


class IRules(Interface):
    """Decides who may reach what (RFC 1928, section 6, "ruleset")."""

    def judge(access: Access) -> Verdict:
        """
        Judge one access; asked with the name alone, and again with each resolved address.

        Called for every request, so it must not block.
        """


class IDialer(Interface):
    """Reaches a target over TCP."""

    def dial(
        addresses: Sequence[IPAddress], port: int, factory: IProtocolFactory
    ) -> Deferred[IProtocol]:
        """
        Connect to one of C{addresses}, all of them permitted by the rules.

        @param addresses: at least one, in order of preference.
        @param port: 1 to 65535.
        @param factory: builds the protocol of each attempt; those of attempts that lose the
            race are never connected.
        @return: fires with the connected protocol.  Fails with
            L{DialError<twisted_socks5.errors.DialError>}.  Cancelling it abandons all attempts.
        """


class ISOCKS5Avatar(Interface):
    """A user of the proxy: what L{twisted.cred.portal.IRealm} hands out for a session."""

    name: str | None = Attribute(
        """The name in logs and rules; L{None} is nobody in particular (anonymous)."""
    )
    rules: IRules | None = Attribute(
        """Rules for this user instead of the server's; L{None} takes the server's."""
    )
