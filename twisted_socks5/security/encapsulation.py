"""
A connection whose octets travel in a security context's tokens (RFC 1961, section 5).

Once a protection level is agreed on, all that either side sends is cut into pieces, each wrapped
into a token, each token framed: C{01 03 LEN token}.  L{Encapsulation} is the layer that does it,
between a connection and whoever speaks on it: requests, replies and what is relayed pass through
and know nothing of it.  Datagrams of an association share the context, one frame for each.

Small pieces are wrapped where they are, in the reactor's thread, and larger ones in others::

    up to SMALL octets, with no thread at work for us    at once
    else                                                 FairThreads, BATCH octets a job

The two directions and the datagrams have one context, of which mechanisms don't say that two
threads may use it at a time.  So it is behind a lock, which is held for one token: the reactor's
thread, that waits for it with datagrams only, waits less than it takes to wrap 64 KiB once.

What ends a connection that cannot be trusted any more: a token that does not unwrap, that lacks
what the level demands, or comes out of its turn; a frame that is none; the peer's abort; a FIN in
the middle of a frame.  Nothing of such a token is passed on, and the connection below is reset.
The RFC has no protected word for an end: a FIN between two frames is one, whoever sent it.
"""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, TypeVar

from twisted.python.failure import Failure

from twisted_socks5.fairthreads import Busy
from twisted_socks5.security.contexts import ContextError
from twisted_socks5.security.levels import seals, suffices
from twisted_socks5.streams import LayeredTransport
from twisted_socks5.wire import Abort, DatagramError, MalformedFrame, ProtocolError, TokenReader
from twisted_socks5.wire.constants import (
    FRAME_HEADER_SIZE,
    MAX_TOKEN,
    MAX_UDP_PAYLOAD,
    MTYP,
    ProtectionLevel,
)
from twisted_socks5.wire.gssapi import pack_token, parse_frame

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable

    from twisted.internet.defer import Deferred

    from twisted_socks5.fairthreads import FairThreads
    from twisted_socks5.security.contexts import ISecurityContext

_T = TypeVar("_T")

#: Octets that are wrapped, or unwrapped, without a change of threads.  That costs the reactor's
#: thread some 60 µs; what is sealed by AES and SHA-1, today's usual, costs 3 µs for 64 octets, as
#: the system call that sends them does, 40 µs for these, and 600 µs for 64 KiB.
SMALL = 4096

#: The longest token that is sent: its frame has no more octets than its LEN could say, for who
#: reads frames into 64 KiB.
LONGEST = MAX_TOKEN - FRAME_HEADER_SIZE

_ABORTED = "the peer has given up the security context"
_NOT_SEALED = "a message that is not confidential, as the protection level demands"
_CLOSED = "the security context is closed"


