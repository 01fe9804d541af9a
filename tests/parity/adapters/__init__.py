"""Tests of the bases for adapters."""
