"""Files that change while they are served."""

from __future__ import annotations

import os
from typing import cast

from twisted.logger import ILogObserver, Logger, LogLevel

from tests.tls.authority import DAY, Issued, theAuthority, theProxy
from tests.tls.test_pem import FilesCase
from twisted_socks5.testing import MemoryReactor
from twisted_socks5.tls import Files, ServerContexts, renewal
from twisted_socks5.tls.contexts import readContexts
from twisted_socks5.tls.renewal import INTERVAL, Renewal


class RenewalTests(FilesCase):
    """
    A server's contexts, and their files.

    @ivar lines: what was logged, by level.
    """

    def setUp(self) -> None:
        """Serve two files."""
        super().setUp()
        self.reactor = MemoryReactor()
        self.lines: list[tuple[str, str]] = []
        self.use(Files(
            key=self.write("key.pem", theProxy().keyPEM),
            certificate=self.write("own.pem", theProxy().pem),
        ))  # fmt: skip

    def use(self, files: Files) -> None:
        """Look after some files."""
        self.contexts = ServerContexts(files)
        self.renewal = Renewal(self.contexts, self.reactor)
        self.renewal.log = Logger(observer=cast("ILogObserver", self.note))

    def note(self, event: dict[str, object]) -> None:
        """Keep a line of the log."""
        level = event["log_level"]
        text = str(event["log_format"]).format_map(event)
        self.lines.append((level.name if isinstance(level, type(LogLevel.info)) else "", text))

    def replace(self, issued: Issued, *names: str) -> None:
        """Replace files; both, unless they are named."""
        for name in names or ("key.pem", "own.pem"):
            self.write(name, issued.keyPEM if name == "key.pem" else issued.pem)

    def wait(self) -> None:
        """Let the time of a look pass."""
        self.reactor.advance(INTERVAL)
        self.reactor.settle()

    def test_changed(self) -> None:
        """A pair that was replaced is used by the next look, and nothing is read again."""
        self.renewal.start()
        before = self.contexts.current
        self.wait()
        self.assertIs(self.contexts.current, before)
        self.replace(theAuthority().issue("new"))
        self.wait()
        after = self.contexts.current
        self.assertIsNot(after, before)
        self.wait()
        self.assertIs(self.contexts.current, after)
        self.assertEqual(self.lines, [("info", "TLS has read its certificates anew")])
        self.renewal.stop()
        self.assertEqual(self.reactor.leftOver(), [])

    def test_half(self) -> None:
        """Half of a pair changes nothing, and is logged once for each change."""
        self.renewal.start()
        before = self.contexts.current
        self.replace(theAuthority().issue("one"), "own.pem")
        self.wait()
        self.wait()
        self.assertIs(self.contexts.current, before)
        ((level, line),) = self.lines
        self.assertEqual(level, "error")
        self.assertRegex(line, "^TLS goes on with the certificates that it has: the key in '.*' d")
        new = theAuthority().issue("two")
        self.replace(new, "own.pem")
        self.wait()
        self.assertEqual(len(self.lines), 2)
        self.replace(new, "key.pem")
        self.wait()
        self.assertEqual(self.lines[2], ("info", "TLS has read its certificates anew"))

    def test_removed(self) -> None:
        """A file that is gone changes nothing; when it is back it may be another one."""
        self.renewal.start()
        before = self.contexts.current
        os.remove(self.place / "own.pem")
        self.wait()
        self.assertIs(self.contexts.current, before)
        self.assertIn("cannot be read: No such file", self.lines[0][1])
        self.replace(theProxy())
        self.wait()
        self.assertIsNot(self.contexts.current, before)

    def test_beforeTheStart(self) -> None:
        """What has changed since it was read is found by the first look."""
        self.replace(theAuthority().issue("new"))
        before = self.contexts.current
        self.renewal.start()
        self.wait()
        self.assertIsNot(self.contexts.current, before)

    def test_beingWritten(self) -> None:
        """What changes while it is read is not used, and looked at again."""
        new = theAuthority().issue("new")
        read = readContexts

        def meanwhile(files: Files) -> object:
            found = read(files)
            self.replace(theAuthority().issue("newer"))
            return found

        self.renewal.start()
        before = self.contexts.current
        self.replace(new)
        self.patch(renewal, "readContexts", meanwhile)
        self.wait()
        self.assertIs(self.contexts.current, before)
        self.patch(renewal, "readContexts", read)
        self.wait()
        self.assertIsNot(self.contexts.current, before)
        self.assertEqual(len(self.lines), 1)

    def test_look(self) -> None:
        """Who asks for a look waits for it; several wait for the same one."""
        fired: list[None] = []
        self.renewal.look().addCallback(fired.append)
        self.assertEqual(len(fired), 1)  # It is not running.
        self.renewal.start()
        self.replace(theAuthority().issue("new"))
        before = self.contexts.current
        for _ in range(2):
            self.renewal.look().addCallback(fired.append)
        self.assertEqual(len(fired), 1)
        self.reactor.settle()
        self.assertEqual(len(fired), 3)
        self.assertIsNot(self.contexts.current, before)

    def test_offTheReactor(self) -> None:
        """Files are read in a thread; what comes after the stop is not used."""
        self.renewal.start()
        before = self.contexts.current
        self.replace(theAuthority().issue("new"))
        self.reactor.threads.stalled = True
        self.wait()
        self.assertIs(self.contexts.current, before)
        self.renewal.stop()
        self.reactor.threads.stalled = False
        self.reactor.settle()
        self.assertIs(self.contexts.current, before)
        self.assertEqual(self.reactor.leftOver(), [])

    def test_mistake(self) -> None:
        """What should not happen is logged, and there is a next time."""
        self.renewal.start()
        self.patch(renewal, "readIfChanged", lambda *_: 1 / 0)
        self.wait()
        self.assertEqual(self.lines[0][0], "critical")
        found: list[object] = []
        self.renewal.look().addBoth(found.append)
        self.reactor.settle()
        self.assertEqual(found, [None])
        self.assertNotEqual(self.reactor.leftOver(), [])

    def test_directory(self) -> None:
        """A directory's files come and go."""
        self.use(Files(directory=str(self.place)))
        self.renewal.start()
        other = theAuthority().issue("other", hosts=["other.example"])
        self.write("other/all.pem", other.pem, other.keyPEM)
        self.wait()
        self.assertIn("other.example", self.contexts.current.names)
        os.remove(self.place / "other" / "all.pem")
        self.wait()
        self.assertNotIn("other.example", self.contexts.current.names)
        os.rename(self.place, f"{self.place}-away")
        self.wait()
        self.assertIn("cannot be read: No such", self.lines[-1][1])

    def test_revoked(self) -> None:
        """The lists of clients' authorities are looked after as well."""
        ca = self.write("ca.crt", theAuthority().pem)
        crl = self.write("crl.crt", theAuthority().revoke())
        self.use(
            Files(
                key=self.contexts.files.key,
                certificate=self.contexts.files.certificate,
                authorities=ca,
                revoked=crl,
            )
        )
        self.renewal.start()
        before = self.contexts.current
        self.write("crl.crt", theAuthority().revoke(theProxy()))
        self.wait()
        self.assertIsNot(self.contexts.current, before)

    def test_warns(self) -> None:
        """What has expired is said at the start, and when it is read."""
        old = theAuthority().issue("old", ends=-DAY / 2)
        self.replace(old)
        self.use(self.contexts.files)
        self.renewal.start()
        self.assertEqual(self.lines[0][0], "warn")
        self.assertIn("CN=old, has expired at", self.lines[0][1])
        self.replace(theAuthority().issue("old, too", ends=-DAY / 2))
        self.wait()
        self.assertEqual([level for level, _ in self.lines], ["warn", "info", "warn"])
