"""
How the process starts: what it says, or in which one line it says why it does not.
"""

from __future__ import annotations

import os
import re
import resource
import select
import signal
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.client import Client
from tests.interop.origins import EchoTarget, closedPort
from tests.interop.programs import SECONDS, find, ours, run
from tests.interop.proxy import Proxy, ProxyTestCase

FOREGROUND = ("twistd", "-n", "--pidfile=", "socks5")


class StartFailureTests(ProxyTestCase):
    """Whatever keeps it from starting is one clear line, a status, and no traceback."""

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
            ("--port", "0", "--interface", "::"),
            ("--listen", "tcp:0"),
            ("--listen", "tcp:0:interface=127.0.0.1", "--listen", "tcp6:0"[:3] + ":0"),
        ):
            line = self.fails(*where)
            self.assertIn("can be reached from elsewhere", line)
            self.assertIn("--auth file:", line)
            self.assertIn("name:password", line)
            self.assertIn("--auth anonymous", line)

    def test_options(self) -> None:
        """Options that are wrong, and what their line names."""
        for options, named in (
            (("--bogus",), "--bogus"),
            (("extra",), "number of arguments"),
            (("--port",), "--port"),
            (("--port", "http"), "--port takes .*'http'"),
            (("--port", "65536"), "--port takes .*'65536'"),
            (("--idle-timeout", "long"), "--idle-timeout takes .*'long'"),
            (("--drain-timeout", "-1"), "--drain-timeout takes .*'-1'"),
            (("--max-connections", "1e3"), "--max-connections takes .*'1e3'"),
            (("--access-log-format", "xml"), "--access-log-format .*xml"),
            (("--access-log", "/nowhere/log"), "--access-log /nowhere/log: No such file"),
            (("--permit", "10.0.0.0/99"), "10.0.0.0/99"),
            (("--deny", "a b"), "a b"),
            (("--interface", "203.0.113.9"), "203.0.113.9:.*Cannot assign"),
            (("--listen", "nothing:0"), "--listen nothing:0: .*'nothing'"),
            (("--listen", "tcp:http"), "--listen tcp:http"),
            (("--listen", "unix:/nowhere/socket"), "/nowhere/socket"),
        ):
            self.assertRegex(self.fails(*options), named)

    def test_noEffect(self) -> None:
        """Options that contradict each other, also where a value is the default."""
        listen = ("--listen", "tcp:0:interface=127.0.0.1")
        self.assertRegex(self.fails(*listen, "--port", "1080"), "--listen .*--port")
        self.assertRegex(self.fails(*listen, "--interface", "127.0.0.1"), "--interface")
        limits = ("--max-connections", "10", "--max-connections-per-client", "20")
        self.assertIn("cannot take effect", self.fails(*limits))

    def test_passwordFile(self) -> None:
        """Password files that nobody could log in by; what is in them is not said."""
        path = Path(self.mktemp()).absolute()
        self.assertIn("No such file", self.fails("--auth", f"file:{path}"))
        path.mkdir()
        self.assertIn("not a regular file", self.fails("--auth", f"file:{path}"))
        path.rmdir()
        path.write_text("")
        self.assertIn("no line of the form", self.fails("--auth", f"file:{path}"))
        path.write_text("alice:$6$salt$Zm9vYmFy\n")
        line = self.fails("--auth", f"file:{path}")
        self.assertIn("line 1: a hash", line)
        self.assertNotIn("Zm9v", line)
        self.assertIn("bogus", self.fails("--auth", "bogus:x"))

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
        self.assertFalse((place / "pid").exists())
        said = run(ours("twistd"), *daemon, "http", cwd=place)
        self.assertEqual((said.returncode, len(said.stderr.splitlines())), (1, 1), said.stderr)


