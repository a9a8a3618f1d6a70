"""What is read, but will not do today."""

from __future__ import annotations

from tests.tls.authority import DAY, NOW, Issued, newAuthority, theAuthority, theProxy
from tests.tls.test_pem import FilesCase
from twisted_socks5.tls import pem
from twisted_socks5.tls.pem import readAuthorities
from twisted_socks5.tls.validity import isValid, warnings


class WarningTests(FilesCase):
    """What is read, but will not do."""

    def identity(self, issued: Issued) -> pem.Identity:
        """Make an identity."""
        return pem.Identity(issued.certificate, issued.key, (), "own.pem")

    def test_expired(self) -> None:
        """Certificates and lists that are expired, or not valid yet."""
        old = theAuthority().issue("old", ends=-DAY / 2)
        new = theAuthority().issue("new", begins=DAY / 2)
        authority = newAuthority("Old", ends=-DAY)
        (self.place / "crl.pem").write_bytes(authority.revoke(ends=-DAY))
        (self.place / "ca.pem").write_bytes(authority.pem)
        read = readAuthorities(str(self.place / "ca.pem"), str(self.place / "crl.pem"))
        said = warnings([self.identity(old), self.identity(new), self.identity(theProxy())], read)
        self.assertEqual(len(said), 4)
        self.assertRegex(said[0], "own.pem', CN=old, has expired at 20.* UTC: .*renew it")
        self.assertRegex(said[1], "CN=new, is not valid before 20")
        self.assertRegex(said[2], "the authority CN=Old has expired at")
        self.assertRegex(said[3], "the revocation list of CN=Old has expired at")
        self.assertEqual(warnings([self.identity(theProxy())], None), [])

    def test_valid(self) -> None:
        """A certificate has its time."""
        certificate = theProxy().certificate
        self.assertTrue(isValid(certificate))
        self.assertFalse(isValid(certificate, NOW + 2 * DAY))
        self.assertFalse(isValid(certificate, NOW - 2 * DAY))
