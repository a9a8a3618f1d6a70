"""Rules: how they are written, which one decides, and what no permit of a name can lift."""

from __future__ import annotations

from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.test_addresses import CARRIERS
from twisted_socks5.addresses import embedded
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.interfaces import Access, IPAddress, IRules, Verdict
from twisted_socks5.rules import Rule, Rules
from twisted_socks5.wire.constants import Command

ELSEWHERE = ip_address("192.0.2.7")
LOCAL: list[IPAddress | None] = [None, ip_address("127.0.0.1"), ip_address("::1")]


def parsed(text: str) -> list[Rule]:
    """Read rules, parted by semicolons."""
    return [Rule.parse(*line.split(None, 1)) for line in text.split(";") if line.strip()]


def access(
    address: str | IPAddress | None,
    host: str | None = None,
    port: int = 443,
    client: IPAddress | None = ELSEWHERE,
) -> Access:
    """Somebody wants to reach something."""
    one = ip_address(address) if address is not None else None
    return Access(client, None, Command.CONNECT, str(one) if host is None else host, port, one)


class ParseTests(SynchronousTestCase):
    """How rules are written."""

    def test_networks(self) -> None:
        """Addresses and networks of both versions, with ports or without."""
        for text, network, ports in (
            ("192.0.2.1", "192.0.2.1/32", range(65536)),
            ("192.0.2.0/24", "192.0.2.0/24", range(65536)),
            ("0.0.0.0/0", "0.0.0.0/0", range(65536)),
            ("192.0.2.1:80", "192.0.2.1/32", range(80, 81)),
            ("10.0.0.0/8:80-443", "10.0.0.0/8", range(80, 444)),
            ("10.0.0.0/8:0-65535", "10.0.0.0/8", range(65536)),
            ("2001:db8::1", "2001:db8::1/128", range(65536)),
            ("[2001:db8::1]", "2001:db8::1/128", range(65536)),
            ("[2001:DB8::1]:443", "2001:db8::1/128", range(443, 444)),
            ("2001:db8::/32", "2001:db8::/32", range(65536)),
            ("[2001:db8::/32]:1-2", "2001:db8::/32", range(1, 3)),
            ("::/0", "::/0", range(65536)),
            ("::ffff:192.0.2.1", "192.0.2.1/32", range(65536)),
            ("[::ffff:10.0.0.0/104]:80", "10.0.0.0/8", range(80, 81)),
            ("::ffff:0:0/96", "0.0.0.0/0", range(65536)),
            ("::fffe:0:0/95", "::fffe:0:0/95", range(65536)),
        ):
            rule = Rule.parse("deny", text)
            self.assertEqual((rule.network, rule.ports), (ip_network(network), ports), text)
            self.assertEqual((rule.permit, rule.name), (False, None))

    def test_names(self) -> None:
        """Names, alone and with what is below them, read as a client's are."""
        for text, name, itself, below in (
            ("Example.COM.", "example.com", True, False),
            ("*.example.com", "example.com", False, True),
            (".example.com", "example.com", True, True),
            ("b\u00fccher.example", "xn--bcher-kva.example", True, False),
            ("localhost", "localhost", True, False),
            ("*.com", "com", False, True),
        ):
            for suffix, ports in (("", range(65536)), (":80", range(80, 81))):
                rule = Rule.parse("permit", text + suffix)
                self.assertEqual(
                    (rule.permit, rule.name, rule.itself, rule.below, rule.ports, rule.network),
                    (True, name, itself, below, ports, None),
                )

    def test_everything(self) -> None:
        """A star is everything."""
        for text, ports in (("*", range(65536)), ("*:25", range(25, 26)), (" * ", range(65536))):
            rule = Rule.parse("deny", text)
            self.assertEqual((rule.name, rule.network, rule.ports), (None, None, ports))

    def test_text(self) -> None:
        """A rule is shown as it was written."""
        self.assertEqual(str(Rule.parse("deny", " 10.0.0.0/8:80 ")), "deny 10.0.0.0/8:80")
        self.assertEqual(str(Rule.parse("permit", "*.Example.com")), "permit *.Example.com")

    def test_errors(self) -> None:
        """Each mistake is told in one line that names the text and what is wrong with it."""
        for text, problem in (
            ("", "empty"),
            (":80", "empty"),
            (".", "empty"),
            ("*.", "empty"),
            ("10.0.0.1/8", "host bits are set: the network is 10.0.0.0/8"),
            ("[2001:db8::1/32]:80", "host bits are set: the network is 2001:db8::/32"),
            ("10.0.0.0/33", "'33' is no prefix length, 0 to 32"),
            ("10.0.0.0/", "'' is no prefix length, 0 to 32"),
            ("10.0.0.0/-1", "'-1' is no prefix length, 0 to 32"),
            ("10.0.0.0/\u0668", "'\u0668' is no prefix length, 0 to 32"),
            ("10.0.0.0/" + "9" * 5000, f"'{'9' * 5000}' is no prefix length, 0 to 32"),
            ("10.0.0.0/255.0.0.0", "'255.0.0.0' is no prefix length, 0 to 32"),
            ("2001:db8::/129", "'129' is no prefix length, 0 to 128"),
            ("10.0.0/8", "'10.0.0' does not appear to be an IPv4 or IPv6 address"),
            ("example.com/8", "'example.com' does not appear to be an IPv4 or IPv6 address"),
            ("example.com:80:90", "does not appear to be an IPv4 or IPv6 address"),
            ("fe80::1%eth0", "rules know no zone ids"),
            ("10.0.0.1:", "'' is no port, 0 to 65535"),
            ("10.0.0.1:http", "'http' is no port, 0 to 65535"),
            ("10.0.0.1:65536", "'65536' is no port, 0 to 65535"),
            ("10.0.0.1:000080", "'000080' is no port, 0 to 65535"),
            ("10.0.0.1:+80", "'+80' is no port, 0 to 65535"),
            ("10.0.0.1:8_0", "'8_0' is no port, 0 to 65535"),
            ("10.0.0.1:\u0668", "'\u0668' is no port, 0 to 65535"),
            ("10.0.0.1:" + "0" * 5000, "is no port, 0 to 65535"),
            ("10.0.0.1:80-", "'' is no port, 0 to 65535"),
            ("10.0.0.1:-80", "'' is no port, 0 to 65535"),
            ("10.0.0.1:1-2-3", "'2-3' is no port, 0 to 65535"),
            ("10.0.0.1:90-80", "the port range 90-80 is reversed"),
            ("[2001:db8::1", "a bracket is not closed"),
            ("[10.0.0.1]:80", "brackets are for IPv6 addresses"),
            ("[2001:db8::1]80", "only a port may follow the bracket"),
            ("[2001:db8::]/32", "only a port may follow the bracket; a prefix length goes inside"),
            ("127.1", "'127.1' is the address 127.0.0.1: write that"),
            ("*.0x7f.1", "'0x7f.1' is the address 127.0.0.1: write that"),
            ("10.0.0.256", "256 is too large for an address"),
            ("10.*", "the character *"),
            ("*example.com", "the character *"),
            ("a b", "white space"),
            ("caf\udce9.example", "not UTF-8"),
        ):
            error = self.assertRaises(ConfigurationError, Rule.parse, "deny", text)
            self.assertTrue(str(error).startswith(f"rule deny {text!r}: "), str(error))
            self.assertTrue(problem in str(error), str(error))
            self.assertNotIn("\n", str(error))

    def test_action(self) -> None:
        """A rule is permit or deny and nothing else."""
        error = self.assertRaises(ConfigurationError, Rule.parse, "allow", "*")
        self.assertEqual(str(error), "a rule is permit or deny, not 'allow'")


