"""C{--workers}: what the supervisor does itself, and what it has its workers do."""

from __future__ import annotations

import io
import json
import os
import signal
import sys
from pathlib import Path
from typing import IO, Any, cast

from tests.server.base import GREETED, GREETING, request
from tests.test_tap import TWISTD, TapCase
from tests.tls.authority import theProxy
from tests.workers.processes import Process, Processes
from twisted_socks5 import options, processes, tap
from twisted_socks5.config import Settings
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.logs import AccessRecord, FileAccessLog
from twisted_socks5.relay.splice import MAX_PIPES, PIPES
from twisted_socks5.testing import MemoryReactor
from twisted_socks5.workers import Job

HERE = "127.0.0.1"


class Reactor(Processes, MemoryReactor):
    """Has a network and processes, in memory."""


class WorkersCase(TapCase):
    """Makes supervisors, and their workers."""

    def setUp(self) -> None:
        """Have a reactor with processes."""
        super().setUp()
        self.reactor: Any = Reactor()

    def start(self, *arguments: str, parent: dict[str, Any] | None = None) -> Any:
        """Start a supervisor of two."""
        made = self.make("--workers", "2", *arguments, parent=parent)
        made.privilegedStartService()
        made.startService()
        return made

    def stop(self, made: Any) -> None:
        """Stop it, and assert that nothing is left."""
        stopped = made.stopService()
        for process in self.reactor.started:
            if process.pid is not None:
                process.ends()
        self.reactor.advance(0)
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.leftOver(), [])

    def work(self, process: Process, **changes: Any) -> Any:
        """Make the service that a process was told to run, on ports of its own."""
        job = Job.parse({**process.job, **changes})
        self.assertEqual(job.make, "twisted_socks5.tap.makeWorker")
        made = tap.makeWorker(job, self.reactor)
        self.closing(made)
        return made


