"""SOCKS5 for Twisted."""
