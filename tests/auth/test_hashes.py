"""Tests of hashes: those that are known, and the many that are not."""

from __future__ import annotations

import base64
import hashlib

import argon2
import bcrypt
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.auth.hashes import MAX_PASSWORD, UnusableHash, newHash, readHash

SECRET = b"p\xc3\xa4ss\xff:word"


def encoded(octets: bytes) -> str:
    """Write octets as PHC strings do."""
    return base64.b64encode(octets).decode().rstrip("=")


def argon(kind: argon2.Type = argon2.Type.ID, password: bytes = SECRET) -> bytes:
    """Make a cheap hash of argon2."""
    return argon2.low_level.hash_secret(
        password, b"saltsalt", time_cost=1, memory_cost=8, parallelism=1, hash_len=16, type=kind
    )


def bcrypted(password: bytes = SECRET, letter: str = "b") -> bytes:
    """Make a cheap hash of bcrypt, under one of its names."""
    return bcrypt.hashpw(password, bcrypt.gensalt(4)).replace(b"$2b", b"$2" + letter.encode())


def scrypted(password: bytes = SECRET, ln: int = 4, r: int = 8, p: int = 1) -> bytes:
    """Make a cheap hash of scrypt."""
    digest = hashlib.scrypt(password, salt=b"saltsalt", n=1 << ln, r=r, p=p, dklen=32)
    return f"$scrypt$ln={ln},r={r},p={p}${encoded(b'saltsalt')}${encoded(digest)}".encode()


KNOWN = (
    argon(),
    argon(argon2.Type.I),
    *(bcrypted(letter=letter) for letter in "aby"),
    scrypted(),
)

#: From passlib's documentation of scrypt, Apache's of htpasswd -nbB, and argon2's own test.
FROM_ELSEWHERE = (
    (
        b"$scrypt$ln=16,r=8,p=1$aM15713r3Xsvxbi31lqr1Q"
        b"$nFNh2CVHVjNldFVKDHDlm4CbdRSCdEBsjjJxD+iCs5E",
        b"password",
    ),
    (b"$2y$05$c4WoMPo3SXsafkva.HHa6uXQZWr7oboPiC2bT/r7q1BB8I2s0BRqC", b"myPassword"),
    (
        b"$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4",
        b"password",
    ),
)


class KnownTests(SynchronousTestCase):
    """Hashes that are understood."""

    def test_matches(self) -> None:
        """The password matches and no other does, octet by octet."""
        for text in KNOWN:
            found = readHash(text)
            self.assertEqual(found.text, text)
            self.assertTrue(found.matches(SECRET), text)
            for wrong in (b"", b"x", SECRET + b"x", SECRET.upper(), SECRET[:-1]):
                self.assertFalse(found.matches(wrong), text)

    def test_fromElsewhere(self) -> None:
        """What other programs have written matches, too."""
        for text, password in FROM_ELSEWHERE:
            self.assertTrue(readHash(text).matches(password), text)
            self.assertFalse(readHash(text).matches(password.upper()), text)

    @given(st.binary(max_size=MAX_PASSWORD))
    @settings(max_examples=30, deadline=None)
    def test_octets(self, password: bytes) -> None:
        """Whatever octets a password is made of."""
        for text in (argon(password=password), scrypted(password)):
            self.assertTrue(readHash(text).matches(password))
            # Not a NUL behind it: HMAC, of which scrypt is made, takes that for nothing.
            self.assertFalse(readHash(text).matches(password + b"x"))
        self.assertTrue(readHash(bcrypted(password[:72])).matches(password))

    def test_longForBcrypt(self) -> None:
        """bcrypt takes 72 octets; whoever wrote the hash of a longer password took as many."""
        found = readHash(bcrypted(b"x" * 72))
        self.assertTrue(found.matches(b"x" * 73))
        self.assertFalse(found.matches(b"x" * 71))

    def test_repr(self) -> None:
        """A hash is not part of its repr."""
        for text in KNOWN:
            shown = repr(readHash(text))
            self.assertNotIn("salt", shown)
            self.assertNotIn(text.decode()[-8:], shown)

    def test_new(self) -> None:
        """A new hash is argon2id's, costs what it should, and is another each time."""
        text = newHash(SECRET)
        self.assertRegex(text, rb"^\$argon2id\$v=19\$m=19456,t=2,p=1\$")
        self.assertTrue(readHash(text).matches(SECRET))
        self.assertFalse(readHash(text).matches(b"x"))
        self.assertNotEqual(newHash(SECRET), text)


