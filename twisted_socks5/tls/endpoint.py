"""
A port for TLS, and how C{--listen} describes one.

  - C{ssl:PORT:privateKey=FILE:certKey=FILE:extraCertChain=FILE}, which Twisted has in all its
    releases, and C{tls:DIRECTORY:PORT}, which it has since 26.4;
  - both with C{interface} and C{backlog}, as Twisted takes them, and with what Twisted does not
    know: C{clientCA=FILE}, C{clientCRL=FILE} and C{clientCertificate=required} or C{optional}.

A description that can't be carried out is refused with one line.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any, cast

from twisted.internet.endpoints import TCP4ServerEndpoint, TCP6ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import ServerFactory
from zope.interface import implementer

from twisted_socks5.deadlines import DeadlineQueue
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.tls.contexts import ServerContexts
from twisted_socks5.tls.files import Files
from twisted_socks5.tls.layer import TLSTransport
from twisted_socks5.tls.renewal import Renewal

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import (
        IAddress,
        IListeningPort,
        IProtocolFactory,
        IReactorTime,
    )

#: Connections that may wait to be accepted, as for all that C{--listen} takes.
BACKLOG = 1024

#: Seconds that a client has to read why its handshake has failed.
LINGER = 2.0

#: Clients that may do so at a time; they are sessions no more, and no limit counts them.
LINGERING = 256

_OWN = ("clientCA", "clientCRL", "clientCertificate")
_KNOWN = {
    "ssl": ("privateKey", "certKey", "extraCertChain", "interface", "backlog", *_OWN),
    "tls": ("interface", "backlog", *_OWN),
}
_GONE = {
    "sslmethod": "TLS 1.2 and 1.3 are spoken, and clients choose; leave sslmethod out",
    "dhParameters": "keys are agreed on with elliptic curves only; leave dhParameters out",
}


class TLSFactory(ServerFactory):
    """
    Puts TLS between connections and the protocols of a factory.

    @ivar wrapped: makes the protocols.
    @ivar contexts: the certificates.
    @ivar renewal: looks after these while something listens.
    """

    noisy = False

    def __init__(
        self, wrapped: IProtocolFactory, contexts: ServerContexts, renewal: Renewal, clock: Any
    ) -> None:
        """
        @param clock: tells when who was refused has had time to read why.
        """
        self.wrapped = wrapped
        self.contexts = contexts
        self.renewal = renewal
        self._refused: DeadlineQueue[TLSTransport] = DeadlineQueue(
            clock, LINGER, TLSTransport.abandon
        )

    def logPrefix(self) -> str:
        """Name us in the log."""
        prefix = getattr(self.wrapped, "logPrefix", None)
        return f"{prefix() if prefix else type(self.wrapped).__name__} (TLS)"

    def startFactory(self) -> None:
        """The port listens."""
        self.wrapped.doStart()
        self.renewal.start()

    def stopFactory(self) -> None:
        """The port listens no more."""
        self.renewal.stop()
        self.wrapped.doStop()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        """Make a protocol, and what it will take for its transport."""
        protocol = self.wrapped.buildProtocol(addr)  # type: ignore[arg-type]  # as we were asked
        if protocol is None:
            return None
        connection = self.contexts.serverConnectionForTLS(self)
        return TLSTransport(connection, protocol, self._linger)

    def _linger(self, refused: TLSTransport) -> None:
        """Let a client read why it was refused; one too many costs the first its time."""
        oldest = self._refused.oldest()
        if oldest is not None and len(self._refused) >= LINGERING:
            self._refused.discard(oldest)
            oldest.abandon()
        self._refused.add(refused)


@implementer(IStreamServerEndpoint)
class TLSServerEndpoint:
    """
    Listens for TLS on another endpoint.

    @ivar contexts: the certificates.
    @ivar renewal: looks after these while it listens.
    """

    def __init__(
        self,
        reactor: Any,
        endpoint: IStreamServerEndpoint,
        contexts: ServerContexts,
        clock: IReactorTime | None = None,
    ) -> None:
        """
        @param reactor: has the threads in which files are read.
        @param endpoint: where to listen.
        @param contexts: the certificates.
        @param clock: tells the time; default: the reactor.
        """
        self.contexts = contexts
        self.renewal = Renewal(contexts, reactor, clock)
        self._clock = clock or reactor
        self._endpoint = endpoint

    @property
    def verifiesClients(self) -> bool:
        """Whether clients are asked for a certificate."""
        return bool(self.contexts.files.authorities)

    def listen(self, factory: IProtocolFactory) -> Deferred[IListeningPort]:
        """
        Listen.

        @param factory: makes the protocols; their transport is a L{TLSTransport}.
        """
        wrapping = TLSFactory(factory, self.contexts, self.renewal, self._clock)
        return self._endpoint.listen(cast("IProtocolFactory", wrapping))

    def reload(self) -> Deferred[None]:
        """Look now whether certificates have changed; never fails."""
        return self.renewal.look()


def isTLS(description: str) -> bool:
    """Tell whether an endpoint's description is of one that is ours."""
    return description.partition(":")[0].lower() in _KNOWN


