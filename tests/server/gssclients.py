"""A server in memory that accepts security contexts, and clients that have one."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.portal import Portal

from tests.server.base import Proxy, ServerCase, octetByOctet
from twisted_socks5.auth import SOCKS5Realm, combine
from twisted_socks5.auth.gssapi import PROTECTED, Acceptance, PrincipalChecker
from twisted_socks5.auth.principals import PrincipalNames
from twisted_socks5.testing import MemoryContext, Peer, PlainPeer
from twisted_socks5.wire import MTYP, ProtectionLevel, Token
from twisted_socks5.wire.gssapi import pack_token, parse_frame

OFFER = b"\5\1\1"
SELECTED = b"\5\1"
ABORT = b"\1\xff"

NONE, INTEGRITY, CONFIDENTIALITY, PER_MESSAGE = ProtectionLevel
EVERY = (NONE, *PROTECTED)
LEVELS = (INTEGRITY, CONFIDENTIALITY, PER_MESSAGE)


class Acceptor:
    """
    Makes contexts in memory.

    @ivar contexts: those that it has made.
    @ivar options: what they are made with.
    """

    def __init__(self, **options: Any) -> None:
        self.contexts: list[MemoryContext] = []
        self.options = options

    def context(self) -> MemoryContext:
        """Make one."""
        self.contexts.append(MemoryContext("rcmd/proxy", **self.options))
        return self.contexts[-1]

    def check(self) -> None:
        """Be always able to."""


def principals(
    acceptor: Any,
    *checkers: ICredentialsChecker,
    levels: Iterable[ProtectionLevel] = PROTECTED,
    bare: bool = False,
    names: PrincipalNames | None = None,
    realm: Any = None,
) -> Portal:
    """Make a portal that admits principals, and whom these checkers know."""
    checker = PrincipalChecker(Acceptance(acceptor, frozenset(levels), bare), names)
    return Portal(realm or SOCKS5Realm(), combine([checker, *checkers]))


class GSSClient:
    """
    A client with a security context.

    @ivar peer: its connection.
    @ivar context: the initiator's side.
    @ivar level: what it was granted.
    """

    def __init__(self, proxy: Proxy, name: str = "alice", cut: bool = False, **options: Any):
        self.proxy = proxy
        self.cut = cut
        self.context = MemoryContext(name, initiates=True, **options)
        self.level: ProtectionLevel | None = None
        self._read = 0

    def connect(self, peer: PlainPeer | None = None) -> GSSClient:
        """Connect, and offer the method."""
        self.peer: Peer = self.proxy.connect(peer=peer)
        self.raw(OFFER)
        return self

    def raw(self, *octets: bytes) -> None:
        """Send octets as they are."""
        for segment in octetByOctet(*octets) if self.cut else octets:
            self.peer.write(segment)
            self.proxy.settle()

    def taken(self) -> bytes:
        """Take what was received since the last time."""
        octets = bytes(self.peer.received[self._read :])
        self._read += len(octets)
        return octets

    def frame(self, kind: MTYP) -> bytes:
        """Take the one frame that was received."""
        octets = self.taken()
        found = parse_frame(octets, kind=kind)
        if found is None or found[1] != len(octets) or not isinstance(found[0], Token):
            raise AssertionError(f"no frame of {kind.name}, or more: {octets!r}")
        return found[0].data

    def authenticate(self) -> GSSClient:
        """Exchange tokens until the context stands."""
        if self.taken() != SELECTED:
            raise AssertionError("GSSAPI is not selected")
        token = self.context.step(b"")
        while True:
            self.raw(pack_token(MTYP.AUTHENTICATION, token))
            answer = self.frame(MTYP.AUTHENTICATION)
            if self.context.established:
                if answer:
                    raise AssertionError("a token for a context that stands")
                return self
            token = self.context.step(answer)
            if not token:
                return self

    def ask(self, level: int) -> GSSClient:
        """Ask for a protection level, and take the answer."""
        self.raw(self.asking(level))
        octets, sealed = self.context.unwrap(self.frame(MTYP.PROTECTION_LEVEL))
        if sealed or len(octets) != 1:
            raise AssertionError(f"no protection level: {octets!r}, {sealed}")
        self.level = ProtectionLevel(octets[0])
        return self

    def askBare(self, level: int) -> GSSClient:
        """Ask in NEC's way."""
        self.raw(pack_token(MTYP.PROTECTION_LEVEL, bytes([level])))
        self.level = ProtectionLevel(self.frame(MTYP.PROTECTION_LEVEL)[0])
        return self

    def asking(self, level: int) -> bytes:
        """Write what asks for a protection level."""
        return pack_token(MTYP.PROTECTION_LEVEL, self.context.wrap(bytes([level]), False))

    def protected(self, octets: bytes) -> bytes:
        """Write octets under the level."""
        if self.level is NONE:
            return octets
        return pack_token(MTYP.DATA, self.context.wrap(octets, self.level is not INTEGRITY))

    def send(self, *pieces: bytes) -> None:
        """Send octets under the level, a token for each piece."""
        for piece in pieces:
            self.raw(self.protected(piece))

    def heard(self) -> bytes:
        """Take what was received since the last time out of its tokens."""
        octets = self.taken()
        if self.level is NONE:
            return octets
        heard, at = b"", 0
        while at < len(octets):
            found = parse_frame(octets, at, kind=MTYP.DATA)
            if found is None or not isinstance(found[0], Token):
                raise AssertionError(f"half a frame, or an abort: {octets[at:][:40]!r}")
            plain, sealed = self.context.unwrap(found[0].data)
            if sealed is not (self.level is not INTEGRITY):
                raise AssertionError(f"sealed is {sealed} at {self.level!r}")
            heard += plain
            at = found[1]
        return heard


