"""The options, what is made of them, and the service as a process sees it."""

from __future__ import annotations

import errno
import io
import signal
import sys
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from typing import Any, cast

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.error import CannotListenError
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from tests.server.base import GRANTED, GREETED, GREETING, LOGGED_IN, LOGIN, credentials, request
from twisted_socks5 import processes, tap
from twisted_socks5.config import Filtering, Settings
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.logs import FileAccessLog, TwistedAccessLog
from twisted_socks5.options import Options
from twisted_socks5.processes import StartFailure
from twisted_socks5.relay.splice import PIPES
from twisted_socks5.service import SOCKS5Service
from twisted_socks5.testing import MemoryReactor, PeerFactory
from twisted_socks5.wire import Method

TWISTD = {"nodaemon": 1, "logfile": None, "syslog": None, "logger": None}
"""What C{twistd -n} has for options."""


class Signals:
    """The module C{signal}: who would be told of which signal."""

    SIGHUP, SIGINT, SIGTERM = signal.SIGHUP, signal.SIGINT, signal.SIGTERM

    def __init__(self) -> None:
        self.tells: dict[int, Callable[[int, None], None]] = {}

    def signal(self, number: int, tell: Callable[[int, None], None]) -> None:
        """Have a signal told."""
        self.tells[number] = tell

    def raise_(self, number: int) -> None:
        """Raise it."""
        self.tells[number](number, None)


class TapCase(SynchronousTestCase):
    """Parses options, and makes services on a reactor in memory."""

    def setUp(self) -> None:
        """Keep the process as it is."""
        self.reactor = MemoryReactor()
        self.signals = Signals()
        self.frozen = 0
        self.patch(processes, "signal", self.signals)
        self.patch(processes, "gc", self)
        self.patch(tap, "raiseDescriptorLimit", lambda: 1064)
        self.patch(PIPES, "limit", PIPES.limit)
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)

    def freeze(self) -> None:
        """Count that the garbage collector is told to spare what is there."""
        self.frozen += 1

    def parse(self, *arguments: str, parent: dict[str, Any] | None = None) -> Options:
        """Parse a command line."""
        options: Any = Options()
        options.parent = parent
        options.parseOptions(list(arguments))
        return cast(Options, options)

    def wrong(self, *arguments: str) -> str:
        """Give the line that a command line is refused with."""
        try:
            tap._makeService(self.parse(*arguments), self.reactor)
        except (SystemExit, ConfigurationError) as error:
            text = str(error)
            self.assertNotIn("\n", text)
            return text
        raise AssertionError(f"{arguments} passed")

    def make(self, *arguments: str, parent: dict[str, Any] | None = None) -> Any:
        """Make a service of a command line."""
        made = tap._makeService(self.parse(*arguments, parent=parent), self.reactor)
        self.closing(made)
        return made

    def closing(self, made: SOCKS5Service) -> None:
        """Close a file of the access log's with the test."""
        log = made.factory.accessLog
        if isinstance(log, FileAccessLog) and log._file is not sys.stdout:
            self.addCleanup(lambda: log._file.close())

    def say(self, *said: bytes, port: int = 1080, host: str = "127.0.0.1") -> Any:
        """Connect a client, and have it say this."""
        factory = PeerFactory()
        self.reactor.connectTCP(host, port, factory)
        self.reactor.advance(0)
        for each in said:
            factory.peer.write(each)
            self.reactor.advance(0)
        return factory.peer


