"""A chain with GSSAPI (RFC 1961) and a real KDC: the near server shows the far one its ticket."""

from __future__ import annotations

import os

from tests.interop.client import numbered
from tests.interop.origins import HTTPOrigin
from tests.interop.test_via import SIZE, ChainCase
from tests.security.realm import sharedRealm


class GSSAPITests(ChainCase):
    """All that goes from one to the other is protected."""

    def setUp(self) -> None:
        """Make alice a ticket, for this process and those that it starts."""
        super().setUp()
        self.realm = sharedRealm("alice", "rcmd/localhost", "http/localhost")
        self.realm.enter()
        self.addCleanup(self.realm.leave)
        os.environ["KRB5CCNAME"] = self.realm.ticket("alice")

    def test_commands(self) -> None:
        """CONNECT, BIND and datagrams, at each level."""
        origin, keytab = HTTPOrigin(self), self.realm.keytab("rcmd/localhost")
        far = self.proxy("--auth", f"gssapi:keytab={keytab}")
        for level in ("integrity", "confidentiality"):
            via = rf"socks5:via=127.0.0.1\:{far.port}:methods=gssapi:gssapiHost=localhost"
            near = self.near(f"{via}:gssapiLevels={level}")
            self.assertFetches(near, f"http://127.0.0.1:{origin.port}/bytes/{SIZE}")
            self.assertBinds(near)
            self.assertRelaysDatagrams(near, "127.0.0.1")
            self.said(near, f"socks5://{far}")
        records = far.stop()
        self.assertEqual({one["user"] for one in records}, {"alice@EXAMPLE.TEST"})
        self.assertEqual(
            {one["reason"].rpartition(": ")[2] for one in records},
            {"integrity", "confidentiality"},
        )

    def test_noTicket(self) -> None:
        """Without a ticket it is 1, and the log says why."""
        far = self.proxy("--auth", f"gssapi:keytab={self.realm.keytab('rcmd/localhost')}")
        os.environ["KRB5CCNAME"] = "FILE:/nonexistent"
        via = rf"socks5:via=127.0.0.1\:{far.port}:methods=gssapi:gssapiHost=localhost"
        near = self.near(via)
        self.assertRefused(near, numbered("127.0.0.1", 9), 1)
        self.assertRegex(near.waitRecords(1)[0]["reason"], f"^via socks5://{far}: ")