class FirstMatchTests(SynchronousTestCase):
    """Which rule decides."""

    def check(self, rules: str, expected: list[tuple[Access, bool, str]]) -> None:
        """Judge accesses by the same rules."""
        judge = Rules(parsed(rules)).judge
        for one, permitted, reason in expected:
            self.assertEqual(judge(one), Verdict(permitted, reason), one)

    def test_interface(self) -> None:
        """Rules are L{IRules}."""
        verifyObject(IRules, Rules())

    def test_none(self) -> None:
        """Without rules everything ordinary is permitted."""
        self.check(
            "",
            [
                (access("93.184.216.34"), True, "no rule against it"),
                (access("2606:4700::1111"), True, "no rule against it"),
                (access("10.0.0.1"), True, "no rule against it"),
                (access(None, "example.com"), True, "its addresses will decide"),
            ],
        )

    def test_networks(self) -> None:
        """Networks match by address; the first one decides, not the closest."""
        self.check(
            "permit 10.1.0.0/16; deny 10.0.0.0/8; permit 10.2.0.0/16; deny 2001:db8::/32",
            [
                (access("10.1.2.3"), True, "permit 10.1.0.0/16"),
                (access("10.2.2.3"), False, "deny 10.0.0.0/8"),
                (access("11.0.0.0"), True, "no rule against it"),
                (access("10.2.2.3", "example.com"), False, "deny 10.0.0.0/8"),
                (access("2001:db8::1"), False, "deny 2001:db8::/32"),
                (access("2001:db9::"), True, "no rule against it"),
                (access(ip_address("::ffff:10.2.2.3")), False, "deny 10.0.0.0/8"),
            ],
        )

    def test_versions(self) -> None:
        """All of one version of IP is nothing of the other."""
        self.check(
            "deny ::/0",
            [
                (access("192.0.2.1"), True, "no rule against it"),
                (access("2001:db8::1"), False, "deny ::/0"),
                (access("::ffff:192.0.2.1"), True, "no rule against it"),
            ],
        )

    def test_ports(self) -> None:
        """A rule with ports is about no other."""
        self.check(
            "permit 10.0.0.0/8:80-81; deny 10.0.0.0/8; deny *:25",
            [
                (access("10.0.0.1", port=79), False, "deny 10.0.0.0/8"),
                (access("10.0.0.1", port=80), True, "permit 10.0.0.0/8:80-81"),
                (access("10.0.0.1", port=81), True, "permit 10.0.0.0/8:80-81"),
                (access("10.0.0.1", port=82), False, "deny 10.0.0.0/8"),
                (access("192.0.2.1", port=25), False, "deny *:25"),
                (access(None, "example.com", port=25), False, "deny *:25"),
                (access("192.0.2.1", port=26), True, "no rule against it"),
            ],
        )

    def test_names(self) -> None:
        """Names match by what was asked for, before and after it is resolved."""
        for address in (None, "192.0.2.1", "2001:db8::1"):
            unmatched = "no rule against it" if address else "its addresses will decide"
            self.check(
                "permit good.evil.example; deny *.evil.example; deny .bad.example;"
                "deny one.example",
                [
                    (access(address, "good.evil.example"), True, "permit good.evil.example"),
                    (access(address, "x.good.evil.example"), False, "deny *.evil.example"),
                    (access(address, "a.b.evil.example"), False, "deny *.evil.example"),
                    (access(address, "evil.example"), True, unmatched),
                    (access(address, "notevil.example"), True, unmatched),
                    (access(address, "bad.example"), False, "deny .bad.example"),
                    (access(address, "a.bad.example"), False, "deny .bad.example"),
                    (access(address, "one.example"), False, "deny one.example"),
                    (access(address, "a.one.example"), True, unmatched),
                    (access(address, "example"), True, unmatched),
                ],
            )

    def test_addressAsked(self) -> None:
        """A name rule is not about an address that the client wrote itself."""
        self.check(
            "permit example.com; deny *",
            [
                (access("93.184.216.34", "example.com"), True, "permit example.com"),
                (access("93.184.216.34"), False, "deny *"),
            ],
        )

    def test_undecided(self) -> None:
        """A name is denied at once only if none of its addresses could be permitted."""
        rules = "permit 10.0.0.0/8:443; deny *.evil.example; deny 192.0.2.0/24; deny *:80"
        self.check(
            rules,
            [
                (access(None, "x.evil.example"), True, "its addresses will decide"),
                (access("10.0.0.1", "x.evil.example"), True, "permit 10.0.0.0/8:443"),
                (access("10.0.0.1", "x.evil.example", 80), False, "deny *.evil.example"),
                (access("11.0.0.1", "x.evil.example"), False, "deny *.evil.example"),
                (access(None, "x.evil.example", 442), False, "deny *.evil.example"),
                (access(None, "example.com", 80), False, "deny *:80"),
            ],
        )

    def test_permittedName(self) -> None:
        """A permit for a name goes before later denies of its address."""
        self.check(
            "permit intranet.example; deny 10.0.0.0/8; deny *",
            [
                (access(None, "intranet.example"), True, "permit intranet.example"),
                (access("10.0.0.1", "intranet.example"), True, "permit intranet.example"),
                (access("10.0.0.1", "other.example"), False, "deny 10.0.0.0/8"),
                (access(None, "other.example"), False, "deny *"),
            ],
        )


