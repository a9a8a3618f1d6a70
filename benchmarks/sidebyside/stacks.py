"""
Stacks, as py-spy writes them with C{--format raw}: which functions take the time themselves, and a
picture of who calls whom (a flame graph, SVG without a script).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from html import escape

Stacks = Counter[tuple[str, ...]]
"""Samples by stack; a stack's frames from the outermost in, as C{name (file:line)}."""

WIDTH, ROW, LETTER = 1200.0, 17, 6.7

#: What all of the samples but so few have in common is not shown.
COMMON = 0.97

#: The pieces of the house; what is not of the house is grey.
COLOURS = {
    "twisted_socks5/streams/": "#f4a261",
    "twisted_socks5/server/": "#e76f51",
    "twisted_socks5/relay/": "#e9c46a",
    "twisted_socks5/wire/": "#8ab17d",
    "twisted_socks5/": "#efb366",
    "twisted/": "#a9bcd0",
}
OTHERS = "#d5d5d5"

_FRAME = re.compile(r"(?P<name>.*) \((?P<file>[^()]*?)(:\d+)?\)")


def parse(text: str) -> Stacks:
    """Read C{outermost;...;innermost count}, a line for each stack."""
    found: Stacks = Counter()
    for line in text.splitlines():
        stack, _, count = line.rpartition(" ")
        found[tuple(stack.split(";"))] += int(count)
    return found


def taken_apart(frame: str) -> tuple[str, str]:
    """A frame's function and file."""
    found = _FRAME.fullmatch(frame)
    return (found["name"], found["file"]) if found else (frame, "")


def own_shares(stacks: Stacks) -> list[tuple[float, str]]:
    """Each function's share of the time that is spent in itself, the largest first."""
    own: Counter[str] = Counter()
    for stack, count in stacks.items():
        own[stack[-1]] += count
    return [(count / own.total(), frame) for frame, count in own.most_common()]


@dataclass
class Node:
    """A frame and what it has called."""

    count: int = 0
    below: dict[str, Node] = field(default_factory=dict)

    @property
    def depth(self) -> int:
        return 1 + max((node.depth for node in self.below.values()), default=0)


def tree(stacks: Stacks) -> Node:
    """All stacks in one, without the beginning that they have in common."""
    root = Node()
    for stack, count in stacks.items():
        root.count += count
        node = root
        for frame in stack:
            node = node.below.setdefault(frame, Node())
            node.count += count
    all_of_it = root.count
    while True:
        most = max(root.below.values(), key=lambda node: node.count, default=None)
        if most is None or not most.below or most.count < COMMON * all_of_it:
            return root
        root = most


def colour(file: str) -> str:
    return next((shade for start, shade in COLOURS.items() if file.startswith(start)), OTHERS)


def flame_graph(stacks: Stacks, title: str) -> str:
    """Draw it: the width is the share of the time, what is called stands above its caller."""
    root = tree(stacks)
    height = (root.depth + 1) * ROW
    boxes: list[str] = []

    def draw(node: Node, left: float, level: int) -> None:
        for frame, inner in sorted(node.below.items()):
            width = WIDTH * inner.count / root.count
            if width >= 1:
                name, file = taken_apart(frame)
                top = height - (level + 1) * ROW
                shown = name[: max(0, int(width / LETTER) - 1)]
                share = 100 * inner.count / root.count
                boxes.append(
                    f"<g><title>{escape(f'{name}, {file}: {share:.1f} %')}</title>"
                    f'<rect x="{left:.1f}" y="{top}" width="{width - 0.5:.1f}" '
                    f'height="{ROW - 1}" fill="{colour(file)}"/>'
                    f'<text x="{left + 2:.1f}" y="{top + 12}">{escape(shown)}</text></g>'
                )
                draw(inner, left, level + 1)
            left += width

    draw(root, 0, 0)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:.0f} {height}" '
            'font-family="monospace" font-size="11">',
            f'<rect width="{WIDTH:.0f}" height="{height}" fill="#ffffff"/>',
            f'<text x="4" y="12">{escape(title)}</text>',
            *boxes,
            "</svg>\n",
        ]
    )
