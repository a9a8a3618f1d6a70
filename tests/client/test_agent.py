"""Tests of agents, on a network in memory: web servers, proxies, and TLS between them."""

from __future__ import annotations

import os
from typing import Any

import treq
from twisted.internet import error
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.internet.ssl import Certificate, PrivateCertificate, trustRootFromCertificates
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, RedirectAgent, ResponseFailed
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgent, IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import Site
from twisted.web.util import redirectTo
from zope.interface.verify import verifyObject

from tests.interop.certificates import Authority
from tests.server.base import PROXY, TARGET, TARGET6, anybody, users
from twisted_socks5.client.agent import EnvironmentAgent, SOCKS5Agent, SOCKS5EndpointFactory
from twisted_socks5.client.errors import SOCKSError
from twisted_socks5.client.urls import InvalidProxyURL, proxyFromURL
from twisted_socks5.logs import AccessRecord
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.testing import MemoryReactor

NAME = "origin.example"


class Page(Resource):
    """
    Says what it was asked as.

    @ivar seen: the Host of each request.
    """

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[str] = []

    def render_GET(self, request: Any) -> bytes:
        """Answer, or send elsewhere."""
        self.seen.append(request.getHeader("host"))
        if request.path == b"/elsewhere":
            return redirectTo(f"http://{TARGET}/".encode(), request)
        return b"this is the origin"


class WebTestCase(SynchronousTestCase):
    """
    A web server that has a name and addresses, http and https, and a proxy.

    @ivar authority: has issued its certificate.
    """

    authority = Authority()
    certificate = authority.issue(NAME, TARGET, TARGET6)

    def setUp(self) -> None:
        """Make the network."""
        self.reactor = reactor = MemoryReactor()
        # wrapClientTLS takes the time of the one that is installed.
        self.patch(installed, "callLater", reactor.callLater)
        reactor.names.add(NAME, [TARGET])
        reactor.names.add("other.example", [TARGET])
        self.page = Page()
        own = PrivateCertificate.loadPEM(self.certificate)
        for host in (TARGET, TARGET6):
            plain, inside = Site(self.page, reactor=reactor), Site(self.page, reactor=reactor)
            secure = TLSMemoryBIOFactory(own.options(), False, inside, reactor)
            factories: list[tuple[int, Any]] = [(80, plain), (443, secure)]
            for port, factory in factories:
                listening = reactor.listenTCP(port, factory, interface=host)
                self.addCleanup(listening.stopListening)
        root = Certificate.loadPEM(self.authority.certificate)
        self.policy = BrowserLikePolicyForHTTPS(trustRootFromCertificates([root]))
        self.records: dict[str, list[AccessRecord]] = {}

    def serve(self, host: str = PROXY, *, login: bool = False) -> None:
        """Run a proxy somewhere."""
        records = self.records[host] = []
        server = SOCKS5ServerFactory(
            self.reactor,
            users() if login else anybody(),
            resolver=self.reactor.names,
            accessLog=records.append,
        )
        self.reactor.listenTCP(1080, server, interface=host)

    def agent(self, url: str = f"socks5h://{PROXY}", **options: Any) -> SOCKS5Agent:
        """Make an agent for a proxy."""
        proxy = proxyFromURL(self.reactor, url)
        return SOCKS5Agent(self.reactor, proxy, self.policy, **options)

    def asked(self, agent: Any, url: str) -> Deferred[Any]:
        """Ask for a page."""
        asked: Deferred[Any] = agent.request(b"GET", url.encode())
        asked.addCallback(treq.content)
        self.reactor.advance(1)
        return asked

    def get(self, agent: Any, url: str) -> None:
        """Get a page, the right one."""
        self.assertEqual(self.successResultOf(self.asked(agent, url)), b"this is the origin", url)

    def close(self, agent: Any) -> None:
        """Close the connections that an agent has kept."""
        closed = agent.close()
        self.reactor.advance(1)
        self.successResultOf(closed)

    def targets(self, agent: Any, host: str = PROXY) -> list[str]:
        """Close an agent, and tell where a proxy was asked to connect to."""
        self.close(agent)
        return [str(record.target) for record in self.records[host]]


