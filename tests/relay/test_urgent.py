"""TCP's urgent octets, which splice(2) stops at: over real sockets."""

from __future__ import annotations

import socket
import threading
from typing import Any

from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.relay.proxy import LOOPBACK, Proxy
from twisted_socks5.relay.splice import PIPES

BEFORE, AFTER = b"b" * 3_000_000, b"a" * 1_000_000


class UrgentTests(TestCase):
    """A target that sends an urgent octet in the middle of a stream of bulk."""

    timeout = 60

    def setUp(self) -> None:
        """Take the real reactor, and no pipe of anybody else's."""
        from twisted.internet import reactor

        self.reactor: Any = reactor
        PIPES.close()
        self.addCleanup(PIPES.close)

    async def test_inTheMiddle(self) -> None:
        """It stays where it is in the stream, and nothing behind it is lost."""
        listening = socket.create_server((LOOPBACK, 0))
        self.addCleanup(listening.close)
        proxy = Proxy(self.reactor, listening.getsockname()[1], True)
        self.addCleanup(proxy.stop)

        def send() -> None:
            target, _ = listening.accept()
            with target:
                target.sendall(BEFORE)
                target.send(b"!", socket.MSG_OOB)
                target.sendall(AFTER)

        def receive() -> bytes:
            sending = threading.Thread(target=send)
            sending.start()
            with socket.create_connection((LOOPBACK, proxy.port), timeout=30) as client:
                received = b"".join(iter(lambda: client.recv(1 << 20), b""))
            sending.join()
            return received

        self.assertEqual(await deferToThread(receive), BEFORE + b"!" + AFTER)