class RefusedTests(SynchronousTestCase):
    """Hashes that are not."""

    def why(self, text: bytes) -> str:
        """Tell why a hash is refused, in words that quote nothing of it."""
        with self.assertRaises(UnusableHash) as caught:
            readHash(text)
        return str(caught.exception)

    def test_kinds(self) -> None:
        """Each kind for its own reason."""
        for text, reason in (
            (b"$apr1$8sFt66rZ$E3OZXQSG2DvXM8hRy2/fb1", "Apache's MD5 (apr1)"),
            (b"$1$8sFt66rZ$E3OZXQSG2DvXM8hRy2/fb1", "MD5"),
            (b"{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ=", "plain SHA"),
            (b"{ssha}5en6G6MezRroT3XKqkdPOmY/BfQ=", "plain SHA"),
            (b"5f4dcc3b5aa765d61d8327deb882cf99", "a bare digest"),
            (b"$5$salt$Gcm6FsVtF/Qa77ZKD.iwsJlCVPY0XSMgLJL0Hnww/c1", "SHA-256-crypt"),
            (b"$6$salt$IxDD3jeSOb5eB1CX5LBsqZFVkJdido3OUILO5Ifz5iwMuTS4XMS1", "SHA-512-crypt"),
            (b"$y$j9T$F5Jx5fExrKuPp53xLKQ..1$X3DX6M94c7o.9agCG9G317fhZg9SqC", "yescrypt"),
            (b"$argon2d$v=19$m=8,t=1,p=1$c2FsdHNhbHQ$AAAA", "argon2d"),
            (b"$2x$04$" + b"." * 53, "faulty"),
            (b"$pbkdf2-sha256$29000$x$y", "unknown kind"),
            (b"rqXexS6ZhobKA", "DES crypt"),
            (b"correct horse", "plain text"),
            (b"wonderland", "plain text"),
            (b"", "plain text"),
            (b"!", "locked"),
            (b"*", "locked"),
        ):
            self.assertIn(reason, self.why(text), text)

    def test_malformed(self) -> None:
        """What begins like a hash that is known, and isn't one."""
        for text in (
            argon()[:-20],
            argon() + b" ",
            argon().replace(b"v=19", b"v=16"),
            argon().replace(b"v=19$", b""),
            argon().replace(b"t=1", b"t=-1"),
            argon().replace(b"m=8", b"m=" + "٨".encode()),
            bcrypted()[:-1],
            scrypted()[:-30],
            scrypted().replace(b",p=1", b""),
            scrypted() + b"\n",
            # Numbers that argon2 writes in one way only, and letters that bcrypt has no bits for.
            argon().replace(b"m=8", b"m=08"),
            argon().replace(b"t=1", b"t=01"),
            argon().replace(b"p=1", b"p=01"),
            bcrypted()[:28] + b"z" + bcrypted()[29:],
            bcrypted()[:-1] + b"z",
        ):
            self.assertIn("not well-formed", self.why(text), text)

    def test_base64(self) -> None:
        """Base64 that decoders do not agree about is none."""
        for text in (argon(), scrypted()):
            # 16 or 32 octets leave bits at the end, which are 0 where it is written well.
            self.assertIn("Base64", self.why(text[:-1] + b"/"))
        self.assertIn(
            "Base64", self.why(scrypted().replace(encoded(b"saltsalt").encode(), b"x" * 13))
        )

    def test_tooMuch(self) -> None:
        """Parameters that would take the proxy's memory, or its processors for a minute."""
        gigabytes = str(4 << 20).encode()
        for text, reason in (
            (argon().replace(b"m=8,", b"m=" + gigabytes + b","), "256 MiB of memory"),
            (argon().replace(b"m=8,", b"m=9999999999,"), "256 MiB of memory"),
            (argon().replace(b"m=8,t=1", b"m=262144,t=5"), "seconds of work"),
            (argon().replace(b"t=1", b"t=4294967295"), "seconds of work"),
            (argon().replace(b"m=8,t=1,p=1", b"m=1024,t=1,p=17"), "16 is the most"),
            (argon().replace(b"m=8,t=1,p=1", b"m=128,t=8192,p=16"), "seconds of work"),
            (scrypted().replace(b"ln=4", b"ln=25"), "256 MiB of memory"),
            (scrypted().replace(b"ln=4,r=8", b"ln=16,r=1"), "too large for its r"),
            (scrypted().replace(b"ln=4", b"ln=99"), "256 MiB of memory"),
            (scrypted().replace(b"p=1", b"p=9999"), "256 MiB|seconds"),
            (scrypted().replace(b"ln=4,r=8,p=1", b"ln=16,r=8,p=99"), "seconds of work"),
            (bcrypted().replace(b"$04", b"$15"), "cost 15"),
            (bcrypted().replace(b"$04", b"$31"), "cost 31"),
        ):
            if "|" in reason:
                readHash(text)  # much, but not too much
            else:
                self.assertIn(reason, self.why(text), text)

    def test_tooLittle(self) -> None:
        """Parameters with which nothing can be computed."""
        for text, reason in (
            (argon().replace(b"t=1", b"t=0"), "too small"),
            (argon().replace(b"m=8", b"m=7"), "too small"),
            (argon().replace(b"p=1", b"p=2"), "too small"),
            (scrypted().replace(b"ln=4", b"ln=0"), "too small"),
            (scrypted().replace(b"r=8", b"r=0"), "too small"),
            (scrypted().replace(b"p=1", b"p=0"), "too small"),
            (bcrypted().replace(b"$04", b"$03"), "cost 3"),
        ):
            self.assertIn(reason, self.why(text), text)

    @given(st.sampled_from(KNOWN), st.integers(0, 100), st.sampled_from("./+AZaz0189=,$"))
    @settings(max_examples=200, deadline=None)
    def test_takenIsComputed(self, text: bytes, at: int, letter: str) -> None:
        """What is taken at the start can be computed at a login, whatever letter is wrong."""
        # Not among the parameters of bcrypt, where another digit is a second of work.
        at %= len(text) - 8
        wrong = text[: 8 + at] + letter.encode() + text[9 + at :]
        try:
            found = readHash(wrong)
        except UnusableHash:
            return
        self.assertIn(found.matches(SECRET), (True, False))

    @given(st.binary(max_size=120))
    @settings(max_examples=200, deadline=None)
    def test_total(self, text: bytes) -> None:
        """Any octets are refused with a reason, in which none of them are."""
        for each in (text, b"$" + text, b"$argon2id$" + text, b"$2b$12$" + text):
            reason = self.why(each)
            self.assertTrue(reason.isascii() and reason.isprintable())