class DisguiseTests(SynchronousTestCase):
    """Rules about IPv4 addresses and the IPv6 ones that carry them."""

    @given(
        st.integers(0, 2**24 - 1).map(lambda n: IPv4Address((10 << 24) + n)),
        st.sampled_from(sorted(CARRIERS)),
    )
    @settings(max_examples=200, deadline=None)
    def test_denied(self, address: IPv4Address, mechanism: str) -> None:
        """Every address of a denied range is denied in every disguise, to every client."""
        rules = Rules(parsed("deny 10.0.0.0/8"))
        carrier = IPv6Address(CARRIERS[mechanism](address))
        for client in (ELSEWHERE, *LOCAL):
            verdict = rules.judge(access(carrier, client=client))
            self.assertFalse(verdict.permitted)
            self.assertTrue(verdict.reason.startswith("deny 10.0.0.0/8"))
            self.assertEqual(rules.judge(access(carrier, "example.com")).permitted, False)

    def test_reason(self) -> None:
        """The reason names both forms."""
        judge = Rules(parsed("deny 10.0.0.0/8")).judge
        self.assertEqual(
            judge(access("64:ff9b::10.0.0.1")).reason,
            "deny 10.0.0.0/8 (10.0.0.1 as NAT64 in 64:ff9b::a00:1)",
        )
        self.assertEqual(
            judge(access("2001:0:c000:201::f5ff:fffe")).reason,
            "deny 10.0.0.0/8 (10.0.0.1 as Teredo in 2001:0:c000:201::f5ff:fffe)",
        )

    def test_permitted(self) -> None:
        """A permit holds for NAT64, another spelling, and no other disguise."""
        judge = Rules(parsed("permit 8.8.8.0/24; deny *")).judge
        self.assertEqual(
            judge(access("64:ff9b::8.8.8.8")),
            Verdict(True, "permit 8.8.8.0/24 (8.8.8.8 as NAT64 in 64:ff9b::808:808)"),
        )
        self.assertEqual(judge(access("::ffff:8.8.8.8")), Verdict(True, "permit 8.8.8.0/24"))
        for mechanism, carry in CARRIERS.items():
            verdict = judge(access(carry(IPv4Address("8.8.8.8"))))
            self.assertEqual(verdict.permitted, mechanism in ("NAT64", "IPv4-mapped"), mechanism)

    def test_order(self) -> None:
        """The first match wins among the rules about both forms."""
        judge = Rules(parsed("permit 2002:a00::/24; deny 10.0.0.0/8; permit 2002::/16")).judge
        self.assertEqual(judge(access("2002:a00:1::")), Verdict(True, "permit 2002:a00::/24"))
        judge = Rules(parsed("deny 10.0.0.0/8; permit 2002:a00::/24")).judge
        self.assertFalse(judge(access("2002:a00:1::")).permitted)


