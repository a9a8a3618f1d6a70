"""
The tables and samples on the pages, beside the code that they are about.
"""

from __future__ import annotations

import json
import re
from dataclasses import fields

from twisted.trial.unittest import SynchronousTestCase

import twisted_socks5
from tests.docs.pages import DOCS, ROOT, codes, links, pages, tables
from twisted_socks5 import Settings, auth, dialing, logs
from twisted_socks5.logs import AccessRecord, formatDated, formatJSON, formatText
from twisted_socks5.options import Options
from twisted_socks5.protection import guards
from twisted_socks5.rules import Rule
from twisted_socks5.wire import Reply, describe_reply

REFERENCE = DOCS / "reference.md"
LIMITS = DOCS / "howto" / "limits.md"

#: What Settings say in words of their own.
_WRITTEN = {"Filtering.ENDPOINT_INDEPENDENT": "Filtering.ENDPOINT_INDEPENDENT"}


class OptionTests(SynchronousTestCase):
    """The options of C{twistd socks5}."""

    def test_complete(self) -> None:
        """Each is in the reference, and each that is in there is one."""
        options = Options()
        long = {f"--{name.rstrip('=')}" for name in options.longOpt}
        short = {f"-{letter}" for letter in options.shortOpt if letter != ":"}
        shown = {word for row in tables(REFERENCE)[0] for word in codes(row[0])}
        self.assertEqual(shown, long | short)

    def test_defaults(self) -> None:
        """The defaults are right, there and in the table of limits."""
        options = Options()
        options.parseOptions([])
        checked = 0
        for row in tables(REFERENCE)[0] + [[row[0], *row[2:]] for row in tables(LIMITS)[0]]:
            for name in codes(row[0]):
                default = options.get(name.lstrip("-"))
                if isinstance(default, (int, float)) and row[1].isdecimal():
                    self.assertEqual(float(row[1]), default, name)
                    checked += 1
        self.assertGreater(checked, 12)


class SettingTests(SynchronousTestCase):
    """The settings."""

    def test_complete(self) -> None:
        """Each is in one of the two tables, with its default."""
        settings = Settings()
        limits = {codes(row[1])[0]: row[2] for row in tables(LIMITS)[0] if codes(row[1])}
        others = {codes(row[0])[0]: codes(row[1])[0] for row in tables(REFERENCE)[1]}
        self.assertEqual({*limits, *others}, {field.name for field in fields(settings)})
        for name, default in limits.items():
            self.assertEqual(float(default), getattr(settings, name), name)
        for name, default in others.items():
            value = getattr(settings, name)
            self.assertIn(default, (repr(value), str(value)), name)


class ReferenceTests(SynchronousTestCase):
    """The rest of the reference."""

    def test_replies(self) -> None:
        """The RFC's names of the replies."""
        shown = {int(row[0]): row[1] for row in tables(REFERENCE)[2]}
        self.assertEqual(shown, {int(one): describe_reply(one)[:-4] for one in Reply})

    def test_names(self) -> None:
        """What is to be imported can be, and all of the package's own names are there."""
        rooms = {
            "twisted_socks5": twisted_socks5,
            "twisted_socks5.auth": auth,
            "twisted_socks5.dialing": dialing,
            "twisted_socks5.logs": logs,
        }
        for row in tables(REFERENCE)[3]:
            room = rooms.get(codes(row[0])[0])
            if room is not None:
                for name in codes(row[1]):
                    self.assertTrue(hasattr(room, name), name)
        shown = set(codes(tables(REFERENCE)[3][0][1]))
        self.assertEqual(shown, set(twisted_socks5.__all__) - {"__version__"})


class AccessLogTests(SynchronousTestCase):
    """The access log."""

    page = DOCS / "howto" / "access-log.md"

    def test_fields(self) -> None:
        """Its table has the fields, in their order, as both formats call them."""
        record = AccessRecord("192.0.2.1:4000", 0.0)
        text = re.findall(r"(\w+)=", formatDated(record))
        shown = tables(self.page)[1]
        self.assertEqual([codes(row[0])[0] for row in shown], text)
        self.assertEqual([codes(row[1])[0] for row in shown], list(json.loads(formatJSON(record))))

    def test_samples(self) -> None:
        """Each line that is shown has all fields."""
        record = AccessRecord("192.0.2.1:4000", 0.0)
        names = re.findall(r"(\w+)=", formatText(record))
        samples = 0
        for page in pages():
            for line in re.findall(r"client=\S+ user=.*", page.read_text(encoding="utf-8")):
                self.assertEqual(re.findall(r"(\w+)=", line), names, line)
                samples += 1
        self.assertGreater(samples, 8)
        (shown,) = re.findall(r'^\{"time".*\}$', self.page.read_text(), re.MULTILINE)
        self.assertEqual(list(json.loads(shown)), list(json.loads(formatJSON(record))))


class RuleTests(SynchronousTestCase):
    """Who may reach what."""

    page = DOCS / "howto" / "rules.md"

    def test_protected(self) -> None:
        """Each network that is said to be protected is, for that reason, to its last address."""
        networks = 0
        for row in tables(self.page)[1]:
            for text in re.findall(r"[0-9a-f:.]+/[0-9]+", row[1]):
                network = Rule.parse("deny", text).network
                if network is None:
                    self.fail(text)
                for address in (network.network_address, network.broadcast_address):
                    found = guards(network.version, int(address), ())
                    self.assertIn((row[0], network), {(one.what, one.network) for one in found})
                networks += 1
        # All of them: what else is protected is no network.
        from twisted_socks5 import protection

        self.assertEqual(networks, len(protection._PROTECTED))

    def test_forms(self) -> None:
        """Each form of a rule that is shown is one."""
        for row in tables(self.page)[0]:
            for text in codes(row[0]):
                Rule.parse("permit", text)
        shown = re.findall(r"--(permit|deny) ('[^']+'|[^\s'`]+)", self.page.read_text())
        self.assertGreater(len(shown), 10)
        for action, text in shown:
            Rule.parse(action, text.strip("'"))


class LinkTests(SynchronousTestCase):
    """What pages link to."""

    def test_there(self) -> None:
        """It is in the repository."""
        found = 0
        for page in pages():
            for link in links(page):
                self.assertTrue((page.parent / link).exists(), f"{page.name}: {link}")
                found += 1
        self.assertGreater(found, 40)

    def test_all(self) -> None:
        """The README leads to each page."""
        named = {(ROOT / link).resolve() for link in links(ROOT / "README.md")}
        # Two are the README's own business: where to use it, and how to test with it.
        self.assertEqual(set(pages()) - named, {ROOT / "README.md"})
