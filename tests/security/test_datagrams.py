"""Datagrams of an association, each encapsulated whole."""

from __future__ import annotations

from threading import Event, Thread

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.security.encapsulations import EncapsulationCase
from twisted_socks5.security import ContextError
from twisted_socks5.testing import MemoryContext
from twisted_socks5.testing.security import OVERHEAD
from twisted_socks5.wire import DatagramError, ProtectionLevel
from twisted_socks5.wire.constants import FRAME_HEADER_SIZE, MAX_UDP_PAYLOAD, MTYP
from twisted_socks5.wire.gssapi import pack_abort, pack_token

INTEGRITY = ProtectionLevel.INTEGRITY
CONFIDENTIALITY = ProtectionLevel.CONFIDENTIALITY
PER_MESSAGE = ProtectionLevel.PER_MESSAGE

ROOM = MAX_UDP_PAYLOAD - FRAME_HEADER_SIZE - OVERHEAD


class DatagramTests(EncapsulationCase):
    """Each is one frame."""

    def refused(self, datagram: bytes, text: str) -> None:
        """Assert that a datagram is refused, and the connection none the worse for it."""
        error = self.assertRaises(DatagramError, self.layer.unwrapDatagram, datagram)
        self.assertEqual(str(error), text)
        self.assertIsNone(self.near.lost)

    def test_bothWays(self) -> None:
        """What is wrapped is unwrapped."""
        for level in (INTEGRITY, CONFIDENTIALITY, PER_MESSAGE):
            self.connect(level)
            frame = self.layer.wrapDatagram(b"a datagram")
            self.assertEqual(frame[:2], b"\x01\x03")
            self.far.received += frame
            self.assertEqual(self.heard(), [(b"a datagram", level != INTEGRITY)])
            self.far.received.clear()
            self.assertEqual(self.layer.unwrapDatagram(self.frame(b"an answer")), b"an answer")
            self.assertEqual(self.layer.unwrapDatagram(self.frame(b"")), b"")

    def test_besideTheStream(self) -> None:
        """They share the connection's context, and need not arrive."""
        self.connect()
        first, second = MemoryContext.pair(ordered=False)
        self.layer._context._context = first
        self.other = second
        lost = self.frame(b"arrives late")
        self.layer.wrapDatagram(b"never arrives")
        self.near.write(b"reply")
        self.far.write(self.frame(b"request"))
        self.settle()
        self.assertEqual(self.near.received, b"request")
        self.assertEqual(self.heard(), [(b"reply", True)])
        self.assertEqual(self.layer.unwrapDatagram(lost), b"arrives late")
        error = self.assertRaises(ContextError, self.layer.unwrapDatagram, lost)
        self.assertEqual(str(error), "a token comes again")
        self.layer._context._context = self.context

    def test_size(self) -> None:
        """One that is too large once it is wrapped is refused."""
        self.connect()
        self.assertEqual(len(self.layer.wrapDatagram(bytes(ROOM))), MAX_UDP_PAYLOAD)
        error = self.assertRaises(DatagramError, self.layer.wrapDatagram, bytes(ROOM + 1))
        self.assertEqual(str(error), "65508 octets once encapsulated, more than 65507")
        self.assertRaises(DatagramError, self.layer.wrapDatagram, bytes(MAX_UDP_PAYLOAD))

    def test_malformed(self) -> None:
        """What is not one whole frame is refused."""
        self.connect()
        frame = self.frame(b"x")
        self.refused(b"", "an incomplete frame")
        self.refused(frame[:-1], "an incomplete frame")
        self.refused(frame + b"xy", "2 octets behind the frame")
        self.refused(pack_abort(), "an abort in a datagram")
        self.refused(b"\0\0\0\1\x7f\0\0\1", "version 0 instead of 1 in a GSSAPI frame")
        self.refused(
            pack_token(MTYP.PROTECTION_LEVEL, b"x"),
            "a GSSAPI frame of type PROTECTION_LEVEL in place of DATA",
        )

    def test_notSealed(self) -> None:
        """At level 2 one that is not confidential is refused; at the others it is not."""
        self.connect()
        self.refused(
            self.frame(b"x", sealed=False),
            "a message that is not confidential, as the protection level demands",
        )
        for level in (INTEGRITY, PER_MESSAGE):
            self.connect(level)
            self.assertEqual(self.layer.unwrapDatagram(self.frame(b"x", sealed=False)), b"x")

    def test_bad(self) -> None:
        """One that was changed is refused, and the association goes on."""
        self.connect()
        frame = bytearray(self.frame(b"x"))
        frame[-1] ^= 1
        error = self.assertRaises(ContextError, self.layer.unwrapDatagram, bytes(frame))
        self.assertEqual(str(error), "a token has a bad checksum")
        frame[-1] ^= 1
        self.assertEqual(self.layer.unwrapDatagram(bytes(frame)), b"x")

    def test_over(self) -> None:
        """When the connection is over there are no more."""
        self.connect()
        frame = self.frame(b"x")
        self.near.abort()
        self.settle()
        self.assertRaises(ContextError, self.layer.wrapDatagram, b"x")
        self.assertRaises(ContextError, self.layer.unwrapDatagram, frame)

    @settings(max_examples=100, deadline=None)
    @given(st.binary(max_size=100))
    def test_rubbish(self, rubbish: bytes) -> None:
        """Whatever comes, nothing but the two exceptions comes of it."""
        self.connect()
        for datagram in (rubbish, b"\x01\x03\x00" + bytes((len(rubbish),)) + rubbish):
            with self.assertRaises((DatagramError, ContextError)):
                self.layer.unwrapDatagram(datagram)
        self.assertIsNone(self.near.lost)


