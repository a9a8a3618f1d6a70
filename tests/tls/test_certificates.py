"""Whom a certificate names."""

from __future__ import annotations

from cryptography import x509
from cryptography.x509 import SubjectAlternativeName
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.tls.authority import name, theAuthority, unreadable
from twisted_socks5.tls import ClientCertificate, nameOf

issue = theAuthority().issue


class NameTests(SynchronousTestCase):
    """The rule, in its order."""

    def test_common(self) -> None:
        """The only common name of the subject, whatever else there is."""
        issued = issue("alice", mails=["a@example.com"], hosts=["a.example"])
        self.assertEqual(nameOf(issued.certificate), "alice")
        self.assertEqual(ClientCertificate.of(issued.certificate).name, "alice")
        self.assertEqual(nameOf(issue("Ælfgifu").certificate), "Ælfgifu")

    def test_alternatives(self) -> None:
        """Without one, or with several, the first address, then the first host."""
        nobody = x509.Name([])
        for common in ((), ("alice", "bob")):
            subject = name(*common) if common else nobody
            both = issue(subject=subject, mails=["a@x.example", "b@x.example"], hosts=["h.x"])
            self.assertEqual(nameOf(both.certificate), "a@x.example")
            hosts = issue(subject=subject, hosts=["192.0.2.1", "first.example", "other.example"])
            self.assertEqual(nameOf(hosts.certificate), "first.example")

    def test_nobody(self) -> None:
        """Nothing of that, or nothing that can be read in one way only."""
        for subject in (
            name(organisation="Example"),
            name("alice", "bob"),
            name("alice\0.example"),
            name("alice\n"),
            name(" alice"),
            name("alice\u202e"),
        ):
            issued = issue(subject=subject)
            self.assertIsNone(nameOf(issued.certificate), subject)
        self.assertIsNone(nameOf(issue(subject=x509.Name([]), hosts=["192.0.2.1"]).certificate))

    def test_malformed(self) -> None:
        """What can't be read is nobody's."""
        rubbish = x509.UnrecognizedExtension(SubjectAlternativeName.oid, b"rubbish")
        issued = issue(subject=name("a", "b"), extensions=[rubbish])
        self.assertIsNone(nameOf(issued.certificate))
        self.assertIsNone(nameOf(unreadable(issue("abcdefgh")).certificate))

    def test_notTheCertificate(self) -> None:
        """What describes it does not print the whole of it."""
        described = repr(ClientCertificate.of(issue("alice").certificate))
        self.assertEqual(described, "ClientCertificate(name='alice')")

    @given(st.text(min_size=1, max_size=64))
    @settings(max_examples=60, deadline=None)
    def test_any(self, text: str) -> None:
        """Any name is the one that it is written as, or nobody's."""
        try:
            issued = issue(subject=name(text))
        except ValueError:
            return  # A certificate can't say so.
        found = nameOf(issued.certificate)
        self.assertIn(found, (text, None))
        if found is not None:
            self.assertNotRegex(found, r"[\x00-\x1f\x7f]")
            self.assertEqual(found, found.strip())
