"""Tests of torch_refs."""
