"""
What a worker is told first: one line of JSON on its standard input, where nobody else sees it.

Its command line can be read by everybody on the host, and its environment is inherited by
whatever it starts.  It is read before anything of ours is imported, so there are only words and
numbers in it.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict, dataclass, field, replace
from typing import Any

#: Where a worker has what it was given: its orders, standard output and error, and the log.
ORDERS, OUTPUT, ERRORS, LOG = range(4)

#: The first of its other descriptors.
FIRST = 4


@dataclass(frozen=True)
class Job:
    """
    What a worker does.

    @ivar make: the full name of what makes its service, given the job and the reactor.
    @ivar arguments: the command line that describes the service.
    @ivar workers: how many workers there are.
    @ivar number: which of them it is, from 1 on.
    @ivar descriptors: what it inherits, by name, as it numbers them.
    @ivar toOutput: access lines go to the standard output; otherwise into the log.
    @ivar reactor: the module of the reactor to install.
    @ivar directory: where the command line was given, which relative paths in it start from.
    @ivar path: where Python looks for modules.
    """

    make: str
    arguments: list[str]
    workers: int
    number: int = 0
    descriptors: dict[str, list[int]] = field(default_factory=dict)
    toOutput: bool = False
    reactor: str = "twisted.internet.default"
    directory: str = field(default_factory=os.getcwd)
    path: list[str] = field(default_factory=lambda: [os.path.abspath(each) for each in sys.path])

    def given(self, number: int, descriptors: dict[str, list[int]]) -> tuple[Job, list[int]]:
        """
        Give it to one of the workers.

        @param descriptors: what it inherits, as we number them.
        @return: its job, and our descriptors in the order of its own, from L{FIRST} on.
        """
        ours = [each for some in descriptors.values() for each in some]
        theirs = iter(range(FIRST, FIRST + len(ours)))
        named = {name: [next(theirs) for _ in some] for name, some in descriptors.items()}
        return replace(self, number=number, descriptors=named), ours

    def pack(self) -> bytes:
        """Write it as a line."""
        return json.dumps(asdict(self)).encode("ascii") + b"\n"

    @classmethod
    def parse(cls, words: dict[str, Any]) -> Job:
        """Make one of what JSON has made of the line."""
        return cls(**words)
