"""Tests of hypotheses by family."""
