"""The reference diffusers keeps what every reference promises."""

from __future__ import annotations

import pytest

pytest.importorskip("torch")

from parity.conformance import ReferenceTests
from torch_refs.diffusers.reference import reference as diffusers

pytestmark = pytest.mark.torch


class TestDiffusers(ReferenceTests):
    """With the package's own recording of the small case."""

    @pytest.fixture(scope="class")
    @classmethod
    def reference(cls):
        """Return the reference."""
        return diffusers

    @pytest.fixture(scope="class")
    @classmethod
    def recorded(cls, trace):
        """Return the recording that all tests here share."""
        return trace
