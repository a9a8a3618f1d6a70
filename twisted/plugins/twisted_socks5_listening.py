"""
Names the string C{socks5:} for C{serverFromString}: BIND.

As light as the file for clients, twisted_socks5_endpoints.py, and for the same reason.
"""

from typing import Any

from twisted.internet.interfaces import IStreamServerEndpoint, IStreamServerEndpointStringParser
from twisted.plugin import IPlugin
from zope.interface import implementer


@implementer(IPlugin, IStreamServerEndpointStringParser)
class _SOCKSServerEndpointParser:
    """
    The string.

    @ivar prefix: what it begins with.
    """

    prefix = "socks5"

    def parseStreamServer(self, reactor: Any, *args: Any, **kwargs: Any) -> IStreamServerEndpoint:
        """See L{IStreamServerEndpointStringParser.parseStreamServer}."""
        from twisted_socks5.client.serverstrings import parseServer

        return parseServer(reactor, *args, **kwargs)


socks5Listening = _SOCKSServerEndpointParser()
