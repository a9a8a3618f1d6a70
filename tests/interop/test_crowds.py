"""
Many clients at a time that mean no good: the proxy goes on serving those that do.

All of it goes from one loopback address to another, is bounded in number, and ends by itself.
"""

from __future__ import annotations

import contextlib
import random
import resource

from tests.interop.client import GREETING, Client, numbered, refusal
from tests.interop.origins import EchoTarget
from tests.interop.proxy import Proxy, ProxyTestCase

NOISY = 500
SILENT = 2000

#: For the sockets of the silent ones in this process, and all that it has open besides.
DESCRIPTORS = SILENT + 500

#: More than that for each silent connection would be too much; measured: under 10 kB.
OCTETS_EACH = 20_000


class CrowdTests(ProxyTestCase):
    """Random octets, and no octets at all."""

    def setUp(self) -> None:
        """Have room for many sockets."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        self.assertTrue(
            hard == resource.RLIM_INFINITY or hard >= DESCRIPTORS,
            f"these tests need {DESCRIPTORS} file descriptors, and may have {hard} (ulimit -Hn)",
        )
        if soft != resource.RLIM_INFINITY and soft < DESCRIPTORS:
            resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def serves(self, proxy: Proxy, echo: EchoTarget) -> None:
        """See that somebody who comes now is served."""
        client = Client(self, proxy).through(echo.port)
        self.assertEqual(client.asks(b"hello"), b"hello")
        client.close()

    def test_random(self) -> None:
        """500 connections of random octets, some of which begin well."""
        echo = EchoTarget(self)
        # Whatever destination is among the random ones, nobody is connected to it.
        proxy = self.proxy("--permit", f"127.0.0.1:{echo.port}", "--deny", "*")
        bystander = Client(self, proxy).through(echo.port)
        chance = random.Random(1928)
        beginnings = (b"", b"\x05", GREETING, GREETING + b"\x05\x01\x00", b"\x04\x01")
        clients = []
        for number in range(NOISY):
            octets = beginnings[number % len(beginnings)] + chance.randbytes(chance.randrange(600))
            client = Client(self, proxy)
            clients.append(client)
            client.sendall(octets)
            if number % 50 == 0:
                self.assertEqual(bystander.asks(b"hello"), b"hello")
        for client in clients:
            # By now some have had their time to hear that they were refused.
            with contextlib.suppress(ConnectionResetError):
                client.finish().hearOut()
            client.close()
        self.serves(proxy, echo)
        bystander.close()
        records = proxy.waitRecords(NOISY + 2)
        self.assertEqual([one["reply"] for one in records].count(0), 2)
        self.assertEqual([one for one in records if not one["reason"]], [])

    def test_silent(self) -> None:
        """2,000 connections that say nothing."""
        echo, proxy = EchoTarget(self), self.proxy()
        bystander = Client(self, proxy).through(echo.port)
        before = proxy.memory()
        silent = [Client(self, proxy) for _ in range(SILENT)]
        self.serves(proxy, echo)
        self.assertEqual(bystander.asks(b"hello"), b"hello")
        self.assertLess(proxy.memory() - before, SILENT * OCTETS_EACH)
        for client in silent:
            client.close()
        proxy.waitRecords(SILENT + 1)
        self.assertEqual(bystander.asks(b"hello"), b"hello")

    def test_full(self) -> None:
        """Silent ones that take all the places there are make room for who comes then."""
        echo, proxy = EchoTarget(self), self.proxy("--max-connections", "100")
        bystander = Client(self, proxy).through(echo.port)
        silent = [Client(self, proxy) for _ in range(99)]
        for _ in range(10):
            self.serves(proxy, echo)
        with self.assertRaises(ConnectionResetError):
            silent[0].hearOut()
        self.assertEqual(silent[-1].say(GREETING).hear(2), b"\x05\x00")
        self.assertEqual(bystander.asks(b"hello"), b"hello")
        reasons = [one["reason"] for one in proxy.waitRecords(11)]
        self.assertIn("dropped to make room: it had not made a request yet", reasons)

    def test_perClient(self) -> None:
        """Who has as many as one client may have is told so; another client is served."""
        echo = EchoTarget(self)
        proxy = self.proxy("--max-connections-per-client", "10")
        mine = [Client(self, proxy).through(echo.port) for _ in range(10)]
        client = Client(self, proxy, GREETING + numbered("127.0.0.1", echo.port))
        self.assertEqual(client.hearOut(), b"\x05\x00" + refusal(1))
        client.close()
        (record,) = proxy.waitRecords(1)
        self.assertEqual(record["reason"], "too many connections from 127.0.0.1: 10")
        other = Client(self, proxy, source="127.0.0.2").through(echo.port)
        for one in (*mine, other):
            self.assertEqual(one.asks(b"hello"), b"hello")
        mine.pop().close()
        proxy.waitRecords(2)
        self.serves(proxy, echo)
