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
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import IO, Any

from twisted.logger import ILogObserver, Logger, jsonFileLogObserver

AccessLog = Callable[["AccessRecord"], None]

#: What a field without a value shows as, as in the logs of web servers.
NOTHING = "-"


@dataclass
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


def formatText(record: AccessRecord) -> str:
    """Write a record as C{key=value} pairs, for people and for grep."""
    return " ".join(
        (
            f"client={record.client}",
            f"user={_word(record.user)}",
            f"method={_word(record.method)}",
            f"command={_word(record.command)}",
            f"target={_word(record.target)}",
            f"dialled={_word(record.dialled)}",
            f"rep={NOTHING if record.reply is None else record.reply}",
            f"sent={record.sent}",
            f"received={record.received}",
            f"seconds={record.seconds:.3f}",
            f"reason={_quoted(record.reason)}",
        )
    )


def formatJSON(record: AccessRecord) -> str:
    """Write a record as one JSON object with the names of its fields; nothing is C{null}."""
    fields: dict[str, Any] = {"time": _isoTime(record.started)}
    fields.update(
        (name, value if value != "" else None)
        for name, value in vars(record).items()
        if name != "started"
    )
    fields["seconds"] = round(record.seconds, 6)
    return json.dumps(fields)


class TwistedAccessLog:
    """Writes records into Twisted's log: a readable message that carries all the fields."""

    log = Logger(namespace="twisted_socks5.access")

    def __init__(self, format: Callable[[AccessRecord], str] = formatText) -> None:
        """
        @param format: makes the message.
        """
        self._format = format

    def __call__(self, record: AccessRecord) -> None:
        """Write one record."""
        self.log.info("{line}", line=self._format(record), **vars(record))


class FileAccessLog:
    """Writes records into a file of their own, a line each; text lines begin with the time."""

    def __init__(self, path: str, format: Callable[[AccessRecord], str] = formatText) -> None:
        """
        @param path: the file, appended to.
        @param format: makes a line.

        @raise OSError: the file can't be opened for writing.
        """
        self._path = path
        self._format = format
        self._file = self._open()

    def __call__(self, record: AccessRecord) -> None:
        """Write one record."""
        line = self._format(record)
        if self._format is formatText:
            line = f"{_isoTime(record.started)} {line}"
        self._file.write(line + "\n")

    def reopen(self) -> None:
        """Open the file again by its name: it may have been moved away (log rotation)."""
        self._file.close()
        self._file = self._open()

    def close(self) -> None:
        """Write no more."""
        self._file.close()

    def _open(self) -> IO[str]:
        return open(self._path, "a", buffering=1, encoding="ascii", errors="backslashreplace")


def jsonObserver() -> ILogObserver:
    """Make the whole log JSON, a line an event: C{twistd --logger twisted_socks5.logs.jsonObserver}."""
    import sys

    return jsonFileLogObserver(sys.stdout, recordSeparator="")


def _isoTime(seconds: float) -> str:
    moment = datetime.fromtimestamp(seconds, timezone.utc)
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _word(text: str) -> str:
    """Make a value one word, or a quoted one."""
    if not text:
        return NOTHING
    if text.isascii() and text.isprintable() and not set(text) & set(' "='):
        return text
    return _quoted(text)


def _quoted(text: str) -> str:
    return json.dumps(text)
