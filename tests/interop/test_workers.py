"""Several processes behind one port: what they share, and what becomes of it when one ends."""

from __future__ import annotations

import contextlib
import json
import os
import re
import select
import shutil
import signal
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.interop.client import GREETING, Client, numbered
from tests.interop.origins import EchoTarget, HTTPOrigin, content
from tests.interop.programs import SECONDS, find, ours, run
from tests.interop.proxy import Proxy, ProxyTestCase

LONG = ("--drain-timeout", "1000")
"""More than any test waits for."""


def names(pid: int) -> set[str]:
    """Name what a process has open."""
    found = set()
    for descriptor in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):
            found.add(os.readlink(descriptor))
    return found


class WorkersCase(ProxyTestCase):
    """A proxy of two workers."""

    def workers(self, *options: str) -> Proxy:
        """Start it, and wait until both are at work."""
        proxy = self.proxy("--workers", "2", *options)
        for number in (1, 2):
            proxy.output.waitFor(rf"\[worker {number}\] .* starting on")
        return proxy

    def pids(self, proxy: Proxy) -> dict[int, int]:
        """Find the process that each worker has by now."""
        found = re.findall(r"Worker (\d) is process (\d+)", proxy.output.text)
        return {int(number): int(pid) for number, pid in found}

    @contextlib.contextmanager
    def only(self, proxy: Proxy, number: int) -> Iterator[None]:
        """Have nobody but one worker do anything for a while."""
        others = [pid for other, pid in self.pids(proxy).items() if other != number]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    def oneEach(self, proxy: Proxy, port: int) -> dict[int, Client]:
        """Connect a client by way of each worker to a port."""
        found = {}
        for number in (1, 2):
            with self.only(proxy, number):
                found[number] = Client(self, proxy).through(port)
        return found

    def assertGone(self, *pids: int) -> None:
        """Assert that processes end, or have ended."""
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                handle = os.pidfd_open(pid)
                self.addCleanup(os.close, handle)
                self.assertTrue(select.select([handle], [], [], SECONDS)[0], f"{pid} is there")


