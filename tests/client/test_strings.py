"""Tests of the string form."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any
from unittest import mock

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import error
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor as IParser
from twisted.plugin import IPlugin, getPlugins
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.packaging.checkout import run
from tests.server.base import PROXY, TARGET, anybody, users
from twisted_socks5.client.authentication import CHAP, GSSAPI, NoAuthentication, UsernamePassword
from twisted_socks5.client.strings import ARGUMENTS
from twisted_socks5.config import Settings
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.testing import MemoryReactor, PeerFactory
from twisted_socks5.wire import ProtectionLevel

SECRET = "wonderl4nd"
NEXT_PROXY = "192.0.2.20"


def quoted(text: str) -> str:
    """Write a string as an argument of another."""
    return str(quoteStringArgument(text))


class StringTestCase(SynchronousTestCase):
    """A network in memory: proxies, and a target that is there by name and by address."""

    def setUp(self) -> None:
        """Make it."""
        self.reactor = MemoryReactor()
        self.reactor.names.add("target.example", [TARGET])
        self.reactor.names.add("proxy.example", [PROXY])
        self.target = PeerFactory()
        self.reactor.listenTCP(80, self.target, interface=TARGET)
        self.records: list[AccessRecord] = []

    def serve(self, host: str = PROXY, port: int = 1080, *, login: bool = False) -> None:
        """Run a proxy somewhere."""
        server = SOCKS5ServerFactory(
            self.reactor,
            users() if login else anybody(),
            settings=Settings(socks4=True),
            resolver=self.reactor.names,
            accessLog=self.records.append,
        )
        self.reactor.listenTCP(port, server, interface=host)

    def endpoint(self, text: str) -> Any:
        """Read a string."""
        return clientFromString(self.reactor, text)

    def connect(self, text: str) -> AccessRecord:
        """Connect, say something and close; tell what the first proxy made of it."""
        client = PeerFactory()
        self.target.peers.clear()
        connected: Deferred[Any] = self.endpoint(text).connect(client)
        self.reactor.advance(1)
        self.successResultOf(connected)
        client.peer.write(b"hello")
        self.reactor.advance(0)
        self.assertEqual(bytes(self.target.peer.received), b"hello")
        client.peer.abort()
        self.reactor.advance(0)
        return self.records[-1]


class ConnectTests(StringTestCase):
    """Strings that lead somewhere."""

    def test_parsers(self) -> None:
        """Both are plugins."""
        found = {one.prefix: one for one in getPlugins(IParser)}
        for prefix in ("socks5", "socks4"):
            verifyObject(IParser, found[prefix])
            verifyObject(IPlugin, found[prefix])

    def test_endpoint(self) -> None:
        """What a string gives is an endpoint."""
        verifyObject(IStreamClientEndpoint, self.endpoint("socks5:target.example:80"))

    def test_via(self) -> None:
        """The proxy is any endpoint string, or HOST:PORT."""
        self.serve()
        for via in (
            "tcp:192.0.2.10:1080",
            "tcp:host=192.0.2.10:port=1080:timeout=5",
            "192.0.2.10:1080",
            "proxy.example:1080",
        ):
            record = self.connect(f"socks5:target.example:80:via={quoted(via)}")
            self.assertEqual(record.target, "target.example:80", via)

    def test_via6(self) -> None:
        """The proxy's address may be IPv6, in brackets."""
        self.serve("2001:db8::10")
        via = quoted("[2001:db8::10]:1080")
        self.assertEqual(
            self.connect(f"socks5:target.example:80:via={via}").target, "target.example:80"
        )

    def test_default(self) -> None:
        """Unless it is said the proxy is where one usually is."""
        self.serve("127.0.0.1")
        self.assertEqual(self.connect("socks5:target.example:80").target, "target.example:80")

    def test_prefixFirst(self) -> None:
        """HOST:PORT never hides an endpoint string: a Unix socket may be called 1080."""
        with mock.patch("twisted_socks5.client.strings.HostnameEndpoint") as made:
            for via in ("unix:1080", "UNIX:1080"):
                self.endpoint(f"socks5:a:1:via={quoted(via)}")
        made.assert_not_called()

    def test_keywords(self) -> None:
        """Host and port may have their names."""
        self.serve("127.0.0.1")
        for text in ("socks5:host=target.example:port=80", "socks5:target.example:port=80"):
            self.assertEqual(self.connect(text).target, "target.example:80")

    def test_local(self) -> None:
        """With dns=local the proxy hears an address."""
        self.serve("127.0.0.1")
        self.assertEqual(self.connect("socks5:target.example:80:dns=local").target, f"{TARGET}:80")
        self.assertEqual(self.connect("socks4:target.example:80:dns=local").target, f"{TARGET}:80")

    def test_version4(self) -> None:
        """SOCKS4, with and without a user id."""
        self.serve("127.0.0.1")
        record = self.connect("socks4:target.example:80")
        self.assertEqual((record.target, record.user), ("target.example:80", ""))
        self.connect("socks4:target.example:80:user=alice")

    def test_login(self) -> None:
        """User and password: in the string, in files, in variables."""
        self.serve("127.0.0.1", login=True)
        user, password = Path(self.mktemp()), Path(self.mktemp())
        user.write_bytes(b"alice\r\n")
        password.write_bytes(b"secret\nsomething else\n")
        self.patch(os, "environ", {**os.environ, "PROXY_USER": "alice", "PROXY_WORD": "secret"})
        for one in ("user=alice", f"userFile={quoted(str(user))}", "userEnv=PROXY_USER"):
            for two in (
                "password=secret",
                f"passwordFile={quoted(str(password))}",
                "passwordEnv=PROXY_WORD",
            ):
                record = self.connect(f"socks5:target.example:80:{one}:{two}")
                self.assertEqual(record.user, "alice", (one, two))

    def test_chain(self) -> None:
        """A string within a string: the second proxy is reached through the first."""
        self.serve("127.0.0.1")
        self.serve(NEXT_PROXY, 1081, login=True)
        inner = quoted("socks5:192.0.2.20:1081")
        # Whoever we say we are, we say it to the proxy in the same string's via.
        self.connect(f"socks5:target.example:80:via={inner}:user=alice:password=secret")
        targets = {(one.target, one.user) for one in self.records}
        self.assertEqual(targets, {("target.example:80", "alice"), (f"{NEXT_PROXY}:1081", "")})

    def test_inside(self) -> None:
        """It can be what another string wraps."""
        inner = quoted("socks5:target.example:443:via=127.0.0.1\\:1080")
        endpoint = self.endpoint(f"tls:target.example:443:endpoint={inner}")
        self.assertTrue(IStreamClientEndpoint.providedBy(endpoint))

    def test_timeout(self) -> None:
        """A proxy that says nothing is given up after so many seconds."""
        silent = PeerFactory()
        self.reactor.listenTCP(1080, silent, interface="127.0.0.1")
        failed = self.endpoint("socks5:target.example:80:timeout=2.5").connect(PeerFactory())
        self.reactor.advance(2.4)
        self.assertNoResult(failed)
        self.reactor.advance(0.2)
        self.failureResultOf(failed)
        self.assertEqual(self.reactor.openConnections(), [])

    def test_deaf(self) -> None:
        """So many seconds it has to take the connection, too."""
        self.reactor.route(PROXY, silent=True)
        via = quoted(f"{PROXY}:1080")
        failed = self.endpoint(f"socks5:target.example:80:via={via}:timeout=2").connect(
            PeerFactory()
        )
        self.reactor.advance(1.9)
        self.assertNoResult(failed)
        self.reactor.advance(0.2)
        self.failureResultOf(failed, error.TimeoutError)

    def test_light(self) -> None:
        """Whoever reads another string loads the plugin, and nothing else of ours."""
        program = (
            "import sys; from twisted.plugin import getPlugins;"
            "from twisted.internet.interfaces import"
            " IStreamClientEndpointStringParserWithReactor as IParser;"
            "print(sorted(p.prefix for p in getPlugins(IParser) if 'socks' in p.prefix),"
            "[name for name in sys.modules if name.startswith('twisted_socks5')])"
        )
        said = run(sys.executable, "-c", program)
        self.assertEqual(said.stdout, "['socks4', 'socks5'] []\n", said.stderr)