class SOCKS5AgentTests(WebTestCase):
    """An agent for one proxy."""

    def setUp(self) -> None:
        """With the proxy."""
        super().setUp()
        self.serve()

    def test_interfaces(self) -> None:
        """They provide what they are made for."""
        verifyObject(IAgent, self.agent())
        proxy = proxyFromURL(self.reactor, f"socks5h://{PROXY}")
        verifyObject(IAgentEndpointFactory, SOCKS5EndpointFactory(self.reactor, proxy))

    def test_http(self) -> None:
        """By name and by address of either family; the name goes to the proxy."""
        agent = self.agent()
        for host in (NAME, TARGET, f"[{TARGET6}]"):
            self.get(agent, f"http://{host}/")
            self.assertEqual(self.page.seen.pop(), host)
        self.assertEqual(self.targets(agent), [f"{NAME}:80", f"{TARGET}:80", f"[{TARGET6}]:80"])

    def test_https(self) -> None:
        """The same over TLS, with the server verified."""
        agent = self.agent()
        for host in (NAME, TARGET, f"[{TARGET6}]"):
            self.get(agent, f"https://{host}/")
        self.assertEqual(self.targets(agent), [f"{NAME}:443", f"{TARGET}:443", f"[{TARGET6}]:443"])

    def test_wrongName(self) -> None:
        """A server that is not who it should be is not asked for anything."""
        asked = self.asked(self.agent(), "https://other.example/")
        self.failureResultOf(asked, ResponseFailed)
        self.assertEqual(self.page.seen, [])
        self.flushLoggedErrors()

    def test_believed(self) -> None:
        """Unless told otherwise, it believes whom this system does, and so not ours."""
        agent = SOCKS5Agent(self.reactor, proxyFromURL(self.reactor, f"socks5h://{PROXY}"))
        self.failureResultOf(self.asked(agent, f"https://{NAME}/"), ResponseFailed)
        self.flushLoggedErrors()

    def test_kept(self) -> None:
        """A connection serves further requests."""
        agent = self.agent()
        for _ in range(3):
            self.get(agent, f"https://{NAME}/")
        self.assertEqual(self.targets(agent), [f"{NAME}:443"])
        self.assertEqual(self.reactor.openConnections(), [])

    def test_notKept(self) -> None:
        """Unless that isn't wanted."""
        agent = self.agent(persistent=False)
        for _ in range(2):
            self.get(agent, f"http://{NAME}/")
        self.assertEqual(self.targets(agent), [f"{NAME}:80"] * 2)

    def test_ownPool(self) -> None:
        """Agents for two proxies share no connection, though the server is the same."""
        self.serve("192.0.2.20")
        agents = self.agent(), self.agent("socks5h://192.0.2.20")
        for agent in agents:
            self.get(agent, f"http://{NAME}/")
        self.assertEqual(self.targets(agents[0]), [f"{NAME}:80"])
        self.assertEqual(self.targets(agents[1], "192.0.2.20"), [f"{NAME}:80"])

    def test_resolver(self) -> None:
        """With a resolver of ours, the proxy hears no name."""
        agent = self.agent(resolver=self.reactor.names)
        self.get(agent, f"https://{NAME}/")
        self.assertEqual(self.targets(agent), [f"{TARGET}:443"])

    def test_endpointAsProxy(self) -> None:
        """A bare endpoint is a proxy that wants no password."""
        endpoint = proxyFromURL(self.reactor, f"socks5h://{PROXY}").endpoint
        agent = SOCKS5Agent(self.reactor, endpoint)
        self.get(agent, f"http://{NAME}/")
        self.assertEqual(self.targets(agent), [f"{NAME}:80"])

    def test_anyAgent(self) -> None:
        """Twisted's own agent takes the factory."""
        proxy = proxyFromURL(self.reactor, f"socks5h://{PROXY}")
        factory = SOCKS5EndpointFactory(self.reactor, proxy, self.policy)
        self.get(Agent.usingEndpointFactory(self.reactor, factory), f"https://{NAME}/")

    def test_refused(self) -> None:
        """Why the proxy could not connect is why the request failed."""
        asked = self.asked(self.agent(), f"http://{NAME}:81/")
        failure = self.failureResultOf(asked, error.ConnectionRefusedError)
        self.assertIsInstance(failure.value, SOCKSError)

    def test_notHosts(self) -> None:
        """A host that is none fails the request, by whichever agent."""
        environment = EnvironmentAgent(self.reactor, {"all_proxy": f"socks5h://{PROXY}"})
        for agent in (self.agent(), environment):
            for host in ("a" * 256, "a b", "\xfc", "[::1%25eth0]"):
                asked = agent.request(b"GET", f"http://{host}/".encode("latin-1"))
                self.failureResultOf(asked, ValueError)
        self.assertEqual(self.reactor.openConnections(), [])

    def test_notURIs(self) -> None:
        """Schemes of others, and hosts that are none."""
        factory = SOCKS5EndpointFactory(self.reactor, proxyFromURL(self.reactor, "socks5h://a"))
        for text, kind in (
            (b"ftp://a/", SchemeNotSupported),
            (b"http://%s/" % (b"a" * 256), ValueError),
        ):
            self.assertRaises(kind, factory.endpointForURI, URI.fromBytes(text))
        for scheme in (b"http", b"https", b"ws", b"wss"):
            endpoint = factory.endpointForURI(URI.fromBytes(scheme + b"://a/"))
            self.assertTrue(IStreamClientEndpoint.providedBy(endpoint))


