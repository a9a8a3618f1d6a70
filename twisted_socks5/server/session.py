"""
One control connection, from the greeting to its end.

The story of a session, a receiver of octets for each part of it, which is its C{dataReceived}
for that time:

  1. I{negotiating}: octets go to L{ServerNegotiation}; what its events mean until it is known who
     the client is, L{identification<twisted_socks5.server.identification>} says, and the request
     starts its command.  With GSSAPI a layer may come between the socket and all that follows: it
     is a transport like any other;
  2. I{waiting}, while it is our turn: what the client already sends is kept, and its transport
     paused, so nobody can make us gather octets;
  3. I{relaying}: the octets belong to a L{Leg};
  4. or I{refused}: the refusal is on its way, and what still comes is read and dropped, for a
     close with unread octets would become a reset, which overtakes and loses the refusal.

A session knows nothing of names, rules and targets: that is its command's business.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol as TwistedProtocol
from twisted.logger import Logger
from twisted.protocols.policies import ProtocolWrapper
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.addresses import ipAddress
from twisted_socks5.auth.gssapi import describeLevel
from twisted_socks5.errors import RequestError
from twisted_socks5.interfaces import Access
from twisted_socks5.limits import client_key
from twisted_socks5.logs import AccessRecord
from twisted_socks5.protection import is_local
from twisted_socks5.relay import Leg, Outcome, TCPRelay
from twisted_socks5.relay.tcp import knowsHalfClose, tune
from twisted_socks5.security.encapsulation import Encapsulation
from twisted_socks5.server.endings import BROKEN, howLost, textOf
from twisted_socks5.server.identification import EVENTS
from twisted_socks5.streams.stream import describe
from twisted_socks5.wire import (
    UNSPECIFIED,
    Address,
    Command,
    LocalProtocolError,
    ProtectionLevel,
    ProtocolError,
    Reply,
    Request,
    Request4,
    ServerNegotiation,
    describe_host,
)
from twisted_socks5.wire.constants import SOCKS4_VERSION

if TYPE_CHECKING:
    from twisted.internet.interfaces import IAddress

    from twisted_socks5.deadlines import DeadlineQueue
    from twisted_socks5.interfaces import IPAddress, IRules, ISOCKS5Avatar
    from twisted_socks5.relay.tcp import StreamTransport
    from twisted_socks5.security import ISecurityContext
    from twisted_socks5.server.factory import SOCKS5ServerFactory
    from twisted_socks5.server.gssapi import GSSAPIDialogue
    from twisted_socks5.server.login import Logout, Pending


#: Octets that a client may send ahead while it is our turn; at that many, its transport pauses.
#: One read more may come, so a session holds less than twice as much.
KEPT = 65536

#: SOCKS4 has two commands, and Tor gave SOCKS4a one more; a reply has no room for a name.
_COMMANDS4 = frozenset((Command.CONNECT, Command.BIND, Command.RESOLVE))

#: What the log calls the commands.
_NAMES: Mapping[int, str] = {command: command.name for command in Command}


#: The client that a PROXY protocol header does not tell, or not credibly.
NOBODY_IN_PARTICULAR = ip_address("0.0.0.0")


class Undertaking(Protocol):
    """A command that is being carried out."""

    def start(self) -> None:
        """Begin; it ends with the session's C{relay} or C{refuse}."""

    def clientEnded(self) -> None:
        """The client has sent its FIN."""

    def drain(self, reason: str) -> None:
        """The proxy stops soon: begin nothing that may take long."""

    def cancel(self) -> None:
        """The session is over: leave nothing open."""