class SharedContextTests(EncapsulationCase):
    """One context, and two threads that want it."""

    def test_oneAtATime(self) -> None:
        """Who comes while a thread is at work waits for its token, not for its batch."""
        self.connect()
        begun, goOn, wrap = Event(), Event(), self.context.wrap
        threads: list[Thread] = []

        def slowly(octets: bytes, confidential: bool) -> bytes:
            token = wrap(octets, confidential)
            if len(threads) == 1:
                begun.set()
                goOn.wait(10)
            return token

        self.context.wrap = slowly  # type: ignore[method-assign]  # the context is ours
        shared, found = self.layer._context, []
        threads.append(Thread(target=lambda: found.append(shared.wrapped(bytes(200_000)))))
        threads[0].start()
        self.assertTrue(begun.wait(10))
        threads.append(Thread(target=lambda: found.append(shared.wrap(b"a datagram"))))
        threads[1].start()
        threads[1].join(0.05)
        self.assertEqual((found, self.context.wrapped), ([], 1))
        goOn.set()
        for thread in threads:
            thread.join(10)
        self.assertEqual(sorted(map(len, found))[0], 10 + OVERHEAD)
        self.assertEqual(self.context.wrapped, 5)

    def test_disposedMeanwhile(self) -> None:
        """A context that a thread is using is disposed of by that thread."""
        self.connect()
        begun, goOn, wrap = Event(), Event(), self.context.wrap

        def slowly(octets: bytes, confidential: bool) -> bytes:
            begun.set()
            goOn.wait(10)
            return wrap(octets, confidential)

        self.context.wrap = slowly  # type: ignore[method-assign]  # the context is ours
        errors: list[str] = []

        def work() -> None:
            try:
                self.layer._context.wrapped(bytes(200_000))
            except ContextError as error:
                errors.append(str(error))

        thread = Thread(target=work)
        thread.start()
        self.assertTrue(begun.wait(10))
        self.near.abort()
        self.settle()
        self.assertEqual(self.near.events, ["made", "ConnectionAborted"])
        self.assertFalse(self.context.disposed)
        goOn.set()
        thread.join(10)
        self.assertTrue(self.context.disposed)
        self.assertEqual((errors, self.context.wrapped), (["the security context is closed"], 1))
