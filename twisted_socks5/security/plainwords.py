"""
What libkrb5 says, as a log can have it: one line, of bounded length, that prints.

What it says may be what a stranger has said: the name of the service in a token, say, comes back
in the refusal of that token.  It may be anything, not even text.
"""

from __future__ import annotations

from typing import Any

#: What the gssapi package fails with, besides its own error, when the library's words for that
#: are no text of the locale's.
TEXT_ERRORS = (ValueError, LookupError)

#: What an error of the package means, by the name of its class.  Where Kerberos itself has more to
#: say that comes behind it.
_WORDS = {
    "BadMICError": "a token was changed on its way",
    "BadMechanismError": "a mechanism other than Kerberos",
    "DuplicateTokenError": "a token came a second time",
    "ExpiredContextError": "the context has expired",
    "ExpiredCredentialsError": "the credentials have expired",
    "ExpiredTokenError": "a token came too late to tell whether it has come before",
    "InvalidCredentialsError": "the credentials are damaged",
    "InvalidTokenError": "not a token of Kerberos, or a damaged one",
    "MissingContextError": "there is no context",
    "MissingCredentialsError": "no credentials",
    "ParameterReadError": "an empty token",
    "TokenTooEarlyError": "a token is missing before this one",
    "TokenTooLateError": "a token came out of its turn",
}

_UNREADABLE = "Kerberos says why with octets that are no text"

#: A line of a log has room for so much of an explanation.
_LONGEST = 300


def principalText(name: bytes) -> str:
    """
    Read a principal's name.

    libkrb5 writes each backslash in it as two, so what is escaped here, octets that are no UTF-8
    and what does not print, cannot be mistaken for anything else, and two names never look alike.
    """
    text = name.decode("utf-8", "backslashreplace")
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in text
    )


def explain(error: Exception) -> str:
    """Say in a line why a call of the library's failed; in the thread in which it did."""
    if isinstance(error, TEXT_ERRORS):
        return _UNREADABLE
    failed: Any = error
    words = _WORDS.get(type(error).__name__)
    try:
        # Of libkrb5's two texts the one for its own status says more, if it says something.
        details = failed.get_all_statuses(failed.min_code, False) if failed.min_code else []
        general = [] if words else failed.get_all_statuses(failed.maj_code, True)
    except TEXT_ERRORS:
        details, general = [_UNREADABLE], []
    said = [
        # Where it cannot read the text the package gives that error's.
        _UNREADABLE if "Decoding code: " in text else text
        for text in details
        if text not in ("Success", "Unknown error")
    ]
    return oneLine(": ".join([words, *said] if words else said or general))


def oneLine(text: str) -> str:
    """Make one line of a library's text, not too long and with nothing that does not print."""
    words = " ".join(text.split())
    clean = "".join(letter if letter.isprintable() else "?" for letter in words)
    return clean if len(clean) <= _LONGEST else f"{clean[:_LONGEST]}…"
