"""
C{socks5-users}: who is in a file of users, for C{twistd socks5 --auth htpasswd:FILE}.

A password is asked for on the terminal, twice, or is the one line on the standard input where
that is no terminal.  It never stands on a command line, which others can read in the list of
processes, and it is shown nowhere.

Whatever goes wrong is one line on the standard error and status 1; wrong usage has status 2.
"""

from __future__ import annotations

import argparse
import getpass
import os
import sys
from collections.abc import Sequence

from twisted_socks5.auth.credentials import toOctets
from twisted_socks5.auth.hashes import MAX_PASSWORD, newHash
from twisted_socks5.auth.passwordfile import BadFile, PasswordFile, complaintAbout, shown
from twisted_socks5.auth.rewriting import add, readNames, remove, replace

NAME = "socks5-users"

_EXAMPLES = """
examples:
  socks5-users /etc/socks5-users add alice
  socks5-users /etc/socks5-users change alice < file-with-a-line
  socks5-users /etc/socks5-users delete alice
  socks5-users /etc/socks5-users list

A running proxy takes a change at the next login. Passwords are stored as argon2id.
"""


class _Failure(Exception):
    """It can't be done; the text is the one line that says why."""


def main(arguments: Sequence[str] | None = None) -> int:
    """
    Run the command.

    @param arguments: what stands behind the command's name; default: the process' own.
    @return: the exit status.
    """
    try:
        options = _parse(arguments)
        _run(options.file, options.command, os.fsencode(options.name or ""))
        sys.stdout.flush()
    except BadFile as error:
        return _complain(f"{options.file}: {error}")
    except _Failure as error:
        return _complain(str(error))
    except KeyboardInterrupt:
        sys.stderr.write("\n")  # It was typed behind a question.
        return _complain("interrupted")
    except BrokenPipeError:
        # Whoever was to read the list has gone; Python shall not try again at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        return _complain(str(error.strerror))
    return 0


def _complain(text: str) -> int:
    sys.stderr.write(f"{NAME}: {text}\n")
    return 1


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog=NAME,
        description="Add, change, delete and list the users of twistd socks5 --auth "
        "htpasswd:FILE. The password is asked for, or read from the standard input.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("file", metavar="FILE", help="the file; add makes it if there is none")
    parser.add_argument("command", choices=("add", "change", "delete", "list"))
    parser.add_argument("name", metavar="NAME", nargs="?", help="whom it is about; not for list")
    options = parser.parse_args(arguments)
    if options.command == "list" and options.name is not None:
        parser.error("list takes no NAME")
    if options.command != "list" and options.name is None:
        parser.error(f"{options.command} takes a NAME")
    return options


def _run(path: str, command: str, name: bytes) -> None:
    if command == "list":
        _list(path)
        return
    complaint = complaintAbout(name)
    if complaint:
        raise _Failure(complaint)
    there = name in readNames(path)
    if command == "delete":
        remove(path, name)
        return
    # Before anybody types a password for nothing; it is looked at again when it is changed.
    if command == "add" and there:
        raise _Failure(f"{path}: user {shown(name)} is there already; change gives a password")
    if command == "change" and not there:
        raise _Failure(f"{path}: there is no user {shown(name)}; add makes one")
    (add if command == "add" else replace)(path, name, newHash(_password()))


def _list(path: str) -> None:
    """Print the names; then complain, if the proxy would refuse the file."""
    if not os.path.exists(path):
        raise BadFile("there is no such file")
    for name in readNames(path):
        # As far as this terminal's encoding has the letters.
        text = name.decode("utf-8", "backslashreplace")
        encoding = sys.stdout.encoding
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")
    sys.stdout.flush()
    PasswordFile(path).load()


def _password() -> bytes:
    """
    Ask for a password.

    @raise _Failure: it is none, or too long, or not the same twice.
    """
    try:
        if sys.stdin.isatty():
            password = toOctets(getpass.getpass("Password: "))
            if toOctets(getpass.getpass("The same again: ")) != password:
                raise _Failure("the two passwords differ")
        else:
            # One octet more than there may be, and the line's end.
            password = sys.stdin.buffer.readline(MAX_PASSWORD + 3)
            password = password.removesuffix(b"\n").removesuffix(b"\r")
    except (EOFError, UnicodeError):
        raise _Failure("no password was given, or none in this terminal's encoding") from None
    if not 1 <= len(password) <= MAX_PASSWORD:
        size = "is empty" if not password else f"has more than {MAX_PASSWORD} octets"
        raise _Failure(f"the password {size}; RFC 1929 has room for 1 to {MAX_PASSWORD}")
    return password


if __name__ == "__main__":
    sys.exit(main())
