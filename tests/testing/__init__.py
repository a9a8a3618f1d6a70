"""Tests of the fakes in memory, and of their likeness to the real thing."""
