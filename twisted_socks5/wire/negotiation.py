"""
What both halves of a negotiation have in common: a buffer, a state, and how a mistake ends it.

A subclass brings the words of its role: its states, its steps, the table of what may follow
what, and which message is read in which state.  This room knows neither role.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from enum import Enum
from typing import Generic, TypeVar

from .constants import MAX_BUFFERED, MAX_TOKEN_ROUNDS
from .errors import LocalProtocolError, MalformedFrame, ProtocolError, TooManyOctets

State = TypeVar("State", bound=Enum)
Step = TypeVar("Step", bound=Enum)
Event = TypeVar("Event")

Reader = Callable[[bytes], tuple[Event, int] | None]
"""Reads a message off the front of a buffer that is not empty; see C{parse_x}."""


class Negotiation(ABC, Generic[State, Step, Event]):
    """
    One side's view of a negotiation.

    A command that has no turn, or a value that the wire cannot carry, raises
    L{LocalProtocolError<twisted_socks5.wire.LocalProtocolError>} and changes nothing.  A mistake
    of the peer's raises L{ProtocolError<twisted_socks5.wire.ProtocolError>} from L{next_event}
    (or from L{receive}, for too many octets), and again from every later call.

    What it holds is bounded.  Once L{next_event} has given L{None} in an C{EXPECT_…} state, less
    than one message is left.  In a C{MUST_…} state what arrives is kept for its turn: stop
    reading from the peer then.  One that talks ahead will have sent one read's worth by that
    time; more than C{MAX_BUFFERED} octets in all are an error.

    @ivar state: whose turn it is.
    """

    __slots__ = ("_buffer", "_error", "_readers", "_rounds", "state")

    # What a subclass says of its role, once for all.
    _transitions: Mapping[tuple[State, Step], State]
    _refused: State
    _failed: State
    _have_rest: frozenset[State]
    _finished: tuple[Step, Step]  # how the caller's own sub-negotiation ends: badly, well

    def __init__(self, state: State, readers: Mapping[State, Reader[Event]]) -> None:
        """
        @param state: where it begins.
        @param readers: what the peer has to send, by state; in the others it has to wait.
        """
        self.state = state
        self._readers = readers
        self._buffer = b""
        self._error: ProtocolError | None = None
        self._rounds = 0

    def receive(self, data: bytes) -> None:
        """
        Take octets from the peer, in whatever pieces; L{next_event} says what they mean.

        After a refusal they are dropped.

        @raise ProtocolError: the negotiation has failed, or fails now because more than
            C{MAX_BUFFERED} octets would be waiting.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        if self.state is self._refused:
            return
        size = len(self._buffer) + len(data)
        if size > MAX_BUFFERED:
            raise self._fail(TooManyOctets(size))
        self._buffer += data

    def next_event(self) -> Event | None:
        """
        Read the peer's next message, if it is the peer's turn.

        @return: what was said, or L{None}: the message is not complete, or it is our turn;
            L{state} tells which.
        @raise ProtocolError: the peer broke the protocol; final.
        """
        read = self._readers.get(self.state)
        if read is None:
            if self._error is not None:
                raise self._error.with_traceback(None)
            return None
        buffer = self._buffer
        if not buffer:
            return None
        try:
            parsed = read(buffer)
            if parsed is None:
                return None
            event, end = parsed
            state = self._transitions[self.state, self._hear(event)]
        except ProtocolError as error:
            raise self._fail(error) from None
        self.state = state
        self._buffer = b"" if state is self._refused else buffer[end:]
        return event

    def take_rest(self) -> bytes:
        """
        Take what the peer has sent behind its last message, and hold nothing back.

        Once the request is granted that is payload that came early.  In C{MUST_SUBNEGOTIATE} it
        belongs to the sub-negotiation that the caller speaks itself.

        @raise LocalProtocolError: there is no rest in this state; what may be waiting has its
            turn later.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        if self.state not in self._have_rest:
            raise LocalProtocolError(f"take_rest() while {self.state.name}")
        rest, self._buffer = self._buffer, b""
        return rest

    def finish_subnegotiation(self, success: bool = True) -> bytes:
        """
        Go on to the request, or give up, after what the caller did itself.

        Nothing that arrived before is read as a message: octets from inside a sub-negotiation,
        or not yet unwrapped, must not pass for what they are not.

        @param success: whether the client is who it says, and the server who it should be.
        @return: the octets received since the last L{take_rest}, which belong to the caller.
        """
        state = self._after(self._finished[success])
        rest, self._buffer = self._buffer, b""
        self._enter(state)
        return rest

    @abstractmethod
    def _hear(self, event: Event) -> Step:
        """
        Say which step an event is, and remember of it what later answers depend on.

        @raise ProtocolError: the event makes no sense here.
        """

    def _after(self, step: Step) -> State:
        """
        Look up where a command of ours leads, before anything is done about it.

        @raise LocalProtocolError: nowhere: it is not the command's turn.
        """
        state = self._transitions.get((self.state, step))
        if state is not None:
            return state
        if self._error is not None:
            raise self._error.with_traceback(None)
        raise LocalProtocolError(f"{step.value} while {self.state.name}")

    def _enter(self, state: State) -> None:
        """Take the step."""
        self.state = state
        if state is self._refused:
            self._buffer = b""

    def _count_round(self) -> None:
        """
        Count the peer's authentication tokens.

        @raise MalformedFrame: it goes on and on.
        """
        self._rounds += 1
        if self._rounds > MAX_TOKEN_ROUNDS:
            raise MalformedFrame(f"more than {MAX_TOKEN_ROUNDS} tokens")

    def _fail(self, error: ProtocolError) -> ProtocolError:
        """End it: keep the mistake, and let go of the octets."""
        self._error = error
        self._buffer = b""
        self.state = self._failed
        return error
