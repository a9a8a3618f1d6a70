"""
OpenSSH, with netcat and Ncat as its ProxyCommand.
"""

from __future__ import annotations

import shlex
import subprocess

from tests.interop.origins import content, digest
from tests.interop.programs import SECONDS, environment, find
from tests.interop.proxy import Proxy, ProxyTestCase
from tests.interop.sshd import SSHServer

SIZE = 5_000_000


class SSHTests(ProxyTestCase):
    """C{ssh -o ProxyCommand=…} to a server of its own."""

    def ssh(
        self, server: SSHServer, through: str, command: str, octets: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        """
        Run a command on the server.

        @param through: the ProxyCommand.
        @param octets: the command's standard input.
        """
        program = (find("ssh", "openssh-client"), "-o", f"ProxyCommand={through}")
        return subprocess.run(
            [*program, *server.options, "127.0.0.1", command],
            input=octets,
            capture_output=True,
            timeout=SECONDS,
            env=environment({"SSH_AUTH_SOCK": ""}),
        )

    def netcat(self, proxy: Proxy) -> str:
        """OpenBSD's netcat as the ProxyCommand, as ssh's own manual has it."""
        program = find("nc.openbsd", "netcat-openbsd")
        return f"{shlex.quote(program)} -X 5 -x {proxy} %h %p"

    def test_echo(self) -> None:
        """A command runs; the access line knows where."""
        server, proxy = SSHServer(self, self.mktemp()), self.proxy()
        said = self.ssh(server, self.netcat(proxy), "echo over there")
        self.assertEqual((said.returncode, said.stdout), (0, b"over there\n"), said.stderr)
        (record,) = proxy.stop()
        self.assertEqual(record["target"], f"127.0.0.1:{server.port}")

    def test_bulk(self) -> None:
        """5 MB go there and come back, at the same time, and each direction ends by itself."""
        server, proxy = SSHServer(self, self.mktemp()), self.proxy()
        said = self.ssh(server, self.netcat(proxy), "cat", content(SIZE))
        self.assertEqual(said.returncode, 0, said.stderr)
        self.assertEqual(digest(said.stdout), digest(content(SIZE)))
        (record,) = proxy.stop()
        self.assertGreater(min(record["sent"], record["received"]), SIZE)

    def test_status(self) -> None:
        """What a command ends with comes through."""
        server, proxy = SSHServer(self, self.mktemp()), self.proxy()
        said = self.ssh(server, self.netcat(proxy), "exit 42")
        self.assertEqual(said.returncode, 42, said.stderr)

    def test_password(self) -> None:
        """Ncat logs in at the proxy with a name and a password."""
        server = SSHServer(self, self.mktemp())
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"))
        ncat = f"{find('ncat', 'ncat')} --proxy-type socks5 --proxy {proxy} %h %p --proxy-auth "
        said = self.ssh(server, ncat + "alice:s3cr3t", "echo over there")
        self.assertEqual((said.returncode, said.stdout), (0, b"over there\n"), said.stderr)
        said = self.ssh(server, ncat + "alice:wrong", "echo over there")
        self.assertEqual((said.returncode, said.stdout), (255, b""))
        first, second = proxy.stop()
        self.assertEqual((first["user"], first["reply"]), ("alice", 0))
        self.assertEqual(second["reason"], "wrong user name or password")
