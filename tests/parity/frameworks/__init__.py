"""Tests of parity.frameworks."""
