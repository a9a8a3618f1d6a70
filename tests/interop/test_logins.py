"""
Crowds of people who log in, half of them with a wrong password: whoever knows theirs gets in.

How long it takes those who are there already is measured by benchmarks/logins.py.
"""

from __future__ import annotations

import asyncio
import contextlib
import resource
import threading
from collections import Counter
from pathlib import Path

import bcrypt

from tests.interop.client import Client, credentials, numbered
from tests.interop.origins import EchoTarget
from tests.interop.proxy import Proxy, ProxyTestCase
from twisted_socks5.auth.hashes import newHash

ATTEMPTS = 10_000
AT_A_TIME = 200
USERS = 100

LET_IN = b"\x05\x02\x01\x00"
REFUSED = b"\x05\x02\x01\x01"


def source(number: int) -> str:
    """Give one of many addresses of this host."""
    return f"127.1.{number // 250 % 250}.{1 + number % 250}"


async def attempt(proxy: Proxy, name: str, password: str, source: str) -> bytes:
    """Log in from an address; return what is heard."""
    reader, writer = await asyncio.open_connection(proxy.host, proxy.port, local_addr=(source, 0))
    try:
        writer.write(b"\x05\x01\x02" + credentials(name, password))
        return await reader.read(2) + await reader.read(2)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


class LoginTests(ProxyTestCase):
    """Many logins, and a file of hashes."""

    def setUp(self) -> None:
        """Have room for the sockets of all who are there at a time."""
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = AT_A_TIME + 500
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            self.addCleanup(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

    def hashed(self, octets: bytes) -> str:
        """Write a file of hashes and give the C{--auth} that names it."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(mode=0o700)
        path = directory / "users"
        path.write_bytes(octets)
        path.chmod(0o600)
        return f"htpasswd:{path}"

    def session(self, proxy: Proxy, echo: EchoTarget, name: str, source: str = "") -> Client:
        """Open a session as a user whose password is like the name."""
        client = Client(self, proxy, b"\x05\x01\x02" + credentials(name, f"of {name}"), source)
        self.assertEqual(client.hear(4), LET_IN)
        client.sendall(numbered("127.0.0.1", echo.port))
        self.assertEqual(client.hearReply()[:2], b"\x05\x00")
        return client

    def test_crowd(self) -> None:
        """10,000 logins, 200 at a time: all that are right succeed, and no other does."""
        users = [(f"user{number}", f"of user{number}") for number in range(USERS)]
        lines = [
            b"%b:%b\n" % (name.encode(), bcrypt.hashpw(password.encode(), bcrypt.gensalt(4)))
            for name, password in users
        ]
        echo = EchoTarget(self)
        proxy = self.proxy(
            "--auth", self.hashed(b"".join(lines)), "--permit", f"127.0.0.1:{echo.port}"
        )
        bystander = self.session(proxy, echo, "user0")
        heard: Counter[tuple[bool, bytes]] = Counter()
        numbers = iter(range(ATTEMPTS))

        async def client() -> None:
            for number in numbers:
                right = number % 2 == 0
                name, password = users[number % USERS]
                password = password if right else f"{password}?"
                heard[right, await attempt(proxy, name, password, source(number))] += 1

        async def crowd() -> None:
            await asyncio.gather(*(client() for _ in range(AT_A_TIME)))

        thread = threading.Thread(target=asyncio.run, args=(crowd(),))
        thread.start()
        asked = 0
        while thread.is_alive():
            self.assertEqual(bystander.asks(b"hello"), b"hello")
            asked += 1
            thread.join(0.01)
        self.assertGreater(asked, 50)
        half = ATTEMPTS // 2
        self.assertEqual(heard, {(True, LET_IN): half, (False, REFUSED): half})
        bystander.close()
        records = proxy.waitRecords(ATTEMPTS + 1)
        reasons = Counter(one["reason"] for one in records)
        self.assertEqual(reasons["wrong user name or password"], half)

    def test_flood(self) -> None:
        """While one address guesses without end, somebody at another gets in, and stays in."""
        echo = EchoTarget(self)
        auth = self.hashed(b"alice:%b\n" % newHash(b"of alice"))
        proxy = self.proxy("--auth", auth, "--permit", f"127.0.0.1:{echo.port}")
        over = threading.Event()
        guesses: Counter[bytes] = Counter()

        async def guess(number: int) -> None:
            while not over.is_set():
                number += 1000
                name = "alice" if number % 2 else f"user{number}"
                guesses[await attempt(proxy, name, f"guess {number}", "127.0.0.2")] += 1

        async def flood() -> None:
            guessing = [asyncio.ensure_future(guess(number)) for number in range(AT_A_TIME)]
            while not over.is_set():
                await asyncio.sleep(0.01)
            for each in guessing:
                each.cancel()
            await asyncio.gather(*guessing, return_exceptions=True)

        thread = threading.Thread(target=asyncio.run, args=(flood(),))
        thread.start()
        try:
            clients = []
            for _ in range(10):
                clients.append(self.session(proxy, echo, "alice", "127.0.0.3"))
                for client in clients:
                    self.assertEqual(client.asks(b"hello"), b"hello")
                over.wait(0.1)
        finally:
            over.set()
            thread.join()
        # Those that were not held back for longer than this has lasted.
        self.assertEqual({*guesses}, {REFUSED})
        reasons = {one["reason"] for one in proxy.waitRecords(sum(guesses.values()))}
        self.assertIn("too many logins wait to be checked", reasons)
