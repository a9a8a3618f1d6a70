"""
HTTP through a proxy: for C{twisted.web}'s C{Agent}, and for treq on top of it.

  - L{SOCKS5EndpointFactory} says how to reach the server of a URI; any C{Agent} can use it;
  - L{SOCKS5Agent} is an agent for one proxy, with a pool of its own;
  - L{EnvironmentAgent} asks the environment, for each request, which proxy there is to be.

TLS is spoken with the server, inside the connection through the proxy, and its certificate is
verified as the policy says: a proxy sees names and ports, and nothing else of C{https}.

A pool of connections knows them by scheme, host and port only (C{HTTPConnectionPool}).  So each
proxy has its own here: a connection made through one must not serve a request for another.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.interfaces import IHostnameResolver, IStreamClientEndpoint
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HTTPConnectionPool
from twisted.web.error import SchemeNotSupported
from twisted.web.http_headers import Headers
from twisted.web.iweb import (
    IAgent,
    IAgentEndpointFactory,
    IBodyProducer,
    IPolicyForHTTPS,
    IResponse,
)
from zope.interface import implementer

from twisted_socks5.client.endpoint import SOCKS5ClientEndpoint
from twisted_socks5.client.environment import ProxyEnvironment
from twisted_socks5.client.proxy import Proxy
from twisted_socks5.client.urls import ProxyURL, proxyFromURL, resolverFor

_PLAIN = frozenset((b"http", b"ws"))
_TLS = frozenset((b"https", b"wss"))


@implementer(IAgentEndpointFactory)
class SOCKS5EndpointFactory:
    """
    Reaches the servers of C{http} and C{https} URIs through one proxy::

        Agent.usingEndpointFactory(reactor, SOCKS5EndpointFactory(reactor, proxy), pool)

    The pool must have connections through this proxy only; L{SOCKS5Agent} sees to that.
    """

    def __init__(
        self,
        reactor: Any,
        proxy: Proxy | IStreamClientEndpoint,
        policyForHTTPS: IPolicyForHTTPS | None = None,
        *,
        resolver: IHostnameResolver | None = None,
    ) -> None:
        """
        @param reactor: has the clock of the proxy's deadline.
        @param proxy: where the proxy is, and who we are there.
        @param policyForHTTPS: how servers are verified; by default as a browser does.
        @param resolver: resolves the names of servers; without it the proxy does.
        """
        self._reactor = reactor
        self._proxy = proxy
        self._policy = policyForHTTPS or BrowserLikePolicyForHTTPS()
        self._resolver = resolver

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """
        Say how to reach a URI's server.

        @param uri: its host is a name, or an address (RFC 3986, section 3.2.2).
        @return: an endpoint, over TLS for C{https} and C{wss}.
        @raise SchemeNotSupported: the scheme is another.
        @raise ValueError: the host is none.
        """
        if uri.scheme not in _PLAIN | _TLS:
            raise SchemeNotSupported(f"Unsupported scheme: {uri.scheme!r}")
        endpoint: IStreamClientEndpoint = SOCKS5ClientEndpoint(
            self._proxy, uri.host, uri.port, reactor=self._reactor, resolver=self._resolver
        )
        if uri.scheme in _TLS:
            creator = self._policy.creatorForNetloc(uri.host, uri.port)
            endpoint = wrapClientTLS(creator, endpoint)
        return endpoint


@implementer(IAgent)
class SOCKS5Agent:
    """
    An agent whose requests go through one proxy, over connections that are kept for the next.

    @ivar pool: its connections, nobody else's; C{maxPersistentPerHost} and the like may be set.
    """

    def __init__(
        self,
        reactor: Any,
        proxy: Proxy | IStreamClientEndpoint,
        policyForHTTPS: IPolicyForHTTPS | None = None,
        *,
        resolver: IHostnameResolver | None = None,
        persistent: bool = True,
    ) -> None:
        """
        @param reactor: as for L{SOCKS5EndpointFactory}, and all that follow but this one.
        @param persistent: whether connections are kept for further requests.
        """
        self.pool = HTTPConnectionPool(reactor, persistent)
        factory = SOCKS5EndpointFactory(reactor, proxy, policyForHTTPS, resolver=resolver)
        self._agent = Agent.usingEndpointFactory(reactor, factory, self.pool)

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        See L{IAgent.request}.

        @return: fails with a L{SOCKSError<twisted_socks5.client.errors.SOCKSError>} where the
            proxy is to blame, or where it says why the server can't be reached; and with
            L{InvalidTarget<twisted_socks5.client.errors.InvalidTarget>} where C{uri} has no host
            that a proxy could be asked for.
        """
        # Agent itself raises the last of these.
        return maybeDeferred(self._agent.request, method, uri, headers, bodyProducer)

    def close(self) -> Deferred[None]:
        """
        Close the connections that are kept.

        @return: fires when they are closed.
        """
        closed: Deferred[None] = self.pool.closeCachedConnections()
        return closed


