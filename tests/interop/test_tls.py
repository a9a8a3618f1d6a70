"""
SOCKS over TLS, for clients that speak no TLS themselves: through stunnel and through socat.

Both run as inetd would run them, a process for each connection, so none has to find a port.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import ssl
import threading
from pathlib import Path
from typing import cast

from tests.interop.client import (
    CLOSED,
    GREETING,
    Client,
)
from tests.interop.origins import (
    EchoTarget,
    HTTPOrigin,
    ProgramTarget,
    Target,
    content,
    digest,
)
from tests.interop.programs import find, ours, run
from tests.interop.proxy import Proxy, ProxyTestCase
from tests.interop.test_curl import PROXY_REFUSED, curl
from tests.tls.authority import (
    CLIENT_AUTH,
    DAY,
    PROXY,
    SERVER_AUTH,
    Issued,
    newAuthority,
    theAuthority,
    theProxy,
)

SIZE = 20_000_000

WRAPPERS = ("stunnel", "socat")


class Wrapper(ProgramTarget):
    """
    Puts TLS around each connection.

    @ivar host: where it listens.
    """

    host = "127.0.0.1"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


class TLSCase(ProxyTestCase):
    """
    Tests with a proxy whose certificate, and whose clients', are the authority's.

    @ivar place: the files.
    """

    def setUp(self) -> None:
        """Write the files."""
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        theProxy().write(self.place, "proxy")
        (self.place / "ca.pem").write_bytes(theAuthority().pem)

    def listen(self, *more: str) -> str:
        """Describe an endpoint on the proxy's certificate."""
        own = f"privateKey={self.place / 'proxy-key.pem'}:certKey={self.place / 'proxy.pem'}"
        return ":".join([f"ssl:0:interface=127.0.0.1:{own}", *more])

    def asking(self, *more: str) -> str:
        """Describe an endpoint that asks for certificates."""
        return self.listen(f"clientCA={self.place / 'ca.pem'}", *more)

    def wrapper(
        self, kind: str, proxy: Proxy, client: Issued | None = None, linger: str = "0.5"
    ) -> Wrapper:
        """
        Put a program's TLS in front of a proxy, which must be whom it says it is.

        @param linger: seconds that socat goes on for, once one direction has ended.
        """
        key = certificate = ""
        if client is not None:
            number = len(list(self.place.iterdir()))
            key, certificate = client.write(self.place, f"client{number}")
        if kind == "socat":
            options = [f"cafile={self.place / 'ca.pem'},commonname={PROXY}"]
            if client is not None:
                options.append(f"certificate={certificate},key={key}")
            where = f"OPENSSL:{proxy.host}:{proxy.port},{','.join(options)}"
            return Wrapper(self, find("socat", "socat"), "-t", linger, "STDIO", where)
        lines = [
            "foreground = quiet",
            "syslog = no",
            "debug = 0",
            "client = yes",
            f"connect = {proxy.host}:{proxy.port}",
            "verifyChain = yes",
            f"CAfile = {self.place / 'ca.pem'}",
            f"checkHost = {PROXY}",
            "TIMEOUTclose = 20",
        ]
        if client is not None:
            lines += [f"cert = {certificate}", f"key = {key}"]
        configuration = self.place / f"stunnel{len(list(self.place.iterdir()))}.conf"
        configuration.write_text("".join(f"{line}\n" for line in lines))
        return Wrapper(self, find("stunnel", "stunnel4"), str(configuration))

    def client(self, wrapper: Wrapper) -> Client:
        """Connect to the proxy through a program's TLS."""
        return Client(self, cast("Proxy", wrapper))

    def fetches(self, wrapper: Wrapper, origin: HTTPOrigin, *options: str) -> None:
        """Fetch a page with curl."""
        where = f"http://127.0.0.1:{origin.port}/"
        said = curl("--socks5-hostname", str(wrapper), *options, where)
        self.assertEqual((said.returncode, said.stdout), (0, "this is the origin\n"), said.stderr)

    def fails(self, wrapper: Wrapper, origin: HTTPOrigin) -> None:
        """Fetch it in vain."""
        where = f"http://127.0.0.1:{origin.port}/"
        said = curl("--socks5-hostname", str(wrapper), "--max-time", "20", where)
        self.assertEqual((said.returncode, said.stdout), (PROXY_REFUSED, ""), said.stderr)


