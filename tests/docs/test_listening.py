"""
The ways to listen that docs/howto/listening.md describes; docs/howto/tls.md has tests of its own.
"""

from __future__ import annotations

import datetime
import socket
import ssl
from ipaddress import IPv4Address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.interop.client import GREETING, Client, numbered
from tests.interop.origins import EchoTarget
from tests.interop.programs import ours, run
from tests.interop.proxy import Proxy, ProxyTestCase

NAME = "proxy.example"

#: Opens a socket as systemd does, and becomes the program that it is for.
ACTIVATION = """
import os, socket, sys
listening = socket.create_server((sys.argv[1], 0))
os.dup2(listening.fileno(), 3)
os.set_inheritable(3, True)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1", LISTEN_FDNAMES="socks5.socket")
os.execv(sys.argv[2], sys.argv[2:])
"""


def certificate(directory: Path) -> None:
    """Make a key and a certificate for NAME, and a file with both."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, NAME)])
    now = datetime.datetime.now(datetime.timezone.utc)
    alternatives = [x509.DNSName(NAME), x509.IPAddress(IPv4Address("127.0.0.1"))]
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    private = key.private_bytes(
        pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    public = made.public_bytes(pem)
    (directory / "key.pem").write_bytes(private)
    (directory / "cert.pem").write_bytes(public)
    (directory / "both").mkdir()
    (directory / "both" / f"{NAME}.pem").write_bytes(private + public)


class TLSTests(ProxyTestCase):
    """TLS around it."""

    def setUp(self) -> None:
        """Make a certificate."""
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        certificate(self.place)
        self.context = ssl.create_default_context(cafile=self.place / "cert.pem")

    def connected(self, proxy: Proxy, target: EchoTarget) -> ssl.SSLSocket:
        """Connect to a target, after seeing whose certificate it is."""
        plain = socket.create_connection((proxy.host, proxy.port), 20)
        client = self.context.wrap_socket(plain, server_hostname=NAME)
        self.addCleanup(client.close)
        client.sendall(GREETING + numbered("127.0.0.1", target.port))
        heard = b""
        while len(heard) < 12:
            heard += client.recv(12 - len(heard))
        self.assertEqual(heard[:4], b"\x05\x00\x05\x00")
        return client

    def echoes(self, client: ssl.SSLSocket) -> None:
        """See that octets pass."""
        client.sendall(b"hello")
        self.assertEqual(client.recv(5), b"hello")

    def test_ssl(self) -> None:
        """With C{ssl:}; an end in TLS's words is one in TCP's."""
        echo = EchoTarget(self)
        key, cert = self.place / "key.pem", self.place / "cert.pem"
        proxy = self.proxy(
            "--listen", f"ssl:0:privateKey={key}:certKey={cert}:interface=127.0.0.1"
        )
        client = self.connected(proxy, echo)
        self.echoes(client)
        client.unwrap().close()
        (record,) = proxy.waitRecords(1)
        self.assertEqual((record["sent"], record["reason"]), (5, "client closed"))

    def test_tls(self) -> None:
        """With C{tls:} and a directory, whatever Twisted has of its own."""
        listen = f"tls:{self.place / 'both'}:0:interface=127.0.0.1"
        self.echoes(self.connected(self.proxy("--listen", listen), EchoTarget(self)))


class SystemdTests(ProxyTestCase):
    """A socket that was opened by systemd."""

    def command(self, host: str) -> tuple[str, ...]:
        """Say how to start a proxy on a socket of a host."""
        activated = ("python", "-c", ACTIVATION, host)
        return (*activated, ours("twistd"), "-n", "--pidfile=", "socks5", "--listen")

    def test_activated(self) -> None:
        """By its number, and by its name."""
        echo = EchoTarget(self)
        for which in ("index=0", "name=socks5.socket"):
            listen = f"systemd:domain=INET:{which}"
            proxy = Proxy(self.mktemp(), listen, command=self.command("127.0.0.1"))
            self.addCleanup(proxy.stop)
            client = Client(self, proxy).through(echo.port)
            self.assertEqual(client.asks(b"hello"), b"hello")

    def test_reachable(self) -> None:
        """One that can be reached from elsewhere does not get around C{--auth}."""
        python, *command = self.command("0.0.0.0")
        said = run(ours(python), *command, "systemd:domain=INET:index=0")
        self.assertEqual(said.returncode, 1)
        self.assertIn("can be reached from elsewhere", said.stderr)
