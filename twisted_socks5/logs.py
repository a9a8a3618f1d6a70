"""
The access log: one line for each session, written at its end.

A L{Session<twisted_socks5.server.session.SOCKS5ServerProtocol>} fills in an L{AccessRecord} as
it goes, and an L{AccessLog} writes it somewhere: into Twisted's log, as structured fields with
a readable message, or into a file of its own, as text or as JSON.

Names in a record come from the network: whatever is not printable ASCII is escaped, so that
nobody can write lines of their own into the log.  Passwords never get here.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import datetime, timezone
from functools import lru_cache
from io import TextIOWrapper
from typing import IO, TYPE_CHECKING, Any

from twisted.logger import ILogObserver, Logger, formatTime, jsonFileLogObserver

if TYPE_CHECKING:
    from twisted.internet.interfaces import IReactorTime

AccessLog = Callable[["AccessRecord"], None]

_PLAIN = re.compile(r"[!#-<>-~]+").fullmatch

#: Where Twisted's log says that a record comes from.
NAMESPACE = "twisted_socks5.access"

#: Seconds for which lines may be gathered before they are written into a file.
WRITE_EVERY = 0.25

#: What a field without a value shows as, as in the logs of web servers.
NOTHING = "-"


@dataclass(slots=True)
class AccessRecord:
    """
    A session, from the connection to its end.

    @ivar client: the client's address and port.
    @ivar started: seconds since the epoch.
    @ivar user: who it was; empty is nobody in particular.
    @ivar method: the authentication method in use.
    @ivar command: the command asked for.
    @ivar target: the destination as asked for.
    @ivar dialled: the address that was connected to.
    @ivar reply: the REP that was sent; L{None} where there was none.
    @ivar sent: octets from the client to the target.
    @ivar received: octets from the target to the client.
    @ivar seconds: from the connection to its end.
    @ivar reason: why it ended, or why it was refused.
    """

    client: str
    started: float
    user: str = ""
    method: str = ""
    command: str = ""
    target: str = ""
    dialled: str = ""
    reply: int | None = None
    sent: int = 0
    received: int = 0
    seconds: float = 0.0
    reason: str = ""


_NAMES = tuple(field.name for field in fields(AccessRecord))


def formatText(record: AccessRecord) -> str:
    """Write a record as C{key=value} pairs, for people and for grep."""
    return (
        f"client={record.client} user={_word(record.user)} method={record.method or NOTHING} "
        f"command={record.command or NOTHING} target={_word(record.target)} "
        f"dialled={record.dialled or NOTHING} "
        f"rep={NOTHING if record.reply is None else int(record.reply)} sent={record.sent} "
        f"received={record.received} seconds={record.seconds:.3f} reason={_quoted(record.reason)}"
    )


def formatDated(record: AccessRecord) -> str:
    """Write a record as text that begins with the time at which its session began."""
    return f"time={_isoTime(record.started)} {formatText(record)}"


def formatLikeTwisted(record: AccessRecord) -> str:
    """Write a record as Twisted's own log would."""
    ended = _twistedTime(int(record.started + record.seconds))
    return f"{ended} [{NAMESPACE}#info] {formatText(record)}"


def formatJSON(record: AccessRecord) -> str:
    """Write a record as one JSON object with the names of its fields; nothing is C{null}."""
    said: dict[str, Any] = {"time": _isoTime(record.started)}
    said.update((name, None if value == "" else value) for name, value in fieldsOf(record))
    del said["started"]
    said["seconds"] = round(record.seconds, 6)
    return json.dumps(said)


class TwistedAccessLog:
    """Writes records into Twisted's log: a readable message that carries all the fields."""

    def __init__(self, toLine: Callable[[AccessRecord], str] = formatText) -> None:
        """
        @param toLine: makes the message.
        """
        # As an attribute of the class it would take the class's name for its namespace.
        self._log = Logger(namespace=NAMESPACE)
        self._toLine = toLine

    def __call__(self, record: AccessRecord) -> None:
        """Write one record."""
        self._log.info("{line}", line=self._toLine(record), **dict(fieldsOf(record)))


class FileAccessLog:
    """
    Writes records into a file of their own, a line each, several at a time.

    A line is in the file at the latest L{WRITE_EVERY} seconds after its session has ended.
    """

    log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        openFile: Callable[[], IO[str]],
        toLine: Callable[[AccessRecord], str],
    ) -> None:
        """
        @param clock: tells when to write.
        @param openFile: opens the file for appending; called again by L{reopen}.
        @param toLine: makes a line.

        @raise OSError: the file can't be opened.
        """
        self._clock = clock
        self._open = openFile
        self._toLine = toLine
        self._file = openFile()
        self._lines: list[str] = []
        self._failing = False

    def __call__(self, record: AccessRecord) -> None:
        """Write one record."""
        if not self._lines:
            self._clock.callLater(WRITE_EVERY, self.flush)
        self._lines.append(self._toLine(record))

    def flush(self) -> None:
        """Write what has not been written yet."""
        lines, self._lines = self._lines, []
        if lines:
            lines.append("")
            try:
                self._file.write("\n".join(lines))
                self._file.flush()
            except OSError as error:
                # Once, not with every line: this log may well be on the same full disk.
                if not self._failing:
                    self.log.error("The access log can't be written: {error}", error=str(error))
                self._failing = True
            else:
                self._failing = False

    def fileno(self) -> int:
        """Name the file's descriptor."""
        return self._file.fileno()

    def reopen(self) -> None:
        """Open the file again by its name: it may have been moved away (log rotation)."""
        self.flush()
        try:
            opened = self._open()
        except OSError as error:
            self.log.error("The access log can't be opened anew: {error}", error=str(error))
            return
        before, self._file = self._file, opened
        if before is not opened:
            with suppress(OSError):  # What could not be written was said then.
                before.close()


def appending(path: str | int) -> Callable[[], IO[str]]:
    """
    Open a file for an access log, whenever that is asked for.

    Several processes may: what is written in one go arrives in one piece.

    @param path: its name, or the descriptor of one that is open for appending already.
    """
    return lambda: TextIOWrapper(
        open(path, "ab", buffering=0),  # as Python's own stdout is, with -u
        encoding="ascii",
        errors="backslashreplace",
        write_through=True,
    )


def jsonObserver() -> ILogObserver:
    """Make the whole log JSON: C{twistd --logger=twisted_socks5.logs.jsonObserver}."""
    return jsonFileLogObserver(sys.stdout, recordSeparator="")


def fieldsOf(record: AccessRecord) -> Iterator[tuple[str, Any]]:
    """Give a record's fields, each with its name."""
    return ((name, getattr(record, name)) for name in _NAMES)


def _isoTime(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


@lru_cache(maxsize=8)
def _twistedTime(seconds: int) -> str:
    return formatTime(seconds)


def _word(text: str) -> str:
    """Make a value one word, or a quoted one."""
    if not text:
        return NOTHING
    return text if _PLAIN(text) and text != NOTHING else _quoted(text)


@lru_cache(maxsize=256)  # Most sessions end for one of a few reasons.
def _quoted(text: str) -> str:
    return json.dumps(text)
