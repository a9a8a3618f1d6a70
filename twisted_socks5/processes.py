"""
The service as a process sees it: failing to start, signals, and being told twice to stop.

A process serves alone, or it is the supervisor of workers, or one of these.
"""

from __future__ import annotations

import gc
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import TYPE_CHECKING, cast

from twisted.internet.error import CannotListenError

from twisted_socks5.auth import checkUsable
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.logs import FileAccessLog
from twisted_socks5.options import COMMAND
from twisted_socks5.service import SOCKS5Service
from twisted_socks5.tls import ServerContexts, TLSServerEndpoint
from twisted_socks5.workers import SharedPort

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IReactorFromThreads

    from twisted_socks5.workers import Workers


class StartFailure(SystemExit, Exception):
    """
    The server can't start; the text says why in one line.

    A SystemExit, so that C{twistd} ends with status 1 and no traceback; and an Exception, so
    that it removes its pid file and, as a daemon, tells its parent.
    """

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.code = 1


# A daemon's parent prints 100 octets of an exception, its name in full included.
StartFailure.__module__ = "builtins"


class Proxy(SOCKS5Service):
    """
    The service as a process sees it: failing to start, and being told twice to stop.

    @ivar logsToStandardOutput: who started it sees its log.
    """

    logsToStandardOutput = False

    def privilegedStartService(self) -> None:
        """Start, or end the process with one line."""
        self._orEnd(super().privilegedStartService)

    def startService(self) -> None:
        """Start, or end the process with one line; SIGHUP opens log and certificates anew."""
        self._orEnd(self._startAsWhoWeAre)
        # What is loaded by now stays, and sessions leave nothing to collect.
        gc.freeze()
        # Without a handler, SIGHUP ends the process.
        signal.signal(signal.SIGHUP, self._reopen)

    def _startAsWhoWeAre(self) -> None:
        # Privileges are gone by now: whom the root could look up, its successor must, too.
        checkUsable(self.factory.authenticator.portal.checkers.values())
        super().startService()

    def stopService(self) -> Deferred[None]:
        """Stop; whoever asks a second time does not want to wait."""

        self._heedSecondSignal()
        stopped = super().stopService()
        accessLog = self.factory.accessLog
        if isinstance(accessLog, FileAccessLog):
            stopped.addCallback(lambda _: accessLog.flush())
        return stopped

    def reopen(self) -> None:
        """Open the access log anew, and look at the certificates."""
        accessLog = self.factory.accessLog
        if isinstance(accessLog, FileAccessLog):
            accessLog.reopen()
        self.reload()
        self.log.info("Access log opened anew, certificates looked at")

    def _heedSecondSignal(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._cutNow)

    def _reopen(self, _number: int, _frame: FrameType | None) -> None:
        self._soon(self.reopen)

    def _cutNow(self, _number: int, _frame: FrameType | None) -> None:
        self._soon(self.cut)

    def _soon(self, what: Callable[[], object]) -> None:
        """Do something that a signal asks for when the reactor is next at rest."""
        cast("IReactorFromThreads", self.factory.reactor).callFromThread(what)

    def _orEnd(self, start: Callable[[], None]) -> None:
        try:
            start()
        except (CannotListenError, ConfigurationError, OSError) as error:
            reason = f"{COMMAND}: {explain(error)}"
            if not self.logsToStandardOutput:
                self.log.critical("{reason}", reason=reason)
            # twistd has put its log in the place of sys.stderr; this is for who started it.
            print(reason, file=sys.__stderr__)
            raise StartFailure(reason) from None


class Supervisor(Proxy):
    """
    The service of a process whose workers serve: it opens the ports, and accepts nobody.

    @ivar workers: the processes that do.
    """

    workers: Workers

    @property
    def sharedPorts(self) -> list[SharedPort]:
        """What the workers inherit."""
        return [port for port in self.ports if isinstance(port, SharedPort)]

    def _listen(self) -> None:
        super()._listen()
        if self._awaited or len(self.sharedPorts) < len(self.ports):
            self._stopListening()
            raise ConfigurationError(
                "a --listen is of a kind that several processes cannot share: --workers takes "
                "tcp:, tls:, ssl:, unix:, systemd: and haproxy:"
            )

    def _startAsWhoWeAre(self) -> None:
        super()._startAsWhoWeAre()
        for endpoint in self._endpoints:
            if isinstance(endpoint, TLSServerEndpoint):
                # The workers never had any privileges, and all would fail again and again.
                ServerContexts(endpoint.contexts.files)
        self.workers.start()

    def _drained(self) -> Deferred[None]:
        return self.workers.stop(self._drain)

    def reload(self) -> None:
        """Have the workers open their files anew."""
        self.workers.tell("reopen")

    def cut(self) -> None:
        """Have the workers end all sessions at once."""
        self.workers.cut()


class Worker(Proxy):
    """The service of a process that another one has opened the ports for."""

    logsToStandardOutput = True

    def _announce(self, host: IAddress, factory: object) -> None:
        """The supervisor has said it, and may be the one to say it."""

    def _heedSecondSignal(self) -> None:
        """The supervisor knows which it is, and says so."""


def explain(error: Exception) -> str:
    """Say in words why a port can't be opened."""
    if isinstance(error, CannotListenError) and isinstance(error.socketError, OSError):
        where = f"{error.interface or '*'}:{error.port}"
        return f"cannot listen on {where}: {error.socketError.strerror}"
    return str(error)
