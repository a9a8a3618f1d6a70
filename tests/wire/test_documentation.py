"""The package's docstring teaches, so it has to be right."""

from __future__ import annotations

import doctest
import runpy
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5 import wire

DOCS = Path(__file__).resolve().parents[2] / "docs"


class ExampleTests(SynchronousTestCase):
    """The worked example."""

    def test_runs(self) -> None:
        """It gives what it says."""
        result = doctest.testmod(wire)
        self.assertEqual(result.failed, 0)
        self.assertGreater(result.attempted, 20)

    def test_public_names(self) -> None:
        """All that is promised is there, and has its documentation."""
        for name in wire.__all__:
            thing = getattr(wire, name)
            if callable(thing):
                self.assertTrue((thing.__doc__ or "").strip(), name)


class DiagramTests(SynchronousTestCase):
    """C{docs/wire-states.md} shows the tables as they are."""

    def test_page(self) -> None:
        """The page in the repository is what C{docs/states.py} writes."""
        states = runpy.run_path(str(DOCS / "states.py"))
        page = (DOCS / "wire-states.md").read_text(encoding="utf-8")
        self.assertEqual(page, states["render"]())

    def test_complete(self) -> None:
        """Each line of both tables is an arrow in it, and a row."""
        page = (DOCS / "wire-states.md").read_text(encoding="utf-8")
        for table in (wire.SERVER_TRANSITIONS, wire.CLIENT_TRANSITIONS):
            arrows = {
                f"    {state.name} --> {following.name} : {step.value}\n"
                for (state, step), following in table.items()
            }
            self.assertEqual(len(arrows), len(table))
            for arrow in arrows:
                self.assertIn(arrow, page)