class GSSAPICase(ServerCase):
    """
    A server that accepts contexts.

    @ivar acceptor: makes them.
    """

    acceptor: Acceptor

    def accept(
        self,
        *checkers: ICredentialsChecker,
        accepting: dict[str, Any] | None = None,
        levels: Iterable[ProtectionLevel] = PROTECTED,
        bare: bool = False,
        names: PrincipalNames | None = None,
        realm: Any = None,
        **options: Any,
    ) -> Proxy:
        """Start a server; no context is to be left of it."""
        self.acceptor = acceptor = Acceptor(**(accepting or {}))
        # Cleanups run backwards: what is left is looked at when the sessions are over.
        self.addCleanup(self.assertDisposed, acceptor)
        return self.serve(
            principals(acceptor, *checkers, levels=levels, bare=bare, names=names, realm=realm),
            **options,
        )

    def assertDisposed(self, acceptor: Acceptor) -> None:
        """Each context that was made was let go of."""
        self.assertEqual(
            [context.disposed for context in acceptor.contexts], [True] * len(acceptor.contexts)
        )

    def client(self, name: str = "alice", **options: Any) -> GSSClient:
        """Connect a client that has been let select the method."""
        return GSSClient(self.proxy, name, **options).connect()

    def opened(self, level: ProtectionLevel = INTEGRITY, **options: Any) -> GSSClient:
        """Connect a client, and bring it to where it may request."""
        return self.client(**options).authenticate().ask(level)

    def assertAborted(self, client: GSSClient, reason: str, last: bytes = ABORT) -> Any:
        """Assert that a client hears an abort, and then the end; and what the log says."""
        return self.assertEnded(client, last, reason)

    def assertEnded(self, client: GSSClient, last: bytes, reason: str) -> Any:
        """Assert that a client hears this, and then the end; and what the log says."""
        self.assertEqual(client.taken(), last)
        self.assertTrue(client.peer.eof)
        client.peer.lose()
        self.proxy.settle()
        self.assertTrue(client.peer.wasClosed)
        record = self.proxy.records[-1]
        self.assertRegex(record.reason, reason)
        return record
