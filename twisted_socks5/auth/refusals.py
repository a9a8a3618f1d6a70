"""
What a failed login may say, and to whom.

The client hears that it failed, and nothing else.  Its session hears one reason, fit for an
access line.  The operator's log gets the traceback of whatever a checker or realm should not
have raised, with everything in it but the password: those exceptions come from code we have
never seen, and they like to quote what they were given.

Knows nothing of portals and checkers: failures in, words out.
"""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from twisted.cred.credentials import ICredentials
from twisted.cred.error import LoginFailed, Unauthorized, UnhandledCredentials
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.reflect import qual, safe_str

from twisted_socks5.auth.credentials import toOctets

_log = Logger()

# So many characters of a password in a row are a leak.  Fewer occur in any sentence.
_TELLING = 4

_WITHHELD = "(text withheld: it quotes what the client sent)"


def explain(failure: Failure, answerer: object, credentials: ICredentials) -> str:
    """
    Say why a login was refused; log what should not have been raised, with its traceback.

    Expected are cred's own words of refusal.  Not among them is L{UnhandledCredentials}: a
    method was offered that the portal cannot check.

    @param failure: what the login, or one checker's part in it, ended in.
    @param answerer: the checker or portal that was asked, named in the log by its class.
    @param credentials: what it was asked about.
    @return: the reason in words, without secrets; empty where none was given.
    """
    if failure.check(LoginFailed, Unauthorized) and not failure.check(UnhandledCredentials):
        return safeText(failure, credentials)
    # Never an answerer's repr: it may well show a table of passwords.
    name = qual(type(answerer))
    _log.failure(
        "{answerer} could not answer for {client}",
        withoutSecrets(failure, credentials),
        answerer=name,
        client=clientName(credentials),
    )
    return f"{name} failed with {qual(type(failure.value))}, see the log"


def clientName(credentials: ICredentials) -> str:
    """
    Name a client in a log line.

    @param credentials: what it says of itself.
    @return: the repr of its user name, which it could have made of any octets.
    """
    username = getattr(credentials, "username", None)
    return "an anonymous client" if username is None else f"user {username!r}"


def withoutSecrets(failure: Failure, credentials: ICredentials | None = None) -> Failure:
    """
    Copy a failure for the log.

    The copy keeps the type and the way through the code.  It has L{safeText} for a value, and
    neither variables nor a live traceback from which an observer could read some.

    @param failure: what was raised.
    @param credentials: what was asked about; L{None} is known to have had no part in it.
    @return: the copy.
    """
    text = safe_str(failure.value) if credentials is None else safeText(failure, credentials)
    copy = Failure(LoginFailed(text), failure.type)
    copy.frames = [(name, path, line, (), ()) for name, path, line, *_ in failure.frames]
    return copy


def safeText(failure: Failure, credentials: ICredentials) -> str:
    """
    Return an exception's text, unless it gives away part of the password.

    Four of its characters in a row (or a shorter password whole) give it away, as they are and
    as repr, JSON, URLs, hexadecimal and Base64 write them; Base64 also of "user:password", as in
    HTTP.  The text is withheld whole: a gap would show where the password was, and how long.

    A password that was transformed in yet another way is not found.

    @param failure: what was raised.
    @param credentials: what was asked about; nothing is withheld if it has no C{password}.
    @return: the text, perhaps empty, or a remark in its place.
    """
    text = safe_str(failure.value)
    password = _octets(credentials, "password")
    if not password:
        return text
    # A UnicodeError quotes single octets of what could not be decoded, and where they stood.
    if failure.check(UnicodeError):
        return _WITHHELD
    spellings = _spellings(password)
    spellings.add(_base64(_octets(credentials, "username") + b":" + password))
    folded = text.lower()
    if any(_holdsPart(folded, spelling.lower()) for spelling in spellings):
        return _WITHHELD
    return text


def _spellings(octets: bytes) -> set[str]:
    """Write a password as programs write it in their messages."""
    plain = octets.decode("utf-8", "backslashreplace")
    return {
        plain,
        octets.decode("utf-8", "replace"),
        octets.decode("latin-1"),
        repr(octets)[2:-1],
        repr(plain)[1:-1],
        json.dumps(plain)[1:-1],
        quote(octets),
        octets.hex(),
        _base64(octets),
    }


def _octets(credentials: ICredentials, attribute: str) -> bytes:
    """Whatever the kind of credentials: an attribute that may not be there."""
    value = getattr(credentials, attribute, b"")
    return toOctets(value) if isinstance(value, (bytes, str)) else b""


def _base64(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii").rstrip("=")


def _holdsPart(text: str, secret: str) -> bool:
    """Whether any C{_TELLING} characters in a row of C{secret} are in C{text}."""
    size = min(len(secret), _TELLING)
    return any(secret[at : at + size] in text for at in range(len(secret) - size + 1))
