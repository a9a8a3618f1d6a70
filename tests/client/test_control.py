"""
Tests of C{twisted_socks5.client.control}: requests whose connection is more than a stream.
"""

from __future__ import annotations

from twisted.internet.defer import CancelledError
from twisted.internet.error import ConnectingCancelledError, ConnectionDone, ConnectionLost

from tests.client.base import (
    BOUND,
    GRANTED,
    GREETING,
    PROXY_NAME,
    SELECTED,
    TARGET,
    Application,
    ClientCase,
    Outcome,
    reply,
)
from twisted_socks5.client import (
    ControlConnection,
    InvalidTarget,
    Proxy,
    ProxyClosed,
    ProxyError,
    ProxyProtocolError,
)
from twisted_socks5.client.control import KEPT
from twisted_socks5.testing import Peer
from twisted_socks5.wire import Address, Command, LocalProtocolError, ReplyMessage

SECOND = b"\5\0\0\1\xcb\0\x71\5\0\x14"  # 203.0.113.5:20


class RequestTests(ClientCase):
    """C{Proxy.request}, up to the first reply."""

    def granted(self, command: int = Command.CONNECT, behind: bytes = b"") -> ControlConnection:
        """Make a request, and grant it."""
        outcome = self.request(command)
        self.say(SELECTED, GRANTED + behind)
        control: ControlConnection = outcome.result
        return control

    def test_command(self) -> None:
        """Any command can be asked for."""
        for command in (1, 2, 3, 0xF0, 0xF1, 0x80):
            outcome = self.request(command, host=TARGET, port=53)
            self.say(SELECTED)
            octets = bytes((5, command, 0)) + b"\1\xcb\0\x71\5\0\x35"
            self.assertEqual(self.heard(), GREETING + octets)
            self.say(GRANTED)
            self.assertEqual(outcome.result.reply, ReplyMessage(0, outcome.result.reply.bound))
            self.assertEqual(str(outcome.result.reply.bound), "192.0.2.10:40000")
            self.hangUp()

    def test_names(self) -> None:
        """It knows whom it is to, and of what; a proxy is called what it's called."""
        outcome = self.request()
        self.say(SELECTED, GRANTED)
        self.assertEqual(outcome.result.proxyName, PROXY_NAME)
        self.assertEqual(outcome.result.destination, Address(b"example.com", 80))
        self.hangUp()
        outcome = self.request(name="the proxy")
        self.say(SELECTED, reply(2))
        self.assertEqual(outcome.error.proxy, "the proxy")

    def test_notSent(self) -> None:
        """What cannot be sent fails before there is any connection."""
        proxy = Proxy(self.wayToProxy())
        for address in (
            Address(b"x" * 256, 80),
            Address(b"", 80),
            Address(b"example.com", 65536),
        ):
            failure = self.failureResultOf(proxy.request(1, address, self.reactor))
            self.assertIsInstance(failure.value, InvalidTarget)
        self.settle()
        self.assertEqual(self.proxies.peers, [])

    def test_cancelled(self) -> None:
        """Cancelled, it is closed."""
        outcome = self.request(Command.BIND)
        self.say(SELECTED)
        outcome.deferred.cancel()
        self.assertIsInstance(outcome.error, ConnectingCancelledError)
        self.assertClosed()

    def test_handOver(self) -> None:
        """The connection and what has come for it go to the application's protocol."""
        control = self.granted(behind=b"one ")
        self.say(b"two ")
        peer = Peer()
        made: list[list[str]] = []
        control.handOver(peer, lambda: made.append(list(peer.events)))
        self.assertEqual(made, [["made"]])
        self.say(b"three")
        self.assertEqual(bytes(peer.received), b"one two three")
        self.assertIs(control.transport.protocol, peer)
        self.assertRaises(LocalProtocolError, control.handOver, peer)
        control.close()
        self.settle()
        self.assertIsNone(peer.lost)

    def test_handOverOfMany(self) -> None:
        """What nobody takes is not read without end; nothing of it is lost."""
        control = self.granted()
        for _ in range(4):
            self.say(bytes(KEPT))
        peer = Peer()
        control.handOver(peer)
        self.settle()
        self.assertEqual(len(peer.received), 4 * KEPT)

    def test_handOverOfEnded(self) -> None:
        """A FIN that came in the meantime comes behind the octets; it comes once."""
        control = self.granted(behind=b"all")
        self.proxy.loseWrite()
        self.settle()
        peer = Peer()
        control.handOver(peer)
        self.settle()
        self.assertEqual(peer.events, ["made", "data", "eof"])
        peer.lose()

    def test_handOverOfEndedPlain(self) -> None:
        """One that knows no half-close is closed then."""
        control = self.granted(behind=b"all")
        self.proxy.loseWrite()
        self.settle()
        application = Application()
        control.handOver(application.buildProtocol(None))
        self.settle()
        application.peer.lose()
        self.settle()
        self.assertIsNotNone(application.peer.lost)

    def test_pausedByReceiver(self) -> None:
        """One that pauses when it gets what came early hears of the FIN when it resumes."""

        class Careful(Peer):
            def dataReceived(self, data: bytes) -> None:
                super().dataReceived(data)
                self.pause()

        control = self.granted(behind=b"all")
        self.proxy.loseWrite()
        self.settle()
        peer = Careful()
        control.handOver(peer)
        self.settle()
        self.assertEqual(peer.events, ["made", "data"])
        peer.resume()
        self.settle()
        self.assertEqual(peer.events, ["made", "data", "eof"])
        peer.lose()

    def test_handOverOfLost(self) -> None:
        """A loss in the meantime is told, behind the octets that came."""
        control = self.granted(behind=b"all")
        self.proxy.abort()
        self.settle()
        peer = Peer()
        control.handOver(peer)
        self.assertEqual(peer.events, ["made", "data", "ConnectionLost"])

    def test_close(self) -> None:
        """Closing closes; whoever waits hears of it, each for himself."""
        control = self.granted()
        first, second = Outcome(control.whenClosed()), Outcome(control.whenClosed())
        third = control.whenClosed()
        third.cancel()
        self.failureResultOf(third, CancelledError)
        control.close()
        control.close()
        self.settle()
        self.assertIsInstance(first.result, ConnectionDone)
        self.assertIs(second.result, first.result)
        self.assertIs(self.successResultOf(control.whenClosed()), first.result)
        self.assertClosed()
        control.close()


