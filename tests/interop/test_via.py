"""
The real proxy with a next one: itself, and others that were not written here.
"""

from __future__ import annotations

import os
import socket
from pathlib import Path

from tests.interop.certificates import Authority
from tests.interop.client import Client, named, numbered, refusal
from tests.interop.datagrams import UDPEcho
from tests.interop.origins import EchoTarget, HTTPOrigin, closedPort, content, digest
from tests.interop.programs import find, run
from tests.interop.proxy import Proxy, ProxyTestCase, Record
from tests.interop.servers import PASSWORD, USER, Dante, Server
from tests.server.associations import headed, opened
from twisted_socks5.wire import Command, parse_reply

GREETING = b"\5\1\0"
SIZE = 4_000_000
NAMES = "127.0.0.1 origin.example\n"
ANYBODY = "0.0.0.0"


class TinyProxy(Server):
    """tinyproxy: an HTTP proxy, which does CONNECT, for one user."""

    def command(self) -> tuple[list[str], dict[str, str]]:
        """Write its configuration."""
        configuration = self.directory / "configuration"
        configuration.write_text(
            f"Port {self.port}\nListen 127.0.0.1\nTimeout 60\nAllow 127.0.0.1\nMaxClients 20\n"
            f"BasicAuth {USER} {PASSWORD}\nLogLevel Connect\n"
        )
        return [find("tinyproxy", "tinyproxy-bin"), "-d", "-c", str(configuration)], {}


class ChainCase(ProxyTestCase):
    """Through one of ours, and on."""

    def near(self, via: str, *options: str) -> Proxy:
        """Start the one that forwards."""
        return self.proxy("--via", via, *options)

    def reply(self, client: Client) -> tuple[int, str, int]:
        """Hear a reply: REP, and BND."""
        heard = client.hearReply()
        found = parse_reply(heard)
        if found is None:
            raise AssertionError(heard)
        return found[0].reply, str(found[0].bound.host), found[0].bound.port

    def ask(self, proxy: Proxy, octets: bytes) -> Client:
        """Greet and ask."""
        client = Client(self, proxy, GREETING)
        self.assertEqual(client.hear(2), b"\5\0")
        return client.say(octets)

    def assertFetches(self, proxy: Proxy, url: str, size: int = SIZE) -> None:
        """Have curl fetch much through it; the far side resolves the name."""
        done = run(
            find("curl", "curl"), "-sS", "--proxy", f"socks5h://{proxy}", url, "-o", "/dev/null",
            "-w", "%{size_download} %{http_code}",
        )  # fmt: skip
        self.assertEqual(done.stdout, f"{size} 200", done.stderr)

    def assertBinds(self, proxy: Proxy) -> None:
        """Listen over there for somebody, who comes, sends much and hears all of it again."""
        client = self.ask(proxy, numbered("127.0.0.1", 0, Command.BIND))
        code, host, port = self.reply(client)
        self.assertEqual((code, host), (0, "127.0.0.1"))
        peer = socket.create_connection((host, port), 20)
        self.addCleanup(peer.close)
        self.assertEqual(self.reply(client), (0, *peer.getsockname()))
        peer.sendall(content(100_000))
        self.assertEqual(digest(client.hear(100_000)), digest(content(100_000)))
        client.say(b"thanks").finish()
        self.assertEqual(peer.makefile("rb").read(), b"thanks")
        peer.shutdown(socket.SHUT_WR)
        self.assertEqual(client.hearOut(), b"")
        client.close()
        peer.close()

    def assertRelaysDatagrams(self, proxy: Proxy, *hosts: bytes | str) -> None:
        """Send datagrams to an echo, by address and by name."""
        echo = UDPEcho(self)
        client = self.ask(proxy, numbered(ANYBODY, 0, Command.UDP_ASSOCIATE))
        code, host, port = self.reply(client)
        self.assertEqual((code, host), (0, "127.0.0.1"))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as box:
            box.settimeout(20)
            for where in hosts:
                for size in (0, 1, 1400, 9000):
                    box.sendto(headed(content(size), where, echo.port), (host, port))
                    datagram, source = box.recvfrom(1 << 16)
                    self.assertEqual(source, (host, port))
                    payload, answered = opened(datagram)
                    self.assertEqual(answered, ("127.0.0.1", echo.port))
                    self.assertEqual(digest(payload), digest(content(size)))
            # As many at once as go in one train, and more.
            for number in range(40):
                box.sendto(headed(bytes([number]) * 700, where, echo.port), (host, port))
            heard = [opened(box.recv(1 << 16))[0] for _ in range(40)]
            self.assertEqual(heard, [bytes([number]) * 700 for number in range(40)])
        client.finish()
        self.assertEqual(client.hearOut(), b"")
        client.close()

    def assertRefused(self, proxy: Proxy, octets: bytes, code: int) -> None:
        """Assert that a request is refused with this REP."""
        client = self.ask(proxy, octets)
        self.assertEqual(client.hearOut(), refusal(code))
        client.close()

    def assertEchoes(self, proxy: Proxy, port: int) -> None:
        """Assert that an echo is heard."""
        client = Client(self, proxy).through(port)
        self.assertEqual(client.asks(b"hello"), b"hello")
        client.close()

    def pipes(self, proxy: Proxy) -> int:
        """Count the ends of pipes that it has open."""
        found = Path(f"/proc/{proxy.process.pid}/fd").iterdir()
        return sum(os.readlink(one).startswith("pipe:") for one in found if one.is_symlink())

    def said(self, proxy: Proxy, via: str) -> list[Record]:
        """Stop it; all that succeeded was dialled through the next one."""
        records = proxy.stop()
        self.assertEqual({one["dialled"] for one in records if one["reply"] == 0}, {via})
        return records


