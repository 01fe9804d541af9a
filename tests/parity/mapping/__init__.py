"""Tests of the proposed alignment."""
