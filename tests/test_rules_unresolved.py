"""Rules where names are not resolved, but go on to another proxy."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.interfaces import Access, Verdict
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.wire import Command

CLIENT = ip_address("192.0.2.1")


def judge(host: str, *rules: str, port: int = 80, client: str = "192.0.2.1") -> Verdict:
    """Judge a name by rules like C{permit *}."""
    parsed = [Rule.parse(*rule.split()) for rule in rules]
    access = Access(ip_address(client), None, Command.CONNECT, host, port)
    return Rules(parsed, resolves=False).judge(access)


class NameTests(SynchronousTestCase):
    """What is said of a name, for good."""

    def test_none(self) -> None:
        """Without a rule about it, it is permitted."""
        for rules in ((), ("deny other.example",), ("deny 10.0.0.0/8",), ("permit 10.0.0.0/8",)):
            self.assertEqual(judge("a.example", *rules), Verdict(True, "no rule against it"))

    def test_networks(self) -> None:
        """A permit for a network is no hope for a name: what is denied behind it stays so."""
        self.assertEqual(
            judge("a.example", "permit 10.0.0.0/8", "deny *"), Verdict(False, "deny *")
        )
        self.assertEqual(
            judge("a.example", "permit 0.0.0.0/0", "deny a.example"),
            Verdict(False, "deny a.example"),
        )

    def test_names(self) -> None:
        """The first rule about it decides, if the port is right."""
        rules = ("permit a.example:443", "deny *.example", "permit *")
        self.assertEqual(
            judge("a.example", *rules, port=443), Verdict(True, "permit a.example:443")
        )
        self.assertEqual(judge("a.example", *rules), Verdict(False, "deny *.example"))
        self.assertEqual(judge("a.test", *rules), Verdict(True, "permit *"))

    def test_localhost(self) -> None:
        """Nothing lifts the protection of the names of a host of its own, but for that host."""
        for rules in ((), ("permit 127.0.0.1",), ("permit *",), ("permit localhost",)):
            for name in ("localhost", "a.localhost"):
                verdict = judge(name, *rules)
                self.assertFalse(verdict.permitted)
                self.assertIn("loopback name", verdict.reason)
                self.assertTrue(judge(name, *rules, client="127.0.0.1").permitted)

    def test_addresses(self) -> None:
        """Addresses are judged as ever."""
        rules = Rules([Rule.parse("deny", "198.51.100.0/24")], resolves=False)
        for host, permitted in (("198.51.100.7", False), ("203.0.113.5", True)):
            access = Access(CLIENT, None, Command.CONNECT, host, 80, ip_address(host))
            self.assertIs(rules.judge(access).permitted, permitted)
