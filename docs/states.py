#!/usr/bin/env python3
"""
Draw the states of both halves of a negotiation, from the tables that the code runs by.

Run it after a change to one of them: C{python docs/states.py} writes C{docs/wire-states.md}, and
a test sees to it that nobody forgets.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from enum import Enum
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
if __name__ == "__main__":
    sys.path.insert(0, str(HERE.parent))

from twisted_socks5.wire import (  # noqa: E402  (found by the line above, in a bare checkout)
    CLIENT_TRANSITIONS,
    SERVER_TRANSITIONS,
    ClientNegotiation,
    ClientState,
    ServerNegotiation,
    ServerState,
)

PAGE = HERE / "wire-states.md"

INTRODUCTION = """\
# The states of a negotiation

<!-- Written by docs/states.py from the tables in twisted_socks5.wire: change those. -->

A state says whose turn it is: in `EXPECT_…` the peer's next message is read, in `MUST_…` it is
our turn and nothing is. An arrow is an event of the peer's or a command of ours, and there is
no other way from state to state, but for one: whatever breaks the protocol leads to `FAILED`,
from anywhere, and nothing leads out of it.
"""

Table = Mapping[tuple[Any, Any], Any]


def diagram(table: Table, begin: Mapping[str, Enum]) -> Iterator[str]:
    """Write a table as a Mermaid diagram; C{begin} has a word for each way to begin."""
    yield "```mermaid"
    yield "stateDiagram-v2"
    for words, state in begin.items():
        yield f"    [*] --> {state.name} : {words}" if words else f"    [*] --> {state.name}"
    for (state, step), following in table.items():
        yield f"    {state.name} --> {following.name} : {step.value}"
    left = {state for state, _step in table}
    for state in dict.fromkeys(table.values()):
        if state not in left:
            yield f"    {state.name} --> [*]"
    yield "```"


def listing(table: Table, states: type[Enum]) -> Iterator[str]:
    """Write a table as one, for those who see no diagram."""
    yield "| state | what it waits for | event or command | leads to |"
    yield "|---|---|---|---|"
    for state in states:
        steps = [
            (step, following) for (origin, step), following in table.items() if origin is state
        ]
        first = f"`{state.name}` | {state.value}"
        for step, following in steps:
            yield f"| {first} | `{step.value}` | `{following.name}` |"
            first = " | "
        if not steps:
            yield f"| {first} | | |"


def render() -> str:
    """Write the page."""
    server = {"": ServerNegotiation().state}
    client = {
        "SOCKS5": ClientNegotiation().state,
        "SOCKS4": ClientNegotiation(version=4).state,
    }
    lines = [
        INTRODUCTION,
        "## The server's half",
        "",
        *diagram(SERVER_TRANSITIONS, server),
        "",
        *listing(SERVER_TRANSITIONS, ServerState),
        "",
        "## The client's half",
        "",
        *diagram(CLIENT_TRANSITIONS, client),
        "",
        *listing(CLIENT_TRANSITIONS, ClientState),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
