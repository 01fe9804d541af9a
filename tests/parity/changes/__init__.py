"""Tests of what became of a tensor."""
