"""
The commands and the code on the pages: they run, or at least are understood as they stand.
"""

from __future__ import annotations

import doctest
import re
import sys
from pathlib import Path

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

import twisted_socks5
from tests.docs.pages import DOCS, EXAMPLES, ROOT, Command, commands, fences, pages
from tests.interop.origins import EchoTarget, HTTPOrigin
from tests.interop.programs import ours, run
from tests.interop.proxy import ProxyTestCase
from twisted_socks5.auth.hashes import newHash
from twisted_socks5.options import Options

PROGRAMS = ("twistd", "twist")


def options(command: Command) -> list[str] | None:
    """Find the options that a command gives to socks5; L{None}: it is some other command."""
    program, _, rest = command.words[0].rpartition("/")[2], "", command.words[1:]
    return rest[rest.index("socks5") + 1 :] if program in PROGRAMS and "socks5" in rest else None


class TwistdTests(SynchronousTestCase):
    """What is shown of twistd."""

    def setUp(self) -> None:
        """Collect the commands; make the file of users that most of them name."""
        self.users = Path(self.mktemp()).absolute()
        self.users.write_bytes(b"alice:" + newHash(b"wonderland"))
        self.users.chmod(0o600)
        found = [(page, command) for page in pages() for command in commands(page)]
        self.shown = [
            (f"{page.name}: {' '.join(command.words)}", self.here(given), command.answer)
            for page, command in found
            if (given := options(command)) is not None
        ]

    def here(self, given: list[str]) -> list[str]:
        """Have a command's options name the file of users that there is."""
        return [
            f"htpasswd:{self.users}" if re.fullmatch(r"htpasswd:.*(socks5-)?users", word) else word
            for word in given
        ]

    def test_understood(self) -> None:
        """Each is understood, but for those that show how it complains."""
        understood = 0
        for where, given, answer in self.shown:
            if answer.startswith("twistd socks5: ") or "--version" in given or "<TAB>" in where:
                continue
            try:
                Options().parseOptions(given)
            except (SystemExit, UsageError) as error:
                self.fail(f"{where}: {error}")
            understood += 1
        self.assertGreater(understood, 12)

    def test_complaints(self) -> None:
        """What it says of those that are wrong is what the pages say."""
        complaints = 0
        for where, given, answer in self.shown:
            if not answer.startswith("twistd socks5: "):
                continue
            self.assertEqual(self.alike(self.complaint(given)), self.alike(answer), where)
            complaints += 1
        self.assertGreater(complaints, 4)

    def complaint(self, given: list[str]) -> str:
        """Find out what it says of options that are wrong, or that cannot be carried out."""
        try:
            Options().parseOptions(given)
        except SystemExit as error:
            return str(error)
        # For those that name no port: somebody may have the usual one.
        port = () if {"--port", "--listen"} & {*given} else ("--port", "0")
        place = self.users.parent
        done = run(ours("twistd"), "-n", "--pidfile=", "socks5", *given, *port, cwd=place)
        self.assertEqual(done.returncode, 1, done.stdout)
        return done.stderr.strip()

    def alike(self, line: str) -> str:
        """Take out of a complaint what depends on the machine."""
        line = re.sub(r"[0-9]+ can be reached", "PORT can be reached", line)
        return re.sub(r"enough for [0-9]+", "enough for MANY", line)

    def test_version(self) -> None:
        """The version that is shown is this one."""
        shown = [answer for _, given, answer in self.shown if "--version" in given]
        self.assertEqual(shown, [f"twisted-socks5 {twisted_socks5.__version__}"])

    def test_unit(self) -> None:
        """The command in the unit for systemd is understood."""
        found = []
        for text in fences(DOCS / "howto" / "running.md", "ini"):
            found += re.findall(r"^ExecStart=(.*)$", text.replace("\\\n", " "), re.MULTILINE)
        for text in fences(DOCS / "howto" / "listening.md", "ini"):
            found += re.findall(r"^ExecStart=(.*)$", text, re.MULTILINE)
        self.assertEqual(len(found), 2)
        for line in found:
            given = options(Command(line.split(), ""))
            if given is None:
                self.fail(line)
            Options().parseOptions(self.here(given))


class CodeTests(ProxyTestCase):
    """The Python on the pages."""

    def test_interactive(self) -> None:
        """What is shown of the interpreter is what it says."""
        attempted = 0
        runner = doctest.DocTestRunner()
        for page in pages():
            text = "\n".join(fences(page, "pycon"))
            test = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
            said: list[str] = []
            result = runner.run(test, out=said.append)
            self.assertEqual(result.failed, 0, "".join(said))
            attempted += result.attempted
        self.assertGreater(attempted, 30)

    def test_embedding(self) -> None:
        """The five lines in the README are those of the example."""
        lines = [text for text in fences(ROOT / "README.md", "python") if "Portal(" in text]
        self.assertEqual(len(lines), 1)
        self.assertEqual(len(lines[0].splitlines()), 5)
        self.assertIn(lines[0], (EXAMPLES / "embed.py").read_text(encoding="utf-8"))

    def shown(self, page: Path, name: str, port: int) -> str:
        """Find the code that imports a module, and have it go to a port of ours."""
        (text,) = [each for each in fences(page, "python") if f"import {name}\n" in each]
        self.assertIn("127.0.0.1", text)
        self.assertIn("1080", text)
        return text.replace("1080", str(port))

    def test_httpx(self) -> None:
        """The client with httpx, in the README."""
        origin, proxy = HTTPOrigin(self), self.proxy()
        text = self.shown(ROOT / "README.md", "httpx", proxy.port)
        address = f"http://127.0.0.1:{origin.port}/"
        done = run(sys.executable, "-c", text.replace("https://example.com/", address))
        self.assertEqual(done.stdout, "200\n", done.stderr)
        self.assertEqual(proxy.stop()[0]["target"], f"127.0.0.1:{origin.port}")

    def test_pySocks(self) -> None:
        """The client with PySocks, in the README."""
        echo, proxy = EchoTarget(self), self.proxy()
        text = self.shown(ROOT / "README.md", "socks", proxy.port)
        text = text.replace('("example.com", 80)', f'("localhost", {echo.port})')
        done = run(
            sys.executable, "-c", f"{text}\nconnection.sendall(b'hi'); print(connection.recv(2))"
        )
        self.assertEqual(done.stdout, "b'hi'\n", done.stderr)
        self.assertEqual(proxy.stop()[0]["target"], f"localhost:{echo.port}")

    def test_datagrams(self) -> None:
        """The client with PySocks that uses UDP."""
        import socket
        import threading

        target = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(target.close)
        target.settimeout(20)
        target.bind(("127.0.0.1", 0))

        def answer() -> None:
            octets, source = target.recvfrom(65535)
            target.sendto(octets, source)

        thread = threading.Thread(target=answer, daemon=True)
        thread.start()
        proxy = self.proxy()
        text = self.shown(next(DOCS.glob("**/udp.md")), "socks", proxy.port)
        port = target.getsockname()[1]
        text = text.replace('("example.com", 5353)', f'("127.0.0.1", {port})')
        done = run(sys.executable, "-c", text)
        thread.join()
        self.assertEqual(done.stdout, f"(b'ping', ('127.0.0.1', {port}))\n", done.stderr)
