"""
What contexts of Kerberos' are made with: keytabs, tickets, names, clocks, and the package itself.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from unittest import mock

from gssapi import raw
from twisted.trial.unittest import SynchronousTestCase

from tests.interop.programs import SECONDS, environment, find
from tests.security.realm import FOREIGN, HOME, Realm, RealmTestCase
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.security import ContextError
from twisted_socks5.security.kerberos import Acceptor, initiate

_ROOT = Path(__file__).parents[2]


class SetupTestCase(RealmTestCase):
    """A test in which somebody may want something of some service."""

    def peer(self, token: bytes, acceptor: Acceptor) -> str:
        """Accept a token, and say whose it is."""
        context = acceptor.context()
        context.step(token)
        return context.peer

    def refused(self, acceptor: Acceptor) -> str:
        """Check an acceptor, which has to fail with one line, and give that."""
        text = str(self.assertRaises(ConfigurationError, acceptor.check))
        self.assertTrue(text.isprintable(), text)
        return text


class KeytabTests(SetupTestCase):
    """Where the service's key comes from."""

    principals = ("alice", "rcmd/localhost", "rcmd/other", "http/localhost")

    def setUp(self) -> None:
        """Give alice a ticket."""
        super().setUp()
        self.alice = self.realm.ticket("alice")

    def token(self, service: str = "rcmd@localhost") -> bytes:
        """Begin a context as alice."""
        return initiate(service, ccache=self.alice).step(b"")

    def test_anyHost(self) -> None:
        """A service without a host is all of its hosts that the keytab has."""
        acceptor = Acceptor("rcmd", self.realm.keytab("rcmd/localhost", "rcmd/other"))
        acceptor.check()
        for host in ("localhost", "other"):
            peer = self.peer(self.token(f"rcmd@{host}"), acceptor)
            self.assertEqual(peer, "alice@EXAMPLE.TEST")

    def test_oneHost(self) -> None:
        """A service with a host is that one only, and so is a whole principal."""
        keytab = self.realm.keytab("rcmd/localhost", "rcmd/other")
        for name in ("rcmd@localhost", "rcmd/localhost", f"rcmd/localhost@{HOME}"):
            acceptor = Acceptor(name, keytab)
            acceptor.check()
            self.peer(self.token(), acceptor)
            self.assertRaises(ContextError, self.peer, self.token("rcmd@other"), acceptor)

    def test_onlyTheService(self) -> None:
        """The keytab's other services are none of ours."""
        acceptor = Acceptor("rcmd", self.realm.keytab("http/localhost", "rcmd/localhost"))
        self.assertRaises(ContextError, self.peer, self.token("http@localhost"), acceptor)

    def test_default(self) -> None:
        """Without a keytab it is libkrb5's own."""
        acceptor = Acceptor()
        self.assertIn("the default keytab", self.refused(acceptor))
        os.link(self.realm.keytab("rcmd/localhost"), self.realm.place / "no.keytab")
        self.addCleanup(os.unlink, self.realm.place / "no.keytab")
        acceptor.check()
        self.assertEqual(self.peer(self.token(), acceptor), "alice@EXAMPLE.TEST")

    def test_replaced(self) -> None:
        """A keytab that comes to have the key is looked at again with the next context."""
        path = self.realm.keytab("http/localhost")
        acceptor = Acceptor(keytab=path)
        self.assertRaises(ContextError, self.peer, self.token(), acceptor)
        os.replace(self.realm.keytab("rcmd/localhost"), path)
        self.assertEqual(self.peer(self.token(), acceptor), "alice@EXAMPLE.TEST")

    def test_missing(self) -> None:
        """A keytab that is not there is a refusal that names it, at the start and later."""
        path = str(self.realm.place / "nowhere")
        acceptor = Acceptor(keytab=path)
        self.assertIn(
            f"no clients of rcmd can be accepted with keytab {path}", self.refused(acceptor)
        )
        self.assertIn(f"'{path}' not found", self.refused(acceptor))
        error = self.assertRaises(ContextError, self.peer, self.token(), acceptor)
        self.assertIn("not found", str(error))

    def test_unreadable(self) -> None:
        """So is one that is no file, or not a keytab."""
        self.assertIn("Is a directory", self.refused(Acceptor(keytab=str(self.realm.place))))
        self.assertIn("format", self.refused(Acceptor(keytab=__file__)))

    def test_withoutTheService(self) -> None:
        """So is one that has only keys of others."""
        acceptor = Acceptor("rcmd", self.realm.keytab("http/localhost"))
        self.assertIn("No key table entry found matching rcmd/", self.refused(acceptor))
        acceptor = Acceptor("rcmd@other", self.realm.keytab("rcmd/localhost"))
        self.assertIn("rcmd/other", self.refused(acceptor))

    def test_replayCache(self) -> None:
        """Where libkrb5 cannot keep its replay cache nobody comes in, and it says where."""
        os.environ["KRB5RCACHEDIR"] = "/nowhere"
        acceptor = Acceptor(keytab=self.realm.keytab("rcmd/localhost"))
        error = self.assertRaises(ContextError, self.peer, self.token(), acceptor)
        self.assertIn("No such file or directory (filename: /nowhere/krb5_", str(error))

    def test_name(self) -> None:
        """What cannot be the name of a service is refused, whatever the keytab."""
        for name in ("", "rcmd\n", "rcmd\0localhost"):
            self.assertRaises(ConfigurationError, Acceptor, name)
        self.assertIn("rcmd@ho st", self.refused(Acceptor("rcmd@ho st", "/nowhere")))

    def test_repr(self) -> None:
        """It says what it accepts with."""
        self.assertEqual(repr(Acceptor(keytab="/a")), "<Acceptor rcmd, keytab /a>")


