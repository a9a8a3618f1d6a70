"""Which addresses are tried, and which comes before which (RFC 8305, section 4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain, zip_longest

from twisted_socks5.interfaces import IPAddress

MAX_ATTEMPTS = 16
"""
The addresses one dial tries at most.  A name may have hundreds, and each is a packet and a
descriptor that a client has us spend; 16, 250 ms apart, take a fifth of the deadline.
"""


def inOrder(addresses: Sequence[IPAddress]) -> list[IPAddress]:
    """
    The addresses to try: each once, the families taking turns, that of the first first
    (RFC 8305, section 4, with a First Address Family Count of 1).
    """
    once = list(dict.fromkeys(addresses))
    if len(once) < 3:
        return once  # Two are in order whatever they are.
    first = once[0].version
    preferred = [address for address in once if address.version == first]
    others = [address for address in once if address.version != first]
    turns = chain.from_iterable(zip_longest(preferred, others))
    return [address for address in turns if address is not None][:MAX_ATTEMPTS]
