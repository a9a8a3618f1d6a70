"""Who may use it, by the options: the methods in their order, and GSSAPI."""

from __future__ import annotations

from tests.server.gssclients import Acceptor
from tests.test_tap import TapCase
from twisted_socks5 import tap
from twisted_socks5.auth.gssapi import IVerifiedPrincipal
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.security import kerberos
from twisted_socks5.wire import Method

ALICE = ("--auth", "memory:alice:wonderland")


class MethodsTests(TapCase):
    """--methods."""

    def test_default(self) -> None:
        """Without it all is offered that can be checked."""
        self.assertIsNone(tap._settings(self.parse()).methods)

    def test_order(self) -> None:
        """What is listed is offered, in this order."""
        options = (*ALICE, "--auth", "anonymous", "--methods", "none,password")
        service = self.make(*options)
        wanted = (Method.NO_AUTHENTICATION, Method.USERNAME_PASSWORD)
        self.assertEqual(service.factory.settings.methods, wanted)
        self.assertEqual(service.factory.authenticator.methods, wanted)
        self.assertIs(service.factory.authenticator.select(b"\2\0"), Method.NO_AUTHENTICATION)

    def test_wrong(self) -> None:
        """What is no list of methods, or does not fit --auth, is said in one line."""
        for options, line in (
            (("--methods", "kerberos"), "--methods: 'kerberos' is no method; there are chap"),
            (
                (*ALICE, "--methods", "none"),
                "--methods: method none is to be offered, and nothing",
            ),
            (("--methods", "password"), "it takes --auth file:PATH"),
            (("--methods", "gssapi"), "it takes --auth gssapi"),
            (
                (*ALICE, "--auth", "anonymous", "--methods", "password"),
                "there is an --auth for method none, which is not among the methods",
            ),
            ((*ALICE, "--methods", "password,password"), "a method can be preferred only once"),
        ):
            self.assertIn(line, self.wrong(*options))


class Broken(Acceptor):
    """An acceptor that cannot be."""

    def check(self) -> None:
        """Say so."""
        raise ConfigurationError("no clients can be accepted with keytab /nonexistent")


class GSSAPITests(TapCase):
    """--auth gssapi."""

    def setUp(self) -> None:
        """Accept contexts in memory."""
        super().setUp()
        self.patch(kerberos, "Acceptor", lambda service, keytab: Acceptor())

    def test_offered(self) -> None:
        """It is enough to listen wider, and it is what is offered."""
        service = self.make("--auth", "gssapi:realm=EXAMPLE.COM", "--interface", "0.0.0.0")
        self.assertEqual(service.factory.authenticator.methods, (Method.GSSAPI,))
        (checker,) = service.factory.authenticator.portal.checkers[IVerifiedPrincipal].checkers
        self.assertEqual(checker.names.realms, ("EXAMPLE.COM",))
        # A map would be looked into where contexts are.
        self.assertIs(checker.threads, service.factory.securityThreads)
        service.privilegedStartService()
        service.startService()
        self.assertEqual(self.say(b"\5\2\0\1").received, b"\5\1")
        service.cut()
        service.stopService()

    def test_behindThePassword(self) -> None:
        """With a password it stands behind that, unless --methods says otherwise."""
        both = ("--auth", "gssapi", *ALICE)
        selected = self.make(*both).factory.authenticator.select(b"\0\1\2")
        self.assertIs(selected, Method.USERNAME_PASSWORD)
        service = self.make(*both, "--methods", "gssapi,password")
        self.assertIs(service.factory.authenticator.select(b"\0\1\2"), Method.GSSAPI)

    def test_wrong(self) -> None:
        """What is wrong with it is said in one line, and not called unexpected."""
        line = self.wrong("--auth", "gssapi:keytab")
        self.assertRegex(line, "^twistd socks5: --auth gssapi: keytab has no value")
        line = self.wrong("--auth", "gssapi", "--auth", "gssapi:realm=A")
        self.assertIn("--auth gssapi is for all clients, so it can be given once", line)
        line = self.wrong("--auth", "gssapi:map=/nonexistent")
        self.assertIn("principal map '/nonexistent' cannot be read: No such file", line)
        self.patch(kerberos, "Acceptor", lambda service, keytab: Broken())
        line = self.wrong("--auth", "gssapi:keytab=/nonexistent")
        self.assertEqual(line, "no clients can be accepted with keytab /nonexistent")

    def test_otherKinds(self) -> None:
        """What Twisted itself does not know is still said in its words."""
        self.assertIn("Auth plugin not recognized: nonsense", self.wrong("--auth", "nonsense"))