class TicketTests(SetupTestCase):
    """Whose tickets the client takes, and which will do."""

    principals = (
        *("alice", "bob", "rcmd/localhost"),
        *(f"eve@{FOREIGN}", f"rcmd/localhost@{FOREIGN}"),
    )

    def setUp(self) -> None:
        """Be the service."""
        super().setUp()
        self.acceptor = Acceptor(keytab=self.realm.keytab("rcmd/localhost"))

    def test_keytab(self) -> None:
        """With a keytab no ticket has to be there, and none is left in the user's place."""
        for principal in (None, "bob", f"bob@{HOME}"):
            context = initiate(
                "rcmd@localhost", principal=principal, keytab=self.realm.keytab("bob")
            )
            self.assertEqual(self.peer(context.step(b""), self.acceptor), f"bob@{HOME}")
        self.assertFalse((self.realm.place / "no.ccache").exists())

    def test_default(self) -> None:
        """Without a word about it the tickets are where libkrb5 has them."""
        ccache = self.realm.ticket("bob").removeprefix("FILE:")
        os.rename(ccache, self.realm.place / "no.ccache")
        self.addCleanup(os.unlink, self.realm.place / "no.ccache")
        context = initiate("rcmd@localhost")
        self.assertEqual(self.peer(context.step(b""), self.acceptor), f"bob@{HOME}")

    def test_nobody(self) -> None:
        """Without any ticket there is no context, and nobody is asked for a password."""
        self.assertIn("no credentials: ", self.failing())
        self.assertIn("no credentials: ", self.failing(ccache="FILE:/nowhere"))
        self.assertIn("no credentials: ", self.failing(keytab="/nowhere"))

    def test_somebodyElse(self) -> None:
        """Nor if the tickets, or the keytab, are somebody else's."""
        self.assertIn("no credentials", self.failing("bob", ccache=self.realm.ticket("alice")))
        self.assertIn("no credentials", self.failing("bob", keytab=self.realm.keytab("alice")))

    def test_unknownService(self) -> None:
        """A service that the realm does not know is named."""
        context = initiate("nosuch@localhost", ccache=self.realm.ticket("alice"))
        error = self.assertRaises(ContextError, context.step, b"")
        self.assertEqual(
            str(error), f"Server nosuch/localhost@{HOME} not found in Kerberos database"
        )

    def test_foreign(self) -> None:
        """Tickets of another realm's, for a service of the same name there, are none here."""
        context = initiate(f"rcmd/localhost@{FOREIGN}", ccache=self.realm.ticket(f"eve@{FOREIGN}"))
        token = context.step(b"")
        error = self.assertRaises(ContextError, self.peer, token, self.acceptor)
        self.assertIn(f"rcmd/localhost@{FOREIGN} not found in keytab", str(error))

    def test_trusted(self) -> None:
        """A client of a realm that this one trusts is told from one of our own by its realm."""
        self.realm.leave()
        realm = Realm(*self.principals)
        self.addCleanup(realm.stop)
        realm.enter()
        ccache = realm.ticket(f"eve@{FOREIGN}")
        acceptor = Acceptor(keytab=realm.keytab("rcmd/localhost"))
        context = initiate(f"rcmd/localhost@{HOME}", ccache=ccache)
        self.assertRaises(ContextError, context.step, b"")
        realm.trust()
        context = initiate(f"rcmd/localhost@{HOME}", ccache=ccache)
        self.assertEqual(self.peer(context.step(b""), acceptor), f"eve@{FOREIGN}")

    def test_anonymous(self) -> None:
        """Who has a ticket without a name has not said who they are."""
        token = initiate("rcmd@localhost", ccache=self.realm.ticket("alice")).step(b"")
        nobody = b"WELLKNOWN/ANONYMOUS@WELLKNOWN:ANONYMOUS"
        # A KDC gives such tickets only to who proves nothing by a certificate (PKINIT).
        with mock.patch.object(raw, "display_name", return_value=mock.Mock()) as said:
            said.return_value.name = nobody
            error = self.assertRaises(ContextError, self.peer, token, self.acceptor)
        self.assertIn("nobody in particular", str(error))

    def test_name(self) -> None:
        """What cannot be a name is refused at once."""
        self.assertRaises(ValueError, initiate, "")
        self.assertRaises(ValueError, initiate, "rcmd@local\0host")
        self.assertRaises(ValueError, initiate, "rcmd@localhost", principal="ali\nce")

    def test_ahead(self) -> None:
        """A server whose clock is wrong by more than Kerberos forgives says so."""
        said = self.elsewhen("+1h", "accept", self.token("alice"))
        self.assertEqual(said, "refused: Clock skew too great")

    def test_expired(self) -> None:
        """A ticket that is over is none, and each side says so."""
        self.assertIn("xpired", self.elsewhen("+2d", "accept", self.token("alice")))
        self.assertIn("xpired", self.elsewhen("+2d", "initiate", self.realm.ticket("alice")))

    def test_rightTime(self) -> None:
        """The same at the right time is fine."""
        said = self.elsewhen("+1m", "accept", self.token("alice"))
        self.assertEqual(said, f"it is alice@{HOME}")
        said = self.elsewhen("+1m", "initiate", self.realm.ticket("alice"))
        self.assertEqual(said, "there is a token")

    def token(self, principal: str) -> str:
        """Begin a context, as hexadecimal."""
        return initiate("rcmd@localhost", ccache=self.realm.ticket(principal)).step(b"").hex()

    def failing(
        self, principal: str | None = None, ccache: str | None = None, keytab: str | None = None
    ) -> str:
        """Begin a context, which has to fail, and say why."""
        context = initiate("rcmd@localhost", principal=principal, ccache=ccache, keytab=keytab)
        text = str(self.assertRaises(ContextError, context.step, b""))
        self.assertTrue(text.isprintable(), text)
        self.assertFalse(context.established)
        return text

    def elsewhen(self, when: str, what: str, given: str) -> str:
        """Do half a context at another time."""
        keytab = self.realm.keytab("rcmd/localhost")
        done = subprocess.run(
            [
                *(find("faketime", "faketime"), "-f", when),
                *(sys.executable, "-m", "tests.security.elsewhen", what),
                keytab if what == "accept" else given,
            ],
            input=given,
            cwd=_ROOT,
            env=environment(self.realm.env),
            capture_output=True,
            text=True,
            timeout=SECONDS,
        )
        self.assertEqual(done.returncode, 0, done.stderr)
        return done.stdout.strip()