class OwnTests(ChainCase):
    """Two of ours."""

    def test_connect(self) -> None:
        """By name, which the far one alone can resolve; much; and a refusal."""
        origin, far = HTTPOrigin(self), self.proxy("--permit", "127.0.0.1", hosts=NAMES)
        near = self.near(f"socks5://{far}")
        before = self.pipes(near)
        self.assertFetches(near, f"http://origin.example:{origin.port}/bytes/{SIZE}")
        # What moves octets inside the kernel is kept for the next time.
        self.assertGreater(self.pipes(near), before)
        self.assertRefused(near, named(b"origin.example", closedPort(self)), 5)
        first, second = self.said(near, f"socks5://{far}")
        self.assertEqual(first["target"], f"origin.example:{origin.port}")
        self.assertRegex(second["reason"], f"^via socks5://{far}: connection refused")

    def test_halfClose(self) -> None:
        """A FIN goes all the way, and the answer comes back."""
        echo, far = EchoTarget(self), self.proxy()
        near = self.near(f"socks5://{far}")
        client = Client(self, near).through(echo.port)
        client.say(b"question").finish()
        self.assertEqual(client.hearOut(), b"question")
        client.close()

    def test_bind(self) -> None:
        """BIND."""
        far = self.proxy()
        near = self.near(f"socks5://{far}")
        self.assertBinds(near)
        self.said(near, f"socks5://{far}")
        self.assertEqual(far.stop()[0]["command"], "BIND")

    def test_udp(self) -> None:
        """UDP ASSOCIATE."""
        far = self.proxy("--permit", "127.0.0.1", hosts=NAMES)
        near = self.near(f"socks5://{far}")
        self.assertRelaysDatagrams(near, "127.0.0.1", b"origin.example")
        (ours,) = self.said(near, f"socks5://{far}")
        (theirs,) = far.stop()
        self.assertEqual((ours["sent"], ours["received"]), (theirs["sent"], theirs["received"]))

    def test_login(self) -> None:
        """A password in a file is nowhere to be seen, and works; a wrong one does not."""
        far = self.proxy("--auth", self.users(f"{USER}:{PASSWORD}"))
        echo = EchoTarget(self)
        for word, works in ((PASSWORD, True), ("guess", False)):
            path = Path(self.mktemp()).absolute()
            path.write_text(f"{word}\n")
            near = self.near(f"socks5://{USER}@{far}?passwordFile={path}")
            if works:
                self.assertEchoes(near, echo.port)
            else:
                self.assertRefused(near, numbered("127.0.0.1", echo.port), 1)
            near.stop()
            self.assertNotIn(word, near.output.text)

    def test_tls(self) -> None:
        """By TLS, as a string has it; and not to somebody whom nobody vouches for."""
        authority, origin = Authority(), HTTPOrigin(self)
        own = Path(self.mktemp()).absolute()
        own.write_bytes(authority.issue("127.0.0.1"))
        trusted = Path(self.mktemp()).absolute()
        trusted.write_bytes(authority.certificate)
        far = self.proxy(
            *("--auth", self.users(f"{USER}:{PASSWORD}")),
            *("--listen", f"ssl:0:interface=127.0.0.1:privateKey={own}:certKey={own}"),
        )
        via = rf"socks5:via=tls\:127.0.0.1\:{far.port}:user={USER}:passwordEnv=VIA_PASSWORD"
        self.patch(os, "environ", {**os.environ, "VIA_PASSWORD": PASSWORD})
        doubting = self.near(via)
        self.assertRefused(doubting, numbered("127.0.0.1", origin.port), 1)
        self.assertIn("certificate verify failed", doubting.waitRecords(1)[0]["reason"])
        self.patch(os, "environ", {**os.environ, "SSL_CERT_FILE": str(trusted)})
        near = self.near(via)
        self.assertFetches(near, f"http://127.0.0.1:{origin.port}/bytes/{SIZE}")
        self.assertBinds(near)
        self.assertRelaysDatagrams(near, "127.0.0.1")
        self.said(near, f"socks5://{far}")

    def test_three(self) -> None:
        """One after another."""
        echo, last = EchoTarget(self), self.proxy()
        middle = self.near(f"socks5://{last}")
        near = self.near(f"socks5h://{middle}")
        self.assertEchoes(near, echo.port)
        self.assertRelaysDatagrams(near, "127.0.0.1")
        self.assertBinds(near)

    def test_socks4(self) -> None:
        """By SOCKS4a."""
        echo = EchoTarget(self)
        far = self.proxy("--socks4", "--permit", "127.0.0.1", hosts=NAMES)
        near = self.near(f"socks4a://{far}")
        client = self.ask(near, named(b"origin.example", echo.port))
        self.assertEqual(self.reply(client)[0], 0)
        self.assertEqual(client.asks(b"hello"), b"hello")
        client.close()

    def test_away(self) -> None:
        """The next one goes, and comes back."""
        echo, far = EchoTarget(self), self.proxy()
        near = self.near(f"socks5://{far}")
        far.stop()
        self.assertRefused(near, numbered("127.0.0.1", echo.port), 1)
        self.proxy("--listen", f"tcp:{far.port}:interface=127.0.0.1")
        self.assertEchoes(near, echo.port)

    def test_itself(self) -> None:
        """A proxy that is its own next one refuses, and goes on."""
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
            listen = f"tcp:{port}:interface=127.0.0.1"
        near = self.near(f"socks5://127.0.0.1:{port}", "--listen", listen)
        self.assertRefused(near, numbered("127.0.0.1", 9), 1)
        (record,) = near.waitRecords(1)
        self.assertIn("that is this proxy itself", record["reason"])