@implementer(IHalfCloseableProtocol)
class SOCKS5ServerProtocol(TwistedProtocol):
    """
    A session; its L{SOCKS5ServerFactory} makes it.

    @ivar server: the factory, which has all that sessions share.
    @ivar record: what the access log will say.
    @ivar client: the client's IP address; L{None} for a Unix socket.
    @ivar avatar: who it is, once the method has said so.
    @ivar negotiation: what was said, and whose turn it is.
    @ivar dialogue: GSSAPI's, while it goes on.
    @ivar encapsulation: what protects all that is sent and received (RFC 1961), datagrams
        included; it is the C{transport} then.
    @ivar protection: the protection level that was granted, if GSSAPI was spoken.
    """

    log = Logger()
    transport: StreamTransport  # type: ignore[assignment]  # narrower than ITransport

    # How a session begins: here, so that what most sessions never have costs them nothing.
    #: Takes octets from the client, as one of our receivers.
    dataReceived: Callable[[bytes], None]  # type: ignore[assignment]
    avatar: ISOCKS5Avatar | None = None
    dialogue: GSSAPIDialogue | None = None
    encapsulation: Encapsulation | None = None
    protection: ProtectionLevel | None = None
    #: In which of the factory's queues it is.
    queue: DeadlineQueue[SOCKS5ServerProtocol] | None = None
    _logout: Logout | None = None
    _pending: Pending | None = None
    _undertaking: Undertaking | None = None
    _relay: TCPRelay | None = None
    _clientEnded = False
    _told = False
    _paused = False
    _kept = 0
    _over = False

    def __init__(
        self,
        server: SOCKS5ServerFactory,
        peer: IAddress | tuple[Any, ...],
        client: IPAddress | None,
        overload: str = "",
    ) -> None:
        """
        @param server: the factory.
        @param peer: the client's address, or what the system calls it.
        @param client: its IP address; L{None} for a Unix socket.
        @param overload: why the request will be refused, whatever it is; empty: it won't.
        """
        self.server = server
        self._peer = peer
        self.client = client
        self.record = AccessRecord(
            client=textOf(peer), started=server.clock.seconds() + server.epoch
        )
        #: Whether it takes one of the places that the limits allow.
        self.counted = not overload
        self._overload = overload
        self.negotiation = ServerNegotiation(socks4=server.settings.socks4)
        self.dataReceived = self._negotiate

    # What the transport tells.

    def connectionMade(self) -> None:
        """Begin: the client has the first word."""
        tune(self.transport)
        if isinstance(self.transport, ProtocolWrapper):
            self.dataReceived = self._identify
        self.server.sessionBegins(self)

    def readConnectionLost(self) -> None:
        """The client's FIN."""
        self._clientEnded = True
        if self._relay is not None:
            self._relay.client.readConnectionLost()
        elif self._undertaking is not None:
            self._undertaking.clientEnded()
        elif self._pending is None:
            self._closedEarly()

    def writeConnectionLost(self) -> None:
        """All that we had to say, our FIN included, is sent."""
        self._told = True
        if self._relay is not None:
            self._relay.client.writeConnectionLost()
        elif self._clientEnded:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The connection is gone, in whatever way."""
        if self._relay is not None:
            self._relay.client.connectionLost(reason)
        else:
            self._end(f"{howLost(reason)} during the {self._stage()}")

    # What a command asks of its session.

    @property
    def peer(self) -> IAddress:
        """The client's address."""
        return describe(self._peer) if isinstance(self._peer, tuple) else self._peer

    def access(
        self,
        request: Request | Request4,
        host: IPAddress | str,
        address: IPAddress | None = None,
    ) -> Access:
        """
        Describe a request for the rules.

        @param host: its destination, normalised.
        @param address: which address of it is about to be connected to, if that is known.
        """
        avatar = self.avatar
        text = host if isinstance(host, str) else describe_host(host)
        return Access(
            self.client,
            None if avatar is None else avatar.name,
            request.command,
            text,
            request.destination.port,
            address,
        )

    @property
    def rules(self) -> IRules:
        """The rules for this user."""
        own = self.avatar.rules if self.avatar is not None else None
        return self.server.rules if own is None else own

    def relay(self, target: Leg, bound: Address) -> None:
        """Answer that the request has succeeded, and join the client and the target."""
        self.record.reply = Reply.SUCCEEDED
        self.transport.write(self.negotiation.reply(Reply.SUCCEEDED, bound))
        early = self.negotiation.take_rest()
        self._undertaking = None
        client = Leg()
        client.transport = self.transport
        self._relay = relay = TCPRelay(client, target, self._relayFinished)
        if early:
            client.dataReceived(early)
        # Before it starts: to read on behind the client's FIN would be to hear it twice.
        client.ended = self._clientEnded
        self.dataReceived = client.dataReceived
        if getattr(self.transport, "protocol", None) is self:
            # Nothing is between us and the socket: the leg can hear it itself.
            self.transport.protocol = client
        if self._paused:
            self._resume()
        self.server.idle.watch(relay)
        relay.start()

    def promise(self, bound: Address) -> None:
        """Send the first of BIND's two replies; L{relay} or L{refuse} sends the second."""
        self.transport.write(self.negotiation.reply(Reply.SUCCEEDED, bound))

    def associate(self, bound: Address) -> None:
        """Answer UDP ASSOCIATE; octets that come on the connection from now on mean nothing."""
        self.record.reply = Reply.SUCCEEDED
        self.transport.write(self.negotiation.reply(Reply.SUCCEEDED, bound))
        self.negotiation.take_rest()
        self.dataReceived = self._drop
        self._resume()

    def answer(self, bound: Address) -> None:
        """Answer a request whose answer is all that was asked for; then close."""
        self.record.reply = Reply.SUCCEEDED
        self._refuse(self.negotiation.reply(Reply.SUCCEEDED, bound), "answered")

    def finish(self, reason: str) -> None:
        """Close a session that has done what was asked, whether the client plays along or not."""
        self._because(reason)
        self.server.sessionRefused(self)
        self.transport.loseConnection()

    def refuse(self, reply: Reply, reason: str) -> None:
        """Answer that the request has failed; then close, after the client has heard it."""
        octets = self.negotiation.reply(reply, UNSPECIFIED)
        self.record.reply = reply
        self._refuse(octets, reason)

    def fail(self, failure: Failure) -> None:
        """Refuse a request for what went wrong with it."""
        error = failure.value
        if isinstance(error, RequestError):
            self.refuse(error.reply, error.reason)
        elif not failure.check(CancelledError):
            self.log.failure("A request could not be carried out", failure)
            reason = "internal error, see the log"
            try:
                self.refuse(Reply.GENERAL_FAILURE, reason)
            except LocalProtocolError:  # It is not, or no longer, the time for a reply.
                self.abort(reason)

    # What the dialogue of GSSAPI asks.

    def encapsulate(self, context: ISecurityContext, level: ProtectionLevel, early: bytes) -> None:
        """
        Protect all that follows.

        @param context: stands; from now on it is the encapsulation's.
        @param level: which protection: not C{NONE}.
        @param early: octets that have come behind the last message in clear text.
        """
        ended, self._clientEnded = self._clientEnded, False
        self.encapsulation = layer = Encapsulation(
            self.transport,
            context,
            level,
            self.server.protectingThreads,
            client_key(self.client),
        )
        layer.protocol = self
        self.transport = layer
        self._pending = None
        self._paused = False
        self.dataReceived = self._negotiate
        # Not before it has all that has come, in order, may it read on.
        layer.pauseProducing()
        if early:
            layer.dataReceived(early)
        if ended:
            layer.readConnectionLost()
        layer.resumeProducing()

    # What the factory asks.

    def abort(self, reason: str) -> None:
        """End the session at once, with a reset."""
        if self._relay is not None:
            self._relay.abort(reason)
        else:
            self._because(reason)
            self.transport.abortConnection()

    def drain(self, reason: str) -> None:
        """Take no new turn; what has been granted goes on for now."""
        if self._undertaking is not None:
            self._undertaking.drain(reason)

    def negotiationExpired(self) -> None:
        """The client has taken too long to say what it wants."""
        seconds = self.server.settings.negotiation_timeout
        self._refuse(b"", f"no complete {self._stage()} within {seconds:g} s")

    def lingerExpired(self) -> None:
        """The client has had its time to hear the refusal; it is cut if it hasn't read it."""
        if self._told:
            self.transport.loseConnection()
        else:
            self.transport.abortConnection()

    # The receivers.

    def _identify(self, data: bytes) -> None:
        """
        The first octets: what is between us and the socket may know by now whose they are.

        Behind the PROXY protocol it is another one than who connected, and the one whom rules,
        limits and the log are about.
        """
        self.dataReceived = self._negotiate
        peer = self.transport.getPeer()
        if peer != self.peer:
            self.server.sessionLeaves(self)
            self._peer = peer
            found = ipAddress(peer)
            self.client = found[0] if found else None
            if is_local(self.client):
                # Whoever can speak the PROXY protocol to us can say this; nobody becomes this
                # host by saying so.
                self.client = NOBODY_IN_PARTICULAR
            self.record.client = textOf(peer)
            self._overload = self.server.sessionReturns(self)
        self._negotiate(data)

    def _negotiate(self, data: bytes = b"") -> None:
        """It is the client's turn: hear what it says, or has said ahead."""
        negotiation = self.negotiation
        try:
            if data:
                self._kept = len(data)
                negotiation.receive(data)
            while (event := negotiation.next_event()) is not None:
                self._EVENTS[type(event)](self, event)
                if self.dataReceived != self._negotiate:
                    return
        except ProtocolError as error:
            self.broken(error)
        else:
            if self._clientEnded:
                self._closedEarly()

    def _keep(self, data: bytes) -> None:
        """
        It is our turn: keep what comes for the client's next one, within a bound.

        Not to read at all would be simpler, but then a client that has gone away in the
        meantime would go unnoticed.
        """
        try:
            self.negotiation.receive(data)
        except ProtocolError as error:
            self.broken(error)
            return
        self._kept += len(data)
        if self._kept >= KEPT and not self._paused:
            self._paused = True
            self.transport.pauseProducing()

    def _drop(self, data: bytes) -> None:
        """Read on after a refusal, so that it isn't lost."""

    # The negotiation's events.

    def broken(self, error: ProtocolError) -> None:
        """The client has broken the protocol."""
        # The negotiation keeps the error, whose stack leads back to the session.
        error.__traceback__ = None
        self.record.reply = error.reply
        self._refuse(error.answer, str(error))

    def requested(self, request: Request | Request4) -> None:
        """The client says what it wants: have it done, or say why not."""
        self.server.sessionRequests(self)
        self.record.target = str(request.destination)
        if self._overload:
            self.refuse(Reply.GENERAL_FAILURE, self._overload)
            return
        if self.server.scarce:
            reason = "no file descriptors to spare"
            self.log.warn("{client}: {reason}", client=self.record.client, reason=reason)
            self.refuse(Reply.GENERAL_FAILURE, reason)
            return
        command = self.server.commands.get(request.command)
        if request.version == SOCKS4_VERSION and request.command not in _COMMANDS4:
            command = None
        if command is None:
            self.record.command = str(request.command)
            self.refuse(Reply.COMMAND_NOT_SUPPORTED, f"unknown command {request.command}")
            return
        self.record.command = _NAMES[request.command]
        self.dataReceived = self._keep
        try:
            self._undertaking = undertaking = command(self, request)
            undertaking.start()
        except Exception:
            # An application's rules, perhaps; the client shall hear that it has failed.
            self.fail(Failure())
            return
        if self._clientEnded and self._undertaking is undertaking:
            undertaking.clientEnded()

    _EVENTS: ClassVar[dict[type, Callable[[SOCKS5ServerProtocol, Any], None]]] = {
        **EVENTS,
        Request: requested,
    }

    # Who is it?

    def waitFor(self, pending: Pending) -> None:
        """It is our turn until this is done; what the client says meanwhile is kept."""
        self.dataReceived = self._keep
        self._pending = pending

    def hearBy(self, receiver: Callable[[bytes], None]) -> None:
        """Give what the client says to a sub-negotiation that is none of the negotiation's."""
        self.dataReceived = receiver

    def identified(self, avatar: ISOCKS5Avatar, logout: Logout) -> None:
        """It is known who the client is."""
        self._pending = None
        self.avatar, self._logout = avatar, logout
        # A SOCKS4 client's USERID stays where nobody is asked: it may be worth something.
        self.record.user = avatar.name or self.record.user

    def proceed(self, octets: bytes = b"") -> None:
        """It is the client's turn again, after this answer; it may have said all already."""
        self._pending = None
        if octets:
            self.transport.write(octets)
        self.dataReceived = self._negotiate
        self._negotiate()
        if self.dataReceived == self._negotiate:
            self._resume()

    def turnAway(self, octets: bytes, reason: str) -> None:
        """Refuse a client, whose method has these words for it or none; then close."""
        self._refuse(octets, reason)

    def _resume(self) -> None:
        if self._paused:
            self._paused = False
            self.transport.resumeProducing()

    # The end.

    def _refuse(self, octets: bytes, reason: str) -> None:
        self._because(reason)
        self.dataReceived = self._drop
        self._callOff()
        self.server.sessionRefused(self)
        if octets:
            self.transport.write(octets)
        self._resume()
        if knowsHalfClose(self.transport):
            self.transport.loseWriteConnection()
        else:
            self.transport.loseConnection()

    def _closedEarly(self) -> None:
        self._because(f"client closed during the {self._stage()}")
        self.transport.loseConnection()

    def _relayFinished(self, outcome: Outcome) -> None:
        relay, self._relay = self._relay, None
        if relay is not None:
            self.server.idle.forget(relay)
        self.record.sent, self.record.received = outcome.sent, outcome.received
        if outcome.reason == "client reset":
            lost = relay.client.lost if relay is not None else None
            if lost is not None and lost.check(*BROKEN):
                self._because(howLost(lost))
        self._end(outcome.reason)

    def _end(self, reason: str) -> None:
        if self._over:
            return
        self._over = True
        self.record.reason = self.record.reason or reason
        # A bound method of one's own is a circle; nothing waits for the garbage collector.
        self.dataReceived = _ignore
        self._callOff()
        logout, self._logout = self._logout, None
        if logout is not None:
            logout()
        if self.protection is not None:
            self.record.reason += f"; protection: {describeLevel(self.protection)}"
        self.record.seconds = self.server.clock.seconds() + self.server.epoch - self.record.started
        self.server.sessionEnds(self)

    def _callOff(self) -> None:
        pending, self._pending = self._pending, None
        dialogue, self.dialogue = self.dialogue, None
        undertaking, self._undertaking = self._undertaking, None
        if pending is None and dialogue is None and undertaking is None:
            return
        for each in (pending, dialogue, undertaking):
            if each is not None:
                try:
                    each.cancel()
                except Exception:
                    # An application's dialer, perhaps: no reason for the session to stay.
                    self.log.failure("What a session had begun could not be called off")

    def _because(self, reason: str) -> None:
        """Keep the first reason: what follows from it is no news."""
        self.record.reason = self.record.reason or reason

    def _stage(self) -> str:
        if self._undertaking is None:
            return "negotiation"
        # What goes on after its request was answered, and is no relay of octets.
        return "request" if self.record.reply is None else "association"


def _ignore(_: bytes) -> None:
    """Receive octets for a session that has ended."""