class SilentKDCTests(SetupTestCase):
    """A KDC that takes its time."""

    def test_holdsUpNobody(self) -> None:
        """While one thread waits for a KDC the others go on."""
        ccache = self.realm.ticket("alice")
        conf = self.realm.place / "silent.conf"
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(SECONDS)
            port = silent.getsockname()[1]
            conf.write_text(
                f"[libdefaults]\n default_realm = {HOME}\n dns_canonicalize_hostname = false\n"
                " udp_preference_limit = 1\n"
                f"[realms]\n {HOME} = {{\n kdc = 127.0.0.1:{port}\n }}\n"
            )
            os.environ["KRB5_CONFIG"] = str(conf)
            self.addCleanup(os.environ.__setitem__, "KRB5_CONFIG", self.realm.env["KRB5_CONFIG"])
            context = initiate("rcmd@localhost", ccache=ccache)
            said: list[str] = []

            def step() -> None:
                try:
                    context.step(b"")
                except ContextError as error:
                    said.append(str(error))

            thread = threading.Thread(target=step, daemon=True)
            thread.start()
            # Had that thread kept the lock, this one would learn of the question with its end.
            connection, _ = silent.accept()
            self.assertTrue(thread.is_alive())
            self.assertEqual(said, [])
        connection.close()
        thread.join(SECONDS)
        self.assertEqual(said, [f"Cannot contact any KDC for realm '{HOME}'"])


class MissingPackageTests(SynchronousTestCase):
    """Without the extra."""

    def test_oneLine(self) -> None:
        """Whoever asks for a context is told how to get the package, in a line."""
        with mock.patch.dict(sys.modules, {"gssapi": None}):
            for ask in (
                Acceptor().check,
                Acceptor().context,
                lambda: initiate("rcmd@localhost"),
            ):
                error = self.assertRaises(ConfigurationError, ask)
                self.assertIn("pip install 'twisted-socks5[gssapi]'", str(error))
                self.assertIn("libkrb5-dev", str(error))
                self.assertTrue(str(error).isprintable())

    def test_broken(self) -> None:
        """A package that is there and cannot be imported fails the check, and each first step."""
        with (
            mock.patch.dict(sys.modules, {"gssapi.raw": None}),
            mock.patch.object(sys.modules["gssapi"], "raw", create=True),
        ):
            del sys.modules["gssapi"].raw
            error = self.assertRaises(ConfigurationError, Acceptor().check)
            self.assertIn("libkrb5-dev); ", str(error))
            for context in (Acceptor().context(), initiate("rcmd@localhost")):
                failed = self.assertRaises(ContextError, context.step, b"token")
                self.assertEqual(str(failed), str(error))

    def test_onlyWhenUsed(self) -> None:
        """Before the first step nothing imports it, for that takes its time."""
        program = (
            "import sys; from twisted_socks5.security.kerberos import Acceptor, initiate;"
            "Acceptor().context(); initiate('rcmd@host'); sys.exit('gssapi' in sys.modules)"
        )
        done = subprocess.run([sys.executable, "-c", program], cwd=_ROOT, timeout=SECONDS)
        self.assertEqual(done.returncode, 0)
