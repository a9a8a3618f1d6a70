"""
What a client says of itself with CHAP (method 3), as C{twisted.cred} wants it.

It does not show its password but a keyed hash of what it was asked, so only a checker that has
the password itself can tell: one for L{IUsernameHashedPassword
<twisted.cred.credentials.IUsernameHashedPassword>}, as Twisted's C{memory:} and C{file:} are.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass, field

from twisted.cred.credentials import IUsernameHashedPassword
from zope.interface import implementer

from twisted_socks5.auth.credentials import toOctets
from twisted_socks5.wire import Challenge, respond_to


@implementer(IUsernameHashedPassword)
@dataclass(frozen=True, eq=False)
class ChallengeCredentials:
    """
    A user's name, what was asked, and what was answered.

    @ivar username: USER-IDENTITY, 0 to 255 octets.
    @ivar asked: what was asked.
    @ivar response: RESPONSE.
    """

    username: bytes
    asked: Challenge = field(repr=False)
    response: bytes = field(repr=False)

    def checkPassword(self, password: bytes | str) -> bool:
        """
        Tell whether the answer was made with a password.

        @param password: octets, or text to be taken as UTF-8.
        @return: whether it was.  Nothing that is neither octets nor text has made an answer, nor
            has an empty password, since that is no secret.
        """
        if not (isinstance(password, (bytes, str)) and password):
            return False
        made = respond_to(self.asked.algorithm, self.asked.challenge, toOctets(password))
        return hmac.compare_digest(made, self.response)