class OptionsTests(TapCase):
    """The command line."""

    def test_defaults(self) -> None:
        """With none it is a proxy for this host, with the settings' defaults."""
        options = self.parse()
        self.assertEqual((options["port"], options["interface"]), (1080, "127.0.0.1"))
        settings = tap._settings(options)
        self.assertEqual(settings, Settings(max_connections=500))

    def test_values(self) -> None:
        """Each option has its place in the settings."""
        options = self.parse(
            *("--negotiation-timeout", "1", "--lookup-timeout", "2", "--dial-timeout", "3.5"),
            *("--idle-timeout", "0", "--half-closed-timeout", "5", "--max-connections", "100"),
            *("--max-connections-per-client", "7", "--bind-timeout", "8"),
            *("--bind-ports", "1000-1999", "--association-timeout", "9", "--udp-ports", "53"),
            *("--udp-filtering", "address-dependent", "--socks4", "--resolve"),
            *("--advertise", "203.0.113.1", "--advertise", "2001:db8::1"),
        )
        self.assertEqual(
            tap._settings(options),
            Settings(
                negotiation_timeout=1,
                lookup_timeout=2,
                dial_timeout=3.5,
                idle_timeout=0,
                half_closed_timeout=5,
                max_connections=100,
                max_connections_per_client=7,
                bind_timeout=8,
                bind_ports=range(1000, 2000),
                association_timeout=9,
                udp_ports=range(53, 54),
                udp_filtering=Filtering.ADDRESS_DEPENDENT,
                socks4=True,
                resolve=True,
                advertised=(ip_address("203.0.113.1"), ip_address("2001:db8::1")),
            ),
        )

    def test_wrong(self) -> None:
        """What is wrong is one line, which names the option."""
        for arguments, named in (
            (["--bogus"], "--bogus"),
            (["extra"], "arguments"),
            (["--port"], "port requires argument"),
            (["--port", "http"], "--port takes .*'http'"),
            (["--port", "65536"], "--port takes .*'65536'"),
            (["--port", "-1"], "--port takes"),
            (["--idle-timeout", "long"], "--idle-timeout takes a number of seconds, not 'long'"),
            (["--idle-timeout", "nan"], "--idle-timeout takes"),
            (["--idle-timeout", "inf"], "--idle-timeout takes"),
            (["--drain-timeout", "-1"], "--drain-timeout takes .*'-1'"),
            (["--dial-timeout", "0"], "the dial timeout must be more than 0"),
            (["--max-connections", "1e3"], "--max-connections takes a whole number, not '1e3'"),
            (["--bind-ports", "2000-1000"], "--bind-ports takes LOW-HIGH"),
            (["--udp-ports", "0"], "--udp-ports takes LOW-HIGH"),
            (["--udp-ports", "a-b"], "--udp-ports takes LOW-HIGH"),
            (["--udp-filtering", "none"], "--udp-filtering is endpoint-independent or"),
            (["--advertise", "example.com"], "--advertise takes an IP address, not 'example.com'"),
            (["--advertise", "1.2.3.4", "--advertise", "1.2.3.5"], "one address of each family"),
            (["--access-log-format", "xml"], "--access-log-format is text or json, not xml"),
            (["--access-log", "/nowhere/log"], "--access-log /nowhere/log: No such file"),
            (["--permit", "10.0.0.0/99"], "10.0.0.0/99"),
            (["--deny", "a b"], "a b"),
            (["--listen", "bogus:1"], "--listen bogus:1: "),
            (["--listen", "tcp"], "--listen tcp: "),
            (["--listen", ""], "--listen : "),
            (["--listen", "tcp:1", "--port", "1"], "--listen says where"),
            (["--listen", "tcp:1", "--interface", "::"], "--listen says where"),
            (["--auth", "file:/nowhere/users"], "password file '/nowhere/users' cannot be read"),
            (["--auth", "memory"], "memory"),
            (["--auth", "bogus"], "bogus"),
            (["--listen", "haproxy:tcp:1:interface=127.0.0.1"], "--auth"),
            (["--listen", "HAProxy:tcp:1:interface=127.0.0.1"], "--auth"),
        ):
            self.assertRegex(self.wrong(*arguments), named)

    def test_limits(self) -> None:
        """Limits that cannot take effect are wrong, too."""
        few = ("--max-connections", "10", "--max-connections-per-client", "11")
        self.assertIn("--max-connections-per-client 11 cannot take effect", self.wrong(*few))
        self.assertIn("there can be 500", self.wrong("--max-connections-per-client", "501"))
        self.assertIn(
            "--max-connections 501 needs more file descriptors",
            self.wrong("--max-connections", "501"),
        )
        self.assertEqual(
            tap._settings(self.parse("--max-connections", "500")).max_connections, 500
        )
        # No limit is that of the process.
        self.assertEqual(tap._settings(self.parse("--max-connections", "0")).max_connections, 500)

    def test_noDescriptors(self) -> None:
        """A process that can't even have one connection does not start; 0 would be no limit."""
        self.patch(tap, "raiseDescriptorLimit", lambda: 64)
        self.assertIn("not have enough file descriptors", self.wrong())

    def test_manyDescriptors(self) -> None:
        """With enough of them the default is the settings' own."""
        self.patch(tap, "raiseDescriptorLimit", lambda: 1 << 20)
        self.assertEqual(tap._settings(self.parse()), Settings())

    def test_help(self) -> None:
        """The help has examples; it and the version are no errors."""
        self.assertIn("Examples:", Options().getUsage())
        out = io.StringIO()
        self.patch(sys, "stdout", out)
        error = self.assertRaises(SystemExit, Options().parseOptions, ["--version"])
        self.assertEqual(error.code, 0)
        self.assertRegex(out.getvalue(), r"^twisted-socks5 [0-9.]+")


