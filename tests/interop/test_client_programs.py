"""
Programs that know nothing of SOCKS, and take an endpoint string.

buildbot's worker connects to its master by one (C{--connection-string}); it is run as it comes.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as installed
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IListeningPort
from twisted.spread.pb import Avatar, IPerspective, PBServerFactory, RemoteReference
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.interop.programs import SECONDS, environment, ours, run
from tests.interop.proxy import ProxyTestCase

reactor: Any = installed

WORKER, WORD = "the-worker", "the-worker's-word"


@implementer(IRealm)
class Master(Avatar):
    """
    A master, as far as a worker notices: somebody whom it logs in to.

    @ivar attached: fires with what can be asked of the worker.
    """

    def __init__(self) -> None:
        self.attached: Deferred[RemoteReference] = Deferred()

    def requestAvatar(self, avatarId: object, mind: Any, *interfaces: object) -> Any:
        """Give a worker its master."""
        self.attached.callback(mind)
        return IPerspective, self, lambda: None


class WorkerTests(ProxyTestCase, TestCase):
    """C{buildbot-worker}, unmodified, with a connection string of ours."""

    timeout = 60

    async def listen(self, master: Master) -> int:
        """Listen for workers; tell where."""
        known = InMemoryUsernamePasswordDatabaseDontUse(**{WORKER: WORD.encode()})
        factory = PBServerFactory(Portal(master, [known]))
        endpoint = serverFromString(reactor, "tcp:0:interface=127.0.0.1")
        port: IListeningPort = await endpoint.listen(factory)
        self.addCleanup(port.stopListening)
        where: Any = port.getHost()
        return int(where.port)

    def start(self, connection: str) -> subprocess.Popen[bytes]:
        """Make a worker's directory, and run it there."""
        place = Path(self.mktemp()).absolute()
        program, string = ours("buildbot-worker"), f"--connection-string={connection}"
        # It insists on a master, which the string then overrides.
        words = (string, place, "nobody.invalid", WORKER, WORD)
        done = run(program, "create-worker", *words)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        worker = subprocess.Popen(
            [ours("twistd"), "--nodaemon", "--pidfile=", "--python=buildbot.tac"],
            cwd=place,
            env=environment({"PROXY_PASSWORD": "s3cr3t"}),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

        def end() -> None:
            worker.terminate()
            worker.wait(SECONDS)

        self.addCleanup(end)
        return worker

    async def test_worker(self) -> None:
        """It logs in at the proxy and at its master, and does what it is asked."""
        proxy = self.proxy("--auth", self.users("alice:s3cr3t"))
        master = Master()
        port = await self.listen(master)
        self.start(
            f"socks5:localhost:{port}:via=tcp\\:127.0.0.1\\:{proxy.port}"
            ":user=alice:passwordEnv=PROXY_PASSWORD"
        )
        worker = await master.attached
        self.assertRegex(await worker.callRemote("getVersion"), r"^[0-9.]+$")
        gone: Deferred[None] = Deferred()
        worker.broker.notifyOnDisconnect(lambda: gone.callback(None))
        await worker.callRemote("shutdown")
        await gone
        (record,) = proxy.stop()
        self.assertEqual((record["user"], record["target"]), ("alice", f"localhost:{port}"))
        self.assertGreater(min(record["sent"], record["received"]), 100)
