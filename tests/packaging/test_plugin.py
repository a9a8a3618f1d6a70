"""
The plugin: what C{twistd} finds, and what finding it costs others.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.packaging.checkout import ROOT, run

TWISTD = Path(sys.executable).with_name("twistd")


class PluginTests(SynchronousTestCase):
    """The file below C{twisted/plugins}."""

    def test_listed(self) -> None:
        """From any directory, C{twistd --help} lists the subcommand with what it is."""
        elsewhere = self.mktemp()
        Path(elsewhere).mkdir()
        said = run(TWISTD, "--help", cwd=elsewhere)
        self.assertRegex(said.stdout, r"(?m)^ +socks5 +A SOCKS5 proxy server")

    def test_light(self) -> None:
        """Every program that scans for plugins loads the file, and nothing else of ours."""
        program = (
            "import sys; from twisted.plugin import getPlugins;"
            "from twisted.application.service import IServiceMaker;"
            "print([p.tapname for p in getPlugins(IServiceMaker) if p.tapname == 'socks5'],"
            "[name for name in sys.modules if name.startswith('twisted_socks5')])"
        )
        said = run(sys.executable, "-c", program)
        self.assertEqual(said.stdout, "['socks5'] []\n", said.stderr)

    def test_noReactor(self) -> None:
        """No module of ours installs a reactor: which one it is, the application decides."""
        program = (
            "import importlib, pkgutil, sys, twisted_socks5;"
            "names = [m.name for m in"
            " pkgutil.walk_packages(twisted_socks5.__path__, 'twisted_socks5.')];"
            "[importlib.import_module(name) for name in names];"
            "print(len(names) > 10, 'twisted.internet.reactor' in sys.modules)"
        )
        said = run(sys.executable, "-c", program)
        self.assertEqual(said.stdout, "True False\n", said.stderr)

    def test_noPackage(self) -> None:
        """There is no package C{twisted} of ours: it would hide the real one."""
        self.assertEqual(list((ROOT / "twisted").rglob("__init__.py")), [])
