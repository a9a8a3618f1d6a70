"""
The string form of BIND: C{socks5:203.0.113.5:via=tcp\\:proxy.example\\:1080}, for
C{serverFromString}.

Every program that listens on an endpoint string can listen through a proxy by it: C{twist web},
say.  Where the proxy listens is in the log, for who connects has to be told.
"""

from __future__ import annotations

from typing import Any, Final

from twisted_socks5.client.arguments import port
from twisted_socks5.client.listening import ANYBODY, SOCKS5RenewingServerEndpoint
from twisted_socks5.client.strings import parse

_OWN: Final = ("host", "port")


def parseServer(reactor: Any, /, *args: str, **named: str) -> SOCKS5RenewingServerEndpoint:
    """
    Make an endpoint of a string's arguments.

      - C{host}: who is to connect, an address or a name; anybody by default;
      - C{port}: goes to the proxy with it.  If the proxy lets its clients choose, it is the port
        to listen on; by default 0, which leaves it to the proxy;
      - C{via}, C{timeout}, and who we are: as for the client's string.

    @param reactor: connects and tells the time.
    @param args: C{host} and C{port}.
    @param named: these or others of the arguments.
    @raise ValueError: one is unknown, or not what it has to be; the text names it.
    """
    if "dns" in named:
        raise ValueError("socks5: 'dns': the peer's name always goes to the proxy")
    given = dict(zip(_OWN, args, strict=False))
    for name in _OWN:
        if name in named and name not in given:
            given[name] = named.pop(name)
    number = given.get("port", "0")
    peerPort = 0
    if number != "0":
        try:
            peerPort = port(number)
        except ValueError:
            raise ValueError("socks5: 'port': not a number from 0 to 65535") from None
    # All that says how the proxy is reached is said, and complained of, as for a client.
    way: Any = parse(reactor, 5, given.get("host", ANYBODY), "1", *args[2:], **named)
    return SOCKS5RenewingServerEndpoint(
        way.proxy, given.get("host", ANYBODY), peerPort, reactor=reactor
    )
