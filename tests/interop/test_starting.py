"""
How the process starts: what it says, or in which one line it says why it does not.
"""

from __future__ import annotations

import contextlib
import os
import re
import resource
import select
import shutil
import signal
import socket
import tempfile
from pathlib import Path

from tests.interop.client import Client
from tests.interop.origins import EchoTarget, closedPort
from tests.interop.programs import SECONDS, find, ours, run
from tests.interop.proxy import Proxy, ProxyTestCase

FOREGROUND = ("twistd", "-n", "--pidfile=", "socks5")


class StartFailureTests(ProxyTestCase):
    """Whatever keeps it from starting is one clear line, a status, and no traceback."""

    LOCAL = "tcp:0:interface=127.0.0.1"

    def fails(self, *options: str, command: tuple[str, ...] = FOREGROUND) -> str:
        """Start it in vain, and give the line that says why."""
        place = Path(self.mktemp())
        place.mkdir()
        said = run(ours(command[0]), *command[1:], *options, cwd=place)
        self.assertEqual(said.returncode, 1, said.stdout + said.stderr)
        self.assertNotIn("Traceback", said.stdout + said.stderr)
        # twist says it in its log as well, which is at the same place.
        lines = set(said.stderr.splitlines())
        self.assertEqual(len(lines), 1, said.stderr)
        self.assertEqual(list(place.iterdir()), [])
        return lines.pop()

    def busy(self) -> str:
        """Give a port that somebody else has."""
        return str(closedPort(self))

    def test_portInUse(self) -> None:
        """Somebody else has the port."""
        port = self.busy()
        for command in (FOREGROUND, ("twist", "socks5")):
            line = self.fails("--port", port, command=command)
            self.assertIn(f"127.0.0.1:{port}: Address already in use", line)

    def test_reachable(self) -> None:
        """To be reached from elsewhere it must be said who may use it, and the line says how."""
        for where in (
            ("--port", "0", "--interface", "0.0.0.0"),
            ("--listen", self.LOCAL, "--listen", "tcp:0:interface=\\:\\:"),
            # Whoever comes through a load balancer on this host does not come from here.
            ("--listen", f"haproxy:{self.LOCAL}"),
        ):
            line = self.fails(*where)
            self.assertIn("from elsewhere", line)
            self.assertIn("--auth htpasswd:", line)
            self.assertIn("socks5-users makes that file", line)
            self.assertIn("--auth anonymous", line)

    def test_options(self) -> None:
        """Options that are wrong, and what their line names."""
        for options, named in (
            (("--bogus",), "--bogus"),
            (("--port", "http"), "--port takes .*'http'"),
            (("--access-log", "/nowhere/log"), "--access-log /nowhere/log: No such file"),
            (("--permit", "10.0.0.0/99"), "10.0.0.0/99"),
            (("--interface", "203.0.113.9"), "203.0.113.9:.*Cannot assign"),
            (("--listen", "nothing:0"), "--listen nothing:0: .*'nothing'"),
            # Where one endpoint cannot be had none is served.
            (("--listen", self.LOCAL, "--listen", "unix:/nowhere/socket"), "/nowhere/socket"),
        ):
            self.assertRegex(self.fails(*options), named)

    def test_noEffect(self) -> None:
        """Options that contradict each other, also where a value is the default."""
        line = self.fails("--listen", self.LOCAL, "--port", "1080")
        self.assertRegex(line, "--listen .*--port")
        limits = ("--max-connections", "10", "--max-connections-per-client", "20")
        self.assertIn("cannot take effect", self.fails(*limits))

    def test_passwordFile(self) -> None:
        """Password files that nobody could log in by; what is in them is not said."""
        path = Path(self.mktemp()).absolute()
        self.assertIn("No such file", self.fails("--auth", f"file:{path}"))
        path.write_text("alice:$6$salt$Zm9vYmFy\n")
        line = self.fails("--auth", f"file:{path}")
        self.assertIn("line 1: a hash", line)
        self.assertNotIn("Zm9v", line)

    def test_unreadable(self) -> None:
        """A file that is there, but not for us."""
        path = Path(self.mktemp()).absolute()
        path.write_text("alice:secret\n")
        path.chmod(0)
        command = [ours("twistd"), "-n", "--pidfile=", "socks5", "--auth", f"file:{path}"]
        if os.getuid() == 0:
            # Root may read everything; without that privilege it is like everybody else.
            drop = ("--bounding-set=-dac_override,-dac_read_search", "--inh-caps=-all")
            command = [find("setpriv", "util-linux"), *drop, *command]
        said = run(*command)
        self.assertEqual(said.returncode, 1, said.stdout)
        self.assertRegex(said.stderr, r"^twistd socks5: .*Permission denied\n$")

    def test_descriptors(self) -> None:
        """More connections than there can be descriptors for."""
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        line = self.fails("--max-connections", str(hard))
        self.assertIn(f"--max-connections {hard} needs more file descriptors", line)
        self.assertIn("ulimit -n", line)

    def test_daemon(self) -> None:
        """As a daemon, too, it tells who started it, and leaves no pid file."""
        place = Path(self.mktemp())
        place.mkdir()
        daemon = ("--pidfile=pid", "--logfile=log", "socks5", "--port")
        port = self.busy()
        said = run(ours("twistd"), *daemon, port, cwd=place)
        self.assertEqual(said.returncode, 1, said.stderr)
        self.assertIn("cannot listen on 127.0.0.1", said.stderr)
        log = (place / "log").read_text()
        self.assertNotIn("Traceback", said.stderr + log)
        self.assertEqual(log.count("Address already in use"), 1, log)
        # Its parent ends with its word that it fails; it tidies up after that.
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            handle = os.pidfd_open(int((place / "pid").read_text()))
            self.addCleanup(os.close, handle)
            select.select([handle], [], [], SECONDS)
        self.assertFalse((place / "pid").exists())
        said = run(ours("twistd"), *daemon, "http", cwd=place)
        self.assertEqual((said.returncode, len(said.stderr.splitlines())), (1, 1), said.stderr)


