"""Tests of what a failed login may say."""

from __future__ import annotations

import base64
import json
from urllib.parse import quote

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.cred.credentials import Anonymous, ICredentials
from twisted.cred.error import LoginDenied, Unauthorized, UnauthorizedLogin, UnhandledCredentials
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from tests.auth.fakes import ALICE, LogCase, thrown
from twisted_socks5.auth import OctetCredentials
from twisted_socks5.auth.refusals import clientName, explain, safeText, withoutSecrets

_REMARK = "(text withheld: it quotes what the client sent)"


def _raised(error: BaseException, captureVars: bool = False) -> Failure:
    """Make a failure with a frame in which a variable holds the password."""
    password = ALICE.password
    try:
        if password:
            raise error
    except BaseException:
        return Failure(captureVars=captureVars)
    raise AssertionError


class SafeTextTests(SynchronousTestCase):
    """An exception's text, unless it gives the password away."""

    def text(self, message: str, credentials: ICredentials = ALICE) -> str:
        """Return what is left of a message."""
        return safeText(Failure(ValueError(message)), credentials)

    def test_harmless(self) -> None:
        """What says nothing of the password is kept."""
        self.assertEqual(
            self.text("cannot reach ldap.example: 111"), "cannot reach ldap.example: 111"
        )

    def test_spellings(self) -> None:
        """The password is found in each spelling programs use."""
        for password in (
            b"hunter2-hunter2",
            "pä\u00dfw\u00f6rt\n".encode(),
            b"\xff\xfe\x00'\"\\\xfd",
        ):
            credentials = OctetCredentials(b"bob", password)
            plain = password.decode("utf-8", "backslashreplace")
            basic = base64.b64encode(b"bob:" + password).decode()
            for spelling in (
                plain,
                repr(password),
                repr(plain),
                json.dumps(plain),
                password.decode("latin-1"),
                password.decode("utf-8", "replace"),
                quote(password),
                password.hex(),
                password.hex().upper(),
                base64.b64encode(password).decode(),
                f"Authorization: Basic {basic}",
            ):
                self.assertEqual(self.text(f"bad: {spelling}!", credentials), _REMARK, spelling)

    def test_eachSpelling(self) -> None:
        """Passwords whose every other spelling is different are found too."""
        for password, quoted in (
            ("\u00e4\u00f6\u00fc\u00df".encode(), repr("\u00e4\u00f6\u00fc\u00df".encode())),
            ("\u00e9\t\u00e9".encode(), repr("\u00e9\t\u00e9")),
            ("\u00e4\u00f6\u00fc".encode(), json.dumps("\u00e4\u00f6\u00fc")),
            (b"\xff\xfeab", b"\xff\xfeab".decode("utf-8", "replace")),
            (b"\xe4\xf6ab", "\u00e4\u00f6ab"),
        ):
            credentials = OctetCredentials(b"bob", password)
            self.assertEqual(self.text(f"bad: {quoted}!", credentials), _REMARK, quoted)

    @given(st.text(min_size=4, max_size=40), st.integers(0, 36), st.text(max_size=20))
    @settings(max_examples=100, deadline=None)
    def test_part(self, password: str, start: int, around: str) -> None:
        """Four characters in a row are enough."""
        part = password[min(start, len(password) - 4) :][:4]
        credentials = OctetCredentials(b"alice", password.encode())
        self.assertEqual(self.text(around + part + around, credentials), _REMARK)

    def test_less(self) -> None:
        """Three are not: they occur in any sentence."""
        self.assertEqual(self.text("cor orr rre"), "cor orr rre")

    def test_short(self) -> None:
        """A password shorter than that is found whole."""
        credentials = OctetCredentials(b"alice", b"x1")
        self.assertEqual(self.text("not x1", credentials), _REMARK)
        self.assertEqual(self.text("not x 1", credentials), "not x 1")

    def test_unicode(self) -> None:
        """A decoding error quotes single octets, and is withheld always."""
        with self.assertRaises(UnicodeDecodeError) as caught:
            b"ab\xff".decode("utf-8")
        credentials = OctetCredentials(b"alice", b"ab\xff")
        self.assertEqual(safeText(Failure(caught.exception), credentials), _REMARK)

    def test_nothingToHide(self) -> None:
        """Without a password there is nothing to withhold."""
        for credentials in (Anonymous(), OctetCredentials(b"alice", b"")):
            self.assertEqual(self.text("any text", credentials), "any text")

    def test_foreign(self) -> None:
        """Credentials of another kind are looked at as far as they are text or octets."""

        class Foreign(Anonymous):
            username = None
            password: object = "open-sesame"

        self.assertEqual(self.text("not open-sesame", Foreign()), _REMARK)
        Foreign.password = object()
        self.assertEqual(self.text("any text", Foreign()), "any text")


