"""Tests of who it is."""