class MakeTests(TapCase):
    """What is made of the options."""

    def test_serves(self) -> None:
        """The service serves what the options say."""
        proxy = self.make("--port", "1081")
        proxy.startService()
        self.assertEqual(self.say(GREETING, port=1081).received, GREETED)
        self.assertEqual(self.frozen, 1)

    def test_listen(self) -> None:
        """Several endpoints; a bare number is a port."""
        proxy = self.make("--auth", "anonymous", "--listen", "1082", "--listen", "tcp:1083")
        proxy.startService()
        for port in (1082, 1083):
            self.assertEqual(self.say(GREETING, port=port, host="192.0.2.9").received, GREETED)

    def test_ipv6(self) -> None:
        """The interface may be one of IPv6."""
        proxy = self.make("--interface", "::1")
        proxy.startService()
        self.assertEqual(self.say(GREETING, host="::1").received, GREETED)

    def test_users(self) -> None:
        """Those who log in, from several places."""
        path = Path(self.mktemp())
        path.write_text("bob:hunter2\n")
        proxy = self.make("--auth", f"file:{path}", "--auth", "memory:alice:secret")
        methods = (Method.CHAP, Method.USERNAME_PASSWORD)
        self.assertEqual(proxy.factory.authenticator.methods, methods)
        proxy.startService()
        target = PeerFactory()
        self.reactor.listenTCP(80, target, interface="203.0.113.5")
        for name, password in ((b"bob", b"hunter2"), (b"alice", b"secret")):
            client = self.say(LOGIN, credentials(name, password), request())
            self.assertTrue(client.received.startswith(b"\5\2" + LOGGED_IN + GRANTED))

    def test_fileGoesAway(self) -> None:
        """Who may use it must still be known when privileges have been given up."""
        path = Path(self.mktemp())
        path.write_text("bob:hunter2\n")
        proxy = self.make("--auth", f"file:{path}")
        path.unlink()
        self.assertRaises(StartFailure, proxy.startService)
        self.assertIn("cannot be read", self.stderr.getvalue())

    def test_rules(self) -> None:
        """Rules, in their order, before the built-in protection."""
        proxy = self.make("--permit", "203.0.113.5:81", "--deny", "203.0.113.0/24")
        proxy.startService()
        self.assertEqual(self.say(GREETING, request()).received[:4], GREETED + b"\5\2")
        self.reactor.listenTCP(81, PeerFactory(), interface="203.0.113.5")
        client = self.say(GREETING, request(port=81))
        self.assertTrue(client.received.startswith(GREETED + GRANTED))

    def test_ownReactor(self) -> None:
        """C{twistd} gives it the reactor that there is."""
        from twisted.internet import reactor

        proxy = tap.makeService(self.parse())
        self.assertIs(proxy.factory.reactor, reactor)

    def test_wrong(self) -> None:
        """What only shows when it is made is one line as well."""
        options = self.parse("--max-connections", "501")
        error = self.assertRaises(SystemExit, tap.makeService, options)
        self.assertRegex(str(error), "^twistd socks5: --max-connections 501 needs")


