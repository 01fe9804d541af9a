"""Tests of parity.distance."""
