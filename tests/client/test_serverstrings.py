"""The string form of BIND."""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IStreamServerEndpointStringParser
from twisted.plugin import getPlugins
from zope.interface.verify import verifyObject

from tests.client.base import Application, Outcome
from tests.client.through import PROXY, TARGET, ThroughCase
from tests.server.base import users
from twisted_socks5.client.listening import SOCKS5RenewingServerEndpoint
from twisted_socks5.config import PortChoice

VIA = rf"via=tcp\:{PROXY}\:1080"


class StringTests(ThroughCase):
    """Strings, and what they listen on."""

    def listening(self, text: str) -> tuple[Application, Any]:
        """Listen on one."""
        endpoint = serverFromString(self.reactor, text)
        self.assertIsInstance(endpoint, SOCKS5RenewingServerEndpoint)
        application = Application()
        outcome = Outcome(endpoint.listen(application))
        self.settle()
        self.addCleanup(outcome.result.stopListening)
        return application, outcome.result

    def test_plugin(self) -> None:
        """There is one parser for it."""
        (found,) = (
            each
            for each in getPlugins(IStreamServerEndpointStringParser)
            if each.prefix == "socks5"
        )
        verifyObject(IStreamServerEndpointStringParser, found)

    def test_anybody(self) -> None:
        """The proxy is all that has to be said."""
        self.serve()
        application, port = self.listening(f"socks5:{VIA}")
        self.comer(port.getHost())
        self.assertEqual(len(application.peers), 1)
        application.peer.abort()

    def test_peer(self) -> None:
        """The peer, and who we are."""
        self.serve(portal=users())
        text = f"socks5:{TARGET}:{VIA}:user=alice:password=secret"
        application, port = self.listening(text)
        self.assertTrue(self.comer(port.getHost(), "198.51.100.66").wasReset)
        self.comer(port.getHost())
        self.assertEqual(len(application.peers), 1)
        application.peer.abort()

    def test_port(self) -> None:
        """A port that the proxy lets us choose."""
        self.serve(settings={"bind_port_choice": PortChoice.CLIENT})
        for text in (f"socks5:{TARGET}:8080:{VIA}", f"socks5:port=8081:host={TARGET}:{VIA}"):
            _, port = self.listening(text)
            self.assertEqual(port.getHost().port, 8080 + ("8081" in text))

    def test_complaints(self) -> None:
        """What is wrong is named, and no password is shown."""
        for text, complaint in (
            ("socks5:two words", "socks5: 'host': SOCKS: invalid host name"),
            (f"socks5:{TARGET}:nine", "socks5: 'port': not a number from 0 to 65535"),
            (f"socks5:{TARGET}:65536", "socks5: 'port': not a number from 0 to 65535"),
            ("socks5:dns=local", "socks5: 'dns': the peer's name always goes to the proxy"),
            ("socks5:user=alice", "socks5: 'password': missing"),
            ("socks5:timeout=soon", "socks5: 'timeout': not a number of seconds"),
            (f"socks5:{TARGET}:0:s3cr3t:more", "socks5: only host and port"),
            (f"socks5:{TARGET}:host={TARGET}", "socks5: 'host': given twice"),
        ):
            error = self.assertRaises(ValueError, serverFromString, self.reactor, text)
            self.assertIn(complaint, str(error))
            self.assertNotIn("s3cr3t", str(error))
