"""A session's negotiation, from the greeting to a request: whole, in pieces, wrong."""

from __future__ import annotations

from tests.server.base import (
    CUTS,
    GRANTED,
    GREETED,
    GREETING,
    LOGGED_IN,
    LOGIN,
    LOGIN_SELECTED,
    TARGET6,
    ServerCase,
    credentials,
    refused,
    request,
    users,
)
from twisted_socks5.testing import PlainPeer
from twisted_socks5.wire import Reply

#: What a client says in a session that is granted, and what it hears of each.
ANONYMOUS = (GREETING, request()), (GREETED, GRANTED)
AUTHENTICATED = (LOGIN, credentials(), request()), (LOGIN_SELECTED, LOGGED_IN, GRANTED)


class GrantedTests(ServerCase):
    """Sessions in which nothing goes wrong."""

    def test_anonymous(self) -> None:
        """Method "none": the request is granted however it is cut, with payload behind it."""
        for cut in CUTS:
            proxy = self.serve()
            target = proxy.target()
            client = proxy.say(*cut(*ANONYMOUS[0], b"payload"))
            self.assertEqual(self.assertGranted(client), b"")
            self.assertEqual(target.peer.received, b"payload")
            client.write(b" and more")
            target.peer.write(b"answer")
            proxy.settle()
            self.assertEqual(target.peer.received, b"payload and more")
            self.assertEqual(self.assertGranted(client), b"answer")
            client.loseWrite()
            proxy.settle()
            target.peer.loseWrite()
            proxy.settle()
            record = self.record()
            self.assertEqual(
                (record.method, record.user, record.command, record.target, record.dialled),
                ("no_authentication", "", "CONNECT", "203.0.113.5:80", "203.0.113.5:80"),
            )
            self.assertEqual(
                (record.reply, record.sent, record.received, record.reason),
                (0, 16, 6, "client closed"),
            )

    def test_authenticated(self) -> None:
        """Method "username/password": the same, with the user's name in the log."""
        for cut in CUTS:
            proxy = self.serve(users())
            target = proxy.target()
            client = proxy.say(*cut(*AUTHENTICATED[0], b"payload"))
            self.assertGranted(client, LOGIN_SELECTED + LOGGED_IN)
            self.assertEqual(target.peer.received, b"payload")
            target.peer.abort()
            proxy.settle()
            record = self.record()
            self.assertEqual((record.method, record.user), ("username_password", "alice"))
            self.assertEqual((record.reply, record.reason), (0, "target reset"))
            self.assertNotIn("secret", repr(record))

    def test_bothOffered(self) -> None:
        """A client that offers several methods gets one that the portal can check."""
        proxy = self.serve(users())
        client = proxy.say(b"\5\4\0\1\x80\2")
        self.assertEqual(client.received, LOGIN_SELECTED)

    def test_reservedOctet(self) -> None:
        """Clients that put something into RSV are served."""
        proxy = self.serve()
        proxy.target()
        asked = bytearray(request())
        asked[2] = 0xFF
        self.assertGranted(proxy.say(GREETING, bytes(asked)))

    def test_sessionsApart(self) -> None:
        """What one client does wrong is nothing to another one."""
        proxy = self.serve()
        target = proxy.target()
        good = proxy.say(GREETING, request())
        proxy.say(b"GET / HTTP/1.1\r\n\r\n")
        half = proxy.say(b"\5")
        proxy.say(GREETING, b"\6").abort()
        proxy.settle()
        target.peer.write(b"still there")
        half.write(GREETING[1:] + request())
        proxy.settle()
        self.assertEqual(self.assertGranted(good), b"still there")
        self.assertGranted(half)
        self.assertEqual(len(target.peers), 2)

    def test_noHalfClose(self) -> None:
        """A client that knows no half-close is served as well."""
        proxy = self.serve()
        target = proxy.target()
        client = proxy.say(GREETING, request(), peer=PlainPeer())
        target.peer.write(b"bye")
        target.peer.lose()
        proxy.settle()
        self.assertEqual(self.assertGranted(client), b"bye")
        self.assertTrue(client.wasClosed)