class MethodsTests(StringTestCase):
    """What is offered."""

    def offered(self, arguments: str) -> tuple[Any, ...]:
        """Tell what a string offers."""
        with mock.patch("twisted_socks5.client.strings.Proxy") as made:
            made.return_value = self.reactor  # nothing asks it
            with mock.patch("twisted_socks5.client.strings.SOCKS5ClientEndpoint"):
                self.endpoint(f"socks5:target.example:80:{arguments}")
        return tuple(made.call_args.args[1])

    def test_usual(self) -> None:
        """None; or a password, and none if the proxy doesn't want it."""
        login = UsernamePassword(b"alice", b"secret")
        self.assertEqual(self.offered("timeout=1"), (NoAuthentication(),))
        self.assertEqual(self.offered("user=alice:password=secret"), (login, NoAuthentication()))

    def test_order(self) -> None:
        """In the order that is asked for."""
        login = UsernamePassword(b"alice", b"secret")
        found = self.offered("user=alice:password=secret:methods=none,gssapi,password")
        self.assertEqual(found[0], NoAuthentication())
        self.assertIsInstance(found[1], GSSAPI)
        self.assertEqual(found[2:], (login,))
        self.assertEqual(self.offered("user=alice:password=secret:methods=password"), (login,))
        self.assertEqual(
            self.offered("user=alice:password=secret:methods=chap,password"),
            (CHAP("alice", "secret"), login),
        )

    def test_octets(self) -> None:
        """A name or password of whatever octets, as a command line gives them."""
        (login, _) = self.offered("user=al\udcffice:password=ü")
        self.assertEqual(login, UsernamePassword(b"al\xffice", "ü".encode()))

    def test_gssapi(self) -> None:
        """How the context is to be."""
        (usual,) = self.offered("methods=gssapi")
        self.assertEqual(usual, GSSAPI())
        (found,) = self.offered(
            "methods=gssapi:gssapiService=socks:gssapiHost=proxy.example"
            ":gssapiLevels=integrity:gssapiNEC=yes"
        )
        self.assertEqual((found.service, found.host), ("socks", "proxy.example"))
        self.assertEqual((found.levels, found.nec), ((ProtectionLevel.INTEGRITY,), True))


