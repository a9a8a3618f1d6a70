"""
What each datagram to and from a proxy has around it (RFC 1928, section 7; RFC 1961, section 5).

Outward: the UDP request header, FRAG where a datagram was cut up, and the protection of a security
context.  Inward the same, taken off again; what does not come out whole is dropped, and counted
by its kind.  Sockets, and who may send what to whom, are not known here.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

from twisted.internet.error import InvalidAddressError, MessageLengthError

from twisted_socks5.addresses import unmapped
from twisted_socks5.client.errors import InvalidTarget
from twisted_socks5.client.targets import destination
from twisted_socks5.security import ContextError
from twisted_socks5.wire import (
    AddressType,
    DatagramError,
    LocalProtocolError,
    ReassemblyQueue,
    describe_host,
    pack_header,
    parse_header,
    split_datagram,
)

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

    from twisted_socks5.security import Encapsulation

    Endpoint = tuple[str, int]

# Why a datagram was dropped, as the count names it.
MALFORMED: Final = "malformed"
BAD_TOKEN: Final = "bad token"
NO_CONTEXT: Final = "without a security context"
FRAGMENT: Final = "abandoned fragments"

_DOMAINNAME: Final = int(AddressType.DOMAINNAME)


@lru_cache(maxsize=1024)
def headerFor(host: str, port: int) -> bytes:
    """
    Write the header of datagrams to somewhere; they mostly go to the same few places.

    @raise InvalidAddressError: that is nowhere.
    """
    try:
        return pack_header(*destination(host, port))
    except InvalidTarget as error:
        raise InvalidAddressError(host, error.reason) from None


@lru_cache(maxsize=1024)
def _source(kind: int, host: bytes) -> str:
    """Write where a datagram came from as Twisted does."""
    if kind == _DOMAINNAME:
        return describe_host(host)
    return str(unmapped(ip_address(host)))


class Envelope:
    """
    Puts datagrams of one association into what they travel in, and takes them out.

    @ivar drops: how many datagrams were dropped, by kind.
    @ivar encapsulation: what protects them; L{None}: nothing does.
    """

    def __init__(self, clock: IReactorTime, fragmentSize: int | None) -> None:
        """
        @param clock: tells when fragments come too late.
        @param fragmentSize: as for L{associate<twisted_socks5.client.datagram.associate>}.
        """
        self._clock = clock
        self._fragmentSize = fragmentSize
        self._fragments = ReassemblyQueue()
        self.drops: Counter[str] = Counter()
        self.encapsulation: Encapsulation | None = None

    def close(self, header: bytes, packet: bytes) -> list[bytes]:
        """
        Make of a datagram what is to be sent to the proxy.

        @param header: what L{headerFor} gave.
        @param packet: the payload.
        @return: one datagram, or its fragments; none if it had to be dropped.
        @raise MessageLengthError: it is too large.
        """
        if self._fragmentSize is None:
            datagrams = [header + packet]
        else:
            try:
                datagrams = split_datagram(header, packet, self._fragmentSize)
            except LocalProtocolError as error:
                raise MessageLengthError(str(error)) from None
        encapsulation = self.encapsulation
        if encapsulation is None:
            return datagrams
        try:
            return [encapsulation.wrapDatagram(datagram) for datagram in datagrams]
        except DatagramError as error:
            raise MessageLengthError(error.reason) from None
        except ContextError:
            self.drops[NO_CONTEXT] += 1
            return []

    def open(self, datagram: bytes) -> tuple[bytes, Endpoint] | None:
        """
        Take out what the proxy has sent.

        @return: the payload and its source; L{None}: it was dropped, or is a fragment that others
            are to follow.
        """
        try:
            if self.encapsulation is not None:
                datagram = self.encapsulation.unwrapDatagram(datagram)
            frag, kind, host, port, offset = parse_header(datagram)
        except DatagramError:
            self.drops[MALFORMED] += 1
            return None
        except ContextError:
            self.drops[BAD_TOKEN] += 1
            return None
        payload = self._whole(frag, (kind, host, port), datagram[offset:])
        return None if payload is None else (payload, (_source(kind, host), port))

    def giveUp(self) -> None:
        """Drop the fragments that wait for others."""
        self._fragments.reinitialise()

    def _whole(self, frag: int, where: tuple[int, bytes, int], payload: bytes) -> bytes | None:
        """Put fragments together; nearly always there are none."""
        queue = self._fragments
        if not frag and queue.deadline is None:
            return payload
        whole = queue.add(self._clock.seconds(), frag, where, payload)
        if queue.abandoned:
            self.drops[FRAGMENT] += queue.abandoned
            queue.abandoned = 0
        return whole
