"""An association beside a simple model: whatever is sent, both pass the same datagrams."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.server.associations import TARGET, TARGET6, AssociationCase

OTHER = "203.0.113.6"
NAME = b"target.example"

# How a destination is written, and who that is.
DESTINATIONS: list[tuple[str | bytes, str]] = [
    (TARGET, TARGET),
    (OTHER, OTHER),
    (TARGET6, TARGET6),
    (f"::ffff:{TARGET}", TARGET),
    (TARGET.encode(), TARGET),
    (NAME, OTHER),
    ("127.0.0.1", ""),  # forbidden
    (b"no name", ""),
]

Step = tuple[int, int, int, bytes]

frags = st.one_of(
    st.sampled_from([0, 0, 1, 2, 0x81, 0x82]),
    st.sampled_from([1, 2, 3, 4, 0x82, 0x83, 0x84, 0x85]),
    st.integers(0, 255),
)
steps = st.tuples(
    st.sampled_from([0, 0, 0, 0, 0, 1, 4, 5]),
    st.one_of(st.just(0), st.sampled_from(range(len(DESTINATIONS)))),
    frags,
    st.binary(max_size=3),
)


class Model:
    """
    RFC 1928, section 7, as simply as it can be written.

    @ivar passed: what each target gets.
    """

    def __init__(self) -> None:
        self.passed: dict[str, list[bytes]] = {TARGET: [], OTHER: [], TARGET6: []}
        self.parts: list[bytes] = []
        self.destination = -1
        self.began = 0

    def take(self, now: int, destination: int, frag: int, payload: bytes) -> None:
        """Take a datagram."""
        if now - self.began >= 5:
            self.parts = []
        number, last = frag % 128, frag >= 128
        if frag == 0:
            self.parts = []
            self.give(destination, payload)
        elif number == 1:
            self.parts, self.destination, self.began = [payload], destination, now
        elif number == len(self.parts) + 1 and destination == self.destination and self.parts:
            self.parts.append(payload)
        else:
            self.parts = []
        if last and self.parts:
            self.give(destination, b"".join(self.parts))
            self.parts = []

    def give(self, destination: int, payload: bytes) -> None:
        """Pass a whole datagram, if that destination can be had."""
        host = DESTINATIONS[destination][1]
        if host:
            self.passed[host].append(payload)


class ModelTests(AssociationCase):
    """The same datagrams to both."""

    @given(st.lists(steps, max_size=30))
    @settings(max_examples=200, deadline=None)
    def test_outward(self, sequence: list[Step]) -> None:
        """Whole or in fragments, at any pace, to any destinations, mixed as can be."""
        self.setUp()
        self.settings["association_timeout"] = 100_000
        self.reactor.names.add("target.example", [OTHER])
        boxes = {host: self.mailbox(host, 53) for host in (TARGET, OTHER, TARGET6)}
        self.serve()
        self.associate()
        model, now = Model(), 0
        for wait, destination, frag, payload in sequence:
            now += wait
            self.reactor.advance(wait)
            self.send(payload, DESTINATIONS[destination][0], 53, frag)
            model.take(now, destination, frag, payload)
        self.assertEqual({host: box.taken() for host, box in boxes.items()}, model.passed)
        self.end()
        self.assertEqual(
            self.records[0].sent, sum(len(b"".join(p)) for p in model.passed.values())
        )

    @given(
        st.lists(
            st.tuples(
                st.one_of(
                    st.ip_addresses(v=4, network="203.0.113.0/24").map(str),
                    st.ip_addresses(v=6, network="2001:db8:7::/48").map(str),
                ),
                st.integers(1, 65535),
                st.binary(max_size=20),
            ),
            max_size=10,
            unique_by=lambda one: one[:2],
        )
    )
    @settings(max_examples=60, deadline=None)
    def test_inward(self, sources: list[tuple[str, int, bytes]]) -> None:
        """Whoever answers, the client gets the payload and its true source."""
        self.setUp()
        self.serve()
        self.associate()
        boxes = {4: self.mailbox(TARGET, 53), 6: self.mailbox(TARGET6, 53)}
        for host in (TARGET, TARGET6):
            self.send(b"question", host)
        for host, port, payload in sources:
            box = self.mailbox(host, port)
            box.send(payload, boxes[6 if ":" in host else 4].last)
            self.reactor.advance(0)
        expected = [(payload, (host, port)) for host, port, payload in sources]
        self.assertEqual(self.heard(), expected)
        self.end()

    @given(st.lists(st.binary(max_size=40), max_size=20))
    @settings(max_examples=60, deadline=None)
    def test_anything(self, datagrams: list[bytes]) -> None:
        """Arbitrary octets are no end of anything."""
        self.setUp()
        box = self.mailbox(TARGET, 53)
        self.serve()
        self.associate()
        for datagram in (*datagrams, *(b"\0\0\0" + each for each in datagrams)):
            self.raw(datagram)
        box.taken()
        self.send(b"question")
        self.assertEqual(box.taken(), [b"question"])
        self.end()