class ProtectionTests(SynchronousTestCase):
    """What clients from elsewhere cannot reach."""

    PROTECTED = (
        ("127.0.0.1", "loopback"),
        ("127.255.255.254", "loopback"),
        ("0.0.0.0", "unspecified"),
        ("169.254.169.254", "link-local"),
        ("224.0.0.251", "multicast"),
        ("255.255.255.255", "broadcast"),
        ("240.0.0.1", "reserved"),
        ("100.100.100.200", "cloud metadata"),
        ("::", "unspecified"),
        ("::1", "loopback"),
        ("fe80::1", "link-local"),
        ("fec0::1", "site-local"),
        ("ff02::fb", "multicast"),
        ("fd00:ec2::254", "cloud metadata"),
    )

    def test_elsewhere(self) -> None:
        """A client from elsewhere is denied, with the reason; by name or by address."""
        for text, what in self.PROTECTED:
            for host in (None, "example.com"):
                for client in (ELSEWHERE, ip_address("2001:db8::7"), ip_address("10.0.0.1")):
                    self.assertEqual(
                        Rules().judge(access(text, host, client=client)),
                        Verdict(False, f"{what} destination {text} from {client}"),
                    )

    def test_local(self) -> None:
        """A client on this host may reach all of it."""
        judge = Rules(own=lambda address, port: True).judge
        for client in LOCAL:
            for text, _ in self.PROTECTED:
                self.assertTrue(judge(access(text, client=client)).permitted)
            self.assertTrue(judge(access(None, "localhost", client=client)).permitted)
            self.assertTrue(judge(access("127.0.0.1", "localhost", client=client)).permitted)

    def test_localDenied(self) -> None:
        """But what a rule denies is denied to it, too."""
        for client in LOCAL:
            verdict = Rules(parsed("deny 127.0.0.0/8")).judge(access("127.0.0.1", client=client))
            self.assertEqual(verdict, Verdict(False, "deny 127.0.0.0/8"))

    @given(
        st.sampled_from([text for text, _ in PROTECTED if ":" not in text]),
        st.sampled_from(sorted(CARRIERS)),
    )
    @settings(max_examples=100, deadline=None)
    def test_disguised(self, text: str, mechanism: str) -> None:
        """No disguise helps."""
        if text == "0.0.0.0" and mechanism.startswith("NAT64 /"):
            return
        carrier = CARRIERS[mechanism](IPv4Address(text))
        for rules in ("", "permit *", "permit example.com", "permit ::/0", "permit 0.0.0.0/0"):
            verdict = Rules(parsed(rules)).judge(access(carrier, "example.com"))
            self.assertFalse(verdict.permitted, (carrier, rules))

    def test_disguisedReason(self) -> None:
        """The reason names both forms."""
        self.assertEqual(
            Rules().judge(access("2002:7f00:1::")).reason,
            "loopback destination 2002:7f00:1:: (127.0.0.1 as 6to4) from 192.0.2.7",
        )
        # Two reasons: the server's address and the client's.
        self.assertEqual(
            Rules().judge(access("2001:0:7f00:1::5601:5601")).reason,
            "link-local destination 2001:0:7f00:1::5601:5601 (169.254.169.254 as Teredo) "
            "from 192.0.2.7",
        )

    @given(st.one_of(st.integers(1 << 24, 223 << 24), st.integers(0x2400 << 112, 0x2C00 << 112)))
    @settings(max_examples=200, deadline=None)
    def test_ordinary(self, value: int) -> None:
        """Ordinary public addresses are permitted."""
        address = ip_address(value)
        if address.is_global and len(embedded(address)) == 1 and str(address) != "168.63.129.16":
            self.assertEqual(
                Rules(own=lambda address, port: False).judge(access(address)),
                Verdict(True, "no rule against it"),
            )

    def test_rebinding(self) -> None:
        """A permit for a name, or for everything, does not lift it."""
        judge = Rules(parsed("permit intranet.example; permit *; permit 0.0.0.0/0")).judge
        self.assertTrue(judge(access(None, "intranet.example")).permitted)
        self.assertTrue(judge(access("10.0.0.1", "intranet.example")).permitted)
        self.assertEqual(
            judge(access("169.254.169.254", "intranet.example")),
            Verdict(False, "link-local destination 169.254.169.254 from 192.0.2.7"),
        )

    def test_lifted(self) -> None:
        """A permit for a protected network does, for its ports, behind any other permit."""
        judge = Rules(parsed("permit *; permit 127.0.0.1:8080; permit 169.254.0.0/16")).judge
        self.assertEqual(
            judge(access("127.0.0.1", port=8080)), Verdict(True, "permit 127.0.0.1:8080")
        )
        self.assertFalse(judge(access("127.0.0.1", port=8081)).permitted)
        self.assertFalse(judge(access("127.0.0.2", port=8080)).permitted)
        self.assertFalse(judge(access("64:ff9b::127.0.0.1", port=8080)).permitted)
        self.assertEqual(
            judge(access("169.254.1.1", "x.example")), Verdict(True, "permit 169.254.0.0/16")
        )
        judge = Rules(parsed("deny 127.0.0.1:8080; permit 127.0.0.1")).judge
        self.assertFalse(judge(access("127.0.0.1", port=8080)).permitted)
        self.assertTrue(judge(access("127.0.0.1", port=8081)).permitted)

    def test_localhost(self) -> None:
        """The name localhost is denied before it is resolved."""
        for host in ("localhost", "a.localhost"):
            for rules in ("", "permit *", "permit localhost; permit *.localhost", "permit ::/0"):
                for address in (None, "127.0.0.1", "192.0.2.1"):
                    verdict = Rules(parsed(rules)).judge(access(address, host))
                    self.assertFalse(verdict.permitted)
            self.assertEqual(
                Rules().judge(access(None, host)).reason, f"loopback name {host} from 192.0.2.7"
            )
            self.assertEqual(
                Rules().judge(access("192.0.2.1", host)).reason,
                f"loopback name {host} from 192.0.2.7",
            )

    def test_localhostLifted(self) -> None:
        """To permit loopback is to permit its name, on its ports, unless a deny goes before."""
        judge = Rules(parsed("permit 127.0.0.0/8:80; deny *.localhost")).judge
        self.assertEqual(
            judge(access(None, "localhost", 80)), Verdict(True, "its addresses will decide")
        )
        self.assertTrue(judge(access("127.0.0.1", "localhost", 80)).permitted)
        self.assertFalse(judge(access("::1", "localhost", 80)).permitted)
        self.assertFalse(judge(access("192.0.2.1", "localhost", 80)).permitted)
        self.assertFalse(judge(access(None, "localhost", 81)).permitted)
        self.assertTrue(judge(access(None, "a.localhost", 80)).permitted)
        judge = Rules(parsed("deny localhost; permit 127.0.0.0/8")).judge
        self.assertEqual(judge(access(None, "localhost")), Verdict(False, "deny localhost"))


