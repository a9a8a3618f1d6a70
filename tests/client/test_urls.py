"""Tests of the URLs of proxies."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.server.base import PROXY, TARGET
from twisted_socks5.client.authentication import NoAuthentication, UsernamePassword
from twisted_socks5.client.errors import SOCKSError
from twisted_socks5.client.urls import (
    InvalidProxyURL,
    ProxyURL,
    endpointFromURL,
    proxyFromURL,
    resolverFor,
)
from twisted_socks5.testing import MemoryReactor, PeerFactory

SECRET = "wonderl4nd"


class ParseTests(SynchronousTestCase):
    """What is understood."""

    def test_schemes(self) -> None:
        """Each says the version, and who resolves."""
        for scheme, version, resolvesHere in (
            ("socks5", 5, True),
            ("socks5h", 5, False),
            ("socks4", 4, True),
            ("socks4a", 4, False),
            ("SOCKS5H", 5, False),
        ):
            url = ProxyURL.parse(f"{scheme}://proxy.example:1081")
            self.assertEqual(url, ProxyURL("proxy.example", 1081, version, resolvesHere))
            self.assertEqual(url.scheme, scheme.lower())

    def test_places(self) -> None:
        """Hosts and ports; the port may be missing, and so may what it says."""
        for text, host, port in (
            ("proxy", "proxy", 1080),
            ("Proxy.Example:", "proxy.example", 1080),
            ("192.0.2.1:9", "192.0.2.1", 9),
            ("[2001:DB8:0::1]", "2001:db8::1", 1080),
            ("[::1]:65535/", "::1", 65535),
            ("bücher.example", "bücher.example", 1080),
        ):
            self.assertEqual(ProxyURL.parse(f" socks5h://{text} "), ProxyURL(host, port), text)

    def test_login(self) -> None:
        """User name and password are octets, whatever they are made of."""
        for text, username, password in (
            ("alice:wonderland", b"alice", b"wonderland"),
            ("a%3Ab:c:d", b"a:b", b"c:d"),
            ("a%40b:c@d", b"a@b", b"c@d"),
            ("a%00b:%ff%FE", b"a\0b", b"\xff\xfe"),
            ("jürgen:ß", "jürgen".encode(), "ß".encode()),
            ("a+b:c+d", b"a+b", b"c+d"),
            (f"{'u' * 255}:{'p' * 255}", b"u" * 255, b"p" * 255),
        ):
            url = ProxyURL.parse(f"socks5h://{text}@proxy")
            self.assertEqual((url.username, url.password), (username, password), text)

    def test_noLogin(self) -> None:
        """Nothing before the @ is nobody."""
        for text in ("proxy", "@proxy", ":@proxy"):
            self.assertEqual(ProxyURL.parse(f"socks5h://{text}"), ProxyURL("proxy"), text)

    def test_userID(self) -> None:
        """SOCKS4 has a user name only."""
        for text, username in (("bob@", b"bob"), ("bob:@", b"bob"), ("@", None)):
            url = ProxyURL.parse(f"socks4a://{text}proxy")
            self.assertEqual((url.version, url.username, url.password), (4, username, None))

    def test_secret(self) -> None:
        """The password is in neither form that could be logged."""
        url = ProxyURL.parse(f"socks5://alice%2F:{SECRET}@[::1]")
        self.assertEqual(str(url), "socks5://alice%2F@[::1]:1080")
        self.assertNotIn(SECRET, repr(url))

    @settings(max_examples=60, deadline=None)
    @given(
        st.sampled_from(["proxy.example", "192.0.2.7", "2001:db8::7"]),
        st.integers(1, 65535),
        st.booleans(),
        st.binary(min_size=1, max_size=255).filter(lambda octets: b"\0" not in octets),
    )
    def test_written(self, host: str, port: int, resolvesHere: bool, username: bytes) -> None:
        """What is written is read again."""
        url = ProxyURL(host, port, 4, resolvesHere, username)
        self.assertEqual(ProxyURL.parse(str(url)), url)


class ProxyTests(SynchronousTestCase):
    """What is made of a URL."""

    def setUp(self) -> None:
        """Have a network."""
        self.reactor = MemoryReactor()
        self.reactor.names.add("target.example", [TARGET])
        self.heard = PeerFactory()
        self.reactor.listenTCP(1080, self.heard, interface=PROXY)

    def test_proxy(self) -> None:
        """Version, authentication and name."""
        for text, version, methods, userID in (
            ("socks5h://192.0.2.10", 5, (NoAuthentication(),), b""),
            (
                "socks5://a:b@192.0.2.10:1080",
                5,
                (UsernamePassword(b"a", b"b"), NoAuthentication()),
                b"",
            ),
            ("socks4a://bob@192.0.2.10", 4, (NoAuthentication(),), b"bob"),
            ("socks4://192.0.2.10", 4, (NoAuthentication(),), b""),
        ):
            proxy = proxyFromURL(self.reactor, text, timeout=7)
            self.assertEqual((proxy.version, proxy.authentication), (version, methods))
            self.assertEqual((proxy.name, proxy.userID), ("192.0.2.10:1080", userID))
            self.assertEqual(proxy.timeout, 7)

    def test_read(self) -> None:
        """A URL that was read already is as good, and one that is none is refused."""
        for make in (proxyFromURL, resolverFor):
            make(self.reactor, ProxyURL("a"))
            self.assertRaises(InvalidProxyURL, make, self.reactor, "a")
        self.assertRaises(InvalidProxyURL, endpointFromURL, self.reactor, "a", "b", 80)

    def asked(self, url: str) -> bytes:
        """Connect to a target, and tell what the proxy hears first."""
        endpoint = endpointFromURL(self.reactor, url, "target.example", 80)
        failed = endpoint.connect(PeerFactory())
        self.reactor.advance(0)
        peer = self.heard.peers[-1]
        if bytes(peer.received[:1]) == b"\5":
            peer.write(b"\5\0")
            self.reactor.advance(0)
            del peer.received[:3]
        octets = bytes(peer.received)
        peer.abort()
        self.reactor.advance(0)
        self.failureResultOf(failed, SOCKSError)
        return octets

    def test_resolving(self) -> None:
        """Who resolves is what the scheme says, and SOCKS4 has the user's name."""
        address, name = bytes([203, 0, 113, 5]), b"target.example"
        for url, request in (
            ("socks5h://192.0.2.10", b"\5\1\0\3\x0e" + name + b"\0\x50"),
            ("socks5://192.0.2.10", b"\5\1\0\1" + address + b"\0\x50"),
            ("socks4a://al@192.0.2.10", b"\4\1\0\x50\0\0\0\1al\0" + name + b"\0"),
            ("socks4://192.0.2.10", b"\4\1\0\x50" + address + b"\0"),
        ):
            self.assertEqual(self.asked(url), request, url)
        self.assertEqual(self.reactor.openConnections(), [])


