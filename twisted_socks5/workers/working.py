"""
A worker's life: it makes the service that its job describes, and runs it until it is told to stop,
or until nobody is there to tell it anything.
"""

from __future__ import annotations

import os
import signal
from contextlib import ExitStack, contextmanager, suppress
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

from twisted.internet.error import ReactorNotRunning
from twisted.internet.interfaces import IReadDescriptor
from twisted.internet.main import CONNECTION_DONE
from twisted.logger import globalLogBeginner
from twisted.python.reflect import namedAny
from zope.interface import implementer

from twisted_socks5.workers.job import LOG, ORDERS, Job
from twisted_socks5.workers.reports import EventWriter, Pipe

if TYPE_CHECKING:
    from collections.abc import Iterator
    from types import FrameType

    from twisted.python.failure import Failure


class Service(Protocol):
    """What a worker runs."""

    def startService(self) -> None:
        """Begin."""

    def stopService(self) -> Any:
        """Stop; maybe with a Deferred."""

    def reopen(self) -> None:
        """Open files anew."""

    def cut(self) -> None:
        """End what is left at once."""


@implementer(IReadDescriptor)
class Orders:
    """Carries out what the supervisor says; its end is an order to stop."""

    def __init__(self, reactor: Any, service: Service, descriptor: int = ORDERS) -> None:
        """
        @param descriptor: a pipe.
        """
        self._reactor = reactor
        self._descriptor = descriptor
        self._rest = b""
        self._orders = {b"stop": self.stop, b"cut": service.cut, b"reopen": service.reopen}
        os.set_blocking(descriptor, False)
        reactor.addReader(self)

    def fileno(self) -> int:
        """Name the pipe."""
        return self._descriptor

    def logPrefix(self) -> str:
        """Name us in the log."""
        return "Orders"

    def doRead(self) -> Any:
        """Do what is said."""
        try:
            data = os.read(self._descriptor, 4096)
        except BlockingIOError:
            return None
        if not data:
            return CONNECTION_DONE
        *orders, self._rest = (self._rest + data).split(b"\n")
        for order in orders:
            self._orders[order]()
        return None

    def connectionLost(self, reason: Failure) -> None:
        """The supervisor is gone."""
        self._reactor.removeReader(self)
        self.stop()

    def stop(self) -> None:
        """Stop; it may have been said before, by a signal or the supervisor's end."""
        with suppress(ReactorNotRunning):
            self._reactor.stop()


def work(job: Job) -> None:
    """Do what a job says, in a process that does nothing else."""
    # Ctrl-C is for the supervisor, which tells us.
    os.setpgrp()
    module: Any = import_module(job.reactor)
    module.install()
    from twisted.internet import reactor

    globalLogBeginner.beginLoggingTo([EventWriter(Pipe(LOG))])
    with _in(job.directory):
        service: Service = namedAny(job.make)(job, reactor)
    service.startService()
    run(reactor, service)


def run(reactor: Any, service: Service) -> None:
    """Run the reactor until the service has stopped."""
    orders = Orders(reactor, service)

    def told(_number: int, _frame: FrameType | None) -> None:
        reactor.callFromThread(orders.stop)

    def heed() -> None:
        # In the place of the reactor's own, for which a second word would be an error.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, told)

    reactor.callWhenRunning(heed)
    reactor.addSystemEventTrigger("before", "shutdown", service.stopService)
    reactor.run()


@contextmanager
def _in(directory: str) -> Iterator[None]:
    """Be in a directory for a while, if we may."""
    with ExitStack() as back:
        with suppress(OSError):
            back.callback(_go, os.getcwd())
        _go(directory)
        yield


def _go(directory: str) -> None:
    # It may be gone by now, or be no place for whom we have become.
    with suppress(OSError):
        os.chdir(directory)