@implementer(IAgent)
class EnvironmentAgent:
    """
    An agent that asks the environment which proxy a request is to go through.

    L{ProxyEnvironment} says which variables there are; they are read once, here.  Whom
    C{NO_PROXY} names is connected to directly.  A variable that names no SOCKS proxy fails the
    requests that it is about; they never go without one.
    """

    def __init__(
        self,
        reactor: Any,
        environ: Mapping[str, str] | None = None,
        policyForHTTPS: IPolicyForHTTPS | None = None,
        *,
        timeout: float = 30.0,
    ) -> None:
        """
        @param reactor: connects and tells the time.
        @param environ: the variables; C{os.environ} by default.
        @param policyForHTTPS: how servers are verified; by default as a browser does.
        @param timeout: seconds to connect, and as many for the proxy to answer.
        """
        self._reactor = reactor
        self._environment = ProxyEnvironment(os.environ if environ is None else environ)
        self._policy = policyForHTTPS or BrowserLikePolicyForHTTPS()
        self._timeout = timeout
        self._pools: list[HTTPConnectionPool] = []
        self._agents: dict[ProxyURL | None, IAgent] = {}

    def request(
        self,
        method: bytes,
        uri: bytes,
        headers: Headers | None = None,
        bodyProducer: IBodyProducer | None = None,
    ) -> Deferred[IResponse]:
        """
        See L{IAgent.request}.

        @return: fails with L{InvalidProxyURL
            <twisted_socks5.client.urls.InvalidProxyURL>} where a variable is wrong, else as
            L{SOCKS5Agent.request} does.
        """
        return maybeDeferred(self._request, method, uri, headers, bodyProducer)

    def close(self) -> Deferred[None]:
        """
        Close the connections that are kept.

        @return: fires when they are closed.
        """
        pools = [pool.closeCachedConnections() for pool in self._pools]
        closed: Deferred[None] = gatherResults(pools).addCallback(lambda _: None)
        return closed

    def _request(self, method: bytes, uri: bytes, *rest: Any) -> Deferred[IResponse]:
        where = URI.fromBytes(uri)
        host, scheme = where.host.decode("ascii"), where.scheme.decode("ascii")
        agent = self._agentFor(self._environment.urlFor(host, where.port, scheme))
        answered: Deferred[IResponse] = agent.request(method, uri, *rest)
        return answered

    def _agentFor(self, url: ProxyURL | None) -> IAgent:
        """Find the agent for a proxy, or make it."""
        agent = self._agents.get(url)
        if agent is None:
            agent = self._agents[url] = self._makeAgent(url)
        return agent

    def _makeAgent(self, url: ProxyURL | None) -> IAgent:
        if url is None:
            pool = HTTPConnectionPool(self._reactor)
            self._pools.append(pool)
            return Agent(self._reactor, self._policy, self._timeout, pool=pool)
        proxy = proxyFromURL(self._reactor, url, timeout=self._timeout)
        resolver = resolverFor(self._reactor, url)
        agent = SOCKS5Agent(self._reactor, proxy, self._policy, resolver=resolver)
        self._pools.append(agent.pool)
        return agent