class OwnPortTests(SynchronousTestCase):
    """The proxy is no way to the proxy."""

    def own(self, address: IPAddress, port: int) -> bool:
        """The proxy listens on port 1080 of its two addresses."""
        return port == 1080 and str(address) in ("192.0.2.1", "2001:db8::1")

    def judge(self, one: Access, rules: str = "") -> Verdict:
        """Judge an access on that host."""
        return Rules(parsed(rules), own=self.own).judge(one)

    def test_denied(self) -> None:
        """Its own port is denied on each of its addresses, whoever asks by whatever name."""
        for text, shown in (("192.0.2.1", "192.0.2.1"), ("2001:db8::1", "[2001:db8::1]")):
            for host in (None, "proxy.example"):
                self.assertEqual(
                    self.judge(access(text, host, 1080)),
                    Verdict(False, f"the proxy's own port {shown}:1080 from 192.0.2.7"),
                )
            self.assertTrue(self.judge(access(text, port=1081)).permitted)
        self.assertTrue(self.judge(access("192.0.2.2", port=1080)).permitted)

    def test_disguised(self) -> None:
        """Also in disguise."""
        for carry in CARRIERS.values():
            self.assertFalse(
                self.judge(access(carry(IPv4Address("192.0.2.1")), port=1080)).permitted
            )

    def test_lifted(self) -> None:
        """Only a permit for this address and this port lifts it."""
        for rules, permitted in (
            ("permit 192.0.2.1:1080", True),
            ("permit 192.0.2.1", False),
            ("permit 192.0.2.0/24:1080", False),
            ("permit *:1080", False),
            ("permit proxy.example:1080", False),
        ):
            one = access("192.0.2.1", "proxy.example", 1080)
            self.assertEqual(self.judge(one, rules).permitted, permitted, rules)

    def test_reasons(self) -> None:
        """Of several reasons the plainest one is given."""
        rules = Rules(own=lambda address, port: True)
        for address, host, reason in (
            ("127.0.0.1", "localhost", "loopback destination 127.0.0.1 from 192.0.2.7"),
            ("192.0.2.1", "localhost", "loopback name localhost from 192.0.2.7"),
            ("192.0.2.1", None, "the proxy's own port 192.0.2.1:443 from 192.0.2.7"),
            ("fe80::5efe:7f00:1", None, "link-local destination fe80::5efe:7f00:1 from 192.0.2.7"),
        ):
            self.assertEqual(rules.judge(access(address, host)).reason, reason)

    def test_both(self) -> None:
        """On loopback it needs no more than loopback needs, with its port."""
        rules = Rules(parsed("permit 127.0.0.1:1080"), own=lambda address, port: port == 1080)
        self.assertTrue(rules.judge(access("127.0.0.1", port=1080)).permitted)
        rules = Rules(parsed("permit 127.0.0.1"), own=lambda address, port: port == 1080)
        self.assertFalse(rules.judge(access("127.0.0.1", port=1080)).permitted)
        self.assertTrue(rules.judge(access("127.0.0.1", port=1081)).permitted)


