"""
The wheel: what is in it and what it says of itself.

It is built from a copy of the tree as it looks after use, without a checkout's list of ignored
files.  C{make wheel} goes on from here: sdist, isolated build, empty environment.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from email import message_from_string
from email.message import Message
from functools import cache
from pathlib import Path
from zipfile import ZipFile

from twisted.trial.unittest import SynchronousTestCase

from tests.packaging.checkout import ROOT, pyproject, run


@cache
def build() -> tuple[set[str], Message]:
    """
    Build it, once.

    @return: the names of what is in it, and its metadata.
    """
    with tempfile.TemporaryDirectory(prefix="wheel-") as directory:
        tree = Path(directory)
        for package in ("twisted", "twisted_socks5"):
            shutil.copytree(ROOT / package, tree / package)
        for file in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / file, tree)
        for used in ("twisted/plugins", "twisted_socks5"):
            (tree / used / "dropin.cache").write_bytes(b"of another machine")
            (tree / used / "__pycache__").mkdir(exist_ok=True)
            (tree / used / "__pycache__" / "x.cpython-310.pyc").write_bytes(b"old")
        said = run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", cwd=tree)
        wheels = list((tree / "dist").glob("*.whl"))
        if len(wheels) != 1:
            raise AssertionError(said.stderr)
        with ZipFile(wheels[0]) as archive:
            names = set(archive.namelist())
            (metadata,) = (name for name in names if name.endswith(".dist-info/METADATA"))
            return names, message_from_string(archive.read(metadata).decode())


class WheelTests(SynchronousTestCase):
    """A wheel built from a used tree."""

    def setUp(self) -> None:
        """Look into it."""
        self.names, self.metadata = build()

    def test_plugin(self) -> None:
        """The plugin is there, where Twisted looks."""
        self.assertIn("twisted/plugins/twisted_socks5_plugin.py", self.names)

    def test_typed(self) -> None:
        """Type checkers are told that the package is annotated."""
        self.assertIn("twisted_socks5/py.typed", self.names)

    def test_whole(self) -> None:
        """Every module of the package is there."""
        modules = {str(path.relative_to(ROOT)) for path in ROOT.glob("twisted_socks5/**/*.py")}
        self.assertEqual(modules - self.names, set())

    def test_nothingOfTheMachine(self) -> None:
        """No cache that a run left in the tree is carried away."""
        left = [name for name in self.names if "dropin.cache" in name or "__pycache__" in name]
        self.assertEqual(left, [])

    def test_nothingElse(self) -> None:
        """There is the package, the plugins and the description."""
        ours = ("twisted_socks5/", "twisted_socks5-")
        others = {name for name in self.names if not name.startswith(ours)}
        plugins = ("plugin", "auth", "endpoints")
        self.assertEqual(others, {f"twisted/plugins/twisted_socks5_{name}.py" for name in plugins})

    def test_licence(self) -> None:
        """The licence is named, and its text is there."""
        self.assertEqual(self.metadata["License-Expression"], "MIT")
        self.assertTrue(any(name.endswith("/licenses/LICENSE") for name in self.names))

    def test_requirements(self) -> None:
        """Python and Twisted are asked for, each from its oldest release."""
        self.assertEqual(self.metadata["Requires-Python"], ">=3.10")
        required = self.metadata.get_all("Requires-Dist", [])
        self.assertTrue(any(line.startswith("twisted[tls]>=") for line in required), required)


class BoundsTests(SynchronousTestCase):
    """The oldest releases that are supported."""

    def test_oldest(self) -> None:
        """What C{make test-oldest} installs are the lower bounds that users are promised."""
        bounds = {}
        for line in pyproject()["project"]["dependencies"]:
            name, _, bound = line.partition(";")[0].partition(">=")
            bounds[name.partition("[")[0].strip()] = bound.strip()
        pins = {}
        for line in (ROOT / "tests" / "oldest.txt").read_text().splitlines():
            if line and not line.startswith("#"):
                name, _, pin = line.partition("==")
                # 24.3.0 is what 24.3 asks for.
                pins[name] = pin.removesuffix(".0")
        self.assertEqual({name: b.removesuffix(".0") for name, b in bounds.items()}, pins)

    def test_pythons(self) -> None:
        """The oldest Python of the metadata is the one that ruff and mypy look at."""
        settings = pyproject()
        oldest = settings["project"]["requires-python"].removeprefix(">=")
        self.assertEqual(settings["tool"]["mypy"]["python_version"], oldest)
        self.assertEqual(
            settings["tool"]["ruff"]["target-version"], f"py{oldest.replace('.', '')}"
        )
