"""
The sub-negotiation of method 3 (CHAP, draft-ietf-aft-socks-chap-01), for one session.

What the client says is L{ServerChallenge<twisted_socks5.wire.ServerChallenge>}'s to read; whether
its response is right, a portal's to tell.  What a session is still to be told when its client has
been let in is given back to its negotiation.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from twisted_socks5.auth.challenge import ChallengeCredentials
from twisted_socks5.server.login import logIn
from twisted_socks5.wire import ChallengeOffer, ProtocolError, ServerChallenge

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted_socks5.server.session import SOCKS5ServerProtocol

#: Octets of a challenge: so many that none is ever asked twice.
CHALLENGE = 32


class CHAPDialogue:
    """One session's, from the selection of the method to the status."""

    #: Makes challenges.
    random: Callable[[int], bytes] = staticmethod(os.urandom)

    def __init__(self, session: SOCKS5ServerProtocol) -> None:
        """
        @param session: whose it is; CHAP has been selected in its negotiation.
        """
        self._session = session
        self._challenge = ServerChallenge()
        self._user = b""

    def begin(self) -> None:
        """Hear what the client says from now on, and what it has said already."""
        self._session.hearBy(self.received)
        self.received(self._session.negotiation.take_rest())

    def received(self, octets: bytes) -> None:
        """The client has sent something, which was its turn."""
        session, challenge = self._session, self._challenge
        try:
            challenge.receive(octets)
            event = challenge.next_event()
        except ProtocolError as error:
            session.negotiation.finish_subnegotiation(False)
            session.broken(error)
            return
        if event is None:
            return
        if isinstance(event, ChallengeOffer):
            self._user = event.user
            session.record.user = event.user.decode("utf-8", "backslashreplace")
            session.transport.write(challenge.challenge(self.random(CHALLENGE)))
            # Nobody can respond already; who says something all the same is read.
            self.received(b"")
        else:
            asked = challenge.asked
            logIn(
                session,
                ChallengeCredentials(self._user, asked, event.response),  # type: ignore[arg-type]
                self._admitted,
                self._denied,
            )

    def _admitted(self) -> None:
        octets = self._challenge.judge(True)
        negotiation = self._session.negotiation
        kept = negotiation.finish_subnegotiation(True)
        negotiation.receive(self._challenge.take_rest() + kept)
        self._session.proceed(octets)

    def _denied(self, reason: str) -> None:
        self._session.negotiation.finish_subnegotiation(False)
        self._session.turnAway(self._challenge.judge(False), reason)
