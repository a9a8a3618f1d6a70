"""How the next proxy is written."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.client import GSSAPI, NoAuthentication, UsernamePassword
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.testing import MemoryReactor
from twisted_socks5.via import HTTPVia, NextHop, SOCKSVia, viaFromString

SECRET = "wonderl4nd"


class ViaStringCase(SynchronousTestCase):
    """Reads strings."""

    def setUp(self) -> None:
        """Make a reactor."""
        self.reactor = MemoryReactor()

    def read(self, text: str, **options: Any) -> Any:
        """Read one."""
        return viaFromString(self.reactor, text, **options)

    def assertWrong(self, text: str, reason: str) -> None:
        """Assert that one is wrong, and that its text tells no secret."""
        error = self.assertRaises(ConfigurationError, self.read, text)
        self.assertRegex(str(error), reason)
        self.assertNotIn("\n", str(error))
        self.assertNotIn(SECRET, str(error))
        self.assertIsNone(error.__cause__)

    def secret(self, octets: bytes = SECRET.encode() + b"\n") -> str:
        """Write a file with a secret."""
        path = self.mktemp()
        Path(path).write_bytes(octets)
        return str(path)


class URLTests(ViaStringCase):
    """URLs."""

    def test_socks(self) -> None:
        """SOCKS5, with a user and without, and SOCKS4a."""
        for text, name, version in (
            ("socks5://proxy.example", "socks5://proxy.example:1080", 5),
            ("SOCKS5h://[2001:db8::1]:99", "socks5h://[2001:db8::1]:99", 5),
            ("socks4a://192.0.2.20:1", "socks4a://192.0.2.20:1", 4),
        ):
            via = self.read(text, timeout=7.0)
            self.assertIsInstance(via, SOCKSVia)
            self.assertEqual((via.name, via.proxy.version, via.proxy.timeout), (name, version, 7))
            self.assertEqual(via.proxy.authentication, (NoAuthentication(),))
            self.assertIsInstance(via.proxy.endpoint, NextHop)

    def test_login(self) -> None:
        """User and password, which are percent-encoded."""
        via = self.read(f"socks5://al%40ice:{SECRET}%2F@proxy.example")
        self.assertEqual(via.name, "socks5://proxy.example:1080")
        self.assertEqual(
            via.proxy.authentication,
            (UsernamePassword(b"al@ice", SECRET.encode() + b"/"), NoAuthentication()),
        )
        self.assertEqual(self.read("socks4a://bob@proxy.example").proxy.userID, b"bob")

    def test_http(self) -> None:
        """An HTTP proxy."""
        via = self.read(f"http://alice:{SECRET}@proxy.example:8080")
        self.assertIsInstance(via, HTTPVia)
        self.assertEqual(via.name, "http://proxy.example:8080")
        self.assertEqual(via._login, (b"alice", SECRET.encode()))
        self.assertIsNone(self.read("http://proxy.example:8080")._login)

    def test_elsewhere(self) -> None:
        """The password may be in a file, or a variable; only its first line counts."""
        self.patch(os, "environ", {**os.environ, "VIA_PASSWORD": SECRET})
        path = self.secret(SECRET.encode() + b"\r\nmore\n")
        for query in (f"passwordFile={path}", "passwordEnv=VIA_PASSWORD"):
            via = self.read(f"socks5://alice@proxy.example?{query}")
            wanted = UsernamePassword(b"alice", SECRET.encode())
            self.assertEqual(via.proxy.authentication[0], wanted)
            via = self.read(f"http://alice@proxy.example:1?{query}")
            self.assertEqual(via._login, (b"alice", SECRET.encode()))
        via = self.read(f"socks5://a@proxy.example?passwordFile={self.secret(bytes([255, 64]))}")
        self.assertEqual(via.proxy.authentication[0].password, bytes([255, 64]))

    def test_wrong(self) -> None:
        """Each mistake is named, and no password is shown."""
        missing = f"/no/such/{SECRET}"
        for text, reason in (
            ("ftp://proxy.example", "not a URL of socks5, socks5h, socks4a, http$"),
            ("socks4://proxy.example", "socks4a://"),
            ("https://proxy.example", r"no TLS but by socks5:via=tls"),
            ("socks5://", "no host"),
            (f"socks5://alice:{SECRET}", "port is not a number"),
            (f"socks5://alice:{SECRET}@proxy.example/x", "something follows the port"),
            ("socks5://alice@proxy.example", "password is empty"),
            ("http://alice@proxy.example", "the user name has no password"),
            (f"http://a%3Ab:{SECRET}@proxy.example", "no colon"),
            (f"socks5://a:{SECRET}@proxy.example?passwordEnv=X", "which has none yet"),
            ("socks5://proxy.example?passwordEnv=X", "which has none yet"),
            ("socks4a://a@proxy.example?passwordEnv=X", "which has none yet"),
            (f"socks5://a@proxy.example?{SECRET}", "takes passwordFile=PATH"),
            (f"socks5://a@proxy.example?password={SECRET}", "takes passwordFile=PATH"),
            (f"socks5://a@proxy.example?passwordEnv={SECRET}", "no such variable"),
            (f"socks5://a@proxy.example?passwordFile={missing}", "cannot be read: No such"),
            ("socks5://a@proxy.example?passwordFile=a%00b", "cannot be read: no path"),
            (f"socks5://a@proxy.example?passwordFile={self.secret(b'')}", "password is empty"),
            ("socks5://a..b", "invalid host name"),
        ):
            self.assertWrong(text, reason)


class EndpointTests(ViaStringCase):
    """Strings of the client's endpoints, without a target."""

    def test_read(self) -> None:
        """All that they can say."""
        path = self.secret()
        via = self.read(rf"socks5:via=proxy.example\:99:user=alice:passwordFile={path}:timeout=7")
        self.assertEqual(via.name, "socks5://proxy.example:99")
        self.assertIsInstance(via.proxy.endpoint, HostnameEndpoint)
        self.assertEqual(via.proxy.timeout, 7)
        wanted = UsernamePassword(b"alice", SECRET.encode())
        self.assertEqual(via.proxy.authentication[0], wanted)
        via = self.read(r"socks5:methods=gssapi:via=proxy.example\:99:gssapiService=socks")
        self.assertIsInstance(via.proxy.authentication[0], GSSAPI)
        via = self.read(r"socks4:via=proxy.example\:99:user=bob")
        self.assertEqual((via.name, via.proxy.version), ("socks4://proxy.example:99", 4))

    def test_wrong(self) -> None:
        """Each mistake is named, and no password is shown."""
        for text, reason in (
            ("proxy.example:1080", "is written socks5://HOST:PORT"),
            ("tcp:proxy.example:1080", "is written socks5://HOST:PORT"),
            ("socks5:proxy.example:1080", "each argument has a name"),
            (f"socks5:user=alice:password={SECRET}", "the next proxy's is via"),
            (rf"socks5:via=a\:1:password=x:{SECRET}", "each argument has a name"),
            (r"socks5:via=a\:1:host=b", "'host' is about a target"),
            (r"socks5:via=a\:1:dns=local", "'dns' is about a target"),
            (rf"socks5:via=a\:1:password={SECRET}", "'user': missing"),
            (rf"socks5:via=a\:1:nonsense={SECRET}", "unknown"),
            ("socks5:via=nonsense", "via"),
        ):
            self.assertWrong(text, reason)
