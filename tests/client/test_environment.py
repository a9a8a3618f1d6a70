"""Tests of what the environment wants."""

from __future__ import annotations

import os

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import error
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.client.environment import (
    NoProxy,
    ProxyEnvironment,
    endpointFromEnvironment,
    proxyFromEnvironment,
)
from twisted_socks5.client.urls import InvalidProxyURL, ProxyURL
from twisted_socks5.testing import MemoryReactor, PeerFactory


class NoProxyTests(SynchronousTestCase):
    """NO_PROXY."""

    def check(self, text: str, within: str, without: str) -> None:
        """Look at targets, HOST or HOST|PORT."""
        exceptions = NoProxy.parse(text)
        for targets, expected in ((within, True), (without, False)):
            for target in targets.split():
                host, _, port = target.partition("|")
                found = exceptions.matches(host, int(port or 443))
                self.assertIs(found, expected, f"{target} in {text}")

    def test_names(self) -> None:
        """A name, and all below it; not what merely ends with it."""
        for text in (
            "example.com",
            ".example.com",
            "*.example.com",
            "EXAMPLE.com.",
            "a,example.com",
        ):
            self.check(
                text,
                "example.com Example.COM example.com. www.example.com a.b.example.com",
                "badexample.com example.com.org com example.org 192.0.2.1 ::1",
            )
        self.check("bücher.example", "xn--bcher-kva.example www.BÜCHER.example", "bucher.example")

    def test_addresses(self) -> None:
        """An address, in any spelling."""
        self.check("192.0.2.1", "192.0.2.1 ::ffff:192.0.2.1 0xc0000201", "192.0.2.10 192.0.2")
        for text in ("2001:db8::1", "[2001:DB8::1]"):
            self.check(text, "2001:db8:0::1 [2001:db8::1]", "2001:db8::2 2001:db8:0:1::")

    def test_networks(self) -> None:
        """A network of either family; a name is in none."""
        self.check("192.0.2.0/24 2001:db8::/32", "192.0.2.255 2001:db8:f::1", "192.0.3.0 a.b ::1")
        self.check("192.0.2.77/24", "192.0.2.1", "192.0.3.1")

    def test_ports(self) -> None:
        """One port only."""
        self.check("example.com:8080", "example.com|8080 a.example.com|8080", "example.com|80")
        self.check("192.0.2.1:80", "192.0.2.1|80", "192.0.2.1|81")
        self.check("[::1]:80", "::1|80", "::1|81")
        self.check("[2001:db8::/32]:80 *:22", "2001:db8::1|80 a.b|22 ::9|22", "2001:db8::1|81")

    def test_everything(self) -> None:
        """A star."""
        self.check("*", "example.com 192.0.2.1 ::1 nonsense!", "")

    def test_lists(self) -> None:
        """Commas, white space, and nothing between them."""
        self.check(" ,a.example,, b.example\t::1,", "a.example b.example ::1", "c.example")

    def test_nonsense(self) -> None:
        """What is no entry is no exception, and neither is what is no host."""
        self.check("exa mple..com,192.0.2.0/33,1.2.3.4.5,/,:80,*a,", "", "example.com 192.0.2.1")
        self.check("example.com", "", "exa!mple.com \ud800 ..")
        self.check("", "", "localhost 127.0.0.1")

    @settings(max_examples=100, deadline=None)
    @given(st.text(), st.text(), st.integers(0, 65535))
    def test_anything(self, text: str, host: str, port: int) -> None:
        """Whatever is in it, it has an opinion on whatever is asked."""
        self.assertIsInstance(NoProxy.parse(text).matches(host, port), bool)


