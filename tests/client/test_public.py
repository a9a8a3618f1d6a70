"""
Tests of what C{twisted_socks5.client} offers by name.
"""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5 import client

_LIGHT = """
import sys
from twisted_socks5.client import SOCKS5ClientEndpoint
print(sorted({"twisted.web", "gssapi", "OpenSSL", "twisted.internet.reactor"} & {*sys.modules}))
"""


class PublicTests(SynchronousTestCase):
    """The public names."""

    def test_names(self) -> None:
        """Each name is there, by itself, and comes from where it is said to come from."""
        rooms = {name for names in client._ROOMS.values() for name in names}
        self.assertEqual(rooms, {*client.__all__})
        self.assertEqual(len(client.__all__), len(rooms))
        for name in client.__all__:
            self.assertTrue(getattr(client, name).__module__.startswith("twisted_socks5.client."))
            self.assertIs(getattr(client, name), getattr(client, name))

    def test_noOther(self) -> None:
        """A name that isn't there is said not to be."""
        error = self.assertRaises(AttributeError, getattr, client, "SOCKS6ClientEndpoint")
        self.assertIn("SOCKS6ClientEndpoint", str(error))

    def test_light(self) -> None:
        """Who connects needs no web, no GSSAPI and no TLS; and no reactor is installed."""
        done = subprocess.run(
            [sys.executable, "-c", _LIGHT], capture_output=True, text=True, timeout=60, check=True
        )
        self.assertEqual(done.stdout.strip(), "[]")