class StartTests(ProxyTestCase):
    """Where it listens, and what it says of that."""

    def says(self, proxy: Proxy, pattern: str) -> None:
        """See what it says at the start, and that it then is at work."""
        proxy.output.waitFor(pattern)
        self.assertEqual(Client(self, proxy, b"\x05\x02\x00\x02").hear(1), b"\x05")

    def test_local(self) -> None:
        """By default this host's programs, and nobody else, may use it."""
        proxy = self.proxy()
        self.assertEqual(proxy.host, "127.0.0.1")
        self.says(proxy, rf"SOCKS5 proxy on {re.escape(str(proxy))}, .*this host")

    def test_users(self) -> None:
        """With a password file it says that users log in, and does not name them."""
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"))
        self.says(proxy, "SOCKS5 proxy on .*users who log in")
        self.assertNotIn("alice", proxy.output.text)

    def test_anonymous(self) -> None:
        """Who wants an open proxy says so, and it says so."""
        anybody = ("--interface", "0.0.0.0", "--auth", "anonymous")
        proxy = self.proxy(*anybody, "--deny", "*")
        self.says(proxy, "SOCKS5 proxy on .*anybody who can reach it")

    def test_several(self) -> None:
        """Several endpoints are served alike, and each is named."""
        # The path of a Unix socket has room for 107 octets only.
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        place, echo = f"{directory}/socket", EchoTarget(self)
        four, six = "tcp:0:interface=127.0.0.1", "tcp:0:interface=\\:\\:1"
        proxy = self.proxy("--listen", four, "--listen", six, "--listen", f"unix:{place}")
        found = proxy.output.waitFor(r"SOCKS5 proxy on \[::1\]:([0-9]+)")
        proxy.output.waitFor(f"SOCKS5 proxy on {re.escape(place)}")
        Client(self, proxy).through(echo.port)
        proxy.host, proxy.port = "::1", int(found[1])
        Client(self, proxy).through(echo.port)
        with socket.socket(socket.AF_UNIX) as local:
            local.settimeout(10)
            local.connect(place)
            local.sendall(b"\x05\x01\x00")
            self.assertEqual(local.recv(2), b"\x05\x00")

    def test_twist(self) -> None:
        """C{twist socks5} is the same."""
        echo = EchoTarget(self)
        command = ("twist", "--log-format=text", "socks5")
        proxy = Proxy(self.mktemp(), "--port", "0", command=command)
        self.addCleanup(proxy.stop)
        self.assertEqual(Client(self, proxy).through(echo.port).asks(b"hello"), b"hello")
        proxy.output.waitFor("SOCKS5 proxy on .*this host")

    def test_daemon(self) -> None:
        """As a daemon it serves after its parent has ended with 0, and SIGTERM ends it."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        daemon = ("--pidfile=pid", "--logfile=log", "socks5", "--port", "0")
        said = run(ours("twistd"), *daemon, cwd=place)
        self.assertEqual((said.returncode, said.stderr), (0, ""))
        pid = int((place / "pid").read_text())
        handle = os.pidfd_open(pid)
        self.addCleanup(os.close, handle)
        ended = False
        try:
            log = (place / "log").read_text()
            port = re.search(r"SOCKS5 proxy on 127\.0\.0\.1:([0-9]+)", log)
            self.assertIsNotNone(port, log)
            with socket.create_connection(("127.0.0.1", int(port[1] if port else 0)), 10) as one:
                one.sendall(b"\x05\x01\x00")
                self.assertEqual(one.recv(2), b"\x05\x00")
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            ended = bool(select.select([handle], [], [], SECONDS)[0])
            self.assertTrue(ended, (place / "log").read_text())
        finally:
            if not ended:
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        self.assertFalse((place / "pid").exists())
        log = (place / "log").read_text()
        self.assertIn("client closed during the negotiation", log)
        self.assertNotIn("Traceback", log)
