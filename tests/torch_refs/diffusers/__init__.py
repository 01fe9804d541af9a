"""Tests of torch_refs.diffusers."""