class AccessLogTests(TapCase):
    """Where the access log goes, and in which form."""

    def log(self, *arguments: str, **parent: Any) -> Any:
        """Give the log that these options make, and a line of it."""
        made = self.make(*arguments, parent={**TWISTD, **parent} if parent is not None else None)
        return made.factory.accessLog

    def line(self, log: Any) -> str:
        """Give the form of its lines."""
        return log._toLine.__name__  # type: ignore[no-any-return]  # a name

    def test_standardOutput(self) -> None:
        """Where C{twistd} logs to standard output, it does so, too."""
        for parent in ({}, {"logfile": "-"}):
            log = self.log(**parent)
            self.assertIsInstance(log, FileAccessLog)
            self.assertIs(log._file, sys.stdout)
            self.assertEqual(self.line(log), "formatLikeTwisted")
        self.assertEqual(self.line(self.log("--access-log-format", "json")), "formatJSON")

    def test_twisted(self) -> None:
        """Where it logs to somewhere else, Twisted's log has it."""
        for parent in ({"nodaemon": 0}, {"logfile": "x"}, {"syslog": 1}, {"logger": "x.y"}):
            log = self.log(**parent)
            self.assertIsInstance(log, TwistedAccessLog)
            self.assertEqual(self.line(log), "formatText")
            self.assertEqual(
                self.line(self.log("--access-log-format", "json", **parent)), "formatJSON"
            )

    def test_twist(self) -> None:
        """C{twist}, which has other options, logs as Twisted does."""
        made = self.make(parent=None)
        self.assertIsInstance(made.factory.accessLog, TwistedAccessLog)

    def test_file(self) -> None:
        """A file of its own."""
        path = Path(self.mktemp())
        self.assertEqual(self.line(self.log("--access-log", str(path))), "formatDated")
        json = self.log("--access-log", str(path), "--access-log-format", "json")
        self.assertEqual(self.line(json), "formatJSON")
        self.assertTrue(path.exists())


