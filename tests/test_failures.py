"""From failures to replies: every number of the system's, and every class that carries none."""

from __future__ import annotations

import errno
import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet import error
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from twisted_socks5.errors import DialError, Forbidden, ResolutionError
from twisted_socks5.failures import mostTelling, replyFor
from twisted_socks5.wire.constants import Reply

EXPECTED = {
    errno.ECONNREFUSED: (Reply.CONNECTION_REFUSED, "refused"),
    errno.ECONNRESET: (Reply.CONNECTION_REFUSED, "reset"),
    errno.ETIMEDOUT: (Reply.TTL_EXPIRED, "timed out"),
    errno.EHOSTUNREACH: (Reply.HOST_UNREACHABLE, "host unreachable"),
    errno.EHOSTDOWN: (Reply.HOST_UNREACHABLE, "host down"),
    errno.ENETUNREACH: (Reply.NETWORK_UNREACHABLE, "network unreachable"),
    errno.ENETDOWN: (Reply.NETWORK_UNREACHABLE, "network down"),
    errno.EADDRNOTAVAIL: (Reply.NETWORK_UNREACHABLE, "no local address to connect from"),
    errno.EAFNOSUPPORT: (Reply.NETWORK_UNREACHABLE, "address family not supported here"),
    errno.EACCES: (Reply.CONNECTION_NOT_ALLOWED, "prohibited by the system"),
    errno.EPERM: (Reply.CONNECTION_NOT_ALLOWED, "prohibited by the system"),
}


class ErrnoTests(SynchronousTestCase):
    """What the system's numbers mean, in whatever they come."""

    def test_connect(self) -> None:
        """Every number there is, as connectTCP reports it, has its reply; most have 1."""
        for number in errno.errorcode:
            failure = Failure(error.getConnectError((number, "text")))
            reply, text = replyFor(failure)
            with self.subTest(errno.errorcode[number]):
                if number in EXPECTED:
                    self.assertEqual((reply, text), EXPECTED[number])
                else:
                    self.assertEqual(reply, Reply.GENERAL_FAILURE)
                    self.assertTrue(text)
                    self.assertEqual(text, text.lower())

    def test_oserror(self) -> None:
        """An OSError, as of a socket of our own, is answered as one of connectTCP's."""
        for number in errno.errorcode:
            with self.subTest(errno.errorcode[number]):
                self.assertEqual(
                    replyFor(OSError(number, "text")),
                    replyFor(Failure(error.getConnectError((number, "text")))),
                )

    def test_binding(self) -> None:
        """What fails before anything is sent is this side's failure: 1, whatever the number."""
        for number in errno.errorcode:
            expected = Reply.GENERAL_FAILURE
            if number == errno.EAFNOSUPPORT:
                # The exception: no IPv6 here is nothing this side has done wrong.
                expected = Reply.NETWORK_UNREACHABLE
            with self.subTest(errno.errorcode[number]):
                connecting = error.ConnectBindError(number, "text")
                listening = error.CannotListenError("::", 80, OSError(number, "text"))
                self.assertEqual(replyFor(connecting)[0], expected)
                self.assertEqual(replyFor(Failure(listening))[0], expected)

    def test_descriptors(self) -> None:
        """No descriptors left is said in words."""
        failure = Failure(error.ConnectBindError(errno.EMFILE, "Too many open files"))
        self.assertEqual(replyFor(failure), (Reply.GENERAL_FAILURE, "too many open files"))


class KindTests(SynchronousTestCase):
    """What comes without a number."""

    def test_kinds(self) -> None:
        """The class decides where there is no number."""
        for reason, expected in [
            (error.TimeoutError(), Reply.TTL_EXPIRED),
            (error.TCPTimedOutError(), Reply.TTL_EXPIRED),
            (TimeoutError(), Reply.TTL_EXPIRED),
            (error.ConnectionRefusedError(), Reply.CONNECTION_REFUSED),
            (ConnectionRefusedError(), Reply.CONNECTION_REFUSED),
            (error.NoRouteError(), Reply.NETWORK_UNREACHABLE),
            (error.UnknownHostError(), Reply.HOST_UNREACHABLE),
            (error.DNSLookupError(), Reply.HOST_UNREACHABLE),
            (error.ConnectError(), Reply.GENERAL_FAILURE),
            (error.ConnectBindError(), Reply.GENERAL_FAILURE),
            (error.UserError(), Reply.GENERAL_FAILURE),
            (error.CannotListenError("", 80, "no socket"), Reply.GENERAL_FAILURE),
            (OSError(), Reply.GENERAL_FAILURE),
            (KeyError("x"), Reply.GENERAL_FAILURE),
        ]:
            with self.subTest(repr(reason)):
                self.assertEqual(replyFor(Failure(reason))[0], expected)
                self.assertEqual(replyFor(reason), replyFor(Failure(reason)))

    def test_gaierror(self) -> None:
        """The numbers of getaddrinfo are not those of errno, though some are equal."""
        for number in (socket.EAI_NONAME, errno.ECONNREFUSED):
            self.assertEqual(
                replyFor(socket.gaierror(number, "text")),
                (Reply.HOST_UNREACHABLE, "no such name"),
            )

    def test_ours(self) -> None:
        """What knows its reply already keeps it."""
        for reason in (
            Forbidden("rule 3"),
            ResolutionError("cannot resolve x: no such name"),
            DialError(Reply.TTL_EXPIRED, "192.0.2.1:80 timed out"),
        ):
            self.assertEqual(replyFor(Failure(reason)), (reason.reply, reason.reason))

    def test_text(self) -> None:
        """Of something unknown the text is one line and bounded; without text, its name."""
        self.assertEqual(replyFor(KeyError()), (Reply.GENERAL_FAILURE, "KeyError"))
        self.assertEqual(replyFor(ValueError("a\nb.")), (Reply.GENERAL_FAILURE, "a b"))
        self.assertEqual(len(replyFor(ValueError("a" * 5000))[1]), 200)


class MostTellingTests(SynchronousTestCase):
    """One reply for several failures."""

    ORDER = (
        Reply.CONNECTION_REFUSED,
        Reply.TTL_EXPIRED,
        Reply.HOST_UNREACHABLE,
        Reply.CONNECTION_NOT_ALLOWED,
        Reply.NETWORK_UNREACHABLE,
        Reply.GENERAL_FAILURE,
    )

    @settings(max_examples=100, deadline=None)
    @given(st.lists(st.sampled_from(ORDER), min_size=1))
    def test_order(self, replies: list[Reply]) -> None:
        """The first in the order of what they tell, however often and wherever it comes."""
        self.assertEqual(mostTelling(replies), min(replies, key=self.ORDER.index))
