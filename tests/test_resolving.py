"""Looking names up: deadlines, sharing, memory and limits, over a resolver in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import address as addresses
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from twisted_socks5 import resolving
from twisted_socks5.errors import ResolutionError
from twisted_socks5.interfaces import IPAddress
from twisted_socks5.resolving import NameLookup
from twisted_socks5.testing.reactor import MemoryReactor
from twisted_socks5.wire.constants import Reply

NAME = "target.example"


@implementer(IHostResolution)
class Resolution:
    """
    What a L{PlainResolver} was asked.

    @ivar cancelled: how often it was told to stop.
    @ivar whenCancelled: what it does then.
    """

    def __init__(self, name: str, receiver: IResolutionReceiver) -> None:
        self.name = name
        self.receiver = receiver
        self.cancelled = 0
        self.whenCancelled: Callable[[], object] | None = None

    def cancel(self) -> None:
        """Note it."""
        self.cancelled += 1
        if self.whenCancelled is not None:
            self.whenCancelled()

    def answer(self, *found: IAddress) -> None:
        """Answer, completely."""
        for address in found:
            self.receiver.addressResolved(address)
        self.receiver.resolutionComplete()


@implementer(IHostnameResolver)
class PlainResolver:
    """
    A resolver that does what the test tells each resolution to do.

    @ivar whenAsked: what it does before resolveHostName returns.
    """

    def __init__(self) -> None:
        self.asked: list[Resolution] = []
        self.whenAsked: Callable[[Resolution], object] | None = None

    def resolveHostName(
        self,
        resolutionReceiver: IResolutionReceiver,
        hostName: str,
        portNumber: int = 0,
        addressTypes: Sequence[type[IAddress]] | None = None,
        transportSemantics: str = "TCP",
    ) -> IHostResolution:
        """Note it."""
        resolution = Resolution(hostName, resolutionReceiver)
        self.asked.append(resolution)
        resolutionReceiver.resolutionBegan(resolution)
        if self.whenAsked is not None:
            self.whenAsked(resolution)
        return resolution


def tcp(text: str) -> IAddress:
    """Make an address as resolvers give it."""
    kind = addresses.IPv6Address if ":" in text else addresses.IPv4Address
    return kind("TCP", text, 0)


class LookupTestCase(SynchronousTestCase):
    """A lookup over names in memory."""

    def setUp(self) -> None:
        """Make them."""
        self.reactor = MemoryReactor()
        self.names = self.reactor.names
        self.lookup = NameLookup(self.names, self.reactor)

    def found(self, result: Deferred[list[IPAddress]]) -> list[str]:
        """Take the result."""
        return [str(each) for each in self.successResultOf(result)]

    def assertUnresolved(self, result: Deferred[list[IPAddress]], why: str) -> None:
        """It failed, with REP 4 and this reason; no timer is left."""
        failed = self.failureResultOf(result, ResolutionError).value
        self.assertEqual(failed.reply, Reply.HOST_UNREACHABLE)
        self.assertEqual(failed.reason, why)
        self.assertEqual(self.reactor.getDelayedCalls(), [])


class AnswerTests(LookupTestCase):
    """What comes of one name."""

    def test_bothFamilies(self) -> None:
        """Addresses of both families come in the resolver's order."""
        self.names.add(NAME, ["2001:db8::1", "192.0.2.1", "2001:db8::2"])
        result = self.lookup.lookup(NAME)
        self.assertNoResult(result)
        self.reactor.advance(0)
        self.assertEqual(
            self.successResultOf(result),
            [ip_address(each) for each in ("2001:db8::1", "192.0.2.1", "2001:db8::2")],
        )
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_tidy(self) -> None:
        """Each comes once, without its zone, and as IPv4 where it was mapped."""
        self.names.add(NAME, ["::ffff:192.0.2.1", "192.0.2.1", "fe80::1%eth0", "fe80::1%eth1"])
        result = self.lookup.lookup(NAME)
        self.reactor.advance(0)
        self.assertEqual(
            self.successResultOf(result), [IPv4Address("192.0.2.1"), IPv6Address("fe80::1")]
        )

    def test_none(self) -> None:
        """No addresses is a failure."""
        result = self.lookup.lookup("example.invalid")
        self.reactor.advance(0)
        self.assertUnresolved(result, "cannot resolve example.invalid: no such name")

    def test_deadline(self) -> None:
        """Silence ends with the deadline, though Twisted's resolver cannot be cancelled."""
        self.names.add(NAME, silent=True)
        result = self.lookup.lookup(NAME)
        self.reactor.advance(9.9)
        self.assertNoResult(result)
        self.reactor.advance(0.1)
        self.assertUnresolved(result, f"cannot resolve {NAME}: no answer within 10 s")

    def test_late(self) -> None:
        """What comes behind the deadline is dropped, and not remembered."""
        self.lookup = NameLookup(self.names, self.reactor, timeout=0.5)
        self.names.add(NAME, ["192.0.2.1"], delay=0.75)
        first = self.lookup.lookup(NAME)
        self.reactor.advance(0.5)
        self.assertUnresolved(first, f"cannot resolve {NAME}: no answer within 0.5 s")
        self.reactor.advance(5)
        second = self.lookup.lookup(NAME)
        self.assertNoResult(second)
        self.assertEqual(self.names.lookups, [NAME, NAME])

    def test_raises(self) -> None:
        """A resolver that raises is logged, and the lookup fails."""
        self.names.add(NAME, error=ZeroDivisionError("no"))
        self.assertUnresolved(
            self.lookup.lookup(NAME),
            f"cannot resolve {NAME}: the resolver failed (ZeroDivisionError)",
        )
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class ForeignTests(LookupTestCase):
    """Resolvers of any making."""

    def setUp(self) -> None:
        """Make one."""
        super().setUp()
        self.resolver = PlainResolver()
        self.lookup = NameLookup(self.resolver, self.reactor)

    def test_synchronous(self) -> None:
        """A resolver may answer before it returns; then there never is a timer."""
        self.resolver.whenAsked = lambda resolution: resolution.answer(tcp("192.0.2.1"))
        self.assertEqual(self.found(self.lookup.lookup(NAME)), ["192.0.2.1"])
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_otherAddresses(self) -> None:
        """What is no IP address is left out."""
        result = self.lookup.lookup(NAME)
        self.resolver.asked[0].answer(
            addresses.UNIXAddress("/run/x"),
            addresses.HostnameAddress(b"example.org", 80),
            addresses.IPv4Address("TCP", "nowhere", 0),
            tcp("192.0.2.1"),
        )
        self.assertEqual(self.found(result), ["192.0.2.1"])

    def test_answersTwice(self) -> None:
        """A resolver that does not know when to stop is not heard."""
        self.lookup = NameLookup(self.resolver, self.reactor, lifetime=0)
        result = self.lookup.lookup(NAME)
        self.resolver.asked[0].answer(tcp("192.0.2.1"))
        self.resolver.asked[0].answer(tcp("192.0.2.2"))
        self.assertEqual(self.found(result), ["192.0.2.1"])

    def test_deadlineCancels(self) -> None:
        """The deadline tells the resolver to stop; what had come before is not used."""
        result = self.lookup.lookup(NAME)
        [asked] = self.resolver.asked
        asked.receiver.addressResolved(tcp("192.0.2.1"))
        self.reactor.advance(10)
        self.assertUnresolved(result, f"cannot resolve {NAME}: no answer within 10 s")
        self.assertEqual(asked.cancelled, 1)

    def test_cancelFails(self) -> None:
        """A resolver that fails to stop is logged, no more."""

        def broken() -> None:
            raise ZeroDivisionError

        result = self.lookup.lookup(NAME)
        self.resolver.asked[0].whenCancelled = broken
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_cancelAnswers(self) -> None:
        """A resolver that answers when it is told to stop is not heard."""
        result = self.lookup.lookup(NAME)
        [asked] = self.resolver.asked
        asked.whenCancelled = lambda: asked.answer(tcp("192.0.2.1"))
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertNoResult(self.lookup.lookup(NAME))

    def test_reason(self) -> None:
        """A resolution that knows why there is nothing is quoted."""

        def explain(resolution: Resolution) -> None:
            resolution.reason = "the server failed"  # type: ignore[attr-defined] # no word for it
            resolution.answer()

        self.resolver.whenAsked = explain
        self.assertUnresolved(
            self.lookup.lookup(NAME), f"cannot resolve {NAME}: the server failed"
        )

    def test_raisesBehindAnswer(self) -> None:
        """A resolver that answers and then raises has answered."""

        def answerAndRaise(resolution: Resolution) -> None:
            resolution.answer(tcp("192.0.2.1"))
            raise ZeroDivisionError

        self.resolver.whenAsked = answerAndRaise
        self.assertEqual(self.found(self.lookup.lookup(NAME)), ["192.0.2.1"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def test_noResolution(self) -> None:
        """A resolver that returns nothing to be cancelled is let off."""

        def ask(receiver: IResolutionReceiver, name: str) -> None:
            self.resolver.asked.append(Resolution(name, receiver))

        self.patch(self.resolver, "resolveHostName", ask)
        result = self.lookup.lookup(NAME)
        self.reactor.advance(10)
        self.assertUnresolved(result, f"cannot resolve {NAME}: no answer within 10 s")
        self.resolver.asked[0].answer(tcp("192.0.2.1"))

    def test_receiver(self) -> None:
        """What the resolver is given is what its interface asks for."""
        self.lookup.lookup(NAME)
        self.assertTrue(verifyObject(IResolutionReceiver, self.resolver.asked[0].receiver))


class SharingTests(LookupTestCase):
    """Several who ask for the same name."""

    def setUp(self) -> None:
        """Make a resolver that waits to be told."""
        super().setUp()
        self.resolver = PlainResolver()
        self.lookup = NameLookup(self.resolver, self.reactor)

    def test_shared(self) -> None:
        """They share one resolution, and each has a list of its own."""
        results = [self.lookup.lookup(NAME) for _ in range(3)]
        [asked] = self.resolver.asked
        asked.answer(tcp("192.0.2.1"))
        lists = [self.successResultOf(each) for each in results]
        lists[0].clear()
        self.assertEqual(lists[1:], [[IPv4Address("192.0.2.1")]] * 2)

    def test_otherName(self) -> None:
        """Another name is another resolution."""
        self.lookup.lookup(NAME)
        self.lookup.lookup("other.example")
        self.assertEqual([each.name for each in self.resolver.asked], [NAME, "other.example"])

    def test_failShared(self) -> None:
        """They share a failure, too."""
        results = [self.lookup.lookup(NAME) for _ in range(2)]
        self.resolver.asked[0].answer()
        for each in results:
            self.assertUnresolved(each, f"cannot resolve {NAME}: no such name")

    def test_cancelOne(self) -> None:
        """One that gives up does not disturb the others."""
        first, second, third = (self.lookup.lookup(NAME) for _ in range(3))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        [asked] = self.resolver.asked
        self.assertEqual(asked.cancelled, 0)
        asked.answer(tcp("192.0.2.1"))
        self.assertEqual(self.found(first), ["192.0.2.1"])
        self.assertEqual(self.found(third), ["192.0.2.1"])

    def test_cancelAll(self) -> None:
        """When all give up the resolver is told, and whoever comes then asks anew."""
        results = [self.lookup.lookup(NAME) for _ in range(2)]
        for each in results:
            each.cancel()
            self.failureResultOf(each, CancelledError)
        self.assertEqual(self.resolver.asked[0].cancelled, 1)
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        again = self.lookup.lookup(NAME)
        self.resolver.asked[0].answer(tcp("192.0.2.1"))
        self.assertNoResult(again)
        self.resolver.asked[1].answer(tcp("192.0.2.2"))
        self.assertEqual(self.found(again), ["192.0.2.2"])

    def test_cancelFromCallback(self) -> None:
        """One that has its answer may cancel those behind it."""
        first, second, third = (self.lookup.lookup(NAME) for _ in range(3))
        first.addCallback(lambda _: second.cancel())
        self.resolver.asked[0].answer(tcp("192.0.2.1"))
        self.assertIsNone(self.successResultOf(first))
        self.failureResultOf(second, CancelledError)
        self.assertEqual(self.found(third), ["192.0.2.1"])

    def test_cancelLastFromCallback(self) -> None:
        """It may cancel the last one, too; the resolver is done and not told to stop."""
        first, second = (self.lookup.lookup(NAME) for _ in range(2))
        first.addCallback(lambda _: second.cancel())
        [asked] = self.resolver.asked
        asked.answer(tcp("192.0.2.1"))
        self.failureResultOf(second, CancelledError)
        self.assertEqual(asked.cancelled, 0)
        self.assertEqual(self.found(self.lookup.lookup(NAME)), ["192.0.2.1"])

    def test_cancelHalfAnswered(self) -> None:
        """Half an answer that nobody waits for is not remembered as a whole one."""
        first = self.lookup.lookup(NAME)
        [asked] = self.resolver.asked
        asked.receiver.addressResolved(tcp("192.0.2.1"))
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertNoResult(self.lookup.lookup(NAME))

    def test_askFromCallback(self) -> None:
        """One that has failed may ask again at once, and it is a new question."""
        again: list[Deferred[list[IPAddress]]] = []
        first = self.lookup.lookup(NAME)
        first.addErrback(lambda _: again.append(self.lookup.lookup(NAME)))
        self.resolver.asked[0].answer()
        self.assertEqual(len(self.resolver.asked), 2)
        self.resolver.asked[1].answer(tcp("192.0.2.1"))
        self.assertEqual(self.found(again[0]), ["192.0.2.1"])

    def test_limit(self) -> None:
        """Of different names only so many are asked for; the same ones are always joined."""
        self.lookup = NameLookup(self.resolver, self.reactor, pending=2)
        first = self.lookup.lookup("1.example")
        self.lookup.lookup("2.example")
        refused = self.lookup.lookup("3.example")
        failed = self.failureResultOf(refused, ResolutionError).value
        self.assertEqual(failed.reason, "cannot resolve 3.example: too many lookups waiting")
        joined = self.lookup.lookup("1.example")
        self.assertEqual(len(self.resolver.asked), 2)
        self.resolver.asked[0].answer(tcp("192.0.2.1"))
        self.assertEqual(self.found(first), self.found(joined))
        self.assertNoResult(self.lookup.lookup("3.example"))


class MemoryTests(LookupTestCase):
    """What is remembered, and for how long."""

    def ask(self, name: str = NAME) -> list[str]:
        """Look up."""
        result = self.lookup.lookup(name)
        self.reactor.advance(0)
        return self.found(result)

    def test_remembered(self) -> None:
        """An answer serves for its lifetime, and each who asks has a list of its own."""
        self.names.add(NAME, ["192.0.2.1"], ["192.0.2.2"])
        self.ask()
        self.reactor.advance(9.9)
        self.successResultOf(self.lookup.lookup(NAME)).clear()
        self.assertEqual(self.ask(), ["192.0.2.1"])
        self.reactor.advance(0.1)
        self.assertEqual(self.ask(), ["192.0.2.2"])

    def test_notPutOff(self) -> None:
        """Asking does not lengthen the life of an answer."""
        self.names.add(NAME, ["192.0.2.1"], ["192.0.2.2"])
        for _ in range(4):
            self.assertEqual(self.ask(), ["192.0.2.1"])
            self.reactor.advance(2.5)
        self.assertEqual(self.ask(), ["192.0.2.2"])

    def test_lifetime(self) -> None:
        """The lifetime is as told; 0 remembers nothing."""
        self.names.add(NAME, ["192.0.2.1"])
        for lifetime, lookups in ((0.0, 4), (1.0, 2), (60.0, 1)):
            self.names.lookups.clear()
            self.lookup = NameLookup(self.names, self.reactor, lifetime=lifetime)
            for _ in range(4):
                self.ask()
                self.reactor.advance(0.5)
            self.assertEqual(len(self.names.lookups), lookups)

    def test_failureForgotten(self) -> None:
        """That there is no such name is not remembered."""
        self.names.add(NAME, [], ["192.0.2.1"])
        result = self.lookup.lookup(NAME)
        self.reactor.advance(0)
        self.assertUnresolved(result, f"cannot resolve {NAME}: no such name")
        self.assertEqual(self.ask(), ["192.0.2.1"])

    def test_bound(self) -> None:
        """The answer learnt first is forgotten first, when there are too many."""
        self.patch(resolving, "MAX_REMEMBERED", 2)
        for name in ("1.example", "2.example", "3.example"):
            self.names.add(name, ["192.0.2.1"])
            self.ask(name)
        self.names.lookups.clear()
        for name in ("3.example", "2.example", "1.example"):
            self.ask(name)
        self.assertEqual(self.names.lookups, ["1.example"])

    def test_renewed(self) -> None:
        """An answer that was learnt anew is a young one."""
        self.patch(resolving, "MAX_REMEMBERED", 3)
        for name in ("1.example", "2.example", "3.example", "4.example"):
            self.names.add(name, ["192.0.2.1"])
        self.ask("1.example")
        self.reactor.advance(6)
        self.ask("2.example")
        self.reactor.advance(6)
        for name in ("1.example", "3.example", "4.example"):
            self.ask(name)
        self.names.lookups.clear()
        self.ask("1.example")
        self.assertEqual(self.names.lookups, [])


OPERATIONS = st.lists(
    st.tuples(
        st.sampled_from(["ask", "cancel", "answer", "nothing", "advance"]), st.integers(0, 5)
    ),
    max_size=40,
)


class AnyOrderTests(LookupTestCase):
    """Whatever happens in whatever order."""

    @settings(max_examples=200, deadline=None)
    @given(OPERATIONS)
    def test_everyoneHearsOnce(self, operations: list[tuple[str, int]]) -> None:
        """Each who asks hears exactly once, and in the end nothing is left."""
        self.setUp()
        resolver = PlainResolver()
        lookup = NameLookup(resolver, self.reactor, timeout=3, lifetime=2, pending=3)
        results: list[Deferred[list[IPAddress]]] = []
        heard: list[list[object]] = []
        for operation, number in operations:
            if operation == "ask":
                results.append(lookup.lookup(f"{number}.example"))
                heard.append([])
                results[-1].addBoth(heard[-1].append)
            elif operation == "cancel" and number < len(results):
                results[number].cancel()
            elif operation in ("answer", "nothing") and number < len(resolver.asked):
                found = [tcp(f"192.0.2.{number}")] if operation == "answer" else []
                resolver.asked[number].answer(*found)
            elif operation == "advance":
                self.reactor.advance(number / 2)
            live = {each.name for each in resolver.asked if not each.cancelled}
            self.assertLessEqual(len(self.reactor.getDelayedCalls()), min(3, len(live)))
        self.reactor.advance(3)
        self.assertEqual([len(each) for each in heard], [1] * len(results))
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertEqual(lookup._queries, {})