#: What the model draws from.
PLAIN = ("10.0.0.1", "10.1.0.1", "127.0.0.1", "169.254.169.254", "8.8.8.8")
ADDRESSES = [
    *(ip_address(text) for text in (*PLAIN, "2001:db8::1", "::1", "fe80::1")),
    *(
        ip_address(CARRIERS[mechanism](IPv4Address(text)))
        for text in PLAIN
        for mechanism in ("NAT64", "6to4", "ISATAP")
    ),
]
HOSTS = ["a.example", "b.a.example", "example", "localhost", "x.localhost", "10.0.0.1"]
DESTINATIONS = [
    *("*", "a.example", "*.example", ".a.example", "localhost", "*.localhost"),
    *("10.0.0.0/8", "10.1.0.0/16", "127.0.0.0/8", "127.0.0.1", "169.254.0.0/16", "0.0.0.0/0"),
    *("::/0", "::1", "2002::/16", "fe80::/10", "2001:db8::/32", "8.8.8.8"),
    *(str(address) for address in ADDRESSES[8:14]),
]
PORTS = ["", ":80", ":80-443"]
PROTECTED_RANGES = [ip_network(t) for t in ("127.0.0.0/8", "169.254.0.0/16", "::1", "fe80::/10")]

#: The network that lifts a protection; for a name there are two.
Reason = tuple[str, IPv4Network | IPv6Network | None]


