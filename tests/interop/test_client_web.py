"""
The web through the proxy: treq on our agents, through the real twistd.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import treq
from treq.client import HTTPClient
from twisted.internet import error
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred, ensureDeferred, gatherResults
from twisted.internet.endpoints import (
    HostnameEndpoint,
    clientFromString,
    connectProtocol,
    quoteStringArgument,
)
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.ssl import Certificate, trustRootFromCertificates
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import BrowserLikePolicyForHTTPS, ResponseNeverReceived

from tests.interop.certificates import Authority, HTTPSOrigin
from tests.interop.origins import HTTPOrigin, closedPort, content, digest
from tests.interop.proxy import Proxy as RunningProxy
from tests.interop.proxy import ProxyTestCase
from twisted_socks5.client.agent import EnvironmentAgent, SOCKS5Agent
from twisted_socks5.client.authentication import UsernamePassword
from twisted_socks5.client.errors import AuthenticationError, ProxyClosed
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.client.urls import InvalidProxyURL

reactor: Any = installed

SIZE = 2_000_000
NAMES = "127.0.0.1 origin.example other.example\n"


class WebTests(ProxyTestCase, TestCase):
    """What all of them need."""

    timeout = 60

    def setUp(self) -> None:
        """Make an authority, and a policy that believes it and nobody else."""
        self.authority = Authority()
        root = Certificate.loadPEM(self.authority.certificate)
        self.policy = BrowserLikePolicyForHTTPS(trustRootFromCertificates([root]))

    def agent(self, proxy: RunningProxy, *login: str) -> SOCKS5Agent:
        """Make an agent for a proxy."""
        endpoint = HostnameEndpoint(reactor, proxy.host, proxy.port)
        there = Proxy(endpoint, (UsernamePassword(*login),)) if login else endpoint
        agent = SOCKS5Agent(reactor, there, self.policy)
        self.addCleanup(agent.close)
        return agent

    async def get(self, agent: Any, url: str) -> bytes:
        """Fetch a page."""
        response = await HTTPClient(agent).get(url)
        self.assertEqual(response.code, 200)
        body: bytes = await response.content()
        return body


class SOCKS5AgentTests(WebTests):
    """treq, with an agent for one proxy."""

    async def test_https(self) -> None:
        """Several requests over one connection, to a name that the proxy resolves."""
        origin = HTTPSOrigin(self, self.authority.issue("origin.example"))
        proxy = self.proxy(hosts=NAMES)
        agent = self.agent(proxy)
        for _ in range(3):
            url = f"https://origin.example:{origin.port}/bytes/{SIZE}"
            self.assertEqual(digest(await self.get(agent, url)), digest(content(SIZE)))
        await agent.close()
        (record,) = proxy.stop()
        self.assertEqual(record["target"], f"origin.example:{origin.port}")

    async def test_wrongName(self) -> None:
        """A certificate for another name is refused: it is the server that is verified."""
        origin = HTTPSOrigin(self, self.authority.issue("origin.example"))
        agent = self.agent(self.proxy(hosts=NAMES))
        url = f"https://other.example:{origin.port}/"
        await self.assertFailure(HTTPClient(agent).get(url), ResponseNeverReceived)
        self.assertEqual(origin.seen, [])
        # Of twisted.web, whose factories say so of every handshake that fails.
        self.flushLoggedErrors()

    async def test_addresses(self) -> None:
        """Addresses of both families in the URL, verified as well."""
        proxy = self.proxy("--permit", "[::1]", "--permit", "127.0.0.1")
        agent = self.agent(proxy)
        for host in ("127.0.0.1", "::1"):
            secure = HTTPSOrigin(self, self.authority.issue(host), host)
            plain = HTTPOrigin(self, host)
            literal = f"[{host}]" if ":" in host else host
            for url in (f"https://{literal}:{secure.port}", f"http://{literal}:{plain.port}"):
                # Not by treq, which takes an IPv6 address for a name that it can't encode.
                answer = await agent.request(b"GET", url.encode())
                self.assertEqual(await treq.content(answer), b"this is the origin\n", url)

    async def test_many(self) -> None:
        """Fifty at a time; the pool then keeps as many connections as it is told."""
        origin, proxy = HTTPOrigin(self), self.proxy()
        agent = self.agent(proxy)
        agent.pool.maxPersistentPerHost = 10
        url = f"http://127.0.0.1:{origin.port}/bytes/10000"

        async def fetch() -> None:
            self.assertEqual(digest(await self.get(agent, url)), digest(content(10_000)))

        await gatherResults([ensureDeferred(fetch()) for _ in range(50)])
        await agent.close()
        self.assertEqual(len(proxy.stop()), 50)

    async def test_upload(self) -> None:
        """A body goes the other way."""
        origin = HTTPSOrigin(self, self.authority.issue("localhost"))
        agent = self.agent(self.proxy())
        url = f"https://localhost:{origin.port}/"
        response = await HTTPClient(agent).put(url, data=content(SIZE))
        self.assertEqual(await response.text(), digest(content(SIZE)))

    async def test_password(self) -> None:
        """With a name and a password, the right ones and others."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"))
        url = f"http://127.0.0.1:{origin.port}/"
        self.assertIn(b"origin", await self.get(self.agent(proxy, "alice", "s3cr3t"), url))
        wrong = HTTPClient(self.agent(proxy, "alice", "guess"))
        await self.assertFailure(wrong.get(url), AuthenticationError)

    async def test_refused(self) -> None:
        """What the proxy says of the server is what Twisted's own agent would have said."""
        proxy = self.proxy()
        agent = HTTPClient(self.agent(proxy))
        url = f"http://127.0.0.1:{closedPort(self)}/"
        failed = await self.assertFailure(agent.get(url), error.ConnectionRefusedError)
        self.assertIn("127.0.0.1", str(failed))
        # The reactor goes on meanwhile, and so our side closes.
        (record,) = await deferToThread(proxy.stop)
        self.assertEqual(record["reply"], 5)


