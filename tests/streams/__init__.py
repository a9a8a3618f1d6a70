"""Tests of the stream transports."""
