"""Tests of the candidates whose code comes from elsewhere."""
