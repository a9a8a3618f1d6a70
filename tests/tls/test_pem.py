"""Files of certificates, right and wrong."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, PrivateFormat
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import (
    PROXY,
    Authority,
    newAuthority,
    theAuthority,
    theProxy,
)
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.tls import pem
from twisted_socks5.tls.pem import (
    readAuthorities,
    readDirectory,
    readFile,
    readIdentity,
)


class FilesCase(SynchronousTestCase):
    """
    Writes files.

    @ivar place: where.
    """

    def setUp(self) -> None:
        """Make a place."""
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()

    def write(self, name: str, *parts: bytes) -> str:
        """Write a file."""
        path = self.place / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"".join(parts))
        return str(path)

    def assertSays(self, text: str, what: object, *arguments: object) -> None:
        """Assert that something is refused with one line in which this is."""
        error = self.assertRaises(ConfigurationError, what, *arguments)
        self.assertIn(text, str(error))
        self.assertNotIn("\n", str(error))


class IdentityTests(FilesCase):
    """A certificate and its key."""

    def test_two(self) -> None:
        """Of two files, and a chain in one or the other, or in a third."""
        middle = theAuthority().issueAuthority("Between")
        own = middle.issue(PROXY, hosts=(PROXY.upper(),))
        key, certificate = own.write(self.place, "own")
        chain = self.write("chain.pem", b"in words\n", middle.pem, theAuthority().pem)
        found = readIdentity(key, certificate, chain)
        self.assertEqual(found.certificate, own.certificate)
        self.assertEqual(found.chain, (middle.certificate, theAuthority().certificate))
        self.assertEqual(found.names, (PROXY,))
        self.assertNotIn("PRIVATE", repr(found))
        self.assertIn(certificate, repr(found))
        self.write("own.pem", middle.pem, own.pem)
        found = readIdentity(key, certificate)
        self.assertEqual(
            (found.certificate, found.chain), (own.certificate, (middle.certificate,))
        )

    def test_one(self) -> None:
        """Of one file, in whichever form the key is."""
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            both = self.write("both.pem", theProxy().pem, theProxy().keyAs(form))
            self.assertEqual(readIdentity(both, both).certificate, theProxy().certificate)

    def test_nameless(self) -> None:
        """One without names is nobody's in particular."""
        key, certificate = theAuthority().issue("nameless").write(self.place, "own")
        self.assertEqual(readIdentity(key, certificate).names, ())

    def test_mismatch(self) -> None:
        """A key that is another's."""
        key, _ = theAuthority().issue("other").write(self.place, "other")
        _, certificate = theProxy().write(self.place, "own")
        said = f"the key in {key!r} does not belong to the certificate in {certificate!r}"
        self.assertSays(said, readIdentity, key, certificate)

    def test_encrypted(self) -> None:
        """A key with a passphrase, in both of its forms; nothing of it is quoted."""
        encryption = BestAvailableEncryption(b"passphrase")
        _, certificate = theProxy().write(self.place, "own")
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            key = self.write("key.pem", theProxy().keyAs(form, encryption))
            self.assertSays(f"the key in {key!r} is encrypted", readIdentity, key, certificate)

    def test_wrongFiles(self) -> None:
        """Something else than what is asked for."""
        key, certificate = theProxy().write(self.place, "own")
        cut = theProxy().pem.replace(b"M", b"", 20)
        broken = theProxy().keyPEM.replace(b"M", b"", 3)
        two = self.write("two.pem", theProxy().keyPEM, theAuthority().keyPEM)
        rubbish = self.write("rubbish.pem", b"-----BEGONE and so on")
        for arguments, said in (
            ((certificate, certificate), "has no private key in it"),
            ((two, certificate), "has 2 private keys in it, and must have one"),
            ((key, key), "has no certificate in it"),
            ((key, rubbish), "has no certificate in it"),
            ((rubbish, certificate), "has no private key"),
            ((key, certificate, key), "has no certificate in it"),
            ((key, self.write("cut.pem", cut)), "has a certificate that cannot be read"),
            ((self.write("broken.pem", broken), certificate), "has a private key that cannot"),
        ):
            self.assertSays(said, readIdentity, *arguments)

    def test_unreadable(self) -> None:
        """A file that is not there, is none, or is none of this kind."""
        fifo = self.place / "fifo"
        os.mkfifo(fifo)
        self.patch(pem, "LARGEST", 1000)
        large = self.write("large", bytes(1001))
        for path, said in (
            (self.place / "missing.pem", "cannot be read: No such file or directory"),
            (self.place, "is not a regular file"),
            (fifo, "is not a regular file"),
            (Path("nu\0ll"), "cannot be read"),
            (Path(large), "is too large"),
        ):
            self.assertSays(said, readFile, str(path))


