"""TLS around SOCKS."""
