"""
Clients in memory that speak TLS: peers, whose octets go through an OpenSSL of their own.
"""

from __future__ import annotations

from contextlib import suppress

from OpenSSL import SSL
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface import implementer

from tests.tls.authority import clientContext
from twisted_socks5.testing import Peer


@implementer(IHalfCloseableProtocol)
class TLSPeer(Peer):
    """
    A peer whose C{received}, C{eof} and C{loseWrite} are TLS's: its data and close_notify.

    @ivar secure: whether the handshake is over.
    @ivar fin: whether TCP's FIN has come.
    @ivar failure: what OpenSSL has raised.
    @ivar connection: the client's side.
    @ivar wire: the octets that have come, encrypted.
    """

    def __init__(self, context: SSL.Context | None = None, name: bytes = b"") -> None:
        super().__init__()
        self.fin = False
        self.secure = False
        self.failure: SSL.Error | None = None
        self.wire = bytearray()
        self.connection = SSL.Connection(context or clientContext(), None)
        if name:
            self.connection.set_tlsext_host_name(name)
        self.connection.set_connect_state()
        self._unsent = bytearray()
        self._ending = False

    def connectionMade(self) -> None:
        """Begin the handshake."""
        super().connectionMade()
        self._advance()

    def write(self, data: bytes) -> None:
        """Send octets, once the handshake is over."""
        self._unsent += data
        self._advance()

    def loseWrite(self) -> None:
        """Send close_notify behind what was written."""
        self._ending = True
        self._advance()

    def lose(self) -> None:
        """Send close_notify, and close."""
        self.loseWrite()
        super().lose()

    def finish(self) -> None:
        """Send TCP's FIN, whatever TLS thinks of that."""
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        """Decrypt."""
        self.wire += data
        self.connection.bio_write(data)
        self._advance()

    def readConnectionLost(self) -> None:
        """TCP's FIN."""
        self.fin = True
        if self.closesWhenBothEnded:
            self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Our own FIN is sent."""

    def _advance(self) -> None:
        if self.failure is not None or self.transport is None:
            return
        try:
            if not self.secure:
                self.connection.do_handshake()
                self.secure = True
            while self._unsent and not self.writeEnded:
                sent = self.connection.send(bytes(self._unsent[:16384]))
                del self._unsent[:sent]
            if self._ending and not self.writeEnded:
                self.writeEnded = True
                self.connection.shutdown()
                self._flush()
                self._saw("written")
                self._closeWhenBothEnded()
            self._hear()
        except SSL.WantReadError:
            pass
        except SSL.Error as error:
            self.failure = error
        self._flush()

    def _hear(self) -> None:
        while not self.eof:
            try:
                self.received += self.connection.recv(16384)
            except SSL.ZeroReturnError:
                self.eof = True
                self._flush()
                self._saw("eof")
                self._closeWhenBothEnded()
            else:
                self._saw("data")

    def _flush(self) -> None:
        with suppress(SSL.WantReadError):
            while True:
                self.transport.write(self.connection.bio_read(1 << 16))
