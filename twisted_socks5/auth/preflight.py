"""
What can be known to fail before the first login.

Twisted's checkers find out at a login that their file is gone or a module missing, and answer
that login, and each after it, with a refusal.  The operator is to hear it at the start instead.

Looks at Twisted's own checkers and at ours; others are taken at their word.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from importlib.util import find_spec

from twisted.cred.checkers import (
    FilePasswordDB,
    ICredentialsChecker,
    InMemoryUsernamePasswordDatabaseDontUse,
)

from twisted_socks5.auth.checkers import CheckerChain, InMemoryOctets
from twisted_socks5.auth.gssapi import PrincipalChecker
from twisted_socks5.auth.passwords import PasswordFileChecker
from twisted_socks5.errors import ConfigurationError

_SHADOW = "/etc/shadow"

# crypt(3)'s and htpasswd's.  Where passwords are compared as they stand, nobody could log in but
# a thief of the file, for whom the hash would be the password.
_HASH = re.compile(rb"\$[a-z0-9-]{1,12}\$|\{S?SHA\}", re.IGNORECASE)


def checkUsable(checkers: Iterable[ICredentialsChecker]) -> None:
    """
    Make sure that somebody can log in with each of some checkers, and with what they think.

    Reads their files, so it belongs to the start: once when the options are known, and again
    when privileges have been given up, if they are.

    @param checkers: checkers and chains of them: C{options["credCheckers"]}, or
        C{portal.checkers.values()}.
    @raise ConfigurationError: with one line, which quotes no password, about the first that is
        of no use: memory without users; a file that is missing, unreadable, no regular file or
        without users, or that holds hashes or further fields; unix accounts without the modules
        or the privilege to read them.
    """
    for checker in checkers:
        if isinstance(checker, CheckerChain):
            checkUsable(checker.checkers)
        elif isinstance(checker, InMemoryOctets):
            checkUsable([checker.checker])
        elif isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
            _checkMemory(checker)
        elif isinstance(checker, FilePasswordDB):
            _checkFile(checker)
        elif isinstance(checker, (PasswordFileChecker, PrincipalChecker)):
            checker.check()
        else:
            _checkUnix(checker)


def _checkMemory(checker: InMemoryUsernamePasswordDatabaseDontUse) -> None:
    if not checker.users:
        raise ConfigurationError("no user is named in memory; write memory:NAME:PASSWORD")


def _checkFile(checker: FilePasswordDB) -> None:
    path = os.fsdecode(checker.filename)
    users = 0
    try:
        # Before it is opened: opening a named pipe waits for somebody to write to it.
        if not stat.S_ISREG(os.stat(path).st_mode):
            raise ConfigurationError(f"password file {path!r} is not a regular file")
        with open(path, "rb") as lines:
            for number, line in enumerate(lines, 1):
                fields = line.rstrip().split(checker.delim)
                # Where the checker finds no name and password, it passes over the line.
                if len(fields) > max(checker.ufield, checker.pfield):
                    users += 1
                    complaint = _complaint(checker, fields)
                    if complaint:
                        where = f"password file {path!r}, line {number}"
                        raise ConfigurationError(f"{where}: {complaint}")
    except OSError as error:
        why = error.strerror
        raise ConfigurationError(f"password file {path!r} cannot be read: {why}") from None
    if not users:
        raise ConfigurationError(f"password file {path!r} has no line of the form NAME:PASSWORD")


def _complaint(checker: FilePasswordDB, fields: list[bytes]) -> str:
    """Say what makes a line mean something else than its writer thought; empty: nothing."""
    if checker.hash is not None:
        return ""
    if _HASH.match(fields[checker.pfield]):
        return "a hash, but this file's passwords are compared as they stand; see htpasswd:PATH"
    # Only the form that C{file:} documents: who names other fields knows what is in the rest.
    # It is what keeps /etc/passwd out, where everybody's password would be "x".
    named = (checker.delim, checker.ufield, checker.pfield)
    if named == (b":", 0, 1) and len(fields) > 2:
        return "more than NAME:PASSWORD; a password ends at the next colon"
    return ""


def _checkUnix(checker: ICredentialsChecker) -> None:
    # Its plugin module is imported where it is needed: few want it.
    from twisted.plugins.cred_unix import UNIXChecker

    if not isinstance(checker, UNIXChecker):
        return
    missing = [name for name in ("crypt", "spwd") if find_spec(name) is None]
    if missing:
        modules = " and no ".join(missing)
        raise ConfigurationError(
            f"unix accounts cannot be checked: Python has no {modules} module here "
            f"(3.13 removed them); use file:PATH"
        )
    try:
        with open(_SHADOW, "rb"):
            pass
    except FileNotFoundError:
        pass  # A system may keep the hashes in /etc/passwd.
    except OSError as error:
        why = f"{_SHADOW}: {error.strerror}"
        raise ConfigurationError(f"unix accounts cannot be checked: {why}") from None
