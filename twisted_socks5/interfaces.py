"""
What an application can bring of its own, and the values that pass between the rooms.

A server asks four questions of each session, in this order, and each has its interface:

  - who is it?      a L{twisted.cred.portal.Portal} answers with an L{ISOCKS5Avatar};
  - may they?       L{IRules} judges an L{Access}, before and after its name is resolved;
  - where is it?    Twisted's own L{twisted.internet.interfaces.IHostnameResolver};
  - reach it:       L{IDialer} connects to one of the addresses that were permitted.

A server that is not the last one asks less: who, and whether they may by what they call their
target; the rest is asked of the next proxy, its L{IVia}.
"""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, NamedTuple

from zope.interface import Attribute, Interface

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IProtocol, IProtocolFactory

    from twisted_socks5.wire.address import Address

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


class IVia(Interface):
    """
    The next proxy: it is asked for what our own clients ask us for.

    What it is asked for was normalised and judged; a name goes to it as a name, for nothing is
    resolved here.  All that fails does so with a L{RequestError
    <twisted_socks5.errors.RequestError>}: its C{reply} is the next proxy's own where there is
    one, its C{reason} names that proxy, and no secret.  Cancelling a Deferred closes whatever
    was opened for it.

    C{timeout} is in seconds, from the call to what the next proxy answers.
    """

    name: str = Attribute(
        """What the log calls it, without white space: C{socks5://proxy.example:1080}."""
    )

    def connect(
        destination: Address, factory: IProtocolFactory, timeout: float
    ) -> Deferred[tuple[IProtocol, Address]]:
        """
        Ask for a connection (CONNECT).

        @param factory: builds the protocol of the connection.  Its transport has that protocol
            as its own: nothing that speaks to the next proxy stays between them.
        @return: fires with the connected protocol, and BND of the next proxy's reply.
        """

    def bind(destination: Address, timeout: float) -> Deferred[IFarBind]:
        """Ask for a port that the destination can connect to (BIND)."""

    def associate(timeout: float) -> Deferred[IFarAssociation]:
        """Ask for an association (UDP ASSOCIATE)."""

    def resolve(command: int, destination: Address, timeout: float) -> Deferred[Address]:
        """
        Ask what a name or an address stands for.

        @param command: C{RESOLVE} or C{RESOLVE_PTR}.
        @return: fires with BND of the answer, whose port means nothing.
        """


class IFarBind(Interface):
    """A BIND that the next proxy has granted."""

    bound: Address = Attribute("""Where the peer can connect to.""")

    def whenPeer() -> Deferred[Address]:
        """
        Wait for the peer.

        @return: fires with who has connected, as the next proxy says; fails as L{IVia}'s do.
        """

    def handOver(factory: IProtocolFactory) -> IProtocol:
        """Give the connection to the peer, once it stands, to a protocol; see L{IVia.connect}."""

    def close() -> None:
        """Have the next proxy listen no more, or end the connection, if it was not handed over."""


class IFarAssociation(Interface):
    """
    An association that the next proxy has granted.

    The datagrams are sent and received by who has asked for it, each with its UDP request header.
    """

    address: tuple[str, int] = Attribute("""Where the next proxy takes and sends datagrams.""")
    interface: str = Attribute(
        """The IP address that it expects them from; empty if that does not matter."""
    )
    protected: bool = Attribute("""Whether a datagram has to be wrapped.""")

    def wrap(datagram: bytes) -> bytes:
        """
        Protect a datagram, if C{protected}.

        @raise DatagramError: it is too large.
        @raise ContextError: the security context is of no use any more.
        """

    def unwrap(datagram: bytes) -> bytes:
        """
        Take a datagram out of what protects it, if C{protected}.

        @raise DatagramError: it is not protected, or not as it has to be.
        @raise ContextError: it was changed, or comes again.
        """

    def whenLost() -> Deferred[str]:
        """Wait for the end of the association; @return: fires with why, in words."""

    def close() -> None:
        """End it."""


class ISOCKS5Avatar(Interface):
    """A user of the proxy: what L{twisted.cred.portal.IRealm} hands out for a session."""

    name: str | None = Attribute(
        """The name in logs and rules; L{None} is nobody in particular (anonymous)."""
    )
    rules: IRules | None = Attribute(
        """Rules for this user instead of the server's; L{None} takes the server's."""
    )