class DanteTests(ChainCase):
    """Dante's danted."""

    def chain(self, login: bool) -> tuple[Proxy, str]:
        """Start both; @return: the near one, and what it calls the other."""
        dante = Dante(self, login=login)
        name = f"127.0.0.1:{dante.port}"
        who = f"{USER}:{PASSWORD}@" if login else ""
        return self.near(f"socks5://{who}{name}"), f"socks5://{name}"

    def test_connect(self) -> None:
        """With a password, and without; by name and by address."""
        origin = HTTPOrigin(self)
        for login in (False, True):
            near, via = self.chain(login)
            for host in ("localhost", "127.0.0.1"):
                self.assertFetches(near, f"http://{host}:{origin.port}/bytes/{SIZE}")
            self.assertRefused(near, numbered("127.0.0.1", closedPort(self)), 5)
            self.said(near, via)

    def test_bind(self) -> None:
        """BIND."""
        near, via = self.chain(login=True)
        self.assertBinds(near)
        self.said(near, via)

    def test_udp(self) -> None:
        """UDP ASSOCIATE."""
        near, via = self.chain(login=True)
        self.assertRelaysDatagrams(near, "127.0.0.1", b"localhost")
        self.said(near, via)


class HTTPTests(ChainCase):
    """tinyproxy."""

    def test_connect(self) -> None:
        """By name and by address, with a password."""
        origin, tiny = HTTPOrigin(self), TinyProxy(self)
        name = f"127.0.0.1:{tiny.port}"
        near = self.near(f"http://{USER}:{PASSWORD}@{name}")
        for host in ("localhost", "127.0.0.1"):
            self.assertFetches(near, f"http://{host}:{origin.port}/bytes/{SIZE}")
        self.said(near, f"http://{name}")

    def test_refused(self) -> None:
        """Another password, nobody at the target, and what HTTP can't do."""
        echo, tiny = EchoTarget(self), TinyProxy(self)
        name = f"127.0.0.1:{tiny.port}"
        good = (
            (numbered("127.0.0.1", closedPort(self)), 1, "HTTP 500 "),
            (numbered("127.0.0.1", 0, Command.BIND), 7, "CONNECT only"),
            (numbered(ANYBODY, 0, Command.UDP_ASSOCIATE), 7, "CONNECT only"),
        )
        bad = ((numbered("127.0.0.1", echo.port), 1, "HTTP 40[17] "),)
        for login, asked in ((f"{USER}:{PASSWORD}@", good), (f"{USER}:guess@", bad), ("", bad)):
            near = self.near(f"http://{login}{name}")
            for number, (octets, code, reason) in enumerate(asked, 1):
                self.assertRefused(near, octets, code)
                record = near.waitRecords(number)[-1]
                self.assertRegex(record["reason"], f"^via http://{name}: .*{reason}")
