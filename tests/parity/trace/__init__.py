"""Tests of parity.trace."""
