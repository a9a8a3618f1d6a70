"""
Answering a proxy's challenge (method 3, draft-ietf-aft-socks-chap-01).

What is said is L{ClientChallenge<twisted_socks5.wire.ClientChallenge>}'s to know; here it is
carried out, for one L{Dialogue<twisted_socks5.client.dialogue.Dialogue>}.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from twisted_socks5.wire import Challenge, ClientChallenge, respond_to

if TYPE_CHECKING:
    from twisted_socks5.client.authentication import CHAP
    from twisted_socks5.client.dialogue import Dialogue
    from twisted_socks5.wire import ClientNegotiation


class Responder:
    """Says who we are, and answers what it is asked."""

    def __init__(self, dialogue: Dialogue, negotiation: ClientNegotiation, chosen: CHAP) -> None:
        """
        @param dialogue: for whom.
        @param negotiation: has selected CHAP.
        @param chosen: who we are.
        """
        self._dialogue = dialogue
        self._negotiation = negotiation
        self._chosen = chosen
        self._challenge = ClientChallenge()

    def start(self) -> None:
        """Say who we are."""
        octets = self._challenge.offer(self._chosen.username, self._chosen.algorithms)
        self._dialogue.transport.write(octets)

    def hear(self, octets: bytes) -> None:
        """
        Hear what the proxy says.

        @raise ProtocolError: it makes no sense.
        """
        challenge = self._challenge
        challenge.receive(octets)
        event = challenge.next_event()
        if event is None:
            return
        if isinstance(event, Challenge):
            response = respond_to(event.algorithm, event.challenge, self._chosen.password)
            self._dialogue.transport.write(challenge.respond(response))
            self.hear(b"")
        elif event.succeeded:
            self._negotiation.finish_subnegotiation()
            self._negotiation.receive(challenge.take_rest())
            self._dialogue.unprotected()
        else:
            self._dialogue.failed(
                f"the proxy refused our answer to its challenge (status {event.status})"
            )
