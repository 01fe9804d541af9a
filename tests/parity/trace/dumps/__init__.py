"""Tests of parity.trace.dumps."""