class Encapsulation(LayeredTransport):
    """
    A connection under a protection level.

    Made, it has taken the connection over from whoever had it: see L{LayeredTransport.takeOver}
    for what is to be done in the same turn.

    @ivar level: the protection level.
    @cvar troubles: see L{LayeredTransport}.
    """

    __slots__ = ("_atWork", "_context", "_owner", "_reader", "_threads", "level")

    troubles = (ContextError, ProtocolError, Busy)

    def __init__(
        self,
        transport: Any,
        context: ISecurityContext,
        level: ProtectionLevel,
        threads: FairThreads,
        owner: Hashable,
    ) -> None:
        """
        @param transport: the connection; see L{LayeredTransport.takeOver}.
        @param context: established.  It is ours from now on, and disposed of at the end.
        @param level: not C{NONE}, at which nothing is encapsulated.
        @param threads: wrap and unwrap what is large.  A connection has at most two jobs there,
            and is reset if they are refused: let as many wait.
        @param owner: on whose behalf they do.
        @raise ValueError: C{level} is C{NONE}.
        """
        if level is ProtectionLevel.NONE:
            raise ValueError("at level 0 nothing is encapsulated")
        super().__init__()
        self.level = level
        self._context = _Shared(context, level)
        self._threads = threads
        self._owner = owner
        self._reader = TokenReader(kind=MTYP.DATA)
        self._atWork = 0  # threads, for us
        self.takeOver(transport)

    # Datagrams.

    def wrapDatagram(self, datagram: bytes) -> bytes:
        """
        Encapsulate a datagram, its UDP request header included (RFC 1961, section 5).

        @return: one frame.
        @raise DatagramError: it is too large for one.
        @raise ContextError: it cannot be wrapped, or the connection is over.
        """
        token = self._context.wrap(datagram)
        size = FRAME_HEADER_SIZE + len(token)
        if size > MAX_UDP_PAYLOAD:
            raise DatagramError(f"{size} octets once encapsulated, more than {MAX_UDP_PAYLOAD}")
        return pack_token(MTYP.DATA, token)

    def unwrapDatagram(self, datagram: bytes) -> bytes:
        """
        Take a datagram out of its frame.

        Whatever is wrong with it, the association and its connection go on: a datagram can come
        from anybody.

        @return: what the peer has encapsulated.
        @raise DatagramError: it is no frame, more than one, or lacks the level's protection.
        @raise ContextError: its token does not unwrap, or the connection is over.
        """
        try:
            parsed = parse_frame(datagram, kind=MTYP.DATA)
        except MalformedFrame as error:
            raise DatagramError(error.reason) from None
        if parsed is None:
            raise DatagramError("an incomplete frame")
        frame, end = parsed
        if isinstance(frame, Abort):
            raise DatagramError("an abort in a datagram")
        if end != len(datagram):
            raise DatagramError(f"{len(datagram) - end} octets behind the frame")
        octets, sealed = self._context.unwrap(frame.data)
        if not suffices(self.level, sealed):
            raise DatagramError(_NOT_SEALED)
        return octets

    def inThread(self, translate: Callable[[bytes], bytes], datagram: bytes) -> Deferred[bytes]:
        """
        Have a large datagram wrapped or unwrapped beside the reactor.

        @param translate: our L{wrapDatagram} or L{unwrapDatagram}.
        @return: fires with the result, or fails as C{translate} does, or with L{Busy
            <twisted_socks5.fairthreads.Busy>}.
        """
        return self._threads.run(self._owner, lambda: translate(datagram))

    # The layer.

    def _encode(self, octets: bytes) -> bytes | Deferred[bytes]:
        if len(octets) <= SMALL and not self._atWork:
            return self._context.wrapped(octets)
        context = self._context
        self._atWork += 1
        return self._threads.run(self._owner, lambda: context.wrapped(octets)).addBoth(self._back)

    def _decode(self, octets: bytes) -> bytes | Deferred[bytes]:
        tokens: list[bytes] = []
        trouble = self._takeApart(octets, tokens)
        if sum(map(len, tokens)) <= SMALL and not self._atWork:
            return self._opened(self._context.unwrapped(tokens), trouble)
        context = self._context
        self._atWork += 1
        job = self._threads.run(self._owner, lambda: context.unwrapped(tokens))
        return job.addBoth(self._back).addCallback(self._opened, trouble)

    def _takeApart(self, octets: bytes, tokens: list[bytes]) -> Exception | None:
        """Find the tokens, up to where the stream is broken; @return: why it is, if it is."""
        try:
            self._reader.receive(octets)
            while (frame := self._reader.next_frame()) is not None:
                if isinstance(frame, Abort):
                    return ContextError(_ABORTED)
                tokens.append(frame.data)
        except ProtocolError as error:
            return error
        return None

    def _opened(self, found: tuple[bytes, Exception | None], trouble: Exception | None) -> bytes:
        """Pass on what was in the tokens in front of the first bad one."""
        octets, bad = found
        trouble = bad or trouble
        if trouble is not None:
            self._spoil(Failure(trouble))
        return octets

    def _back(self, result: Any) -> Any:
        self._atWork -= 1
        return result

    def _checkEnd(self) -> None:
        if self._reader.buffered:
            raise MalformedFrame("the end of the connection in the middle of a GSSAPI frame")

    def _released(self) -> None:
        self._context.dispose()


class _Shared:
    """
    A context that several threads may ask, which then take turns.

    C{wrap} and C{unwrap} are for single tokens, their past participles for frames of a stream.
    """

    __slots__ = ("_context", "_disposing", "_level", "_limit", "_lock", "_seal")

    def __init__(self, context: ISecurityContext, level: ProtectionLevel) -> None:
        self._context: ISecurityContext | None = context
        self._level = level
        self._seal = seals(level)
        self._limit = 0  # octets that fit into a token, once that is known
        self._lock = Lock()
        self._disposing = False

    def wrap(self, octets: bytes) -> bytes:
        """Make one token."""
        return self._ask(lambda context: context.wrap(octets, self._seal))

    def unwrap(self, token: bytes) -> tuple[bytes, bool]:
        """Open one token."""
        return self._ask(lambda context: context.unwrap(token))

    def wrapped(self, octets: bytes) -> bytes:
        """Make as many frames as octets need."""
        limit = self._limit
        if not limit:
            seal = self._seal
            limit = self._limit = self._ask(lambda context: context.wrapSizeLimit(seal, LONGEST))
            if limit <= 0:
                raise ContextError(f"the mechanism has no tokens of at most {LONGEST} octets")
        return b"".join(
            pack_token(MTYP.DATA, self.wrap(octets[start : start + limit]))
            for start in range(0, len(octets), limit)
        )

    def unwrapped(self, tokens: Iterable[bytes]) -> tuple[bytes, Exception | None]:
        """Open tokens, as long as they are good; @return: what is in these, and what is wrong."""
        pieces: list[bytes] = []
        for token in tokens:
            try:
                octets, sealed = self.unwrap(token)
            except ContextError as error:
                return b"".join(pieces), error
            if not suffices(self._level, sealed):
                return b"".join(pieces), ContextError(_NOT_SEALED)
            pieces.append(octets)
        return b"".join(pieces), None

    def dispose(self) -> None:
        """Let the context go: now, or when the thread that is using it has done with its token."""
        self._disposing = True
        self._dispose()

    def _ask(self, call: Callable[[ISecurityContext], _T]) -> _T:
        try:
            with self._lock:
                if self._context is None or self._disposing:
                    raise ContextError(_CLOSED)
                return call(self._context)
        finally:
            if self._disposing:
                self._dispose()

    def _dispose(self) -> None:
        # Nobody waits here: who has the lock, if it isn't we, comes here when he has done.
        if self._lock.acquire(blocking=False):
            try:
                context, self._context = self._context, None
                if context is not None:
                    context.dispose()
            finally:
                self._lock.release()