class ProcessTests(TapCase):
    """The service as a process sees it."""

    def test_inUse(self) -> None:
        """A port that somebody has is one line on the standard error, and the end."""
        self.reactor.route("127.0.0.1", 1080, error=errno.EACCES)
        for start in ("privilegedStartService", "startService"):
            proxy = self.make()
            error = self.assertRaises(StartFailure, getattr(proxy, start))
            self.assertEqual(error.code, 1)
            self.assertIsInstance(error, SystemExit)
            self.assertEqual(
                self.stderr.getvalue(),
                "twistd socks5: cannot listen on 127.0.0.1:1080: Permission denied\n",
            )
            self.stderr.truncate(0)
            self.stderr.seek(0)
        self.assertEqual(self.signals.tells, {})

    def test_logged(self) -> None:
        """The log has the line as well, unless both are the same place."""
        self.reactor.route("127.0.0.1", 1080, error=errno.EACCES)
        reasons: list[object] = []

        def observe(event: LogEvent) -> None:
            if event.get("log_level") is LogLevel.critical:
                reasons.append(event["reason"])

        observer = cast(ILogObserver, observe)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        for parent, lines in ((None, 1), (TWISTD, 0)):
            self.assertRaises(StartFailure, self.make(parent=parent).startService)
            self.assertEqual(len(reasons), lines)
            reasons.clear()

    def test_reachable(self) -> None:
        """Listening wider without --auth ends the start, with how to say who may."""
        proxy = self.make("--interface", "0.0.0.0")
        self.assertRaises(StartFailure, proxy.privilegedStartService)
        self.assertRegex(
            self.stderr.getvalue(),
            "0.0.0.0:1080 can be reached from elsewhere, .*--auth htpasswd:.*--auth anonymous",
        )
        self.reactor.advance(0)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_stop(self) -> None:
        """It ends its sessions within the drain, then has written its log."""
        path = Path(self.mktemp())
        proxy = self.make("--access-log", str(path), "--drain-timeout", "3")
        proxy.startService()
        self.reactor.listenTCP(80, PeerFactory(), interface="203.0.113.5")
        self.say(GREETING, request())
        stopped = proxy.stopService()
        self.reactor.advance(2.9)
        self.assertNoResult(stopped)
        self.reactor.advance(0.1)
        self.successResultOf(stopped)
        self.assertIn('reason="the proxy stops"', path.read_text())

    def test_secondSignal(self) -> None:
        """A second SIGTERM, or SIGINT, does not wait for the drain."""
        for number in (signal.SIGTERM, signal.SIGINT):
            proxy = self.make("--port", str(2000 + number))
            proxy.startService()
            self.assertNotIn(number, self.signals.tells)
            self.reactor.listenTCP(80 + number, PeerFactory(), interface="203.0.113.5")
            client = self.say(GREETING, request(port=80 + number), port=2000 + number)
            stopped = proxy.stopService()
            self.reactor.advance(1)
            self.assertNoResult(stopped)
            self.signals.raise_(number)
            self.reactor.advance(0)
            self.successResultOf(stopped)
            self.assertTrue(client.wasReset)
            self.signals.tells.clear()

    def test_hangup(self) -> None:
        """SIGHUP opens the access log anew, where it is a file; else it does nothing."""
        path = Path(self.mktemp())
        proxy = self.make("--access-log", str(path))
        proxy.startService()
        self.say(GREETING).abort()
        self.reactor.advance(1)
        moved = path.rename(self.mktemp())
        self.signals.raise_(signal.SIGHUP)
        self.reactor.advance(0)
        self.say(GREETING).abort()
        self.reactor.advance(1)
        self.assertEqual([len(each.read_text().splitlines()) for each in (moved, path)], [1, 1])
        other = self.make("--port", "1081")
        other.startService()
        self.signals.raise_(signal.SIGHUP)
        self.reactor.advance(0)


class OnlyForThisHostTests(SynchronousTestCase):
    """Where a proxy without users may listen."""

    def test_each(self) -> None:
        """Loopback and Unix sockets are this host's; all else is not."""
        for address in (
            IPv4Address("TCP", "127.0.0.1", 1080),
            IPv4Address("TCP", "127.200.1.1", 1080),
            IPv6Address("TCP", "::1", 1080),
            IPv6Address("TCP", "::ffff:127.0.0.1", 1080),
            UNIXAddress(b"/run/socks"),
        ):
            tap._onlyForThisHost(address)
        for address in (
            IPv4Address("TCP", "0.0.0.0", 1080),
            IPv4Address("TCP", "10.0.0.1", 1080),
            IPv6Address("TCP", "::", 1080),
            IPv6Address("TCP", "fe80::1%eth0", 1080),
            IPv6Address("TCP", "::ffff:10.0.0.1", 1080),
        ):
            self.assertRaises(ConfigurationError, tap._onlyForThisHost, address)

    def test_explain(self) -> None:
        """Why a port can't be opened, in words."""
        refused = CannotListenError("", 80, OSError(errno.EACCES, "Permission denied"))
        self.assertEqual(processes.explain(refused), "cannot listen on *:80: Permission denied")
        odd = CannotListenError("::", 80, "odd")
        self.assertIn("odd", processes.explain(odd))
        self.assertEqual(processes.explain(ConfigurationError("what")), "what")