class EnvironmentAgentTests(WebTests):
    """treq, with an agent that asks the environment."""

    def fromEnvironment(self, **variables: str) -> EnvironmentAgent:
        """Make the agent."""
        agent = EnvironmentAgent(reactor, variables, self.policy)
        self.addCleanup(agent.close)
        return agent

    async def test_proxies(self) -> None:
        """One for https, another for all else, and none for those in NO_PROXY."""
        secure = HTTPSOrigin(self, self.authority.issue("origin.example"))
        plain, near = HTTPOrigin(self), HTTPOrigin(self)
        one = self.proxy("--auth", self.users("alice:s3/cr@t"), hosts=NAMES)
        other = self.proxy(hosts=NAMES)
        agent = self.fromEnvironment(
            HTTPS_PROXY=f"socks5h://alice:s3%2Fcr%40t@{one}",
            ALL_PROXY=f"socks5h://{other}",
            NO_PROXY=f"127.0.0.0/8:{near.port}",
        )
        for url in (
            f"https://origin.example:{secure.port}/",
            f"http://origin.example:{plain.port}/",
            f"http://127.0.0.1:{near.port}/",
        ):
            for _ in range(2):
                self.assertEqual(await self.get(agent, url), b"this is the origin\n")
        await agent.close()
        (record,) = one.stop()
        self.assertEqual(record["target"], f"origin.example:{secure.port}")
        self.assertEqual(record["user"], "alice")
        (record,) = other.stop()
        self.assertEqual(record["target"], f"origin.example:{plain.port}")

    async def test_resolvedHere(self) -> None:
        """socks5:// resolves here, and so the proxy never hears the name."""
        origin, proxy = HTTPOrigin(self, "127.0.0.1"), self.proxy("--permit", "127.0.0.1")
        agent = self.fromEnvironment(all_proxy=f"socks5://{proxy}")
        await self.get(agent, f"http://localhost:{origin.port}/")
        await agent.close()
        self.assertIn(f"127.0.0.1:{origin.port}", [one["target"] for one in proxy.stop()])

    async def test_wrong(self) -> None:
        """A variable that is no SOCKS proxy fails the request; it does not go without."""
        origin = HTTPOrigin(self)
        agent = HTTPClient(self.fromEnvironment(ALL_PROXY="http://127.0.0.1:3128"))
        asked = agent.get(f"http://127.0.0.1:{origin.port}/")
        failed = await self.assertFailure(asked, InvalidProxyURL)
        self.assertIn("ALL_PROXY", str(failed))
        self.assertEqual(origin.seen, [])


