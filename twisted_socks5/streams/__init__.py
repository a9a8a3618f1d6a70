"""
Transports, TCP's and UDP's, that ask the kernel as rarely as they can.

They do what Twisted's own do, for the same protocols, on reactors that watch descriptors;
everywhere else Twisted's own do the work.  A L{LayeredTransport} stands on any of them, and
translates what passes through.
"""

from twisted_socks5.streams.accepting import StreamFactory, StreamPort
from twisted_socks5.streams.connecting import StreamTCP
from twisted_socks5.streams.datagrams import DatagramUDP
from twisted_socks5.streams.layer import LayeredTransport, knowsHalfClose
from twisted_socks5.streams.stream import BUFFER, Stream
from twisted_socks5.streams.watch import ReactorWatch, Watch, watchFor

__all__ = [
    "BUFFER",
    "DatagramUDP",
    "LayeredTransport",
    "ReactorWatch",
    "Stream",
    "StreamFactory",
    "StreamPort",
    "StreamTCP",
    "Watch",
    "knowsHalfClose",
    "watchFor",
]
