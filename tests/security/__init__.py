"""Tests of twisted_socks5.security."""