class WrappedTests(TLSCase):
    """The proxy's certificate alone."""

    def test_page(self) -> None:
        """curl fetches a page."""
        origin, proxy = HTTPOrigin(self), self.proxy("--listen", self.listen())
        for kind in WRAPPERS:
            self.fetches(self.wrapper(kind, proxy), origin)
        self.assertEqual({one["reply"] for one in proxy.waitRecords(2)}, {0})

    def test_bulk(self) -> None:
        """20 MB arrive as they are, down and up."""
        origin, proxy = HTTPOrigin(self), self.proxy("--listen", self.listen())
        sent = self.place / "upload"
        sent.write_bytes(content(SIZE))
        for kind in WRAPPERS:
            wrapper = self.wrapper(kind, proxy)
            got = self.place / "download"
            where = f"http://127.0.0.1:{origin.port}"
            said = curl("--socks5", str(wrapper), "-o", got, f"{where}/bytes/{SIZE}")
            self.assertEqual(said.returncode, 0, said.stderr)
            self.assertEqual(digest(got.read_bytes()), digest(content(SIZE)))
            said = curl("--socks5", str(wrapper), "-T", sent, f"{where}/put")
            self.assertEqual(said.stdout, digest(content(SIZE)), said.stderr)
        records = proxy.waitRecords(4)
        self.assertEqual([one["received"] > SIZE for one in records], [True, False] * 2)

    def test_halfClose(self) -> None:
        """A client that has ended its sending still gets the whole answer, 20 MB of it."""

        def answer(server: socket.socket) -> None:
            server.sendall(content(SIZE))
            server.close()

        target, proxy = Target(self), self.proxy("--listen", self.listen())
        # stunnel passes a FIN on as a close_notify, too, and waits for the other one.
        for kind in WRAPPERS:
            client = self.client(self.wrapper(kind, proxy, linger="20")).through(target.port)
            server = target.accept()
            client.say(b"question").finish()
            heard = b""
            while piece := server.recv(100):
                heard += piece
            self.assertEqual(heard, b"question")
            answering = threading.Thread(target=answer, args=(server,), daemon=True)
            answering.start()
            self.assertEqual(digest(client.hearOut()), digest(content(SIZE)))
            answering.join()
        for record in proxy.waitRecords(2):
            found = (record["sent"], record["received"], record["reason"])
            self.assertEqual(found, (8, SIZE, "client closed"))

    def test_wrongName(self) -> None:
        """A proxy that is not whom it is taken for is not spoken to."""
        other = theAuthority().issue("other.example", hosts=("other.example",))
        key, certificate = other.write(self.place, "other")
        listen = f"ssl:0:interface=127.0.0.1:privateKey={key}:certKey={certificate}"
        origin, proxy = HTTPOrigin(self), self.proxy("--listen", listen)
        self.fails(self.wrapper("socat", proxy), origin)
        (record,) = proxy.waitRecords(1)
        self.assertEqual((record["target"], record["sent"]), (None, 0))


