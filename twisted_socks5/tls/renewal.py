"""
Certificates that change while they are served.

Files are looked at from time to time, and when somebody says so, off the reactor's thread: they
may be on a network, and keys take their time to be read.  What was read whole takes the place of
what there was, for connections that come; those that are there go on.  What can't be used, as a
pair of which only one half has been written, changes nothing and is logged, once for each change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger

from twisted_socks5.errors import ConfigurationError
from twisted_socks5.tls.contexts import Contexts, readContexts

if TYPE_CHECKING:
    from twisted.internet.interfaces import IDelayedCall, IReactorTime
    from twisted.python.failure import Failure

    from twisted_socks5.tls.contexts import ServerContexts
    from twisted_socks5.tls.files import Files, Signature

#: Seconds between two looks.
INTERVAL = 5.0

if TYPE_CHECKING:
    #: How the files are, and what was read or why it could not be; L{None}: nothing was.
    Found = tuple[Signature, Contexts | ConfigurationError | None]


class Renewal:
    """
    Looks after a server's contexts, between L{start} and L{stop}.

    @ivar contexts: what is renewed.
    """

    log = Logger()

    def __init__(
        self,
        contexts: ServerContexts,
        reactor: Any,
        clock: IReactorTime | None = None,
        interval: float = INTERVAL,
    ) -> None:
        """
        @param contexts: what is to be renewed.
        @param reactor: has the threads.
        @param clock: tells when to look; default: the reactor.
        @param interval: seconds between two looks.
        """
        self.contexts = contexts
        self._reactor = reactor
        self._clock: IReactorTime = clock or reactor
        self._interval = interval
        self._call: IDelayedCall | None = None
        self._looking = False
        self._waiting: list[Deferred[None]] = []
        self._running = False

    def start(self) -> None:
        """Begin to look."""
        self._warn()
        self._running = True
        self._again()

    def stop(self) -> None:
        """Look no more; what is being read is not used."""
        self._running = False
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def look(self) -> Deferred[None]:
        """
        Look now whether the files have changed, and use them if so.

        @return: fires when that is done; never fails.
        """
        if not self._running:
            return succeed(None)
        done: Deferred[None] = Deferred()
        self._waiting.append(done)
        if not self._looking:
            self._looking = True
            if self._call is not None:
                self._call.cancel()
                self._call = None
            files, seen = self.contexts.files, self.contexts.seen
            deferToThreadPool(
                self._reactor, self._reactor.getThreadPool(), readIfChanged, files, seen
            ).addCallback(self._read).addErrback(self._failed).addCallback(self._looked)
        return done

    def _read(self, found: Found) -> None:
        seen, read = found
        if not self._running or read is None:
            return
        self.contexts.seen = seen
        if isinstance(read, ConfigurationError):
            self.log.error("TLS goes on with the certificates that it has: {why}", why=str(read))
            return
        self.contexts.current = read
        self.log.info("TLS has read its certificates anew")
        self._warn()

    def _failed(self, failure: Failure) -> None:
        self.log.failure("TLS goes on with the certificates that it has", failure)

    def _looked(self, _: None) -> None:
        self._looking = False
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            each.callback(None)
        self._again()

    def _warn(self) -> None:
        for line in self.contexts.current.warnings:
            self.log.warn("TLS: {line}", line=line)

    def _again(self) -> None:
        if self._running and not self._looking and self._call is None:
            self._call = self._clock.callLater(self._interval, self._due)

    def _due(self) -> None:
        self._call = None
        self.look()


def readIfChanged(files: Files, seen: Signature) -> Found:
    """
    Read files, unless they are as they were; blocks.

    @param seen: how they were.
    @return: how they are, and what was read or why it could not be; L{None}: nothing has
        changed, or all is changing just now.
    """
    now = files.signature()
    if now == seen:
        return now, None
    read: Contexts | ConfigurationError
    try:
        read = readContexts(files)
    except ConfigurationError as error:
        read = error
    if files.signature() != now:
        # Somebody is writing: what was read may be half of each.  There is a next time.
        return seen, None
    return now, read
