"""The server: sessions, their commands, and the factory that makes them."""

from twisted_socks5.server.factory import SOCKS5ServerFactory
from twisted_socks5.server.session import SOCKS5ServerProtocol

__all__ = ["SOCKS5ServerFactory", "SOCKS5ServerProtocol"]
