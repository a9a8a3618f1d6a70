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
        host, port = connection.get_proxy_sockname() or ("", 0)
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
        with self.assertRaises(socks.ProxyError) as caught:
            self.connected(proxy, "127.0.0.1", echo.port, "alice", "wrong")
        self.assertIn("SOCKS5 authentication failed", str(caught.exception))

    def test_refused(self) -> None:
        """Its exception has our REP."""
        proxy = self.proxy()
        with self.assertRaises(socks.ProxyError) as caught:
            self.connected(proxy, "127.0.0.1", closedPort(self))
        self.assertIn("0x05: Connection refused", str(caught.exception))


class PythonSocksTests(ProxyTestCase):
    """python-socks, below aiohttp-socks and httpx-socks."""

    def test_blocking(self) -> None:
        """Its blocking half, with the name resolved by the proxy."""
        echo, proxy = EchoTarget(self), self.proxy(hosts=NAMES)
        client = SyncProxy.from_url(f"socks5://{proxy}", rdns=True)
        connection = client.connect("origin.example", echo.port, timeout=20)
        self.addCleanup(connection.close)
        connection.sendall(b"hello")
        self.assertEqual(connection.recv(5), b"hello")

    def test_refused(self) -> None:
        """Its exception has our REP."""
        proxy = self.proxy()
        with self.assertRaises(python_socks.ProxyError) as caught:
            SyncProxy.from_url(f"socks5://{proxy}").connect("127.0.0.1", closedPort(self))
        self.assertEqual(caught.exception.error_code, 5)

    def test_asynchronous(self) -> None:
        """Its asynchronous half, many at once, with a password."""
        echo = EchoTarget(self)
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"))

        async def ask(number: int) -> bytes:
            client = AsyncProxy.from_url(f"socks5://alice:s3cr3t@{proxy}")
            connection = await client.connect("127.0.0.1", echo.port, timeout=20)
            reader, writer = await asyncio.open_connection(sock=connection)
            writer.write(b"%04d" % number)
            try:
                return await reader.readexactly(4)
            finally:
                writer.close()
                await writer.wait_closed()

        async def askAll() -> list[bytes]:
            return await asyncio.gather(*map(ask, range(50)))

        self.assertEqual(asyncio.run(askAll()), [b"%04d" % number for number in range(50)])
        records = proxy.stop()
        self.assertEqual({(one["user"], one["reply"]) for one in records}, {("alice", 0)})
        self.assertEqual(len(records), 50)


class HTTPXTests(ProxyTestCase):
    """httpx with its own SOCKS."""

    def test_get(self) -> None:
        """Several requests over one connection, to a name that the proxy resolves."""
        origin, proxy = HTTPOrigin(self), self.proxy(hosts=NAMES)
        with httpx.Client(proxy=f"socks5://{proxy}", trust_env=False) as client:
            for _ in range(3):
                answer = client.get(f"http://origin.example:{origin.port}/bytes/{SIZE}")
                self.assertEqual(digest(answer.content), digest(content(SIZE)))
        (record,) = proxy.stop()
        self.assertEqual(record["target"], f"origin.example:{origin.port}")

    def test_password(self) -> None:
        """With name and password in the URL; it offers nothing else then."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"))
        url = f"socks5://alice:s3cr3t@{proxy}"
        answer = httpx.get(f"http://127.0.0.1:{origin.port}/", proxy=url, trust_env=False)
        self.assertEqual(answer.text, "this is the origin\n")
