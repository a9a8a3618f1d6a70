"""
What C{twistd socks5} tells of itself: to people, and to their shell.
"""

from __future__ import annotations

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.interop.programs import find, ours, run


class HelpTests(SynchronousTestCase):
    """What it tells of itself."""

    OPTIONS = (
        *("port", "interface", "listen", "auth", "help-auth", "permit", "deny"),
        *("negotiation-timeout", "lookup-timeout", "dial-timeout", "idle-timeout"),
        *("half-closed-timeout", "drain-timeout", "max-connections"),
        *("max-connections-per-client", "access-log", "access-log-format", "version", "via"),
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
            self.assertRegex(said.stdout, rf"(?m)^ +{kind}\s")

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
