"""Names in memory."""

from __future__ import annotations

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.interfaces import IAddress, IHostResolution, IResolutionReceiver
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from twisted_socks5.testing import MemoryReactor


@implementer(IResolutionReceiver)
class Receiver:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.resolution: IHostResolution | None = None
        self.addresses: list[IAddress] = []
        self.complete = False

    def resolutionBegan(self, resolutionInProgress: IHostResolution) -> None:
        """Keep it."""
        self.resolution = resolutionInProgress

    def addressResolved(self, address: IAddress) -> None:
        """Keep it."""
        self.addresses.append(address)

    def resolutionComplete(self) -> None:
        """Note it."""
        self.complete = True


class NamesTests(SynchronousTestCase):
    """Answers, and their absence."""

    def setUp(self) -> None:
        """Make a reactor."""
        self.reactor = MemoryReactor()

    def ask(self, name: str, *types: type[IAddress], semantics: str = "TCP") -> Receiver:
        """Ask for a name; the answer takes a turn."""
        receiver = Receiver()
        self.reactor.nameResolver.resolveHostName(
            receiver, name, 80, list(types) or None, semantics
        )
        self.assertFalse(receiver.complete)
        self.reactor.advance(0)
        return receiver

    def test_answer(self) -> None:
        """A name has the addresses it was given, in their order, whatever its case."""
        self.reactor.names.add("Example.com", ["2001:db8::5", "203.0.113.5"])
        receiver = self.ask("example.COM")
        self.assertTrue(receiver.complete)
        self.assertEqual(
            receiver.addresses,
            [IPv6Address("TCP", "2001:db8::5", 80), IPv4Address("TCP", "203.0.113.5", 80)],
        )
        self.assertEqual(self.reactor.names.lookups, ["example.COM"])

    def test_oneFamily(self) -> None:
        """Only the wanted families are told, for the wanted transport."""
        self.reactor.names.add("example.com", ["2001:db8::5", "203.0.113.5"])
        self.assertEqual(
            self.ask("example.com", IPv4Address, semantics="UDP").addresses,
            [IPv4Address("UDP", "203.0.113.5", 80)],
        )

    def test_literal(self) -> None:
        """An address is its own name."""
        for host in ("203.0.113.5", "2001:db8::5"):
            self.assertEqual([each.host for each in self.ask(host).addresses], [host])  # type: ignore[attr-defined] # IAddress says nothing of it

    def test_unknown(self) -> None:
        """A name that does not exist has no addresses."""
        self.reactor.names.add("empty.example")
        for name in ("unknown.example", "empty.example"):
            receiver = self.ask(name)
            self.assertEqual([receiver.addresses, receiver.complete], [[], True])

    def test_changing(self) -> None:
        """A name may mean another thing when it is asked for again."""
        self.reactor.names.add("rebind.example", ["203.0.113.5"], ["127.0.0.1"])
        answers = [str(self.ask("rebind.example").addresses) for _ in range(3)]
        self.assertIn("203.0.113.5", answers[0])
        self.assertIn("127.0.0.1", answers[1])
        self.assertEqual(answers[1], answers[2])

    def test_delay(self) -> None:
        """An answer may take its time, and is no delayed call of the program."""
        self.reactor.names.add("slow.example", ["203.0.113.5"], delay=2)
        receiver = self.ask("slow.example")
        self.reactor.advance(1.9)
        self.assertFalse(receiver.complete)
        self.assertEqual(self.reactor.leftOver(), [])
        self.reactor.advance(0.1)
        self.assertTrue(receiver.complete)

    def test_silent(self) -> None:
        """An answer may never come, and asking cannot be cancelled."""
        self.reactor.names.add("silent.example", silent=True)
        receiver = self.ask("silent.example")
        self.reactor.advance(1000)
        self.assertFalse(receiver.complete)
        self.assertIsNotNone(receiver.resolution)
        if receiver.resolution is not None:
            self.assertEqual(receiver.resolution.name, "silent.example")
            self.assertRaises(NotImplementedError, receiver.resolution.cancel)

    def test_broken(self) -> None:
        """A resolver may raise."""
        self.reactor.names.add("broken.example", error=ZeroDivisionError())
        self.assertRaises(ZeroDivisionError, self.ask, "broken.example")