class EnvironmentTests(SynchronousTestCase):
    """Which variable counts."""

    def chosen(self, scheme: str = "", host: str = "example.com", **variables: str) -> str | None:
        """Tell the name of the proxy that is chosen."""
        url = ProxyEnvironment(variables).urlFor(host, 443, scheme)
        return url.host if url else None

    def test_none(self) -> None:
        """Without a variable there is no proxy, and neither with an empty one."""
        self.assertIsNone(self.chosen())
        self.assertIsNone(self.chosen(all_proxy=" ", HTTPS_PROXY="", PROXY="socks5://a"))

    def test_url(self) -> None:
        """All that is in the URL."""
        found = ProxyEnvironment({"ALL_PROXY": "socks5h://a:b@c:9"}).urlFor("example.com", 1)
        self.assertEqual(found, ProxyURL("c", 9, 5, False, b"a", b"b"))

    def test_all(self) -> None:
        """all_proxy is for everything, small letters before capitals."""
        for scheme in ("", "http", "https", "ftp"):
            self.assertEqual(self.chosen(scheme, ALL_PROXY="socks5://a"), "a")
            self.assertEqual(
                self.chosen(scheme, all_proxy="socks5://a", ALL_PROXY="socks5://b"), "a"
            )

    def test_empty(self) -> None:
        """An empty one in small letters does not hide the other."""
        self.assertEqual(self.chosen(all_proxy="", ALL_PROXY="socks5://b"), "b")

    def test_schemes(self) -> None:
        """A scheme's own comes before all_proxy, and is for nothing else."""
        every = {
            "HTTP_PROXY": "socks5://h",
            "https_proxy": "socks5://s",
            "HTTPS_PROXY": "socks5://S",
            "all_proxy": "socks5://a",
        }
        for scheme, expected in (
            ("http", "h"),
            ("https", "s"),
            ("HTTPS", "s"),
            ("ws", "h"),
            ("wss", "s"),
            ("ftp", "a"),
            ("no", "a"),
            ("", "a"),
        ):
            self.assertEqual(self.chosen(scheme, **every), expected, scheme)
        self.assertIsNone(self.chosen("https", http_proxy="socks5://h"))

    def test_cgi(self) -> None:
        """In a CGI program, what a client can set does not count."""
        cgi = {"REQUEST_METHOD": "GET", "HTTP_PROXY": "socks5://evil"}
        self.assertIsNone(self.chosen("http", **cgi))
        self.assertEqual(self.chosen("http", **cgi, http_proxy="socks5://a"), "a")

    def test_exceptions(self) -> None:
        """NO_PROXY, in either spelling."""
        for name in ("no_proxy", "NO_PROXY"):
            variables = {"all_proxy": "socks5://a", name: "example.com"}
            self.assertIsNone(self.chosen(host="www.example.com", **variables))
            self.assertEqual(self.chosen(host="example.org", **variables), "a")

    def test_once(self) -> None:
        """What the variables become later is of no interest."""
        variables = {"all_proxy": "socks5://a"}
        environment = ProxyEnvironment(variables)
        variables["no_proxy"] = "*"
        variables["all_proxy"] = "socks5://b"
        self.assertEqual(environment.urlFor("example.com", 1), ProxyURL("a", resolvesHere=True))

    def test_wrong(self) -> None:
        """What is no SOCKS proxy is an error that names the variable, and not no proxy at all."""
        environment = ProxyEnvironment(
            {"HTTP_PROXY": "http://a:s3cr3t@b", "all_proxy": "b:s3cr3t", "no_proxy": "c"}
        )
        for scheme, start in (("http", "HTTP_PROXY: http:// is an HTTP"), ("", "all_proxy: a p")):
            error = self.assertRaises(InvalidProxyURL, environment.urlFor, "a", 1, scheme)
            self.assertTrue(str(error).startswith(start), str(error))
            self.assertNotIn("s3cr3t", str(error))
            self.assertIsNone(environment.urlFor("c", 1, scheme))


class EndpointTests(SynchronousTestCase):
    """What is made of it."""

    variables = ("ALL_PROXY", "socks5h://192.0.2.10"), ("NO_PROXY", "192.0.2.20")

    def setUp(self) -> None:
        """Have a network, and variables."""
        self.reactor = MemoryReactor()
        self.environ = dict(self.variables)

    def reached(self, host: str, environ: dict[str, str] | None) -> str:
        """Connect to a target, and tell who is connected to."""
        endpoint = endpointFromEnvironment(self.reactor, host, 80, environ=environ, timeout=7)
        factory = PeerFactory()
        self.reactor.route("192.0.2.10", silent=True)
        self.reactor.route("192.0.2.20", silent=True)
        connecting = endpoint.connect(factory)
        self.reactor.advance(0)
        (opened,) = self.reactor.openConnections()
        self.reactor.advance(6.9)
        self.assertNoResult(connecting)
        self.reactor.advance(0.2)
        self.failureResultOf(connecting, error.TimeoutError)
        self.assertEqual(self.reactor.leftOver(), [])
        return str(opened.remote[0]) if opened.remote else ""

    def test_endpoint(self) -> None:
        """It leads to the proxy, or to the target; either has its time."""
        self.assertEqual(self.reached("192.0.2.30", self.environ), "192.0.2.10")
        self.assertEqual(self.reached("192.0.2.20", self.environ), "192.0.2.20")

    def test_process(self) -> None:
        """Unless told otherwise it is this process' environment that counts."""
        self.patch(os, "environ", self.environ)
        self.assertEqual(self.reached("192.0.2.30", None), "192.0.2.10")

    def test_proxy(self) -> None:
        """The proxy alone, where there is to be one."""
        proxy = proxyFromEnvironment(self.reactor, "a", 1, environ=self.environ, timeout=3)
        self.assertEqual(proxy and (proxy.name, proxy.timeout), ("192.0.2.10:1080", 3))
        none = proxyFromEnvironment(self.reactor, "192.0.2.20", 1, environ=self.environ)
        self.assertIsNone(none)

    def test_wrong(self) -> None:
        """A variable that is wrong makes nothing, also no direct connection."""
        environ = {"ALL_PROXY": "http://a"}
        for make in (proxyFromEnvironment, endpointFromEnvironment):
            self.assertRaises(InvalidProxyURL, make, self.reactor, "b", 1, environ=environ)
