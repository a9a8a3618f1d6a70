"""
Clients that stop in the middle: at every state of a session, in every way.
"""

from __future__ import annotations

import socket

from tests.interop.client import (
    GREETING,
    PASSWORD_GREETING,
    Client,
    credentials,
    named,
    numbered,
    reset,
)
from tests.interop.origins import DeafTarget, Target
from tests.interop.proxy import Proxy
from tests.interop.test_bad_input import BadInputTestCase

LOGIN = credentials("alice", "s3cr3t")
REQUEST = named(b"127.0.0.1", 9)

#: How far a client has come before it stops: messages whole, and cut at each of their fields.
STAGES = (
    b"",
    b"\x05",
    b"\x05\x02\x02",
    PASSWORD_GREETING,
    *(PASSWORD_GREETING + LOGIN[:size] for size in (1, 2, 4, 7, 8, 10)),
    PASSWORD_GREETING + LOGIN,
    *(PASSWORD_GREETING + LOGIN + REQUEST[:size] for size in (1, 3, 4, 5, 8, 15)),
)


def fill(connection: socket.socket) -> int:
    """Send as much as there is room for, up to 200 MB, and say how much that was."""
    connection.settimeout(0.5)
    sent = 0
    try:
        while sent < 200_000_000:
            sent += connection.send(bytes(1_000_000))
    except TimeoutError:
        pass
    return sent


class HalfAMessageTests(BadInputTestCase):
    """Half a message, and then nothing, an end, or a reset."""

    def stopped(self, proxy: Proxy) -> list[Client]:
        """Bring a client to each stage, and hear what it is told until then."""
        clients = []
        for stage in STAGES:
            client = self.client(proxy, stage)
            told = b""
            if len(stage) >= len(PASSWORD_GREETING):
                told += b"\x05\x02"
            if len(stage) >= len(PASSWORD_GREETING + LOGIN):
                told += b"\x01\x00"
            if stage[:3] != b"\x05\x02\x02":
                self.assertEqual(client.hear(len(told)), told, stage)
            clients.append(client)
        return clients

    @property
    def login(self) -> tuple[str, str]:
        """The option that asks for a password."""
        return "--auth", self.users("alice:s3cr3t")

    def test_silence(self) -> None:
        """Who says nothing more is closed when the time is up."""
        proxy = self.started(*self.login, "--negotiation-timeout", "1.5")
        for client, stage in zip(self.stopped(proxy), STAGES, strict=True):
            self.assertEqual(client.hearOut(), b"", stage)
            client.close()
        for record in proxy.waitRecords(len(STAGES)):
            self.assertIn("within 1.5 s", record["reason"])

    def test_trickle(self) -> None:
        """Who sends an octet now and then is closed, too: the time is for the whole."""
        proxy = self.started("--negotiation-timeout", "0.5")
        client = self.client(proxy, b"\x05\xff")
        client.settimeout(0.1)
        for _ in range(100):
            try:
                self.assertEqual(client.recv(1), b"")
            except TimeoutError:
                client.sendall(b"\x01")
            else:
                break
        else:
            self.fail("it is still listened to")
        client.close()

    def test_end(self) -> None:
        """Who ends its sending is closed at once."""
        proxy = self.started(*self.login)
        for client, stage in zip(self.stopped(proxy), STAGES, strict=True):
            self.assertEqual(client.finish().hearOut(), b"", stage)
            client.close()
        for record in proxy.waitRecords(len(STAGES)):
            self.assertIn("client closed", record["reason"])

    def test_reset(self) -> None:
        """Who resets is gone at once."""
        proxy = self.started(*self.login)
        for client in self.stopped(proxy):
            reset(client)
        for record in proxy.waitRecords(len(STAGES)):
            self.assertIn("client reset", record["reason"])


