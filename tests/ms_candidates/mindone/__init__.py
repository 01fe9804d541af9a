"""Tests of ms_candidates.mindone."""
