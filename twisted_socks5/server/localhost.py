"""Which addresses are this host's own: a question for the kernel."""

from __future__ import annotations

import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from twisted_socks5.interfaces import IPAddress


def isLocalAddress(address: IPAddress) -> bool:
    """
    Tell whether an address is one of this host's.

    Only an own address can be bound to; nothing is sent.  There is no list of interfaces to
    keep up to date.
    """
    family = socket.AF_INET if address.version == 4 else socket.AF_INET6
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True
