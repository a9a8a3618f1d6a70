"""
The pages for people: README.md and docs/, taken apart.
"""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"

#: Written by programs, or about other things.
_NOT_OURS = {"wire-states.md", "benchmarks.md", "changelog.md"}

_FENCE = re.compile(
    r"^```(?P<language>[\w{}-]*)[^\n]*\n(?P<text>.*?)^```$", re.MULTILINE | re.DOTALL
)
_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


class Fence(NamedTuple):
    """
    A block of code.

    @ivar language: what stands behind the three backquotes.
    """

    language: str
    text: str


class Command(NamedTuple):
    """
    A command that is shown, and the first line of what it is said to answer.

    @ivar words: as a shell reads them.
    """

    words: list[str]
    answer: str


def pages() -> list[Path]:
    """Find all pages that were written by hand."""
    found = [page for page in sorted(DOCS.glob("**/*.md")) if "_build" not in page.parts]
    return [ROOT / "README.md", *(page for page in found if page.name not in _NOT_OURS)]


def fences(page: Path, *languages: str) -> list[str]:
    """Find a page's blocks of code in one of some languages."""
    found = _FENCE.finditer(page.read_text(encoding="utf-8"))
    return [match["text"] for match in found if match["language"] in languages]


def commands(page: Path) -> list[Command]:
    """Find the commands that a page shows."""
    found = []
    for text in fences(page, "console"):
        lines = text.replace("\\\n", " ").splitlines()
        for number, line in enumerate(lines):
            if line.startswith("$ "):
                answer = lines[number + 1] if number + 1 < len(lines) else ""
                found.append(Command(shlex.split(line[2:]), answer))
    return found


def links(page: Path) -> list[str]:
    """Find what a page links to, within the repository."""
    found = _LINK.findall(page.read_text(encoding="utf-8"))
    return [link.partition("#")[0] for link in found if "://" not in link]


def tables(page: Path) -> list[list[list[str]]]:
    """Find a page's tables: their rows, without the heading, as cells."""
    found: list[list[list[str]]] = []
    inside = False
    for line in page.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
        elif inside:
            found[-1].append([cell.strip() for cell in line.strip("|").split(" | ")])
        elif line.startswith("|---"):
            inside = True
            found.append([])
    return found


def codes(text: str) -> list[str]:
    """Find what is set as code."""
    return re.findall(r"`([^`]+)`", text)