class StartTests(ProxyTestCase):
    """Where it listens, and what it says of that."""

    def test_local(self) -> None:
        """By default this host's programs, and nobody else, may use it."""
        proxy = self.proxy()
        self.assertEqual(proxy.host, "127.0.0.1")
        proxy.output.waitFor(rf"SOCKS5 proxy on {re.escape(str(proxy))}, .*this host")

    def test_users(self) -> None:
        """With a password file it says that users log in, and does not name them."""
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"))
        proxy.output.waitFor("SOCKS5 proxy on .*users who log in")
        self.assertNotIn("alice", proxy.output.text)

    def test_anonymous(self) -> None:
        """Who wants an open proxy says so, and it says so."""
        proxy = self.proxy("--interface", "0.0.0.0", "--auth", "anonymous")
        proxy.output.waitFor("SOCKS5 proxy on .*anybody who can reach it")

    def test_several(self) -> None:
        """Several endpoints are served alike, and each is named."""
        path = Path(self.mktemp()).absolute().relative_to(Path.cwd())
        echo = EchoTarget(self)
        place = Path.cwd() / path
        four, six = "tcp:0:interface=127.0.0.1", "tcp:0:interface=\\:\\:1"
        proxy = self.proxy("--listen", four, "--listen", six, "--listen", f"unix:{place}")
        found = proxy.output.waitFor(r"SOCKS5 proxy on \[::1\]:([0-9]+)")
        proxy.output.waitFor(f"SOCKS5 proxy on {re.escape(str(place))}")
        Client(self, proxy).through(echo.port)
        proxy.host, proxy.port = "::1", int(found[1])
        Client(self, proxy).through(echo.port)
        with socket.socket(socket.AF_UNIX) as local:
            local.settimeout(10)
            local.connect(str(place))
            local.sendall(b"\x05\x01\x00")
            self.assertEqual(local.recv(2), b"\x05\x00")

    def test_allOrNone(self) -> None:
        """Where one endpoint cannot be had none is served."""
        command = (*FOREGROUND, "--listen", "tcp:0:interface=127.0.0.1")
        with self.assertRaises(AssertionError) as caught:
            Proxy(self.mktemp(), "--listen", "unix:/nowhere/at/all", command=command).kill()
        self.assertIn("/nowhere/at/all", str(caught.exception))

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


class HelpTests(SynchronousTestCase):
    """What it tells of itself."""

    OPTIONS = (
        *("port", "interface", "listen", "auth", "help-auth", "permit", "deny"),
        *("negotiation-timeout", "lookup-timeout", "dial-timeout", "idle-timeout"),
        *("half-closed-timeout", "drain-timeout", "max-connections"),
        *("max-connections-per-client", "access-log", "access-log-format", "version"),
    )

    def test_help(self) -> None:
        """Every option, what it means when it is not given, and examples."""
        said = run(ours("twistd"), "socks5", "--help")
        self.assertEqual((said.returncode, said.stderr), (0, ""))
        for option in self.OPTIONS:
            self.assertRegex(said.stdout, rf"(?m)^ +(-\w, )?--{option}[ =]")
        self.assertIn("[default: 1080]", said.stdout)
        self.assertIn("[default: 127.0.0.1]", said.stdout)
        self.assertIn("Examples:", said.stdout)
        self.assertGreaterEqual(said.stdout.count("twistd -n socks5 "), 5)
        self.assertEqual([line for line in said.stdout.splitlines() if len(line) > 100], [])

    def test_examples(self) -> None:
        """No option of the examples is unknown."""
        text = run(ours("twistd"), "socks5", "--help").stdout.partition("Examples:")[2]
        self.assertLessEqual(set(re.findall(r"--([a-z-]+)", text)), set(self.OPTIONS))

    def test_helpAuth(self) -> None:
        """The ways to say who may use it."""
        said = run(ours("twistd"), "socks5", "--help-auth")
        self.assertEqual(said.returncode, 0)
        for kind in ("anonymous", "file", "memory"):
            self.assertRegex(said.stdout, rf"(?m)^ +{kind} ")

    def test_version(self) -> None:
        """Its own version and not twistd's."""
        said = run(ours("twistd"), "socks5", "--version")
        self.assertRegex(said.stdout, r"^twisted-socks5 [0-9]+\.[0-9]+")

    def test_zsh(self) -> None:
        """What zsh is given to complete by is good zsh and has every option."""
        said = run(ours("twistd"), "socks5", "-", "--_shell-completion", "zsh:3")
        self.assertEqual((said.returncode, said.stderr), (0, ""))
        script = Path(self.mktemp())
        script.write_text(said.stdout)
        checked = run(find("zsh", "zsh"), "-n", script)
        self.assertEqual((checked.returncode, checked.stderr), (0, ""))
        for option in self.OPTIONS:
            self.assertRegex(said.stdout, rf"--{option}[=\[]")
        self.assertIn("(text json)", said.stdout)
