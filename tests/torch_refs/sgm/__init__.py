"""Tests of torch_refs.sgm."""
