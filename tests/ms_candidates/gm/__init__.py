"""Tests of ms_candidates.gm."""