class WithoutSecretsTests(SynchronousTestCase):
    """A failure's copy for the log."""

    def test_kept(self) -> None:
        """The type, the text and the way through the code are kept."""
        copy = withoutSecrets(_raised(ValueError("no route")), ALICE)
        self.assertIs(copy.check(ValueError), ValueError)
        self.assertIn("in _raised", copy.getTraceback())
        self.assertIn("builtins.ValueError: no route", copy.getTraceback())

    def test_variables(self) -> None:
        """Variables are not, even where a debugger had them captured."""
        original = _raised(ValueError("no route"), captureVars=True)
        self.assertIn("correct-horse", original.getTraceback(detail="verbose"))
        copy = withoutSecrets(original, ALICE)
        self.assertNotIn("correct-horse", copy.getTraceback(detail="verbose"))
        self.assertEqual([frame[3:] for frame in copy.frames], [((), ())])
        self.assertIsNone(copy.tb)
        self.assertIsNone(thrown(copy).__traceback__)

    def test_context(self) -> None:
        """Nor what the exception was raised from."""
        try:
            try:
                raise KeyError(ALICE.password)
            except KeyError as error:
                raise ValueError("unknown") from error
        except ValueError:
            copy = withoutSecrets(Failure(), ALICE)
        self.assertIsNone(thrown(copy).__cause__)
        self.assertIsNone(thrown(copy).__context__)

    def test_withheld(self) -> None:
        """A telling text is not in it."""
        copy = withoutSecrets(_raised(ValueError("not correct-horse")), ALICE)
        self.assertNotIn("horse", repr(copy.value))

    def test_noPart(self) -> None:
        """Where the credentials had no part, the text is kept."""
        self.assertEqual(str(withoutSecrets(_raised(ValueError("busy"))).value), "busy")


class ExplainTests(LogCase):
    """The reason for the session, the rest for the log."""

    def test_expected(self) -> None:
        """Cred's own words are reasons, and no news for the log."""
        for error in (
            UnauthorizedLogin("expired"),
            LoginDenied("expired"),
            Unauthorized("expired"),
        ):
            self.assertEqual(explain(Failure(error), self, ALICE), "expired")
        self.assertEqual(explain(Failure(UnauthorizedLogin()), self, ALICE), "")
        self.assertEqual(self.events, [])

    def test_telling(self) -> None:
        """A reason that quotes the password is none."""
        failure = Failure(UnauthorizedLogin("not correct-horse"))
        self.assertEqual(explain(failure, self, ALICE), _REMARK)

    def test_unexpected(self) -> None:
        """Anything else is logged with its traceback and named as the reason."""
        reason = explain(_raised(ValueError("no route")), self, ALICE)
        self.assertEqual(
            reason,
            "tests.auth.test_refusals.ExplainTests failed with builtins.ValueError, see the log",
        )
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        self.assertIn("could not answer for user b'alice'", self.logged())
        self.assertIn("in _raised", self.logged())

    def test_unhandled(self) -> None:
        """Credentials that nobody checks are the server's mistake, not the client's."""
        explain(Failure(UnhandledCredentials("no checker")), self, ALICE)
        self.assertEqual(len(self.flushLoggedErrors(UnhandledCredentials)), 1)

    def test_clientName(self) -> None:
        """A name is quoted: it can be made of any octets."""
        self.assertEqual(clientName(OctetCredentials(b"a\nb", b"")), "user b'a\\nb'")
        self.assertEqual(clientName(Anonymous()), "an anonymous client")