class ComplaintTests(SynchronousTestCase):
    """What is not understood."""

    def complaint(self, text: str) -> str:
        """Have a URL refused."""
        error = self.assertRaises(InvalidProxyURL, ProxyURL.parse, text)
        self.assertIsInstance(error, ValueError)
        return str(error)

    def test_reasons(self) -> None:
        """Each says what is wrong."""
        for text, reason in (
            ("", "written socks5h://HOST:PORT"),
            ("proxy:1080", "written socks5h://HOST:PORT"),
            ("socks5h:proxy", "written socks5h://HOST:PORT"),
            ("http://proxy", "http:// is an HTTP proxy, not one of socks5h://, socks5://, "),
            ("socks://proxy", "socks:// is not one of socks5h://"),
            ("gopher://proxy", "the scheme is not one of socks5h://"),
            ("socks5h://", "no host"),
            ("socks5h://:1080", "no host"),
            ("socks5h://alice:secret@", "no host"),
            ("socks5h://2001:db8::1", "written in brackets"),
            ("socks5h://[2001:db8::1", "written in brackets"),
            ("socks5h://[proxy]", "no IPv6 address"),
            ("socks5h://pro%78y", "a character that no host name has"),
            ("socks5h://pro xy", "a character that no host name has"),
            ("socks5h://proxy:0", "a number from 1 to 65535"),
            ("socks5h://proxy:65536", "a number from 1 to 65535"),
            ("socks5h://proxy:http", "a number from 1 to 65535"),
            ("socks5h://proxy:1080/path", "something follows the port"),
            ("socks5h://proxy?dns=local", "something follows the port"),
            ("socks5h://alice@proxy", "the password is empty"),
            ("socks5h://:secret@proxy", "the user name is empty"),
            (f"socks5h://alice:{'s' * 256}@proxy", "the password is longer than 255 octets"),
            (f"socks5h://{'a' * 256}:s@proxy", "the user name is longer than 255 octets"),
            ("socks5h://alice:50%@proxy", "% is written %25"),
            ("socks5h://a:\ud800@proxy", "cannot be written as UTF-8"),
            ("socks4://alice:secret@proxy", "SOCKS4 has no password"),
            ("socks4://a%00b@proxy", "no NUL"),
            (f"socks4://{'a' * 256}@proxy", "at most 255 octets"),
        ):
            self.assertIn(reason, self.complaint(text), text)

    def test_secret(self) -> None:
        """None quotes a password, whatever it was mistaken for."""
        for text in (
            f"{SECRET}://proxy",
            f"{SECRET}",
            f"socks5h://alice:{SECRET}",
            f"socks5h://alice:{SECRET}/@proxy",
            f"socks5h://alice:{SECRET}#@proxy",
            f"socks5h://alice:{SECRET}%@proxy",
            f"socks5h://alice:\ud800{SECRET}@proxy",
            f"socks5h://alice:x@{SECRET}@",
            f"socks5h://[{SECRET}@proxy",
            f"socks5h://[{SECRET}]",
            f"socks5h://{SECRET} :x",
            f"socks4://alice:{SECRET}@proxy",
        ):
            error = self.assertRaises(InvalidProxyURL, ProxyURL.parse, text)
            self.assertNotIn(SECRET, repr(error), text)
            self.assertIsNone(error.__cause__)
            self.assertTrue(error.__suppress_context__ or error.__context__ is None, text)

    @settings(max_examples=200, deadline=None)
    @given(st.text() | st.text(alphabet="socks5h4a:/@[]%#?. 1").map("socks5h://{}".format))
    def test_anything(self, text: str) -> None:
        """Whatever comes is a proxy or refused."""
        try:
            url = ProxyURL.parse(text)
        except InvalidProxyURL:
            return
        self.assertTrue(url.host)
        self.assertIn(url.port, range(1, 65536))
