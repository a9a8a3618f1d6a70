"""
The SOCKS clients that Python programs use.
"""

from __future__ import annotations

import asyncio
import socket

import httpx
import python_socks
import socks
from python_socks.async_.asyncio import Proxy as AsyncProxy
from python_socks.sync import Proxy as SyncProxy

from tests.interop.origins import EchoTarget, HTTPOrigin, closedPort, content, digest
from tests.interop.proxy import Proxy, ProxyTestCase

SIZE = 5_000_000
NAMES = "127.0.0.1 origin.example\n"


class PySocksTests(ProxyTestCase):
    """PySocks, below requests and many others."""

    def connected(self, proxy: Proxy, host: str, port: int, *login: str) -> socks.socksocket:
        """Connect through a proxy, which resolves the name."""
        connection = socks.socksocket()
        self.addCleanup(connection.close)
        connection.settimeout(20)
        connection.set_proxy(socks.SOCKS5, proxy.host, proxy.port, True, *login)
        connection.connect((host, port))
        return connection

    def test_name(self) -> None:
        """To a name; BND is the outgoing connection's own address, as the target sees it."""
        echo, proxy = EchoTarget(self), self.proxy(hosts=NAMES)
        connection = self.connected(proxy, "origin.example", echo.port)
        connection.sendall(b"hello")
        self.assertEqual(connection.recv(5), b"hello")
        host, port = connection.get_proxy_sockname()
        self.assertEqual(socket.inet_aton(host), b"\x7f\x00\x00\x01")
        self.assertNotIn(port, (0, echo.port, proxy.port))

    def test_halfClose(self) -> None:
        """A client that has ended its sending still gets all of the answer."""
        echo, proxy = EchoTarget(self), self.proxy()
        connection = self.connected(proxy, "127.0.0.1", echo.port)
        connection.sendall(content(100_000))
        connection.shutdown(socket.SHUT_WR)
        got = b""
        while piece := connection.recv(1 << 16):
            got += piece
        self.assertEqual(digest(got), digest(content(100_000)))

    def test_password(self) -> None:
        """With name and password, the right ones and others."""
        echo = EchoTarget(self)
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"))
        self.connected(proxy, "127.0.0.1", echo.port, "alice", "s3cr3t").close()
        with self.assertRaises(socks.SOCKS5AuthError):
            self.connected(proxy, "127.0.0.1", echo.port, "alice", "wrong")

    def test_refused(self) -> None:
        """Its exception has our REP."""
        proxy = self.proxy()
        with self.assertRaises(socks.ProxyConnectionError, msg="no proxy there"):
            Elsewhere = type("Elsewhere", (), {"host": "127.0.0.1", "port": closedPort(self)})
            self.connected(Elsewhere(), "127.0.0.1", 9)  # type: ignore[arg-type]
        with self.assertRaises(socks.GeneralProxyError) as caught:
            self.connected(proxy, "127.0.0.1", closedPort(self))
        self.assertIn("0x05", str(caught.exception))
