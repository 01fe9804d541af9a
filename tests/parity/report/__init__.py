"""Tests of the renderers; `made` makes results, `gold` and `update` keep what was approved."""
