"""Tests of twisted-socks5; they run under pytest and trial alike."""
