"""
Users of pytest-twisted: their tests work with our fakes and our server.

The plugin gets a process of its own.  It installs a reactor, runs it in a greenlet and changes
Failure; trial's TestCase spins that same reactor itself.  One process cannot have both.
"""

from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.packaging.checkout import ROOT, run

THEIRS = """
import pytest_twisted
from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.portal import Portal
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol

from twisted_socks5.auth import SOCKS5Realm
from twisted_socks5.server import SOCKS5ServerFactory
from twisted_socks5.testing import MemoryReactor, PeerFactory


class Client(Protocol):
    def connectionMade(self):
        self.received = Deferred()
        self.transport.write(bytes([5, 1, 0]))

    def dataReceived(self, data):
        self.received.callback(data)


@pytest_twisted.ensureDeferred
async def test_server():
    factory = SOCKS5ServerFactory(reactor, Portal(SOCKS5Realm(), [AllowAnonymousAccess()]))
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    client = await endpoint.connect(Factory.forProtocol(Client))
    assert await client.received == bytes([5, 0])
    client.transport.loseConnection()
    await port.stopListening()


@pytest_twisted.inlineCallbacks
def test_fakes():
    memory = MemoryReactor()
    target, client = PeerFactory(), PeerFactory()
    memory.listenTCP(80, target, interface="203.0.113.5")
    memory.connectTCP("203.0.113.5", 80, client)
    memory.advance(0)
    client.peer.write(b"hello")
    memory.advance(0)
    assert target.peer.received == b"hello"
    done = Deferred()
    reactor.callLater(0, done.callback, None)
    yield done
"""


class PytestTwistedTests(SynchronousTestCase):
    """The plugin, theirs and not ours."""

    def test_theirs(self) -> None:
        """Tests in its style pass, with our fakes in memory and with our server on a socket."""
        directory = Path(self.mktemp()).absolute()
        directory.mkdir()
        (directory / "test_theirs.py").write_text(THEIRS)
        (directory / "pytest.ini").write_text("[pytest]\naddopts = -p no:cacheprovider\n")
        said = run(
            *(sys.executable, "-m", "pytest", "-q", "test_theirs.py"),
            cwd=directory,
            env={"PYTHONPATH": str(ROOT)},
        )
        self.assertEqual(said.returncode, 0, said.stdout + said.stderr)
        self.assertIn("2 passed", said.stdout)

    def test_notOurs(self) -> None:
        """In the process of our own tests it is not loaded."""
        self.assertNotIn("pytest_twisted", sys.modules)
