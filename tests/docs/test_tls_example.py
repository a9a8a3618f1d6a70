"""
docs/examples/tls_proxy.py, and the strings that do the same: the client's half of TLS.
"""

from __future__ import annotations

import subprocess
import sys

from tests.docs.pages import EXAMPLES
from tests.interop.origins import HTTPOrigin
from tests.interop.programs import run
from tests.interop.proxy import Proxy
from tests.interop.test_tls import TLSCase
from tests.tls.authority import CLIENT_AUTH, newAuthority, theAuthority

PAGE = "this is the origin\n"


class ExampleTests(TLSCase):
    """tls_proxy.py, which knows one authority."""

    def ask(
        self, proxy: Proxy, origin: HTTPOrigin, name: str, *own: str
    ) -> subprocess.CompletedProcess[str]:
        """Run it."""
        words = [name, str(proxy.port), "127.0.0.1", str(origin.port)]
        ca = self.place / "ca.pem"
        return run(sys.executable, EXAMPLES / "tls_proxy.py", *words, ca, *own)

    def test_verified(self) -> None:
        """It takes a proxy that is whom it should be, and no other."""
        origin, proxy = HTTPOrigin(self), self.proxy("--listen", self.listen())
        said = self.ask(proxy, origin, "127.0.0.1")
        self.assertTrue(said.stdout.endswith(PAGE), said.stderr)
        said = self.ask(proxy, origin, "localhost")
        self.assertEqual((said.returncode, said.stdout), (1, ""))
        self.assertIn("VerificationError", said.stderr)
        (self.place / "ca.pem").write_bytes(newAuthority("Other").pem)
        said = self.ask(proxy, origin, "127.0.0.1")
        self.assertEqual((said.returncode, said.stdout), (1, ""))
        self.assertIn("certificate verify failed", said.stderr)
        records = proxy.waitRecords(3)
        self.assertEqual(len([one for one in records if one["target"]]), 1)

    def test_certificate(self) -> None:
        """With a certificate it is somebody; without, it is refused."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--listen", self.asking(), "--auth", "certificate")
        alice = theAuthority().issue("alice", purposes=(CLIENT_AUTH,))
        key, certificate = alice.write(self.place, "alice")
        said = self.ask(proxy, origin, "127.0.0.1", certificate, key)
        self.assertTrue(said.stdout.endswith(PAGE), said.stderr)
        said = self.ask(proxy, origin, "127.0.0.1")
        self.assertEqual((said.returncode, said.stdout), (1, ""))
        self.assertEqual([one["user"] for one in proxy.waitRecords(2)], ["alice", None])

    def test_string(self) -> None:
        """A string says the same, for programs that take one."""
        origin = HTTPOrigin(self)
        proxy = self.proxy("--listen", self.asking(), "--auth", "certificate")
        key, certificate = theAuthority().issue("alice").write(self.place, "alice")
        roots = self.place / "roots"
        roots.mkdir()
        (roots / "ca.pem").write_bytes(theAuthority().pem)
        own = f"trustRoots={roots}:certificate={certificate}:privateKey={key}"
        via = f"tls:127.0.0.1:{proxy.port}:{own}".replace(":", "\\:")
        text = f"socks5:127.0.0.1:{origin.port}:via={via}"
        said = run(sys.executable, EXAMPLES / "client_string.py", text)
        self.assertTrue(said.stdout.endswith(PAGE), said.stdout + said.stderr)
        self.assertEqual(proxy.waitRecords(1)[0]["user"], "alice")
