"""
Reaching a target: from permitted addresses to one connected protocol (RFC 8305).

A dial is a L{race<twisted_socks5.dialing.race>}.  Addresses are tried one after the other, the
families taking turns; the next starts 250 ms after the one before, or at once when that one has
failed.  The first to connect wins and all others are abandoned in the same breath, so only the
winner's protocol is ever built, and it sits on the transport that has connected with nothing
between them.

An attempt is of one of two kinds.  Over L{streams<twisted_socks5.dialing.streams>} it is the
socket itself, and tells the race within the call that has found it connected, or not; over a
L{reactor<twisted_socks5.dialing.reactor>} it is what C{connectTCP} makes of a factory.  Over
streams a single address is no race at all.

No names here (they are L{resolving<twisted_socks5.resolving>}'s), no rules, and nothing of who
asked.
"""

from twisted_socks5.dialing.dialer import HappyEyeballs
from twisted_socks5.dialing.order import MAX_ATTEMPTS
from twisted_socks5.failures import replyFor

__all__ = ["MAX_ATTEMPTS", "HappyEyeballs", "replyFor"]
