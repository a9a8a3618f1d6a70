"""
Fetch pages with twisted.web's Agent through the proxy that ALL_PROXY names.

    ALL_PROXY=socks5h://127.0.0.1:1080 python client_agent.py https://example.com/
"""

import os
import sys
from typing import Any

from twisted.internet.task import react
from twisted.web.client import readBody

from twisted_socks5.client.agent import SOCKS5Agent
from twisted_socks5.client.urls import proxyFromURL


async def main(reactor: Any, *urls: str) -> None:
    agent = SOCKS5Agent(reactor, proxyFromURL(reactor, os.environ["ALL_PROXY"]))
    # Those from one server come over one connection: the agent has a pool of its own.
    for url in urls:
        response = await agent.request(b"GET", url.encode())
        print(response.code, len(await readBody(response)))
    await agent.close()


react(main, sys.argv[1:])