class StringTests(WebTests):
    """TLS in endpoint strings: with the server through the proxy, and with the proxy."""

    async def fetch(self, description: str) -> bytes:
        """Connect, ask for a page, and get the whole answer."""
        asker = Asker(b"GET / HTTP/1.0\r\n\r\n")
        await connectProtocol(clientFromString(reactor, description), asker)
        return await asker.answer

    def trusted(self) -> str:
        """Make a directory of those who are believed, as an argument."""
        place = Path(self.mktemp())
        place.mkdir()
        (place / "authority.pem").write_bytes(self.authority.certificate)
        return f"trustRoots={quoteStringArgument(str(place))}"

    async def test_server(self) -> None:
        """Our string in Twisted's: only the server sees what is asked, and it is verified."""
        origin = HTTPSOrigin(self, self.authority.issue("origin.example"))
        proxy, trusted = self.proxy(hosts=NAMES), self.trusted()
        through = f"socks5:origin.example:{origin.port}:via={quoteStringArgument(str(proxy))}"
        rest = f"{origin.port}:endpoint={quoteStringArgument(through)}:{trusted}"
        answer = await self.fetch(f"tls:origin.example:{rest}")
        self.assertIn(b"this is the origin\n", answer)
        self.assertNotIn(b"origin\n", await self.fetch(f"tls:other.example:{rest}"))
        (first, _) = await deferToThread(proxy.stop)
        self.assertEqual(first["target"], f"origin.example:{origin.port}")

    async def test_proxy(self) -> None:
        """Twisted's string in ours: the proxy is verified before a password is sent there."""
        certificate = Path(self.mktemp()).absolute()
        certificate.write_bytes(self.authority.issue("localhost"))
        origin, keys = HTTPOrigin(self), quoteStringArgument(str(certificate))
        listen = f"ssl:0:interface=127.0.0.1:privateKey={keys}:certKey={keys}"
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"), "--listen", listen)
        rest = f":{proxy.port}:{self.trusted()}"
        login = "user=alice:password=s3cr3t"
        through = f"socks5:127.0.0.1:{origin.port}:{login}:via="
        answer = await self.fetch(through + str(quoteStringArgument(f"tls:localhost{rest}")))
        self.assertIn(b"this is the origin\n", answer)
        wrong = through + str(quoteStringArgument(f"tls:127.0.0.1{rest}"))
        await self.assertFailure(ensureDeferred(self.fetch(wrong)), ProxyClosed)
        users = [one["user"] for one in await deferToThread(proxy.stop)]
        self.assertEqual(users.count("alice"), 1)


class Asker(Protocol):
    """
    Asks, and collects what comes.

    @ivar answer: fires with that, at the connection's end.
    """

    transport: Any

    def __init__(self, question: bytes) -> None:
        self._question = question
        self._heard = b""
        self.answer: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        """Ask."""
        self.transport.write(self._question)

    def dataReceived(self, data: bytes) -> None:
        """Collect."""
        self._heard += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Tell what was collected."""
        self.answer.callback(self._heard)