class ComplaintTests(StringTestCase):
    """Strings that are wrong."""

    def complaint(self, text: str) -> str:
        """Have a string refused."""
        raised = self.assertRaises(ValueError, self.endpoint, text)
        self.assertIsNone(raised.__cause__)
        self.assertTrue(raised.__suppress_context__ or raised.__context__ is None)
        return str(raised)

    def test_arguments(self) -> None:
        """Each complaint names the argument."""
        for arguments, complaint in (
            ("", "socks5: 'host': empty"),
            ("a", "socks5: 'port': missing"),
            ("port=80", "socks5: 'host': missing"),
            (":80", "socks5: 'host': empty"),
            ("a:http", "socks5: 'port': not a number from 1 to 65535"),
            ("a:0", "socks5: 'port': not a number from 1 to 65535"),
            ("a:65536", "socks5: 'port': not a number from 1 to 65535"),
            ("a:80:host=b", "socks5: 'host': given twice"),
            ("a:80:81", r"socks5: only host and port go without a name, not 3 arguments; a "),
            ("a:80:retries=3", "socks5: 'retries' is unknown; there are host, port, via, "),
            ("a:80:version=4", "socks5: 'version' is unknown"),
            ("a:80:reactor=x", "socks5: 'reactor' is unknown"),
            ("a:80:timeout=soon", "socks5: 'timeout': not a number of seconds above 0"),
            ("a:80:timeout=0", "socks5: 'timeout': not a number of seconds above 0"),
            ("a:80:timeout=nan", "socks5: 'timeout': not a number of seconds above 0"),
            ("a:80:dns=remote", "socks5: 'dns': not proxy or local"),
            ("a:80:user=bob", "socks5: 'password': missing, but there is a user"),
            ("a:80:password=x", "socks5: 'user': missing, but there is a password"),
            ("a:80:user=:password=x", "socks5: 'user': empty"),
            ("a:80:user=a:userEnv=b:password=x", "socks5: 'userEnv': there is 'user' already"),
            (f"a:80:user={'u' * 256}:password=x", "socks5: 'user': "),
            ("a:80:user=a:passwordEnv=NONE_SUCH", "socks5: 'passwordEnv': there is no such var"),
            ("a:80:user=a:passwordFile=/none/such", "socks5: 'passwordFile': the file cannot"),
            ("a:80:methods=md5", "socks5: 'methods': not a list, with commas, of none, password"),
            ("a:80:methods=none,none", "socks5: 'methods': not a list"),
            ("a:80:methods=", "socks5: 'methods': not a list"),
            ("a:80:methods=password", "socks5: 'methods': password wants a user"),
            ("a:80:methods=none,chap", "socks5: 'methods': chap wants a user"),
            (
                "a:80:methods=none:user=a:password=b",
                "socks5: 'methods': there is a user, but no password or chap among them",
            ),
            ("a:80:gssapiHost=b", "socks5: 'gssapiHost': gssapi is not among the methods"),
            ("a:80:methods=gssapi:gssapiHost=", "socks5: 'gssapiHost': empty"),
            ("a:80:methods=gssapi:gssapiLevels=high", "socks5: 'gssapiLevels': not a list"),
            ("a:80:methods=gssapi:gssapiNEC=1", "socks5: 'gssapiNEC': not no or yes"),
            (r"a:80:via=carrier\:pigeon", "socks5: 'via': Unknown endpoint type: 'carrier'"),
            (r"a:80:via=proxy\:99999", "socks5: 'via': not a number from 1 to 65535"),
            (r"a:80:via=[\:\:x]\:1080", "socks5: 'via': what stands in brackets is no IPv6"),
            (r"a:80:via=tcp\:proxy", "socks5: 'via': not an endpoint string: "),
            (r"a:80:via=socks5\:b\:x", "socks5: 'via': socks5: 'port': not a number"),
            ("a:80:via=", "socks5: 'via': "),
            (f"{'a' * 256}:80", "socks5: 'host': "),
        ):
            said = self.complaint(f"socks5:{arguments}")
            self.assertTrue(said.startswith(complaint), f"{arguments}: {said}")

    def test_version4(self) -> None:
        """SOCKS4 knows less."""
        name = Path(self.mktemp())
        name.write_bytes(b"a\0b")
        for arguments, complaint in (
            ("a:80:password=x", "socks4: an argument is unknown"),
            ("a:80:methods=none", "socks4: 'methods' is unknown"),
            ("a:80:user=", "socks4: 'user': empty"),
            (f"a:80:userFile={quoted(str(name))}", "socks4: 'user': it has a NUL"),
            (r"\:\:1:80", "socks4: 'host': "),
        ):
            said = self.complaint(f"socks4:{arguments}")
            self.assertTrue(said.startswith(complaint), f"{arguments}: {said}")

    def test_secret(self) -> None:
        """None quotes the password, or what may be a part of it."""
        inner = quoted(f"socks5:b:1080:user=a:password={SECRET}:dns=x")
        for arguments in (
            f"user=a:password=x:{SECRET}",
            f"user=a:password=x:{SECRET}=y",
            f"user=a:passwordEnv={SECRET}",
            f"user=a:passwordFile={SECRET}",
            f"user=a:password={SECRET * 40}",
            f"user=a:password={SECRET}:timeout=x",
            f"password={SECRET}",
            f"via={inner}",
        ):
            said = self.complaint(f"socks5:a:80:{arguments}")
            self.assertNotIn(SECRET, said)

    def test_name(self) -> None:
        """What the proxy is called in messages has no secret in it either."""
        for via, name in (
            ("proxy:1080", "proxy:1080"),
            ("[::1]:1080", "[::1]:1080"),
            ("tcp:proxy:1080:timeout=3", "proxy:1080"),
            (r"tcp:port=1080:host=\:\:1", "[::1]:1080"),
            (f"socks5:user=a:password={SECRET}:proxy:1080", "proxy:1080"),
            (rf"socks5:proxy:1080:user=a\:9:password={SECRET}\:1\\", "proxy:1080"),
            ("unix:/run/proxy", ""),
            (r"unix:/run/a\:1080", ""),
        ):
            with mock.patch("twisted_socks5.client.strings.SOCKS5ClientEndpoint") as made:
                self.endpoint(f"socks5:a:80:via={quoted(via)}")
            proxy = made.call_args.args[0]
            self.assertEqual(proxy.name, name)
            self.assertNotIn(SECRET, repr(proxy))

    @settings(max_examples=100, deadline=None)
    @given(st.dictionaries(st.sampled_from(ARGUMENTS[5]), st.text(max_size=20)))
    def test_anything(self, arguments: dict[str, str]) -> None:
        """Whatever is said is an endpoint or a complaint."""
        arguments.pop("via", None)
        words = (f"{name}={quoted(value)}" for name, value in arguments.items())
        try:
            found = clientFromString(MemoryReactor(), ":".join(("socks5", *words)))
        except ValueError as complaint:
            self.assertTrue(str(complaint).startswith("socks5: "), str(complaint))
        else:
            self.assertTrue(IStreamClientEndpoint.providedBy(found))