class CertificateTests(TLSCase):
    """Clients' certificates."""

    def setUp(self) -> None:
        """Issue some."""
        super().setUp()
        issue = theAuthority().issue
        self.alice = issue("alice", purposes=(CLIENT_AUTH,))

    def test_identity(self) -> None:
        """A certificate is a login, whose user the log names."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--listen", self.asking(), "--auth", "certificate")
        proxy.output.waitFor(r"for users who log in \(certificate\)")
        for kind in WRAPPERS:
            self.fetches(self.wrapper(kind, proxy, self.alice), origin)
        for record in proxy.waitRecords(2):
            found = (record["user"], record["method"], record["reply"])
            self.assertEqual(found, ("alice", "no_authentication", 0))

    def test_refused(self) -> None:
        """None, an expired, a stranger's, a server's and a revoked one are refused, by name."""
        issue = theAuthority().issue
        bob, carol = issue("bob"), issue("carol")
        (self.place / "crl.pem").write_bytes(theAuthority().revoke(bob))
        stranger = newAuthority("Stranger").issue("alice")
        origin = HTTPOrigin(self)
        listen = self.asking(f"clientCRL={self.place / 'crl.pem'}")
        proxy = self.proxy("--listen", listen, "--auth", "certificate")
        refusals = [
            (None, "the client has no certificate, and needs one"),
            (issue("late", ends=-DAY / 2), "CN=late: it has expired"),
            (stranger, "CN=alice: its issuer is not known"),
            (issue("web", purposes=(SERVER_AUTH,)), "CN=web: it is not for clients"),
            (bob, "CN=bob: it has been revoked"),
        ]
        for number, (client, why) in enumerate(refusals):
            kind = WRAPPERS[number % 2]
            self.fails(self.wrapper(kind, proxy, client), origin)
            record = proxy.waitRecords(number + 1)[number]
            self.assertIn(why, record["reason"])
            self.assertTrue(record["reason"].startswith("TLS failed ("), record["reason"])
            port = record["client"].rpartition(":")[2]
            proxy.output.waitFor(rf"TLS with 127\.0\.0\.1:{port} failed: .*{why}")
        self.fetches(self.wrapper("stunnel", proxy, carol), origin)
        self.assertEqual(proxy.waitRecords(6)[5]["user"], "carol")

    def test_withPassword(self) -> None:
        """A certificate and a password, both: the user is the password's."""
        origin = HTTPOrigin(self)
        users = self.users("bob:builder")
        proxy = self.proxy("--listen", self.asking(), "--auth", users)
        proxy.output.waitFor(r"for users who have a certificate and log in \(.*username/password")
        self.fails(self.wrapper("socat", proxy), origin)
        wrapper = self.wrapper("socat", proxy, self.alice)
        self.fails(wrapper, origin)
        self.fetches(wrapper, origin, "--proxy-user", "bob:builder")
        reasons = [one["reason"] for one in proxy.waitRecords(3)]
        self.assertIn("no certificate", reasons[0])
        self.assertIn("no acceptable authentication method", reasons[1])
        self.assertEqual(proxy.records[2]["user"], "bob")

    def test_either(self) -> None:
        """Where a certificate is optional, and both are known, either will do."""
        origin = HTTPOrigin(self)
        auth = ("--auth", "certificate", "--auth", self.users("bob:builder"))
        proxy = self.proxy("--listen", self.asking("clientCertificate=optional"), *auth)
        self.fetches(self.wrapper("stunnel", proxy, self.alice), origin)
        without = self.wrapper("stunnel", proxy)
        self.fetches(without, origin, "--proxy-user", "bob:builder")
        self.fails(without, origin)
        records = proxy.waitRecords(3)
        self.assertEqual([one["user"] for one in records[:2]], ["alice", "bob"])
        self.assertIn("and shows no certificate", records[2]["reason"])

    def test_rules(self) -> None:
        """Its user is the one whom rules and SOCKS4 know, too."""
        echo = EchoTarget(self)
        proxy = self.proxy("--listen", self.asking(), "--auth", "certificate", "--socks4")
        client = self.client(self.wrapper("socat", proxy, self.alice))
        client.say(b"\4\1" + echo.port.to_bytes(2, "big") + b"\x7f\0\0\1mallory\0")
        self.assertEqual(client.hear(8)[:2], b"\0\x5a")
        self.assertEqual(client.asks(b"hello"), b"hello")
        client.close()
        self.assertEqual(proxy.waitRecords(1)[0]["user"], "alice")


