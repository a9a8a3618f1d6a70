"""
What no SOCKS client should send, against the real process.

Each case has the RFC's reply or a prompt close, a reason in the access log, and no effect on
the session that is there all the time.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.interop.client import (
    CLOSED,
    GREETING,
    PASSWORD_GREETING,
    Client,
    credentials,
    named,
    numbered,
    refusal,
    wide,
)
from tests.interop.origins import EchoTarget, Target
from tests.interop.proxy import Proxy, ProxyTestCase

CHOSEN = b"\x05\x00"
NONE_ACCEPTABLE = b"\x05\xff"
WRONG_LOGIN = b"\x01\x01"
REFUSED4 = bytes((0, 91, 0, 0, 0, 0, 0, 0))

#: What an honest program may still be sending when it is refused: more than any one read.
MORE = b"more\r\n" * 50_000

TLS_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(range(197))


class BadInputTestCase(ProxyTestCase):
    """A proxy with one honest session, which has to outlive whatever happens beside it."""

    def started(self, *options: str) -> Proxy:
        """Start a proxy, and the honest session."""
        echo, proxy = EchoTarget(self), self.proxy(*options)
        login = b"\x05\x02\x00\x02"
        honest = Client(self, proxy, login)
        if honest.hear(2) == b"\x05\x02":
            honest.say(credentials("alice", "s3cr3t")).hear(2)
        honest.say(numbered("127.0.0.1", echo.port))
        self.assertEqual(honest.hearReply()[:2], b"\x05\x00")
        self.assertEqual(honest.asks(b"before"), b"before")
        sockets = proxy.sockets()
        self.others = 0

        def unharmed() -> None:
            self.assertEqual(honest.asks(b"after"), b"after")
            records = proxy.waitRecords(self.others)
            self.assertEqual([one for one in records if not one["reason"]], [])
            self.assertEqual(proxy.sockets(), sockets)

        self.addCleanup(unharmed)
        return proxy

    def client(self, proxy: Proxy, opening: bytes = b"") -> Client:
        """Connect, and say something."""
        self.others += 1
        return Client(self, proxy, opening)

    def answer(self, proxy: Proxy, octets: bytes) -> bytes:
        """Send octets and hear everything until the close, which must be an orderly one."""
        client = self.client(proxy, octets)
        heard = client.hearOut()
        client.close()
        return heard

    def answers(self, proxy: Proxy, cases: Iterable[tuple[bytes, bytes]]) -> None:
        """Send each, as it is and with more behind it, and hear each one's answer."""
        for octets, expected in cases:
            for rest in (b"", MORE):
                client = self.client(proxy)
                client.sendall(octets + rest)
                self.assertEqual(client.hearOut(), expected, octets)
                client.close()


