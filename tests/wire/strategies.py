"""What hypothesis draws from: the fields of messages, octets near to messages, and cuts."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address
from itertools import pairwise

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from twisted_socks5.wire import Address, Host

octet = st.integers(0, 255)
port = st.integers(0, 65535)
name = st.binary(min_size=1, max_size=255)
ipv4: SearchStrategy[IPv4Address] = st.integers(0, 2**32 - 1).map(IPv4Address)
ipv6: SearchStrategy[IPv6Address] = st.integers(0, 2**128 - 1).map(IPv6Address)
host: SearchStrategy[Host] = st.one_of(ipv4, ipv6, name)
address: SearchStrategy[Address] = st.builds(Address, host, port)

# What SOCKS4 can carry: no NUL in a string, and no IPv4 address that is SOCKS4a's mark.
string4 = st.binary(max_size=255).map(lambda octets: octets.replace(b"\0", b"x"))
address4: SearchStrategy[Address] = st.builds(
    Address,
    st.one_of(
        st.integers(256, 2**32 - 1).map(IPv4Address),
        st.just(IPv4Address(0)),
        string4.filter(bool),
    ),
    port,
)


@st.composite
def damaged(draw: st.DrawFn, octets: SearchStrategy[bytes]) -> bytes:
    """Octets of a message with one octet changed, one taken away or one put in."""
    good = draw(octets)
    place = draw(st.integers(0, len(good) - 1))
    tail = draw(st.sampled_from((0, 1)))
    put = draw(st.binary(max_size=1))
    return good[:place] + put + good[place + tail :]


@st.composite
def pieces(draw: st.DrawFn, octets: bytes) -> list[bytes]:
    """A cut of C{octets}: the same ones, in pieces that may be empty."""
    cuts = draw(st.lists(st.integers(0, len(octets)), max_size=6))
    places = [0, *sorted(cuts), len(octets)]
    return [octets[start:end] for start, end in pairwise(places)]
