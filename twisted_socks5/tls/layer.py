"""
TLS on a connection, the server's side, with both directions ending by themselves.

Octets go through OpenSSL's memory buffers, in both directions within the call, so a write is on
its way at once, and what the kernel has read at once is decrypted at once.  The story:

  1. I{the handshake}: nothing passes up.  What is no TLS at all is refused at its first octet;
     a handshake that fails has its alert sent and is then closed in a way that lets the client
     read it, while the protocol above is told why, by a L{TLSFailure};
  2. I{data}: close_notify is to TLS what a FIN is to TCP.  One that comes is the end of what is
     received (C{readConnectionLost}), one that is sent is the end of what is written, and the
     other direction goes on (RFC 8446, section 6.1).  TCP's own FIN is sent with the close;
  3. I{the end}: a FIN without a close_notify before it may be anybody's, so it is a stream that
     was cut, and ends as a reset.  Only where we have said our close_notify already, and the
     client merely leaves without an answer, it is an end like any other.

A close says close_notify and waits for nobody's.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from OpenSSL import SSL
from twisted.internet.interfaces import IPullProducer
from twisted.python.failure import Failure
from zope.interface import implementer

from twisted_socks5.streams.layer import LayeredTransport, knowsHalfClose
from twisted_socks5.tls.certificates import ClientCertificate
from twisted_socks5.tls.contexts import Verification, printable, reasonOf

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProtocol

#: The octets of a TLS record at the most, and what encryption and its header may add to them.
RECORD = 1 << 14
_ADDED = 64

#: What TLS begins with: the record of a handshake (RFC 8446, section 5.1).
_HANDSHAKE = 22
_SOCKS = (4, 5)

#: Octets of a client's that a handshake may take, its certificates included; ten times what is
#: usual, and a quarter of what OpenSSL would keep of everybody who has just connected.
HANDSHAKE = 2 * RECORD

#: Octets of TLS's own that may wait for a client that does not read: alerts and new keys.
OWED = RECORD


class TLSFailure(Exception):
    """Why TLS could not begin, or go on; its text is fit for a line in a log."""


class TLSTransport(LayeredTransport):
    """
    A transport of what TLS carries, on one that carries TLS.

    A close before the handshake is over drops what was written until then, as it never went
    anywhere.

    @ivar certificate: the client's, verified; L{None} before the handshake, and without one.
    """

    __slots__ = ("_connection", "_established", "_heard", "_owed", "_refused", "certificate")

    troubles = (TLSFailure,)

    def __init__(
        self,
        connection: SSL.Connection,
        protocol: IProtocol | None = None,
        refused: Callable[[TLSTransport], object] | None = None,
    ) -> None:
        """
        @param connection: OpenSSL's side of it, as a server.
        @param protocol: the protocol above.
        @param refused: is told when a handshake has failed, and the client may read why for a
            while: until L{abandon}, or the client closes.
        """
        super().__init__(protocol)
        self.certificate: ClientCertificate | None = None
        # Gone when it is over; who may be called behind that looks.
        self._connection: Any = connection
        self._refused = refused or _nobody
        self._heard = 0  # octets of the handshake
        self._established = False
        self._owed = 0
        self._ready = False

    @property
    def halfCloses(self) -> bool:
        """One direction can end without the other, whatever the transport below knows."""
        return True

    @property
    def version(self) -> str:
        """The version of TLS that is spoken; empty before the handshake, and after the end."""
        if not self._established or self._connection is None:
            return ""
        return str(self._connection.get_protocol_version_name())

    def abandon(self) -> None:
        """A client whose handshake has failed has had its time to read why."""
        if self._lost is None:
            self.transport.abortConnection()

    # What comes.

    def _decode(self, octets: bytes) -> bytes:
        connection = self._connection
        if not self._heard and octets[0] != _HANDSHAKE:
            self._refuse(_notTLS(octets[0]))
            return b""
        connection.bio_write(octets)
        if not self._established:
            self._heard += len(octets)
            self._shakeHands(connection)
        return self._decrypt(connection) if self._established else b""

    def _shakeHands(self, connection: SSL.Connection) -> None:
        try:
            connection.do_handshake()
        except SSL.WantReadError:
            self._sayOwn(connection)
            if self._heard > HANDSHAKE:
                self._refuse(f"a handshake of more than {HANDSHAKE} octets")
        except SSL.Error as error:
            self._refuse(_whyNot(connection, error))
        else:
            shown = connection.get_peer_certificate(as_cryptography=True)
            if shown is not None:
                self.certificate = ClientCertificate.of(shown)
            self._established = self._ready = True
            self._sayOwn(connection)
            self._pump()

    def _decrypt(self, connection: SSL.Connection) -> bytes:
        pieces = []
        try:
            while True:
                pieces.append(connection.recv(RECORD))
        except SSL.WantReadError:
            pass
        except SSL.ZeroReturnError:
            self._inputEnds()
        except SSL.Error as error:
            # What is before it in the stream is good.
            self._sayOwn(connection)
            self._spoil(_failure(reasonOf(error)))
            return b"".join(pieces)
        self._sayOwn(connection)
        return b"".join(pieces)

    def _checkEnd(self) -> None:
        if not self._heard:
            return
        if not self._established:
            raise TLSFailure("the client closed during the handshake")
        if not self._connection.get_shutdown():
            raise TLSFailure("the client closed without close_notify")

    # What goes.

    def _encode(self, octets: bytes) -> bytes:
        connection = self._connection
        if connection is None or connection.get_shutdown() & SSL.SENT_SHUTDOWN:
            return b""  # Who writes behind the end is not heard.
        at, size = 0, len(octets)
        try:
            with memoryview(octets) as waiting:
                while at < size:
                    at += connection.send(waiting[at:])
        except SSL.Error as error:
            raise TLSFailure(reasonOf(error)) from None
        return _takeOut(connection, size + _ADDED * (size // RECORD + 1))

    def _lastWords(self) -> bytes:
        connection = self._connection
        if not self._established or connection.get_shutdown() & SSL.SENT_SHUTDOWN:
            return b""
        with suppress(SSL.Error):
            connection.shutdown()
        return _takeOut(connection, _ADDED)

    def _shutBelow(self) -> None:
        # The close_notify is what ends the direction; only when it is sent.
        _Flushed(self.transport, self.writeConnectionLost)

    def _sayOwn(self, connection: SSL.Connection) -> None:
        """Send what OpenSSL has to say for itself."""
        own = _takeOut(connection, RECORD)
        if not own:
            return
        self._owed = self._owed + len(own) if self._brimful else 0
        if self._owed > OWED:
            raise TLSFailure("the client asks for new keys and does not read")
        self._sendBelow(own)

    # The end.

    def loseWriteConnection(self) -> None:
        """Send close_notify behind all that was written; before the handshake, close."""
        if self._established:
            super().loseWriteConnection()
        else:
            self.loseConnection()

    def loseConnection(self) -> None:
        """Send close_notify behind all that was written, and close."""
        if not self._established:
            self._outgoing.clear()
            self._ready = True
        super().loseConnection()

    def readConnectionLost(self) -> None:
        """The FIN from below."""
        if self._over:
            self.transport.loseConnection()  # It was refused, and has heard so.
        else:
            super().readConnectionLost()

    def _refuse(self, why: str) -> None:
        """The handshake has failed: tell both sides."""
        alert, refused = _takeOut(self._connection, RECORD), self._refused
        self._log.info("TLS with {peer} failed: {why}", peer=self._peer(), why=why)
        # What follows is not the protocol's business any more.
        self._finish(_failure(why))
        self.transport.unregisterProducer()
        self.transport.write(alert)
        # To close with octets unread would be to reset, and the alert might be lost.
        if knowsHalfClose(self.transport):
            self.transport.loseWriteConnection()
            refused(self)
        else:
            self.transport.loseConnection()

    def _peer(self) -> str:
        try:
            peer: Any = self.transport.getPeer()
        except OSError:
            return "a client that has gone"
        host, port = getattr(peer, "host", "unix"), getattr(peer, "port", "")
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"

    def _released(self) -> None:
        # OpenSSL's side knows callbacks that know much.
        self._connection, self._refused = None, _nobody


@implementer(IPullProducer)
class _Flushed:
    """A last producer: asked for more, all has been sent."""

    def __init__(self, transport: Any, then: Callable[[], object]) -> None:
        self._transport = transport
        self._then = then
        self._registered = False
        # It asks at once, whatever it still has; the empty write makes it look at that.
        transport.registerProducer(self, False)
        self._registered = True
        transport.writeSequence([b""])

    def resumeProducing(self) -> None:
        """All is sent."""
        if self._registered:
            self._registered = False
            self._transport.unregisterProducer()
            self._then()

    def stopProducing(self) -> None:
        """The connection is gone before."""


def _nobody(_: TLSTransport) -> None:
    """Be told, and do nothing."""


def _takeOut(connection: SSL.Connection, likely: int) -> bytes:
    """Take what OpenSSL wants to have sent, probably not more than so many octets."""
    pieces = []
    with suppress(SSL.WantReadError):
        while True:
            pieces.append(connection.bio_read(likely))
    return pieces[0] if len(pieces) == 1 else b"".join(pieces)


def _failure(why: str) -> Failure:
    return Failure(TLSFailure(why))


def _notTLS(first: int) -> str:
    if first in _SOCKS:
        return f"plain SOCKS{first}, and this port is for TLS"
    return f"no TLS: it begins with octet {first}"


def _whyNot(connection: SSL.Connection, error: SSL.Error) -> str:
    """Say why a handshake has failed, and whose doing it is."""
    verification = connection.get_app_data()
    if isinstance(verification, Verification) and verification.wrong:
        return verification.wrong
    if isinstance(error, SSL.ZeroReturnError):
        return "the client closed during the handshake"
    reason = printable(reasonOf(error))
    if "did not return a certificate" in reason:
        return "the client has no certificate, and needs one"
    if "alert" in reason:
        return f"the client says: {reason}"
    return reason
