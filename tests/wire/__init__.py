"""Tests of L{twisted_socks5.wire}: octets in, events out, and nothing below them to fake."""
