"""Users by their certificates."""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.portal import Portal
from twisted.cred.strcred import findCheckerFactory, makeChecker
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from tests.auth.fakes import knows
from tests.tls.authority import theAuthority
from tests.tls.base import contexts
from twisted_socks5.auth import Authenticator, SOCKS5Realm, combine
from twisted_socks5.auth.certificates import (
    CertificateChecker,
    IVerifiedCertificate,
    VerifiedCertificate,
    certificateOf,
    whyNobody,
)
from twisted_socks5.auth.methods import checkMethods, methodsFor
from twisted_socks5.errors import ConfigurationError
from twisted_socks5.tls import ClientCertificate, TLSTransport
from twisted_socks5.wire import Method

NONE, PASSWORD = Method.NO_AUTHENTICATION, Method.USERNAME_PASSWORD


def shown(*common: str) -> ClientCertificate:
    """Make a certificate that was shown."""
    return ClientCertificate.of(theAuthority().issue(*common).certificate)


def portal(*checkers: Any) -> Portal:
    """Make a portal."""
    return Portal(SOCKS5Realm(), combine(checkers))


def transport(certificate: ClientCertificate | None) -> TLSTransport:
    """Make a transport whose client has shown this."""
    made = TLSTransport(contexts().connection())
    made.certificate = certificate
    return made


class CheckerTests(SynchronousTestCase):
    """The checker."""

    def test_name(self) -> None:
        """Its name, in octets."""
        credentials = VerifiedCertificate(shown("Ælfgifu"))
        verifyObject(IVerifiedCertificate, credentials)
        asked = CertificateChecker().requestAvatarId(credentials)
        self.assertEqual(self.successResultOf(asked), "Ælfgifu".encode())

    def test_nobody(self) -> None:
        """One that names nobody lets nobody in."""
        asked = CertificateChecker().requestAvatarId(VerifiedCertificate(shown("a", "b")))
        failure = self.failureResultOf(asked, UnauthorizedLogin)
        self.assertEqual(str(failure.value), "the certificate names nobody")

    def test_login(self) -> None:
        """The avatar has the name."""
        login = Authenticator(portal(CertificateChecker())).login(
            VerifiedCertificate(shown("alice"))
        )
        avatar, _ = self.successResultOf(login)
        self.assertEqual(avatar.name, "alice")

    def test_strcred(self) -> None:
        """C{--auth certificate}, which takes no parameter."""
        self.assertIsInstance(makeChecker("certificate"), CertificateChecker)
        self.assertIsInstance(makeChecker("certificate:"), CertificateChecker)
        error = self.assertRaises(ConfigurationError, makeChecker, "certificate:/etc/ca.pem")
        self.assertIn("takes no parameter", str(error))
        factory = findCheckerFactory("certificate")
        self.assertEqual(factory.credentialInterfaces, (IVerifiedCertificate,))
        self.assertIn("clientCA", factory.authHelp)


class ConnectionTests(SynchronousTestCase):
    """Whose connection it is."""

    def test_certificate(self) -> None:
        """The one that TLS has verified, if it names somebody and anybody can check it."""
        knowing, alice = portal(CertificateChecker()), shown("alice")
        self.assertEqual(certificateOf(transport(alice), knowing), VerifiedCertificate(alice))
        self.assertIsNone(certificateOf(transport(alice), portal(AllowAnonymousAccess())))
        self.assertIsNone(certificateOf(transport(None), knowing))
        self.assertIsNone(certificateOf(transport(shown("a", "b")), knowing))
        self.assertIsNone(certificateOf(object(), knowing))

    def test_why(self) -> None:
        """Why there is none."""
        knowing = portal(CertificateChecker())
        self.assertEqual(whyNobody(transport(None), portal(AllowAnonymousAccess())), "")
        self.assertIn("no certificate", whyNobody(object(), knowing))
        self.assertIn("no certificate", whyNobody(transport(None), knowing))
        self.assertIn("names nobody", whyNobody(transport(shown("a", "b")), knowing))


class MethodTests(SynchronousTestCase):
    """Method "none", for those who have shown one."""

    def test_offered(self) -> None:
        """To nobody else, unless anybody is let in."""
        knowing = portal(CertificateChecker(), knows(b"bob", b"secret"))
        self.assertEqual(methodsFor(knowing), (PASSWORD,))
        self.assertEqual(methodsFor(knowing, certified=True), (PASSWORD, NONE))
        order = (NONE, PASSWORD)
        self.assertEqual(methodsFor(knowing, order, certified=True), order)
        self.assertEqual(methodsFor(knowing, order), (PASSWORD,))
        anybody = portal(CertificateChecker(), AllowAnonymousAccess())
        self.assertEqual(methodsFor(anybody, certified=True), (NONE,))
        self.assertEqual(methodsFor(anybody), (NONE,))

    def test_selected(self) -> None:
        """By the certificate of the connection."""
        authenticator = Authenticator(portal(CertificateChecker()))
        self.assertEqual(authenticator.select(b"\0"), Method.NO_ACCEPTABLE_METHODS)
        self.assertEqual(authenticator.select(b"\0", True), NONE)
        self.assertEqual(authenticator.methods, ())

    def test_order(self) -> None:
        """An order of methods takes it into account."""
        knowing = portal(CertificateChecker())
        checkMethods(knowing, (NONE,))
        self.assertRaises(ConfigurationError, checkMethods, knowing, (PASSWORD,))
        both = portal(CertificateChecker(), knows(b"bob", b"secret"))
        self.assertRaises(ConfigurationError, checkMethods, both, (PASSWORD,))
