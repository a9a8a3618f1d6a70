"""
Relays: two transports in, two counts of octets out.  There is no SOCKS in here.
"""

from twisted_socks5.relay.idle import IdleWatch
from twisted_socks5.relay.tcp import Leg, Outcome, TCPRelay

__all__ = ["IdleWatch", "Leg", "Outcome", "TCPRelay"]
