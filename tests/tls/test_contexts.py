"""What a server shows of itself, and what it takes for a client's certificate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import x25519
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import (
    CLIENT_AUTH,
    DAY,
    SERVER_AUTH,
    Authority,
    Issued,
    clientContext,
    newAuthority,
    theAuthority,
    theProxy,
    unreadable,
)
from tests.tls.base import VERSIONS, TLSCase, contexts
from tests.tls.peers import TLSPeer
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.tls.contexts import printable, reasonOf
from twisted_socks5.tls.pem import Authorities, Identity


def revocations(*lists: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """Read revocation lists."""
    return tuple(x509.load_pem_x509_crl(each) for each in lists)


class NameTests(TLSCase):
    """Which certificate a client is shown."""

    def shown(self, name: bytes, *issued: Issued) -> int:
        """Ask for a name; @return: the serial number of what is shown."""
        self.connect(TLSPeer(clientContext(), name), contexts(*issued))
        certificate: Any = self.client.connection.get_peer_certificate(as_cryptography=True)
        return int(certificate.serial_number)

    def test_names(self) -> None:
        """That of the name it asks for, or the first."""
        issue = theAuthority().issue
        one, two = issue("one", hosts=["one.example"]), issue("two", hosts=["Two.example"])
        wild = issue("wild", hosts=["*.wild.example"])
        for name, expected in (
            (b"", one),
            (b"one.example", one),
            (b"TWO.example", two),
            (b"a.wild.example", wild),
            (b"a.b.wild.example", one),
            (b"wild.example", one),
            (b"unknown.example", one),
        ):
            number = self.shown(name, one, two, wild)
            self.assertEqual(number, expected.certificate.serial_number, name)

    def test_best(self) -> None:
        """Of several for a name the one that is valid, and of these the newest."""
        issue, hosts = theAuthority().issue, ["one.example"]
        first = issue("other")
        old = issue("old", hosts=hosts, begins=-2 * DAY)
        new = issue("new", hosts=hosts)
        late = issue("late", hosts=hosts, begins=-DAY / 2, ends=-DAY / 4)
        soon = issue("soon", hosts=hosts, begins=DAY / 2)
        for order in ([old, new, late, soon], [soon, late, new, old]):
            number = self.shown(b"one.example", first, *order)
            self.assertEqual(number, new.certificate.serial_number)


class ClientTests(TLSCase):
    """Which certificates of clients are taken."""

    def judged(
        self,
        issued: Issued | None,
        *chain: Issued,
        authorities: Sequence[Issued] = (),
        revoked: Sequence[bytes] = (),
        required: bool = True,
    ) -> str:
        """Show a certificate, in both versions; @return: its name, or why it is not taken."""
        found = set()
        known = tuple(each.certificate for each in authorities or (theAuthority(),))
        server = contexts(authorities=Authorities(known, revocations(*revoked)), required=required)
        for version in VERSIONS:
            self.connect(TLSPeer(clientContext(issued, *chain, version=version)), server)
            if self.near.lost is not None:
                found.add(str(self.near.lost.value))
            else:
                shown = self.layer.certificate
                found.add(str(shown and shown.name))
            self.client.abort()
        (one,) = found
        return one

    def test_taken(self) -> None:
        """One that the authority has issued, for clients or for anything."""
        issue = theAuthority().issue
        self.assertEqual(self.judged(issue("alice")), "alice")
        self.assertEqual(self.judged(issue("alice", purposes=[CLIENT_AUTH])), "alice")
        both = issue("alice", purposes=[SERVER_AUTH, CLIENT_AUTH])
        self.assertEqual(self.judged(both), "alice")

    def test_refused(self) -> None:
        """Others, with the reason."""
        issue = theAuthority().issue
        stranger = newAuthority("Stranger")
        for issued, why in (
            (issue("alice", ends=-DAY / 2), "CN=alice: it has expired"),
            (issue("alice", begins=DAY / 2), "CN=alice: it is not valid yet"),
            (issue("alice", purposes=[SERVER_AUTH]), "CN=alice: it is not for clients"),
            (stranger.issue("alice"), "CN=alice: its issuer is not known"),
            (stranger, "CN=Stranger: it is self-signed"),
        ):
            self.assertIn(why, self.judged(issued))

    def test_none(self) -> None:
        """Without one: as it was said."""
        self.assertIn("has no certificate, and needs one", self.judged(None))
        self.assertEqual(self.judged(None, required=False), "None")
        self.assertIn("expired", self.judged(theAuthority().issue("a", ends=-DAY / 2),
                                             required=False))  # fmt: skip

    def test_pretender(self) -> None:
        """One issued by who only calls itself the authority."""
        pretender = newAuthority()
        issued = pretender.issue("alice")
        self.assertIn("CN=alice: its", self.judged(issued, pretender))

    def test_between(self) -> None:
        """One that an authority between has issued, which is sent along, or which is trusted."""
        middle = theAuthority().issueAuthority("Between")
        issued = middle.issue("alice")
        self.assertEqual(self.judged(issued, middle), "alice")
        self.assertIn("its issuer is not known", self.judged(issued))
        self.assertEqual(self.judged(issued, authorities=[middle]), "alice")

    def test_noAuthority(self) -> None:
        """One that was issued by somebody who is no authority."""
        alice = theAuthority().issue("alice")
        issued = Authority(alice.certificate, alice.key).issue("bob")
        self.assertIn("no authority", self.judged(issued, alice))

    def test_revoked(self) -> None:
        """One that was revoked, and others beside it."""
        issue, revoke = theAuthority().issue, theAuthority().revoke
        alice, bob = issue("alice"), issue("bob")
        revoked = [revoke(alice)]
        self.assertIn("CN=alice: it has been revoked", self.judged(alice, revoked=revoked))
        self.assertEqual(self.judged(bob, revoked=revoked), "bob")

    def test_authorityRevoked(self) -> None:
        """An authority between that was revoked takes its clients along, where a list says so."""
        middle = theAuthority().issueAuthority("Between")
        issued = middle.issue("alice")
        lists = [middle.revoke(), theAuthority().revoke(middle)]
        said = self.judged(issued, middle, revoked=lists)
        self.assertIn("CN=Between: it has been revoked", said)
        known = [middle, theAuthority()]
        self.assertEqual(
            self.judged(issued, authorities=known, revoked=[middle.revoke()]), "alice"
        )

    def test_noList(self) -> None:
        """Where there are lists, one that none is about, or an old one, is not taken."""
        alice, other = theAuthority().issue("alice"), newAuthority("Other")
        known = [theAuthority(), other]
        said = self.judged(alice, authorities=known, revoked=[other.revoke()])
        self.assertIn("there is no revocation list of its issuer", said)
        said = self.judged(alice, revoked=[theAuthority().revoke(ends=-DAY)])
        self.assertIn("the revocation list of its issuer has expired", said)

    def test_strangeName(self) -> None:
        """What a stranger calls itself stays within its line of the log."""
        issued = newAuthority("Other").issue("evil\n\x1b[31m")
        said = self.judged(issued)
        self.assertNotRegex(said, r"[\x00-\x1f]")

    def test_unreadableName(self) -> None:
        """One whose subject can't be read is refused like any other, and disturbs nobody else."""
        issued = unreadable(newAuthority("Other").issue("abcdefgh"))
        said = self.judged(issued)
        self.assertIn("certificate (whose subject cannot be read): its issuer is not known", said)
        issue = theAuthority().issue
        server = contexts(
            issue("one", hosts=["one.example"]),
            issue("two", hosts=["two.example"]),
            authorities=Authorities((theAuthority().certificate,)),
        )
        self.connect(TLSPeer(clientContext(issued), b"two.example"), server)
        self.assertIsNotNone(self.near.lost)
        self.connect(TLSPeer(clientContext(issue("alice")), b"one.example"), server)
        self.assertIsNone(self.near.lost)
        self.assertIsNotNone(self.layer.certificate)

    def test_authoritiesAreNamed(self) -> None:
        """A client is told whose certificates are wanted."""
        server = contexts(authorities=Authorities((theAuthority().certificate,)), required=False)
        self.connect(TLSPeer(clientContext()), server)
        (named,) = self.client.connection.get_client_ca_list()
        self.assertEqual(named.CN, "Tests' authority")


class WordTests(SynchronousTestCase):
    """What is said of errors."""

    def test_reason(self) -> None:
        """OpenSSL's last word, or whatever there is."""
        error = SSL.Error([("SSL routines", "", "first"), ("SSL routines", "", "last")])
        self.assertEqual(reasonOf(error), "last")
        self.assertEqual(reasonOf(SSL.Error([])), "[]")
        self.assertEqual(reasonOf(SSL.ZeroReturnError()), "ZeroReturnError")
        self.assertEqual(reasonOf(ValueError("wrong")), "wrong")

    def test_printable(self) -> None:
        """Control characters are escaped, and what is long is cut."""
        self.assertEqual(printable("a\n\u202eb"), "a\\n\\u202eb")
        self.assertEqual(printable("x" * 300), "x" * 200 + "…")

    def test_useless(self) -> None:
        """A key that TLS has no use for is refused when it is read."""
        identity = Identity(
            theProxy().certificate, x25519.X25519PrivateKey.generate(), (), "own.pem"
        )
        from twisted_socks5.tls.contexts import Contexts

        error = self.assertRaises(ConfigurationError, Contexts, [identity], None, False)
        self.assertRegex(str(error), "^'own.pem' cannot be used: ")