class LaterTests(BadInputTestCase):
    """The same after the request."""

    def test_resetWhileDialing(self) -> None:
        """A client that is gone while its target is dialled: the dial is given up."""
        proxy, deaf = self.started(), DeafTarget(self)
        client = self.client(proxy, GREETING + numbered("127.0.0.1", deaf.port))
        self.assertEqual(client.hear(2), b"\x05\x00")
        reset(client)
        (record,) = proxy.waitRecords(1)
        self.assertEqual((record["reply"], record["dialled"]), (None, None))
        self.assertEqual(record["reason"], "client reset during the request")

    def test_endWhileDialing(self) -> None:
        """A client that ends its sending while its target is dialled awaits the answer."""
        proxy, deaf = self.started("--dial-timeout", "0.5"), DeafTarget(self)
        client = self.client(proxy, GREETING + numbered("127.0.0.1", deaf.port))
        self.assertEqual(client.finish().hearOut()[:4], b"\x05\x00\x05\x06")
        client.close()
        (record,) = proxy.waitRecords(1)
        self.assertEqual(record["reply"], 6)
        self.assertIn("timed out", record["reason"])

    def test_floodWhileDialing(self) -> None:
        """What a client sends before its target has answered is kept, and there is a bound."""
        proxy, deaf = self.started("--dial-timeout", "2"), DeafTarget(self)
        client = self.client(proxy, GREETING + numbered("127.0.0.1", deaf.port))
        self.assertEqual(client.hear(2), b"\x05\x00")
        before = proxy.memory()
        sent = fill(client)
        self.assertLess(sent, 50_000_000)
        self.assertLess(proxy.memory() - before, 2_000_000)
        client.settimeout(20)
        self.assertEqual(client.hear(2), b"\x05\x06")
        client.close()

    def test_refusalUnread(self) -> None:
        """A refused client that goes on sending hears its refusal, and is not kept."""
        proxy = self.started()
        client = self.client(proxy, b"\x05\x01\x01" + b"x" * 1_000_000)
        self.assertEqual(client.hearOut(), b"\x05\xff")
        client.close()

    def test_clientReset(self) -> None:
        """A client's reset is the target's: what was cut must not look complete."""
        proxy, target = self.started(), Target(self)
        client = self.client(proxy).through(target.port)
        reached = target.accept()
        client.sendall(b"half of it")
        self.assertEqual(reached.recv(10, socket.MSG_WAITALL), b"half of it")
        reset(client)
        with self.assertRaises(ConnectionResetError):
            reached.recv(1)
        self.assertEqual(proxy.waitRecords(1)[0]["reason"], "client reset")

    def test_targetReset(self) -> None:
        """A target's reset is the client's, after what came before it."""
        proxy, target = self.started(), Target(self)
        client = self.client(proxy).through(target.port)
        reached = target.accept()
        reached.sendall(b"half of it")
        self.assertEqual(client.hear(10), b"half of it")
        reset(reached)
        with self.assertRaises(ConnectionResetError):
            client.hear(1)
        client.close()
        self.assertEqual(proxy.waitRecords(1)[0]["reason"], "target reset")

    def test_halfClosed(self) -> None:
        """Each side's end is passed on, and the other direction goes on."""
        proxy, target = self.started(), Target(self)
        client = self.client(proxy).through(target.port)
        reached = target.accept()
        reached.sendall(b"all I have")
        reached.shutdown(socket.SHUT_WR)
        self.assertEqual(client.hearOut(), b"all I have")
        client.sendall(b"still here")
        self.assertEqual(reached.recv(10, socket.MSG_WAITALL), b"still here")
        client.close()
        self.assertEqual(reached.recv(1), b"")
        reached.close()

    def test_notReading(self) -> None:
        """A client that does not read costs the proxy no more than a little memory."""
        proxy, target = self.started(), Target(self)
        client = self.client(proxy).through(target.port)
        reached = target.accept()
        before = proxy.memory()
        sent = fill(reached)
        self.assertLess(sent, 100_000_000)
        self.assertLess(proxy.memory() - before, 20_000_000)
        reached.close()
        got = 0
        while piece := client.recv(1 << 20):
            got += len(piece)
        self.assertEqual(got, sent)
        client.close()

    def test_idle(self) -> None:
        """A relay on which nothing moves is cut when its time is up, on both sides."""
        proxy, target = self.proxy("--idle-timeout", "0.5"), Target(self)
        client = Client(self, proxy).through(target.port)
        for side in (client, target.accept()):
            with self.assertRaises(ConnectionResetError):
                side.recv(1)
        self.assertEqual(proxy.stop()[0]["reason"], "idle for 0.5 s")
