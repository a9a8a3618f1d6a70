"""
Look a name up at a DNS server, through a SOCKS5 proxy.

    python client_dns.py PROXY-HOST PROXY-PORT SERVER SERVER-PORT NAME
"""

import sys
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.task import react
from twisted.names.client import Resolver

from twisted_socks5.client.reactor import SOCKS5Reactor


async def main(
    reactor: Any, proxyHost: str, proxyPort: str, server: str, port: str, name: str
) -> None:
    way = HostnameEndpoint(reactor, proxyHost, int(proxyPort))
    # Twisted's resolver as it is.  It listens and connects on whatever reactor it is given: what
    # it does there goes through the proxy, datagrams and, for answers that are too long, TCP.
    resolver = Resolver(servers=[(server, int(port))], reactor=SOCKS5Reactor(reactor, way))
    answers, _, _ = await resolver.lookupAddress(name, timeout=(2, 5))
    for answer in answers:
        print(answer.name, answer.payload.dottedQuad())


react(main, sys.argv[1:])
