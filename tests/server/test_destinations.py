"""From what was asked for to what may be reached: normalised, judged, resolved, judged again."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_socks5.errors import Forbidden, ResolutionError
from twisted_socks5.interfaces import Access, IRules, Verdict
from twisted_socks5.resolving import NameLookup
from twisted_socks5.server.destinations import normalised, permittedAddresses, resolved
from twisted_socks5.testing import MemoryResolver
from twisted_socks5.wire import Reply

ONE, TWO, THREE = map(ip_address, ("192.0.2.1", "192.0.2.2", "2001:db8::3"))
ACCESS = Access(None, "alice", 1, "example.com", 80)


@implementer(IRules)
class Only:
    """Rules that permit these addresses, and names or not."""

    def __init__(self, *addresses: object, names: bool = True) -> None:
        self._addresses = addresses
        self._names = names
        self.asked: list[Access] = []

    def judge(self, access: Access) -> Verdict:
        """Judge, and remember."""
        self.asked.append(access)
        if access.address is None:
            return Verdict(self._names, "no such names here")
        return Verdict(access.address in self._addresses, f"not {access.address.version}")


class NormalisedTests(SynchronousTestCase):
    """A destination's one spelling."""

    def test_good(self) -> None:
        """An address, or a name."""
        self.assertEqual(normalised(ONE), ONE)
        self.assertEqual(normalised(b"0xC0.2.1"), ip_address("192.2.0.1"))
        self.assertEqual(normalised(b"Example.COM."), "example.com")

    def test_bad(self) -> None:
        """What is neither is REP 4, and the error carries no stack of ours."""
        error = self.assertRaises(ResolutionError, normalised, b"a\0b")
        self.assertIs(error.reply, Reply.HOST_UNREACHABLE)
        self.assertIn("invalid host name", str(error))
        self.assertTrue(error.__suppress_context__)


class PermittedTests(SynchronousTestCase):
    """Addresses that the rules permit."""

    def test_order(self) -> None:
        """They stay in their order; each was judged as what it is."""
        rules = Only(THREE, ONE)
        self.assertEqual(permittedAddresses([TWO, ONE, THREE], rules, ACCESS), [ONE, THREE])
        self.assertEqual([each.address for each in rules.asked], [TWO, ONE, THREE])
        self.assertEqual({each.host for each in rules.asked}, {"example.com"})

    def test_none(self) -> None:
        """If there is none, each reason is given once."""
        error = self.assertRaises(Forbidden, permittedAddresses, [ONE, TWO, THREE], Only(), ACCESS)
        self.assertEqual((error.reply, str(error)), (2, "not 4; not 6"))


class ResolvedTests(SynchronousTestCase):
    """Names."""

    def setUp(self) -> None:
        """Know a name."""
        self.clock = Clock()
        self.resolver = MemoryResolver(self.clock)
        self.resolver.add("example.com", [str(ONE), str(TWO)], delay=1)
        self.lookup = NameLookup(self.resolver, self.clock)

    def test_found(self) -> None:
        """What resolves is judged by its name first, then by its addresses."""
        rules = Only(TWO)
        found = resolved("example.com", self.lookup, rules, ACCESS)
        self.assertEqual([each.address for each in rules.asked], [None])
        self.clock.advance(1)
        self.assertEqual(self.successResultOf(found), [TWO])

    def test_forbiddenName(self) -> None:
        """A name that is denied is not asked for."""
        rules = Only(ONE, names=False)
        failure = self.failureResultOf(resolved("example.com", self.lookup, rules, ACCESS))
        self.assertEqual(str(failure.trap(Forbidden) and failure.value), "no such names here")
        self.assertEqual(self.resolver.lookups, [])

    def test_forbiddenAddresses(self) -> None:
        """Addresses that are all denied."""
        found = resolved("example.com", self.lookup, Only(), ACCESS)
        self.clock.advance(1)
        self.failureResultOf(found, Forbidden)

    def test_unknown(self) -> None:
        """A name that does not exist."""
        found = resolved("no.example", self.lookup, Only(), ACCESS)
        self.clock.advance(0)
        self.failureResultOf(found, ResolutionError)
