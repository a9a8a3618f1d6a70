"""Who is taken for an association's client: what was declared, and who sends."""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.server.clientend import ClientEnd
from twisted_socks5.wire import Address, Host

CLIENT = "198.51.100.7"
CLIENT6 = "2001:db8::7"


def end(client: str | None, host: Host | str, port: int) -> ClientEnd:
    """Make the end of a client that has declared this."""
    declared = Address(ip_address(host) if isinstance(host, str) else host, port)
    return ClientEnd(None if client is None else ip_address(client), declared)


class ClientEndTests(SynchronousTestCase):
    """Declarations and sources."""

    def assertPorts(self, client: ClientEnd, host: str, accepted: list[int]) -> None:
        """Of some ports these may be the client's."""
        found = [port for port in (0, 1, 4999, 5000, 65535) if client.mayBe((host, port))]
        self.assertEqual(found, accepted)

    def test_declared(self) -> None:
        """Its own address, in any spelling: only the port that goes with it."""
        for host in (CLIENT, "::ffff:198.51.100.7", b"198.51.100.7", b"0xc6336407"):
            self.assertPorts(end(CLIENT, host, 5000), CLIENT, [5000])
        for host in (CLIENT6, b"[2001:db8:0:0::7]"):
            self.assertPorts(end(CLIENT6, host, 5000), CLIENT6, [5000])

    def test_declaredOtherwise(self) -> None:
        """Anything else is no declaration, whoever writes it: any port, but none is no port."""
        for host in (
            "0.0.0.0",
            "::",
            "192.168.1.7",  # its address behind a NAT
            "203.0.113.5",  # the target
            "127.0.0.1",
            b"0",
            b"0.0.0.0",
            b"example.com",
            b"localhost",
            b"\0",
            b"\xff\xfe",
            b"a name that is none",
            b"256.256.256.256",
        ):
            for port in (0, 4999):
                self.assertPorts(end(CLIENT, host, port), CLIENT, [1, 4999, 5000, 65535])

    def test_declaredWithoutPort(self) -> None:
        """Its own address and port 0: any port."""
        self.assertPorts(end(CLIENT, CLIENT, 0), CLIENT, [1, 4999, 5000, 65535])

    def test_strangers(self) -> None:
        """Other addresses are never the client's, whatever the port, of whatever family."""
        for host in ("198.51.100.8", CLIENT6, "::ffff:198.51.100.8", "127.0.0.1", "fe80::7%lo"):
            self.assertPorts(end(CLIENT, CLIENT, 5000), host, [])
            self.assertPorts(end(CLIENT, "0.0.0.0", 0), host, [])

    def test_spellings(self) -> None:
        """The address is the same one mapped into IPv6, and with a zone id."""
        self.assertTrue(end(CLIENT, "0.0.0.0", 0).mayBe(("::ffff:198.51.100.7", 5000)))
        self.assertTrue(end("fe80::7", "::", 0).mayBe(("fe80::7%eth0", 5000)))

    def test_pinned(self) -> None:
        """Once it is known, nobody else is the client, not even from its own address."""
        client = end(CLIENT, "0.0.0.0", 0)
        client.endpoint = (CLIENT, 5000)
        self.assertPorts(client, CLIENT, [5000])
        self.assertPorts(client, "198.51.100.8", [])

    def test_unixSocket(self) -> None:
        """A client on a Unix socket is whoever is on this host."""
        for client in (end(None, "0.0.0.0", 0), end(None, b"0", 5000), end(None, CLIENT, 5000)):
            self.assertPorts(client, "127.0.0.1", [1, 4999, 5000, 65535])
            self.assertPorts(client, CLIENT, [])
        self.assertPorts(end(None, "127.0.0.1", 5000), "127.0.0.1", [5000])
