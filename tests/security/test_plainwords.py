"""
What becomes of libkrb5's words; test_kerberos has those that it really says.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.security.plainwords import explain, oneLine, principalText


class PlainWordsTests(SynchronousTestCase):
    """What becomes of the library's words."""

    def test_principal(self) -> None:
        """What is in a name stays told apart, and prints."""
        for name, text in (
            (b"alice@A", "alice@A"),
            ("jörg@A".encode(), "jörg@A"),
            (b"\xff@A", "\\xff@A"),
            (b"\\\\xff@A", "\\\\xff@A"),
            (b"a\x1b[31m\r@A", "a\\x1b[31m\\r@A"),
            ("a\u202eb@A".encode(), "a\\u202eb@A"),
        ):
            self.assertEqual(principalText(name), text)

    def test_oneLine(self) -> None:
        """Text becomes a line of bounded length."""
        self.assertEqual(oneLine(" a\r\n b\tc\x1b[0m "), "a b c?[0m")
        self.assertEqual(len(oneLine("x" * 10_000)), 301)

    def test_unreadable(self) -> None:
        """An error whose text cannot be read is one all the same."""

        class MissingContextError(Exception):
            """As the package names it."""

            min_code = 1

            def get_all_statuses(self, code: int, major: bool) -> list[str]:
                """Fail as the package does."""
                raise LookupError("unknown encoding")

        class GSSError(MissingContextError):
            """One without a name of its own."""

        said = explain(MissingContextError())
        self.assertEqual(
            said, "there is no context: Kerberos says why with octets that are no text"
        )
        self.assertIn("no text", explain(GSSError()))
        self.assertIn("no text", explain(UnicodeError()))