def endpointFromString(reactor: Any, description: str) -> TLSServerEndpoint:
    """
    Make the endpoint that a string describes.

    @param reactor: listens, and has threads and a clock.
    @param description: C{ssl:…} or C{tls:…}.
    @raise ConfigurationError: it can't be carried out, with one line that says why; without the
        description.
    """
    (kind, *arguments), named = parse(description)
    kind = kind.lower()
    for name in named:
        if name in _GONE:
            raise ConfigurationError(_GONE[name])
        if name not in _KNOWN[kind]:
            known = ", ".join(_KNOWN[kind])
            raise ConfigurationError(f"{kind}: does not know {name!r}; it knows {known}")
    if kind == "ssl":
        if len(arguments) != 1:
            raise ConfigurationError("it takes ssl:PORT:privateKey=FILE:certKey=FILE")
        if not named.get("privateKey"):
            raise ConfigurationError("it takes a privateKey=FILE, and a certKey=FILE with it")
        key = named["privateKey"]
        own = Files(
            key=key,
            certificate=named.get("certKey") or key,
            chain=named.get("extraCertChain", ""),
        )
        port, interface = arguments[0], named.get("interface", "")
    else:
        if len(arguments) != 2 or not arguments[0]:
            raise ConfigurationError("it takes tls:DIRECTORY:PORT")
        own = Files(directory=arguments[0])
        port, interface = arguments[1], named.get("interface", "::")
    where = _where(reactor, port, interface, named.get("backlog", str(BACKLOG)))
    return TLSServerEndpoint(reactor, where, ServerContexts(_withClients(own, named)))


def parse(description: str) -> tuple[list[str], dict[str, str]]:
    """
    Take an endpoint's description apart: fields between colons, named ones with an equals sign;
    what is behind a backslash stands for itself.

    @raise ConfigurationError: it ends with a backslash, or names something twice.
    """
    unnamed: list[str] = []
    named: dict[str, str] = {}
    for field in _fields(description):
        name, *value = field
        if not value:
            unnamed.append(name)
        elif name in named:
            raise ConfigurationError(f"{name}= is there twice")
        else:
            named[name] = value[0]
    return unnamed, named


def _fields(description: str) -> list[list[str]]:
    fields = [[""]]
    letters = iter(description)
    for letter in letters:
        if letter == ":":
            fields.append([""])
        elif letter == "=" and len(fields[-1]) == 1:
            fields[-1].append("")
        elif letter == "\\":
            following = next(letters, None)
            if following is None:
                raise ConfigurationError("it ends in the middle, with a backslash")
            fields[-1][-1] += following
        else:
            fields[-1][-1] += letter
    return fields


def _withClients(own: Files, named: Mapping[str, str]) -> Files:
    authorities, revoked = named.get("clientCA", ""), named.get("clientCRL", "")
    wanted = named.get("clientCertificate", "required")
    if "clientCA" in named and not authorities:
        raise ConfigurationError("clientCA= takes a file of certificates")
    if not authorities and ("clientCRL" in named or "clientCertificate" in named):
        raise ConfigurationError(
            "clientCRL and clientCertificate take a clientCA=FILE, whose certificates they are "
            "about"
        )
    if "clientCRL" in named and not revoked:
        raise ConfigurationError("clientCRL= takes a file of revocation lists")
    if wanted not in ("required", "optional"):
        raise ConfigurationError(f"clientCertificate is required or optional, not {wanted!r}")
    return Files(
        directory=_absolute(own.directory),
        key=_absolute(own.key),
        certificate=_absolute(own.certificate),
        chain=_absolute(own.chain),
        authorities=_absolute(authorities),
        revoked=_absolute(revoked),
        required=wanted == "required",
    )


def _absolute(path: str) -> str:
    """Say where a file is, whatever directory the process goes to later (C{twistd --rundir})."""
    return os.path.abspath(path) if path else ""


def _where(reactor: Any, port: str, interface: str, backlog: str) -> IStreamServerEndpoint:
    for what, text, most in (("port", port, 65535), ("backlog", backlog, 1 << 30)):
        if not (text.isdecimal() and text.isascii() and int(text) <= most):
            raise ConfigurationError(f"{text!r} is no {what}")
    kind: Any = TCP4ServerEndpoint
    if interface:
        try:
            if ip_address(interface.partition("%")[0]).version == 6:
                kind = TCP6ServerEndpoint
        except ValueError:
            raise ConfigurationError(f"interface={interface}: not an IP address") from None
    return cast("IStreamServerEndpoint", kind(reactor, int(port), int(backlog), interface))