class MistakenTests(TLSCase):
    """Clients on the wrong port."""

    def test_plainOnTLS(self) -> None:
        """Plain SOCKS where TLS is expected is closed at once, and the log says so."""
        proxy = self.proxy("--listen", self.listen())
        for number, (greeting, said) in enumerate(
            (
                (GREETING, "plain SOCKS5, and this port is for TLS"),
                (b"\4\1\0\x50\x7f\0\0\1\0", "plain SOCKS4, and this port is for TLS"),
                (b"GET / HTTP/1.0\r\n\r\n", "no TLS: it begins with octet 71"),
            )
        ):
            client = Client(self, proxy, greeting)
            self.assertEqual(client.hearOut(), CLOSED)
            client.close()
            self.assertIn(said, proxy.waitRecords(number + 1)[number]["reason"])
            proxy.output.waitFor(said)
        self.assertEqual(len(proxy.stop()), 3)

    def test_TLSOnPlain(self) -> None:
        """TLS where SOCKS is expected is closed at once, and the log says so."""
        proxy = self.proxy()
        context = ssl.create_default_context(cafile=self.place / "ca.pem")
        with socket.create_connection((proxy.host, proxy.port), 20) as plain:
            self.assertRaises(OSError, context.wrap_socket, plain, server_hostname=PROXY)
        (record,) = proxy.waitRecords(1)
        self.assertIn("looks like TLS", record["reason"])

    def test_othersGoOn(self) -> None:
        """Neither disturbs who is there."""
        echo = EchoTarget(self)
        proxy = self.proxy("--listen", self.listen())
        client = self.client(self.wrapper("socat", proxy)).through(echo.port)
        for octets in (GREETING, b"\x16\3\1\0\2\1\0", bytes(range(22, 60)), b"\x16" * 70_000):
            wrong = Client(self, proxy)
            with contextlib.suppress(ConnectionError):
                wrong.say(octets).finish().hearOut()
            wrong.close()
            self.assertEqual(client.asks(b"hello"), b"hello")


class RenewalTests(TLSCase):
    """Certificates that are replaced."""

    def serial(self, proxy: Proxy) -> int:
        """Ask the proxy for its certificate."""
        context = ssl.create_default_context(cafile=self.place / "ca.pem")
        with (
            socket.create_connection((proxy.host, proxy.port), 20) as plain,
            context.wrap_socket(plain, server_hostname=PROXY) as secure,
        ):
            found = secure.getpeercert() or {}
        return int(str(found["serialNumber"]), 16)

    def test_SIGHUP(self) -> None:
        """After SIGHUP who comes gets the new certificate, and who is there goes on."""
        echo, proxy = EchoTarget(self), self.proxy("--listen", self.listen())
        client = self.client(self.wrapper("socat", proxy)).through(echo.port)
        self.assertEqual(self.serial(proxy), theProxy().certificate.serial_number)
        new = theAuthority().issue(PROXY, hosts=(PROXY,))
        (self.place / "proxy.pem").write_bytes(new.pem)
        os.kill(proxy.process.pid, signal.SIGHUP)
        proxy.output.waitFor("TLS goes on with the certificates that it has: the key in .* does")
        self.assertEqual(self.serial(proxy), theProxy().certificate.serial_number)
        (self.place / "proxy-key.pem").write_bytes(new.keyPEM)
        os.kill(proxy.process.pid, signal.SIGHUP)
        proxy.output.waitFor("TLS has read its certificates anew")
        self.assertEqual(self.serial(proxy), new.certificate.serial_number)
        self.assertEqual(client.asks(b"hello"), b"hello")


class StartingTests(TLSCase):
    """What keeps it from starting: one line that says so."""

    def says(self, *options: str) -> str:
        """Start it in vain."""
        command = (ours("twistd"), "-n", "--pidfile=", "socks5")
        said = run(*command, *options)
        self.assertEqual(said.returncode, 1)
        self.assertNotIn("Traceback", said.stderr)
        (line,) = [one for one in said.stderr.splitlines() if one.startswith("twistd socks5: ")]
        return line

    def test_nobodyAsks(self) -> None:
        """Without clientCA there is no certificate to log in with."""
        line = self.says("--listen", self.listen(), "--auth", "certificate")
        self.assertIn("--auth certificate takes a --listen that asks for certificates", line)

    def test_noAuth(self) -> None:
        """clientCA alone says nobody's name, so it does not replace --auth."""
        listen = self.asking().replace("127.0.0.1", "0.0.0.0")
        line = self.says("--listen", listen)
        self.assertIn("can be reached from elsewhere, and no --auth says who may use it", line)
        self.assertIn("--auth certificate makes users of those who have a certificate", line)

    def test_missing(self) -> None:
        """A file that is not there is named."""
        line = self.says("--listen", "ssl:0:privateKey=/nonexistent/key.pem")
        self.assertIn("'/nonexistent/key.pem' cannot be read: No such file", line)
