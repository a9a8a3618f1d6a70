"""
Hashes of passwords: what a file of users holds in the place of each.

Three kinds are known, each by a maintained library's hand: argon2id and argon2i (argon2-cffi),
bcrypt (bcrypt, what C{htpasswd -B} writes) and scrypt (OpenSSL's, through L{hashlib}).  All
others are refused with the reason, and so is a hash whose parameters ask for more memory or time
than a login may take: what a line of a file says must not be able to stop the proxy.

Hashes are compared in constant time.  No text that leaves here has any octet of one in it.

Knows nothing of users, files and threads.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import os
import re
from dataclasses import dataclass, field
from typing import Protocol

import argon2
import bcrypt
from argon2.exceptions import VerifyMismatchError

MAX_MEMORY = 256 << 20
"""Octets that a single verification may take: four at a time, 1 GiB."""

MAX_WORK = 1 << 30
"""Octets that argon2 or scrypt may go over, all passes together: one to three seconds."""

MAX_LANES = 16
"""argon2 computes its lanes in as many threads of its own."""

MAX_STARTS = 1024
"""Passes times lanes where there are several: each takes four threads of its own, begun anew."""

MAX_ROUNDS = 14
"""The cost of bcrypt, as a power of two: about two seconds."""

MAX_PASSWORD = 255
"""What RFC 1929 has room for, in octets."""

#: What bcrypt takes of a password.  Whoever has written the hash has cut a longer one, too.
_BCRYPT_PASSWORD = 72

# What new hashes cost: a choice from OWASP's list (2023) of what is enough.  SOCKS clients log in
# for each connection, so a login has to cost tens of milliseconds and not RFC 9106's 64 MiB, which
# also would push all that the relay works with out of a processor's cache.  One lane, so that
# one login occupies one processor.
_NEW = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


class UnusableHash(ValueError):
    """A hash cannot be used; the text says why in a few words, and quotes nothing of it."""


class PasswordHash(Protocol):
    """
    A hash of some password.

    @ivar text: the hash as it is written; whoever has it may guess, so it is never shown.
    """

    @property
    def text(self) -> bytes:
        """The hash as it is written."""

    def matches(self, password: bytes) -> bool:
        """
        Tell whether this is the hash of a password; takes its time.

        @raise Exception: it can't be told: there is not enough memory, say.
        """


@dataclass(frozen=True)
class _Argon2:
    text: bytes = field(repr=False)
    kind: argon2.Type

    def matches(self, password: bytes) -> bool:
        try:
            return argon2.low_level.verify_secret(self.text, password, self.kind)
        except VerifyMismatchError:
            return False


@dataclass(frozen=True)
class _Bcrypt:
    text: bytes = field(repr=False)

    def matches(self, password: bytes) -> bool:
        return bcrypt.checkpw(password[:_BCRYPT_PASSWORD], self.text)


@dataclass(frozen=True)
class _Scrypt:
    text: bytes = field(repr=False)
    ln: int
    r: int
    p: int
    salt: bytes = field(repr=False)
    digest: bytes = field(repr=False)

    def matches(self, password: bytes) -> bool:
        computed = hashlib.scrypt(
            password,
            salt=self.salt,
            n=1 << self.ln,
            r=self.r,
            p=self.p,
            # OpenSSL counts some things more; that much was bounded when it was read.
            maxmem=MAX_MEMORY + (1 << 20),
            dklen=len(self.digest),
        )
        return hmac.compare_digest(computed, self.digest)


# Only what the libraries take: a hash that they refuse at the login is nobody's, and whose it is
# would show in the time that takes.
_BASE64 = rb"[A-Za-z0-9+/]"
_ARGON2 = re.compile(
    rb"\$argon2(?P<kind>id|i)\$v=19"
    rb"\$m=(?P<m>0|[1-9][0-9]{0,9}),t=(?P<t>0|[1-9][0-9]{0,9}),p=(?P<p>0|[1-9][0-9]{0,2})"
    rb"\$(?P<salt>%b{11,86})\$(?P<digest>%b{22,86})" % (_BASE64, _BASE64)
)
# 16 octets of salt and 23 of hash: the last letter of each has bits to spare, which are 0.
_BCRYPT = re.compile(
    rb"\$2[aby]\$(?P<cost>[0-9]{2})"
    rb"\$[./A-Za-z0-9]{21}[.Oeu][./A-Za-z0-9]{30}[.CGKOSWaeimquy26]"
)
_SCRYPT = re.compile(
    rb"\$scrypt\$ln=(?P<ln>[0-9]{1,2}),r=(?P<r>[0-9]{1,4}),p=(?P<p>[0-9]{1,4})"
    rb"\$(?P<salt>%b{11,86})\$(?P<digest>%b{22,86})" % (_BASE64, _BASE64)
)

_QUICK = "which is so quick to compute that passwords can be guessed from it"
_NOBODYS = "which no maintained library computes here"
_REFUSED: tuple[tuple[re.Pattern[bytes], str], ...] = tuple(
    (re.compile(pattern), reason)
    for pattern, reason in (
        (rb"\$apr1\$", f"a hash of Apache's MD5 (apr1), {_QUICK}"),
        (rb"\$(1|md5)\b", f"a hash of MD5, {_QUICK}"),
        (rb"(?i)\{s?sha\d*\}", f"a hash of plain SHA, {_QUICK}"),
        (rb"[0-9A-Fa-f]{32}\Z|[0-9A-Fa-f]{40}\Z", f"a bare digest, it seems, {_QUICK}"),
        (rb"\$5\$", f"a hash of SHA-256-crypt, {_NOBODYS}"),
        (rb"\$6\$", f"a hash of SHA-512-crypt, {_NOBODYS}"),
        (rb"\$g?y\$|\$7\$", f"a hash of yescrypt or its kin, {_NOBODYS}"),
        (rb"\$argon2d\$", "a hash of argon2d, which is not meant for passwords"),
        (rb"\$argon2(id|i)\$", "an argon2 hash that is not well-formed, or not of version 19"),
        (rb"\$2x?\$", "a bcrypt hash of a faulty version ($2$ or $2x$)"),
        (rb"\$2[aby]\$", "a bcrypt hash that is not well-formed"),
        (rb"\$scrypt\$", "a scrypt hash that is not well-formed"),
        (rb"\$", "a hash of an unknown kind"),
        (rb"[./0-9A-Za-z]{13}\Z", f"a password in plain text, or a hash of DES crypt, {_QUICK}"),
        (rb"[!*]", "the mark of a locked account"),
        (rb"", "a password in plain text, it seems"),
    )
)


def readHash(text: bytes) -> PasswordHash:
    """
    Read a hash as it stands in a file.

    @param text: C{$argon2id$v=19$m=…,t=…,p=…$salt$hash}, C{$2b$10$…} or
        C{$scrypt$ln=…,r=…,p=…$salt$hash}, the last with unpadded Base64.
    @return: the hash.
    @raise UnusableHash: it is of another kind, not well-formed, or asks for too much.
    """
    found = _ARGON2.fullmatch(text)
    if found:
        memory, passes, lanes = (int(found[name]) for name in ("m", "t", "p"))
        if not (passes >= 1 and lanes >= 1 and memory >= 8 * lanes):
            raise UnusableHash("an argon2 hash whose parameters are too small to be any")
        _bounded("argon2", memory << 10, passes * memory << 10)
        if lanes > MAX_LANES:
            raise UnusableHash(f"an argon2 hash with p={lanes}; {MAX_LANES} is the most")
        if lanes > 1 and passes * lanes > MAX_STARTS:
            raise UnusableHash("argon2 parameters that ask for more than seconds of work")
        _decoded(found["salt"], found["digest"])
        kind = argon2.Type.ID if found["kind"] == b"id" else argon2.Type.I
        return _Argon2(text, kind)
    found = _BCRYPT.fullmatch(text)
    if found:
        cost = int(found["cost"])
        if not 4 <= cost <= MAX_ROUNDS:
            raise UnusableHash(f"a bcrypt hash of cost {cost}; 4 to {MAX_ROUNDS} are possible")
        return _Bcrypt(text)
    found = _SCRYPT.fullmatch(text)
    if found:
        ln, r, p = (int(found[name]) for name in ("ln", "r", "p"))
        if not (ln >= 1 and r >= 1 and p >= 1):
            raise UnusableHash("a scrypt hash whose parameters are too small to be any")
        if ln >= 16 * r:
            # RFC 7914, section 2, and OpenSSL.
            raise UnusableHash("a scrypt hash whose ln is too large for its r")
        size = 128 * r << min(ln, 40)
        _bounded("scrypt", size + 128 * r * p, size * p)
        return _Scrypt(text, ln, r, p, *_decoded(found["salt"], found["digest"]))
    raise UnusableHash(next(reason for kind, reason in _REFUSED if kind.match(text)))


def newHash(password: bytes) -> bytes:
    """
    Hash a password, for a file.

    @param password: 1 to C{MAX_PASSWORD} octets.
    @return: what L{readHash} reads; another each time.
    """
    return _NEW.hash(password, salt=os.urandom(16)).encode("ascii")


def _bounded(kind: str, memory: int, work: int) -> None:
    """
    Make sure that computing a hash does not take too much.

    @raise UnusableHash: it does.
    """
    if memory > MAX_MEMORY:
        most = MAX_MEMORY >> 20
        raise UnusableHash(f"{kind} parameters that ask for more than {most} MiB of memory")
    if work > MAX_WORK:
        raise UnusableHash(f"{kind} parameters that ask for more than seconds of work")


def _decoded(*fields: bytes) -> list[bytes]:
    """
    Decode unpadded Base64, of which there is one way only to write some octets.

    @raise UnusableHash: some is none.
    """
    decoded = []
    for each in fields:
        padded = each + b"=" * (-len(each) % 4)
        try:
            octets = base64.b64decode(padded, validate=True)
        except binascii.Error:
            octets = b""
        if base64.b64encode(octets) != padded:
            raise UnusableHash("a hash whose Base64 is not well-formed")
        decoded.append(octets)
    return decoded
