"""
The access log as an operator reads it: a line for each session, in text and in JSON, in Twisted's
log and in a file.
"""

from __future__ import annotations

import json
import re
import signal
from datetime import datetime, timedelta, timezone
from pathlib import Path

from tests.interop.client import GREETING, Client, credentials, named, refusal
from tests.interop.origins import EchoTarget
from tests.interop.proxy import Proxy, ProxyTestCase, Record

FIELDS = (
    *("time", "client", "user", "method", "command", "target", "dialled", "reply", "sent"),
    *("received", "seconds", "reason"),
)
TEXT = re.compile(
    r"client=(?P<client>\S+) user=(?P<user>\S+) method=(?P<method>\S+) "
    r"command=(?P<command>\S+) target=(?P<target>\S+) dialled=(?P<dialled>\S+) "
    r"rep=(?P<reply>\S+) sent=(?P<sent>[0-9]+) received=(?P<received>[0-9]+) "
    r'seconds=(?P<seconds>[0-9.]+) reason=(?P<reason>".*")$'
)
LOGIN = b"\x05\x01\x02" + credentials("alice", "s3cr3t-w0rd")


class AccessLogTests(ProxyTestCase):
    """One session that works and one that does not, wherever they are logged."""

    def used(self, *options: str, command: tuple[str, ...] = ()) -> tuple[str, list[Record]]:
        """
        Start a proxy, have a session that works and then one that does not, and stop it.

        @param options: the proxy's.
        @param command: how it is started, if in another way.
        @return: its log, and what has to be in it.
        """
        echo = EchoTarget(self)
        proxy = Proxy(
            self.mktemp(),
            *("--port", "0", "--auth", self.users("alice:s3cr3t-w0rd"), *options),
            hosts="127.0.0.1 echo.example\n",
            command=command or ("twistd", "-n", "--pidfile=", "socks5"),
        )
        self.addCleanup(proxy.stop)
        one = Client(self, proxy, LOGIN + named(b"Echo.Example.", echo.port))
        self.assertEqual(one.hear(4) + one.hearReply()[:2], b"\x05\x02\x01\x00\x05\x00")
        self.assertEqual(one.asks(b"hello"), b"hello")
        self.assertEqual(one.finish().hearOut(), b"")
        other = Client(self, proxy, LOGIN + named(b"a b\n\0\xff", 80))
        self.assertEqual(other.hear(14), b"\x05\x02\x01\x00" + refusal(4))
        names = ["{}:{}".format(*each.getsockname()) for each in (one, other)]
        other.close()
        proxy.stop()
        self.assertNotIn("s3cr3t", proxy.output.text)
        where = f"127.0.0.1:{echo.port}"
        both = {"user": "alice", "method": "username_password", "command": "CONNECT"}
        good = {"dialled": where, "reply": 0, "sent": 5, "received": 5}
        bad = {"dialled": None, "reply": 4, "sent": 0, "received": 0}
        return proxy.output.text, [
            {"client": names[0], **both, **good, "reason": "client closed"},
            {"client": names[1], **both, **bad},
        ]

    def checkText(self, lines: list[str], expected: list[Record]) -> None:
        """See that text lines say what they have to."""
        found = [match for line in lines if (match := TEXT.search(line))]
        self.assertEqual(len(found), len(expected), lines)
        for match, record in zip(found, expected, strict=True):
            for name, value in record.items():
                shown = match[name].strip('"')
                self.assertEqual(shown, "-" if value is None else str(value), name)
            self.assertTrue(match[0].isascii() and match[0].isprintable())
        self.assertRegex(found[0]["target"], r"^(?i:echo\.example\.):[0-9]+$")

    def checkJSON(self, lines: list[str], expected: list[Record]) -> None:
        """See that lines of JSON say what they have to."""
        found = [json.loads(line) for line in lines]
        self.assertEqual(len(found), len(expected), lines)
        for one, record in zip(found, expected, strict=True):
            self.assertEqual(tuple(one), FIELDS)
            self.assertEqual({name: one[name] for name in record}, record)
            began = datetime.fromisoformat(one["time"].replace("Z", "+00:00"))
            age = datetime.now(timezone.utc) - began
            self.assertLess(abs(age), timedelta(minutes=5))
            self.assertLess(one["seconds"], 60)
        self.assertIn("invalid host name", found[1]["reason"])

    def test_text(self) -> None:
        """By default the lines are text among Twisted's, with its time."""
        log, expected = self.used()
        lines = [line for line in log.splitlines() if "client=" in line]
        self.checkText(lines, expected)
        for line in lines:
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\S+ \[twisted_socks5.access")

    def test_json(self) -> None:
        """As JSON they are objects, a line each."""
        log, expected = self.used("--access-log-format", "json")
        self.checkJSON([line for line in log.splitlines() if line[:1] == "{"], expected)

    def test_file(self) -> None:
        """In a file of its own, which is appended to, each line begins with the time."""
        path = Path(self.mktemp()).absolute()
        path.write_text("what was there\n")
        log, expected = self.used("--access-log", str(path))
        first, *lines = path.read_text().splitlines()
        self.assertEqual(first, "what was there")
        self.checkText(lines, expected)
        for line in lines:
            self.assertRegex(line, r"^time=\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z client=")
        self.assertNotIn("client=", log)

    def test_fileOfJSON(self) -> None:
        """The file can be JSON, too, and nothing else is in it."""
        path = Path(self.mktemp()).absolute()
        _, expected = self.used("--access-log", str(path), "--access-log-format", "json")
        self.checkJSON(path.read_text().splitlines(), expected)

    def test_moved(self) -> None:
        """A file that was moved away is left at SIGHUP, and a new one begun, as logrotate does."""
        path, old = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        proxy = self.proxy("--access-log", str(path), "--access-log-format", "text")
        before = Client(self, proxy, GREETING)
        self.assertEqual(before.hear(2), b"\x05\x00")
        path.rename(old)
        proxy.tell(signal.SIGHUP)
        after = Client(self, proxy, GREETING)
        self.assertEqual(after.hear(2), b"\x05\x00")
        after.close()
        proxy.stop()
        self.assertEqual((old.read_text(), path.read_text().count("client=")), ("", 2))

    def test_logger(self) -> None:
        """C{--logger} makes the whole log JSON; a session's fields are fields there."""
        logger = "--logger=twisted_socks5.logs.jsonObserver"
        command = ("twistd", "-n", "--pidfile=", logger, "socks5")
        log, expected = self.used(command=command)
        events = [json.loads(line) for line in log.splitlines()]
        found = [
            event for event in events if event.get("log_namespace") == "twisted_socks5.access"
        ]
        self.assertEqual(len(found), 2)
        for event, record in zip(found, expected, strict=True):
            for name, value in record.items():
                self.assertEqual(event[name] if event[name] != "" else None, value, name)
