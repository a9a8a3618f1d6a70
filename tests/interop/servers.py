"""
SOCKS servers of other people's, on free ports of 127.0.0.1: peers for our client.

None of them can be told to take any port and say which.  So a port is looked for that is free,
and if somebody else was faster the server is started again on another.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from tests.interop.origins import Cleaning
from tests.interop.programs import SECONDS, environment, find
from tests.interop.proxy import nssWrapper
from tests.interop.sshd import SSHServer

USER = "alice"
PASSWORD = "wonderl4nd"

_ATTEMPTS = 3


class Testing(Cleaning, Protocol):
    """A test case, as far as it is needed here."""

    def mktemp(self) -> str:
        """Name a file that does not exist yet."""


class Server:
    """
    A running server.

    @ivar port: where it listens, on 127.0.0.1.
    """

    def __init__(self, test: Testing) -> None:
        """
        @param test: it runs until this test ends.
        """
        self.directory = Path(test.mktemp()).absolute()
        # One that drops its privileges has to get in.
        self.directory.mkdir(mode=0o755)
        self._process: subprocess.Popen[bytes] | None = None
        test.addCleanup(self.stop)
        for _ in range(_ATTEMPTS):
            self.port = _freePort()
            command, env = self.command()
            with open(self.directory / "log", "ab") as log:
                self._process = subprocess.Popen(
                    command,
                    cwd=self.directory,
                    env=environment(env),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                )
            if self._listens(self._process):
                return
            self.stop()
        raise AssertionError(f"{type(self).__name__} does not start:\n{self.log}")

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Say what to run for it to listen on C{port}, and what is special about its variables."""
        raise NotImplementedError

    @property
    def log(self) -> str:
        """All that it has said."""
        return (self.directory / "log").read_text(encoding="utf-8", errors="replace")

    def stop(self) -> None:
        """End it."""
        process, self._process = self._process, None
        if process is not None:
            process.terminate()
            try:
                process.wait(SECONDS)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def _listens(self, process: subprocess.Popen[bytes]) -> bool:
        """Wait until it does; or it ends, or takes too long."""
        end = time.monotonic() + SECONDS
        while process.poll() is None and time.monotonic() < end:
            with suppress(OSError):
                socket.create_connection(("127.0.0.1", self.port), 1).close()
                return True
            # Nothing tells when somebody else's program begins to listen.
            time.sleep(0.02)
        return False


def _freePort() -> int:
    """Find a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class MicroSocks(Server):
    """microsocks, with or without a password."""

    def __init__(self, test: Testing, login: bool = False) -> None:
        """
        @param login: whether it wants a user name and password.
        """
        self._login = ("-u", USER, "-P", PASSWORD) if login else ()
        super().__init__(test)

    def command(self) -> tuple[list[str], dict[str, str]]:
        """All is on its command line."""
        program = find("microsocks", "microsocks")
        return [program, "-i", "127.0.0.1", "-p", str(self.port), *self._login], {}


_DANTE = """
logoutput: stdout
errorlog: stderr
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
clientmethod: none
socksmethod: {method}
{users}
client pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 command: connect bind udpassociate }}
socks pass {{ from: 0.0.0.0/0 to: 127.0.0.0/8 command: bindreply udpreply }}
"""

# Made by `openssl passwd -6`.
_HASH = (
    "$6$aPrS9mfpl1V.z8RE$"
    "s22IWsmUYLg5RuAHtZcfKrfZ64e4EMnWkGXGqXHk8d.4.LNSZ1rzlGf1G8OU2UtPYTkvQiKnKXiI/Dy9KhyiF."
)


class Dante(Server):
    """
    Dante's danted: CONNECT, BIND and UDP ASSOCIATE.

    Its users are the system's.  It is shown a system of the test's own, with one account.
    """

    def __init__(self, test: Testing, login: bool = False) -> None:
        """
        @param login: whether it wants a user name and password.
        """
        self._login = login
        super().__init__(test)

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Write its configuration, and the accounts."""
        privileged = os.getuid() == 0
        users = "user.privileged: root\nuser.unprivileged: nobody" if privileged else ""
        method = "username" if self._login else "none"
        configuration = self.directory / "configuration"
        configuration.write_text(_DANTE.format(port=self.port, method=method, users=users))
        (self.directory / "group").write_text("root:x:0:\nnogroup:x:65534:\n")
        (self.directory / "passwd").write_text(
            "root:x:0:0::/:/bin/false\n"
            "nobody:x:65534:65534::/:/bin/false\n"
            f"{USER}:x:4000:65534::/:/bin/false\n"
        )
        (self.directory / "shadow").write_text(f"{USER}:{_HASH}:20000:0:99999:7:::\n")
        own = {
            f"NSS_WRAPPER_{n.upper()}": str(self.directory / n)
            for n in ("passwd", "group", "shadow")
        }
        env = {"LD_PRELOAD": nssWrapper(), **own} if self._login else {}
        program = find("danted", "dante-server")
        return [program, "-f", str(configuration), "-p", str(self.directory / "pid")], env


class OpenSSH(Server):
    """C{ssh -D}, to a server of its own: connections go out from there."""

    def __init__(self, test: Testing) -> None:
        self._server = SSHServer(test, test.mktemp())
        super().__init__(test)

    def command(self) -> tuple[list[str], dict[str, str]]:
        """No command over there, and an error if it can't have the port."""
        dynamic = ("-N", "-D", f"127.0.0.1:{self.port}", "-o", "ExitOnForwardFailure=yes")
        program = find("ssh", "openssh-client")
        return [program, *dynamic, *self._server.options, "127.0.0.1"], {"SSH_AUTH_SOCK": ""}


_PPROXY = """
import asyncio
# It asks for a loop as was usual before Python 3.14.
asyncio.set_event_loop(asyncio.new_event_loop())
from pproxy.server import main
main()
"""


class PProxy(Server):
    """pproxy, on asyncio."""

    def __init__(self, test: Testing, login: bool = False) -> None:
        """
        @param login: whether it wants a user name and password.
        """
        self._login = f"#{USER}:{PASSWORD}" if login else ""
        super().__init__(test)

    def command(self) -> tuple[list[str], dict[str, str]]:
        """It takes URLs."""
        where = f"socks4+socks5://127.0.0.1:{self.port}{self._login}"
        return [sys.executable, "-c", _PPROXY, "-l", where], {}
