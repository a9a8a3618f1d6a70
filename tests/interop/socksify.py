"""
Dante's client library, which C{socksify} puts under a program: what the program does with sockets
becomes CONNECT, BIND and UDP ASSOCIATE.
"""

from __future__ import annotations

from pathlib import Path

from tests.interop.programs import find
from tests.interop.proxy import Proxy

_ROUTE = """
route {{
    from: 0.0.0.0/0 to: 0.0.0.0/0 via: {proxy.host} port = {proxy.port}
    command: connect bind udpassociate
    protocol: tcp udp
    proxyprotocol: {protocol}
    method: {method}
}}
"""


class Socksify:
    """
    Dante's client, told to use a proxy for everything.

    @ivar program: what comes before the program it is to run.
    @ivar environment: what differs for both.
    """

    def __init__(
        self,
        proxy: Proxy,
        configuration: str,
        user: str = "",
        password: str = "",
        protocol: str = "socks_v5",
    ) -> None:
        """
        @param proxy: where everything goes.
        @param configuration: a file to write.
        @param user: who logs in; nobody, if empty.
        @param password: how.
        @param protocol: what to speak, C{"socks_v5"} or C{"socks_v4"}.
        """
        path = Path(configuration).absolute()
        method = "username" if user else "none"
        path.write_text(_ROUTE.format(proxy=proxy, method=method, protocol=protocol))
        self.program = find("socksify", "dante-client")
        self.environment = {"SOCKS_CONF": str(path), "SOCKS_AUTOADD_LANROUTES": "no"}
        if user:
            self.environment.update(SOCKS_USERNAME=user, SOCKS_PASSWORD=password)