class DirectoryTests(FilesCase):
    """All that a directory has."""

    def test_certbots(self) -> None:
        """As certbot's: the same certificate in two files, a chain in a third."""
        middle = theAuthority().issueAuthority("Between")
        for host in ("a.example", "b.example"):
            own = middle.issue(host, hosts=(host,))
            self.write(f"{host}/cert.pem", own.pem)
            self.write(f"{host}/fullchain.pem", own.pem, middle.pem, theAuthority().pem)
            self.write(f"{host}/chain.pem", middle.pem)
            self.write(f"{host}/privkey.pem", own.keyPEM)
            self.write(f"{host}/README", b"not read")
        found = readDirectory(str(self.place))
        self.assertEqual([each.names for each in found], [("a.example",), ("b.example",)])
        self.assertEqual({each.chain for each in found}, {(middle.certificate,)})

    def test_nothing(self) -> None:
        """Nothing that can be used, or nothing at all."""
        self.assertSays("there is no *.pem file in the directory", readDirectory, str(self.place))
        lone = self.write("lone.pem", theProxy().pem)
        self.assertSays("no certificate with its key", readDirectory, str(self.place))
        self.assertSays("is a file: name the directory", readDirectory, lone)
        missing = str(self.place / "missing")
        self.assertSays(f"{missing!r} cannot be read: No such", readDirectory, missing)

    def test_circle(self) -> None:
        """Authorities that vouch for each other make no endless chain."""
        key, other = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        first, second = newAuthority("First"), newAuthority("Second")
        one = second.issueAuthority("First", key)
        two = first.issueAuthority("Second", other)
        own = Authority(one.certificate, key).issue("own")
        self.write("all.pem", own.pem, own.keyPEM, one.pem, two.pem)
        (found,) = readDirectory(str(self.place))
        self.assertEqual(found.chain, (one.certificate, two.certificate))


class AuthoritiesTests(FilesCase):
    """Whose certificates clients have."""

    def test_read(self) -> None:
        """Several authorities, and their lists."""
        other = newAuthority("Other")
        ca = self.write("ca.pem", theAuthority().pem, other.pem)
        self.assertEqual(readAuthorities(ca).revoked, ())
        crl = self.write("crl.pem", theAuthority().revoke(), other.revoke())
        found = readAuthorities(ca, crl)
        self.assertEqual((len(found.certificates), len(found.revoked)), (2, 2))

    def assertCut(self, read: Callable[[str], object], pem: bytes) -> None:
        """Assert that a file which is cut behind a whole one is not taken for all of it."""
        for at in (len(pem) // 2, len(pem) - 3):
            path = self.write("cut.pem", pem, pem[:at])
            self.assertSays("begins and does not end: is it whole?", read, path)
            path = self.write("cut.pem", pem[:at], b"\n", pem)
            self.assertSays("begins and does not end: is it whole?", read, path)

    def test_wrong(self) -> None:
        """Something else, or another authority's."""
        ca = self.write("ca.pem", theAuthority().pem)
        leaf = self.write("leaf.pem", theProxy().pem)
        self.assertSays("a certificate that is no authority's, CN=proxy", readAuthorities, leaf)
        rubbish = x509.UnrecognizedExtension(x509.BasicConstraints.oid, b"rubbish")
        for extensions in ([], [rubbish]):
            issued = theAuthority().issue("odd", authority=None, extensions=extensions)
            odd = self.write("odd.pem", issued.pem)
            self.assertSays("a certificate that is no authority's, CN=odd", readAuthorities, odd)
        empty = self.write("empty.pem")
        self.assertSays("has no certificate in it", readAuthorities, empty)
        self.assertSays("has no revocation list in it", readAuthorities, ca, ca)
        strange = self.write("strange.pem", newAuthority("Other").revoke())
        self.assertSays("no revocation list of an authority in", readAuthorities, ca, strange)
        self.assertCut(lambda path: readAuthorities(ca, path), theAuthority().revoke())
        self.assertCut(readAuthorities, theAuthority().pem)
        cut = self.write("cut.pem", theAuthority().revoke().replace(b"M", b"", 5))
        self.assertSays("revocation list that cannot be read", readAuthorities, ca, cut)