class ServingTests(WorkersCase):
    """All is as with one process."""

    def test_curl(self) -> None:
        """curl gets what it asks for, from either of them; each session says which it was."""
        origin, proxy = HTTPOrigin(self), self.workers()
        url = f"http://127.0.0.1:{origin.port}/bytes/100000"
        curl = (find("curl", "curl"), "-sS", "--socks5", str(proxy), url, "-o", os.devnull)
        for number in (1, 2):
            with self.only(proxy, number):
                said = run(*curl, "-w", "%{size_download}")
            self.assertEqual((said.stdout, said.stderr), ("100000", ""))
        self.assertEqual({record["worker"] for record in proxy.stop()}, {1, 2})

    def test_inherited(self) -> None:
        """A worker has the port and its pipes, and nothing else of the supervisor's."""
        proxy = self.workers("--access-log", "access.log")
        ours = names(proxy.process.pid)
        for pid in self.pids(proxy).values():
            pipes = {os.readlink(f"/proc/{pid}/fd/{number}") for number in range(4)}
            shared = {name for name in names(pid) & ours if not name.startswith(("anon", "/dev/"))}
            self.assertTrue(pipes < shared)
            port, log = sorted(shared - pipes, reverse=True)
            self.assertEqual((port[:7], Path(log).name), ("socket:", "access.log"))

    def test_hidden(self) -> None:
        """What is on the command line is on no other one, and nothing is in the environment."""
        proxy = self.workers("--via", "socks5://alice:s3cr3t@127.0.0.1:9", "--auth", "anonymous")
        for pid in self.pids(proxy).values():
            self.assertNotIn(b"s3cr3t", Path(f"/proc/{pid}/cmdline").read_bytes())
            self.assertNotIn(b"s3cr3t", Path(f"/proc/{pid}/environ").read_bytes())

    def test_udp(self) -> None:
        """An association's datagrams go through the worker that has its connection."""
        proxy = self.workers()
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as echo:
            echo.bind(("127.0.0.1", 0))
            echo.settimeout(20)
            for number in (1, 2):
                with self.only(proxy, number):
                    control = Client(self, proxy, GREETING + numbered("0.0.0.0", 0, 3))
                    reply = (control.hear(2), control.hearReply())[1]
                self.assertEqual(reply[:4], b"\x05\x00\x00\x01")
                with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
                    one.settimeout(20)
                    header = b"\x00\x00\x00" + numbered(*echo.getsockname())[3:]
                    relay = ("127.0.0.1", int.from_bytes(reply[8:], "big"))
                    one.sendto(header + b"hello", relay)
                    said, peer = echo.recvfrom(100)
                    self.assertEqual(said, b"hello")
                    echo.sendto(b"there", peer)
                    self.assertEqual(one.recv(100), header + b"there")

    def test_bind(self) -> None:
        """So do those who come to a BIND's port."""
        proxy = self.workers()
        for number in (1, 2):
            with self.only(proxy, number):
                control = Client(self, proxy, GREETING + numbered("127.0.0.1", 9, 2))
                reply = (control.hear(2), control.hearReply())[1]
            self.assertEqual(reply[:4], b"\x05\x00\x00\x01")
            port = int.from_bytes(reply[8:], "big")
            with socket.create_connection(("127.0.0.1", port), 20) as peer:
                self.assertEqual(control.hearReply()[:2], b"\x05\x00")
                peer.sendall(b"hello")
                self.assertEqual(control.hear(5), b"hello")

    def test_own(self) -> None:
        """Each knows the port for the proxy's own: nobody from elsewhere gets there through it."""
        where = ("--listen", "haproxy:tcp:0:interface=127.0.0.1", "--auth", "anonymous")
        proxy = self.workers(*where, "--permit", "127.0.0.1")
        header, echo = b"PROXY TCP4 192.0.2.7 127.0.0.1 4000 1080\r\n", EchoTarget(self)
        for number in (1, 2):
            with self.only(proxy, number):
                # The rule permits any other port there.
                for port, reply in ((echo.port, b"\x05\x00"), (proxy.port, b"\x05\x02")):
                    client = Client(self, proxy, header + GREETING)
                    self.assertEqual(client.hear(2), b"\x05\x00")
                    client.say(numbered("127.0.0.1", port))
                    self.assertEqual(client.hearReply()[:2], reply)
                    client.close()

    def test_unix(self) -> None:
        """A Unix socket is shared, too; its file stays while a worker ends, and then goes."""
        directory = tempfile.mkdtemp()
        self.addCleanup(shutil.rmtree, directory)
        path = Path(directory) / "socket"
        where = ("--listen", "tcp:0:interface=127.0.0.1", "--listen", f"unix:{path}:mode=600")
        proxy = self.workers(*where)
        os.kill(self.pids(proxy)[1], signal.SIGTERM)
        # Early enough, it has no answer to the signal yet.
        proxy.output.waitFor(
            r"Worker 1: process \d+ ended (with status 0|by SIGTERM); starting it again at once"
        )
        self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        with socket.socket(socket.AF_UNIX) as local:
            local.settimeout(20)
            local.connect(str(path))
            local.sendall(GREETING)
            self.assertEqual(local.recv(2), b"\x05\x00")
        proxy.stop()
        self.assertFalse(path.exists())


