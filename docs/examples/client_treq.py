r"""
Fetch pages with treq, each through the proxy that the environment wants for it.

    HTTPS_PROXY=socks5h://alice:wonderland@proxy.example NO_PROXY=localhost \
        python client_treq.py https://example.com/ http://localhost/
"""

import sys
from typing import Any

from treq.client import HTTPClient
from twisted.internet.task import react

from twisted_socks5.client.agent import EnvironmentAgent


async def main(reactor: Any, *urls: str) -> None:
    agent = EnvironmentAgent(reactor)
    client = HTTPClient(agent)
    for url in urls:
        response = await client.get(url)
        print(response.code, await response.text(), end="")
    await agent.close()


react(main, sys.argv[1:])