class OtherProtocolTests(BadInputTestCase):
    """What others speak, on this port."""

    def test_others(self) -> None:
        """HTTP, TLS, SSH and SOCKS4 are closed at once, and the log says what it looked like."""
        proxy = self.started()
        http = b"GET http://example.com/ HTTP/1.1\r\nHost: example.com\r\n\r\n"
        socks4 = b"\x04\x01\x00\x50\x7f\x00\x00\x01user\x00"
        cases = (
            (http, CLOSED),
            (b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", CLOSED),
            (TLS_HELLO, CLOSED),
            (b"SSH-2.0-OpenSSH_9.2\r\n", CLOSED),
            (socks4, REFUSED4),
        )
        self.answers(proxy, cases)
        reasons = [one["reason"] for one in proxy.waitRecords(self.others)]
        for hint, count in (("HTTP", 4), ("TLS", 2), ("SSH", 2), ("SOCKS4", 2)):
            self.assertEqual(len([one for one in reasons if hint in one]), count, reasons)

    def test_versions(self) -> None:
        """Every other version octet."""
        proxy = self.started()
        for version in set(range(256)) - {4, 5}:
            self.assertEqual(self.answer(proxy, bytes((version, 1, 0))), CLOSED, version)

    def test_secondVersion(self) -> None:
        """Another version in the request: REP 1."""
        proxy = self.started()
        cases = [
            (GREETING + bytes((version,)) + named(b"a", 1)[1:], CHOSEN + refusal(1))
            for version in (0, 1, 4, 6, 255)
        ]
        self.answers(proxy, cases)


class MethodTests(BadInputTestCase):
    """Greetings and logins that lead nowhere."""

    def test_none(self) -> None:
        """No acceptable method: exactly two octets, then the close."""
        proxy = self.started()
        cases = [
            (b"\x05\x00", NONE_ACCEPTABLE),
            (b"\x05\x01\x01", NONE_ACCEPTABLE),
            (b"\x05\x01\x02", NONE_ACCEPTABLE),
            (b"\x05\x01\xff", NONE_ACCEPTABLE),
            (b"\x05\xff" + bytes(range(1, 256)), NONE_ACCEPTABLE),
        ]
        self.answers(proxy, cases)

    def test_noneWithUsers(self) -> None:
        """Where users log in, "none" is not acceptable either."""
        proxy = self.started("--auth", self.users("alice:s3cr3t"))
        cases = [
            (b"\x05\x00", NONE_ACCEPTABLE),
            (GREETING, NONE_ACCEPTABLE),
            (GREETING + numbered("127.0.0.1", 9), NONE_ACCEPTABLE),
            (b"\x05\x02\x00\x01", NONE_ACCEPTABLE),
        ]
        self.answers(proxy, cases)

    def test_logins(self) -> None:
        """Other versions than 1, and names and passwords of all sizes, are STATUS 1."""
        proxy = self.started("--auth", self.users("alice:s3cr3t"))
        chosen = b"\x05\x02"
        for login in (
            b"\x05" + credentials("alice", "s3cr3t")[1:],
            b"\x00" + credentials("alice", "s3cr3t")[1:],
            credentials("alice", "\0s3cr3t"),
        ):
            heard = self.answer(proxy, PASSWORD_GREETING + login + MORE)
            self.assertEqual(heard, chosen + WRONG_LOGIN, login)

    def test_sizes(self) -> None:
        """Empty and 255 octets long names and passwords are only wrong ones."""
        proxy = self.started("--auth", self.users("alice:s3cr3t"))
        clients = [
            self.client(proxy, PASSWORD_GREETING + login)
            for login in (
                credentials("", ""),
                credentials("n" * 255, "p" * 255),
                bytes((1, 1, 0xFF, 1, 0xFF)),
            )
        ]
        for client in clients:
            self.assertEqual(client.hearOut(), b"\x05\x02" + WRONG_LOGIN)
            client.close()


class RequestTests(BadInputTestCase):
    """Requests that cannot be granted."""

    def test_names(self) -> None:
        """What is no host name: REP 4."""
        proxy = self.started()
        names = (
            *(b"", b".", b"..", b"a..b", b" ", b"a b", b"a/b", b"a:b", b"a@b", b"%41", b"*"),
            *(b"\0", b"127.0.0.1\0.example.com", b"localhost\0", b"a\nb", b"a\x7f"),
            *(b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf0\x9f\x92\xa9\xff", b"xn--\xc3\xa4"),
            *(b"a" * 64, b"a" * 255, b"256.1", b"1.2.3.4.5", b"0x100000000", b"::g", b"[::1"),
        )
        cases = [(GREETING + named(name, 80), CHOSEN + refusal(4)) for name in names]
        self.answers(proxy, cases)

    def test_literals(self) -> None:
        """Addresses as names are addresses, in whatever spelling."""
        proxy, echo = self.started(), EchoTarget(self)
        for name in (
            *(b"127.0.0.1", b"127.1", b"127.0.0.1.", b"0x7f.1", b"2130706433", b"017700000001"),
            *(b"::ffff:127.0.0.1", b"[::ffff:7f00:1]", wide("127.0.0.1")),
        ):
            client = self.client(proxy, GREETING + named(name, echo.port) + b"hello")
            self.assertEqual(client.hear(4), CHOSEN + b"\x05\x00", name)
            client.hear(8)
            self.assertEqual(client.hear(5), b"hello", name)
            client.close()

    def test_codes(self) -> None:
        """Port 0 is REP 1; unknown commands are 7, unknown address types 8."""
        proxy = self.started()
        there = numbered("127.0.0.1", 9)[3:]
        cases = [
            (numbered("127.0.0.1", 0), 1),
            (named(b"localhost", 0), 1),
            *((bytes((5, command, 0)) + there, 7) for command in (0, 4, 9, 128, 255)),
            *((bytes((5, 1, 0, kind)) + there[1:], 8) for kind in (0, 2, 5, 128, 255)),
        ]
        self.answers(
            proxy, [(GREETING + octets, CHOSEN + refusal(reply)) for octets, reply in cases]
        )

    def test_reserved(self) -> None:
        """RSV is not looked at: a draft of the next RFC has flags there."""
        proxy, echo = self.started(), EchoTarget(self)
        for reserved in (1, 4, 255):
            request = bytes((5, 1, reserved)) + numbered("127.0.0.1", echo.port)[3:]
            client = self.client(proxy, GREETING + request)
            self.assertEqual(client.hear(4), CHOSEN + b"\x05\x00", reserved)
            client.close()


class SegmentTests(BadInputTestCase):
    """One and the same octets, cut in other ways."""

    def test_singly(self) -> None:
        """Octet by octet, payload too."""
        proxy, echo = self.started("--auth", self.users("alice:s3cr3t")), EchoTarget(self)
        login = PASSWORD_GREETING + credentials("alice", "s3cr3t")
        client = self.client(proxy)
        for octet in login + named(b"127.0.0.1", echo.port) + b"hello":
            client.sendall(bytes((octet,)))
        self.assertEqual(client.hear(4), b"\x05\x02\x01\x00")
        self.assertEqual(client.hearReply()[:2], b"\x05\x00")
        self.assertEqual(client.hear(5), b"hello")
        client.close()

    def test_together(self) -> None:
        """All at once, with payload of more than one read behind, and the end of it."""
        proxy, target = self.started("--auth", self.users("alice:s3cr3t")), Target(self)
        login = PASSWORD_GREETING + credentials("alice", "s3cr3t")
        client = self.client(proxy)
        client.sendall(login + numbered("127.0.0.1", target.port) + MORE)
        client.finish()
        reached = target.accept()
        got = b""
        while piece := reached.recv(1 << 16):
            got += piece
        self.assertEqual(got, MORE)
        reached.sendall(b"answered")
        reached.close()
        client.hear(4)
        self.assertEqual(client.hearReply()[:2], b"\x05\x00")
        self.assertEqual(client.hearOut(), b"answered")
        client.close()

    def test_targetFirst(self) -> None:
        """A target that speaks first is heard, and one that only speaks, too."""
        proxy, target = self.started(), Target(self)
        client = self.client(proxy).through(target.port)
        reached = target.accept()
        reached.sendall(b"220 welcome\r\n")
        self.assertEqual(client.hear(13), b"220 welcome\r\n")
        reached.close()
        self.assertEqual(client.hearOut(), b"")
        client.close()