class AssociationTests(ClientCase):
    """UDP ASSOCIATE: the connection is what the association lives by."""

    def associated(self) -> ControlConnection:
        """Make an association."""
        outcome = self.request(Command.UDP_ASSOCIATE, host="0.0.0.0", port=0)
        self.say(SELECTED, GRANTED)
        control: ControlConnection = outcome.result
        return control

    def test_octets(self) -> None:
        """What comes on the connection means nothing, however much it is."""
        control = self.associated()
        for _ in range(10):
            self.say(bytes(65536))
        self.assertTrue(Outcome(control.whenClosed()).pending)
        self.assertRaises(LocalProtocolError, control.handOver, Peer())

    def test_ends(self) -> None:
        """It ends with the connection, and with its FIN."""
        for way, kind in (
            ("lose", ConnectionDone),
            ("loseWrite", ConnectionDone),
            ("abort", ConnectionLost),
        ):
            control = self.associated()
            closed = Outcome(control.whenClosed())
            getattr(self.proxy, way)()
            self.settle()
            self.assertIsInstance(closed.result, kind)
            self.assertClosed()
            self.hangUp()

    def test_noSecondReply(self) -> None:
        """Only BIND has a second reply."""
        self.failureResultOf(self.associated().nextReply(), LocalProtocolError)


class BindTests(ClientCase):
    """BIND: there are two replies."""

    def bound(self, behind: bytes = b"") -> ControlConnection:
        """Have the proxy listen."""
        outcome = self.request(Command.BIND, host=TARGET, port=0)
        self.say(SELECTED, GRANTED + behind)
        control: ControlConnection = outcome.result
        return control

    def test_secondReply(self) -> None:
        """The second reply says who has connected; what is behind it is the application's."""
        control = self.bound()
        second = Outcome(control.nextReply())
        self.assertRaises(LocalProtocolError, control.handOver, Peer())
        self.say(SECOND[:4], SECOND[4:] + b"220 ready")
        self.assertEqual(str(second.result.bound), f"{TARGET}:20")
        self.assertIs(self.successResultOf(control.nextReply()), second.result)
        peer = Peer()
        control.handOver(peer)
        self.assertEqual(bytes(peer.received), b"220 ready")
        peer.write(b"USER")
        self.settle()
        self.assertTrue(self.heard().endswith(b"USER"))

    def test_bothAtOnce(self) -> None:
        """Both replies and what follows them may come in one segment."""
        control = self.bound(SECOND + b"220 ready")
        self.assertEqual(str(self.successResultOf(control.nextReply()).bound), f"{TARGET}:20")
        peer = Peer()
        control.handOver(peer)
        self.assertEqual(bytes(peer.received), b"220 ready")

    def test_noDeadline(self) -> None:
        """Whoever is to connect may take long."""
        control = self.bound()
        second = Outcome(control.nextReply())
        self.reactor.advance(1e6)
        self.assertTrue(second.pending)

    def test_refused(self) -> None:
        """A second reply that refuses: an error, for who waits and who asks later; closed."""
        control = self.bound()
        second = Outcome(control.nextReply())
        self.say(reply(6))
        self.assertIsInstance(second.error, ProxyError)
        self.assertEqual(second.error.code, 6)
        self.assertIs(self.failureResultOf(control.nextReply()).value, second.error)
        self.assertClosed()

    def test_refusedBeforeAsked(self) -> None:
        """It doesn't matter who asks first."""
        control = self.bound(reply(1))
        self.assertEqual(self.failureResultOf(control.nextReply()).value.code, 1)
        self.assertClosed()

    def test_lost(self) -> None:
        """The loss of the connection, or its end, is an error."""
        for way in ("lose", "loseWrite", "abort"):
            control = self.bound()
            second, closed = Outcome(control.nextReply()), Outcome(control.whenClosed())
            getattr(self.proxy, way)()
            self.settle()
            self.assertIsInstance(second.error, ProxyClosed)
            self.assertIn("before its second reply", str(second.error))
            self.assertFalse(closed.pending)
            self.assertClosed()
            self.hangUp()

    def test_malformed(self) -> None:
        """Rubbish in its place is an error, too."""
        control = self.bound()
        second = Outcome(control.nextReply())
        self.say(b"\4\0\0" + BOUND)
        self.assertIsInstance(second.error, ProxyProtocolError)
        self.assertClosed()

    def test_cancelled(self) -> None:
        """Whoever no longer waits closes the connection."""
        control = self.bound()
        second, other = Outcome(control.nextReply()), Outcome(control.nextReply())
        second.deferred.cancel()
        self.assertIsInstance(second.error, CancelledError)
        self.assertClosed()
        self.assertIsInstance(other.error, ProxyClosed)

    def test_closed(self) -> None:
        """Closing it ends the wait."""
        control = self.bound()
        second = Outcome(control.nextReply())
        control.close()
        self.settle()
        self.assertIsInstance(second.error, ProxyClosed)
        self.assertClosed()