class EnvironmentAgentTests(WebTestCase):
    """An agent that asks the environment."""

    def fromEnvironment(self, **variables: str) -> EnvironmentAgent:
        """Make one."""
        return EnvironmentAgent(self.reactor, variables, self.policy)

    def test_interface(self) -> None:
        """It is an agent."""
        verifyObject(IAgent, self.fromEnvironment())

    def test_process(self) -> None:
        """It is this process' environment that counts, unless it is told otherwise."""
        self.serve()
        self.patch(os, "environ", {"ALL_PROXY": f"socks5h://{PROXY}"})
        agent = EnvironmentAgent(self.reactor)
        self.get(agent, f"http://{NAME}/")
        self.assertEqual(self.targets(agent), [f"{NAME}:80"])

    def test_direct(self) -> None:
        """Without a variable it is an agent like any other."""
        agent = self.fromEnvironment()
        self.get(agent, f"https://{NAME}/")
        self.close(agent)
        self.assertEqual(self.reactor.openConnections(), [])

    def test_each(self) -> None:
        """Each request goes where it is wanted, and connections are kept for each of these."""
        self.serve(login=True)
        self.serve("192.0.2.20")
        agent = self.fromEnvironment(
            https_proxy=f"socks5h://alice:secret@{PROXY}",
            all_proxy="socks5://192.0.2.20",
            no_proxy=TARGET,
        )
        for _ in range(2):
            self.get(agent, f"https://{NAME}/")
            self.get(agent, f"http://{NAME}/")
            self.get(agent, f"http://{TARGET}/")
        self.assertEqual(self.targets(agent), [f"{NAME}:443"])
        self.assertEqual(self.targets(agent, "192.0.2.20"), [f"{TARGET}:80"])

    def test_redirected(self) -> None:
        """Where a request is sent on to, it may be wanted in another way."""
        self.serve()
        agent = self.fromEnvironment(all_proxy=f"socks5h://{PROXY}", no_proxy=TARGET)
        self.get(RedirectAgent(agent), f"http://{NAME}/elsewhere")
        self.assertEqual(self.page.seen, [NAME, TARGET])
        self.assertEqual(self.targets(agent), [f"{NAME}:80"])

    def test_wrong(self) -> None:
        """A variable that is no SOCKS proxy fails what it is about, and nothing is sent."""
        agent = self.fromEnvironment(http_proxy="http://a:1", all_proxy="b:1")
        for scheme in ("http", "https"):
            asked = self.asked(agent, f"{scheme}://{NAME}/")
            self.failureResultOf(asked, InvalidProxyURL)
        self.assertEqual(self.reactor.openConnections(), [])

    def test_timeout(self) -> None:
        """The proxy has so much time."""
        self.reactor.route(PROXY, silent=True)
        variables = {"all_proxy": f"socks5h://{PROXY}"}
        agent = EnvironmentAgent(self.reactor, variables, self.policy, timeout=2)
        asked = self.asked(agent, f"http://{NAME}/")
        self.assertNoResult(asked)
        self.reactor.advance(1.1)
        self.failureResultOf(asked)
