"""
Names the strings C{socks5:} and C{socks4:} for C{clientFromString}, and C{socks5:} for
C{serverFromString}, which is BIND.

Every program that reads an endpoint string may import this file, so it imports our modules when
a string of ours is read.  There is no C{__init__.py} beside it: L{twisted.plugins} collects its
modules from every directory of that name.
"""

from typing import Any

from twisted.internet.interfaces import (
    IStreamClientEndpoint,
    IStreamClientEndpointStringParserWithReactor,
    IStreamServerEndpoint,
    IStreamServerEndpointStringParser,
)
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamClientEndpointStringParserWithReactor)
class _SOCKSClientEndpointParser:
    """
    One of the strings.

    @ivar prefix: what it begins with.
    """

    def __init__(self, version: int) -> None:
        self.prefix = f"socks{version}"
        self._version = version

    def parseStreamClient(  # type: ignore[override]  # a string may say "reactor=", too
        self, reactor: Any, /, *args: Any, **kwargs: Any
    ) -> IStreamClientEndpoint:
        """See L{IStreamClientEndpointStringParserWithReactor.parseStreamClient}."""
        from twisted_socks5.client.strings import parse

        return parse(reactor, self._version, *args, **kwargs)


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _SOCKSServerEndpointParser:
    """
    What listens at a proxy.

    @ivar prefix: what it begins with.
    """

    prefix = "socks5"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamServerEndpoint:
        """See L{IStreamServerEndpointStringParser.parseStreamServer}."""
        from twisted_socks5.client.serverstrings import parseServer

        return parseServer(reactor, *args, **kwargs)


socks5 = _SOCKSClientEndpointParser(5)
socks4 = _SOCKSClientEndpointParser(4)
socks5Listening = _SOCKSServerEndpointParser()