class CutShortTests(ServerCase):
    """Clients that stop in the middle of each message: without a word, with a FIN, a reset."""

    def stages(self) -> list[tuple[bytes, bytes]]:
        """Say what has been sent at each octet of a negotiation, and what has been heard."""
        found = []
        said, heard = AUTHENTICATED
        before, answers = b"", b""
        for message, answer in zip(said, heard, strict=True):
            found += [(before + message[:at], answers) for at in range(len(message))]
            before, answers = before + message, answers + answer
        return found

    def test_silence(self) -> None:
        """Who says no more is closed, not reset, when the time for negotiating is over."""
        for sent, heard in self.stages():
            proxy = self.serve(users(), settings={"negotiation_timeout": 7.0})
            client = proxy.say(sent)
            proxy.reactor.advance(6.9)
            self.assertEqual((client.received, client.eof), (heard, False))
            proxy.reactor.advance(0.2)
            record = self.assertRefused(client, heard, "no complete negotiation within 7 s")
            self.assertIsNone(record.reply)

    def test_forEver(self) -> None:
        """With no time limit a client may take all the time it wants."""
        proxy = self.serve(settings={"negotiation_timeout": 0.0})
        client = proxy.say(b"\5")
        proxy.reactor.advance(1_000_000)
        self.assertFalse(client.eof)

    def test_end(self) -> None:
        """A FIN in the middle is the end; there is nothing to say to it."""
        for sent, heard in self.stages():
            proxy = self.serve(users())
            client = proxy.say(sent)
            client.loseWrite()
            proxy.settle()
            self.assertEqual(client.received, heard)
            self.assertTrue(client.wasClosed)
            self.assertEqual(self.record().reason, "client closed during the negotiation")

    def test_endWithTheOctets(self) -> None:
        """A FIN that comes along with half a message is the same."""
        for sent, heard in self.stages():
            proxy = self.serve(users())
            client = proxy.connect()
            client.write(sent)
            client.loseWrite()
            proxy.settle()
            self.assertEqual(client.received, heard)
            self.assertTrue(client.wasClosed)
            self.assertEqual(self.record().reason, "client closed during the negotiation")

    def test_reset(self) -> None:
        """A reset in the middle ends the session."""
        for sent, _ in self.stages():
            proxy = self.serve(users())
            client = proxy.say(sent)
            client.abort()
            proxy.settle()
            self.assertEqual(self.record().reason, "client reset during the negotiation")

    def test_oneNegotiationIsTimed(self) -> None:
        """A relay does not end because its negotiation would have had to."""
        proxy = self.serve()
        target = proxy.target()
        client = proxy.say(GREETING, request())
        proxy.reactor.advance(100)
        target.peer.write(b"late")
        proxy.settle()
        self.assertEqual(self.assertGranted(client), b"late")


class WrongTests(ServerCase):
    """Openings and requests that are none."""

    def test_noAcceptableMethod(self) -> None:
        """Who offers nothing that can be checked hears exactly two octets, then a FIN."""
        for greeting, offered in (
            (b"\5\1\0", "0"),
            (b"\5\2\1\x80", "1, 128"),
            (b"\5\0", "nothing"),
        ):
            proxy = self.serve(users())
            client = proxy.say(greeting)
            self.assertRefused(client, b"\5\xff", f"no acceptable .*: offered {offered}$")

    def test_otherProtocols(self) -> None:
        """Whoever speaks something else is closed, and the log guesses what it is."""
        for octets, guess in (
            (b"GET / HTTP/1.1\r\nHost: x\r\n\r\n", "HTTP"),
            (b"\x16\x03\x01\x02\x00\x01\x00" + bytes(500), "TLS"),
            (b"SSH-2.0-OpenSSH_9.2\r\n", "SSH"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n", "PROXY"),
            (b"\0", "version 0"),
        ):
            proxy = self.serve()
            client = proxy.say(octets)
            self.assertRefused(client, b"", guess)

    def test_everyVersion(self) -> None:
        """Each version but 5 is closed at its first octet, SOCKS4 with its own refusal."""
        for version in range(256):
            if version == 5:
                continue
            proxy = self.serve()
            client = proxy.say(bytes([version]))
            answer = b"\0\x5b\0\0\0\0\0\0" if version == 4 else b""
            self.assertRefused(client, answer, f"version {version} instead of 5")

    def test_loginOfAnotherVersion(self) -> None:
        """Credentials of a version other than 1 are refused with a STATUS."""
        proxy = self.serve(users())
        client = proxy.say(LOGIN, b"\5\5alice\6secret")
        self.assertRefused(client, LOGIN_SELECTED + b"\1\1", "version 5 instead of 1")

    def test_unknownCommands(self) -> None:
        """Commands that there are not are refused with 7."""
        for command in (0, 4, 0x80, 0xF0, 0xF1, 0xFF):
            proxy = self.serve()
            client = proxy.say(GREETING, request(command=command))
            record = self.assertRefused(client, GREETED + refused(7), f"unknown command {command}")
            self.assertEqual((record.command, record.reply), (str(command), 7))

    def test_unknownAddressTypes(self) -> None:
        """Address types that there are not are refused with 8."""
        for kind in (0, 2, 5, 0xFF):
            proxy = self.serve()
            client = proxy.say(GREETING, bytes([5, 1, 0, kind]) + bytes(20))
            record = self.assertRefused(client, GREETED + refused(8), "unknown address type")
            self.assertIs(record.reply, Reply.ADDRESS_TYPE_NOT_SUPPORTED)

    def test_requestOfAnotherVersion(self) -> None:
        """A request of another version is refused."""
        proxy = self.serve()
        client = proxy.say(GREETING, b"\4" + request()[1:])
        self.assertRefused(client, GREETED + refused(1), "version 4 instead of 5 in the request")

    def test_dialledNobody(self) -> None:
        """Whatever is refused so has reached no target."""
        proxy = self.serve(users())
        target = proxy.target()
        for said in ((GREETING, request()), (LOGIN, request()), (LOGIN + request(),)):
            proxy.say(*said)
        proxy.reactor.advance(100)
        self.assertEqual(target.peers, [])

    def test_ipv6Bound(self) -> None:
        """A target of IPv6 is answered with an address of IPv6."""
        proxy = self.serve()
        proxy.target(TARGET6)
        client = proxy.say(GREETING, request(TARGET6))
        self.assertEqual(client.received[:6], GREETED + b"\5\0\0\4")
        self.assertEqual(len(client.received), 2 + 22)


class StreamGrantedTests(GrantedTests):
    """The same on streams."""

    streams = True


class StreamCutShortTests(CutShortTests):
    """The same on streams."""

    streams = True


class StreamWrongTests(WrongTests):
    """The same on streams."""

    streams = True
