"""
The sockets of a UDP relay: the client's, and those that targets see.

They hand on what comes, and send what they are given, now or never.  Of datagrams in a row from
one source for one target the first is looked at, and the others go the same way.  Where that leads
to is the L{UDPRelay<twisted_socks5.relay.udp.UDPRelay>}'s business.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, TypeGuard, cast

from twisted.internet.error import CannotListenError, MessageLengthError
from twisted.internet.interfaces import IListeningPort, ISystemHandle
from twisted.internet.protocol import DatagramProtocol

from twisted_socks5.streams.receiving import Alike

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorUDP, IUDPTransport

    from twisted_socks5.relay.udp import Endpoint, UDPRelay
    from twisted_socks5.streams import DatagramUDP
    from twisted_socks5.streams.datagrams import Buffer
    from twisted_socks5.streams.receiving import Datagrams, Run

MAX_DATAGRAM = 65536
"""More octets than any datagram has, so that none is cut off unnoticed."""

BUFFER = 1 << 20
"""Octets of kernel buffer to ask for: bursts come faster than a reactor goes round."""

MIN_BUFFER = 1 << 17
"""Where asking for less ends: systems have about that by default."""

# Why a datagram was dropped, as the count names it; what is not here has the system's own words.
FULL = "send buffer full"
TOO_LARGE = "too large"

_SEND_ERRORS = {
    errno.EAGAIN: FULL,
    errno.EWOULDBLOCK: FULL,
    errno.ENOBUFS: FULL,
    errno.EMSGSIZE: TOO_LARGE,
}

_TRY_ANOTHER = (errno.EADDRINUSE, errno.EACCES)


class DatagramLeg(DatagramProtocol):
    """One socket of a relay."""

    noisy = False

    def __init__(self, relay: UDPRelay, lost: Callable[[], object]) -> None:
        """
        @param relay: the relay.
        @param lost: called if the socket goes without having been closed.
        """
        self._relay = relay
        self._lost = lost
        self._port: IListeningPort | None = None

    def open(
        self, reactor: IReactorUDP | DatagramUDP, interface: str, ports: Iterable[int]
    ) -> None:
        """
        Bind a socket.

        @param reactor: has the socket.
        @param interface: the IP address.
        @param ports: those to try until one is free; 0 leaves it to the system.
        @raise CannotListenError: none is, or there can be no socket.
        """
        refusal = None
        for port in ports:
            try:
                self._port = reactor.listenUDP(port, self, interface, MAX_DATAGRAM)
            except CannotListenError as error:
                refusal = error
                if getattr(error.socketError, "errno", 0) not in _TRY_ANOTHER:
                    break
            else:
                return
        try:
            raise refusal or CannotListenError(
                interface, 0, OSError(errno.EADDRINUSE, "no port to try")
            )
        finally:
            # Twisted does not close a socket that it could not bind, but leaves it to the garbage
            # collector; it is on the stack that this holds, and that holds this.
            del refusal

    def bound(self) -> Endpoint:
        """Say where the socket is bound, which is open."""
        host = cast(IListeningPort, self._port).getHost()
        return host.host, host.port  # type: ignore[attr-defined]  # of a UDP port

    def datagramsReceived(self, runs: Iterable[Run]) -> None:
        """Pass on what has come at once."""
        raise NotImplementedError

    def datagramReceived(self, datagram: bytes, addr: Endpoint) -> None:
        """Pass on a single datagram."""
        self.datagramsReceived((([datagram], addr),))

    def sendTrain(self, parts: Sequence[Buffer], length: int, address: Endpoint) -> bool:
        """
        Send several datagrams of one length, the last one of that at most, now and in one go.

        @param parts: their octets, cut wherever.
        @param length: of each.
        @return: whether they are sent; if not, L{send} each.
        """
        return self._sendTrain is not None and self._sendTrain(parts, length, address)

    def send(self, datagram: bytes, address: Endpoint) -> str:
        """
        Send a datagram now or never.

        @return: why it was dropped; empty: it is sent.
        """
        try:
            self._send(datagram, address)
        except OSError as error:
            number = error.errno or errno.EIO
            return _SEND_ERRORS.get(number) or os.strerror(number).lower()
        except MessageLengthError:
            return TOO_LARGE
        return ""

    def close(self) -> None:
        """Release the socket; no more datagrams come."""
        port, self._port = self._port, None
        if port is not None:
            port.stopListening()

    # What the transport tells.

    def makeConnection(self, transport: IUDPTransport) -> None:
        """Bound: make room for bursts, and take the short way to the socket."""
        super().makeConnection(transport)
        self._send: Callable[[bytes, Endpoint], object] = transport.write
        self._sendTrain: Callable[[Sequence[Buffer], int, Endpoint], bool] | None
        self._sendTrain = getattr(transport, "writeTrain", None)
        if ISystemHandle.providedBy(transport):
            handle = cast(socket.socket, transport.getHandle())
            _enlarge(handle, socket.SO_RCVBUF)
            _enlarge(handle, socket.SO_SNDBUF)
            # write() parses each address up to four times, which takes as long as sending does.
            self._send = handle.sendto

    def stopProtocol(self) -> None:
        """The socket is gone."""
        if self._port is not None:
            self._port = None
            self._lost()


def _enlarge(handle: socket.socket, option: int) -> None:
    """Make one of a socket's buffers as large as it may be, up to L{BUFFER}."""
    size = BUFFER
    while size >= MIN_BUFFER and size > handle.getsockopt(socket.SOL_SOCKET, option):
        try:
            handle.setsockopt(socket.SOL_SOCKET, option, size)
            return
        except OSError:
            # Some systems cut what is too much to their limit; others refuse it.
            size //= 2


class ClientLeg(DatagramLeg):
    """The socket that the client sends to."""

    def datagramsReceived(self, runs: Iterable[Run]) -> None:
        """Pass datagrams on to their targets."""
        relay = self._relay
        outward = relay.addressing.outward
        try:
            for datagrams, source in runs:
                position, count = 0, len(datagrams)
                while position < count:
                    found = outward(datagrams[position], source)
                    position += 1
                    if found is None:
                        continue
                    way, payload = found
                    if position == count:
                        relay.gather(way, [payload])
                    elif position == 1 and _alike(datagrams, way.asked):
                        relay.sendAlike(way, datagrams)
                        break
                    else:
                        following = _following(datagrams, position, way.asked)
                        relay.gather(way, [payload, *following])
                        position += len(following)
        finally:
            relay.flush()


def _alike(datagrams: Datagrams, asked: bytes) -> TypeGuard[Alike]:
    """Tell whether all are of one length and ask for the same."""
    return (
        isinstance(datagrams, Alike)
        and 0 < len(asked) < datagrams.length
        and datagrams.begin(asked)
    )


def _following(datagrams: Datagrams, position: int, asked: bytes) -> list[bytes]:
    """Find those that begin alike, from a position on; @return: what stands behind that."""
    size = len(asked)
    payloads: list[bytes] = []
    if not asked:
        return payloads
    for number in range(position, len(datagrams)):
        datagram = datagrams[number]
        if not datagram.startswith(asked):
            break
        payloads.append(datagram[size:])
    return payloads


class TargetLeg(DatagramLeg):
    """The socket that the targets of one family see."""

    def datagramsReceived(self, runs: Iterable[Run]) -> None:
        """Pass datagrams on to the client."""
        relay = self._relay
        inward = relay.addressing.inward
        try:
            for datagrams, source in runs:
                found = inward(source, len(datagrams))
                if found is not None:
                    relay.answer(found[0], datagrams, found[1])
        finally:
            relay.flush()
