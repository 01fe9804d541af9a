"""Tests of the self-test corpus."""
