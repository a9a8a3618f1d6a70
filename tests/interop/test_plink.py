"""PuTTY's plink, the one client that speaks CHAP."""

from __future__ import annotations

import socket
from pathlib import Path
from textwrap import dedent

from tests.interop.origins import ServingTarget
from tests.interop.programs import find, run
from tests.interop.proxy import Proxy, ProxyTestCase


class GreetingTarget(ServingTarget):
    """Speaks first, and ends."""

    def serve(self, connection: socket.socket) -> None:
        """Greet."""
        connection.sendall(b"welcome, whoever you are\n")


class PlinkTests(ProxyTestCase):
    """plink, as a bare connection through the proxy."""

    def fetch(self, proxy: Proxy, password: str) -> tuple[int, str]:
        """Be greeted by somebody, and return plink's status and what it said."""
        target = GreetingTarget(self)
        home = Path(self.mktemp()).absolute()
        sessions = home / ".putty" / "sessions"
        sessions.mkdir(parents=True)
        (sessions / "through").write_text(
            dedent(
                f"""\
                Protocol=raw
                HostName=127.0.0.1
                PortNumber={target.port}
                ProxyMethod=2
                ProxyHost={proxy.host}
                ProxyPort={proxy.port}
                ProxyUsername=alice
                ProxyPassword={password}
                ProxyLocalhost=1
                """
            )
        )
        said = run(
            find("plink", "putty-tools"),
            "-batch",
            "-load",
            "through",
            env={"HOME": str(home)},
        )
        return said.returncode, said.stdout + said.stderr

    def test_chap(self) -> None:
        """Who knows the password gets what it asks for, without ever saying it."""
        proxy = self.proxy("--auth", "memory:alice:s3cr3t")
        _, said = self.fetch(proxy, "s3cr3t")
        self.assertIn("welcome, whoever", said)
        (record,) = proxy.stop()
        self.assertEqual((record["user"], record["method"], record["reply"]), ("alice", "chap", 0))

    def test_wrong(self) -> None:
        """Who does not is told so."""
        proxy = self.proxy("--auth", "memory:alice:s3cr3t")
        status, said = self.fetch(proxy, "guess")
        self.assertNotEqual(status, 0)
        self.assertIn("CHAP", said)
        (record,) = proxy.stop()
        self.assertEqual(
            (record["method"], record["reason"]), ("chap", "wrong user name or password")
        )