def bracketed(destination: str, ports: str) -> str:
    """Write a destination with its ports."""
    return f"[{destination}]{ports}" if ports and ":" in destination else destination + ports


class ModelTests(SynchronousTestCase):
    """Any rules, against a naive reading of their description."""

    def isAbout(self, rule: Rule, one: Access, address: IPAddress) -> bool:
        """Whether a rule matches."""
        forms: list[IPAddress] = [address]
        if not rule.permit:
            forms = list(embedded(address))
        elif address in ip_network("64:ff9b::/96"):
            forms.append(IPv4Address(int(address) & 0xFFFFFFFF))
        if one.port not in rule.ports:
            return False
        if rule.network is not None:
            return any(form in rule.network for form in forms)
        if rule.name is not None:
            below = one.host.endswith("." + rule.name)
            return (rule.itself and one.host == rule.name) or (rule.below and below)
        return True

    def reasons(self, one: Access, address: IPAddress) -> set[Reason]:
        """Why an address is protected, each with what it takes to lift that."""
        if one.client in LOCAL:
            return set()
        found: set[Reason] = set()
        for network in PROTECTED_RANGES:
            if address in network:
                found.add(("itself", network))
            elif any(form in network for form in embedded(address)):
                found.add(("carried", ip_network(str(address))))
        if one.host.rpartition(".")[2] == "localhost":
            found.add(("name", None))
        return found

    def isLifted(self, reason: Reason, network: IPv4Network | IPv6Network) -> bool:
        """Whether a permit for a network lifts a protection."""
        _, protected = reason
        loopback = [PROTECTED_RANGES[0], PROTECTED_RANGES[2]]
        return any(
            network[0] in each and network[-1] in each
            for each in ([protected] if protected is not None else loopback)
        )

    def model(self, rules: list[Rule], one: Access, address: IPAddress) -> bool:
        """Judge one address by going through all rules."""
        reasons = self.reasons(one, address)
        for rule in rules:
            if self.isAbout(rule, one, address):
                if not rule.permit:
                    return False
                if all(rule.network and self.isLifted(each, rule.network) for each in reasons):
                    return True
        return not reasons

    @given(
        st.lists(
            st.tuples(
                st.sampled_from(["permit", "deny"]),
                st.sampled_from(DESTINATIONS),
                st.sampled_from(PORTS),
            ),
            max_size=8,
        ),
        st.sampled_from(HOSTS),
        st.sampled_from([80, 443, 8080]),
        st.sampled_from([ELSEWHERE, None]),
    )
    @settings(max_examples=300, deadline=None)
    def test_model(
        self,
        written: list[tuple[str, str, str]],
        host: str,
        port: int,
        client: IPAddress | None,
    ) -> None:
        """Each address as the model says; and a name denied at once has no permitted address."""
        rules = [Rule.parse(action, bracketed(to, ports)) for action, to, ports in written]
        judge = Rules(rules).judge
        verdicts = []
        for address in ADDRESSES:
            one = access(address, host, port, client)
            verdict = judge(one)
            self.assertEqual(verdict.permitted, self.model(rules, one, address), (one, verdict))
            verdicts.append(verdict.permitted)
        if not judge(access(None, host, port, client)).permitted:
            self.assertNotIn(True, verdicts)
