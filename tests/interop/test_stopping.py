"""
How the process stops: sessions get some time to end, and not more.
"""

from __future__ import annotations

import contextlib
import signal
import time

from tests.interop.client import GREETING, Client, numbered
from tests.interop.origins import DeafTarget, EchoTarget
from tests.interop.proxy import ProxyTestCase

LONG = 1000.0
"""Seconds that no test waits for."""


class StoppingTests(ProxyTestCase):
    """SIGTERM, once and twice, and SIGINT."""

    def test_idle(self) -> None:
        """Without sessions it ends at once, however long they would have been given."""
        proxy = self.proxy("--drain-timeout", str(LONG))
        Client(self, proxy).say(GREETING).finish().hearOut()
        proxy.waitRecords(1)
        proxy.stop()

    def test_drain(self) -> None:
        """Sessions that are there go on; nobody else gets in; the last one's end is the end."""
        echo, proxy = EchoTarget(self), self.proxy("--drain-timeout", str(LONG))
        first = Client(self, proxy).through(echo.port)
        second = Client(self, proxy).through(echo.port)
        proxy.tell(signal.SIGTERM)
        proxy.output.waitFor("Waiting up to 1000 s for 2 sessions")
        with self.assertRaises(ConnectionRefusedError):
            Client(self, proxy)
        for one in (first, second):
            self.assertEqual(one.asks(b"still here"), b"still here")
            self.assertEqual(one.finish().hearOut(), b"")
        records = proxy.ended(signal.SIGTERM)
        self.assertEqual([one["sent"] for one in records], [10, 10])
        self.assertEqual([one["reason"] for one in records], ["client closed"] * 2)

    def test_bound(self) -> None:
        """A session that does not end in time is cut, and by a reset: it was not complete."""
        echo, proxy = EchoTarget(self), self.proxy("--drain-timeout", "0.5")
        client = Client(self, proxy).through(echo.port)
        began = time.monotonic()
        proxy.tell(signal.SIGTERM)
        with self.assertRaises(ConnectionResetError):
            client.hearOut()
        self.assertGreater(time.monotonic() - began, 0.4)
        (record,) = proxy.ended(signal.SIGTERM)
        self.assertEqual(record["reason"], "the proxy stops")

    def test_twice(self) -> None:
        """A second signal cuts at once what is still there."""
        for number in (signal.SIGTERM, signal.SIGINT):
            echo, proxy = EchoTarget(self), self.proxy("--drain-timeout", str(LONG))
            client = Client(self, proxy).through(echo.port)
            proxy.tell(number)
            proxy.output.waitFor("Waiting up to")
            self.assertEqual(client.asks(b"still here"), b"still here")
            proxy.tell(number)
            with self.assertRaises(ConnectionResetError):
                client.hearOut()
            proxy.ended(number)

    def test_atWork(self) -> None:
        """Sessions that have not come as far as a relay keep nobody from stopping."""
        proxy = self.proxy("--drain-timeout", "0.5", "--auth", self.users("alice:s3cr3t"))
        silent = Client(self, proxy)
        halfway = Client(self, proxy, b"\x05\x01\x02")
        self.assertEqual(halfway.hear(2), b"\x05\x02")
        failing = Client(self, proxy, b"\x05\x01\x02\x01\x01a\x01b")
        failing.hear(2)
        proxy.stop()
        for one in (silent, halfway, failing):
            one.settimeout(10)
            with contextlib.suppress(ConnectionResetError):
                one.hearOut()

    def test_dialing(self) -> None:
        """Nor does a dial that nobody answers."""
        deaf, proxy = DeafTarget(self), self.proxy("--drain-timeout", "0.5")
        client = Client(self, proxy, GREETING)
        self.assertEqual(client.hear(2), b"\x05\x00")
        client.say(numbered("127.0.0.1", deaf.port))
        proxy.stop()
