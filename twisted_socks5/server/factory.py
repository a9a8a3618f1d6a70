"""
What all sessions of a server share: who may use it, what is permitted, and how many at a time.

Everything a session asks for is an attribute here, made from the settings unless the
application brings its own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorFDSet
from twisted.logger import Logger

from twisted_socks5.addresses import ipAddress, parsed
from twisted_socks5.auth import Authenticator
from twisted_socks5.auth.gssapi import PrincipalChecker
from twisted_socks5.auth.methods import principalChecker
from twisted_socks5.config import Settings
from twisted_socks5.deadlines import DeadlineQueue
from twisted_socks5.dialing import HappyEyeballs
from twisted_socks5.fairthreads import FairThreads
from twisted_socks5.limits import RESERVED_DESCRIPTORS, ConnectionLimits, LoginSlowdown, LoginTurns
from twisted_socks5.logs import AccessLog, TwistedAccessLog
from twisted_socks5.relay import IdleWatch
from twisted_socks5.relay.splice import PIPES
from twisted_socks5.resolving import NameLookup, ThreadedResolver
from twisted_socks5.reverselookup import ReverseLookup
from twisted_socks5.rules import Rules
from twisted_socks5.server.associate import LOOKS, Associate
from twisted_socks5.server.bind import Bind
from twisted_socks5.server.connect import Connect
from twisted_socks5.server.encapsulated import AT_WORK
from twisted_socks5.server.forwarded import ForwardedConnect, ForwardedResolve, checkForwarding
from twisted_socks5.server.forwardedbind import ForwardedBind
from twisted_socks5.server.forwardeddatagrams import ForwardedAssociate
from twisted_socks5.server.localhost import isLocalAddress
from twisted_socks5.server.resolve import Resolve, ResolvePTR
from twisted_socks5.server.session import SOCKS5ServerProtocol, Undertaking
from twisted_socks5.streams import DatagramUDP, StreamFactory, StreamTCP, watchFor
from twisted_socks5.wire import Command

if TYPE_CHECKING:
    from twisted.cred.portal import Portal
    from twisted.internet.interfaces import (
        IAddress,
        IHostnameResolver,
        IReactorTCP,
        IReactorTime,
        IReactorUDP,
    )

    from twisted_socks5.interfaces import IDialer, IPAddress, IRules, IVia

#: File descriptors that an association or a waiting BIND takes beside its session's two.
MORE = 4

#: Threads for contexts that come about, and as many for those that stand.
SECURITY_THREADS = 4

#: Connections that are reckoned with where they have no limit.
MANY = 1 << 16

#: Sessions over the limit that are still told so (REP 1); any further connection is just closed.
TOLD = 64


#: By what the commands are carried out where there is a next proxy.
_FORWARDED: Mapping[int, Callable[[SOCKS5ServerProtocol, Any], Undertaking]] = {
    Command.CONNECT: ForwardedConnect,
    Command.BIND: ForwardedBind,
    Command.UDP_ASSOCIATE: ForwardedAssociate,
}


class SOCKS5ServerFactory(StreamFactory):
    """
    Makes a session of each connection.

    @ivar settings: the deadlines and limits.
    @ivar reactor: what is neither a connection nor a name is asked of it.
    @ivar rules: who may reach what.
    @ivar associations: looked at from time to time, for those that are idle to end.
    @ivar via: the next proxy; L{None}: there is none.
    @ivar securityThreads: where security contexts come about, and their names are looked up.
    @ivar protectingThreads: where those that stand wrap and unwrap; what keeps the others, a slow
        name server say, keeps nobody's octets.
    @ivar streams: makes transports that are faster than the reactor's own, where it can.
    @ivar datagrams: the same for UDP sockets; where it can't, the reactor itself.
    @ivar sessions: all sessions that have not ended.
    @ivar listeningPorts: ports that this server is known to listen on; no client from elsewhere
        may reach them through the proxy.
    """

    noisy = False
    log = Logger()
    protocol = SOCKS5ServerProtocol

    #: The commands that are carried out, and by what.
    commands: Mapping[int, Callable[[SOCKS5ServerProtocol, Any], Undertaking]] = {
        Command.CONNECT: Connect,
        Command.BIND: Bind,
        Command.UDP_ASSOCIATE: Associate,
    }

    def __init__(
        self,
        reactor: IReactorTCP,
        portal: Portal,
        *,
        settings: Settings | None = None,
        rules: IRules | None = None,
        resolver: IHostnameResolver | None = None,
        dialer: IDialer | None = None,
        via: IVia | None = None,
        accessLog: AccessLog | None = None,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        @param reactor: connects to targets, and resolves names unless C{resolver} is given.
        @param portal: says who may use the server.  The methods that clients are offered are
            those its checkers can check: L{IAnonymous} is "none", L{IUsernamePassword} is
            username and password (RFC 1929), L{IVerifiedPrincipal
            <twisted_socks5.auth.gssapi.IVerifiedPrincipal>} is GSSAPI (RFC 1961).
        @param settings: the deadlines and limits.
        @param rules: judges each access; default: everything is permitted that does not reach
            the proxy host itself, see L{Rules}.
        @param resolver: resolves names.
        @param dialer: reaches the targets.
        @param via: the next proxy, which is asked for all that clients ask for: nothing is
            resolved, dialled or listened for here.  C{rules} then judge a name by that alone:
            make them with C{resolves=False}.
        @param accessLog: is given the record of each session at its end.
        @param clock: tells the time; default: the reactor.
        @raise ConfigurationError: a setting is about what the next proxy does, not this one.
        """
        if via is not None:
            checkForwarding(settings or Settings())
        self.via = via
        self.settings = settings = settings or Settings()
        self.reactor = reactor
        self.clock: IReactorTime = clock or reactor  # type: ignore[assignment]
        # Reactors count from where they like; the access log wants the time of day.
        self.epoch = time.time() - self.clock.seconds()
        self.authenticator = Authenticator(portal, settings.methods)
        sessions = (settings.max_connections or MANY) + TOLD
        self.securityThreads = FairThreads(
            reactor, SECURITY_THREADS, waiting=sessions, name="socks5-security"
        )
        # A connection has one job each way, and some for large datagrams, so none of them is ever
        # told that too much waits.
        jobs = (2 + AT_WORK) * sessions
        self.protectingThreads = FairThreads(
            reactor, SECURITY_THREADS, waiting=jobs, each=jobs, name="socks5-protecting"
        )
        principals = principalChecker(portal)
        if isinstance(principals, PrincipalChecker):
            principals.threads = self.securityThreads
        self.rules: IRules = (
            Rules([], own=self.isOwn, resolves=via is None) if rules is None else rules
        )
        self._ownResolver = ThreadedResolver(reactor)  # type: ignore[arg-type]
        self.lookup = NameLookup(
            resolver or self._ownResolver, self.clock, timeout=settings.lookup_timeout
        )
        if via is not None:
            self.commands = {**self.commands, **_FORWARDED}
        if settings.resolve:
            self.commands = {
                **self.commands,
                Command.RESOLVE: Resolve if via is None else ForwardedResolve,
                Command.RESOLVE_PTR: ResolvePTR if via is None else ForwardedResolve,
            }
        self.reverse = ReverseLookup(
            reactor,  # type: ignore[arg-type]
            self.clock,
            timeout=settings.lookup_timeout,
        )
        self.streams: StreamTCP | None = None
        # Every IReactorTCP of Twisted's has UDP, too.
        self.datagrams = cast("IReactorUDP | DatagramUDP", reactor)
        if IReactorFDSet.providedBy(reactor):
            watch = watchFor(reactor)
            self.streams = StreamTCP(watch)
            self.datagrams = DatagramUDP(watch)
        self.dialer: IDialer = dialer or HappyEyeballs(
            self.streams or reactor,
            self.clock,
            timeout=settings.dial_timeout,
        )
        self.accessLog: AccessLog = accessLog or TwistedAccessLog()
        self.limits = ConnectionLimits(
            settings.max_connections, settings.max_connections_per_client
        )
        self.slowdown = LoginSlowdown()
        self.turns = LoginTurns()
        #: File descriptors that the process may have; L{None}: there is no telling.
        self.descriptors: int | None = None
        self.sessions: set[SOCKS5ServerProtocol] = set()
        #: BINDs that wait for their peer.
        self.binds: DeadlineQueue[Bind | ForwardedBind] = DeadlineQueue(
            self.clock, settings.bind_timeout, lambda waiting: waiting.expired()
        )
        self.listeningPorts: set[int] = set()
        self.idle = IdleWatch(self.clock, settings.idle_timeout, settings.half_closed_timeout)
        self.negotiating: DeadlineQueue[SOCKS5ServerProtocol] = DeadlineQueue(
            self.clock,
            settings.negotiation_timeout or None,
            SOCKS5ServerProtocol.negotiationExpired,
        )
        # Those over the limit: they take no place, so dropping one of them makes no room.
        self._telling: DeadlineQueue[SOCKS5ServerProtocol] = DeadlineQueue(
            self.clock,
            settings.negotiation_timeout or None,
            SOCKS5ServerProtocol.negotiationExpired,
        )
        self.associations: DeadlineQueue[Associate] = DeadlineQueue(
            self.clock, settings.association_timeout / LOOKS, Associate.look
        )
        self._lingering: DeadlineQueue[SOCKS5ServerProtocol] = DeadlineQueue(
            self.clock, settings.linger_timeout, SOCKS5ServerProtocol.lingerExpired
        )
        self._overloaded: set[SOCKS5ServerProtocol] = set()
        self._waiting: list[Deferred[None]] = []

    def startFactory(self) -> None:
        """The first port listens."""
        self._ownResolver.start()
        self.securityThreads.start()
        self.protectingThreads.start()

    def stopFactory(self) -> None:
        """The last port listens no more."""
        self._ownResolver.stop()
        # Sessions go on for a while, and what protects them does, too.
        self.whenIdle().addCallback(self._stopThreads)

    def _stopThreads(self, _: None) -> None:
        if not self.numPorts:
            self.securityThreads.stop()
            self.protectingThreads.stop()

    def isOwn(self, address: IPAddress, port: int) -> bool:
        """Tell whether C{port} of C{address} is this server itself."""
        return port in self.listeningPorts and isLocalAddress(address)

    @property
    def scarce(self) -> bool:
        """Whether another request might find no file descriptor."""
        if self.descriptors is None:
            return False
        used = RESERVED_DESCRIPTORS + 2 * (len(self.sessions) + PIPES.count)
        if used + MORE * (len(self.sessions) + 1) <= self.descriptors:
            return False  # Even if all of them were associations.
        beside = len(self.associations) + len(self.binds)
        return used + MORE * (beside + 1) > self.descriptors

    def buildProtocol(self, addr: IAddress | None) -> SOCKS5ServerProtocol | None:
        """Make a session; one too many is told so at its request, as long as there is room."""
        if addr is None:
            return None
        found = ipAddress(addr)
        return self._session(addr, found[0] if found else None)

    def welcome(self, peer: tuple[Any, ...]) -> SOCKS5ServerProtocol | None:
        """Make a session; see L{buildProtocol}."""
        return self._session(peer, parsed(peer[0]))

    def _session(
        self, peer: IAddress | tuple[Any, ...], client: IPAddress | None
    ) -> SOCKS5ServerProtocol | None:
        overload = self._admit(client)
        if overload and len(self._overloaded) >= TOLD:
            self.log.warn("{client} turned away: {reason}", client=str(client), reason=overload)
            return None
        session = self.protocol(self, peer, client, overload)
        if overload:
            self._overloaded.add(session)
        return session

    # What sessions tell.

    def sessionBegins(self, session: SOCKS5ServerProtocol) -> None:
        """A session is connected."""
        self.sessions.add(session)
        self._queue(session, self.negotiating if session.counted else self._telling)

    def sessionLeaves(self, session: SOCKS5ServerProtocol) -> None:
        """A session turns out to be another client's: give back the place of the one it was."""
        self.sessionRequests(session)
        self._release(session)

    def sessionReturns(self, session: SOCKS5ServerProtocol) -> str:
        """
        Count a session for the client whose it really is.

        @return: why its request will be refused, or nothing.
        """
        overload = self._admit(session.client)
        session.counted = not overload
        if overload:
            if len(self._overloaded) >= TOLD:
                session.abort(overload)
            self._overloaded.add(session)
        self._queue(session, self.negotiating if session.counted else self._telling)
        return overload

    def sessionRequests(self, session: SOCKS5ServerProtocol) -> None:
        """A session has said what it wants."""
        queue, session.queue = session.queue, None
        if queue is not None:
            queue.discard(session)

    def sessionRefused(self, session: SOCKS5ServerProtocol) -> None:
        """A session's refusal is on its way: it may hear it, but not stay."""
        self._queue(session, self._lingering)

    def sessionEnds(self, session: SOCKS5ServerProtocol) -> None:
        """A session's connection is gone."""
        self.sessions.discard(session)
        if session.queue is not None:
            self.sessionRequests(session)
        self._release(session)
        try:
            self.accessLog(session.record)
        except Exception:
            self.log.failure("The access log could not be written")
        if not self.sessions:
            waiting, self._waiting = self._waiting, []
            for each in waiting:
                each.callback(None)

    # The end.

    def whenIdle(self) -> Deferred[None]:
        """Wait until there is no session; each call gives a Deferred of its own."""
        idle: Deferred[None] = Deferred(self._waiting.remove)
        if self.sessions:
            self._waiting.append(idle)
        else:
            idle.callback(None)
        return idle

    def drain(self, reason: str) -> None:
        """End those sessions that nothing has been granted to; the others have some time yet."""
        for queue in (self.negotiating, self._telling):
            while (session := queue.oldest()) is not None:
                queue.discard(session)
                session.abort(reason)
        for session in list(self.sessions):
            session.drain(reason)

    def abortSessions(self, reason: str) -> None:
        """End all sessions at once, with a reset."""
        for session in list(self.sessions):
            session.abort(reason)

    def _queue(
        self,
        session: SOCKS5ServerProtocol,
        queue: DeadlineQueue[SOCKS5ServerProtocol],
    ) -> None:
        """Move a session from the queue that it is in, if any, to another one."""
        if session.queue is not None:
            session.queue.discard(session)
        session.queue = queue
        queue.add(session)

    def _admit(self, client: IPAddress | None) -> str:
        """
        Count one more session of C{client}, or say why not.

        A table full of clients that have not said what they want makes room by dropping the
        oldest of them, so that a crowd of silent connections shuts nobody out.
        """
        refusal = self.limits.admit(client)
        if refusal is None:
            return ""
        silent = self.negotiating.oldest()
        if silent is not None and self.limits.full:
            self.limits.release(silent.client)
            refusal = self.limits.admit(client)
            if refusal is None:
                silent.counted = False
                self.negotiating.discard(silent)
                silent.abort("dropped to make room: it had not made a request yet")
            else:
                # This client has too many, whoever else goes.
                self.limits.admit(silent.client)
        return refusal or ""

    def _release(self, session: SOCKS5ServerProtocol) -> None:
        """Give back a session's place; it may have been given to another one already."""
        if session.counted:
            session.counted = False
            self.limits.release(session.client)
        self._overloaded.discard(session)
