"""
Who may reach what: rules by destination, then the built-in protection, then permit.

A destination is judged twice, by name before it is resolved and by each address that it resolved
to, and the second judgement is the one that counts: it knows all that the first one knew::

    for each rule, in order, whose port and destination match:
        deny      denied
        permit    permitted, unless the destination is protected from this client and the rule
                  does not lift that: then it is passed over
    none left:    denied if the destination is protected from this client, else permitted

By name alone the networks are undecided.  A name is denied at once only if it would be whatever
its address, so that no query goes out for it; otherwise it is permitted as far as that goes.

A permit for a name does not lift the protection: who owns a name decides where it points, today
and at the second asking.  Nor does a permit for everything: only a network in the protected range
does (see L{twisted_socks5.protection.lifts}).

Where names are not resolved but go on to another proxy, there is no second judgement.  Then no
rule for a network is about a name: one that denies can't be kept, and one that permits gives no
name a way around a later C{deny *}.

How names are spelt and what addresses carry is known to C{addresses}; what is protected, to
C{protection}.  Nothing here resolves, connects or counts.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from ipaddress import (
    AddressValueError,
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import TYPE_CHECKING

from zope.interface import implementer

from twisted_socks5.addresses import NAT64, disguises, normalise, unmapped
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.interfaces import Access, IRules, Verdict
from twisted_socks5.protection import (
    LOCALHOST,
    OWN_PORT,
    Guard,
    guards,
    is_local,
    is_localhost,
    lifts,
    reason,
)

if TYPE_CHECKING:
    from twisted_socks5.interfaces import IPAddress

_NO_RULE = Verdict(True, "no rule against it")
_UNDECIDED = Verdict(True, "its addresses will decide")
_ALL_PORTS = range(65536)
_MAPPED = IPv6Network("::ffff:0:0/96")


@dataclass(frozen=True)
class Rule:
    """
    One rule, made by L{Rule.parse}.

    @ivar permit: permit or deny.
    @ivar text: the destination as the operator wrote it.
    @ivar ports: the destination ports it is about.
    @ivar network: the addresses it is about; L{None} when it is about names, or everything.
    @ivar name: the name it is about; L{None} when it is about addresses, or everything.
    @ivar itself: whether it is about C{name} itself.
    @ivar below: whether it is about all names below C{name}.
    @ivar lifts: which protection it lifts.
    """

    permit: bool
    text: str
    ports: range = _ALL_PORTS
    network: IPv4Network | IPv6Network | None = None
    name: str | None = None
    itself: bool = False
    below: bool = False
    lifts: frozenset[Guard] = field(default=frozenset(), init=False, repr=False)

    def __post_init__(self) -> None:
        if self.permit and self.network is not None:
            object.__setattr__(self, "lifts", lifts(self.network, self.ports))

    def __str__(self) -> str:
        return f"{'permit' if self.permit else 'deny'} {self.text}"

    @classmethod
    def parse(cls, action: str, text: str) -> Rule:
        """
        Read a rule.

        @param action: C{"permit"} or C{"deny"}.
        @param text: a destination, and optionally C{:PORT} or C{:LOW-HIGH}:

            - C{192.0.2.1}, C{2001:db8::1}: an address.  In brackets, C{[2001:db8::1]:443}, when
              a port follows.
            - C{192.0.2.0/24}, C{[2001:db8::/32]:443}: a network.
            - C{example.com}: a name, as the client asks for it.
            - C{*.example.com}: all names below it.  C{.example.com}: the name too.
            - C{*}: everything.

            A deny for IPv4 addresses is one for every disguise of them, too (see
            L{twisted_socks5.addresses.disguises}).  A permit is not, but for NAT64's well-known
            prefix, which is only another spelling: an address that merely carries a permitted
            one may lead elsewhere.
        @raise ConfigurationError: it is wrong; says what.
        """
        if action not in ("permit", "deny"):
            raise ConfigurationError(f"a rule is permit or deny, not {action!r}")
        permit, text = action == "permit", text.strip()
        try:
            body, ports = _split(text)
            if body == "*":
                return cls(permit, text, ports)
            if body.startswith(("*.", ".")):
                name = _name(body.partition(".")[2])
                return cls(permit, text, ports, name=name, itself=body[0] == ".", below=True)
            if "/" in body or ":" in body or _is_quad(body):
                return cls(permit, text, ports, network=_network(body))
            return cls(permit, text, ports, name=_name(body), itself=True)
        except ValueError as error:
            raise ConfigurationError(f"rule {action} {text!r}: {error}") from None


def _split(text: str) -> tuple[str, range]:
    """Part a destination from its ports."""
    if text.startswith("["):
        body, bracket, rest = text[1:].partition("]")
        if not bracket:
            raise ValueError("a bracket is not closed")
        if ":" not in body:
            raise ValueError("brackets are for IPv6 addresses")
        if rest and not rest.startswith(":"):
            raise ValueError("only a port may follow the bracket; a prefix length goes inside")
        return body, _ports(rest[1:]) if rest else _ALL_PORTS
    if text.count(":") != 1:
        return text, _ALL_PORTS
    body, _, ports = text.partition(":")
    return body, _ports(ports)


def _ports(text: str) -> range:
    """Read C{PORT} or C{LOW-HIGH}."""
    low, dash, high = text.partition("-")
    ends = [_port(low), _port(high if dash else low)]
    if ends[0] > ends[1]:
        raise ValueError(f"the port range {text} is reversed")
    return range(ends[0], ends[1] + 1)


def _port(text: str) -> int:
    """Read a port, 0 to 65535."""
    # Neither signs nor spaces nor underscores nor foreign digits, which int() would take.
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or int(text) > 65535:
        raise ValueError(f"{text!r} is no port, 0 to 65535")
    return int(text)


def _is_quad(text: str) -> bool:
    """Whether a text is an IPv4 address in its usual spelling."""
    try:
        IPv4Address(text)
    except AddressValueError:
        return False
    return True


def _network(text: str) -> IPv4Network | IPv6Network:
    """Read an address or a network; a mapped one is of IPv4."""
    if "%" in text:
        raise ValueError("rules know no zone ids")
    address, slash, length = text.partition("/")
    first = ip_address(address)
    if not slash:
        length = str(first.max_prefixlen)
    # A netmask would be read too, and misread: 10.0.0.0/0.0.0.255 as a /24.
    if not (length.isascii() and length.isdigit()) or int(length[:4]) > first.max_prefixlen:
        raise ValueError(f"{length!r} is no prefix length, 0 to {first.max_prefixlen}")
    network = ip_network(f"{first}/{length}", strict=False)
    if network.network_address != first:
        raise ValueError(f"host bits are set: the network is {network}")
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        first = unmapped(network.network_address)
        return IPv4Network((int(first), network.prefixlen - 96))
    return network


def _name(text: str) -> str:
    """Read a name as a client's is read."""
    # What argv could not decode comes as surrogates and is refused as the octets it was.
    name = normalise(text.encode("utf-8", "surrogateescape"))
    if not isinstance(name, str):
        raise ValueError(f"{text!r} is the address {name}: write that")
    return name


