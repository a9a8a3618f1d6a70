"""Tests of the next proxy's side."""