class EndingTests(WorkersCase):
    """One ends, or all do."""

    def test_killed(self) -> None:
        """While one worker is killed, a transfer on the other goes on, and soon there are two."""
        echo, origin, proxy = EchoTarget(self), HTTPOrigin(self), self.workers()
        clients = self.oneEach(proxy, origin.port)
        size = 20_000_000
        clients[2].say(b"GET /bytes/%d HTTP/1.0\r\n\r\n" % size)
        begun = clients[2].hear(1_000_000)
        killed = self.pids(proxy)[1]
        os.kill(killed, signal.SIGKILL)
        with contextlib.suppress(ConnectionResetError):
            self.assertEqual(clients[1].hear(1), b"")
        proxy.output.waitFor(rf"Worker 1: process {killed} ended by SIGKILL; starting it .* once")
        whole = begun + clients[2].hearOut()
        self.assertTrue(whole.endswith(content(size)))
        proxy.output.waitFor(rf"Worker 1 is process (?!{killed}\b)")
        clients[2].close()
        for client in self.oneEach(proxy, echo.port).values():
            self.assertEqual(client.asks(b"hello"), b"hello")

    def test_drain(self) -> None:
        """SIGTERM: both go on with what they have, nobody else gets in, and then all is over."""
        echo, proxy = EchoTarget(self), self.workers(*LONG)
        clients = self.oneEach(proxy, echo.port)
        pids = self.pids(proxy)
        proxy.tell(signal.SIGTERM)
        for number in clients:
            proxy.output.waitFor(rf"\[worker {number}, .*Waiting up to 1000 s for 1 sessions")
        with self.assertRaises(ConnectionRefusedError):
            Client(self, proxy)
        for client in clients.values():
            self.assertEqual(client.asks(b"still here"), b"still here")
            self.assertEqual(client.finish().hearOut(), b"")
        records = proxy.ended(signal.SIGTERM)
        self.assertEqual(sum(one["sent"] for one in records), 20)
        self.assertNotIn("starting it again", proxy.output.text)
        self.assertGone(*pids.values())

    def test_twice(self) -> None:
        """A second signal cuts at once what is still there, in both."""
        echo, proxy = EchoTarget(self), self.workers(*LONG)
        clients = self.oneEach(proxy, echo.port)
        proxy.tell(signal.SIGINT)
        for number in clients:
            proxy.output.waitFor(rf"\[worker {number}, .*Waiting up to")
        proxy.tell(signal.SIGINT)
        for client in clients.values():
            with self.assertRaises(ConnectionResetError):
                client.hearOut()
        proxy.ended(signal.SIGINT)

    def test_everybody(self) -> None:
        """A signal to all of the processes is one to stop, not two: sessions get their time."""
        echo, proxy = EchoTarget(self), self.workers(*LONG)
        clients = self.oneEach(proxy, echo.port)
        for pid in self.pids(proxy).values():
            os.kill(pid, signal.SIGTERM)
        proxy.tell(signal.SIGTERM)
        for number in clients:
            proxy.output.waitFor(rf"\[worker {number}, .*Waiting up to")
        for client in clients.values():
            self.assertEqual(client.asks(b"still here"), b"still here")
            client.close()
        proxy.ended(signal.SIGTERM)

    def test_hangs(self) -> None:
        """A worker that does nothing any more is killed when its time is over."""
        proxy = self.workers("--drain-timeout", "0")
        os.kill(self.pids(proxy)[2], signal.SIGSTOP)
        proxy.tell(signal.SIGTERM)
        proxy.ended(signal.SIGTERM)
        self.assertIn("Worker 2 does not end: it is killed", proxy.output.text)

    def test_supervisorKilled(self) -> None:
        """Without a supervisor, workers stop as if they were told to; the port is free again."""
        echo, proxy = EchoTarget(self), self.workers("--drain-timeout", "0.5")
        clients = self.oneEach(proxy, echo.port)
        pids = self.pids(proxy)
        proxy.process.kill()
        for client in clients.values():
            with self.assertRaises(ConnectionResetError):
                client.hearOut()
        self.assertGone(*pids.values())
        proxy.wait()
        proxy._over = True
        with self.assertRaises(ConnectionRefusedError):
            Client(self, proxy)