@implementer(IRules)
class Rules:
    """
    Rules in order, the first match wins; then the built-in protection; then permit.

    Rules are looked up, not tried one by one: a list of a hundred thousand names to deny costs
    no more than ten.
    """

    def __init__(
        self,
        rules: Sequence[Rule] = (),
        own: Callable[[IPAddress, int], bool] | None = None,
        *,
        resolves: bool = True,
    ) -> None:
        """
        @param rules: in the order in which they are to be asked.
        @param own: tells whether an address is one of this host's and a port one that the proxy
            listens on there.  Asked with what an address carries in disguise, too; must not
            block.
        @param resolves: whether a name that is permitted is resolved, and each of its addresses
            judged.
        """
        self._resolves = resolves
        self._rules = tuple(rules)
        self._verdicts = [Verdict(rule.permit, str(rule)) for rule in self._rules]
        self._own = own
        # Where the rules about something are, ascending.  Networks by version, then by how many
        # bits are behind the prefix, then by the prefix.
        self._everything: list[int] = []
        self._exact: dict[str, list[int]] = {}
        self._below: dict[str, list[int]] = {}
        self._networks: dict[int, dict[int, dict[int, list[int]]]] = {4: {}, 6: {}}
        self._network_permits: list[int] = []
        for place, rule in enumerate(self._rules):
            self._file(place, rule)

    def _file(self, place: int, rule: Rule) -> None:
        """Put a rule where it will be looked for."""
        if rule.network is not None:
            behind = rule.network.max_prefixlen - rule.network.prefixlen
            prefixes = self._networks[rule.network.version].setdefault(behind, {})
            prefix = int(rule.network.network_address) >> behind
            prefixes.setdefault(prefix, []).append(place)
            if rule.permit:
                self._network_permits.append(place)
        elif rule.name is not None:
            if rule.itself:
                self._exact.setdefault(rule.name, []).append(place)
            if rule.below:
                self._below.setdefault(rule.name, []).append(place)
        else:
            self._everything.append(place)

    def judge(self, access: Access) -> Verdict:
        """
        Judge an access: by name while C{access.address} is L{None}, else for good.

        @return: whether it is permitted, and the rule or the protection that says so; for a
            disguised address both its forms.
        """
        found = self._by_name(access.host) if self._rules else []
        if access.address is None:
            return self._judge_name(access, sorted(found))
        address = unmapped(access.address)
        carried = disguises(int(address)) if isinstance(address, IPv6Address) else ()
        if self._rules:
            found += self._by_network(address.version, int(address))
        for mechanism, inside in carried:
            for place in self._by_network(4, inside):
                if mechanism == NAT64 or not self._rules[place].permit:
                    found.append(place)
        protection = self._protection(access, address, carried)
        for place in sorted(found):
            rule = self._rules[place]
            if access.port in rule.ports and (not rule.permit or protection <= rule.lifts):
                return self._verdict(place, address)
        if protection:
            return Verdict(False, reason(protection, access, address))
        return _NO_RULE

    def _judge_name(self, access: Access, found: list[int]) -> Verdict:
        """Deny a name that would be denied whatever its address; leave the rest to that."""
        protected = is_localhost(access.host) and not is_local(access.client)
        # The first of the rules that might permit one of its addresses.
        hope = len(self._rules)
        for place in self._network_permits if self._resolves else ():
            rule = self._rules[place]
            if access.port in rule.ports and (not protected or LOCALHOST in rule.lifts):
                hope = place
                break
        for place in found:
            rule = self._rules[place]
            if access.port in rule.ports:
                if not rule.permit:
                    return self._verdicts[place] if place < hope else _UNDECIDED
                if not protected:
                    return self._verdicts[place]
        if protected and hope == len(self._rules):
            return Verdict(False, reason({LOCALHOST}, access, None))
        return _UNDECIDED if self._resolves else _NO_RULE

    def _by_name(self, host: str) -> list[int]:
        """Find the rules about everything, and those about a name or one above it."""
        found = self._everything.copy()
        found += self._exact.get(host, ())
        if self._below:
            dot = host.find(".")
            while dot >= 0:
                found += self._below.get(host[dot + 1 :], ())
                dot = host.find(".", dot + 1)
        return found

    def _by_network(self, version: int, value: int) -> list[int]:
        """Find the rules about networks that an address is in."""
        found: list[int] = []
        for behind, prefixes in self._networks[version].items():
            found += prefixes.get(value >> behind, ())
        return found

    def _protection(
        self, access: Access, address: IPAddress, carried: Sequence[tuple[str, int]]
    ) -> frozenset[Guard]:
        """Say why an address is protected from a client."""
        if is_local(access.client):
            return frozenset()
        found = guards(address.version, int(address), carried)
        if is_localhost(access.host):
            found |= {LOCALHOST}
        if self._own is not None:
            forms = [address]
            for _, inside in carried:
                forms.append(IPv4Address(inside))
            for form in forms:
                if self._own(form, access.port):
                    found |= {OWN_PORT}
        return found

    def _verdict(self, place: int, address: IPAddress) -> Verdict:
        """Give a rule's verdict, and the address it means where that is not the one it got."""
        rule = self._rules[place]
        network = rule.network
        if network is None or network.version == address.version:
            return self._verdicts[place]
        return next(
            Verdict(rule.permit, f"{rule} ({inside} as {mechanism} in {address})")
            for mechanism, carried in disguises(int(address))
            if (inside := IPv4Address(carried)) in network
        )
