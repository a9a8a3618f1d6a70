"""
Twisted's own FTP client through the proxy, as docs/examples/client_ftp.py has it.

Its data connections come by BIND in active mode, and are a CONNECT in passive mode.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.docs.pages import EXAMPLES
from tests.interop.ftpservers import LARGE, VSFTPD, PyFTPD
from tests.interop.origins import content, digest
from tests.interop.programs import run
from tests.interop.proxy import Proxy, ProxyTestCase


class TwistedClientTests(ProxyTestCase):
    """20 MB each way, by checksum."""

    def transfer(self, proxy: Proxy, server: VSFTPD | PyFTPD, mode: str, *what: object) -> None:
        """Run the example."""
        program = EXAMPLES / "client_ftp.py"
        where = map(str, (proxy.host, proxy.port, server.host, server.port, mode, *what))
        done = run(sys.executable, program, *where)
        self.assertEqual((done.returncode, done.stdout), (0, ""), done.stderr)

    def both(self, server: VSFTPD | PyFTPD, mode: str, command: str) -> None:
        """Fetch a file, and put one there; see what that was to the proxy."""
        place = Path(self.mktemp()).absolute()
        place.mkdir()
        (place / "own").write_bytes(content(LARGE)[::-1])
        proxy = self.proxy()
        self.transfer(proxy, server, mode, "get", "large", place / "got")
        self.transfer(proxy, server, mode, "put", place / "own", "put")
        self.assertEqual(digest((place / "got").read_bytes()), server.digest("large"))
        self.assertEqual(server.digest("put"), digest((place / "own").read_bytes()))
        records = proxy.stop()
        self.assertEqual({each["reply"] for each in records}, {0}, records)
        data = [each for each in records if LARGE in (each["sent"], each["received"])]
        self.assertEqual([each["command"] for each in data], [command] * 2)
        self.assertEqual(len(records), 4)

    def test_active(self) -> None:
        """vsftpd connects when it has something to transfer."""
        self.both(VSFTPD(self), "active", "BIND")

    def test_active_early(self) -> None:
        """pyftpdlib connects as soon as it is told where to."""
        self.both(PyFTPD(self), "active", "BIND")

    def test_passive(self) -> None:
        """The same client, without BIND."""
        self.both(VSFTPD(self), "passive", "CONNECT")
