"""RESOLVE and RESOLVE_PTR as a resolver, against our own server and a proxy that lies."""

from __future__ import annotations

from ipaddress import IPv4Address as IPv4
from ipaddress import IPv6Address as IPv6
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import succeed
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectingCancelledError, DNSLookupError
from twisted.internet.interfaces import (
    IAddress,
    IHostnameResolver,
    IHostResolution,
    IResolutionReceiver,
)
from zope.interface import implementer
from zope.interface.verify import verifyObject

from tests.client.base import SELECTED, Application, ClientCase, Outcome
from tests.client.through import PROXY, TARGET, TARGET6, ThroughCase
from twisted_socks5.client import InvalidTarget, ProxyProtocolError
from twisted_socks5.client.errors import CommandNotSupported, HostUnreachable
from twisted_socks5.client.resolver import SOCKS5Resolver
from twisted_socks5.wire import Address, Host, pack_reply


@implementer(IResolutionReceiver)
class Receiver:
    """
    Somebody who looks a name up.

    @ivar events: C{"began"}, the addresses, C{"complete"}.
    """

    def __init__(self) -> None:
        self.events: list[Any] = []
        self.resolution: IHostResolution | None = None

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Note it."""
        self.resolution = resolutionInProgress
        self.events.append("began")

    def addressResolved(self, address: IAddress) -> None:
        """Note it."""
        self.events.append(address)

    def resolutionComplete(self) -> None:
        """Note it."""
        self.events.append("complete")


class ThroughTests(ThroughCase):
    """With our server, which has C{--resolve}."""

    def setUp(self) -> None:
        """Serve."""
        super().setUp()
        self.server = self.serve(settings={"resolve": True})
        self.resolver = SOCKS5Resolver(self.proxy(), self.reactor)

    def asked(self, name: str, *arguments: Any) -> list[Any]:
        """Ask, and tell what the receiver hears."""
        receiver = Receiver()
        resolution = self.resolver.resolveHostName(receiver, name, *arguments)
        verifyObject(IHostResolution, resolution)
        self.settle()
        self.assertIs(receiver.resolution, resolution)
        self.assertEqual((receiver.events.pop(0), receiver.events.pop()), ("began", "complete"))
        return receiver.events

    def test_interface(self) -> None:
        """It is what Twisted knows."""
        verifyObject(IHostnameResolver, self.resolver)

    def test_found(self) -> None:
        """One address, with the port and for the protocol that was asked for."""
        self.reactor.names.add("www.example", [TARGET])
        self.assertEqual(self.asked("WWW.example"), [IPv4Address("TCP", TARGET, 0)])
        self.assertEqual(
            self.asked("www.example", 53, [IPv4Address], "UDP"), [IPv4Address("UDP", TARGET, 53)]
        )
        self.assertEqual(self.records[-1].command, "RESOLVE")
        self.assertEqual(self.reactor.openConnections(), [])

    def test_other_family(self) -> None:
        """The proxy is not told which family is wanted, so the answer may be of another."""
        self.reactor.names.add("www.example", [TARGET6])
        self.assertEqual(self.asked("www.example", 0, [IPv4Address]), [])
        self.assertEqual(
            self.asked("www.example", 0, [IPv6Address]), [IPv6Address("TCP", TARGET6, 0)]
        )

    def test_not_found(self) -> None:
        """No such name, or none at all: an answer without addresses."""
        for name in ("nowhere.example", "", "two words", "a" * 300):
            self.assertEqual(self.asked(name), [])

    def test_address(self) -> None:
        """An address is its own answer, and nobody is asked."""
        self.assertEqual(self.asked(TARGET, 80), [IPv4Address("TCP", TARGET, 80)])
        self.assertEqual(self.asked(TARGET6, 80), [IPv6Address("TCP", TARGET6, 80)])
        self.assertEqual(self.asked(TARGET6, 80, [IPv4Address]), [])
        self.assertEqual(self.records, [])

    def test_installed(self) -> None:
        """A program that looks names up by its reactor does so at the proxy."""
        self.reactor.names.add("www.example", [TARGET])
        self.target()
        self.reactor.installNameResolver(self.resolver)
        application = Application()
        outcome = Outcome(HostnameEndpoint(self.reactor, "www.example", 80).connect(application))
        self.settle()
        self.assertIs(outcome.result, application.peer)
        self.assertEqual(self.reactor.names.lookups, ["www.example"])
        self.assertEqual(self.records[0].command, "RESOLVE")
        application.peer.abort()
        nowhere = Outcome(
            HostnameEndpoint(self.reactor, "nowhere.example", 80).connect(Application())
        )
        self.settle()
        self.assertIsInstance(nowhere.error, DNSLookupError)

    def test_lookup(self) -> None:
        """By a Deferred, which says why there is no answer."""
        self.reactor.names.add("www.example", [TARGET6])
        outcome = Outcome(self.resolver.lookup("www.example"))
        self.settle()
        self.assertEqual(outcome.result, IPv6(TARGET6))
        nowhere = Outcome(self.resolver.lookup("nowhere.example"))
        self.settle()
        self.assertIsInstance(nowhere.error, HostUnreachable)
        self.assertEqual(Outcome(self.resolver.lookup(TARGET)).result, IPv4(TARGET))
        self.assertIsInstance(Outcome(self.resolver.lookup("")).error, InvalidTarget)

    def test_reverse(self) -> None:
        """From an address to a name."""
        asked: list[Any] = []

        def lookup(address: Any) -> Any:
            asked.append(address)
            return succeed("www.example")

        self.patch(self.server.reverse, "lookup", lookup)
        outcome = Outcome(self.resolver.reverse(TARGET))
        self.settle()
        self.assertEqual(outcome.result, "www.example")
        mapped = Outcome(self.resolver.reverse(IPv6(f"::ffff:{TARGET}")))
        self.settle()
        self.assertEqual(mapped.result, "www.example")
        self.assertEqual(asked, [IPv4(TARGET)] * 2)
        self.assertRaises(ValueError, self.resolver.reverse, "www.example")

    def test_off(self) -> None:
        """A proxy that does not know it."""
        self.serve("192.0.2.11")
        resolver = SOCKS5Resolver(self.proxy("192.0.2.11").endpoint, self.reactor)
        outcome = Outcome(resolver.lookup("www.example"))
        self.settle()
        self.assertIsInstance(outcome.error, CommandNotSupported)

    def test_cancelled(self) -> None:
        """Calling it off at each step: the receiver hears no more."""
        self.reactor.names.add("www.example", [TARGET], delay=1.0)
        for steps in range(8):
            receiver = Receiver()
            resolution = self.resolver.resolveHostName(receiver, "www.example")
            for _ in range(steps):
                self.reactor.turn()
            resolution.cancel()
            resolution.cancel()
            self.reactor.advance(2)
            self.assertEqual(receiver.events, ["began"])
            self.assertEqual(self.reactor.openConnections(), [])

    def test_cancelled_at_once(self) -> None:
        """A receiver that calls it off as it begins."""

        class Impatient(Receiver):
            """Wants no answer."""

            def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
                """Call it off."""
                super().resolutionBegan(resolutionInProgress)
                resolutionInProgress.cancel()

        for name in ("www.example", TARGET):
            receiver = Impatient()
            self.resolver.resolveHostName(receiver, name)
            self.reactor.advance(2)
            self.assertEqual(receiver.events, ["began"])

    def test_cancelled_deferred(self) -> None:
        """And by the Deferred."""
        self.reactor.names.add("www.example", [TARGET], delay=1.0)
        outcome = Outcome(self.resolver.lookup("www.example"))
        self.settle()
        outcome.deferred.cancel()
        self.assertIsInstance(outcome.error, ConnectingCancelledError)
        self.settle()
        self.assertEqual(self.reactor.openConnections(), [])

    def test_receiver_stumbles(self) -> None:
        """What a receiver raises is logged."""
        receiver = Receiver()
        receiver.addressResolved = lambda address: 1 // 0  # type: ignore[assignment]  # a test's
        self.resolver.resolveHostName(receiver, TARGET)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class LyingTests(ClientCase):
    """With a proxy that answers what it likes."""

    def answered(self, host: Host, *, reverse: bool = False) -> Outcome:
        """Ask, and have it answer."""
        resolver = SOCKS5Resolver(self.wayToProxy(), self.reactor)
        asked = resolver.reverse(TARGET) if reverse else resolver.lookup("www.example")
        outcome = Outcome(asked)
        self.settle()
        # No name is so short that it could be packed.
        said = pack_reply(0, Address(host, 0)) if host else b"\5\0\0\3\0\0\0"
        self.say(SELECTED, said)
        self.proxy.lose()
        self.hangUp()
        self.assertEqual(self.reactor.openConnections(), [])
        return outcome

    def test_name_for_an_address(self) -> None:
        """A name is no address, and neither are zeros."""
        for host in (b"www.example", b"", IPv4(0), IPv6(0)):
            self.assertIsInstance(self.answered(host).error, ProxyProtocolError)
        self.assertEqual(self.answered(IPv6(f"::ffff:{TARGET}")).result, IPv4(TARGET))

    def test_address_for_a_name(self) -> None:
        """Nor is an address a name; and a name is made fit to be shown."""
        for host in (b"", IPv4(TARGET)):
            self.assertIsInstance(self.answered(host, reverse=True).error, ProxyProtocolError)
        self.assertEqual(self.answered(b"a\n b", reverse=True).result, "a\\x0a\\x20b")

    def test_proxy(self) -> None:
        """What goes over the wire."""
        resolver = SOCKS5Resolver(self.wayToProxy(), self.reactor)
        outcome = Outcome(resolver.lookup("Www.Example."))
        self.settle()
        self.say(SELECTED)
        self.assertEqual(self.heard(), b"\5\1\0\5\xf0\0\3\x0bwww.example\0\0")
        outcome.deferred.cancel()
        self.settle()
        self.assertEqual(PROXY, "192.0.2.10")
        self.assertIsNotNone(outcome.error)
