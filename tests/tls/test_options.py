"""TLS as C{twistd socks5} is told of it."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

from twisted.logger import LogEvent, globalLogPublisher

from tests.server.base import GREETED, GREETING
from tests.test_tap import TapCase
from tests.tls.authority import PROXY, clientContext, theAuthority, theProxy
from tests.tls.peers import TLSPeer
from twisted_socks5.processes import StartFailure
from twisted_socks5.testing import PeerFactory


class OptionsTests(TapCase):
    """C{--listen ssl:…} and C{--auth certificate}."""

    def setUp(self) -> None:
        """Write the files, and listen to the log."""
        super().setUp()
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        key, certificate = theProxy().write(self.place, "own")
        (self.place / "ca.crt").write_bytes(theAuthority().pem)
        self.own = f"ssl:1080:privateKey={key}:certKey={certificate}"
        self.asking = f"{self.own}:clientCA={self.place / 'ca.crt'}"
        self.users: list[str] = []
        observer: Any = self.note
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def note(self, event: LogEvent) -> None:
        """Keep for whom it says to be."""
        if "users" in event:
            self.users.append(event["users"])

    def connect(self, port: int = 1080) -> TLSPeer:
        """Connect a client."""
        client = TLSPeer(clientContext(trusted=theAuthority()))
        self.reactor.connectTCP("127.0.0.1", port, PeerFactory(lambda: client))
        self.reactor.advance(0)
        return client

    def test_serves(self) -> None:
        """Sessions over TLS; SIGHUP has the certificates looked at."""
        proxy = self.make("--listen", f"{self.own}:interface=127.0.0.1")
        proxy.startService()
        client = self.connect()
        client.write(GREETING)
        self.reactor.advance(0)
        self.assertEqual(client.received, GREETED)
        new = theAuthority().issue(PROXY, hosts=(PROXY,))
        new.write(self.place, "own")
        self.signals.raise_(signal.SIGHUP)
        self.reactor.advance(0)
        self.reactor.settle()
        shown = self.connect().connection.get_peer_certificate(as_cryptography=True)
        self.assertEqual(shown, new.certificate)

    def test_forWhom(self) -> None:
        """It says for whom it listens."""
        (self.place / "users").write_text("bob:hunter2\n")
        password = ("--auth", f"file:{self.place / 'users'}")
        certificate = ("--auth", "certificate")
        here = ":interface=127.0.0.1"
        optional = ":clientCertificate=optional"
        for listen, auth, said in (
            (self.own + here, (), "the programs of this host"),
            (self.asking + here, (), "whoever has a certificate"),
            (self.asking + here + optional, (), "the programs of this host"),
            (self.asking, ("--auth", "anonymous"), "whoever has a certificate"),
            (self.asking, certificate, "users who log in (certificate)"),
            (self.asking, password, "users who have a certificate and log in ("),
            (self.asking + optional, password, "users who log in ("),
            (self.asking, (*certificate, *password), "username/password (0x02), certificate)"),
        ):
            proxy = self.make("--listen", listen, *auth)
            proxy.startService()
            self.assertIn(said, self.users[-1])
            proxy.stopService()
            self.reactor.advance(0)

    def test_nobodyAsks(self) -> None:
        """Certificates that nobody asks for, everywhere or somewhere."""
        certificate = ("--auth", "certificate")
        for listen in ((), ("--listen", self.own), ("--listen", "tcp:1081")):
            said = self.wrong(*listen, *certificate)
            self.assertIn("--auth certificate takes a --listen that asks for certificates", said)
        both = ("--listen", self.asking, "--listen", "tcp:1081:interface=127.0.0.1")
        said = self.wrong(*both, *certificate)
        self.assertIn("asks for no certificates, and there is no --auth but certificate", said)
        self.make(*both, *certificate, "--auth", "memory:alice:secret")

    def test_gateAlone(self) -> None:
        """clientCA without C{--auth} opens nothing to others than this host."""
        proxy = self.make("--listen", self.asking)
        self.assertRaises(StartFailure, proxy.startService)
        said = self.stderr.getvalue()
        self.assertIn("no --auth says who may use it", said)
        self.assertIn("--auth certificate makes users of those who have a certificate", said)

    def test_wrong(self) -> None:
        """What is wrong is said in one line, with the description."""
        for listen, why in (
            (f"{self.own}:clientCa=x", "ssl: does not know 'clientCa'"),
            ("tls:/nonexistent:1080", "'/nonexistent' cannot be read: No such file or directory"),
            ("TLS:/nonexistent:x", "'x' is no port"),
        ):
            said = self.wrong("--listen", listen)
            self.assertTrue(said.startswith(f"--listen {listen}: "), said)
            self.assertIn(why, said)

    def test_parameter(self) -> None:
        """C{--auth certificate} takes no parameter, and says where it would belong."""
        said = self.wrong("--auth", "certificate:/etc/ca.pem")
        self.assertIn("--auth certificate takes no parameter", said)
