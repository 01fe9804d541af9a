"""The reference's operators by themselves."""

from __future__ import annotations

import math

import pytest

pytest.importorskip("torch")

from parity.dtypes import eps
from parity.frameworks.floors import KINDS
from parity.frameworks.torch_floors_ import floors

pytestmark = pytest.mark.torch

FEW = 8
LONGEST = {"conv": 9 * 1280, "linear": 5120}
"""Terms of the longest sum of a kind. Which way it is added up depends on the processor: on one with AVX2 alone torch adds
a convolution term by term, on one with AVX-512 in several parts."""


def most_roundings(kind: str, dtype: str) -> float:
    """The rms error, in eps of the result's rms, of a random sum that is added term by term, or a few roundings.

    The half types are added up in float32 and rounded once.

    The partial sum of k terms is rounded by eps / sqrt(12) of itself, sqrt(k) of a term; n of these add up to
    eps * n / sqrt(24), and the sum itself is sqrt(n).
    """
    return max(FEW, math.sqrt(LONGEST.get(kind, 0) / 24)) if dtype == "float32" else FEW


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_torch_has_every_kind_and_errs_by_a_few_roundings(dtype):
    table = floors(dtype)
    assert set(table) == set(KINDS)
    for kind, by in table.items():
        assert 0.05 * eps(dtype) < by[dtype]["rel_l2"] < most_roundings(kind, dtype) * eps(dtype), kind
        assert by[dtype]["rel_max"] >= by[dtype]["rel_l2"]