class OptionTests(WorkersCase):
    """How many there are, and what each of them may have."""

    def test_count(self) -> None:
        """A number, or as many as there are processors."""
        self.assertEqual(self.parse()["workers"], 1)
        self.assertEqual(self.parse("--workers", "3")["workers"], 3)
        self.patch(os, "sched_getaffinity", lambda _: {0, 2, 5})
        self.assertEqual(self.parse("--workers", "auto")["workers"], 3)

    def test_countElsewhere(self) -> None:
        """Where nobody says which processors one may use, all count."""
        self.patch(options, "os", type("os", (), {"cpu_count": staticmethod(lambda: 6)}))
        self.assertEqual(self.parse("--workers", "auto")["workers"], 6)
        self.patch(options, "os", type("os", (), {"cpu_count": staticmethod(lambda: None)}))
        self.assertEqual(self.parse("--workers", "auto")["workers"], 1)

    def test_wrong(self) -> None:
        """Anything else is refused."""
        for value in ("0", "-1", "two", "1025", ""):
            line = self.wrong("--workers", value)
            self.assertIn("--workers takes a number from 1 to 1024, or auto", line)

    def test_one(self) -> None:
        """One is no supervisor."""
        self.assertIs(type(self.make("--workers", "1")), processes.Proxy)

    def test_shares(self) -> None:
        """Each has its share of the connections; what is per client is for each."""
        # 500 are what the descriptors of one process are enough for.
        for given, total, each in (
            ((), 500, 2048),
            (("--max-connections", "0"), 500, 2048),
            (("--max-connections", "300"), 150, 2048),
            (("--max-connections", "301"), 150, 2048),
            (("--max-connections", "900", "--max-connections-per-client", "7"), 450, 7),
        ):
            settings = tap._settings(self.parse("--workers", "2", *given))
            self.assertEqual(
                (settings.max_connections, settings.max_connections_per_client), (total, each)
            )
        settings = tap._settings(self.parse("--workers", "64"))
        self.assertEqual(settings.max_connections, Settings.max_connections // 64)

    def test_tooMany(self) -> None:
        """More than they can have, or less than one for each."""
        self.assertIn("enough for 1000", self.wrong("--workers", "2", "--max-connections", "1001"))
        line = self.wrong("--workers", "4", "--max-connections", "3")
        self.assertIn("--max-connections 3 is not even one for each of 4 workers", line)
        limits = ("--max-connections", "40", "--max-connections-per-client", "11")
        line = self.wrong("--workers", "4", *limits)
        self.assertIn("there can be 10 connections in each of 4 workers", line)

    def test_pipes(self) -> None:
        """Pipes are the user's, so the workers have a share of those."""
        self.patch(tap, "raiseDescriptorLimit", lambda: 1 << 20)
        self.make("--workers", "4")
        self.assertEqual(PIPES.limit, MAX_PIPES // 4)

    def test_chroot(self) -> None:
        """In a chroot there is nothing to start a worker with."""
        made = self.parse("--workers", "2", parent={**TWISTD, "chroot": "/nowhere"})
        error = self.assertRaises(ConfigurationError, tap._makeService, made, self.reactor)
        self.assertIn("--chroot", str(error))


class SupervisorTests(WorkersCase):
    """The process that opens the ports."""

    def test_start(self) -> None:
        """It opens all ports once, and accepts nobody; then it starts the workers."""
        ports = [f"tcp:{port}:interface={HERE}" for port in (1080, 1081)]
        made = self.make("--workers", "2", "--listen", ports[0], "--listen", ports[1])
        made.privilegedStartService()
        self.assertEqual(len(self.reactor.listeners()), 2)
        self.assertEqual(self.reactor.started, [])
        made.startService()
        self.assertEqual(len(self.reactor.started), 2)
        self.assertEqual(self.say(GREETING).received, b"")
        ours = [port.fileno() for port in made.ports]
        for number, process in enumerate(self.reactor.started, 1):
            self.assertEqual(list(process.inherited.values()), ours)
            self.assertEqual(process.job["number"], number)
            self.assertEqual(process.job["descriptors"], {"ports": [4, 5], "access log": []})
            self.assertEqual(process.job["reactor"], Reactor.__module__)
        self.stop(made)

    def test_arguments(self) -> None:
        """Workers are told the same command line."""
        arguments = ("--port", "1090", "--permit", "10.0.0.0/8")
        made = self.start(*arguments)
        for process in self.reactor.started:
            self.assertEqual(process.job["arguments"], ["--workers", "2", *arguments])
        self.stop(made)

    def test_mayNot(self) -> None:
        """Where one process may not listen, none of several does."""
        made = self.make("--workers", "2", "--interface", "0.0.0.0")
        error = self.assertRaises(processes.StartFailure, made.privilegedStartService)
        self.assertIn("can be reached from elsewhere", str(error))
        self.reactor.advance(0)
        self.assertEqual((self.reactor.listeners(), self.reactor.started), ([], []))

    def test_keyGoesAway(self) -> None:
        """What workers must read is read once more when privileges have been given up."""
        identity, path = theProxy(), Path(self.mktemp()).absolute()
        path.write_bytes(identity.keyPEM + identity.pem)
        where = f"ssl:1081:privateKey={path}:certKey={path}:interface={HERE}"
        made = self.make("--workers", "2", "--listen", where)
        made.privilegedStartService()
        path.unlink()
        self.assertRaises(processes.StartFailure, made.startService)
        self.assertIn(f"'{path}' cannot be read", self.stderr.getvalue())
        self.assertEqual(self.reactor.started, [])

    def test_notShared(self) -> None:
        """A port that is no socket of ours can't be shared; none stays open."""
        made = self.make("--workers", "2")
        other = self.reactor.listenTCP(1085, made.factory, interface=HERE)
        made._listening(other)
        error = self.assertRaises(processes.StartFailure, made.privilegedStartService)
        self.assertIn("that several processes cannot share", str(error))
        self.reactor.advance(0)
        self.assertEqual(self.reactor.listeners(), [])

    def test_signals(self) -> None:
        """The first signal is a drain of all, the second cuts, SIGHUP has files opened anew."""
        made = self.start("--drain-timeout", "7")
        self.signals.raise_(signal.SIGHUP)
        self.reactor.advance(0)
        stopped = made.stopService()
        self.reactor.advance(0)
        self.signals.raise_(signal.SIGTERM)
        self.reactor.advance(0)
        for process in self.reactor.started:
            self.assertEqual(process.orders, ["reopen", "stop", "cut"])
        self.assertEqual(self.reactor.listeners(), [])
        self.assertNoResult(stopped)
        self.stop_(stopped)

    def stop_(self, stopped: Any) -> None:
        """Have the processes end."""
        for process in self.reactor.started:
            process.ends()
        self.successResultOf(stopped)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_drain(self) -> None:
        """Who is not gone when the drain is over is killed soon after."""
        made = self.start("--drain-timeout", "7")
        stopped = made.stopService()
        self.reactor.advance(7)
        self.assertEqual([one.signals for one in self.reactor.started], [[], []])
        self.reactor.advance(60)
        self.assertEqual([one.signals for one in self.reactor.started], [["KILL"], ["KILL"]])
        self.stop_(stopped)

    def test_accessLog(self) -> None:
        """It has the file of the access log open for the workers, after a rotation the new one."""
        path = Path(self.mktemp())
        made = self.start("--access-log", str(path))
        before = self.inherits(0)
        path.rename(f"{path}.1")
        self.signals.raise_(signal.SIGHUP)
        self.reactor.advance(0)
        self.reactor.started[0].ends(1)
        self.reactor.advance(0)
        self.assertEqual(os.fstat(self.inherits(2)).st_ino, path.stat().st_ino)
        self.assertNotEqual(before, -1)
        self.stop(made)

    def inherits(self, number: int) -> int:
        """Name our descriptor that a process inherits as its access log."""
        process = self.reactor.started[number]
        (theirs,) = process.job["descriptors"]["access log"]
        return cast(int, process.inherited[theirs])

    def test_output(self) -> None:
        """Where it logs to the standard output itself, workers' lines go there as they are."""
        output = io.StringIO()
        self.patch(sys, "stdout", output)
        made = self.start(parent=TWISTD)
        self.assertTrue(self.reactor.started[0].job["toOutput"])
        self.reactor.started[0].says(b"line\n", 1)
        self.assertEqual(output.getvalue(), "line\n")
        self.stop(made)
        made = self.start()
        self.assertFalse(self.reactor.started[-1].job["toOutput"])
        self.stop(made)


class WorkerTests(WorkersCase):
    """A process that serves."""

    def setUp(self) -> None:
        """Have a supervisor, and what it tells its workers."""
        super().setUp()
        self.output: list[str] = []
        self.patch(tap, "Pipe", self.pipe)
        self.patch(tap, "InheritedPorts", lambda reactor, _: reactor)

    def pipe(self, descriptor: int) -> IO[str]:
        """Note what is written into a pipe, and which."""

        class Noting(io.StringIO):
            """Notes it."""

            def write(_, text: str) -> int:
                """Note it."""
                self.output.append(f"{descriptor} {text}")
                return len(text)

        return Noting()

    def process(self, *arguments: str, parent: dict[str, Any] | None = None) -> Process:
        """Start a supervisor, take a worker's job, and stop it."""
        made = self.start(*arguments, parent=parent)
        self.stop(made)
        process: Process = self.reactor.started[-1]
        self.assertEqual(process.job["number"], 2)
        return process

    def test_serves(self) -> None:
        """It serves, knows its port for its own, and does not say what has been said."""
        made = self.work(self.process())
        self.assertEqual(made.factory.settings.max_connections, 500)
        made.startService()
        self.assertEqual(self.say(GREETING).received, GREETED)
        self.assertEqual(made.factory.listeningPorts, {1080})
        stopped = made.stopService()
        self.reactor.advance(1)
        self.successResultOf(stopped)

    def test_auto(self) -> None:
        """There are as many as the supervisor has counted."""
        process = self.process("--max-connections", "800")
        self.assertEqual(self.work(process, workers=4).factory.settings.max_connections, 200)

    def test_signals(self) -> None:
        """A second signal, of whatever kind, is none: the supervisor knows which is which."""
        made = self.work(self.process())
        made.startService()
        self.signals.tells.clear()
        made.stopService()
        self.assertEqual(self.signals.tells, {})

    def test_wrong(self) -> None:
        """What only a worker finds wrong is one line, too."""
        path = Path(self.mktemp()).absolute()
        path.write_text("alice:s3cr3t\n")
        process = self.process("--auth", f"file:{path}")
        path.unlink()
        error = self.assertRaises(SystemExit, self.work, process)
        self.assertRegex(str(error), "^twistd socks5: .*No such file")

    def lines(self, process: Process) -> list[str]:
        """Have a session that asks for port 0, and find what is written about it."""
        made = self.work(process)
        made.startService()
        client = self.say(GREETING, request("192.0.2.1", 0))
        client.abort()
        self.reactor.advance(1)
        made.stopService()
        return self.output

    def test_toOutput(self) -> None:
        """An access line goes to the standard output like Twisted's own, with the number."""
        (line,) = self.lines(self.process(parent=TWISTD))
        self.assertRegex(line, r"^1 \S+ \[twisted_socks5.access#info\] client=.* worker=2\n$")

    def test_toOutputJSON(self) -> None:
        """Or as JSON."""
        (line,) = self.lines(self.process("--access-log-format", "json", parent=TWISTD))
        found = json.loads(line[2:])
        self.assertEqual((line[0], found["worker"], found["reply"]), ("1", 2, 1))

    def test_toLog(self) -> None:
        """Where the log goes elsewhere, it is an event with all fields."""
        (line,) = self.lines(self.process())
        found = json.loads(line[2:])
        self.assertEqual((line[0], found["log_namespace"]), ("3", "twisted_socks5.access"))
        self.assertRegex(found["line"], r"^client=.* worker=2$")
        self.assertEqual((found["reply"], found["target"]), (1, "192.0.2.1:0"))

    def test_toFile(self) -> None:
        """Into a file it is written by what was inherited, and after SIGHUP by the name."""
        path = Path(self.mktemp())
        process = self.process("--access-log", str(path))
        before = Path(f"{path}.before")
        inherited = os.open(before, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        made = self.work(process, descriptors={"ports": [4], "access log": [inherited]})
        log = made.factory.accessLog
        assert isinstance(log, FileAccessLog)
        log(AccessRecord("192.0.2.1:9", 0.0))
        made.reopen()
        log(AccessRecord("192.0.2.2:9", 0.0))
        log.flush()
        self.assertRegex(before.read_text(), r"^time=\S+ client=192.0.2.1:9 .* worker=2\n$")
        self.assertRegex(path.read_text(), r"^time=\S+ client=192.0.2.2:9 .* worker=2\n$")