class StartTests(WorkersCase):
    """What keeps them from starting."""

    def test_inUse(self) -> None:
        """A port in use is one line, and no worker is started."""
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            options = ("-n", "--pidfile=", "socks5", "--workers", "2", "--port", port)
            said = run(ours("twistd"), *options)
        self.assertEqual(said.returncode, 1)
        self.assertRegex(
            said.stderr, r"^twistd socks5: cannot listen on .*: Address already in use\n$"
        )
        self.assertNotIn("Worker", said.stdout)

    def test_unable(self) -> None:
        """One that can't start says why, and does not try without a pause."""
        users = self.users("alice:s3cr3t")
        proxy = self.workers("--auth", users)
        Path(users.partition(":")[2]).unlink()
        os.kill(self.pids(proxy)[1], signal.SIGKILL)
        proxy.output.waitFor(r"\[worker 1[],].*twistd socks5: .*No such file")
        proxy.output.waitFor(
            r"Worker 1: process \d+ ended with status 1; starting it again in 2 s"
        )

    def test_daemon(self) -> None:
        """As a daemon, too, there is one log and one end."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        options = ("--pidfile=pid", "--logfile=log", "socks5", "--port", "0", "--workers", "2")
        said = run(ours("twistd"), *options, cwd=place)
        self.assertEqual((said.returncode, said.stderr), (0, ""))
        handle = os.pidfd_open(int((place / "pid").read_text()))
        self.addCleanup(os.close, handle)
        try:
            log = (place / "log").read_text()
            port = int(re.findall(r"SOCKS5 proxy on 127\.0\.0\.1:([0-9]+)", log)[0])
            with socket.create_connection(("127.0.0.1", port), 20) as one:
                one.sendall(GREETING)
                self.assertEqual(one.recv(2), b"\x05\x00")
            signal.pidfd_send_signal(handle, signal.SIGTERM)
            self.assertTrue(select.select([handle], [], [], SECONDS)[0])
        finally:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
        log = (place / "log").read_text()
        self.assertRegex(
            log, r"\[worker [12], twisted_socks5.access#info\] client=.* worker=[12]\n"
        )
        self.assertNotIn("Traceback", log)
        self.assertGone(*(int(pid) for pid in re.findall(r"is process (\d+)", log)))


class LogTests(WorkersCase):
    """One log for the whole."""

    def session(self, proxy: Proxy) -> None:
        """Have a session, of no request."""
        Client(self, proxy, GREETING).finish().hearOut()

    def test_text(self) -> None:
        """On the standard output, an access line ends with the number of its worker."""
        options = ("--port", "0", "--workers", "2")
        proxy = Proxy(self.mktemp(), *options)
        self.addCleanup(proxy.stop)
        self.session(proxy)
        line = proxy.output.waitFor("client=127")
        self.assertRegex(
            line.string, r"^[-0-9T:+]+ \[twisted_socks5\.access#info\] client=.*\" worker=[12]$"
        )

    def test_json(self) -> None:
        """Where the log is JSON, an event has the worker's number as a field."""
        json_ = "--logger=twisted_socks5.logs.jsonObserver"
        command = ("twistd", "-n", "--pidfile=", json_, "socks5")
        proxy = Proxy(self.mktemp(), "--port", "0", "--workers", "2", command=command)
        self.addCleanup(proxy.stop)
        self.session(proxy)
        found = json.loads(proxy.output.waitFor('"client": "127').string)
        self.assertEqual(found["log_namespace"], "twisted_socks5.access")
        self.assertIn(found["worker"], (1, 2))
        self.assertEqual(found["reason"], "client closed during the negotiation")
        self.assertEqual(found["log_level"]["name"], "info")

    def test_file(self) -> None:
        """All append to one file, which all open anew when they are told to."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        log, before = place / "access.log", place / "access.log.1"
        echo = EchoTarget(self)
        proxy = self.workers("--access-log", str(log))
        for client in self.oneEach(proxy, echo.port).values():
            client.finish().hearOut()
        log.rename(before)
        proxy.tell(signal.SIGHUP)
        proxy.output.waitFor(r"\[worker 1, .*opened anew")
        proxy.output.waitFor(r"\[worker 2, .*opened anew")
        for client in self.oneEach(proxy, echo.port).values():
            client.finish().hearOut()
        proxy.stop()
        for path in (before, log):
            records = [json.loads(line) for line in path.read_text().splitlines()]
            self.assertEqual({record["worker"] for record in records}, {1, 2})
